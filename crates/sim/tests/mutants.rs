//! Every planted bug can still be planted.

use std::process::Command;
use tegata_sim::mutants::{mutants, root};

#[test]
fn every_patch_applies() {
    let all = mutants().unwrap_or_else(|e| panic!("{e}"));
    assert!(all.len() >= 25, "{} bugs", all.len());
    for mutant in all {
        assert!(!mutant.killers.is_empty() && !mutant.bug.is_empty(), "{} says what it is", mutant.name);
        let apply = Command::new("git").args(["apply", "--check"]).arg(&mutant.patch).current_dir(root()).output();
        let apply = apply.expect("git is there");
        assert!(apply.status.success(), "{}: {}", mutant.name, String::from_utf8_lossy(&apply.stderr));
    }
}
