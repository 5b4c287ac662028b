//! Reading without changing: balances, sums, sizes, digests.

use crate::Engine;
use crate::rules::Rules;
use crate::shard::{account_hash, key_hash};
use crate::slots::flag;
use crate::sums::{ShopSums, Sums};
use tegata_model::{AccountId, Life, Position, ProgrammeId, ShopId, State, Timestamp};

/// A lot as its holder sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LotView {
    /// Its name.
    pub id: u64,
    /// Of which programme.
    pub programme: ProgrammeId,
    /// Yen left.
    pub remaining: u64,
    /// When it ends, extensions included.
    pub expires_at: Timestamp,
    /// When it starts; zero: at once.
    pub valid_from: Timestamp,
    /// True for paid value.
    pub paid: bool,
}

/// An account as its holder sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountView {
    /// Active, suspended or closed.
    pub life: Life,
    /// True for a wallet.
    pub wallet: bool,
    /// Yen that can be spent now.
    pub balance: u64,
    /// Yen in open holds.
    pub held: u64,
    /// Its lots that still hold value, in the order of their names.
    pub lots: Vec<LotView>,
}

/// How much is in the tables that grow without a limit of the engine's. A decision has at most one detail: their count needs
/// no other bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Accounts.
    pub accounts: u64,
    /// Lots beyond the accounts' first.
    pub lots: u64,
    /// Decisions remembered.
    pub decisions: u64,
    /// Allocations of those decisions.
    pub allocations: u64,
}

/// How much memory the tables use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of accounts and lots with their index.
    pub account_bytes: u64,
    /// Bytes of decisions with their details and indexes.
    pub decision_bytes: u64,
}

impl Engine {
    /// An account at `at`; nothing when there is none.
    #[must_use]
    pub fn account(&self, id: &AccountId, at: Timestamp) -> Option<AccountView> {
        let hash = account_hash(id);
        let shard = &self.shards[self.shard_of_hash(hash)];
        let n = shard.account(hash, id)?;
        let a = shard.accounts.get(n);
        let held = shard.holds_of(n).filter(|(_, h)| h.dies_at > at.micros()).map(|(_, h)| h.taken).sum();
        let view = |l: crate::slots::Lot| LotView {
            id: l.id,
            programme: self.rules.programme_at(l.programme).rules.id,
            remaining: l.remaining,
            expires_at: Timestamp::from_micros(self.rules.expiry(l.expires_at, l.programme, l.id)),
            valid_from: Timestamp::from_micros(l.valid_from),
            paid: l.kind == 1,
        };
        let mut lots: Vec<LotView> = shard.lots_at(n, at).into_iter().map(view).collect();
        lots.sort_by_key(|l| l.id);
        Some(AccountView {
            life: a.life(),
            wallet: a.is_wallet(),
            balance: shard.spendable(&self.rules, n, self.rules.expiry_clock(at), at),
            held,
            lots,
        })
    }

    /// Whether what a payment at `shop` could take is of the given programmes, sorted; without a shop, whatever is on the
    /// account. What is not there is nobody's: the payment will be declined for that.
    #[must_use]
    pub fn value_is_within(
        &self,
        id: &AccountId,
        shop: Option<&ShopId>,
        programmes: &[ProgrammeId],
        at: Timestamp,
    ) -> bool {
        let is_listed = |programme: &ProgrammeId| programmes.binary_search(programme).is_ok();
        if let Some(shop) = shop.and_then(|shop| self.rules.shop(shop)).map(|n| self.rules.shops.get(n))
            && !shop.programme.is_none()
        {
            return is_listed(&shop.programme);
        }
        let hash = account_hash(id);
        let shard = &self.shards[self.shard_of_hash(hash)];
        let Some(n) = shard.account(hash, id) else { return true };
        shard.lots_at(n, at).iter().all(|lot| is_listed(&self.rules.programme_at(lot.programme).rules.id))
    }

    /// A programme's sums over all shards.
    #[must_use]
    pub fn sums(&self) -> Vec<(ProgrammeId, Sums)> {
        let all = self.rules.programmes.iter().enumerate().map(|(i, p)| {
            let mut sums = Sums::default();
            self.shards.iter().filter_map(|s| s.sums.get(i)).for_each(|s| sums.add(s));
            (p.rules.id, sums)
        });
        all.collect()
    }

    /// Yen that approved advices were short of and that did not come back, of all programmes.
    #[must_use]
    pub fn shortfall(&self) -> u64 {
        let all: u128 = self.shards.iter().flat_map(|s| &s.sums).map(|s| s.shortfall).sum();
        u64::try_from(all).unwrap_or(u64::MAX)
    }

    /// A shop's sums over all shards; nothing when it is not registered.
    #[must_use]
    pub fn shop_sums(&self, id: &ShopId) -> Option<ShopSums> {
        let n = self.rules.shop(id)?;
        let mut sums = ShopSums::default();
        self.shards.iter().for_each(|s| sums.add(s.shops.get(n)));
        Some(sums)
    }

    /// The digest of all decisions since the first, the same for every number of shards.
    #[must_use]
    pub fn digest(&self) -> u128 {
        self.shards.iter().fold(0, |d, s| d.wrapping_add(s.digest))
    }

    /// Sizes of the tables.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        let mut sizes = Sizes::default();
        for s in &self.shards {
            sizes.account_bytes += (s.accounts.bytes() + s.account_index.bytes() + s.lots.bytes()) as u64;
            sizes.decision_bytes += (s.decisions.bytes()
                + s.key_index.bytes()
                + s.recent.bytes()
                + s.like_index.bytes()
                + s.details.bytes()
                + s.allocations.bytes()) as u64;
        }
        sizes
    }

    /// How much is in the tables.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shards.iter().fold(Counts::default(), |c, s| Counts {
            accounts: c.accounts + s.accounts.used() as u64,
            lots: c.lots + s.lots.used() as u64,
            decisions: c.decisions + s.decisions.len() as u64,
            allocations: c.allocations + s.allocations.used() as u64,
        })
    }

    /// True when the decision at a position counts as undelivered: the log says so, or a restart makes it so.
    #[must_use]
    pub fn is_undelivered(&self, position: Position) -> bool {
        let flags = self.shards.iter().fold(0, |flags, s| flags | s.flags_at(position));
        flags & flag::UNDELIVERED != 0 || flags & flag::DELIVERED == 0 && self.rules.is_before_restart(position)
    }

    /// At most `count` shops from a slot on, and the slot to go on with; 0 when there are no more.
    #[must_use]
    pub fn shops_after(&self, slot: u32, count: usize) -> (Vec<crate::rules::Shop>, u32) {
        let mut next = 0;
        let mut shops = Vec::new();
        for (n, shop) in self.rules.shops.iter().skip_while(|(n, _)| *n < slot) {
            if shops.len() == count {
                next = n;
                break;
            }
            shops.push(*shop);
        }
        (shops, next)
    }

    /// What everything that is not an account says.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Walks all accounts and checks what must hold at every position. Slow; for tests, tools and verification.
    pub fn audit(&self) -> Result<(), String> {
        let mut found = vec![0u128; self.rules.programmes.len()];
        for shard in &self.shards {
            for (n, a) in shard.accounts.iter() {
                for (_, lot) in shard.lots_of(n) {
                    found[lot.programme as usize] += u128::from(lot.remaining);
                }
                for (h, hold) in shard.holds_of(n) {
                    let owner = shard.decisions.get(hold.decision).map(|d| (d.state, d.account));
                    if owner != Some((State::Open, a.id)) {
                        return Err(format!("a hold of account {} is listed but not open", a.id.masked()));
                    }
                    let mut sum = 0u128;
                    for (_, x) in shard.allocations_of(h) {
                        let Some(left) = x.amount.checked_sub(x.returned) else {
                            return Err(format!("a hold of account {} gave back more than it took", a.id.masked()));
                        };
                        found[x.programme as usize] += u128::from(left);
                        sum += u128::from(left);
                    }
                    if sum != u128::from(hold.taken) {
                        return Err(format!("a hold of account {} holds {sum} yen, not {}", a.id.masked(), hold.taken));
                    }
                }
            }
            for (_, d) in shard.decisions.iter() {
                if shard.recent.is_new(&d.key, key_hash(account_hash(&d.account), d.namespace, &d.key)) {
                    return Err(format!("the decision at {} counts as never made", d.position.get()));
                }
            }
        }
        for ((id, sums), found) in self.sums().into_iter().zip(found) {
            if sums.balances != found {
                return Err(format!("programme {id}: balances sum to {found} yen, counted {}", sums.balances));
            }
            if !sums.conserved() {
                return Err(format!("programme {id}: value is not conserved: {sums:?}"));
            }
        }
        Ok(())
    }
}
