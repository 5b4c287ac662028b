//! What the engine answers: one per command, stored under its key when it is a decision.

use crate::{Code, Position, Timestamp, Yen};

/// An answer. For a decided key these fields are stored, and every repeat gets them byte for byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// What was decided, or why nothing was.
    pub code: Code,
    /// Yen that moved (the approved part when partial).
    pub amount: Yen,
    /// Yen that can be spent afterwards.
    pub balance: Yen,
    /// Where in the log it was decided; 0 when it was not recorded.
    pub position: Position,
    /// Logged time of the decision.
    pub at: Timestamp,
    /// Position of the earlier decision that this one speaks of (and the token that says "a second purchase is
    /// meant"); 0 when there is none.
    pub related: Position,
}

impl Decision {
    /// An answer that changes nothing and is not recorded.
    #[must_use]
    pub fn refusal(code: Code, at: Timestamp) -> Self {
        Self { code, amount: Yen::ZERO, balance: Yen::ZERO, position: Position::ZERO, at, related: Position::ZERO }
    }
}

/// What became of a recorded decision since. Outcomes only move forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// As decided.
    Final = 0,
    /// A hold that can still be captured, or a debit that waits for its confirmation.
    Open = 1,
    /// The hold was captured, or the debit confirmed.
    Captured = 2,
    /// The hold was voided or died at its instant; the value went back.
    Voided = 3,
    /// Treated as never made.
    Reversed = 4,
    /// Part of it was reversed or refunded.
    PartlyReturned = 5,
    /// The key was fenced before it was decided.
    Fenced = 6,
}

impl State {
    /// From its number.
    #[must_use]
    pub const fn from_u8(n: u8) -> Option<Self> {
        Some(match n {
            0 => Self::Final,
            1 => Self::Open,
            2 => Self::Captured,
            3 => Self::Voided,
            4 => Self::Reversed,
            5 => Self::PartlyReturned,
            6 => Self::Fenced,
            _ => return None,
        })
    }
}
