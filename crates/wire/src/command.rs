//! Commands on the wire: the body of the frame is the body of the journal record, byte for byte. A frame becomes a
//! record by a new header, and nothing is encoded twice.

use crate::frame::{
    DEADLINE_MS_DEFAULT, DEADLINE_MS_MAX, FrameError, REQUEST_HEADER_BYTES, RequestHeader, is_command, seal,
};
use tegata_model::{
    Command, Envelope, GatewayId, NamespaceId, NewHeader, Operation, RECORD_ALIGN, RECORD_BYTES_MAX,
    RECORD_HEADER_BYTES, RecordError, Timestamp, decode, decode_purchase, encode,
};

impl From<RecordError> for FrameError {
    fn from(e: RecordError) -> Self {
        match e {
            RecordError::Short => Self::Short,
            RecordError::Length { got } => Self::Length { got: u32::from(got) },
            RecordError::Kind { got } => Self::Kind { got: got as u8 },
            RecordError::Field { name } => Self::Field { name },
            RecordError::Reserved => Self::Reserved,
        }
    }
}

/// Until when the caller waits: `deadline_ms` from the customer's action, which was `age_ms` before the frame was sent.
#[must_use]
#[inline]
pub fn deadline(h: &RequestHeader, received_at: Timestamp) -> Timestamp {
    let ms = if h.deadline_ms == 0 { DEADLINE_MS_DEFAULT } else { h.deadline_ms.min(DEADLINE_MS_MAX) };
    received_at.plus_millis(u64::from(ms.saturating_sub(h.age_ms)))
}

/// Appends the journal record of a command frame, and returns its length. Every field is checked; on an error `out`
/// is as it was.
#[inline]
pub fn record_from_frame(
    frame: &[u8],
    h: &RequestHeader,
    received_at: Timestamp,
    gateway: GatewayId,
    out: &mut Vec<u8>,
) -> Result<usize, FrameError> {
    let start = out.len();
    let len = record_unlooked(frame, h, received_at, gateway, out)?;
    let checked = match decode_purchase(&out[start..]) {
        Ok(Some(_)) => Ok(()),
        Ok(None) => decode(&out[start..]).map(|_| ()),
        Err(e) => Err(e),
    };
    if let Err(e) = checked {
        out.truncate(start);
        return Err(e.into());
    }
    Ok(len)
}

/// The same, of the fixed header alone: nothing of the body is looked at, and it may not be a command at all. For a frame
/// that will most likely be refused.
#[inline]
pub fn record_unlooked(
    frame: &[u8],
    h: &RequestHeader,
    received_at: Timestamp,
    gateway: GatewayId,
    out: &mut Vec<u8>,
) -> Result<usize, FrameError> {
    if !is_command(h.kind) {
        return Err(FrameError::Kind { got: h.kind });
    }
    if h.flags != 0 {
        return Err(FrameError::Flags { got: h.flags });
    }
    let body = frame.get(REQUEST_HEADER_BYTES..).ok_or(FrameError::Short)?;
    let len = RECORD_HEADER_BYTES + body.len();
    if !len.is_multiple_of(RECORD_ALIGN) || len > RECORD_BYTES_MAX {
        return Err(FrameError::Length { got: frame.len() as u32 });
    }
    let header = NewHeader {
        kind: u16::from(h.kind),
        length: len as u16,
        received_at,
        deadline: deadline(h, received_at),
        namespace: NamespaceId::new(h.namespace),
        gateway,
        account: &h.account,
        key: &h.key,
    };
    header.put(out);
    out.extend_from_slice(body);
    Ok(len)
}

/// Appends the frame of a command. `header.kind` is set from the operation.
pub fn encode_operation(header: &RequestHeader, operation: &Operation, out: &mut Vec<u8>) {
    let mut record = Vec::with_capacity(RECORD_BYTES_MAX);
    encode(&Command { envelope: Envelope::default(), operation: *operation }, &mut record);
    let start = out.len();
    RequestHeader { kind: operation.kind() as u8, ..*header }.put(out);
    out.extend_from_slice(&record[RECORD_HEADER_BYTES..]);
    seal(out, start);
}

/// The operation in a command frame or in a plan's.
pub fn decode_operation(frame: &[u8], kind: u8) -> Result<Operation, FrameError> {
    let body = frame.get(REQUEST_HEADER_BYTES..).ok_or(FrameError::Short)?;
    let len = RECORD_HEADER_BYTES + body.len();
    if !len.is_multiple_of(RECORD_ALIGN) || len > RECORD_BYTES_MAX {
        return Err(FrameError::Length { got: frame.len() as u32 });
    }
    let mut record = vec![0u8; RECORD_HEADER_BYTES];
    record[..2].copy_from_slice(&u16::from(kind).to_le_bytes());
    record[2..4].copy_from_slice(&(len as u16).to_le_bytes());
    record.extend_from_slice(body);
    Ok(decode(&record)?.operation)
}
