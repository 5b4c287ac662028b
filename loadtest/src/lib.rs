//! The load generator, as a library: it starts a server of its own, seeds it, drives it over real sockets with
//! pre-encoded frames, and says what came back. The harness and the benchmarks are thin programs over it.
#![forbid(unsafe_code)]

mod arrivals;
mod attempts;
pub mod compare;
mod driver;
mod echo;
mod faults;
mod frames;
mod generator;
mod harness;
mod launch;
mod ledger;
mod machine;
mod numbers;
mod offer;
mod office;
pub mod percentiles;
mod proxy;
mod purchases;
mod reconcile;
pub mod report;
mod resolve;
mod scenario;
mod seed;
mod summary;
pub mod timeline;

pub use echo::serve_echo;
pub use generator::{Outcome, Plan, run};
pub use harness::{Elsewhere, Liars, Run, RunError, run_scenario};
pub use launch::{CHILD_ECHO, CHILD_SERVE, ServerProcess, child_main};
pub use machine::{command_line, commit, machine};
pub use proxy::{Lie, Proxy, Way};
pub use purchases::Purchases;
pub use scenario::{Scenario, ScenarioError, load as load_scenario, named as named_scenarios};
pub use seed::{DataSet, account, seed, seed_data, shop};
pub use summary::{
    Environment, FaultReport, Latency, MODE_SILENT, Reconciliation, SCHEMA, Second, SloReport, Summary, Verdict,
};
pub use tegata_client::{Link, LinkError};
