//! Value comes in, accounts live and end, and what the operator rules.

use super::{Account, Lot, Now, Outcome, Part, Reference};
use tegata_model::{AccountId, Code, Key, Life, LotKind, Operation, ProgrammeId, State, Timestamp};

/// Midnight after the day that is `days` after the day of `at`, east of UTC by `minutes`.
pub fn end_of_day(at: Timestamp, days: u32, minutes: i16) -> Timestamp {
    let day = 86_400;
    let shift = i64::from(minutes) * 60;
    let local = at.micros().div_euclid(1_000_000) + shift;
    let midnight = local - local.rem_euclid(day);
    Timestamp::from_micros((midnight + (i64::from(days) + 1) * day - shift) * 1_000_000)
}

impl Reference {
    fn new_lot(
        &self,
        now: &Now,
        programme: ProgrammeId,
        yen: u64,
        expires_at: Timestamp,
        valid_from: Timestamp,
        kind: LotKind,
    ) -> Result<Lot, Code> {
        let (rules, life) = self.programmes.get(&programme).ok_or(Code::ProgrammeUnknown)?;
        if *life != Life::Active {
            return Err(Code::ProgrammeSuspended);
        }
        let usual = end_of_day(now.at, rules.validity_days, rules.zone_minutes);
        let expires_at = if expires_at.is_zero() { usual } else { expires_at };
        if expires_at <= now.at || expires_at <= valid_from {
            return Err(Code::ExpiryInvalid);
        }
        if yen > rules.balance_max {
            return Err(Code::BalanceLimit);
        }
        let id = now.position.get() * 64;
        Ok(Lot { id, programme, yen, expires_at, valid_from, paid: kind == LotKind::Paid })
    }

    fn credited(&self, now: &Now, lot: Lot) -> Outcome {
        let balance = self.spendable(&now.envelope.account, now.clock);
        Outcome { amount: lot.yen, balance, parts: vec![Part { lot, returned: 0 }], ..Outcome::of(Code::Approved) }
    }

    pub fn issue(
        &mut self,
        now: &Now,
        programme: ProgrammeId,
        yen: u64,
        expires_at: Timestamp,
        valid_from: Timestamp,
        kind: LotKind,
    ) -> Outcome {
        let id = now.envelope.account;
        if id.is_none() {
            return Outcome::of(Code::AccountUnknown);
        }
        if self.accounts.contains_key(&id) {
            return Outcome::of(Code::AccountExists);
        }
        let lot = match self.new_lot(now, programme, yen, expires_at, valid_from, kind) {
            Ok(lot) => lot,
            Err(code) => return Outcome::of(code),
        };
        self.open_account(id, false, lot);
        self.ledger(programme).issued += u128::from(yen);
        self.credited(now, lot)
    }

    fn open_account(&mut self, id: AccountId, wallet: bool, lot: Lot) {
        let account = Account { wallet, life: Life::Active, home: lot.programme, lots: vec![lot] };
        self.accounts.insert(id, account);
    }

    fn put_in_wallet(&mut self, id: AccountId, lot: Lot) {
        if self.accounts.contains_key(&id) { self.put(&id, lot) } else { self.open_account(id, true, lot) }
    }

    /// Why a wallet, which need not exist, does not take these lots.
    fn wallet_refuses(&self, id: &AccountId, lots: &[Lot]) -> Option<Code> {
        if id.is_none() {
            return Some(Code::AccountUnknown);
        }
        if let Some(account) = self.accounts.get(id) {
            match account.life {
                _ if !account.wallet => return Some(Code::AccountKind),
                Life::Suspended => return Some(Code::AccountSuspended),
                Life::Closed => return Some(Code::AccountClosed),
                Life::Active => {}
            }
        }
        let sum = self.total(id) + lots.iter().map(|l| l.yen).sum::<u64>();
        lots.iter().any(|l| sum > self.programmes[&l.programme].0.balance_max).then_some(Code::BalanceLimit)
    }

    pub fn load(
        &mut self,
        now: &Now,
        programme: ProgrammeId,
        yen: u64,
        expires_at: Timestamp,
        kind: LotKind,
    ) -> Outcome {
        let id = now.envelope.account;
        let lot = match self.new_lot(now, programme, yen, expires_at, Timestamp::ZERO, kind) {
            Ok(lot) => lot,
            Err(code) => return Outcome::of(code),
        };
        if let Some(code) = self.wallet_refuses(&id, &[lot]) {
            return Outcome::of(code);
        }
        self.put_in_wallet(id, lot);
        self.ledger(programme).charged += u128::from(yen);
        self.credited(now, lot)
    }

    pub fn charge(&mut self, now: &Now, wallet: &AccountId, amount: u64) -> Outcome {
        let id = now.envelope.account;
        let Some(coupon) = self.accounts.get(&id) else { return Outcome::of(Code::AccountUnknown) };
        let (lots, why) = self.usable(&id, None, now.clock);
        let sum: u64 = lots.iter().map(|l| l.yen).sum();
        let amount = if amount == 0 { sum } else { amount };
        let code = match coupon.life {
            _ if coupon.wallet || *wallet == id => Some(Code::AccountKind),
            Life::Suspended => Some(Code::AccountSuspended),
            Life::Closed => Some(Code::AccountClosed),
            Life::Active if amount == 0 || amount > sum => Some(why),
            Life::Active => None,
        };
        let parts = match code {
            Some(code) => Err(code),
            None => Self::split(&lots, amount),
        };
        let parts = parts.and_then(|parts| {
            let lots: Vec<Lot> = parts.iter().map(|p| p.lot).collect();
            self.wallet_refuses(wallet, &lots).map_or(Ok(parts), Err)
        });
        let parts = match parts {
            Ok(parts) => parts,
            Err(code) => return Outcome { balance: self.spendable(&id, now.clock), ..Outcome::of(code) },
        };
        self.take(&id, &parts);
        for part in &parts {
            self.put_in_wallet(*wallet, part.lot);
        }
        Outcome { amount, balance: self.spendable(&id, now.clock), parts, ..Outcome::of(Code::Approved) }
    }

    /// The decision under a key; where that took nothing, the advice beside it.
    pub fn corrected(&self, now: &Now, key: &Key) -> Result<usize, Code> {
        let i = self.original(now, key)?;
        let name = (now.envelope.namespace, now.envelope.account, *key);
        Ok(self.beside.get(&name).copied().filter(|_| !self.entries[i].approved()).unwrap_or(i))
    }

    pub fn reinstate(
        &mut self,
        now: &Now,
        programme: ProgrammeId,
        yen: u64,
        expires_at: Timestamp,
        corrects: &Key,
    ) -> Outcome {
        let id = now.envelope.account;
        match self.accounts.get(&id).map(|a| a.life) {
            None => return Outcome::of(Code::AccountUnknown),
            Some(Life::Closed) => return Outcome::of(Code::AccountClosed),
            Some(Life::Active | Life::Suspended) => {}
        }
        let mut kind = LotKind::Promo;
        let corrected = if *corrects == Key::NONE { None } else { Some(self.corrected(now, corrects)) };
        let corrected = match corrected {
            None | Some(Err(Code::OriginalTooOld)) => None,
            Some(Err(_)) => return Outcome::of(Code::OriginalUnknown),
            Some(Ok(i)) => {
                let entry = &self.entries[i];
                if entry.purchase().is_none() {
                    return Outcome::of(Code::OriginalKind);
                }
                if !entry.approved() {
                    return Outcome::of(Code::OriginalDeclined);
                }
                match entry.state {
                    State::Open => return Outcome::of(Code::OriginalKind),
                    State::Voided | State::Fenced => return Outcome::of(Code::HoldVoided),
                    _ => {}
                }
                if yen > entry.to_return().saturating_sub(entry.missing()) {
                    return Outcome::of(Code::ExceedsOriginal);
                }
                if entry.parts.iter().any(|p| p.lot.paid) {
                    kind = LotKind::Paid;
                }
                Some(i)
            }
        };
        let lot = match self.new_lot(now, programme, yen, expires_at, Timestamp::ZERO, kind) {
            Ok(lot) => lot,
            Err(code) => return Outcome::of(code),
        };
        self.put(&id, lot);
        self.ledger(programme).reinstated += u128::from(yen);
        let mut outcome = self.credited(now, lot);
        if let Some(i) = corrected {
            self.entries[i].reinstated += yen;
            outcome.related = self.entries[i].decision.position;
        }
        outcome
    }

    /// Commands about rules and lives.
    pub fn rule(&mut self, now: &Now, operation: &Operation) -> Code {
        let set = |old: &mut Life, new: Life, ended: Code| {
            if *old == Life::Closed && new != Life::Closed {
                return ended;
            }
            *old = new;
            Code::Approved
        };
        match operation {
            Operation::AccountLife(life) => match self.accounts.get_mut(&now.envelope.account) {
                None => Code::AccountUnknown,
                Some(a) => set(&mut a.life, *life, Code::AccountClosed),
            },
            Operation::ShopLife { shop, life } => match self.shops.get_mut(shop) {
                None => Code::ShopUnknown,
                Some((_, old)) => set(old, *life, Code::ShopSuspended),
            },
            Operation::ProgrammeLife { programme, life } => match self.programmes.get_mut(programme) {
                None => Code::ProgrammeUnknown,
                Some((_, old)) => set(old, *life, Code::ProgrammeSuspended),
            },
            Operation::Programme(p) => {
                self.exercised.insert(p.id, now.at);
                self.programmes.entry(p.id).and_modify(|(rules, _)| *rules = *p).or_insert((*p, Life::Active));
                Code::Approved
            }
            Operation::Shop { programme, .. } if !programme.is_none() && !self.programmes.contains_key(programme) => {
                Code::ProgrammeUnknown
            }
            Operation::Shop { shop, programme, .. } => {
                self.shops.entry(*shop).and_modify(|(p, _)| *p = *programme).or_insert((*programme, Life::Active));
                Code::Approved
            }
            Operation::Extend { extension: x, .. } => {
                if self.extensions.iter().any(|(e, _)| e.rule == x.rule) {
                    return Code::RuleExists;
                }
                if !x.programme.is_none() && !self.programmes.contains_key(&x.programme) {
                    return Code::ProgrammeUnknown;
                }
                if x.expires_at <= x.expiry_from || x.expiry_from >= x.expiry_before {
                    return Code::ExpiryInvalid;
                }
                self.extensions.push((*x, now.at));
                Code::Approved
            }
            other => unreachable!("not a rule: {other:?}"),
        }
    }
}
