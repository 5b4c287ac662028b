//! `tegata serve`.

use crate::exit::Exit;
use crate::journal::exit_of;
use crate::output::{self, Failure};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tegata_journal::{OpenError, ReadError};
use tegata_server::{Banner, Config, ConfigError, ServeError, say, start_with};
use tegata_tls::{ServerTls, TlsError};
use tegata_wire::Tunnels;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Settings that come before the environment, the file and the defaults, in this order.
#[derive(Debug, clap::Args)]
pub(crate) struct Settings {
    /// A TOML file with settings; `tegata config show` prints one with all of them.
    #[arg(long, env = "TEGATA_CONFIG")]
    config: Option<PathBuf>,
    /// The data folder; created when it is not there.
    #[arg(long, env = "TEGATA_DATA")]
    data: Option<PathBuf>,
    /// Where gateways connect.
    #[arg(long, env = "TEGATA_LISTEN", value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Where operators connect.
    #[arg(long, env = "TEGATA_OPERATE", value_name = "ADDR")]
    operate: Option<SocketAddr>,
    /// Where watchers ask for /livez, /readyz and /metrics; "off": nowhere.
    #[arg(long, env = "TEGATA_HTTP", value_name = "ADDR", value_parser = http)]
    http: Option<Http>,
    /// Days that the archive of the log is kept at least; 0: for ever. History begins where it was dropped.
    #[arg(long, env = "TEGATA_ARCHIVE_KEEP_DAYS", value_name = "DAYS")]
    archive_keep_days: Option<u32>,
    /// The file of credentials, by whose secrets callers prove who they are; nobody else can read it.
    #[arg(long, env = "TEGATA_CREDENTIALS", value_name = "FILE")]
    credentials: Option<PathBuf>,
    /// The file of rights: what each caller may do.
    #[arg(long, env = "TEGATA_RIGHTS", value_name = "FILE")]
    rights: Option<PathBuf>,
    /// TLS: the server's certificate, in PEM.
    #[arg(long, env = "TEGATA_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// TLS: the certificate's key, in PEM; nobody else can read it.
    #[arg(long, env = "TEGATA_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// TLS: the authorities by whose certificates callers prove who they are, in PEM.
    #[arg(long, env = "TEGATA_TLS_CA", value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Let callers connect from other machines although nothing is encrypted.
    #[arg(long, env = "TEGATA_INSECURE_PLAIN")]
    insecure_plain: bool,
    /// Accept a data folder that is in memory only: nothing survives the machine.
    #[arg(long, env = "TEGATA_ALLOW_VOLATILE")]
    allow_volatile: bool,
}

/// An address, or nowhere.
#[derive(Debug, Clone, Copy)]
struct Http(Option<SocketAddr>);

fn http(text: &str) -> Result<Http, String> {
    tegata_server::config::parse_http(text).map(Http)
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    settings: Settings,
    /// Print the banner as one JSON object.
    #[arg(long)]
    json: bool,
}

impl Settings {
    /// Where the file sets what is wrong, unless a flag or the environment does.
    fn located(&self, e: ConfigError) -> ConfigError {
        let ConfigError::Range { key, .. } = &e else { return e };
        let given = match *key {
            "listen" => self.listen.is_some(),
            "operate" => self.operate.is_some(),
            "http" => self.http.is_some(),
            "archive_keep_days" => self.archive_keep_days.is_some(),
            "rights" => self.rights.is_some(),
            "tls_key" => self.tls_key.is_some(),
            "tls_ca" => self.tls_ca.is_some(),
            _ => false,
        };
        match &self.config {
            Some(file) if !given => e.found_in(file),
            _ => e,
        }
    }

    /// All settings, each in its range.
    pub(crate) fn config(&self) -> Result<Config, ConfigError> {
        let mut config = match &self.config {
            Some(file) => Config::from_file(file)?,
            None => Config::default(),
        };
        if let Some(data) = &self.data {
            config.data.clone_from(data);
        }
        config.listen = self.listen.unwrap_or(config.listen);
        config.operate = self.operate.unwrap_or(config.operate);
        if let Some(Http(http)) = self.http {
            config.http = http;
        }
        config.archive_keep_days = self.archive_keep_days.unwrap_or(config.archive_keep_days);
        for (given, setting) in [
            (&self.credentials, &mut config.credentials),
            (&self.rights, &mut config.rights),
            (&self.tls_cert, &mut config.tls_cert),
            (&self.tls_key, &mut config.tls_key),
            (&self.tls_ca, &mut config.tls_ca),
        ] {
            if let Some(given) = given {
                setting.clone_from(given);
            }
        }
        config.insecure_plain |= self.insecure_plain;
        config.allow_volatile |= self.allow_volatile;
        config.check().map_err(|e| self.located(e))?;
        Ok(config)
    }
}

pub(crate) fn run(args: Args) -> ExitCode {
    let config = match args.settings.config() {
        Ok(config) => config,
        Err(e) => return fail(&ServeError::Config(e), args.json),
    };
    // Warm memory is a help, not a need.
    let _ = tegata_pages::keep_warm(config.warm_bytes);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return fail(&ServeError::System(e), args.json),
    };
    let inside = runtime.enter();
    let signals = signal(SignalKind::terminate())
        .and_then(|term| Ok((term, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?)));
    let (mut term, mut int, mut hangup) = match signals {
        Ok(signals) => signals,
        Err(e) => return fail(&ServeError::System(e), args.json),
    };
    harden();
    let tunnels = match tunnels(&config) {
        Ok(tunnels) => tunnels,
        Err(e) => return output::print(Err(Failure::new(Exit::Config, e)), args.json),
    };
    let running = match start_with(config, tunnels) {
        Ok(running) => running,
        Err(e) => return fail(&e, args.json),
    };
    for why in &running.banner().skipped {
        say(format_args!("tegata: not used: {why}"));
    }
    // A reader that is gone must not end a server.
    let _ = writeln!(std::io::stdout(), "{}", words(running.banner(), args.json));
    drop(inside);
    runtime.block_on(async {
        let mut look = tokio::time::interval(std::time::Duration::from_millis(50));
        loop {
            tokio::select! {
                () = told(&mut term, &mut int) => return,
                _ = hangup.recv() => match running.reload() {
                    Ok(()) => say("tegata: credentials, rights and certificates were read again"),
                    Err(e) => say(format_args!("tegata: nothing was changed: {e}")),
                },
                _ = look.tick() => if running.has_failed() { return },
            }
        }
    });
    // The first signal drains; a second one stops at once, as a crash would, which loses nothing that was answered.
    std::thread::spawn(move || {
        runtime.block_on(told(&mut term, &mut int));
        std::process::exit(i32::from(Exit::Failed as u8));
    });
    match running.stop() {
        Ok(()) => Exit::Done.into(),
        Err(e) => {
            say(format_args!("tegata: {e}"));
            Exit::DiskFailed.into()
        }
    }
}

/// Nobody gets at secrets and coupons through a core file, or as a debugger of the same user.
fn harden() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let limited = setrlimit(Resource::Core, none);
    if let Err(e) = set_dumpable_behavior(DumpableBehavior::NotDumpable).and(limited) {
        say(format_args!("tegata: a crash may leave a core file: {e}"));
    }
}

/// TLS, where there are certificates.
pub(crate) fn tunnels(config: &Config) -> Result<Option<Arc<dyn Tunnels>>, TlsError> {
    let set = |path: &PathBuf| (!path.as_os_str().is_empty()).then(|| path.clone());
    let (Some(cert), Some(key)) = (set(&config.tls_cert), set(&config.tls_key)) else { return Ok(None) };
    let tls = ServerTls::load(cert, key, set(&config.tls_ca), set(&config.credentials).is_some())?;
    Ok(Some(Arc::new(tls)))
}

async fn told(term: &mut Signal, int: &mut Signal) {
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

fn fail(e: &ServeError, json: bool) -> ExitCode {
    let hint = match e {
        ServeError::Journal(OpenError::Volatile { .. }) => "; to accept that: --allow-volatile",
        _ => "",
    };
    let exit = match e {
        ServeError::Journal(e) => exit_of(e),
        ServeError::Replay(ReadError::Journal(e @ OpenError::NewerVersion { .. })) => exit_of(e),
        ServeError::Replay(_) => Exit::Damaged,
        ServeError::Config(ConfigError::Insecure { .. }) => Exit::Insecure,
        ServeError::Config(_) => Exit::Config,
        ServeError::Listen { .. } | ServeError::System(_) => Exit::Usage,
    };
    output::print(Err(Failure::new(exit, format!("{e}{hint}"))), json)
}

/// What is said when it is ready.
fn words(b: &Banner, json: bool) -> String {
    let r = &b.recovery;
    let state = match (&r.torn, r.created, r.clean_stop) {
        (Some(_), _, _) => "torn tail cut",
        (None, true, _) => "new",
        (None, false, true) => "clean stop",
        (None, false, false) => "crash, nothing torn",
    };
    if json {
        let banner = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"), "addr": b.listen, "operate": b.operate, "http": b.http, "data": b.data,
            "position": r.last_position, "snapshot": b.snapshot, "skipped_snapshots": b.skipped, "replayed": b.replayed, "state": state, "flush": b.flush_method,
            "flush_us": b.flush_us, "durable": !r.volatile, "ready_ms": b.ready_ms,
            "authenticates": b.authenticates, "encrypts": b.encrypts,
        });
        return banner.to_string();
    }
    let mut lines = Vec::new();
    if !b.authenticates {
        lines.push("OPEN: nobody proves who they are; anybody on this machine may do everything".to_owned());
    }
    if b.authenticates && !b.encrypts {
        lines.push("NOT ENCRYPTED: whoever can read the traffic sees it, whoever can change it does".to_owned());
    }
    if r.volatile {
        lines.push(format!("NOT DURABLE: {} is in memory only", b.data.display()));
    }
    lines.push(format!("tegata {}  data {}  {state}", env!("CARGO_PKG_VERSION"), b.data.display()));
    let from = if b.snapshot == 0 { String::new() } else { format!(" behind snapshot {}", b.snapshot) };
    lines.push(format!(
        "position {}  replayed {}{from}  flush {} {} µs",
        r.last_position, b.replayed, b.flush_method, b.flush_us
    ));
    if let Some(torn) = &r.torn {
        lines.push(format!(
            "cut at {} byte {}; a copy is at {}",
            torn.file.display(),
            torn.offset,
            torn.kept_at.display()
        ));
    }
    let http = b.http.map_or_else(|| "off".to_owned(), |addr| addr.to_string());
    lines.push(format!("ready addr={} operate={} http={http} in {} ms", b.listen, b.operate, b.ready_ms));
    lines.join("\n")
}
