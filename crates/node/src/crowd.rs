//! Those who wait while the queue has stood too long. Gateways take turns; of one gateway what is shed last goes first,
//! and of one rank the newest, because the oldest have little time left and would only make the others late as well.
//!
//! ```text
//! bundle ──▶ lane of its gateway ──by rank, newest first──▶ admission
//!    │           └──oldest, when its time is over or too many wait──▶ turned away
//!    └──who would lose its place to others of its bundle──▶ turned away
//! ```
//!
//! Records stay where they came in, and nothing of one is looked at but its header before it is taken: most are turned
//! away.
//!
//! Invariant: every record that was added is taken or turned away exactly once.

use crate::batch::{Ticket, header, records};
use crate::degrade::Rank;
use crate::message::Waiter;
use std::collections::{BTreeMap, VecDeque};
use tegata_model::Timestamp;

/// Ranks that commands have.
const RANKS: usize = Rank::Issue as usize + 1;
/// Empty bundles that are kept, and how large one may be: 2 MiB at most.
const SPARE_MAX: usize = 32;
const SPARE_BYTES_MAX: usize = 64 << 10;

/// What the invariant says of every entry.
const HELD: &str = "a bundle is held for as long as one of its records waits";

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

/// Records of a bundle, one after the other, and who waits for each.
#[derive(Debug, Default)]
pub(crate) struct Comers {
    pub(crate) thread: u16,
    /// Whether more of them was looked at than the header.
    pub(crate) looked: bool,
    pub(crate) records: Vec<u8>,
    pub(crate) waiters: Vec<Waiter>,
}

impl Comers {
    /// Those of one gateway and one rank that stand in a row from `at` and `index` on; those of one connection mostly do.
    fn run(&self, at: usize, index: usize) -> Option<Run> {
        let left = self.waiters.len().checked_sub(index).filter(|n| *n > 0)?;
        let mut all = records(&self.records[at..]).map(|record| {
            let header = header(record);
            (Rank::of(header.kind()), header.gateway().get())
        });
        let (rank, gateway) = all.next()?;
        let count = 1 + all.take(left - 1).take_while(|next| *next == (rank, gateway)).count();
        Some(Run { rank, gateway, count })
    }

    fn taken(&self, at: usize, index: usize) -> Taken<'_> {
        let record = records(&self.records[at..]).next().expect("a waiter for each record");
        Taken { ticket: Ticket::new(self.waiters[index], self.thread), record, looked: self.looked }
    }
}

/// See [`Comers::run`].
struct Run {
    rank: Rank,
    gateway: u32,
    count: usize,
}

/// A record that was taken out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken<'a> {
    pub(crate) ticket: Ticket,
    pub(crate) record: &'a [u8],
    pub(crate) looked: bool,
}

impl Taken<'_> {
    pub(crate) const NOTHING: Self = Self { ticket: Ticket::NOBODY, record: &[], looked: true };
}

/// What waits of one gateway.
#[derive(Debug, Default)]
struct Lane {
    /// In the order in which their time is over.
    ranks: [VecDeque<Entry>; RANKS],
    /// How many of them may be shed.
    sheddable: usize,
}

impl Lane {
    fn is_empty(&self) -> bool {
        self.ranks.iter().all(VecDeque::is_empty)
    }

    fn add(&mut self, rank: Rank, entry: Entry) {
        let queue = &mut self.ranks[rank as usize];
        // Mostly at the end: whoever has little time is rare.
        if queue.back().is_none_or(|last| last.until <= entry.until) {
            queue.push_back(entry);
        } else {
            queue.insert(queue.partition_point(|e| e.until <= entry.until), entry);
        }
        self.sheddable += usize::from(rank >= Rank::Pay);
    }

    /// Of `count` more of a rank, how many are too many for its share, whatever is shed before them.
    fn doomed(&self, rank: Rank, count: usize, share: usize) -> usize {
        let better: usize = self.ranks[Rank::Pay as usize..rank as usize].iter().map(VecDeque::len).sum();
        (better + count).saturating_sub(share).min(count)
    }

    /// How many are shed before one more of this rank.
    fn shed_before(&self, rank: Rank) -> usize {
        self.ranks[rank as usize..].iter().map(VecDeque::len).sum()
    }

    /// Takes out the oldest of what is shed first.
    fn shed(&mut self) -> Option<Entry> {
        let entry = self.ranks[Rank::Pay as usize..].iter_mut().rev().find_map(VecDeque::pop_front)?;
        self.sheddable -= 1;
        Some(entry)
    }
}

/// A bundle, for as long as one of its records waits.
#[derive(Debug)]
struct Held {
    comers: Comers,
    left: usize,
}

/// Records that were taken, one after the other, and who waits for each.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) records: Vec<u8>,
    pub(crate) who: Vec<(Ticket, bool)>,
}

impl Group {
    fn push(&mut self, taken: Taken<'_>) {
        self.records.extend_from_slice(taken.record);
        self.who.push((taken.ticket, taken.looked));
    }

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
    /// The gateway whose queue was the longest when somebody was pushed out.
    longest: u32,
    len: usize,
    /// Those of them who may be shed.
    sheddable: usize,
    /// Bytes of the bundles that are held.
    bytes: usize,
    /// Who is turned away next.
    late: Vec<Entry>,
    /// Empty bundles, used again and again.
    spare: Vec<Comers>,
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
    /// receipt and its deadline; nothing: next, without a turn. Of those who may be shed at most `most` stay: whoever has
    /// the longest queue loses its oldest. Those who would lose their place to the rest of their own bundle get none, and
    /// are handed to `does`, at most `N` at once.
    pub(crate) fn add<const N: usize>(
        &mut self,
        comers: Comers,
        mut at: usize,
        mut index: usize,
        most: usize,
        until: impl Fn(Rank, Timestamp, Timestamp) -> Option<Timestamp>,
        mut does: impl FnMut(&[Taken<'_>]),
    ) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.held.push(None);
            self.held.len() - 1
        });
        let mut left = 0;
        while let Some(run) = comers.run(at, index) {
            let Run { rank, gateway, count } = run;
            let new = !self.lanes.contains_key(&gateway);
            let share = most / (self.lanes.len() + usize::from(new));
            let lane = self.lanes.entry(gateway).or_default();
            let doomed = if rank >= Rank::Pay { lane.doomed(rank, count, share) } else { 0 };
            // What goes before them makes room first: theirs, and what the others have above their share.
            let doomed = if doomed > 0 {
                let first = lane.shed_before(rank);
                let others = self.lanes.iter().filter(|(g, _)| **g != gateway);
                let first = first + others.map(|(_, l)| l.sheddable.saturating_sub(share)).sum::<usize>();
                doomed.min((self.sheddable + count).saturating_sub(most + first))
            } else {
                0
            };
            let lane = self.lanes.entry(gateway).or_default();
            for first in (0..doomed).step_by(N) {
                let mut taken = [Taken::NOTHING; N];
                let some = &mut taken[..N.min(doomed - first)];
                for taken in some.iter_mut() {
                    *taken = comers.taken(at, index);
                    at += taken.record.len();
                    index += 1;
                }
                does(some);
            }
            let before = lane.sheddable;
            for _ in doomed..count {
                let record = comers.taken(at, index).record;
                let (received, deadline) = (header(record).received_at(), header(record).deadline());
                match until(rank, received, deadline) {
                    Some(until) => lane.add(rank, Entry { slot, at, index, until, received }),
                    None => self.late.push(Entry { slot, at, index, until: deadline, received }),
                }
                at += record.len();
                index += 1;
            }
            self.sheddable += lane.sheddable - before;
            left += count - doomed;
            if lane.is_empty() {
                self.lanes.remove(&gateway);
            }
        }
        if left == 0 {
            self.free.push(slot);
            return self.keep_spare(comers);
        }
        self.bytes += comers.records.len();
        self.held[slot] = Some(Held { comers, left });
        self.len += left;
        while self.sheddable > most && self.push_one_out(most) {}
    }

    /// Some queue is longer than its share while there are more than `most`; the longest is not looked for each time.
    fn push_one_out(&mut self, most: usize) -> bool {
        let (before, share) = (self.late.len(), most / self.lanes.len().max(1));
        if self.lanes.get(&self.longest).is_none_or(|lane| lane.sheddable <= share) {
            let longest = self.lanes.iter().max_by_key(|(_, lane)| lane.sheddable);
            self.longest = longest.map_or(0, |(gateway, _)| *gateway);
        }
        let Some(lane) = self.lanes.get_mut(&self.longest) else { return false };
        // The same lane until it has its share: more would be looked for only to lose one each.
        while lane.sheddable > share && self.sheddable > most {
            let Some(entry) = lane.shed() else { break };
            self.sheddable -= 1;
            self.late.push(entry);
        }
        if lane.is_empty() {
            self.lanes.remove(&self.longest);
        }
        self.late.len() > before
    }

    /// An empty bundle, which may have had room before.
    pub(crate) fn spare(&mut self) -> Comers {
        self.spare.pop().unwrap_or_default()
    }

    fn keep_spare(&mut self, mut comers: Comers) {
        if self.spare.len() < SPARE_MAX && comers.records.capacity() <= SPARE_BYTES_MAX {
            comers.records.clear();
            comers.waiters.clear();
            self.spare.push(comers);
        }
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
        let lane = self.lanes.get_mut(&gateway).expect("its turn was found among the lanes");
        let rank = lane.ranks.iter().position(|r| !r.is_empty()).expect("a lane that is kept is not empty");
        let queue = &mut lane.ranks[rank];
        // Of what is never shed, who has the least time.
        let newest_first = rank >= Rank::Pay as usize;
        let entry = *(if newest_first { queue.back() } else { queue.front() }).expect("the queue is not empty");
        let held = self.held[entry.slot].as_ref().expect(HELD);
        let taken = held.comers.taken(entry.at, entry.index);
        if taken.record.len() > bytes {
            return false;
        }
        group.push(taken);
        if newest_first {
            queue.pop_back();
            lane.sheddable -= 1;
            self.sheddable -= 1;
        } else {
            queue.pop_front();
        }
        if lane.is_empty() {
            self.lanes.remove(&gateway);
        }
        self.last = gateway;
        self.let_go(entry);
        true
    }

    /// Whose time is over is turned away next, the oldest of every rank first. Nothing more is added to those who are, once
    /// they are `most`.
    pub(crate) fn overdue(&mut self, now: Timestamp, most: usize) {
        let before = self.late.len();
        for lane in self.lanes.values_mut() {
            for (rank, queue) in lane.ranks.iter_mut().enumerate() {
                while self.late.len() < most
                    && let Some(entry) = queue.pop_front_if(|e| e.until <= now)
                {
                    if rank >= Rank::Pay as usize {
                        lane.sheddable -= 1;
                        self.sheddable -= 1;
                    }
                    self.late.push(entry);
                }
            }
        }
        if self.late.len() > before {
            self.lanes.retain(|_, lane| !lane.is_empty());
        }
    }

    /// Hands those who are turned away to `does`, at most `N` at once.
    pub(crate) fn turn_away<const N: usize>(&mut self, mut does: impl FnMut(&[Taken<'_>])) {
        let mut late = std::mem::take(&mut self.late);
        for some in late.chunks(N) {
            let mut taken = [Taken::NOTHING; N];
            for (entry, taken) in some.iter().zip(&mut taken) {
                *taken = self.held[entry.slot].as_ref().expect(HELD).comers.taken(entry.at, entry.index);
            }
            does(&taken[..some.len()]);
            some.iter().for_each(|entry| self.let_go(*entry));
        }
        late.clear();
        self.late = late;
    }

    /// A record was taken out: its bundle is held no longer than the last.
    fn let_go(&mut self, entry: Entry) {
        let held = self.held[entry.slot].as_mut().expect(HELD);
        self.len -= 1;
        held.left -= 1;
        if held.left == 0 {
            let held = self.held[entry.slot].take().expect(HELD);
            self.bytes -= held.comers.records.len();
            self.free.push(entry.slot);
            self.keep_spare(held.comers);
        }
    }
}
