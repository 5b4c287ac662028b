//! The percentile curves of response and service time. The axis of percentiles is logarithmic in the distance to 100 %,
//! so that each further nine has the same room; a bend in it is where rare trouble begins.

use super::axis::Log;
use crate::numbers::duration;
use core::fmt::Write as _;

const LEFT: f64 = 66.0;
const WIDTH: f64 = 960.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 270.0;
/// More nines than this no run has.
const NINES_MAX: f64 = 12.0;

/// The picture of curves of (percentile from 0 to 1, µs).
pub(super) fn draw(response: &[(f64, f64)], service: &[(f64, f64)]) -> String {
    let usable = |p: &&(f64, f64)| (0.0..=1.0).contains(&p.0) && p.1.is_finite() && p.1 > 0.0;
    let both = || response.iter().chain(service).filter(usable);
    if both().next().is_none() {
        return "<p class=\"none\">No latency was recorded.</p>".into();
    }
    let axis = Log::around(both().map(|p| p.1));
    let most = both().filter_map(|p| nines(p.0)).fold(2.0, f64::max).min(NINES_MAX);
    let x = |q: f64| LEFT + nines(q).unwrap_or(most).min(most) / most * WIDTH;
    let y = |us: f64| BOTTOM - axis.part(us).unwrap_or(0.0) * (BOTTOM - TOP);
    let mut out =
        String::from("<figure><svg viewBox=\"0 0 1040 300\" role=\"img\" aria-label=\"Latency by percentile\">");
    for v in axis.ticks() {
        let at = y(v);
        let _ = write!(out, "<path class=\"grid\" d=\"M{LEFT} {at:.1}h{WIDTH}\"/>");
        let _ = write!(out, "<text class=\"end\" x=\"{:.0}\" y=\"{:.1}\">{}</text>", LEFT - 8.0, at + 4.0, duration(v));
    }
    for (q, label) in ticks(most) {
        let at = x(q);
        let _ = write!(out, "<path class=\"grid\" d=\"M{at:.1} {TOP}V{BOTTOM}\"/>");
        let _ = write!(out, "<text class=\"mid\" x=\"{at:.1}\" y=\"{:.0}\">{label}</text>", BOTTOM + 19.0);
    }
    let most_label = ticks(most).last().map_or(LEFT, |t| x(t.0)) + 60.0;
    if most_label < LEFT + WIDTH {
        let _ = write!(out, "<text class=\"end\" x=\"{}\" y=\"{:.0}\">max</text>", LEFT + WIDTH, BOTTOM + 19.0);
    }
    // Service comes second, and is dashed: where they are equal both are seen.
    let curves = [
        ("response", response, "response: from when it was due"),
        ("service", service, "service: from a send to its answer"),
    ];
    for (n, (class, curve, name)) in curves.into_iter().enumerate() {
        let mut d = String::new();
        let mut last = f64::NEG_INFINITY;
        for p in curve.iter().filter(usable) {
            let at = x(p.0);
            // Points that fall onto one another change nothing to see. The largest is drawn always.
            if at - last >= 0.4 || p.0 >= 1.0 {
                let _ = write!(d, "{}{at:.1} {:.1}", if d.is_empty() { "M" } else { "L" }, y(p.1));
                last = at;
            }
        }
        let _ = write!(out, "<path class=\"line {class}\" d=\"{d}\"/>");
        let at = LEFT + 14.0 + n as f64 * 250.0;
        let _ = write!(
            out,
            "<path class=\"key {class}\" d=\"M{at} 14h18\"/><text x=\"{}\" y=\"18\">{name}</text>",
            at + 24.0
        );
    }
    out.push_str("</svg></figure>");
    out
}

/// Nines of a percentile: 0.99 has 2; 1 has no number of them.
fn nines(q: f64) -> Option<f64> {
    (q < 1.0).then(|| -(1.0 - q).log10())
}

/// 0, 50, 90, 99, … as far as there are that many nines.
fn ticks(most: f64) -> Vec<(f64, String)> {
    let mut ticks = vec![(0.0, "0 %".to_string()), (0.5, "50 %".to_string()), (0.9, "90 %".to_string())];
    for n in 2..=most as usize {
        let decimals = "9".repeat(n - 2);
        let label = if decimals.is_empty() { "99 %".into() } else { format!("99.{decimals} %") };
        ticks.push((1.0 - 10f64.powi(-(n as i32)), label));
    }
    ticks
}
