//! What a seed decides before its world begins: which parts of the workload and which faults there are, and every limit.
//! Most worlds leave most of it out: what never happens together with everything else is found by what happens alone.

use crate::random::Random;

macro_rules! features {
    ($($variant:ident $name:literal $chance:literal,)*) => {
        /// A part of a world that can be left out.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Feature {
            $(#[doc = $name] $variant,)*
        }

        impl Feature {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name on the command line.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// In how many of a thousand worlds it is.
            fn chance(self) -> u64 {
                match self { $(Self::$variant => $chance,)* }
            }

            /// From its name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|f| f.name() == name)
            }
        }
    };
}

features! {
    Crash "crash" 700,
    CrashInIo "crash-in-io" 600,
    CrashInRecovery "crash-in-recovery" 400,
    FailedWrite "failed-write" 400,
    FullDisk "full-disk" 350,
    Stall "stall" 400,
    Pause "pause" 400,
    ClockStep "clock-step" 300,
    ClockDrift "clock-drift" 400,
    CallersClocks "callers-clocks" 300,
    Cut "cut" 600,
    HalfOpen "half-open" 300,
    Late "late" 400,
    Partition "partition" 300,
    CallerRestart "caller-restart" 300,
    Orders "orders" 300,
    Holds "holds" 600,
    Confirms "confirms" 600,
    Reversals "reversals" 700,
    Refunds "refunds" 500,
    Fences "fences" 500,
    Lives "lives" 300,
    Plans "plans" 400,
    Repeats "repeats" 600,
    Twice "twice" 500,
    SecondPress "second-press" 600,
    Questions "questions" 400,
    ShortDeadlines "short-deadlines" 400,
    SmallTables "small-tables" 250,
    SmallQueue "small-queue" 250,
    Burst "burst" 500,
    LongPauses "long-pauses" 400,
    ShortHorizon "short-horizon" 300,
    Snapshots "snapshots" 700,
    Stop "stop" 300,
}

/// What a world is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What decides everything.
    pub seed: u64,
    /// What is in it, in order.
    pub features: Vec<Feature>,
    /// Requests that customers and the office decide on before everything is healed.
    pub steps: u64,
    /// Gateways; one office comes on top.
    pub gateways: u64,
    /// Threads of connections.
    pub threads: usize,
    /// Shards of the engine.
    pub shards: u32,
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Bytes of the log between two snapshots; 0: none unasked.
    pub snapshot_bytes: u64,
    /// Most bytes of a batch's body.
    pub batch_bytes_max: usize,
    /// From so many bytes on a batch is sealed beside others.
    pub seal_bytes: usize,
    /// Most batches in flight.
    pub in_flight_max: usize,
    /// Most bytes that wait.
    pub waiting_bytes_max: usize,
    /// Most accounts, and most lots beyond their first.
    pub accounts_max: u64,
    /// Most decisions, and most allocations.
    pub decisions_max: u64,
    /// Requests that one connection may have in flight.
    pub credits: u32,
    /// Seconds that keys are remembered.
    pub horizon_s: u32,
    /// µs between two requests, at most and mostly.
    pub gap_us: u64,
    /// µs that a turn of the core takes.
    pub turn_us: u64,
    /// µs that a message is on its way, at least.
    pub way_us: u64,
    /// µs between two faults, mostly.
    pub fault_us: u64,
    /// Faults, at most.
    pub faults: u64,
}

impl Plan {
    /// Draws the world of a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut r = Random::new(seed, "plan");
        let features: Vec<Feature> = Feature::ALL.iter().copied().filter(|f| r.chance(f.chance())).collect();
        let has = |f| features.contains(&f);
        let threads = r.between(1, 3) as usize;
        let batch_bytes_max = *r.pick(&[4 << 10, 16 << 10, 60 << 10]);
        Self {
            seed,
            steps: r.spread(200, 4_000),
            gateways: r.between(1, 4),
            threads,
            shards: *r.pick(&[1, 1, 2, 5]),
            // A segment of a few batches, or of many.
            segment_bytes: (batch_bytes_max as u64 + 4_096) * *r.pick(&[4, 4, 16]),
            snapshot_bytes: if has(Feature::Snapshots) { r.spread(16 << 10, 1 << 20) } else { 0 },
            batch_bytes_max,
            seal_bytes: r.spread(512, batch_bytes_max as u64) as usize,
            in_flight_max: r.between(1, 4) as usize,
            waiting_bytes_max: if has(Feature::SmallQueue) { r.spread(512, 8 << 10) as usize } else { 1 << 20 },
            accounts_max: if has(Feature::SmallTables) { r.between(12, 60) } else { 1_000_000 },
            decisions_max: if has(Feature::SmallTables) { r.between(60, 600) } else { 1_000_000 },
            credits: *r.pick(&[2, 8, 64, 1_024]),
            horizon_s: if has(Feature::ShortHorizon) { r.spread(60, 3_600) as u32 } else { 604_800 },
            gap_us: r.spread(2_000, 2_000_000),
            turn_us: r.spread(20, 2_000),
            way_us: r.spread(50, 20_000),
            fault_us: r.spread(100_000, 10_000_000),
            faults: r.spread(8, 250),
            features,
        }
    }

    /// True when this is part of the world.
    #[must_use]
    pub fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }

    /// The same world without these.
    #[must_use]
    pub fn without(mut self, left_out: &[Feature]) -> Self {
        self.features.retain(|f| !left_out.contains(f));
        if left_out.contains(&Feature::Snapshots) {
            self.snapshot_bytes = 0;
        }
        if left_out.contains(&Feature::SmallTables) {
            (self.accounts_max, self.decisions_max) = (1_000_000, 1_000_000);
        }
        if left_out.contains(&Feature::SmallQueue) {
            self.waiting_bytes_max = 1 << 20;
        }
        if left_out.contains(&Feature::ShortHorizon) {
            self.horizon_s = 604_800;
        }
        self
    }
}
