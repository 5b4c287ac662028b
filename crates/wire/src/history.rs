//! Decisions in log order, with what they took from which lots.

use crate::frame::FrameError;
use crate::report::Body;
use tegata_model::{Approval, Reader, Short, Writer, get_approval, put_approval};

/// Bytes of the fixed part of an entry.
const ENTRY_BYTES: usize = 176;
/// Lots that one entry can list: what a debit can take from.
const ENTRY_LOTS_MAX: usize = 32;
/// Bytes of the approval behind the lots of a correction.
const APPROVAL_BYTES: usize = 96;

/// Only what was approved under a lease.
pub const ONLY_ADVICES: u32 = 1;
/// Only advices that their lease does not cover, or that stand beside another decision under their key.
pub const ONLY_FOR_OFFICE: u32 = 2;

/// What to read: every filter that is not zero must match.
///
/// ```text
/// 0 u64 from position | 8 u32 limit | 12 u32 only | 16 [16] account | 32 [16] shop | 48 i64 from µs | 56 i64 before µs
/// 64 [16] key
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HistoryQuery {
    /// The first position.
    pub from: u64,
    /// Most entries; 0: all.
    pub limit: u32,
    /// 0: everything; [`ONLY_ADVICES`], [`ONLY_FOR_OFFICE`].
    pub only: u32,
    /// Only this account.
    pub account: [u8; 16],
    /// Only this shop.
    pub shop: [u8; 16],
    /// Logged at or after, µs UTC.
    pub from_us: i64,
    /// Logged before, µs UTC.
    pub before_us: i64,
    /// Only this key.
    pub key: [u8; 16],
}

impl HistoryQuery {
    pub(crate) fn put(&self, w: &mut Writer<'_>) {
        w.u64(self.from).u32(self.limit).u32(self.only).bytes(&self.account).bytes(&self.shop);
        w.i64(self.from_us).i64(self.before_us).bytes(&self.key);
    }

    pub(crate) fn get(r: &mut Reader<'_>) -> Result<Self, FrameError> {
        let (from, limit, only) = (r.u64()?, r.u32()?, r.u32()?);
        if only > ONLY_FOR_OFFICE {
            return Err(FrameError::Field { name: "only" });
        }
        Ok(Self {
            from,
            limit,
            only,
            account: r.array()?,
            shop: r.array()?,
            from_us: r.i64()?,
            before_us: r.i64()?,
            key: r.array()?,
        })
    }
}

/// One decision of the log.
///
/// ```text
/// 0 u16 bytes | 2 u16 kind | 4 u16 code | 6 u16 flags | 8 position | 16 logged µs | 24 received µs
/// 32 u32 namespace | 36 u32 gateway | 40 [16] account | 56 [16] key | 72 [16] shop | 88 [8] terminal
/// 96 amount asked | 104 amount decided | 112 balance | 120 related | 128 [16] other: original key, or wallet
/// 144 u32 lots | 148 zero | 152 deadline µs | 160 lease | 168 approved µs | 176 (lot id, yen) … | [96] approval
/// ```
///
/// Only corrections have an approval; the length tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HistoryEntry {
    /// Kind of the record.
    pub kind: u16,
    /// What was decided.
    pub code: u16,
    /// The answer's flags: replayed, flagged; and of an advice, over the lease, beside.
    pub flags: u16,
    /// Place in the log.
    pub position: u64,
    /// Logged time, µs UTC.
    pub at: i64,
    /// Receipt, µs UTC.
    pub received_at: i64,
    /// Whose key.
    pub namespace: u32,
    /// Who carried it.
    pub gateway: u32,
    /// The account.
    pub account: [u8; 16],
    /// The key.
    pub key: [u8; 16],
    /// The shop; zero: none.
    pub shop: [u8; 16],
    /// The terminal; zero: none.
    pub terminal: [u8; 8],
    /// Yen asked for.
    pub asked: u64,
    /// Yen that moved.
    pub amount: u64,
    /// Yen that could be spent afterwards.
    pub balance: u64,
    /// The decision it speaks of.
    pub related: u64,
    /// The original's key, or the wallet of a charge; zero: none.
    pub other: [u8; 16],
    /// Until when the caller waited, µs UTC.
    pub deadline: i64,
    /// Position of the lease of an advice; 0: none.
    pub lease: u64,
    /// When the client approved an advice, µs UTC.
    pub approved_at: i64,
    /// Lots and yen; lot 2^64 − 1 is the programme's shortfall.
    pub lots: Vec<(u64, u64)>,
    /// Who answers for a reinstatement or an extension, and why.
    pub approval: Option<Approval>,
}

impl HistoryEntry {
    /// Its bytes on the wire.
    #[must_use]
    pub fn bytes(&self) -> usize {
        ENTRY_BYTES + self.lots.len().min(ENTRY_LOTS_MAX) * 16 + self.approval.map_or(0, |_| APPROVAL_BYTES)
    }

    fn put(&self, w: &mut Writer<'_>) {
        let lots = &self.lots[..self.lots.len().min(ENTRY_LOTS_MAX)];
        w.u16(self.bytes() as u16).u16(self.kind).u16(self.code).u16(self.flags).u64(self.position);
        w.i64(self.at).i64(self.received_at).u32(self.namespace).u32(self.gateway).bytes(&self.account);
        w.bytes(&self.key).bytes(&self.shop).bytes(&self.terminal).u64(self.asked).u64(self.amount);
        w.u64(self.balance).u64(self.related).bytes(&self.other).u32(lots.len() as u32).u32(0).i64(self.deadline);
        w.u64(self.lease).i64(self.approved_at);
        for (lot, yen) in lots {
            w.u64(*lot).u64(*yen);
        }
        if let Some(approval) = &self.approval {
            put_approval(approval, w);
        }
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, FrameError> {
        let bytes = r.u16()?;
        let mut e = Self {
            kind: r.u16()?,
            code: r.u16()?,
            flags: r.u16()?,
            position: r.u64()?,
            at: r.i64()?,
            received_at: r.i64()?,
            namespace: r.u32()?,
            gateway: r.u32()?,
            account: r.array()?,
            key: r.array()?,
            shop: r.array()?,
            terminal: r.array()?,
            asked: r.u64()?,
            amount: r.u64()?,
            balance: r.u64()?,
            related: r.u64()?,
            other: r.array()?,
            deadline: 0,
            lease: 0,
            approved_at: 0,
            lots: Vec::new(),
            approval: None,
        };
        let (n, _zero) = (r.u32()?, r.u32()?);
        e.deadline = r.i64()?;
        (e.lease, e.approved_at) = (r.u64()?, r.i64()?);
        if n as usize > ENTRY_LOTS_MAX {
            return Err(FrameError::Field { name: "lots" });
        }
        e.lots = (0..n).map(|_| Ok((r.u64()?, r.u64()?))).collect::<Result<_, Short>>()?;
        if usize::from(bytes) == e.bytes() + APPROVAL_BYTES {
            e.approval = Some(get_approval(r)?);
        }
        if usize::from(bytes) == e.bytes() { Ok(e) } else { Err(FrameError::Length { got: u32::from(bytes) }) }
    }
}

/// Some entries; the flag MORE says whether others follow: `u32 count | 4 zero | u64 up to position | entry …`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HistoryBody {
    /// Everything that matches up to this position has been sent.
    pub up_to: u64,
    /// The entries.
    pub entries: Vec<HistoryEntry>,
}

impl Body for HistoryBody {
    fn put(&self, w: &mut Writer<'_>) {
        w.u32(self.entries.len() as u32).u32(0).u64(self.up_to);
        for e in &self.entries {
            e.put(w);
        }
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, FrameError> {
        let (n, _zero, up_to) = (r.u32()?, r.u32()?, r.u64()?);
        let mut entries = Vec::new();
        for _ in 0..n {
            entries.push(HistoryEntry::get(r)?);
        }
        Ok(Self { up_to, entries })
    }
}
