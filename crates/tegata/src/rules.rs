//! `tegata programme` and `tegata shop`: the rules and where they hold.

use crate::exit::Exit;
use crate::output::{Failure, Report, table};
use crate::parse;
use crate::talk::{Reach, Ticket, expected};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::PathBuf;
use tegata_client::{Ask, Call, Role};
use tegata_model::{
    AccountId, Allowance, Amount, Code, ExpiredRefund, GuardMode, Operation, Programme, ProgrammeId, ShopId, Yen,
};
use tegata_server::config::file;
use tegata_wire::{AnswerBody, KIND_LIST_PROGRAMMES, ShopBody};

/// The commented file that `programme create` reads.
const TEMPLATE: &str = include_str!("programme.toml");

#[derive(Debug, clap::Subcommand)]
pub(crate) enum ProgrammeCommand {
    /// Create a programme from a TOML file, or give it new rules.
    Create {
        /// The file; `tegata programme template` prints one to start from.
        file: PathBuf,
        #[command(flatten)]
        ticket: Ticket,
        #[command(flatten)]
        reach: Reach,
    },
    /// Show one programme's rules.
    Show {
        /// Its number.
        id: u32,
        #[command(flatten)]
        reach: Reach,
    },
    /// List all programmes.
    List {
        #[command(flatten)]
        reach: Reach,
    },
    /// Print a commented file with every rule and its default.
    Template {
        /// Print it as the field `template` of one JSON object.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum ShopCommand {
    /// Register a shop, or change its name and programme.
    Register {
        /// Its id, up to 15 printable characters.
        #[arg(value_parser = parse::shop)]
        shop: ShopId,
        /// Its name.
        #[arg(long, value_parser = parse::words, default_value = "")]
        name: [u8; 48],
        /// The only programme that it takes; any that allows any shop when it is not given.
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        programme: u32,
        #[command(flatten)]
        ticket: Ticket,
        #[command(flatten)]
        reach: Reach,
    },
    /// List all shops.
    List {
        #[command(flatten)]
        reach: Reach,
    },
}

/// A programme's rules as a file has them. Flat, since serde loses the line of what it flattens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RulesFile {
    id: u32,
    name: String,
    payment_max: u64,
    balance_max: u64,
    any_shop: bool,
    guard_window_s: u32,
    guard_mode: Guard,
    doubt_window_s: u32,
    hold_default_s: u32,
    hold_max_s: u32,
    validity_days: u32,
    zone_minutes: i16,
    expired_refund: Expired,
    refund_days: u32,
    priority: u8,
    stand_in_total_max: u64,
    stand_in_payment_max: u64,
    stand_in_account_max: u64,
    stand_in_shop_max: u64,
    stand_in_lease_s: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Guard {
    Ask,
    Flag,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Expired {
    Reinstate,
    Forfeit,
    PayOut,
}

/// A rule that is out of its range, and what it may be.
#[derive(Debug, PartialEq)]
struct Wrong(&'static str, String);

impl Default for RulesFile {
    /// Without an id, which has no default.
    fn default() -> Self {
        Self { id: 0, ..Self::of(&Programme::with_defaults(ProgrammeId::new(1))) }
    }
}

impl RulesFile {
    fn of(p: &Programme) -> Self {
        let most = if p.stand_in.is_none() { Allowance::with_defaults(0) } else { p.stand_in };
        Self {
            id: p.id.get(),
            name: p.name_text().to_owned(),
            payment_max: p.payment_max,
            balance_max: p.balance_max,
            any_shop: p.any_shop,
            guard_window_s: p.guard_window_s,
            guard_mode: match p.guard_mode {
                GuardMode::Ask => Guard::Ask,
                GuardMode::Flag => Guard::Flag,
            },
            doubt_window_s: p.doubt_window_s,
            hold_default_s: p.hold_default_s,
            hold_max_s: p.hold_max_s,
            validity_days: p.validity_days,
            zone_minutes: p.zone_minutes,
            expired_refund: match p.expired_refund {
                ExpiredRefund::Reinstate => Expired::Reinstate,
                ExpiredRefund::Forfeit => Expired::Forfeit,
                ExpiredRefund::PayOut => Expired::PayOut,
            },
            refund_days: p.refund_days,
            priority: p.priority,
            stand_in_total_max: most.total_max,
            stand_in_payment_max: most.payment_max,
            stand_in_account_max: most.account_max,
            stand_in_shop_max: most.shop_max,
            stand_in_lease_s: most.seconds,
        }
    }

    /// From a file's text; what is wrong is told with its line.
    fn parse(text: &str) -> Result<Programme, String> {
        let rules = file::read(text, &Self::default()).map_err(|e| e.to_string())?;
        rules.programme().map_err(|Wrong(key, allowed)| {
            let line = file::line_of(text, key).map_or_else(String::new, |n| format!("line {n}: "));
            format!("{line}{key}: must be {allowed}")
        })
    }

    fn programme(&self) -> Result<Programme, Wrong> {
        let range = |ok: bool, key, allowed: &str| if ok { Ok(()) } else { Err(Wrong(key, allowed.to_owned())) };
        let r = self;
        range(r.id > 0, "id", "given, 1 or more")?;
        range((1..=604_800).contains(&r.hold_max_s), "hold_max_s", "1 to 604800 s")?;
        range((1..=r.hold_max_s).contains(&r.hold_default_s), "hold_default_s", "1 s to hold_max_s")?;
        range(r.validity_days > 0, "validity_days", "1 or more")?;
        range((-720..=840).contains(&r.zone_minutes), "zone_minutes", "-720 to 840")?;
        let stand_in = Allowance {
            payment_max: r.stand_in_payment_max,
            account_max: r.stand_in_account_max,
            shop_max: r.stand_in_shop_max,
            total_max: r.stand_in_total_max,
            seconds: r.stand_in_lease_s,
        };
        for (key, yen) in [
            ("stand_in_total_max", stand_in.total_max.max(1)),
            ("stand_in_payment_max", stand_in.payment_max),
            ("stand_in_account_max", stand_in.account_max),
            ("stand_in_shop_max", stand_in.shop_max),
        ] {
            range((1..=Amount::MAX).contains(&yen), key, "1 to 999999999999 yen")?;
        }
        range((1..=604_800).contains(&stand_in.seconds), "stand_in_lease_s", "1 to 604800 s")?;
        Ok(Programme {
            id: ProgrammeId::new(self.id),
            name: parse::words(&self.name).map_err(|_| Wrong("name", "at most 48 bytes of UTF-8".to_owned()))?,
            payment_max: r.payment_max,
            balance_max: r.balance_max,
            guard_window_s: r.guard_window_s,
            doubt_window_s: r.doubt_window_s,
            hold_default_s: r.hold_default_s,
            hold_max_s: r.hold_max_s,
            refund_days: r.refund_days,
            validity_days: r.validity_days,
            zone_minutes: r.zone_minutes,
            priority: r.priority,
            expired_refund: match r.expired_refund {
                Expired::Reinstate => ExpiredRefund::Reinstate,
                Expired::Forfeit => ExpiredRefund::Forfeit,
                Expired::PayOut => ExpiredRefund::PayOut,
            },
            guard_mode: match r.guard_mode {
                Guard::Ask => GuardMode::Ask,
                Guard::Flag => GuardMode::Flag,
            },
            any_shop: r.any_shop,
            stand_in: if r.stand_in_total_max == 0 { Allowance::NONE } else { stand_in },
        })
    }
}

pub(crate) fn life(n: u8) -> &'static str {
    match n {
        0 => "active",
        1 => "suspended",
        _ => "closed",
    }
}

fn programmes(reach: &Reach) -> Result<Vec<(u8, Programme)>, Failure> {
    let mut list: Option<Vec<_>> = None;
    reach.ask(Role::Operator, Call::of(Ask::Question(KIND_LIST_PROGRAMMES)), &mut |body| {
        if let AnswerBody::Programmes(p) = body {
            list.get_or_insert_default().extend(p.programmes);
        }
        Ok(())
    })?;
    expected(list)
}

impl ProgrammeCommand {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        match self {
            Self::Create { file, ticket, reach } => {
                let wrong = |exit, e: String| Failure::new(exit, format!("{}: {e}", file.display()));
                let text = std::fs::read_to_string(&file).map_err(|e| wrong(Exit::Usage, e.to_string()))?;
                let programme = RulesFile::parse(&text).map_err(|e| wrong(Exit::Config, e))?;
                reach.decide(Role::Operator, AccountId::NONE, &ticket, Operation::Programme(programme))
            }
            Self::Show { id, reach } => {
                let found = programmes(&reach)?.into_iter().find(|(_, p)| p.id.get() == id);
                let Some((n, p)) = found else {
                    return Err(Failure::refused(Code::ProgrammeUnknown, format!("programme {id} is not known")));
                };
                let file = RulesFile::of(&p);
                let text = toml::to_string(&file).map_err(|e| Failure::new(Exit::Failed, e))?;
                let mut json = json!(file);
                json["life"] = life(n).into();
                Ok(Report::done(format!("# {}\n{text}", life(n)), json))
            }
            Self::List { reach } => {
                let list = programmes(&reach)?;
                let rows = list.iter().map(|(n, p)| {
                    let any = if p.any_shop { "any" } else { "registered" };
                    vec![p.id.to_string(), life(*n).to_owned(), any.to_owned(), p.name_text().to_owned()]
                });
                let text = table(&["programme", "life", "shops", "name"], &rows.collect::<Vec<_>>());
                let all = list.iter().map(|(n, p)| {
                    let mut json = json!(RulesFile::of(p));
                    json["life"] = life(*n).into();
                    json
                });
                Ok(Report::done(text, all.collect::<Vec<_>>().into()))
            }
            Self::Template { .. } => Ok(Report::done(TEMPLATE.to_owned(), json!({ "template": TEMPLATE }))),
        }
    }

    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Create { reach, .. } | Self::Show { reach, .. } | Self::List { reach } => reach.json,
            Self::Template { json } => *json,
        }
    }
}

fn shops(reach: &Reach) -> Result<Vec<ShopBody>, Failure> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let mut next = None;
        reach.ask(Role::Operator, Call::of(Ask::Shops(after)), &mut |body| {
            if let AnswerBody::Shops(page) = body {
                next = Some(page.next);
                all.extend(page.shops);
            }
            Ok(())
        })?;
        match expected(next)? {
            0 => return Ok(all),
            n => after = n,
        }
    }
}

impl ShopCommand {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        match self {
            Self::Register { shop, name, programme, ticket, reach } => {
                let operation = Operation::Shop { shop, programme: ProgrammeId::new(programme), name };
                reach.decide(Role::Operator, AccountId::NONE, &ticket, operation)
            }
            Self::List { reach } => {
                let all = shops(&reach)?;
                let rows = all.iter().map(|s| {
                    let programme = if s.programme == 0 { "any".to_owned() } else { s.programme.to_string() };
                    let name = parse::text(&s.name).to_owned();
                    vec![parse::text(&s.id).to_owned(), programme, life(s.life).to_owned(), name]
                });
                let text = table(&["shop", "programme", "life", "name"], &rows.collect::<Vec<_>>());
                let json = all.iter().map(|s| {
                    json!({ "shop": parse::text(&s.id), "programme": s.programme, "life": life(s.life), "name": parse::text(&s.name) })
                });
                Ok(Report::done(text, json.collect::<Vec<_>>().into()))
            }
        }
    }

    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Register { reach, .. } | Self::List { reach } => reach.json,
        }
    }
}

/// A sum with its unit.
pub(crate) fn yen(n: u64) -> String {
    format!("{} yen", Yen::new(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_says_the_defaults() {
        assert_eq!(RulesFile::parse(TEMPLATE), Ok(Programme::with_defaults(ProgrammeId::new(13))));
    }

    #[test]
    fn stand_in_is_on_with_a_total() {
        let on = RulesFile::parse("id = 1\nstand_in_total_max = 300_000").expect("good rules");
        assert_eq!(on.stand_in, Allowance::with_defaults(300_000));
        assert_eq!(RulesFile::of(&on).programme(), Ok(on), "it is shown as it is set");
        let off = RulesFile::parse("id = 1\nstand_in_payment_max = 500").expect("good rules");
        assert_eq!(off.stand_in, Allowance::NONE);
    }

    #[test]
    fn wrong_rules_are_told_with_their_line() {
        for (wrong, told) in [
            ("id = 1\npayment_maximum = 5", "line 2: payment_maximum is not known; did you mean `payment_max`?"),
            ("name = \"no id\"", "id: must be given"),
            ("name = \"Tokyo\"\nid = 0", "line 2: id: must be"),
            ("id = 1\nguard_mode = \"never\"", "line 2"),
            ("id = 1\n\npriority = \"high\"", "line 3"),
            ("id = 1\nstand_in_payment_max = 0", "line 2: stand_in_payment_max: must be"),
            ("id = 1\nhold_max_s = 9\nhold_default_s = 10", "line 3: hold_default_s: must be"),
        ] {
            let refused = RulesFile::parse(wrong).expect_err(wrong);
            assert!(refused.contains(told), "{wrong}: {refused}");
        }
    }
}
