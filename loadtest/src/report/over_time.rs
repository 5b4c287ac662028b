//! The run over its time, one picture with one time axis: latency, outcomes and mode above each other, the faults as
//! bands through all of them. Long runs are drawn in columns of several seconds.

use super::axis::{Log, clock_step, round_step};
use super::escape::escape;
use crate::numbers::{self, count, duration, moment, rate, short};
use crate::summary::{FaultReport, Second, Summary};
use core::fmt::Write as _;

/// Most columns: one for every two units of width.
const COLUMNS: u64 = 480;
const LEFT: f64 = 66.0;
const WIDTH: f64 = 960.0;
const RIGHT: f64 = LEFT + WIDTH;
/// Upper and lower edges of the three parts.
const LATENCY: (f64, f64) = (52.0, 272.0);
const OUTCOMES: (f64, f64) = (322.0, 472.0);
const MODE: (f64, f64) = (518.0, 538.0);
/// Upper edge of the faults' bands.
const BAND_TOP: f64 = 28.0;
/// Badges of faults closer than this would cover each other.
const BADGE: f64 = 19.0;
const KINDS: [&str; 5] = ["approved", "declined", "suspected", "rejected", "unanswered"];

/// What one column shows.
#[derive(Debug, Default)]
struct Column {
    seconds: u64,
    /// Due, per second.
    offered: f64,
    /// By [`KINDS`], per second.
    outcomes: [f64; 5],
    /// Median of the seconds' p50, largest p99, largest maximum, µs.
    latency: [f64; 3],
    /// The worst of the seconds.
    mode: u64,
}

/// Seconds in each column, and the columns; nothing where nothing was recorded.
fn columns(timeline: &[Second]) -> (u64, Vec<Column>) {
    let Some(last) = timeline.iter().map(|s| u64::from(s.second)).max() else { return (1, Vec::new()) };
    let width = (last + 1).div_ceil(COLUMNS);
    let mut columns: Vec<Column> = (0..(last + 1).div_ceil(width)).map(|_| Column::default()).collect();
    let mut medians = vec![Vec::new(); columns.len()];
    for s in timeline {
        let i = (u64::from(s.second) / width) as usize;
        let (Some(c), Some(p50)) = (columns.get_mut(i), medians.get_mut(i)) else { continue };
        c.seconds += 1;
        c.offered += s.offered as f64;
        for (sum, n) in c.outcomes.iter_mut().zip([s.approved, s.declined, s.suspected, s.rejected, s.unanswered]) {
            *sum += n as f64;
        }
        let positive = |v: f64| if v.is_finite() { v.max(0.0) } else { 0.0 };
        c.latency = [0.0, c.latency[1].max(positive(s.p99_us)), c.latency[2].max(positive(s.max_us))];
        if badness(s.mode) > badness(c.mode) {
            c.mode = s.mode;
        }
        p50.extend(Some(positive(s.p50_us)).filter(|v| *v > 0.0));
    }
    for (c, mut p50) in columns.iter_mut().zip(medians) {
        p50.sort_by(f64::total_cmp);
        c.latency[0] = p50.get(p50.len() / 2).copied().unwrap_or(0.0);
        for sum in c.outcomes.iter_mut().chain([&mut c.offered]) {
            *sum /= c.seconds.max(1) as f64;
        }
    }
    (width, columns)
}

/// The picture, with a line on how to read it.
pub(super) fn draw(summary: &Summary, timeline: &[Second]) -> String {
    let (width, columns) = columns(timeline);
    if columns.is_empty() {
        return "<p class=\"none\">No second was recorded.</p>".into();
    }
    let span = columns.len() as u64 * width;
    let mut out = String::from(
        "<figure><svg viewBox=\"0 0 1040 568\" role=\"img\" aria-label=\"Latency, outcomes and mode over time\">",
    );
    let x = |s: f64| LEFT + (s / span as f64).clamp(0.0, 1.0) * WIDTH;
    bands(&mut out, &summary.faults, &x);
    let goal = summary.slos.iter().find(|s| s.name == "p99_ms").map(|s| s.goal * 1e3);
    latency(&mut out, &columns, goal);
    outcomes(&mut out, &columns);
    modes(&mut out, &columns);
    let step = clock_step(span);
    for s in (0..=span).step_by(step as usize) {
        let at = x(s as f64);
        let _ = write!(out, "<path class=\"tick\" d=\"M{at:.1} {:.0}v5\"/>", MODE.1 + 4.0);
        let _ = write!(out, "<text class=\"mid\" x=\"{at:.1}\" y=\"{:.0}\">{}</text>", MODE.1 + 22.0, moment(s * 1000));
    }
    badges(&mut out, &summary.faults, &x);
    hits(&mut out, &columns, width);
    out.push_str("</svg>");
    if width > 1 {
        let _ = write!(
            out,
            "<figcaption>Each column is {width} s: the median of their p50, the largest p99 and maximum, the mean of the \
             outcomes per second, the worst mode.</figcaption>"
        );
    }
    out.push_str("</figure>");
    out
}

/// Name of a part, and what its colours mean.
fn heading(out: &mut String, y: f64, name: &str, legend: &[(&str, &str)]) {
    let _ = write!(out, "<text class=\"name\" x=\"{LEFT}\" y=\"{:.0}\">{name}</text>", y - 10.0);
    let mut x = RIGHT;
    for (class, label) in legend.iter().rev() {
        // Six units and a half for a letter of this size is enough for every label here.
        x -= label.chars().count() as f64 * 6.5 + 8.0;
        let _ = write!(out, "<text x=\"{x:.0}\" y=\"{:.0}\">{label}</text>", y - 10.0);
        x -= 16.0;
        let _ = write!(out, "<path class=\"key {class}\" d=\"M{x:.0} {:.0}h11\"/>", y - 14.0);
        x -= 10.0;
    }
}

fn grid(out: &mut String, y: f64, label: &str) {
    let _ = write!(out, "<path class=\"grid\" d=\"M{LEFT} {y:.1}h{WIDTH}\"/>");
    let _ = write!(out, "<text class=\"end\" x=\"{:.0}\" y=\"{:.1}\">{label}</text>", LEFT - 8.0, y + 4.0);
}

fn latency(out: &mut String, columns: &[Column], goal: Option<f64>) {
    let axis = Log::around(columns.iter().flat_map(|c| c.latency).chain(goal));
    let y = |v| axis.part(v).map(|p| LATENCY.1 - p * (LATENCY.1 - LATENCY.0));
    for v in axis.ticks() {
        grid(out, y(v).unwrap_or(LATENCY.1), &duration(v));
    }
    let lines = [("p50", "p50"), ("p99", "p99"), ("max", "max")];
    heading(out, LATENCY.0, "Response time, log scale", &lines);
    let w = WIDTH / columns.len() as f64;
    for (i, (class, _)) in lines.iter().enumerate().rev() {
        let mut d = String::new();
        let mut down = false;
        for (n, c) in columns.iter().enumerate() {
            // A second without an answer has no latency: the line is broken there, and begins anew.
            let Some(at) = y(c.latency[i]) else {
                down = false;
                continue;
            };
            let x = LEFT + (n as f64 + 0.5) * w;
            // A line begins with half of its column, so that a second that stands alone is seen.
            let _ = if down {
                write!(d, "L{x:.1} {at:.1}")
            } else {
                write!(d, "M{:.1} {at:.1}h{:.1}", x - w / 4.0, w / 2.0)
            };
            down = true;
        }
        let _ = write!(out, "<path class=\"line {class}\" d=\"{d}\"/>");
    }
    if let Some((at, goal)) = goal.and_then(|g| Some((y(g)?, g))) {
        let _ = write!(out, "<path class=\"goal\" d=\"M{LEFT} {at:.1}h{WIDTH}\"/>");
        let label = duration(goal);
        let _ = write!(
            out,
            "<text class=\"end goal\" x=\"{:.0}\" y=\"{:.1}\">p99 goal {label}</text>",
            RIGHT - 4.0,
            at - 5.0
        );
    }
}

fn outcomes(out: &mut String, columns: &[Column]) {
    let most = columns.iter().map(|c| c.outcomes.iter().sum::<f64>().max(c.offered)).fold(1.0, f64::max);
    let step = round_step(most, 4.0);
    let top = (most / step).ceil() * step;
    let height = |v: f64| v / top * (OUTCOMES.1 - OUTCOMES.0);
    for n in 0..=(top / step).round() as u32 {
        let v = f64::from(n) * step;
        grid(out, OUTCOMES.1 - height(v), &short(v));
    }
    let legend: Vec<_> = KINDS.iter().map(|k| (*k, *k)).chain([("offered", "offered")]).collect();
    heading(out, OUTCOMES.0, "Outcomes per second", &legend);
    let w = WIDTH / columns.len() as f64;
    // Wide columns stand apart; narrow ones overlap by a hair, so that no light shines through between them.
    let (inset, drawn) = if w > 8.0 { (1.0, w - 2.0) } else { (0.0, w + 0.2) };
    let mut paths: [String; 5] = Default::default();
    let mut offered = String::new();
    for (n, c) in columns.iter().enumerate() {
        let x = LEFT + n as f64 * w;
        let mut y = OUTCOMES.1;
        for (d, v) in paths.iter_mut().zip(c.outcomes).filter(|(_, v)| *v > 0.0) {
            let h = height(v);
            let _ = write!(d, "M{:.1} {y:.1}h{drawn:.1}v-{h:.1}h-{drawn:.1}z", x + inset);
            y -= h;
        }
        if c.seconds > 0 {
            let _ = write!(offered, "M{x:.1} {:.1}h{w:.1}", OUTCOMES.1 - height(c.offered));
        }
    }
    for (class, d) in KINDS.iter().zip(paths) {
        let _ = write!(out, "<path class=\"{class}\" d=\"{d}\"/>");
    }
    let _ = write!(out, "<path class=\"line offered\" d=\"{offered}\"/>");
}

/// How bad a mode is, 0 to 5, for colours and to compare: normal, probing, brownout, read-only, halted, all else.
fn badness(mode: u64) -> usize {
    [0, 4, 3, 1, 2].iter().position(|m| *m == mode).unwrap_or(5)
}

fn modes(out: &mut String, columns: &[Column]) {
    let told = [
        (1, "mode1", "probing"),
        (2, "mode2", "brownout"),
        (3, "mode3", "read-only"),
        (4, "mode4", "halted"),
        (5, "mode5", "silent, or another"),
    ];
    let seen = told.iter().filter(|t| columns.iter().any(|c| badness(c.mode) == t.0));
    heading(out, MODE.0, "Mode of the server", &seen.map(|t| (t.1, t.2)).collect::<Vec<_>>());
    let w = WIDTH / columns.len() as f64;
    let same = |a: &Column, b: &Column| a.mode == b.mode && (a.seconds == 0) == (b.seconds == 0);
    let mut x = LEFT;
    for run in columns.chunk_by(same) {
        let long = w * run.len() as f64;
        if let Some(c) = run.first().filter(|c| c.seconds > 0) {
            let (name, class) = (numbers::mode(c.mode), badness(c.mode));
            let _ = write!(
                out,
                "<rect class=\"mode{class}\" x=\"{x:.1}\" y=\"{}\" width=\"{long:.1}\" height=\"20\"/>",
                MODE.0
            );
            if long > name.len() as f64 * 7.0 + 8.0 {
                let (mid, y) = (x + long / 2.0, MODE.0 + 14.0);
                let _ = write!(out, "<text class=\"mid on{class}\" x=\"{mid:.1}\" y=\"{y}\">{name}</text>");
            }
        }
        x += long;
    }
}

fn bands(out: &mut String, faults: &[FaultReport], x: &impl Fn(f64) -> f64) {
    for f in faults {
        let from = x(f.at_ms as f64 / 1e3);
        let width = f.until_ms.map_or(0.0, |ms| x(ms as f64 / 1e3) - from).max(0.0);
        let (class, height) = (if f.fired { "band" } else { "band unfired" }, MODE.1 - BAND_TOP);
        let _ = write!(
            out,
            "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{BAND_TOP}\" width=\"{width:.1}\" height=\"{height}\"/>"
        );
        let _ = write!(out, "<path class=\"from\" d=\"M{from:.1} {BAND_TOP}v{height}\"/>");
    }
}

/// The number of each fault above its band, as the table of faults has it. One that would cover its neighbour moves to the
/// right; one that would move too far to belong to its band is left out.
fn badges(out: &mut String, faults: &[FaultReport], x: &impl Fn(f64) -> f64) {
    let mut free = 0.0;
    for (n, f) in faults.iter().enumerate() {
        let from = x(f.at_ms as f64 / 1e3);
        let at = from.max(free);
        if at - from > 2.0 * BADGE {
            continue;
        }
        free = at + BADGE;
        let class = if f.fired { "badge" } else { "badge unfired" };
        let label = format!("{}: {} at {}", n + 1, escape(&f.kind), moment(f.at_ms));
        let _ =
            write!(out, "<g class=\"{class}\"><title>{label}</title><path d=\"M{at:.1} 20L{from:.1} {BAND_TOP}\"/>");
        let _ = write!(out, "<circle cx=\"{at:.1}\" cy=\"12\" r=\"9\"/>");
        let _ = write!(out, "<text class=\"mid\" x=\"{at:.1}\" y=\"16\">{}</text></g>", n + 1);
    }
}

/// What the pointer rests on tells its numbers: the browser shows the title of a column.
fn hits(out: &mut String, columns: &[Column], width: u64) {
    let w = WIDTH / columns.len() as f64;
    for (n, c) in columns.iter().enumerate().filter(|(_, c)| c.seconds > 0) {
        let (x, height) = (LEFT + n as f64 * w, MODE.1 - LATENCY.0);
        let _ =
            write!(out, "<rect class=\"hit\" x=\"{x:.1}\" y=\"{}\" width=\"{w:.2}\" height=\"{height}\">", LATENCY.0);
        let [p50, p99, max] = c.latency.map(|v| if v > 0.0 { duration(v) } else { "–".into() });
        let from = moment((n as u64 * width).saturating_mul(1000));
        let _ = write!(out, "<title>{from}: offered {}\np50 {p50} · p99 {p99} · max {max}", rate(c.offered));
        for (kind, v) in KINDS.iter().zip(c.outcomes).filter(|(_, v)| *v > 0.0) {
            let _ = write!(out, "\n{kind} {}", count(v.round() as u64));
        }
        let _ = write!(out, "\n{}</title></rect>", numbers::mode(c.mode));
    }
}
