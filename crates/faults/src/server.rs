//! The server as a process of its own: this very program, started again under a hidden sub-command that calls the same
//! entry as `tegata serve`, and ends as it does.

use crate::sys;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;
use tegata_server::Config;
use tegata_server::config::file;

/// The hidden sub-command.
const SERVE: &str = "__serve";
/// A setting that is none of the server's: io_uring is forbidden before it starts.
pub(crate) const NO_IO_URING: &str = "@no_io_uring";
/// How a server ends whose disk failed, and one that refuses a damaged folder; `docs/codes.md`.
pub(crate) const DISK_FAILED: i32 = 20;
pub(crate) const DAMAGED: i32 = 10;

/// A server that was started and may not be ready yet.
#[derive(Debug)]
pub(crate) struct Starting {
    child: Child,
    said: BufReader<ChildStdout>,
    stderr: PathBuf,
}

/// A server that is ready.
#[derive(Debug)]
pub(crate) struct Server {
    started: Starting,
    ready: String,
    /// Where gateways connect.
    pub(crate) addr: SocketAddr,
    /// Where operators connect.
    pub(crate) operate: SocketAddr,
}

/// How it ended before it was ready.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Its exit code; nothing when a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it said.
    pub(crate) words: String,
}

impl core::fmt::Display for Refused {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "the server did not start (exit {:?}): {}", self.code, self.words.trim())
    }
}

impl Starting {
    /// Starts one on a data folder and free ports, with settings as lines of its file. What it says of errors goes to a
    /// file beside `log`.
    pub(crate) fn new(data: &Path, log: &Path, settings: &[&str]) -> io::Result<Self> {
        let stderr = log.join("stderr");
        let mut child = Command::new(std::env::current_exe()?)
            .args([Path::new(SERVE), data])
            .args(settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(&stderr)?)
            .process_group(0)
            .spawn()?;
        let said = BufReader::new(child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?);
        Ok(Self { child, said, stderr })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it is ready.
    pub(crate) fn ready(mut self) -> Result<Server, Refused> {
        let mut ready = String::new();
        let _ = self.said.read_line(&mut ready);
        let addr = |name: &str| field(&ready, name).and_then(|v| v.parse().ok());
        match (addr("addr"), addr("operate")) {
            (Some(addr), Some(operate)) => Ok(Server { started: self, ready, addr, operate }),
            _ => {
                let code = self.child.wait().ok().and_then(|s| s.code());
                Err(Refused { code, words: self.words() })
            }
        }
    }

    /// kill -9. True when it had not said that it is ready.
    pub(crate) fn kill(mut self) -> io::Result<bool> {
        self.child.kill()?;
        self.child.wait()?;
        let mut ready = String::new();
        self.said.read_line(&mut ready)?;
        Ok(ready.is_empty())
    }

    /// What it said of errors so far.
    pub(crate) fn words(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap_or_default()
    }
}

fn field<'a>(ready: &'a str, name: &str) -> Option<&'a str> {
    ready.trim().split('\t').find_map(|w| w.strip_prefix(name)?.strip_prefix('='))
}

impl Server {
    /// One that must become ready.
    pub(crate) fn start(data: &Path, log: &Path, settings: &[&str]) -> Result<Self, String> {
        Starting::new(data, log, settings).map_err(|e| e.to_string())?.ready().map_err(|e| e.to_string())
    }

    /// What it said of itself when it was ready.
    pub(crate) fn said(&self, name: &str) -> &str {
        field(&self.ready, name).unwrap_or_default()
    }

    pub(crate) fn words(&self) -> String {
        self.started.words()
    }

    /// kill -9, and waits until it is gone.
    pub(crate) fn kill(&mut self) -> io::Result<ExitStatus> {
        self.started.child.kill()?;
        self.started.child.wait()
    }

    /// The same; what it waits for is let go of in between.
    pub(crate) fn kill_then(&mut self, let_go: impl FnOnce()) -> io::Result<ExitStatus> {
        self.started.child.kill()?;
        let_go();
        self.started.child.wait()
    }

    /// Waits until it ends by itself; nothing when it does not within `time`.
    pub(crate) fn ends_within(&mut self, time: Duration) -> Option<ExitStatus> {
        crate::until(time, || self.started.child.try_wait().ok().flatten())
    }

    /// Ends it in order.
    pub(crate) fn stop(mut self) -> io::Result<ExitStatus> {
        drop(self.started.child.stdin.take());
        self.started.child.wait()
    }

    fn pid(&self) -> io::Result<Pid> {
        i32::try_from(self.started.id()).ok().and_then(Pid::from_raw).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Stands still from when this returns until [`Server::go_on`].
    pub(crate) fn pause(&self) -> io::Result<bool> {
        kill_process(self.pid()?, Signal::STOP)?;
        let stat = format!("/proc/{}/stat", self.started.id());
        let stopped = || std::fs::read_to_string(&stat).ok()?.rsplit_once(") ")?.1.starts_with('T').then_some(());
        Ok(crate::until(Duration::from_secs(2), stopped).is_some())
    }

    pub(crate) fn go_on(&self) -> io::Result<()> {
        Ok(kill_process(self.pid()?, Signal::CONT)?)
    }

    /// No file that it writes may be larger.
    pub(crate) fn limit_files(&self, bytes: u64) -> io::Result<()> {
        let limit = Rlimit { current: Some(bytes), maximum: None };
        prlimit(Some(self.pid()?), Resource::Fsize, limit)?;
        Ok(())
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// If this process was started as a server, serves, and returns the exit code.
#[must_use]
pub fn child_main() -> Option<u8> {
    let args: Vec<String> = std::env::args().collect();
    (args.get(1)? == SERVE).then(|| serve(Path::new(&args[2]), &args[3..]))
}

fn serve(data: &Path, settings: &[String]) -> u8 {
    let (own, lines): (Vec<_>, Vec<_>) = settings.iter().partition(|s| s.starts_with('@'));
    for setting in own {
        if setting != NO_IO_URING || sys::forbid_io_uring().is_err() {
            eprintln!("{setting} cannot be done");
            return 2;
        }
    }
    let text = lines.iter().fold("http = \"off\"\nwarm_bytes = 0\n".to_owned(), |text, line| text + line + "\n");
    let mut config: Config = match file::read(&text, &Config::default()) {
        Ok(config) => config,
        Err(e) => {
            eprintln!("{e}");
            return 2;
        }
    };
    data.clone_into(&mut config.data);
    for addr in [&mut config.listen, &mut config.operate] {
        addr.set_port(0);
    }
    let running = match tegata_server::start(config) {
        Ok(running) => running,
        Err(e) => {
            eprintln!("{e}");
            return if matches!(e, tegata_server::ServeError::Journal(tegata_journal::OpenError::Corrupt { .. })) {
                DAMAGED as u8
            } else {
                1
            };
        }
    };
    let b = running.banner();
    let torn = b.recovery.torn.as_ref().map_or(0, |t| t.offset);
    println!(
        "ready\taddr={}\toperate={}\treplayed={}\tsnapshot={}\tskipped={}\ttorn={torn}\tflush={}",
        b.listen,
        b.operate,
        b.replayed,
        b.snapshot,
        b.skipped.len(),
        b.flush_method
    );
    let (left, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // The parent holds the other end: when it closes or dies, this ends.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = left.send(());
    });
    while told.recv_timeout(Duration::from_millis(20)).is_err() && !running.has_failed() {}
    match running.stop() {
        Ok(()) => 0,
        Err(e) => {
            eprintln!("{e}");
            DISK_FAILED as u8
        }
    }
}
