//! The command line as its users have it: the real binary, a real server, exit codes and JSON.

mod access;
mod audit;
mod breakers;
mod callers;
mod demo;
mod disk;
mod failed_disk;
mod folders;
mod full_disk;
mod office;
mod payments;
mod snapshots;
mod stage;
mod stand_in;
mod till;
mod tls;
mod watching;
