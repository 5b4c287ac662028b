//! `tegata explain`: a code's meaning, the table of all of them that `docs/codes.md` is, and the page `docs/degrade.md`.

mod degrade;

pub(crate) use degrade::why;

use crate::exit::Exit;
use crate::output::{Failure, Report};
use serde_json::json;
use std::fmt::Write as _;
use tegata_model::Code;

#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    /// A code's number or name; the whole table when it is not given.
    code: Option<String>,
    /// What is done while something is wrong: the page `docs/degrade.md`.
    #[arg(long, conflicts_with = "code")]
    degrade: bool,
    /// Print one JSON value.
    #[arg(long)]
    json: bool,
}

fn one(code: Code) -> serde_json::Value {
    json!({
        "code": code.number(), "name": code.name(), "class": code.class().name(), "iso_8583_39": code.iso(),
        "retry": code.retry().words(), "english": code.english(), "japanese": code.japanese(),
    })
}

impl Explain {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        if self.degrade {
            return Ok(Report::done(degrade::page(), degrade::json()));
        }
        let Some(asked) = &self.code else {
            return Ok(Report::done(page(), Code::ALL.iter().map(|c| one(*c)).collect::<Vec<_>>().into()));
        };
        let found = Code::ALL.iter().find(|c| c.name() == asked || c.number().to_string() == *asked);
        let Some(code) = found else {
            return Err(Failure::new(Exit::Usage, format!("{asked}: no such code; `tegata explain` lists all")));
        };
        let text = format!(
            "{} {}  ({})\n{}\n{}\ntry again: {}  ISO 8583 field 39: {}",
            code.number(),
            code.name(),
            code.class().name(),
            code.english(),
            code.japanese(),
            code.retry().words(),
            code.iso()
        );
        Ok(Report::done(text, one(*code)))
    }

    pub(crate) fn json(&self) -> bool {
        self.json
    }
}

/// The page `docs/codes.md`.
pub(crate) fn page() -> String {
    let mut out = String::from(
        "# Codes\n\nThis page is what `tegata explain` prints; a test holds it against the code. Numbers and names are \
         stable for ever.\n\n## Answers\n\n\
         | code | name | class | ISO 8583 field 39 | try again | English | Japanese |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for c in Code::ALL {
        let _ = writeln!(
            out,
            "| {} | `{}` | {} | {} | {} | {} | {} |",
            c.number(),
            c.name(),
            c.class().name(),
            c.iso(),
            c.retry().words(),
            c.english(),
            c.japanese()
        );
    }
    out += "\n## Exit codes of `tegata`\n\n| code | meaning |\n| --- | --- |\n";
    for (exit, words) in Exit::ALL {
        let _ = writeln!(out, "| {} | {words} |", exit as u8);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_the_docs_is_this_table() {
        let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/codes.md");
        let written = std::fs::read_to_string(docs).expect("docs/codes.md is there");
        assert!(written == page(), "docs/codes.md is not what `tegata explain` prints");
    }

    #[test]
    fn numbers_and_names_are_unique() {
        let numbers: std::collections::BTreeSet<u8> = Code::ALL.iter().map(|c| c.number()).collect();
        let names: std::collections::BTreeSet<&str> = Code::ALL.iter().map(|c| c.name()).collect();
        assert_eq!((numbers.len(), names.len()), (Code::ALL.len(), Code::ALL.len()));
    }
}
