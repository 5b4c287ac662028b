//! The table of models, and how one is run.

mod breaker;
mod doorbell;
#[allow(unsafe_code, reason = "cells whose accesses loom checks")]
mod drain;
mod parking;
mod positions;
#[allow(unsafe_code, reason = "cells whose accesses loom checks")]
mod ring;

use std::collections::BTreeSet;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// What the executions of one model came to; a model that only ever sees one outcome is blind.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<BTreeSet<&'static str>>>);

impl Seen {
    pub(crate) fn note(&self, outcome: &'static str) {
        self.0.lock().expect("nobody panics with it").insert(outcome);
    }
}

struct Model {
    name: &'static str,
    invariant: &'static str,
    bound: &'static str,
    /// Every one of these must have been seen.
    outcomes: &'static [&'static str],
    shipped: fn(&Seen),
    twin_is: &'static str,
    twin: fn(&Seen),
}

const MODELS: &[Model] =
    &[ring::MODEL, doorbell::MODEL, parking::MODEL, positions::MODEL, drain::MODEL, breaker::MODEL];

/// Runs a body over all its interleavings; returns how many there were.
fn explore(body: fn(&Seen), seen: &Seen) -> u64 {
    let count = Arc::new(AtomicU64::new(0));
    let (counted, seen) = (Arc::clone(&count), seen.clone());
    loom::model(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        body(&seen);
    });
    count.load(Ordering::Relaxed)
}

/// The first word of a process that explores a twin, and of one that found it sound.
const TWIN: &str = "--twin";
const SOUND: &str = "no interleaving breaks it";

/// True when loom ends the twin's process. It has one of its own because a deadlock may abort it.
fn catches(model: &Model) -> bool {
    let own = std::env::current_exe().expect("this program has a path");
    let output = Command::new(own).args([TWIN, model.name]).output().expect("this program runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.starts_with(model.name), "the twin of {} did not begin: {said}", model.name);
    !output.status.success() && !said.contains(SOUND)
}

fn explore_twin(name: &str) -> ExitCode {
    println!("{name}");
    let Some(model) = MODELS.iter().find(|m| m.name == name) else { return ExitCode::FAILURE };
    explore(model.twin, &Seen::default());
    println!("{SOUND}");
    ExitCode::SUCCESS
}

pub(crate) fn run() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let first = args.next();
    if first.as_deref() == Some(TWIN) {
        return explore_twin(&args.next().unwrap_or_default());
    }
    let only = first.filter(|a| !a.starts_with('-'));
    let mut sound = true;
    for model in MODELS.iter().filter(|m| only.as_ref().is_none_or(|o| m.name.contains(o.as_str()))) {
        let seen = Seen::default();
        let executions = explore(model.shipped, &seen);
        let seen = seen.0.lock().expect("nobody panics with it");
        let missing: Vec<_> = model.outcomes.iter().filter(|o| !seen.contains(*o)).collect();
        let caught = catches(model);
        let verdict = if caught { "caught" } else { "NOT CAUGHT" };
        println!(
            "{}: {} | bound: {} | {executions} executions | twin ({}): {verdict}",
            model.name, model.invariant, model.bound, model.twin_is
        );
        if !missing.is_empty() {
            println!("  never seen: {missing:?}");
        }
        sound &= caught && missing.is_empty();
    }
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
