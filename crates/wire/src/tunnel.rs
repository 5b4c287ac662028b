//! What may stand between a socket and the frames: bytes in, bytes out. Who drives it owns the socket; nobody here knows
//! what the bytes are made of.

use std::net::SocketAddr;

/// Why a tunnel ends. Says nothing of what was sent through it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelError(pub String);

impl core::fmt::Display for TunnelError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TunnelError {}

/// One connection's.
pub trait Tunnel: Send + core::fmt::Debug {
    /// Takes bytes that came from the socket and appends what they carry. After an error nothing more is taken; what
    /// [`Tunnel::seal`] gives then tells the other side.
    fn open(&mut self, sealed: &[u8], plain: &mut Vec<u8>) -> Result<(), TunnelError>;

    /// Appends the bytes that carry `plain`, and whatever else is to be sent.
    fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>) -> Result<(), TunnelError>;

    /// True while the two sides do not yet know each other.
    fn is_opening(&self) -> bool;

    /// Role and number that the other side has proven.
    fn peer(&self) -> Option<(u8, u32)>;
}

/// A server's.
pub trait Tunnels: Send + Sync + core::fmt::Debug {
    /// For a connection that was accepted.
    fn accept(&self) -> Result<Box<dyn Tunnel>, TunnelError>;

    /// Reads its files again. Connections that are there go on; after an error so does everything else.
    fn reload(&self) -> Result<(), TunnelError>;
}

/// A client's.
pub trait Dial: Send + Sync + core::fmt::Debug {
    /// For a connection to an address.
    fn dial(&self, addr: SocketAddr) -> Result<Box<dyn Tunnel>, TunnelError>;
}
