//! The trials, by what is harmed.

pub(crate) mod disks;
pub(crate) mod fuses;
pub(crate) mod kills;
pub(crate) mod limits;
