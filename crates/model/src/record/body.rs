//! What follows a record's header, by its kind.

use super::RecordError;
use crate::bytes::{Reader, Writer};
use crate::*;

/// Bytes of a programme's rules wherever they are listed.
pub const PROGRAMME_BYTES: usize = 144;
/// Bytes of them without stand-in.
const PROGRAMME_BYTES_PLAIN: usize = 98;
/// Bytes of the caps of a lease.
const ALLOWANCE_BYTES: usize = 40;

/// Appends the body of an operation.
pub(crate) fn encode_body(operation: &Operation, w: &mut Writer<'_>) {
    match operation {
        Operation::Issue { programme, amount, expires_at, valid_from, stay_end_day, kind } => {
            w.u32(programme.get()).u16(*stay_end_day).u8(*kind as u8).u8(0);
            w.u64(amount.get()).i64(expires_at.micros()).i64(valid_from.micros());
        }
        Operation::Load { programme, amount, expires_at, kind } => {
            w.u32(programme.get()).u16(0).u8(*kind as u8).u8(0).u64(amount.get()).i64(expires_at.micros());
        }
        Operation::Charge { wallet, amount } => {
            w.bytes(wallet.bytes()).u64(*amount);
        }
        Operation::Debit(p) => put_purchase(p, 0, w),
        Operation::DebitConfirmed { purchase, seconds } | Operation::Hold { purchase, seconds } => {
            put_purchase(purchase, *seconds, w);
        }
        Operation::Capture { original, amount } => {
            w.bytes(original.bytes()).u64(*amount);
        }
        Operation::Void { original } | Operation::Confirm { original } => {
            w.bytes(original.bytes());
        }
        Operation::Reversal { original, remain } => {
            w.bytes(original.bytes()).u64(*remain);
        }
        Operation::Refund { original, amount } => {
            w.bytes(original.bytes()).u64(amount.get());
        }
        Operation::Fence => {}
        Operation::Reinstate { programme, amount, expires_at, corrects, approval } => {
            w.u32(programme.get()).u32(0).u64(amount.get()).i64(expires_at.micros()).bytes(corrects.bytes());
            put_approval(approval, w);
        }
        Operation::Extend { extension: x, approval } => {
            w.u32(x.rule).u32(x.programme.get()).i64(x.expiry_from.micros()).i64(x.expiry_before.micros());
            w.i64(x.expires_at.micros()).u64(x.as_of.get()).u64(u64::from(x.include_expired));
            put_approval(approval, w);
        }
        Operation::AccountLife(life) => {
            w.u8(*life as u8);
        }
        Operation::ShopLife { shop, life } => {
            w.bytes(shop.bytes()).u8(*life as u8);
        }
        Operation::ProgrammeLife { programme, life } => {
            w.u32(programme.get()).u8(*life as u8);
        }
        Operation::Programme(p) => {
            let mut body = Vec::with_capacity(PROGRAMME_BYTES);
            put_programme(p, &mut Writer::new(&mut body));
            // As it was before there was stand-in: logs and callers that know nothing of it stay as they are.
            let written = if p.stand_in == Allowance::NONE { PROGRAMME_BYTES_PLAIN } else { PROGRAMME_BYTES };
            w.bytes(&body[..written]);
        }
        Operation::Shop { shop, programme, name } => {
            w.bytes(shop.bytes()).u32(programme.get()).u32(0).bytes(name);
        }
        Operation::Undelivered(list) | Operation::Delivered(list) => {
            w.u64(u64::from(list.count));
            list.as_slice().iter().for_each(|p| {
                w.u64(*p);
            });
        }
        Operation::Epoch { delivered_to, settings: s } => {
            w.u64(delivered_to.get()).u32(s.rules).u32(s.horizon_s).u32(s.skew_s).u32(s.ack_s);
        }
        Operation::Mark(mark) => {
            w.u8(*mark as u8);
        }
        Operation::Lease { programme, holder, allowance } => {
            w.u32(programme.get()).u32(0).bytes(holder);
            put_allowance(allowance, w);
        }
        Operation::Advice(a) => {
            put_purchase(&a.purchase, 0, w);
            w.u32(a.programme.get()).u32(0).u64(a.lease.get()).i64(a.approved_at.micros());
        }
    }
}

fn put_purchase(p: &Purchase, seconds: u32, w: &mut Writer<'_>) {
    w.bytes(p.shop.bytes()).bytes(p.terminal.bytes()).u64(p.amount.get()).u64(p.token.get());
    w.u32(seconds).u32(u32::from(p.partial));
}

/// Appends who answers for a correction.
pub fn put_approval(a: &Approval, w: &mut Writer<'_>) {
    w.bytes(&a.maker).bytes(&a.approver).bytes(&a.reason).u32(a.incident).u32(0).u64(a.plan);
}

/// Appends a programme's rules, [`PROGRAMME_BYTES`]; its record leaves zeros at the end out.
pub fn put_programme(p: &Programme, w: &mut Writer<'_>) {
    w.u32(p.id.get()).u32(p.guard_window_s).bytes(&p.name).u64(p.payment_max).u64(p.balance_max);
    w.u32(p.doubt_window_s).u32(p.hold_default_s).u32(p.hold_max_s).u32(p.refund_days).u32(p.validity_days);
    w.u16(p.zone_minutes as u16)
        .u8(p.priority)
        .u8(p.expired_refund as u8)
        .u8(p.guard_mode as u8)
        .u8(u8::from(p.any_shop))
        .bytes(&[0; PROGRAMME_BYTES - ALLOWANCE_BYTES - PROGRAMME_BYTES_PLAIN]);
    put_allowance(&p.stand_in, w);
}

/// Appends caps: four numbers of 8 bytes, the seconds, and four bytes of zero.
pub fn put_allowance(a: &Allowance, w: &mut Writer<'_>) {
    w.u64(a.payment_max).u64(a.account_max).u64(a.shop_max).u64(a.total_max).u32(a.seconds).u32(0);
}

pub(super) fn decode_body(kind: u16, r: &mut Reader<'_>) -> Result<Operation, RecordError> {
    Ok(match kind {
        1 => {
            let (programme, stay_end_day, kind) = (ProgrammeId::new(r.u32()?), r.u16()?, lot_kind(r.u8()?)?);
            zero(r.u8()?)?;
            let (amount, expires_at, valid_from) = (amount(r)?, time(r)?, time(r)?);
            Operation::Issue { programme, amount, expires_at, valid_from, stay_end_day, kind }
        }
        2 => {
            let (programme, pad, kind) = (ProgrammeId::new(r.u32()?), r.u16()?, lot_kind(r.u8()?)?);
            zero(pad as u8 | (pad >> 8) as u8 | r.u8()?)?;
            Operation::Load { programme, amount: amount(r)?, expires_at: time(r)?, kind }
        }
        3 => Operation::Charge {
            wallet: AccountId::from_bytes(r.array()?).map_err(|_| RecordError::Field { name: "wallet" })?,
            amount: yen(r)?,
        },
        4 => match get_purchase(r)? {
            (purchase, 0) => Operation::Debit(purchase),
            _ => return Err(RecordError::Field { name: "seconds" }),
        },
        5 => {
            let (purchase, seconds) = get_purchase(r)?;
            Operation::DebitConfirmed { purchase, seconds }
        }
        6 => {
            let (purchase, seconds) = get_purchase(r)?;
            Operation::Hold { purchase, seconds }
        }
        7 => Operation::Capture { original: key(r)?, amount: yen(r)? },
        8 => Operation::Void { original: key(r)? },
        9 => Operation::Confirm { original: key(r)? },
        10 => Operation::Reversal { original: key(r)?, remain: yen(r)? },
        11 => Operation::Refund { original: key(r)?, amount: amount(r)? },
        12 => Operation::Fence,
        13 => {
            let programme = ProgrammeId::new(r.u32()?);
            if r.u32()? != 0 {
                return Err(RecordError::Reserved);
            }
            let (amount, expires_at, corrects) = (amount(r)?, time(r)?, key(r)?);
            Operation::Reinstate { programme, amount, expires_at, corrects, approval: get_approval(r)? }
        }
        14 => {
            let (rule, programme) = (r.u32()?, ProgrammeId::new(r.u32()?));
            let (expiry_from, expiry_before, expires_at) = (time(r)?, time(r)?, time(r)?);
            let (as_of, include_expired) = (Position::new(r.u64()?), flag(r.u64()?)?);
            let extension =
                Extension { rule, programme, expiry_from, expiry_before, expires_at, as_of, include_expired };
            Operation::Extend { extension, approval: get_approval(r)? }
        }
        15 => Operation::AccountLife(life(r.u8()?)?),
        16 => Operation::ShopLife { shop: shop(r)?, life: life(r.u8()?)? },
        17 => Operation::ProgrammeLife { programme: ProgrammeId::new(r.u32()?), life: life(r.u8()?)? },
        18 => Operation::Programme(get_short_programme(r)?),
        19 => {
            let (shop, programme) = (shop(r)?, ProgrammeId::new(r.u32()?));
            if r.u32()? != 0 {
                return Err(RecordError::Reserved);
            }
            Operation::Shop { shop, programme, name: r.array()? }
        }
        20 => Operation::Undelivered(get_positions(r)?),
        21 => Operation::Delivered(get_positions(r)?),
        22 => Operation::Epoch {
            delivered_to: Position::new(r.u64()?),
            settings: Settings { rules: r.u32()?, horizon_s: r.u32()?, skew_s: r.u32()?, ack_s: r.u32()? },
        },
        23 => Operation::Mark(match r.u8()? {
            0 => Mark::Degraded,
            1 => Mark::Normal,
            2 => Mark::ClockSuspect,
            3 => Mark::ClockTrusted,
            _ => return Err(RecordError::Field { name: "mark" }),
        }),
        24 => {
            let programme = ProgrammeId::new(r.u32()?);
            if r.u32()? != 0 {
                return Err(RecordError::Reserved);
            }
            Operation::Lease { programme, holder: r.array()?, allowance: get_allowance(r)? }
        }
        Operation::ADVICE => {
            let (purchase, 0) = get_purchase(r)? else { return Err(RecordError::Field { name: "seconds" }) };
            let programme = ProgrammeId::new(r.u32()?);
            if r.u32()? != 0 {
                return Err(RecordError::Reserved);
            }
            let (lease, approved_at) = (Position::new(r.u64()?), time(r)?);
            Operation::Advice(Advice { purchase, programme, lease, approved_at })
        }
        got => return Err(RecordError::Kind { got }),
    })
}

fn zero(b: u8) -> Result<(), RecordError> {
    if b == 0 { Ok(()) } else { Err(RecordError::Reserved) }
}

fn flag(v: u64) -> Result<bool, RecordError> {
    match v {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(RecordError::Field { name: "flag" }),
    }
}

fn time(r: &mut Reader<'_>) -> Result<Timestamp, RecordError> {
    Ok(Timestamp::from_micros(r.i64()?))
}

fn key(r: &mut Reader<'_>) -> Result<Key, RecordError> {
    Ok(Key::from_bytes(r.array()?))
}

fn shop(r: &mut Reader<'_>) -> Result<ShopId, RecordError> {
    ShopId::from_bytes(r.array()?).map_err(|_| RecordError::Field { name: "shop" })
}

fn amount(r: &mut Reader<'_>) -> Result<Amount, RecordError> {
    Amount::new(r.u64()?).ok_or(RecordError::Field { name: "amount" })
}

fn yen(r: &mut Reader<'_>) -> Result<u64, RecordError> {
    let v = r.u64()?;
    if v > Amount::MAX { Err(RecordError::Field { name: "amount" }) } else { Ok(v) }
}

fn lot_kind(b: u8) -> Result<LotKind, RecordError> {
    match b {
        0 => Ok(LotKind::Promo),
        1 => Ok(LotKind::Paid),
        _ => Err(RecordError::Field { name: "lot kind" }),
    }
}

fn life(b: u8) -> Result<Life, RecordError> {
    match b {
        0 => Ok(Life::Active),
        1 => Ok(Life::Suspended),
        2 => Ok(Life::Closed),
        _ => Err(RecordError::Field { name: "life" }),
    }
}

#[inline]
pub(super) fn get_purchase(r: &mut Reader<'_>) -> Result<(Purchase, u32), RecordError> {
    let shop = shop(r)?;
    let terminal = TerminalId::from_bytes(r.array()?).map_err(|_| RecordError::Field { name: "terminal" })?;
    let (amount, token, seconds) = (amount(r)?, Position::new(r.u64()?), r.u32()?);
    let partial = flag(u64::from(r.u32()?))?;
    Ok((Purchase { shop, terminal, amount, token, partial }, seconds))
}

/// Reads who answers for a correction.
pub fn get_approval(r: &mut Reader<'_>) -> Result<Approval, RecordError> {
    let (maker, approver, reason, incident) = (r.array()?, r.array()?, r.array()?, r.u32()?);
    if r.u32()? != 0 {
        return Err(RecordError::Reserved);
    }
    Ok(Approval { maker, approver, reason, incident, plan: r.u64()? })
}

/// Reads caps.
pub fn get_allowance(r: &mut Reader<'_>) -> Result<Allowance, RecordError> {
    let (payment_max, account_max, shop_max, total_max) = (yen(r)?, yen(r)?, yen(r)?, yen(r)?);
    let seconds = r.u32()?;
    if r.u32()? != 0 {
        return Err(RecordError::Reserved);
    }
    Ok(Allowance { payment_max, account_max, shop_max, total_max, seconds })
}

/// A programme's rules as a record has them: all, or without stand-in.
fn get_short_programme(r: &mut Reader<'_>) -> Result<Programme, RecordError> {
    let body = r.rest();
    if let Some((whole, rest)) = body.split_first_chunk::<PROGRAMME_BYTES>() {
        *r = Reader::new(rest);
        return get_programme(&mut Reader::new(whole));
    }
    let plain: [u8; PROGRAMME_BYTES_PLAIN] = r.array()?;
    if !r.rest_is_zero() {
        return Err(RecordError::Reserved);
    }
    let mut whole = [0; PROGRAMME_BYTES];
    whole[..PROGRAMME_BYTES_PLAIN].copy_from_slice(&plain);
    get_programme(&mut Reader::new(&whole))
}

/// Reads a programme's rules, [`PROGRAMME_BYTES`].
pub fn get_programme(r: &mut Reader<'_>) -> Result<Programme, RecordError> {
    let (id, guard_window_s, name) = (ProgrammeId::new(r.u32()?), r.u32()?, r.array()?);
    let (payment_max, balance_max) = (r.u64()?, r.u64()?);
    let (doubt_window_s, hold_default_s, hold_max_s) = (r.u32()?, r.u32()?, r.u32()?);
    let (refund_days, validity_days) = (r.u32()?, r.u32()?);
    let (zone_minutes, priority) = (r.u16()? as i16, r.u8()?);
    let expired_refund = match r.u8()? {
        0 => ExpiredRefund::Reinstate,
        1 => ExpiredRefund::Forfeit,
        2 => ExpiredRefund::PayOut,
        _ => {
            return Err(RecordError::Field { name: "expired refund" });
        }
    };
    let guard_mode = match r.u8()? {
        0 => GuardMode::Ask,
        1 => GuardMode::Flag,
        _ => return Err(RecordError::Field { name: "guard mode" }),
    };
    let any_shop = flag(u64::from(r.u8()?))?;
    if r.array::<{ PROGRAMME_BYTES - ALLOWANCE_BYTES - PROGRAMME_BYTES_PLAIN }>()? != [0; 6] {
        return Err(RecordError::Reserved);
    }
    let stand_in = get_allowance(r)?;
    Ok(Programme {
        id,
        name,
        payment_max,
        balance_max,
        guard_window_s,
        doubt_window_s,
        hold_default_s,
        hold_max_s,
        refund_days,
        validity_days,
        zone_minutes,
        priority,
        expired_refund,
        guard_mode,
        any_shop,
        stand_in,
    })
}

fn get_positions(r: &mut Reader<'_>) -> Result<Positions, RecordError> {
    let count = r.u64()?;
    if count > Positions::MAX as u64 {
        return Err(RecordError::Field { name: "count" });
    }
    let mut p = Positions { count: count as u8, list: [0; Positions::MAX] };
    for slot in p.list.iter_mut().take(count as usize) {
        *slot = r.u64()?;
    }
    Ok(p)
}
