//! Ends a history at every step, goes through everything that may survive, and does the same with each recovery.
//!
//! ```text
//! history ─end at step 1, 2, … n─▶ what is left ─each way to survive─▶ recovery ─▶ a batch ─▶ recovery: the same log
//!                                                                       └─end at each step─▶ what is left ─▶ …, once
//! ```

use super::{Stop, Teller, Told, World};
use crate::disk::{Chance, Config, End, Order, Script, SimDisk};
use std::collections::BTreeSet;

/// How much was gone through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Orders in which the writes of the history were complete.
    pub orders: u64,
    /// Steps at which a history was ended, by power and by process.
    pub ends: u64,
    /// Recoveries from what was left: one for each combination that a recovery can tell from the others.
    pub recoveries: u64,
    /// Steps at which such a recovery was ended.
    pub second_ends: u64,
    /// Recoveries from what that left.
    pub second_recoveries: u64,
    /// Ends that left what an earlier one had left.
    pub repeated: u64,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.orders += other.orders;
        self.ends += other.ends;
        self.recoveries += other.recoveries;
        self.second_ends += other.second_ends;
        self.second_recoveries += other.second_recoveries;
        self.repeated += other.repeated;
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { orders, ends, recoveries, second_ends, second_recoveries, repeated } = self;
        write!(
            f,
            "orders={orders} ends={ends} recoveries={recoveries} second_ends={second_ends} \
             second_recoveries={second_recoveries} repeated={repeated}"
        )
    }
}

/// A promise that was broken, and how to get there.
#[derive(Debug)]
pub struct Violation {
    /// In which world.
    pub world: &'static str,
    /// Ends so far: at which step, what went, and what was decided after it.
    pub path: Vec<(u64, End, Script)>,
    /// What is wrong.
    pub what: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "world \"{}\": {}; by way of {:?}", self.world, self.what, self.path)
    }
}

struct Explorer {
    world: World,
    /// Recoveries that are ended, one after the other.
    depth: usize,
    count: Count,
    path: Vec<(u64, End, Script)>,
    seen: BTreeSet<(u64, Told, usize)>,
}

pub(super) fn config() -> Config {
    Config { order: Order::Any, latency: Default::default(), ..Config::default() }
}

/// Goes through a world: ends its history, and so many of the recoveries that follow.
pub fn explore(world: World, depth: usize) -> Result<Count, Violation> {
    let mut explorer = Explorer { world, depth, count: Count::default(), path: Vec::new(), seen: BTreeSet::new() };
    explorer.run()?;
    Ok(explorer.count)
}

impl Explorer {
    fn broken(&self, what: impl Into<String>) -> Violation {
        Violation { world: self.world.name, path: self.path.clone(), what: what.into() }
    }

    /// A history goes on by itself as long as the disk does.
    fn judge(&self, result: Result<(), Stop>, disk: &SimDisk) -> Result<bool, Violation> {
        match result {
            Ok(()) => Ok(true),
            Err(Stop::Broken(what)) => Err(self.broken(what)),
            Err(_) if disk.is_dead() => Ok(false),
            Err(Stop::Disk(what)) => Err(self.broken(what)),
            Err(Stop::Refused(e)) => Err(self.broken(format!("refused: {e}"))),
        }
    }

    fn run(&mut self) -> Result<(), Violation> {
        let mut before = Teller { disk: SimDisk::new(config(), script(Script::default())), told: Told::default() };
        self.judge((self.world.before)(&mut before), &before.disk)?;
        let first = before.disk.steps() + 1;
        let mut orders = Some(Script::default());
        while let Some(order) = orders {
            let mut whole = Teller { disk: before.disk.fork(script(order)), told: before.told.clone() };
            self.judge((self.world.history)(&mut whole), &whole.disk)?;
            let order = script_of(&whole.disk);
            self.count.orders += 1;
            // One more: everything was done, and told.
            for (step, end) in steps(first, whole.disk.steps() + 1) {
                let mut t = Teller { disk: before.disk.fork(script(order.clone().again())), told: before.told.clone() };
                t.disk.end_at(step, end);
                if self.judge((self.world.history)(&mut t), &t.disk)? {
                    end_now(&t.disk, end);
                }
                self.count.ends += 1;
                self.path.push((step, end, order.clone()));
                self.left(&t)?;
                self.path.pop();
            }
            orders = order.next();
        }
        Ok(())
    }

    /// Every way to survive what a disk was left with.
    fn left(&mut self, left: &Teller) -> Result<(), Violation> {
        let depth = self.path.len() - 1;
        if !self.seen.insert((left.disk.fingerprint(), left.told.clone(), depth)) {
            self.count.repeated += 1;
            return Ok(());
        }
        let mut ways = Some(Script::default());
        while let Some(way) = ways {
            let mut t = again(left, way);
            let first = t.disk.steps() + 1;
            let outcome = recover(&mut t);
            let way = script_of(&t.disk);
            let last = self.path.last_mut().expect("it was ended");
            last.2 = way.clone();
            self.judge(outcome, &t.disk)?;
            if depth == 0 {
                self.count.recoveries += 1
            } else {
                self.count.second_recoveries += 1
            }
            if depth < self.depth {
                for (step, end) in steps(first, t.disk.steps()) {
                    let mut t = again(left, way.clone().again());
                    t.disk.end_at(step, end);
                    self.path.push((step, end, Script::default()));
                    if self.judge(recover(&mut t), &t.disk)? {
                        return Err(self.broken("a recovery went on without power"));
                    }
                    self.count.second_ends += 1;
                    self.left(&t)?;
                    self.path.pop();
                }
            }
            ways = way.next();
        }
        Ok(())
    }
}

fn steps(first: u64, last: u64) -> impl Iterator<Item = (u64, End)> {
    (first..=last).flat_map(|step| [(step, End::Power), (step, End::Process)])
}

fn end_now(disk: &SimDisk, end: End) {
    match end {
        End::Power => disk.crash(),
        End::Process => disk.kill(),
    }
}

fn again(left: &Teller, way: Script) -> Teller {
    let disk = left.disk.fork(script(way));
    disk.restart();
    Teller { disk, told: left.told.clone() }
}

/// A start, a batch that is flushed, and another start that finds the same.
fn recover(t: &mut Teller) -> Result<(), Stop> {
    let mut writer = t.start()?;
    t.append(&mut writer, 200)?;
    t.flush(&mut writer)?;
    drop(writer);
    t.read_all()
}

pub(super) fn script(script: Script) -> Chance {
    Chance::Script(script)
}

fn script_of(disk: &SimDisk) -> Script {
    match disk.chance() {
        Chance::Script(script) => script,
        Chance::Seeded(_) => unreachable!("a world is decided by scripts"),
    }
}
