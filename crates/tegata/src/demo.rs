//! `tegata demo`: a real server in a folder of its own, a payment, kill -9, the same payment again, and the proof.
//! Every command is this very program, run as it is printed.

use crate::exit::Exit;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use tegata_client::new_key;

type Failure = Box<dyn std::error::Error>;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leave the server running, and print commands to try.
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    match show(args.keep) {
        Ok(true) => Exit::Done.into(),
        Ok(false) => {
            println!("the proof FAILED");
            Exit::Failed.into()
        }
        Err(e) => {
            eprintln!("tegata demo: {e}");
            Exit::Failed.into()
        }
    }
}

/// A server in a process of its own; it ends with this value unless it is kept.
struct Server {
    child: Child,
    addr: SocketAddr,
    operate: SocketAddr,
    kept: bool,
}

impl Server {
    fn start(data: &Path, addr: SocketAddr, operate: SocketAddr) -> Result<Self, Failure> {
        println!("$ tegata serve --data {} --listen {addr} --operate {operate}", data.display());
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", "--listen", &addr.to_string(), "--operate", &operate.to_string(), "--data"])
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().ok_or("no output")?;
        let mut server = Self { child, addr, operate, kept: false };
        for line in BufReader::new(out).lines() {
            let line = line?;
            println!("  {line}");
            let field = |name: &str| line.split(' ').find_map(|w| w.strip_prefix(name)?.parse().ok());
            if let (Some(addr), Some(operate)) = (field("addr="), field("operate=")) {
                (server.addr, server.operate) = (addr, operate);
                return Ok(server);
            }
        }
        Err("the server did not become ready".into())
    }

    /// Runs one command against the server. Its answer, or that it failed.
    fn run(&self, words: &str) -> Result<String, Failure> {
        let output = Command::new(std::env::current_exe()?)
            .args(words.split(' '))
            .env("TEGATA_ADDR", self.addr.to_string())
            .env("TEGATA_OPERATE", self.operate.to_string())
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            return Err(format!("`tegata {words}`: {} {why}", output.status).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The same, printed as a user would type it.
    fn say(&self, words: &str) -> Result<String, Failure> {
        println!("$ tegata {words}");
        let answer = self.run(words)?;
        answer.lines().for_each(|line| println!("  {line}"));
        Ok(answer)
    }

    fn read(&self, words: &str) -> Result<serde_json::Value, Failure> {
        Ok(serde_json::from_str(&self.run(&format!("{words} --json"))?)?)
    }

    fn balance(&self, account: &str) -> Result<u64, Failure> {
        let balance = self.read(&format!("balance {account}"))?;
        balance["balance"].as_u64().ok_or_else(|| "a balance is a number".into())
    }

    fn kill(mut self) -> Result<(SocketAddr, SocketAddr), Failure> {
        println!("$ kill -9 {}", self.child.id());
        self.child.kill()?;
        self.child.wait()?;
        Ok((self.addr, self.operate))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.kept {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn show(keep: bool) -> Result<bool, Failure> {
    let folder = tempfile::Builder::new().prefix("tegata-demo-").tempdir()?;
    let data = folder.path().join("data");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::start(&data, any, any)?;
    println!("$ export TEGATA_ADDR={} TEGATA_OPERATE={}", server.addr, server.operate);
    let rules = folder.path().join("programme.toml");
    std::fs::write(&rules, "id = 13\nname = \"Tokyo trips\"\n")?;
    server.say(&format!("programme create {}", rules.display()))?;
    server.say("shop register SOBA-YA --name Soba-ya")?;
    server.say("issue C-1001 2000 --programme 13")?;
    server.say("charge C-1001 WALLET-TARO")?;
    let before = server.balance("WALLET-TARO")?;
    let pay = format!("debit WALLET-TARO 500 --shop SOBA-YA --key {}", new_key());
    let first = server.say(&pay)?;
    let (addr, operate) = server.kill()?;
    let mut server = Server::start(&data, addr, operate)?;
    println!("# the till heard nothing and sends the same payment with the same key:");
    let second = server.say(&pay)?;
    let after = server.balance("WALLET-TARO")?;
    let debits = server.read("history --account WALLET-TARO")?;
    let debits = debits["entries"].as_array().map_or(0, |all| all.iter().filter(|e| e["kind"] == "debit").count());
    let live = server.read("server digest")?;
    let replay = server.run(&format!("journal verify --json --data {}", data.display()))?;
    let replay: serde_json::Value = serde_json::from_str(&replay)?;

    let replayed = second.contains("replayed") && !first.contains("replayed");
    let same = second.replace("  replayed", "") == first;
    let equal = live["digest"] == replay["digest"] && live["position"] == replay["last_position"];
    println!("# the proof:");
    println!("balance before {before} yen, after {after} yen; debits in the log: {debits}");
    println!("the second answer is the first one again: {same}, marked as replayed: {replayed}");
    println!(
        "digest of the running server {}, of a replay of its journal {}: {equal}",
        live["digest"], replay["digest"]
    );
    let proven = before == after + 500 && debits == 1 && replayed && same && equal;
    if keep && proven {
        server.kept = true;
        let data = folder.keep().join("data");
        println!("\nThe server runs on, as process {}, in {}. Try:", server.child.id(), data.display());
        println!("export TEGATA_ADDR={addr} TEGATA_OPERATE={operate} TEGATA_DATA={}", data.display());
        println!("tegata balance WALLET-TARO\ntegata {pay}\ntegata debit WALLET-TARO 500 --shop SOBA-YA");
        println!("tegata history\ntegata server status\ntegata journal inspect\nkill {}", server.child.id());
        return Ok(true);
    }
    // An orderly end: what a service manager would send.
    println!("$ kill {}", server.child.id());
    let pid = rustix::process::Pid::from_child(&server.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    let mut rest = String::new();
    if let Some(mut out) = server.child.stdout.take() {
        out.read_to_string(&mut rest)?;
    }
    let stopped = server.child.wait()?.success();
    println!("stopped in order: {stopped}; proof: {}", if proven && stopped { "holds" } else { "does not hold" });
    Ok(proven && stopped)
}
