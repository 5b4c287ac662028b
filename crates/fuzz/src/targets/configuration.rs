//! Text that people write: the server's settings, a programme's rules, a scenario. What is accepted is shown as it was
//! meant, and what is shown is accepted.

use tegata_load::{fault_timeline, parse_scenario};
use tegata_server::Config;
use tegata_server::config::file;
use tegata_server::config::rules::Rules;

/// Settings of `tegata serve`.
pub(super) fn config(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(config) = file::read(text, &Config::default()) else { return };
    let _ = config.check();
    let shown = toml::to_string(&config).expect("settings can be shown");
    let again: Config = file::read(&shown, &Config::default()).expect("what is shown is accepted");
    assert_eq!(again, config, "and means the same");
}

/// Rules of `tegata programme create`.
pub(super) fn programme(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(programme) = Rules::parse(text) else { return };
    let shown = toml::to_string(&Rules::of(&programme)).expect("rules can be shown");
    assert_eq!(Rules::parse(&shown), Ok(programme), "what is shown is accepted, and means the same");
}

/// A scenario of the load harness.
pub(super) fn scenario(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(mut scenario) = parse_scenario("a.toml", text) else { return };
    let shown = toml::to_string(&scenario).expect("a scenario can be shown");
    assert_eq!(parse_scenario("a.toml", &shown).as_ref(), Ok(&scenario), "what is shown is accepted");
    let _ = fault_timeline(&scenario);
    scenario.stretch_to(7.0);
    let _ = fault_timeline(&scenario);
}
