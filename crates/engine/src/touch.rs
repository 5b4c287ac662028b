//! Waiting for memory once instead of many times: before some records are looked at one by one, everything that they
//! will need is loaded side by side. Loads that do not depend on each other overlap in the processor, if they stand
//! close enough together for it to see several at once; the tables are far larger than its caches.
//!
//! This changes nothing and may be left out. It is safe code: plain loads whose sum is kept from being optimised away.

use crate::Engine;
use crate::guard::like_hash;
use crate::shard::{Shard, account_hash, key_hash};
use tegata_model::{Purchase, decode_envelope, record_len};

/// Records that one call looks ahead at.
pub const TOUCH_MAX: usize = 32;

/// Where one record's data lies.
#[derive(Clone, Copy, Default)]
struct Wanted {
    shard: u32,
    account: u64,
    key: u64,
    like: u64,
}

impl Engine {
    /// Loads what the first [`TOUCH_MAX`] of `records` will need.
    pub fn touch(&self, records: &[u8]) {
        let mut wanted = [Wanted::default(); TOUCH_MAX];
        let (mut rest, mut n) = (records, 0);
        while n < TOUCH_MAX
            && let Ok(len) = record_len(rest)
        {
            let (record, tail) = rest.split_at(len);
            rest = tail;
            wanted[n] = self.wanted(record).unwrap_or_default();
            n += 1;
        }
        let wanted = &wanted[..n];
        let mut sum = self.load(wanted, |s, w| s.key_index.touch(w.key));
        sum ^= self.load(wanted, |s, w| s.account_index.touch(w.account));
        sum ^= self.load(wanted, |s, w| s.like_index.touch(w.like));
        sum ^= self.load(wanted, |s, w| s.accounts.get(s.account_index.guess(w.account)).holds);
        std::hint::black_box(sum);
    }

    fn wanted(&self, record: &[u8]) -> Option<Wanted> {
        let e = decode_envelope(record).ok()?;
        let account = account_hash(&e.account);
        let like = Purchase::shop_and_amount(record)
            .and_then(|(shop, amount)| Some(like_hash(account, self.rules.shop(&shop)?, amount)))
            .unwrap_or(account);
        let shard = self.shard_of_hash(account) as u32;
        Some(Wanted { shard, account, key: key_hash(account, e.namespace, &e.key), like })
    }

    #[inline(always)]
    fn load(&self, wanted: &[Wanted], word: impl Fn(&Shard, &Wanted) -> u32) -> u32 {
        let mut sum = 0;
        for w in wanted {
            sum ^= word(&self.shards[w.shard as usize], w);
        }
        sum
    }
}
