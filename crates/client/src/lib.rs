//! The gateway's side of the protocol: so far a plain connection. Pipelining with reconnects, retries with the same
//! key and the way out of an unknown outcome are to come.
#![forbid(unsafe_code)]

mod link;

pub use link::{Link, LinkError};
