//! What goes wrong, done for real to the server that the harness started; each fault proves that it happened.

use crate::cgroup::Cgroup;
use crate::disk::Disk;
use crate::error::RunError;
use crate::launch::{CHILD_SERVE, ServerProcess};
use crate::ledger;
use crate::proxy::{Lie, Proxy};
use crate::scenario::{Fault, FaultKind, Scenario, Server};
use crate::summary::FaultReport;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often it is looked whether a fault is due, or a process has stopped.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// How long it is counted what a disk writes before it is made slow.
const COMPARED_FOR: Duration = Duration::from_millis(200);
/// How often the server is asked how it is while its disk is full.
const LOOK_AT_MODE_EVERY: Duration = Duration::from_millis(50);
/// How long a process may take to stop after SIGSTOP.
const STOPS_WITHIN: Duration = Duration::from_secs(1);

/// The faults of a scenario, each at its instant, in ms, in order.
#[must_use]
pub fn timeline(s: &Scenario) -> Vec<(u64, Fault)> {
    let mut random = SmallRng::seed_from_u64(s.seed ^ 0xFA17);
    let mut all = Vec::new();
    for f in &s.fault {
        let latest = f.until_ms.unwrap_or(f.at_ms).max(f.at_ms);
        // One in each equal part of the time between, so that they do not fall on each other.
        let part = (latest - f.at_ms) / f.count as u64;
        for i in 0..f.count as u64 {
            let within = if part == 0 { 0 } else { random.random_range(0..part) };
            all.push((f.at_ms + i * part + within, *f));
        }
    }
    all.sort_by_key(|(at, _)| *at);
    all
}

/// The server under test, which is started again on the same data and the same ports.
#[derive(Debug)]
pub struct Stage {
    process: Option<ServerProcess>,
    proxy: Option<Proxy>,
    /// Its own disk, where the scenario gives it one; behind the process, which must end first.
    disk: Option<Disk>,
    /// What limits its processors.
    limits: Option<Cgroup>,
    data: PathBuf,
    settings: Vec<String>,
    /// Where gateways connect.
    pub addr: SocketAddr,
    /// Where operators connect.
    pub operate: SocketAddr,
    /// The longest start after a fault.
    pub slowest_start_ms: u64,
}

impl Stage {
    /// Starts a server on fresh data in `folder`, as the scenario wants it. A liar stands before it where one is given.
    pub fn start(s: &Scenario, folder: &Path, lie: Option<Box<Lie>>) -> Result<Self, RunError> {
        let disk = match s.server.disk_mib {
            0 => None,
            mib => Some(Disk::make(folder, mib << 20).map_err(RunError::Privilege)?),
        };
        let limits = if s.server.processors > 0.0 {
            let group = Cgroup::new("cpu").map_err(RunError::Privilege)?;
            group.limit_processors(s.server.processors).map_err(RunError::Privilege)?;
            Some(group)
        } else {
            None
        };
        let data = disk.as_ref().map_or(folder, |d| &d.path).join("data");
        let Server { warm_bytes, snapshot_bytes, segment_bytes, .. } = s.server;
        let mut settings = vec![
            format!("warm_bytes={warm_bytes}"),
            format!("snapshot_bytes={snapshot_bytes}"),
            format!("segment_bytes={segment_bytes}"),
        ];
        let process = ServerProcess::start(CHILD_SERVE, &data, &settings).map_err(RunError::server)?;
        let (addr, operate) = (process.addr, process.operate);
        settings.extend([format!("listen={addr}"), format!("operate={operate}")]);
        let (process, proxy) = (Some(process), None);
        let mut stage = Self { process, proxy, disk, limits, data, settings, addr, operate, slowest_start_ms: 0 };
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

    fn start_again(&mut self) -> io::Result<u64> {
        let began = Instant::now();
        self.process = Some(ServerProcess::start(CHILD_SERVE, &self.data, &self.settings)?);
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.slowest_start_ms = self.slowest_start_ms.max(ms);
        self.limit().map_err(io::Error::other)?;
        Ok(ms)
    }

    /// Does one fault from beginning to end. Says what showed that it happened, or why it did not.
    fn suffer(&mut self, f: &Fault) -> Result<String, String> {
        let text = |e: io::Error| e.to_string();
        let lasts = Duration::from_millis(f.for_ms);
        match f.kind {
            FaultKind::Kill => {
                let mut process = self.process.take().ok_or("there is no server to kill")?;
                let status = process.kill_now().map_err(text)?;
                if status.signal() != Some(Signal::KILL.as_raw()) {
                    return Err(format!("the server ended otherwise: {status}"));
                }
                std::thread::sleep(lasts);
                let ms = self.start_again().map_err(text)?;
                Ok(format!("ended by SIGKILL, ready again after {ms} ms"))
            }
            FaultKind::Restart => {
                let process = self.process.take().ok_or("there is no server to restart")?;
                let status = process.stop().map_err(text)?;
                if !status.success() {
                    return Err(format!("the server did not end in order: {status}"));
                }
                std::thread::sleep(lasts);
                let ms = self.start_again().map_err(text)?;
                Ok(format!("ended in order, ready again after {ms} ms"))
            }
            FaultKind::Cut => match self.proxy()?.cut() {
                0 => Err("there was no connection to cut".to_owned()),
                n => Ok(format!("{n} connections cut")),
            },
            FaultKind::HalfOpen => {
                let proxy = self.proxy()?;
                let before = proxy.lost();
                proxy.fall_silent(true);
                std::thread::sleep(lasts);
                // A frame may have been swallowed in part: what follows it would be read as something else.
                proxy.cut();
                proxy.fall_silent(false);
                match proxy.lost().swallowed - before.swallowed {
                    0 => Err("nothing was swallowed".to_owned()),
                    bytes => Ok(format!("{bytes} bytes swallowed")),
                }
            }
            FaultKind::DropAnswers => {
                let proxy = self.proxy()?;
                let before = proxy.lost();
                proxy.drop_answers(true);
                std::thread::sleep(lasts);
                proxy.cut();
                proxy.drop_answers(false);
                match proxy.lost().dropped - before.dropped {
                    0 => Err("no answer was lost".to_owned()),
                    bytes => Ok(format!("{bytes} bytes of answers lost")),
                }
            }
            FaultKind::SlowDisk => self.slow_disk(f),
            FaultKind::FullDisk => self.full_disk(lasts),
            FaultKind::Stop => {
                let process = self.process.as_ref().ok_or("there is no server to stop")?;
                process.signal(Signal::STOP).map_err(text)?;
                let began = Instant::now();
                while process.state() != Some('T') && began.elapsed() < STOPS_WITHIN {
                    std::thread::sleep(LOOK_EVERY);
                }
                let stopped = process.state() == Some('T');
                std::thread::sleep(lasts.saturating_sub(began.elapsed()));
                process.signal(Signal::CONT).map_err(text)?;
                if stopped {
                    Ok(format!("state T for {} ms", began.elapsed().as_millis()))
                } else {
                    Err("the server never was in state T".to_owned())
                }
            }
        }
    }

    fn proxy(&self) -> Result<&Proxy, String> {
        self.proxy.as_ref().ok_or_else(|| "there is no proxy".to_owned())
    }

    /// Lets few writes of the server through.
    fn slow_disk(&self, f: &Fault) -> Result<String, String> {
        let process = self.process.as_ref().ok_or("there is no server")?;
        let group = Cgroup::new("blkio")?;
        group.take_in(process.id())?;
        let writes_for = |time: Duration| {
            let before = group.writes(&self.data)?;
            std::thread::sleep(time);
            Ok::<_, String>((group.writes(&self.data)? - before) as f64 / time.as_secs_f64())
        };
        // Writes are counted while there is a limit.
        group.limit_writes(&self.data, u32::MAX)?;
        let before = writes_for(COMPARED_FOR)?;
        group.limit_writes(&self.data, f.writes_per_second)?;
        let slow = writes_for(Duration::from_millis(f.for_ms))?;
        group.limit_writes(&self.data, 0)?;
        let proof = format!("{before:.0} writes a second before, {slow:.0} then");
        if slow < before / 2.0 { Ok(proof) } else { Err(proof) }
    }

    /// Fills the server's own disk, and gives the space back.
    fn full_disk(&self, lasts: Duration) -> Result<String, String> {
        let disk = self.disk.as_ref().ok_or("the server has no disk of its own")?;
        let ballast = disk.fill().map_err(|e| e.to_string())?;
        let began = Instant::now();
        let mut mode = 0;
        while began.elapsed() < lasts {
            std::thread::sleep(LOOK_AT_MODE_EVERY);
            mode = mode.max(ledger::status_within(self.operate, lasts).map_or(0, |s| s.mode));
        }
        std::fs::remove_file(ballast).map_err(|e| e.to_string())?;
        match mode {
            0 => Err("the disk was full, and the server did not need more of it".to_owned()),
            mode => Ok(format!("full for {} ms, the server was in mode {mode}", began.elapsed().as_millis())),
        }
    }

    /// Puts a proxy between clients and server, with a liar in it or without.
    fn put_proxy(&mut self, lie: Option<Box<Lie>>) -> io::Result<()> {
        let proxy = Proxy::start(self.addr, lie)?;
        self.addr = proxy.addr;
        self.proxy = Some(proxy);
        Ok(())
    }

    /// Does every fault at its time, until `over`, and tells what became of it.
    pub fn conduct(
        &mut self,
        timeline: &[(u64, Fault)],
        begin: Instant,
        over: &AtomicBool,
        tell: &dyn Fn(FaultReport),
    ) {
        let since = || u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        for (at_ms, f) in timeline {
            while since() < *at_ms && !over.load(Ordering::Relaxed) {
                std::thread::sleep(LOOK_EVERY);
            }
            let mut report = FaultReport { kind: f.kind.name().to_owned(), at_ms: *at_ms, ..FaultReport::default() };
            if over.load(Ordering::Relaxed) {
                report.proof = "the load was over before".to_owned();
            } else {
                report.at_ms = since();
                match self.suffer(f) {
                    Ok(proof) => (report.fired, report.proof) = (true, proof),
                    Err(why) => report.proof = why,
                }
                report.until_ms = Some(since());
            }
            tell(report);
        }
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
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_instants_spread_over_the_time_between() {
        let s = crate::scenario::load("kill-under-load").expect("a scenario");
        let t = timeline(&s);
        assert_eq!(t, timeline(&s));
        assert_eq!(t.len(), 5);
        assert!(t.windows(2).all(|w| w[0].0 < w[1].0));
        assert!(t.iter().all(|(at, _)| (5_000..55_000).contains(at)));
    }

    /// A stage whose proxy leads to nobody's server.
    fn stage() -> Stage {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("bound");
        std::thread::spawn(move || {
            for mut s in listener.incoming().flatten() {
                std::thread::spawn(move || io::copy(&mut s.try_clone().expect("a socket"), &mut s));
            }
        });
        let (data, settings) = (PathBuf::new(), Vec::new());
        let mut stage = Stage {
            process: None,
            proxy: None,
            disk: None,
            limits: None,
            data,
            settings,
            addr,
            operate: addr,
            slowest_start_ms: 0,
        };
        stage.put_proxy(None).expect("a proxy");
        stage
    }

    #[test]
    fn a_fault_that_did_not_happen_says_so_although_an_earlier_one_did() {
        use std::io::{Read, Write};
        let mut stage = stage();
        let fault = |kind| Fault { kind, at_ms: 0, for_ms: 50, count: 1, until_ms: None, writes_per_second: 1 };
        for kind in [FaultKind::HalfOpen, FaultKind::DropAnswers, FaultKind::Cut] {
            let over = AtomicBool::new(false);
            let addr = stage.addr;
            let happened = std::thread::scope(|scope| {
                // Somebody who talks all the time, on a new connection when the old one is gone.
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        let mut s = std::net::TcpStream::connect(addr).expect("connected");
                        s.set_read_timeout(Some(LOOK_EVERY)).expect("set");
                        while !over.load(Ordering::Relaxed) && s.write_all(b"words").is_ok() {
                            if s.read(&mut [0; 64]).is_ok_and(|n| n == 0) {
                                break;
                            }
                        }
                    }
                });
                while stage.proxy.as_ref().is_some_and(|p| p.open() == 0) {
                    std::thread::yield_now();
                }
                let happened = stage.suffer(&fault(kind));
                over.store(true, Ordering::Relaxed);
                happened
            });
            assert!(happened.is_ok(), "{kind:?}: {happened:?}");
            stage.proxy.as_ref().expect("a proxy").cut();
            let nothing = stage.suffer(&fault(kind));
            assert!(nothing.is_err(), "{kind:?}: {nothing:?}");
        }
        for kind in [FaultKind::Kill, FaultKind::Stop, FaultKind::Restart, FaultKind::SlowDisk, FaultKind::FullDisk] {
            assert!(stage.suffer(&fault(kind)).is_err(), "there is no server");
        }
    }
}
