//! Where scenarios come from: those that the program carries in itself, and files.

use super::Scenario;
use std::path::Path;

/// The scenarios that the program carries in itself, by name.
const NAMED: [(&str, &str); 30] = [
    ("peak", include_str!("../../scenarios/peak.toml")),
    ("button-mash", include_str!("../../scenarios/button-mash.toml")),
    ("cash-after-timeout", include_str!("../../scenarios/cash-after-timeout.toml")),
    ("kill-under-load", include_str!("../../scenarios/kill-under-load.toml")),
    ("expiry-midnight", include_str!("../../scenarios/expiry-midnight.toml")),
    ("hot-station-kiosk", include_str!("../../scenarios/hot-station-kiosk.toml")),
    ("incident-0224", include_str!("../../scenarios/incident-0224.toml")),
    ("overload-1x", include_str!("../../scenarios/overload-1x.toml")),
    ("overload-2x", include_str!("../../scenarios/overload-2x.toml")),
    ("overload-5x", include_str!("../../scenarios/overload-5x.toml")),
    ("overload-10x", include_str!("../../scenarios/overload-10x.toml")),
    ("refused-1x", include_str!("../../scenarios/refused-1x.toml")),
    ("refused-2x", include_str!("../../scenarios/refused-2x.toml")),
    ("refused-5x", include_str!("../../scenarios/refused-5x.toml")),
    ("refused-10x", include_str!("../../scenarios/refused-10x.toml")),
    ("burst-10x", include_str!("../../scenarios/burst-10x.toml")),
    ("burst-10x-retries", include_str!("../../scenarios/burst-10x-retries.toml")),
    ("soak", include_str!("../../scenarios/soak.toml")),
    ("wallets", include_str!("../../scenarios/wallets.toml")),
    ("strangers", include_str!("../../scenarios/strangers.toml")),
    ("slow-disk", include_str!("../../scenarios/slow-disk.toml")),
    ("full-disk", include_str!("../../scenarios/full-disk.toml")),
    ("journal-stall", include_str!("../../scenarios/journal-stall.toml")),
    ("drain", include_str!("../../scenarios/drain.toml")),
    ("failed-disk", include_str!("../../scenarios/failed-disk.toml")),
    ("programme-suspended", include_str!("../../scenarios/programme-suspended.toml")),
    ("clock-step", include_str!("../../scenarios/clock-step.toml")),
    ("drill", include_str!("../../scenarios/drill.toml")),
    ("greedy-gateway", include_str!("../../scenarios/greedy-gateway.toml")),
    ("malformed", include_str!("../../scenarios/malformed.toml")),
];

/// What is wrong with a scenario.
#[derive(Debug, PartialEq, Eq)]
pub struct ScenarioError(String);

impl core::fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ScenarioError {}

/// Names and first sentences of the scenarios that need no file.
#[must_use]
pub fn named() -> Vec<(&'static str, String)> {
    NAMED.iter().filter_map(|(name, text)| Some((*name, parse(name, text).ok()?.about))).collect()
}

/// The scenario of this name, or else of this file.
pub fn load(name: &str) -> Result<Scenario, ScenarioError> {
    if let Some((_, text)) = NAMED.iter().find(|(n, _)| *n == name) {
        return parse(name, text);
    }
    match std::fs::read_to_string(name) {
        Ok(text) => parse(name, &text),
        Err(_) if !Path::new(name).exists() => {
            let known: Vec<&str> = NAMED.iter().map(|(n, _)| *n).collect();
            let meant = meant(name, &known);
            Err(ScenarioError(format!("{name}: no such scenario and no such file{meant}; known: {}", known.join(", "))))
        }
        Err(e) => Err(ScenarioError(format!("{name}: {e}"))),
    }
}

/// From its text; `file` is named in what is wrong.
pub fn parse(file: &str, text: &str) -> Result<Scenario, ScenarioError> {
    let scenario: Scenario = toml::from_str(text).map_err(|e| {
        let line = e.span().map_or(1, |s| text.bytes().take(s.start).filter(|b| *b == b'\n').count() + 1);
        // What is known stands in the message, in backticks.
        let words: Vec<&str> = e.message().split('`').skip(1).step_by(2).collect();
        let meant = match words.split_first() {
            Some((strange, known)) if e.message().starts_with("unknown") => meant(strange, known),
            _ => String::new(),
        };
        ScenarioError(format!("{file}:{line}: {}{meant}", e.message()))
    })?;
    scenario.check().map_err(|what| ScenarioError(format!("{file}: {what}")))?;
    Ok(scenario)
}

/// The most like of the known names, if one is.
fn meant(strange: &str, known: &[&str]) -> String {
    let like = known.iter().map(|k| (strsim::levenshtein(strange, k), k)).min();
    match like {
        Some((distance, name)) if distance <= (strange.len() / 3).max(1) => format!("; did you mean `{name}`?"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_scenario_is_valid_and_says_what_it_is_for() {
        for (name, text) in NAMED {
            let s = parse(name, text).unwrap_or_else(|e| panic!("{e}"));
            assert!(s.about.ends_with('.'), "{name}: a sentence");
        }
        assert_eq!(named().len(), NAMED.len());
    }

    #[test]
    fn an_unknown_name_is_told_with_line_and_the_one_that_was_meant() {
        let text = "about = \"x\"\n[[phase]]\nseconds = 1\nrat = 5\n";
        let e = parse("a.toml", text).expect_err("unknown").to_string();
        assert!(e.starts_with("a.toml:4: unknown field `rat`"), "{e}");
        assert!(e.ends_with("did you mean `rate`?"), "{e}");
        let e = load("peek").expect_err("unknown").to_string();
        assert!(e.contains("did you mean `peak`?"), "{e}");
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_name() {
        for (text, says) in [
            ("about = \"x\"\nphase = []", "no [[phase]]"),
            ("about = \"x\"\n[[phase]]\nseconds = 1\nrate = 0.1", "a rate is from 1"),
            ("about = \"x\"\n[[phase]]\nseconds = 0\nrate = 5", "seconds is over 0"),
            ("about = \"x\"\n[[phase]]\nseconds = 1\nrate = 5\n[till]\ncash = 1.5", "till.cash"),
            (
                "about = \"x\"\n[[phase]]\nseconds = 1\nrate = 5\n[[fault]]\nkind = \"kill\"\nat_ms = 2000",
                "after the load",
            ),
            (
                "about = \"x\"\n[[phase]]\nseconds = 9\nrate = 5\n[[fault]]\nkind = \"kill\"\nat_ms = 1\ncount = 0",
                "fault.count is from 1",
            ),
            ("about = \"x\"\n[[phase]]\nseconds = 9\nrate = 5\n[slo]\np99_ms = nan", "slo.p99_ms is from 0"),
            ("about = \"x\"\npeak_step_seconds = -1\n[[phase]]\nseconds = 9\nrate = 5", "peak_step_seconds is from"),
            ("about = \"x\"\n[[phase]]\nseconds = 9\nrate = 5\n[server]\ndisk_mib = 1048577", "server.disk_mib is at"),
            ("about = \"x\"\n[[phase]]\nseconds = 9\nrate = 5\n[server]\ncredits = 0", "server.credits is from 1"),
        ] {
            let e = parse("a.toml", text).expect_err("refused").to_string();
            assert!(e.contains(says), "{e}");
        }
    }
}
