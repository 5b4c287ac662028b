//! The server under test with everything around it: its proxy, its disk, its limits. It is started again on the same
//! data and the same ports.

use crate::disk::Disk;
use crate::error::RunError;
use crate::launch::{CHILD_SERVE, ServerProcess};
use crate::machine::{forget_memory_peak, memory_bytes};
use crate::proxy::{Lie, Proxy};
use crate::scenario::{Scenario, Server};
use crate::share::Share;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The server under test.
#[derive(Debug)]
pub struct Stage {
    pub(crate) process: Option<ServerProcess>,
    pub(crate) proxy: Option<Proxy>,
    /// Its own disk, where the scenario gives it one; behind the process, which must end first.
    pub(crate) disk: Option<Disk>,
    /// What limits its processors.
    limits: Option<Share>,
    pub(crate) data: PathBuf,
    settings: Vec<String>,
    /// Where gateways connect.
    pub addr: SocketAddr,
    /// Where operators connect.
    pub operate: SocketAddr,
    /// The longest start after a fault.
    pub slowest_start_ms: u64,
    /// The most memory that a process held which is gone.
    memory_peak: Option<u64>,
}

impl Stage {
    /// Starts a server on fresh data in `folder`, as the scenario wants it. A liar stands before it where one is given.
    pub fn start(s: &Scenario, folder: &Path, lie: Option<Box<Lie>>) -> Result<Self, RunError> {
        let disk = match s.server.disk_mib {
            0 => None,
            mib => Some(Disk::make(folder, mib << 20).map_err(RunError::Privilege)?),
        };
        let limits = if s.server.processors > 0.0 {
            Some(Share::new(s.server.processors).map_err(RunError::Privilege)?)
        } else {
            None
        };
        let data = disk.as_ref().map_or(folder, |d| &d.path).join("data");
        let Server { warm_bytes, snapshot_bytes, segment_bytes, credits, .. } = s.server;
        let mut settings = vec![
            format!("warm_bytes={warm_bytes}"),
            format!("snapshot_bytes={snapshot_bytes}"),
            format!("segment_bytes={segment_bytes}"),
            format!("credits={credits}"),
        ];
        let process = ServerProcess::start(CHILD_SERVE, &data, &settings).map_err(RunError::server)?;
        let (addr, operate) = (process.addr, process.operate);
        settings.extend([format!("listen={addr}"), format!("operate={operate}")]);
        let (process, proxy) = (Some(process), None);
        let (slowest_start_ms, memory_peak) = (0, None);
        let mut stage =
            Self { process, proxy, disk, limits, data, settings, addr, operate, slowest_start_ms, memory_peak };
        stage.limit().map_err(RunError::Privilege)?;
        if lie.is_some() || s.fault.iter().any(|f| f.kind.is_on_the_way()) {
            stage.put_proxy(lie).map_err(RunError::server)?;
        }
        Ok(stage)
    }

    fn limit(&self) -> Result<(), String> {
        match (&self.limits, &self.process) {
            (Some(limits), Some(process)) => limits.take_in(process.id()),
            _ => Ok(()),
        }
    }

    /// Starts the server that is gone; says how long that took, in ms.
    pub(crate) fn start_again(&mut self) -> io::Result<u64> {
        let began = Instant::now();
        self.process = Some(ServerProcess::start(CHILD_SERVE, &self.data, &self.settings)?);
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.slowest_start_ms = self.slowest_start_ms.max(ms);
        self.limit().map_err(io::Error::other)?;
        Ok(ms)
    }

    /// Puts a proxy between clients and server, with a liar in it or without.
    fn put_proxy(&mut self, lie: Option<Box<Lie>>) -> io::Result<()> {
        let proxy = Proxy::start(self.addr, lie)?;
        self.addr = proxy.addr;
        self.proxy = Some(proxy);
        Ok(())
    }

    /// Bytes of memory that the server holds. Its peak counts from now on.
    pub(crate) fn begin_memory_peak(&self) -> Option<u64> {
        let process = self.process.as_ref()?.id();
        forget_memory_peak(process).ok()?;
        memory_bytes(process, "VmRSS:")
    }

    /// The most memory that it has held since, whichever process it was.
    pub(crate) fn memory_peak_bytes(&self) -> Option<u64> {
        let now = self.process.as_ref().and_then(|p| memory_bytes(p.id(), "VmHWM:"));
        now.max(self.memory_peak)
    }

    /// The process, which is about to end.
    pub(crate) fn take_process(&mut self) -> Option<ServerProcess> {
        self.memory_peak = self.memory_peak_bytes();
        self.process.take()
    }

    /// Ends the server in order.
    pub fn end(self) -> io::Result<()> {
        match self.process.map(ServerProcess::stop) {
            Some(Ok(status)) if !status.success() => Err(io::Error::other(format!("the server ended with {status}"))),
            Some(Err(e)) => Err(e),
            _ => Ok(()),
        }
    }

    /// Its data folder.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }
}

#[cfg(test)]
impl Stage {
    /// No server, and a proxy that leads to an echo.
    pub(crate) fn empty() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("bound");
        std::thread::spawn(move || {
            for mut s in listener.incoming().flatten() {
                std::thread::spawn(move || io::copy(&mut s.try_clone().expect("a socket"), &mut s));
            }
        });
        let mut stage = Self {
            process: None,
            proxy: None,
            disk: None,
            limits: None,
            data: PathBuf::new(),
            settings: Vec::new(),
            addr,
            operate: addr,
            slowest_start_ms: 0,
            memory_peak: None,
        };
        stage.put_proxy(None).expect("a proxy");
        stage
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::Harm;

    /// Takes 64 MB when it is harmed, gives them back, and serves nobody.
    const GREEDY: &str = "echo ready addr=127.0.0.1:1 operate=127.0.0.1:1; read harm
        x=$(head -c 64000000 /dev/zero | tr '\\0' x); x=; echo done; read end";

    #[test]
    fn memory_that_was_given_back_or_went_with_its_process_is_in_the_peak_that_had_begun() {
        let process = ServerProcess::start_as(Path::new("/bin/sh"), "-c", Path::new(GREEDY), &[]).expect("a process");
        let mut stage = Stage { process: Some(process), ..Stage::empty() };
        let before = stage.begin_memory_peak().expect("it is known");
        stage.process.as_mut().expect("it is there").harm(Harm::Stall(true)).expect("done");
        let most = stage.memory_peak_bytes().expect("it is known");
        assert!(most - before > 60_000_000, "{before}, then {most}");
        let after = stage.begin_memory_peak().expect("it is known");
        assert!(stage.memory_peak_bytes().expect("it is known") < most, "{after} since it began anew");
        let last = stage.memory_peak_bytes();
        drop(stage.take_process());
        assert_eq!(stage.memory_peak_bytes(), last, "of one that is gone");
    }
}
