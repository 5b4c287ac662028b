//! Who is connected: many threads read it (status, listings), each connection changes its own line twice.

use crate::connection::Connection;
use dashmap::DashMap;
use std::net::SocketAddr;

/// A connection as others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// From where.
    pub peer: SocketAddr,
    /// The gateway's number; 0 before its hello.
    pub gateway: u32,
    /// True on the operators' port.
    pub operator: bool,
}

/// All connections, by thread and id.
#[derive(Debug, Default)]
pub struct Sessions(DashMap<(usize, u64), Session>);

impl Sessions {
    pub(crate) fn open(&self, thread: usize, c: &Connection) {
        let operator = c.door == crate::connection::Door::Operator;
        self.0.insert((thread, c.id), Session { peer: c.peer, gateway: 0, operator });
    }

    pub(crate) fn greeted(&self, thread: usize, id: u64, gateway: u32) {
        if let Some(mut s) = self.0.get_mut(&(thread, id)) {
            s.gateway = gateway;
        }
    }

    pub(crate) fn close(&self, thread: usize, id: u64) {
        self.0.remove(&(thread, id));
    }

    /// Everyone who is connected.
    #[must_use]
    pub fn list(&self) -> Vec<Session> {
        self.0.iter().map(|s| *s.value()).collect()
    }
}
