//! How numbers are written for people, on the page and in tables alike.

use crate::summary::MODE_SILENT;

/// 1,234,567.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, d) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(d);
    }
    out
}

/// 98,765/s.
pub(crate) fn rate(per_second: f64) -> String {
    if known(per_second) { format!("{}/s", count(per_second.round() as u64)) } else { "–".into() }
}

/// 1.2M, for axes.
pub(crate) fn short(n: f64) -> String {
    let (v, unit) = match n {
        n if n >= 1e9 => (n / 1e9, "G"),
        n if n >= 1e6 => (n / 1e6, "M"),
        n if n >= 1e3 => (n / 1e3, "k"),
        n => (n, ""),
    };
    format!("{}{unit}", plain(v))
}

/// µs as 812 µs, 5.81 ms or 1.24 s: three digits that count.
pub(crate) fn duration(us: f64) -> String {
    let (v, unit) = match us {
        us if !known(us) => return "–".into(),
        us if us < 999.5 => (us, "µs"),
        us if us < 999_500.0 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    let v = match v {
        v if v < 9.995 => format!("{v:.2}"),
        v if v < 99.95 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    };
    format!("{} {unit}", trimmed(v))
}

/// A share of 0 to 1 as 99.97 %. What is not all is never rounded up to 100.
pub(crate) fn percent(share: f64) -> String {
    let v = share * 100.0;
    if !known(v) {
        return "–".into();
    }
    let rounded = format!("{v:.3}");
    format!("{} %", if v < 100.0 && rounded == "100.000" { "99.999".into() } else { trimmed(rounded) })
}

/// A number with at most three decimals.
pub(crate) fn plain(v: f64) -> String {
    if v.is_finite() { trimmed(format!("{v:.3}")) } else { "–".into() }
}

/// ms from the beginning of the run: 12.5 s, or 3:12.5 beyond two minutes.
pub(crate) fn moment(ms: u64) -> String {
    let (s, tenths) = (ms / 1000, ms % 1000 / 100);
    match s {
        0..120 if tenths == 0 => format!("{s} s"),
        0..120 => format!("{s}.{tenths} s"),
        120..3600 => trimmed(format!("{}:{:02}.{tenths}", s / 60, s % 60)),
        _ => trimmed(format!("{}:{:02}:{:02}.{tenths}", s / 3600, s / 60 % 60, s % 60)),
    }
}

/// A goal's value in the unit that ends the goal's name.
pub(crate) fn measure(name: &str, v: f64) -> String {
    match name {
        n if n.ends_with("_us") => duration(v),
        n if n.ends_with("_ms") => duration(v * 1e3),
        n if n.ends_with("_s") => duration(v * 1e6),
        n if n.ends_with("_per_second") => rate(v),
        "told" | "goodput" | "answered_in_deadline" => percent(v),
        _ => plain(v),
    }
}

/// The server's mode, as `docs/degrade.md` numbers it.
pub(crate) fn mode(n: u64) -> String {
    match n {
        0 => "normal".to_owned(),
        1 => "read-only".to_owned(),
        2 => "halted".to_owned(),
        3 => "brownout".to_owned(),
        4 => "probing".to_owned(),
        MODE_SILENT => "silent".to_owned(),
        n => format!("mode {n}"),
    }
}

fn known(v: f64) -> bool {
    v.is_finite() && v >= 0.0
}

fn trimmed(v: String) -> String {
    if v.contains('.') { v.trim_end_matches('0').trim_end_matches('.').into() } else { v }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(
            [count(0), count(999), count(1_000), count(u64::MAX)].join(" "),
            "0 999 1,000 18,446,744,073,709,551,615"
        );
        let all: Vec<_> = [0.0, 0.5, 812.3, 999.7, 5_812.0, 50_000.0, 1_240_000.0, f64::NAN, -1.0].map(duration).into();
        assert_eq!(all.join("|"), "0 µs|0.5 µs|812 µs|1 ms|5.81 ms|50 ms|1.24 s|–|–");
        assert_eq!([0.0, 0.999_999_9, 1.0].map(percent).join("|"), "0 %|99.999 %|100 %");
        assert_eq!([0, 12_540, 120_000, 192_500, 3_600_000].map(moment).join("|"), "0 s|12.5 s|2:00|3:12.5|1:00:00");
        assert_eq!([0.0, 250.0, 50_000.0, 1.2e6].map(short).join("|"), "0|250|50k|1.2M");
        assert_eq!(measure("p99_ms", 50.0), "50 ms");
        assert_eq!(measure("answered_in_deadline", 0.99), "99 %");
        assert_eq!(rate(f64::INFINITY), "–");
    }
}
