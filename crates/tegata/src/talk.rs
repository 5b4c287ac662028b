//! Talking to a server: one question or one decision, and what it came to in words.

use crate::access::Proof;
use crate::exit::Exit;
use crate::output::{Failure, Report};
use crate::parse;
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;
use tegata_client::{
    Answer, Ask, Attempt, Call, Client, Credential, Decided, OpenError, Options, Outcome, Role, new_key,
};
use tegata_model::{AccountId, Class, Code, Key, NamespaceId, Operation, Retry, State};
use tegata_wire::AnswerBody;

/// Where the server is, and how to say what it answers.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Reach {
    /// Where gateways connect.
    #[arg(long, env = "TEGATA_ADDR", default_value = "127.0.0.1:7411", value_name = "ADDR", help_heading = "Server")]
    pub(crate) addr: SocketAddr,
    /// Where operators connect.
    #[arg(
        long,
        env = "TEGATA_OPERATE",
        default_value = "127.0.0.1:7412",
        value_name = "ADDR",
        help_heading = "Server"
    )]
    pub(crate) operate: SocketAddr,
    /// The number of the gateway or the operator that calls; 1, or that of the credential, when it is not given.
    #[arg(long, env = "TEGATA_GATEWAY", value_name = "N", help_heading = "Server")]
    pub(crate) gateway: Option<u32>,
    #[command(flatten)]
    pub(crate) proof: Proof,
    /// Print one JSON value.
    #[arg(long, help_heading = "Server")]
    pub(crate) json: bool,
}

/// Under which key something is decided.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Ticket {
    /// The idempotency key, a UUIDv7; the same key gets the same answer. A new one is made when it is not given.
    #[arg(long, value_parser = parse::key, help_heading = "Key")]
    pub(crate) key: Option<Key>,
    /// Whose key it is.
    #[arg(long, default_value_t = 1, value_name = "N", help_heading = "Key")]
    pub(crate) namespace: u32,
    /// How long to wait, in ms, at most 30000.
    #[arg(long, default_value_t = 8_000, value_name = "MS", value_parser = clap::value_parser!(u32).range(1..=30_000), help_heading = "Key")]
    pub(crate) deadline_ms: u32,
}

impl Reach {
    fn client(&self, role: Role) -> Result<Client, Failure> {
        let (gateway, access) = self.proof.access(role, self.gateway)?;
        let addr = if role == Role::Operator { self.operate } else { self.addr };
        let credential = Credential { gateway, role, namespaces: Vec::new() };
        Ok(Client::with_access(Options { addrs: vec![addr], credential }, access))
    }

    /// Decides one operation; the report says what came out.
    pub(crate) fn decide(
        &self,
        role: Role,
        account: AccountId,
        ticket: &Ticket,
        operation: Operation,
    ) -> Result<Report, Failure> {
        let (attempt, outcome) = self.outcome(role, account, ticket, operation)?;
        Ok(outcome_report(&attempt, outcome))
    }

    fn outcome(
        &self,
        role: Role,
        account: AccountId,
        ticket: &Ticket,
        operation: Operation,
    ) -> Result<(Attempt, Outcome), Failure> {
        let attempt = Attempt {
            account,
            key: ticket.key.unwrap_or_else(new_key),
            namespace: NamespaceId::new(ticket.namespace),
            operation,
            deadline: Duration::from_millis(u64::from(ticket.deadline_ms)),
        };
        let client = self.client(role)?;
        wait(async {
            // Whether anybody is there is told apart from what is answered.
            client.connection().await.map_err(|e| self.unreachable(role, &e))?;
            let outcome = client.decide(&attempt).await;
            client.close().await;
            Ok((attempt, outcome))
        })
    }

    /// Asks one question on a connection of its own; each answer goes to `each`.
    pub(crate) fn ask(
        &self,
        role: Role,
        call: Call,
        each: &mut dyn FnMut(AnswerBody) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let client = self.client(role)?;
        wait(async {
            let connection = client.connection().await.map_err(|e| self.unreachable(role, &e))?;
            let mut answers = connection.stream(call).await;
            while let Some(answer) = answers.recv().await {
                let answer = answer.map_err(|_| Failure::new(Exit::Unreachable, "the connection ended"))?;
                each(answer_body(answer)?)?;
            }
            client.close().await;
            Ok(())
        })
    }

    fn unreachable(&self, role: Role, e: &OpenError) -> Failure {
        let addr = if role == Role::Operator { self.operate } else { self.addr };
        if let OpenError::Refused { code } = e {
            let code = u8::try_from(*code).ok().and_then(Code::from_u8).unwrap_or(Code::Unknown);
            return Failure::refused(code, format!("{addr}: {e}"));
        }
        Failure::new(Exit::Unreachable, format!("{addr}: {e}; is `tegata serve` running there?"))
    }
}

/// The decision under a key, as `status` tells it.
pub(crate) fn status(reach: &Reach, account: AccountId, namespace: u32, key: Key) -> Result<Report, Failure> {
    let call = Call {
        account,
        key,
        namespace: NamespaceId::new(namespace),
        ..Call::of(Ask::Question(tegata_wire::KIND_STATUS))
    };
    let client = reach.client(Role::Gateway)?;
    wait(async {
        let connection = client.connection().await.map_err(|e| reach.unreachable(Role::Gateway, &e))?;
        let answer = connection.ask(call).await.map_err(|_| Failure::new(Exit::Unreachable, "no answer"))?;
        let decided = Decided::from_answer(&answer).ok_or_else(|| Failure::new(Exit::Unreachable, "no decision"))?;
        drop(connection);
        client.close().await;
        if let Some(code) = refusal(&decided) {
            return Ok(still_unknown(account, key, code));
        }
        Ok(decided_report(key, &decided))
    })
}

/// Why a question about a key, or its fence, was refused: that says nothing about the key.
fn refusal(d: &Decided) -> Option<Code> {
    let code = d.decision.code;
    (matches!(code.class(), Class::NotExecuted | Class::Refused) && code != Code::Fenced).then_some(code)
}

/// Ends a key. It was sent before, so that nothing is known of it while the fence has no decision.
pub(crate) fn fence(reach: &Reach, account: AccountId, namespace: u32, key: Key) -> Result<Report, Failure> {
    let ticket = Ticket { key: Some(key), namespace, deadline_ms: 8_000 };
    let (attempt, outcome) = reach.outcome(Role::Gateway, account, &ticket, Operation::Fence)?;
    Ok(match outcome {
        Outcome::NotExecuted { code, .. } => still_unknown(account, key, code),
        outcome => outcome_report(&attempt, outcome),
    })
}

fn still_unknown(account: AccountId, key: Key, refused: Code) -> Report {
    let unknown = Code::Unknown;
    let text =
        format!("{}  {}\n  key {key} of {account}  refused: {}", unknown.name(), unknown.english(), refused.name());
    let json = json!({
        "class": unknown.class().name(), "code": unknown.number(), "name": unknown.name(), "refused": refused.name(),
        "key": key.to_string(),
    });
    Report { exit: Exit::Unknown, text, json }
}

fn answer_body(answer: Answer) -> Result<AnswerBody, Failure> {
    match answer.body {
        AnswerBody::Decision(d) => {
            let code = u8::try_from(d.code).ok().and_then(Code::from_u8).unwrap_or(Code::Unknown);
            let which = if d.related == 0 { String::new() } else { format!(" ({})", d.related) };
            Err(Failure::refused(code, format!("{}: {}{which}", code.name(), code.english())))
        }
        body => Ok(body),
    }
}

fn wait<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| Failure::new(Exit::Failed, e))?.block_on(work)
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Final => "final",
        State::Open => "open",
        State::Captured => "captured",
        State::Voided => "voided",
        State::Reversed => "reversed",
        State::PartlyReturned => "partly returned",
        State::Fenced => "fenced",
    }
}

fn decided_report(key: Key, d: &Decided) -> Report {
    let (code, decision) = (d.decision.code, &d.decision);
    let exit = match code.class() {
        Class::Approved => Exit::Done,
        Class::Suspected => Exit::Suspected,
        Class::NotExecuted => Exit::NotExecuted,
        Class::Unknown => Exit::Unknown,
        Class::Refused if code == Code::Conflict => Exit::Conflict,
        Class::Declined | Class::Refused => Exit::Declined,
    };
    let mut text = code.name().to_owned();
    if exit == Exit::Done && decision.amount.get() + decision.balance.get() > 0 {
        text += &format!("  {} yen  balance {} yen", decision.amount, decision.balance);
    } else if exit != Exit::Done {
        text += &format!("  {}", code.english());
    }
    if decision.position.get() != 0 {
        text += &format!("\n  position {}  {}", decision.position.get(), parse::japan(decision.at.micros()));
    }
    if d.state != State::Final {
        text += &format!("  {}", state_name(d.state));
    }
    if d.replayed {
        text += "  replayed";
    }
    if d.flagged {
        text += "  flagged: a like payment was made just before";
    }
    if decision.related.get() != 0 {
        text += &format!("  about position {}", decision.related.get());
    }
    text += &format!("\n  key {key}");
    if exit != Exit::Done && code.retry() != Retry::Never {
        text += &format!("  try again: {}", code.retry().words());
    }
    let json = json!({
        "class": code.class().name(), "code": code.number(), "name": code.name(), "amount": decision.amount.get(),
        "balance": decision.balance.get(), "position": decision.position.get(),
        "decided_at": parse::utc(decision.at.micros()), "related": decision.related.get(),
        "state": state_name(d.state), "replayed": d.replayed, "flagged": d.flagged, "key": key.to_string(),
    });
    Report { exit, text, json }
}

fn outcome_report(attempt: &Attempt, outcome: Outcome) -> Report {
    let key = attempt.key;
    match outcome {
        Outcome::Approved(d) | Outcome::Declined(d) => decided_report(key, &d),
        Outcome::Unconfirmed(d) => {
            let mut report = decided_report(key, &d);
            report.text += &format!("\n  held until confirmed, not paid yet: tegata confirm {} {key}", attempt.account);
            report.json["state"] = state_name(State::Open).into();
            report
        }
        Outcome::Conflict(d) => {
            let mut report = decided_report(key, &d);
            report.text += &format!("\n  what is decided: tegata status {} {key}", attempt.account);
            report
        }
        Outcome::SuspectedDuplicate(d) => {
            let mut report = decided_report(key, &d);
            report.text += &format!(
                "\n  the earlier payment is at position {token}; if a second purchase is meant: --key {key} --token {token}",
                token = d.decision.related.get()
            );
            report
        }
        Outcome::NotExecuted { code, retry_after } => {
            let after = retry_after.map(|d| d.as_millis());
            let mut text = format!("{}  {}\n  key {key}", code.name(), code.english());
            if let Some(ms) = after {
                text += &format!("  try again: the same key, after {ms} ms");
            }
            let json = json!({
                "class": code.class().name(), "code": code.number(), "name": code.name(),
                "retry_after_ms": after.map(|n| u64::try_from(n).unwrap_or(u64::MAX)), "key": key.to_string(),
            });
            let refused = code.class() == Class::Refused;
            Report { exit: if refused { Exit::Declined } else { Exit::NotExecuted }, text, json }
        }
        Outcome::Unknown(doubt) => {
            let code = doubt.code;
            let text = format!(
                "{}  {}\n  key {key}  ask: tegata status {account} {key}  or end it: tegata fence {account} {key}",
                code.name(),
                code.english(),
                account = attempt.account,
            );
            let json = json!({
                "class": code.class().name(), "code": code.number(), "name": code.name(), "key": key.to_string(),
            });
            Report { exit: Exit::Unknown, text, json }
        }
    }
}

/// The one thing that a question on a connection is for.
pub(crate) fn expected<T>(got: Option<T>) -> Result<T, Failure> {
    got.ok_or_else(|| Failure::new(Exit::Unreachable, "the server answered with something else"))
}
