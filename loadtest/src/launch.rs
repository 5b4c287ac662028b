//! A server as a separate process: this very program, started again under a hidden sub-command that calls the same
//! entry as `tegata serve`.

use crate::share::{self, CHILD_TAKE};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{self, BufRead, BufReader, Lines, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};
use tegata_server::Config;

/// The hidden sub-command that serves.
pub const CHILD_SERVE: &str = "__serve";
/// The hidden sub-command that echoes after a durable write.
pub const CHILD_ECHO: &str = "__echo";
/// The hidden sub-command that echoes at once.
pub const CHILD_BARE_ECHO: &str = "__bare_echo";

/// What a child says when it was harmed as it was told.
const DONE: &str = "done";

/// How long a server waits for the write that is to fail.
const FAILS_WITHIN: Duration = Duration::from_secs(5);
/// The exit code of a server whose journal failed.
pub const JOURNAL_FAILED: u8 = 20;

/// What can be done to a server from inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// From now on, or no longer, nothing that is written becomes durable.
    Stall(bool),
    /// Its wall clock goes so many µs forward, or back.
    Step(i64),
    /// The next write of its journal fails, and with it the server.
    Fail,
}

impl core::fmt::Display for Harm {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Stall(stalls) => write!(f, "stall {stalls}"),
            Self::Step(us) => write!(f, "step {us}"),
            Self::Fail => write!(f, "fail now"),
        }
    }
}

impl Harm {
    fn read(line: &str) -> Option<Self> {
        match line.split_once(' ')? {
            ("stall", stalls) => stalls.parse().ok().map(Self::Stall),
            ("fail", _) => Some(Self::Fail),
            ("step", us) => us.parse().ok().map(Self::Step),
            _ => None,
        }
    }
}

/// A child that serves until it is stopped or dropped.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
    /// Where gateways connect.
    pub addr: SocketAddr,
    /// Where operators connect.
    pub operate: SocketAddr,
    /// Records that its start replayed.
    pub replayed: u64,
    /// The position of the snapshot that its start loaded; 0: none.
    pub snapshot: u64,
    /// How long its start took.
    pub ready_ms: u64,
}

impl ServerProcess {
    /// Starts `what` ([`CHILD_SERVE`] or [`CHILD_ECHO`]) on a data folder and free ports, and waits until it is ready.
    pub fn start(what: &str, data: &Path, extra: &[String]) -> io::Result<Self> {
        Self::start_as(&std::env::current_exe()?, what, data, extra)
    }

    /// The same of another program that has these sub-commands.
    pub fn start_as(program: &Path, what: &str, data: &Path, extra: &[String]) -> io::Result<Self> {
        let mut child = Command::new(program)
            .arg(what)
            .arg(data)
            .args(extra)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for the one who loads: it ends the server itself, when everything is reconciled.
            .process_group(0)
            .spawn()?;
        let out = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut said = BufReader::new(out).lines();
        let ready = said.next().transpose()?.unwrap_or_default();
        let field = |name: &str| ready.split(' ').find_map(|w| w.strip_prefix(name)?.strip_prefix('='));
        let addr = |name| field(name).and_then(|v| v.parse().ok());
        let number = |name| field(name).and_then(|v| v.parse().ok()).unwrap_or(0);
        match (addr("addr"), addr("operate")) {
            (Some(addr), Some(operate)) => {
                let (replayed, snapshot, ready_ms) = (number("replayed"), number("snapshot"), number("ready_ms"));
                Ok(Self { child, said, addr, operate, replayed, snapshot, ready_ms })
            }
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                Err(io::Error::other(format!("the server did not become ready: {ready}")))
            }
        }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Processor time it has used so far, in seconds: user, system.
    #[must_use]
    pub fn cpu_seconds(&self) -> Option<(f64, f64)> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        let rest = text.rsplit_once(')')?.1;
        let mut fields = rest.split_whitespace().skip(11);
        let mut next = || fields.next()?.parse::<f64>().ok();
        // The kernel counts in hundredths of a second (USER_HZ).
        Some((next()? / 100.0, next()? / 100.0))
    }

    /// Does something to it that no real disk and no real clock does on demand.
    pub fn harm(&mut self, harm: Harm) -> io::Result<()> {
        let stdin = self.child.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        stdin.write_all(format!("{harm}\n").as_bytes())?;
        match self.said.next().transpose()? {
            Some(line) if line == DONE => Ok(()),
            other => Err(io::Error::other(format!("the server said {other:?}"))),
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
        Ok(kill_process(id, signal)?)
    }

    /// The letter of its state in `/proc`: R runs, S sleeps, T is stopped.
    #[must_use]
    pub fn state(&self) -> Option<char> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        text.rsplit_once(") ")?.1.chars().next()
    }

    /// kill -9, and waits until it is gone.
    pub fn kill_now(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }

    /// Waits until it has ended by itself.
    pub fn ended_within(&mut self, within: Duration) -> io::Result<ExitStatus> {
        let until = Instant::now() + within;
        loop {
            match self.child.try_wait()? {
                Some(status) => return Ok(status),
                None if Instant::now() >= until => return Err(io::ErrorKind::TimedOut.into()),
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Ends it in order: its standard input is closed.
    pub fn stop(mut self) -> io::Result<ExitStatus> {
        drop(self.child.stdin.take());
        self.child.wait()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// If this process was started as a child, does the child's work and returns its exit code.
#[must_use]
pub fn child_main() -> Option<u8> {
    let args: Vec<String> = std::env::args().collect();
    let what = args.get(1)?;
    let data = args.get(2)?;
    match what.as_str() {
        CHILD_SERVE => Some(serve(Path::new(data), &args[3..])),
        CHILD_ECHO => Some(code(crate::serve_echo(Path::new(data)))),
        CHILD_BARE_ECHO => Some(code(crate::echo::serve_bare_echo())),
        CHILD_TAKE => match (data.parse(), args.get(3).map(|n| n.parse())) {
            (Ok(processors), Some(Ok(processor))) => {
                share::take(processors, processor);
                Some(0)
            }
            _ => Some(64),
        },
        _ => None,
    }
}

fn code(result: io::Result<()>) -> u8 {
    match result {
        Ok(()) => 0,
        Err(e) => {
            eprintln!("{e}");
            1
        }
    }
}

/// False when the text is no such value.
fn set<T: FromStr>(to: &mut T, text: &str) -> bool {
    text.parse().map(|v| *to = v).is_ok()
}

fn serve(data: &Path, settings: &[String]) -> u8 {
    let mut config = Config {
        http: None,
        data: data.to_owned(),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        operate: SocketAddr::from(([127, 0, 0, 1], 0)),
        ..Config::default()
    };
    for setting in settings {
        let known = match setting.split_once('=') {
            Some(("listen", v)) => set(&mut config.listen, v),
            Some(("operate", v)) => set(&mut config.operate, v),
            Some(("shards", v)) => set(&mut config.shards, v),
            Some(("io_threads", v)) => set(&mut config.io_threads, v),
            Some(("warm_bytes", v)) => set(&mut config.warm_bytes, v),
            Some(("snapshot_bytes", v)) => set(&mut config.snapshot_bytes, v),
            Some(("segment_bytes", v)) => set(&mut config.segment_bytes, v),
            Some(("credits", v)) => set(&mut config.credits, v),
            _ => false,
        };
        if !known {
            eprintln!("unknown setting {setting}");
            return 2;
        }
    }
    if tegata_pages::keep_warm(config.warm_bytes).is_ok() {
        tegata_pages::wait_until_warm();
    }
    let faults = config.faults.clone();
    let running = match tegata_server::start(config) {
        Ok(running) => running,
        Err(e) => {
            eprintln!("{e}");
            return 1;
        }
    };
    let banner = running.banner();
    println!(
        "ready addr={} operate={} replayed={} snapshot={} ready_ms={}",
        banner.listen, banner.operate, banner.replayed, banner.snapshot, banner.ready_ms
    );
    // The parent holds the other end: when it closes or dies, this ends.
    for line in io::stdin().lines().map_while(Result::ok) {
        match Harm::read(&line) {
            Some(Harm::Stall(stalls)) => faults.stall(stalls),
            Some(Harm::Step(us)) => tegata_server::clock::step_wall(us),
            Some(Harm::Fail) => {
                faults.fail();
                println!("{DONE}");
                let until = Instant::now() + FAILS_WITHIN;
                while !running.has_failed() && Instant::now() < until {
                    std::thread::park_timeout(Duration::from_millis(2));
                }
                break;
            }
            None => return 2,
        }
        println!("{DONE}");
    }
    match running.stop() {
        Ok(()) => 0,
        Err(e) => {
            eprintln!("{e}");
            JOURNAL_FAILED
        }
    }
}
