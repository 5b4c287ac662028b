//! What connections hand to the core and what the core hands back: bundles, so that one hand-over carries many
//! requests.

use crate::breaker::BreakerState;
use crate::breakers::{BreakerFacts, Order};
use crate::degrade::{Cause, Mode};
use crate::room::Room;
use std::sync::Arc;
use tegata_engine::{AccountView, Counts, Plan, ProgrammeEntry, Shop, Sums};
use tegata_model::{
    AccountId, Class, Code, Decision, Extension, Key, NamespaceId, Operation, Position, ProgrammeId, State,
};

/// Who waits for an answer: a connection of one of the threads that serve connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waiter {
    /// The connection, never the same for two connections of one thread.
    pub connection: u64,
    /// The request's number on it.
    pub request: u64,
}

/// A question that changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// What is decided under a key?
    Status {
        /// Whose key.
        namespace: NamespaceId,
        /// Of which account.
        account: AccountId,
        /// The key.
        key: Key,
    },
    /// Is a key decided, whose frame can only be refused?
    Refused {
        /// Kind of the frame.
        kind: u8,
        /// Whose key.
        namespace: NamespaceId,
        /// Of which account.
        account: AccountId,
        /// The key.
        key: Key,
        /// Why it is refused.
        code: Code,
    },
    /// What is on an account?
    Balance(AccountId),
    /// What would this extension cover?
    PlanExtension(Extension),
    /// What would this reinstatement be?
    PlanReinstatement {
        /// To which account.
        account: AccountId,
        /// An [`Operation::Reinstate`]; its approval is not looked at.
        operation: Operation,
    },
    /// Position, digest and sums.
    Digest,
    /// All programmes.
    Programmes,
    /// Registered shops from a slot on, at most a frame full.
    Shops(u32),
    /// How the server is.
    Server,
    /// Start a snapshot.
    Snapshot,
    /// How the breakers are.
    Breakers,
    /// Do something to a breaker.
    Order(Cause, Order),
}

/// What a question got.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// The decision under a key, and what became of it; nothing when none is seen.
    Status {
        /// What is decided.
        decided: Option<(Decision, State)>,
        /// Otherwise: that it is being decided, is not seen, or may have been decided and forgotten.
        undecided: Code,
    },
    /// The refusal, or the conflict that names what is decided.
    Refused {
        /// Kind of the frame.
        kind: u8,
        /// The answer.
        decision: Decision,
    },
    /// The account; nothing when there is none.
    Balance {
        /// As of.
        position: Position,
        /// The account.
        account: Option<AccountView>,
    },
    /// The plan of an extension, remembered.
    Extension(Plan),
    /// The plan of a reinstatement, remembered.
    Reinstatement(Plan),
    /// Position, digest, sums.
    Digest {
        /// As of.
        position: Position,
        /// Of all decisions.
        digest: u128,
        /// By programme.
        sums: Vec<(ProgrammeId, Sums)>,
    },
    /// Programmes.
    Programmes(Vec<ProgrammeEntry>),
    /// Shops, and the slot after the last; 0 when there are no more.
    Shops(Vec<Shop>, u32),
    /// The server.
    Server(Box<ServerFacts>),
    /// A snapshot was started, or is not possible now.
    Snapshot {
        /// True when it was started.
        started: bool,
        /// As of.
        position: Position,
    },
    /// How the breakers are, and the mode.
    Breakers {
        /// After an order: the kind of the answer tells.
        ordered: bool,
        /// The mode.
        mode: Mode,
        /// In the order of the causes.
        breakers: Vec<BreakerFacts>,
    },
    /// The question is not answered now.
    NotNow {
        /// Kind of its frame.
        kind: u8,
        /// Why.
        code: Code,
        /// When to ask again, in ms; 0: not said.
        retry_after_ms: u32,
    },
}

/// How the node is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerFacts {
    /// Last position accepted into a batch.
    pub accepted: u64,
    /// Last position handed to the journal.
    pub submitted: u64,
    /// Last durable position.
    pub durable: u64,
    /// Last applied position.
    pub applied: u64,
    /// Last position known to be delivered, or logged as undelivered.
    pub delivered: u64,
    /// What is in the engine's tables.
    pub counts: Counts,
    /// Requests accepted and not yet answered.
    pub in_flight: u64,
    /// Bytes of the engine's tables.
    pub table_bytes: u64,
    /// Yen that approved advices were short of.
    pub shortfall: u64,
    /// Answers to commands since the start, by class in the order of [`tegata_model::Class`].
    pub answers: [u64; 6],
    /// Those of them that were decided before.
    pub replayed: u64,
    /// Those that were not executed, by code: 110 to 118.
    pub not_executed: [u64; 9],
    /// What the journal has room for.
    pub room: Room,
    /// The worst of the open breakers.
    pub mode: Mode,
    /// Where each breaker is, in the order of the causes.
    pub states: [BreakerState; 6],
    /// How often each came into each state, in the order of [`BreakerState::ALL`].
    pub entered: [[u64; 4]; 6],
    /// What was measured last.
    pub levels: [u64; 6],
}

/// What is still to be said about a record before it is admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// Nothing: it only keeps its place among those of its connection.
    Free,
    /// Its caller may not, unless it is decided already.
    Denied(Code),
    /// Its caller may if the value is of these programmes; sorted.
    Within(Arc<[ProgrammeId]>),
}

/// From a thread of connections to the core.
#[derive(Debug, Default)]
pub struct Inbound {
    /// Journal records, one after the other.
    pub records: Vec<u8>,
    /// Who waits for each record, in the same order.
    pub waiters: Vec<Waiter>,
    /// Records of [`crate::Node::unlooked_ranks`], of which only the header was looked at, one after the other.
    pub unlooked: Vec<u8>,
    /// Who waits for each of them, in the same order.
    pub unlooked_waiters: Vec<Waiter>,
    /// Records of callers whose rights are to be looked at, one after the other; they come before the others. Of what is
    /// denied only the header was looked at.
    pub guarded: Vec<u8>,
    /// Who waits for each of them, in the same order.
    pub guards: Vec<(Waiter, Guard)>,
    /// Questions and who asks.
    pub questions: Vec<(Waiter, Question)>,
    /// Positions whose answers were not acknowledged in time.
    pub undelivered: Vec<u64>,
    /// Positions that were acknowledged late, or whose repeat was acknowledged.
    pub delivered: Vec<u64>,
    /// How far this thread's deliveries are.
    pub report: Option<Report>,
    /// For how long a connection had to wait until it was read, at most, in µs.
    pub waited_us: u64,
    /// How many visits of connections were made since the last bundle.
    pub visits: u32,
}

impl Inbound {
    /// Bytes of its records.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.records.len() + self.unlooked.len() + self.guarded.len()
    }

    /// True when there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty()
            && self.unlooked_waiters.is_empty()
            && self.guards.is_empty()
            && self.questions.is_empty()
            && self.undelivered.is_empty()
            && self.delivered.is_empty()
            && self.report.is_none()
    }
}

/// How far one thread's deliveries are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// The highest position of the answers it has taken over.
    pub taken_over: u64,
    /// The oldest position that is not acknowledged; nothing when all are.
    pub oldest_waiting: Option<u64>,
}

/// An answer to one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Who waits.
    pub waiter: Waiter,
    /// Kind of the record.
    pub kind: u8,
    /// The stored decision again.
    pub replayed: bool,
    /// Executed although a like debit was seen.
    pub flagged: bool,
    /// When to try again, in ms; 0: not said.
    pub retry_after_ms: u32,
    /// The answer.
    pub decision: Decision,
}

impl Answer {
    /// Whether its delivery matters to the guard: approvals of debits, confirmed debits and holds, also when a fence finds
    /// them.
    #[must_use]
    #[inline]
    pub fn delivery_matters(&self) -> bool {
        matches!(self.kind, 4..=6 | 12) && self.decision.code.class() == Class::Approved
    }
}

/// From the core to a thread of connections.
#[derive(Debug, Default)]
pub struct Outbound {
    /// Answers to records.
    pub answers: Vec<Answer>,
    /// Answers to questions.
    pub replies: Vec<(Waiter, Reply)>,
    /// Everything up to this position that this thread waits for is in this bundle or an earlier one.
    pub applied: u64,
}

impl Outbound {
    /// True when there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty() && self.replies.is_empty()
    }
}
