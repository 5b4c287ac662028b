//! The fixed layouts of what the tables keep: accounts, lots, decisions, and what a decision needs beyond the plain
//! case. Sizes are asserted: they are what a coupon and a remembered decision cost.

use crate::slab::Slot;
use crate::snapshot::{put_bytes, take_bytes};
use tegata_model::{AccountId, Code, Decision, Key, Life, LotKind, NamespaceId, Position, State, Timestamp, Yen};

/// A lot's name: the position that made it × 64 + an ordinal. It keeps its name when it moves to another account.
#[must_use]
pub fn lot_id(position: Position, ordinal: u64) -> u64 {
    position.get() << 6 | (ordinal & 63)
}

/// The position at which a lot was made.
#[must_use]
pub fn lot_birth(id: u64) -> Position {
    Position::new(id >> 6)
}

/// An account with its first lot, which is the only one that most coupons ever have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Yen left in the first lot.
    pub remaining: u64,
    /// Expiry of the first lot as it was made, µs UTC.
    pub expires_at: i64,
    /// Start of the first lot, µs UTC; 0: at once.
    pub valid_from: i64,
    /// Name of the first lot.
    pub lot: u64,
    /// Index of the first lot's programme.
    pub programme: u32,
    /// The next lot's slot; 0: none.
    pub lots: u32,
    /// The newest open hold's detail slot; 0: none.
    pub holds: u32,
    /// Last day of the stay in days since 1970; 0: not known (F10).
    pub stay_end_day: u16,
    /// Life in bits 0–1, wallet in bit 2, first lot paid in bit 3.
    pub flags: u8,
    /// Lots beyond the first, saturating.
    pub lot_count: u8,
}

const _: () = assert!(size_of::<Account>() == 64, "an account is one cache line");

impl Account {
    /// Active, suspended or closed.
    #[inline]
    pub fn life(&self) -> Life {
        match self.flags & 3 {
            0 => Life::Active,
            1 => Life::Suspended,
            _ => Life::Closed,
        }
    }

    /// Sets its life.
    pub fn set_life(&mut self, life: Life) {
        self.flags = self.flags & !3 | life as u8;
    }

    /// True for a wallet, false for a paper coupon.
    pub fn is_wallet(&self) -> bool {
        self.flags & 4 != 0
    }

    /// The first lot.
    pub fn first_lot(&self) -> Lot {
        Lot {
            id: self.lot,
            remaining: self.remaining,
            expires_at: self.expires_at,
            valid_from: self.valid_from,
            programme: self.programme,
            next: self.lots,
            touched_s: 0,
            kind: self.flags >> 3 & 1,
            spare: [0; 3],
        }
    }

    /// An account that starts with `lot`.
    pub fn with_first_lot(id: AccountId, lot: &Lot, wallet: bool, stay_end_day: u16) -> Self {
        Self {
            id,
            remaining: lot.remaining,
            expires_at: lot.expires_at,
            valid_from: lot.valid_from,
            lot: lot.id,
            programme: lot.programme,
            lots: 0,
            holds: 0,
            stay_end_day,
            flags: u8::from(wallet) << 2 | lot.kind << 3,
            lot_count: 0,
        }
    }
}

impl Slot for Account {
    const WORDS: usize = 8;

    fn vacant(&self) -> bool {
        self.id.is_none()
    }

    fn put(&self, w: &mut Vec<u64>) {
        put_bytes(self.id.bytes(), w);
        w.extend([self.remaining, self.expires_at as u64, self.valid_from as u64, self.lot]);
        w.push(pair(self.programme, self.lots));
        let rest = u32::from(self.stay_end_day) << 16 | u32::from(self.flags) << 8 | u32::from(self.lot_count);
        w.push(pair(self.holds, rest));
    }

    fn take(w: &[u64]) -> Option<Self> {
        let ((programme, lots), (holds, rest)) = (apart(w[6]), apart(w[7]));
        Some(Self {
            id: AccountId::from_bytes(take_bytes(w, 0)).ok()?,
            remaining: w[2],
            expires_at: w[3] as i64,
            valid_from: w[4] as i64,
            lot: w[5],
            programme,
            lots,
            holds,
            stay_end_day: (rest >> 16) as u16,
            flags: (rest >> 8) as u8,
            lot_count: rest as u8,
        })
    }
}

/// Value with its origin and its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Lot {
    /// Its name; see [`lot_id`].
    pub id: u64,
    /// Yen left.
    pub remaining: u64,
    /// Expiry as it was made, µs UTC.
    pub expires_at: i64,
    /// Start, µs UTC; 0: at once.
    pub valid_from: i64,
    /// Index of its programme.
    pub programme: u32,
    /// The next lot's slot; 0: none.
    pub next: u32,
    /// Second of its last change, for the day on which an empty lot may be dropped.
    pub touched_s: u32,
    /// 0 promo, 1 paid.
    pub kind: u8,
    /// Zero.
    pub spare: [u8; 3],
}

const _: () = assert!(size_of::<Lot>() == 48, "three lots to two and a quarter cache lines");

impl Lot {
    /// Promo or paid.
    pub fn lot_kind(&self) -> LotKind {
        if self.kind == 1 { LotKind::Paid } else { LotKind::Promo }
    }
}

impl Slot for Lot {
    const WORDS: usize = 6;

    fn vacant(&self) -> bool {
        self.id == 0
    }

    fn put(&self, w: &mut Vec<u64>) {
        w.extend([self.id, self.remaining, self.expires_at as u64, self.valid_from as u64]);
        w.extend([pair(self.programme, self.next), pair(self.touched_s, u32::from(self.kind))]);
    }

    fn take(w: &[u64]) -> Option<Self> {
        let ((programme, next), (touched_s, kind)) = (apart(w[4]), apart(w[5]));
        Some(Self {
            id: w[0],
            remaining: w[1],
            expires_at: w[2] as i64,
            valid_from: w[3] as i64,
            programme,
            next,
            touched_s,
            kind: u8::try_from(kind).ok().filter(|k| *k <= 1)?,
            spare: [0; 3],
        })
    }
}

/// Bits of [`Remembered::flags`].
pub mod flag {
    /// Logged as undelivered.
    pub const UNDELIVERED: u8 = 1;
    /// Logged as delivered after all.
    pub const DELIVERED: u8 = 2;
    /// All of it came from the account's first lot; no detail says so.
    pub const FIRST_LOT: u8 = 4;
    /// Executed although a like debit was seen.
    pub const FLAGGED: u8 = 8;
    /// An advice that its lease does not cover.
    pub const OVER_LEASE: u8 = 16;
    /// An advice that stands beside another decision under its key.
    pub const BESIDE: u8 = 32;
    /// Nothing was taken under its key when it was reversed: what is still told of it was never made.
    pub const UNDONE: u8 = 64;
}

/// Numbers of record kinds, as in [`Remembered::kind`].
pub mod kind {
    /// Issue.
    pub const ISSUE: u8 = 1;
    /// Load.
    pub const LOAD: u8 = 2;
    /// Charge.
    pub const CHARGE: u8 = 3;
    /// Debit.
    pub const DEBIT: u8 = 4;
    /// Debit confirmed.
    pub const DEBIT_CONFIRMED: u8 = 5;
    /// Hold.
    pub const HOLD: u8 = 6;
    /// Capture.
    pub const CAPTURE: u8 = 7;
    /// Confirm.
    pub const CONFIRM: u8 = 9;
    /// Reversal.
    pub const REVERSAL: u8 = 10;
    /// Advice.
    pub const ADVICE: u8 = 25;
}

/// A decision under its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Remembered {
    /// The key.
    pub key: Key,
    /// The account it is scoped to; absent for rules.
    pub account: AccountId,
    /// Fingerprint of what was asked; 0 for a fence.
    pub fingerprint: u64,
    /// Where it was decided.
    pub position: Position,
    /// When it was decided.
    pub at: Timestamp,
    /// Yen that moved.
    pub amount: u64,
    /// Yen that could be spent afterwards.
    pub balance: u64,
    /// Whose key.
    pub namespace: NamespaceId,
    /// The shop's slot; 0: none.
    pub shop: u32,
    /// The detail's slot; 0: none.
    pub detail: u32,
    /// The like debit before this one; 0: none.
    pub like_before: u32,
    /// Hash of the terminal; 0: absent.
    pub terminal: u32,
    /// The code's number.
    pub code: u8,
    /// The record kind's number.
    pub kind: u8,
    /// See [`flag`].
    pub flags: u8,
    /// What became of it.
    pub state: State,
}

const _: () = assert!(size_of::<Remembered>() == 96, "with its index entries a decision stays below 128 bytes");

impl Default for Remembered {
    fn default() -> Self {
        Self {
            key: Key::NONE,
            account: AccountId::NONE,
            fingerprint: 0,
            position: Position::ZERO,
            at: Timestamp::ZERO,
            amount: 0,
            balance: 0,
            namespace: NamespaceId::NONE,
            shop: 0,
            detail: 0,
            like_before: 0,
            terminal: 0,
            code: 0,
            kind: 0,
            flags: 0,
            state: State::Final,
        }
    }
}

impl Slot for Remembered {
    const WORDS: usize = 12;

    fn vacant(&self) -> bool {
        self.kind == 0
    }

    fn put(&self, w: &mut Vec<u64>) {
        put_bytes(self.key.bytes(), w);
        put_bytes(self.account.bytes(), w);
        w.extend([self.fingerprint, self.position.get(), self.at.micros() as u64, self.amount, self.balance]);
        w.extend([pair(self.namespace.get(), self.shop), pair(self.detail, self.like_before)]);
        w.push(pair(self.terminal, u32::from_le_bytes([self.code, self.kind, self.flags, self.state as u8])));
    }

    fn take(w: &[u64]) -> Option<Self> {
        let ((namespace, shop), (detail, like_before), (terminal, rest)) = (apart(w[9]), apart(w[10]), apart(w[11]));
        let [code, kind, flags, state] = rest.to_le_bytes();
        Some(Self {
            key: Key::from_bytes(take_bytes(w, 0)),
            account: AccountId::from_bytes(take_bytes(w, 2)).ok()?,
            fingerprint: w[4],
            position: Position::new(w[5]),
            at: Timestamp::from_micros(w[6] as i64),
            amount: w[7],
            balance: w[8],
            namespace: NamespaceId::new(namespace),
            shop,
            detail,
            like_before,
            terminal,
            code,
            kind,
            flags,
            state: State::from_u8(state)?,
        })
    }
}

impl Remembered {
    /// The answer, the same for ever.
    #[inline]
    pub fn decision(&self, related: Position) -> Decision {
        Decision {
            code: Code::from_u8(self.code).unwrap_or(Code::Unknown),
            amount: Yen::new(self.amount),
            balance: Yen::new(self.balance),
            position: self.position,
            at: self.at,
            related,
        }
    }
}

/// What a decision needs beyond the plain case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Detail {
    /// Position of the decision that it refers to; 0: none.
    pub related: u64,
    /// A hold is dead from this instant, µs UTC.
    pub dies_at: i64,
    /// Yen given back of what was taken.
    pub returned: u64,
    /// Yen that stay taken or held, before what was given back.
    pub taken: u64,
    /// The decision that has this detail.
    pub decision: u32,
    /// The decision that it refers to; 0: none.
    pub original: u32,
    /// The account's next open hold; 0: none.
    pub next_hold: u32,
    /// The first allocation; 0: none.
    pub allocations: u32,
    /// The other account's slot, of a charge; 0: none.
    pub other: u32,
    /// The other account's shard.
    pub other_shard: u16,
    /// 1 while in use.
    pub used: u16,
    /// Yen that were asked for, when less was approved; 0: as approved.
    pub asked: u64,
    /// Yen that the operator gave back for it.
    pub reinstated: u64,
}

const _: () = assert!(size_of::<Detail>() == 72, "no padding");

impl Slot for Detail {
    const WORDS: usize = 9;

    fn vacant(&self) -> bool {
        self.used == 0
    }

    fn put(&self, w: &mut Vec<u64>) {
        w.extend([self.related, self.dies_at as u64, self.returned, self.taken]);
        w.extend([pair(self.decision, self.original), pair(self.next_hold, self.allocations)]);
        w.push(pair(self.other, u32::from(self.other_shard) << 16 | u32::from(self.used)));
        w.extend([self.asked, self.reinstated]);
    }

    fn take(w: &[u64]) -> Option<Self> {
        let ((decision, original), (next_hold, allocations), (other, rest)) = (apart(w[4]), apart(w[5]), apart(w[6]));
        Some(Self {
            related: w[0],
            dies_at: w[1] as i64,
            returned: w[2],
            taken: w[3],
            decision,
            original,
            next_hold,
            allocations,
            other,
            other_shard: (rest >> 16) as u16,
            used: rest as u16,
            asked: w[7],
            reinstated: w[8],
        })
    }
}

impl Detail {
    /// Yen that can still be given back by a reversal or a refund: what the operator reinstated is back already.
    pub(crate) fn returnable(&self) -> u64 {
        self.taken.saturating_sub(self.returned).saturating_sub(self.reinstated)
    }
}

/// What one debit took from one lot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Allocation {
    /// The lot's name.
    pub lot: u64,
    /// Yen taken.
    pub amount: u64,
    /// Yen given back.
    pub returned: u64,
    /// Expiry of the lot as it was made, µs UTC.
    pub expires_at: i64,
    /// Index of the lot's programme.
    pub programme: u32,
    /// The next allocation's slot; 0: none.
    pub next: u32,
    /// 0 promo, 1 paid.
    pub kind: u8,
    /// Zero.
    pub spare: [u8; 7],
}

impl Slot for Allocation {
    const WORDS: usize = 6;

    fn vacant(&self) -> bool {
        self.lot == 0
    }

    fn put(&self, w: &mut Vec<u64>) {
        w.extend([self.lot, self.amount, self.returned, self.expires_at as u64]);
        w.extend([pair(self.programme, self.next), u64::from(self.kind)]);
    }

    fn take(w: &[u64]) -> Option<Self> {
        let (programme, next) = apart(w[4]);
        Some(Self {
            lot: w[0],
            amount: w[1],
            returned: w[2],
            expires_at: w[3] as i64,
            programme,
            next,
            kind: u8::try_from(w[5]).ok().filter(|k| *k <= 1)?,
            spare: [0; 7],
        })
    }
}

/// Two halves of a word.
fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn apart(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}
