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
