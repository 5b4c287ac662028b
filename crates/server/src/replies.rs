//! Answers to questions as frames.

use crate::Shared;
use crate::connection::Connection;
use std::sync::atomic::Ordering;
use tegata_model::{Class, Code, Decision, State, Timestamp};
use tegata_node::{BreakerFacts, Reply, ServerFacts};
use tegata_wire::{
    self as wire, BalanceBody, BreakerBody, BreakersBody, DigestBody, LOTS_MAX, LotBody, PlanBody, ProgrammesBody,
    ServerBody, ShopBody, ShopsBody, SnapshotBody, SumsBody,
};

/// Entries that one frame of a list holds.
const PAGE: usize = 400;

/// A list in frames, each with the flags that say whether another follows. An empty list is one empty frame.
fn pages<T>(list: &[T]) -> impl Iterator<Item = (&[T], u16)> {
    let count = list.len().div_ceil(PAGE).max(1);
    (0..count).map(move |i| {
        let page = &list[i * PAGE..list.len().min((i + 1) * PAGE)];
        (page, if i + 1 < count { wire::FLAG_MORE } else { 0 })
    })
}

/// Appends the frames of a reply.
pub(crate) fn put(c: &Connection, request: u64, reply: &Reply, shared: &Shared, at: Timestamp, out: &mut Vec<u8>) {
    match reply {
        Reply::Status { decided: Some((decision, state)), .. } => {
            // A caller that acknowledges this knows of the decision.
            let position = (decision.code.class() == Class::Approved).then_some(decision.position.get());
            let number = c.delivery.borrow_mut().answered(position, true, at);
            let body = wire::DecisionBody::of(decision, *state, 0);
            wire::encode_decision_answer(out, wire::KIND_STATUS, wire::FLAG_REPLAYED, number, request, &body);
        }
        Reply::Status { decided: None, undecided } => {
            let body = wire::DecisionBody::of(&Decision::refusal(*undecided, Timestamp::ZERO), State::Final, 0);
            wire::encode_decision_answer(out, wire::KIND_STATUS, 0, 0, request, &body);
        }
        Reply::Refused { kind, decision } => {
            wire::encode_decision_answer(out, *kind, 0, 0, request, &wire::DecisionBody::of(decision, State::Final, 0));
        }
        Reply::Balance { position, account } => {
            let body = match account {
                None => BalanceBody {
                    code: u16::from(Code::AccountUnknown.number()),
                    position: position.get(),
                    ..BalanceBody::default()
                },
                Some(a) => BalanceBody {
                    code: 0,
                    life: a.life as u8,
                    wallet: u8::from(a.wallet),
                    balance: a.balance,
                    held: a.held,
                    position: position.get(),
                    lot_count: a.lots.len() as u64,
                    lots: a.lots.iter().take(LOTS_MAX).map(lot).collect(),
                },
            };
            wire::encode_answer(out, wire::KIND_BALANCE, 0, request, &body);
        }
        Reply::Extension(p) => wire::encode_answer(out, wire::KIND_PLAN_EXTEND, 0, request, &plan(p)),
        Reply::Reinstatement(p) => wire::encode_answer(out, wire::KIND_PLAN_REINSTATE, 0, request, &plan(p)),
        Reply::Digest { position, digest, sums } => {
            for (sums, flags) in pages(sums) {
                let programmes = sums.iter().map(|(id, s)| SumsBody {
                    programme: id.get(),
                    sums: [
                        s.issued,
                        s.charged,
                        s.reinstated,
                        s.balances,
                        s.spent,
                        s.returned,
                        s.expired,
                        s.paid_out,
                        s.shortfall,
                    ],
                });
                let body = DigestBody { position: position.get(), digest: *digest, programmes: programmes.collect() };
                wire::encode_answer(out, wire::KIND_DIGEST, flags, request, &body);
            }
        }
        Reply::Programmes(list) => {
            for (list, flags) in pages(list) {
                let programmes = list.iter().map(|p| (p.life as u8, p.rules)).collect();
                wire::encode_answer(out, wire::KIND_LIST_PROGRAMMES, flags, request, &ProgrammesBody { programmes });
            }
        }
        Reply::Shops(list, next) => {
            let shops = list.iter().map(|s| ShopBody {
                id: *s.id.bytes(),
                programme: s.programme.get(),
                life: s.life as u8,
                name: s.name,
            });
            let body = ShopsBody { next: *next, shops: shops.collect() };
            wire::encode_answer(out, wire::KIND_LIST_SHOPS, 0, request, &body);
        }
        Reply::Server(facts) => {
            wire::encode_answer(out, wire::KIND_SERVER_STATUS, 0, request, &server(facts, shared));
        }
        Reply::Snapshot { started, position } => {
            let body = SnapshotBody { started: *started, position: position.get() };
            wire::encode_answer(out, wire::KIND_SNAPSHOT_TAKE, 0, request, &body);
        }
        Reply::Breakers { ordered, mode, breakers } => {
            let kind = if *ordered { wire::KIND_BREAKER_ORDER } else { wire::KIND_BREAKERS };
            let breakers = breakers.iter().map(breaker).collect();
            wire::encode_answer(out, kind, 0, request, &BreakersBody { mode: u64::from(mode.number()), breakers });
        }
        Reply::NotNow { kind, code, retry_after_ms } => {
            let body = wire::DecisionBody::of(&Decision::refusal(*code, at), State::Final, *retry_after_ms);
            wire::encode_decision_answer(out, *kind, wire::FLAG_REFUSED, 0, request, &body);
        }
    }
}

fn breaker(b: &BreakerFacts) -> BreakerBody {
    BreakerBody {
        cause: b.cause as u8,
        state: b.state as u8,
        stage: b.stage as u8,
        since: b.since.micros(),
        level: b.level,
        open_at: if b.open_at == u64::MAX { 0 } else { b.open_at },
        drill_until: b.drill_until.map_or(0, Timestamp::micros),
        entered: b.entered,
    }
}

fn plan(p: &tegata_engine::Plan) -> PlanBody {
    PlanBody { code: 0, count: p.count, sum: p.sum, digest: p.digest, position: p.position.get() }
}

fn lot(l: &tegata_engine::LotView) -> LotBody {
    LotBody {
        id: l.id,
        remaining: l.remaining,
        expires_at: l.expires_at.micros(),
        valid_from: l.valid_from.micros(),
        programme: l.programme.get(),
        paid: u8::from(l.paid),
    }
}

fn server(f: &ServerFacts, shared: &Shared) -> ServerBody {
    let mut version = [0; 16];
    let text = env!("CARGO_PKG_VERSION").as_bytes();
    let n = text.len().min(version.len());
    version[..n].copy_from_slice(&text[..n]);
    ServerBody {
        mode: u64::from(f.mode.number()),
        uptime_ms: u64::try_from(shared.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        accepted: f.accepted,
        submitted: f.submitted,
        durable: f.durable,
        applied: f.applied,
        delivered: f.delivered,
        accounts: f.counts.accounts,
        decisions: f.counts.decisions,
        table_bytes: f.table_bytes,
        connections: shared.connections.load(Ordering::Relaxed) as u64,
        in_flight: f.in_flight,
        flush_us: shared.flush_us,
        version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_goes_out_whole_and_its_last_frame_says_so() {
        for count in [0, 1, PAGE, PAGE + 1, 1_024] {
            let list: Vec<usize> = (0..count).collect();
            let frames: Vec<_> = pages(&list).collect();
            assert_eq!(frames.iter().flat_map(|(page, _)| page.iter().copied()).collect::<Vec<_>>(), list);
            assert!(frames.iter().all(|(page, _)| page.len() <= PAGE));
            let more: Vec<bool> = frames.iter().map(|(_, flags)| *flags == wire::FLAG_MORE).collect();
            assert_eq!(more.iter().rposition(|m| !m), Some(frames.len() - 1), "{count}");
            assert_eq!(more.iter().filter(|m| !**m).count(), 1, "{count}");
        }
    }
}
