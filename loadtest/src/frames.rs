//! Frames of the load, from templates: what differs is written into its place, and the checksum with it.

use crate::attempts::{Attempt, What};
use crate::seed::DataSet;
use tegata_model::{Amount, Key, Operation, Position, Purchase, ShopId, TerminalId};
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

/// What one of its frames adds to an attempt.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stamp {
    pub(crate) request: u64,
    pub(crate) acked: u32,
    pub(crate) deadline_ms: u32,
    pub(crate) age_ms: u32,
}

/// Holds are captured or voided at once; what comes late must find them alive.
const HOLD_SECONDS: u32 = 604_800;
const ONE_YEN: Amount = Amount::new(1).expect("in range");

fn purchase(shop: ShopId, amount: Amount) -> Purchase {
    Purchase { shop, terminal: TerminalId::NONE, amount, token: Position::ZERO, partial: false }
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
            debit: template(Operation::Debit(purchase(data.shop(0), ONE_YEN))),
            fence: template(Operation::Fence),
            shops: (0..data.shops).map(|n| *data.shop(n).bytes()).collect(),
            data: *data,
        }
    }

    /// Appends the frame of an attempt; `original` is the key of what it follows from.
    #[inline]
    pub(crate) fn push(&self, a: &Attempt, s: Stamp, original: &[u8; 16], out: &mut Vec<u8>) {
        if !matches!(a.what, What::Debit | What::DebitAgain) {
            return self.push_other(a, s, original, out);
        }
        let start = out.len();
        out.extend_from_slice(&self.debit);
        let f = &mut out[start..];
        f[at::SHOP].copy_from_slice(&self.shops[a.shop as usize]);
        f[at::AMOUNT].copy_from_slice(&a.amount.to_le_bytes());
        self.finish(f, a, s);
    }

    fn push_other(&self, a: &Attempt, s: Stamp, original: &[u8; 16], out: &mut Vec<u8>) {
        let original = Key::from_bytes(*original);
        // Offers are in range.
        let amount = Amount::new(a.amount).unwrap_or(ONE_YEN);
        let operation = match a.what {
            What::Debit | What::DebitAgain => Operation::Debit(purchase(self.data.shop(a.shop), amount)),
            What::Hold => Operation::Hold { purchase: purchase(self.data.shop(a.shop), amount), seconds: HOLD_SECONDS },
            What::Charge => Operation::Charge { wallet: self.data.account(a.shop), amount: a.amount },
            What::Load => self.data.load(amount),
            What::Capture => Operation::Capture { original, amount: a.amount },
            What::Void => Operation::Void { original },
            What::Refund => Operation::Refund { original, amount },
            What::Reversal => Operation::Reversal { original, remain: 0 },
        };
        let header = RequestHeader {
            acked: s.acked,
            request_id: s.request,
            deadline_ms: s.deadline_ms,
            age_ms: s.age_ms,
            account: self.data.account_bytes(a.account),
            key: a.key,
            namespace: self.data.namespace,
            ..RequestHeader::default()
        };
        encode_operation(&header, &operation, out);
    }

    /// Appends a fence of an attempt's key.
    pub(crate) fn push_fence(&self, a: &Attempt, s: Stamp, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.fence);
        let f = &mut out[start..];
        self.finish(f, a, s);
    }

    #[inline]
    fn finish(&self, f: &mut [u8], a: &Attempt, s: Stamp) {
        f[at::ACKED].copy_from_slice(&s.acked.to_le_bytes());
        f[at::REQUEST].copy_from_slice(&s.request.to_le_bytes());
        f[at::DEADLINE].copy_from_slice(&s.deadline_ms.to_le_bytes());
        f[at::AGE].copy_from_slice(&s.age_ms.to_le_bytes());
        f[at::ACCOUNT].copy_from_slice(&self.data.account_bytes(a.account));
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
        let data = DataSet { coupons: 100, wallets: 10, shops: 10, namespace: 7, ..DataSet::default() };
        let frames = Frames::new(&data);
        let key = *Key::new(Timestamp::from_micros(1_800_000_000_000_000), 5).bytes();
        let stamp = Stamp { request: 1 << 50, acked: 3, deadline_ms: 800, age_ms: 20 };
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
        let amount = Amount::new(123).expect("in range");
        let (paid, original) = (purchase(data.shop(9), amount), Key::from_bytes([7; 16]));
        let of = |what, shop| {
            let mut out = Vec::new();
            let a = Attempt { key, amount: 123, account: 42, shop, what, ..Attempt::default() };
            frames.push(&a, stamp, &[7; 16], &mut out);
            decoded(&out)
        };
        for (what, shop, operation) in [
            (What::Debit, 9, Operation::Debit(paid)),
            (What::DebitAgain, 9, Operation::Debit(paid)),
            (What::Charge, 105, Operation::Charge { wallet: data.account(105), amount: 123 }),
            (What::Load, 9, data.load(amount)),
            (What::Hold, 9, Operation::Hold { purchase: paid, seconds: HOLD_SECONDS }),
            (What::Capture, 9, Operation::Capture { original, amount: 123 }),
            (What::Void, 9, Operation::Void { original }),
            (What::Refund, 9, Operation::Refund { original, amount }),
            (What::Reversal, 9, Operation::Reversal { original, remain: 0 }),
        ] {
            assert_eq!(of(what, shop), operation, "{what:?}");
        }
        let mut out = Vec::new();
        frames.push_fence(&Attempt { key, account: 42, ..Attempt::default() }, stamp, &mut out);
        assert_eq!(decoded(&out), Operation::Fence);
    }
}
