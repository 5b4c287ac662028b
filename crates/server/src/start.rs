//! Starting: recovery first, then the core, then the doors.

use crate::access::Access;
use crate::config::{Config, ConfigError, JournalIo};
use crate::connection::Door;
use crate::core::{Core, Outside};
use crate::denials::Denials;
use crate::events::Events;
use crate::handover::{CoreBell, pair};
use crate::listen::listen;
use crate::running::{Banner, Running};
use crate::sessions::Sessions;
use crate::{RUNNING, Shared, clock, http, io};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;
use tegata_drive::{Keeping, RestoreFailed, Restored, restore};
use tegata_journal::{Doorbell as JournalBell, IoChoice, Journal, OpenError, Options, ReadError, WriteError};
use tegata_model::Settings;
use tegata_node::{Limits, Node, ReplayError, ServerFacts};
use tegata_sync::{Doorbell, Positions};
use tegata_wire::Tunnels;
use tokio::sync::Notify;

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
    let listeners = Listeners::open(&config)?;
    let recovery = journal.recovery().clone();
    let Restored { replay, snapshot, skipped, since_snapshot } =
        restore(&config.data.clone().into(), &mut journal, &mut |_| {})?;
    let replayed = replay.records();
    let (engine, carried) = replay.finish();
    let settings = Settings { horizon_s: config.horizon_s, ack_s: config.ack_s, ..Settings::default() };
    let position = engine.applied().get();
    clock::not_before(engine.at());
    let node = Node::new(engine, limits(&config), settings, carried, clock::now());
    let core = start_core(node, journal, since_snapshot)?;
    let bell = CoreBell {
        asleep: Arc::new(Doorbell::new()),
        wake: core.wake,
        here: Arc::new(Notify::new()),
        own_thread: config.io_threads > 0,
    };
    let shared = Arc::new(Shared {
        store_id: recovery.store_id,
        started: Instant::now(),
        flush_us: core.flush_us,
        positions: Positions::new(position),
        facts: Mutex::new(ServerFacts::default()),
        sessions: Sessions::default(),
        access: Access::new(policy),
        denials: Denials::start(&config.data),
        tunnels,
        connections: AtomicUsize::new(0),
        histories: AtomicUsize::new(0),
        failed: AtomicBool::new(false),
        unlooked_ranks: AtomicU8::new(0),
        events_lost: AtomicU64::new(0),
        phase: AtomicU8::new(RUNNING),
        ended: Notify::new(),
        stopping: Notify::new(),
        quiet_threads: AtomicUsize::new(0),
        config: config.clone(),
    });
    let local = |listener: &TcpListener| listener.local_addr().map_err(ServeError::System);
    let banner = Banner {
        listen: local(&listeners.gateways)?,
        operate: local(&listeners.operators)?,
        http: listeners.watchers.as_ref().map(local).transpose()?,
        data: config.data.clone(),
        recovery,
        flush_method: core.flush_method,
        flush_us: core.flush_us,
        ready_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        snapshot,
        skipped,
        replayed,
        authenticates: config.authenticates(),
        encrypts: shared.tunnels.is_some(),
    };
    let (parts, io) = open_doors(&shared, &bell, listeners.gateways, listeners.operators)?;
    let answers = parts.sides.iter().map(|side| Arc::clone(&side.answers)).collect();
    if core.go.send(parts).is_err() {
        return Err(ServeError::System(std::io::ErrorKind::BrokenPipe.into()));
    }
    let http = listeners.watchers.map(|listener| {
        let shared = Arc::clone(&shared);
        std::thread::Builder::new().name("http".into()).spawn(move || http::run(listener, shared))
    });
    let http = http.transpose().map_err(ServeError::System)?;
    Ok(Running { banner, shared, bell, answers, core: Some(core.thread), io, http })
}

/// Every address is taken before anything is replayed: one that is in use is told at once.
struct Listeners {
    gateways: TcpListener,
    operators: TcpListener,
    watchers: Option<TcpListener>,
}

impl Listeners {
    fn open(config: &Config) -> Result<Self, ServeError> {
        let (gateways, operators) = (listen(config.listen)?, listen(config.operate)?);
        Ok(Self { gateways, operators, watchers: config.http.map(listen).transpose()? })
    }
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

fn limits(config: &Config) -> Limits {
    Limits {
        threads: config.doors(),
        accounts_max: config.accounts_max,
        lots_max: config.lots_max,
        decisions_max: config.decisions_max,
        allocations_max: config.allocations_max,
        policies: config.policies(),
        wait_us_max: u64::from(config.queue_wait_ms) * 1_000,
        ..Limits::default()
    }
}

/// What the core's thread needs to begin.
struct Parts {
    sides: Vec<crate::handover::CoreSide>,
    shared: Arc<Shared>,
    bell: CoreBell,
    /// The connections, when they are served on the core's own thread.
    here: Option<io::Doorway>,
}

/// The core's thread, which waits for its parts.
struct Begun {
    thread: JoinHandle<Result<(), WriteError>>,
    go: SyncSender<Parts>,
    flush_method: &'static str,
    flush_us: u64,
    wake: JournalBell,
}

/// Starts the core's thread. The writer is made there, on the thread that will own it.
fn start_core(node: Node, journal: Journal, since_snapshot: u64) -> Result<Begun, ServeError> {
    let (told, ready) = sync_channel::<Result<_, OpenError>>(1);
    let (go, parts) = sync_channel::<Parts>(1);
    let run = move || {
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
    };
    let thread = std::thread::Builder::new().name("core".into()).spawn(run).map_err(ServeError::System)?;
    match ready.recv() {
        Ok(Ok((flush_method, flush_us, wake))) => Ok(Begun { thread, go, flush_method, flush_us, wake }),
        Ok(Err(e)) => Err(ServeError::Journal(e)),
        Err(_) => Err(ServeError::System(std::io::ErrorKind::BrokenPipe.into())),
    }
}

/// Starts the threads of connections; where they have none of their own, the core's serves them. Operators are accepted on
/// the first.
fn open_doors(
    shared: &Arc<Shared>,
    bell: &CoreBell,
    gateways: TcpListener,
    operators: TcpListener,
) -> Result<(Parts, Vec<JoinHandle<()>>), ServeError> {
    let mut operators = Some(operators);
    let mut parts = Parts { sides: Vec::new(), shared: Arc::clone(shared), bell: bell.clone(), here: None };
    let mut threads = Vec::new();
    for thread in 0..shared.config.doors() {
        let (side, core_side) = pair(bell);
        parts.sides.push(core_side);
        let mut listeners = vec![(Door::Gateway, gateways.try_clone().map_err(ServeError::System)?)];
        listeners.extend(operators.take().map(|l| (Door::Operator, l)));
        let door = io::Doorway { thread, side, shared: Arc::clone(shared), listeners };
        if shared.config.io_threads == 0 {
            parts.here = Some(door);
            continue;
        }
        let run = move || {
            let _ = io::run(door, None);
        };
        let handle = std::thread::Builder::new().name(format!("io-{thread}")).spawn(run);
        threads.push(handle.map_err(ServeError::System)?);
    }
    Ok((parts, threads))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_table_has_its_limit_from_the_configuration() {
        let good = Config { accounts_max: 1, lots_max: 2, decisions_max: 3, allocations_max: 4, ..Config::default() };
        let l = limits(&good);
        assert_eq!([l.accounts_max, l.lots_max, l.decisions_max, l.allocations_max], [1, 2, 3, 4]);
        assert!(good.check().is_ok());
        for bad in [
            Config { accounts_max: 0, ..good.clone() },
            Config { lots_max: 1_000_000_001, ..good.clone() },
            Config { decisions_max: 0, ..good.clone() },
            Config { allocations_max: 1_000_000_001, ..good },
        ] {
            assert!(matches!(bad.check(), Err(ConfigError::Range { .. })), "{bad:?}");
        }
    }
}
