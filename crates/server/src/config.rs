//! What the server is told: flags over environment over file over defaults. Every value is checked before anything
//! starts, and `tegata config show` prints what came out.

pub mod file;

use file::FileError;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

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
    /// Seconds after which an answer without acknowledgement is logged as undelivered.
    pub ack_s: u32,
    /// Most accounts.
    pub accounts_max: u64,
    /// Most decisions remembered.
    pub decisions_max: u64,
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
    /// Accept a data folder that is in memory only.
    pub allow_volatile: bool,
    /// Gateways may connect from other machines although nothing is encrypted.
    pub insecure: bool,
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
            decisions_max: 100_000_000,
            warm_bytes: 64 << 20,
            segment_bytes: 64 << 20,
            snapshot_bytes: 2 << 30,
            archive_keep_days: 0,
            journal_io: JournalIo::Auto,
            allow_volatile: false,
            insecure: false,
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
        range((1..=1_000_000_000).contains(&self.accounts_max), "accounts_max", "1 to 1000000000")?;
        range((1..=1_000_000_000).contains(&self.decisions_max), "decisions_max", "1 to 1000000000")?;
        let segment = self.segment_bytes;
        range(
            segment.is_multiple_of(4096) && ((4 << 20)..=(1 << 30)).contains(&segment),
            "segment_bytes",
            "a multiple of 4096, 4 MiB to 1 GiB",
        )?;
        let here = |addr: SocketAddr| self.insecure || addr.ip().is_loopback();
        let allowed = "a loopback address, unless `insecure` says that nothing protects the traffic";
        range(here(self.listen), "listen", allowed)?;
        range(here(self.operate), "operate", allowed)?;
        range(self.http.is_none_or(here), "http", allowed)
    }
}
