//! A data set for measurements: one programme, some shops, many coupons that can pay every debit of a run.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};
use tegata_client::{Link, LinkError};
use tegata_model::{AccountId, Amount, Key, LotKind, Operation, Programme, ProgrammeId, ShopId, Timestamp, mix};
use tegata_wire::{AnswerBody, RequestHeader, encode_operation};

/// Requests in flight while seeding.
const IN_FLIGHT: u64 = 1_000;

/// The nth coupon's id.
#[must_use]
pub fn account(n: u32) -> AccountId {
    AccountId::from_bytes(account_bytes(n)).unwrap_or_default()
}

/// The nth coupon's id as bytes: the letter C and ten digits.
#[must_use]
#[inline]
pub(crate) fn account_bytes(mut n: u32) -> [u8; 16] {
    let mut id = [0; 16];
    id[0] = b'C';
    for i in (1..=10).rev() {
        id[i] = b'0' + (n % 10) as u8;
        n /= 10;
    }
    id
}

/// The nth shop's id.
#[must_use]
pub fn shop(n: u32) -> ShopId {
    ShopId::from_text(&format!("SHOP{n:05}")).unwrap_or_default()
}

/// Microseconds UTC.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Creates the programme, the shops and the coupons, each with `balance`, over the operator's port.
pub fn seed(operate: SocketAddr, coupons: u32, shops: u32, balance: Amount) -> Result<(), LinkError> {
    let mut link = Link::open(operate, true)?;
    let in_flight = u64::from(link.hello.credits).min(IN_FLIGHT);
    let programme = ProgrammeId::new(1);
    let total = 1 + u64::from(shops) + u64::from(coupons);
    let (mut sent, mut received) = (0u64, 0u64);
    let mut out = Vec::new();
    let salt = now().micros() as u64;
    while received < total {
        // The programme and the shops must be there before the first coupon refers to them: log order sees to it.
        while sent < total && sent - received < in_flight {
            let operation = match sent {
                0 => Operation::Programme(Programme::with_defaults(programme)),
                n if n <= u64::from(shops) => {
                    Operation::Shop { shop: shop(n as u32 - 1), programme: ProgrammeId::NONE, name: [0; 48] }
                }
                _ => Operation::Issue {
                    programme,
                    amount: balance,
                    expires_at: Timestamp::ZERO,
                    valid_from: Timestamp::ZERO,
                    stay_end_day: 0,
                    kind: LotKind::Promo,
                },
            };
            let id = match operation {
                Operation::Issue { .. } => account((sent - 1 - u64::from(shops)) as u32),
                _ => AccountId::NONE,
            };
            let random = u128::from(mix(sent, salt)) << 64 | u128::from(mix(salt, sent));
            let header = RequestHeader {
                request_id: sent,
                deadline_ms: 30_000,
                account: *id.bytes(),
                key: *Key::new(now(), random).bytes(),
                namespace: 1,
                ..RequestHeader::default()
            };
            encode_operation(&header, &operation, &mut out);
            sent += 1;
        }
        link.send(&out)?;
        out.clear();
        // Half of what is in flight, so that the pipe never runs dry.
        for _ in 0..((sent - received).div_ceil(2)) {
            match link.receive()?.body {
                AnswerBody::Decision(d) if d.code == 0 => received += 1,
                other => return Err(LinkError::Unexpected(Box::new(other))),
            }
        }
    }
    Ok(())
}
