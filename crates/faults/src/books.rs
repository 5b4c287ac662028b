//! The callers' ledger against the server's: what was answered is there once, as it was answered; what was refused is not;
//! nobody has less than nothing; and each account's history could have happened one operation after the other.

use crate::linear::{self, Call, Event, Saw};
use crate::load::{Ledger, Said, Sent, What};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use tegata_load::Link;
use tegata_model::Code;
use tegata_server::history;
use tegata_wire::{AnswerBody, FLAG_REFUSED, FLAG_REPLAYED, HistoryQuery, KIND_BALANCE, RequestHeader, encode_request};

/// The kind of a debit's record.
const DEBIT: u16 = 4;

/// What was compared, and agreed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Agreed {
    pub(crate) operations: usize,
    pub(crate) approved: u64,
    pub(crate) declined: u64,
    /// Refused each time, and rightly nowhere.
    pub(crate) given_up: u64,
    pub(crate) repeats: u64,
    pub(crate) reads: u64,
}

impl core::fmt::Display for Agreed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "{} operations, {} approved, {} declined, {} refused for good, {} repeats equal, {} reads, linearizable; lost 0, \
             doubled 0, negative 0",
            self.operations, self.approved, self.declined, self.given_up, self.repeats, self.reads
        )
    }
}

fn decided(s: &Sent) -> Option<tegata_wire::DecisionBody> {
    match s.answer {
        Some((_, Said::Decision(d))) => Some(d),
        _ => None,
    }
}

/// Balances over the operators' port; the position up to which the server is.
pub(crate) fn balances(operate: SocketAddr, ledger: &Ledger) -> Result<u64, String> {
    let text = |e: tegata_load::LinkError| e.to_string();
    let mut expected = vec![i128::from(ledger.data.balance); ledger.data.wallets as usize];
    for s in &ledger.sent {
        if decided(s).is_some_and(|d| d.code == 0) {
            expected[s.account as usize] += match s.what {
                What::Debit(n) => -i128::from(n),
                What::Load(n) | What::Reverse(_, n) => i128::from(n),
                What::Look => 0,
            };
        }
    }
    let mut link = Link::open(operate, true).map_err(text)?;
    for (n, expected) in expected.iter().enumerate() {
        let account = *ledger.data.account(n as u32).bytes();
        let mut out = Vec::new();
        encode_request(&RequestHeader { kind: KIND_BALANCE, account, ..RequestHeader::default() }, &mut out);
        link.send(&out).map_err(text)?;
        match link.receive().map_err(text)?.body {
            AnswerBody::Balance(b) if i128::from(b.balance) == *expected => {}
            AnswerBody::Balance(b) => {
                return Err(format!("account {n} has {} yen; the callers' ledger says {expected}", b.balance));
            }
            other => return Err(format!("not a balance: {other:?}")),
        }
    }
    Ok(Link::open(operate, true).map_err(text)?.hello.position)
}

/// The journal of a server that has ended, replayed from its start.
pub(crate) fn journal(data: &Path, up_to: u64, ledger: &Ledger) -> Result<Agreed, String> {
    let asked = ledger.sent.iter().filter(|s| s.what != What::Look);
    let mut by_key: HashMap<[u8; 16], &Sent> = asked.map(|s| (*s.key.bytes(), s)).collect();
    let mut agreed = Agreed { operations: ledger.sent.len(), repeats: ledger.repeats, ..Agreed::default() };
    let mut wrong = None;
    let read =
        history::read(
            data,
            &HistoryQuery::default(),
            up_to,
            &mut |body| {
                // A request that met its own decision in flight is in the log twice and decided once.
                for e in body.entries.iter().filter(|e| e.flags & (FLAG_REPLAYED | FLAG_REFUSED) == 0) {
                    match by_key.remove(&e.key) {
                        None if e.kind == DEBIT => {
                            wrong = Some(format!("a debit that nobody sent, or a second one: {e:?}"))
                        }
                        None => {}
                        Some(s) if s.given_up => wrong = Some(format!("refused each time, and decided: {e:?}")),
                        Some(s) => match decided(s) {
                            Some(d) if (e.code, e.amount, e.position) == (d.code, d.amount, d.position) => {
                                if d.code == 0 { agreed.approved += 1 } else { agreed.declined += 1 }
                            }
                            d => wrong = Some(format!("decided {e:?}, and answered {d:?}")),
                        },
                    }
                }
                Ok(())
            },
            &|| false,
        );
    read.map_err(|e| format!("the journal does not replay: {e}"))?;
    if let Some(wrong) = wrong {
        return Err(wrong);
    }
    agreed.given_up = by_key.values().filter(|s| s.given_up).count() as u64;
    match by_key.values().find(|s| !s.given_up) {
        Some(lost) => Err(format!("lost: {lost:?}")),
        None => Ok(agreed),
    }
}

fn event(s: &Sent) -> Event {
    let call = match s.what {
        What::Debit(n) => Call::Take(n),
        What::Load(n) | What::Reverse(_, n) => Call::Give(n),
        What::Look => Call::Read,
    };
    let saw = |said| match said {
        Said::Balance(n) => Saw::Value(n),
        Said::Decision(d) if d.code == 0 => Saw::Done(d.balance),
        Said::Decision(d) if d.code == u16::from(Code::InsufficientFunds.number()) => Saw::Short,
        Said::Decision(_) => Saw::Nothing,
    };
    let nothing = s.given_up.then_some((u64::MAX, Saw::Nothing));
    Event { invoked: s.invoked, call, answer: s.answer.map(|(at, said)| (at, saw(said))).or(nothing) }
}

/// Each account's history by itself: an operation touches one.
pub(crate) fn linearizable(ledger: &Ledger) -> Result<u64, String> {
    let mut of_account = vec![Vec::new(); ledger.data.wallets as usize];
    for s in &ledger.sent {
        of_account[s.account as usize].push(event(s));
    }
    for (n, history) in of_account.iter().enumerate() {
        linear::check(ledger.data.balance, history)
            .map_err(|e| format!("account {n}, {} operations: not linearizable: {e:?}", history.len()))?;
    }
    Ok(ledger.sent.iter().filter(|s| matches!(s.answer, Some((_, Said::Balance(_))))).count() as u64)
}
