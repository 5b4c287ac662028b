//! What can go wrong, with its evidence. A damaged journal is never opened, and never changed.

use crate::layout::Damage;
use std::io;
use std::path::{Path, PathBuf};

/// Why a journal cannot be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The operating system refused something.
    Io {
        /// What was being done.
        doing: &'static str,
        /// On which file.
        file: PathBuf,
        /// Its error.
        error: io::Error,
    },
    /// Another process has the folder.
    InUse {
        /// The lock file.
        file: PathBuf,
    },
    /// The folder is in memory only, and that was not allowed.
    Volatile {
        /// The folder.
        dir: PathBuf,
    },
    /// Something that was vouched for is damaged, or the damage is not what a crash leaves.
    Corrupt {
        /// Where.
        file: PathBuf,
        /// At which byte.
        offset: u64,
        /// Which position should be there.
        position: u64,
        /// What is wrong.
        damage: Damage,
        /// The highest position that is vouched for.
        vouched: u64,
    },
    /// Written by a newer version of the format.
    NewerVersion {
        /// Where.
        file: PathBuf,
        /// Its version.
        got: u32,
    },
    /// The folder holds something else.
    NotAStore {
        /// The folder.
        dir: PathBuf,
        /// What was found or missed.
        what: &'static str,
    },
    /// A snapshot of another log: its chain hash is not this one's at its position.
    Foreign {
        /// The snapshot.
        file: PathBuf,
        /// Its position.
        position: u64,
    },
    /// What was asked for was dropped from the archive, as the settings say.
    Dropped {
        /// The first position that is there.
        first: u64,
    },
    /// The settings contradict each other.
    Options {
        /// How.
        what: &'static str,
    },
    /// No way of writing that was asked for works here.
    NoWriter {
        /// Why the last one did not.
        error: io::Error,
    },
}

impl OpenError {
    pub(crate) fn io(doing: &'static str, file: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let file = file.into();
        move |error| Self::Io { doing, file, error }
    }

    /// Damage at a byte of a file. What a newer version wrote is none.
    pub(crate) fn damaged(file: &Path, offset: u64, position: u64, damage: Damage, vouched: u64) -> Self {
        let file = file.to_owned();
        match damage {
            Damage::Version { got } => Self::NewerVersion { file, got },
            damage => Self::Corrupt { file, offset, position, damage, vouched },
        }
    }
}

impl core::fmt::Display for OpenError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Io { doing, file, error } => write!(f, "{doing} {}: {error}", file.display()),
            Self::InUse { file } => write!(f, "another process holds {}", file.display()),
            Self::Volatile { dir } => {
                write!(f, "{} is in memory only; what is written there does not survive", dir.display())
            }
            Self::Corrupt { file, offset, position, damage, vouched } => write!(
                f,
                "{} is damaged at byte {offset}, position {position}: {damage}; positions up to {vouched} are vouched \
                 for; nothing was changed",
                file.display()
            ),
            Self::NewerVersion { file, got } => {
                write!(f, "{} has format version {got}, newer than this program's", file.display())
            }
            Self::NotAStore { dir, what } => write!(f, "{} is not a data folder: {what}", dir.display()),
            Self::Foreign { file, position } => write!(
                f,
                "{} is of another log: its chain hash is not the log's at position {position}",
                file.display()
            ),
            Self::Dropped { first } => {
                write!(f, "the log begins at position {first}; what was before it was dropped, as the settings say")
            }
            Self::Options { what } => write!(f, "journal settings: {what}"),
            Self::NoWriter { error } => write!(f, "no way of durable writing works here: {error}"),
        }
    }
}

impl std::error::Error for OpenError {}

/// The journal failed. It is never written again in this process (fail-stop).
#[derive(Debug)]
pub enum WriteError {
    /// A write or flush failed, or was short.
    Failed {
        /// What was being done.
        doing: &'static str,
        /// The operating system's error; short writes have their own words.
        error: io::Error,
    },
    /// It failed before.
    Stopped,
}

impl core::fmt::Display for WriteError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Failed { doing, error } => write!(f, "the journal failed while {doing}: {error}"),
            Self::Stopped => f.write_str("the journal failed before"),
        }
    }
}

impl std::error::Error for WriteError {}

/// Why a log could not be read to its end.
#[derive(Debug)]
pub enum ReadError<E> {
    /// The journal itself.
    Journal(OpenError),
    /// Whoever got the batches refused one.
    Consumer(E),
}

impl<E> From<OpenError> for ReadError<E> {
    fn from(e: OpenError) -> Self {
        Self::Journal(e)
    }
}

impl<E: core::fmt::Display> core::fmt::Display for ReadError<E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Journal(e) => e.fmt(f),
            Self::Consumer(e) => e.fmt(f),
        }
    }
}

impl<E: core::fmt::Debug + core::fmt::Display> std::error::Error for ReadError<E> {}
