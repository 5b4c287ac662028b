//! The client against a real server, through a proxy that loses what the tests want lost.

mod credits;
mod failover;
mod outcomes;
mod proxy;
mod refusals;
mod stage;
