//! The few lock-free pieces: a ring between two threads, a doorbell for a consumer that may sleep, the five ordered
//! positions, and the latch of a stopping server.
//!
//! Nothing here blocks, does I/O or reads a clock: a consumer sleeps by its own means (an eventfd, an epoll waker) and
//! the doorbell only says whether waking it is worth a system call.
//!
//! Invariants:
//! - what was sent into a ring comes out once, whole and in order, or is dropped once with the ring;
//! - a consumer that armed its doorbell and found nothing is woken by the next publication;
//! - every reader of the positions, at every instant, sees `acked ≤ applied ≤ durable ≤ submitted ≤ accepted`;
//! - a drained latch has nobody inside and lets nobody in.
//!
//! Each is a loom model with a broken twin that loom catches; `docs/loom.md` has the table. All atomics come through
//! the facade, so that the models run the code that ships.

#[allow(unsafe_code, reason = "the cell that std has without loom's checking interface")]
mod facade;

mod doorbell;
mod drain;
#[allow(unsafe_code, reason = "slots are handed between two threads by index; loom checks every hand-over")]
mod ring;
mod watermark;

pub use doorbell::Doorbell;
pub use drain::{Drain, Pass};
pub use ring::{Receiver, Sender, channel};
pub use watermark::{Mark, OutOfOrder, Positions, Snapshot};
