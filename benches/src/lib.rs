//! What the programs of this folder measure, one module for each question. Each program answers one; `numbers` asks all
//! of them and holds the answers against the goals.
#![forbid(unsafe_code)]

mod rate;
mod restart;
mod tables;

pub use rate::{Rates, Shape, per_second, rates, us};
pub use restart::{Beside, Restarts, restarts};
pub use tables::{Tables, tables};
pub use tegata_load::{command_line, commit, machine};

/// The time by this machine's clock.
#[must_use]
pub fn now() -> tegata_model::Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    tegata_model::Timestamp::from_micros(since.as_micros() as i64)
}
