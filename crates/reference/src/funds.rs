//! Lots: their end, their order, what can be spent, what a purchase takes; holds.

use super::{Now, Outcome, Part, Reference};
use tegata_engine::{AccountView, LotView, Sums};
use tegata_model::{AccountId, Code, Key, Life, Operation, ProgrammeId, Purchase, ShopId, State, Timestamp};

/// Value with its origin and its end.
#[derive(Debug, Clone, Copy)]
pub struct Lot {
    pub id: u64,
    pub programme: ProgrammeId,
    pub yen: u64,
    /// As it was made; extensions are looked up.
    pub expires_at: Timestamp,
    pub valid_from: Timestamp,
    pub paid: bool,
}

impl Reference {
    /// The latest end that applies to a lot.
    pub fn end_of(&self, lot: &Lot) -> Timestamp {
        let mut end = lot.expires_at;
        for (x, at) in &self.extensions {
            let of_programme = x.programme.is_none() || x.programme == lot.programme;
            let in_cohort = x.expiry_from <= lot.expires_at && lot.expires_at < x.expiry_before;
            let existed = lot.id / 64 <= x.as_of.get();
            let alive = end > *at;
            if of_programme && in_cohort && existed && (alive || x.include_expired) {
                end = end.max(x.expires_at);
            }
        }
        end
    }

    pub fn spendable(&self, id: &AccountId, clock: Timestamp) -> u64 {
        let Some(a) = self.accounts.get(id) else { return 0 };
        a.lots.iter().filter(|l| l.valid_from <= clock && clock < self.end_of(l)).map(|l| l.yen).sum()
    }

    /// Yen on an account, held ones too.
    pub fn total(&self, id: &AccountId) -> u64 {
        let lots: u64 = self.accounts.get(id).map_or(0, |a| a.lots.iter().map(|l| l.yen).sum());
        lots + self.held(id)
    }

    pub fn held(&self, id: &AccountId) -> u64 {
        let entries = self.open.iter().map(|i| &self.entries[*i]);
        entries.filter(|e| e.account == *id && e.state == State::Open).map(|e| e.taken()).sum()
    }

    /// Why a lot cannot be taken; the first reason outranks the later ones.
    fn obstacle(&self, lot: &Lot, shop: Option<&ShopId>, clock: Timestamp) -> Option<(u8, Code)> {
        let (rules, life) = &self.programmes[&lot.programme];
        if *life != Life::Active {
            return Some((0, Code::ProgrammeSuspended));
        }
        if let Some(shop) = shop {
            let takes = self.shops[shop].0;
            if takes.is_none() && !rules.any_shop {
                return Some((1, Code::ShopNotAllowed));
            }
            if !takes.is_none() && takes != lot.programme {
                return Some((1, Code::WrongProgramme));
            }
        }
        if clock >= self.end_of(lot) {
            return Some((2, Code::Expired));
        }
        if clock < lot.valid_from {
            return Some((3, Code::NotYetValid));
        }
        None
    }

    /// Lots that may be taken, in the order of consumption, and the reason when there are none.
    pub fn usable(&self, id: &AccountId, shop: Option<&ShopId>, clock: Timestamp) -> (Vec<Lot>, Code) {
        let full = || self.accounts[id].lots.iter().filter(|l| l.yen > 0);
        let mut lots: Vec<Lot> = full().filter(|l| self.obstacle(l, shop, clock).is_none()).copied().collect();
        lots.sort_by_key(|l| (self.programmes[&l.programme].0.priority, self.end_of(l), l.paid, l.valid_from, l.id));
        let why = full().filter_map(|l| self.obstacle(l, shop, clock)).min_by_key(|(rank, _)| *rank);
        let why = if lots.is_empty() {
            why.map_or(Code::InsufficientFunds, |(_, code)| code)
        } else {
            Code::InsufficientFunds
        };
        (lots, why)
    }

    /// `amount` of these lots, first lots first.
    pub fn split(lots: &[Lot], amount: u64) -> Result<Vec<Part>, Code> {
        let mut left = amount;
        let mut parts = Vec::new();
        for lot in lots {
            let yen = left.min(lot.yen);
            if yen > 0 {
                parts.push(Part { lot: Lot { yen, ..*lot }, returned: 0 });
                left -= yen;
            }
        }
        assert_eq!(left, 0, "the caller looked at the sum");
        if parts.len() > 32 { Err(Code::LotLimit) } else { Ok(parts) }
    }

    pub fn take(&mut self, id: &AccountId, parts: &[Part]) {
        let account = self.accounts.get_mut(id).expect("an account");
        for part in parts {
            let lot = account.lots.iter_mut().find(|l| l.id == part.lot.id).expect("a lot");
            lot.yen = lot.yen.checked_sub(part.lot.yen).expect("enough");
        }
    }

    /// Adds value to the lot of that name.
    pub fn put(&mut self, id: &AccountId, value: Lot) {
        let account = self.accounts.get_mut(id).expect("an account");
        match account.lots.iter_mut().find(|l| l.id == value.id) {
            Some(lot) => lot.yen += value.yen,
            None => account.lots.push(value),
        }
    }

    pub fn ledger(&mut self, programme: ProgrammeId) -> &mut Sums {
        self.ledger.entry(programme).or_default()
    }

    /// A debit, or with `seconds` a hold.
    pub fn purchase(&mut self, now: &Now, p: &Purchase, seconds: Option<u32>) -> Outcome {
        let id = now.envelope.account;
        let Some(account) = self.accounts.get(&id) else { return Outcome::of(Code::AccountUnknown) };
        let home = account.home;
        let declined = |code| Outcome { balance: self.spendable(&id, now.clock), ..Outcome::of(code) };
        match (account.life, self.shops.get(&p.shop)) {
            (Life::Suspended, _) => return declined(Code::AccountSuspended),
            (Life::Closed, _) => return declined(Code::AccountClosed),
            (Life::Active, None) => return declined(Code::ShopUnknown),
            (Life::Active, Some((_, Life::Active))) => {}
            (Life::Active, Some(_)) => return declined(Code::ShopSuspended),
        }
        let (flagged, earlier) = match self.guard(now, p, home) {
            Err(outcome) => return outcome,
            Ok(earlier) => earlier,
        };
        let open = self.open.iter().map(|i| &self.entries[*i]).filter(|e| e.account == id && e.state == State::Open);
        if seconds.is_some() && open.count() >= 64 {
            return declined(Code::HoldLimit);
        }
        let (lots, why) = self.usable(&id, Some(&p.shop), now.clock);
        let sum: u64 = lots.iter().map(|l| l.yen).sum();
        let asked = p.amount.get();
        let amount = if asked <= sum {
            asked
        } else if p.partial && sum > 0 {
            sum
        } else {
            return declined(why);
        };
        let parts = match Self::split(&lots, amount) {
            Err(code) => return declined(code),
            Ok(parts) => parts,
        };
        for (programme, (rules, _)) in &self.programmes {
            let yen: u64 = parts.iter().filter(|x| x.lot.programme == *programme).map(|x| x.lot.yen).sum();
            if yen > rules.payment_max {
                return declined(Code::AmountLimit);
            }
        }
        self.take(&id, &parts);
        let code = if amount < asked { Code::PartiallyApproved } else { Code::Approved };
        let mut o = Outcome { amount, related: earlier, flagged, ..Outcome::of(code) };
        o.balance = self.spendable(&id, now.clock);
        o.parts = parts;
        match seconds {
            None => self.spend(&o.parts, &p.shop),
            Some(s) => {
                let rules = &self.programmes[&home].0;
                let wanted = if s == 0 { rules.hold_default_s } else { s };
                let lives = wanted.min(rules.hold_max_s).min(604_800).min(self.settings.horizon_s);
                let period = u64::from(self.settings.horizon_s + self.settings.skew_s);
                let made = now.envelope.key.created_at().expect("it was looked at");
                o.dies_at = now.at.plus_seconds(u64::from(lives)).min(made.plus_seconds(period));
                o.state = State::Open;
            }
        }
        o
    }

    fn spend(&mut self, parts: &[Part], shop: &ShopId) {
        let takings = self.takings.entry(*shop).or_default();
        takings.count += 1;
        takings.spent += parts.iter().map(|p| p.lot.yen).sum::<u64>();
        for part in parts {
            self.ledger(part.lot.programme).spent += u128::from(part.lot.yen);
        }
    }

    /// The hold under a key, or why there is none.
    fn find_hold(&self, now: &Now, key: &Key) -> Result<usize, Outcome> {
        let i = self.original(now, key).map_err(Outcome::of)?;
        let entry = &self.entries[i];
        let related = entry.decision.position;
        if !self.accounts.contains_key(&now.envelope.account) {
            return Err(Outcome::of(Code::AccountUnknown));
        }
        match entry.asked {
            Some(Operation::Hold { .. } | Operation::DebitConfirmed { .. }) if entry.approved() => Ok(i),
            Some(Operation::Hold { .. } | Operation::DebitConfirmed { .. }) => {
                Err(Outcome { related, ..Outcome::of(Code::OriginalDeclined) })
            }
            _ => Err(Outcome { related, ..Outcome::of(Code::OriginalKind) }),
        }
    }

    pub fn capture(&mut self, now: &Now, key: &Key, amount: u64, confirm: bool) -> Outcome {
        let i = match self.find_hold(now, key) {
            Ok(i) => i,
            Err(outcome) => return outcome,
        };
        let id = now.envelope.account;
        let (related, state, held) =
            (self.entries[i].decision.position, self.entries[i].state, self.entries[i].taken());
        let answer = |s: &Self, code, amount| Outcome {
            amount,
            related,
            balance: s.spendable(&id, now.clock),
            ..Outcome::of(code)
        };
        let is_confirmed = matches!(self.entries[i].asked, Some(Operation::DebitConfirmed { .. }));
        if is_confirmed != confirm {
            return answer(self, Code::OriginalKind, 0);
        }
        match state {
            State::Open => {}
            State::Captured | State::PartlyReturned if confirm => {
                return Outcome { hold: Some(i), ..answer(self, Code::Approved, held) };
            }
            State::Captured | State::PartlyReturned => return answer(self, Code::HoldCaptured, 0),
            State::Reversed => return answer(self, Code::AlreadyReversed, 0),
            _ => return answer(self, Code::HoldVoided, 0),
        }
        let wanted = if amount == 0 { held } else { amount };
        if wanted > held {
            return answer(self, Code::ExceedsOriginal, 0);
        }
        self.lower_hold(i, wanted);
        self.entries[i].state = State::Captured;
        let shop = self.entries[i].purchase().expect("a hold").shop;
        self.spend(&self.entries[i].parts.clone(), &shop);
        Outcome { hold: Some(i), ..answer(self, Code::Approved, wanted) }
    }

    pub fn void(&mut self, now: &Now, key: &Key) -> Outcome {
        let i = match self.find_hold(now, key) {
            Ok(i) => i,
            Err(outcome) => return outcome,
        };
        let held = self.entries[i].taken();
        let (code, amount) = match self.entries[i].state {
            State::Open => {
                self.give_all_back(i, State::Voided);
                (Code::Approved, held)
            }
            State::Voided | State::Reversed => (Code::Approved, 0),
            _ => (Code::HoldCaptured, 0),
        };
        let balance = self.spendable(&now.envelope.account, now.clock);
        Outcome { amount, balance, related: self.entries[i].decision.position, ..Outcome::of(code) }
    }

    /// Leaves `keep` yen held; the last-consumed lots get theirs back first.
    pub fn lower_hold(&mut self, i: usize, keep: u64) {
        let account = self.entries[i].account;
        let mut back = self.entries[i].taken().saturating_sub(keep);
        for n in (0..self.entries[i].parts.len()).rev() {
            let part = &mut self.entries[i].parts[n];
            let yen = back.min(part.lot.yen);
            back -= yen;
            part.lot.yen -= yen;
            let value = Lot { yen, ..part.lot };
            self.put(&account, value);
        }
    }

    /// Ends a hold.
    pub fn give_all_back(&mut self, i: usize, state: State) {
        let account = self.entries[i].account;
        for part in self.entries[i].parts.clone() {
            self.put(&account, part.lot);
        }
        let entry = &mut self.entries[i];
        for part in &mut entry.parts {
            part.returned = part.lot.yen;
        }
        entry.state = state;
    }

    /// What the account's holder sees.
    pub fn view(&self, id: &AccountId, at: Timestamp) -> Option<AccountView> {
        let a = self.accounts.get(id)?;
        let mut lots: Vec<LotView> = a
            .lots
            .iter()
            .filter(|l| l.yen > 0)
            .map(|l| LotView {
                id: l.id,
                programme: l.programme,
                remaining: l.yen,
                expires_at: self.end_of(l),
                valid_from: l.valid_from,
                paid: l.paid,
            })
            .collect();
        lots.sort_by_key(|l| l.id);
        let balance = self.spendable(id, self.clock(at));
        Some(AccountView { life: a.life, wallet: a.wallet, balance, held: self.held(id), lots })
    }

    /// The sums of a programme with its balances counted.
    pub fn sums(&self, programme: ProgrammeId) -> Sums {
        let lots = self.accounts.values().flat_map(|a| &a.lots).filter(|l| l.programme == programme);
        let held = self.open.iter().map(|i| &self.entries[*i]).filter(|e| e.state == State::Open);
        let held = held.flat_map(|e| &e.parts).map(|p| &p.lot).filter(|l| l.programme == programme);
        let balances = lots.chain(held).map(|l| u128::from(l.yen)).sum();
        Sums { balances, ..self.ledger.get(&programme).copied().unwrap_or_default() }
    }
}
