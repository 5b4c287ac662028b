//! Reversal and refund.

use super::{Entry, Lot, Now, Outcome, Part, Reference};
use tegata_engine::SHORTFALL;
use tegata_model::{AccountId, Code, Decision, ExpiredRefund, Key, Life, Operation, State, Timestamp};

impl Reference {
    /// The original of a reversal or a refund; a capture and a confirmation stand for their hold.
    fn taken_by(&self, now: &Now, key: &Key) -> Result<usize, Code> {
        let i = self.corrected(now, key)?;
        match self.entries[i].hold {
            Some(hold) if !self.remembers(&self.entries[hold].key, now.at) => Err(Code::OriginalTooOld),
            Some(hold) => Ok(hold),
            None => Ok(i),
        }
    }

    pub fn reverse(&mut self, now: &Now, key: &Key, remain: u64) -> Outcome {
        let id = now.envelope.account;
        if *key == now.envelope.key {
            return Outcome::of(Code::OriginalKind);
        }
        let i = match self.taken_by(now, key) {
            Ok(i) => i,
            Err(Code::OriginalUnknown) => {
                self.fence_unseen(now, key);
                return Outcome::of(Code::Approved);
            }
            Err(code) => return Outcome::of(code),
        };
        if let Ok(asked) = self.corrected(now, key)
            && remain == 0
            && !self.entries[asked].approved()
        {
            self.entries[asked].undone = true;
        }
        let entry = self.entries[i].clone();
        if !self.accounts.contains_key(&id) && !entry.is_advice() {
            return Outcome::of(Code::Approved);
        }
        let related = entry.decision.position;
        let amount = match entry.asked {
            _ if !entry.approved() => 0,
            _ if entry.purchase().is_some() => self.reverse_purchase(i, remain),
            Some(Operation::Issue { .. }) => {
                let yen = self.pull_back(&id, i, remain);
                self.ledger(entry.parts[0].lot.programme).issued -= u128::from(yen);
                yen
            }
            Some(Operation::Load { .. }) => {
                let yen = self.pull_back(&id, i, remain);
                self.ledger(entry.parts[0].lot.programme).charged -= u128::from(yen);
                yen
            }
            Some(Operation::Charge { wallet, .. }) => {
                let before: Vec<u64> = entry.parts.iter().map(|p| p.returned).collect();
                let yen = self.pull_back(&wallet, i, remain);
                for (part, before) in self.entries[i].parts.clone().iter().zip(before) {
                    self.put(&id, Lot { yen: part.returned - before, ..part.lot });
                }
                yen
            }
            _ => return Outcome { related, ..Outcome::of(Code::OriginalKind) },
        };
        let balance = self.spendable(&id, now.clock);
        Outcome { amount, balance, related, ..Outcome::of(Code::Approved) }
    }

    /// Under the original's key stands from now on: never.
    fn fence_unseen(&mut self, now: &Now, key: &Key) {
        self.enter(Entry {
            namespace: now.envelope.namespace,
            account: now.envelope.account,
            key: *key,
            asked: None,
            decision: Decision { position: now.position, ..Decision::refusal(Code::Fenced, now.at) },
            state: State::Fenced,
            flagged: false,
            delivered: None,
            parts: Vec::new(),
            dies_at: now.at,
            hold: None,
            reinstated: 0,
            undone: true,
        });
    }

    /// Leaves `remain` yen taken; gives back the rest, last-consumed lots first.
    fn reverse_purchase(&mut self, i: usize, remain: u64) -> u64 {
        let entry = self.entries[i].clone();
        let due = entry.to_return().saturating_sub(remain);
        match entry.state {
            State::Voided | State::Reversed | State::Fenced => return 0,
            State::Open if remain == 0 => self.give_all_back(i, State::Reversed),
            State::Open => self.lower_hold(i, remain),
            State::Final | State::Captured | State::PartlyReturned => {
                self.hand_back(i, due, |s, part, yen, _| {
                    if part.lot.id == SHORTFALL {
                        return s.lower_shortfall(part.lot.programme, yen);
                    }
                    s.ledger(part.lot.programme).returned += u128::from(yen);
                    s.put(&entry.account, Lot { yen, ..part.lot });
                });
            }
        }
        due
    }

    /// Marks `due` yen of what was spent as returned, last-consumed first, and tells the shop; `back` says where the
    /// yen of each part go.
    fn hand_back(&mut self, i: usize, due: u64, mut back: impl FnMut(&mut Self, &Part, u64, usize)) {
        let mut left = due;
        for n in (0..self.entries[i].parts.len()).rev() {
            let part = self.entries[i].parts[n].clone();
            let yen = left.min(part.lot.yen - part.returned);
            if yen > 0 {
                left -= yen;
                self.entries[i].parts[n].returned += yen;
                back(self, &part, yen, n);
            }
        }
        assert_eq!(left, 0, "never more than was taken");
        self.entries[i].mark_returned(due);
        let shop = self.entries[i].purchase().expect("a purchase").shop;
        if !self.nowhere.contains(&self.entries[i].decision.position) {
            self.takings.entry(shop).or_default().returned += due;
        }
    }

    /// Takes value that was put on an account off it again, as far as it is still there.
    fn pull_back(&mut self, from: &AccountId, i: usize, remain: u64) -> u64 {
        let mut due = (self.entries[i].taken() - self.entries[i].returned()).saturating_sub(remain);
        let mut sum = 0;
        for n in (0..self.entries[i].parts.len()).rev() {
            let part = self.entries[i].parts[n].clone();
            let there = self.accounts[from].lots.iter().find(|l| l.id == part.lot.id).map_or(0, |l| l.yen);
            let yen = due.min(part.lot.yen - part.returned).min(there);
            due -= yen;
            sum += yen;
            self.entries[i].parts[n].returned += yen;
            if yen > 0 {
                self.take(from, &[Part { lot: Lot { yen, ..part.lot }, returned: 0 }]);
            }
        }
        self.entries[i].mark_returned(sum);
        sum
    }

    pub fn refund(&mut self, now: &Now, key: &Key, amount: u64) -> Outcome {
        let id = now.envelope.account;
        let i = match self.taken_by(now, key) {
            Ok(i) => i,
            Err(code) => return Outcome::of(code),
        };
        let entry = &self.entries[i];
        let closed = match self.accounts.get(&id) {
            Some(account) => account.life == Life::Closed,
            None if entry.is_advice() => false,
            None => return Outcome::of(Code::OriginalUnknown),
        };
        let related = entry.decision.position;
        let code = match entry.state {
            _ if entry.purchase().is_none() => Code::OriginalKind,
            _ if !entry.approved() => Code::OriginalDeclined,
            State::Reversed => Code::AlreadyReversed,
            State::Open => Code::OriginalKind,
            State::Voided | State::Fenced => Code::HoldVoided,
            _ if closed => Code::AccountClosed,
            _ if amount > entry.to_return() => Code::ExceedsOriginal,
            _ => Code::Approved,
        };
        if code == Code::Approved {
            self.hand_back(i, amount, |s, part, yen, n| s.refund_part(now, part, yen, n));
        }
        let amount = if code == Code::Approved { amount } else { 0 };
        Outcome { amount, related, balance: self.spendable(&id, now.clock), ..Outcome::of(code) }
    }

    /// To the lot it came from, or what the programme says when that has expired.
    fn refund_part(&mut self, now: &Now, part: &Part, yen: u64, ordinal: usize) {
        if part.lot.id == SHORTFALL {
            return self.lower_shortfall(part.lot.programme, yen);
        }
        let rules = self.programmes[&part.lot.programme].0;
        let expired = now.clock >= self.end_of(&part.lot);
        let sums = self.ledger(part.lot.programme);
        sums.returned += u128::from(yen);
        if expired && rules.expired_refund == ExpiredRefund::Forfeit {
            sums.expired += u128::from(yen);
        } else if expired && rules.expired_refund == ExpiredRefund::PayOut {
            sums.paid_out += u128::from(yen);
        } else if expired {
            let id = now.position.get() * 64 + ordinal as u64;
            let expires_at = super::operate::end_of_day(now.at, rules.refund_days, rules.zone_minutes);
            self.put(&now.envelope.account, Lot { id, yen, expires_at, valid_from: Timestamp::ZERO, ..part.lot });
        } else {
            self.put(&now.envelope.account, Lot { yen, ..part.lot });
        }
    }
}
