//! The network: connections as two byte streams, each in order, delayed, cut at any byte, or silently dead. Two
//! connections overtake each other freely.

use crate::plan::{Feature, Plan};
use crate::random::Random;
use std::collections::BTreeMap;

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// From the caller to the server.
    Up,
    /// From the server to the caller.
    Down,
}

/// What arrives, and when, in µs.
#[derive(Debug)]
pub enum Arrival {
    /// Bytes.
    Bytes(u64, Vec<u8>),
    /// The end of the stream in this direction.
    End(u64),
}

#[derive(Debug, Default)]
struct Link {
    /// Nothing arrives before these: a stream keeps its order.
    free_at: [u64; 2],
    /// Silently dead: nothing arrives any more, in either direction.
    dead: bool,
    /// The end is on its way.
    ended: [bool; 2],
}

/// All connections.
#[derive(Debug)]
pub struct Net {
    random: Random,
    way_us: u64,
    links: BTreeMap<u64, Link>,
    /// Nothing gets through before this.
    split_until: u64,
    cuts: u64,
    half_open: u64,
    late: u64,
    /// Faults are over.
    healed: bool,
    /// Connections that were cut within a frame.
    pub cut: u64,
}

impl Net {
    /// The network of a world.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let mut random = Random::new(plan.seed, "net");
        let mut rate = |feature, low, high| {
            let rate = random.spread(low, high);
            if plan.has(feature) { rate } else { 0 }
        };
        let (cuts, half_open, late) =
            (rate(Feature::Cut, 1, 30), rate(Feature::HalfOpen, 1, 10), rate(Feature::Late, 1, 30));
        Self {
            random,
            way_us: plan.way_us,
            links: BTreeMap::new(),
            split_until: 0,
            cuts,
            half_open,
            late,
            healed: false,
            cut: 0,
        }
    }

    /// No faults any more.
    pub fn heal(&mut self) {
        (self.healed, self.split_until) = (true, 0);
    }

    /// Nothing gets through until then.
    pub fn split(&mut self, until: u64) {
        self.split_until = until;
    }

    fn way(&mut self) -> u64 {
        self.way_us + self.random.below(self.way_us + 1)
    }

    /// A new connection; when its beginning reaches the server.
    pub fn open(&mut self, connection: u64, now: u64) -> u64 {
        self.links.insert(connection, Link::default());
        let at = now.max(self.split_until) + self.way();
        if let Some(link) = self.links.get_mut(&connection) {
            link.free_at = [at; 2];
        }
        at
    }

    /// Sends bytes: what arrives of it, and whether the connection is cut, at both ends.
    pub fn send(&mut self, connection: u64, way: Way, bytes: Vec<u8>, now: u64) -> (Vec<Arrival>, bool) {
        let (fault, at) = (self.random.below(1_000), self.way());
        let wait = if !self.healed && self.late > 0 && self.random.chance(self.late) {
            self.random.spread(100_000, 20_000_000)
        } else {
            0
        };
        let split_until = self.split_until;
        let (cuts, half_open) = if self.healed { (0, 0) } else { (self.cuts, self.half_open) };
        let Some(link) = self.links.get_mut(&connection) else { return (Vec::new(), false) };
        if link.dead || link.ended[way as usize] {
            return (Vec::new(), false);
        }
        if fault < half_open {
            link.dead = true;
            return (Vec::new(), false);
        }
        let at = link.free_at[way as usize].max(now.max(split_until) + at + wait);
        link.free_at[way as usize] = at;
        if fault < half_open + cuts {
            link.ended = [true; 2];
            let whole = bytes.len();
            let mut bytes = bytes;
            bytes.truncate(self.random.below(whole as u64 + 1) as usize);
            self.cut += u64::from(!bytes.is_empty() && bytes.len() < whole);
            return (vec![Arrival::Bytes(at, bytes), Arrival::End(at)], true);
        }
        (vec![Arrival::Bytes(at, bytes)], false)
    }

    /// One side ends its half: when the other learns of it.
    pub fn end(&mut self, connection: u64, way: Way, now: u64) -> Option<u64> {
        let at = self.way();
        let split_until = self.split_until;
        let link = self.links.get_mut(&connection)?;
        if link.dead || std::mem::replace(&mut link.ended[way as usize], true) {
            return None;
        }
        Some(link.free_at[way as usize].max(now.max(split_until) + at))
    }

    /// A connection that one side has given up is silently dead for the other, or learns of it.
    pub fn forget(&mut self, connection: u64) {
        self.links.remove(&connection);
    }
}
