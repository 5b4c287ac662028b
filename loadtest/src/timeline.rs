//! `timeline.csv`: what happened in each second of a run, one line each after a line of names. Latencies have three
//! decimals of a µs, that is the ns they were measured in. No I/O here: the caller has the file.

use crate::summary::Second;
use core::fmt::Write as _;

/// The first line.
const NAMES: &str = "second,offered,sent,approved,declined,suspected,rejected,unanswered,\
                     unknown,refusals,p50_us,p99_us,max_us,mode";
const COLUMNS: usize = 14;

/// Why a text is not a time line. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimelineError {
    /// The first line is not the names.
    Names {
        /// What it says.
        got: String,
    },
    /// A line of another number of fields.
    Fields {
        /// Where.
        line: usize,
        /// Fields that it has.
        got: usize,
    },
    /// A field that is no number, is out of its range, or below zero.
    Number {
        /// Where.
        line: usize,
        /// Name of the column.
        column: &'static str,
        /// What it says.
        got: String,
    },
    /// The last line does not end: its last number may be the beginning of a longer one.
    Torn {
        /// Where.
        line: usize,
    },
}

impl core::fmt::Display for TimelineError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Names { got } => write!(f, "line 1: got {got:?}, expected {NAMES:?}"),
            Self::Fields { line, got } => write!(f, "line {line}: got {got} fields, expected {COLUMNS}"),
            Self::Number { line, column, got } => write!(f, "line {line}: {column}: {got:?} is not a number for it"),
            Self::Torn { line } => write!(f, "line {line}: ends before its end of line"),
        }
    }
}

impl core::error::Error for TimelineError {}

/// The text of a time line.
#[must_use]
pub fn write(seconds: &[Second]) -> String {
    let mut out = format!("{NAMES}\n");
    for s in seconds {
        let Second { second, offered, sent, approved, declined, suspected, rejected, unanswered, mode, .. } = s;
        let _ = write!(out, "{second},{offered},{sent},{approved},{declined},{suspected},{rejected},{unanswered}");
        let _ = write!(out, ",{},{}", s.unknown, s.refusals);
        let _ = writeln!(out, ",{:.3},{:.3},{:.3},{mode}", s.p50_us, s.p99_us, s.max_us);
    }
    out
}

/// The seconds of a text of [`write`].
///
/// # Errors
///
/// The first line that is not one of a time line.
pub fn read(text: &str) -> Result<Vec<Second>, TimelineError> {
    let mut lines = text.lines().enumerate().map(|(i, l)| (i + 1, l));
    let names = lines.next().map_or("", |(_, l)| l);
    if names != NAMES {
        return Err(TimelineError::Names { got: names.chars().take(200).collect() });
    }
    let seconds = lines.map(|(line, l)| second(line, l)).collect::<Result<_, _>>()?;
    if !text.ends_with('\n') {
        return Err(TimelineError::Torn { line: text.lines().count() });
    }
    Ok(seconds)
}

fn second(line: usize, text: &str) -> Result<Second, TimelineError> {
    let got = text.split(',').count();
    if got != COLUMNS {
        return Err(TimelineError::Fields { line, got });
    }
    let mut fields = NAMES.split(',').zip(text.split(','));
    let mut next = || fields.next().unwrap_or_default();
    let bad = |(column, got): (&'static str, &str)| TimelineError::Number { line, column, got: got.into() };
    let count = |f: (&'static str, &str)| f.1.parse::<u64>().map_err(|_| bad(f));
    let us = |f: (&'static str, &str)| {
        f.1.parse::<f64>().ok().filter(|v| v.is_finite() && !v.is_sign_negative()).ok_or_else(|| bad(f))
    };
    let first = next();
    Ok(Second {
        second: first.1.parse().map_err(|_| bad(first))?,
        offered: count(next())?,
        sent: count(next())?,
        approved: count(next())?,
        declined: count(next())?,
        suspected: count(next())?,
        rejected: count(next())?,
        unanswered: count(next())?,
        unknown: count(next())?,
        refusals: {
            let f = next();
            f.1.parse().map_err(|()| bad(f))?
        },
        p50_us: us(next())?,
        p99_us: us(next())?,
        max_us: us(next())?,
        mode: count(next())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Vec<Second> {
        let refusals = "110:5;139:4294967295".parse().expect("refusals");
        let s = Second {
            offered: 9,
            unknown: 3,
            refusals,
            p50_us: 812.345,
            p99_us: 5_810.001,
            max_us: 1.5e7,
            ..Second::default()
        };
        vec![s, Second { second: u32::MAX, sent: u64::MAX, mode: 2, ..s }]
    }

    #[test]
    fn what_is_written_is_read() {
        for seconds in [vec![], some()] {
            assert_eq!(read(&write(&seconds)), Ok(seconds));
        }
        assert_eq!(read(&write(&some()).replace('\n', "\r\n")), Ok(some()));
    }

    #[test]
    fn a_damaged_line_is_told_with_its_number() {
        let good = write(&some());
        let check = |from: &str, to: &str, expected: &str| {
            let e = read(&good.replacen(from, to, 1)).expect_err("damaged");
            assert_eq!(e.to_string(), expected);
        };
        check("4294967295,9", "4294967296,9", "line 3: second: \"4294967296\" is not a number for it");
        check("812.345", "NaN", "line 2: p50_us: \"NaN\" is not a number for it");
        check("110:5", "109:5", "line 2: refusals: \"109:5;139:4294967295\" is not a number for it");
        check("812.345", "-1", "line 2: p50_us: \"-1\" is not a number for it");
        check(",2\n", ",2,\n", "line 3: got 15 fields, expected 14");
        check(",2\n", ",2", "line 3: ends before its end of line");
        check(",0\n", ",0\n\n", "line 3: got 1 fields, expected 14");
        check("mode", "moods", &format!("line 1: got {:?}, expected {NAMES:?}", NAMES.replace("mode", "moods")));
        assert_eq!(read(""), Err(TimelineError::Names { got: String::new() }));
    }

    #[test]
    fn a_text_cut_anywhere_is_an_error() {
        let good = write(&some());
        for cut in (0..good.len()).filter(|n| !good[..*n].ends_with('\n')) {
            assert!(read(&good[..cut]).is_err(), "cut at {cut}");
        }
    }
}
