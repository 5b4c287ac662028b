//! What an extension would cover, counted in slices while commands go on, as of the position at which it began.
//!
//! ```text
//! accounts │ counted │ ▶ next slice … │ made since: not looked at │
//!                        └ one that is about to change is counted before it does
//! ```
//!
//! Count, sum and digest are sums over accounts, so the order in which accounts are counted does not matter. Nothing is
//! copied: a bit for each account says whether it was counted ahead of its turn. No command learns of it; only the
//! memory of old decisions is given back later.

use crate::Engine;
use crate::rules::ExtensionEntry;
use crate::shard::{Shard, account_hash};
use tegata_model::{Command, Extension, Operation, Position, ProgrammeId, Timestamp, decode, mix};

/// What an extension or a reinstatement would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Plan {
    /// Lots.
    pub count: u64,
    /// Yen in them.
    pub sum: u64,
    /// Names exactly this plan.
    pub digest: u64,
    /// As of this position.
    pub position: Position,
}

/// A plan that is being counted.
#[derive(Debug, Clone)]
pub(crate) struct Planning {
    entry: ExtensionEntry,
    /// The extensions that there were; programmes keep their indexes and ids.
    extensions: Vec<ExtensionEntry>,
    programmes: Vec<ProgrammeId>,
    plan: Plan,
    /// The next account to count.
    shard: usize,
    next: u32,
    shards: Vec<Part>,
}

/// The accounts of one shard.
#[derive(Debug, Clone)]
struct Part {
    /// Slots that there were.
    end: u32,
    /// A bit for each that was counted ahead.
    ahead: Vec<u64>,
}

impl Planning {
    fn new(engine: &Engine, rule: &Extension, at: Timestamp) -> Self {
        let part = |s: &Shard| Part { end: s.accounts.len() as u32, ahead: vec![0; s.accounts.len().div_ceil(64)] };
        Self {
            entry: ExtensionEntry { rule: *rule, at },
            extensions: engine.rules.extensions.clone(),
            programmes: engine.rules.programmes.iter().map(|p| p.rules.id).collect(),
            plan: Plan { position: engine.applied, ..Plan::default() },
            shard: 0,
            next: 1,
            shards: engine.shards.iter().map(part).collect(),
        }
    }

    /// Counts an account as it is.
    fn count(&mut self, shard: &Shard, account: u32) {
        let rule = &self.entry.rule;
        for l in shard.lots_at(account, self.entry.at) {
            let id = self.programmes[l.programme as usize];
            let end = crate::rules::extended(&self.extensions, l.expires_at, id, l.id);
            if self.entry.end_for(l.expires_at, end, id, l.id) && end < rule.expires_at.micros() {
                self.plan.count += 1;
                self.plan.sum = self.plan.sum.saturating_add(l.remaining);
                let name = account_hash(&shard.accounts.get(account).id) ^ l.id;
                self.plan.digest = self.plan.digest.wrapping_add(mix(name, l.remaining));
            }
        }
    }

    /// An account is about to change: it is counted now, unless it was, or was made since.
    fn count_ahead(&mut self, shards: &[Shard], shard: usize, account: u32) {
        let part = &mut self.shards[shard];
        let (word, bit) = (account as usize / 64, 1 << (account % 64));
        let counted = (shard, account) < (self.shard, self.next);
        if counted || account >= part.end || part.ahead[word] & bit != 0 {
            return;
        }
        part.ahead[word] |= bit;
        self.count(&shards[shard], account);
    }

    /// Counts at most `slots` accounts. True when all are counted.
    fn step(&mut self, shards: &[Shard], slots: u32) -> bool {
        let Some(part) = self.shards.get(self.shard) else { return true };
        let to = self.next.saturating_add(slots).min(part.end);
        for n in self.next..to {
            if self.shards[self.shard].ahead[n as usize / 64] & 1 << (n % 64) == 0 {
                self.count(&shards[self.shard], n);
            }
        }
        self.next = to;
        if to == self.shards[self.shard].end {
            (self.shard, self.next) = (self.shard + 1, 1);
        }
        self.shard == self.shards.len()
    }

    /// The plan, its digest made from everything that it rests on.
    fn finish(&self) -> Plan {
        let rule = &self.entry.rule;
        let terms = [
            u64::from(rule.rule) << 32 | u64::from(rule.programme.get()),
            rule.expiry_from.micros() as u64,
            rule.expiry_before.micros() as u64,
            rule.expires_at.micros() as u64,
            rule.as_of.get() << 1 | u64::from(rule.include_expired),
        ];
        Plan { digest: terms.iter().fold(self.plan.digest, |d, t| mix(d, *t)).max(1), ..self.plan }
    }
}

impl Engine {
    /// What an extension would cover as things are, counted at once. Lots without value are not counted.
    #[must_use]
    pub fn plan_extension(&self, rule: &Extension, at: Timestamp) -> Plan {
        let mut planning = Planning::new(self, rule, at);
        while !planning.step(&self.shards, u32::MAX) {}
        planning.finish()
    }

    /// Begins to count what an extension would cover as things are now; [`Engine::plan_slice`] goes on. A plan that was
    /// begun before is given up.
    pub fn start_plan(&mut self, rule: &Extension, at: Timestamp) {
        self.planning = Some(Box::new(Planning::new(self, rule, at)));
    }

    /// True while a plan is being counted.
    #[must_use]
    pub fn is_planning(&self) -> bool {
        self.planning.is_some()
    }

    /// Counts at most `slots` accounts more; the plan, when it is complete.
    pub fn plan_slice(&mut self, slots: u32) -> Option<Plan> {
        let mut planning = self.planning.take()?;
        if planning.step(&self.shards, slots) {
            return Some(planning.finish());
        }
        self.planning = Some(planning);
        None
    }

    /// Counts the accounts that a record is about to change.
    #[cold]
    pub(crate) fn plan_ahead(&mut self, record: &[u8]) {
        let (Some(mut planning), Ok(command)) = (self.planning.take(), decode(record)) else { return };
        let Command { envelope: e, operation } = command;
        for id in [Some(e.account), if let Operation::Charge { wallet, .. } = operation { Some(wallet) } else { None }]
        {
            let Some(hash) = id.map(|id| account_hash(&id)) else { continue };
            let shard = self.shard_of_hash(hash);
            if let Some(n) = id.and_then(|id| self.shards[shard].account(hash, &id)) {
                planning.count_ahead(&self.shards, shard, n);
            }
        }
        // A charge that is reversed takes from the wallet.
        if let Operation::Reversal { original, .. } = operation {
            let hash = account_hash(&e.account);
            let shard = &self.shards[self.shard_of_hash(hash)];
            let of = shard.decision(
                crate::shard::key_hash(hash, e.namespace, &original),
                e.namespace,
                &e.account,
                &original,
            );
            if let Some(d) = of.and_then(|n| shard.decisions.get(n)).filter(|d| d.detail != 0) {
                let detail = shard.details.get(d.detail);
                if detail.other != 0 {
                    planning.count_ahead(&self.shards, usize::from(detail.other_shard), detail.other);
                }
            }
        }
        self.planning = Some(planning);
    }
}
