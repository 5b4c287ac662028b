//! The real journal, node and client in a simulated world. One seed decides everything that happens there.

pub mod disk;
pub mod worlds;
