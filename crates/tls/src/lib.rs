//! TLS 1.3 between sockets and frames, by rustls, and who a certificate names. The server and the client know only the
//! narrow interface of `tegata_wire`, and are built without this.
//!
//! Invariants: no older version, no session is resumed and nothing is sent early, so that every connection shows its
//! certificate anew; a key that others may read is refused; a caller's certificate names exactly one caller.
#![forbid(unsafe_code)]

mod client;
mod files;
mod init;
mod name;
mod server;
mod tunnel;

pub use client::ClientTls;
pub use files::TlsError;
pub use init::{InitError, init};
pub use server::ServerTls;
