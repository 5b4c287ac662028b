//! A run from beginning to end: server, data, load with faults, questions about what is not known, the join with the
//! ledger, the verdict.

use crate::attempts::{Attempts, Keys};
use crate::driver::{Common, Load, Tick, drive, histogram};
use crate::faults::{Stage, timeline};
use crate::ledger;
use crate::office::{coupons_until, extend};
use crate::proxy::{Lie, Proxy};
use crate::reconcile::{Found, Join};
use crate::resolve::resolve;
use crate::scenario::Scenario;
use crate::seed::{DataSet, now, seed_data};
use crate::summary::{Environment, FaultReport, Latency, MODE_SILENT, SCHEMA, Second, SloReport, Summary, Verdict};
use hdrhistogram::Histogram;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tegata_client::LinkError;
use tegata_model::{Timestamp, mix};

/// A generator that is late with more of its payments measured itself.
const LATE_MAX: f64 = 0.01;
/// So did one that used more of its processor time.
const CPU_MAX: f64 = 0.8;
/// How long seeding may take where the coupons expire during the load, in µs: together, and each.
const SEEDING_US: i64 = 2_000_000;
const SEEDING_US_PER_COUPON: i64 = 10;
/// How long a server may take to say how it is, before it counts as silent.
const WATCH_PATIENCE: Duration = Duration::from_millis(500);
/// How often progress is shown.
const SHOW_EVERY: Duration = Duration::from_secs(1);

/// What ends a run without a result.
#[derive(Debug)]
pub enum RunError {
    /// The scenario cannot be run like this.
    Usage(String),
    /// The server cannot be reached, is of another version, or ended.
    Server(String),
    /// The run folder cannot be written, or is full.
    Folder(String),
}

impl RunError {
    /// The program's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 3,
            Self::Server(_) => 4,
            Self::Folder(_) => 6,
        }
    }
}

impl core::fmt::Display for RunError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Usage(text) => f.write_str(text),
            Self::Server(text) => write!(f, "the server: {text}"),
            Self::Folder(text) => write!(f, "the run folder: {text}"),
        }
    }
}

impl std::error::Error for RunError {}

/// Everything that a run leaves.
#[derive(Debug)]
pub struct Run {
    /// The content of `summary.json`.
    pub summary: Summary,
    /// Second by second.
    pub seconds: Vec<Second>,
    /// From due to answer, ns.
    pub response: Histogram<u64>,
    /// From send to answer, ns.
    pub service: Histogram<u64>,
    /// The first violations, a sentence each.
    pub findings: Vec<String>,
}

/// A server that was started by somebody else.
#[derive(Debug, Clone, Copy)]
pub struct Elsewhere {
    /// Where gateways connect.
    pub addr: SocketAddr,
    /// Where operators connect.
    pub operate: SocketAddr,
}

/// Who stands between the harness and its server, for tests of the harness itself.
#[derive(Default)]
pub struct Liars {
    /// On the gateways' connections.
    pub gateways: Option<Box<Lie>>,
    /// On the operator's stream of decisions.
    pub ledger: Option<Box<Lie>>,
}

/// Runs a scenario. `folder` exists; the clients' journal goes there. `show` is told what happens.
pub fn run_scenario(
    name: &str,
    s: &Scenario,
    elsewhere: Option<Elsewhere>,
    liars: Liars,
    folder: &Path,
    stop: &AtomicBool,
    show: &(dyn Fn(String) + Sync),
) -> Result<Run, RunError> {
    let server = |e: &dyn core::fmt::Display| RunError::Server(e.to_string());
    if elsewhere.is_some() && !s.fault.is_empty() {
        return Err(RunError::Usage(
            "faults are done to a server of the harness's own only: leave --server out".into(),
        ));
    }
    let data_dir = tempfile::tempdir().map_err(|e| RunError::Folder(e.to_string()))?;
    let settings =
        [format!("warm_bytes={}", s.server.warm_bytes), format!("snapshot_bytes={}", s.server.snapshot_bytes)];
    let mut stage = match elsewhere {
        Some(_) => None,
        None => Some(Stage::start(&data_dir.path().join("data"), &settings).map_err(|e| server(&e))?),
    };
    if let Some(stage) = &mut stage
        && (liars.gateways.is_some() || s.fault.iter().any(|f| f.kind.is_on_the_way()))
    {
        stage.put_proxy(liars.gateways).map_err(|e| server(&e))?;
    }
    let (addr, operate) = match (&stage, elsewhere) {
        (Some(stage), _) => (stage.addr, stage.operate),
        (None, Some(e)) => (e.addr, e.operate),
        (None, None) => return Err(RunError::Usage("there is no server".into())),
    };
    let started = now();
    let salt = mix(s.seed, started.micros() as u64);
    let mut data = data_set(s, elsewhere.is_some().then_some(salt));
    // Coupons that expire at an instant of the load need to know when the load begins.
    let begins =
        Timestamp::from_micros(started.micros() + SEEDING_US + SEEDING_US_PER_COUPON * i64::from(data.coupons));
    if s.data.expires_ms > 0 {
        data.expires_at = later(begins, s.data.expires_ms);
    }
    let mut shown = 0;
    seed_data(operate, &data, &mut |done, total| {
        let tenths = done * 10 / total;
        if tenths > shown {
            shown = tenths;
            show(format!("seeding {} % of {total}", tenths * 10));
        }
    })
    .map_err(|e| server(&e))?;
    let first = ledger::digest(operate).map_err(|e| server(&e))?.position + 1;

    let (sent, answered, over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    if s.data.expires_ms > 0 {
        let wait = u64::try_from(begins.micros() - now().micros()).unwrap_or(0);
        std::thread::sleep(Duration::from_micros(wait));
    }
    let begin = Instant::now();
    let common = Common {
        scenario: s,
        addr,
        dir: folder,
        keys: Keys::new(salt),
        data,
        begin,
        stop,
        sent: &sent,
        answered: &answered,
    };
    let faults = timeline(s);
    let (loads, faults, modes) = std::thread::scope(|scope| {
        let drivers: Vec<_> = (0..s.threads)
            .map(|t| {
                scope.spawn({
                    let common = &common;
                    move || drive(common, t)
                })
            })
            .collect();
        let conductor = stage.as_mut().map(|stage| {
            let over = &over;
            let faults = &faults;
            scope.spawn(move || stage.conduct(faults, begin, over))
        });
        let office = s.extend.map(|e| {
            let over = &over;
            scope.spawn(move || {
                while begin.elapsed() < Duration::from_millis(e.at_ms) && !over.load(Ordering::Relaxed) {
                    std::thread::park_timeout(Duration::from_millis(5));
                }
                let until = later(data.expires_at, e.by_ms);
                let planned = extend(operate, &data, data.expires_at, until, &|| over.load(Ordering::Relaxed));
                let ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
                let (fired, proof) = match planned {
                    Ok(lots) => (true, format!("{lots} lots extended by plan and apply")),
                    Err(e) => (false, e),
                };
                FaultReport { kind: "extend".into(), at_ms: e.at_ms, until_ms: Some(ms), fired, proof }
            })
        });
        let watch = {
            let over = &over;
            scope.spawn(move || watch_mode(operate, begin, over))
        };
        let mut next = begin + SHOW_EVERY;
        while !drivers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            std::thread::park_timeout(Duration::from_millis(20));
            if Instant::now() >= next {
                next += SHOW_EVERY;
                let (sent, answered) = (sent.load(Ordering::Relaxed), answered.load(Ordering::Relaxed));
                let at = begin.elapsed().as_secs();
                show(format!("{at:4} s of {:.0}: {sent} sent, {answered} answered", s.seconds()));
            }
        }
        over.store(true, Ordering::Relaxed);
        let loads: Vec<Result<Load, LinkError>> =
            drivers.into_iter().map(|d| d.join().expect("a driver never panics")).collect();
        let mut faults = conductor.map(|c| c.join().expect("the conductor never panics")).unwrap_or_default();
        faults.extend(office.map(|o| o.join().expect("the office never panics")));
        faults.sort_by_key(|f| f.at_ms);
        (loads, faults, watch.join().expect("the watch never panics"))
    });
    let loads = loads.into_iter().collect::<Result<Vec<_>, _>>().map_err(|e| match e {
        LinkError::Io(e) if is_of_the_folder(&e) => RunError::Folder(e.to_string()),
        e => server(&e),
    })?;

    show("reconciling".to_owned());
    let reconciling = Instant::now();
    let folder_error = |e: io::Error| RunError::Folder(e.to_string());
    let attempts = Attempts::read(folder, s.threads).map_err(folder_error)?;
    let mut join = Join::new(&attempts, common.keys, &data);
    Attempts::answers(folder, s.threads, &mut |said| join.said(&said)).map_err(folder_error)?;
    let unknown = join.unknown();
    resolve(addr, &attempts, &data, &unknown, &mut |said| join.said(said)).map_err(|e| server(&e))?;
    let digest = ledger::digest(operate).map_err(|e| server(&e))?;
    let liar = liars.ledger.map(|lie| Proxy::start(operate, Some(lie))).transpose().map_err(|e| server(&e))?;
    let ledger_addr = liar.as_ref().map_or(operate, |l| l.addr);
    ledger::decisions(ledger_addr, first, &mut |e| join.decision(e)).map_err(|e| server(&e))?;
    let found = join.finish();
    let extended = match s.extend {
        Some(e) => Some(coupons_until(operate, &data, later(data.expires_at, e.by_ms)).map_err(|e| server(&e))?),
        None => None,
    };
    let status = ledger::status(operate).map_err(|e| server(&e))?;
    let version = String::from_utf8_lossy(&status.version).trim_end_matches('\0').to_owned();
    let slowest_start_ms = stage.as_ref().map_or(0, |s| s.slowest_start_ms);
    let mut why = Vec::new();
    let digest_equal = match &stage {
        None => None,
        Some(stage) => match ledger::replayed_digest(stage.data(), digest.position) {
            Ok(replayed) => Some(replayed == digest.digest),
            Err(e) => {
                why.push(e);
                Some(false)
            }
        },
    };
    if let Some(stage) = stage {
        stage.end().map_err(|e| server(&e))?;
    }
    let sums = digest.programmes.iter().find(|p| p.programme == data.programme).map(|p| p.sums);
    let conserved = sums.is_some_and(|[issued, charged, reinstated, balances, spent, returned, expired, paid_out]| {
        issued + charged + reinstated + returned == balances + spent + expired + paid_out
            && (spent, returned) == (found.spent, found.returned)
    });

    let mut run = collect(name, s, &loads, &found);
    for (second, mode) in run.seconds.iter_mut().zip(modes) {
        second.mode = mode;
    }
    let m = &mut run.summary;
    m.started_at = jiff::Timestamp::from_microsecond(started.micros()).map(|t| t.to_string()).unwrap_or_default();
    m.interrupted = stop.load(Ordering::Relaxed);
    (m.conserved, m.digest_equal, m.resolved) = (conserved, digest_equal, unknown.len() as u64);
    m.resolved -= m.reconciliation.unresolved.min(m.resolved);
    m.reconciled_in_s = reconciling.elapsed().as_secs_f64();
    m.faults = faults;
    m.slos = slos(s, m, slowest_start_ms);
    m.slos.extend(extended.map(|n| {
        let (goal, measured) = (f64::from(data.coupons), n as f64);
        SloReport { name: "extended_coupons".to_owned(), goal, measured, met: measured >= goal }
    }));
    m.environment =
        Environment { server: format!("tegata {version}, flush {} µs", status.flush_us), ..Environment::default() };
    m.why = why;
    judge(m);
    run.findings = found.findings;
    Ok(run)
}

/// The server's mode as its status says it, second by second; [`MODE_SILENT`] where it says nothing.
fn watch_mode(operate: SocketAddr, begin: Instant, over: &AtomicBool) -> Vec<u64> {
    let mut modes = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let mode = ledger::status_within(operate, WATCH_PATIENCE).map_or(MODE_SILENT, |s| s.mode);
        // A server that was stopped while it was asked answers late.
        modes.resize((begin.elapsed().as_secs() as usize).max(modes.len()), MODE_SILENT);
        modes.push(mode);
        let next = begin + Duration::from_secs(modes.len() as u64);
        while Instant::now() < next && !over.load(Ordering::Relaxed) {
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
    modes
}

fn later(at: Timestamp, ms: u64) -> Timestamp {
    Timestamp::from_micros(at.micros().saturating_add(i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1_000)))
}

/// True for errors of writing files; the others come from sockets.
fn is_of_the_folder(e: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, NotFound, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(e.kind(), AlreadyExists | NotFound | PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull)
}

/// On somebody else's server a run has ids and a programme of its own.
fn data_set(s: &Scenario, own: Option<u64>) -> DataSet {
    let mut data =
        DataSet { coupons: s.data.coupons, shops: s.data.shops, balance: s.data.balance, ..DataSet::default() };
    if let Some(own) = own {
        let mut n = own;
        for letter in &mut data.tag {
            *letter = b'A' + (n % 26) as u8;
            n /= 26;
        }
        // Out of the way of the numbers that people give.
        data.programme = 1_000_000 + (own % 1_000_000) as u32;
        data.namespace = data.programme;
    }
    data
}

fn latency(h: &Histogram<u64>) -> Latency {
    let us = |q: f64| h.value_at_quantile(q) as f64 / 1e3;
    Latency { p50_us: us(0.5), p99_us: us(0.99), p999_us: us(0.999), max_us: h.max() as f64 / 1e3 }
}

fn collect(name: &str, s: &Scenario, loads: &[Load], found: &Found) -> Run {
    let (mut response, mut service) = (histogram(), histogram());
    let mut ticks: Vec<Tick> = Vec::new();
    for load in loads {
        // The bounds are equal: adding cannot fail.
        let _ = response.add(&load.response);
        let _ = service.add(&load.service);
        for (i, tick) in load.seconds.iter().enumerate() {
            match ticks.get_mut(i) {
                Some(all) => all.add(tick),
                None => ticks.push(tick.clone()),
            }
        }
    }
    let seconds = (0..).zip(&ticks).map(|(second, t)| {
        let l = latency(&t.response);
        Second {
            second,
            offered: t.offered,
            sent: t.sent,
            approved: t.approved,
            declined: t.declined,
            suspected: t.suspected,
            rejected: t.rejected,
            unanswered: t.unanswered,
            p50_us: l.p50_us,
            p99_us: l.p99_us,
            max_us: l.max_us,
            mode: 0,
        }
    });
    let seconds: Vec<Second> = seconds.collect();
    let sum = |of: fn(&Load) -> u64| loads.iter().map(of).sum::<u64>() as f64;
    let (offered, length) = (sum(|l| l.offered), s.seconds());
    let sent: u64 = ticks.iter().map(|t| t.sent).sum();
    let cpu = loads.iter().map(|l| l.cpu_nanos as f64 / l.wall_nanos.max(1) as f64).fold(0.0, f64::max);
    let summary = Summary {
        schema: SCHEMA,
        scenario: name.to_owned(),
        seed: s.seed,
        seconds: length,
        sends: sum(|l| l.sends) as u64,
        repeated: sum(|l| l.repeated) as u64,
        approved: found.counts.approved,
        declined: found.counts.declined,
        suspected: found.counts.suspected,
        rejected: found.counts.rejected + found.counts.fenced,
        reconciliation: found.reconciliation,
        offered_per_second: offered / length,
        achieved_per_second: sent as f64 / length,
        goodput_per_second: sum(|l| l.decided_in_time) / length,
        answered_in_deadline: sum(|l| l.in_time) / offered.max(1.0),
        response: latency(&response),
        service: latency(&service),
        generator_late: sum(|l| l.late) / offered.max(1.0),
        generator_cpu: cpu,
        ..Summary::default()
    };
    Run { summary, seconds, response, service, findings: Vec::new() }
}

fn slos(s: &Scenario, m: &Summary, slowest_start_ms: u64) -> Vec<SloReport> {
    let mut all = Vec::new();
    let mut ask = |name: &str, goal: Option<f64>, measured: f64, met: fn(f64, f64) -> bool| {
        if let Some(goal) = goal {
            all.push(SloReport { name: name.to_owned(), goal, measured, met: met(measured, goal) });
        }
    };
    ask("p99_ms", s.slo.p99_ms, m.response.p99_us / 1e3, |m, g| m <= g);
    ask("answered_in_deadline", s.slo.answered_in_deadline, m.answered_in_deadline, |m, g| m >= g);
    ask("ready_ms", s.slo.ready_ms, slowest_start_ms as f64, |m, g| m <= g);
    all
}

/// Verdict, reasons and exit code.
fn judge(m: &mut Summary) {
    let r = m.reconciliation;
    let exact = r.holds() && m.conserved && m.digest_equal != Some(false);
    if !r.holds() {
        m.why.push("exactly-once does not hold for every attempt".into());
    }
    if !m.conserved {
        m.why.push("the programme's sums are not those of the decisions, or not conserved".into());
    }
    if m.digest_equal == Some(false) {
        m.why.push("a replay of the journal gives another digest than the server has".into());
    }
    if m.interrupted {
        m.why.push("interrupted: these are partial results".into());
    }
    let before = m.why.len();
    if m.generator_late > LATE_MAX {
        m.why.push(format!(
            "the generator sent {:.1} % of the payments late by its own fault",
            m.generator_late * 100.0
        ));
    }
    if m.generator_cpu > CPU_MAX {
        m.why.push(format!("a thread of the generator used {:.0} % of its processor", m.generator_cpu * 100.0));
    }
    for f in m.faults.iter().filter(|f| !f.fired) {
        m.why.push(format!("the fault {} at {} ms did not fire: {}", f.kind, f.at_ms, f.proof));
    }
    let invalid = m.why.len() > before;
    let missed: Vec<_> = m.slos.iter().filter(|s| !s.met).collect();
    m.why.extend(missed.iter().map(|s| format!("{} is {:.3}, the goal is {}", s.name, s.measured, s.goal)));
    (m.verdict, m.exit_code) = match (exact, m.interrupted, invalid, missed.is_empty()) {
        (false, ..) => (Verdict::Fail, 2),
        (_, true, ..) => (Verdict::Invalid, 130),
        (_, _, true, _) => (Verdict::Invalid, 5),
        (_, _, _, false) => (Verdict::Fail, 1),
        _ => (Verdict::Pass, 0),
    };
}
