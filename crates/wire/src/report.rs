//! Answers to questions: balance, plans, digest, programmes, shops, the server's own state.

use crate::frame::{FrameError, put_answer_header, seal};
use tegata_model::{Reader, Short, Writer};

/// Lots that one balance answer lists.
pub const LOTS_MAX: usize = 64;

/// A body that is written after the header of an answer and read back from it.
pub trait Body: Sized {
    /// Appends its bytes.
    fn put(&self, w: &mut Writer<'_>);
    /// Reads it.
    fn get(r: &mut Reader<'_>) -> Result<Self, FrameError>;
}

/// Appends an answer that is not a decision.
pub fn encode_answer<B: Body>(out: &mut Vec<u8>, kind: u8, flags: u16, request_id: u64, body: &B) {
    let start = out.len();
    put_answer_header(out, kind, flags, 0, request_id);
    body.put(&mut Writer::new(out));
    seal(out, start);
}

/// A lot in a balance: `id | remaining | expires µs | valid from µs | u32 programme | u8 paid | 3 zero`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LotBody {
    /// Its name.
    pub id: u64,
    /// Yen left.
    pub remaining: u64,
    /// Exclusive end, µs UTC, extensions included.
    pub expires_at: i64,
    /// Start, µs UTC; 0: at once.
    pub valid_from: i64,
    /// Its programme.
    pub programme: u32,
    /// 1: paid value.
    pub paid: u8,
}

/// What is on an account: `u16 code | u8 life | u8 wallet | u32 lots listed | balance | held | position | u64 lots | lot …`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BalanceBody {
    /// 0, or 16 for an account that is not known.
    pub code: u16,
    /// 0 active, 1 suspended, 2 closed.
    pub life: u8,
    /// 1: a wallet.
    pub wallet: u8,
    /// Yen that can be spent now.
    pub balance: u64,
    /// Yen in open holds.
    pub held: u64,
    /// As of this position.
    pub position: u64,
    /// Lots with value, also those that are not listed.
    pub lot_count: u64,
    /// At most [`LOTS_MAX`] lots.
    pub lots: Vec<LotBody>,
}

impl Body for BalanceBody {
    fn put(&self, w: &mut Writer<'_>) {
        let lots = &self.lots[..self.lots.len().min(LOTS_MAX)];
        w.u16(self.code).u8(self.life).u8(self.wallet).u32(lots.len() as u32);
        w.u64(self.balance).u64(self.held).u64(self.position).u64(self.lot_count);
        for l in lots {
            w.u64(l.id).u64(l.remaining).i64(l.expires_at).i64(l.valid_from).u32(l.programme).u8(l.paid).bytes(&[0; 3]);
        }
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, FrameError> {
        let (code, life, wallet, n) = (r.u16()?, r.u8()?, r.u8()?, r.u32()?);
        if n as usize > LOTS_MAX {
            return Err(FrameError::Field { name: "lots" });
        }
        let (balance, held, position, lot_count) = (r.u64()?, r.u64()?, r.u64()?, r.u64()?);
        let lot = |r: &mut Reader<'_>| {
            let l = LotBody {
                id: r.u64()?,
                remaining: r.u64()?,
                expires_at: r.i64()?,
                valid_from: r.i64()?,
                programme: r.u32()?,
                paid: r.u8()?,
            };
            r.array::<3>().map(|_| l)
        };
        let lots = (0..n).map(|_| lot(r)).collect::<Result<Vec<_>, Short>>()?;
        Ok(Self { code, life, wallet, balance, held, position, lot_count, lots })
    }
}

/// A plan: `u16 code | 6 zero | count | sum | digest | position`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlanBody {
    /// 0, or why there is none.
    pub code: u16,
    /// Lots.
    pub count: u64,
    /// Yen in them.
    pub sum: u64,
    /// Names the plan; `apply` sends it back.
    pub digest: u64,
    /// As of this position.
    pub position: u64,
}

impl Body for PlanBody {
    fn put(&self, w: &mut Writer<'_>) {
        w.u16(self.code).bytes(&[0; 6]).u64(self.count).u64(self.sum).u64(self.digest).u64(self.position);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, FrameError> {
        let code = r.u16()?;
        let _zero: [u8; 6] = r.array()?;
        Ok(Self { code, count: r.u64()?, sum: r.u64()?, digest: r.u64()?, position: r.u64()? })
    }
}

/// A programme's sums, each as 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SumsBody {
    /// The programme.
    pub programme: u32,
    /// issued, charged, reinstated, balances, spent, returned, expired, paid out, shortfall; yen.
    pub sums: [u128; 9],
}

/// Position, digest and sums: `u64 position | u128 digest | u32 programmes | 4 zero | (u32 programme | 4 zero | 9 × u128) …`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DigestBody {
    /// As of this position.
    pub position: u64,
    /// Of all decisions.
    pub digest: u128,
    /// By programme; at most 400 fit into a frame.
    pub programmes: Vec<SumsBody>,
}

impl Body for DigestBody {
    fn put(&self, w: &mut Writer<'_>) {
        let listed = &self.programmes[..self.programmes.len().min(400)];
        w.u64(self.position).bytes(&self.digest.to_le_bytes()).u32(listed.len() as u32).u32(0);
        for p in listed {
            w.u32(p.programme).u32(0);
            for s in p.sums {
                w.bytes(&s.to_le_bytes());
            }
        }
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, FrameError> {
        let (position, digest, n, _) = (r.u64()?, u128::from_le_bytes(r.array()?), r.u32()?, r.u32()?);
        if n > 400 {
            return Err(FrameError::Field { name: "programmes" });
        }
        let one = |r: &mut Reader<'_>| {
            let programme = r.u32()?;
            let _zero = r.u32()?;
            let mut sums = [0; 9];
            for s in &mut sums {
                *s = u128::from_le_bytes(r.array()?);
            }
            Ok(SumsBody { programme, sums })
        };
        let programmes = (0..n).map(|_| one(r)).collect::<Result<Vec<_>, Short>>()?;
        Ok(Self { position, digest, programmes })
    }
}

/// Programmes: `u32 count | 4 zero | (life u8 | 7 zero | rules of a programme) …`; see `docs/formats/records.md`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProgrammesBody {
    /// Life and rules of each, at most 400.
    pub programmes: Vec<(u8, tegata_model::Programme)>,
}

impl Body for ProgrammesBody {
    fn put(&self, w: &mut Writer<'_>) {
        let listed = &self.programmes[..self.programmes.len().min(400)];
        w.u32(listed.len() as u32).u32(0);
        for (life, p) in listed {
            w.u8(*life).bytes(&[0; 7]);
            tegata_model::put_programme(p, w);
        }
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, FrameError> {
        let (n, _) = (r.u32()?, r.u32()?);
        if n > 400 {
            return Err(FrameError::Field { name: "programmes" });
        }
        let mut programmes = Vec::new();
        for _ in 0..n {
            let life = r.u8()?;
            let _zero: [u8; 7] = r.array()?;
            programmes.push((life, tegata_model::get_programme(r)?));
        }
        Ok(Self { programmes })
    }
}

/// A shop: `[16] id | u32 programme | u8 life | 3 zero | [48] name`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShopBody {
    /// Its id.
    pub id: [u8; 16],
    /// The only programme it takes; 0: any that allows any shop.
    pub programme: u32,
    /// 0 active, 1 suspended, 2 closed.
    pub life: u8,
    /// UTF-8, zero-padded.
    pub name: [u8; 48],
}

/// Shops: `u32 count | u32 next | shop …`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ShopsBody {
    /// Where to go on; 0: that was all.
    pub next: u32,
    /// At most 400.
    pub shops: Vec<ShopBody>,
}

impl Body for ShopsBody {
    fn put(&self, w: &mut Writer<'_>) {
        let listed = &self.shops[..self.shops.len().min(400)];
        w.u32(listed.len() as u32).u32(self.next);
        for s in listed {
            w.bytes(&s.id).u32(s.programme).u8(s.life).bytes(&[0; 3]).bytes(&s.name);
        }
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, FrameError> {
        let (n, next) = (r.u32()?, r.u32()?);
        if n > 400 {
            return Err(FrameError::Field { name: "shops" });
        }
        let one = |r: &mut Reader<'_>| {
            let (id, programme, life) = (r.array()?, r.u32()?, r.u8()?);
            let _zero: [u8; 3] = r.array()?;
            Ok(ShopBody { id, programme, life, name: r.array()? })
        };
        let shops = (0..n).map(|_| one(r)).collect::<Result<Vec<_>, Short>>()?;
        Ok(Self { next, shops })
    }
}

/// How the server is: numbers of 8 bytes in the order of the fields, then the version text, zero-padded to 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServerBody {
    /// 0 normal; 1 read-only: only what settles or undoes payments is taken; 2 halted: nothing is; 3 brownout: payments
    /// go on, what can wait may be refused; 4 probing: on the way back.
    pub mode: u64,
    /// Since the server was ready, in ms.
    pub uptime_ms: u64,
    /// Last position accepted into a batch.
    pub accepted: u64,
    /// Last position handed to the journal.
    pub submitted: u64,
    /// Last durable position.
    pub durable: u64,
    /// Last applied position.
    pub applied: u64,
    /// Last position known to be delivered, or logged as undelivered.
    pub delivered: u64,
    /// Accounts.
    pub accounts: u64,
    /// Decisions remembered.
    pub decisions: u64,
    /// Bytes of the tables.
    pub table_bytes: u64,
    /// Connections.
    pub connections: u64,
    /// Requests accepted and not yet answered.
    pub in_flight: u64,
    /// Latency of a durable 4 KiB write when the journal was opened, µs.
    pub flush_us: u64,
    /// The program's version.
    pub version: [u8; 16],
}

impl ServerBody {
    const NUMBERS: usize = 13;

    fn numbers(&self) -> [u64; Self::NUMBERS] {
        [
            self.mode,
            self.uptime_ms,
            self.accepted,
            self.submitted,
            self.durable,
            self.applied,
            self.delivered,
            self.accounts,
            self.decisions,
            self.table_bytes,
            self.connections,
            self.in_flight,
            self.flush_us,
        ]
    }
}

impl Body for ServerBody {
    fn put(&self, w: &mut Writer<'_>) {
        for n in self.numbers() {
            w.u64(n);
        }
        w.bytes(&self.version);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, FrameError> {
        let mut n = [0; Self::NUMBERS];
        for x in &mut n {
            *x = r.u64()?;
        }
        let [
            mode,
            uptime_ms,
            accepted,
            submitted,
            durable,
            applied,
            delivered,
            accounts,
            decisions,
            table_bytes,
            connections,
            in_flight,
            flush_us,
        ] = n;
        Ok(Self {
            mode,
            uptime_ms,
            accepted,
            submitted,
            durable,
            applied,
            delivered,
            accounts,
            decisions,
            table_bytes,
            connections,
            in_flight,
            flush_us,
            version: r.array()?,
        })
    }
}

/// A snapshot was started: `u64 started (1) or not (0) | u64 position`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SnapshotBody {
    /// True when it was started.
    pub started: bool,
    /// As of this position.
    pub position: u64,
}

impl Body for SnapshotBody {
    fn put(&self, w: &mut Writer<'_>) {
        w.u64(u64::from(self.started)).u64(self.position);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, FrameError> {
        Ok(Self { started: r.u64()? == 1, position: r.u64()? })
    }
}
