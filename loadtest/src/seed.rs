//! A data set for measurements: one programme, some shops, many coupons and wallets that can pay every debit of a run.

use crate::codes::{again_after, is_refused};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tegata_client::{Link, LinkError};
use tegata_model::{AccountId, Amount, Key, LotKind, Operation, Programme, ProgrammeId, ShopId, Timestamp, mix};
use tegata_wire::{AnswerBody, RequestHeader, encode_operation};

/// Requests in flight while seeding.
const IN_FLIGHT: u64 = 1_000;

/// Microseconds UTC.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Which programme, shops and coupons a run works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataSet {
    /// The programme's number.
    pub programme: u32,
    /// Whose keys.
    pub namespace: u32,
    /// Paper coupons.
    pub coupons: u32,
    /// App wallets; their numbers follow those of the coupons.
    pub wallets: u32,
    /// Shops.
    pub shops: u32,
    /// Yen on each coupon and wallet.
    pub balance: u64,
    /// When they expire; zero: never.
    pub expires_at: Timestamp,
    /// Ends every id, so that runs against one server do not meet; zeros: no ending.
    pub tag: [u8; 5],
}

impl Default for DataSet {
    fn default() -> Self {
        Self {
            programme: 1,
            namespace: 1,
            coupons: 1,
            wallets: 0,
            shops: 1,
            balance: 1,
            expires_at: Timestamp::ZERO,
            tag: [0; 5],
        }
    }
}

impl DataSet {
    /// Coupons and wallets together.
    #[must_use]
    pub fn accounts(&self) -> u32 {
        self.coupons.saturating_add(self.wallets)
    }

    /// The nth account's id: the letter C (a coupon) or W (a wallet), ten digits, the tag.
    #[must_use]
    pub fn account(&self, n: u32) -> AccountId {
        AccountId::from_bytes(self.account_bytes(n)).unwrap_or_default()
    }

    /// The same as bytes.
    #[must_use]
    #[inline]
    pub(crate) fn account_bytes(&self, n: u32) -> [u8; 16] {
        let mut id = [0; 16];
        id[0] = if n < self.coupons { b'C' } else { b'W' };
        let mut rest = n;
        for i in (1..=10).rev() {
            id[i] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        id[11..].copy_from_slice(&self.tag);
        id
    }

    /// The number of an account; nothing for an id that is not of this set.
    #[must_use]
    pub(crate) fn number(&self, id: &[u8; 16]) -> Option<u32> {
        let digits = std::str::from_utf8(&id[1..11]).ok()?;
        digits.parse().ok().filter(|n| *n < self.accounts() && self.account_bytes(*n) == *id)
    }

    /// The nth shop's id.
    #[must_use]
    pub fn shop(&self, n: u32) -> ShopId {
        let mut id = *ShopId::from_text(&format!("SHOP{n:05}")).unwrap_or_default().bytes();
        id[9..14].copy_from_slice(&self.tag);
        ShopId::from_bytes(id).unwrap_or_default()
    }

    /// What puts value on a wallet.
    pub(crate) fn load(&self, amount: Amount) -> Operation {
        let (programme, expires_at) = (ProgrammeId::new(self.programme), self.expires_at);
        Operation::Load { programme, amount, expires_at, kind: LotKind::Paid }
    }
}

/// How long a server may refuse to take more of the data.
const BUSY_WITHIN: Duration = Duration::from_secs(60);

/// Creates a data set over the operator's port. `progress` is told how much of how much is done. What a busy server refuses
/// is sent again.
pub fn seed(operate: SocketAddr, data: &DataSet, progress: &mut dyn FnMut(u64, u64)) -> Result<(), LinkError> {
    let mut link = Link::open(operate, true)?;
    let in_flight = u64::from(link.hello.credits).min(IN_FLIGHT);
    let balance = Amount::new(data.balance).ok_or(io::ErrorKind::InvalidInput).map_err(io::Error::from)?;
    let rules = 1 + u64::from(data.shops);
    let total = rules + u64::from(data.accounts());
    let (mut next, mut received, mut waiting) = (0u64, 0u64, 0u64);
    let mut again: Vec<u64> = Vec::new();
    let (mut out, mut moved_at) = (Vec::new(), Instant::now());
    let salt = now().micros() as u64;
    while received < total {
        // The programme and the shops must be there before the first coupon refers to them.
        let until = if received < rules { rules } else { total };
        while waiting < in_flight {
            let n = match again.pop() {
                Some(n) => n,
                None if next < until => {
                    next += 1;
                    next - 1
                }
                None => break,
            };
            push(data, balance, n, salt, &mut out);
            waiting += 1;
        }
        link.send(&out)?;
        out.clear();
        // Half of what is in flight, so that the pipe never runs dry.
        let mut rest = Duration::ZERO;
        for _ in 0..waiting.div_ceil(2) {
            let answer = link.receive()?;
            waiting -= 1;
            match answer.body {
                AnswerBody::Decision(d) if d.code == 0 => (received, moved_at) = (received + 1, Instant::now()),
                AnswerBody::Decision(d) if is_refused(d.code) && moved_at.elapsed() < BUSY_WITHIN => {
                    again.push(answer.header.request_id);
                    rest = again_after(&d);
                }
                other => return Err(LinkError::Unexpected(Box::new(other))),
            }
        }
        progress(received, total);
        std::thread::sleep(rest);
    }
    Ok(())
}

/// Appends the request that makes the nth thing: the programme, then the shops, then the accounts.
fn push(data: &DataSet, balance: Amount, n: u64, salt: u64, out: &mut Vec<u8>) {
    let programme = ProgrammeId::new(data.programme);
    let account = n.checked_sub(1 + u64::from(data.shops)).map(|account| account as u32);
    let operation = match (n, account) {
        (0, _) => Operation::Programme(Programme::with_defaults(programme)),
        (n, None) => Operation::Shop { shop: data.shop(n as u32 - 1), programme: ProgrammeId::NONE, name: [0; 48] },
        (_, Some(account)) if account >= data.coupons => data.load(balance),
        _ => Operation::Issue {
            programme,
            amount: balance,
            expires_at: data.expires_at,
            valid_from: Timestamp::ZERO,
            stay_end_day: 0,
            kind: LotKind::Promo,
        },
    };
    let random = u128::from(mix(n, salt)) << 64 | u128::from(mix(salt, n));
    let header = RequestHeader {
        request_id: n,
        deadline_ms: 30_000,
        account: account.map_or([0; 16], |account| data.account_bytes(account)),
        key: *Key::new(now(), random).bytes(),
        namespace: data.namespace,
        ..RequestHeader::default()
    };
    encode_operation(&header, &operation, out);
}
