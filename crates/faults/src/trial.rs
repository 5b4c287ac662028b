//! A fault, what it must leave standing, and what became of it; and the stage on which all of them play.

use crate::books::{self, Agreed};
use crate::load::{Load, data_set};
use crate::server::Server;
use crate::trials::{disks, fuses, kills, limits};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tegata_load::{DataSet, seed};

/// How much is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Once or twice: a share for every test run.
    Short,
    /// As often as it takes to believe it.
    Full,
}

/// What became of a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It happened, as `evidence` shows, and the promise held.
    Held {
        /// What showed that it happened.
        evidence: String,
        /// What was compared.
        compared: String,
    },
    /// This machine forbids it.
    Skipped(String),
    /// It did not happen, or the promise did not hold.
    Broken(String),
}

/// Why a trial has no evidence to give.
pub(crate) enum Trouble {
    Skipped(String),
    Broken(String),
}

impl From<String> for Trouble {
    fn from(why: String) -> Self {
        Self::Broken(why)
    }
}

impl From<&str> for Trouble {
    fn from(why: &str) -> Self {
        Self::Broken(why.to_owned())
    }
}

impl From<std::io::Error> for Trouble {
    fn from(e: std::io::Error) -> Self {
        Self::Broken(e.to_string())
    }
}

/// What showed that it happened, and what was compared.
pub(crate) type Trial = fn(Scale) -> Result<(String, String), Trouble>;

/// A fault and its promise.
#[derive(Debug)]
pub struct Fault {
    /// Its name.
    pub name: &'static str,
    /// What must hold.
    pub promise: &'static str,
    pub(crate) run: Trial,
}

const NOTHING_LOST: &str = "what was answered is there once, what was refused is not";
const FAIL_STOP: &str = "it stops by itself and says so; what was answered is there once";
const REFUSES: &str = "what was vouched for is missing: it does not start, and changes nothing";
const GOES_ON: &str = "it degrades, comes back by itself, and nothing is lost";

/// All faults.
pub const FAULTS: [Fault; 16] = [
    Fault { name: "kill-recovery", promise: NOTHING_LOST, run: kills::during_recovery },
    Fault { name: "kill-snapshot", promise: NOTHING_LOST, run: kills::during_snapshot },
    Fault { name: "kill-rollover", promise: NOTHING_LOST, run: kills::during_rollover },
    Fault { name: "kill-and-pause", promise: NOTHING_LOST, run: kills::and_pauses },
    Fault { name: "thin-disk", promise: FAIL_STOP, run: disks::thin },
    Fault { name: "ext4-shutdown", promise: FAIL_STOP, run: disks::ext4_shutdown },
    Fault { name: "xfs-shutdown", promise: FAIL_STOP, run: disks::xfs_shutdown },
    Fault { name: "fuse-power-cut", promise: NOTHING_LOST, run: fuses::power_cut },
    Fault { name: "fuse-torn", promise: NOTHING_LOST, run: fuses::torn },
    Fault { name: "fuse-fail", promise: FAIL_STOP, run: fuses::fail },
    Fault { name: "fuse-short", promise: FAIL_STOP, run: fuses::short },
    Fault { name: "fuse-fail-flush", promise: FAIL_STOP, run: fuses::fail_flush },
    Fault { name: "fuse-stall", promise: GOES_ON, run: fuses::stall },
    Fault { name: "fuse-drop", promise: REFUSES, run: fuses::drop_write },
    Fault { name: "file-size-limit", promise: FAIL_STOP, run: limits::file_size },
    Fault { name: "no-io-uring", promise: NOTHING_LOST, run: limits::no_io_uring },
];

impl Fault {
    /// Does it.
    #[must_use]
    pub fn run(&self, scale: Scale) -> Outcome {
        match (self.run)(scale) {
            Ok((evidence, compared)) => Outcome::Held { evidence, compared },
            Err(Trouble::Skipped(why)) => Outcome::Skipped(why),
            Err(Trouble::Broken(why)) => Outcome::Broken(why),
        }
    }
}

/// How long answers may take to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Settings of most trials: small segments, so that much happens to them.
pub(crate) const SETTINGS: [&str; 2] = ["segment_bytes = 4194304", "shards = 4"];

/// A server under load on a data folder.
pub(crate) struct Stage {
    pub(crate) data: PathBuf,
    log: PathBuf,
    settings: Vec<&'static str>,
    pub(crate) server: Option<Server>,
    pub(crate) load: Load,
}

/// Accounts of a trial, and what is on each.
const ACCOUNTS: u32 = 400;
const BALANCE: u64 = 200_000;

impl Stage {
    /// Starts a server on `data`, fills it and begins to load it. What it says of errors goes to the folder `log`.
    pub(crate) fn begin(data: &Path, log: &Path, settings: &[&'static str]) -> Result<Self, Trouble> {
        let set: DataSet = data_set(ACCOUNTS, BALANCE);
        let server = Server::start(data, log, settings)?;
        seed(server.operate, &set, &mut |_, _| {}).map_err(|e| format!("seeding: {e}"))?;
        let load = Load::begin(set);
        load.goes_to(server.addr);
        let (data, log) = (data.to_owned(), log.to_owned());
        Ok(Self { data, log, settings: settings.to_vec(), server: Some(server), load })
    }

    pub(crate) fn answers(&mut self, n: u64) -> Result<(), Trouble> {
        if self.load.answers_more(n, PATIENCE) {
            return Ok(());
        }
        let words = self.server.as_ref().map(Server::words).unwrap_or_default();
        let caller = self.load.trouble().unwrap_or_else(|| "they wait".to_owned());
        Err(format!("{n} more answers did not come; the callers: {caller}; the server: {words}").into())
    }

    pub(crate) fn server(&mut self) -> Result<&mut Server, Trouble> {
        self.server.as_mut().ok_or_else(|| "there is no server".into())
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) -> Result<(), Trouble> {
        if let Some(mut server) = self.server.take() {
            server.kill()?;
        }
        Ok(())
    }

    /// The server on the same data.
    pub(crate) fn starting(&self) -> std::io::Result<crate::server::Starting> {
        crate::server::Starting::new(&self.data, &self.log, &self.settings)
    }

    /// The same, ready, and where the load goes.
    pub(crate) fn start(&mut self) -> Result<&Server, Trouble> {
        let server = self.starting()?.ready().map_err(|e| e.to_string())?;
        self.load.goes_to(server.addr);
        Ok(self.server.insert(server))
    }

    /// Ends load and server, and compares all that they know.
    pub(crate) fn compare(mut self) -> Result<Agreed, Trouble> {
        let server = self.server.take().ok_or("there is no server to compare with")?;
        let ledger = self.load.end()?;
        let position = books::balances(server.operate, &ledger)?;
        server.stop()?;
        let reads = books::linearizable(&ledger)?;
        let agreed = Agreed { reads, ..books::journal(&self.data, position, &ledger)? };
        if agreed.approved == 0 || agreed.repeats == 0 || agreed.reads == 0 {
            return Err(format!("too little happened: {agreed}").into());
        }
        Ok(agreed)
    }
}
