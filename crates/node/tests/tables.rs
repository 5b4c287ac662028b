//! What the node does where a table is at its limit: who is still served, what is refused, and how it ends.

use tegata_engine::{Counts, Engine};
use tegata_model::{
    AccountId, Amount, Code, Command, Envelope, ExpiredRefund, Key, LotKind, NamespaceId, Operation, Position,
    Programme, ProgrammeId, Purchase, Settings, ShopId, TerminalId, Timestamp, encode,
};
use tegata_node::{Carried, Cause, Inbound, Limits, Mode, Node, Outbound, Waiter};

use Code::{AccountUnknown, Approved, Conflict, Fenced, MemoryLimit};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

fn ms(n: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + n * 1_000)
}

fn yen(n: u64) -> Amount {
    Amount::new(n).expect("an amount")
}

fn account(name: &str) -> AccountId {
    AccountId::from_text(name).expect("an account")
}

fn shop() -> ShopId {
    ShopId::from_text("SHOP1").expect("a shop")
}

fn debit(n: u64) -> Operation {
    let terminal = TerminalId::NONE;
    Operation::Debit(Purchase { shop: shop(), terminal, amount: yen(n), token: Position::ZERO, partial: false })
}

fn issue(n: u64) -> Operation {
    let (programme, kind) = (ProgrammeId::new(1), LotKind::Promo);
    let (expires_at, valid_from) = (Timestamp::ZERO, Timestamp::ZERO);
    Operation::Issue { programme, amount: yen(n), expires_at, valid_from, stay_end_day: 0, kind }
}

/// Value that ends at an hour.
fn load(n: u64, hour: i64) -> Operation {
    let (programme, kind) = (ProgrammeId::new(1), LotKind::Promo);
    Operation::Load { programme, amount: yen(n), expires_at: ms(hour * HOUR), kind }
}

/// A node with a programme and a shop, whose journal is quick.
struct Rig {
    node: Node,
    now: i64,
    asked: u64,
}

impl Rig {
    fn new(limits: Limits) -> Self {
        let node = Node::new(Engine::new(2), limits, Settings::default(), Carried::default(), ms(0));
        let mut rig = Self { node, now: 0, asked: 0 };
        let mut programme = Programme { guard_window_s: 0, ..Programme::with_defaults(ProgrammeId::new(1)) };
        programme.expired_refund = ExpiredRefund::Reinstate;
        let shop = Operation::Shop { shop: shop(), programme: ProgrammeId::NONE, name: [0; 48] };
        assert_eq!(rig.tell("C1", Operation::Programme(programme)), Approved);
        assert_eq!(rig.tell("C1", shop), Approved);
        rig
    }

    /// The key of a request by its number: of this month.
    fn key(&self, n: u64) -> Key {
        Key::new(ms(self.now - self.now % (30 * DAY)), u128::from(n) << 72)
    }

    fn flush(&mut self) {
        while self.node.has_work() {
            let sealed = self.node.seal(ms(self.now)).expect("it has work");
            let last = sealed.first_position + u64::from(sealed.count) - 1;
            self.node.durable(last);
            while self.node.apply_some(100) {}
        }
    }

    /// What a new request is told, and the node looks at itself; its key has the number of requests so far.
    fn tell(&mut self, name: &str, operation: Operation) -> Code {
        self.asked += 1;
        let code = self.tell_under(self.key(self.asked), name, operation);
        self.pass(self.now + 10);
        code
    }

    fn tell_under(&mut self, key: Key, name: &str, operation: Operation) -> Code {
        let (received_at, namespace) = (ms(self.now), NamespaceId::new(1));
        let envelope = Envelope { received_at, namespace, account: account(name), key, ..Envelope::default() };
        let mut bundle = Inbound::default();
        encode(&Command { envelope, operation }, &mut bundle.records);
        bundle.waiters.push(Waiter { connection: 1, request: 0 });
        self.node.accept(0, bundle, ms(self.now));
        self.flush();
        let out = self.node.take_outbound(0, Outbound::default()).expect("an answer");
        let answer = out.answers.last().expect("an answer");
        let code = answer.decision.code;
        // Whoever came back within the second would only be refused again.
        let again = if code == MemoryLimit { 60_000..=90_000 } else { 0..=0 };
        assert!(again.contains(&answer.retry_after_ms), "{answer:?}");
        code
    }

    /// Time goes on, in the steps that a core makes.
    fn pass(&mut self, until_ms: i64) {
        while self.now < until_ms {
            self.now += 10;
            self.node.look(ms(self.now), false);
            self.node.pass_time(ms(self.now));
        }
    }

    fn counts(&self) -> Counts {
        self.node.engine().counts()
    }
}

/// What fills a table of 32 and no more, or its reserve of two as well.
type Fill = fn(&mut Rig, bool);

fn fill_decisions(rig: &mut Rig, reserve_too: bool) {
    while rig.counts().decisions < 32 {
        assert_eq!(rig.tell("C9", debit(100)), AccountUnknown);
    }
    if reserve_too {
        assert_eq!([rig.tell("C9", Operation::Fence), rig.tell("C9", Operation::Fence)], [Fenced; 2]);
    }
}

fn fill_allocations(rig: &mut Rig, reserve_too: bool) {
    // What is taken from the account's first lot alone needs no allocation; what ends first is taken first.
    assert_eq!([rig.tell("C1", load(1, 1_000)), rig.tell("C1", load(1_000_000, 2_000))], [Approved; 2]);
    assert_eq!(rig.tell("C1", debit(2)), Approved);
    while rig.counts().allocations < 32 - u64::from(reserve_too) {
        let n = rig.counts().allocations;
        assert_eq!(rig.tell("C1", debit(100 + n)), Approved);
    }
    if reserve_too {
        assert_eq!([rig.tell("C1", load(1, 1_000)), rig.tell("C1", load(1, 1_000))], [Approved; 2]);
        assert_eq!(rig.tell("C1", debit(999)), Approved);
    }
}

#[test]
fn a_full_table_of_decisions_or_allocations_ends_by_itself_once_keys_are_past_their_horizon() {
    let default = Limits::default();
    let decisions = (Limits { decisions_max: 32, ..default }, fill_decisions as Fill);
    let allocations = (Limits { allocations_max: 32, ..default }, fill_allocations as Fill);
    for ((limits, fill), reserve_too) in
        [(decisions, false), (decisions, true), (allocations, false), (allocations, true)]
    {
        let mut rig = Rig::new(limits);
        fill(&mut rig, reserve_too);
        let (full, level) = if reserve_too { (Mode::Halted, 1_062) } else { (Mode::ReadOnly, 1_000) };
        let levels = rig.node.facts().levels;
        assert_eq!((rig.node.mode(), levels[Cause::Memory as usize]), (full, level));
        assert_eq!([rig.tell("C1", debit(7)), rig.tell("C1", issue(7))], [MemoryLimit; 2]);
        let known = rig.key(1);
        assert_eq!(rig.tell_under(known, "C1", debit(7)), Conflict, "that key is decided");
        assert_eq!(rig.tell("C9", Operation::Fence), if reserve_too { MemoryLimit } else { Fenced });
        let kept = rig.counts();
        rig.pass(rig.now + HOUR);
        rig.flush();
        assert_eq!((rig.node.mode(), rig.counts()), (full, kept), "all are known");
        // A month; the horizon is a week.
        rig.now = 30 * DAY;
        rig.pass(rig.now + 10);
        assert_eq!(rig.counts(), kept, "the log does not say yet that so long has passed");
        rig.flush();
        rig.pass(rig.now + 60_000);
        assert_eq!((rig.node.mode(), rig.counts().decisions, rig.counts().allocations), (Mode::Normal, 0, 0));
    }
}

#[test]
fn at_the_limit_of_allocations_what_ends_something_is_taken_to_the_end_of_the_reserve_before_anybody_looks() {
    let mut rig = Rig::new(Limits { allocations_max: 32, ..Limits::default() });
    assert_eq!([rig.tell("C1", load(1, 1_000)), rig.tell("C1", load(1_000_000, 2_000))], [Approved; 2]);
    assert_eq!(rig.tell("C1", debit(2)), Approved);
    // A coupon's plain payment has no allocation before it is reversed.
    assert_eq!(rig.tell("C2", issue(10_000)), Approved);
    let paid = [1, 2, 3].map(|n| (rig.tell("C2", debit(n)), rig.key(rig.asked)).1);
    let mut told = |n, name, operation| rig.tell_under(rig.key(100 + n), name, operation);
    for n in 0..30 {
        assert_eq!(told(n, "C1", debit(100 + n)), Approved, "{n}");
    }
    assert_eq!(told(30, "C1", debit(7)), MemoryLimit);
    let mut undo = |n, original| told(n, "C2", Operation::Reversal { original, remain: 0 });
    assert_eq!((undo(31, paid[0]), undo(32, paid[1]), undo(33, paid[2])), (Approved, Approved, MemoryLimit));
}

#[test]
fn where_no_account_is_left_payments_go_on() {
    let mut rig = Rig::new(Limits { accounts_max: 1, ..Limits::default() });
    let told = [rig.tell("C1", issue(10_000)), rig.tell("C1", debit(5)), rig.tell("C2", issue(10_000))];
    assert_eq!(told, [Approved, Approved, MemoryLimit]);
    assert_eq!(rig.node.mode(), Mode::Normal);
}

#[test]
fn where_no_lot_is_left_what_adds_value_is_refused_and_payments_and_what_gives_back_go_on() {
    let mut rig = Rig::new(Limits { lots_max: 16, ..Limits::default() });
    assert_eq!(rig.tell("C1", issue(10_000)), Approved);
    // The first lot of a wallet is its account's own. All of them end before a payment of them is given back.
    for n in 0..17 {
        assert_eq!(rig.tell("W1", load(1_000, 2)), Approved, "{n}");
    }
    let loaded = rig.key(rig.asked);
    assert_eq!(rig.counts().lots, 16);
    let charge = Operation::Charge { wallet: account("W1"), amount: 0 };
    let adds = [rig.tell("W1", load(1_000, 2)), rig.tell("C1", charge), rig.tell("C2", issue(10_000))];
    assert_eq!(adds, [MemoryLimit; 3]);
    assert_eq!(rig.tell_under(loaded, "W1", load(1_000, 2)), Approved, "a decided key is answered");
    let mut paid = Vec::new();
    for amount in [1_500, 1_501, 1_502] {
        assert_eq!(rig.tell("W1", debit(amount)), Approved, "a payment takes lots and makes none");
        paid.push(rig.key(rig.asked));
    }
    assert_eq!(rig.node.mode(), Mode::Normal);
    rig.now = 3 * HOUR;
    // A lot that has ended is given back as a new one, from the reserve, until that is used up.
    let refund = |n: usize| Operation::Refund { original: paid[n], amount: yen(10) };
    assert_eq!((rig.tell("W1", refund(0)), rig.counts().lots), (Approved, 17));
    assert_eq!((rig.tell("W1", refund(1)), rig.counts().lots), (MemoryLimit, 17));
    let reversal = Operation::Reversal { original: paid[2], remain: 0 };
    assert_eq!((rig.tell("W1", reversal), rig.counts().lots), (Approved, 17), "to the lots that it came from");
    assert_eq!(rig.tell("C1", debit(300)), Approved);
}

#[test]
fn a_full_table_of_lots_has_room_again_once_spent_ones_are_given_back() {
    let mut rig = Rig::new(Limits { lots_max: 16, ..Limits::default() });
    for n in 0..17 {
        assert_eq!(rig.tell("W1", load(1_000, 2_000)), Approved, "{n}");
    }
    let pay = |rig: &mut Rig, amount| {
        assert_eq!(rig.tell("W1", debit(amount)), Approved);
        let original = rig.key(rig.asked);
        assert_eq!(rig.tell("W1", Operation::Refund { original, amount: yen(1) }), Approved);
        rig.tell("W1", load(1_000, 2_000))
    };
    assert_eq!(pay(&mut rig, 15_500), MemoryLimit, "what a payment took may come back");
    (rig.now, rig.asked) = (30 * DAY, 0);
    assert_eq!(pay(&mut rig, 100), Approved);
}

#[test]
fn a_node_that_starts_with_lower_limits_than_its_tables_hold_makes_nothing_more() {
    let mut rig = Rig::new(Limits::default());
    for n in 0..9 {
        assert_eq!(rig.tell("W1", load(1_000, 2_000)), Approved, "{n}");
    }
    let limits = [
        Limits { accounts_max: 1, ..Limits::default() },
        Limits { lots_max: 8, ..Limits::default() },
        Limits { decisions_max: 8, ..Limits::default() },
    ];
    for limits in limits {
        let engine = rig.node.engine().clone();
        let node = Node::new(engine, limits, Settings::default(), Carried::default(), ms(rig.now));
        let mut again = Rig { node, now: rig.now, asked: rig.asked };
        // This comes before anything of the new start is applied.
        assert_eq!(again.tell("W1", load(1_000, 2_000)), MemoryLimit, "{limits:?}");
    }
}
