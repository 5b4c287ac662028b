//! `tegata demo`: a real server in a folder of its own, a payment, kill -9, the same payment again, and the proof.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};
use tegata_client::{Link, LinkError};
use tegata_engine::Engine;
use tegata_model::{
    AccountId, Amount, Key, LotKind, Operation, Position, Programme, ProgrammeId, Purchase, ShopId, TerminalId,
    Timestamp, mix,
};
use tegata_node::Replay;
use tegata_wire::{
    Answer, AnswerBody, DecisionBody, FLAG_REPLAYED, KIND_BALANCE, KIND_DIGEST, RequestHeader, encode_operation,
    encode_request,
};

type Failure = Box<dyn std::error::Error>;

pub(crate) fn run() -> ExitCode {
    match show() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            println!("the proof FAILED");
            ExitCode::FAILURE
        }
        Err(e) => {
            eprintln!("tegata demo: {e}");
            ExitCode::FAILURE
        }
    }
}

/// A server in a process of its own; it ends with this value.
struct Server {
    child: Child,
    addr: SocketAddr,
    operate: SocketAddr,
}

impl Server {
    fn start(data: &Path) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", "--listen", "127.0.0.1:0", "--operate", "127.0.0.1:0", "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().ok_or("no output")?;
        for line in BufReader::new(out).lines() {
            let line = line?;
            println!("    {line}");
            let field = |name: &str| line.split(' ').find_map(|w| w.strip_prefix(name)?.parse().ok());
            if let (Some(addr), Some(operate)) = (field("addr="), field("operate=")) {
                return Ok(Self { child, addr, operate });
            }
        }
        Err("the server did not become ready".into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

fn key(n: u64) -> Key {
    let at = now();
    let low = mix(at.micros() as u64, u64::from(std::process::id()));
    Key::new(at, u128::from(low) << 64 | u128::from(mix(n, low)))
}

fn ask(link: &mut Link, account: AccountId, key: Key, operation: &Operation) -> Result<Answer, LinkError> {
    let mut out = Vec::new();
    let header =
        RequestHeader { account: *account.bytes(), key: *key.bytes(), namespace: 1, ..RequestHeader::default() };
    encode_operation(&header, operation, &mut out);
    link.send(&out)?;
    link.receive()
}

fn question(link: &mut Link, kind: u8, account: AccountId) -> Result<AnswerBody, LinkError> {
    let mut out = Vec::new();
    encode_request(&RequestHeader { kind, account: *account.bytes(), ..RequestHeader::default() }, &mut out);
    link.send(&out)?;
    Ok(link.receive()?.body)
}

fn decided(answer: &Answer) -> Result<DecisionBody, Failure> {
    match &answer.body {
        AnswerBody::Decision(d) if d.code == 0 => Ok(*d),
        other => Err(format!("not approved: {other:?}").into()),
    }
}

fn balance(link: &mut Link, account: AccountId) -> Result<u64, Failure> {
    match question(link, KIND_BALANCE, account)? {
        AnswerBody::Balance(b) => Ok(b.balance),
        other => Err(format!("not a balance: {other:?}").into()),
    }
}

fn show() -> Result<bool, Failure> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    println!("$ tegata serve");
    let server = Server::start(&data)?;
    let mut operator = Link::open(server.operate, true)?;
    let (coupon, wallet) = (AccountId::from_text("COUPON-0001")?, AccountId::from_text("WALLET-TARO")?);
    let (shop, programme) = (ShopId::from_text("SOBA-YA")?, ProgrammeId::new(13));
    let amount = |yen| Amount::new(yen).ok_or("an amount in range");
    decided(&ask(&mut operator, AccountId::NONE, key(1), &Operation::Programme(Programme::with_defaults(programme)))?)?;
    let register = Operation::Shop { shop, programme: ProgrammeId::NONE, name: [0; 48] };
    decided(&ask(&mut operator, AccountId::NONE, key(2), &register)?)?;
    let issue = Operation::Issue {
        programme,
        amount: amount(2_000)?,
        expires_at: Timestamp::ZERO,
        valid_from: Timestamp::ZERO,
        stay_end_day: 0,
        kind: LotKind::Promo,
    };
    decided(&ask(&mut operator, coupon, key(3), &issue)?)?;
    println!("a coupon of 2,000 yen is issued: {coupon}");
    let mut gateway = Link::open(server.addr, false)?;
    let charged = decided(&ask(&mut gateway, coupon, key(4), &Operation::Charge { wallet, amount: 0 })?)?;
    println!("it is charged into a wallet: {} yen to {wallet}", charged.amount);
    let before = balance(&mut gateway, wallet)?;
    let purchase =
        Purchase { shop, terminal: TerminalId::NONE, amount: amount(500)?, token: Position::ZERO, partial: false };
    let (pay, pay_key) = (Operation::Debit(purchase), key(5));
    let first = decided(&ask(&mut gateway, wallet, pay_key, &pay)?)?;
    println!("debit 500 yen at {shop} with key {pay_key}: approved at position {}", first.position);
    println!("$ kill -9 {}", server.child.id());
    drop(server);
    let server = Server::start(&data)?;
    let mut gateway = Link::open(server.addr, false)?;
    let again = ask(&mut gateway, wallet, pay_key, &pay)?;
    let second = decided(&again)?;
    let replayed = again.header.flags & FLAG_REPLAYED != 0;
    println!("the same debit with the same key: approved at position {}, replayed: {replayed}", second.position);
    let after = balance(&mut gateway, wallet)?;
    let mut operator = Link::open(server.operate, true)?;
    let (position, digest) = match question(&mut operator, KIND_DIGEST, AccountId::NONE)? {
        AnswerBody::Digest(d) => (d.position, d.digest),
        other => return Err(format!("not a digest: {other:?}").into()),
    };
    let mut replay = Replay::new(Engine::new(1));
    tegata_journal::read_log(&data, 0, Some(position), &mut |b| {
        replay.batch(b.first_position, b.count, b.at_us, b.margin, b.body, |_, _, _, _| {})
    })?;
    let equal = replay.engine().digest() == digest;
    println!("balance before {before} yen, after {after} yen; one debit of {} yen", before - after);
    println!("second answer replayed: {replayed}, the same bytes: {}", first == second);
    println!("digest of a replay of the journal equal: {equal}");
    Ok(before == after + 500 && replayed && first == second && equal)
}
