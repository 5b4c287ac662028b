//! The page `docs/degrade.md`: what is done while something is wrong, printed from the tables that do it.

use serde_json::json;
use std::fmt::Write as _;
use tegata_node::{BreakerState, Cause, Mode, Rank, transitions};

/// What no breaker decides: the phases of a server's life, tables that payments do not fill, and what the rules say.
const OTHERS: [[&str; 4]; 6] = [
    [
        "the server starts",
        "no connection is accepted before the log is replayed; a breaker that was latched still is, and a clock behind the log is not followed",
        "unknown: the same key again, or a fence",
        "an answer from a state that is not whole",
    ],
    [
        "the server stops (drain)",
        "new commands are refused with 111 `draining`; known keys and questions are answered; what is in flight is answered",
        "a refusal: the same key again, elsewhere or later",
        "a request dropped without an answer",
    ],
    [
        "the disk fails",
        "what is in flight is 140 `unknown`, everything else 115 `halted`; the process ends with code 20",
        "unknown: fence it when the core is back",
        "anything flushed again and believed",
    ],
    [
        "one shard is hot",
        "all shards of a server share one thread: it shows as `queue-delay`, and turns are by gateway",
        "as for `queue-delay`",
        "one gateway's flood waited for by another",
    ],
    [
        "no account, or no lot, is left (`accounts_max`, `lots_max`)",
        "issue, load and charge are refused with 112 `memory-limit`; where the lots' reserve of a sixteenth is used up, refund and reinstatement too; all else goes on",
        "a refusal: nothing was taken",
        "a payment, void or reversal refused for want of a lot: they make none",
    ],
    [
        "a programme, shop or account is suspended",
        "payments are declined with 22, 15 or 17; reversals, voids and refunds go on",
        "a decline: nothing was taken",
        "a reversal refused for a suspension",
    ],
];

/// The settings that say when, and why their defaults are what they are.
const THRESHOLDS: [[&str; 2]; 11] = [
    [
        "journal_slow_ms",
        "a flush takes 0.1 ms on a good disk and some ms on a bad day; a stall is seen within half a second, window included",
    ],
    ["journal_fast_ms", "well above any ordinary flush, well below slow: what lies between changes nothing"],
    [
        "queue_long_ms",
        "in ordinary times nobody waits so long before the core; at ten times the load, the rest of the way still ends within 50 ms",
    ],
    [
        "queue_short_ms",
        "less than half of `queue_long_ms`; for 10 s after the breaker was open, a queue of this length is served as a crowd at once",
    ],
    [
        "queue_window_ms",
        "every ms of it is a queue that must be refused late; a pause of the machine, which looks alike, does not count",
    ],
    [
        "queue_wait_ms",
        "near the limit a moment's crowd is served; where half as much again comes as can be done, who is passed over is told after a sixteenth of it",
    ],
    [
        "memory_free_permille",
        "one in a hundred is free again, so that it does not open and close with every key that is forgotten",
    ],
    ["breaker_window_ms", "of the journal; longer than one late batch or one pause of the machine"],
    [
        "breaker_rest_ms",
        "long enough that a disk in trouble shows it again; stretched by up to a quarter, so that servers do not probe in step",
    ],
    ["breaker_stage_ms", "six of them: after a rest and them all it is closed, 1.1 to 1.3 s after the cause is over"],
    ["breaker_probes", "few enough to lose, then four times as many each stage: 16, 64, 256, 1,024, 4,096, 16,384"],
];

/// Why a setting's default is what it is.
pub(crate) fn why(key: &str) -> Option<&'static str> {
    THRESHOLDS.iter().find(|[k, _]| *k == key).map(|[_, why]| *why)
}

/// The page.
pub(super) fn page() -> String {
    let mut out = String::from(
        "# When something is wrong\n\nThis page is what `tegata explain --degrade` prints; a test holds it against the code.\n\n\
         Each cause has a circuit breaker. Before any refusal the key is looked up: a decided key gets its decision, a key that is\n\
         on its way waits for it, however loaded the server is. Status, an operator's questions about the server and orders to its\n\
         breakers are always answered. A refusal says that nothing was taken: nothing of it reaches the journal, so that a crash\n\
         right after it changes nothing.\n\n\
         Only `clock`, and a breaker that an operator forced, wait for a human: `tegata breaker confirm CAUSE`. The others end by\n\
         themselves. A disk that stalls is seen as `queue-delay` first (110), as `journal-latency` after a third of a second (117).\n\n\
         ## Causes\n\n",
    );
    out += "| cause | measured | refused with | retry after ms | ends | what the till shows | never |\n| --- | --- | --- | --- | --- | --- | --- |\n";
    for cause in Cause::ALL {
        let r = cause.row();
        let refuses = [false, true].map(|entirely| r.refuses(entirely)).iter().any(|ranks| *ranks != 0);
        let code = if refuses {
            format!("{} `{}`", r.code.number(), r.code.name())
        } else {
            "– (nothing is refused)".into()
        };
        let _ = writeln!(
            out,
            "| {} | {} | {code} | {} | {} | {} | {} |",
            r.name, r.measured, r.retry_after_ms, r.ends, r.till, r.never
        );
    }
    out += "\n## What becomes of a request\n\nThe first rows are shed last. A cause that has two columns is as bad as can be in the second.\n\n| request |";
    let columns: Vec<(Cause, bool)> = Cause::ALL.into_iter().flat_map(|c| depths(c).map(move |d| (c, d))).collect();
    for (cause, entirely) in &columns {
        let _ = write!(out, " {}{} |", cause.row().name, if *entirely { ", entirely" } else { "" });
    }
    out += &format!("\n| ---{} |\n", " | ---".repeat(columns.len()));
    for rank in Rank::ALL {
        let _ = write!(out, "| {} |", rank.words());
        for (cause, entirely) in &columns {
            let _ = write!(out, " {} |", cause.row().treatments[usize::from(*entirely)][rank as usize].word());
        }
        out += "\n";
    }
    out += "| *mode* |";
    for (cause, entirely) in &columns {
        let _ = write!(out, " {} |", cause.row().mode(BreakerState::Open, *entirely).name());
    }
    out += "\n\n- *kept*: taken within the bounds of a batch and answered when it is durable; what is not by its deadline is told\n  140 `unknown`, and stays to be decided.\n\
            - *from the reserve*: of what was set aside for it, until that is used up.\n\
            - *limited*: newest first, by turns of the gateways; what waited too long is refused.\n\
            - A lease is granted in mode `normal` only; in any other, one that is not refused is declined with 41 `stand-in-off`.\n\n";
    out += "## Modes\n\nThe mode is the worst of what the open breakers bring; `probing` is that of a breaker that is half-open.\nWhile it is not normal the guard asks longer (decision 0006), and for ten minutes after.\n\n| mode | number | what |\n| --- | --- | --- |\n";
    for mode in Mode::ALL {
        let _ = writeln!(out, "| {} | {} | {} |", mode.name(), mode.number(), mode.words());
    }
    out += "\n## Settings\n\n| setting | default | why |\n| --- | --- | --- |\n";
    let defaults = serde_json::to_value(tegata_server::Config::default()).unwrap_or_default();
    for [key, why] in THRESHOLDS {
        let _ = writeln!(out, "| `{key}` | {} | {why} |", defaults[key]);
    }
    out += "\n## Other causes\n\n| when | what is done | what the till shows | never |\n| --- | --- | --- | --- |\n";
    for row in OTHERS {
        let _ = writeln!(out, "| {} |", row.join(" | "));
    }
    out += "\n## The breaker\n\nWhat is measured opens and closes it. An operator's are `force` (`tegata breaker open`), `drill` (which ends by\nitself, and with the process), `close` and `confirm`; `kept` is what a start finds. Forced, it is latched, also over a\nrestart, until it is confirmed; then it probes and closes by itself, and `close` ends the probing at once. `–`: nothing\nchanges; an operator is refused with 162, but for a `force` of what is latched already, and a `drill` or `force` of what is a\ndrill: the newer counts.\n\n";
    out + &transitions()
}

/// A cause has a second column where it does something else then.
fn depths(cause: Cause) -> impl Iterator<Item = bool> {
    let r = cause.row();
    let differs = r.treatments[0] != r.treatments[1] || r.modes[0] != r.modes[1];
    [false, true].into_iter().filter(move |entirely| differs || !entirely)
}

pub(super) fn json() -> serde_json::Value {
    let cause = |c: Cause| {
        let r = c.row();
        let columns = depths(c).map(|entirely| {
            let words = Rank::ALL.map(|k| (k.words(), r.treatments[usize::from(entirely)][k as usize].word()));
            json!({ "mode": r.mode(BreakerState::Open, entirely).name(), "requests": words.into_iter().collect::<std::collections::BTreeMap<_, _>>() })
        });
        json!({
            "cause": r.name, "measured": r.measured, "code": r.code.number(), "retry_after_ms": r.retry_after_ms,
            "ends": r.ends, "till": r.till, "never": r.never, "open": columns.collect::<Vec<_>>(),
        })
    };
    Cause::ALL.map(cause).to_vec().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_the_docs_is_this_table() {
        let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/degrade.md");
        let written = std::fs::read_to_string(docs).expect("docs/degrade.md is there");
        assert!(written == page(), "docs/degrade.md is not what `tegata explain --degrade` prints");
    }
}
