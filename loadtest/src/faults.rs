//! What goes wrong, done for real to the server that the harness started; each fault proves that it happened.

use crate::cgroup::Cgroup;
use crate::launch::{Harm, JOURNAL_FAILED, ServerProcess};
use crate::ledger;
use crate::office;
use crate::proxy::Proxy;
use crate::scenario::{Fault, FaultKind, Scenario};
use crate::seed::DataSet;
use crate::stage::Stage;
use crate::summary::FaultReport;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tegata_model::Life;
use tegata_node::{BreakerState, Cause};

/// How often it is looked whether a fault is due, or a process has stopped.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// How long it is counted what a disk writes before it is made slow.
const COMPARED_FOR: Duration = Duration::from_millis(200);
/// How often the server is asked how it is.
const ASK_EVERY: Duration = Duration::from_millis(10);
/// How long a stalled server may go on with what was durable before.
const STALLS_WITHIN: Duration = Duration::from_millis(100);
/// How long it is waited for a server to be normal again.
const NORMAL_WITHIN: Duration = Duration::from_secs(15);
/// How long a server may take to end when its journal fails.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// How long a process may take to stop after SIGSTOP.
const STOPS_WITHIN: Duration = Duration::from_secs(1);

/// The faults of a scenario, each at its instant, in ms, in order.
#[must_use]
pub fn timeline(s: &Scenario) -> Vec<(u64, Fault)> {
    let mut random = SmallRng::seed_from_u64(s.seed ^ 0xFA17);
    let mut all = Vec::new();
    for f in &s.fault {
        let latest = f.until_ms.unwrap_or(f.at_ms).max(f.at_ms);
        // One in each equal part of the time between, so that they do not fall on each other.
        let part = (latest - f.at_ms) / f.count as u64;
        for i in 0..f.count as u64 {
            let within = if part == 0 { 0 } else { random.random_range(0..part) };
            all.push((f.at_ms + i * part + within, *f));
        }
    }
    all.sort_by_key(|(at, _)| *at);
    all
}

/// What showed that a fault happened.
#[derive(Debug, Default)]
struct Seen {
    proof: String,
    /// Of a server that was watched: when it was degraded, and normal again.
    watched: Option<Watched>,
}

/// In ms from the beginning of a fault, and from its end; nothing: it was not seen.
#[derive(Debug, Clone, Copy)]
struct Watched {
    degraded_ms: Option<u64>,
    normal_ms: Option<u64>,
}

fn seen(proof: String) -> Result<Seen, String> {
    Ok(Seen { proof, watched: None })
}

fn ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn text(e: impl core::fmt::Display) -> String {
    e.to_string()
}

/// Does every fault at its time, until `over`, and tells what became of it.
pub(crate) fn conduct(
    stage: &mut Stage,
    data: &DataSet,
    timeline: &[(u64, Fault)],
    begin: Instant,
    over: &AtomicBool,
    tell: &dyn Fn(FaultReport),
) {
    for (at_ms, f) in timeline {
        while ms(begin) < *at_ms && !over.load(Ordering::Relaxed) {
            sleep(LOOK_EVERY);
        }
        let mut report = FaultReport { kind: f.kind.name().to_owned(), at_ms: *at_ms, ..FaultReport::default() };
        if over.load(Ordering::Relaxed) {
            report.proof = "the load was over before".to_owned();
        } else {
            report.at_ms = ms(begin);
            match suffer(stage, data, f) {
                Ok(seen) => {
                    (report.fired, report.proof, report.watched) = (true, seen.proof, seen.watched.is_some());
                    report.degraded_ms = seen.watched.and_then(|w| w.degraded_ms);
                    report.normal_ms = seen.watched.and_then(|w| w.normal_ms);
                }
                Err(why) => report.proof = why,
            }
            report.until_ms = Some(ms(begin));
        }
        tell(report);
    }
}

/// Does one fault from beginning to end. Says what showed that it happened, or why it did not.
fn suffer(stage: &mut Stage, data: &DataSet, f: &Fault) -> Result<Seen, String> {
    let lasts = Duration::from_millis(f.for_ms);
    match f.kind {
        FaultKind::Kill => {
            let mut process = stage.take_process().ok_or("there is no server to kill")?;
            let status = process.kill_now().map_err(text)?;
            if status.signal() != Some(Signal::KILL.as_raw()) {
                return Err(format!("the server ended otherwise: {status}"));
            }
            sleep(lasts);
            let ms = stage.start_again().map_err(text)?;
            seen(format!("ended by SIGKILL, ready again after {ms} ms"))
        }
        FaultKind::Restart => {
            let process = stage.take_process().ok_or("there is no server to restart")?;
            let status = process.stop().map_err(text)?;
            if !status.success() {
                return Err(format!("the server did not end in order: {status}"));
            }
            sleep(lasts);
            let ms = stage.start_again().map_err(text)?;
            seen(format!("ended in order, ready again after {ms} ms"))
        }
        FaultKind::Stop => stop(process(stage)?, lasts),
        FaultKind::Cut => match proxy(stage)?.cut() {
            0 => Err("there was no connection to cut".to_owned()),
            n => seen(format!("{n} connections cut")),
        },
        FaultKind::HalfOpen => {
            let proxy = proxy(stage)?;
            let before = proxy.lost();
            proxy.fall_silent(true);
            sleep(lasts);
            // A frame may have been swallowed in part: what follows it would be read as something else.
            proxy.cut();
            proxy.fall_silent(false);
            match proxy.lost().swallowed - before.swallowed {
                0 => Err("nothing was swallowed".to_owned()),
                bytes => seen(format!("{bytes} bytes swallowed")),
            }
        }
        FaultKind::DropAnswers => {
            let proxy = proxy(stage)?;
            let before = proxy.lost();
            proxy.drop_answers(true);
            sleep(lasts);
            proxy.cut();
            proxy.drop_answers(false);
            match proxy.lost().dropped - before.dropped {
                0 => Err("no answer was lost".to_owned()),
                bytes => seen(format!("{bytes} bytes of answers lost")),
            }
        }
        FaultKind::SlowDisk => slow_disk(stage, f.writes_per_second, lasts),
        FaultKind::FullDisk => full_disk(stage, lasts),
        FaultKind::JournalStall => stall(stage, lasts),
        FaultKind::FailedDisk => {
            let mut process = stage.take_process().ok_or("there is no server whose journal could fail")?;
            process.harm(Harm::Fail).map_err(text)?;
            let status = process.ended_within(ENDS_WITHIN).map_err(text);
            drop(process);
            sleep(lasts);
            let ms = stage.start_again().map_err(text)?;
            let status = status?;
            if status.code() != Some(i32::from(JOURNAL_FAILED)) {
                return Err(format!("the server ended otherwise: {status}"));
            }
            seen(format!("ended with {JOURNAL_FAILED}, ready again after {ms} ms"))
        }
        FaultKind::Suspend => suspend(stage, data, lasts),
        FaultKind::Drill => drill(stage, f.cause, lasts),
        FaultKind::ClockStep => step(stage, f.by_ms.saturating_mul(1_000), lasts),
    }
}

fn process(stage: &mut Stage) -> Result<&mut ServerProcess, String> {
    stage.process.as_mut().ok_or_else(|| "there is no server".to_owned())
}

fn proxy(stage: &Stage) -> Result<&Proxy, String> {
    stage.proxy.as_ref().ok_or_else(|| "there is no proxy".to_owned())
}

fn stop(process: &ServerProcess, lasts: Duration) -> Result<Seen, String> {
    process.signal(Signal::STOP).map_err(text)?;
    let began = Instant::now();
    while process.state() != Some('T') && began.elapsed() < STOPS_WITHIN {
        sleep(LOOK_EVERY);
    }
    let stopped = process.state() == Some('T');
    sleep(lasts.saturating_sub(began.elapsed()));
    process.signal(Signal::CONT).map_err(text)?;
    if stopped { seen(format!("state T for {} ms", ms(began))) } else { Err("it never was in state T".to_owned()) }
}

/// Lets few writes of the server through.
fn slow_disk(stage: &mut Stage, per_second: u32, lasts: Duration) -> Result<Seen, String> {
    let group = Cgroup::new("blkio")?;
    group.take_in(process(stage)?.id())?;
    let writes_for = |time: Duration| {
        let before = group.writes(&stage.data)?;
        sleep(time);
        Ok::<_, String>((group.writes(&stage.data)? - before) as f64 / time.as_secs_f64())
    };
    // Writes are counted while there is a limit.
    group.limit_writes(&stage.data, u32::MAX)?;
    let before = writes_for(COMPARED_FOR)?;
    group.limit_writes(&stage.data, per_second)?;
    let slow = writes_for(lasts)?;
    group.limit_writes(&stage.data, 0)?;
    let proof = format!("{before:.0} writes a second before, {slow:.0} then");
    if slow < before / 2.0 { seen(proof) } else { Err(proof) }
}

/// Fills the server's own disk, and gives the space back.
fn full_disk(stage: &Stage, lasts: Duration) -> Result<Seen, String> {
    let disk = stage.disk.as_ref().ok_or("the server has no disk of its own")?;
    let ballast = disk.fill().map_err(text)?;
    let began = Instant::now();
    let degraded_ms = degraded(stage, began, lasts, Cause::JournalSpace);
    sleep(lasts.saturating_sub(began.elapsed()));
    std::fs::remove_file(ballast).map_err(text)?;
    let (full_ms, normal_ms) = (ms(began), normal(stage, Instant::now()));
    match degraded_ms {
        None => Err("the disk was full, and the server did not need more of it".to_owned()),
        Some(_) => Ok(Seen {
            proof: format!("full for {full_ms} ms{}", told(degraded_ms, normal_ms)),
            watched: Some(Watched { degraded_ms, normal_ms }),
        }),
    }
}

/// Holds back everything that the journal wrote.
fn stall(stage: &mut Stage, lasts: Duration) -> Result<Seen, String> {
    process(stage)?.harm(Harm::Stall(true)).map_err(text)?;
    let began = Instant::now();
    let is_open = |within| degraded(stage, began, within, Cause::JournalLatency);
    let degraded_ms = is_open(STALLS_WITHIN.min(lasts));
    let before = ledger::status(stage.operate).map(|s| s.durable);
    let degraded_ms = degraded_ms.or_else(|| is_open(lasts));
    sleep(lasts.saturating_sub(began.elapsed()));
    let after = ledger::status(stage.operate).map(|s| s.durable);
    process(stage)?.harm(Harm::Stall(false)).map_err(text)?;
    let (stalled_ms, normal_ms) = (ms(began), normal(stage, Instant::now()));
    match (before, after) {
        (Ok(before), Ok(after)) if before == after => Ok(Seen {
            proof: format!("nothing became durable for {stalled_ms} ms{}", told(degraded_ms, normal_ms)),
            watched: Some(Watched { degraded_ms, normal_ms }),
        }),
        (before, after) => Err(format!("durable up to {before:?}, then up to {after:?}")),
    }
}

/// The office suspends the programme, and resumes it.
fn suspend(stage: &Stage, data: &DataSet, lasts: Duration) -> Result<Seen, String> {
    let from = office::set_life(stage.operate, data, Life::Suspended).map_err(text)?;
    sleep(lasts);
    let life = office::life(stage.operate, data);
    let to = office::set_life(stage.operate, data, Life::Active).map_err(text)?;
    let life = life.map_err(text)?;
    let proof = format!("suspended at {from}, resumed at {to}");
    if life == Life::Suspended as u8 { seen(proof) } else { Err(format!("{proof}, and its life was {life}")) }
}

/// Opens a breaker as an operator does to practise; the server ends it by itself.
fn drill(stage: &Stage, cause: u8, lasts: Duration) -> Result<Seen, String> {
    ledger::drill(stage.operate, cause, lasts).map_err(text)?;
    let began = Instant::now();
    let cause = Cause::from_u8(cause).ok_or("there is no such breaker")?;
    let degraded_ms = degraded(stage, began, lasts, cause);
    sleep(lasts.saturating_sub(began.elapsed()));
    let normal_ms = normal(stage, Instant::now());
    match degraded_ms {
        None => Err("the server was not degraded".to_owned()),
        Some(_) => Ok(Seen {
            proof: format!("breaker {} for {} ms{}", cause.row().name, lasts.as_millis(), told(degraded_ms, normal_ms)),
            watched: Some(Watched { degraded_ms, normal_ms }),
        }),
    }
}

/// Makes the server's wall clock step, and step back; an operator confirms it then.
fn step(stage: &mut Stage, by_us: i64, lasts: Duration) -> Result<Seen, String> {
    process(stage)?.harm(Harm::Step(by_us)).map_err(text)?;
    let began = Instant::now();
    let degraded_ms = degraded(stage, began, lasts, Cause::Clock);
    sleep(lasts.saturating_sub(began.elapsed()));
    process(stage)?.harm(Harm::Step(by_us.saturating_neg())).map_err(text)?;
    ledger::confirm_clock(stage.operate).map_err(text)?;
    let normal_ms = normal(stage, Instant::now());
    match degraded_ms {
        None => Err("the server did not notice".to_owned()),
        Some(_) => Ok(Seen {
            proof: format!("by {} ms{}", by_us / 1_000, told(degraded_ms, normal_ms)),
            watched: Some(Watched { degraded_ms, normal_ms }),
        }),
    }
}

fn told(degraded_ms: Option<u64>, normal_ms: Option<u64>) -> String {
    let degraded =
        degraded_ms.map_or("its breaker never open".to_owned(), |ms| format!("its breaker open after {ms} ms"));
    let normal = normal_ms.map_or("not normal again".to_owned(), |ms| format!("normal {ms} ms after its end"));
    format!(", {degraded}, {normal}")
}

/// When the server says that the breaker of this cause is open, in ms since `began`; nothing when it does not within `lasts`.
/// Another may open before: a disk that stalls makes a queue first.
fn degraded(stage: &Stage, began: Instant, lasts: Duration, cause: Cause) -> Option<u64> {
    becomes(began, lasts, || {
        let breakers = ledger::breakers_within(stage.operate, lasts).unwrap_or_default();
        breakers.iter().any(|b| b.cause == cause as u8 && b.state != BreakerState::Closed as u8)
    })
}

/// When it says that it is normal, in ms since `ended`.
fn normal(stage: &Stage, ended: Instant) -> Option<u64> {
    becomes(ended, NORMAL_WITHIN, || ledger::status_within(stage.operate, NORMAL_WITHIN).is_ok_and(|s| s.mode == 0))
}

fn becomes(since: Instant, within: Duration, is: impl Fn() -> bool) -> Option<u64> {
    while since.elapsed() < within {
        if is() {
            return Some(ms(since));
        }
        sleep(ASK_EVERY);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_instants_spread_over_the_time_between() {
        let s = crate::scenario::load("kill-under-load").expect("a scenario");
        let t = timeline(&s);
        assert_eq!(t, timeline(&s));
        assert_eq!(t.len(), 5);
        assert!(t.windows(2).all(|w| w[0].0 < w[1].0));
        assert!(t.iter().all(|(at, _)| (5_000..55_000).contains(at)));
    }

    #[test]
    fn a_fault_that_did_not_happen_says_so_although_an_earlier_one_did() {
        use std::io::{Read, Write};
        let mut stage = Stage::empty();
        let fault = |kind| Fault {
            kind,
            at_ms: 0,
            for_ms: 50,
            count: 1,
            until_ms: None,
            writes_per_second: 1,
            cause: 0,
            by_ms: 1,
        };
        for kind in [FaultKind::HalfOpen, FaultKind::DropAnswers, FaultKind::Cut] {
            let over = AtomicBool::new(false);
            let addr = stage.addr;
            let happened = std::thread::scope(|scope| {
                // Somebody who talks all the time, on a new connection when the old one is gone.
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        let mut s = std::net::TcpStream::connect(addr).expect("connected");
                        s.set_read_timeout(Some(LOOK_EVERY)).expect("set");
                        while !over.load(Ordering::Relaxed) && s.write_all(b"words").is_ok() {
                            if s.read(&mut [0; 64]).is_ok_and(|n| n == 0) {
                                break;
                            }
                        }
                    }
                });
                while stage.proxy.as_ref().is_some_and(|p| p.open() == 0) {
                    std::thread::yield_now();
                }
                let happened = suffer(&mut stage, &DataSet::default(), &fault(kind));
                over.store(true, Ordering::Relaxed);
                happened
            });
            assert!(happened.is_ok(), "{kind:?}: {happened:?}");
            stage.proxy.as_ref().expect("a proxy").cut();
            let nothing = suffer(&mut stage, &DataSet::default(), &fault(kind));
            assert!(nothing.is_err(), "{kind:?}: {nothing:?}");
        }
        for kind in [
            FaultKind::Kill,
            FaultKind::Stop,
            FaultKind::Restart,
            FaultKind::SlowDisk,
            FaultKind::FullDisk,
            FaultKind::JournalStall,
            FaultKind::ClockStep,
            FaultKind::Drill,
            FaultKind::FailedDisk,
            FaultKind::Suspend,
        ] {
            assert!(suffer(&mut stage, &DataSet::default(), &fault(kind)).is_err(), "there is no server");
        }
    }
}
