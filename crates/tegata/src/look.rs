//! Looking: balance, history, the server's own state.

use crate::breaker;
use crate::output::{Failure, Report, table};
use crate::parse;
use crate::rules::{life, yen};
use crate::talk::{Reach, expected};
use serde_json::json;
use tegata_client::{Ask, Call, Role};
use tegata_model::{AccountId, Approval, Code, Key, Operation, ShopId, Timestamp, Yen};
use tegata_wire::{
    AnswerBody, DigestBody, FLAG_BESIDE, FLAG_FLAGGED, FLAG_OVER_LEASE, FLAG_REFUSED, FLAG_REPLAYED, HistoryEntry,
    HistoryQuery, KIND_BALANCE, KIND_DIGEST, KIND_SERVER_STATUS, ONLY_ADVICES, ONLY_FOR_OFFICE,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Balance {
    /// The coupon or wallet.
    #[arg(value_parser = parse::account)]
    account: AccountId,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, clap::Args)]
pub(crate) struct History {
    /// Only this coupon or wallet.
    #[arg(long, value_parser = parse::account)]
    account: Option<AccountId>,
    /// Only this shop.
    #[arg(long, value_parser = parse::shop)]
    shop: Option<ShopId>,
    /// Only this key.
    #[arg(long, value_parser = parse::key)]
    key: Option<Key>,
    /// Logged at or after the beginning of this day in Japan, or this instant.
    #[arg(long, value_parser = parse::start)]
    from: Option<Timestamp>,
    /// Logged before the end of this day in Japan, or before this instant.
    #[arg(long, value_parser = parse::end)]
    before: Option<Timestamp>,
    /// Only what a gateway's client approved by itself (stand-in), each once.
    #[arg(long)]
    stand_in: bool,
    /// Only stand-in that the office must look at: over its lease, or under a key that was decided otherwise.
    #[arg(long)]
    for_office: bool,
    /// From this position on.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    position: u64,
    /// Most entries; 0: all.
    #[arg(long, default_value_t = 1_000)]
    limit: u32,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum ServerCommand {
    /// How the server is: positions, tables, connections.
    Status {
        #[command(flatten)]
        reach: Reach,
    },
    /// The digest of all decisions, and each programme's sums.
    Digest {
        #[command(flatten)]
        reach: Reach,
    },
}

impl Balance {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        let mut found = None;
        self.reach.ask(Role::Gateway, Call::question(KIND_BALANCE, self.account), &mut |body| {
            if let AnswerBody::Balance(b) = body {
                found = Some(b);
            }
            Ok(())
        })?;
        let b = expected(found)?;
        if b.code != 0 {
            let code = Code::AccountUnknown;
            return Err(Failure::refused(code, format!("{}: {}", code.name(), code.english())));
        }
        let kind = if b.wallet == 1 { "wallet" } else { "coupon" };
        let mut text = format!(
            "{} {}  {}  held {}  {}  as of position {}\n",
            kind,
            self.account,
            yen(b.balance),
            yen(b.held),
            life(b.life),
            b.position
        );
        let rows = b.lots.iter().map(|l| {
            let kind = if l.paid == 1 { "paid" } else { "promo" };
            vec![
                l.id.to_string(),
                Yen::new(l.remaining).to_string(),
                l.programme.to_string(),
                kind.to_owned(),
                parse::japan(l.expires_at),
            ]
        });
        text += &table(&["lot", "yen", "programme", "kind", "until (Japan)"], &rows.collect::<Vec<_>>());
        let lots = b.lots.iter().map(|l| {
            json!({
                "id": l.id, "remaining": l.remaining, "programme": l.programme, "paid": l.paid == 1,
                "expires_at": parse::utc(l.expires_at), "valid_from": parse::utc(l.valid_from),
            })
        });
        let json = json!({
            "account": self.account.text(), "kind": kind, "life": life(b.life), "balance": b.balance, "held": b.held,
            "position": b.position, "lot_count": b.lot_count, "lots": lots.collect::<Vec<_>>(),
        });
        Ok(Report::done(text, json))
    }

    pub(crate) fn json(&self) -> bool {
        self.reach.json
    }
}

fn code_name(code: u16) -> &'static str {
    u8::try_from(code).ok().and_then(Code::from_u8).map_or("?", Code::name)
}

/// Who answers for a correction, and why.
fn approval_text(a: &Approval) -> String {
    let (maker, approver, reason) = (parse::text(&a.maker), parse::text(&a.approver), parse::text(&a.reason));
    let incident = if a.incident == 0 { String::new() } else { format!(" incident {}", a.incident) };
    let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    format!("{maker}, {approver}{incident}{reason}")
}

fn approval_json(a: &Approval) -> serde_json::Value {
    json!({
        "maker": parse::text(&a.maker), "approver": parse::text(&a.approver), "reason": parse::text(&a.reason),
        "incident": a.incident, "plan": format!("{:016x}", a.plan),
    })
}

/// Yen of an advice that the account did not cover, or that came back of them.
fn shortfall(e: &HistoryEntry) -> u64 {
    e.lots.iter().filter(|(lot, _)| *lot == u64::MAX).map(|(_, yen)| *yen).sum()
}

/// What the office must know of an advice.
fn stand_in_text(e: &HistoryEntry) -> String {
    let mut notes = Vec::new();
    if e.flags & FLAG_OVER_LEASE != 0 {
        notes.push("over its lease".to_owned());
    }
    if e.flags & FLAG_BESIDE != 0 {
        notes.push(format!("beside {}", e.related));
    }
    match shortfall(e) {
        0 => {}
        yen => notes.push(format!("{} short", Yen::new(yen))),
    }
    notes.join(", ")
}

fn entry_json(e: &HistoryEntry) -> serde_json::Value {
    json!({
        "position": e.position, "kind": Operation::name_of(e.kind), "code": e.code, "name": code_name(e.code),
        "at": parse::utc(e.at), "received_at": parse::utc(e.received_at), "namespace": e.namespace,
        "gateway": e.gateway, "account": parse::text(&e.account), "key": Key::from_bytes(e.key).to_string(),
        "shop": parse::text(&e.shop), "terminal": parse::text(&e.terminal), "asked": e.asked, "amount": e.amount,
        "balance": e.balance, "related": e.related, "replayed": e.flags & FLAG_REPLAYED != 0,
        "flagged": e.flags & FLAG_FLAGGED != 0, "recorded": e.flags & FLAG_REFUSED == 0,
        "lots": e.lots.iter().map(|(lot, yen)| json!({ "id": lot, "yen": yen })).collect::<Vec<_>>(),
        "approval": e.approval.as_ref().map(approval_json),
        "lease": e.lease, "approved_at": if e.approved_at == 0 { None } else { Some(parse::utc(e.approved_at)) },
        "over_lease": e.flags & FLAG_OVER_LEASE != 0, "beside": e.flags & FLAG_BESIDE != 0,
        "shortfall": shortfall(e),
    })
}

impl History {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        let query = HistoryQuery {
            from: self.position,
            limit: self.limit,
            only: match (self.for_office, self.stand_in) {
                (true, _) => ONLY_FOR_OFFICE,
                (false, true) => ONLY_ADVICES,
                (false, false) => 0,
            },
            account: self.account.map_or([0; 16], |a| *a.bytes()),
            shop: self.shop.map_or([0; 16], |s| *s.bytes()),
            from_us: self.from.map_or(0, Timestamp::micros),
            before_us: self.before.map_or(0, Timestamp::micros),
            key: self.key.map_or([0; 16], |k| *k.bytes()),
        };
        let (mut entries, mut up_to) = (Vec::new(), None);
        self.reach.ask(Role::Operator, Call::of(Ask::History(query)), &mut |body| {
            if let AnswerBody::History(h) = body {
                entries.extend(h.entries);
                up_to = Some(h.up_to);
            }
            Ok(())
        })?;
        let up_to = expected(up_to)?;
        let rows = entries.iter().map(|e| {
            vec![
                e.position.to_string(),
                parse::japan(e.at),
                Operation::name_of(e.kind).to_owned(),
                parse::text(&e.account).to_owned(),
                parse::text(&e.shop).to_owned(),
                Yen::new(e.amount).to_string(),
                code_name(e.code).to_owned(),
                Key::from_bytes(e.key).to_string(),
                e.approval.as_ref().map_or_else(|| stand_in_text(e), approval_text),
            ]
        });
        let head = ["position", "time (Japan)", "what", "account", "shop", "yen", "decision", "key", "note"];
        let mut text = table(&head, &rows.collect::<Vec<_>>());
        text += &format!("{} entries, up to position {up_to}", entries.len());
        if self.limit > 0 && entries.len() == self.limit as usize {
            text += &format!("; there may be more: --position {}", up_to + 1);
        }
        let json = json!({ "up_to": up_to, "entries": entries.iter().map(entry_json).collect::<Vec<_>>() });
        Ok(Report::done(text, json))
    }

    pub(crate) fn json(&self) -> bool {
        self.reach.json
    }
}

impl ServerCommand {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        match self {
            Self::Status { reach } => {
                let mut found = None;
                let question = Call::question(KIND_SERVER_STATUS, AccountId::NONE);
                reach.ask(Role::Operator, question, &mut |body| {
                    if let AnswerBody::Server(s) = body {
                        found = Some(s);
                    }
                    Ok(())
                })?;
                let s = expected(found)?;
                let breakers = breaker::ask(&reach)?.breakers;
                let tripped = breaker::not_closed(&breakers).map_or_else(String::new, |b| format!("\nbreakers {b}"));
                let text = format!(
                    "tegata {}  up {} s  connections {}  in flight {}\n\
                     mode {} ({}){tripped}\n\
                     positions  accepted {}  submitted {}  durable {}  applied {}  delivered {}\n\
                     accounts {}  decisions {}  tables {} MiB  flush {} µs",
                    parse::text(&s.version),
                    s.uptime_ms / 1_000,
                    s.connections,
                    s.in_flight,
                    s.mode,
                    breaker::mode_words(s.mode),
                    s.accepted,
                    s.submitted,
                    s.durable,
                    s.applied,
                    s.delivered,
                    s.accounts,
                    s.decisions,
                    s.table_bytes >> 20,
                    s.flush_us
                );
                let json = json!({
                    "version": parse::text(&s.version), "mode": s.mode, "uptime_ms": s.uptime_ms, "connections": s.connections,
                    "in_flight": s.in_flight, "accepted": s.accepted, "submitted": s.submitted, "durable": s.durable,
                    "applied": s.applied, "delivered": s.delivered, "accounts": s.accounts, "decisions": s.decisions,
                    "table_bytes": s.table_bytes, "flush_us": s.flush_us,
                    "breakers": breakers.iter().map(breaker::one).collect::<Vec<_>>(),
                });
                Ok(Report::done(text, json))
            }
            Self::Digest { reach } => {
                let mut found: Option<DigestBody> = None;
                reach.ask(Role::Operator, Call::question(KIND_DIGEST, AccountId::NONE), &mut |body| {
                    match (body, &mut found) {
                        (AnswerBody::Digest(d), Some(all)) => all.programmes.extend(d.programmes),
                        (AnswerBody::Digest(d), None) => found = Some(d),
                        _ => {}
                    }
                    Ok(())
                })?;
                let d = expected(found)?;
                let names = [
                    "issued",
                    "charged",
                    "reinstated",
                    "balances",
                    "spent",
                    "returned",
                    "expired",
                    "paid_out",
                    "shortfall",
                ];
                let mut head = vec!["programme"];
                head.extend(names);
                let rows = d.programmes.iter().map(|p| {
                    let mut row = vec![p.programme.to_string()];
                    row.extend(p.sums.iter().map(u128::to_string));
                    row
                });
                let text = format!("position {}  digest {:032x}\n", d.position, d.digest)
                    + &table(&head, &rows.collect::<Vec<_>>());
                let programmes = d.programmes.iter().map(|p| {
                    let mut sums = json!({ "programme": p.programme });
                    for (name, yen) in names.iter().zip(&p.sums) {
                        // More yen than a JSON number holds exactly are given as text.
                        sums[*name] = u64::try_from(*yen).map_or_else(|_| yen.to_string().into(), Into::into);
                    }
                    sums
                });
                let json = json!({
                    "position": d.position, "digest": format!("{:032x}", d.digest),
                    "programmes": programmes.collect::<Vec<_>>(),
                });
                Ok(Report::done(text, json))
            }
        }
    }

    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Status { reach } | Self::Digest { reach } => reach.json,
        }
    }
}
