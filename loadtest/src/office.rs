//! What the programme's office does during a run: it extends the cohort whose coupons expire, by plan and apply, and
//! afterwards it is looked at every coupon whether it was.

use crate::codes::is_refused;
use crate::seed::{DataSet, now};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tegata_client::{Link, LinkError};
use tegata_model::{AccountId, Approval, Extension, Key, Life, Operation, Position, ProgrammeId, Timestamp};
use tegata_wire::{
    AnswerBody, KIND_BALANCE, KIND_LIST_PROGRAMMES, RequestHeader, encode_operation, encode_plan, encode_request,
};

/// How long a server may refuse to answer because it is busy.
const BUSY_WITHIN: Duration = Duration::from_secs(60);
/// Before a server that is not there is asked again.
const AGAIN: Duration = Duration::from_millis(100);

fn name<const N: usize>(text: &str) -> [u8; N] {
    let mut b = [0; N];
    b[..text.len()].copy_from_slice(text.as_bytes());
    b
}

/// Extends every coupon that expires at `from` until `to`. Asks again, under the same key, until there is an answer or
/// `gives_up` says so. Returns how many lots the plan covered.
pub fn extend(
    operate: SocketAddr,
    data: &DataSet,
    from: Timestamp,
    to: Timestamp,
    gives_up: &dyn Fn() -> bool,
) -> Result<u64, String> {
    let extension = Extension {
        // A run makes one rule, and has a programme of its own.
        rule: data.programme,
        programme: ProgrammeId::new(data.programme),
        expiry_from: from,
        expiry_before: Timestamp::from_micros(from.micros() + 1),
        expires_at: to,
        as_of: Position::ZERO,
        include_expired: true,
    };
    let key = Key::new(now(), u128::from(to.micros() as u64) << 64 | u128::from(from.micros() as u64));
    loop {
        match once(operate, data, extension, key) {
            Ok(count) => return Ok(count),
            Err(LinkError::Unexpected(answer)) if !is_busy(&answer) => {
                return Err(format!("the extension was refused: {answer:?}"));
            }
            Err(e) if gives_up() => return Err(e.to_string()),
            Err(_) => std::thread::sleep(AGAIN),
        }
    }
}

/// The server refuses it for now.
fn is_busy(answer: &AnswerBody) -> bool {
    matches!(answer, AnswerBody::Decision(d) if is_refused(d.code))
}

fn once(operate: SocketAddr, data: &DataSet, extension: Extension, key: Key) -> Result<u64, LinkError> {
    let mut link = Link::open(operate, true)?;
    let approval =
        Approval { maker: name("sato"), approver: name("suzuki"), reason: name("outage"), incident: 224, plan: 0 };
    let mut out = Vec::new();
    let header = RequestHeader { namespace: data.namespace, deadline_ms: 30_000, ..RequestHeader::default() };
    encode_plan(&header, &Operation::Extend { extension, approval }, &mut out);
    link.send(&out)?;
    let plan = match link.receive()?.body {
        AnswerBody::Plan(plan) if plan.code == 0 => plan,
        other => return Err(LinkError::Unexpected(Box::new(other))),
    };
    out.clear();
    let extension = Extension { as_of: Position::new(plan.position), ..extension };
    let header = RequestHeader { key: *key.bytes(), account: *AccountId::NONE.bytes(), ..header };
    let approval = Approval { plan: plan.digest, ..approval };
    encode_operation(&header, &Operation::Extend { extension, approval }, &mut out);
    link.send(&out)?;
    match link.receive()?.body {
        AnswerBody::Decision(d) if d.code == 0 => Ok(plan.count),
        other => Err(LinkError::Unexpected(Box::new(other))),
    }
}

/// Suspends the programme, or resumes it. Returns where that was decided.
pub(crate) fn set_life(operate: SocketAddr, data: &DataSet, life: Life) -> Result<u64, LinkError> {
    let mut link = Link::open(operate, true)?;
    let key = Key::new(now(), u128::from(data.programme) << 64 | life as u128);
    let header = RequestHeader { namespace: data.namespace, key: *key.bytes(), ..RequestHeader::default() };
    let mut out = Vec::new();
    let operation = Operation::ProgrammeLife { programme: ProgrammeId::new(data.programme), life };
    encode_operation(&header, &operation, &mut out);
    link.send(&out)?;
    match link.receive()?.body {
        AnswerBody::Decision(d) if d.code == 0 => Ok(d.position),
        other => Err(LinkError::Unexpected(Box::new(other))),
    }
}

/// The programme's life, by its number.
pub(crate) fn life(operate: SocketAddr, data: &DataSet) -> Result<u8, LinkError> {
    let mut link = Link::open(operate, true)?;
    let mut out = Vec::new();
    encode_request(&RequestHeader { kind: KIND_LIST_PROGRAMMES, ..RequestHeader::default() }, &mut out);
    link.send(&out)?;
    match link.receive()?.body {
        AnswerBody::Programmes(list) => {
            let ours = list.programmes.iter().find(|(_, p)| p.id.get() == data.programme);
            ours.map(|(life, _)| *life).ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound).into())
        }
        other => Err(LinkError::Unexpected(Box::new(other))),
    }
}

/// How many coupons have value that expires at `at`.
pub fn coupons_until(operate: SocketAddr, data: &DataSet, at: Timestamp) -> Result<u64, LinkError> {
    let mut link = Link::open(operate, true)?;
    let credits = link.hello.credits.max(1);
    let mut found = 0;
    let mut left: Vec<u32> = (0..data.coupons).rev().collect();
    let mut out = Vec::new();
    let began = Instant::now();
    while !left.is_empty() {
        let some = left.split_off(left.len().saturating_sub(credits as usize));
        for n in &some {
            let (account, request_id) = (data.account_bytes(*n), u64::from(*n));
            let header = RequestHeader { kind: KIND_BALANCE, request_id, account, ..RequestHeader::default() };
            encode_request(&header, &mut out);
        }
        link.send(&out)?;
        out.clear();
        for _ in some {
            let answer = link.receive()?;
            match answer.body {
                AnswerBody::Balance(b) => found += u64::from(b.lots.iter().any(|l| l.expires_at == at.micros())),
                other if is_busy(&other) && began.elapsed() < BUSY_WITHIN => {
                    left.push(answer.header.request_id as u32);
                    std::thread::sleep(AGAIN);
                }
                other => return Err(LinkError::Unexpected(Box::new(other))),
            }
        }
    }
    Ok(found)
}
