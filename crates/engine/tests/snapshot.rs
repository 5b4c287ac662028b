//! A snapshot taken while the engine goes on is the state as it was, and the rest of the log on top of it gives the
//! state that the whole log gives.

use tegata_engine::{Engine, Page, RestoreError, Restorer};
use tegata_model::{
    AccountId, Advice, Allowance, Amount, Command, Envelope, Key, LotKind, NamespaceId, Operation, Position, Programme,
    ProgrammeId, Purchase, ShopId, TerminalId, Timestamp, encode, mix,
};

const START_US: i64 = 1_700_000_000_000_000;
const ACCOUNTS: u64 = 3_000;

struct Log {
    records: Vec<(Timestamp, Vec<u8>)>,
    seed: u64,
    debits: Vec<(AccountId, Key)>,
}

fn account(n: u64) -> AccountId {
    AccountId::from_text(&format!("C{n}")).expect("an account")
}

fn yen(n: u64) -> Amount {
    Amount::new(n).expect("an amount")
}

impl Log {
    fn random(&mut self, below: u64) -> u64 {
        self.seed = mix(self.seed.wrapping_add(1), 0x9E37_79B9);
        self.seed % below
    }

    fn push(&mut self, account: AccountId, operation: Operation) -> Key {
        let at = Timestamp::from_micros(START_US + self.records.len() as i64 * 700_000);
        let key = Key::new(at, u128::from(mix(self.records.len() as u64, 5)) << 40);
        let envelope =
            Envelope { received_at: at, namespace: NamespaceId::new(1), account, key, ..Envelope::default() };
        let mut record = Vec::new();
        encode(&Command { envelope, operation }, &mut record);
        self.records.push((at, record));
        key
    }

    fn load(&mut self, account: AccountId, amount: u64, kind: LotKind) {
        let (programme, amount) = (ProgrammeId::new(13), yen(amount));
        self.push(account, Operation::Load { programme, amount, expires_at: Timestamp::ZERO, kind });
    }

    fn make(seed: u64, commands: u64) -> Self {
        let mut log = Self { records: Vec::new(), seed, debits: Vec::new() };
        let stand_in = Allowance::with_defaults(1_000_000);
        let programme = Programme { stand_in, ..Programme::with_defaults(ProgrammeId::new(13)) };
        log.push(AccountId::NONE, Operation::Programme(programme));
        log.push(AccountId::NONE, Operation::Lease { programme: programme.id, holder: [1; 16], allowance: stand_in });
        let shops: Vec<ShopId> = (0..9).map(|n| ShopId::from_text(&format!("S{n}")).expect("a shop")).collect();
        for shop in &shops {
            log.push(AccountId::NONE, Operation::Shop { shop: *shop, programme: ProgrammeId::NONE, name: [7; 48] });
        }
        for n in 0..ACCOUNTS {
            log.load(account(n), 9_000, LotKind::Paid);
        }
        for _ in 0..commands {
            let of = account(log.random(ACCOUNTS));
            let purchase = Purchase {
                shop: shops[log.random(9) as usize],
                terminal: TerminalId::NONE,
                amount: yen(1 + log.random(400)),
                token: Position::ZERO,
                partial: false,
            };
            let pick = log.random(100);
            let earlier = (!log.debits.is_empty()).then(|| log.debits[log.seed as usize % log.debits.len()]);
            match (pick, earlier) {
                (0..3, _) => {
                    let advice = Advice {
                        purchase: Purchase { amount: yen(1 + log.random(20_000)), ..purchase },
                        programme: programme.id,
                        lease: Position::new(2),
                        approved_at: Timestamp::from_micros(START_US + 900_000_000),
                    };
                    let key = log.push(of, Operation::Advice(advice));
                    log.debits.push((of, key));
                }
                (3..50, _) | (_, None) => {
                    let key = log.push(of, Operation::Debit(purchase));
                    log.debits.push((of, key));
                }
                (50..60, _) => {
                    let key = log.push(of, Operation::Hold { purchase, seconds: 600 });
                    log.debits.push((of, key));
                }
                (60..70, Some((of, original))) => {
                    log.push(of, Operation::Capture { original, amount: 0 });
                }
                (70..80, Some((of, original))) => {
                    log.push(of, Operation::Reversal { original, remain: 0 });
                }
                (80..90, Some((of, original))) => {
                    log.push(of, Operation::Refund { original, amount: yen(10) });
                }
                (_, Some(_)) => log.load(of, 50, LotKind::Promo),
            }
        }
        log
    }

    fn apply(&self, engine: &mut Engine, range: std::ops::Range<usize>) {
        for i in range {
            let (at, record) = &self.records[i];
            engine.apply(Position::new(i as u64 + 1), *at, record).expect("a record");
        }
    }
}

fn assert_equal(a: &Engine, b: &Engine, at: Timestamp) {
    assert!(a.rules().leases.iter().any(|l| l.used > 0), "advices came");
    assert!(a.sums()[0].1.shortfall > 0, "some were not covered");
    assert_eq!((u128::from(a.shortfall()), a.shortfall()), (a.sums()[0].1.shortfall, b.shortfall()));
    assert_eq!(a.rules().leases, b.rules().leases);
    assert_eq!(a.rules().programmes, b.rules().programmes);
    assert_eq!((a.applied(), a.digest(), a.sums()), (b.applied(), b.digest(), b.sums()));
    assert_eq!(b.audit(), Ok(()));
    for n in 0..ACCOUNTS {
        assert_eq!(a.account(&account(n), at), b.account(&account(n), at));
    }
    let (shops, _) = a.shops_after(0, usize::MAX);
    assert!(shops.iter().any(|s| a.shop_sums(&s.id).is_some_and(|sums| sums.count > 0)), "shops took something");
    for s in &shops {
        assert_eq!(a.shop_sums(&s.id), b.shop_sums(&s.id));
    }
}

#[test]
fn snapshot_and_log_give_what_the_log_gives() {
    for (seed, shards) in [(1, 1), (2, 3), (3, 8)] {
        let log = Log::make(seed, 12_000);
        let cut = 8_000;
        let mut engine = Engine::new(shards);
        log.apply(&mut engine, 0..cut);
        let then = engine.clone();
        let head = engine.start_snapshot();
        let (mut pages, mut next) = (Vec::new(), cut);
        while let Some(page) = engine.snapshot_page(100) {
            pages.push(page);
            let to = (next + 20).min(log.records.len());
            log.apply(&mut engine, next..to);
            next = to;
        }
        assert!(next > cut + 1_000, "the engine went on meanwhile");
        assert!(pages.iter().map(|p| p.undo.len()).sum::<usize>() > 50, "slots changed before their turn");
        log.apply(&mut engine, next..log.records.len());
        let mut restorer = Restorer::new(&head).expect("a head");
        pages.iter().for_each(|p| restorer.page(p).expect("a page"));
        let mut again = restorer.finish().expect("an engine");
        assert_equal(&then, &again, then.at());
        log.apply(&mut again, cut..log.records.len());
        assert_equal(&engine, &again, engine.at());
    }
}

#[test]
fn anything_else_is_refused() {
    let log = Log::make(4, 500);
    let mut engine = Engine::new(2);
    log.apply(&mut engine, 0..log.records.len());
    let head = engine.start_snapshot();
    for n in 0..head.len() {
        assert!(Restorer::new(&head[..n]).is_err(), "a head of {n} bytes");
    }
    let pages: Vec<_> = std::iter::from_fn(|| engine.snapshot_page(1_000)).collect();
    let of = |pages: &[Page]| {
        let mut restorer = Restorer::new(&head).expect("a head");
        pages.iter().try_for_each(|p| restorer.page(p))?;
        restorer.finish()
    };
    assert!(of(&pages).is_ok());
    for n in 0..pages.len() {
        let changed = |change: &dyn Fn(&mut Vec<Page>)| {
            let mut pages = pages.clone();
            change(&mut pages);
            of(&pages).err()
        };
        assert!(changed(&|p| drop(p.remove(n))).is_some(), "without page {n}");
        assert_eq!(changed(&|p| p.insert(n, p[n].clone())), Some(RestoreError::Order), "page {n} twice");
        assert_eq!(changed(&|p| p[n].first += 1), Some(RestoreError::Order), "page {n} of the next slot");
        assert_eq!(changed(&|p| p[n].first = 0).is_none(), pages[n].first == 0, "page {n} of the first slot");
    }
    let accounts = pages.iter().position(|p| p.table == 0).expect("accounts");
    let mut richer = pages.clone();
    // The third word of an account is what remains of its first lot.
    richer[accounts].words[2] += 1;
    assert_eq!(of(&richer).err(), Some(RestoreError::Slot), "a yen that no sum knows");
    let same = |w: &[Page]| (w[0].shard, w[0].table) == (w[1].shard, w[1].table);
    let n = pages.windows(2).position(same).expect("two pages of a table");
    let mut swapped = pages.clone();
    swapped.swap(n, n + 1);
    assert_eq!(of(&swapped).err(), Some(RestoreError::Order), "pages {n} and {} swapped", n + 1);
}

/// Whoever can write checksums can write any words. What is not refused is an engine that takes payments.
#[test]
fn forged_slots_are_refused_or_do_no_harm() {
    let log = Log::make(5, 3_000);
    let cut = log.records.len() - 400;
    let mut engine = Engine::new(2);
    log.apply(&mut engine, 0..cut);
    let head = engine.start_snapshot();
    let pages: Vec<_> = std::iter::from_fn(|| engine.snapshot_page(4_000)).collect();
    let mut dice = Log { records: Vec::new(), seed: 6, debits: Vec::new() };
    let (mut refused, mut used) = (0, 0);
    for _ in 0..400 {
        let mut pages = pages.clone();
        // Half of the time of the tables whose slots refer to each other.
        let few: Vec<usize> = (0..pages.len()).filter(|n| [1, 3, 4].contains(&pages[*n].table)).collect();
        let n = if dice.random(2) == 0 {
            few[dice.random(few.len() as u64) as usize]
        } else {
            dice.random(pages.len() as u64) as usize
        };
        let words = &mut pages[n].words;
        if words.is_empty() {
            continue;
        }
        let len = words.len() as u64;
        for _ in 0..1 + dice.random(3) {
            let (at, from) = (dice.random(len) as usize, dice.random(len) as usize);
            words[at] = match dice.random(5) {
                0 => words[from],
                1 => words[at] ^ 1 << dice.random(64),
                2 => words[at].wrapping_add(dice.random(9) << 32),
                3 => dice.random(40) << 32 | dice.random(40),
                _ => 0,
            };
        }
        let mut restorer = Restorer::new(&head).expect("a head");
        let taken = pages.iter().try_for_each(|p| restorer.page(p));
        let Ok(mut forged) = taken.and_then(|()| restorer.finish()) else {
            refused += 1;
            continue;
        };
        used += 1;
        log.apply(&mut forged, cut..log.records.len());
        assert!(forged.sums().iter().all(|(_, sums)| sums.conserved()), "nothing was made or lost");
    }
    assert!(refused > 50 && used > 50, "{refused} refused, {used} used");
}
