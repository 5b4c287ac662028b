//! Refusals that go out together: under overload they are most of what a server says, and all say the same.

use crate::decision::DecisionBody;
use crate::frame::{ANSWER_HEADER_BYTES, FrameError, KIND_REFUSALS, put_answer_header, seal};
use tegata_model::Reader;

/// Requests that one frame refuses.
pub const REFUSALS_MAX: usize = 4_096;
/// Bytes of the body before the first request, and of each.
const HEAD_BYTES: usize = 16;
const ENTRY_BYTES: usize = 12;

/// A frame of refusals that is being written.
///
/// ```text
/// 0 u16 code | 2 u16 count | 4 zero | 8 i64 decided at µs | 16 (u64 request id | u32 retry after ms) × count
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusals {
    code: u16,
    decided_at: i64,
    start: usize,
    count: usize,
}

impl Refusals {
    /// Begins a frame at the end of `out`. Nothing else may be appended before its end.
    #[must_use]
    pub fn begin(out: &mut Vec<u8>, code: u16, decided_at: i64) -> Self {
        let start = out.len();
        put_answer_header(out, KIND_REFUSALS, 0, 0, 0);
        let mut head = [0u8; HEAD_BYTES];
        head[..2].copy_from_slice(&code.to_le_bytes());
        head[8..].copy_from_slice(&decided_at.to_le_bytes());
        out.extend_from_slice(&head);
        Self { code, decided_at, start, count: 0 }
    }

    /// Whether another request with this code and instant belongs into it.
    #[must_use]
    #[inline]
    pub fn takes(&self, code: u16, decided_at: i64) -> bool {
        (self.code, self.decided_at) == (code, decided_at) && self.count < REFUSALS_MAX
    }

    /// Appends a request. There is room for it.
    #[inline]
    pub fn push(&mut self, out: &mut Vec<u8>, request_id: u64, retry_after_ms: u32) {
        let mut entry = [0u8; ENTRY_BYTES];
        entry[..8].copy_from_slice(&request_id.to_le_bytes());
        entry[8..].copy_from_slice(&retry_after_ms.to_le_bytes());
        out.extend_from_slice(&entry);
        self.count += 1;
    }

    /// Ends it.
    pub fn end(self, out: &mut [u8]) {
        assert!(self.count <= REFUSALS_MAX, "no more than were counted with the largest answer");
        let count = self.start + ANSWER_HEADER_BYTES + 2;
        out[count..count + 2].copy_from_slice(&(self.count as u16).to_le_bytes());
        seal(out, self.start);
    }
}

/// Appends the frame that refuses all of `requests`, which say the same but for when to try again; there is at least one,
/// and there are at most [`REFUSALS_MAX`].
pub fn encode_refusals(out: &mut Vec<u8>, requests: &[(u64, DecisionBody)]) {
    let Some((_, first)) = requests.first() else { return };
    let mut refusals = Refusals::begin(out, first.code, first.decided_at);
    requests.iter().for_each(|(request_id, d)| refusals.push(out, *request_id, d.retry_after_ms));
    refusals.end(out);
}

/// The requests that a frame refuses, and what each is told: the body that its own answer would have had.
pub fn refusals(body: &[u8]) -> Result<impl Iterator<Item = (u64, DecisionBody)>, FrameError> {
    let mut r = Reader::new(body);
    let (code, count, zero, decided_at) = (r.u16()?, r.u16()?, r.u32()?, r.i64()?);
    if zero != 0 {
        return Err(FrameError::Reserved);
    }
    let entries = r.rest();
    if !(1..=REFUSALS_MAX).contains(&usize::from(count)) || entries.len() != usize::from(count) * ENTRY_BYTES {
        return Err(FrameError::Length { got: body.len() as u32 });
    }
    Ok(entries.chunks_exact(ENTRY_BYTES).map(move |entry| {
        let mut r = Reader::new(entry);
        let (request_id, retry_after_ms) = (r.u64().unwrap_or_default(), r.u32().unwrap_or_default());
        (request_id, DecisionBody { code, decided_at, retry_after_ms, ..DecisionBody::default() })
    }))
}
