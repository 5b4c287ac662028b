//! `tegata serve`. Exit codes: 0 stopped in order, 2 a setting, 10 damaged data, 11 the folder is in use, 12 a newer
//! version wrote it, 20 the journal failed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use tegata_journal::OpenError;
use tegata_server::{Banner, Config, ServeError, start};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The data folder; created when it is not there.
    #[arg(long, env = "TEGATA_DATA")]
    data: Option<PathBuf>,
    /// Where gateways connect.
    #[arg(long, env = "TEGATA_LISTEN")]
    listen: Option<SocketAddr>,
    /// Where operators connect.
    #[arg(long, env = "TEGATA_OPERATE")]
    operate: Option<SocketAddr>,
    /// A TOML file with settings.
    #[arg(long, env = "TEGATA_CONFIG")]
    config: Option<PathBuf>,
    /// Print the banner as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> ExitCode {
    let config = match &args.config {
        Some(file) => Config::from_file(file),
        None => Ok(Config::default()),
    };
    let mut config = match config {
        Ok(config) => config,
        Err(e) => return fail(&ServeError::Config(e)),
    };
    config.data = args.data.unwrap_or(config.data);
    config.listen = args.listen.unwrap_or(config.listen);
    config.operate = args.operate.unwrap_or(config.operate);
    // Warm memory is a help, not a need.
    let _ = tegata_pages::keep_warm(config.warm_bytes);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => return fail(&ServeError::System(e)),
    };
    let inside = runtime.enter();
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return fail(&ServeError::System(std::io::ErrorKind::Other.into()));
    };
    let running = match start(config) {
        Ok(running) => running,
        Err(e) => return fail(&e),
    };
    print(running.banner(), args.json);
    drop(inside);
    runtime.block_on(async {
        let mut look = tokio::time::interval(std::time::Duration::from_millis(50));
        loop {
            tokio::select! {
                _ = term.recv() => return,
                _ = int.recv() => return,
                _ = look.tick() => if running.has_failed() { return },
            }
        }
    });
    match running.stop() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("tegata: {e}");
            ExitCode::from(20)
        }
    }
}

fn fail(e: &ServeError) -> ExitCode {
    eprintln!("tegata: {e}");
    ExitCode::from(match e {
        ServeError::Journal(OpenError::Corrupt { .. }) | ServeError::Replay(_) => 10,
        ServeError::Journal(OpenError::InUse { .. }) => 11,
        ServeError::Journal(OpenError::NewerVersion { .. }) => 12,
        _ => 2,
    })
}

fn print(b: &Banner, json: bool) {
    let r = &b.recovery;
    let state = match (&r.torn, r.created, r.clean_stop) {
        (Some(_), _, _) => "torn tail cut",
        (None, true, _) => "new",
        (None, false, true) => "clean stop",
        (None, false, false) => "crash, nothing torn",
    };
    if json {
        let banner = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"), "addr": b.listen, "operate": b.operate, "data": b.data,
            "position": r.last_position, "replayed": b.replayed, "state": state, "flush": b.flush_method,
            "flush_us": b.flush_us, "ready_ms": b.ready_ms,
        });
        println!("{banner}");
        return;
    }
    println!("tegata {}  data {}  {state}", env!("CARGO_PKG_VERSION"), b.data.display());
    println!("position {}  replayed {}  flush {} {} µs", r.last_position, b.replayed, b.flush_method, b.flush_us);
    println!("ready addr={} operate={} in {} ms", b.listen, b.operate, b.ready_ms);
}
