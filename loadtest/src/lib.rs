//! The load generator, as a library: it starts a server of its own, seeds it, drives it over real sockets with
//! pre-encoded frames, and says what came back. The harness and the benchmarks are thin programs over it.
#![forbid(unsafe_code)]

mod arrivals;
mod attempts;
mod calibrate;
mod cgroup;
mod codes;
pub mod compare;
mod connector;
mod disk;
mod driver;
mod echo;
mod error;
mod faults;
mod frames;
mod generator;
mod harness;
mod lane;
mod launch;
mod ledger;
mod machine;
mod numbers;
mod offers;
mod office;
pub mod percentiles;
mod personas;
mod progress;
mod proxy;
mod reconcile;
pub mod report;
mod resolve;
pub mod results;
mod scenario;
pub mod screen;
pub mod search;
mod seed;
mod share;
mod socket;
mod stage;
mod summary;
mod tally;
pub mod timeline;
pub mod tui;
mod verdict;

pub use calibrate::calibrate;
pub use echo::serve_echo;
pub use error::RunError;
pub use faults::timeline as fault_timeline;
pub use generator::{Debits, Outcome, Plan, run};
pub use harness::{Elsewhere, Liars, Run, run_scenario};
pub use launch::{CHILD_ECHO, CHILD_SERVE, ServerProcess, child_main};
pub use machine::{command_line, commit, machine};
pub use progress::{Progress, Watcher};
pub use proxy::{Lie, Proxy, Way};
pub use scenario::{Scenario, ScenarioError, load as load_scenario, named as named_scenarios, parse as parse_scenario};
pub use seed::{DataSet, seed};
pub use summary::{
    Environment, FaultReport, Latency, MODE_SILENT, Reconciliation, SCHEMA, Second, SloReport, Summary, Verdict,
};
pub use tegata_client::{Link, LinkError};
