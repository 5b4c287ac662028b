//! What ends a run without a result.

use std::io;

/// What ends a run without a result.
#[derive(Debug)]
pub enum RunError {
    /// The scenario cannot be run like this.
    Usage(String),
    /// The server cannot be reached, is of another version, or ended.
    Server(String),
    /// The machine, or the user's rights, do not allow what the scenario needs.
    Privilege(String),
    /// No rate met the goals, so that there is no peak to take multiples of.
    NoPeak,
    /// The run folder cannot be written, or is full.
    Folder(String),
}

impl RunError {
    /// The server, or the way to it.
    pub(crate) fn server(e: impl core::fmt::Display) -> Self {
        Self::Server(e.to_string())
    }

    /// The run folder.
    pub(crate) fn folder(e: io::Error) -> Self {
        Self::Folder(e.to_string())
    }

    /// The program's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 3,
            Self::Server(_) => 4,
            Self::Privilege(_) | Self::NoPeak => 5,
            Self::Folder(_) => 6,
        }
    }
}

impl core::fmt::Display for RunError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Usage(text) => f.write_str(text),
            Self::Server(text) => write!(f, "the server: {text}"),
            Self::Privilege(text) => write!(f, "this scenario needs what is not allowed here: {text}"),
            Self::NoPeak => f.write_str("no rate that was tried met the goals: there is no peak to take multiples of"),
            Self::Folder(text) => write!(f, "the run folder: {text}"),
        }
    }
}

impl std::error::Error for RunError {}
