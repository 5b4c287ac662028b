//! What customers and the office want, drawn from the seed and from what they know by then.

use crate::plan::{Feature, Plan};
use crate::random::Random;
use std::time::Duration;
use tegata_client::{Ask, Attempt, Call, Decided, Outcome};
use tegata_model::{
    AccountId, Amount, Approval, Class, ExpiredRefund, Extension, GuardMode, Key, Life, LotKind, NamespaceId,
    Operation, Position, Programme, ProgrammeId, Purchase, ShopId, TerminalId, Timestamp,
};
use tegata_wire::{BreakerOrder, KIND_BALANCE, KIND_DIGEST, KIND_SERVER_STATUS, KIND_SNAPSHOT_TAKE, KIND_STATUS};

/// Registered shops, and one that is not.
const SHOPS: [&str; 5] = ["S1", "S2", "S3", "S4", "S9"];
/// Wallets of every world.
const WALLETS: u64 = 6;
/// Earlier decisions that are remembered for more to come of them.
const REMEMBERED: usize = 200;

/// What somebody wants.
#[derive(Debug, Clone)]
pub(crate) enum Intent {
    /// To do this.
    Decide(Attempt),
    /// To correct something: planned first, then applied under this key.
    Plan(Attempt),
    /// To know something.
    Ask(Call),
}

/// What was decided, as its caller knows it.
#[derive(Debug, Clone, Copy)]
struct Earlier {
    attempt: Attempt,
    approved: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Workload {
    random: Random,
    features: Vec<Feature>,
    horizon_s: u32,
    setup: Vec<Operation>,
    coupons: u64,
    issued: Vec<AccountId>,
    earlier: Vec<Earlier>,
    rules: u32,
}

fn account(name: &str) -> AccountId {
    AccountId::from_text(name).expect("a short name")
}

fn shop(name: &str) -> ShopId {
    ShopId::from_text(name).expect("a short name")
}

fn approval(plan: u64) -> Approval {
    Approval { maker: [b'm'; 16], approver: [b'a'; 16], reason: [0; 48], incident: 1, plan }
}

impl Workload {
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut random = Random::new(plan.seed, "workload");
        let mut setup = Vec::new();
        for name in &SHOPS[..4] {
            setup.push(Operation::Shop { shop: shop(name), programme: ProgrammeId::NONE, name: [0; 48] });
        }
        for id in [1, 2] {
            let mut p = Programme::with_defaults(ProgrammeId::new(id));
            p.payment_max = random.between(5_000, 50_000);
            p.guard_window_s = random.spread(1, 120) as u32;
            p.doubt_window_s = random.spread(1, 1_800) as u32;
            p.hold_default_s = random.spread(1, 600) as u32;
            p.validity_days = random.spread(1, 180) as u32;
            p.priority = random.between(1, 200) as u8;
            p.expired_refund = *random.pick(&[ExpiredRefund::Reinstate, ExpiredRefund::Forfeit, ExpiredRefund::PayOut]);
            p.guard_mode = *random.pick(&[GuardMode::Ask, GuardMode::Ask, GuardMode::Flag]);
            setup.push(Operation::Programme(p));
        }
        Self {
            random,
            features: plan.features.clone(),
            horizon_s: plan.horizon_s,
            setup,
            coupons: 0,
            issued: Vec::new(),
            earlier: Vec::new(),
            rules: 0,
        }
    }

    fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }

    /// The next wish of somebody whose clock shows `wall`; the office's, where `office` says so.
    pub(crate) fn next(&mut self, wall: Timestamp, office: bool) -> Intent {
        if office {
            return self.office(wall);
        }
        if self.has(Feature::Questions) && self.random.chance(60) {
            let id = self.any_account();
            return Intent::Ask(Call::question(KIND_BALANCE, id));
        }
        if self.has(Feature::Repeats) && self.random.chance(120) && !self.earlier.is_empty() {
            return Intent::Decide(self.again());
        }
        let mut attempt = self.attempt(AccountId::NONE, Operation::Fence, wall);
        attempt.operation = self.payment(&mut attempt);
        Intent::Decide(attempt)
    }

    /// Seconds of simulated time that the setup needs are nothing: it is the office's first wishes.
    pub(crate) fn is_setting_up(&self) -> bool {
        !self.setup.is_empty() || self.coupons < 3
    }

    fn office(&mut self, wall: Timestamp) -> Intent {
        if let Some(operation) = self.setup.pop() {
            return Intent::Decide(self.attempt(AccountId::NONE, operation, wall));
        }
        let programme = ProgrammeId::new(self.random.between(1, 2) as u32);
        match self.random.below(100) {
            0..70 => {}
            70..78 if self.has(Feature::Lives) => {
                let life = *self.random.pick(&[Life::Suspended, Life::Active, Life::Active, Life::Closed]);
                let operation = match self.random.below(4) {
                    0 => Operation::ShopLife { shop: shop(SHOPS[self.random.below(2) as usize]), life },
                    1 if life != Life::Closed => Operation::ProgrammeLife { programme, life },
                    _ => {
                        let id = self.any_account();
                        return Intent::Decide(self.attempt(id, Operation::AccountLife(life), wall));
                    }
                };
                return Intent::Decide(self.attempt(AccountId::NONE, operation, wall));
            }
            78..86 if self.has(Feature::Plans) => return Intent::Plan(self.correction(programme, wall)),
            86..90 if self.has(Feature::Orders) => {
                let order = BreakerOrder {
                    cause: self.random.below(6) as u8,
                    order: *self.random.pick(&[1, 2, 3, 4, 4]),
                    ms: 0,
                };
                let ms = if order.order == 4 { self.random.between(100, 3_000) as u32 } else { 0 };
                return Intent::Ask(Call::of(Ask::Breaker(BreakerOrder { ms, ..order })));
            }
            90..92 if self.has(Feature::Snapshots) => {
                return Intent::Ask(Call::of(Ask::Question(KIND_SNAPSHOT_TAKE)));
            }
            92..95 if self.has(Feature::Questions) => {
                let kind = *self.random.pick(&[KIND_DIGEST, KIND_SERVER_STATUS]);
                return Intent::Ask(Call::of(Ask::Question(kind)));
            }
            _ => {}
        }
        let amount = self.yen(20_000);
        let expires_at = match self.random.below(4) {
            0 => wall.plus_seconds(self.random.spread(2, 100_000)),
            _ => Timestamp::ZERO,
        };
        let kind = *self.random.pick(&[LotKind::Promo, LotKind::Paid]);
        if self.coupons >= 3 && self.random.chance(450) {
            let id = self.wallet();
            return Intent::Decide(self.attempt(id, Operation::Load { programme, amount, expires_at, kind }, wall));
        }
        self.coupons += 1;
        let id = account(&format!("C{}", self.coupons));
        let issue =
            Operation::Issue { programme, amount, expires_at, valid_from: Timestamp::ZERO, stay_end_day: 0, kind };
        Intent::Decide(self.attempt(id, issue, wall))
    }

    fn correction(&mut self, programme: ProgrammeId, wall: Timestamp) -> Attempt {
        let expires_at = wall.plus_seconds(self.random.spread(100, 10_000_000));
        if self.random.chance(500) {
            let amount = self.yen(1_000);
            let id = self.any_account();
            let reinstate =
                Operation::Reinstate { programme, amount, expires_at, corrects: Key::NONE, approval: approval(0) };
            return self.attempt(id, reinstate, wall);
        }
        self.rules += 1;
        let extension = Extension {
            rule: self.rules,
            programme,
            expiry_from: wall.minus_micros(100_000_000_000),
            expiry_before: wall.plus_seconds(1_000_000),
            expires_at,
            as_of: Position::ZERO,
            include_expired: self.random.chance(300),
        };
        self.attempt(AccountId::NONE, Operation::Extend { extension, approval: approval(0) }, wall)
    }

    fn yen(&mut self, most: u64) -> Amount {
        Amount::new(self.random.between(1, most)).expect("in range")
    }

    fn wallet(&mut self) -> AccountId {
        account(&format!("W{}", self.random.between(1, WALLETS)))
    }

    fn any_account(&mut self) -> AccountId {
        if !self.issued.is_empty() && self.random.chance(600) {
            let newest = self.issued.len() as u64;
            let back = self.random.below(newest.min(6)) + 1;
            return self.issued[(newest - back) as usize];
        }
        if self.random.chance(30) { account("X") } else { self.wallet() }
    }

    pub(crate) fn attempt(&mut self, account: AccountId, operation: Operation, wall: Timestamp) -> Attempt {
        let deadline = match self.random.below(10) {
            0..5 if self.has(Feature::ShortDeadlines) => Duration::from_millis(self.random.spread(10, 1_000)),
            0 => Duration::from_secs(30),
            _ => Duration::from_secs(8),
        };
        let made = if self.horizon_s < 100_000 && self.random.chance(20) {
            wall.minus_micros(u64::from(self.horizon_s) * 1_000_000 + self.random.below(400_000_000))
        } else {
            wall
        };
        let namespace = NamespaceId::new(if self.random.chance(900) { 1 } else { 2 });
        Attempt { account, key: Key::new(made, self.random.wide()), namespace, operation, deadline }
    }

    fn purchase(&mut self) -> Purchase {
        let most = if self.random.chance(100) { 60_000 } else { 3_000 };
        Purchase {
            shop: shop(SHOPS[if self.random.chance(30) { 4 } else { self.random.below(4) as usize }]),
            terminal: if self.random.chance(300) {
                TerminalId::from_text("T1").expect("short")
            } else {
                TerminalId::NONE
            },
            amount: self.yen(most),
            token: Position::ZERO,
            partial: self.random.chance(200),
        }
    }

    /// An earlier attempt of these kinds, if there is one.
    fn original(&mut self, kinds: &[u16], approved: bool) -> Option<Attempt> {
        for _ in 0..12 {
            if self.earlier.is_empty() {
                return None;
            }
            // The newest are the likeliest.
            let back = self.random.spread(1, self.earlier.len() as u64) as usize;
            let e = self.earlier[self.earlier.len() - back];
            if kinds.contains(&e.attempt.operation.kind()) && (e.approved || !approved) {
                return Some(e.attempt);
            }
        }
        None
    }

    fn payment(&mut self, attempt: &mut Attempt) -> Operation {
        attempt.account = self.any_account();
        let mut of = |me: &mut Self, kinds: &[u16], approved| {
            let original = me.original(kinds, approved)?;
            (attempt.account, attempt.namespace) = (original.account, original.namespace);
            Some(original)
        };
        match self.random.below(100) {
            0..8 if self.has(Feature::Holds) => {
                let seconds = if self.random.chance(500) { 0 } else { self.random.spread(1, 300) as u32 };
                return Operation::Hold { purchase: self.purchase(), seconds };
            }
            8..14 if self.has(Feature::Holds) => {
                if let Some(hold) = of(self, &[6], true) {
                    let original = hold.key;
                    return if self.random.chance(600) {
                        Operation::Capture { original, amount: 0 }
                    } else {
                        Operation::Void { original }
                    };
                }
            }
            14..22 if self.has(Feature::Confirms) => {
                let seconds = if self.random.chance(500) { 0 } else { self.random.spread(1, 60) as u32 };
                return Operation::DebitConfirmed { purchase: self.purchase(), seconds };
            }
            22..30 if self.has(Feature::Reversals) => {
                if let Some(original) = of(self, &[2, 3, 4, 5, 6], false) {
                    let remain = if self.random.chance(300) { self.random.below(500) } else { 0 };
                    return Operation::Reversal { original: original.key, remain };
                }
            }
            30..36 if self.has(Feature::Refunds) => {
                if let Some(original) = of(self, &[4, 5], true) {
                    return Operation::Refund { original: original.key, amount: self.yen(1_500) };
                }
            }
            36..44 if self.has(Feature::SecondPress) => {
                if let Some(original) = of(self, &[4], true) {
                    return original.operation;
                }
            }
            44..54 => {
                if let Some(coupon) = self.issued.last().copied() {
                    attempt.account = coupon;
                    let amount = if self.random.chance(700) { 0 } else { self.random.between(1, 5_000) };
                    return Operation::Charge { wallet: self.wallet(), amount };
                }
            }
            _ => {}
        }
        Operation::Debit(self.purchase())
    }

    /// An earlier attempt again, under its key; now and then with something else in it.
    fn again(&mut self) -> Attempt {
        let back = self.random.spread(1, self.earlier.len() as u64) as usize;
        let mut attempt = self.earlier[self.earlier.len() - back].attempt;
        if self.random.chance(100) {
            attempt.operation = Operation::Debit(self.purchase());
        }
        attempt
    }

    /// What came of an attempt; the wish that follows from it, if one does.
    pub(crate) fn learn(&mut self, attempt: &Attempt, outcome: &Outcome, wall: Timestamp) -> Option<Intent> {
        let approved = matches!(outcome, Outcome::Approved(_) | Outcome::Unconfirmed(_));
        if approved && matches!(attempt.operation, Operation::Issue { .. }) && !self.issued.contains(&attempt.account) {
            self.issued.push(attempt.account);
        }
        if self.earlier.len() == REMEMBERED {
            self.earlier.remove(0);
        }
        self.earlier.push(Earlier { attempt: *attempt, approved });
        match outcome {
            Outcome::Unconfirmed(d) if self.random.chance(800) => {
                let confirm = self.attempt(attempt.account, Operation::Confirm { original: attempt.key }, wall);
                let _: &Decided = d;
                Some(Intent::Decide(Attempt { namespace: attempt.namespace, ..confirm }))
            }
            Outcome::SuspectedDuplicate(d) if self.random.chance(600) => {
                let mut again = *attempt;
                if let Operation::Debit(p)
                | Operation::Hold { purchase: p, .. }
                | Operation::DebitConfirmed { purchase: p, .. } = &mut again.operation
                {
                    p.token = d.decision.related;
                }
                Some(Intent::Decide(again))
            }
            Outcome::NotExecuted { code, .. } if code.class() == Class::NotExecuted && self.random.chance(300) => {
                Some(Intent::Decide(*attempt))
            }
            _ => None,
        }
    }

    /// Instead of asking what became of an unknown outcome: it is to be undone, whatever it was.
    pub(crate) fn undo(&mut self, attempt: &Attempt, wall: Timestamp) -> Option<Intent> {
        if !matches!(attempt.operation.kind(), 4..=6) || !self.random.chance(400) {
            return None;
        }
        if self.has(Feature::Fences) && self.random.chance(500) {
            return Some(Intent::Decide(Attempt { operation: Operation::Fence, ..*attempt }));
        }
        if !self.has(Feature::Reversals) {
            return None;
        }
        let reversal = self.attempt(attempt.account, Operation::Reversal { original: attempt.key, remain: 0 }, wall);
        Some(Intent::Decide(Attempt { namespace: attempt.namespace, ..reversal }))
    }

    /// The call that plans a correction.
    pub(crate) fn plan_call(attempt: &Attempt) -> Call {
        Call { account: attempt.account, ..Call::of(Ask::Plan(attempt.operation)) }
    }

    /// The correction as it was planned.
    pub(crate) fn planned(attempt: &Attempt, digest: u64, position: u64) -> Attempt {
        let mut planned = *attempt;
        match &mut planned.operation {
            Operation::Extend { extension, approval } => {
                extension.as_of = Position::new(position);
                approval.plan = digest;
            }
            Operation::Reinstate { approval, .. } => approval.plan = digest,
            _ => {}
        }
        planned
    }

    /// A status of something earlier.
    pub(crate) fn status(&mut self) -> Option<Call> {
        let a = self.original(&[2, 3, 4, 5, 6], false)?;
        let question = Call::of(Ask::Question(KIND_STATUS));
        Some(Call { account: a.account, key: a.key, namespace: a.namespace, ..question })
    }
}
