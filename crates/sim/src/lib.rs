//! A seeded simulation of the whole node: the real engine, node, journal, turn and client on a simulated disk, network and
//! clock, held against a naive reference. One seed decides everything. `docs/simulation.md` says how to rerun what failed.
#![forbid(unsafe_code)]

mod caller;
mod clocks;
pub mod disk;
mod goals;
pub mod history;
pub mod invariants;
pub mod mutants;
mod net;
mod oracle;
mod plan;
mod process;
mod random;
mod session;
mod storage;
mod workload;
mod world;
pub mod worlds;

pub use goals::{Goal, Goals};
pub use plan::{Feature, Plan};
pub use random::Random;
pub use world::{Report, World};
