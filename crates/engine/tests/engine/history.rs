//! Random histories from a seed: few accounts, shops, amounts and keys, so that commands meet each other all the time.

mod operations;

use crate::core::{START, account, shop};
use tegata_engine::Applied;
use tegata_model::{
    AccountId, Allowance, Code, Command, Envelope, ExpiredRefund, GatewayId, GuardMode, Key, NamespaceId, Operation,
    Position, Programme, ProgrammeId, Settings, Timestamp,
};

/// The splitmix64 sequence.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn percent(&mut self, n: u64) -> bool {
        self.below(100) < n
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

const WALLETS: [&str; 4] = ["W1", "W2", "W3", "W4"];
pub const SHOPS: [&str; 4] = ["S1", "S2", "S3", "S4"];

// Numbers of record kinds.
const ISSUE: u16 = 1;
const LOAD: u16 = 2;
const CHARGE: u16 = 3;
const DEBIT: u16 = 4;
const DEBIT_CONFIRMED: u16 = 5;
const HOLD: u16 = 6;
const CAPTURE: u16 = 7;
const CONFIRM: u16 = 9;

const FENCE: u16 = 12;
const ADVICE: u16 = 25;

/// What programmes 1 and 2 lease at most.
const STAND_IN: Allowance =
    Allowance { payment_max: 1_500, account_max: 2_000, shop_max: 4_000, total_max: 9_000, seconds: 900 };

/// A position, a logged time and the command there.
pub type Step = (Position, Timestamp, Command);

pub struct History {
    random: Random,
    at: Timestamp,
    position: u64,
    setup: Vec<Operation>,
    settings: Settings,
    /// Nearly all loads are a yen or two.
    drizzle: bool,
    /// Coupons so far; only the last few are in use.
    coupons: u64,
    sent: Vec<Command>,
    /// Instants at which something ends: time likes to stop there exactly.
    edges: Vec<Timestamp>,
    /// Keys that a reversal named before anything was sent under them.
    early: Vec<Envelope>,
    /// What the guard asked about, with the token.
    asked: Vec<Command>,
    /// Leases that were granted.
    leases: Vec<(ProgrammeId, Position)>,
}

fn programme(id: u32, change: impl FnOnce(&mut Programme)) -> Operation {
    let mut rules = Programme { validity_days: 0, refund_days: 0, ..Programme::with_defaults(ProgrammeId::new(id)) };
    change(&mut rules);
    Operation::Programme(rules)
}

impl History {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let settings = Settings { rules: 1, horizon_s: random.pick(&[1_800, 7_200]), skew_s: 60, ack_s: 5 };
        let mut setup = vec![
            Operation::Epoch { delivered_to: Position::ZERO, settings },
            programme(1, |p| {
                p.guard_window_s = 20;
                p.stand_in = STAND_IN;
            }),
            programme(2, |p| {
                p.guard_mode = GuardMode::Flag;
                p.expired_refund = ExpiredRefund::Forfeit;
                p.any_shop = false;
                p.priority = 50;
                p.payment_max = 2_500;
                p.stand_in = STAND_IN;
            }),
            programme(3, |p| {
                p.guard_mode = GuardMode::Flag;
                p.expired_refund = ExpiredRefund::PayOut;
                p.balance_max = 6_000;
                p.zone_minutes = -150;
            }),
        ];
        for (name, programme) in SHOPS.into_iter().zip([0, 2, 0, 3]) {
            setup.push(Operation::Shop { shop: shop(name), programme: ProgrammeId::new(programme), name: [0; 48] });
        }
        setup.reverse();
        Self {
            random,
            at: START,
            position: 0,
            setup,
            settings,
            drizzle: seed % 6 == 5,
            coupons: 0,
            sent: Vec::new(),
            edges: Vec::new(),
            early: Vec::new(),
            asked: Vec::new(),
            leases: Vec::new(),
        }
    }

    /// The next command.
    pub fn step(&mut self) -> Step {
        self.position += if self.random.percent(5) { 3 } else { 1 };
        let command = match self.setup.pop() {
            Some(operation) => Command { envelope: self.envelope(AccountId::NONE), operation },
            None => {
                self.pass_time();
                self.command()
            }
        };
        if self.sent.len() == 40 {
            let n = self.random.below(40) as usize;
            self.sent.remove(n);
        }
        self.sent.push(command);
        self.note_edge(&command.operation);
        (Position::new(self.position), self.at, command)
    }

    /// What the answer teaches: a question of the guard is answered with its token.
    pub fn learn(&mut self, step: &Step, answer: &Applied) {
        let token = answer.decision.related;
        if answer.decision.code == Code::Approved
            && let Operation::Lease { programme, .. } = step.2.operation
        {
            self.leases.push((programme, step.0));
        }
        let mut command = step.2;
        if answer.decision.code == Code::SuspectedDuplicate
            && let Operation::Debit(p)
            | Operation::Hold { purchase: p, .. }
            | Operation::DebitConfirmed { purchase: p, .. } = &mut command.operation
        {
            p.token = token;
            self.asked.push(command);
        }
    }

    fn note_edge(&mut self, operation: &Operation) {
        let edge = match operation {
            Operation::Issue { expires_at, .. } | Operation::Load { expires_at, .. } => *expires_at,
            Operation::Hold { seconds, .. } | Operation::DebitConfirmed { seconds, .. } => {
                self.at.plus_seconds(u64::from(*seconds))
            }
            Operation::Debit(_) => self.at.plus_seconds(self.random.pick(&[5, 20, 120, 1_800])),
            Operation::Extend { extension, .. } => extension.expires_at,
            _ => return,
        };
        if self.edges.len() == 24 {
            self.edges.remove(0);
        }
        self.edges.push(edge);
    }

    fn pass_time(&mut self) {
        let soon = self.at.micros()..=self.at.plus_seconds(4_000).micros();
        let coming = self.edges.iter().filter(|t| soon.contains(&t.micros())).min();
        if let Some(edge) = coming.copied()
            && self.random.percent(3)
        {
            self.at = edge;
            return;
        }
        let most = match self.random.below(1_000) {
            0..800 => 1,
            800..930 => 20,
            930..985 => 130,
            985..998 => 1_500,
            _ => 30_000,
        };
        let micros = self.random.below(most * 1_000_000);
        // Whole milliseconds are as fine as keys are: their limits are met exactly.
        let at = self.at.micros() + if self.random.percent(30) { 0 } else { micros as i64 / 1_000 * 1_000 };
        self.at = Timestamp::from_micros(at);
    }

    fn sometime(&mut self, around: Timestamp, seconds: u64) -> Timestamp {
        let us = self.random.below(2 * seconds * 1_000_000 + 1) as i64 - (seconds * 1_000_000) as i64;
        Timestamp::from_micros(around.micros() + us / 1_000 * 1_000)
    }

    fn key(&mut self) -> Key {
        let (horizon, skew) = (u64::from(self.settings.horizon_s), u64::from(self.settings.skew_s));
        let made = match self.random.below(100) {
            0..80 => self.at,
            80..88 => self.sometime(self.at, 30),
            88..92 => self.at.minus_micros(self.random.below(horizon + 30) * 1_000_000),
            92..94 => self.at.minus_micros(horizon * 1_000_000),
            94..96 => self.at.plus_seconds(skew),
            96 => self.at.minus_micros(horizon * 1_000_000 + 1_000),
            97 => self.at.plus_seconds(skew).plus_millis(1),
            98 => return Key::from_bytes([0x11; 16]),
            _ => self.sometime(self.at, horizon),
        };
        Key::new(made, u128::from(self.random.next()) << 64)
    }

    fn envelope(&mut self, account: AccountId) -> Envelope {
        let deadline = match self.random.below(100) {
            0..85 => Timestamp::ZERO,
            85..95 => self.at.plus_seconds(8),
            95..98 => self.at,
            _ => self.at.minus_micros(1),
        };
        let received_at = match self.random.below(10) {
            0..7 => self.at,
            7..9 => self.at.minus_micros(self.random.below(60_000_000)),
            _ => self.at.plus_seconds(5),
        };
        let key = self.key();
        let namespace = NamespaceId::new(if self.random.percent(90) { 1 } else { 2 });
        Envelope { received_at, deadline, namespace, gateway: GatewayId::new(1), account, key }
    }

    fn command(&mut self) -> Command {
        if self.random.percent(40)
            && let Some(command) = self.asked.pop()
        {
            return command;
        }
        match self.random.below(100) {
            0..8 => return self.again(),
            8..12 if !self.early.is_empty() => {
                let envelope = self.early.swap_remove(self.random.below(self.early.len() as u64) as usize);
                let operation = self.operation(&mut envelope.clone());
                return Command { envelope, operation };
            }
            12..19 => return self.press_again(),
            _ => {}
        }
        let mut envelope = self.envelope(AccountId::NONE);
        let operation = self.operation(&mut envelope);
        Command { envelope, operation }
    }

    /// A purchase like an earlier one under a new key.
    fn press_again(&mut self) -> Command {
        let mut envelope = self.envelope(AccountId::NONE);
        let key = envelope.key;
        self.original(&mut envelope, &[DEBIT, DEBIT_CONFIRMED, HOLD]);
        let earlier = self.sent.iter().rev().find(|c| c.envelope.account == envelope.account);
        let operation = match earlier.map(|c| c.operation) {
            Some(Operation::Debit(p)) => Operation::Debit(p),
            Some(Operation::Advice(a)) => Operation::Debit(a.purchase),
            Some(Operation::Hold { purchase, .. }) => Operation::Hold { purchase, seconds: self.seconds() },
            Some(Operation::DebitConfirmed { purchase, .. }) if self.random.percent(50) => Operation::Debit(purchase),
            _ => self.operation(&mut envelope),
        };
        Command { envelope: Envelope { key, ..envelope }, operation }
    }

    /// An earlier command as it was, with other words, or with another content under its key.
    fn again(&mut self) -> Command {
        let n = self.random.below(self.sent.len() as u64) as usize;
        let mut command = self.sent[n];
        match self.random.below(4) {
            0 => command.envelope.received_at = self.at,
            1 => command.envelope.deadline = self.at.plus_seconds(1),
            2 if self.random.percent(60)
                && let Operation::Advice(a) = command.operation =>
            {
                command.operation = Operation::Debit(a.purchase);
            }
            2 => command.operation = self.operation(&mut command.envelope.clone()),
            _ => {}
        }
        command
    }

    /// The account, namespace and key of something that was sent, of one of these kinds if a few looks find one; now
    /// and then of nothing.
    fn original(&mut self, envelope: &mut Envelope, kinds: &[u16]) -> Key {
        let mut n = 0;
        for _ in 0..self.random.below(8) + 1 {
            n = self.random.below(self.sent.len() as u64) as usize;
            if kinds.contains(&self.sent[n].operation.kind()) {
                break;
            }
        }
        let of = self.sent[n].envelope;
        envelope.account = of.account;
        envelope.namespace = of.namespace;
        if self.random.percent(8) {
            let early = self.envelope(of.account);
            envelope.namespace = early.namespace;
            self.early.push(early);
            return early.key;
        }
        of.key
    }

    fn any_coupon(&mut self) -> AccountId {
        let newest = self.coupons.saturating_sub(self.random.below(5));
        account(&format!("C{newest}"))
    }

    fn any_account(&mut self) -> AccountId {
        match self.random.below(100) {
            0..45 => self.any_coupon(),
            45..98 => account(self.random.pick(&WALLETS)),
            98 => account("X"),
            _ => AccountId::NONE,
        }
    }
}
