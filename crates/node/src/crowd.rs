//! Those who wait while the queue has stood too long. Gateways take turns; of one gateway what is shed last goes first,
//! and of one rank the newest, because the oldest have little time left and would only make the others late as well.
//!
//! ```text
//! bundle ──▶ lane of its gateway ──by rank, newest first──▶ admission
//!                └──oldest, when its time is over or too many wait──▶ turned away
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
use tegata_model::{Code, Timestamp};

/// Ranks that commands have.
const RANKS: usize = Rank::Issue as usize + 1;
/// Empty bundles that are kept, and how large one may be: 2 MiB at most.
const SPARE_MAX: usize = 32;
const SPARE_BYTES_MAX: usize = 64 << 10;

/// What the invariant says of every run.
const HELD: &str = "a bundle is held for as long as one of its records waits";

/// Records of one bundle that stand in a row and wait alike: those of one read of a connection mostly do.
#[derive(Debug, Clone, Copy)]
struct Run {
    slot: usize,
    /// Where the first of them begins, and its number in the bundle.
    at: usize,
    index: usize,
    count: usize,
    /// Of each.
    bytes: usize,
    /// When they are turned away.
    until: Timestamp,
    received: Timestamp,
}

impl Run {
    /// Takes its first `count` out.
    fn split_off_front(&mut self, count: usize) -> Self {
        let front = Self { count, ..*self };
        self.at += count * self.bytes;
        self.index += count;
        self.count -= count;
        front
    }
}

/// Where records wait, and until when; nothing: they are turned away next, without a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    rank: Rank,
    gateway: u32,
    until: Option<Timestamp>,
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
    /// Those that stand in a row from `at` and `index` on and wait alike, and where.
    fn run(
        &self,
        slot: usize,
        at: usize,
        index: usize,
        until: impl Fn(Rank, Timestamp, Timestamp) -> Option<Timestamp>,
    ) -> Option<(Place, Run)> {
        let look = |record: &[u8]| {
            let header = header(record);
            (header.kind(), header.gateway(), header.received_at(), header.deadline(), record.len())
        };
        let mut all = records(&self.records[at..]).map(look);
        let (kind, gateway, received, deadline, bytes) = all.next()?;
        let rank = Rank::of(kind);
        let place = Place { rank, gateway: gateway.get(), until: until(rank, received, deadline) };
        let like = |next: &(_, _, _, Timestamp, _)| {
            let (.., end, _) = *next;
            *next == (kind, gateway, received, end, bytes)
                && (end == deadline || until(rank, received, end) == place.until)
        };
        let count = 1 + all.take_while(like).count();
        Some((place, Run { slot, at, index, count, bytes, until: place.until.unwrap_or(deadline), received }))
    }

    fn taken(&self, run: &Run, n: usize) -> Taken<'_> {
        let ticket = Ticket::new(self.waiters[run.index + n], self.thread);
        Taken { ticket, record: &self.records[run.at + n * run.bytes..][..run.bytes], looked: self.looked, why: None }
    }
}

/// A record that was taken out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken<'a> {
    pub(crate) ticket: Ticket,
    pub(crate) record: &'a [u8],
    pub(crate) looked: bool,
    /// Why it is refused; nothing where that is load's.
    pub(crate) why: Option<Code>,
}

impl Taken<'_> {
    pub(crate) const NOTHING: Self = Self { ticket: Ticket::NOBODY, record: &[], looked: true, why: None };
}

/// What waits of one gateway.
#[derive(Debug, Default)]
struct Lane {
    /// In the order in which their time is over.
    ranks: [VecDeque<Run>; RANKS],
    /// How many of them may be shed.
    sheddable: usize,
}

impl Lane {
    fn is_empty(&self) -> bool {
        self.ranks.iter().all(VecDeque::is_empty)
    }

    fn add(&mut self, rank: Rank, run: Run) {
        let queue = &mut self.ranks[rank as usize];
        // Mostly at the end: whoever has little time is rare.
        if queue.back().is_none_or(|last| last.until <= run.until) {
            queue.push_back(run);
        } else {
            queue.insert(queue.partition_point(|r| r.until <= run.until), run);
        }
        self.sheddable += if rank >= Rank::Pay { run.count } else { 0 };
    }

    /// Takes out the oldest of what is shed first, at most `most` of them.
    fn shed(&mut self, most: usize) -> Option<Run> {
        let queue = self.ranks[Rank::Pay as usize..].iter_mut().rev().find(|queue| !queue.is_empty())?;
        let run = take_front(queue, most)?;
        self.sheddable -= run.count;
        Some(run)
    }
}

/// Takes out the first records of a queue, at most `most` of one run.
fn take_front(queue: &mut VecDeque<Run>, most: usize) -> Option<Run> {
    let front = queue.front_mut()?;
    if front.count > most { Some(front.split_off_front(most)) } else { queue.pop_front() }
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
    late: Vec<Run>,
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
    /// the longest queue loses its oldest.
    pub(crate) fn add(
        &mut self,
        comers: Comers,
        mut at: usize,
        mut index: usize,
        most: usize,
        until: impl Fn(Rank, Timestamp, Timestamp) -> Option<Timestamp>,
    ) {
        let left = comers.waiters.len() - index;
        if left == 0 {
            return self.keep_spare(comers);
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.held.push(None);
            self.held.len() - 1
        });
        while let Some((place, run)) = comers.run(slot, at, index, &until) {
            at += run.count * run.bytes;
            index += run.count;
            if place.until.is_none() {
                self.late.push(run);
                continue;
            }
            let lane = self.lanes.entry(place.gateway).or_default();
            let before = lane.sheddable;
            lane.add(place.rank, run);
            self.sheddable += lane.sheddable - before;
        }
        assert_eq!(index, comers.waiters.len(), "a waiter for each record");
        self.bytes += comers.records.len();
        self.held[slot] = Some(Held { comers, left });
        self.len += left;
        while self.sheddable > most && self.push_some_out(most) {}
    }

    /// Some queue is longer than its share while there are more than `most`; the longest is not looked for each time.
    fn push_some_out(&mut self, most: usize) -> bool {
        let (before, share) = (self.late.len(), most / self.lanes.len().max(1));
        if self.lanes.get(&self.longest).is_none_or(|lane| lane.sheddable <= share) {
            let longest = self.lanes.iter().max_by_key(|(_, lane)| lane.sheddable);
            self.longest = longest.map_or(0, |(gateway, _)| *gateway);
        }
        let Some(lane) = self.lanes.get_mut(&self.longest) else { return false };
        // The same lane until it has its share: more would be looked for only to lose a few each.
        while lane.sheddable > share && self.sheddable > most {
            let Some(run) = lane.shed((lane.sheddable - share).min(self.sheddable - most)) else { break };
            self.sheddable -= run.count;
            self.late.push(run);
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
        let run = if newest_first { queue.back_mut() } else { queue.front_mut() }.expect("the queue is not empty");
        let held = self.held[run.slot].as_ref().expect(HELD);
        let taken = held.comers.taken(run, if newest_first { run.count - 1 } else { 0 });
        if taken.record.len() > bytes {
            return false;
        }
        group.push(taken);
        let slot = run.slot;
        if newest_first {
            run.count -= 1;
            queue.pop_back_if(|run| run.count == 0);
            lane.sheddable -= 1;
            self.sheddable -= 1;
        } else {
            take_front(queue, 1);
        }
        if lane.is_empty() {
            self.lanes.remove(&gateway);
        }
        self.last = gateway;
        self.let_go(slot, 1);
        true
    }

    /// Whose time is over is turned away next, the oldest of every rank first. Nothing more is added to those who are, once
    /// they are `most`.
    pub(crate) fn overdue(&mut self, now: Timestamp, most: usize) {
        let before = self.late.iter().map(|run| run.count).sum::<usize>();
        let mut room = most.saturating_sub(before);
        for lane in self.lanes.values_mut() {
            for (rank, queue) in lane.ranks.iter_mut().enumerate() {
                while room > 0
                    && queue.front().is_some_and(|run| run.until <= now)
                    && let Some(run) = take_front(queue, room)
                {
                    room -= run.count;
                    if rank >= Rank::Pay as usize {
                        lane.sheddable -= run.count;
                        self.sheddable -= run.count;
                    }
                    self.late.push(run);
                }
            }
        }
        if before + room < most {
            self.lanes.retain(|_, lane| !lane.is_empty());
        }
    }

    /// Hands those who are turned away to `does`, at most `N` at once.
    pub(crate) fn turn_away<const N: usize>(&mut self, mut does: impl FnMut(&[Taken<'_>])) {
        let mut late = std::mem::take(&mut self.late);
        let (mut some, mut count) = ([Taken::NOTHING; N], 0);
        for run in &late {
            let comers = &self.held[run.slot].as_ref().expect(HELD).comers;
            for n in 0..run.count {
                some[count] = comers.taken(run, n);
                count += 1;
                if count == N {
                    does(&some);
                    count = 0;
                }
            }
        }
        if count > 0 {
            does(&some[..count]);
        }
        late.drain(..).for_each(|run| self.let_go(run.slot, run.count));
        self.late = late;
    }

    /// Records of a bundle were taken out: it is held no longer than the last.
    fn let_go(&mut self, slot: usize, count: usize) {
        let held = self.held[slot].as_mut().expect(HELD);
        self.len -= count;
        held.left -= count;
        if held.left == 0 {
            let held = self.held[slot].take().expect(HELD);
            self.bytes -= held.comers.records.len();
            self.free.push(slot);
            self.keep_spare(held.comers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tegata_model::{GatewayId, NamespaceId, NewHeader, Operation, RECORD_HEADER_BYTES};

    /// One that waits: its rank, until when, and who it is.
    type One = (Rank, Timestamp, u64);

    /// The same of one gateway, record by record.
    #[derive(Default)]
    struct Plain(Vec<One>);

    impl Plain {
        /// In the order in which their time is over; of a rank.
        fn first(&self, of: impl Fn(Rank) -> bool) -> Option<usize> {
            let all = self.0.iter().enumerate().filter(|(_, one)| of(one.0));
            all.min_by_key(|(_, (rank, until, _))| (*rank as usize, *until)).map(|(n, _)| n)
        }

        fn add(&mut self, all: &[One], most: usize, late: &mut Vec<u64>) {
            self.0.extend(all);
            let sheddable = |(rank, ..): &One| *rank >= Rank::Pay;
            while self.0.iter().filter(|one| sheddable(one)).count() > most {
                let worst = self.0.iter().filter(|one| sheddable(one)).map(|one| one.0).max().expect("some are");
                late.push(self.0.remove(self.first(|rank| rank == worst).expect("one of this rank")).2);
            }
        }

        fn next(&mut self) -> Option<u64> {
            let best = self.0.iter().map(|one| one.0).min()?;
            let of_best = |(_, one): &(usize, &One)| one.0 == best;
            let newest = self.0.iter().enumerate().filter(of_best).max_by_key(|(_, one)| one.1).map(|(n, _)| n);
            let n = if best >= Rank::Pay { newest } else { self.first(|rank| rank == best) };
            n.map(|n| self.0.remove(n).2)
        }

        fn overdue(&mut self, now: Timestamp, mut most: usize, late: &mut Vec<u64>) {
            let mut n = 0;
            self.0.sort_by_key(|(rank, until, _)| (*rank as usize, *until));
            while n < self.0.len() {
                if most > 0 && self.0[n].1 <= now {
                    late.push(self.0.remove(n).2);
                    most -= 1;
                } else {
                    n += 1;
                }
            }
        }
    }

    /// Who a record is, which its ticket says as well.
    fn who(ticket: Ticket, record: &[u8]) -> u64 {
        assert_eq!(u128::from_le_bytes(*header(record).key().bytes()), u128::from(ticket.waiter.request));
        ticket.waiter.request
    }

    #[test]
    fn runs_wait_and_are_shed_as_their_records_would_one_by_one() {
        let kinds = [Operation::Fence.kind(), 7, 4, 5, 6, 3];
        let (mut crowd, mut plain) = (Crowd::default(), Plain::default());
        let (mut random, mut request, mut now) = (7u64, 0, 1_000_000i64);
        let mut below = |n: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % n
        };
        let (mut taken, mut shed) = (0, 0);
        for _ in 0..20_000 {
            let (mut late, mut told) = (Vec::new(), Vec::new());
            match below(4) {
                0 | 1 => {
                    now += below(50) as i64;
                    let until = |_: Rank, received: Timestamp, deadline: Timestamp| {
                        (deadline >= received).then(|| deadline.min(received.plus_millis(1)))
                    };
                    let (mut comers, mut ones) = (Comers::default(), Vec::new());
                    for _ in 0..=below(4) {
                        let (kind, deadline) = (kinds[below(6) as usize], now + below(3_000) as i64 - 100);
                        for _ in 0..=below(8) {
                            let bytes = RECORD_HEADER_BYTES + 8 * below(2) as usize;
                            request += 1;
                            let header = NewHeader {
                                kind,
                                length: bytes as u16,
                                received_at: Timestamp::from_micros(now),
                                deadline: Timestamp::from_micros(deadline),
                                namespace: NamespaceId::new(1),
                                gateway: GatewayId::new(1),
                                account: &[0; 16],
                                key: &u128::from(request).to_le_bytes(),
                            };
                            header.put(&mut comers.records);
                            comers.records.resize(comers.records.len() + bytes - RECORD_HEADER_BYTES, 0);
                            comers.waiters.push(Waiter { connection: 1, request });
                            match until(Rank::Pay, header.received_at, header.deadline) {
                                Some(until) => ones.push((Rank::of(kind), until, request)),
                                None => late.push(request),
                            }
                        }
                    }
                    let most = below(60) as usize;
                    crowd.add(comers, 0, 0, most, until);
                    plain.add(&ones, most, &mut late);
                }
                2 => {
                    let mut group = Group::default();
                    let is_one = crowd.next(usize::MAX, &mut group);
                    assert_eq!(is_one.then(|| who(group.who[0].0, &group.records)), plain.next());
                    taken += u64::from(is_one);
                }
                _ => {
                    now += below(800) as i64;
                    let (at, most) = (Timestamp::from_micros(now), below(20) as usize);
                    crowd.overdue(at, most);
                    plain.overdue(at, most, &mut late);
                }
            }
            crowd.turn_away::<4>(|some| told.extend(some.iter().map(|taken| who(taken.ticket, taken.record))));
            shed += told.len();
            late.sort_unstable();
            told.sort_unstable();
            assert_eq!(told, late);
            assert_eq!(crowd.len(), plain.0.len());
            assert_eq!(crowd.is_empty(), crowd.held.iter().all(Option::is_none) && crowd.bytes() == 0);
        }
        assert!(taken > 1_000 && shed > 1_000, "{taken} taken, {shed} turned away");
    }
}
