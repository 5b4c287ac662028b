//! Loom.
fn main() {}
