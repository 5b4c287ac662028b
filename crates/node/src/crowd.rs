//! Those who wait while the queue has stood too long. Gateways take turns; of one gateway what is shed last goes first,
//! and of one rank the newest, because the oldest have little time left and would only make the others late as well.
//!
//! ```text
//! bundle ──▶ lane of its gateway ──by rank, newest first──▶ admission
//!                └──oldest, when its time is over──▶ turned away
//! ```
//!
//! Invariant: every record that was added is taken exactly once.

use crate::batch::whole_record;
use crate::degrade::Rank;
use crate::message::{Inbound, Waiter};
use std::collections::{BTreeMap, VecDeque};
use tegata_model::Timestamp;

/// Ranks that commands have.
const RANKS: usize = Rank::Issue as usize + 1;

/// One record that waits.
#[derive(Debug, Clone, Copy)]
struct Entry {
    slot: usize,
    at: usize,
    index: usize,
    /// When it is turned away.
    until: Timestamp,
    received: Timestamp,
}

/// What waits of one gateway.
#[derive(Debug, Default)]
struct Lane {
    /// In the order in which their time is over.
    ranks: [VecDeque<Entry>; RANKS],
}

impl Lane {
    fn is_empty(&self) -> bool {
        self.ranks.iter().all(VecDeque::is_empty)
    }
}

/// A bundle, for as long as one of its records waits.
#[derive(Debug)]
struct Held {
    thread: u16,
    bundle: Inbound,
    left: usize,
}

/// Records that were taken, one after the other, and who waits for each.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) records: Vec<u8>,
    pub(crate) who: Vec<(u16, Waiter)>,
}

impl Group {
    pub(crate) fn clear(&mut self) {
        self.records.clear();
        self.who.clear();
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    lanes: BTreeMap<u32, Lane>,
    held: Vec<Option<Held>>,
    free: Vec<usize>,
    /// The gateway whose turn was last.
    last: u32,
    len: usize,
    /// Bytes of the bundles that are held.
    bytes: usize,
    /// Used again and again.
    late: Vec<Entry>,
}

impl Crowd {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of the bundles of which somebody waits.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds the records of a bundle from `at` and `index` on. `until` says when a record of a rank is turned away, by its
    /// receipt and its deadline.
    pub(crate) fn add(
        &mut self,
        thread: u16,
        bundle: Inbound,
        mut at: usize,
        index: usize,
        until: impl Fn(Rank, Timestamp, Timestamp) -> Timestamp,
    ) {
        let left = bundle.waiters.len().saturating_sub(index);
        if left == 0 {
            return;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.held.push(None);
            self.held.len() - 1
        });
        for index in index..bundle.waiters.len() {
            let record = &bundle.records[at..];
            let (rank, received, deadline, gateway) = facts(record);
            let entry = Entry { slot, at, index, until: until(rank, received, deadline), received };
            let queue = &mut self.lanes.entry(gateway).or_default().ranks[rank as usize];
            // Mostly at the end: whoever has little time is rare.
            let place = queue.partition_point(|e| e.until <= entry.until);
            queue.insert(place, entry);
            at += whole_record(record);
        }
        self.bytes += bundle.records.len();
        self.held[slot] = Some(Held { thread, bundle, left });
        self.len += left;
    }

    /// The receipt of the oldest that waits.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        let oldest = |lane: &Lane| lane.ranks.iter().filter_map(|r| r.front()).map(|e| e.received).min();
        self.lanes.values().filter_map(oldest).min()
    }

    /// Puts the next whose turn it is into `group`. False when there is none, or it has more than `bytes`.
    pub(crate) fn next(&mut self, bytes: usize, group: &mut Group) -> bool {
        let after = self.last.checked_add(1).and_then(|n| self.lanes.range_mut(n..).next());
        let next = match after {
            Some((gateway, _)) => Some(*gateway),
            None => self.lanes.keys().next().copied(),
        };
        let Some(gateway) = next else { return false };
        let Some(lane) = self.lanes.get_mut(&gateway) else { return false };
        let Some(rank) = lane.ranks.iter().position(|r| !r.is_empty()) else { return false };
        let queue = &mut lane.ranks[rank];
        // Of what is never shed, who has the least time.
        let newest_first = rank >= Rank::Pay as usize;
        let Some(entry) = (if newest_first { queue.back() } else { queue.front() }).copied() else { return false };
        let record = self.held[entry.slot].as_ref().map_or(&[][..], |h| &h.bundle.records[entry.at..]);
        if whole_record(record) > bytes {
            return false;
        }
        if newest_first {
            queue.pop_back()
        } else {
            queue.pop_front()
        };
        if lane.is_empty() {
            self.lanes.remove(&gateway);
        }
        self.last = gateway;
        self.take(entry, group);
        true
    }

    /// Puts those whose time is over into `group`, the oldest of every rank first, at most `max`.
    pub(crate) fn overdue(&mut self, now: Timestamp, max: usize, group: &mut Group) {
        let mut late = std::mem::take(&mut self.late);
        for queue in self.lanes.values_mut().flat_map(|lane| &mut lane.ranks) {
            while late.len() < max
                && let Some(entry) = queue.pop_front_if(|e| e.until <= now)
            {
                late.push(entry);
            }
        }
        if !late.is_empty() {
            self.lanes.retain(|_, lane| !lane.is_empty());
        }
        late.drain(..).for_each(|entry| self.take(entry, group));
        self.late = late;
    }

    fn take(&mut self, entry: Entry, group: &mut Group) {
        self.len -= 1;
        let Some(held) = self.held[entry.slot].as_mut() else { return };
        let record = &held.bundle.records[entry.at..];
        group.records.extend_from_slice(&record[..whole_record(record)]);
        group.who.push((held.thread, held.bundle.waiters[entry.index]));
        held.left -= 1;
        if held.left == 0 {
            self.bytes -= held.bundle.records.len();
            self.held[entry.slot] = None;
            self.free.push(entry.slot);
        }
    }
}

/// What the header of a record says: rank, receipt, deadline, gateway.
fn facts(record: &[u8]) -> (Rank, Timestamp, Timestamp, u32) {
    let instant = |at: usize| record[at..].first_chunk().map_or(0, |b| i64::from_le_bytes(*b));
    let gateway = record[28..].first_chunk().map_or(0, |b| u32::from_le_bytes(*b));
    let kind = u16::from_le_bytes([record[0], record[1]]);
    (Rank::of(kind), Timestamp::from_micros(instant(8)), Timestamp::from_micros(instant(16)), gateway)
}
