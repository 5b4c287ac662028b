//! Where a record's data lies, worked out once: hashes and the shop's slot serve admission, loading and applying alike.
//!
//! Loading is waiting for memory once instead of many times: before some records are looked at one by one, everything
//! that they will need is loaded side by side. Loads that do not depend on each other overlap in the processor, if they
//! stand close enough together for it to see several at once; the tables are far larger than its caches. It changes
//! nothing and may be left out. It is safe code: plain loads whose sum is kept from being optimised away.

use crate::Engine;
use crate::guard::like_hash;
use crate::shard::{account_hash, key_hash};
use std::hint::black_box;
use tegata_model::{Envelope, Purchase, decode_envelope};

/// Records that one call loads for.
pub const TOUCH_MAX: usize = 32;

/// Where one record's data lies. It belongs to the record it was made from, and to no other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hint {
    pub(crate) account: u64,
    pub(crate) key: u64,
    like: u64,
    pub(crate) shard: u32,
    /// The shop's slot; 0: it had none yet, or the record names none.
    pub(crate) shop: u32,
}

impl Hint {
    /// Whether this is `fresh`, or was before the shop was registered.
    pub(crate) fn is_for(&self, fresh: &Self) -> bool {
        self == fresh || (self.shop == 0 && (self.account, self.key) == (fresh.account, fresh.key))
    }
}

/// Loads many words side by side. The loop is so short that the processor has all of them under way at once.
#[inline]
fn load(words: &[&u32]) {
    black_box(words.iter().fold(0, |sum, word| sum ^ **word));
}

impl Engine {
    /// Where the data of a record lies. Bytes that are no record get a hint of no use.
    #[must_use]
    #[inline]
    pub fn hint(&self, record: &[u8]) -> Hint {
        decode_envelope(record).map_or_else(|_| Hint::default(), |e| self.hint_for(&e, record))
    }

    /// [`Engine::hint`] for a record whose envelope is decoded already.
    #[must_use]
    #[inline]
    pub fn hint_for(&self, e: &Envelope, record: &[u8]) -> Hint {
        let account = account_hash(&e.account);
        let (shop, amount) = Purchase::shop_and_amount(record).unwrap_or_default();
        let shop = if shop.is_none() { 0 } else { self.rules.shop(&shop).unwrap_or(0) };
        Hint {
            account,
            key: key_hash(account, e.namespace, &e.key),
            like: like_hash(account, shop, amount),
            shard: self.shard_of_hash(account) as u32,
            shop,
        }
    }

    /// Loads what it takes to look up the keys of at most [`TOUCH_MAX`] records.
    pub fn touch_keys(&self, hints: &[Hint]) {
        let mut words = [&0; TOUCH_MAX];
        for (h, word) in hints.iter().zip(&mut words) {
            *word = self.shards[h.shard as usize].key_index.word(h.key);
        }
        load(&words);
    }

    /// Loads what applying at most [`TOUCH_MAX`] records will need.
    pub fn touch(&self, hints: &[Hint]) {
        let mut words = [[&0; 3]; TOUCH_MAX];
        let mut shops = 0;
        for (h, words) in hints.iter().zip(&mut words) {
            let s = &self.shards[h.shard as usize];
            *words = [s.account_index.word(h.account), s.like_index.word(h.like), s.key_index.word(h.key)];
            shops ^= s.shops.get(h.shop as usize).map_or(0, |shop| shop.count);
        }
        black_box(shops);
        load(words.as_flattened());
        for (h, words) in hints.iter().zip(&mut words) {
            let s = &self.shards[h.shard as usize];
            let account = &s.accounts.get(s.account_index.guess(h.account)).holds;
            *words = [account, s.like_index.overflow_word(h.like), s.key_index.overflow_word(h.key)];
        }
        load(words.as_flattened());
    }
}
