//! `tegata programme` and `tegata shop`: the rules and where they hold.

use crate::exit::Exit;
use crate::output::{Failure, Report, table};
use crate::parse;
use crate::talk::{Reach, Ticket, expected};
use serde_json::json;
use std::path::PathBuf;
use tegata_client::{Ask, Call, Role};
use tegata_model::{AccountId, Code, Operation, Programme, ProgrammeId, ShopId, Yen};
use tegata_server::config::rules::Rules;
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
                let programme = Rules::parse(&text).map_err(|e| wrong(Exit::Config, e))?;
                reach.decide(Role::Operator, AccountId::NONE, &ticket, Operation::Programme(programme))
            }
            Self::Show { id, reach } => {
                let found = programmes(&reach)?.into_iter().find(|(_, p)| p.id.get() == id);
                let Some((n, p)) = found else {
                    return Err(Failure::refused(Code::ProgrammeUnknown, format!("programme {id} is not known")));
                };
                let file = Rules::of(&p);
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
                    let mut json = json!(Rules::of(p));
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
        assert_eq!(Rules::parse(TEMPLATE), Ok(Programme::with_defaults(ProgrammeId::new(13))));
    }
}
