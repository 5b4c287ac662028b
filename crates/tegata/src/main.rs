//! The command line: serve, demo, operate, inspect.

fn main() {}
