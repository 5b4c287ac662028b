//! One partition of the state: accounts with their lots and holds, and the decisions under their keys.

use crate::digest;
use crate::fifo::Fifo;
use crate::funds::{Candidate, Taken};
use crate::guard;
use crate::index::Index;
use crate::recent::Recent;
use crate::rules::Rules;
use crate::slab::Slab;
use crate::slots::{Account, Allocation, Detail, Lot, Remembered};
use crate::sums::{ShopSums, Sums};
use tegata_model::{AccountId, Key, NamespaceId, Position, State, Timestamp, hash_bytes, mix};

/// The tables of one shard.
#[derive(Debug, Clone)]
pub struct Shard {
    pub(crate) accounts: Slab<Account>,
    pub(crate) account_index: Index,
    pub(crate) lots: Slab<Lot>,
    pub(crate) decisions: Fifo<Remembered>,
    pub(crate) key_index: Index,
    pub(crate) recent: Recent,
    pub(crate) like_index: Index,
    pub(crate) details: Slab<Detail>,
    pub(crate) allocations: Slab<Allocation>,
    /// By programme index.
    pub(crate) sums: Vec<Sums>,
    /// By shop slot.
    pub(crate) shops: Slab<ShopSums>,
    pub(crate) digest: u128,
    pub(crate) decided: u64,
    /// Lots that a debit may take from, in the order of consumption. Scratch.
    pub(crate) candidates: Vec<Candidate>,
    /// What the last operation took or gave. Scratch, and read by whoever wants to tell.
    pub(crate) taken: Vec<Taken>,
}

/// The hash under which an account is found, and by which it has its shard.
#[must_use]
#[inline]
pub fn account_hash(id: &AccountId) -> u64 {
    account_hash_of(id.bytes())
}

/// [`account_hash`] of bytes that nobody has checked.
#[inline]
pub(crate) fn account_hash_of(id: &[u8; 16]) -> u64 {
    hash_bytes(1, id)
}

/// The hash under which a decision is found.
#[must_use]
#[inline]
pub fn key_hash(account_hash: u64, namespace: NamespaceId, key: &Key) -> u64 {
    let n = u128::from_le_bytes(*key.bytes());
    mix(mix(n as u64, (n >> 64) as u64), account_hash ^ u64::from(namespace.get()))
}

impl Shard {
    /// An empty shard.
    pub fn new() -> Self {
        Self {
            accounts: Slab::new(),
            account_index: Index::new(),
            lots: Slab::new(),
            decisions: Fifo::new(),
            key_index: Index::new(),
            recent: Recent::new(),
            like_index: Index::new(),
            details: Slab::new(),
            allocations: Slab::new(),
            sums: Vec::new(),
            shops: Slab::new(),
            digest: 0,
            decided: 0,
            candidates: Vec::new(),
            taken: Vec::new(),
        }
    }

    /// An account's slot.
    #[inline]
    pub(crate) fn account(&self, hash: u64, id: &AccountId) -> Option<u32> {
        self.account_index.find(hash, |n| self.accounts.get(n).id == *id)
    }

    /// Adds an account that is not there yet.
    pub(crate) fn add_account(&mut self, account: Account) -> u32 {
        let hash = account_hash(&account.id);
        let n = self.accounts.insert(account);
        self.account_index.insert(hash, n);
        n
    }

    /// A decision's number.
    #[inline]
    pub(crate) fn decision(&self, hash: u64, namespace: NamespaceId, account: &AccountId, key: &Key) -> Option<u32> {
        self.key_index.find(hash, |n| {
            self.decisions.get(n).is_some_and(|d| d.key == *key && d.account == *account && d.namespace == namespace)
        })
    }

    /// Stores a decision under its key. `related` is the decision it speaks of.
    #[inline]
    pub(crate) fn remember(&mut self, hash: u64, d: Remembered, related: Position) -> u32 {
        self.digest = self.digest.wrapping_add(digest::of(&d, related.get()));
        self.decided += 1;
        let (key, n) = (d.key, self.decisions.push(d));
        self.key_index.insert(hash, n);
        self.recent.add(&key, hash);
        n
    }

    /// The decision that `d` speaks of.
    #[inline]
    pub(crate) fn related(&self, d: &Remembered) -> Position {
        if d.detail == 0 { Position::ZERO } else { Position::new(self.details.get(d.detail).related) }
    }

    /// A programme's sums.
    #[inline]
    pub(crate) fn sums_of(&mut self, programme: u32) -> &mut Sums {
        let i = programme as usize;
        if i >= self.sums.len() {
            self.sums.resize(i + 1, Sums::default());
        }
        &mut self.sums[i]
    }

    /// A shop's sums.
    #[inline]
    pub(crate) fn shop_sums(&mut self, shop: u32) -> &mut ShopSums {
        self.shops.get_mut(shop)
    }

    /// Forgets up to `count` decisions whose keys nobody may use any more. Which ones are forgotten by the rules is
    /// decided by logged time at every lookup; this only gives the memory back.
    pub(crate) fn forget(&mut self, rules: &Rules, at: Timestamp, count: usize) {
        for _ in 0..count {
            let Some((n, d)) = self.decisions.oldest() else { return };
            if self.decisions.is_copying() || !rules.forgets(d, at) {
                return;
            }
            let d = *d;
            if d.state == State::Open {
                // A horizon that was shortened since does not end a hold early; the queue waits for it.
                if self.details.get(d.detail).dies_at > at.micros() {
                    return;
                }
                let hash = account_hash(&d.account);
                if let Some(a) = self.account(hash, &d.account) {
                    self.settle_holds(a, at);
                }
            }
            let hash = account_hash(&d.account);
            self.key_index.remove(key_hash(hash, d.namespace, &d.key), n);
            if d.shop != 0 {
                self.like_index.remove(guard::like_hash(hash, d.shop, self.asked(&d)), n);
            }
            if d.detail != 0 {
                self.remove_detail(d.detail);
            }
            self.decisions.forget_oldest();
        }
    }

    fn remove_detail(&mut self, detail: u32) {
        let mut next = self.details.get(detail).allocations;
        while next != 0 {
            let n = next;
            next = self.allocations.get(n).next;
            self.allocations.remove(n);
        }
        self.details.remove(detail);
    }

    /// The flags of the decision at a position; 0 when this shard does not have it.
    pub(crate) fn flags_at(&self, position: Position) -> u8 {
        let n = self.decisions.partition(|d| d.position < position);
        self.decisions.get(n).filter(|d| d.position == position).map_or(0, |d| d.flags)
    }

    /// Flags the decision at a position, if this shard has it.
    pub(crate) fn flag_at(&mut self, position: Position, set: u8, clear: u8) {
        let n = self.decisions.partition(|d| d.position < position);
        if let Some(d) = self.decisions.get_mut(n)
            && d.position == position
        {
            d.flags = d.flags & !clear | set;
        }
    }
}
