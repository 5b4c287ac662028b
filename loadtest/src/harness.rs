//! A run from beginning to end: server, data, load with faults, questions about what is not known, the join with the
//! ledger, the verdict.

use crate::attempts::{Attempts, Keys};
use crate::driver::{Common, drive};
use crate::error::RunError;
use crate::faults::{conduct, timeline};
use crate::ledger;
use crate::machine::{memory_peak_bytes, stolen_ms};
use crate::office::{coupons_until, extend};
use crate::personas;
use crate::progress::{Progress, Watcher};
use crate::proxy::{Lie, Proxy};
use crate::reconcile::{Found, Join};
use crate::resolve::resolve;
use crate::scenario::{Arrivals, Scenario};
use crate::seed::{DataSet, now, seed};
use crate::stage::Stage;
use crate::summary::{Environment, FaultReport, MODE_SILENT, Second, SloReport, Summary};
use crate::tally::{Seconds, Tally};
use crate::verdict;
use hdrhistogram::Histogram;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};
use tegata_model::{Timestamp, mix};
use tegata_wire::DigestBody;

/// How long seeding may take where the coupons expire during the load, in µs: together, and each.
const SEEDING_US: i64 = 2_000_000;
const SEEDING_US_PER_ACCOUNT: i64 = 10;
/// For how long the load waits for its connections, and for each of them.
const CONNECTING: Duration = Duration::from_millis(200);
const CONNECTING_EACH: Duration = Duration::from_millis(1);
const CONNECTING_MAX: Duration = Duration::from_secs(3);
/// How much later than planned the load may begin where coupons expire, in ms.
const BEGINS_WITHIN_MS: i64 = 100;
/// How long a server may take to say how it is, before it counts as silent.
const WATCH_PATIENCE: Duration = Duration::from_millis(500);
/// How long after its end a second is told of: every thread has handed it over.
const SECOND_SETTLES: Duration = Duration::from_millis(100);
/// How often it is looked whether something is due.
const LOOK_EVERY: Duration = Duration::from_millis(5);

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
    /// On the operator's stream of decisions, digest and sums.
    pub ledger: Option<Box<Lie>>,
}

/// The server of a run, and what it works on.
struct Scene<'a> {
    scenario: &'a Scenario,
    addr: SocketAddr,
    operate: SocketAddr,
    data: DataSet,
    keys: Keys,
    folder: &'a Path,
    stop: &'a AtomicBool,
    show: &'a Watcher<'a>,
}

/// Runs a scenario, whose rates are multiples of `peak` where one is given. `folder` exists; the clients' journal goes there. `show` is told what happens. An error is what kept
/// the load from beginning; what happens afterwards stands in the summary.
pub fn run_scenario(
    name: &str,
    s: &Scenario,
    peak: Option<f64>,
    elsewhere: Option<Elsewhere>,
    liars: Liars,
    folder: &Path,
    stop: &AtomicBool,
    show: &Watcher<'_>,
) -> Result<Run, RunError> {
    if elsewhere.is_some() && !s.fault.is_empty() {
        return Err(RunError::Usage(
            "faults are done to a server of the harness's own only: leave --server out".into(),
        ));
    }
    let mut scaled = s.clone();
    if let Some(peak) = peak {
        scaled.scale_to(peak);
    }
    let s = &scaled;
    let data_dir = tempfile::tempdir().map_err(RunError::folder)?;
    let (mut stage, addr, operate) = match elsewhere {
        Some(e) => (None, e.addr, e.operate),
        None => {
            let stage = Stage::start(s, data_dir.path(), liars.gateways)?;
            let (addr, operate) = (stage.addr, stage.operate);
            (Some(stage), addr, operate)
        }
    };
    let started = now();
    let salt = mix(s.seed, started.micros() as u64);
    let mut data = data_set(s, elsewhere.is_some().then_some(salt));
    // Coupons that expire at an instant of the load need to know when the load begins.
    let seeding = SEEDING_US + SEEDING_US_PER_ACCOUNT * i64::from(data.accounts());
    let seeded = Timestamp::from_micros(started.micros() + seeding);
    let begins = Timestamp::from_micros(seeded.micros() + connecting(s).as_micros() as i64);
    if s.data.expires_ms > 0 {
        data.expires_at = later(begins, s.data.expires_ms);
    }
    seed(operate, &data, &mut |done, total| show(Progress::Seeding { done, total })).map_err(RunError::server)?;
    let first = ledger::digest(operate).map_err(RunError::server)?.position + 1;
    let mut faults = Vec::new();
    if s.data.expires_ms > 0 {
        thread::sleep(Duration::from_micros(u64::try_from(seeded.micros() - now().micros()).unwrap_or(0)));
        if s.data.expires_ms as f64 <= s.seconds() * 1e3 {
            faults.push(expiry(s, seeded));
        }
    }
    show(Progress::Begins { seconds: s.seconds() });

    let scene = Scene { scenario: s, addr, operate, data, keys: Keys::new(salt), folder, stop, show };
    let before = stage.as_ref().and_then(Stage::begin_memory_peak);
    let stolen_before = stolen_ms();
    let (tallies, seconds, happened, mut error) = load(&scene, stage.as_mut());
    let stolen = stolen_ms().saturating_sub(stolen_before);
    let most = stage.as_ref().and_then(Stage::memory_peak_bytes);
    faults.extend(happened);
    faults.sort_by_key(|f| f.at_ms);
    let mut m = verdict::of_load(name, s, &tallies, &seconds);
    m.started_at = jiff::Timestamp::from_microsecond(started.micros()).map(|t| t.to_string()).unwrap_or_default();
    m.interrupted = stop.load(Ordering::Relaxed);
    m.closed_loop = s.phase.iter().any(|p| p.arrivals == Arrivals::Closed);
    m.faults = faults;
    m.stolen_ms = stolen;
    m.peak_per_second = peak.unwrap_or(0.0);
    m.server_grew_bytes = before.zip(most).map(|(before, most)| most.saturating_sub(before));
    let mut findings = Vec::new();
    if error.is_none() {
        match reconcile(&scene, stage.as_ref(), first, liars.ledger, &mut m) {
            Ok(found) => findings = found,
            Err(e) => error = Some(e),
        }
    }
    let (mut slos, unjudged) = verdict::slos(s, &m, &seconds, stage.as_ref().map_or(0, |s| s.slowest_start_ms));
    slos.append(&mut m.slos);
    m.slos = slos;
    if let Some(Err(e)) = stage.map(Stage::end) {
        error = error.or(Some(RunError::server(e)));
    }
    m.memory_peak_bytes = memory_peak_bytes();
    verdict::judge(&mut m, unjudged, error.as_ref());
    let together = |of| verdict::together(&tallies, of);
    let (response, service) = (together(|t| &t.response), together(|t| &t.service));
    Ok(Run { summary: m, seconds, response, service, findings })
}

/// For how long the load waits for its connections before it begins: what was due meanwhile would come all at once.
fn connecting(s: &Scenario) -> Duration {
    (CONNECTING + CONNECTING_EACH * s.connections as u32).min(CONNECTING_MAX)
}

/// That the coupons expire when the scenario says: not if seeding took longer than was planned for it.
fn expiry(s: &Scenario, seeded: Timestamp) -> FaultReport {
    let late_ms = (now().micros() - seeded.micros()) / 1_000;
    let at_ms = s.data.expires_ms;
    FaultReport {
        kind: "expiry".to_owned(),
        at_ms,
        until_ms: Some(at_ms),
        fired: late_ms <= BEGINS_WITHIN_MS,
        proof: format!("the load began {late_ms} ms after the instant from which the expiry counts"),
        ..FaultReport::default()
    }
}

/// The load with everything that happens during it. What ended a thread early comes beside what the others did.
fn load(scene: &Scene<'_>, stage: Option<&mut Stage>) -> (Vec<Tally>, Vec<Second>, Vec<FaultReport>, Option<RunError>) {
    let s = scene.scenario;
    let (ticks, modes, over) = (Seconds::default(), Mutex::new(Vec::new()), AtomicBool::new(false));
    let happened = Mutex::new(Vec::new());
    let tell = |f: FaultReport| {
        (scene.show)(Progress::Fault(&f));
        happened.lock().expect("nobody panics with the reports in hand").push(f);
    };
    let begin = Instant::now() + connecting(s);
    let common = Common {
        scenario: s,
        addr: scene.addr,
        dir: scene.folder,
        keys: scene.keys,
        data: scene.data,
        begin,
        stop: scene.stop,
        seconds: &ticks,
    };
    let second = |n: usize| {
        let mode = modes.lock().expect("nobody panics with the modes in hand").get(n).copied().unwrap_or(MODE_SILENT);
        let ticks = ticks.lock().expect("nobody panics with the seconds in hand");
        verdict::second(n, &ticks.get(n).cloned().unwrap_or_default(), mode)
    };
    let timeline = timeline(s);
    let results = thread::scope(|scope| {
        let (common, over, tell, modes) = (&common, &over, &tell, &modes);
        let drivers: Vec<_> = (0..s.threads).map(|t| scope.spawn(move || drive(common, t))).collect();
        if let Some(stage) = stage {
            scope.spawn(move || conduct(stage, &scene.data, &timeline, begin, over, tell));
        }
        if let Some(e) = s.extend {
            scope.spawn(move || tell(office(scene, e.at_ms, e.by_ms, begin, over)));
        }
        for p in &s.persona {
            scope.spawn(move || tell(personas::play(p, scene.addr, &scene.data, begin, over)));
        }
        scope.spawn(move || watch_mode(scene.operate, begin, over, modes));
        let mut told = 0;
        while !drivers.iter().all(ScopedJoinHandle::is_finished) {
            thread::sleep(LOOK_EVERY);
            while begin.elapsed() > Duration::from_secs(told as u64 + 1) + SECOND_SETTLES {
                (scene.show)(Progress::Second(&second(told)));
                told += 1;
            }
        }
        over.store(true, Ordering::Relaxed);
        drivers.into_iter().map(|d| d.join().expect("a driver never panics")).collect::<Vec<_>>()
    });
    let length = ticks.lock().expect("nobody panics with the seconds in hand").len();
    let seconds = (0..length).map(second).collect();
    let (mut tallies, mut error) = (Vec::new(), None);
    for result in results {
        match result {
            Ok(tally) => tallies.push(tally),
            Err(e) => error = error.or(Some(e)),
        }
    }
    let happened = happened.into_inner().expect("nobody panics with the reports in hand");
    (tallies, seconds, happened, error)
}

/// Asks for what is not known, and joins what was told with the ledger. Returns how many were not known, and the digest
/// and sums of the server then.
fn joined(scene: &Scene<'_>, books: SocketAddr, first: u64) -> Result<(Found, u64, DigestBody), RunError> {
    let attempts = Attempts::read(scene.folder, scene.scenario.threads).map_err(RunError::folder)?;
    let mut join = Join::new(&attempts, scene.keys, &scene.data, scene.scenario.till.deadline_ms);
    Attempts::answers(scene.folder, scene.scenario.threads, &mut |said| join.said(&said)).map_err(RunError::folder)?;
    let unknown = join.unknown();
    (scene.show)(Progress::Resolving { unknown: unknown.len() });
    resolve(scene.addr, &attempts, &scene.data, &unknown, &mut |said| join.said(said)).map_err(RunError::server)?;
    let digest = ledger::digest(books).map_err(RunError::server)?;
    (scene.show)(Progress::Joining);
    ledger::decisions(books, first, &mut |e| join.decision(e)).map_err(RunError::server)?;
    Ok((join.finish(), unknown.len() as u64, digest))
}

/// Proves the run: every answer against the ledger, the sums, the digest. Returns the first violations.
fn reconcile(
    scene: &Scene<'_>,
    stage: Option<&Stage>,
    first: u64,
    lie: Option<Box<Lie>>,
    m: &mut Summary,
) -> Result<Vec<String>, RunError> {
    let (s, operate, data) = (scene.scenario, scene.operate, &scene.data);
    let began = Instant::now();
    let liar = lie.map(|lie| Proxy::start(operate, Some(lie))).transpose().map_err(RunError::server)?;
    let books = liar.as_ref().map_or(operate, |l| l.addr);
    // The clients' side needs as much memory as a replay of the server's: one after the other.
    let (found, unknown, digest) = joined(scene, books, first)?;
    verdict::add_found(m, &found);
    m.resolved = unknown.saturating_sub(found.reconciliation.unresolved);
    if let Some(e) = s.extend {
        let until = later(data.expires_at, e.by_ms);
        let n = coupons_until(operate, data, until).map_err(RunError::server)?;
        let (goal, measured) = (f64::from(data.coupons), n as f64);
        m.slos.push(SloReport { name: "extended_coupons".to_owned(), goal, measured, met: measured >= goal });
    }
    m.digest_equal = match stage.map(|stage| ledger::replayed_digest(stage.data(), digest.position)) {
        None => None,
        Some(Ok(replayed)) => Some(replayed == digest.digest),
        Some(Err(e)) => {
            m.why.push(e);
            Some(false)
        }
    };
    let sums = digest.programmes.iter().find(|p| p.programme == data.programme).map(|p| p.sums);
    m.conserved = sums.is_some_and(|sums| conserved(data, &found, sums));
    let status = ledger::status(operate).map_err(RunError::server)?;
    let version = String::from_utf8_lossy(&status.version).trim_end_matches('\0').to_owned();
    let server = format!("tegata {version}, flush {} µs", status.flush_us);
    m.environment = Environment { server, ..Environment::default() };
    m.reconciled_in_s = began.elapsed().as_secs_f64();
    Ok(found.findings)
}

/// True when the programme's sums are conserved, and those that seeding and the joined decisions make.
fn conserved(data: &DataSet, found: &Found, sums: [u128; 9]) -> bool {
    let [issued, charged, reinstated, balances, spent, returned, expired, paid_out, shortfall] = sums;
    let seeded = |n: u32| u128::from(n) * u128::from(data.balance);
    issued + charged + reinstated + returned + shortfall == balances + spent + expired + paid_out
        && (issued, charged) == (seeded(data.coupons), seeded(data.wallets) + found.moved.loaded)
        && (spent, returned) == (found.moved.spent, found.moved.returned)
}

/// The extension, at its time.
fn office(scene: &Scene<'_>, at_ms: u64, by_ms: u64, begin: Instant, over: &AtomicBool) -> FaultReport {
    let is_over = || over.load(Ordering::Relaxed);
    while begin.elapsed() < Duration::from_millis(at_ms) && !is_over() {
        thread::sleep(LOOK_EVERY);
    }
    if is_over() {
        let proof = "the load was over before".to_owned();
        return FaultReport {
            kind: "extend".into(),
            at_ms,
            until_ms: None,
            fired: false,
            proof,
            ..FaultReport::default()
        };
    }
    let data = &scene.data;
    let planned = extend(scene.operate, data, data.expires_at, later(data.expires_at, by_ms), &is_over);
    let ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (fired, proof) = match planned {
        Ok(lots) => (true, format!("{lots} lots extended by plan and apply")),
        Err(e) => (false, e),
    };
    FaultReport { kind: "extend".into(), at_ms, until_ms: Some(ms), fired, proof, ..FaultReport::default() }
}

/// The server's mode as its status says it, second by second; [`MODE_SILENT`] where it says nothing.
fn watch_mode(operate: SocketAddr, begin: Instant, over: &AtomicBool, modes: &Mutex<Vec<u64>>) {
    while !over.load(Ordering::Relaxed) {
        let mode = ledger::status_within(operate, WATCH_PATIENCE).map_or(MODE_SILENT, |s| s.mode);
        let next = {
            let mut modes = modes.lock().expect("nobody panics with the modes in hand");
            // A server that was stopped while it was asked answers late.
            let now = begin.elapsed().as_secs() as usize;
            let length = modes.len();
            modes.resize(now.max(length), MODE_SILENT);
            modes.push(mode);
            begin + Duration::from_secs(modes.len() as u64)
        };
        while Instant::now() < next && !over.load(Ordering::Relaxed) {
            thread::sleep(LOOK_EVERY);
        }
    }
}

fn later(at: Timestamp, ms: u64) -> Timestamp {
    Timestamp::from_micros(at.micros().saturating_add(i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1_000)))
}

/// On somebody else's server a run has ids and a programme of its own.
fn data_set(s: &Scenario, own: Option<u64>) -> DataSet {
    let d = &s.data;
    let (coupons, wallets, shops, balance) = (d.coupons, d.wallets, d.shops, d.balance);
    let mut data = DataSet { coupons, wallets, shops, balance, ..DataSet::default() };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coupons_that_expire_earlier_than_the_scenario_says_make_the_run_invalid() {
        let s = Scenario { data: crate::scenario::Data { expires_ms: 5_000, ..Default::default() }, ..peak() };
        assert!(expiry(&s, now()).fired);
        let late = Timestamp::from_micros(now().micros() - 3_000_000);
        let report = expiry(&s, late);
        assert!(!report.fired && report.proof.contains(" 3"), "{report:?}");
    }

    #[test]
    fn sums_must_be_those_of_seeding_and_join() {
        let data = DataSet { coupons: 3, wallets: 2, balance: 100, ..DataSet::default() };
        let mut found = Found::default();
        (found.moved.spent, found.moved.returned, found.moved.loaded) = (50, 20, 7);
        let right = [300, 207, 0, 477, 50, 20, 0, 0, 0];
        assert!(conserved(&data, &found, right));
        for i in 0..9 {
            let mut wrong = right;
            wrong[i] += 1;
            assert!(!conserved(&data, &found, wrong), "sum {i}");
        }
        // Conserved in itself, and not what the decisions say.
        assert!(!conserved(&data, &found, [300, 207, 0, 476, 51, 20, 0, 0, 0]));
    }

    fn peak() -> Scenario {
        crate::scenario::load("peak").expect("a scenario")
    }
}
