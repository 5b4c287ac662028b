//! Which coupon pays which shop how much, next: coupons uniformly at random, and for each coupon another amount every
//! time, so that no two payments of a run are alike.

use crate::seed::{account_bytes, shop};
use tegata_model::{Key, Timestamp, mix};
use tegata_wire::{RequestHeader, encode_operation};

/// Offsets in the frame of a debit.
mod at {
    pub(super) const ACKED: usize = 12;
    pub(super) const REQUEST: usize = 16;
    pub(super) const ACCOUNT: usize = 32;
    pub(super) const KEY: usize = 48;
    pub(super) const SHOP: usize = 72;
    pub(super) const AMOUNT: usize = 96;
}

/// A stream of debit frames.
#[derive(Debug)]
pub struct Purchases {
    template: Vec<u8>,
    coupons: u32,
    shops: Vec<[u8; 16]>,
    times: Vec<u16>,
    state: u64,
    at: Timestamp,
}

impl Purchases {
    /// Over the first `coupons` coupons and `shops` shops of the data set. The same seed gives the same coupons.
    #[must_use]
    pub fn new(coupons: u32, shops: u32, seed: u64) -> Self {
        let purchase = tegata_model::Purchase {
            shop: shop(0),
            terminal: tegata_model::TerminalId::NONE,
            amount: tegata_model::Amount::new(1).expect("in range"),
            token: tegata_model::Position::ZERO,
            partial: false,
        };
        let header = RequestHeader { namespace: 1, deadline_ms: 30_000, ..RequestHeader::default() };
        let mut template = Vec::new();
        encode_operation(&header, &tegata_model::Operation::Debit(purchase), &mut template);
        Self {
            template,
            coupons,
            shops: (0..shops).map(|n| *shop(n).bytes()).collect(),
            times: vec![0; coupons as usize],
            state: seed | 1,
            at: Timestamp::ZERO,
        }
    }

    /// The time that new keys carry from here on.
    pub fn set_time(&mut self, at: Timestamp) {
        self.at = at;
    }

    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.state, 0xD1B5_4A32_D192_ED03)
    }

    /// Appends the next debit.
    #[inline]
    pub fn push(&mut self, request: u64, acked: u32, out: &mut Vec<u8>) {
        let r = self.random();
        let n = ((u128::from(r) * u128::from(self.coupons)) >> 64) as usize;
        let times = self.times[n];
        self.times[n] = times.wrapping_add(1);
        let amount = 1 + u64::from(times);
        let shop = self.shops[(r as u32 % self.shops.len() as u32) as usize];
        let key = Key::new(self.at, u128::from(r.rotate_left(29)) << 64 | u128::from(self.random()));
        let start = out.len();
        out.extend_from_slice(&self.template);
        let f = &mut out[start..];
        f[at::ACKED..at::ACKED + 4].copy_from_slice(&acked.to_le_bytes());
        f[at::REQUEST..at::REQUEST + 8].copy_from_slice(&request.to_le_bytes());
        f[at::ACCOUNT..at::ACCOUNT + 16].copy_from_slice(&account_bytes(n as u32));
        f[at::KEY..at::KEY + 16].copy_from_slice(key.bytes());
        f[at::SHOP..at::SHOP + 16].copy_from_slice(&shop);
        f[at::AMOUNT..at::AMOUNT + 8].copy_from_slice(&amount.to_le_bytes());
        let crc = crc32c::crc32c(&f[8..]);
        f[4..8].copy_from_slice(&crc.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tegata_wire::{Request, check_crc, decode_request};

    #[test]
    fn every_frame_is_a_valid_debit_and_no_two_are_alike() {
        let mut purchases = Purchases::new(10, 3, 7);
        purchases.set_time(Timestamp::from_micros(1_800_000_000_000_000));
        let mut seen = std::collections::BTreeSet::new();
        for i in 0..5_000 {
            let mut out = Vec::new();
            purchases.push(i, i as u32, &mut out);
            assert_eq!(check_crc(&out), Ok(()));
            match decode_request(&out) {
                Ok(Request::Command(h, tegata_model::Operation::Debit(p))) => {
                    assert_eq!((h.request_id, h.acked), (i, i as u32));
                    assert!(seen.insert((h.account, p.amount.get())), "the same coupon pays the same sum only once");
                    assert!(Key::from_bytes(h.key).created_at().is_some());
                }
                other => panic!("not a debit: {other:?}"),
            }
        }
    }
}
