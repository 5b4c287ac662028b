//! What a run says to people: what happens while it runs, and the verdict, which fits one screen.

use crate::harness::Run;
use crate::numbers;
use crate::progress::Progress;
use crate::summary::{Latency, Summary};
use core::fmt::Write as _;
use std::path::Path;

/// Letters of the bar that shows how much is seeded.
const BAR: usize = 40;

/// A line about what happened; nothing where it is not worth one. `previous` is how much was told to be seeded.
#[must_use]
pub fn line(p: &Progress<'_>, previous: &mut u64) -> Option<String> {
    Some(match p {
        Progress::Seeding { done, total } => {
            let tenths = done * 10 / (*total).max(1);
            if tenths <= *previous {
                return None;
            }
            *previous = tenths;
            format!("seeding {} % of {}", tenths * 10, numbers::count(*total))
        }
        Progress::Begins { seconds } => format!("the load begins, for {seconds:.0} s"),
        Progress::Second(s) => {
            let refused = if s.refusals.sum() == 0 { "0".to_owned() } else { s.refusals.to_string() };
            format!(
                "{:4} s  due {}  approved {}  declined {}  suspected {}  refused {refused}  unknown {}  unanswered {}  \
                 p99 {}  {}",
                s.second + 1,
                s.offered,
                s.approved,
                s.declined,
                s.suspected,
                s.unknown,
                s.unanswered,
                numbers::duration(s.p99_us),
                numbers::mode(s.mode)
            )
        }
        Progress::Fault(f) => {
            let fired = if f.fired { "" } else { " DID NOT HAPPEN" };
            format!("        {} at {}{fired}: {}", f.kind, numbers::moment(f.at_ms), f.proof)
        }
        Progress::Resolving { unknown } => {
            format!("the load is over; {} unknown outcomes are asked for", numbers::count(*unknown as u64))
        }
        Progress::Joining => "the ledger is joined with what was told".to_owned(),
    })
}

/// How much is seeded, for a terminal: it is written over the last one.
#[must_use]
pub fn bar(done: u64, total: u64) -> String {
    let total = total.max(1);
    let full = usize::try_from(done * BAR as u64 / total).unwrap_or(BAR);
    let end = if done >= total { "\n" } else { "" };
    format!("\rseeding [{:<BAR$}] {:3} % of {}{end}", "#".repeat(full), done * 100 / total, numbers::count(total))
}

/// The verdict.
#[must_use]
pub fn verdict(run: &Run, folder: &Path) -> String {
    let m: &Summary = &run.summary;
    let mut out = String::new();
    let mut say = |text: std::fmt::Arguments<'_>| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{text}");
    };
    let l = |l: &Latency| {
        let all = [l.p50_us, l.p99_us, l.p999_us, l.max_us].map(numbers::duration);
        format!("p50 {}  p99 {}  p99.9 {}  max {}", all[0], all[1], all[2], all[3])
    };
    say(format_args!("scenario   {} · seed {} · {:.1} s · {}", m.scenario, m.seed, m.seconds, m.started_at));
    say(format_args!("server     {}", m.environment.server));
    let kind = if m.closed_loop { "closed loop" } else { "offered" };
    say(format_args!(
        "{kind:10} {:.0}/s, sent {:.0}/s, {} sends ({} repeated)",
        m.offered_per_second, m.achieved_per_second, m.sends, m.repeated
    ));
    if m.peak_per_second > 0.0 {
        let times = m.offered_per_second / m.peak_per_second;
        say(format_args!("peak       {:.0}/s: {times:.1} times of it are offered", m.peak_per_second));
    }
    say(format_args!("response   {}", l(&m.response)));
    say(format_args!("service    {}", l(&m.service)));
    say(format_args!(
        "outcomes   approved {}  declined {}  suspected {}  not executed {}  resolved afterwards {}",
        m.approved, m.declined, m.suspected, m.rejected, m.resolved
    ));
    if m.refusal.max_us > 0.0 {
        say(format_args!("decided    {}", l(&m.decided)));
        say(format_args!("refused    {}, {} held back by the gateway", l(&m.refusal), m.held_back));
    }
    say(format_args!("generator  late {:.2} %, processor {:.0} %", m.generator_late * 100.0, m.generator_cpu * 100.0));
    if m.stolen_ms > 0 {
        say(format_args!("host       took {} ms of the processors", m.stolen_ms));
    }
    for f in &m.faults {
        let fired = if f.fired { "fired" } else { "DID NOT HAPPEN" };
        say(format_args!("fault      {} at {}: {fired}, {}", f.kind, numbers::moment(f.at_ms), f.proof));
    }
    for s in &m.slos {
        let met = if s.met { "met" } else { "MISSED" };
        say(format_args!("goal       {} {}: {:.3}, {met}", s.name, s.goal, s.measured));
    }
    let digest = match m.digest_equal {
        Some(true) => "equal to a replay",
        Some(false) => "NOT EQUAL to a replay",
        None => "not compared with a replay",
    };
    let sums = if m.conserved { "conserved" } else { "NOT CONSERVED" };
    let memory = m.memory_peak_bytes >> 20;
    say(format_args!("ledger     sums {sums}, digest {digest}, joined in {:.1} s, {memory} MiB", m.reconciled_in_s));
    let r = &m.reconciliation;
    say(format_args!("effects    LATE {} after their deadline, RISEN {} after a fence", r.late, r.risen));
    run.findings.iter().for_each(|finding| say(format_args!("           {finding}")));
    m.why.iter().for_each(|why| say(format_args!("why        {why}")));
    say(format_args!("results    {}", folder.display()));
    say(format_args!(
        "reconciliation LOST {} DOUBLE {} GHOST {} ORPHAN {} WRONG {} NEGATIVE {} DIFFERS {} of {} attempts",
        r.lost, r.double, r.ghost, r.orphan, r.wrong, r.negative, r.differs, r.attempts
    ));
    let answered = m.answered_in_deadline * 100.0;
    say(format_args!("goodput {:.0}/s answered {answered:.2}%", m.goodput_per_second));
    say(format_args!("verdict: {}", m.verdict));
    out
}
