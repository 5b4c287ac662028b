//! The run folder: everything that a run leaves, beside the clients' journal.

use crate::error::RunError;
use crate::harness::Run;
use crate::scenario::Scenario;
use crate::{percentiles, report, timeline};
use std::io;
use std::path::Path;

/// The file that says that there was a run.
const SUMMARY: &str = "summary.json";
/// The first file of the clients' journal, which is there before the summary.
const ATTEMPTS: &str = "attempts-00.bin";

/// Makes the folder, and sees that it can be written and holds no other run: before anything else is done.
pub fn prepare(folder: &Path) -> Result<(), RunError> {
    let error = |e: &dyn core::fmt::Display| RunError::Folder(format!("{}: {e}", folder.display()));
    std::fs::create_dir_all(folder).map_err(|e| error(&e))?;
    if [SUMMARY, ATTEMPTS].iter().any(|file| folder.join(file).exists()) {
        return Err(error(&"holds another run: take another --out"));
    }
    let probe = folder.join(".probe");
    std::fs::write(&probe, b"written").and_then(|()| std::fs::remove_file(&probe)).map_err(|e| error(&e))
}

/// Writes the results.
pub fn write(folder: &Path, scenario: &Scenario, run: &Run) -> Result<(), RunError> {
    files(folder, scenario, run).map_err(|e| RunError::Folder(format!("{}: {e}", folder.display())))
}

fn files(folder: &Path, scenario: &Scenario, run: &Run) -> io::Result<()> {
    let (response, service) = (percentiles::write(&run.response), percentiles::write(&run.service));
    let curve = |text: &str| percentiles::read(text).unwrap_or_default();
    let page = report::render(&run.summary, &run.seconds, &curve(&response), &curve(&service));
    let files = [
        (SUMMARY, serde_json::to_string_pretty(&run.summary)?),
        ("environment.json", serde_json::to_string_pretty(&run.summary.environment)?),
        ("scenario.toml", toml::to_string(scenario).map_err(io::Error::other)?),
        ("timeline.csv", timeline::write(&run.seconds)),
        ("response.hdr.txt", response),
        ("service.hdr.txt", service),
        ("findings.txt", run.findings.iter().map(|f| format!("{f}\n")).collect()),
        ("report.html", page),
    ];
    files.iter().try_for_each(|(name, text)| std::fs::write(folder.join(name), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_holds_a_run_or_cannot_be_made_is_refused_before() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("a/b");
        prepare(&folder).expect("it is made");
        prepare(&folder).expect("an empty one will do");
        std::fs::write(folder.join(ATTEMPTS), b"").expect("written");
        let e = prepare(&folder).expect_err("another run");
        assert!(e.to_string().contains("holds another run"), "{e}");
        assert_eq!(e.exit_code(), 6);
        let e = prepare(&folder.join(ATTEMPTS)).expect_err("a file");
        assert_eq!(e.exit_code(), 6);
    }
}
