//! The trail of denials: the file DENIALS in the data folder, a line for each, JSON. Whoever is denied without end cannot
//! fill the disk or the log: so many lines a second, then only their number, and two files of bounded size.

use crate::events::{Line, Trail};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use tegata_access::{Asked, Class, name_of};
use tegata_model::{AccountId, Code, Timestamp};

/// Lines in a second; beyond, only their number is told.
const LINES_MAX: u32 = 50;

/// The codes that deny, in the order of their counters.
pub(crate) const CODES: [Code; 7] = [
    Code::Unauthenticated,
    Code::NamespaceNotAllowed,
    Code::OperationNotPermitted,
    Code::ShopNotPermitted,
    Code::ProgrammeNotPermitted,
    Code::AmountNotPermitted,
    Code::RateExceeded,
];

/// One denial.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Denial {
    pub(crate) at: Timestamp,
    pub(crate) code: Code,
    pub(crate) peer: std::net::SocketAddr,
    /// As whom; before the proof: as whom it says.
    pub(crate) class: Class,
    pub(crate) number: u32,
    pub(crate) asked: Asked,
    pub(crate) namespace: u32,
    pub(crate) account: AccountId,
}

/// How many lines this second had.
#[derive(Debug, Default)]
struct Second {
    at: i64,
    lines: u32,
    left_out: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Denials {
    trail: Trail,
    second: Mutex<Second>,
    counts: [AtomicU64; CODES.len()],
}

impl Denials {
    pub(crate) fn start(dir: &std::path::Path) -> Self {
        Self { trail: Trail::start(dir, "DENIALS"), second: Mutex::default(), counts: Default::default() }
    }

    /// The last lines are written.
    pub(crate) fn stop(&self) {
        self.trail.stop();
    }

    /// Lines that the file lacks, beside those whose number is in it.
    pub(crate) fn lost(&self) -> u64 {
        self.trail.lost()
    }

    /// How many were denied, by code.
    pub(crate) fn counts(&self) -> [u64; CODES.len()] {
        self.counts.each_ref().map(|n| n.load(Ordering::Relaxed))
    }

    #[cold]
    pub(crate) fn tell(&self, d: &Denial) {
        if let Some(count) = CODES.iter().position(|c| *c == d.code).and_then(|i| self.counts.get(i)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let Ok(mut second) = self.second.lock() else { return };
        let now = d.at.micros() / 1_000_000;
        if second.at != now {
            let left_out = std::mem::take(&mut second.left_out);
            if left_out > 0 {
                let json = format!("{{\"at_us\":{},\"left_out\":{left_out}}}\n", d.at.micros());
                self.trail.line(Line { text: None, json });
            }
            *second = Second { at: now, ..Second::default() };
        }
        second.lines += 1;
        if second.lines > LINES_MAX {
            second.left_out += 1;
            return;
        }
        self.trail.line(Line { text: None, json: json(d) });
    }
}

/// Printable ids need no escapes but for two characters.
fn json(d: &Denial) -> String {
    let shop = d.asked.shop.map(|s| s.text().replace('\\', "\\\\").replace('"', "\\\"")).unwrap_or_default();
    let number = |n: Option<u64>| n.map_or_else(|| "null".to_owned(), |n| n.to_string());
    let account = if d.account.is_none() { String::new() } else { d.account.masked().to_string() };
    let account = account.replace('\\', "\\\\").replace('"', "\\\"");
    format!(
        "{{\"at_us\":{},\"code\":\"{}\",\"{}\":{},\"peer\":\"{}\",\"operation\":\"{}\",\"shop\":\"{shop}\",\"amount\":{},\
         \"programme\":{},\"namespace\":{},\"account\":\"{account}\"}}\n",
        d.at.micros(),
        d.code.name(),
        d.class.word(),
        d.number,
        d.peer,
        name_of(d.asked.kind),
        number(d.asked.amount),
        number(d.asked.programme.map(|p| u64::from(p.get()))),
        d.namespace,
    )
}
