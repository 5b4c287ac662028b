//! A latency distribution as HdrHistogram's common percentile text, which its plotter, wrk2 and others write and read:
//! a table of value, percentile, count up to it and 1/(1-percentile), then three lines that begin with `#[`. Histograms
//! are in ns, the text is in µs. No I/O here: the caller has the file.

use core::fmt::Write as _;
use hdrhistogram::Histogram;

/// Steps of the table for each halving of the distance to 1: what the other implementations take.
const TICKS_PER_HALF: u32 = 5;
const NANOS_PER_US: f64 = 1_000.0;

/// Why a text is not a distribution. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PercentilesError {
    /// A line before the table that is not its head.
    Head {
        /// Where.
        line: usize,
    },
    /// A line of the table whose value or percentile is missing, no number, out of range, or smaller than the one before.
    Point {
        /// Where.
        line: usize,
    },
    /// The closing lines are missing: the text is cut.
    Torn,
}

impl core::fmt::Display for PercentilesError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Head { line } => write!(f, "line {line}: expected Value Percentile TotalCount 1/(1-Percentile)"),
            Self::Point { line } => write!(f, "line {line}: expected a value and a percentile, both rising"),
            Self::Torn => f.write_str("the closing lines #[Mean, #[Max and #[Buckets are missing"),
        }
    }
}

impl core::error::Error for PercentilesError {}

/// The text of a distribution of ns.
#[must_use]
pub fn write(histogram: &Histogram<u64>) -> String {
    let mut out = format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut count = 0u64;
    for step in histogram.iter_quantiles(TICKS_PER_HALF) {
        count = count.saturating_add(step.count_since_last_iteration());
        let (value, q) = (step.value_iterated_to() as f64 / NANOS_PER_US, step.quantile_iterated_to());
        let _ = write!(out, "{value:>12.3} {q:.12} {count:>10}");
        // The last line has no fourth column: it would be infinite.
        let _ = if q < 1.0 { writeln!(out, " {:>14.2}", 1.0 / (1.0 - q)) } else { writeln!(out) };
    }
    let us = |ns: f64| ns / NANOS_PER_US;
    let (mean, deviation) = (us(histogram.mean()), us(histogram.stdev()));
    let _ = writeln!(out, "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]");
    let _ =
        writeln!(out, "#[Max     = {:>12.3}, Total count    = {:>12}]", us(histogram.max() as f64), histogram.len());
    // The smallest power of two that tells values of the precision apart, as the histogram takes it.
    let sub_buckets = (2 * 10u64.saturating_pow(histogram.sigfig().into())).next_power_of_two();
    let _ = writeln!(out, "#[Buckets = {:>12}, SubBuckets     = {sub_buckets:>12}]", histogram.buckets());
    out
}

/// The points of a text of [`write`]: percentile from 0 to 1, and µs.
///
/// # Errors
///
/// The first line that is not one of such a text.
pub fn read(text: &str) -> Result<Vec<(f64, f64)>, PercentilesError> {
    let mut points: Vec<(f64, f64)> = Vec::new();
    let (mut head, mut closed) = (false, false);
    for (line, l) in text.lines().enumerate().map(|(i, l)| (i + 1, l.trim())).filter(|(_, l)| !l.is_empty()) {
        if l.starts_with('#') {
            closed |= l.starts_with("#[Buckets") && l.ends_with(']');
        } else if !head {
            head = l.starts_with("Value") && l.contains("Percentile");
            if !head {
                return Err(PercentilesError::Head { line });
            }
        } else {
            let last = points.last().copied().unwrap_or((0.0, 0.0));
            let point = point(l).filter(|p| (last.0..=1.0).contains(&p.0) && (last.1..f64::INFINITY).contains(&p.1));
            points.push(point.ok_or(PercentilesError::Point { line })?);
        }
    }
    if closed { Ok(points) } else { Err(PercentilesError::Torn) }
}

fn point(line: &str) -> Option<(f64, f64)> {
    let mut columns = line.split_whitespace().map(str::parse);
    let (value, percentile) = (columns.next()?.ok()?, columns.next()?.ok()?);
    Some((percentile, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Histogram<u64> {
        let mut h = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("in range");
        for n in 1..=10_000u64 {
            h.record(n * 1_000).expect("in range");
        }
        h
    }

    #[test]
    fn the_text_is_the_common_one() {
        let text = write(&some());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "       Value     Percentile TotalCount 1/(1-Percentile)");
        assert_eq!(lines[2], "       1.000 0.000000000000          1           1.00");
        assert_eq!(lines[7], "    5001.215 0.500000000000       5001           2.00");
        let end = &lines[lines.len() - 4..];
        assert_eq!(end[0], "   10002.431 1.000000000000      10000");
        assert_eq!(end[1], "#[Mean    =     5000.505, StdDeviation   =     2886.752]");
        assert_eq!(end[2], "#[Max     =    10002.431, Total count    =        10000]");
        assert_eq!(end[3], "#[Buckets =           26, SubBuckets     =         2048]");
    }

    #[test]
    fn the_points_are_those_of_the_histogram() {
        let h = some();
        let points = read(&write(&h)).expect("read");
        assert_eq!(points.first(), Some(&(0.0, 1.0)));
        assert_eq!(points.last().map(|p| p.0), Some(1.0));
        for (q, us) in points {
            assert!((h.value_at_quantile(q) as f64 / 1e3 - us).abs() <= us * 0.001, "{q} {us}");
        }
        let none = Histogram::<u64>::new(3).expect("precision");
        assert_eq!(read(&write(&none)), Ok(vec![]));
    }

    #[test]
    fn a_damaged_line_is_told_with_its_number() {
        let good = write(&some());
        for (from, to, expected) in [
            ("Value", "Worth", PercentilesError::Head { line: 1 }),
            ("0.500000000000", "0.5000x", PercentilesError::Point { line: 8 }),
            ("0.500000000000", "1.5", PercentilesError::Point { line: 8 }),
            ("5001.215", "NaN", PercentilesError::Point { line: 8 }),
            ("5001.215", "1.0", PercentilesError::Point { line: 8 }),
            ("5001.215 0.500000000000       5001           2.00", "5001.215", PercentilesError::Point { line: 8 }),
            ("#[Buckets", "#[Buck", PercentilesError::Torn),
            ("2048]", "20", PercentilesError::Torn),
        ] {
            assert_eq!(read(&good.replacen(from, to, 1)), Err(expected), "{from} {to}");
        }
        assert_eq!(read(""), Err(PercentilesError::Torn));
    }
}
