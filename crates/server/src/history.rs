//! Decisions in log order: the journal is read and replayed through a second engine, on a thread of its own, and what
//! matches is streamed to the operator. The running engine is not asked.

use crate::Shared;
use crate::connection::Connection;
use crate::io::Hub;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tegata_drive::oldest_state;
use tegata_engine::{Applied, Effect, Engine};
use tegata_journal::{OpenError, ReadError, be_modest, read_log, read_store};
use tegata_model::{Code, Command, Decision, Operation, Position, State, Timestamp, decode};
use tegata_node::ReplayError;
use tegata_sync::Mark;
use tegata_wire::{self as wire, HistoryBody, HistoryEntry, HistoryQuery};
use tokio::sync::{mpsc, oneshot};

/// Bytes of entries in one frame.
const FRAME_ENTRIES_BYTES: usize = 48 << 10;
/// Frames that may wait for a slow reader; then the replay waits.
const FRAMES_WAITING: usize = 16;
/// Histories at once, of all operators together: each is a replay of the log with an engine of its own.
const HISTORIES_MAX: usize = 2;
/// Told to whoever asks for one more, in ms.
const RETRY_AFTER_MS: u32 = 1_000;

/// Why a history ended early.
#[derive(Debug)]
pub enum HistoryError {
    /// The log could not be read or replayed.
    Log(ReadError<ReplayError>),
    /// Whoever asked is gone.
    Gone,
}

impl core::fmt::Display for HistoryError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Log(e) => e.fmt(f),
            Self::Gone => f.write_str("whoever asked is gone"),
        }
    }
}

impl std::error::Error for HistoryError {}

/// Starts a stream of answers to one history request.
pub(crate) fn start(hub: Rc<Hub>, c: Rc<Connection>, request: u64, query: HistoryQuery) {
    let (send, mut frames) = mpsc::channel::<HistoryBody>(FRAMES_WAITING);
    let (end, ended) = oneshot::channel();
    let dir = hub.shared.config.data.clone();
    let up_to = hub.shared.positions.get(Mark::Durable);
    let worker = Turn::take(&hub.shared).map(|turn| {
        let work = move || {
            be_modest();
            let mut give = |body| send.blocking_send(body).map_err(|_| HistoryError::Gone);
            let read = read(&dir, &query, up_to, &mut give, &|| send.is_closed());
            drop(turn);
            // Whoever asked may be gone.
            let _ = end.send(read);
        };
        std::thread::Builder::new().name("history".into()).spawn(work)
    });
    let idle = Duration::from_millis(u64::from(hub.shared.config.idle_ms));
    tokio::task::spawn_local(async move {
        let Some(Ok(_)) = worker else {
            refuse(&c, request, Decision::refusal(Code::Overloaded, Timestamp::ZERO));
            c.answered();
            return c.flush();
        };
        while let Some(body) = frames.recv().await {
            wire::encode_answer(&mut c.out.borrow_mut(), wire::KIND_HISTORY, wire::FLAG_MORE, request, &body);
            c.flush();
            // Whoever takes nothing for as long as one may be idle is gone: two of them would end histories for all.
            while c.backlog_bytes() > 0 && !c.broken.get() {
                let taken = tokio::time::timeout(idle, c.stream.writable()).await;
                if !matches!(taken, Ok(Ok(()))) {
                    c.broken.set(true);
                }
                c.flush();
            }
            if c.broken.get() {
                // The worker sees that nobody takes its frames. It is not waited for: others are served on this thread.
                c.answered();
                return c.end.notify_one();
            }
        }
        match ended.await {
            Ok(Ok(up_to)) => {
                let last = HistoryBody { up_to, entries: Vec::new() };
                wire::encode_answer(&mut c.out.borrow_mut(), wire::KIND_HISTORY, 0, request, &last);
            }
            Ok(Err(HistoryError::Log(ReadError::Journal(OpenError::Dropped { first })))) => {
                let refusal = Decision::refusal(Code::LogDropped, Timestamp::ZERO);
                refuse(&c, request, Decision { related: Position::new(first), ..refusal });
            }
            _ => refuse(&c, request, Decision::refusal(Code::Unknown, Timestamp::ZERO)),
        }
        c.answered();
        c.flush();
    });
}

/// One of the histories that may run.
struct Turn(Arc<Shared>);

impl Turn {
    fn take(shared: &Arc<Shared>) -> Option<Self> {
        let another = |n| (n < HISTORIES_MAX).then_some(n + 1);
        let turn = shared.histories.fetch_update(Ordering::Relaxed, Ordering::Relaxed, another);
        turn.is_ok().then(|| Self(Arc::clone(shared)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.histories.fetch_sub(1, Ordering::Relaxed);
    }
}

fn refuse(c: &Connection, request: u64, decision: Decision) {
    let retry_after_ms = if decision.code == Code::Overloaded { RETRY_AFTER_MS } else { 0 };
    let body = wire::DecisionBody::of(&decision, State::Final, retry_after_ms);
    wire::encode_decision_answer(&mut c.out.borrow_mut(), wire::KIND_HISTORY, wire::FLAG_REFUSED, 0, request, &body);
}

/// Why the log is read no further.
enum Stop {
    /// It does not replay.
    Replay(ReplayError),
    /// The limit is reached, or whoever asked is gone.
    Enough,
}

/// Reads the decisions of a data folder that match, up to a durable position. Returns the position up to which all that
/// matches was given: that of the last entry, where the limit ended it.
/// Where the first position asked for was dropped from the archive, nothing is read, and the error says where it begins.
/// `is_gone` is asked after every batch: whoever waits for what nothing matches is noticed only so.
pub fn read(
    dir: &Path,
    query: &HistoryQuery,
    up_to: u64,
    give: &mut dyn FnMut(HistoryBody) -> Result<(), HistoryError>,
    is_gone: &dyn Fn() -> bool,
) -> Result<u64, HistoryError> {
    let of_log = |e| HistoryError::Log(ReadError::Journal(e));
    let (store, ..) = read_store(dir).map_err(of_log)?;
    let (mut replay, behind) = oldest_state(dir, &store, 1).map_err(of_log)?;
    // Whoever asks by time for what was logged later misses nothing.
    if behind > 0 && query.from <= behind && query.from_us <= replay.engine().at().micros() {
        return Err(of_log(OpenError::Dropped { first: behind + 1 }));
    }
    let mut body = HistoryBody::default();
    let mut bytes = 0;
    let mut left = if query.limit == 0 { u64::MAX } else { u64::from(query.limit) };
    let (mut gone, mut last_given) = (false, 0);
    let result = read_log(dir, behind, Some(up_to), &mut |b| {
        replay
            .batch(b.first_position, b.count, b.at_us, b.margin, b.body, |engine, position, record, applied| {
                if left == 0 || gone || position.get() < query.from || applied.effect == Effect::Noted {
                    return;
                }
                let Some(entry) = entry(engine, position, b.at_us, record, applied).filter(|e| matches(query, e))
                else {
                    return;
                };
                left -= 1;
                last_given = position.get();
                bytes += entry.bytes();
                body.entries.push(entry);
                if bytes >= FRAME_ENTRIES_BYTES {
                    body.up_to = position.get();
                    bytes = 0;
                    gone = give(std::mem::take(&mut body)).is_err();
                }
            })
            .map_err(Stop::Replay)?;
        gone |= is_gone();
        if left == 0 || gone { Err(Stop::Enough) } else { Ok(()) }
    });
    let last = match result {
        Ok(last) => last,
        Err(ReadError::Consumer(Stop::Enough)) => last_given,
        Err(ReadError::Consumer(Stop::Replay(e))) => return Err(HistoryError::Log(ReadError::Consumer(e))),
        Err(ReadError::Journal(e)) => return Err(of_log(e)),
    };
    if gone {
        return Err(HistoryError::Gone);
    }
    if !body.entries.is_empty() {
        body.up_to = last;
        give(body)?;
    }
    Ok(last)
}

fn matches(q: &HistoryQuery, e: &HistoryEntry) -> bool {
    let any = |filter: &[u8; 16], value: &[u8; 16]| *filter == [0; 16] || filter == value;
    let to_office = e.flags & (wire::FLAG_OVER_LEASE | wire::FLAG_BESIDE) != 0;
    let told = e.kind == Operation::ADVICE && e.flags & (wire::FLAG_REPLAYED | wire::FLAG_REFUSED) == 0;
    let only = match q.only {
        wire::ONLY_ADVICES => told,
        wire::ONLY_FOR_OFFICE => told && to_office,
        _ => true,
    };
    only && any(&q.account, &e.account)
        && any(&q.shop, &e.shop)
        && any(&q.key, &e.key)
        && (q.from_us == 0 || e.at >= q.from_us)
        && (q.before_us == 0 || e.at < q.before_us)
}

fn entry(engine: &Engine, position: Position, at_us: i64, record: &[u8], applied: &Applied) -> Option<HistoryEntry> {
    let Command { envelope: e, operation } = decode(record).ok()?;
    let d = &applied.decision;
    let mut flags = 0;
    if applied.effect == Effect::Replayed {
        flags |= wire::FLAG_REPLAYED;
    }
    if applied.flagged {
        flags |= wire::FLAG_FLAGGED;
    }
    if applied.effect == Effect::NotRecorded {
        flags |= wire::FLAG_REFUSED;
    }
    if applied.effect == Effect::Decided && operation.kind() == Operation::ADVICE {
        let marks = engine.advice_marks(position);
        flags |= if marks.over_lease { wire::FLAG_OVER_LEASE } else { 0 };
        flags |= if marks.beside { wire::FLAG_BESIDE } else { 0 };
    }
    let mut entry = HistoryEntry {
        kind: operation.kind(),
        code: u16::from(d.code.number()),
        flags,
        position: position.get(),
        at: at_us,
        received_at: e.received_at.micros(),
        namespace: e.namespace.get(),
        gateway: e.gateway.get(),
        account: *e.account.bytes(),
        key: *e.key.bytes(),
        amount: d.amount.get(),
        balance: d.balance.get(),
        related: d.related.get(),
        deadline: e.deadline.micros(),
        lots: engine.last_lots().iter().map(|t| (t.lot, t.amount)).collect(),
        ..HistoryEntry::default()
    };
    describe(&operation, &mut entry);
    Some(entry)
}

fn describe(operation: &Operation, e: &mut HistoryEntry) {
    match operation {
        Operation::Debit(p) | Operation::DebitConfirmed { purchase: p, .. } | Operation::Hold { purchase: p, .. } => {
            (e.shop, e.terminal, e.asked) = (*p.shop.bytes(), *p.terminal.bytes(), p.amount.get());
        }
        Operation::Advice(a) => {
            let p = &a.purchase;
            (e.shop, e.terminal, e.asked) = (*p.shop.bytes(), *p.terminal.bytes(), p.amount.get());
            (e.lease, e.approved_at) = (a.lease.get(), a.approved_at.micros());
        }
        Operation::Lease { allowance, .. } => e.asked = allowance.total_max,
        Operation::Issue { amount, .. } | Operation::Load { amount, .. } => e.asked = amount.get(),
        Operation::Charge { wallet, amount } => (e.other, e.asked) = (*wallet.bytes(), *amount),
        Operation::Capture { original, amount } => (e.other, e.asked) = (*original.bytes(), *amount),
        Operation::Reversal { original, remain } => (e.other, e.asked) = (*original.bytes(), *remain),
        Operation::Refund { original, amount } => (e.other, e.asked) = (*original.bytes(), amount.get()),
        Operation::Void { original } | Operation::Confirm { original } => e.other = *original.bytes(),
        Operation::Reinstate { amount, corrects, approval, .. } => {
            (e.other, e.asked, e.approval) = (*corrects.bytes(), amount.get(), Some(*approval));
        }
        Operation::Extend { approval, .. } => e.approval = Some(*approval),
        Operation::Shop { shop, .. } | Operation::ShopLife { shop, .. } => e.shop = *shop.bytes(),
        _ => {}
    }
}
