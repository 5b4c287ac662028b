//! What can go wrong with the disk, and what the journal promises of each.

use std::path::PathBuf;

/// What the journal promises when a fault happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Promise {
    /// Nothing but time is lost: it goes on by itself.
    Continue,
    /// The process ends; a start on the same disk is never refused, and what was called flushed is there.
    Survive,
    /// It is found when it is read, and refused with file and offset. What no witness vouches for yet may look like a
    /// torn tail instead. Nothing is invented in either case.
    Refuse,
}

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Power is gone: what was not durable survives by sector at random.
    Crash,
    /// The process is gone; what it has written is not.
    Kill,
    /// Of a batch that was in flight at a crash some sectors survived, and some did not.
    Torn,
    /// What was written and never flushed was lost in a crash.
    Unflushed,
    /// A new name, another one, or a removal was lost in a crash.
    NameLost,
    /// A write fails (EIO).
    WriteFails,
    /// A write is short: its beginning is on the disk.
    WriteShort,
    /// A flush fails; what it should have flushed never is, though the next flush says so.
    SyncFails,
    /// The disk is full (ENOSPC).
    Full,
    /// A write takes much longer than others.
    Stall,
    /// A read fails (EIO).
    ReadFails,
    /// A write is said to be durable, and is nowhere.
    WriteLost,
    /// A write is said to be durable, can be read, and is gone after a crash: the old bytes are back.
    WriteStale,
    /// A write is said to be durable, and is in another place.
    WriteMisdirected,
    /// A bit is not what it was.
    BitFlip,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Crash,
        Self::Kill,
        Self::Torn,
        Self::Unflushed,
        Self::NameLost,
        Self::WriteFails,
        Self::WriteShort,
        Self::SyncFails,
        Self::Full,
        Self::Stall,
        Self::ReadFails,
        Self::WriteLost,
        Self::WriteStale,
        Self::WriteMisdirected,
        Self::BitFlip,
    ];

    /// What the journal promises.
    #[must_use]
    pub fn promise(self) -> Promise {
        match self {
            Self::Full | Self::Stall => Promise::Continue,
            Self::Crash | Self::Kill | Self::Torn | Self::Unflushed | Self::NameLost => Promise::Survive,
            Self::WriteFails | Self::WriteShort | Self::SyncFails => Promise::Survive,
            Self::ReadFails | Self::WriteLost | Self::WriteStale | Self::WriteMisdirected | Self::BitFlip => {
                Promise::Refuse
            }
        }
    }
}

/// How often faults happen, in a million operations of the kind. All zero by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Odds {
    /// Of every step.
    pub crash: u32,
    /// Of every write.
    pub write_fails: u32,
    /// Of every durable write.
    pub write_short: u32,
    /// Of every flush of a file.
    pub sync_fails: u32,
    /// Of every write in flight.
    pub stall: u32,
    /// Of every read.
    pub read_fails: u32,
    /// Of every durable write.
    pub write_lost: u32,
    /// Of every durable write.
    pub write_stale: u32,
    /// Of every durable write.
    pub write_misdirected: u32,
    /// Of every step.
    pub bit_flip: u32,
}

/// Bytes that are not what their writer was told they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoilt {
    /// By what.
    pub fault: Fault,
    /// In which file.
    pub file: PathBuf,
    /// From which byte.
    pub offset: u64,
    /// How many.
    pub bytes: u64,
}

/// What happened so far.
#[derive(Debug, Clone, Default)]
pub struct Fired {
    counts: [u64; Fault::ALL.len()],
    /// Where bytes were spoilt, in order.
    pub spoilt: Vec<Spoilt>,
}

impl Fired {
    /// How often a fault happened.
    #[must_use]
    pub fn count(&self, fault: Fault) -> u64 {
        self.counts[fault as usize]
    }

    /// The weakest promise among the faults that happened; nothing when none did.
    #[must_use]
    pub fn promise(&self) -> Option<Promise> {
        Fault::ALL.into_iter().filter(|f| self.count(*f) > 0).map(Fault::promise).max()
    }

    pub(super) fn add(&mut self, fault: Fault) {
        self.counts[fault as usize] += 1;
    }

    pub(super) fn spoil(&mut self, fault: Fault, file: PathBuf, offset: u64, bytes: u64) {
        self.add(fault);
        self.spoilt.push(Spoilt { fault, file, offset, bytes });
    }
}
