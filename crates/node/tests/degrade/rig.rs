//! A node whose journal and clock go on when they are told to.

use std::cell::Cell;
use tegata_engine::Engine;
use tegata_model::{
    AccountId, Amount, Code, Command, Envelope, GatewayId, Key, NamespaceId, Operation, Position, Purchase, Settings,
    ShopId, TerminalId, Timestamp, encode, mix,
};
use tegata_node::{Carried, Cause, Inbound, Limits, Mode, Node, Order, Outbound, Question, Reply, Waiter};

const START: i64 = 1_700_000_000_000_000;

/// A node, and a clock that goes on when told.
pub(crate) struct Rig {
    pub(crate) node: Node,
    pub(crate) now: Cell<i64>,
    pub(crate) next: u64,
}

pub(crate) fn ms(n: i64) -> Timestamp {
    Timestamp::from_micros(START + n * 1_000)
}

pub(crate) fn purchase(yen: u64) -> Purchase {
    Purchase {
        shop: ShopId::from_text("SHOP1").expect("a shop"),
        terminal: TerminalId::NONE,
        amount: Amount::new(yen).expect("an amount"),
        token: Position::ZERO,
        partial: false,
    }
}

pub(crate) fn key(n: u64) -> Key {
    Key::new(ms(0), u128::from(mix(n, 1)) << 64 | u128::from(mix(n, 2)))
}

impl Rig {
    pub(crate) fn new(limits: Limits) -> Self {
        let mut rig = Self {
            node: Node::new(Engine::new(2), limits, Settings::default(), Carried::default(), ms(0)),
            now: Cell::new(0),
            next: 0,
        };
        rig.flush();
        rig
    }

    /// Sends; the answer is found under the number that this returns.
    pub(crate) fn send(&mut self, n: u64, deadline_ms: i64, operation: Operation) -> u64 {
        self.send_over(0, n, deadline_ms, operation)
    }

    pub(crate) fn send_over(&mut self, gateway: u32, n: u64, deadline_ms: i64, operation: Operation) -> u64 {
        let (record, number) = self.record(gateway, n, deadline_ms, operation);
        self.bundle(record, vec![number]);
        number
    }

    pub(crate) fn bundle(&mut self, records: Vec<u8>, numbers: Vec<u64>) {
        let waiters = numbers.into_iter().map(|request| Waiter { connection: 1, request }).collect();
        self.node.accept(0, Inbound { records, waiters, ..Inbound::default() }, ms(self.now.get()));
    }

    pub(crate) fn unlooked(&mut self, unlooked: Vec<u8>, numbers: &[u64]) {
        let unlooked_waiters = numbers.iter().map(|request| Waiter { connection: 1, request: *request }).collect();
        let bundle = Inbound { unlooked, unlooked_waiters, ..Inbound::default() };
        let back = self.node.accept(0, bundle, ms(self.now.get()));
        assert!(back.is_empty() && back.unlooked.is_empty());
    }

    /// The refusal that was given as a reply, last; the answers go on waiting.
    pub(crate) fn reply(&mut self) -> Option<(u64, Code)> {
        let mut out = self.node.take_outbound(0, Outbound::default())?;
        let last = out.replies.drain(..).next_back();
        self.node.put_back(0, out);
        match last {
            Some((waiter, Reply::Refused { decision, .. })) => Some((waiter.request, decision.code)),
            _ => None,
        }
    }

    pub(crate) fn record(&mut self, gateway: u32, n: u64, deadline_ms: i64, operation: Operation) -> (Vec<u8>, u64) {
        let now = self.now.get();
        let envelope = Envelope {
            received_at: ms(now),
            deadline: ms(now + deadline_ms),
            gateway: GatewayId::new(gateway),
            namespace: NamespaceId::new(1),
            account: AccountId::from_text("C1").expect("an account"),
            key: key(n),
        };
        let mut records = Vec::new();
        encode(&Command { envelope, operation }, &mut records);
        self.next += 1;
        (records, self.next)
    }

    pub(crate) fn debit(&mut self, n: u64, deadline_ms: i64) -> u64 {
        self.send(n, deadline_ms, Operation::Debit(purchase(100 + n)))
    }

    /// Time goes on, in the steps that a core makes.
    pub(crate) fn pass(&mut self, until_ms: i64) {
        while self.now.get() < until_ms {
            self.now.set((self.now.get() + 10).min(until_ms));
            self.node.look(ms(self.now.get()), false);
            self.node.pass_time(ms(self.now.get()));
        }
    }

    pub(crate) fn seal(&mut self) -> u64 {
        self.node.seal(ms(self.now.get())).map_or(0, |s| s.first_position + u64::from(s.count) - 1)
    }

    pub(crate) fn durable(&mut self, position: u64) {
        self.node.durable(position);
        while self.node.apply_some(1_000) {}
    }

    pub(crate) fn flush(&mut self) {
        let last = self.seal();
        if last > 0 {
            self.durable(last);
        }
    }

    pub(crate) fn codes(&mut self) -> Vec<(u64, Code)> {
        let out = self.node.take_outbound(0, Outbound::default()).unwrap_or_default();
        let mut codes: Vec<_> = out
            .answers
            .iter()
            .filter(|a| a.waiter.connection != 0)
            .map(|a| (a.waiter.request, a.decision.code))
            .collect();
        codes.sort_unstable_by_key(|c| c.0);
        codes
    }

    pub(crate) fn ask(&mut self, question: Question) -> Reply {
        let waiter = Waiter { connection: 1, request: 0 };
        let questions = vec![(waiter, question)];
        self.node.accept(0, Inbound { questions, ..Inbound::default() }, ms(self.now.get()));
        let out = self.node.take_outbound(0, Outbound::default()).expect("an answer");
        out.replies.into_iter().next_back().expect("a reply").1
    }
}

/// The queue stands, and nothing of what is sent fits into a batch until it is sealed.
pub(crate) fn crowded(batch_bytes_max: usize) -> Rig {
    let mut rig = Rig::new(Limits { batch_bytes_max, ..Limits::default() });
    rig.ask(Question::Order(Cause::QueueDelay, Order::Open));
    assert_eq!(rig.node.mode(), Mode::Brownout);
    rig.flush();
    rig
}

pub(crate) type Log = Vec<(u64, u32, i64, [u8; 64], Vec<u8>)>;

/// What a node has to say goes to the log.
pub(crate) fn seal_into(log: &mut Log, node: &mut Node) {
    let sealed = node.seal(ms(20)).expect("a mark");
    log.push((sealed.first_position, sealed.count, sealed.at_us, sealed.margin, sealed.body.to_vec()));
}

pub(crate) fn started_from(log: &Log) -> Node {
    let mut replay = tegata_node::Replay::new(Engine::new(2), Carried::default());
    for (first, count, at_us, margin, body) in log {
        replay.batch(*first, *count, *at_us, margin, body, |_, _, _, _| {}).expect("it replays");
    }
    let (engine, carried) = replay.finish();
    Node::new(engine, Limits::default(), Settings::default(), carried, ms(20))
}
