//! A thread of connections: one tokio runtime on one thread. Frames that arrive in one turn go to the core as one
//! bundle, and the answers of one bundle go out with one write per connection.

mod awake;
mod reading;

use crate::Shared;
use crate::clock;
use crate::connection::{Connection, Door};
use crate::core::Core;
use crate::denials::Denial;
use crate::frames;
use crate::handover::IoSide;
use crate::replies;
use awake::Awake;
use reading::read;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tegata_access::{Asked, Class};
use tegata_journal::WriteError;
use tegata_model::{AccountId, Code, Timestamp};
use tegata_node::{Delivery, Inbound, Report};
use tegata_wire::{self as wire, CloseReason};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};

/// A caller that has not said hello after so long is no caller, in µs.
const HELLO_US: u64 = 5_000_000;
/// Connections that are accepted before whoever is there has [`ACCEPT_REST`] to itself: a herd that connects at once waits
/// outside.
const ACCEPTED_AT_ONCE: u32 = 4;
/// Some two thousand connections a second still come in.
const ACCEPT_REST: Duration = Duration::from_millis(1);
/// How often connections and their deliveries are looked at.
const TICK: Duration = Duration::from_millis(100);

/// What the tasks of one thread share.
pub(crate) struct Hub {
    pub(crate) side: RefCell<IoSide>,
    pub(crate) bundle: RefCell<Inbound>,
    pub(crate) dirty: Notify,
    pub(crate) connections: RefCell<HashMap<u64, Rc<Connection>>>,
    /// To read a connection.
    turn: Semaphore,
    /// What was read last: one for all of them, so that a connection costs no memory until it sends.
    read: RefCell<Vec<u8>>,
    pub(crate) next_id: Cell<u64>,
    pub(crate) taken_over: Cell<u64>,
    pub(crate) thread: usize,
    last_report: Cell<Report>,
    awake: Cell<Awake>,
    pub(crate) shared: Arc<Shared>,
}

/// What a thread of connections begins with.
pub(crate) struct Doorway {
    pub(crate) thread: usize,
    pub(crate) side: IoSide,
    pub(crate) shared: Arc<Shared>,
    pub(crate) listeners: Vec<(Door, std::net::TcpListener)>,
}

/// Runs a thread of connections until the server stops; with a core, also that.
pub(crate) fn run(door: Doorway, core: Option<Core>) -> Result<(), WriteError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .event_interval(31)
        .build()
        .expect("a runtime needs a few file descriptors");
    let local = tokio::task::LocalSet::new();
    let start = door.shared.positions.get(tegata_sync::Mark::Applied);
    let hub = Rc::new(Hub {
        side: RefCell::new(door.side),
        bundle: RefCell::new(Inbound::default()),
        dirty: Notify::new(),
        connections: RefCell::new(HashMap::new()),
        turn: Semaphore::new(1),
        read: RefCell::new(vec![0; reading::READ_BYTES]),
        next_id: Cell::new(1),
        taken_over: Cell::new(start),
        thread: door.thread,
        last_report: Cell::new(Report::default()),
        awake: Cell::default(),
        shared: door.shared,
    });
    let last = Rc::clone(&hub);
    let serving = serve(hub, door.listeners);
    local.block_on(&runtime, async {
        match core {
            None => {
                serving.await;
                Ok(())
            }
            Some(core) => {
                let serving = tokio::task::spawn_local(serving);
                let result = core.run_here().await;
                // The last answers go out before the thread ends.
                last.give_answers();
                if result.is_err() {
                    last.say_failed();
                }
                serving.abort();
                result
            }
        }
    })
}

async fn serve(hub: Rc<Hub>, listeners: Vec<(Door, std::net::TcpListener)>) {
    let answers = Arc::clone(&hub.side.borrow().answers);
    for (door, listener) in listeners {
        tokio::task::spawn_local(accept(Rc::clone(&hub), door, listener));
    }
    tokio::task::spawn_local(send_bundles(Rc::clone(&hub)));
    tokio::task::spawn_local(tick(Rc::clone(&hub)));
    let mut told = false;
    loop {
        answers.notified().await;
        hub.give_answers();
        if hub.shared.is_stopping() {
            hub.connections.borrow().values().for_each(|c| c.end.notify_one());
        }
        if hub.shared.is_stopping() && !told && hub.connections.borrow().is_empty() {
            told = true;
            hub.shared.quiet_threads.fetch_add(1, Ordering::Release);
            hub.side.borrow().core.ring();
        }
        if hub.shared.stopped() {
            hub.give_answers();
            if hub.shared.failed.load(Ordering::Acquire) {
                hub.say_failed();
            }
            return;
        }
    }
}

async fn accept(hub: Rc<Hub>, door: Door, listener: std::net::TcpListener) {
    let listener = TcpListener::from_std(listener).expect("a listener can be watched");
    let mut in_a_row = 0;
    loop {
        let stopping = hub.shared.stopping.notified();
        // From here on it hears of a stop; what came before is seen.
        if hub.shared.is_stopping() {
            return;
        }
        let accepted = tokio::select! {
            a = listener.accept() => a,
            () = stopping => return,
        };
        if hub.shared.is_stopping() {
            return;
        }
        match accepted {
            Ok((stream, peer)) => {
                hub.open(door, stream, peer);
                in_a_row += 1;
                if in_a_row == ACCEPTED_AT_ONCE {
                    in_a_row = 0;
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
            // Out of descriptors, most likely: wait for a connection to end rather than spin.
            Err(_) => tokio::time::sleep(TICK).await,
        }
    }
}

/// Sends what was gathered when every task that is ready has had its turn.
async fn send_bundles(hub: Rc<Hub>) {
    loop {
        hub.dirty.notified().await;
        while !hub.send_bundle() {
            hub.room().await;
        }
    }
}

/// Looks at connections now and then, and tells the core how far their deliveries are.
async fn tick(hub: Rc<Hub>) {
    let mut every = tokio::time::interval(TICK);
    loop {
        every.tick().await;
        let now = clock::now();
        hub.look_awake(now);
        hub.check_silence(now);
        hub.check_deliveries(now);
    }
}

impl Hub {
    fn open(self: &Rc<Self>, door: Door, stream: TcpStream, peer: SocketAddr) {
        let count = self.shared.connections.fetch_add(1, Ordering::Relaxed);
        let _ = stream.set_nodelay(true);
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        let tunnel = match self.shared.tunnels.as_ref().map(|t| t.accept()).transpose() {
            Ok(tunnel) => tunnel,
            Err(_) => {
                self.shared.connections.fetch_sub(1, Ordering::Relaxed);
                return;
            }
        };
        let (c, half) = Connection::new(id, door, peer, stream, tunnel, self.shared.config.credits, clock::now());
        let c = Rc::new(c);
        if count >= self.shared.config.connections_max + door.reserve() {
            say_goodbye(&c, CloseReason::Overload);
            self.shared.connections.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        self.connections.borrow_mut().insert(id, Rc::clone(&c));
        self.shared.sessions.open(self.thread, &c);
        tokio::task::spawn_local(drain_backlog(Rc::clone(&c)));
        tokio::task::spawn_local(read(Rc::clone(self), c, half));
    }

    /// The journal failed: whoever is still there is told, after everything that could be answered.
    fn say_failed(&self) {
        self.connections.borrow().values().for_each(|c| say_goodbye(c, CloseReason::Failed));
    }

    fn close(&self, c: &Connection) {
        c.give_up();
        self.connections.borrow_mut().remove(&c.id);
        self.shared.sessions.close(self.thread, c.id);
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
        c.delivery.borrow_mut().close(&mut self.bundle.borrow_mut().undelivered);
        self.dirty.notify_one();
        if self.shared.is_stopping() {
            self.side.borrow().answers.notify_one();
        }
    }

    /// True when the bundle is on its way, or there is none.
    fn send_bundle(&self) -> bool {
        let mut bundle = self.bundle.borrow_mut();
        if bundle.is_empty() {
            return true;
        }
        let mut side = self.side.borrow_mut();
        let empty = side.empty_inbound.try_recv().unwrap_or_default();
        let full = std::mem::replace(&mut *bundle, empty);
        match side.to_core.try_send(full) {
            Ok(()) => {
                side.core.ring();
                true
            }
            Err(back) => {
                *bundle = back;
                false
            }
        }
    }

    /// Waits while the ring to the core is full.
    async fn room(&self) {
        let is_full = || self.side.borrow().to_core.is_full();
        while is_full() {
            let taken = Arc::clone(&self.side.borrow().taken);
            let mut taken = std::pin::pin!(taken.notified());
            // From here on it hears of every bundle that is taken.
            taken.as_mut().enable();
            if is_full() {
                taken.await;
            }
        }
    }

    fn give_answers(&self) {
        loop {
            let Some(mut bundle) = self.side.borrow_mut().from_core.try_recv() else { return };
            let at = clock::now();
            let limit = Delivery::limit(at, self.shared.config.ack_s);
            let connections = self.connections.borrow();
            let mut dirty: Vec<&Rc<Connection>> = Vec::new();
            let mark = |c: &'_ Rc<Connection>| c.out.borrow().is_empty();
            let mut current: Option<&Rc<Connection>> = None;
            let mut row = None;
            for answer in &bundle.answers {
                // Answers to one connection mostly come in a row.
                if current.is_none_or(|c| c.id != answer.waiter.connection) {
                    current = connections.get(&answer.waiter.connection);
                }
                let Some(c) = current else {
                    // Nobody is there to take it.
                    if answer.delivery_matters() && !answer.replayed {
                        self.bundle.borrow_mut().undelivered.push(answer.decision.position.get());
                        self.dirty.notify_one();
                    }
                    continue;
                };
                if mark(c) {
                    dirty.push(c);
                }
                if answer.decision.code == Code::ProgrammeNotPermitted {
                    let header = wire::RequestHeader { kind: answer.kind, ..wire::RequestHeader::default() };
                    let asked = Asked { kind: answer.kind, ..Asked::default() };
                    self.deny(c, answer.decision.code, c.gateway.get().get(), &header, asked, at);
                }
                if !frames::put_together(&mut row, c, answer, at) {
                    frames::put_answer(c, answer, at, &mut c.out.borrow_mut());
                }
                if answer.delivery_matters() && !answer.replayed && answer.decision.at <= limit {
                    // Until the next tick nobody might ask about it.
                    c.delivery.borrow_mut().expire(limit, &mut self.bundle.borrow_mut().undelivered);
                    self.dirty.notify_one();
                }
                c.answered();
            }
            frames::end_row(&mut row);
            for (waiter, reply) in bundle.replies.drain(..) {
                let Some(c) = connections.get(&waiter.connection) else { continue };
                if mark(c) {
                    dirty.push(c);
                }
                replies::put(c, waiter.request, &reply, &self.shared, at, &mut c.out.borrow_mut());
                c.answered();
            }
            for c in dirty {
                c.flush();
            }
            self.taken_over.set(bundle.applied.max(self.taken_over.get()));
            bundle.answers.clear();
            let _ = self.side.borrow_mut().empty_outbound.try_send(bundle);
        }
    }

    /// Puts a denial into the trail.
    #[cold]
    fn deny(&self, c: &Connection, code: Code, number: u32, h: &wire::RequestHeader, asked: Asked, at: Timestamp) {
        let class = if c.door == Door::Operator { Class::Operator } else { Class::Gateway };
        let account = AccountId::from_bytes(h.account).unwrap_or(AccountId::NONE);
        let namespace = h.namespace;
        self.shared.denials.tell(&Denial { at, code, peer: c.peer, class, number, asked, namespace, account });
    }

    /// It is `now`, and this thread runs. Where it stood still, what nobody acknowledged meanwhile goes to the core before
    /// whatever is read now.
    fn look_awake(&self, now: Timestamp) -> Awake {
        let mut awake = self.awake.get();
        let stood = awake.look(now);
        self.awake.set(awake);
        if stood {
            self.check_deliveries(now);
        }
        awake
    }

    /// Ends what is silent for too long.
    fn check_silence(&self, now: Timestamp) {
        let silent = now.minus_micros(u64::from(self.shared.config.idle_ms) * 1_000);
        for c in self.connections.borrow().values() {
            let unknown = !c.greeted.get() && c.opened_at < now.minus_micros(HELLO_US);
            if unknown || c.asked_at.get() < silent && c.in_flight.get() == 0 {
                c.idle.set(true);
                c.end.notify_one();
            }
        }
    }

    fn check_deliveries(&self, now: Timestamp) {
        let limit = Delivery::limit(now, self.shared.config.ack_s);
        let mut bundle = self.bundle.borrow_mut();
        let mut oldest: Option<u64> = None;
        for c in self.connections.borrow().values() {
            let mut delivery = c.delivery.borrow_mut();
            delivery.expire(limit, &mut bundle.undelivered);
            oldest = match (oldest, delivery.oldest()) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        let report = Report { taken_over: self.taken_over.get(), oldest_waiting: oldest };
        if self.last_report.replace(report) != report || !bundle.is_empty() {
            bundle.report = Some(report);
            drop(bundle);
            self.dirty.notify_one();
        }
    }
}

/// Writes what the socket did not take at once.
async fn drain_backlog(c: Rc<Connection>) {
    loop {
        c.backlog.notified().await;
        while c.backlog_bytes() > 0 && !c.broken.get() {
            if c.stream.writable().await.is_err() {
                c.broken.set(true);
            }
            c.flush();
        }
        if c.broken.get() {
            return;
        }
    }
}

fn say_goodbye(c: &Connection, reason: CloseReason) {
    wire::encode_goodbye(&mut c.out.borrow_mut(), reason, 0);
    c.flush();
}
