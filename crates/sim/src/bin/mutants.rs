//! Plants each bug in a copy of the tree and runs what should find it. A line per bug; the last one counts. What no
//! longer applies or builds is an error of its own, and so is a killer that fails without any bug.

#![allow(clippy::disallowed_methods, reason = "it looks at files and clocks, and simulates nothing")]

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tegata_sim::mutants::{Killer, Mutant, mutants, root};

/// A killer that takes so many times as long as without a bug, and some more, hangs: that is found, too.
const SLOWER_MAX: u32 = 8;
const SOME_MORE: Duration = Duration::from_secs(60);
/// Building and running without a bug may take so long.
const AT_FIRST: Duration = Duration::from_secs(1_800);

fn main() -> ExitCode {
    let mut only = BTreeSet::new();
    let (mut list, mut some) = (false, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.next()) {
            ("--list", None) => list = true,
            ("--only", Some(name)) => {
                only.insert(name);
            }
            ("--some", Some(count)) if count.parse::<usize>().is_ok_and(|n| n > 0) => some = count.parse().ok(),
            _ => return fail("usage: mutants [--list] [--only NAME]… [--some COUNT]"),
        }
    }
    let mut all = match mutants() {
        Ok(all) => all,
        Err(e) => return fail(&e),
    };
    if let Some(stranger) = only.iter().find(|name| !all.iter().any(|m| m.name == **name)) {
        return fail(&format!("there is no {stranger}"));
    }
    all.retain(|m| only.is_empty() || only.contains(&m.name));
    if let Some(some) = some {
        all = share(all, some, today());
    }
    if list {
        all.iter().for_each(|m| println!("{}: {}", m.name, m.bug));
        return ExitCode::SUCCESS;
    }
    match run(&all) {
        Ok(killed) => {
            println!("mutants: {killed}/{} killed", all.len());
            if killed == all.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(e) => fail(&e),
    }
}

/// Days since 1970.
fn today() -> usize {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    usize::try_from(since.as_secs() / 86_400).unwrap_or(0)
}

/// So many of them, spread over the list, and on the next day those that follow them.
fn share(all: Vec<Mutant>, some: usize, day: usize) -> Vec<Mutant> {
    let every = all.len().div_ceil(some);
    all.into_iter().skip(day % every.max(1)).step_by(every.max(1)).collect()
}

fn fail(what: &str) -> ExitCode {
    eprintln!("mutants: {what}");
    ExitCode::from(2)
}

fn run(all: &[Mutant]) -> Result<usize, String> {
    let tree = Tree::copy()?;
    let killers: BTreeSet<&Killer> = all.iter().flat_map(|m| &m.killers).collect();
    let mut usual = BTreeMap::new();
    for killer in killers {
        if let Err(text) = tree.cargo(&killer.arguments(true), AT_FIRST)? {
            return Err(format!("without a bug, {killer} is not built:\n{text}"));
        }
        let began = Instant::now();
        if let Err(text) = tree.cargo(&killer.arguments(false), AT_FIRST)? {
            return Err(format!("without a bug, {killer} fails:\n{text}"));
        }
        println!("without a bug: {killer} passes, {:.0} s", began.elapsed().as_secs_f32());
        usual.insert(killer, began.elapsed());
    }
    let mut killed = 0;
    for mutant in all {
        let began = Instant::now();
        let fate = tree.with(mutant, || fate(&tree, mutant, &usual));
        let seconds = began.elapsed().as_secs_f32();
        match fate? {
            Fate::Killed(by) => {
                killed += 1;
                println!("{}: killed by {by}, {seconds:.0} s", mutant.name);
            }
            Fate::Survives => println!("{}: SURVIVES: {}", mutant.name, mutant.bug),
            Fate::Broken(why) => println!("{}: BROKEN: {why}", mutant.name),
        }
    }
    Ok(killed)
}

enum Fate {
    Killed(String),
    Survives,
    /// It is no bug that could be found: the patch is at fault.
    Broken(String),
}

fn fate(tree: &Tree, mutant: &Mutant, usual: &BTreeMap<&Killer, Duration>) -> Result<Fate, String> {
    for killer in &mutant.killers {
        if let Err(text) = tree.cargo(&killer.arguments(true), AT_FIRST)? {
            return Ok(Fate::Broken(format!("{killer} is not built:\n{text}")));
        }
        let limit = usual.get(killer).map_or(AT_FIRST, |t| *t * SLOWER_MAX + SOME_MORE);
        if let Err(text) = tree.cargo(&killer.arguments(false), limit)? {
            return Ok(Fate::Killed(format!("{killer}: {}", evidence(&text))));
        }
    }
    Ok(Fate::Survives)
}

/// Of what a killer said: the test that failed, or the seed or world that broke a promise.
fn evidence(text: &str) -> &str {
    let says = |line: &&str| {
        line.ends_with("FAILED") && line.starts_with("test ")
            || line.starts_with("world \"")
            || line.starts_with("---- ")
            || line.starts_with("FAILED seed ")
            || *line == HANGS
    };
    let line = text.lines().find(says).or(text.lines().find(|l| l.contains("panicked"))).unwrap_or("it failed");
    line.trim_start_matches("---- ").trim_end_matches(" ----").trim_end_matches(" stdout").trim()
}

const HANGS: &str = "it hangs";

/// A copy of the tree, with a build of its own.
struct Tree {
    path: PathBuf,
    build: PathBuf,
}

impl Tree {
    fn copy() -> Result<Self, String> {
        let ours = root().join("target/mutants");
        let tree = Self { path: ours.join("tree"), build: ours.join("build") };
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root())
            .output()
            .map_err(|e| format!("git: {e}"))?;
        for name in String::from_utf8_lossy(&listed.stdout).split('\0').filter(|n| !n.is_empty()) {
            tree.restore(Path::new(name))?;
        }
        Ok(tree)
    }

    /// A file as it is in the repository. One that is the same already is left alone: it need not be built again.
    fn restore(&self, name: &Path) -> Result<(), String> {
        let (from, to) = (root().join(name), self.path.join(name));
        let said = |e: std::io::Error| format!("{}: {e}", name.display());
        let Ok(bytes) = std::fs::read(&from) else { return Ok(()) };
        if std::fs::read(&to).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        to.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(said)?;
        std::fs::write(&to, bytes).map_err(said)
    }

    /// Applies a patch, does something, and takes it out again.
    fn with(&self, mutant: &Mutant, work: impl FnOnce() -> Result<Fate, String>) -> Result<Fate, String> {
        let applied = Command::new("git")
            .arg("apply")
            .arg(&mutant.patch)
            .current_dir(&self.path)
            // The copy is no repository, although it lies in one.
            .env("GIT_CEILING_DIRECTORIES", self.path.parent().unwrap_or(&self.path))
            .output()
            .map_err(|e| format!("git: {e}"))?;
        if !applied.status.success() {
            return Ok(Fate::Broken(format!("does not apply: {}", String::from_utf8_lossy(&applied.stderr))));
        }
        let text = std::fs::read_to_string(&mutant.patch).map_err(|e| format!("{}: {e}", mutant.name))?;
        let changed: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("+++ b/")).collect();
        let same = changed.iter().all(|name| {
            let there = std::fs::read(self.path.join(name)).ok();
            there.is_some() && there == std::fs::read(root().join(name)).ok()
        });
        let fate = if same { Ok(Fate::Broken("it changes nothing".into())) } else { work() };
        for name in changed {
            self.restore(Path::new(name))?;
        }
        fate
    }

    /// Runs cargo there. What it said, when it failed or took longer than `limit`.
    fn cargo(&self, arguments: &[String], limit: Duration) -> Result<Result<(), String>, String> {
        let said = self.build.with_extension("said");
        let out = std::fs::File::create(&said).map_err(|e| format!("{}: {e}", said.display()))?;
        let err = out.try_clone().map_err(|e| e.to_string())?;
        let mut child = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
            .args(arguments)
            .current_dir(&self.path)
            .env("CARGO_TARGET_DIR", &self.build)
            .env_remove("CARGO_MANIFEST_DIR")
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .spawn()
            .map_err(|e| format!("cargo: {e}"))?;
        let began = Instant::now();
        let ended = loop {
            if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
                break Some(status);
            }
            if began.elapsed() > limit {
                break None;
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        if ended.is_none() {
            let group = rustix::process::Pid::from_child(&child);
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            child.wait().map_err(|e| e.to_string())?;
        }
        match ended {
            Some(status) if status.success() => Ok(Ok(())),
            Some(_) => Ok(Err(String::from_utf8_lossy(&std::fs::read(&said).unwrap_or_default()).into_owned())),
            None => Ok(Err(HANGS.to_owned())),
        }
    }
}
