//! `report.html`: a run as one page that opens anywhere, without network, scripts or fonts of its own. It says first
//! what the run is worth and why, then the numbers, then the pictures. Everything that comes from elsewhere is escaped.
//! It judges nothing: verdict, goals and violations are as the summary has them.

mod axis;
mod curve;
mod escape;
mod over_time;

use crate::numbers::{count, duration, measure, moment, percent, plain, rate};
use crate::summary::{Latency, Second, Summary, Verdict};
use core::fmt::Write as _;
use escape::escape;

const STYLE: &str = include_str!("report/style.css");
const YES: &str = "<td class=\"good\">✓</td>";
const NO: &str = "<td class=\"bad\">✗</td>";

/// The page. `response` and `service` are points of (percentile from 0 to 1, µs), as
/// [`percentiles::read`](crate::percentiles::read) gives them.
#[must_use]
pub fn render(summary: &Summary, timeline: &[Second], response: &[(f64, f64)], service: &[(f64, f64)]) -> String {
    let name = escape(&summary.scenario);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\
         <title>{}: {name}</title><style>{STYLE}</style></head><body><main>",
        summary.verdict
    );
    verdict(&mut out, summary, &name);
    numbers(&mut out, summary);
    out.push_str("<div class=\"beside\">");
    reconciliation(&mut out, summary);
    out.push_str("<div>");
    goals(&mut out, summary);
    outcomes(&mut out, summary);
    out.push_str("</div></div>");
    faults(&mut out, summary);
    let _ = write!(out, "<section><h2>Over time</h2>{}</section>", over_time::draw(summary, timeline));
    out.push_str("<section><h2>Latency by percentile</h2>");
    latencies(&mut out, summary);
    let _ = write!(out, "{}</section>", curve::draw(response, service));
    environment(&mut out, summary);
    out.push_str("</main></body></html>\n");
    out
}

fn verdict(out: &mut String, s: &Summary, name: &str) {
    let (class, mark) = match s.verdict {
        Verdict::Pass => ("pass", "✓"),
        Verdict::Fail => ("fail", "✗"),
        Verdict::Invalid => ("invalid", "!"),
    };
    let _ = write!(out, "<header class=\"{class}\"><p class=\"verdict\"><b>{mark}</b> {}</p>", s.verdict);
    let _ = write!(
        out,
        "<div><h1>{name}</h1><p>{} · {} s of load · seed {}",
        escape(&s.started_at),
        plain(s.seconds),
        s.seed
    );
    let _ = write!(
        out,
        " · exit code {}{}</p>",
        s.exit_code,
        if s.interrupted { " · <b>interrupted: partial results</b>" } else { "" }
    );
    if s.verdict == Verdict::Invalid {
        out.push_str(
            "<p>The run measured something else than it says. Nothing is to be concluded from its numbers.</p>",
        );
    }
    if !s.why.is_empty() {
        out.push_str("<ul>");
        for why in &s.why {
            let _ = write!(out, "<li>{}</li>", escape(why));
        }
        out.push_str("</ul>");
    }
    out.push_str("</div></header>");
}

fn numbers(out: &mut String, s: &Summary) {
    let r = &s.response;
    let tiles = [
        ("offered", rate(s.offered_per_second), "payments that were due"),
        ("achieved", rate(s.achieved_per_second), "payments that were sent"),
        ("goodput", rate(s.goodput_per_second), "decided within their deadline"),
        ("answered", percent(s.answered_in_deadline), "early and definite, in the deadline"),
        ("p50", duration(r.p50_us), "response, from when it was due"),
        ("p99", duration(r.p99_us), "response"),
        ("p99.9", duration(r.p999_us), "response"),
        ("max", duration(r.max_us), "response"),
    ];
    out.push_str("<section class=\"tiles\">");
    for (name, value, what) in tiles {
        let _ = write!(out, "<div><p>{name}</p><p class=\"value\">{value}</p><p class=\"what\">{what}</p></div>");
    }
    out.push_str("</section>");
}

fn reconciliation(out: &mut String, s: &Summary) {
    let r = &s.reconciliation;
    let rows = [
        ("LOST", r.lost, "approved to the client, not in the ledger"),
        ("DOUBLE", r.double, "taken more than once under one key"),
        ("GHOST", r.ghost, "declined, refused, fenced or suspected, and taken"),
        ("LATE", r.late, "taken at a logged time after its deadline"),
        ("RISEN", r.risen, "taken at a position after its key's fence"),
        ("ORPHAN", r.orphan, "in the ledger under a key that nobody sent"),
        ("WRONG", r.wrong, "another amount, coupon or shop than asked"),
        ("NEGATIVE", r.negative, "a coupon was below zero"),
        ("DIFFERS", r.differs, "one key, two decisions"),
        ("UNRESOLVED", r.unresolved, "not known after everything was asked again"),
    ];
    let _ = write!(out, "<section><h2>Exactly once</h2><p>{} attempts joined with the ledger", count(r.attempts));
    let _ = write!(out, " in {}</p><table>", duration(s.reconciled_in_s * 1e6));
    for (name, n, what) in rows {
        let mark = if n == 0 { YES } else { NO };
        let _ = write!(
            out,
            "<tr>{mark}<th>{name}</th><td class=\"number\">{}</td><td class=\"what\">{what}</td></tr>",
            count(n)
        );
    }
    let (mark, word) = if s.conserved { (YES, "yes") } else { (NO, "no") };
    let _ = write!(
        out,
        "<tr>{mark}<th>CONSERVED</th><td class=\"number\">{word}</td><td class=\"what\">every programme’s sums</td></tr>"
    );
    let (mark, word) = match s.digest_equal {
        Some(true) => (YES, "equal"),
        Some(false) => (NO, "differs"),
        None => ("<td>–</td>", "not seen"),
    };
    let _ = write!(
        out,
        "<tr>{mark}<th>DIGEST</th><td class=\"number\">{word}</td><td class=\"what\">the server’s, and of a replay of its journal</td></tr>\
         </table></section>"
    );
}

fn goals(out: &mut String, s: &Summary) {
    out.push_str("<section><h2>Goals</h2>");
    if s.slos.is_empty() {
        out.push_str("<p class=\"none\">The scenario names none.</p></section>");
        return;
    }
    out.push_str(
        "<table><tr><td></td><td></td><td class=\"number what\">measured</td><td class=\"number what\">goal</td></tr>",
    );
    for g in &s.slos {
        let (mark, name) = (if g.met { YES } else { NO }, escape(&g.name));
        let [measured, goal] = [g.measured, g.goal].map(|v| measure(&g.name, v));
        let _ = write!(
            out,
            "<tr>{mark}<th>{name}</th><td class=\"number\">{measured}</td><td class=\"number\">{goal}</td></tr>"
        );
    }
    out.push_str("</table></section>");
}

fn outcomes(out: &mut String, s: &Summary) {
    let attempts = s.reconciliation.attempts;
    let rows = [
        ("approved", "approved", s.approved),
        ("declined", "declined", s.declined),
        ("suspected", "suspected", s.suspected),
        ("rejected", "rejected", s.rejected),
        ("unanswered", "resolved after their deadline", s.resolved),
        ("", "repeated under the same key", s.repeated),
        ("", "frames sent, repeats included", s.sends),
    ];
    out.push_str("<section><h2>Outcomes</h2><table>");
    for (class, name, n) in rows {
        // Frames may be more than attempts: only what is a part of them has a share.
        let share = if class.is_empty() || attempts == 0 { String::new() } else { percent(n as f64 / attempts as f64) };
        let _ = write!(
            out,
            "<tr><td class=\"chip {class}\"><i></i></td><th>{name}</th><td class=\"number\">{}</td>",
            count(n)
        );
        let _ = write!(out, "<td class=\"number what\">{share}</td></tr>");
    }
    out.push_str("</table></section>");
}

fn faults(out: &mut String, s: &Summary) {
    out.push_str("<section><h2>Faults</h2>");
    if s.faults.is_empty() {
        out.push_str("<p class=\"none\">The timeline has none.</p></section>");
        return;
    }
    out.push_str(
        "<div class=\"wide\"><table class=\"lines\"><tr><th></th><th>fault</th><th>at</th><th>over at</th><th>lasted</th>\
         <th>fired</th><th>shown by</th></tr>",
    );
    for (n, f) in s.faults.iter().enumerate() {
        let until = f.until_ms.map_or("–".into(), moment);
        let lasted = f.until_ms.map_or("–".into(), |ms| duration(ms.saturating_sub(f.at_ms) as f64 * 1e3));
        let fired = if f.fired { "<td class=\"good\">✓</td>" } else { "<td class=\"bad\">✗ no</td>" };
        let _ = write!(
            out,
            "<tr><td class=\"what\">{}</td><th>{}</th><td>{}</td>",
            n + 1,
            escape(&f.kind),
            moment(f.at_ms)
        );
        let _ =
            write!(out, "<td>{until}</td><td>{lasted}</td>{fired}<td class=\"proof\">{}</td></tr>", escape(&f.proof));
    }
    out.push_str("</table></div></section>");
}

fn latencies(out: &mut String, s: &Summary) {
    out.push_str("<table class=\"lines\"><tr><th></th><th>p50</th><th>p99</th><th>p99.9</th><th>max</th></tr>");
    for (name, l) in [("response", s.response), ("service", s.service)] {
        let Latency { p50_us, p99_us, p999_us, max_us } = l;
        let _ = write!(out, "<tr><th>{name}</th>");
        for v in [p50_us, p99_us, p999_us, max_us] {
            let _ = write!(out, "<td>{}</td>", duration(v));
        }
        out.push_str("</tr>");
    }
    out.push_str("</table>");
}

fn environment(out: &mut String, s: &Summary) {
    let e = &s.environment;
    let generator = format!(
        "{} of the payments sent over 10 ms late by its own fault; {} of the processor time that its threads were entitled to",
        percent(s.generator_late),
        percent(s.generator_cpu)
    );
    let host = format!("took {} ms of the processors during the load", s.stolen_ms);
    out.push_str("<section><h2>Where and how</h2><dl>");
    let rows = [
        ("machine", &e.machine),
        ("server", &e.server),
        ("commit", &e.commit),
        ("command", &e.command),
        ("generator", &generator),
        ("host", &host),
    ];
    for (name, value) in rows {
        let value = if value.is_empty() { "–".into() } else { escape(value) };
        let value = if name == "command" { format!("<code>{value}</code>") } else { value };
        let _ = write!(out, "<dt>{name}</dt><dd>{value}</dd>");
    }
    let _ = write!(
        out,
        "</dl><p class=\"what\">summary.json, schema {}, and timeline.csv beside this page have every number.</p></section>",
        s.schema
    );
}

#[cfg(test)]
mod tests;
