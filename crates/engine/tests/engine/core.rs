//! An engine at a till: commands are written, encoded, applied as records, and the state is audited after each.

use tegata_engine::{AccountView, Applied, Effect, Engine, Sums};
use tegata_model::{
    AccountId, Amount, Approval, Code, Command, Envelope, GatewayId, Key, LotKind, NamespaceId, Operation, Position,
    Programme, ProgrammeId, Purchase, Settings, ShopId, TerminalId, Timestamp, encode,
};

/// 2026-11-24 00:00 in Japan.
pub const START: Timestamp = Timestamp::from_micros(1_795_446_000_000_000);
pub const SECOND: i64 = 1_000_000;
pub const DAY: u64 = 86_400;

/// `seconds` after [`START`].
pub fn after(seconds: u64) -> Timestamp {
    START.plus_seconds(seconds)
}

pub fn account(name: &str) -> AccountId {
    AccountId::from_text(name).expect("a short name")
}

pub fn shop(name: &str) -> ShopId {
    ShopId::from_text(name).expect("a short name")
}

pub fn yen(n: u64) -> Amount {
    Amount::new(n).expect("in range")
}

/// A key made at `at`.
pub fn key(at: Timestamp, n: u64) -> Key {
    Key::new(at, u128::from(n) << 72)
}

pub fn approval() -> Approval {
    Approval { maker: [b'm'; 16], approver: [b'a'; 16], reason: [0; 48], incident: 1, plan: 1 }
}

pub fn purchase(at_shop: &str, amount: u64) -> Purchase {
    Purchase {
        shop: shop(at_shop),
        terminal: TerminalId::NONE,
        amount: yen(amount),
        token: Position::ZERO,
        partial: false,
    }
}

pub fn debit(at_shop: &str, amount: u64) -> Operation {
    Operation::Debit(purchase(at_shop, amount))
}

pub fn hold(at_shop: &str, amount: u64, seconds: u32) -> Operation {
    Operation::Hold { purchase: purchase(at_shop, amount), seconds }
}

pub fn record(command: &Command) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(command, &mut bytes);
    bytes
}

pub struct Core {
    pub engine: Engine,
    pub at: Timestamp,
    pub position: u64,
    keys: u64,
}

impl Core {
    /// Programme 1 with defaults but a quiet guard, shops S1 and S2, at [`START`].
    pub fn new() -> Self {
        Self::with(|p| p.guard_window_s = 0)
    }

    /// The same with other rules for programme 1.
    pub fn with(change: impl FnOnce(&mut Programme)) -> Self {
        let mut core = Self { engine: Engine::new(4), at: START, position: 0, keys: 0 };
        // Nothing is in doubt unless a test says so.
        core.epoch(Settings { ack_s: 0, ..Settings::default() });
        core.programme(1, change);
        for name in ["S1", "S2"] {
            let shop = Operation::Shop { shop: shop(name), programme: ProgrammeId::NONE, name: [0; 48] };
            core.rule(shop);
        }
        core
    }

    pub fn programme(&mut self, id: u32, change: impl FnOnce(&mut Programme)) {
        let mut rules = Programme::with_defaults(ProgrammeId::new(id));
        change(&mut rules);
        self.rule(Operation::Programme(rules));
    }

    /// A start of the node after which everything so far counts as delivered.
    pub fn epoch(&mut self, settings: Settings) {
        self.rule(Operation::Epoch { delivered_to: Position::new(self.position), settings });
    }

    /// A command about no account; it must be approved.
    pub fn rule(&mut self, operation: Operation) {
        let applied = self.run("", operation);
        assert_eq!(applied.decision.code, Code::Approved, "{operation:?}");
    }

    pub fn next_key(&mut self) -> Key {
        self.keys += 1;
        key(self.at, self.keys)
    }

    pub fn envelope(&self, name: &str, key: Key) -> Envelope {
        Envelope {
            received_at: self.at,
            deadline: Timestamp::ZERO,
            namespace: NamespaceId::new(1),
            gateway: GatewayId::new(1),
            account: if name.is_empty() { AccountId::NONE } else { account(name) },
            key,
        }
    }

    /// Applies a command under a new key.
    pub fn run(&mut self, name: &str, operation: Operation) -> Applied {
        let key = self.next_key();
        self.under(name, key, operation)
    }

    /// Applies a command under this key.
    pub fn under(&mut self, name: &str, key: Key, operation: Operation) -> Applied {
        self.apply(self.envelope(name, key), operation)
    }

    pub fn apply(&mut self, envelope: Envelope, operation: Operation) -> Applied {
        self.position += 1;
        let bytes = record(&Command { envelope, operation });
        let applied = self.engine.apply(Position::new(self.position), self.at, &bytes).expect("a record");
        self.engine.audit().expect("books that balance");
        applied
    }

    /// Applies a command under a new key, checks its code, and hands the key back.
    pub fn expect(&mut self, name: &str, operation: Operation, code: Code) -> Key {
        let key = self.next_key();
        let applied = self.under(name, key, operation);
        assert_eq!(applied.decision.code, code, "{operation:?}");
        assert_eq!(applied.effect == Effect::Decided, code.is_recorded() || code == Code::Fenced, "{code:?}");
        key
    }

    /// Like [`Core::expect`], for what must be approved.
    pub fn ok(&mut self, name: &str, operation: Operation) -> Key {
        self.expect(name, operation, Code::Approved)
    }

    pub fn issue(&mut self, name: &str, amount: u64, expires_at: Timestamp) -> Key {
        self.ok(name, issue(1, amount, expires_at))
    }

    pub fn wait(&mut self, seconds: u64) {
        self.at = self.at.plus_seconds(seconds);
    }

    pub fn view(&self, name: &str) -> AccountView {
        self.engine.account(&account(name), self.at).expect("an account")
    }

    pub fn balance(&self, name: &str) -> u64 {
        self.view(name).balance
    }

    /// Yen of each lot that still holds value, oldest first.
    pub fn lots(&self, name: &str) -> Vec<u64> {
        self.view(name).lots.iter().map(|l| l.remaining).collect()
    }

    pub fn sums(&self) -> Sums {
        self.engine.sums()[0].1
    }
}

pub fn issue(programme: u32, amount: u64, expires_at: Timestamp) -> Operation {
    Operation::Issue {
        programme: ProgrammeId::new(programme),
        amount: yen(amount),
        expires_at,
        valid_from: Timestamp::ZERO,
        stay_end_day: 0,
        kind: LotKind::Promo,
    }
}

pub fn load(programme: u32, amount: u64, expires_at: Timestamp, kind: LotKind) -> Operation {
    Operation::Load { programme: ProgrammeId::new(programme), amount: yen(amount), expires_at, kind }
}
