//! The load generator, as a library: it starts a server of its own, seeds it, drives it over real sockets with
//! pre-encoded frames, and says what came back. The harness and the benchmarks are thin programs over it.
#![forbid(unsafe_code)]

pub mod compare;
mod echo;
mod generator;
mod launch;
mod numbers;
pub mod percentiles;
mod purchases;
pub mod report;
mod seed;
mod summary;
pub mod timeline;

pub use echo::serve_echo;
pub use generator::{Outcome, Plan, run};
pub use launch::{CHILD_ECHO, CHILD_SERVE, ServerProcess, child_main};
pub use purchases::Purchases;
pub use seed::{account, seed, shop};
pub use summary::{
    Environment, FaultReport, Latency, Reconciliation, SCHEMA, Second, SloReport, Summary, Verdict,
};
pub use tegata_client::{Link, LinkError};
