//! What may still be approved under a lease: pure arithmetic over what was approved so far.

use std::collections::{BTreeMap, HashMap, HashSet};
use tegata_model::{
    AccountId, Advice, Allowance, Command, Key, NamespaceId, Operation, Position, ProgrammeId, ShopId, Timestamp,
};

/// A balance counts for so long, and so does a payment that the core knows: 15 minutes (FIELD).
const SEEN_US: u64 = 15 * 60 * 1_000_000;
/// Balances that are remembered, and keys of each kind.
const SEEN_MAX: usize = 100_000;

/// Why nothing is approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forbidden {
    /// Only plain debits are.
    Kind,
    /// There is no lease, or it does not live now.
    Lease,
    /// The client's clock is known to be off: its instants are not the lease's.
    Clock,
    /// More than one payment may be.
    Payment,
    /// Its balance was never asked for, or more than 15 minutes ago.
    NotSeen,
    /// More than half of its balance, or than one account may take.
    Account,
    /// More than one shop may take.
    Shop,
    /// More than is left of the lease.
    Total,
    /// The account has paid at this shop under this lease, or at the core just before.
    Again,
    /// Nothing can be written any more, or too much is being written.
    Spool,
    /// The core has answered for its key, or a way out of it is on its way; or nobody knows whether it has.
    Answered,
    /// Its key is not of now: when the core is told, it might be out of the horizon, or from the future.
    Key,
}

/// How old a key may be: with an outage of days it is within the core's horizon of seven still.
const KEY_AGE_MAX_US: u64 = 86_400_000_000;
/// How far it may come from the future.
const KEY_AHEAD_MAX_US: u64 = 60_000_000;

/// Whether the core will take a key when it is told.
pub(crate) fn is_fresh(key: &Key, at: Timestamp) -> Result<(), Forbidden> {
    let made = key.created_at().ok_or(Forbidden::Key)?;
    let fresh = at.since(made) <= KEY_AGE_MAX_US && made.since(at) <= KEY_AHEAD_MAX_US;
    if fresh { Ok(()) } else { Err(Forbidden::Key) }
}

/// A lease, and what was approved under it.
#[derive(Debug, Clone)]
pub(crate) struct Allowed {
    pub(crate) programme: ProgrammeId,
    pub(crate) epoch: Position,
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
    allowance: Allowance,
    used: u64,
    accounts: HashMap<AccountId, u64>,
    shops: HashMap<ShopId, u64>,
    places: HashSet<(AccountId, ShopId)>,
}

impl Allowed {
    /// From the command that asked for it, received when it was granted.
    pub(crate) fn new(epoch: Position, command: &Command) -> Option<Self> {
        let Operation::Lease { programme, allowance, .. } = command.operation else { return None };
        let from = command.envelope.received_at;
        Some(Self {
            programme,
            epoch,
            from,
            until: from.plus_seconds(u64::from(allowance.seconds)),
            allowance,
            used: 0,
            accounts: HashMap::new(),
            shops: HashMap::new(),
            places: HashSet::new(),
        })
    }

    /// Whether a debit may be approved at `at`, the account's balance being `seen`.
    pub(crate) fn covers(
        &self,
        account: AccountId,
        operation: &Operation,
        seen: Option<u64>,
        at: Timestamp,
    ) -> Result<Advice, Forbidden> {
        let Operation::Debit(purchase) = operation else { return Err(Forbidden::Kind) };
        if at < self.from || at >= self.until {
            return Err(Forbidden::Lease);
        }
        let (yen, most) = (purchase.amount.get(), &self.allowance);
        let of = |used: Option<&u64>| used.copied().unwrap_or(0).saturating_add(yen);
        if yen > most.payment_max {
            return Err(Forbidden::Payment);
        }
        if self.places.contains(&(account, purchase.shop)) {
            return Err(Forbidden::Again);
        }
        let seen = seen.ok_or(Forbidden::NotSeen)?;
        if of(self.accounts.get(&account)) > most.account_max.min(seen / 2) {
            return Err(Forbidden::Account);
        }
        if of(self.shops.get(&purchase.shop)) > most.shop_max {
            return Err(Forbidden::Shop);
        }
        if self.used.saturating_add(yen) > most.total_max {
            return Err(Forbidden::Total);
        }
        Ok(Advice { purchase: *purchase, programme: self.programme, lease: self.epoch, approved_at: at })
    }

    /// Counts an approval of its programme, under whatever lease.
    pub(crate) fn count(&mut self, account: AccountId, a: &Advice) {
        if a.programme != self.programme {
            return;
        }
        let (yen, shop) = (a.purchase.amount.get(), a.purchase.shop);
        self.used = self.used.saturating_add(yen);
        for sum in [self.accounts.entry(account).or_default(), self.shops.entry(shop).or_default()] {
            *sum = sum.saturating_add(yen);
        }
        self.places.insert((account, shop));
    }

    /// True when it should be renewed: half of its life is over.
    pub(crate) fn is_old(&self, at: Timestamp) -> bool {
        at.since(self.from) > u64::from(self.allowance.seconds) * 500_000
    }
}

/// Balances that were seen, and payments that the core knows of those accounts.
#[derive(Debug, Default)]
pub(crate) struct Seen(HashMap<AccountId, SeenAccount>);

#[derive(Debug, Default)]
struct SeenAccount {
    yen: u64,
    at: Timestamp,
    /// Where it paid or may have paid, under which key, and when.
    paid: Vec<(ShopId, Key, Timestamp)>,
}

impl Seen {
    /// An account had so many yen of the programme.
    pub(crate) fn note(&mut self, account: AccountId, yen: u64, at: Timestamp) {
        if let Some(seen) = self.of(account, at) {
            (seen.yen, seen.at) = (yen, at);
        }
    }

    /// The core took some of it since, or may have, for a payment at this shop.
    pub(crate) fn paid(&mut self, account: AccountId, yen: u64, shop: ShopId, key: Key, at: Timestamp) {
        if let Some(seen) = self.of(account, at) {
            seen.yen = seen.yen.saturating_sub(yen);
            seen.paid.retain(|(_, other, _)| *other != key);
            seen.paid.push((shop, key, at));
        }
    }

    /// What is known of an account, while there is room for more.
    fn of(&mut self, account: AccountId, at: Timestamp) -> Option<&mut SeenAccount> {
        let counts = |seen: Timestamp| at.since(seen) <= SEEN_US;
        if self.0.len() >= SEEN_MAX {
            self.0.retain(|_, seen| counts(seen.at) || seen.paid.last().is_some_and(|(.., paid)| counts(*paid)));
        }
        if self.0.len() >= SEEN_MAX && !self.0.contains_key(&account) {
            return None;
        }
        let seen = self.0.entry(account).or_default();
        seen.paid.retain(|(.., paid)| counts(*paid));
        Some(seen)
    }

    /// The balance, while it counts; nothing of whoever was not asked for.
    pub(crate) fn balance(&self, account: &AccountId, at: Timestamp) -> Option<u64> {
        self.0.get(account).filter(|seen| seen.at <= at && at.since(seen.at) <= SEEN_US).map(|seen| seen.yen)
    }

    /// Whether the core knows of another payment there just before: the guard would ask, and cannot.
    pub(crate) fn has_paid(&self, account: &AccountId, shop: ShopId, key: Key, at: Timestamp) -> bool {
        let there = |(s, k, paid): &(ShopId, Key, Timestamp)| *s == shop && *k != key && at.since(*paid) <= SEEN_US;
        self.0.get(account).is_some_and(|seen| seen.paid.iter().any(there))
    }
}

/// One decision, by its key's time first.
pub(crate) type Scope = (Key, NamespaceId, AccountId);

/// Keys of which something is known, and how often it was noted. Of keys that are too old nobody knows, and it is taken
/// for known.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// Of a key that was made before, nobody knows: it was another process, or is forgotten.
    since: Timestamp,
    noted: BTreeMap<Scope, u32>,
}

impl Keys {
    /// Whoever knew more has ended before.
    pub(crate) fn new(since: Timestamp) -> Self {
        // A key's time is in ms.
        Self { since: Timestamp::from_micros(since.micros() / 1_000 * 1_000), noted: BTreeMap::new() }
    }

    pub(crate) fn note(&mut self, scope: Scope) {
        let times = self.noted.entry(scope).or_default();
        *times = times.saturating_add(1);
        if self.noted.len() > SEEN_MAX
            && let Some(((oldest, ..), _)) = self.noted.pop_first()
        {
            self.since = self.since.max(oldest.created_at().unwrap_or_default().plus_millis(1));
        }
    }

    /// As if it had been noted once less.
    pub(crate) fn take_back(&mut self, scope: &Scope) {
        if let Some(times) = self.noted.get_mut(scope) {
            *times -= 1;
            if *times == 0 {
                self.noted.remove(scope);
            }
        }
    }

    /// As if it had never been noted.
    pub(crate) fn forget(&mut self, scope: &Scope) {
        self.noted.remove(scope);
    }

    pub(crate) fn has(&self, scope: &Scope) -> bool {
        scope.0.created_at().is_some_and(|made| made < self.since) || self.noted.contains_key(scope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tegata_model::{Amount, Envelope, Purchase, TerminalId};

    fn at(s: u64) -> Timestamp {
        Timestamp::from_micros(1_780_000_000_000_000).plus_seconds(s)
    }

    fn account(name: &str) -> AccountId {
        AccountId::from_text(name).expect("an account")
    }

    fn debit(shop: &str, yen: u64) -> Operation {
        Operation::Debit(Purchase {
            shop: ShopId::from_text(shop).expect("a shop"),
            terminal: TerminalId::NONE,
            amount: Amount::new(yen).expect("in range"),
            token: Position::ZERO,
            partial: false,
        })
    }

    /// Granted at second 0 for an hour.
    fn allowed() -> Allowed {
        let allowance =
            Allowance { payment_max: 3_000, account_max: 4_000, shop_max: 6_000, total_max: 9_000, seconds: 3_600 };
        let operation = Operation::Lease { programme: ProgrammeId::new(1), holder: [1; 16], allowance };
        let envelope = Envelope { received_at: at(0), ..Envelope::default() };
        Allowed::new(Position::new(7), &Command { envelope, operation }).expect("a lease")
    }

    #[test]
    fn what_is_covered() {
        use Forbidden::*;
        let confirmed = Operation::DebitConfirmed {
            purchase: match debit("S1", 1) {
                Operation::Debit(p) => p,
                _ => unreachable!("a debit"),
            },
            seconds: 60,
        };
        // At which second, what, the balance that was seen, and why not.
        let rows = [
            (0, debit("S1", 3_000), Some(6_000), None),
            (3_599, debit("S1", 3_000), Some(6_000), None),
            (3_600, debit("S1", 3_000), Some(6_000), Some(Lease)),
            (5, debit("S1", 3_001), Some(60_000), Some(Payment)),
            (5, debit("S1", 3_000), Some(5_999), Some(Account)),
            (5, debit("S1", 1), Some(1), Some(Account)),
            (5, debit("S1", 1), None, Some(NotSeen)),
            (5, confirmed, Some(6_000), Some(Kind)),
            (5, Operation::Fence, Some(6_000), Some(Kind)),
        ];
        for (second, operation, seen, why) in rows {
            let got = allowed().covers(account("C1"), &operation, seen, at(second));
            assert_eq!(got.err(), why, "{operation:?} at {second}, {seen:?}");
        }
        assert_eq!(allowed().covers(account("C1"), &debit("S1", 1), Some(9), at(0).minus_micros(1)), Err(Lease));
    }

    #[test]
    fn what_was_approved_counts() {
        use Forbidden::*;
        let rows: [(&str, &str, u64, Option<Forbidden>); 9] = [
            ("C1", "S1", 3_000, None),
            ("C1", "S1", 1, Some(Again)),
            ("C1", "S2", 1_001, Some(Account)),
            ("C1", "S2", 1_000, None),
            ("C2", "S1", 3_000, None),
            ("C3", "S1", 1, Some(Shop)),
            ("C3", "S3", 2_001, Some(Total)),
            ("C3", "S3", 2_000, None),
            ("C4", "S4", 1, Some(Total)),
        ];
        let mut allowed = allowed();
        for (name, shop, yen, why) in rows {
            let got = allowed.covers(account(name), &debit(shop, yen), Some(50_000), at(1));
            if let Ok(advice) = got {
                allowed.count(account(name), &advice);
            }
            assert_eq!(got.err(), why, "{name} at {shop}, {yen}");
        }
    }

    #[test]
    fn a_key_is_of_now() {
        let made = |s: u64| Key::new(at(s), 7);
        assert_eq!(is_fresh(&made(100_000), at(100_000)), Ok(()));
        assert_eq!((is_fresh(&made(0), at(86_400)), is_fresh(&made(0), at(86_401))), (Ok(()), Err(Forbidden::Key)));
        assert_eq!((is_fresh(&made(60), at(0)), is_fresh(&made(61), at(0))), (Ok(()), Err(Forbidden::Key)));
        assert_eq!(is_fresh(&Key::from_bytes([0x11; 16]), at(0)), Err(Forbidden::Key));
    }

    #[test]
    fn a_balance_counts_for_fifteen_minutes() {
        let mut seen = Seen::default();
        let shop = |name| ShopId::from_text(name).expect("a shop");
        let key = |n: u128| Key::new(at(0), n << 72);
        seen.note(account("C1"), 500, at(0));
        seen.paid(account("C1"), 100, shop("S1"), key(1), at(0));
        let at_second = |s| seen.balance(&account("C1"), at(s));
        assert_eq!([at_second(0), at_second(900), at_second(901)], [Some(400), Some(400), None]);
        assert_eq!(seen.balance(&account("C2"), at(0)), None);
        // And so does a payment that the core knows; under its own key it may be asked for again.
        seen.note(account("C1"), 500, at(1));
        let has_paid = |name, n, s| seen.has_paid(&account("C1"), shop(name), key(n), at(s));
        assert_eq!([has_paid("S1", 2, 900), has_paid("S1", 2, 901), has_paid("S1", 1, 5)], [true, false, false]);
        assert!(!has_paid("S2", 2, 5) && !seen.has_paid(&account("C2"), shop("S1"), key(2), at(5)));
    }

    #[test]
    fn a_key_that_was_noted_or_that_nobody_knows_is_known() {
        let of = |key: Key| (key, NamespaceId::new(1), account("C1"));
        let key = |s, n: usize| of(Key::new(at(s), (n as u128) << 72));
        let mut keys = Keys::new(Timestamp::from_micros(at(10).micros() + 999));
        let no_time = of(Key::from_bytes([0x11; 16]));
        assert_eq!([key(9, 0), key(10, 0), no_time].map(|k| keys.has(&k)), [true, false, false]);
        keys.note(key(11, 0));
        assert_eq!([key(11, 0), key(11, 1), key(12, 0)].map(|k| keys.has(&k)), [true, false, false]);
        assert!(!keys.has(&(key(11, 0).0, NamespaceId::new(1), account("C2"))), "that is another decision");
        // It is known for as long as somebody's note of it is left.
        (0..2).for_each(|_| keys.note(key(11, 1)));
        keys.take_back(&key(11, 1));
        assert!(keys.has(&key(11, 1)));
        keys.take_back(&key(11, 1));
        assert!(!keys.has(&key(11, 1)));
        // Who forgets a key knows no longer about those of its time.
        (0..SEEN_MAX).for_each(|n| keys.note(key(12, n)));
        assert_eq!([key(11, 0), key(11, 1), key(12, 0)].map(|k| keys.has(&k)), [true, true, true]);
        assert!(!keys.has(&key(12, SEEN_MAX)));
        keys.forget(&key(12, 0));
        assert!(!keys.has(&key(12, 0)));
    }
}
