//! Where a record's data lies, worked out once: hashes and the shop's slot serve admission, loading and applying alike.
//!
//! Loading is waiting for memory once instead of many times: before some records are looked at one by one, everything
//! that they will need is loaded side by side. Loads that do not depend on each other overlap in the processor, if they
//! stand close enough together for it to see several at once; the tables are far larger than its caches. It changes
//! nothing and may be left out. It is safe code: plain loads whose sum is kept from being optimised away.

use crate::Engine;
use crate::guard::like_hash;
use crate::index::Bucket;
use crate::shard::{account_hash_of, key_hash};
use std::hint::black_box;
use tegata_model::{AccountId, Header, Key, NamespaceId, Purchase};

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

/// The hash of a key with its namespace and account. Two of them may share it.
#[must_use]
pub fn scope_hash(namespace: NamespaceId, account: &AccountId, key: &Key) -> u64 {
    key_hash(account_hash_of(account.bytes()), namespace, key)
}

impl Hint {
    /// The record's [`scope_hash`].
    #[must_use]
    #[inline]
    pub fn scope(&self) -> u64 {
        self.key
    }

    /// Whether this is `fresh`, or was before the shop was registered.
    pub(crate) fn is_for(&self, fresh: &Self) -> bool {
        self == fresh || (self.shop == 0 && (self.account, self.key) == (fresh.account, fresh.key))
    }
}

impl Engine {
    /// Where the data of a record lies. Bytes that are no record get a hint of no use.
    #[must_use]
    #[inline]
    pub fn hint(&self, record: &[u8]) -> Hint {
        let Some((namespace, account, key)) = Header::of(record).map(Header::scope) else { return Hint::default() };
        let account = account_hash_of(account);
        let (shop, amount) = match Purchase::shop_and_amount(record) {
            Some((shop, amount)) => (self.rules.shop_named(shop).unwrap_or(0), amount),
            None => (0, 0),
        };
        Hint {
            account,
            key: key_hash(account, namespace, &key),
            like: like_hash(account, shop, amount),
            shard: self.shard_of_hash(account) as u32,
            shop,
        }
    }

    /// The same of the key alone, and of nothing but the header: enough for [`Engine::touch_keys`] and
    /// [`Engine::may_know`].
    #[must_use]
    #[inline]
    pub fn key_hint(&self, record: &[u8]) -> Hint {
        let Some((namespace, account, key)) = Header::of(record).map(Header::scope) else { return Hint::default() };
        let account = account_hash_of(account);
        let (shard, key) = (self.shard_of_hash(account) as u32, key_hash(account, namespace, &key));
        Hint { account, key, shard, ..Hint::default() }
    }

    /// False when nothing is decided under a record's key. True tells little: another key may share its hash.
    #[must_use]
    #[inline]
    pub fn may_know(&self, hint: &Hint) -> bool {
        self.shards[hint.shard as usize].key_index.find(hint.key, |_| true).is_some()
    }

    /// True when surely nothing is decided under a record's key, without a look into the index; false tells nothing.
    #[must_use]
    #[inline]
    pub fn is_new(&self, record: &[u8], hint: &Hint) -> bool {
        Header::of(record).is_some_and(|h| self.shards[hint.shard as usize].recent.is_new(&h.key(), hint.key))
    }

    /// Loads what [`Engine::is_new`] looks at, side by side.
    pub fn touch_recent<'a>(&self, some: impl Iterator<Item = (&'a [u8], &'a Hint)>) {
        let word = |(record, hint): (&[u8], &Hint)| {
            Header::of(record).map_or(0, |h| self.shards[hint.shard as usize].recent.word(&h.key(), hint.key))
        };
        black_box(some.map(word).fold(0, |sum, word| sum ^ word));
    }

    /// Loads what it takes to look up the keys of at most [`TOUCH_MAX`] records.
    pub fn touch_keys(&self, hints: &[Hint]) {
        let mut buckets = [&Bucket::EMPTY; TOUCH_MAX];
        for (h, bucket) in hints.iter().zip(&mut buckets) {
            *bucket = self.shards[h.shard as usize].key_index.bucket_of(h.key);
        }
        black_box(buckets.iter().fold(0, |sum, b| sum ^ b.word()));
    }

    /// Loads what applying at most [`TOUCH_MAX`] records will need.
    pub fn touch(&self, hints: &[Hint]) {
        let mut buckets = [[&Bucket::EMPTY; 3]; TOUCH_MAX];
        let mut sum = 0;
        for (h, buckets) in hints.iter().zip(&mut buckets) {
            let s = &self.shards[h.shard as usize];
            *buckets =
                [s.account_index.bucket_of(h.account), s.like_index.bucket_of(h.like), s.key_index.bucket_of(h.key)];
            sum ^= s.shops.get(h.shop).count;
        }
        // Loops so short that the processor has all of their loads under way at once.
        sum ^= buckets.as_flattened().iter().fold(0, |sum, b| sum ^ u64::from(b.word()));
        let mut words = [[&0; 3]; TOUCH_MAX];
        for ((h, [account, like, key]), words) in hints.iter().zip(buckets).zip(&mut words) {
            let s = &self.shards[h.shard as usize];
            let account = &s.accounts.get(s.account_index.guess(account, h.account)).holds;
            *words = [account, s.like_index.overflow_word(like), s.key_index.overflow_word(key)];
        }
        sum ^= words.as_flattened().iter().fold(0, |sum, word| sum ^ u64::from(**word));
        black_box(sum);
    }
}
