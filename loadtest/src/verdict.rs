//! From what was counted to what the run is worth.

use crate::error::RunError;
use crate::reconcile::Found;
use crate::scenario::Scenario;
use crate::summary::{FaultReport, Latency, SCHEMA, Second, SloReport, Summary, Verdict};
use crate::tally::{Tally, Tick, histogram};
use hdrhistogram::Histogram;

/// A generator that is late with more of its payments measured itself.
const LATE_MAX: f64 = 0.01;
/// So did one that used more of its processor time.
const CPU_MAX: f64 = 0.8;

fn latency(h: &Histogram<u64>) -> Latency {
    let us = |q: f64| h.value_at_quantile(q) as f64 / 1e3;
    Latency { p50_us: us(0.5), p99_us: us(0.99), p999_us: us(0.999), max_us: h.max() as f64 / 1e3 }
}

/// A line of the time line.
pub(crate) fn second(number: usize, t: &Tick, mode: u64) -> Second {
    let l = latency(&t.response);
    Second {
        second: u32::try_from(number).unwrap_or(u32::MAX),
        offered: t.offered,
        sent: t.sent,
        approved: t.approved,
        declined: t.declined,
        suspected: t.suspected,
        rejected: t.rejected,
        unanswered: t.unanswered,
        unknown: t.unknown,
        refusals: t.refusals,
        p50_us: l.p50_us,
        p99_us: l.p99_us,
        max_us: l.max_us,
        mode,
    }
}

/// One of the histograms, of all threads together.
pub(crate) fn together(tallies: &[Tally], of: fn(&Tally) -> &Histogram<u64>) -> Histogram<u64> {
    let mut all = histogram();
    for t in tallies {
        // The bounds are equal: adding cannot fail.
        let _ = all.add(of(t));
    }
    all
}

/// What the load by itself shows. A run that was interrupted is as long as it was.
pub(crate) fn of_load(name: &str, s: &Scenario, tallies: &[Tally], seconds: &[Second]) -> Summary {
    let sum = |of: fn(&Tally) -> u64| tallies.iter().map(of).sum::<u64>() as f64;
    let ended = tallies.iter().map(|t| t.ended_at as f64 / 1e9).fold(0.0, f64::max);
    let length = s.seconds().min(ended).max(f64::MIN_POSITIVE);
    let offered = sum(|t| t.offered);
    let sent: u64 = seconds.iter().map(|s| s.sent).sum();
    let cpu = |t: &Tally| t.cpu_nanos as f64 / t.wall_nanos.max(1) as f64;
    Summary {
        schema: SCHEMA,
        scenario: name.to_owned(),
        seed: s.seed,
        seconds: length,
        sends: sum(|t| t.sends) as u64,
        repeated: sum(|t| t.repeated) as u64,
        offered_per_second: offered / length,
        achieved_per_second: sent as f64 / length,
        goodput_per_second: sum(|t| t.decided_in_time) / length,
        // What the gateway refuses itself is as early and definite as can be.
        answered_in_deadline: sum(|t| t.in_time + t.held_back) / offered.max(1.0),
        told: sum(|t| t.told + t.held_back) / offered.max(1.0),
        held_back: sum(|t| t.held_back) as u64,
        decided: latency(&together(tallies, |t| &t.decided)),
        refusal: latency(&together(tallies, |t| &t.refusal)),
        response: latency(&together(tallies, |t| &t.response)),
        service: latency(&together(tallies, |t| &t.service)),
        generator_late: sum(|t| t.late) / offered.max(1.0),
        generator_cpu: tallies.iter().map(cpu).fold(0.0, f64::max),
        ..Summary::default()
    }
}

/// Adds what the join found.
pub(crate) fn add_found(m: &mut Summary, found: &Found) {
    m.approved = found.counts.approved;
    m.declined = found.counts.declined;
    m.suspected = found.counts.suspected;
    m.rejected = found.counts.rejected + found.counts.fenced;
    m.reconciliation = found.reconciliation;
}

/// p99 may be so many times what it was, once things are as they were.
const AS_BEFORE: f64 = 1.2;
/// Then at least this share is answered.
const ANSWERED: f64 = 0.999;
/// And at least this share is decided: refusals are quick.
const DECIDED: f64 = 0.99;

/// How long after the last phase but one things are as in the first phase, in s: from that second on whose own p99 and the
/// middle p99 of the seconds that are left are as before, and in which nearly all are answered, and decided. Infinite if
/// they never are. An error says what is not there to compare.
fn recovery_s(s: &Scenario, seconds: &[Second]) -> Result<f64, &'static str> {
    let (first, last) = (s.phase.first().map_or(0.0, |p| p.seconds), s.phase.last().map_or(0.0, |p| p.seconds));
    let ended = s.seconds() - last;
    // The last second of the load is not whole.
    let whole = &seconds[..seconds.len().min(s.seconds() as usize)];
    // The first one warms up.
    let before = middle_p99(whole.get(1..first as usize).unwrap_or_default().iter().copied());
    let Some(before) = before.filter(|p99| *p99 > 0.0 && p99.is_finite()) else {
        return Err("the first phase has no whole second after its first in which payments were answered");
    };
    let after = ended.ceil() as usize..whole.len();
    if after.is_empty() {
        return Err("the last phase has no whole second");
    }
    let is_as_before =
        |seconds: &[Second]| middle_p99(seconds.iter().copied()).is_some_and(|p99| p99 <= before * AS_BEFORE);
    let recovered = |from: &usize| {
        let rest = &whole[*from..];
        let sum = |of: fn(&Second) -> u64| rest.iter().map(of).sum::<u64>() as f64;
        let (due, decided) = (sum(|s| s.offered), sum(|s| s.approved + s.declined + s.suspected));
        is_as_before(&rest[..1])
            && is_as_before(rest)
            && sum(|s| s.unanswered) <= due * (1.0 - ANSWERED)
            && decided >= due * DECIDED
    };
    Ok(after.into_iter().find(recovered).map_or(f64::INFINITY, |from| from as f64 - ended))
}

/// The middle p99 of the seconds in which a persona is there, as a multiple of that before the first one comes. An error says
/// what is not there to compare.
fn beside_p99(s: &Scenario, seconds: &[Second]) -> Result<f64, &'static str> {
    let second = |ms: u64| (ms / 1_000) as usize;
    let from = s.persona.iter().map(|p| second(p.at_ms)).min().unwrap_or(0);
    // The first second warms up, that in which they come is of both, and in the last one some have left.
    let before = seconds.get(1..from).unwrap_or_default();
    let there = |n: usize| s.persona.iter().any(|p| (second(p.at_ms) + 1..second(p.at_ms + p.for_ms)).contains(&n));
    let beside = seconds.iter().enumerate().filter(|(n, _)| there(*n)).map(|(_, s)| *s);
    let before = middle_p99(before.iter().copied()).filter(|p99| *p99 > 0.0 && p99.is_finite());
    let before =
        before.ok_or("no whole second after the first and before a persona comes in which payments were answered")?;
    Ok(middle_p99(beside).ok_or("no whole second in which a persona is there")? / before)
}

/// A second in which much was due and nothing was answered is as slow as can be.
fn middle_p99(seconds: impl Iterator<Item = Second>) -> Option<f64> {
    let is_silent = |s: &Second| s.offered > 0 && s.approved + s.declined + s.suspected + s.rejected == 0;
    let mut all: Vec<f64> = seconds.map(|s| if is_silent(&s) { f64::INFINITY } else { s.p99_us }).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied()
}

/// The scenario's goals and what was measured, and why others cannot be judged.
pub(crate) fn slos(
    s: &Scenario,
    m: &Summary,
    seconds: &[Second],
    slowest_start_ms: u64,
) -> (Vec<SloReport>, Vec<String>) {
    let (mut all, mut unjudged) = (Vec::new(), Vec::new());
    let mut ask = |name: &str, goal: Option<f64>, measured: f64, met: fn(f64, f64) -> bool| {
        if let Some(goal) = goal {
            all.push(SloReport { name: name.to_owned(), goal, measured, met: met(measured, goal) });
        }
    };
    // Where payments were due and nothing was measured, nothing was quick. That nothing was refused is as good as can be.
    let p99_ms =
        |l: Latency| if l.max_us == 0.0 && m.offered_per_second > 0.0 { f64::INFINITY } else { l.p99_us / 1e3 };
    ask("p99_ms", s.slo.p99_ms, p99_ms(m.response), |m, g| m <= g);
    ask("answered_in_deadline", s.slo.answered_in_deadline, m.answered_in_deadline, |m, g| m >= g);
    ask("ready_ms", s.slo.ready_ms, slowest_start_ms as f64, |m, g| m <= g);
    // A server that never said it counts as one that takes for ever.
    let longest = |of: fn(&FaultReport) -> Option<u64>| {
        m.faults.iter().filter(|f| f.watched).map(|f| of(f).map_or(f64::INFINITY, |ms| ms as f64)).fold(0.0, f64::max)
    };
    ask("degraded_within_ms", s.slo.degraded_within_ms, longest(|f| f.degraded_ms), |m, g| m <= g);
    ask("normal_within_ms", s.slo.normal_within_ms, longest(|f| f.normal_ms), |m, g| m <= g);
    let decided = m.goodput_per_second / m.offered_per_second.max(1.0);
    ask("goodput", s.slo.goodput, decided, |m, g| m >= g);
    ask("goodput_of_peak", s.slo.goodput_of_peak, m.goodput_per_second / m.peak_per_second.max(1.0), |m, g| m >= g);
    if s.slo.beside_p99.is_some() {
        match beside_p99(s, seconds) {
            Ok(times) => ask("beside_p99", s.slo.beside_p99, times, |m, g| m <= g),
            Err(why) => unjudged.push(format!("beside_p99 cannot be judged: {why}")),
        }
    }
    if s.slo.malformed_frames.is_some() {
        let sum = |of: fn(&FaultReport) -> u64| m.faults.iter().map(of).sum::<u64>() as f64;
        ask("malformed_frames", s.slo.malformed_frames, sum(|f| f.frames), |m, g| m >= g);
        ask("malformed_wrong", Some(0.0), sum(|f| f.wrong), |m, g| m <= g);
    }
    if s.slo.recovers_within_s.is_some() {
        match recovery_s(s, seconds) {
            Ok(after) => ask("recovers_within_s", s.slo.recovers_within_s, after, |m, g| m <= g),
            Err(why) => unjudged.push(format!("recovers_within_s cannot be judged: {why}")),
        }
    }
    let grew = m.server_grew_bytes.map_or(f64::INFINITY, |b| b as f64 / 1_048_576.0);
    ask("memory_growth_mib", s.slo.memory_growth_mib, grew, |m, g| m <= g);
    ask("told", s.slo.told, m.told, |m, g| m >= g);
    ask("decided_p99_ms", s.slo.decided_p99_ms, p99_ms(m.decided), |m, g| m <= g);
    ask("refusal_p99_ms", s.slo.refusal_p99_ms, m.refusal.p99_us / 1e3, |m, g| m <= g);
    ask("declined", s.slo.declined, m.declined as f64, |m, g| m <= g);
    (all, unjudged)
}

/// Verdict, reasons and exit code. `unjudged`: why goals could not be judged; `error`: what kept the run from being
/// reconciled.
pub(crate) fn judge(m: &mut Summary, unjudged: Vec<String>, error: Option<&RunError>) {
    let r = m.reconciliation;
    let mut violated = Vec::new();
    if !r.holds() {
        violated.push("exactly-once does not hold for every attempt");
    }
    if error.is_none() && !m.conserved {
        violated.push("the programme's sums are not those of the decisions, or not conserved");
    }
    if m.digest_equal == Some(false) {
        violated.push("a replay of the journal gives another digest than the server has");
    }
    m.why.extend(violated.iter().map(|v| (*v).to_owned()));
    if m.interrupted {
        m.why.push("interrupted: these are partial results".into());
    }
    m.why.extend(error.map(|e| format!("{e}; nothing was proven")));
    let before = m.why.len();
    if m.generator_late > LATE_MAX {
        m.why.push(format!(
            "the generator sent {:.1} % of the payments late by its own fault",
            m.generator_late * 100.0
        ));
    }
    if m.generator_cpu > CPU_MAX && !m.closed_loop {
        m.why.push(format!("a thread of the generator used {:.0} % of its processor", m.generator_cpu * 100.0));
    }
    for f in m.faults.iter().filter(|f| !f.fired) {
        m.why.push(format!("{} at {} ms did not happen: {}", f.kind, f.at_ms, f.proof));
    }
    m.why.extend(unjudged);
    let invalid = m.why.len() > before;
    let missed: Vec<_> = m.slos.iter().filter(|s| !s.met).collect();
    m.why.extend(missed.iter().map(|s| format!("{} is {:.3}, the goal is {}", s.name, s.measured, s.goal)));
    (m.verdict, m.exit_code) = match (violated.is_empty(), m.interrupted, error, invalid, missed.is_empty()) {
        (false, ..) => (Verdict::Fail, 2),
        (_, true, ..) => (Verdict::Invalid, 130),
        (_, _, Some(e), ..) => (Verdict::Invalid, e.exit_code()),
        (_, _, _, true, _) => (Verdict::Invalid, 5),
        (_, _, _, _, false) => (Verdict::Fail, 1),
        _ => (Verdict::Pass, 0),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(change: fn(&mut Summary), error: Option<RunError>) -> (Verdict, u8) {
        let mut m = Summary { conserved: true, digest_equal: Some(true), ..Summary::default() };
        change(&mut m);
        judge(&mut m, Vec::new(), error.as_ref());
        assert_eq!(m.why.is_empty(), m.exit_code == 0, "{:?}", m.why);
        (m.verdict, m.exit_code)
    }

    fn missed(m: &mut Summary) {
        m.slos.push(SloReport::default());
    }

    fn unfired(m: &mut Summary) {
        m.faults.push(FaultReport::default());
    }

    #[test]
    fn a_violation_wins_over_an_interruption_that_over_an_error_that_over_an_invalid_run_that_over_a_missed_goal() {
        use Verdict::{Fail, Invalid, Pass};
        let gone = || Some(RunError::Server("gone".into()));
        assert_eq!(judged(|_| {}, None), (Pass, 0));
        assert_eq!(judged(missed, None), (Fail, 1));
        assert_eq!(judged(|m| (unfired(m), missed(m)).0, None), (Invalid, 5));
        assert_eq!(judged(|m| m.generator_late = 0.011, None), (Invalid, 5));
        assert_eq!(judged(|m| m.generator_cpu = 0.81, None), (Invalid, 5));
        assert_eq!(judged(|m| (m.generator_cpu, m.closed_loop) = (1.0, true), None), (Pass, 0));
        assert_eq!(judged(|m| (unfired(m), m.conserved = false).0, gone()), (Invalid, 4));
        assert_eq!(judged(unfired, Some(RunError::Folder("full".into()))), (Invalid, 6));
        assert_eq!(judged(|m| m.interrupted = true, gone()), (Invalid, 130));
        for violates in [
            |m: &mut Summary| m.reconciliation.lost = 1,
            |m: &mut Summary| m.reconciliation.negative = 1,
            |m: &mut Summary| m.reconciliation.unresolved = 1,
            |m: &mut Summary| m.reconciliation.late = 1,
            |m: &mut Summary| m.reconciliation.risen = 1,
            |m: &mut Summary| m.digest_equal = Some(false),
            |m: &mut Summary| m.conserved = false,
            |m: &mut Summary| {
                m.reconciliation.double = 1;
                m.interrupted = true;
                unfired(m);
                missed(m);
            },
        ] {
            assert_eq!(judged(violates, None), (Fail, 2));
        }
        assert_eq!(judged(|m| m.reconciliation.ghost = 1, gone()), (Fail, 2));
    }

    /// Seconds of so many answered payments with such a p99, in ms.
    fn seconds(p99_ms: &[f64], approved: u64) -> Vec<Second> {
        p99_ms.iter().map(|ms| Second { offered: 100, approved, p99_us: ms * 1e3, ..Second::default() }).collect()
    }

    /// A burst after four seconds, for two, and five seconds after it.
    fn burst() -> Scenario {
        let text = "about = \"a burst\"\n[[phase]]\nseconds = 4\nrate = 100\n[[phase]]\nseconds = 2\nrate = 1_000\n\
                    [[phase]]\nseconds = 5\nrate = 100\n[slo]\nrecovers_within_s = 1\n";
        crate::scenario::parse("a test", text).expect("a scenario")
    }

    #[test]
    fn things_are_as_before_when_they_are_as_fast_and_nearly_all_is_answered_and_decided() {
        let s = burst();
        let before = [90.0, 10.0, 10.0, 10.0, 50.0, 50.0];
        let after = |p99_ms: [f64; 5]| seconds(&[&before[..], &p99_ms].concat(), 100);
        assert_eq!(recovery_s(&s, &after([12.0; 5])), Ok(0.0));
        assert_eq!(recovery_s(&s, &after([40.0, 40.0, 40.0, 11.0, 11.0])), Ok(3.0), "a slow second is not as before");
        assert_eq!(recovery_s(&s, &after([40.0, 40.0, 11.0, 11.0, 11.0])), Ok(2.0), "however many fast ones follow");
        assert_eq!(recovery_s(&s, &after([11.0, 40.0, 11.0, 11.0, 40.0])), Ok(0.0), "a hiccup is later than that");
        assert_eq!(recovery_s(&s, &after([11.0, 40.0, 40.0, 40.0, 11.0])), Ok(4.0), "the middle one is a slow one");
        assert_eq!(recovery_s(&s, &after([13.0; 5])), Ok(f64::INFINITY));
        let mut lost = after([12.0; 5]);
        lost[7].unanswered = 1;
        assert_eq!(recovery_s(&s, &lost), Ok(2.0));
        let mut silent = after([12.0; 5]);
        silent[6..].copy_from_slice(&seconds(&[0.0; 5], 0));
        assert_eq!(recovery_s(&s, &silent), Ok(f64::INFINITY), "no answer is not a fast one");
        let mut refused = silent;
        refused[6..].iter_mut().for_each(|s| s.rejected = 100);
        assert_eq!(recovery_s(&s, &refused), Ok(f64::INFINITY), "a refusal is quick and decides nothing");
        let mut few = after([12.0; 5]);
        (few[6].approved, few[6].rejected) = (94, 6);
        assert_eq!(recovery_s(&s, &few), Ok(1.0));
        (few[6].approved, few[6].declined, few[6].suspected) = (90, 4, 1);
        assert_eq!(recovery_s(&s, &few), Ok(0.0), "99 of 100 of all seconds that are left");
    }

    #[test]
    fn a_recovery_without_a_second_to_compare_or_to_look_at_makes_the_run_invalid() {
        let whole = seconds(&[10.0; 11], 100);
        let mut silent = whole.clone();
        silent[..4].copy_from_slice(&seconds(&[0.0; 4], 0));
        let mut short = burst();
        short.stretch_to(2.0);
        let mut no_end = burst();
        no_end.phase[2].seconds = 0.5;
        for (s, seconds, missing) in [
            (burst(), &silent[..], "the first phase"),
            (short, &whole[..3], "the first phase"),
            (no_end, &whole[..7], "the last phase"),
        ] {
            let mut m = Summary { conserved: true, ..Summary::default() };
            let (slos, unjudged) = slos(&s, &m, seconds, 0);
            m.slos = slos;
            judge(&mut m, unjudged, None);
            assert_eq!((m.verdict, m.exit_code, m.slos.len()), (Verdict::Invalid, 5, 0));
            assert!(m.why[0].starts_with(&format!("recovers_within_s cannot be judged: {missing}")), "{:?}", m.why);
        }
    }

    #[test]
    fn a_p99_of_nothing_is_met_only_where_nothing_was_due() {
        let mut s = burst();
        (s.slo.recovers_within_s, s.slo.p99_ms, s.slo.decided_p99_ms) = (None, Some(50.0), Some(50.0));
        s.slo.refusal_p99_ms = Some(50.0);
        let met = |m: Summary| slos(&s, &m, &[], 0).0.iter().map(|s| s.met).collect::<Vec<_>>();
        let due = Summary { offered_per_second: 1.0, ..Summary::default() };
        assert_eq!(met(Summary::default()), [true; 3]);
        assert_eq!(met(due.clone()), [false, false, true], "refusals need not be");
        let some = Latency { p99_us: 40e3, max_us: 50e3, ..Latency::default() };
        assert_eq!(met(Summary { response: some, decided: some, ..due }), [true; 3]);
    }

    #[test]
    fn beside_a_persona_silence_is_not_speed() {
        let text = "about = \"a guest\"\n[[phase]]\nseconds = 9\nrate = 100\n[[persona]]\nkind = \"malformed\"\n\
                    connections = 1\nat_ms = 3_000\nfor_ms = 5_000\nrate = 10\n";
        let s = crate::scenario::parse("a test", text).expect("a scenario");
        let with = |p99_ms, approved| {
            let mut all = seconds(&[10.0; 9], 100);
            all[4..8].copy_from_slice(&seconds(&[p99_ms; 4], approved));
            beside_p99(&s, &all)
        };
        assert_eq!((with(15.0, 100), with(0.0, 0)), (Ok(1.5), Ok(f64::INFINITY)));
        for missing in [seconds(&[10.0; 1], 100), seconds(&[10.0; 3], 100), seconds(&[0.0; 9], 0)] {
            assert!(beside_p99(&s, &missing).is_err(), "nothing to compare: {missing:?}");
        }
    }
}
