//! One connection: what it may do, what it has in flight, what it knows, and what waits to be written to it.

use crate::access::Pass;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use tegata_model::{GatewayId, NamespaceId, Timestamp};
use tegata_node::Delivery;
use tegata_wire::{Exchange, Tunnel};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;

/// Bytes that wait to be written beyond which a caller is read no further.
const BACKLOG_BYTES: usize = 64 << 10;
/// Bytes that may wait to be written at all; beyond, the connection is closed. What was asked for before the caller was
/// read no further is less, unless all of it were lists.
const BACKLOG_BYTES_MAX: usize = 16 << 20;
/// Connections that operators have beyond those that are for all, so that gateways never lock them out.
const OPERATORS_RESERVE: usize = 64;

/// On which port a caller came in, and so what it may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// Payments.
    Gateway,
    /// Everything.
    Operator,
}

impl Door {
    /// The role that a caller has here.
    pub(crate) fn role(self) -> u8 {
        match self {
            Self::Gateway => 1,
            Self::Operator => 2,
        }
    }

    /// Connections beyond the limit for all.
    pub(crate) fn reserve(self) -> usize {
        match self {
            Self::Gateway => 0,
            Self::Operator => OPERATORS_RESERVE,
        }
    }

    /// Whether a kind of frame is served here. `docs/protocol.md` has the table.
    pub(crate) fn serves(self, kind: u8) -> bool {
        match self {
            Self::Operator => matches!(kind, 1..=19 | 24 | 25 | 64..=80),
            Self::Gateway => matches!(kind, 2..=12 | 24 | 25 | 64..=69 | 80),
        }
    }
}

/// A connection's state, shared by the task that reads it and the task that answers.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: u64,
    pub(crate) door: Door,
    pub(crate) peer: SocketAddr,
    pub(crate) stream: OwnedWriteHalf,
    pub(crate) gateway: Cell<GatewayId>,
    pub(crate) namespaces: RefCell<Vec<NamespaceId>>,
    pub(crate) greeted: Cell<bool>,
    /// It understands refusals that come together.
    pub(crate) together: Cell<bool>,
    /// What it may do; nothing: everything that is served on its port.
    pub(crate) pass: RefCell<Option<Pass>>,
    /// What was said before the hello that is to prove a secret.
    pub(crate) exchange: Cell<Option<Exchange>>,
    /// What is between the frames and the socket; nothing: they are written as they are.
    pub(crate) tunnel: Option<RefCell<Box<dyn Tunnel>>>,
    /// What goes to the socket where there is a tunnel.
    sealed: RefCell<Vec<u8>>,
    pub(crate) in_flight: Cell<u32>,
    pub(crate) credits: Cell<u32>,
    pub(crate) delivery: RefCell<Delivery>,
    pub(crate) out: RefCell<Vec<u8>>,
    /// Told when an answer went out, while somebody waits for that: a reader that stopped at its credits.
    pub(crate) progress: Notify,
    pub(crate) progress_awaited: Cell<bool>,
    /// Told when reading must end although the caller may still send: idle, broken, or the server stops.
    pub(crate) end: Notify,
    pub(crate) idle: Cell<bool>,
    pub(crate) opened_at: Timestamp,
    /// When a read last left nothing behind: what is read later came later. Zero: none did, and what a caller sent who came
    /// while this thread stood still may have lain there for as long.
    pub(crate) emptied_at: Cell<Timestamp>,
    /// When the last whole frame came, or it was opened: whoever only ever begins one is idle.
    pub(crate) asked_at: Cell<Timestamp>,
    /// Told when something waits to be written that the socket did not take.
    pub(crate) backlog: Notify,
    pub(crate) broken: Cell<bool>,
    /// The caller said goodbye, or its half of the connection ended: what is in flight is still answered.
    pub(crate) leaving: Cell<bool>,
}

impl Connection {
    pub(crate) fn new(
        id: u64,
        door: Door,
        peer: SocketAddr,
        stream: TcpStream,
        tunnel: Option<Box<dyn Tunnel>>,
        credits: u32,
        at: Timestamp,
    ) -> (Self, OwnedReadHalf) {
        let (read, stream) = stream.into_split();
        let connection = Self {
            id,
            door,
            peer,
            stream,
            gateway: Cell::new(GatewayId::NONE),
            namespaces: RefCell::new(Vec::new()),
            greeted: Cell::new(false),
            together: Cell::new(false),
            pass: RefCell::new(None),
            exchange: Cell::new(None),
            tunnel: tunnel.map(RefCell::new),
            sealed: RefCell::new(Vec::new()),
            in_flight: Cell::new(0),
            credits: Cell::new(credits),
            delivery: RefCell::new(Delivery::default()),
            out: RefCell::new(Vec::with_capacity(4_096)),
            progress: Notify::new(),
            progress_awaited: Cell::new(false),
            end: Notify::new(),
            idle: Cell::new(false),
            opened_at: at,
            emptied_at: Cell::new(Timestamp::ZERO),
            asked_at: Cell::new(at),
            backlog: Notify::new(),
            broken: Cell::new(false),
            leaving: Cell::new(false),
        };
        (connection, read)
    }

    /// Whether the caller may use keys of a namespace.
    pub(crate) fn may_use(&self, namespace: NamespaceId) -> bool {
        let listed = self.namespaces.borrow();
        !namespace.is_none()
            && (listed.is_empty() || listed.contains(&namespace))
            && self.pass.borrow().as_ref().is_none_or(|pass| pass.caller.may_use(namespace))
    }

    /// True when nothing more is read from the caller until answers went out.
    pub(crate) fn is_at_its_limit(&self) -> bool {
        self.in_flight.get() >= self.credits.get() || self.backlog_bytes() > BACKLOG_BYTES
    }

    /// Bytes that the socket has not taken.
    pub(crate) fn backlog_bytes(&self) -> usize {
        self.out.borrow().len() + if self.tunnel.is_some() { self.sealed.borrow().len() } else { 0 }
    }

    /// A request was taken.
    pub(crate) fn taken(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
    }

    /// A request was answered.
    pub(crate) fn answered(&self) {
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
        if self.progress_awaited.get() {
            self.progress.notify_one();
        }
    }

    /// Waits until an answer went out, or the connection broke.
    pub(crate) async fn progress(&self) {
        self.progress_awaited.set(true);
        self.progress.notified().await;
        self.progress_awaited.set(false);
    }

    /// The connection is of no use any more: whoever waits for it goes on.
    pub(crate) fn give_up(&self) {
        self.broken.set(true);
        self.backlog.notify_one();
        self.progress.notify_one();
        self.end.notify_one();
    }

    /// Writes as much as the socket takes now. What is left waits for the writing task.
    pub(crate) fn flush(&self) {
        let mut out = self.out.borrow_mut();
        if let Some(tunnel) = &self.tunnel {
            let mut sealed = self.sealed.borrow_mut();
            if tunnel.borrow_mut().seal(&out, &mut sealed).is_err() {
                self.broken.set(true);
            }
            out.clear();
            drop(out);
            out = sealed;
        }
        let mut written = 0;
        while written < out.len() {
            match self.stream.try_write(&out[written..]) {
                Ok(0) => {
                    self.broken.set(true);
                    break;
                }
                Ok(n) => written += n,
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.broken.set(true);
                    break;
                }
            }
        }
        out.drain(..written);
        let backlog = out.len();
        drop(out);
        if self.progress_awaited.get() {
            self.progress.notify_one();
        }
        if backlog > BACKLOG_BYTES_MAX || self.broken.get() {
            self.give_up();
        } else if backlog > 0 {
            self.backlog.notify_one();
        }
    }

    /// True when nothing is in flight and everything is written.
    pub(crate) fn is_settled(&self) -> bool {
        self.in_flight.get() == 0 && self.backlog_bytes() == 0
    }
}
