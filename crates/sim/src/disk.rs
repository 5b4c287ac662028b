//! A disk that exists in memory only, for the journal's own writer, recovery and archive to run over.
//!
//! What is written is volatile until it is durable. Faults come by [`Odds`], or at a step that is named. After a crash each
//! sector that was not durable is as it was or as it was to be, and each change of names happened or did not; which of
//! them is decided when somebody looks. One [`Chance`] decides everything: a seed, or a script that goes every way once.
//!
//! ```text
//! write, write_durably, submit, sync, rename, … : a step each ── crash ──▶ every handle is dead ── restart ──▶ a disk again
//! ```
//!
//! It knows nothing of journals. [`Fault::promise`] says what the journal promises of each fault.

mod chance;
mod content;
mod faults;
mod handle;
mod names;
mod state;

pub use chance::{Chance, Script, Seeded};
pub use faults::{Fault, Fired, Odds, Promise, Spoilt};

pub use state::{End, When};

use state::State;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tegata_journal::Folder;

/// Which write in flight is complete first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As their latencies say; all that are due at once.
    ByTime,
    /// The oldest, one at a time.
    Oldest,
    /// The newest, one at a time.
    Newest,
    /// Any, one at a time.
    Any,
}

/// How a disk behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Bytes that survive a crash together: 512, or 4096.
    pub sector: usize,
    /// Which write in flight is complete first.
    pub order: Order,
    /// Least and most time of a durable write or a flush. A script takes the least.
    pub latency: (Duration, Duration),
    /// Time of one that stalls.
    pub stall: Duration,
    /// Bytes that it holds.
    pub capacity: u64,
    /// How often faults happen.
    pub odds: Odds,
}

impl Default for Config {
    /// Sectors of 512 bytes, 50 µs to 150 µs, no fault.
    fn default() -> Self {
        Self {
            sector: 512,
            order: Order::ByTime,
            latency: (Duration::from_micros(50), Duration::from_micros(150)),
            stall: Duration::from_secs(2),
            capacity: u64::MAX,
            odds: Odds::default(),
        }
    }
}

/// The disk. All clones are the same one.
#[derive(Debug, Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(config: Config, chance: Chance) -> Self {
        Self(Arc::new(Mutex::new(State::new(config, chance))))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A folder on it, as the journal takes it.
    #[must_use]
    pub fn folder(&self, path: impl Into<PathBuf>) -> Folder {
        Folder::on(Arc::new(self.clone()), path)
    }

    /// Another disk with the same bytes, decided by another chance.
    #[must_use]
    pub fn fork(&self, chance: Chance) -> Self {
        let mut state = self.state().clone();
        state.chance = chance;
        Self(Arc::new(Mutex::new(state)))
    }

    /// How it behaves from now on.
    pub fn configure(&self, change: impl FnOnce(&mut Config)) {
        change(&mut self.state().config);
    }

    /// What decides, as it is now.
    #[must_use]
    pub fn chance(&self) -> Chance {
        self.state().chance.clone()
    }

    /// Time goes on to `now`, if it is not there yet.
    pub fn set_now(&self, now: Duration) {
        let mut state = self.state();
        state.now = state.now.max(now);
    }

    /// The disk's time: whoever waited for a flush waited so long.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.state().now
    }

    /// When the next write in flight will be complete.
    #[must_use]
    pub fn next_completion(&self) -> Option<Duration> {
        self.state().flights.iter().map(|f| f.due).min()
    }

    /// Nothing in flight completes before `until`.
    pub fn stall(&self, until: Duration) {
        self.state().stall(until);
    }

    /// Steps so far: operations that change something.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.state().steps
    }

    /// Power or the process goes at this step: it has begun, and is not complete.
    pub fn end_at(&self, step: u64, end: End) {
        self.end_when(When::Step(step), end);
    }

    /// Power or the process goes then.
    pub fn end_when(&self, when: When, end: End) {
        self.state().ends = Some((when, end));
    }

    /// Power goes at this step.
    pub fn crash_at(&self, step: u64) {
        self.end_at(step, End::Power);
    }

    /// Power is gone now.
    pub fn crash(&self) {
        self.state().go(End::Power);
    }

    /// The process is gone now, and power is not: what it wrote is there, and another process may come.
    pub fn kill(&self) {
        let mut state = self.state();
        state.go(End::Process);
        state.restart();
    }

    /// True from a crash or kill until the restart: every operation fails.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.state().ended.is_some()
    }

    /// Whatever was gone is back. Handles of before stay dead, and what they locked is free.
    pub fn restart(&self) {
        self.state().restart();
    }

    /// What happened so far.
    #[must_use]
    pub fn fired(&self) -> Fired {
        self.state().fired.clone()
    }

    /// Files and their lengths.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let state = self.state();
        state.names.files().map(|(path, id)| (path.clone(), state.files[&id].bytes())).collect()
    }

    /// Bytes of a file, as a read would give them.
    #[must_use]
    pub fn bytes_of(&self, file: &Path) -> Option<Vec<u8>> {
        self.state().bytes_of(file)
    }

    /// Flips one bit of a file at rest.
    ///
    /// # Panics
    /// When there is no such byte.
    pub fn flip(&self, file: &Path, offset: u64, bit: u8) {
        self.state().alter(Fault::BitFlip, file, offset, 1, &|bytes| bytes[0] ^= 1 << (bit % 8));
    }

    /// Writes zeros over bytes of a file at rest, as if their write had never come to the disk.
    ///
    /// # Panics
    /// When there are no such bytes.
    pub fn zero(&self, file: &Path, offset: u64, bytes: u64) {
        self.state().alter(Fault::WriteLost, file, offset, bytes, &|bytes| bytes.fill(0));
    }

    /// A number for everything that a run can tell from another disk.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.state().fingerprint()
    }
}
