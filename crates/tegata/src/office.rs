//! What the programme's office does: issue, load, suspend, reinstate, extend.

use crate::exit::Exit;
use crate::output::{Failure, Report};
use crate::parse;
use crate::rules::yen;
use crate::talk::{Reach, Ticket, expected};
use serde_json::json;
use tegata_client::{Ask, Call, Role};
use tegata_model::{
    AccountId, Amount, Approval, Extension, Key, Life, LotKind, Operation, Position, ProgrammeId, ShopId, Timestamp,
};
use tegata_wire::AnswerBody;

#[derive(Debug, clap::Args)]
pub(crate) struct Issue {
    /// The new coupon's inquiry number, up to 16 printable characters.
    #[arg(value_parser = parse::account)]
    coupon: AccountId,
    #[command(flatten)]
    value: Value,
    /// Not before this day in Japan, or this instant.
    #[arg(long, value_parser = parse::start)]
    valid_from: Option<Timestamp>,
    /// Last day of the stay.
    #[arg(long, value_parser = parse::day, default_value = "1970-01-01", hide_default_value = true)]
    stay_end: u16,
    /// Paid by the holder; promotional otherwise.
    #[arg(long)]
    paid: bool,
    #[command(flatten)]
    ticket: Ticket,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Load {
    /// The wallet; opened on first use.
    #[arg(value_parser = parse::account)]
    wallet: AccountId,
    #[command(flatten)]
    value: Value,
    /// Promotional; paid by the holder otherwise.
    #[arg(long)]
    promo: bool,
    #[command(flatten)]
    ticket: Ticket,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, clap::Args)]
struct Value {
    /// Whole yen.
    #[arg(value_parser = parse::amount)]
    amount: Amount,
    /// Of which programme.
    #[arg(long)]
    programme: u32,
    /// Until the end of this day in Japan, or this instant; the programme's validity when it is not given.
    #[arg(long, value_parser = parse::end)]
    expires: Option<Timestamp>,
}

/// Whose life changes.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum LifeOf {
    /// A coupon or wallet.
    Account {
        #[arg(value_parser = parse::account)]
        account: AccountId,
        #[command(flatten)]
        ticket: Ticket,
        #[command(flatten)]
        reach: Reach,
    },
    /// A shop.
    Shop {
        #[arg(value_parser = parse::shop)]
        shop: ShopId,
        #[command(flatten)]
        ticket: Ticket,
        #[command(flatten)]
        reach: Reach,
    },
    /// A programme, with everything in it.
    Programme {
        id: u32,
        #[command(flatten)]
        ticket: Ticket,
        #[command(flatten)]
        reach: Reach,
    },
}

/// Two people answer for a correction.
#[derive(Debug, clap::Args)]
pub(crate) struct Signed {
    /// The digest that `plan` printed.
    #[arg(long, value_parser = parse::digest)]
    digest: u64,
    /// Who asks for it; claimed, not proven, until there are credentials.
    #[arg(long, value_parser = parse::person)]
    maker: [u8; 16],
    /// Who agrees to it: somebody else.
    #[arg(long, value_parser = parse::person)]
    approver: [u8; 16],
    /// Why, up to 48 bytes.
    #[arg(long, value_parser = parse::words, default_value = "")]
    reason: [u8; 48],
    /// The incident's number.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    incident: u32,
    #[command(flatten)]
    ticket: Ticket,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Cohort {
    /// The rule's number, unique for ever.
    #[arg(long)]
    rule: u32,
    /// Lots of this programme; of all when it is not given.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    programme: u32,
    /// Lots that expire at or after the beginning of this day in Japan, or this instant.
    #[arg(long, value_parser = parse::start)]
    expiring_from: Option<Timestamp>,
    /// Lots that expire by the end of this day in Japan, or before this instant.
    #[arg(long, value_parser = expiring_by)]
    expiring_by: Timestamp,
    /// Until the end of this day in Japan, or this instant.
    #[arg(long, value_parser = parse::end)]
    until: Timestamp,
    /// Also lots that have expired already.
    #[arg(long)]
    include_expired: bool,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum ExtendCommand {
    /// What an extension would cover; prints the count, the sum and the digest that `apply` needs.
    Plan {
        #[command(flatten)]
        cohort: Cohort,
        #[command(flatten)]
        reach: Reach,
    },
    /// Extend a cohort: one command and one record, however many coupons it covers.
    Apply {
        #[command(flatten)]
        cohort: Cohort,
        /// The position that `plan` printed: lots that were made later are not covered.
        #[arg(long)]
        position: u64,
        #[command(flatten)]
        signed: Signed,
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Giving {
    /// To which coupon or wallet.
    #[arg(value_parser = parse::account)]
    account: AccountId,
    /// Whole yen.
    #[arg(value_parser = parse::amount)]
    amount: Amount,
    /// To a lot of this programme.
    #[arg(long)]
    programme: u32,
    /// Until the end of this day in Japan, or this instant.
    #[arg(long, value_parser = parse::end)]
    expires: Timestamp,
    /// The key of the decision that it corrects.
    #[arg(long, value_parser = parse::key)]
    corrects: Option<Key>,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum ReinstateCommand {
    /// What a reinstatement would be; prints the digest that `apply` needs.
    Plan {
        #[command(flatten)]
        giving: Giving,
        #[command(flatten)]
        reach: Reach,
    },
    /// Give value back.
    Apply {
        #[command(flatten)]
        giving: Giving,
        #[command(flatten)]
        signed: Signed,
        #[command(flatten)]
        reach: Reach,
    },
}

/// The end of a day is itself an expiry of that day, and the bound is exclusive.
fn expiring_by(text: &str) -> Result<Timestamp, String> {
    let end = parse::end(text)?;
    let day = !text.contains('T');
    Ok(if day { Timestamp::from_micros(end.micros() + 1) } else { end })
}

impl Issue {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        let operation = Operation::Issue {
            programme: ProgrammeId::new(self.value.programme),
            amount: self.value.amount,
            expires_at: self.value.expires.unwrap_or(Timestamp::ZERO),
            valid_from: self.valid_from.unwrap_or(Timestamp::ZERO),
            stay_end_day: self.stay_end,
            kind: if self.paid { LotKind::Paid } else { LotKind::Promo },
        };
        self.reach.decide(Role::Operator, self.coupon, &self.ticket, operation)
    }

    pub(crate) fn json(&self) -> bool {
        self.reach.json
    }
}

impl Load {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        let operation = Operation::Load {
            programme: ProgrammeId::new(self.value.programme),
            amount: self.value.amount,
            expires_at: self.value.expires.unwrap_or(Timestamp::ZERO),
            kind: if self.promo { LotKind::Promo } else { LotKind::Paid },
        };
        self.reach.decide(Role::Operator, self.wallet, &self.ticket, operation)
    }

    pub(crate) fn json(&self) -> bool {
        self.reach.json
    }
}

impl LifeOf {
    pub(crate) fn set(self, life: Life) -> Result<Report, Failure> {
        match self {
            Self::Account { account, ticket, reach } => {
                reach.decide(Role::Operator, account, &ticket, Operation::AccountLife(life))
            }
            Self::Shop { shop, ticket, reach } => {
                reach.decide(Role::Operator, AccountId::NONE, &ticket, Operation::ShopLife { shop, life })
            }
            Self::Programme { id, ticket, reach } => {
                let operation = Operation::ProgrammeLife { programme: ProgrammeId::new(id), life };
                reach.decide(Role::Operator, AccountId::NONE, &ticket, operation)
            }
        }
    }

    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Account { reach, .. } | Self::Shop { reach, .. } | Self::Programme { reach, .. } => reach.json,
        }
    }
}

impl Signed {
    fn approval(&self) -> Approval {
        Approval {
            maker: self.maker,
            approver: self.approver,
            reason: self.reason,
            incident: self.incident,
            plan: self.digest,
        }
    }

    /// The names stand in the log as they were given.
    fn note(&self, mut report: Report) -> Report {
        let (maker, approver) = (parse::text(&self.maker), parse::text(&self.approver));
        report.text += &format!("\n  maker {maker}, approver {approver}: claimed, not proven");
        report.json["maker"] = maker.into();
        report.json["approver"] = approver.into();
        report.json["names_proven"] = false.into();
        report
    }
}

/// A plan that says nothing yet about who answers for it.
const OPEN: Approval = Approval { maker: [0; 16], approver: [0; 16], reason: [0; 48], incident: 0, plan: 0 };

fn plan(reach: &Reach, account: AccountId, operation: Operation) -> Result<Report, Failure> {
    let mut found = None;
    reach.ask(Role::Operator, Call { account, ..Call::of(Ask::Plan(operation)) }, &mut |body| {
        if let AnswerBody::Plan(p) = body {
            found = Some(p);
        }
        Ok(())
    })?;
    let p = expected(found)?;
    if p.digest == 0 {
        return Err(Failure::new(Exit::Declined, "the server made no plan of it"));
    }
    let text = format!("{} lots  {}  as of position {}\n  digest {:016x}", p.count, yen(p.sum), p.position, p.digest);
    let json =
        json!({ "count": p.count, "sum": p.sum, "position": p.position, "digest": format!("{:016x}", p.digest) });
    Ok(Report::done(text, json))
}

impl Cohort {
    fn extension(&self, as_of: u64) -> Extension {
        Extension {
            rule: self.rule,
            programme: ProgrammeId::new(self.programme),
            expiry_from: self.expiring_from.unwrap_or(Timestamp::ZERO),
            expiry_before: self.expiring_by,
            expires_at: self.until,
            as_of: Position::new(as_of),
            include_expired: self.include_expired,
        }
    }
}

impl ExtendCommand {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        match self {
            Self::Plan { cohort, reach } => {
                plan(&reach, AccountId::NONE, Operation::Extend { extension: cohort.extension(0), approval: OPEN })
            }
            Self::Apply { cohort, position, signed, reach } => {
                let operation =
                    Operation::Extend { extension: cohort.extension(position), approval: signed.approval() };
                let report = reach.decide(Role::Operator, AccountId::NONE, &signed.ticket, operation)?;
                Ok(signed.note(report))
            }
        }
    }

    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Plan { reach, .. } | Self::Apply { reach, .. } => reach.json,
        }
    }
}

impl Giving {
    fn operation(&self, approval: Approval) -> Operation {
        Operation::Reinstate {
            programme: ProgrammeId::new(self.programme),
            amount: self.amount,
            expires_at: self.expires,
            corrects: self.corrects.unwrap_or(Key::NONE),
            approval,
        }
    }
}

impl ReinstateCommand {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        match self {
            Self::Plan { giving, reach } => plan(&reach, giving.account, giving.operation(OPEN)),
            Self::Apply { giving, signed, reach } => {
                let operation = giving.operation(signed.approval());
                let report = reach.decide(Role::Operator, giving.account, &signed.ticket, operation)?;
                Ok(signed.note(report))
            }
        }
    }

    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Plan { reach, .. } | Self::Apply { reach, .. } => reach.json,
        }
    }
}
