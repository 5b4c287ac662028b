//! Exit codes. `docs/codes.md` is generated from this table.

use std::process::ExitCode;

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Declined = 3,
    Suspected = 4,
    NotExecuted = 5,
    Unknown = 6,
    Unreachable = 7,
    Conflict = 8,
    Config = 9,
    Damaged = 10,
    InUse = 11,
    Newer = 12,
    Insecure = 13,
    DiskFailed = 20,
}

impl Exit {
    pub(crate) const ALL: [(Self, &str); 15] = [
        (
            Self::Done,
            "Done; a payment: approved, or with `--confirm-within` held until it is confirmed. `serve`: stopped in order.",
        ),
        (
            Self::Failed,
            "The proof of `demo` failed, or what was to be checked does not hold. `serve`: a second signal stopped it at once.",
        ),
        (Self::Usage, "Wrong arguments, or an address or folder that cannot be used; the message says which."),
        (Self::Declined, "Declined or refused: nothing was taken. The answer's code says why."),
        (Self::Suspected, "Suspected duplicate: nothing was taken; look at the earlier payment."),
        (Self::NotExecuted, "Rejected, not executed: nothing was taken; the same key may be sent again."),
        (Self::Unknown, "The outcome is not known: send the same key again, or fence it."),
        (Self::Unreachable, "No server could be reached, or it answered a question with nothing usable."),
        (Self::Conflict, "The key was used for another request, whose decision stands: look at the key's `status`."),
        (Self::Config, "A setting or a programme's rule is wrong; the message says which, and its file and line."),
        (Self::Damaged, "The data folder is damaged in a way that no crash explains; it was not changed."),
        (Self::InUse, "Another process has the data folder."),
        (Self::Newer, "A newer version of Tegata wrote the data folder."),
        (Self::Insecure, "Other machines could reach what nothing protects; the message says what is missing."),
        (Self::DiskFailed, "The disk failed: what was in flight is unknown; the process ended by itself."),
    ];
}

impl From<Exit> for ExitCode {
    fn from(e: Exit) -> Self {
        Self::from(e as u8)
    }
}
