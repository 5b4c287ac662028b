//! Stand-in: leases, and what was approved under them.

use super::{Entry, Lot, Now, Outcome, Part, Reference, what};
use std::collections::BTreeSet;
use tegata_engine::{Applied, Effect, SHORTFALL};
use tegata_model::{
    AccountId, Advice, Allowance, Code, Decision, Envelope, GatewayId, Life, Operation, Position, ProgrammeId, ShopId,
    State, Timestamp, Yen,
};

#[derive(Debug, Clone)]
pub struct Lease {
    epoch: Position,
    programme: ProgrammeId,
    gateway: GatewayId,
    holder: [u8; 16],
    from: Timestamp,
    until: Timestamp,
    allowance: Allowance,
    /// What was told of it.
    told: Vec<(AccountId, ShopId, u64)>,
}

impl Reference {
    pub fn lease(&mut self, now: &Now, programme: ProgrammeId, holder: [u8; 16], allowance: Allowance) -> Outcome {
        let Some((rules, life)) = self.programmes.get(&programme) else {
            return Outcome::of(Code::ProgrammeUnknown);
        };
        let last = self.exercised[&programme];
        let whose = (now.envelope.gateway, holder);
        let taken = |l: &Lease| l.programme == programme && now.at < l.until && (l.gateway, l.holder) != whose;
        let most = rules.stand_in;
        let code = if *life != Life::Active {
            Code::ProgrammeSuspended
        } else if most.total_max == 0
            || self.degraded_since.is_some()
            || self.trusted_until.is_some()
            || now.at.since(last) >= 60 * 86_400 * 1_000_000
        {
            Code::StandInOff
        } else if allowance.total_max == 0
            || allowance.payment_max > most.payment_max
            || allowance.account_max > most.account_max
            || allowance.shop_max > most.shop_max
            || allowance.total_max > most.total_max
            || allowance.seconds > most.seconds
        {
            Code::AmountLimit
        } else if self.leases.iter().any(taken) {
            Code::LeaseHeld
        } else {
            let (from, until) = (now.at, now.at.plus_seconds(u64::from(allowance.seconds)));
            self.leases.push(Lease {
                epoch: now.position,
                programme,
                gateway: now.envelope.gateway,
                holder,
                from,
                until,
                allowance,
                told: Vec::new(),
            });
            return Outcome { amount: allowance.total_max, ..Outcome::of(Code::Approved) };
        };
        Outcome::of(code)
    }

    /// Whether a lease covers an advice, and when the advice counts as approved.
    fn hold_against(&mut self, now: &Now, a: &Advice) -> (bool, Timestamp) {
        let newest: Vec<usize> = (0..self.leases.len()).filter(|i| self.leases[*i].programme == a.programme).collect();
        let its_own = |i: &usize| (self.leases[*i].epoch, self.leases[*i].gateway) == (a.lease, now.envelope.gateway);
        let known = newest.iter().rev().take(4).copied().find(its_own);
        let Some(i) = known else { return (false, now.envelope.received_at) };
        let (id, shop, yen) = (now.envelope.account, a.purchase.shop, a.purchase.amount.get());
        let lease = &mut self.leases[i];
        let most = lease.allowance;
        let sum = |of: &dyn Fn(&(AccountId, ShopId, u64)) -> bool| -> u64 {
            lease.told.iter().filter(|t| of(t)).map(|t| t.2).sum::<u64>() + yen
        };
        let places: BTreeSet<_> = lease.told.iter().map(|t| (t.0, t.1)).collect();
        let within = yen <= most.payment_max
            && sum(&|t| t.0 == id) <= most.account_max
            && sum(&|t| t.1 == shop) <= most.shop_max
            && sum(&|_| true) <= most.total_max;
        let in_time = lease.from <= a.approved_at && a.approved_at < lease.until;
        let covered = within && in_time && !places.contains(&(id, shop));
        lease.told.push((id, shop, yen));
        let last = Timestamp::from_micros(lease.until.micros() - 1);
        (covered, a.approved_at.clamp(lease.from, last).min(now.at))
    }

    pub fn advise(&mut self, position: Position, at: Timestamp, e: &Envelope, a: &Advice) -> Applied {
        let operation = Operation::Advice(*a);
        let refused =
            |code| Applied { decision: Decision::refusal(code, at), effect: Effect::NotRecorded, flagged: false };
        let name = (e.namespace, e.account, e.key);
        let earlier = match self.known(e.namespace, e.account, &e.key, at) {
            Some(i) => {
                let entry = &self.entries[i];
                if entry.approved() && entry.asked.is_some_and(|asked| what(&asked) == what(&operation)) {
                    return self.repeat(i, &operation);
                }
                if let Some(beside) = self.beside.get(&name) {
                    return self.repeat(*beside, &operation);
                }
                Some(i)
            }
            None => match self.key_time(&e.key, at) {
                Err(code) => return refused(code),
                Ok(()) => None,
            },
        };
        if !self.programmes.contains_key(&a.programme) {
            return refused(Code::Malformed);
        }
        self.exercised.insert(a.programme, at);
        let received = e.received_at.clamp(at.minus_micros(30_000_000), at);
        let now = Now { at, clock: self.clock(received), position, envelope: Envelope { received_at: received, ..*e } };
        let (covered, approved_at) = self.hold_against(&now, a);
        let never_made = earlier.is_some_and(|i| self.entries[i].undone);
        let parts = if never_made { Vec::new() } else { self.take_advice(&now, a, self.clock(approved_at)) };
        let related = earlier.map_or(Position::ZERO, |i| self.entries[i].decision.position);
        let decision = Decision {
            code: Code::Approved,
            amount: Yen::new(if never_made { 0 } else { a.purchase.amount.get() }),
            balance: Yen::new(if never_made { 0 } else { self.spendable(&e.account, now.clock) }),
            position,
            at,
            related,
        };
        let flagged = earlier.is_some() || !covered;
        let entry = Entry {
            namespace: e.namespace,
            account: e.account,
            key: e.key,
            asked: Some(operation),
            decision,
            state: if never_made { State::Reversed } else { State::Final },
            flagged,
            delivered: Some(true),
            parts,
            dies_at: Timestamp::ZERO,
            hold: None,
            reinstated: 0,
            undone: false,
        };
        if earlier.is_some() {
            self.beside.insert(name, self.entries.len());
            self.entries.push(entry);
        } else {
            self.enter(entry);
        }
        Applied { decision, effect: Effect::Decided, flagged }
    }

    /// Takes what a debit could have taken; what is missing is the programme's.
    fn take_advice(&mut self, now: &Now, a: &Advice, clock: Timestamp) -> Vec<Part> {
        let (id, shop) = (now.envelope.account, a.purchase.shop);
        let open = self.accounts.get(&id).is_some_and(|x| x.life == Life::Active)
            && self.shops.get(&shop).is_some_and(|(_, life)| *life == Life::Active);
        let lots = if open { self.usable(&id, Some(&shop), clock).0 } else { Vec::new() };
        let (mut left, mut parts) = (a.purchase.amount.get(), Vec::new());
        for lot in lots.into_iter().take(31) {
            let yen = left.min(lot.yen);
            if yen > 0 {
                parts.push(Part { lot: Lot { yen, ..lot }, returned: 0 });
            }
            left -= yen;
        }
        if !parts.is_empty() {
            self.take(&id, &parts);
        }
        for part in &parts {
            self.ledger(part.lot.programme).spent += u128::from(part.lot.yen);
        }
        if left > 0 {
            self.ledger(a.programme).spent += u128::from(left);
            self.ledger(a.programme).shortfall += u128::from(left);
            let missing = Lot {
                id: SHORTFALL,
                programme: a.programme,
                yen: left,
                expires_at: Timestamp::MAX,
                valid_from: Timestamp::ZERO,
                paid: false,
            };
            parts.push(Part { lot: missing, returned: 0 });
        }
        if self.shops.contains_key(&shop) {
            let takings = self.takings.entry(shop).or_default();
            takings.count += 1;
            takings.spent += a.purchase.amount.get();
        } else {
            self.nowhere.insert(now.position);
        }
        parts
    }

    /// What was missing is not spent any more.
    pub fn lower_shortfall(&mut self, programme: ProgrammeId, yen: u64) {
        let sums = self.ledger(programme);
        sums.shortfall -= u128::from(yen);
        sums.returned += u128::from(yen);
    }
}

impl Entry {
    pub fn is_advice(&self) -> bool {
        matches!(self.asked, Some(Operation::Advice(_)))
    }

    /// Yen that are missing still.
    pub fn missing(&self) -> u64 {
        self.parts.iter().filter(|p| p.lot.id == SHORTFALL).map(|p| p.lot.yen - p.returned).sum()
    }
}
