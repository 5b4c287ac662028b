//! One pipelined connection: many requests in flight, answers in any order, acknowledgements carried by the next
//! frame or sent alone when there is none.

use crate::call::Call;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tegata_model::{Code, CredentialId};
use tegata_wire::{
    self as wire, Answer, AnswerBody, Challenge, CloseReason, Dial, Exchange, FrameError, Goodbye, Hello, HelloAnswer,
    Scan, Secret, Tunnel, TunnelError,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

/// An acknowledgement that no frame carried is sent alone after so long.
const ACK_DELAY: Duration = Duration::from_millis(200);
/// A connection that is to end waits at most so long for what is in flight.
const LINGER: Duration = Duration::from_secs(30);
/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;

/// What a caller is, and so what it may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Payments.
    Gateway = 1,
    /// Issue and operation.
    Operator = 2,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The gateway's number, from 1.
    pub gateway: u32,
    /// What it is.
    pub role: Role,
    /// Whose keys it carries; empty: any that it may.
    pub namespaces: Vec<u32>,
}

/// How a caller proves who it is, and what keeps others from listening.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The name of a credential and its secret; nothing: a certificate tells, or nobody asks.
    pub secret: Option<(CredentialId, Secret)>,
    /// What is put between frames and socket; nothing: the frames go as they are.
    pub dial: Option<Arc<dyn Dial>>,
}

/// Why there is no connection.
#[derive(Debug)]
pub enum OpenError {
    /// The socket.
    Io(io::Error),
    /// What came is no frame.
    Frame(FrameError),
    /// The server refused: a code of `docs/codes.md`.
    Refused {
        /// The code's number.
        code: u16,
    },
    /// The server closed the connection at once, and said why.
    Closed(CloseReason),
    /// It took too long.
    TimedOut,
    /// The other side is not who it must be, or does not take this caller for who it is.
    Tunnel(TunnelError),
    /// No random number could be had.
    Random,
}

impl core::fmt::Display for OpenError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Io(e) => e.fmt(f),
            Self::Frame(e) => e.fmt(f),
            Self::Refused { code } => {
                let known = u8::try_from(*code).ok().and_then(Code::from_u8);
                let name = known.map(|c| format!(" ({})", c.name())).unwrap_or_default();
                write!(f, "the server refused the hello with code {code}{name}")
            }
            Self::Closed(reason) => f.write_str(reason.words()),
            Self::TimedOut => f.write_str("the server did not answer in time"),
            Self::Tunnel(e) => e.fmt(f),
            Self::Random => f.write_str("the system gives no random numbers"),
        }
    }
}

impl OpenError {
    /// True when a server said so: it can be reached, and does not want this caller.
    pub(crate) fn is_of_server(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Closed(_) | Self::Tunnel(_))
    }
}

impl std::error::Error for OpenError {}

impl From<io::Error> for OpenError {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

impl From<TunnelError> for OpenError {
    fn from(e: TunnelError) -> Self {
        Self::Tunnel(e)
    }
}

impl From<FrameError> for OpenError {
    fn from(e: FrameError) -> Self {
        Self::Frame(e)
    }
}

/// Why a call has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Not a byte of it was sent: nothing can have been taken.
    NotSent,
    /// It was sent, or partly: whatever it asked may have been done.
    Unanswered,
}

/// Where answers to a call go. A history answers several times.
pub(crate) type Answers = mpsc::UnboundedSender<Result<Answer, Lost>>;

struct Outgoing {
    call: Call,
    answers: Answers,
    credit: OwnedSemaphorePermit,
}

struct Waiting {
    answers: Answers,
    _credit: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Shared {
    retired: AtomicBool,
    retire: Notify,
    ended: Semaphore,
}

/// A connection after its hello. Dropping it lets what is in flight be answered first.
#[derive(Debug)]
pub struct Connection {
    calls: mpsc::UnboundedSender<Outgoing>,
    credits: Arc<Semaphore>,
    shared: Arc<Shared>,
    /// What the server said to the hello.
    pub hello: HelloAnswer,
}

impl Connection {
    /// Connects and greets.
    pub async fn open(addr: SocketAddr, credential: &Credential, patience: Duration) -> Result<Self, OpenError> {
        Self::open_with(addr, credential, &Access::default(), patience).await
    }

    /// The same, and proves who calls.
    pub async fn open_with(
        addr: SocketAddr,
        credential: &Credential,
        access: &Access,
        patience: Duration,
    ) -> Result<Self, OpenError> {
        timeout(patience, Self::greet(addr, credential, access)).await.map_err(|_| OpenError::TimedOut)?
    }

    async fn greet(addr: SocketAddr, credential: &Credential, access: &Access) -> Result<Self, OpenError> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let (read, mut write) = stream.into_split();
        let tunnel = access.dial.as_ref().map(|dial| dial.dial(addr)).transpose()?;
        let mut reader =
            Reader { read, buffer: vec![0; READ_BYTES], start: 0, end: 0, tunnel, sealed: Vec::new(), error: None };
        let version = u16::from(wire::VERSION);
        let mut hello = Hello {
            together: true,
            version_min: version,
            version_max: version,
            gateway: credential.gateway,
            role: credential.role as u8,
            namespaces: credential.namespaces.clone(),
            ..Hello::default()
        };
        let mut out = Vec::new();
        if let Some((credential, secret)) = &access.secret {
            let mut nonce = [0; 32];
            getrandom::fill(&mut nonce).map_err(|_| OpenError::Random)?;
            let challenge = Challenge { credential: *credential, nonce };
            challenge.encode(0, &mut out);
            let challenged = match reader.answer_to(&mut out, &mut write).await? {
                (_, AnswerBody::Challenged(challenged)) => challenged,
                other => return Err(unwanted(other)),
            };
            hello.auth_method = wire::AUTH_SECRET;
            hello.auth = Exchange { challenge, challenged }.sign(secret, &hello);
        }
        hello.encode(0, &mut out);
        let hello = match reader.answer_to(&mut out, &mut write).await? {
            (_, AnswerBody::Hello(hello)) if hello.code == 0 => hello,
            other => return Err(unwanted(other)),
        };
        let (calls, queue) = mpsc::unbounded_channel();
        let credits = Arc::new(Semaphore::new(hello.credits.clamp(1, 65_536) as usize));
        let shared =
            Arc::new(Shared { retired: AtomicBool::new(false), retire: Notify::new(), ended: Semaphore::new(0) });
        let driver = Driver {
            reader,
            write,
            queue,
            waiting: HashMap::new(),
            next_id: 1,
            seen: 0,
            acked: 0,
            ack_due: None,
            frozen: false,
            ping_every: Duration::from_millis(u64::from(hello.idle_limit_ms.max(3_000)) / 3),
            out: Vec::new(),
            shared: Arc::clone(&shared),
        };
        tokio::spawn(driver.run());
        Ok(Self { calls, credits, shared, hello })
    }

    /// True while new calls may go here.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        !self.shared.retired.load(Ordering::Acquire) && !self.calls.is_closed()
    }

    /// Takes no new calls; what is in flight may still be answered.
    pub fn retire(&self) {
        self.shared.retired.store(true, Ordering::Release);
        self.shared.retire.notify_one();
    }

    /// Takes no new calls, and waits until what was in flight is answered and acknowledged.
    pub async fn close(&self) {
        self.retire();
        let _ = self.shared.ended.acquire().await;
    }

    /// Sends a call as soon as the server's credits allow. Its answers, or the news that there will be none, go to
    /// `answers`.
    pub(crate) async fn send(&self, call: Call, answers: Answers) {
        let credit = Arc::clone(&self.credits).acquire_owned().await;
        let Ok(credit) = credit else {
            let _ = answers.send(Err(Lost::NotSent));
            return;
        };
        if let Err(back) = self.calls.send(Outgoing { call, answers, credit }) {
            let _ = back.0.answers.send(Err(Lost::NotSent));
        }
    }

    /// Sends one call whose answer comes in several frames, as a history's does. The last one ends the stream.
    pub async fn stream(&self, call: Call) -> mpsc::UnboundedReceiver<Result<Answer, Lost>> {
        let (answers, stream) = mpsc::unbounded_channel();
        self.send(call, answers).await;
        stream
    }

    /// Sends one call and waits for its answer.
    pub async fn ask(&self, call: Call) -> Result<Answer, Lost> {
        let (answers, mut answer) = mpsc::unbounded_channel();
        self.send(call, answers).await;
        answer.recv().await.unwrap_or(Err(Lost::Unanswered))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.retire();
    }
}

/// Why an answer is not what was asked for.
fn unwanted((kind, answer): (u8, AnswerBody)) -> OpenError {
    match answer {
        AnswerBody::Hello(HelloAnswer { code, .. }) => OpenError::Refused { code },
        AnswerBody::Decision(d) => OpenError::Refused { code: d.code },
        AnswerBody::Goodbye(Goodbye { reason, .. }) => OpenError::Closed(reason),
        _ => FrameError::Kind { got: kind }.into(),
    }
}

/// The frames that come in, and the tunnel through which they do.
struct Reader {
    read: OwnedReadHalf,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    tunnel: Option<Box<dyn Tunnel>>,
    /// Bytes that are to go to the socket where there is a tunnel.
    sealed: Vec<u8>,
    /// Why the tunnel ended; what is sealed tells the other side.
    error: Option<TunnelError>,
}

impl Reader {
    fn take(&mut self) -> Result<Option<Answer>, FrameError> {
        match wire::scan(&self.buffer[self.start..self.end], wire::ANSWER_BYTES_MAX) {
            Scan::Frame { frame, .. } => {
                wire::check_crc(frame)?;
                let answer = wire::decode_answer(frame)?;
                self.start += frame.len();
                Ok(Some(answer))
            }
            Scan::Incomplete { .. } => Ok(None),
            Scan::Bad(e) => Err(e),
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            self.buffer.resize(self.end * 2, 0);
        }
        let n = self.read.read(&mut self.buffer[self.end..]).await?;
        let Some(tunnel) = &mut self.tunnel else {
            self.end += n;
            return Ok(n);
        };
        let mut opened = Vec::new();
        let through = tunnel.open(&self.buffer[self.end..self.end + n], &mut opened);
        self.error = through.and_then(|()| tunnel.seal(&[], &mut self.sealed)).err();
        self.buffer.truncate(self.end);
        self.buffer.extend_from_slice(&opened);
        self.end = self.buffer.len();
        self.buffer.resize((self.end + READ_BYTES).next_multiple_of(READ_BYTES), 0);
        Ok(n)
    }

    /// Writes frames, and whatever the tunnel has to say.
    async fn write(&mut self, frames: &mut Vec<u8>, write: &mut OwnedWriteHalf) -> io::Result<()> {
        let Some(tunnel) = &mut self.tunnel else {
            let written = write.write_all(frames).await;
            frames.clear();
            return written;
        };
        let sealed = tunnel.seal(frames, &mut self.sealed);
        frames.clear();
        let written = write.write_all(&self.sealed).await;
        self.sealed.clear();
        sealed.map_err(io::Error::other)?;
        written
    }

    /// The answer to the one frame that is on its way.
    async fn answer_to(
        &mut self,
        frame: &mut Vec<u8>,
        write: &mut OwnedWriteHalf,
    ) -> Result<(u8, AnswerBody), OpenError> {
        self.write(frame, write).await?;
        loop {
            if let Some(answer) = self.take()? {
                return Ok((answer.header.kind, answer.body));
            }
            let n = self.fill().await?;
            if !self.sealed.is_empty() {
                self.write(&mut Vec::new(), write).await?;
            }
            if let Some(e) = self.error.take() {
                return Err(e.into());
            }
            if n == 0 {
                return Err(OpenError::Io(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

/// The task that owns the socket.
struct Driver {
    reader: Reader,
    write: OwnedWriteHalf,
    queue: mpsc::UnboundedReceiver<Outgoing>,
    waiting: HashMap<u64, Waiting>,
    next_id: u64,
    /// Every answer up to this number was handed to its caller.
    seen: u32,
    acked: u32,
    ack_due: Option<Instant>,
    /// An answer found no caller: what is numbered after it is never acknowledged here, so that the core counts it
    /// as undelivered.
    frozen: bool,
    ping_every: Duration,
    out: Vec<u8>,
    shared: Arc<Shared>,
}

impl Driver {
    async fn run(mut self) {
        let _ = self.drive().await;
        self.shared.retired.store(true, Ordering::Release);
        self.queue.close();
        for (_, waiting) in self.waiting.drain() {
            let _ = waiting.answers.send(Err(Lost::Unanswered));
        }
        while let Some(outgoing) = self.queue.recv().await {
            let _ = outgoing.answers.send(Err(Lost::NotSent));
        }
        self.shared.ended.close();
    }

    /// Ends when the socket or the server does, or when the connection is retired and has nothing in flight.
    async fn drive(&mut self) -> io::Result<()> {
        let mut retired_at: Option<Instant> = None;
        let mut wrote_at = Instant::now();
        loop {
            let retired = self.shared.retired.load(Ordering::Acquire);
            if retired && retired_at.is_none() {
                retired_at = Some(Instant::now());
                self.queue.close();
                while let Ok(outgoing) = self.queue.try_recv() {
                    let _ = outgoing.answers.send(Err(Lost::NotSent));
                }
            }
            if retired && self.waiting.is_empty() {
                return self.send_ack().await;
            }
            let mut due = wrote_at + self.ping_every;
            due = self.ack_due.map_or(due, |at| at.min(due));
            due = retired_at.map_or(due, |at| (at + LINGER).min(due));
            tokio::select! {
                outgoing = self.queue.recv(), if !retired => match outgoing {
                    Some(outgoing) => {
                        self.encode(outgoing);
                        while let Ok(more) = self.queue.try_recv() {
                            self.encode(more);
                        }
                        wrote_at = Instant::now();
                        self.flush().await?;
                    }
                    None => self.shared.retired.store(true, Ordering::Release),
                },
                n = self.reader.fill() => {
                    if n? == 0 {
                        return Ok(());
                    }
                    while let Some(answer) = self.reader.take().map_err(io::Error::other)? {
                        self.take(answer);
                    }
                    if !self.reader.sealed.is_empty() || self.reader.error.is_some() {
                        self.flush().await?;
                        self.reader.error.take().map_or(Ok(()), |e| Err(io::Error::other(e)))?;
                    }
                }
                () = self.shared.retire.notified() => {}
                () = sleep_until(due) => {
                    let now = Instant::now();
                    if retired_at.is_some_and(|at| at + LINGER <= now) {
                        return Ok(());
                    }
                    if self.ack_due.is_none_or(|at| at > now) {
                        wire::encode_request(&self.header(wire::KIND_PING), &mut self.out);
                    }
                    self.send_ack().await?;
                    wrote_at = now;
                }
            }
        }
    }

    fn header(&self, kind: u8) -> wire::RequestHeader {
        wire::RequestHeader { kind, acked: self.seen, ..wire::RequestHeader::default() }
    }

    fn encode(&mut self, outgoing: Outgoing) {
        let id = self.next_id;
        self.next_id += 1;
        outgoing.call.encode(id, self.seen, &mut self.out);
        self.acked = self.seen;
        self.ack_due = None;
        self.waiting.insert(id, Waiting { answers: outgoing.answers, _credit: outgoing.credit });
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.reader.write(&mut self.out, &mut self.write).await
    }

    /// Sends what nothing else has carried, and whatever was encoded before.
    async fn send_ack(&mut self) -> io::Result<()> {
        if self.acked != self.seen {
            wire::encode_request(&self.header(wire::KIND_ACK), &mut self.out);
            self.acked = self.seen;
        }
        self.ack_due = None;
        self.flush().await
    }

    fn take(&mut self, answer: Answer) {
        let header = answer.header;
        if let AnswerBody::Refusals(refusals) = answer.body {
            for (request_id, decision) in refusals {
                let header = wire::AnswerHeader { kind: 0, request_id, ..header };
                self.take(Answer { header, body: AnswerBody::Decision(decision) });
            }
            return;
        }
        if let AnswerBody::Goodbye(_) = answer.body {
            self.shared.retired.store(true, Ordering::Release);
            return;
        }
        let known = if header.flags & wire::FLAG_MORE != 0 {
            self.waiting.get(&header.request_id).map(|w| w.answers.clone())
        } else {
            self.waiting.remove(&header.request_id).map(|w| w.answers)
        };
        let Some(answers) = known else { return };
        let taken = answers.send(Ok(answer)).is_ok();
        if header.number == 0 {
            return;
        }
        if !taken {
            self.frozen = true;
            self.shared.retired.store(true, Ordering::Release);
        }
        if !self.frozen {
            self.seen = header.number;
            self.ack_due.get_or_insert_with(|| Instant::now() + ACK_DELAY);
        }
    }
}
