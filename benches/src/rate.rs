//! How many durable, exactly-once debits a second, against a server that is started for it, and next to a bare frame
//! echo with the same journal writes in the same run.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tegata_load::{CHILD_ECHO, CHILD_SERVE, DataSet, Debits, LinkError, Outcome, Plan, ServerProcess, run, seed};

/// So many coupons, each with enough for every debit of a run, and 500 shops.
pub(crate) fn data_set(coupons: u32) -> DataSet {
    DataSet { coupons, shops: 500, balance: 999_999_999, ..DataSet::default() }
}

/// What to measure.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Connections.
    pub connections: usize,
    /// Requests in flight on each.
    pub depth: usize,
    /// Length of the counted window, in seconds.
    pub seconds: u64,
    /// Length of the warm-up before it, in seconds.
    pub warm_up: u64,
    /// Coupons to seed and to pay with.
    pub coupons: u32,
    /// A running server instead of a new one. The echo is then left out.
    pub server: Option<SocketAddr>,
    /// Where that one is seeded first; nothing: it was by an earlier run.
    pub operate: Option<SocketAddr>,
    /// Partitions of the server's state.
    pub shards: u32,
    /// Threads of the server that serve connections; nothing: what it chooses.
    pub io_threads: Option<usize>,
    /// Memory that the server has ready before the run, as one that has been up for a while has.
    pub warm_bytes: usize,
    /// Where the data folders go; nothing: the folder for temporary files.
    pub dir: Option<PathBuf>,
    /// Whether the echo is measured.
    pub echo: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            connections: 64,
            depth: 16,
            seconds: 5,
            warm_up: 1,
            coupons: 1_000_000,
            server: None,
            operate: None,
            shards: 8,
            io_threads: None,
            warm_bytes: 1_500_000_000,
            dir: None,
            echo: true,
        }
    }
}

/// What was measured.
#[derive(Debug)]
pub struct Rates {
    /// The debits.
    pub debits: Outcome,
    /// The echo.
    pub echo: Option<Outcome>,
    /// Processors that the server used.
    pub server_cpu: f64,
}

impl Shape {
    fn plan(&self, addr: SocketAddr) -> Plan {
        Plan {
            addr,
            connections: self.connections,
            depth: self.depth,
            rate: None,
            warm_up: Duration::from_secs(self.warm_up),
            window: Duration::from_secs(self.seconds),
        }
    }
}

/// Measures the echo, then the debits.
pub fn rates(shape: &Shape) -> Result<Rates, LinkError> {
    let data = data_set(shape.coupons);
    // A running server knows the payments of an earlier run: the same ones again would be suspected.
    let seed_of_run = if shape.server.is_some() { u64::from(std::process::id()) } else { 20_230_224 };
    let mut debits = Debits::new(&data, seed_of_run);
    let dir = match &shape.dir {
        Some(d) => tempfile::tempdir_in(d)?,
        None => tempfile::tempdir()?,
    };
    let mut echo = None;
    if shape.server.is_none() && shape.echo {
        let data = dir.path().join("echo");
        let server = ServerProcess::start(CHILD_ECHO, &data, &[])?;
        echo = Some(run(&shape.plan(server.addr), &mut debits)?);
        server.stop()?;
        std::fs::remove_dir_all(data)?;
    }
    if let Some(addr) = shape.server {
        if let Some(operate) = shape.operate {
            seed(operate, &data, &mut |_, _| {})?;
        }
        return Ok(Rates { debits: run(&shape.plan(addr), &mut debits)?, echo, server_cpu: 0.0 });
    }
    let mut settings = vec![format!("shards={}", shape.shards), format!("warm_bytes={}", shape.warm_bytes)];
    settings.extend(shape.io_threads.map(|n| format!("io_threads={n}")));
    let server = ServerProcess::start(CHILD_SERVE, &dir.path().join("data"), &settings)?;
    seed(server.operate, &data, &mut |_, _| {})?;
    let before = server.cpu_seconds();
    let paid = run(&shape.plan(server.addr), &mut debits)?;
    let server_cpu = match (before, server.cpu_seconds()) {
        (Some(a), Some(b)) => ((b.0 + b.1) - (a.0 + a.1)) / (shape.seconds + shape.warm_up) as f64,
        _ => 0.0,
    };
    server.stop()?;
    Ok(Rates { debits: paid, echo, server_cpu })
}

/// Approved answers a second.
#[must_use]
pub fn per_second(o: &Outcome) -> f64 {
    (o.approved as f64 / o.seconds).round()
}

/// A quantile of the latency, in µs.
#[must_use]
pub fn us(o: &Outcome, quantile: f64) -> f64 {
    o.latency.value_at_quantile(quantile) as f64 / 1_000.0
}
