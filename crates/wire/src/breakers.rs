//! The breakers of a server, and an operator's orders to them.

use crate::frame::{FrameError, KIND_BREAKER_ORDER, RequestHeader, seal};
use crate::report::Body;
use tegata_model::{Reader, Short, Writer};

/// Breakers that one answer holds.
const BREAKERS_MAX: usize = 64;

/// How a breaker is, 72 bytes: `u8 cause | u8 state | u8 stage | 5 zero | i64 since µs | u64 level | u64 open at |
/// i64 drill until µs | 4 × u64 entered`. Causes and states are numbered as in `docs/degrade.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BreakerBody {
    /// 0 journal-latency, 1 journal-space, 2 queue-delay, 3 memory, 4 clock, 5 replication.
    pub cause: u8,
    /// 0 closed, 1 open, 2 half-open, 3 latched.
    pub state: u8,
    /// The stage of its probes, from 0.
    pub stage: u8,
    /// Since when it is in this state, µs UTC.
    pub since: i64,
    /// What was measured last, in the cause's unit.
    pub level: u64,
    /// From where on that is bad; 0: nothing measured opens it.
    pub open_at: u64,
    /// Until when a drill keeps it open, µs UTC; 0: no drill.
    pub drill_until: i64,
    /// How often it came into each state since the start.
    pub entered: [u64; 4],
}

/// All breakers: `u64 mode | u32 count | 4 zero | breaker …`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BreakersBody {
    /// The mode, as in the server's status.
    pub mode: u64,
    /// In the order of the causes.
    pub breakers: Vec<BreakerBody>,
}

impl Body for BreakersBody {
    fn put(&self, w: &mut Writer<'_>) {
        let listed = &self.breakers[..self.breakers.len().min(BREAKERS_MAX)];
        w.u64(self.mode).u32(listed.len() as u32).u32(0);
        for b in listed {
            w.u8(b.cause).u8(b.state).u8(b.stage).bytes(&[0; 5]).i64(b.since).u64(b.level).u64(b.open_at);
            w.i64(b.drill_until);
            for n in b.entered {
                w.u64(n);
            }
        }
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, FrameError> {
        let (mode, n, _) = (r.u64()?, r.u32()?, r.u32()?);
        if n as usize > BREAKERS_MAX {
            return Err(FrameError::Field { name: "breakers" });
        }
        let one = |r: &mut Reader<'_>| {
            let (cause, state, stage) = (r.u8()?, r.u8()?, r.u8()?);
            let _zero: [u8; 5] = r.array()?;
            let (since, level, open_at, drill_until) = (r.i64()?, r.u64()?, r.u64()?, r.i64()?);
            let entered = [r.u64()?, r.u64()?, r.u64()?, r.u64()?];
            Ok(BreakerBody { cause, state, stage, since, level, open_at, drill_until, entered })
        };
        let breakers = (0..n).map(|_| one(r)).collect::<Result<Vec<_>, Short>>()?;
        Ok(Self { mode, breakers })
    }
}

/// What an operator asks of a breaker: `u8 cause | u8 order | 2 zero | u32 ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BreakerOrder {
    /// As in [`BreakerBody::cause`].
    pub cause: u8,
    /// 1 open, 2 close, 3 confirm, 4 drill.
    pub order: u8,
    /// How long a drill lasts, in ms, 1 … 600,000; 0 for the other orders.
    pub ms: u32,
}

impl BreakerOrder {
    pub(crate) fn get(r: &mut Reader<'_>) -> Result<Self, FrameError> {
        let (cause, order, zero, ms) = (r.u8()?, r.u8()?, r.u16()?, r.u32()?);
        if zero != 0 {
            return Err(FrameError::Reserved);
        }
        Ok(Self { cause, order, ms })
    }
}

/// Appends an order to a breaker.
pub fn encode_breaker_order(header: &RequestHeader, order: &BreakerOrder, out: &mut Vec<u8>) {
    let start = out.len();
    RequestHeader { kind: KIND_BREAKER_ORDER, ..*header }.put(out);
    Writer::new(out).u8(order.cause).u8(order.order).u16(0).u32(order.ms);
    seal(out, start);
}
