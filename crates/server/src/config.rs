//! What the server is told: flags over environment over file over defaults. Every value is checked before anything
//! starts, and `tegata config show` prints what came out.

pub use tegata_access::file;

pub mod rules;

use crate::access::AccessPolicy;
use file::FileError;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tegata_access::{Credentials, CredentialsError, RightsError, read_rights};
#[cfg(feature = "faults")]
use tegata_journal::Faults;
use tegata_node::{Cause, Policies, Policy};

/// The configuration after everything was put together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The data folder.
    pub data: PathBuf,
    /// Where gateways connect.
    pub listen: SocketAddr,
    /// Where operators connect.
    pub operate: SocketAddr,
    /// Where watchers ask for `/livez`, `/readyz` and `/metrics`; "off": nowhere.
    #[serde(with = "http")]
    pub http: Option<SocketAddr>,
    /// Partitions of the state, 1 … 1024; fixed when the data folder is created.
    pub shards: u32,
    /// Threads that serve connections, at most 16; 0: they are served on the core's own thread, which is best where
    /// there are two processors or fewer, and the default there.
    pub io_threads: usize,
    /// Requests that one connection may have in flight, 1 … 65,536.
    pub credits: u32,
    /// Connections at once.
    pub connections_max: usize,
    /// A connection that sends nothing for so long is closed, in ms.
    pub idle_ms: u32,
    /// Seconds a key is remembered, by its own time.
    pub horizon_s: u32,
    /// Seconds in which an answer without acknowledgement is in flight. It is logged as undelivered after half of them.
    pub ack_s: u32,
    /// Most accounts.
    pub accounts_max: u64,
    /// Most lots beyond the accounts' first.
    pub lots_max: u64,
    /// Most decisions remembered.
    pub decisions_max: u64,
    /// Most allocations of these decisions: what one took from one lot.
    pub allocations_max: u64,
    /// Bytes of memory that are kept ready for the tables to grow into; 0: none.
    pub warm_bytes: usize,
    /// Bytes of a journal segment; fixed when the data folder is created.
    pub segment_bytes: u64,
    /// A snapshot is taken when the log has grown by so many bytes; 0: only when an operator asks for one.
    pub snapshot_bytes: u64,
    /// Days that the archive is kept at least; then its oldest segments are dropped, and history begins later. 0:
    /// everything is kept for ever.
    pub archive_keep_days: u32,
    /// How the journal is written: auto, uring, pwritev2, buffered.
    pub journal_io: JournalIo,
    /// The journal is slow from here on: the oldest batch in flight is so old, or the last one took so long, in ms.
    pub journal_slow_ms: u32,
    /// And no longer slow below this, in ms.
    pub journal_fast_ms: u32,
    /// The queue is long from here on: the oldest request waited so long before the core looked at it, in ms.
    pub queue_long_ms: u32,
    /// And short again below this, in ms.
    pub queue_short_ms: u32,
    /// For so long it must be long without a break before its breaker opens, in ms; pauses of the core itself do not count.
    pub queue_window_ms: u32,
    /// While the queue is long, a payment waits no longer than this, in ms, and no longer than a quarter of its own time.
    pub queue_wait_ms: u32,
    /// A table is no longer full below so many per mille of its limit.
    pub memory_free_permille: u32,
    /// For so long the journal must be slow without a break before its breaker opens, in ms.
    pub breaker_window_ms: u32,
    /// For so long all must be well before an open breaker lets anything through, in ms.
    pub breaker_rest_ms: u32,
    /// A stage of probes lasts at least so long, in ms; there are six.
    pub breaker_stage_ms: u32,
    /// Requests of the first stage; each stage lets through four times as many as the one before.
    pub breaker_probes: u32,
    /// Accept a data folder that is in memory only.
    pub allow_volatile: bool,
    /// The file of credentials: who proves which secret. Empty: none.
    pub credentials: PathBuf,
    /// The file of rights: what each caller may do. Empty: none.
    pub rights: PathBuf,
    /// The server's certificates in PEM, its own first; with its key all connections are TLS 1.3. Empty: none.
    pub tls_cert: PathBuf,
    /// The key of the first certificate in PEM. Empty: none.
    pub tls_key: PathBuf,
    /// The authorities whose certificates callers show, in PEM. Empty: none is asked for.
    pub tls_ca: PathBuf,
    /// Callers may connect from other machines although nothing is encrypted.
    pub insecure_plain: bool,
    /// A test's hand on the journal's device.
    #[cfg(feature = "faults")]
    #[serde(skip)]
    pub faults: Faults,
}

/// An address, or "off".
mod http {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::net::SocketAddr;

    #[expect(clippy::ref_option, reason = "the signature is serde's")]
    pub(super) fn serialize<S: Serializer>(http: &Option<SocketAddr>, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&http.map_or_else(|| "off".to_owned(), |addr| addr.to_string()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<SocketAddr>, D::Error> {
        super::parse_http(&String::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

/// An address, or "off".
pub fn parse_http(text: &str) -> Result<Option<SocketAddr>, String> {
    match text {
        "off" => Ok(None),
        addr => addr.parse().map(Some).map_err(|_| "must be an address (127.0.0.1:7413) or \"off\"".to_owned()),
    }
}

/// How the journal is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JournalIo {
    /// The best that works.
    Auto,
    /// io_uring or nothing.
    Uring,
    /// pwritev2 or nothing.
    Pwritev2,
    /// Through the page cache.
    Buffered,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("tegata-data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 7411)),
            operate: SocketAddr::from(([127, 0, 0, 1], 7412)),
            http: Some(SocketAddr::from(([127, 0, 0, 1], 7413))),
            shards: 8,
            io_threads: default_io_threads(),
            credits: 1_024,
            connections_max: 10_000,
            idle_ms: 600_000,
            horizon_s: 604_800,
            ack_s: 5,
            accounts_max: 100_000_000,
            lots_max: 100_000_000,
            decisions_max: 100_000_000,
            allocations_max: 100_000_000,
            warm_bytes: 64 << 20,
            segment_bytes: 64 << 20,
            snapshot_bytes: 2 << 30,
            archive_keep_days: 0,
            journal_io: JournalIo::Auto,
            journal_slow_ms: 250,
            journal_fast_ms: 100,
            queue_long_ms: 8,
            queue_short_ms: 3,
            queue_window_ms: 10,
            queue_wait_ms: 4,
            memory_free_permille: 990,
            breaker_window_ms: 100,
            breaker_rest_ms: 500,
            breaker_stage_ms: 100,
            breaker_probes: 16,
            allow_volatile: false,
            credentials: PathBuf::new(),
            rights: PathBuf::new(),
            tls_cert: PathBuf::new(),
            tls_key: PathBuf::new(),
            tls_ca: PathBuf::new(),
            insecure_plain: false,
            #[cfg(feature = "faults")]
            faults: Faults::default(),
        }
    }
}

fn default_io_threads() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if processors <= 2 { 0 } else { (processors / 4).clamp(1, 4) }
}

/// What is wrong with a configuration, with the key and the way out.
#[derive(Debug)]
pub enum ConfigError {
    /// The file could not be read.
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It is not TOML, or has keys that are not known, or values of the wrong kind.
    Parse {
        /// Which.
        file: PathBuf,
        /// Where and why.
        error: FileError,
    },
    /// A value is out of its range.
    Range {
        /// The key.
        key: &'static str,
        /// What it may be.
        allowed: &'static str,
        /// The file that says so, and the line in it.
        at: Option<(PathBuf, usize)>,
    },
    /// Other machines could reach what nothing protects.
    Insecure {
        /// The setting with the address.
        key: &'static str,
        /// Which address.
        addr: SocketAddr,
        /// What is missing.
        missing: &'static str,
    },
    /// The file of credentials.
    Credentials(CredentialsError),
    /// The file of rights.
    Rights {
        /// Which.
        file: PathBuf,
        /// What is wrong with it.
        error: RightsError,
    },
}

impl core::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Read { file, error } => write!(f, "{}: {error}", file.display()),
            Self::Parse { file, error } => write!(f, "{}: {error}", file.display()),
            Self::Range { key, allowed, at } => {
                if let Some((file, line)) = at {
                    write!(f, "{}: line {line}: ", file.display())?;
                }
                write!(f, "{key}: must be {allowed}")
            }
            Self::Insecure { key, addr, missing } => {
                write!(f, "{key}: {addr} can be reached from other machines, and {missing}")
            }
            Self::Credentials(e) => e.fmt(f),
            Self::Rights { file, error } => write!(f, "{}: {error}", file.display()),
        }
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    /// The same, with the place in `file` where a value out of its range is set, if it is set there.
    #[must_use]
    pub fn found_in(mut self, file: &Path) -> Self {
        if let Self::Range { key, at, .. } = &mut self
            && let Ok(text) = std::fs::read_to_string(file)
        {
            *at = file::line_of(&text, key).map(|line| (file.to_owned(), line));
        }
        self
    }
}

impl Config {
    /// From a TOML file over the defaults.
    pub fn from_file(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|error| ConfigError::Read { file: file.to_owned(), error })?;
        file::read(&text, &Self::default()).map_err(|error| ConfigError::Parse { file: file.to_owned(), error })
    }

    /// Where gateways come to any free port, so do operators and watchers, unless they were given one.
    #[must_use]
    pub fn with_free_ports(mut self) -> Self {
        let default = Self::default();
        if self.listen.port() == 0 {
            if self.operate == default.operate {
                self.operate.set_port(0);
            }
            if self.http == default.http {
                self.http = self.http.map(|addr| SocketAddr::new(addr.ip(), 0));
            }
        }
        self
    }

    /// Sets of connections, each with its own thread, or one on the core's.
    pub(crate) fn doors(&self) -> usize {
        self.io_threads.max(1)
    }

    /// When each breaker opens and closes.
    pub(crate) fn policies(&self) -> Policies {
        let us = |ms: u32| u64::from(ms) * 1_000;
        let quick = Policy {
            open_at: 1,
            close_below: 1,
            window_us: 0,
            rest_us: us(self.breaker_rest_ms),
            stage_us: us(self.breaker_stage_ms),
            probes: self.breaker_probes,
        };
        let slow =
            |bad, good, window| Policy { open_at: us(bad), close_below: us(good), window_us: us(window), ..quick };
        let never = Policy { open_at: u64::MAX, ..quick };
        Cause::ALL.map(|cause| match cause {
            Cause::JournalLatency => slow(self.journal_slow_ms, self.journal_fast_ms, self.breaker_window_ms),
            Cause::JournalSpace => quick,
            Cause::QueueDelay => slow(self.queue_long_ms, self.queue_short_ms, self.queue_window_ms),
            Cause::Memory => Policy { open_at: 1_000, close_below: u64::from(self.memory_free_permille), ..quick },
            // A clock jumps, which is no level; nothing measures a quorum yet.
            Cause::Clock | Cause::Replication => never,
        })
    }

    /// Checks every range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let range =
            |ok: bool, key, allowed| if ok { Ok(()) } else { Err(ConfigError::Range { key, allowed, at: None }) };
        range((1..=1_024).contains(&self.shards), "shards", "1 to 1024")?;
        range(self.io_threads <= 16, "io_threads", "0 to 16")?;
        range((1..=65_536).contains(&self.credits), "credits", "1 to 65536")?;
        range((1..=1_000_000).contains(&self.connections_max), "connections_max", "1 to 1000000")?;
        range((1_000..=86_400_000).contains(&self.idle_ms), "idle_ms", "1000 to 86400000 ms")?;
        range((3_600..=34_560_000).contains(&self.horizon_s), "horizon_s", "3600 to 34560000 s (400 days)")?;
        range((1..=3_600).contains(&self.ack_s), "ack_s", "1 to 3600 s")?;
        range(
            self.archive_keep_days == 0
                || u64::from(self.archive_keep_days) * 86_400 >= u64::from(self.horizon_s)
                    && self.archive_keep_days <= 36_500,
            "archive_keep_days",
            "0, which keeps everything, or up to 36500 days and not shorter than horizon_s",
        )?;
        for (max, key) in [
            (self.accounts_max, "accounts_max"),
            (self.lots_max, "lots_max"),
            (self.decisions_max, "decisions_max"),
            (self.allocations_max, "allocations_max"),
        ] {
            range((1..=1_000_000_000).contains(&max), key, "1 to 1000000000")?;
        }
        let segment = self.segment_bytes;
        range(
            segment.is_multiple_of(4096) && ((4 << 20)..=(1 << 30)).contains(&segment),
            "segment_bytes",
            "a multiple of 4096, 4 MiB to 1 GiB",
        )?;
        let below = |good: u32, bad: u32, key, other| {
            range((1..=60_000).contains(&bad), other, "1 to 60000 ms")?;
            range((1..=bad).contains(&good), key, "1 ms to the threshold that opens")
        };
        below(self.journal_fast_ms, self.journal_slow_ms, "journal_fast_ms", "journal_slow_ms")?;
        below(self.queue_short_ms, self.queue_long_ms, "queue_short_ms", "queue_long_ms")?;
        // Else nobody would wait long enough to show that the queue is long.
        range(
            (self.queue_short_ms..=30_000).contains(&self.queue_wait_ms),
            "queue_wait_ms",
            "queue_short_ms to 30000 ms",
        )?;
        range((1..=1_000).contains(&self.memory_free_permille), "memory_free_permille", "1 to 1000")?;
        range(self.queue_window_ms <= 60_000, "queue_window_ms", "0 to 60000 ms")?;
        range(self.breaker_window_ms <= 60_000, "breaker_window_ms", "0 to 60000 ms")?;
        range(self.breaker_rest_ms <= 600_000, "breaker_rest_ms", "0 to 600000 ms")?;
        range((1..=60_000).contains(&self.breaker_stage_ms), "breaker_stage_ms", "1 to 60000 ms")?;
        range((1..=10_000).contains(&self.breaker_probes), "breaker_probes", "1 to 10000")?;
        let set = |path: &Path| !path.as_os_str().is_empty();
        let tls = set(&self.tls_cert);
        range(tls == set(&self.tls_key), "tls_key", "given together with tls_cert")?;
        range(tls || !set(&self.tls_ca), "tls_ca", "beside tls_cert and tls_key")?;
        let allowed = "a file as soon as callers prove who they are: what is not granted is denied";
        range(!self.authenticates() || set(&self.rights), "rights", allowed)?;
        let allowed = "beside credentials or tls_ca: nobody's rights are looked at whose name is not proven";
        range(self.authenticates() || !set(&self.rights), "rights", allowed)?;
        let near = |key, addr: SocketAddr, ok: bool, missing| {
            if ok || addr.ip().is_loopback() { Ok(()) } else { Err(ConfigError::Insecure { key, addr, missing }) }
        };
        for (key, addr) in [("listen", self.listen), ("operate", self.operate)] {
            let missing = "nothing is encrypted there: set tls_cert and tls_key, or accept that with --insecure-plain";
            near(key, addr, tls || self.insecure_plain, missing)?;
            let missing = "anybody could do everything there: set credentials or tls_ca, and rights";
            near(key, addr, self.authenticates(), missing)?;
        }
        let missing = "nothing is encrypted there: use a loopback address, or accept that with --insecure-plain";
        self.http.map_or(Ok(()), |addr| near("http", addr, self.insecure_plain, missing))
    }

    /// Whether callers prove who they are.
    #[must_use]
    pub fn authenticates(&self) -> bool {
        !self.credentials.as_os_str().is_empty() || !self.tls_ca.as_os_str().is_empty()
    }

    /// What the files of credentials and rights say.
    pub fn policy(&self) -> Result<AccessPolicy, ConfigError> {
        if !self.authenticates() {
            return Ok(AccessPolicy { open: true, ..AccessPolicy::default() });
        }
        let credentials = match self.credentials.as_os_str().is_empty() {
            true => Credentials::default(),
            false => Credentials::load(&self.credentials).map_err(ConfigError::Credentials)?,
        };
        let file = self.rights.clone();
        let text = std::fs::read_to_string(&file).map_err(|error| ConfigError::Read { file: file.clone(), error })?;
        let rights = read_rights(&text).map_err(|error| ConfigError::Rights { file, error })?;
        Ok(AccessPolicy { open: false, credentials, rights })
    }
}
