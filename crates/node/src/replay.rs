//! From journal batches back to the state: the same records through the same engine, with the digests that the
//! batches carry held against it.

use crate::margin::{Carried, Margin};
use std::collections::VecDeque;
use tegata_engine::{Applied, Engine, Hint, TOUCH_MAX};
use tegata_model::{Position, RecordError, Timestamp, record_len};

/// Batch ends whose digests are kept for a later margin to name. More batches are never in flight.
const DIGESTS_KEPT: usize = 256;

/// Why a journal does not give a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayError {
    /// Bytes in a batch whose checksums hold are not a record.
    Record {
        /// Its position.
        position: Position,
        /// Why not.
        error: RecordError,
    },
    /// The batch says how many records it has, and has another number.
    Count {
        /// The batch's first position.
        position: Position,
        /// What it says.
        expected: u32,
        /// What it has.
        got: u32,
    },
    /// Reserved space of the margin is not zero.
    Margin {
        /// The batch's first position.
        position: Position,
    },
    /// It does not follow the batch before it, in position or in time.
    Order {
        /// The batch's first position.
        position: Position,
    },
    /// Replay decided otherwise than it was decided.
    Digest {
        /// After this position.
        position: Position,
    },
}

impl core::fmt::Display for ReplayError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Record { position, error } => write!(f, "position {}: {error}", position.get()),
            Self::Count { position, expected, got } => {
                write!(f, "batch at position {} says {expected} records and has {got}", position.get())
            }
            Self::Margin { position } => write!(f, "batch at position {}: reserved space is not zero", position.get()),
            Self::Order { position } => write!(f, "batch at position {} is out of order", position.get()),
            Self::Digest { position } => {
                write!(f, "after position {} replay decides otherwise than it was decided", position.get())
            }
        }
    }
}

impl std::error::Error for ReplayError {}

/// Applies batches.
#[derive(Debug)]
pub struct Replay {
    engine: Engine,
    digests: VecDeque<(u64, u128)>,
    carried: Carried,
    records: u64,
    verified: u64,
}

impl Replay {
    /// Starts from a state: an empty engine, or a snapshot with what was carried then.
    #[must_use]
    pub fn new(engine: Engine, carried: Carried) -> Self {
        let mut digests = VecDeque::with_capacity(DIGESTS_KEPT);
        digests.push_back((engine.applied().get(), engine.digest()));
        Self { engine, digests, carried, records: 0, verified: 0 }
    }

    /// Applies one batch; `each` sees every record with its position and what became of it.
    pub fn batch(
        &mut self,
        first: u64,
        count: u32,
        at_us: i64,
        margin: &[u8; 64],
        body: &[u8],
        mut each: impl FnMut(&Engine, Position, &[u8], &Applied),
    ) -> Result<(), ReplayError> {
        let start = Position::new(first);
        let at = Timestamp::from_micros(at_us);
        if start != self.engine.applied().next() || at < self.engine.at() {
            return Err(ReplayError::Order { position: start });
        }
        let m = Margin::decode(margin).ok_or(ReplayError::Margin { position: start })?;
        self.verify(&m)?;
        let delivered_to = self.carried.delivered_to.max(m.carried.delivered_to);
        self.carried = Carried { delivered_to, ..m.carried };
        let (mut rest, mut position, mut got) = (body, start, 0);
        while !rest.is_empty() {
            let bad = |position| move |error| ReplayError::Record { position, error };
            let mut hints = [Hint::default(); TOUCH_MAX];
            let (mut ahead, mut group) = (rest, 0);
            while group < TOUCH_MAX && !ahead.is_empty() {
                let here = Position::new(position.get() + group as u64);
                let (record, tail) = ahead.split_at(record_len(ahead).map_err(bad(here))?);
                hints[group] = self.engine.hint(record);
                (ahead, group) = (tail, group + 1);
            }
            self.engine.touch(&hints[..group]);
            for hint in &hints[..group] {
                let (record, tail) = rest.split_at(record_len(rest).map_err(bad(position))?);
                let applied = self.engine.apply_hinted(position, at, record, hint).map_err(bad(position))?;
                each(&self.engine, position, record, &applied);
                (rest, position, got) = (tail, position.next(), got + 1);
            }
        }
        if got != count {
            return Err(ReplayError::Count { position: start, expected: count, got });
        }
        self.records += u64::from(got);
        if self.digests.len() == DIGESTS_KEPT {
            self.digests.pop_front();
        }
        self.digests.push_back((self.engine.applied().get(), self.engine.digest()));
        Ok(())
    }

    /// Holds a digest that was logged against what replay gave at the same position.
    fn verify(&mut self, m: &Margin) -> Result<(), ReplayError> {
        match self.digests.iter().find(|(p, _)| *p == m.digest_position) {
            Some((_, digest)) if *digest != m.digest => {
                Err(ReplayError::Digest { position: Position::new(m.digest_position) })
            }
            Some(_) => {
                self.verified = m.digest_position;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The state, and what the node carries on.
    #[must_use]
    pub fn finish(self) -> (Engine, Carried) {
        (self.engine, self.carried)
    }

    /// The state so far.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Records applied.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The last position at which a logged digest was held against the state.
    #[must_use]
    pub fn verified(&self) -> u64 {
        self.verified
    }
}
