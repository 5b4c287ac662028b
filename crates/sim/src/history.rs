//! What an observer of a world sees, in the order in which it happens. Invariants look at nothing else.

use tegata_client::Outcome;
use tegata_engine::{Applied, Sums};
use tegata_model::{
    AccountId, Command, Decision, Envelope, Key, NamespaceId, Operation, Position, ProgrammeId, Timestamp,
};
use tegata_node::ServerFacts;

/// Under what a request is decided once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    /// Whose key.
    pub namespace: NamespaceId,
    /// Of which account.
    pub account: AccountId,
    /// The key.
    pub key: Key,
}

impl Scope {
    /// Of a record.
    #[must_use]
    pub fn of(e: &Envelope) -> Self {
        Self { namespace: e.namespace, account: e.account, key: e.key }
    }

    /// What is asked under it, as a number; a repeat has the same.
    #[must_use]
    pub fn asks(&self, operation: &Operation) -> u64 {
        let envelope = Envelope { account: self.account, ..Envelope::default() };
        Command { envelope, operation: *operation }.fingerprint().0 ^ u64::from(operation.kind())
    }
}

/// A request on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The connection, never the same twice in a world.
    pub connection: u64,
    /// The request's number on it.
    pub request: u64,
}

/// How a node is bounded, and how it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Requests that are accepted and not answered.
    pub in_flight: u64,
    /// Those that all connections may have in flight, and the node's own.
    pub in_flight_max: u64,
    /// Batches in flight.
    pub batches: usize,
    /// At most.
    pub batches_max: usize,
    /// The node's positions.
    pub facts: ServerFacts,
}

/// One thing that happened.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::large_enum_variant, reason = "one lives at a time")]
pub enum Event<'a> {
    /// A caller decided on something, or asks for the same again.
    Asked {
        /// Its key.
        scope: Scope,
        /// What.
        operation: &'a Operation,
    },
    /// A caller was told what became of it.
    Told {
        /// Its key.
        scope: Scope,
        /// What it had asked.
        operation: &'a Operation,
        /// The outcome.
        outcome: &'a Outcome,
    },
    /// The node took a request of a connection.
    Accepted {
        /// Which.
        place: Place,
        /// Its key and what it asks; nothing for a question.
        asked: Option<(Scope, u64)>,
    },
    /// A session was given an answer to a command or to a status.
    Answered {
        /// Which request.
        place: Place,
        /// Its key and what it asked; nothing for a status.
        asked: Option<(Scope, u64)>,
        /// The answer.
        decision: &'a Decision,
        /// What the journal calls durable.
        durable: u64,
        /// Its key is out of the horizon: what was decided may be forgotten.
        too_old: bool,
    },
    /// A session was given an answer to a question.
    Replied(Place),
    /// A connection ended, or the process did.
    Ended {
        /// Which.
        connection: u64,
    },
    /// A batch was handed to the journal.
    Sealed {
        /// Position of its first record.
        first: u64,
        /// Its logged time.
        at: i64,
    },
    /// A record is durable, and this is what it comes to.
    Decided {
        /// Its position.
        position: Position,
        /// Its logged time.
        at: Timestamp,
        /// The command.
        command: &'a Command,
        /// What the engine makes of it.
        applied: &'a Applied,
        /// What the reference makes of it.
        expected: &'a Applied,
    },
    /// The engine looked at all of its tables.
    Audited(&'a Result<(), String>),
    /// An account of the live engine and of the reference.
    Compared {
        /// Which.
        account: AccountId,
        /// Whether they are the same.
        same: bool,
    },
    /// Sums of the live engine and of the reference.
    Books {
        /// The programme.
        programme: ProgrammeId,
        /// What the engine says.
        engine: Sums,
        /// What the reference says.
        reference: Sums,
    },
    /// Digests at one position.
    Digests {
        /// Of the running node.
        live: u128,
        /// Of its log, applied to an empty state.
        replayed: u128,
        /// True when the running node began with a snapshot or a log just now.
        recovered: bool,
    },
    /// A start found the log to end here.
    Recovered {
        /// The last position.
        last: u64,
        /// What the process before had called durable.
        durable: u64,
    },
    /// How full everything is.
    Load(Load),
    /// Everything is healed, and was given time.
    Healed {
        /// Requests of callers that have no outcome.
        open: u64,
        /// Those whose outcome is unknown.
        unknown: u64,
        /// Requests that the node has not answered.
        in_flight: u64,
        /// Breakers that are not closed.
        tripped: u64,
    },
}
