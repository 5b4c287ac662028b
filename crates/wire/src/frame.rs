//! Frames: their lengths, their checksum, and the fixed header of a request.
//!
//! ```text
//! request: 0 length | 4 crc32c of 8.. | 8 kind | 9 version | 10 flags | 12 acked | 16 request id
//!          24 deadline ms | 28 age ms | 32 account | 48 key | 64 namespace | 68 zero | 72 body
//! answer:  0 length | 4 crc32c of 8.. | 8 kind + 0x80 | 9 version | 10 flags | 12 answer number
//!          16 request id | 24 body
//! ```

use tegata_model::{Reader, Short};

/// Bytes of a request before its body.
pub const REQUEST_HEADER_BYTES: usize = 72;
/// Bytes of an answer before its body.
pub const ANSWER_HEADER_BYTES: usize = 24;
/// No request frame is longer.
pub const FRAME_BYTES_MAX: usize = 4_096;
/// No answer frame is longer.
pub const ANSWER_BYTES_MAX: usize = 65_536;
/// The protocol version of this crate.
pub const VERSION: u8 = 1;
/// The time a caller waits when it does not say, in ms.
pub const DEADLINE_MS_DEFAULT: u32 = 8_000;
/// The longest a caller may wait, in ms.
pub const DEADLINE_MS_MAX: u32 = 30_000;
/// Answer flag: the stored decision again.
pub const FLAG_REPLAYED: u16 = 1;
/// Answer flag: more frames of this answer follow.
pub const FLAG_MORE: u16 = 2;
/// Answer flag: executed, although a like debit was seen before.
pub const FLAG_FLAGGED: u16 = 4;
/// Answer flag: the request was refused; the body is that of a decision, whatever the kind.
pub const FLAG_REFUSED: u16 = 8;
/// Flag of an entry of the history: an advice that its lease does not cover.
pub const FLAG_OVER_LEASE: u16 = 16;
/// Flag of an entry of the history: an advice that stands beside another decision under its key.
pub const FLAG_BESIDE: u16 = 32;
/// Flag of a hello: the caller understands [`KIND_REFUSALS`].
pub const FLAG_TOGETHER: u16 = 1;
/// Set in the kind of every answer.
pub const ANSWER_BIT: u8 = 0x80;

/// Kinds 1 to this are commands, and so are [`KIND_LEASE`] and [`KIND_ADVICE`]; their bodies are the bodies of journal
/// records.
pub const KIND_COMMAND_MAX: u8 = 19;
/// Lease to a client what it may approve by itself.
pub const KIND_LEASE: u8 = 24;
/// A debit that was approved under a lease.
pub const KIND_ADVICE: u8 = 25;
/// First frame of a connection.
pub const KIND_HELLO: u8 = 64;
/// Are you there?
pub const KIND_PING: u8 = 65;
/// Carries an acknowledgement and nothing else.
pub const KIND_ACK: u8 = 66;
/// The end of a connection, said.
pub const KIND_GOODBYE: u8 = 67;
/// What is decided under a key.
pub const KIND_STATUS: u8 = 68;
/// What is on an account.
pub const KIND_BALANCE: u8 = 69;
/// What an extension would cover.
pub const KIND_PLAN_EXTEND: u8 = 70;
/// What a reinstatement would be.
pub const KIND_PLAN_REINSTATE: u8 = 71;
/// Decisions in log order.
pub const KIND_HISTORY: u8 = 72;
/// How the server is.
pub const KIND_SERVER_STATUS: u8 = 73;
/// All programmes.
pub const KIND_LIST_PROGRAMMES: u8 = 74;
/// Registered shops.
pub const KIND_LIST_SHOPS: u8 = 75;
/// Start a snapshot.
pub const KIND_SNAPSHOT_TAKE: u8 = 76;
/// Position, digest, sums.
pub const KIND_DIGEST: u8 = 77;
/// How the breakers are.
pub const KIND_BREAKERS: u8 = 78;
/// An order to a breaker; answered with how the breakers are then.
pub const KIND_BREAKER_ORDER: u8 = 79;
/// Before a hello that proves a secret: asks for the server's nonce.
pub const KIND_CHALLENGE: u8 = 80;
/// Only an answer: many requests are refused together.
pub const KIND_REFUSALS: u8 = 81;

const _: () = assert!(REQUEST_HEADER_BYTES.is_multiple_of(8), "bodies start aligned, like those of records");

/// True for kinds that are decided under a key and written to the log.
#[must_use]
#[inline]
pub const fn is_command(kind: u8) -> bool {
    matches!(kind, 1..=KIND_COMMAND_MAX | KIND_LEASE | KIND_ADVICE)
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// They end before the frame does.
    Short,
    /// The length is below that of a header.
    Length {
        /// What it says.
        got: u32,
    },
    /// The length is above what was agreed.
    TooLarge {
        /// What it says.
        got: u32,
        /// What was agreed.
        max: usize,
    },
    /// The checksum does not hold.
    Checksum,
    /// A flag that this version does not know.
    Flags {
        /// All flags.
        got: u16,
    },
    /// A kind that this version does not know.
    Kind {
        /// Its number.
        got: u8,
    },
    /// A field has a value that no encoder writes.
    Field {
        /// Its name.
        name: &'static str,
    },
    /// Reserved space is not zero.
    Reserved,
}

impl core::fmt::Display for FrameError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Short => f.write_str("the frame ends early"),
            Self::Length { got } => write!(f, "a frame cannot be {got} bytes long"),
            Self::TooLarge { got, max } => write!(f, "a frame of {got} bytes is longer than the agreed {max}"),
            Self::Checksum => f.write_str("the checksum does not hold"),
            Self::Flags { got } => write!(f, "flags {got:#06x} are not all known"),
            Self::Kind { got } => write!(f, "no frame kind has the number {got}"),
            Self::Field { name } => write!(f, "field {name} has a value that is never written"),
            Self::Reserved => f.write_str("reserved space is not zero"),
        }
    }
}

impl std::error::Error for FrameError {}

impl From<Short> for FrameError {
    fn from(_: Short) -> Self {
        Self::Short
    }
}

/// What stands at the start of received bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan<'a> {
    /// A whole frame by its length; its checksum is not looked at.
    Frame {
        /// The frame.
        frame: &'a [u8],
        /// What follows it.
        rest: &'a [u8],
    },
    /// Not yet.
    Incomplete {
        /// So many bytes are needed in all.
        need: usize,
    },
    /// This can never become a frame.
    Bad(FrameError),
}

/// Finds the first frame by its length, which is at most `max`.
#[inline]
#[must_use]
pub fn scan(bytes: &[u8], max: usize) -> Scan<'_> {
    let Some(head) = bytes.first_chunk::<4>() else { return Scan::Incomplete { need: 4 } };
    let got = u32::from_le_bytes(*head);
    let need = got as usize;
    if need < ANSWER_HEADER_BYTES {
        return Scan::Bad(FrameError::Length { got });
    }
    if need > max {
        return Scan::Bad(FrameError::TooLarge { got, max });
    }
    match bytes.split_at_checked(need) {
        Some((frame, rest)) => Scan::Frame { frame, rest },
        None => Scan::Incomplete { need },
    }
}

/// Checks the checksum of a whole frame.
#[inline]
pub fn check_crc(frame: &[u8]) -> Result<(), FrameError> {
    let mut r = Reader::new(frame);
    let (_length, crc) = (r.u32()?, r.u32()?);
    if crc32c::crc32c(r.rest()) == crc { Ok(()) } else { Err(FrameError::Checksum) }
}

/// Sets length and checksum of the frame that starts at `start` and ends with `out`.
#[inline]
pub(crate) fn seal(out: &mut [u8], start: usize) {
    let frame = &mut out[start..];
    let length = frame.len() as u32;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    let crc = crc32c::crc32c(&frame[8..]);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// The fixed header of a request. A refusal needs nothing else of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestHeader {
    /// What is asked.
    pub kind: u8,
    /// Protocol version of the frame.
    pub version: u8,
    /// No flag of requests is defined: zero.
    pub flags: u16,
    /// Every answer up to this number has been seen; 0: none.
    pub acked: u32,
    /// The caller's number of the request, for the answer.
    pub request_id: u64,
    /// How long the caller waits, in ms; 0: [`DEADLINE_MS_DEFAULT`].
    pub deadline_ms: u32,
    /// How old the customer's action was when the frame was sent, in ms.
    pub age_ms: u32,
    /// The account; zero: none.
    pub account: [u8; 16],
    /// The idempotency key; zero: none.
    pub key: [u8; 16],
    /// Whose key.
    pub namespace: u32,
}

/// Reads the header of a whole frame.
#[inline]
pub fn request_header(frame: &[u8]) -> Result<RequestHeader, FrameError> {
    let b: &[u8; REQUEST_HEADER_BYTES] = frame.first_chunk().ok_or(FrameError::Short)?;
    if part::<68, _>(b) != [0; 4] {
        return Err(FrameError::Reserved);
    }
    Ok(RequestHeader {
        kind: b[8],
        version: b[9],
        flags: u16::from_le_bytes(part::<10, _>(b)),
        acked: u32::from_le_bytes(part::<12, _>(b)),
        request_id: u64::from_le_bytes(part::<16, _>(b)),
        deadline_ms: u32::from_le_bytes(part::<24, _>(b)),
        age_ms: u32::from_le_bytes(part::<28, _>(b)),
        account: part::<32, _>(b),
        key: part::<48, _>(b),
        namespace: u32::from_le_bytes(part::<64, _>(b)),
    })
}

/// The `N` bytes of a header from `AT` on.
#[inline]
fn part<const AT: usize, const N: usize>(header: &[u8; REQUEST_HEADER_BYTES]) -> [u8; N] {
    const { assert!(AT + N <= REQUEST_HEADER_BYTES) };
    std::array::from_fn(|i| header[AT + i])
}

impl RequestHeader {
    /// Appends the header with a length and a checksum that [`seal`] sets.
    #[inline]
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let mut b = [0u8; REQUEST_HEADER_BYTES];
        b[8] = self.kind;
        b[9] = VERSION;
        b[10..12].copy_from_slice(&self.flags.to_le_bytes());
        b[12..16].copy_from_slice(&self.acked.to_le_bytes());
        b[16..24].copy_from_slice(&self.request_id.to_le_bytes());
        b[24..28].copy_from_slice(&self.deadline_ms.to_le_bytes());
        b[28..32].copy_from_slice(&self.age_ms.to_le_bytes());
        b[32..48].copy_from_slice(&self.account);
        b[48..64].copy_from_slice(&self.key);
        b[64..68].copy_from_slice(&self.namespace.to_le_bytes());
        out.extend_from_slice(&b);
    }
}

/// Appends the header of an answer.
#[inline]
pub(crate) fn put_answer_header(out: &mut Vec<u8>, kind: u8, flags: u16, number: u32, request_id: u64) {
    let mut b = [0u8; ANSWER_HEADER_BYTES];
    b[8] = kind | ANSWER_BIT;
    b[9] = VERSION;
    b[10..12].copy_from_slice(&flags.to_le_bytes());
    b[12..16].copy_from_slice(&number.to_le_bytes());
    b[16..24].copy_from_slice(&request_id.to_le_bytes());
    out.extend_from_slice(&b);
}

/// The header of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerHeader {
    /// The kind of the request.
    pub kind: u8,
    /// See [`FLAG_REPLAYED`], [`FLAG_MORE`], [`FLAG_FLAGGED`].
    pub flags: u16,
    /// Its number on the connection, to acknowledge; 0: nothing to acknowledge.
    pub number: u32,
    /// The request's number.
    pub request_id: u64,
}

/// Reads the header of a whole answer and returns it with the body. The checksum is the caller's to look at.
#[inline]
pub fn answer_header(frame: &[u8]) -> Result<(AnswerHeader, &[u8]), FrameError> {
    let mut r = Reader::new(frame);
    let _length_and_checksum = r.u64()?;
    let (kind, version, flags, number, request_id) = (r.u8()?, r.u8()?, r.u16()?, r.u32()?, r.u64()?);
    if version != VERSION || kind & ANSWER_BIT == 0 {
        return Err(FrameError::Kind { got: kind });
    }
    Ok((AnswerHeader { kind: kind & !ANSWER_BIT, flags, number, request_id }, r.rest()))
}
