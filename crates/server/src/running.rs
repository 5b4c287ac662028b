//! A running server, and how it stops; [`crate::start()`] starts it.

use crate::config::ConfigError;
use crate::handover::CoreBell;
use crate::{DRAINING, STOPPED, Shared};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tegata_journal::{Recovery, WriteError};
use tegata_node::ServerFacts;
use tegata_wire::TunnelError;
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

/// A running server.
#[derive(Debug)]
pub struct Running {
    pub(crate) banner: Banner,
    pub(crate) shared: Arc<Shared>,
    pub(crate) bell: CoreBell,
    /// Of each thread of connections: told when there are answers, or the server stops.
    pub(crate) answers: Vec<Arc<Notify>>,
    pub(crate) core: Option<JoinHandle<Result<(), WriteError>>>,
    pub(crate) io: Vec<JoinHandle<()>>,
    pub(crate) http: Option<JoinHandle<()>>,
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
