//! `tegata breaker` and `tegata drill`: how the breakers of a running server are, and an operator's hand on them.

use crate::output::{Failure, Report, table};
use crate::parse;
use crate::talk::{Reach, expected};
use serde_json::json;
use tegata_client::{Ask, Call, Role};
use tegata_model::AccountId;
use tegata_node::{BreakerState, Cause, Mode};
use tegata_wire::{AnswerBody, BreakerBody, BreakerOrder, BreakersBody, KIND_BREAKERS};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum BreakerCommand {
    /// All breakers: where they are, since when, and what was measured.
    List {
        #[command(flatten)]
        reach: Reach,
    },
    /// Open a breaker until it is confirmed; `tegata explain --degrade` says what is refused then.
    Open(OfBreaker),
    /// Close a breaker that probes. Any other is refused: probes come first.
    Close(OfBreaker),
    /// Say that what latched a breaker is over: it begins to probe. Of a clock: that the wall clock is right now.
    Confirm(OfBreaker),
}

#[derive(Debug, clap::Args)]
pub(crate) struct OfBreaker {
    /// journal-latency, journal-space, queue-delay, memory, clock, replication.
    #[arg(value_parser = cause)]
    cause: Cause,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Drill {
    /// Which breaker: journal-latency, journal-space, queue-delay, memory, clock, replication.
    #[arg(value_parser = cause)]
    cause: Cause,
    /// How long it stays open; then probes close it.
    #[arg(long, default_value_t = 10, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Payments are refused meanwhile as `tegata explain --degrade` says, and you mean it.
    #[arg(long, required = true)]
    refuse_payments: bool,
    #[command(flatten)]
    reach: Reach,
}

fn cause(text: &str) -> Result<Cause, String> {
    Cause::from_name(text).ok_or_else(|| {
        let names: Vec<&str> = Cause::ALL.iter().map(|c| c.row().name).collect();
        format!("must be one of {}", names.join(", "))
    })
}

/// The mode in words.
pub(crate) fn mode_words(mode: u64) -> String {
    Mode::from_number(mode).map_or_else(|| "not known here".to_owned(), |m| format!("{}: {}", m.name(), m.words()))
}

fn cause_name(n: u8) -> &'static str {
    Cause::from_u8(n).map_or("?", |c| c.row().name)
}

fn state_name(n: u8) -> &'static str {
    BreakerState::from_u8(n).map_or("?", BreakerState::name)
}

/// The breakers that are not closed, in one line; nothing when all are.
pub(crate) fn not_closed(breakers: &[BreakerBody]) -> Option<String> {
    let open = breakers.iter().filter(|b| b.state != BreakerState::Closed as u8);
    let words: Vec<String> = open.map(|b| format!("{} {}", cause_name(b.cause), state_name(b.state))).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// Asks how the breakers are.
pub(crate) fn ask(reach: &Reach) -> Result<BreakersBody, Failure> {
    tell(reach, Call::question(KIND_BREAKERS, AccountId::NONE))
}

fn tell(reach: &Reach, call: Call) -> Result<BreakersBody, Failure> {
    let mut found = None;
    reach.ask(Role::Operator, call, &mut |body| {
        if let AnswerBody::Breakers(b) = body {
            found = Some(b);
        }
        Ok(())
    })?;
    expected(found)
}

fn order(reach: &Reach, cause: Cause, order: u8, ms: u32) -> Result<Report, Failure> {
    let order = BreakerOrder { cause: cause as u8, order, ms };
    tell(reach, Call::of(Ask::Breaker(order))).map(|b| report(&b))
}

/// One breaker as JSON.
pub(crate) fn one(b: &BreakerBody) -> serde_json::Value {
    let [closed, opened, half_opened, latched] = b.entered;
    json!({
        "cause": cause_name(b.cause), "state": state_name(b.state), "since": parse::utc(b.since), "level": b.level,
        "open_at": (b.open_at != 0).then_some(b.open_at), "stage": b.stage,
        "drill_until": (b.drill_until != 0).then(|| parse::utc(b.drill_until)),
        "entered": { "closed": closed, "open": opened, "half_open": half_opened, "latched": latched },
    })
}

fn report(b: &BreakersBody) -> Report {
    let rows = b.breakers.iter().map(|b| {
        vec![
            cause_name(b.cause).to_owned(),
            state_name(b.state).to_owned(),
            parse::japan(b.since),
            b.level.to_string(),
            if b.open_at == 0 { "–".to_owned() } else { b.open_at.to_string() },
            b.entered[BreakerState::Open as usize]
                .saturating_add(b.entered[BreakerState::Latched as usize])
                .to_string(),
            if b.drill_until == 0 { String::new() } else { parse::japan(b.drill_until) },
        ]
    });
    let head = ["breaker", "state", "since (Japan)", "level", "opens at", "opened", "drill until"];
    let text = format!("mode {} ({})\n", b.mode, mode_words(b.mode)) + &table(&head, &rows.collect::<Vec<_>>());
    let json = json!({ "mode": b.mode, "breakers": b.breakers.iter().map(one).collect::<Vec<_>>() });
    Report::done(text, json)
}

impl BreakerCommand {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        match self {
            Self::List { reach } => ask(&reach).map(|b| report(&b)),
            Self::Open(b) => order(&b.reach, b.cause, 1, 0),
            Self::Close(b) => order(&b.reach, b.cause, 2, 0),
            Self::Confirm(b) => order(&b.reach, b.cause, 3, 0),
        }
    }

    pub(crate) fn json(&self) -> bool {
        match self {
            Self::List { reach } => reach.json,
            Self::Open(b) | Self::Close(b) | Self::Confirm(b) => b.reach.json,
        }
    }
}

impl Drill {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        order(&self.reach, self.cause, 4, self.seconds.saturating_mul(1_000))
    }

    pub(crate) fn json(&self) -> bool {
        self.reach.json
    }
}
