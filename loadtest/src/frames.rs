//! Frames of the load, from templates: what differs is written into its place, and the checksum with it.

use crate::attempts::{Attempt, What};
use crate::seed::DataSet;
use tegata_model::{Amount, Key, Operation, Position, Purchase, TerminalId};
use tegata_wire::{RequestHeader, encode_operation};

/// Offsets in a request's frame; `docs/protocol.md` has the table.
mod at {
    use std::ops::Range;

    pub(super) const CRC: Range<usize> = 4..8;
    pub(super) const CHECKED: usize = 8;
    pub(super) const ACKED: Range<usize> = 12..16;
    pub(super) const REQUEST: Range<usize> = 16..24;
    pub(super) const DEADLINE: Range<usize> = 24..28;
    pub(super) const AGE: Range<usize> = 28..32;
    pub(super) const ACCOUNT: Range<usize> = 32..48;
    pub(super) const KEY: Range<usize> = 48..64;
    pub(super) const SHOP: Range<usize> = 72..88;
    pub(super) const AMOUNT: Range<usize> = 96..104;
}

/// What a send adds to an attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Send {
    pub(crate) request: u64,
    pub(crate) acked: u32,
    pub(crate) deadline_ms: u32,
    pub(crate) age_ms: u32,
}

/// Templates of the frames, and the shops' ids.
#[derive(Debug)]
pub(crate) struct Frames {
    debit: Vec<u8>,
    fence: Vec<u8>,
    shops: Vec<[u8; 16]>,
    data: DataSet,
}

impl Frames {
    pub(crate) fn new(data: &DataSet) -> Self {
        let header = RequestHeader { namespace: data.namespace, ..RequestHeader::default() };
        let template = |operation| {
            let mut out = Vec::new();
            encode_operation(&header, &operation, &mut out);
            out
        };
        Self {
            debit: template(Operation::Debit(Purchase {
                shop: data.shop(0),
                terminal: TerminalId::NONE,
                amount: Amount::new(1).expect("in range"),
                token: Position::ZERO,
                partial: false,
            })),
            fence: template(Operation::Fence),
            shops: (0..data.shops).map(|n| *data.shop(n).bytes()).collect(),
            data: *data,
        }
    }

    /// Appends the frame of an attempt; `original` is the key of what a reversal speaks of.
    #[inline]
    pub(crate) fn push(&self, a: &Attempt, s: Send, original: Option<&[u8; 16]>, out: &mut Vec<u8>) {
        if a.what == What::Reversal {
            let original = Key::from_bytes(original.copied().unwrap_or_default());
            let header = RequestHeader {
                acked: s.acked,
                request_id: s.request,
                deadline_ms: s.deadline_ms,
                age_ms: s.age_ms,
                account: self.data.account_bytes(a.coupon),
                key: a.key,
                namespace: self.data.namespace,
                ..RequestHeader::default()
            };
            return encode_operation(&header, &Operation::Reversal { original, remain: 0 }, out);
        }
        let start = out.len();
        out.extend_from_slice(&self.debit);
        let f = &mut out[start..];
        f[at::SHOP].copy_from_slice(&self.shops[a.shop as usize]);
        f[at::AMOUNT].copy_from_slice(&a.amount.to_le_bytes());
        self.finish(f, a, s);
    }

    /// Appends a fence of an attempt's key.
    pub(crate) fn push_fence(&self, a: &Attempt, s: Send, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.fence);
        let f = &mut out[start..];
        self.finish(f, a, s);
    }

    #[inline]
    fn finish(&self, f: &mut [u8], a: &Attempt, s: Send) {
        f[at::ACKED].copy_from_slice(&s.acked.to_le_bytes());
        f[at::REQUEST].copy_from_slice(&s.request.to_le_bytes());
        f[at::DEADLINE].copy_from_slice(&s.deadline_ms.to_le_bytes());
        f[at::AGE].copy_from_slice(&s.age_ms.to_le_bytes());
        f[at::ACCOUNT].copy_from_slice(&self.data.account_bytes(a.coupon));
        f[at::KEY].copy_from_slice(&a.key);
        let crc = crc32c::crc32c(&f[at::CHECKED..]);
        f[at::CRC].copy_from_slice(&crc.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tegata_model::Timestamp;
    use tegata_wire::{Request, check_crc, decode_request};

    #[test]
    fn frames_say_what_the_attempt_asks() {
        let data = DataSet { shops: 10, namespace: 7, ..DataSet::default() };
        let frames = Frames::new(&data);
        let key = *Key::new(Timestamp::from_micros(1_800_000_000_000_000), 5).bytes();
        let mut a = Attempt { key, amount: 123, coupon: 42, shop: 9, ..Attempt::default() };
        let send = Send { request: 1 << 50, acked: 3, deadline_ms: 800, age_ms: 20 };
        let decoded = |out: &[u8]| {
            assert_eq!(check_crc(out), Ok(()));
            match decode_request(out) {
                Ok(Request::Command(h, operation)) => {
                    let RequestHeader { request_id, acked, deadline_ms, age_ms, account, namespace, .. } = h;
                    assert_eq!((request_id, acked, deadline_ms, age_ms), (1 << 50, 3, 800, 20));
                    assert_eq!((account, h.key, namespace), (data.account_bytes(42), key, 7));
                    operation
                }
                other => panic!("not a command: {other:?}"),
            }
        };
        let mut out = Vec::new();
        frames.push(&a, send, None, &mut out);
        match decoded(&out) {
            Operation::Debit(p) => assert_eq!((p.amount.get(), p.shop), (123, data.shop(9))),
            other => panic!("not a debit: {other:?}"),
        }
        out.clear();
        frames.push_fence(&a, send, &mut out);
        assert_eq!(decoded(&out), Operation::Fence);
        (a.what, a.of) = (What::Reversal, 1);
        out.clear();
        frames.push(&a, send, Some(&[7; 16]), &mut out);
        assert_eq!(decoded(&out), Operation::Reversal { original: Key::from_bytes([7; 16]), remain: 0 });
    }
}
