//! Scenarios: what is offered, to what data, with which tills, with which faults, and what must hold at the end.
//! `docs/load.md` explains every name.

use serde::{Deserialize, Serialize};
use std::path::Path;

/// The scenarios that the program carries in itself, by name.
const NAMED: [(&str, &str); 30] = [
    ("peak", include_str!("../scenarios/peak.toml")),
    ("button-mash", include_str!("../scenarios/button-mash.toml")),
    ("cash-after-timeout", include_str!("../scenarios/cash-after-timeout.toml")),
    ("kill-under-load", include_str!("../scenarios/kill-under-load.toml")),
    ("expiry-midnight", include_str!("../scenarios/expiry-midnight.toml")),
    ("hot-station-kiosk", include_str!("../scenarios/hot-station-kiosk.toml")),
    ("incident-0224", include_str!("../scenarios/incident-0224.toml")),
    ("overload-1x", include_str!("../scenarios/overload-1x.toml")),
    ("overload-2x", include_str!("../scenarios/overload-2x.toml")),
    ("overload-5x", include_str!("../scenarios/overload-5x.toml")),
    ("overload-10x", include_str!("../scenarios/overload-10x.toml")),
    ("refused-1x", include_str!("../scenarios/refused-1x.toml")),
    ("refused-2x", include_str!("../scenarios/refused-2x.toml")),
    ("refused-5x", include_str!("../scenarios/refused-5x.toml")),
    ("refused-10x", include_str!("../scenarios/refused-10x.toml")),
    ("burst-10x", include_str!("../scenarios/burst-10x.toml")),
    ("burst-10x-retries", include_str!("../scenarios/burst-10x-retries.toml")),
    ("soak", include_str!("../scenarios/soak.toml")),
    ("wallets", include_str!("../scenarios/wallets.toml")),
    ("strangers", include_str!("../scenarios/strangers.toml")),
    ("slow-disk", include_str!("../scenarios/slow-disk.toml")),
    ("full-disk", include_str!("../scenarios/full-disk.toml")),
    ("journal-stall", include_str!("../scenarios/journal-stall.toml")),
    ("drain", include_str!("../scenarios/drain.toml")),
    ("failed-disk", include_str!("../scenarios/failed-disk.toml")),
    ("programme-suspended", include_str!("../scenarios/programme-suspended.toml")),
    ("clock-step", include_str!("../scenarios/clock-step.toml")),
    ("drill", include_str!("../scenarios/drill.toml")),
    ("greedy-gateway", include_str!("../scenarios/greedy-gateway.toml")),
    ("malformed", include_str!("../scenarios/malformed.toml")),
];

/// What a peak is: the highest rate at which these hold.
const PEAK_P99_MS: f64 = 50.0;
const PEAK_ANSWERED: f64 = 0.999;
/// Most payments in flight: a request's number has room for so many.
const SLOTS_MAX: usize = 1 << 24;
/// How often one fault may happen in a run.
const FAULTS_MAX: usize = 10_000;

/// A scenario, as its file says.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is for, in one sentence.
    pub about: String,
    /// Seed of everything random.
    #[serde(default = "seed")]
    pub seed: u64,
    /// Connections of the gateway.
    #[serde(default = "connections")]
    pub connections: usize,
    /// Most requests in flight on each; never more than the server's credits.
    #[serde(default = "depth")]
    pub depth: usize,
    /// Threads of the generator.
    #[serde(default = "one")]
    pub threads: usize,
    /// Above 0: rates are multiples of the peak, the highest rate at which p99 stays within 50 ms. It is searched for
    /// before, in steps of so many s.
    #[serde(default)]
    pub peak_step_seconds: f64,
    /// What is offered, one phase after the other.
    pub phase: Vec<Phase>,
    /// What is there before.
    #[serde(default)]
    pub data: Data,
    /// What customers ask for besides debits.
    #[serde(default)]
    pub mix: Mix,
    /// How tills behave.
    #[serde(default)]
    pub till: Till,
    /// The server that the harness starts.
    #[serde(default)]
    pub server: Server,
    /// What goes wrong, and when.
    #[serde(default)]
    pub fault: Vec<Fault>,
    /// Who misbehaves beside the load.
    #[serde(default)]
    pub persona: Vec<Persona>,
    /// What the office does about coupons that expire.
    pub extend: Option<Extend>,
    /// What must hold besides exactly-once.
    #[serde(default)]
    pub slo: Slo,
}

/// Load over some time.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// How long, in s.
    pub seconds: f64,
    /// Payments a second, at its beginning; a closed loop has none.
    #[serde(default)]
    pub rate: f64,
    /// Payments a second at its end; the rate in between is a straight line. Default: as at the beginning.
    pub to: Option<f64>,
    /// How payments follow each other.
    #[serde(default)]
    pub arrivals: Arrivals,
}

/// How payments follow each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// Independently of each other, as customers come.
    #[default]
    Poisson,
    /// At equal distances.
    Constant,
    /// A closed loop: the next comes when there is room for it, on connections × depth. It shows the most that the
    /// server does, and hides how long customers would wait.
    Closed,
}

/// The data set.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Data {
    /// Paper coupons.
    pub coupons: u32,
    /// App wallets.
    pub wallets: u32,
    /// Yen on each coupon and wallet.
    pub balance: u64,
    /// Shops.
    pub shops: u32,
    /// Exponent of a Zipf distribution over the coupons; 0: uniform.
    pub coupon_zipf: f64,
    /// Share of the payments that go to the hot shops, 0 to 1.
    pub hot_share: f64,
    /// How many shops are hot.
    pub hot_shops: u32,
    /// When all coupons expire, in ms from the beginning of the load; 0: never.
    pub expires_ms: u64,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            coupons: 1_000_000,
            wallets: 0,
            balance: 100_000_000,
            shops: 500,
            coupon_zipf: 0.0,
            hot_share: 0.0,
            hot_shops: 1,
            expires_ms: 0,
        }
    }
}

impl Data {
    /// Coupons and wallets together.
    #[must_use]
    pub fn accounts(&self) -> u32 {
        self.coupons.saturating_add(self.wallets)
    }
}

/// What customers ask for: shares from 0 to 1. What is left are debits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mix {
    /// Share that reserve the sum and have it captured, three quarters of it, as soon as the hold is approved.
    pub hold: f64,
    /// Share of the approved holds that are cancelled instead.
    pub void: f64,
    /// Share of paper coupons' customers that move the sum into a wallet.
    pub charge: f64,
    /// Share of wallets' customers that top it up by the sum.
    pub load: f64,
    /// Share of approved debits, half of which is refunded at once.
    pub refund: f64,
}

impl Mix {
    /// True when nothing else is asked for.
    #[must_use]
    pub fn is_of_debits(&self) -> bool {
        self.hold + self.charge + self.load == 0.0
    }
}

/// An extension of every coupon, by plan and apply.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Extend {
    /// When it is made, in ms from the beginning of the load.
    pub at_ms: u64,
    /// By how long, in ms.
    pub by_ms: u64,
}

/// How tills behave when an answer is late or does not come. Shares are of payments, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Till {
    /// How long the customer waits, in ms.
    pub deadline_ms: u32,
    /// No answer for so long: the same key again, in ms; 0: never.
    pub repeat_after_ms: u32,
    /// How often a refused request is tried again while there is time; by default as often as that allows.
    pub retries: u32,
    /// Refused requests are tried again at once, whatever the server asked for.
    pub retries_at_once: bool,
    /// How long a payment waits in the gateway for a connection with room before the gateway itself refuses it, in ms;
    /// 0: until its deadline.
    pub gateway_waits_ms: u32,
    /// Share that press Pay again although it was answered: the same key.
    pub press_again: f64,
    /// Share of broken tills, which pay again under a new key when the deadline passes.
    pub new_key: f64,
    /// Share that fence the key when the deadline passes and take cash when it is fenced.
    pub cash: f64,
    /// Share of answers that the gateway drops.
    pub drop_answers: f64,
    /// Share of approved debits that are reversed at once.
    pub reverse: f64,
}

impl Default for Till {
    fn default() -> Self {
        let (deadline_ms, repeat_after_ms) = (8_000, 1_000);
        Self {
            deadline_ms,
            repeat_after_ms,
            retries: u32::MAX,
            retries_at_once: false,
            gateway_waits_ms: 0,
            press_again: 0.0,
            new_key: 0.0,
            cash: 0.0,
            drop_answers: 0.0,
            reverse: 0.0,
        }
    }
}

/// The server that the harness starts.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Memory that it has ready before, in bytes.
    pub warm_bytes: u64,
    /// Bytes of log after which it takes a snapshot; 0: never.
    pub snapshot_bytes: u64,
    /// Bytes of a segment of its log.
    pub segment_bytes: u64,
    /// Requests that it lets a connection have in flight, 1 to 65536.
    pub credits: u32,
    /// The share of one processor that it may use; 0: all processors. Needs the right to real-time priority.
    pub processors: f64,
    /// Size of a disk of its own, in MiB; 0: it uses the one that temporary files are on. Needs the right to mount.
    pub disk_mib: u64,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            warm_bytes: 1_500_000_000,
            snapshot_bytes: 0,
            segment_bytes: 64 << 20,
            credits: 1_024,
            processors: 0.0,
            disk_mib: 0,
        }
    }
}

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// When, in ms from the beginning of the load; with `until_ms` and `count`, the earliest instant.
    pub at_ms: u64,
    /// How long it lasts, in ms: how long the process is stopped, or down.
    #[serde(default)]
    pub for_ms: u64,
    /// How often, at seeded instants between `at_ms` and `until_ms`.
    #[serde(default = "one")]
    pub count: usize,
    /// The latest instant, in ms.
    pub until_ms: Option<u64>,
    /// Writes a second that a slow disk lets through.
    #[serde(default = "few_writes")]
    pub writes_per_second: u32,
    /// Number of the breaker that a drill opens, as `docs/protocol.md` numbers them.
    #[serde(default)]
    pub cause: u8,
    /// How far a clock steps forward, in ms; negative: back.
    #[serde(default)]
    pub by_ms: i64,
}

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// kill -9, then a new start on the same data.
    Kill,
    /// SIGSTOP, then SIGCONT.
    Stop,
    /// An orderly end, then a new start.
    Restart,
    /// Every connection is cut.
    Cut,
    /// Connections stay open, and nothing passes in either direction.
    HalfOpen,
    /// Requests arrive, answers do not.
    DropAnswers,
    /// The disk lets few writes through: a control group limits the server.
    SlowDisk,
    /// The disk is full, and has space again: the server's own disk, `disk_mib`.
    FullDisk,
    /// Nothing that is written becomes durable, by the server's own test seam.
    JournalStall,
    /// A write of the journal fails, by the server's own test seam: the server ends, and is started again.
    FailedDisk,
    /// The office suspends the programme, and resumes it.
    Suspend,
    /// An operator opens the breaker `cause` for a drill.
    Drill,
    /// The wall clock steps by `by_ms` and back, by the server's own test seam; then an operator confirms it.
    ClockStep,
}

/// Callers that behave badly beside the load. They are done to somebody else's server too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Persona {
    /// Who.
    pub kind: PersonaKind,
    /// How many connections.
    #[serde(default = "one")]
    pub connections: usize,
    /// From when, in ms from the beginning of the load.
    #[serde(default)]
    pub at_ms: u64,
    /// For how long, in ms.
    pub for_ms: u64,
    /// Malformed frames a second of all its connections together; 0: as many as it can.
    #[serde(default)]
    pub rate: u32,
}

/// How a caller can misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PersonaKind {
    /// Asks as much as it can and hardly reads.
    SlowReader,
    /// Sends byte by byte.
    Dribbler,
    /// Connections that come at once, ask, and go at once, again and again.
    Herd,
    /// Another gateway, with as many payments in flight as it has credits on each of its connections.
    Flood,
    /// Another gateway, whose frames break a rule each.
    Malformed,
}

impl PersonaKind {
    /// As the file says it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SlowReader => "slow-reader",
            Self::Dribbler => "dribbler",
            Self::Herd => "herd",
            Self::Flood => "flood",
            Self::Malformed => "malformed",
        }
    }
}

impl FaultKind {
    /// As the file says it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Cut => "cut",
            Self::HalfOpen => "half-open",
            Self::DropAnswers => "drop-answers",
            Self::SlowDisk => "slow-disk",
            Self::FullDisk => "full-disk",
            Self::JournalStall => "journal-stall",
            Self::ClockStep => "clock-step",
            Self::FailedDisk => "failed-disk",
            Self::Suspend => "suspend",
            Self::Drill => "drill",
        }
    }

    /// True for what happens between clients and server.
    #[must_use]
    pub fn is_on_the_way(self) -> bool {
        matches!(self, Self::Cut | Self::HalfOpen | Self::DropAnswers)
    }
}

/// What must hold. A bound that is not given is not asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Slo {
    /// Largest p99 of the response time, in ms.
    pub p99_ms: Option<f64>,
    /// Smallest share of payments that are answered within their deadline, 0 to 1.
    pub answered_in_deadline: Option<f64>,
    /// Longest start after a kill, in ms.
    pub ready_ms: Option<f64>,
    /// Longest time from the beginning of a fault until the server says that the breaker of its cause is open, in ms.
    pub degraded_within_ms: Option<f64>,
    /// Longest time from the end of a fault until the server says that it is normal again, in ms.
    pub normal_within_ms: Option<f64>,
    /// Smallest share of payments that are told anything, "unknown" included, within their deadline and 100 ms, 0 to 1.
    pub told: Option<f64>,
    /// Largest p99 of the time to a decision, in ms.
    pub decided_p99_ms: Option<f64>,
    /// Largest p99 of the time to a refusal, in ms.
    pub refusal_p99_ms: Option<f64>,
    /// Smallest share of payments that are decided within their deadline, 0 to 1.
    pub goodput: Option<f64>,
    /// Most payments that are declined.
    pub declined: Option<f64>,
    /// Smallest rate of payments that are decided within their deadline, as a multiple of the peak.
    pub goodput_of_peak: Option<f64>,
    /// Longest time after the last phase but one until things are as in the first phase, in s: in the rest of the last
    /// phase p99 is at most 1.2 times what it was, and 99.9 % are answered.
    pub recovers_within_s: Option<f64>,
    /// Largest p99 of the response time while a persona is there, as a multiple of that before the first one comes: of each,
    /// the middle of its seconds.
    pub beside_p99: Option<f64>,
    /// Fewest malformed frames. Those whose fate was another than the protocol says are asked for beside it: there may be
    /// none.
    pub malformed_frames: Option<f64>,
    /// Most memory that the server may take during the load, in MiB.
    pub memory_growth_mib: Option<f64>,
}

impl Slo {
    /// A bound that is no number is met by nothing and missed by nothing.
    fn check(&self) -> Result<(), String> {
        let goals = toml::Table::try_from(self).map_err(|e| e.to_string())?;
        match goals.iter().find(|(_, goal)| !goal.as_float().is_some_and(|g| (0.0..=1e12).contains(&g))) {
            Some((name, goal)) => Err(format!("slo.{name} is from 0 to 1e12, not {goal}")),
            None => Ok(()),
        }
    }
}

fn few_writes() -> u32 {
    20
}

fn seed() -> u64 {
    20_230_224
}

fn connections() -> usize {
    64
}

fn depth() -> usize {
    64
}

fn one() -> usize {
    1
}

/// What is wrong with a scenario.
#[derive(Debug, PartialEq, Eq)]
pub struct ScenarioError(String);

impl core::fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ScenarioError {}

/// Names and first sentences of the scenarios that need no file.
#[must_use]
pub fn named() -> Vec<(&'static str, String)> {
    NAMED.iter().filter_map(|(name, text)| Some((*name, parse(name, text).ok()?.about))).collect()
}

/// The scenario of this name, or else of this file.
pub fn load(name: &str) -> Result<Scenario, ScenarioError> {
    if let Some((_, text)) = NAMED.iter().find(|(n, _)| *n == name) {
        return parse(name, text);
    }
    match std::fs::read_to_string(name) {
        Ok(text) => parse(name, &text),
        Err(_) if !Path::new(name).exists() => {
            let known: Vec<&str> = NAMED.iter().map(|(n, _)| *n).collect();
            let meant = meant(name, &known);
            Err(ScenarioError(format!("{name}: no such scenario and no such file{meant}; known: {}", known.join(", "))))
        }
        Err(e) => Err(ScenarioError(format!("{name}: {e}"))),
    }
}

/// From its text; `file` is named in what is wrong.
pub fn parse(file: &str, text: &str) -> Result<Scenario, ScenarioError> {
    let scenario: Scenario = toml::from_str(text).map_err(|e| {
        let line = e.span().map_or(1, |s| text.bytes().take(s.start).filter(|b| *b == b'\n').count() + 1);
        // What is known stands in the message, in backticks.
        let words: Vec<&str> = e.message().split('`').skip(1).step_by(2).collect();
        let meant = match words.split_first() {
            Some((strange, known)) if e.message().starts_with("unknown") => meant(strange, known),
            _ => String::new(),
        };
        ScenarioError(format!("{file}:{line}: {}{meant}", e.message()))
    })?;
    scenario.check().map_err(|what| ScenarioError(format!("{file}: {what}")))?;
    Ok(scenario)
}

/// The most like of the known names, if one is.
fn meant(strange: &str, known: &[&str]) -> String {
    let like = known.iter().map(|k| (strsim::levenshtein(strange, k), k)).min();
    match like {
        Some((distance, name)) if distance <= (strange.len() / 3).max(1) => format!("; did you mean `{name}`?"),
        _ => String::new(),
    }
}

impl Scenario {
    /// One phase, and everything else as by default.
    #[must_use]
    pub fn of(phase: Phase) -> Self {
        Self {
            about: String::new(),
            seed: seed(),
            connections: connections(),
            depth: depth(),
            threads: one(),
            peak_step_seconds: 0.0,
            phase: vec![phase],
            data: Data::default(),
            mix: Mix::default(),
            till: Till::default(),
            server: Server::default(),
            fault: Vec::new(),
            persona: Vec::new(),
            extend: None,
            slo: Slo::default(),
        }
    }

    /// How long the load lasts, in s.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.phase.iter().map(|p| p.seconds).sum()
    }

    /// The same load in another time: phases and faults are stretched alike.
    pub fn stretch_to(&mut self, seconds: f64) {
        let by = seconds / self.seconds();
        self.phase.iter_mut().for_each(|p| p.seconds *= by);
        for f in &mut self.fault {
            f.at_ms = (f.at_ms as f64 * by) as u64;
            f.until_ms = f.until_ms.map(|ms| (ms as f64 * by) as u64);
        }
        for p in &mut self.persona {
            p.at_ms = (p.at_ms as f64 * by) as u64;
            p.for_ms = (p.for_ms as f64 * by) as u64;
        }
        self.data.expires_ms = (self.data.expires_ms as f64 * by) as u64;
        if let Some(extend) = &mut self.extend {
            extend.at_ms = (extend.at_ms as f64 * by) as u64;
        }
    }

    /// The scenario whose peak the rates are multiples of: the same server, data and tills, and nothing that goes wrong.
    #[must_use]
    pub fn at_its_peak(&self) -> Self {
        let slo = Slo { p99_ms: Some(PEAK_P99_MS), answered_in_deadline: Some(PEAK_ANSWERED), ..Slo::default() };
        Self { peak_step_seconds: 0.0, fault: Vec::new(), persona: Vec::new(), extend: None, slo, ..self.clone() }
    }

    /// Multiples of a peak become rates.
    pub fn scale_to(&mut self, peak: f64) {
        self.peak_step_seconds = 0.0;
        for p in &mut self.phase {
            p.rate *= peak;
            p.to = p.to.map(|to| to * peak);
        }
    }

    /// The same customers in a closed loop.
    pub fn close(&mut self) {
        self.peak_step_seconds = 0.0;
        for p in &mut self.phase {
            (p.rate, p.to, p.arrivals) = (0.0, None, Arrivals::Closed);
        }
    }

    fn check(&self) -> Result<(), String> {
        let share = |name: &str, v: f64| {
            if (0.0..=1.0).contains(&v) { Ok(()) } else { Err(format!("{name} is a share from 0 to 1, not {v}")) }
        };
        let between = |name: &str, v: usize, max: usize| {
            if (1..=max).contains(&v) { Ok(()) } else { Err(format!("{name} is from 1 to {max}, not {v}")) }
        };
        if self.phase.is_empty() {
            return Err("there is no [[phase]]: nothing is offered".to_owned());
        }
        for (i, p) in self.phase.iter().enumerate() {
            if !(p.seconds > 0.0 && p.seconds <= 86_400.0) {
                return Err(format!("phase {}: seconds is over 0 and at most 86,400, not {}", i + 1, p.seconds));
            }
            if p.arrivals == Arrivals::Closed {
                if p.rate != 0.0 || p.to.is_some() {
                    return Err(format!("phase {}: a closed loop has no rate", i + 1));
                }
                continue;
            }
            if self.peak_step_seconds > 0.0 {
                if !(0.01..=100.0).contains(&p.rate) || p.to.is_some_and(|to| !(0.01..=100.0).contains(&to)) {
                    return Err(format!("phase {}: a multiple of the peak is from 0.01 to 100, not {}", i + 1, p.rate));
                }
                continue;
            }
            let rates = [Some(p.rate), p.to].into_iter().flatten();
            // Above this the generator's own clock is too coarse to say when a payment was due.
            if let Some(rate) = { rates }.find(|r| !(1.0..=20_000_000.0).contains(r)) {
                return Err(format!("phase {}: a rate is from 1 to 20,000,000 a second, not {rate}", i + 1));
            }
        }
        let t = &self.till;
        for (name, v) in [
            ("till.press_again", t.press_again),
            ("till.new_key", t.new_key),
            ("till.cash", t.cash),
            ("till.drop_answers", t.drop_answers),
            ("till.reverse", t.reverse),
            ("mix.hold", self.mix.hold),
            ("mix.void", self.mix.void),
            ("mix.charge", self.mix.charge),
            ("mix.load", self.mix.load),
            ("mix.refund", self.mix.refund),
            ("data.hot_share", self.data.hot_share),
        ] {
            share(name, v)?;
        }
        if t.new_key + t.cash > 1.0 {
            return Err("till.new_key and till.cash are shares of the same payments: at most 1 together".to_owned());
        }
        let m = &self.mix;
        if m.hold + m.charge.max(m.load) > 1.0 {
            return Err("mix.hold and mix.charge, or mix.load, are shares of the same: at most 1 together".to_owned());
        }
        if m.charge + m.load > 0.0 && self.data.wallets == 0 {
            return Err("mix.charge and mix.load need wallets: set data.wallets".to_owned());
        }
        if t.reverse + m.refund > 1.0 {
            return Err("till.reverse and mix.refund are shares of the same debits: at most 1 together".to_owned());
        }
        between("connections", self.connections, 10_000)?;
        between("depth", self.depth, 65_536)?;
        between("server.credits", self.server.credits as usize, 65_536)?;
        between("connections × depth", self.connections.saturating_mul(self.depth), SLOTS_MAX)?;
        between("threads", self.threads, 64)?;
        between("data.coupons", self.data.coupons as usize, 100_000_000)?;
        if self.data.wallets > 100_000_000 {
            return Err(format!("data.wallets is at most 100000000, not {}", self.data.wallets));
        }
        between("data.shops", self.data.shops as usize, 60_000)?;
        between("data.hot_shops", self.data.hot_shops as usize, self.data.shops as usize)?;
        between("till.deadline_ms", t.deadline_ms as usize, 30_000)?;
        if !(0.0..=10.0).contains(&self.data.coupon_zipf) {
            return Err(format!("data.coupon_zipf is from 0 to 10, not {}", self.data.coupon_zipf));
        }
        let end = (self.seconds() * 1_000.0) as u64;
        match self.extend {
            Some(_) if self.data.expires_ms == 0 => return Err("extend: no coupon expires; set data.expires_ms".into()),
            Some(e) if e.at_ms > end => return Err(format!("extend comes after the load, which ends at {end} ms")),
            _ => {}
        }
        if self.fault.iter().any(|f| f.kind == FaultKind::FullDisk) && self.server.disk_mib == 0 {
            return Err("full-disk needs a disk of the server's own: set server.disk_mib".to_owned());
        }
        if !(0.0..=3_600.0).contains(&self.peak_step_seconds) {
            return Err(format!("peak_step_seconds is from 0 to 3600, not {}", self.peak_step_seconds));
        }
        if self.server.disk_mib > 1 << 20 {
            return Err(format!("server.disk_mib is at most 1048576, not {}", self.server.disk_mib));
        }
        for f in &self.fault {
            between("fault.count", f.count, FAULTS_MAX)?;
        }
        self.slo.check()?;
        if !(0.0..1.0).contains(&self.server.processors) {
            return Err(format!("server.processors is from 0 to less than 1, not {}", self.server.processors));
        }
        for p in &self.persona {
            between("persona.connections", p.connections, 10_000)?;
            if p.at_ms.saturating_add(p.for_ms) > end {
                return Err(format!("{} lasts longer than the load, which ends at {end} ms", p.kind.name()));
            }
        }
        match self.fault.iter().find(|f| f.at_ms.max(f.until_ms.unwrap_or(0)) > end) {
            Some(f) => Err(format!("a fault at {} ms comes after the load, which ends at {end} ms", f.at_ms)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_scenario_is_valid_and_says_what_it_is_for() {
        for (name, text) in NAMED {
            let s = parse(name, text).unwrap_or_else(|e| panic!("{e}"));
            assert!(s.about.ends_with('.'), "{name}: a sentence");
        }
        assert_eq!(named().len(), NAMED.len());
    }

    #[test]
    fn an_unknown_name_is_told_with_line_and_the_one_that_was_meant() {
        let text = "about = \"x\"\n[[phase]]\nseconds = 1\nrat = 5\n";
        let e = parse("a.toml", text).expect_err("unknown").to_string();
        assert!(e.starts_with("a.toml:4: unknown field `rat`"), "{e}");
        assert!(e.ends_with("did you mean `rate`?"), "{e}");
        let e = load("peek").expect_err("unknown").to_string();
        assert!(e.contains("did you mean `peak`?"), "{e}");
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_name() {
        for (text, says) in [
            ("about = \"x\"\nphase = []", "no [[phase]]"),
            ("about = \"x\"\n[[phase]]\nseconds = 1\nrate = 0.1", "a rate is from 1"),
            ("about = \"x\"\n[[phase]]\nseconds = 0\nrate = 5", "seconds is over 0"),
            ("about = \"x\"\n[[phase]]\nseconds = 1\nrate = 5\n[till]\ncash = 1.5", "till.cash"),
            (
                "about = \"x\"\n[[phase]]\nseconds = 1\nrate = 5\n[[fault]]\nkind = \"kill\"\nat_ms = 2000",
                "after the load",
            ),
            (
                "about = \"x\"\n[[phase]]\nseconds = 9\nrate = 5\n[[fault]]\nkind = \"kill\"\nat_ms = 1\ncount = 0",
                "fault.count is from 1",
            ),
            ("about = \"x\"\n[[phase]]\nseconds = 9\nrate = 5\n[slo]\np99_ms = nan", "slo.p99_ms is from 0"),
            ("about = \"x\"\npeak_step_seconds = -1\n[[phase]]\nseconds = 9\nrate = 5", "peak_step_seconds is from"),
            ("about = \"x\"\n[[phase]]\nseconds = 9\nrate = 5\n[server]\ndisk_mib = 1048577", "server.disk_mib is at"),
            ("about = \"x\"\n[[phase]]\nseconds = 9\nrate = 5\n[server]\ncredits = 0", "server.credits is from 1"),
        ] {
            let e = parse("a.toml", text).expect_err("refused").to_string();
            assert!(e.contains(says), "{e}");
        }
    }

    #[test]
    fn a_stretched_scenario_has_its_faults_at_the_same_places() {
        let mut s = load("kill-under-load").expect("a scenario");
        let before = s.fault[0].at_ms as f64 / s.seconds();
        s.stretch_to(12.0);
        assert!((s.seconds() - 12.0).abs() < 1e-6);
        assert!((s.fault[0].at_ms as f64 / s.seconds() - before).abs() < 1.0);
    }
}
