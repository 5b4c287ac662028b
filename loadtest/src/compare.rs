//! Two runs beside each other, and whether the second got worse than it may. A condition such as `p99>+10%` names what
//! must not be: B's p99 more than 10 % above A's. A bound without a sign is of B alone: `p99>50ms`, `goodput<1000/s`,
//! `answered<99.9%`. Runs that are INVALID, or whose summaries mean something else, are not compared.

use crate::numbers::{duration, percent, rate};
use crate::summary::{SCHEMA, Summary, Verdict};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// A summary is a few kB; a file beyond this is something else.
const SUMMARY_BYTES_MAX: u64 = 16 << 20;

/// Why two runs cannot be compared.
#[derive(Debug)]
pub enum CompareError {
    /// A condition that cannot be read.
    Condition {
        /// As it was given.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A summary that cannot be read from its file.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that is not a summary.
    NotASummary {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line.
        source: serde_json::Error,
    },
    /// A summary of another schema: its fields may mean something else.
    Schema {
        /// The file.
        path: PathBuf,
        /// What it says; nothing where it says none.
        got: Option<u64>,
    },
    /// A run from which nothing can be concluded.
    Invalid {
        /// Its summary.
        path: PathBuf,
        /// Its own reasons.
        why: Vec<String>,
    },
}

impl core::fmt::Display for CompareError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Condition { text, why } => write!(f, "condition {text:?}: {why}"),
            Self::Unreadable { path, source } => write!(f, "{}: {source}", path.display()),
            Self::NotASummary { path, source } => write!(f, "{}: not a summary: {source}", path.display()),
            Self::Schema { path, got: Some(got) } => {
                write!(f, "{}: has schema {got}, this program compares schema {SCHEMA}", path.display())
            }
            Self::Schema { path, got: None } => {
                write!(f, "{}: names no schema, this program compares schema {SCHEMA}", path.display())
            }
            Self::Invalid { path, why } => {
                write!(f, "{}: the run is INVALID, nothing is to be concluded from it", path.display())?;
                why.iter().try_for_each(|w| write!(f, "; {}", printable(w)))
            }
        }
    }
}

impl core::error::Error for CompareError {}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metric {
    P50,
    P99,
    P999,
    Max,
    Goodput,
    Achieved,
    Answered,
}

impl Metric {
    const ALL: [Self; 7] = [Self::P50, Self::P99, Self::P999, Self::Max, Self::Goodput, Self::Achieved, Self::Answered];

    fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::P999 => "p999",
            Self::Max => "max",
            Self::Goodput => "goodput",
            Self::Achieved => "achieved",
            Self::Answered => "answered",
        }
    }

    /// In µs, per second, or a share.
    fn of(self, s: &Summary) -> f64 {
        match self {
            Self::P50 => s.response.p50_us,
            Self::P99 => s.response.p99_us,
            Self::P999 => s.response.p999_us,
            Self::Max => s.response.max_us,
            Self::Goodput => s.goodput_per_second,
            Self::Achieved => s.achieved_per_second,
            Self::Answered => s.answered_in_deadline,
        }
    }

    fn show(self, v: f64) -> String {
        match self {
            Self::P50 | Self::P99 | Self::P999 | Self::Max => duration(v),
            Self::Goodput | Self::Achieved => rate(v),
            Self::Answered => percent(v),
        }
    }

    /// The units of its absolute bounds, the longer of two with one end first, and what a number of each is worth.
    fn units(self) -> &'static [(&'static str, f64)] {
        match self {
            Self::P50 | Self::P99 | Self::P999 | Self::Max => &[("µs", 1.0), ("us", 1.0), ("ms", 1e3), ("s", 1e6)],
            Self::Goodput | Self::Achieved => &[("/s", 1.0)],
            Self::Answered => &[("%", 0.01)],
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Bound {
    /// Of the change from A to B, as a share of A.
    Change(f64),
    /// Of B.
    Absolute(f64),
}

#[derive(Debug, Clone, PartialEq)]
struct Condition {
    text: String,
    metric: Metric,
    above: bool,
    bound: Bound,
}

impl Condition {
    fn parse(text: &str) -> Result<Self, CompareError> {
        let bad = |why| CompareError::Condition { text: text.into(), why };
        let at = text.find(['<', '>']).ok_or_else(|| bad("expected a name, > or <, and a bound, as in p99>+10%"))?;
        let (name, bound) = (text[..at].trim(), text[at + 1..].trim());
        let metric = Metric::ALL.into_iter().find(|m| m.name() == name);
        let metric = metric.ok_or_else(|| bad("the names are p50, p99, p999, max, goodput, achieved and answered"))?;
        let number = |s: &str| s.trim().parse::<f64>().ok().filter(|v| v.is_finite());
        let bound = if bound.starts_with(['+', '-']) {
            let share = bound.strip_suffix('%').and_then(number);
            Bound::Change(share.ok_or_else(|| bad("a bound with a sign is a change in percent, as +10%"))? / 100.0)
        } else {
            let mut units = metric.units().iter();
            let value = units.find_map(|(unit, worth)| Some(number(bound.strip_suffix(unit)?)? * worth));
            Bound::Absolute(value.ok_or_else(|| {
                bad(match metric.units() {
                    _ if bound.ends_with('%') => "a change needs its sign, as +10% or -5%",
                    [("/s", _)] => "an absolute bound of it is a rate, as 1000/s",
                    [("%", _)] => "an absolute bound of it is a share, as 99.9%",
                    _ => "an absolute bound of it is a time in us, ms or s, as 50ms",
                })
            })?)
        };
        Ok(Self { text: text.trim().into(), metric, above: text[at..].starts_with('>'), bound })
    }

    fn holds(&self, a: &Summary, b: &Summary) -> bool {
        let (a, b) = (self.metric.of(a), self.metric.of(b));
        let (measured, bound) = match self.bound {
            Bound::Change(bound) => (change(a, b), bound),
            Bound::Absolute(bound) => (b, bound),
        };
        if self.above { measured > bound } else { measured < bound }
    }
}

/// The change from A to B as a share of A; without bound where A is zero and B is not.
fn change(a: f64, b: f64) -> f64 {
    if a == b { 0.0 } else { (b - a) / a }
}

/// Two runs, and which conditions hold.
#[derive(Debug)]
pub struct Comparison {
    runs: [(PathBuf, Summary); 2],
    conditions: Vec<(Condition, bool)>,
}

impl Comparison {
    /// True when at least one condition holds: B is worse than it may be.
    #[must_use]
    pub fn fails(&self) -> bool {
        self.conditions.iter().any(|c| c.1)
    }

    /// What a reader of the table must know besides.
    fn notes(&self) -> Vec<String> {
        let [(_, a), (_, b)] = &self.runs;
        let mut notes = Vec::new();
        if a.scenario != b.scenario {
            notes.push(format!("the scenarios differ: {} and {}", printable(&a.scenario), printable(&b.scenario)));
        }
        if a.environment.machine != b.environment.machine {
            notes.push("the machines differ".into());
        }
        for (name, run) in [("A", a), ("B", b)] {
            if run.interrupted {
                notes.push(format!("{name} was interrupted: its results are partial"));
            }
        }
        notes
    }
}

impl core::fmt::Display for Comparison {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let [(_, a), (_, b)] = &self.runs;
        for (name, (path, run)) in ["A", "B"].iter().zip(&self.runs) {
            writeln!(f, "{name}  {}  {}  {}", run.verdict, printable(&run.scenario), path.display())?;
        }
        writeln!(f, "\n{:<10}{:>14}{:>14}{:>10}", "", "A", "B", "change")?;
        for m in Metric::ALL {
            let (was, is) = (m.of(a), m.of(b));
            let change = change(was, is);
            let change = if change.is_finite() { format!("{:+.1}%", change * 100.0) } else { "from 0".into() };
            writeln!(f, "{:<10}{:>14}{:>14}{change:>10}", m.name(), m.show(was), m.show(is))?;
        }
        for note in self.notes() {
            writeln!(f, "note: {note}")?;
        }
        for (c, holds) in &self.conditions {
            writeln!(f, "{}  {}", if *holds { "FAIL" } else { "ok  " }, c.text)?;
        }
        Ok(())
    }
}

/// Compares the runs of two folders; `fail_if` are the conditions under which B fails.
///
/// # Errors
///
/// A condition that cannot be read, or a run that cannot be compared. Conditions are looked at first.
pub fn compare(a: &Path, b: &Path, fail_if: &[String]) -> Result<Comparison, CompareError> {
    let conditions = fail_if.iter().map(|c| Condition::parse(c)).collect::<Result<Vec<_>, _>>()?;
    let runs = [(a.to_path_buf(), summary(a)?), (b.to_path_buf(), summary(b)?)];
    let conditions =
        conditions.into_iter().map(|c| (c.holds(&runs[0].1, &runs[1].1), c)).map(|(h, c)| (c, h)).collect();
    Ok(Comparison { runs, conditions })
}

/// The summary of a run's folder, if it can be compared.
fn summary(folder: &Path) -> Result<Summary, CompareError> {
    let path = folder.join("summary.json");
    let mut text = String::new();
    let read = std::fs::File::open(&path).and_then(|f| f.take(SUMMARY_BYTES_MAX).read_to_string(&mut text));
    if let Err(source) = read {
        return Err(CompareError::Unreadable { path, source });
    }
    // The schema first: under another one the rest may not even have these fields.
    let schema = match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(v) => v.get("schema").and_then(serde_json::Value::as_u64),
        Err(source) => return Err(CompareError::NotASummary { path, source }),
    };
    if schema != Some(SCHEMA.into()) {
        return Err(CompareError::Schema { path, got: schema });
    }
    match serde_json::from_str::<Summary>(&text) {
        Ok(s) if s.verdict == Verdict::Invalid => Err(CompareError::Invalid { path, why: s.why }),
        Ok(s) => Ok(s),
        Err(source) => Err(CompareError::NotASummary { path, source }),
    }
}

/// Foreign text that cannot steer the terminal it is shown on.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::Latency;

    fn run(verdict: Verdict, p99_us: f64, goodput_per_second: f64) -> Summary {
        let response = Latency { p50_us: 800.0, p99_us, p999_us: 20_000.0, max_us: 80_000.0 };
        let (scenario, answered_in_deadline) = ("peak".into(), 0.999);
        Summary {
            schema: SCHEMA,
            verdict,
            scenario,
            response,
            goodput_per_second,
            answered_in_deadline,
            ..Summary::default()
        }
    }

    fn folder(summary: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("summary.json"), summary).expect("written");
        dir
    }

    fn json(s: &Summary) -> String {
        serde_json::to_string(s).expect("a summary")
    }

    /// Which of the conditions hold between A and B.
    fn held(a: &Summary, b: &Summary, conditions: &[&str]) -> Vec<bool> {
        let (a, b) = (folder(&json(a)), folder(&json(b)));
        let texts: Vec<String> = conditions.iter().map(|c| (*c).into()).collect();
        let c = compare(a.path(), b.path(), &texts).expect("comparable");
        assert_eq!(c.fails(), c.conditions.iter().any(|c| c.1));
        c.conditions.iter().map(|c| c.1).collect()
    }

    #[test]
    fn conditions_hold_beyond_their_bound_only() {
        let (a, b) = (run(Verdict::Pass, 5_000.0, 50_000.0), run(Verdict::Fail, 5_500.0, 45_000.0));
        let check = |condition, expected| assert_eq!(held(&a, &b, &[condition]), [expected], "{condition}");
        check("p99>+9.9%", true);
        check("p99>+10%", false);
        check(" p99 > +10.1 % ", false);
        check("p50>+0%", false);
        check("goodput<-9%", true);
        check("goodput<-10%", false);
        check("p99>5.4ms", true);
        check("p99>5500us", false);
        check("p99<0.006s", true);
        check("p999>20000µs", false);
        check("goodput<45001/s", true);
        check("achieved<1/s", true);
        check("answered<99.95%", true);
        check("answered<-5%", false);
        check("max>+10%", false);
        assert!(held(&a, &b, &[]).is_empty());
    }

    #[test]
    fn a_change_from_zero_is_beyond_every_bound() {
        let (none, some) = (run(Verdict::Pass, 0.0, 0.0), run(Verdict::Pass, 1.0, 0.0));
        assert_eq!(held(&none, &some, &["p99>+1000000%", "goodput<-5%", "goodput>+0%"]), [true, false, false]);
        assert_eq!(held(&some, &none, &["p99<-99%", "p99<-100%"]), [true, false]);
    }

    #[test]
    fn what_is_no_condition_is_told_why() {
        let check = |text: &str, expected: &str| {
            let e = compare(Path::new("/none"), Path::new("/none"), &[text.into()]).expect_err("no condition");
            assert!(e.to_string().contains(expected), "{text}: {e}");
        };
        for text in ["", "p99", "p99=5"] {
            check(text, "expected a name");
        }
        for text in [">5", "p98>+1%", "P99>+1%", "p99 p50>+1%", "é>1"] {
            check(text, "the names are");
        }
        for text in ["p99>+10", "p99>+10ms", "p99>+-1%", "p99>+inf%", "p99>-%"] {
            check(text, "a change in percent");
        }
        check("p99>10%", "needs its sign");
        for text in ["p99>", "p99>50", "p99>NaNms", "p99>=5ms", "p99>5/s", "p99>5é", "p99>>5ms"] {
            check(text, "as 50ms");
        }
        check("goodput<5ms", "as 1000/s");
        check("answered<1", "as 99.9%");
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let good = folder(&json(&run(Verdict::Pass, 1.0, 1.0)));
        let check = |summary: &str, expected: &str| {
            let other = folder(summary);
            for (a, b) in [(&good, &other), (&other, &good)] {
                let e = compare(a.path(), b.path(), &[]).expect_err("refused").to_string();
                assert!(e.contains(expected) && e.contains("summary.json"), "{e}");
            }
        };
        let mut invalid = run(Verdict::Invalid, 1.0, 1.0);
        invalid.why = vec!["the fault kill did not fire\u{1b}[2J".into()];
        check(&json(&invalid), "INVALID, nothing is to be concluded from it; the fault kill did not fire\u{FFFD}[2J");
        let newer = Summary { schema: SCHEMA + 1, ..run(Verdict::Pass, 1.0, 1.0) };
        check(&json(&newer), "has schema 3, this program compares schema 2");
        check("{\"schema\":9}", "has schema 9");
        check("{}", "names no schema");
        check("[1]", "names no schema");
        // One that says nothing of its worth has none.
        check("{\"schema\":2}", "INVALID, nothing is to be concluded from it");
        check("{\"schema\":2,\"verdict\":5}", "not a summary: ");
        check("", "not a summary: EOF");
        let e = compare(good.path(), Path::new("/none"), &[]).expect_err("refused").to_string();
        assert!(e.starts_with("/none/summary.json: No such file"), "{e}");
    }

    #[test]
    fn the_table_says_a_and_b_and_the_change() {
        let (a, mut b) = (run(Verdict::Pass, 0.0, 50_000.0), run(Verdict::Fail, 5_500.0, 45_000.0));
        (b.scenario, b.interrupted) = ("overload\u{7}".into(), true);
        let (a, b) = (folder(&json(&a)), folder(&json(&b)));
        let c = compare(a.path(), b.path(), &["p99>50ms".into(), "goodput<-5%".into()]).expect("comparable");
        let text = c.to_string();
        let tail = text.split_once("\n\n").expect("a table").1;
        assert_eq!(
            tail,
            "                       A             B    change\n\
             p50               800 µs        800 µs     +0.0%\n\
             p99                 0 µs        5.5 ms    from 0\n\
             p999               20 ms         20 ms     +0.0%\n\
             max                80 ms         80 ms     +0.0%\n\
             goodput         50,000/s      45,000/s    -10.0%\n\
             achieved             0/s           0/s     +0.0%\n\
             answered          99.9 %        99.9 %     +0.0%\n\
             note: the scenarios differ: peak and overload\u{FFFD}\n\
             note: B was interrupted: its results are partial\n\
             ok    p99>50ms\n\
             FAIL  goodput<-5%\n"
        );
        assert!(text.starts_with("A  PASS  peak  /"), "{text}");
    }
}
