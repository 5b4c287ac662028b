//! `tegata rights`, `tegata credential`, `tegata tls`: who may do what, and how callers prove who they are.

use crate::exit::Exit;
use crate::output::{Failure, Report};
use crate::parse;
use serde_json::json;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tegata_access::{Asked, Class, Credentials, OPERATIONS, Rights, Verdict, is_granted_to_all, kinds_of, read_rights};
use tegata_client::{Access, Dial, Role};
use tegata_model::{Amount, Code, CredentialId, GatewayId, NamespaceId, ProgrammeId, ShopId};
use tegata_tls::ClientTls;

/// How the caller proves who it is. Secrets and keys are in files of their own, and never on the command line.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Proof {
    /// A file with the caller's credential, which nobody else can read.
    #[arg(long, env = "TEGATA_CREDENTIAL", value_name = "FILE", help_heading = "Server")]
    credential: Option<PathBuf>,
    /// TLS: the authorities that the server's certificate is from, in PEM.
    #[arg(long, env = "TEGATA_CLIENT_CA", value_name = "FILE", help_heading = "Server")]
    tls_ca: Option<PathBuf>,
    /// TLS: the caller's certificate, in PEM.
    #[arg(long, env = "TEGATA_CLIENT_CERT", value_name = "FILE", requires_all = ["tls_ca", "tls_key"], help_heading = "Server")]
    tls_cert: Option<PathBuf>,
    /// TLS: the certificate's key, in PEM; nobody else can read it.
    #[arg(long, env = "TEGATA_CLIENT_KEY", value_name = "FILE", requires = "tls_cert", help_heading = "Server")]
    tls_key: Option<PathBuf>,
    /// TLS: the server's name in its certificate, when it is not its address.
    #[arg(long, value_name = "NAME", requires = "tls_ca", help_heading = "Server")]
    tls_name: Option<String>,
}

impl Proof {
    /// The number under which the caller proves who it is, and how.
    pub(crate) fn access(&self, role: Role, number: Option<u32>) -> Result<(u32, Access), Failure> {
        let wrong = |e: &dyn std::fmt::Display| Failure::new(Exit::Config, e);
        let class = if role == Role::Operator { Class::Operator } else { Class::Gateway };
        let (mut number_of, mut access) = (number, Access::default());
        if let Some(file) = &self.credential {
            let all = Credentials::load(file).map_err(|e| wrong(&e))?;
            let found = all.first(class, number.map(GatewayId::new)).ok_or_else(|| {
                let number = number.map(|n| format!(" {n}")).unwrap_or_default();
                wrong(&format!("{}: has no credential of {}{number}", file.display(), class.word()))
            })?;
            number_of = Some(found.number.get());
            access.secret = Some((found.id, found.secret.clone()));
        }
        if let Some(ca) = &self.tls_ca {
            let shown = self.tls_cert.as_deref().zip(self.tls_key.as_deref());
            let tls = ClientTls::load(ca, shown, self.tls_name.as_deref()).map_err(|e| wrong(&e))?;
            access.dial = Some(Arc::new(tls) as Arc<dyn Dial>);
        }
        Ok((number_of.unwrap_or(1), access))
    }
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum RightsCommand {
    /// Say whether a request would be permitted, and by which line of the file, or why not.
    Explain(Explain),
    /// Print a file of rights to begin with.
    Template {
        /// Print one JSON value.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    /// The file of rights.
    #[arg(long, env = "TEGATA_RIGHTS", value_name = "FILE")]
    rights: PathBuf,
    /// The gateway's number.
    #[arg(long, value_name = "N", required_unless_present = "operator", conflicts_with = "operator")]
    gateway: Option<u32>,
    /// The operator's number.
    #[arg(long, value_name = "N")]
    operator: Option<u32>,
    /// What is asked, by the name that the file has for it.
    #[arg(long)]
    operation: String,
    /// At which shop.
    #[arg(long, value_parser = parse::shop)]
    shop: Option<ShopId>,
    /// Of which programme.
    #[arg(long, value_name = "N")]
    programme: Option<u32>,
    /// How many yen.
    #[arg(long, value_parser = parse::amount)]
    amount: Option<Amount>,
    /// Under a key of which namespace.
    #[arg(long, value_name = "N")]
    namespace: Option<u32>,
    /// Print one JSON value.
    #[arg(long)]
    json: bool,
}

/// What the file says, or where it is wrong.
fn rights_of(file: &Path) -> Result<Rights, Failure> {
    let wrong = |e: &dyn std::fmt::Display| Failure::new(Exit::Config, format!("{}: {e}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|e| wrong(&e))?;
    read_rights(&text).map_err(|e| wrong(&e))
}

impl Explain {
    fn run(&self) -> Result<Report, Failure> {
        let rights = rights_of(&self.rights)?;
        let always = match self.operation.as_str() {
            "status" => Some(68),
            "fence" => Some(12),
            _ => None,
        };
        let kind = always.or_else(|| kinds_of(&self.operation).and_then(|kinds| kinds.first().copied()));
        let Some(kind) = kind else {
            let names: Vec<&str> = OPERATIONS.iter().map(|(name, _)| *name).collect();
            let said = format!("{}: no such operation; there are {}", self.operation, names.join(", "));
            return Err(Failure::new(Exit::Usage, said));
        };
        let (class, number) = match (self.gateway, self.operator) {
            (Some(n), _) => (Class::Gateway, n),
            (None, n) => (Class::Operator, n.unwrap_or_default()),
        };
        // Looked at as a frame of this kind would be: what is not given could be anything.
        let shape = Asked::of(kind, &[]);
        let shop = shape.shop.map(|_| self.shop.unwrap_or(ShopId::NONE));
        let amount = shape.amount.map(|_| self.amount.map_or(u64::MAX, Amount::get));
        let programme = shape.programme.map(|_| ProgrammeId::new(self.programme.unwrap_or_default()));
        let asked = Asked { shop, amount, programme, ..shape };
        let who = format!("{} {number}", class.word());
        let no = |code: Code, why: String| Ok(report(Some(code), &format!("denied: {why}"), None));
        let Some(caller) = rights.of(class, GatewayId::new(number)) else {
            return no(Code::OperationNotPermitted, format!("{who} is not in the file"));
        };
        if let Some(n) = self.namespace.filter(|n| !caller.may_use(NamespaceId::new(*n))) {
            return no(Code::NamespaceNotAllowed, format!("namespace {n} is not of {who}"));
        }
        let by = caller.covering(&asked).next().map(tegata_access::Grant::line);
        match caller.judge(&asked) {
            Verdict::Denied(code) => no(code, format!("no grant of {who} covers it")),
            Verdict::Within(listed) => match self.programme.map(ProgrammeId::new) {
                Some(programme) if !listed.contains(&programme) => {
                    no(Code::ProgrammeNotPermitted, format!("no grant of {who} covers programme {programme}"))
                }
                Some(_) => Ok(report(None, "permitted", by)),
                None => {
                    let listed: Vec<String> = listed.iter().map(ToString::to_string).collect();
                    let said = format!("permitted, if the value is of programme {}", listed.join(", "));
                    Ok(report(None, &said, by))
                }
            },
            Verdict::Permitted if is_granted_to_all(kind) => Ok(report(None, "permitted to all who are named", None)),
            Verdict::Permitted => Ok(report(None, "permitted", by)),
        }
    }
}

fn report(denied: Option<Code>, said: &str, line: Option<usize>) -> Report {
    let mut text = said.to_owned();
    if let Some(code) = denied {
        let _ = write!(text, "\n  {} {}", code.number(), code.name());
    }
    if let Some(line) = line {
        let _ = write!(text, "\n  by the grant in line {line}");
    }
    let json = json!({
        "permitted": denied.is_none(), "why": said, "line": line,
        "code": denied.map(Code::number), "name": denied.map(Code::name),
    });
    let exit = if denied.is_some() { Exit::Declined } else { Exit::Done };
    Report { exit, text, json }
}

impl RightsCommand {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        match self {
            Self::Explain(e) => e.run(),
            Self::Template { .. } => Ok(Report::done(TEMPLATE.to_owned(), json!({ "template": TEMPLATE }))),
        }
    }

    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Explain(e) => e.json,
            Self::Template { json } => *json,
        }
    }
}

const TEMPLATE: &str = include_str!("rights.toml");

#[derive(Debug, clap::Subcommand)]
pub(crate) enum CredentialCommand {
    /// Make a credential with a random secret and add it to a file that nobody else can read. The caller's file has the
    /// same form; the secret is shown nowhere.
    New(New),
}

#[derive(Debug, clap::Args)]
pub(crate) struct New {
    /// Its name, up to 16 characters.
    #[arg(value_parser = name)]
    id: CredentialId,
    /// Whose it is: the gateway's number.
    #[arg(long, value_name = "N", required_unless_present = "operator", conflicts_with = "operator", value_parser = clap::value_parser!(u32).range(1..))]
    gateway: Option<u32>,
    /// Whose it is: the operator's number.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    operator: Option<u32>,
    /// The files to add it to, the server's and the caller's.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print one JSON value.
    #[arg(long)]
    json: bool,
}

fn name(text: &str) -> Result<CredentialId, String> {
    CredentialId::from_text(text).map_err(|e| e.to_string())
}

impl CredentialCommand {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        let Self::New(new) = self;
        let (class, number) = match (new.gateway, new.operator) {
            (Some(n), _) => (Class::Gateway, n),
            (None, n) => (Class::Operator, n.unwrap_or_default()),
        };
        for file in new.files.iter().filter(|f| f.exists()) {
            let there = Credentials::load(file).map_err(|e| Failure::new(Exit::Config, e))?;
            if there.of(&new.id).is_some() {
                return Err(Failure::new(Exit::Usage, format!("{}: has {} already", file.display(), new.id)));
            }
        }
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|e| Failure::new(Exit::Failed, e))?;
        let mut entry = format!(
            "\n[[credential]]\nid = {:?}\nclass = \"{}\"\nnumber = {number}\nsecret = \"",
            new.id.text(),
            class.word()
        );
        for byte in secret {
            let _ = write!(entry, "{byte:02x}");
        }
        entry += "\"\n";
        for file in &new.files {
            let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(file);
            let written = opened.and_then(|mut f| f.write_all(entry.as_bytes()).and_then(|()| f.sync_all()));
            written.map_err(|e| Failure::new(Exit::Usage, format!("{}: {e}", file.display())))?;
        }
        let files: Vec<String> = new.files.iter().map(|f| f.display().to_string()).collect();
        let text = format!("{} of {} {number} is in {}", new.id, class.word(), files.join(" and "));
        Ok(Report::done(text, json!({ "id": new.id.text(), "class": class.word(), "number": number, "files": files })))
    }

    pub(crate) fn json(&self) -> bool {
        let Self::New(new) = self;
        new.json
    }
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum TlsCommand {
    /// Make certificates for a first try: an authority, a server, a gateway and an operator.
    Init {
        /// The folder; it is made when it is not there, and nothing in it is overwritten.
        dir: PathBuf,
        /// Another name or address of the server; several are given one by one.
        #[arg(long, value_name = "NAME")]
        name: Vec<String>,
        /// The gateway's number.
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        gateway: u32,
        /// The operator's number.
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        operator: u32,
        /// Print one JSON value.
        #[arg(long)]
        json: bool,
    },
}

impl TlsCommand {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        let Self::Init { dir, name, gateway, operator, .. } = self;
        let made = tegata_tls::init(&dir, &name, gateway, operator).map_err(|e| Failure::new(Exit::Usage, e))?;
        let d = dir.display();
        let addr = SocketAddr::from(([127, 0, 0, 1], 7412));
        let text = format!(
            "{}\n\n  tegata rights template > rights.toml\n  tegata serve --tls-cert {d}/server.pem --tls-key {d}/server.key --tls-ca {d}/ca.pem --rights rights.toml\n  \
             tegata server status --operate {addr} --gateway {operator} --tls-ca {d}/ca.pem --tls-cert {d}/operator-{operator}.pem --tls-key {d}/operator-{operator}.key\n\n\
             ca.key signs whoever comes: keep it away from the server.",
            made.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join("\n"),
        );
        let files: Vec<String> = made.iter().map(|f| f.display().to_string()).collect();
        Ok(Report::done(text, json!({ "files": files })))
    }

    pub(crate) fn json(&self) -> bool {
        let Self::Init { json, .. } = self;
        *json
    }
}
