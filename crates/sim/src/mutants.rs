//! Bugs that are planted to see that something finds them: each is a patch in `mutants/`, and never ships.
//!
//! ```text
//! Bug: what is wrong.
//! Killed by: the cheapest killer; the next …
//! (the patch)
//! ```

use std::path::{Path, PathBuf};

/// Something that may find a bug.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Killer {
    /// One test target of a package.
    Test(String, String),
    /// All tests of a package.
    Tests(String),
    /// A binary of this package, and what it is told.
    Run(String, Vec<String>),
}

impl Killer {
    /// From its line in a patch: `test PACKAGE TARGET`, `tests PACKAGE`, or `run BINARY ARGUMENTS`.
    fn parse(line: &str) -> Result<Self, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match &words[..] {
            [kind, package, target] if kind == "test" => Ok(Self::Test(package.clone(), target.clone())),
            [kind, package] if kind == "tests" => Ok(Self::Tests(package.clone())),
            [kind, binary, arguments @ ..] if kind == "run" => Ok(Self::Run(binary.clone(), arguments.to_vec())),
            _ => Err(format!("\"{line}\" is no killer")),
        }
    }

    /// What cargo is told. `build`: only to build it.
    #[must_use]
    pub fn arguments(&self, build: bool) -> Vec<String> {
        let mut all: Vec<&str> = match self {
            Self::Test(package, target) => vec!["test", "-p", package, "--test", target],
            Self::Tests(package) => vec!["test", "-p", package, "--lib", "--tests"],
            Self::Run(binary, _) => vec![if build { "build" } else { "run" }, "-p", "tegata-sim", "--bin", binary],
        };
        all.extend(["--profile", "mutants", "--quiet"]);
        match self {
            Self::Run(_, arguments) if !build => {
                all.push("--");
                all.extend(arguments.iter().map(String::as_str));
            }
            Self::Run(..) => {}
            _ if build => all.push("--no-run"),
            _ => {}
        }
        all.into_iter().map(str::to_owned).collect()
    }
}

impl std::fmt::Display for Killer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Test(package, target) => write!(f, "{package} {target}"),
            Self::Tests(package) => write!(f, "{package}"),
            Self::Run(binary, _) => write!(f, "{binary}"),
        }
    }
}

/// A planted bug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutant {
    /// Its name: the patch's.
    pub name: String,
    /// What is wrong.
    pub bug: String,
    /// What finds it, the cheapest first.
    pub killers: Vec<Killer>,
    /// The patch.
    pub patch: PathBuf,
}

impl Mutant {
    fn read(patch: PathBuf) -> Result<Self, String> {
        let name = patch.file_stem().and_then(|s| s.to_str()).unwrap_or_default().to_owned();
        let text = std::fs::read_to_string(&patch).map_err(|e| format!("{name}: {e}"))?;
        let line = |key: &str| {
            let found = text.lines().find_map(|l| l.strip_prefix(key)).map(|l| l.trim().to_owned());
            found.ok_or(format!("{name}: no line \"{key}\""))
        };
        let killers = line("Killed by:")?.split(';').map(Killer::parse).collect::<Result<_, _>>();
        Ok(Self { bug: line("Bug:")?, killers: killers.map_err(|e| format!("{name}: {e}"))?, name, patch })
    }
}

/// The repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All planted bugs, by name.
pub fn mutants() -> Result<Vec<Mutant>, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("mutants");
    let entries = std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut patches: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    patches.retain(|p| p.extension().is_some_and(|x| x == "patch"));
    patches.sort();
    patches.into_iter().map(Mutant::read).collect()
}
