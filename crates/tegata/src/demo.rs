//! `tegata demo`: a real server in a folder of its own, a payment, kill -9, the same payment again, and the proof.
//! Every command is this very program, run as it is printed.

use crate::exit::Exit;
use crate::output::print;
use serde_json::json;
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
    /// Print the proof alone, as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Ends with one JSON object, or tells everything as it happens.
#[derive(Debug, Clone, Copy)]
struct Teller {
    json: bool,
}

impl Teller {
    fn say(self, line: std::fmt::Arguments<'_>) {
        if !self.json {
            println!("{line}");
        }
    }
}

macro_rules! say {
    ($teller:expr, $($words:tt)*) => { $teller.say(format_args!($($words)*)) };
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let teller = Teller { json: args.json };
    match show(teller, args.keep) {
        Ok(proof) => {
            let holds = proof["holds"] == true;
            if args.json {
                println!("{proof}");
            } else if !holds {
                println!("the proof FAILED");
            }
            if holds { Exit::Done.into() } else { Exit::Failed.into() }
        }
        Err(e) => print(Err(crate::output::Failure::new(Exit::Failed, format!("demo: {e}"))), args.json),
    }
}

/// This very program. Settings that its caller's environment has are for other servers.
fn tegata() -> Result<Command, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"TEGATA_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    Ok(command)
}

/// A server in a process of its own; it ends with this value unless it is kept.
struct Server {
    child: Child,
    addr: SocketAddr,
    operate: SocketAddr,
    kept: bool,
    teller: Teller,
}

impl Server {
    fn start(teller: Teller, data: &Path, addr: SocketAddr, operate: SocketAddr) -> Result<Self, Failure> {
        let mut words = format!("serve --listen {addr} --operate {operate} --http 127.0.0.1:0");
        if tegata_journal::is_volatile(data)? {
            words += " --allow-volatile";
        }
        say!(teller, "$ tegata {words} --data {}", data.display());
        let mut child = tegata()?.args(words.split(' ')).arg("--data").arg(data).stdout(Stdio::piped()).spawn()?;
        let out = child.stdout.take().ok_or("no output")?;
        let mut server = Self { child, addr, operate, kept: false, teller };
        for line in BufReader::new(out).lines() {
            let line = line?;
            say!(teller, "  {line}");
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
        let output = tegata()?
            .args(words.split(' '))
            .env("TEGATA_ADDR", self.addr.to_string())
            .env("TEGATA_OPERATE", self.operate.to_string())
            .output()?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            return Err(format!("`tegata {words}`: {} {why}", output.status).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The same, printed as a user would type it.
    fn say(&self, words: &str) -> Result<String, Failure> {
        say!(self.teller, "$ tegata {words}");
        let answer = self.run(words)?;
        answer.lines().for_each(|line| say!(self.teller, "  {line}"));
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
        say!(self.teller, "$ kill -9 {}", self.child.id());
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

fn show(teller: Teller, keep: bool) -> Result<serde_json::Value, Failure> {
    let folder = tempfile::Builder::new().prefix("tegata-demo-").tempdir()?;
    let data = folder.path().join("data");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::start(teller, &data, any, any)?;
    say!(teller, "$ export TEGATA_ADDR={} TEGATA_OPERATE={}", server.addr, server.operate);
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
    let mut server = Server::start(teller, &data, addr, operate)?;
    say!(teller, "# the till heard nothing and sends the same payment with the same key:");
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
    say!(teller, "# the proof:");
    say!(teller, "balance before {before} yen, after {after} yen; debits in the log: {debits}");
    say!(teller, "the second answer is the first one again: {same}, marked as replayed: {replayed}");
    say!(
        teller,
        "digest of the running server {}, of a replay of its journal {}: {equal}",
        live["digest"],
        replay["digest"]
    );
    let mut proof = json!({
        "before": before, "after": after, "debits": debits, "same_answer": same, "replayed": replayed,
        "same_digest": equal, "durable": !tegata_journal::is_volatile(&data)?,
    });
    let proven = before == after + 500 && debits == 1 && replayed && same && equal;
    if keep && proven {
        server.kept = true;
        let data = folder.keep().join("data");
        say!(teller, "\nThe server runs on, as process {}, in {}. Try:", server.child.id(), data.display());
        say!(teller, "export TEGATA_ADDR={addr} TEGATA_OPERATE={operate} TEGATA_DATA={}", data.display());
        say!(teller, "tegata balance WALLET-TARO\ntegata {pay}\ntegata debit WALLET-TARO 500 --shop SOBA-YA");
        say!(teller, "tegata history\ntegata server status\ntegata journal inspect\nkill {}", server.child.id());
        proof["server"] = json!({ "pid": server.child.id(), "addr": addr, "operate": operate, "data": data });
        proof["holds"] = true.into();
        return Ok(proof);
    }
    // An orderly end: what a service manager would send.
    say!(teller, "$ kill {}", server.child.id());
    let pid = rustix::process::Pid::from_child(&server.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    let mut rest = String::new();
    if let Some(mut out) = server.child.stdout.take() {
        out.read_to_string(&mut rest)?;
    }
    let stopped = server.child.wait()?.success();
    say!(teller, "stopped in order: {stopped}; proof: {}", if proven && stopped { "holds" } else { "does not hold" });
    proof["holds"] = (proven && stopped).into();
    Ok(proof)
}
