//! What a command says: text for people, one JSON value with `--json`.

use crate::exit::Exit;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use tegata_model::Code;

/// What a command has to say, and how it ends.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) exit: Exit,
    pub(crate) text: String,
    pub(crate) json: serde_json::Value,
}

impl Report {
    pub(crate) fn done(text: String, json: serde_json::Value) -> Self {
        Self { exit: Exit::Done, text, json }
    }
}

/// Why a command has nothing to say.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    /// What the server answered, if it was that.
    pub(crate) code: Option<Code>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl ToString) -> Self {
        Self { exit, message: message.to_string(), code: None }
    }

    pub(crate) fn refused(code: Code, message: impl ToString) -> Self {
        Self { exit: Exit::Declined, message: message.to_string(), code: Some(code) }
    }

    fn json(&self) -> serde_json::Value {
        let mut json = serde_json::json!({ "error": self.message, "exit": self.exit as u8 });
        if let Some(code) = self.code {
            json["code"] = code.number().into();
            json["name"] = code.name().into();
        }
        json
    }
}

/// Prints a report or a failure, and gives the exit code.
pub(crate) fn print(said: Result<Report, Failure>, json: bool) -> ExitCode {
    match said {
        Ok(report) => {
            let text = if json { report.json.to_string() } else { report.text };
            // A reader that has gone away has read enough.
            let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
            report.exit.into()
        }
        Err(failure) => {
            if json {
                let _ = writeln!(std::io::stdout(), "{}", failure.json());
            }
            tegata_server::say(format_args!("tegata: {}", failure.message));
            failure.exit.into()
        }
    }
}

/// Rows under a heading, in columns.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (cell, width) in cells.zip(&widths) {
            let _ = write!(text, "{cell:width$}  ");
        }
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(&mut head.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
    out
}
