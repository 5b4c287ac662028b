//! The disk of a world: how it behaves is drawn from the seed; when it misbehaves, the world says.

use crate::disk::{Chance, Config, End, Fault, Odds, Order, Seeded, SimDisk, When};
use crate::plan::{Feature, Plan};
use crate::random::Random;
use std::time::Duration;
use tegata_journal::{Folder, Options, WriteError, Writer};

/// See the module.
#[derive(Debug)]
pub(crate) struct Storage {
    pub(crate) disk: SimDisk,
    random: Random,
}

/// Faults that make an operation fail, and so a start.
const FAILURES: [Fault; 4] = [Fault::WriteFails, Fault::WriteShort, Fault::SyncFails, Fault::Full];

impl Storage {
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut random = Random::new(plan.seed, "disk");
        let quick = random.spread(20, 2_000);
        let config = Config {
            sector: *random.pick(&[512, 512, 4_096]),
            order: *random.pick(&[Order::ByTime, Order::ByTime, Order::Oldest, Order::Newest, Order::Any]),
            latency: (Duration::from_micros(quick), Duration::from_micros(quick * random.between(1, 5))),
            stall: Duration::from_micros(random.spread(10_000, 5_000_000)),
            ..Config::default()
        };
        let mut storage = Self { disk: SimDisk::new(config, Chance::Seeded(Seeded::new(random.number()))), random };
        storage.calm();
        if plan.has(Feature::Stall) {
            let stall = storage.random.spread(10, 20_000) as u32;
            storage.disk.configure(|c| c.odds.stall = stall);
        }
        storage
    }

    pub(crate) fn folder(&self) -> Folder {
        self.disk.folder("/data")
    }

    pub(crate) fn options(&self, plan: &Plan) -> Options {
        let mut o = Options::new(self.folder());
        o.segment_bytes = plan.segment_bytes;
        o.batch_bytes_max = (plan.batch_bytes_max + 4_096).next_multiple_of(4_096);
        o.window_bytes = o.batch_bytes_max as u64 * 4;
        o.writes_in_flight_max = 4;
        o.shards = plan.shards;
        o.store_id = [7; 16];
        o
    }

    pub(crate) fn set_now(&self, now: u64) {
        self.disk.set_now(Duration::from_micros(now));
    }

    /// The disk's time, in µs: whoever waited for a flush waited so long.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.disk.now().as_micros()).unwrap_or(u64::MAX)
    }

    pub(crate) fn next_completion(&self) -> Option<u64> {
        self.disk.next_completion().map(|d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX))
    }

    /// Nothing goes wrong any more, and there is room.
    pub(crate) fn calm(&mut self) {
        self.disk.configure(|c| (c.odds, c.capacity) = (Odds::default(), u64::MAX));
    }

    /// Some write or flush will fail soon.
    pub(crate) fn fail_soon(&mut self) {
        let odds = self.random.spread(10_000, 500_000) as u32;
        let which = self.random.below(3);
        self.disk.configure(|c| match which {
            0 => c.odds.write_fails = odds,
            1 => c.odds.write_short = odds,
            _ => c.odds.sync_fails = odds,
        });
    }

    /// Power or the process will be gone within some steps.
    pub(crate) fn crash_soon(&mut self, most: u64) {
        let (steps, power) = (self.random.between(1, most), self.random.chance(700));
        let end = if power { End::Power } else { End::Process };
        let step = When::Step(self.disk.steps() + steps);
        // What is rare among all steps is what matters most.
        let when = *self.random.pick(&[step, When::Tearing, When::Landed]);
        self.disk.end_when(when, end);
    }

    /// There is little room left.
    pub(crate) fn fill(&mut self) {
        let used: u64 = self.disk.files().iter().map(|(_, bytes)| bytes).sum();
        let left = self.random.spread(1, 64 << 10);
        self.disk.configure(|c| c.capacity = used + left);
    }

    /// How many operations failed so far, for which the process may end or not start.
    pub(crate) fn failures(&self) -> u64 {
        let fired = self.disk.fired();
        FAILURES.iter().map(|f| fired.count(*f)).sum()
    }

    /// A stop in order waits for what is in flight, for which the disk's time must go on.
    pub(crate) fn close(&self, journal: Writer) -> Result<(), WriteError> {
        let mut order = Order::ByTime;
        self.disk.configure(|c| std::mem::swap(&mut c.order, &mut order));
        let closed = journal.close();
        self.disk.configure(|c| c.order = order);
        closed
    }

    /// True when there is a file whose name ends so.
    pub(crate) fn has_file(&self, end: &str) -> bool {
        self.disk.files().iter().any(|(path, _)| path.to_string_lossy().ends_with(end))
    }
}
