//! The server that the harness starts.

use super::between;
use serde::{Deserialize, Serialize};

/// The server that the harness starts.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Memory that it has ready before, in bytes.
    pub warm_bytes: u64,
    /// Bytes of log after which it takes a snapshot; 0: never.
    pub snapshot_bytes: u64,
    /// Bytes of a segment of its log.
    pub segment_bytes: u64,
    /// Requests that it lets a connection have in flight, 1 to 65536.
    pub credits: u32,
    /// The share of one processor that it may use; 0: all processors. Needs the right to real-time priority.
    pub processors: f64,
    /// Size of a disk of its own, in MiB; 0: it uses the one that temporary files are on. Needs the right to mount.
    pub disk_mib: u64,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            warm_bytes: 1_500_000_000,
            snapshot_bytes: 0,
            segment_bytes: 64 << 20,
            credits: 1_024,
            processors: 0.0,
            disk_mib: 0,
        }
    }
}

impl Server {
    pub(super) fn check(&self) -> Result<(), String> {
        between("server.credits", self.credits as usize, 65_536)?;
        if self.disk_mib > 1 << 20 {
            return Err(format!("server.disk_mib is at most 1048576, not {}", self.disk_mib));
        }
        if !(0.0..1.0).contains(&self.processors) {
            return Err(format!("server.processors is from 0 to less than 1, not {}", self.processors));
        }
        Ok(())
    }
}
