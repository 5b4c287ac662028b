//! Waiting for memory once instead of many times: before some records are looked at one by one, everything that they
//! will need is loaded side by side. Loads that do not depend on each other overlap in the processor; the tables are
//! far larger than its caches.
//!
//! This changes nothing and may be left out. It is safe code: plain loads whose sum is kept from being optimised away.

use crate::Engine;
use crate::guard::like_hash;
use crate::shard::{account_hash, key_hash};
use tegata_model::{Amount, RECORD_HEADER_BYTES, decode_envelope, decode_purchase, record_len};

/// Records that one call looks ahead at.
pub const TOUCH_MAX: usize = 32;

impl Engine {
    /// Loads what the first [`TOUCH_MAX`] of `records` will need.
    #[inline]
    pub fn touch(&self, records: &[u8]) {
        let mut hashes = [(0u32, 0u64); TOUCH_MAX];
        let (mut rest, mut n, mut sum) = (records, 0, 0u64);
        while n < TOUCH_MAX
            && let Ok(len) = record_len(rest)
            && let Ok(e) = decode_envelope(rest)
        {
            let account = account_hash(&e.account);
            let key = key_hash(account, e.namespace, &e.key);
            let i = self.shard_of_hash(account);
            let shard = &self.shards[i];
            sum ^= u64::from(shard.account_index.touch(account)) ^ u64::from(shard.key_index.touch(key));
            let like = match decode_purchase(&rest[..len]) {
                Ok(Some((_, p))) => self.rules.shop(&p.purchase.shop).map(|s| (s, p.purchase.amount)),
                _ => None,
            };
            let like = like.map_or(0, |(shop, amount): (u32, Amount)| like_hash(account, shop, amount.get()));
            sum ^= u64::from(shard.like_index.touch(like));
            hashes[n] = (i as u32, account);
            n += 1;
            rest = &rest[len.max(RECORD_HEADER_BYTES)..];
        }
        for (i, account) in &hashes[..n] {
            let shard = &self.shards[*i as usize];
            sum ^= shard.accounts.get(shard.account_index.guess(*account)).remaining;
        }
        std::hint::black_box(sum);
    }
}
