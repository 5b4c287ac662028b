//! How a connection is read: in turn with the others and while the core has room. Of every frame it is checked whose it is
//! and what it may; then it goes into the bundle for the core, or is answered at once.

use super::{Hub, say_goodbye};
use crate::clock;
use crate::connection::{Connection, Door};
use crate::denials;
use crate::frames::{self, Taken};
use crate::history;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;
use tegata_access::{Asked, Verdict};
use tegata_model::{Code, GatewayId, NamespaceId, Timestamp};
use tegata_node::{Guard, Rank, Waiter};
use tegata_wire::{self as wire, CloseReason, Scan};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;

/// Bytes read from a connection at once: many frames of the largest kind.
pub(super) const READ_BYTES: usize = 64 << 10;
/// After a read of so many bytes more may lie there: in the socket, or with a sender whom its full window made wait.
const EMPTIES_BYTES: usize = READ_BYTES / 2;
/// A bundle of so many bytes is sent at once; a smaller one when every task that is ready has had its turn.
const SEND_BYTES: usize = 12 << 10;
/// How long a caller that was told that the server stops is still read.
const DRAIN_READ: Duration = Duration::from_secs(1);

/// Why reading a connection ended.
enum End {
    /// The caller closed its half, or said goodbye: what is in flight is answered first.
    Left,
    /// It broke a rule, or the server closes it; it is told why.
    Told(CloseReason),
    /// The socket failed.
    Broken,
}

pub(super) async fn read(hub: Rc<Hub>, c: Rc<Connection>, half: OwnedReadHalf) {
    let end = read_frames(&hub, &c, half).await;
    match end {
        End::Left => {
            c.leaving.set(true);
            while !c.is_settled() && !c.broken.get() {
                // Whoever does not take its answers is idle like any other, and gone like any other.
                tokio::select! {
                    () = c.progress() => {}
                    () = c.end.notified() => if c.idle.get() { break },
                }
            }
        }
        End::Told(reason) => say_goodbye(&c, reason),
        End::Broken => {}
    }
    hub.close(&c);
}

async fn read_frames(hub: &Rc<Hub>, c: &Rc<Connection>, mut read: OwnedReadHalf) -> End {
    // What is left of the last read: the beginning of a frame. Through a tunnel, what came out of it and was not taken.
    let mut begun = Vec::new();
    // Since when the caller knows that the server stops.
    let mut told: Option<tokio::time::Instant> = None;
    loop {
        let over = told.map_or_else(|| tokio::time::Instant::now() + DRAIN_READ * 3_600, |at| at + DRAIN_READ);
        // A caller that is at its credits, or does not take its answers, is read no further: TCP tells it to wait.
        let may_send = async {
            while c.is_at_its_limit() && !c.broken.get() {
                c.progress().await;
            }
            hub.read_some(&mut read, if c.tunnel.is_some() { &[] } else { &begun }).await
        };
        let got = tokio::select! {
            biased;
            () = c.end.notified(), if told.is_none() => None,
            () = tokio::time::sleep_until(over), if told.is_some() => return End::Left,
            got = may_send => Some(got),
        };
        match got {
            None if c.broken.get() => return End::Broken,
            None if c.idle.get() => return End::Told(CloseReason::Idle),
            None if hub.shared.failed.load(Ordering::Acquire) => return End::Told(CloseReason::Failed),
            None if hub.shared.is_stopping() => {
                // Commands that are on their way already are refused, known keys answered, until the caller has read
                // this and ends.
                wire::encode_goodbye(&mut c.out.borrow_mut(), CloseReason::Draining, 1_000);
                c.flush();
                told = Some(tokio::time::Instant::now());
            }
            None => continue,
            Some(Ok(None)) => return End::Left,
            Some(Ok(Some(filled))) => {
                // Nobody else reads until it is taken: nothing is waited for from here on.
                if let Err(end) = hub.take(c, &hub.read.borrow()[..filled], &mut begun) {
                    return end;
                }
            }
            Some(Err(_)) => return End::Broken,
        }
    }
}

fn body_of(frame: &[u8]) -> &[u8] {
    frame.get(wire::REQUEST_HEADER_BYTES..).unwrap_or_default()
}

impl Hub {
    /// Reads what is there behind what has `begun`, once it is this connection's turn and the core has room: who waited
    /// longest is read next. How many bytes of the buffer that are; nothing at the end.
    async fn read_some(&self, read: &mut OwnedReadHalf, begun: &[u8]) -> std::io::Result<Option<usize>> {
        loop {
            read.readable().await?;
            let ready = clock::now();
            // Nobody closes it.
            let _turn = self.turn.acquire().await;
            self.room().await;
            self.note_visit(clock::now().since(ready));
            let now = std::future::poll_fn(|context| {
                let mut bytes = self.read.borrow_mut();
                let mut buffer = ReadBuf::new(&mut bytes);
                buffer.put_slice(begun);
                let read = Pin::new(&mut *read).poll_read(context, &mut buffer);
                Poll::Ready(read.map_ok(|()| buffer.filled().len()))
            });
            if let Poll::Ready(got) = now.await {
                return got.map(|filled| (filled > begun.len()).then_some(filled));
            }
        }
    }

    /// Takes what was read; what is left of it has `begun`.
    fn take(self: &Rc<Self>, c: &Rc<Connection>, read: &[u8], begun: &mut Vec<u8>) -> Result<(), End> {
        let received = clock::now();
        let waited_ms = self.look_awake(received).may_have_waited_ms(c.emptied_at.get(), received);
        if read.len() < EMPTIES_BYTES {
            c.emptied_at.set(received);
        }
        let Some(tunnel) = &c.tunnel else {
            let used = self.take_frames(c, read, received, waited_ms)?;
            begun.clear();
            begun.extend_from_slice(&read[used..]);
            return Ok(());
        };
        let through = tunnel.borrow_mut().open(read, begun);
        c.flush();
        if through.is_err() {
            let (nobody, nothing) = (wire::RequestHeader::default(), Asked::default());
            self.deny(c, Code::Unauthenticated, 0, &nobody, nothing, clock::now());
            return Err(End::Broken);
        }
        let used = self.take_frames(c, begun, received, waited_ms)?;
        begun.drain(..used);
        Ok(())
    }

    /// A connection waited for so long until it is visited, in µs. The core is told with what is read, and in how many visits.
    fn note_visit(&self, us: u64) {
        let mut bundle = self.bundle.borrow_mut();
        bundle.waited_us = bundle.waited_us.max(us);
        bundle.visits = bundle.visits.saturating_add(1);
    }

    /// Takes every whole frame at the start of `bytes`, which may have lain there for `waited_ms`; returns how many bytes
    /// that was.
    fn take_frames(
        self: &Rc<Self>,
        c: &Rc<Connection>,
        bytes: &[u8],
        received: Timestamp,
        waited_ms: u32,
    ) -> Result<usize, End> {
        self.look_at_pass(c)?;
        let mut rest = bytes;
        let mut bundled = false;
        let result = loop {
            match wire::scan(rest, wire::FRAME_BYTES_MAX) {
                Scan::Frame { frame, rest: tail } => {
                    c.asked_at.set(received);
                    match self.take_frame(c, frame, received, waited_ms) {
                        Ok(b) => bundled |= b,
                        Err(end) => break Err(end),
                    }
                    rest = tail;
                }
                Scan::Incomplete { .. } => break Ok(bytes.len() - rest.len()),
                Scan::Bad(wire::FrameError::TooLarge { .. }) => break Err(End::Told(CloseReason::FrameTooLarge)),
                Scan::Bad(_) => break Err(End::Told(CloseReason::ProtocolError)),
            }
        };
        if bundled && (self.bundle.borrow().bytes() < SEND_BYTES || !self.send_bundle()) {
            self.dirty.notify_one();
        }
        if !c.out.borrow().is_empty() {
            c.flush();
        }
        result
    }

    /// Takes one frame, which may have lain there for `waited_ms`. True when something went into the bundle.
    fn take_frame(
        self: &Rc<Self>,
        c: &Rc<Connection>,
        frame: &[u8],
        received: Timestamp,
        waited_ms: u32,
    ) -> Result<bool, End> {
        if wire::check_crc(frame).is_err() {
            return Err(End::Told(CloseReason::BadChecksum));
        }
        let mut header = wire::request_header(frame).map_err(|_| End::Told(CloseReason::ProtocolError))?;
        header.age_ms = header.age_ms.saturating_add(waited_ms);
        if header.version != wire::VERSION && header.kind != wire::KIND_HELLO {
            return Err(End::Told(CloseReason::Version));
        }
        let mut bundle = self.bundle.borrow_mut();
        if c.delivery.borrow_mut().acknowledged(header.acked, &mut bundle.delivered).is_err() {
            return Err(End::Told(CloseReason::ProtocolError));
        }
        let records = bundle.records.len();
        let refused = self.shared.unlooked_ranks.load(Ordering::Relaxed);
        let taken = frames::take(c, frame, &header, received, refused, &mut bundle);
        let refused = match taken {
            Ok(Taken::Waiting) => {
                // Of a programme only the core knows, see `give_answers`.
                if let Some((waiter, Guard::Denied(code))) = bundle.guards.last()
                    && *code != Code::ProgrammeNotPermitted
                    && *waiter == (Waiter { connection: c.id, request: header.request_id })
                {
                    self.deny_frame(c, *code, &header, frame, received);
                }
                return Ok(true);
            }
            Ok(Taken::Connection) => {
                drop(bundle);
                return self.connection_frame(c, frame, &header, received);
            }
            Ok(Taken::Refused(code)) => {
                if denials::CODES.contains(&code) && c.greeted.get() {
                    self.deny_frame(c, code, &header, frame, received);
                }
                code
            }
            Err(e) => {
                bundle.records.truncate(records);
                let code = match e {
                    wire::FrameError::Field { name: "amount" } => Code::AmountInvalid,
                    _ => Code::Malformed,
                };
                if let Some(question) = frames::about_its_key(c, &header, code) {
                    bundle.questions.push((Waiter { connection: c.id, request: header.request_id }, question));
                    c.taken();
                    return Ok(true);
                }
                code
            }
        };
        frames::put_refusal(c, &header, refused, received, &mut c.out.borrow_mut());
        Ok(false)
    }

    /// What a whole frame asks is denied to whoever the connection is.
    fn deny_frame(&self, c: &Connection, code: Code, h: &wire::RequestHeader, frame: &[u8], at: Timestamp) {
        self.deny(c, code, c.gateway.get().get(), h, Asked::of(h.kind, body_of(frame)), at);
    }

    /// Hello, ping, acknowledgement, goodbye, history.
    fn connection_frame(
        self: &Rc<Self>,
        c: &Rc<Connection>,
        frame: &[u8],
        h: &wire::RequestHeader,
        at: Timestamp,
    ) -> Result<bool, End> {
        match wire::decode_request(frame) {
            Ok(wire::Request::Hello(_, hello)) => self.greet(c, h, &hello, at).map(|()| false),
            Ok(wire::Request::Challenge(_, challenge)) => self.challenge(c, h, challenge).map(|()| false),
            Ok(wire::Request::Ping(_)) => {
                wire::encode_pong(&mut c.out.borrow_mut(), h.request_id, at.micros());
                Ok(false)
            }
            Ok(wire::Request::Ack(_)) => Ok(!self.bundle.borrow().delivered.is_empty()),
            Ok(wire::Request::Goodbye(_)) => Err(End::Left),
            Ok(wire::Request::History(_, query)) => {
                let judged = c.pass.borrow().as_ref().map(|pass| pass.judge(&Asked::of(h.kind, body_of(frame)), at));
                let why = match (c.greeted.get(), c.door) {
                    (false, _) => Some(Code::Unauthenticated),
                    (true, Door::Gateway) => Some(Code::OperationUnknown),
                    (true, Door::Operator) if let Some(Verdict::Denied(code)) = judged => {
                        self.deny_frame(c, code, h, frame, at);
                        Some(code)
                    }
                    (true, Door::Operator) if self.refuses(Rank::Look) => Some(Code::Overloaded),
                    (true, Door::Operator) => None,
                };
                if let Some(code) = why {
                    frames::put_refusal(c, h, code, at, &mut c.out.borrow_mut());
                    return Ok(false);
                }
                c.taken();
                history::start(Rc::clone(self), Rc::clone(c), h.request_id, query);
                Ok(false)
            }
            _ => {
                frames::put_refusal(c, h, Code::Malformed, at, &mut c.out.borrow_mut());
                Ok(false)
            }
        }
    }

    /// What a connection may do is looked at again when the files were read again. Whoever is known no longer is told so.
    fn look_at_pass(&self, c: &Connection) -> Result<(), End> {
        let mut pass = c.pass.borrow_mut();
        let Some(old) = pass.take_if(|pass| pass.generation != self.shared.access.generation()) else { return Ok(()) };
        *pass = self.shared.access.pass(old.who);
        if pass.is_some() {
            return Ok(());
        }
        c.greeted.set(false);
        Err(End::Told(CloseReason::Unauthenticated))
    }

    /// A nonce of the server's for the next hello of this connection.
    fn challenge(&self, c: &Connection, h: &wire::RequestHeader, challenge: wire::Challenge) -> Result<(), End> {
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(|_| End::Broken)?;
        let challenged = wire::Challenged { nonce, store_id: self.shared.store_id };
        c.exchange.set(Some(wire::Exchange { challenge, challenged }));
        wire::encode_challenged(&mut c.out.borrow_mut(), h.request_id, &challenged);
        Ok(())
    }

    /// True while requests of this rank are refused outright.
    fn refuses(&self, rank: Rank) -> bool {
        self.shared.unlooked_ranks.load(Ordering::Relaxed) & rank.bit() != 0
    }

    fn greet(&self, c: &Connection, h: &wire::RequestHeader, hello: &wire::Hello, at: Timestamp) -> Result<(), End> {
        let exchange = c.exchange.take();
        let peer = c.tunnel.as_ref().and_then(|tunnel| tunnel.borrow().peer());
        let who = self.shared.access.policy().identify(hello, c.door.role(), exchange.as_ref(), peer);
        let pass = match who.map(|who| who.map(|who| self.shared.access.pass(who))) {
            Ok(None) => None,
            Ok(Some(Some(pass))) => Some(pass),
            refused => {
                let code = refused.err().unwrap_or(Code::Unauthenticated);
                self.deny(c, code, hello.gateway, h, Asked::of(h.kind, &[]), at);
                frames::put_refusal(c, h, code, at, &mut c.out.borrow_mut());
                return Err(End::Told(CloseReason::Unauthenticated));
            }
        };
        if hello.credits > 0 {
            c.credits.set(hello.credits.min(self.shared.config.credits));
        }
        let common = hello.version_min <= u16::from(wire::VERSION) && u16::from(wire::VERSION) <= hello.version_max;
        let answer = wire::HelloAnswer {
            version: u16::from(wire::VERSION),
            code: if common { 0 } else { u16::from(Code::VersionUnknown.number()) },
            frame_bytes_max: wire::FRAME_BYTES_MAX as u32,
            credits: c.credits.get(),
            idle_limit_ms: self.shared.config.idle_ms,
            server_time: at.micros(),
            position: self.shared.positions.get(tegata_sync::Mark::Applied),
            features: 0,
            store_id: self.shared.store_id,
        };
        wire::encode_hello_answer(&mut c.out.borrow_mut(), h.request_id, &answer);
        if !common {
            return Err(End::Told(CloseReason::Version));
        }
        c.gateway.set(GatewayId::new(hello.gateway));
        *c.namespaces.borrow_mut() = hello.namespaces.iter().map(|n| NamespaceId::new(*n)).collect();
        *c.pass.borrow_mut() = pass;
        c.together.set(hello.together);
        c.greeted.set(true);
        self.shared.sessions.greeted(self.thread, c.id, hello.gateway);
        Ok(())
    }
}
