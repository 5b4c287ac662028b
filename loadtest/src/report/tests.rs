//! The page with everything on it, and with nothing.

use super::*;
use crate::summary::{FaultReport, SCHEMA, SloReport};

/// Every tag that is opened is closed, in order, and every attribute is quoted. The page is written so that this is all
/// there is to check: no element without an end but `/>`, and no script.
fn check(page: &str) {
    let mut rest = page.strip_prefix("<!DOCTYPE html>\n").expect("a document type");
    let mut open: Vec<&str> = Vec::new();
    while let Some((before, after)) = rest.split_once('<') {
        assert!(!before.contains('>'), "a bare > in {before:?}");
        let (tag, after) = after.split_once('>').expect("a tag ends");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
        } else {
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            let name = tag.split([' ', '/']).next().unwrap_or_default();
            assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric()), "{tag}");
            assert_ne!(name, "script");
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
        // The content of a style is not of the page's grammar.
        rest = if tag == "style" { &after[after.find("</style>").expect("an end")..] } else { after };
    }
    assert_eq!(open, Vec::<&str>::new());
    assert!(!page.contains("NaN") && !page.contains("inf"), "a number that is none");
    assert!(!page.contains("http"), "an address of elsewhere");
}

fn seconds(n: u32) -> Vec<Second> {
    let one = |second| Second {
        second,
        offered: 50_000,
        sent: 50_000,
        approved: 49_000,
        declined: 700 + u64::from(second % 7),
        p50_us: 812.345,
        p99_us: 5_810.001 + f64::from(second % 13) * 100.0,
        max_us: 91_000.5,
        mode: u64::from(second / 100 % 6),
        ..Second::default()
    };
    (0..n).map(one).collect()
}

fn summary() -> Summary {
    let fault = |at_ms| FaultReport {
        kind: "kill".into(),
        at_ms,
        until_ms: Some(at_ms + 900),
        fired: true,
        proof: "pid 7".into(),
        ..FaultReport::default()
    };
    Summary {
        schema: SCHEMA,
        scenario: "peak".into(),
        faults: (0..40).map(|n| fault(n * 700)).collect(),
        slos: vec![SloReport { name: "p99_ms".into(), goal: 50.0, measured: 5.8, met: true }],
        ..Summary::default()
    }
}

#[test]
fn the_page_is_well_formed_for_every_length() {
    for n in [0, 1, 2, 59, 481, 10_000] {
        let page = render(&summary(), &seconds(n), &[(0.0, 800.0), (0.99, 5_800.0), (1.0, 91_000.0)], &[(0.5, 700.0)]);
        check(&page);
        assert!(page.len() < 2_000_000, "{n} seconds give {} bytes", page.len());
        assert_eq!(page.contains("No second was recorded"), n == 0);
    }
}

#[test]
fn a_long_run_is_in_columns() {
    let page = render(&summary(), &seconds(10_000), &[], &[]);
    assert!(page.contains("Each column is 21 s"));
    assert_eq!(page.matches("class=\"hit\"").count(), 10_000usize.div_ceil(21));
    assert!(page.contains("No latency was recorded"));
}

#[test]
fn foreign_text_is_escaped_everywhere() {
    const EVIL: &str = "</title><script>alert(\"1\")</script>'&\0";
    let evil = || EVIL.to_string();
    let mut s = summary();
    s.scenario = evil();
    s.started_at = evil();
    s.why = vec![evil()];
    s.faults = vec![FaultReport { kind: evil(), proof: evil(), ..FaultReport::default() }];
    s.slos = vec![SloReport { name: evil(), ..SloReport::default() }];
    let e = &mut s.environment;
    (e.machine, e.commit, e.command, e.server) = (evil(), evil(), evil(), evil());
    let page = render(&s, &seconds(3), &[], &[]);
    check(&page);
    assert!(!page.contains("<script") && !page.contains('\0'));
    // Title, heading, beginning, reason, badge, fault, proof, goal, and four of the environment.
    assert_eq!(page.matches("&lt;script&gt;").count(), 12);
}

#[test]
fn no_number_breaks_the_page() {
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, f64::MIN_POSITIVE, f64::MAX, 1e300];
    for v in odd {
        let l = Latency { p50_us: v, p99_us: v, p999_us: v, max_us: v };
        let mut s = summary();
        (s.seconds, s.offered_per_second, s.answered_in_deadline, s.response, s.service) = (v, v, v, l, l);
        s.slos = vec![SloReport { name: "p99_ms".into(), goal: v, measured: v, met: false }];
        s.faults = vec![FaultReport { at_ms: u64::MAX, until_ms: Some(0), ..FaultReport::default() }];
        let last =
            Second { offered: u64::MAX, approved: u64::MAX, mode: u64::MAX, second: u32::MAX, ..Second::default() };
        let timeline = [Second { p50_us: v, p99_us: v, max_us: v, ..Second::default() }, last];
        check(&render(&s, &timeline, &odd.map(|q| (q, v)), &[(0.5, v), (v, 1.0)]));
    }
}

#[test]
fn verdict_and_reason_come_first() {
    let mut s = summary();
    (s.verdict, s.why) = (Verdict::Fail, vec!["p99 was 80 ms, the goal is 50 ms".into()]);
    let page = render(&s, &[], &[], &[]);
    let at = |what: &str| page.find(what).expect("on the page");
    assert!(at("✗</b> FAIL") < at("p99 was 80 ms") && at("p99 was 80 ms") < at("goodput"));
}
