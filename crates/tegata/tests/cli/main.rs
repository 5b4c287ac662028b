//! The command line as its users have it: the real binary, a real server, exit codes and JSON.

mod folders;
mod office;
mod payments;
mod snapshots;
mod stage;
mod watching;
