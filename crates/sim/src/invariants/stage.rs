//! Histories in a few words, for the tests that see each invariant fail.

use super::Invariant;
use crate::history::{Event, Place, Scope};
use tegata_engine::{Applied, Effect};
use tegata_model::{
    AccountId, Amount, Code, Command, Decision, Envelope, Key, NamespaceId, Operation, Position, Purchase, ShopId,
    TerminalId, Timestamp, Yen,
};

pub(super) fn scope(n: u64) -> Scope {
    let account = AccountId::from_text("C1").expect("a name");
    let key = Key::new(Timestamp::from_micros(1_000_000), u128::from(n) << 72);
    Scope { namespace: NamespaceId::new(1), account, key }
}

pub(super) fn place(request: u64) -> Place {
    Place { connection: 1, request }
}

pub(super) fn debit(yen: u64) -> Operation {
    let shop = ShopId::from_text("S1").expect("a name");
    let amount = Amount::new(yen).expect("in range");
    Operation::Debit(Purchase { shop, terminal: TerminalId::NONE, amount, token: Position::ZERO, partial: false })
}

pub(super) fn load(yen: u64) -> Operation {
    Operation::Load {
        programme: tegata_model::ProgrammeId::new(1),
        amount: Amount::new(yen).expect("in range"),
        expires_at: Timestamp::ZERO,
        kind: tegata_model::LotKind::Promo,
    }
}

pub(super) fn decision(code: Code, yen: u64, position: u64) -> Decision {
    let refusal = Decision::refusal(code, Timestamp::from_micros(2_000_000));
    Decision { amount: Yen::new(yen), position: Position::new(position), ..refusal }
}

/// A record that is decided, with its deadline in µs (0: none) and its logged time.
pub(super) struct Record {
    pub(super) command: Command,
    pub(super) applied: Applied,
    pub(super) at: i64,
}

pub(super) fn record(n: u64, operation: Operation, decision: Decision) -> Record {
    let s = scope(n);
    let envelope = Envelope { namespace: s.namespace, account: s.account, key: s.key, ..Envelope::default() };
    let applied = Applied { decision, effect: Effect::Decided, flagged: false };
    Record { command: Command { envelope, operation }, applied, at: 2_000_000 }
}

impl Record {
    pub(super) fn seen(&self) -> Event<'_> {
        Event::Decided {
            position: self.applied.decision.position,
            at: Timestamp::from_micros(self.at),
            command: &self.command,
            applied: &self.applied,
            expected: &self.applied,
        }
    }
}

/// The last of these events is the violation, and all before it are none.
pub(super) fn only_the_last_is_bad(mut invariant: impl Invariant, events: &[Event<'_>]) {
    let (last, before) = events.split_last().expect("some");
    for event in before {
        assert_eq!(invariant.see(event), Ok(()), "{event:?}");
    }
    assert!(invariant.see(last).is_err(), "{last:?}");
}
