//! The one layout of a command in the journal. `docs/formats/records.md` has the byte map.
//!
//! ```text
//! 0  u16 kind | 2 u16 length | 4 u32 zero | 8 i64 received_at | 16 i64 deadline
//! 24 u32 namespace | 28 u32 gateway | 32 [16] account | 48 [16] key | 64 body …, zero-padded to 8
//! ```
//!
//! Decoding is total: any bytes give a command or a [`RecordError`]. Encoding and decoding are inverses; a
//! property test holds them against each other.

mod body;
mod kind;

use crate::bytes::{Reader, Short, Writer};
use crate::*;
pub(crate) use body::encode_body;
pub use body::{
    PROGRAMME_BYTES, get_allowance, get_approval, get_programme, put_allowance, put_approval, put_programme,
};
use body::{decode_body, get_purchase};

/// Bytes before the body.
pub const RECORD_HEADER_BYTES: usize = 64;
/// A record's length is a multiple of this.
pub const RECORD_ALIGN: usize = 8;
/// No record is longer.
pub const RECORD_BYTES_MAX: usize = 512;

const _: () = assert!(RECORD_HEADER_BYTES.is_multiple_of(RECORD_ALIGN), "bodies start aligned");
const _: () = assert!(64 + 8 + Positions::MAX * 8 <= RECORD_BYTES_MAX, "a full list of positions fits into a record");

/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordError {
    /// They end before the record does.
    Short,
    /// The length field is not one a record can have.
    Length {
        /// What it says.
        got: u16,
    },
    /// No such kind.
    Kind {
        /// What it says.
        got: u16,
    },
    /// A field has a value that no encoder writes.
    Field {
        /// Its name.
        name: &'static str,
    },
    /// Reserved space is not zero.
    Reserved,
}

impl core::fmt::Display for RecordError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Short => f.write_str("the record ends early"),
            Self::Length { got } => write!(f, "a record cannot be {got} bytes long"),
            Self::Kind { got } => write!(f, "no record kind has the number {got}"),
            Self::Field { name } => write!(f, "field {name} has a value that is never written"),
            Self::Reserved => f.write_str("reserved space is not zero"),
        }
    }
}

impl std::error::Error for RecordError {}

impl From<Short> for RecordError {
    fn from(_: Short) -> Self {
        Self::Short
    }
}

/// Length of the record that starts `bytes`.
#[inline]
pub fn record_len(bytes: &[u8]) -> Result<usize, RecordError> {
    let head = bytes.first_chunk::<4>().ok_or(RecordError::Short)?;
    let got = u16::from_le_bytes([head[2], head[3]]);
    let n = usize::from(got);
    if !(RECORD_HEADER_BYTES..=RECORD_BYTES_MAX).contains(&n) || !n.is_multiple_of(RECORD_ALIGN) {
        return Err(RecordError::Length { got });
    }
    if n > bytes.len() { Err(RecordError::Short) } else { Ok(n) }
}

/// Appends the record of `command` to `out`.
pub fn encode(command: &Command, out: &mut Vec<u8>) {
    let start = out.len();
    let e = &command.envelope;
    let header = NewHeader {
        kind: command.operation.kind(),
        length: 0,
        received_at: e.received_at,
        deadline: e.deadline,
        namespace: e.namespace,
        gateway: e.gateway,
        account: e.account.bytes(),
        key: e.key.bytes(),
    };
    header.put(out);
    encode_body(&command.operation, &mut Writer::new(out));
    let len = (out.len() - start).next_multiple_of(RECORD_ALIGN);
    assert!(len <= RECORD_BYTES_MAX, "every body is bounded far below the largest record");
    out.resize(start + len, 0);
    out[start + 2..start + 4].copy_from_slice(&(len as u16).to_le_bytes());
}

/// The command whose record starts `bytes`; its length is [`record_len`].
pub fn decode(bytes: &[u8]) -> Result<Command, RecordError> {
    let len = record_len(bytes)?;
    let mut r = Reader::new(&bytes[..len]);
    let kind = u16::from_le_bytes([bytes[0], bytes[1]]);
    let envelope = get_envelope(&mut r)?;
    let operation = decode_body(kind, &mut r)?;
    if !r.rest_is_zero() {
        return Err(RecordError::Reserved);
    }
    Ok(Command { envelope, operation })
}

/// The header after kind and length, which the caller has read.
#[inline]
fn get_envelope(r: &mut Reader<'_>) -> Result<Envelope, RecordError> {
    let _kind_and_length = r.u32()?;
    if r.u32()? != 0 {
        return Err(RecordError::Reserved);
    }
    Ok(Envelope {
        received_at: Timestamp::from_micros(r.i64()?),
        deadline: Timestamp::from_micros(r.i64()?),
        namespace: NamespaceId::new(r.u32()?),
        gateway: GatewayId::new(r.u32()?),
        account: AccountId::from_bytes(r.array()?).map_err(|_| RecordError::Field { name: "account" })?,
        key: Key::from_bytes(r.array()?),
    })
}

/// Who, when, under which key: the header of a record.
#[inline]
pub fn decode_envelope(bytes: &[u8]) -> Result<Envelope, RecordError> {
    get_envelope(&mut Reader::new(bytes))
}

/// A debit, a confirmed debit or a hold, as its record has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PurchaseRecord {
    /// The record's kind: 4, 5 or 6.
    pub kind: u16,
    /// What is bought.
    pub purchase: Purchase,
    /// How long it is held; 0: the programme's default, and always 0 for a plain debit.
    pub seconds: u32,
}

/// The short way for what most records are: nothing when the record is of another kind.
#[inline]
pub fn decode_purchase(bytes: &[u8]) -> Result<Option<(Envelope, PurchaseRecord)>, RecordError> {
    let head = bytes.first_chunk::<2>().ok_or(RecordError::Short)?;
    let kind = u16::from_le_bytes(*head);
    if !(4..=6).contains(&kind) {
        return Ok(None);
    }
    let len = record_len(bytes)?;
    let mut r = Reader::new(&bytes[..len]);
    let envelope = get_envelope(&mut r)?;
    let (purchase, seconds) = get_purchase(&mut r)?;
    if kind == 4 && seconds != 0 {
        return Err(RecordError::Field { name: "seconds" });
    }
    if !r.rest_is_zero() {
        return Err(RecordError::Reserved);
    }
    Ok(Some((envelope, PurchaseRecord { kind, purchase, seconds })))
}

impl Purchase {
    /// Shop and amount of a purchase's record, unchecked, for whoever only wants to look ahead.
    #[must_use]
    #[inline]
    pub fn shop_and_amount(record: &[u8]) -> Option<(&[u8; 16], u64)> {
        if !(4..=6).contains(record.first()?) {
            return None;
        }
        let (shop, rest) = record.get(RECORD_HEADER_BYTES..)?.split_first_chunk()?;
        let amount = rest.get(8..)?.first_chunk()?;
        Some((shop, u64::from_le_bytes(*amount)))
    }
}
