//! The body of an answer to a command or to a status request: 48 bytes, stored with the key and the same for ever.

use crate::frame::{ANSWER_HEADER_BYTES, FrameError, put_answer_header, seal};
use tegata_model::{Decision, Reader, State};

/// Bytes of the body.
pub const DECISION_BYTES: usize = 48;

/// A decision or a refusal.
///
/// ```text
/// 0 u16 code | 2 u8 state | 3 zero | 4 u32 retry after ms | 8 amount | 16 balance | 24 position
/// 32 i64 decided at µs | 40 related
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DecisionBody {
    /// `docs/codes.md`.
    pub code: u16,
    /// What became of it since; only `status` tells, 0 otherwise.
    pub state: u8,
    /// When to try again, in ms; 0: not said.
    pub retry_after_ms: u32,
    /// Yen that moved.
    pub amount: u64,
    /// Yen that can be spent afterwards.
    pub balance: u64,
    /// Where it was decided; 0: it was not recorded.
    pub position: u64,
    /// Logged time, µs UTC.
    pub decided_at: i64,
    /// The decision it speaks of; with code 100 also the token.
    pub related: u64,
}

impl DecisionBody {
    /// Of a decision, or of a refusal, and what became of it since.
    #[must_use]
    pub fn of(d: &Decision, state: State, retry_after_ms: u32) -> Self {
        Self {
            code: u16::from(d.code.number()),
            state: state as u8,
            retry_after_ms,
            amount: d.amount.get(),
            balance: d.balance.get(),
            position: d.position.get(),
            decided_at: d.at.micros(),
            related: d.related.get(),
        }
    }

    /// Its bytes.
    #[inline]
    #[must_use]
    pub fn encode(&self) -> [u8; DECISION_BYTES] {
        let mut b = [0u8; DECISION_BYTES];
        b[..2].copy_from_slice(&self.code.to_le_bytes());
        b[2] = self.state;
        b[4..8].copy_from_slice(&self.retry_after_ms.to_le_bytes());
        b[8..16].copy_from_slice(&self.amount.to_le_bytes());
        b[16..24].copy_from_slice(&self.balance.to_le_bytes());
        b[24..32].copy_from_slice(&self.position.to_le_bytes());
        b[32..40].copy_from_slice(&self.decided_at.to_le_bytes());
        b[40..].copy_from_slice(&self.related.to_le_bytes());
        b
    }

    /// From its bytes.
    #[inline]
    pub fn decode(b: &[u8]) -> Result<Self, FrameError> {
        let mut r = Reader::new(b);
        let (code, state, zero, retry_after_ms) = (r.u16()?, r.u8()?, r.u8()?, r.u32()?);
        if zero != 0 {
            return Err(FrameError::Reserved);
        }
        let d = Self {
            code,
            state,
            retry_after_ms,
            amount: r.u64()?,
            balance: r.u64()?,
            position: r.u64()?,
            decided_at: r.i64()?,
            related: r.u64()?,
        };
        if r.rest().is_empty() { Ok(d) } else { Err(FrameError::Length { got: b.len() as u32 }) }
    }
}

/// Appends the answer to a command, or to a status request.
#[inline]
pub fn encode_decision_answer(
    out: &mut Vec<u8>,
    kind: u8,
    flags: u16,
    number: u32,
    request_id: u64,
    body: &DecisionBody,
) {
    let start = out.len();
    put_answer_header(out, kind, flags, number, request_id);
    out.extend_from_slice(&body.encode());
    debug_assert_eq!(out.len() - start, ANSWER_HEADER_BYTES + DECISION_BYTES, "a decision has one size");
    seal(out, start);
}
