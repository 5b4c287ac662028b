//! The gateway's side of the protocol.
//!
//! ```text
//! Client::decide ──same key, jittered, within the deadline──▶ Connection (pipelined) ──▶ server
//!      └──▶ Approved | Unconfirmed | Declined | SuspectedDuplicate | NotExecuted | Conflict
//!           Unknown ──resolve──▶ Approved | Unconfirmed | Declined
//! StandIn::decide ──nobody can be reached──▶ Approved here, within a lease, and told later
//! ```
//!
//! Invariants: a key is made once per customer's decision and kept over every send; `NotExecuted` is said only when
//! every send of the attempt was definitely refused, and by `StandIn` only where no earlier attempt under the key is unknown; of the refusals only `fenced` is about the key; an answer is acknowledged only after it was handed to the caller.
#![forbid(unsafe_code)]

mod call;
mod client;
mod connection;
mod keys;
mod link;
mod outcome;
mod retry;
mod sends;
mod spool;
mod stand_in;

pub use call::{Ask, Call};
pub use client::{Client, Options};
pub use connection::{Access, Connection, Credential, Lost, OpenError, Role};
pub use keys::new_key;
pub use link::{Link, LinkError};
pub use outcome::{Decided, InDoubt, Outcome};
pub use retry::Budget;
pub use sends::{Attempt, Next, Resolving, Sends};
pub use spool::SpoolError;
pub use stand_in::{StandIn, StandInOptions, Step, Tended};
pub use tegata_wire::{Answer, Dial, Secret};
