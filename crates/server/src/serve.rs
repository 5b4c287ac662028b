//! Starting and stopping: recovery first, then the core, then the doors.

use crate::access::Access;
use crate::config::{Config, ConfigError, JournalIo};
use crate::connection::Door;
use crate::core::{Core, Outside};
use crate::denials::Denials;
use crate::events::Events;
use crate::handover::{CoreBell, pair};
use crate::sessions::Sessions;
use crate::{DRAINING, RUNNING, STOPPED, Shared, clock, http, io};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tegata_drive::{Keeping, RestoreFailed, Restored, restore};
use tegata_journal::{IoChoice, OpenError, Options, ReadError, Recovery, WriteError};
use tegata_model::Settings;
use tegata_node::{Limits, Node, ReplayError, ServerFacts};
use tegata_sync::{Doorbell, Positions};
use tegata_wire::{TunnelError, Tunnels};
use tokio::sync::Notify;

/// How long a stopping server waits for callers to take their answers.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// What a server says when it is ready.
#[derive(Debug, Clone)]
pub struct Banner {
    /// Where gateways connect.
    pub listen: SocketAddr,
    /// Where operators connect.
    pub operate: SocketAddr,
    /// Where watchers ask.
    pub http: Option<SocketAddr>,
    /// The data folder.
    pub data: PathBuf,
    /// What the journal found.
    pub recovery: Recovery,
    /// How batches are made durable.
    pub flush_method: &'static str,
    /// Median latency of a durable 4 KiB write, µs.
    pub flush_us: u64,
    /// From the start of recovery to being ready, ms.
    pub ready_ms: u64,
    /// The position of the snapshot that was loaded; 0: none.
    pub snapshot: u64,
    /// Snapshots that could not be used, and why.
    pub skipped: Vec<String>,
    /// Records replayed.
    pub replayed: u64,
    /// Callers prove who they are.
    pub authenticates: bool,
    /// Connections are encrypted.
    pub encrypts: bool,
}

/// Why a server did not start.
#[derive(Debug)]
pub enum ServeError {
    /// A setting.
    Config(ConfigError),
    /// The journal.
    Journal(OpenError),
    /// The journal is whole, but does not replay to what was decided.
    Replay(ReadError<ReplayError>),
    /// An address could not be listened on.
    Listen {
        /// Which.
        addr: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// A thread or a socket could not be made.
    System(std::io::Error),
}

impl core::fmt::Display for ServeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Config(e) => e.fmt(f),
            Self::Journal(e) => e.fmt(f),
            Self::Replay(e) => write!(f, "the journal does not replay: {e}"),
            Self::Listen { addr, error } => write!(f, "cannot listen on {addr}: {error}"),
            Self::System(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for ServeError {}

impl From<RestoreFailed> for ServeError {
    fn from(e: RestoreFailed) -> Self {
        match e {
            RestoreFailed::Journal(e) => Self::Journal(e),
            RestoreFailed::Replay(e) => Self::Replay(e),
        }
    }
}

/// Why the files could not be read again.
#[derive(Debug)]
pub enum ReloadError {
    /// Credentials or rights.
    Config(ConfigError),
    /// Certificates.
    Tunnels(TunnelError),
}

impl core::fmt::Display for ReloadError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Config(e) => e.fmt(f),
            Self::Tunnels(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for ReloadError {}

/// What the core's thread needs to begin.
struct Parts {
    sides: Vec<crate::handover::CoreSide>,
    shared: Arc<Shared>,
    bell: CoreBell,
    /// The connections, when they are served on the core's own thread.
    here: Option<io::Doorway>,
}

/// A running server.
#[derive(Debug)]
pub struct Running {
    banner: Banner,
    shared: Arc<Shared>,
    bell: CoreBell,
    answers: Vec<Arc<Notify>>,
    core: Option<JoinHandle<Result<(), WriteError>>>,
    io: Vec<JoinHandle<()>>,
    http: Option<JoinHandle<()>>,
}

/// Connections that wait to be accepted: a gateway's whole pool comes back at once.
const BACKLOG: i32 = 4_096;

/// Bytes for what a connection sent and nobody read yet: as many small segments as a caller has credits, a kibibyte of the
/// kernel's memory each. What the kernel begins with is used up by far fewer; then it throws its work away and stops the
/// caller, who asks again 200 ms later.
const RECEIVE_BYTES: usize = 1 << 20;

/// Whether the kernel grants so much.
fn is_granted() -> bool {
    let max = std::fs::read_to_string("/proc/sys/net/core/rmem_max").ok().and_then(|max| max.trim().parse().ok());
    max.is_some_and(|max: usize| max >= RECEIVE_BYTES)
}

/// Who is accepted inherits it. Where it is not granted, the kernel is left to grow what it gives by itself.
fn widen(listener: &TcpListener) {
    if is_granted() {
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size(listener, RECEIVE_BYTES);
    }
}

fn listen(addr: SocketAddr) -> Result<TcpListener, ServeError> {
    let failed = |error| ServeError::Listen { addr, error };
    let listener = TcpListener::bind(addr).map_err(failed)?;
    widen(&listener);
    // Of more than wait at once the kernel drops the first packet, and a caller tries again a second later.
    rustix::net::listen(&listener, BACKLOG).map_err(|e| failed(e.into()))?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

fn journal_options(config: &Config) -> Options {
    let mut options = Options::new(&config.data);
    options.segment_bytes = config.segment_bytes;
    options.allow_volatile = config.allow_volatile;
    options.shards = config.shards;
    options.store_id = fresh_id();
    #[cfg(feature = "faults")]
    {
        options.faults = config.faults.clone();
    }
    options.io = match config.journal_io {
        JournalIo::Auto => IoChoice::Auto,
        JournalIo::Uring => IoChoice::Uring,
        JournalIo::Pwritev2 => IoChoice::Pwritev2,
        JournalIo::Buffered => IoChoice::Buffered,
    };
    options
}

/// Names a new data folder: the clock and the process tell two of them apart.
fn fresh_id() -> [u8; 16] {
    let mut id = [0; 16];
    let at = clock::now().micros();
    let n = tegata_model::mix(at as u64, u64::from(std::process::id()));
    id[..8].copy_from_slice(&at.to_le_bytes());
    id[8..].copy_from_slice(&n.to_le_bytes());
    id
}

/// Recovers the data folder, opens the doors and serves, on threads of its own.
pub fn start(config: Config) -> Result<Running, ServeError> {
    start_with(config, None)
}

/// The same, with something between sockets and frames.
pub fn start_with(config: Config, tunnels: Option<Arc<dyn Tunnels>>) -> Result<Running, ServeError> {
    let began = Instant::now();
    config.check().map_err(ServeError::Config)?;
    assert_eq!(tunnels.is_some(), !config.tls_cert.as_os_str().is_empty(), "what is set is what is used");
    let policy = config.policy().map_err(ServeError::Config)?;
    // A file that may not grow is a write that fails, with its words and its exit code, and not a signal that kills.
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default()).map_err(ServeError::System)?;
    let config = config.with_free_ports();
    let mut journal = tegata_journal::open(journal_options(&config)).map_err(ServeError::Journal)?;
    tegata_journal::remove_drafts(&config.data).map_err(ServeError::System)?;
    let (gateways, operators) = (listen(config.listen)?, listen(config.operate)?);
    let watchers = config.http.map(listen).transpose()?;
    let recovery = journal.recovery().clone();
    let Restored { replay, snapshot, skipped, since_snapshot } =
        restore(&config.data.clone().into(), &mut journal, &mut |_| {})?;
    let replayed = replay.records();
    let (engine, carried) = replay.finish();
    let settings = Settings { horizon_s: config.horizon_s, ack_s: config.ack_s, ..Settings::default() };
    let limits = Limits {
        threads: config.doors(),
        accounts_max: config.accounts_max,
        decisions_max: config.decisions_max,
        policies: config.policies(),
        wait_us_max: u64::from(config.queue_wait_ms) * 1_000,
        ..Limits::default()
    };
    let position = engine.applied().get();
    clock::not_before(engine.at());
    let node = Node::new(engine, limits, settings, carried, clock::now());

    // The writer is made on the thread that will own it.
    let (told, ready) = sync_channel(1);
    let (go, parts) = sync_channel::<Parts>(1);
    let core = std::thread::Builder::new()
        .name("core".into())
        .spawn(move || {
            let journal = match journal.into_writer() {
                Ok(journal) => journal,
                Err(e) => {
                    let _ = told.send(Err(e));
                    return Ok(());
                }
            };
            let facts = (journal.flush_method(), journal.probe_us(), journal.doorbell());
            if told.send(Ok(facts)).is_err() {
                return Ok(());
            }
            let Ok(Parts { mut sides, shared, bell, here }) = parts.recv() else { return journal.close() };
            let events = Events::start(&shared.config.data, clock::now());
            let keeping = Keeping {
                dir: shared.config.data.clone().into(),
                store: shared.store_id,
                snapshot_bytes: shared.config.snapshot_bytes,
                keep_days: shared.config.archive_keep_days,
            };
            let core = |sides| {
                let around = Outside { sides, shared, events };
                Core { turns: tegata_drive::Core::new(node, journal, around, keeping, since_snapshot), bell }
            };
            match here {
                None => core(sides).run(),
                Some(door) => io::run(door, Some(core(std::mem::take(&mut sides)))),
            }
        })
        .map_err(ServeError::System)?;
    let (flush_method, flush_us, wake) = match ready.recv() {
        Ok(Ok(facts)) => facts,
        Ok(Err(e)) => return Err(ServeError::Journal(e)),
        Err(_) => return Err(ServeError::System(std::io::ErrorKind::BrokenPipe.into())),
    };
    let bell = CoreBell {
        asleep: Arc::new(Doorbell::new()),
        wake,
        here: Arc::new(Notify::new()),
        own_thread: config.io_threads > 0,
    };
    let shared = Arc::new(Shared {
        store_id: recovery.store_id,
        started: Instant::now(),
        flush_us,
        positions: Positions::new(position),
        facts: Mutex::new(ServerFacts::default()),
        sessions: Sessions::default(),
        access: Access::new(policy),
        denials: Denials::start(&config.data),
        tunnels,
        connections: AtomicUsize::new(0),
        histories: AtomicUsize::new(0),
        failed: AtomicBool::new(false),
        refused: AtomicU8::new(0),
        events_lost: AtomicU64::new(0),
        phase: AtomicU8::new(RUNNING),
        ended: Notify::new(),
        stopping: Notify::new(),
        quiet_threads: AtomicUsize::new(0),
        config: config.clone(),
    });
    let banner = Banner {
        listen: gateways.local_addr().map_err(ServeError::System)?,
        operate: operators.local_addr().map_err(ServeError::System)?,
        http: watchers.as_ref().map(TcpListener::local_addr).transpose().map_err(ServeError::System)?,
        data: config.data.clone(),
        recovery,
        flush_method,
        flush_us,
        ready_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        snapshot,
        skipped,
        replayed,
        authenticates: config.authenticates(),
        encrypts: shared.tunnels.is_some(),
    };
    let mut operators = Some(operators);
    let (mut sides, mut threads, mut answers, mut here) = (Vec::new(), Vec::new(), Vec::new(), None);
    for thread in 0..config.doors() {
        let (io_side, core_side) = pair(&bell);
        answers.push(Arc::clone(&core_side.answers));
        sides.push(core_side);
        let mut doors = vec![(Door::Gateway, gateways.try_clone().map_err(ServeError::System)?)];
        doors.extend(operators.take().map(|l| (Door::Operator, l)));
        let door = io::Doorway { thread, side: io_side, shared: Arc::clone(&shared), listeners: doors };
        if config.io_threads == 0 {
            here = Some(door);
            continue;
        }
        let run = move || {
            let _ = io::run(door, None);
        };
        let handle = std::thread::Builder::new().name(format!("io-{thread}")).spawn(run);
        threads.push(handle.map_err(ServeError::System)?);
    }
    if go.send(Parts { sides, shared: Arc::clone(&shared), bell: bell.clone(), here }).is_err() {
        return Err(ServeError::System(std::io::ErrorKind::BrokenPipe.into()));
    }
    let mut http = None;
    if let Some(listener) = watchers {
        let shared = Arc::clone(&shared);
        let handle = std::thread::Builder::new().name("http".into()).spawn(move || http::run(listener, shared));
        http = Some(handle.map_err(ServeError::System)?);
    }
    Ok(Running { banner, shared, bell, answers, core: Some(core), io: threads, http })
}

impl Running {
    /// What the server says when it is ready.
    #[must_use]
    pub fn banner(&self) -> &Banner {
        &self.banner
    }

    /// Everyone who is connected.
    #[must_use]
    pub fn sessions(&self) -> Vec<crate::Session> {
        self.shared.sessions.list()
    }

    /// How the node was a moment ago.
    #[must_use]
    pub fn facts(&self) -> ServerFacts {
        self.shared.facts.lock().map_or_else(|_| ServerFacts::default(), |f| *f)
    }

    /// Reads credentials, rights and certificates again. Connections go on, with what they may do now. After an error
    /// everything stays as it was.
    pub fn reload(&self) -> Result<(), ReloadError> {
        // All of it is read before any of it is used.
        let policy = self.shared.config.policy().map_err(ReloadError::Config)?;
        if let Some(tunnels) = &self.shared.tunnels {
            tunnels.reload().map_err(ReloadError::Tunnels)?;
        }
        self.shared.access.renew(policy);
        Ok(())
    }

    /// True once the core has ended by itself, because the journal failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.core.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Takes no new requests, answers what is in flight, closes the journal cleanly, and ends all threads.
    pub fn stop(mut self) -> Result<(), WriteError> {
        self.shared.phase.store(DRAINING, Ordering::Release);
        self.shared.stopping.notify_waiters();
        for answers in &self.answers {
            answers.notify_one();
        }
        let until = Instant::now() + DRAIN_MAX;
        while !self.has_failed() && Instant::now() < until {
            self.bell.ring();
            std::thread::park_timeout(Duration::from_millis(5));
        }
        // Whoever has not taken its answers by now is not waited for any longer.
        self.shared.quiet_threads.store(usize::MAX, Ordering::Release);
        self.bell.ring();
        let result = self.core.take().map_or(Ok(()), of_thread);
        self.shared.phase.store(STOPPED, Ordering::Release);
        for answers in &self.answers {
            answers.notify_one();
        }
        for io in self.io.drain(..) {
            of_thread(io);
        }
        self.shared.denials.stop();
        self.shared.ended.notify_one();
        if let Some(http) = self.http.take() {
            of_thread(http);
        }
        result
    }
}

/// What a thread came to. One that panicked was no orderly end.
fn of_thread<T>(thread: JoinHandle<T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_accepted_has_room_for_all_that_it_may_send() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        listener.set_nonblocking(false).expect("it waits");
        let addr = listener.local_addr().expect("an address");
        let _caller = std::net::TcpStream::connect(addr).expect("a connection");
        let (accepted, _) = listener.accept().expect("a caller");
        let room = rustix::net::sockopt::socket_recv_buffer_size(&accepted).expect("a size");
        assert_eq!(room >= RECEIVE_BYTES, is_granted(), "{room} bytes");
    }
}
