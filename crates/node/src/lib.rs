//! The node without its body: sessions' deliveries, admission, the sequencer and replay as state machines without
//! I/O, clock or threads. The server drives them; a simulation can.
//!
//! Invariants:
//! - a command is applied only after it is durable, and answered only after it is applied;
//! - before any refusal the key is looked up: a decided key gets its decision, a key in flight is never told
//!   "nothing was taken";
//! - a repeat of a key in flight waits for the decision, and no longer than its own deadline;
//! - logged time never goes back.
#![forbid(unsafe_code)]

mod batch;
mod breaker;
mod breakers;
mod crowd;
mod degrade;
mod delivery;
mod flights;
mod limits;
mod margin;
mod message;
mod node;
mod plans;
mod repeats;
mod replay;
mod retry;
mod room;
mod unlogged;

pub use batch::Sealed;
pub use breaker::{Breaker, BreakerState, Change, Event, Policy, STAGES, transitions};
pub use breakers::{BreakerFacts, DRILL_MS_MAX, Levels, Order, Policies, Transition};
pub use degrade::{Cause, Mode, Rank, Row, Treatment, mode_of};
pub use delivery::{Delivery, NeverSent};
pub use limits::Limits;
pub use margin::{Carried, Margin};
pub use message::{Answer, Guard, Inbound, Outbound, Question, Reply, Report, ServerFacts, Waiter};
pub use node::{Node, SnapshotWish};
pub use replay::{Replay, ReplayError};
pub use retry::{retry_after_ms, spread};
pub use room::Room;
