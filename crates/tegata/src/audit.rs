//! `tegata audit`: signed heads of the log's chain of hashes. Whoever keeps them elsewhere finds out that the log was
//! rewritten, also by somebody who computed all of its checksums anew.
//!
//! A head is a line of a text file: `tegata-head 1 STORE POSITION LOGGED-µs CHAIN SIGNATURE`, numbers in decimal, bytes in
//! hex. The signature is Ed25519 over `tegata head 1\0 | [16] store | u64 position | i64 logged µs | [32] chain`.

use crate::exit::Exit;
use crate::journal::{Folder, exit_of};
use crate::output::{Failure, Report};
use crate::parse;
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tegata_journal::{ReadError, dropped_to, read_log, read_store};

const WORD: &str = "tegata-head";
const VERSION: &str = "1";

#[derive(Debug, clap::Subcommand)]
pub(crate) enum AuditCommand {
    /// Make a key that signs heads, and print the public one. Keep it away from the server's machine.
    Key {
        /// The file to make: readable by its owner only.
        file: PathBuf,
        /// Print one JSON value.
        #[arg(long)]
        json: bool,
    },
    /// Sign the head of the log as it is: append the line to a file that whoever runs the server cannot change.
    Head {
        #[command(flatten)]
        folder: Folder,
        /// The key, made by `audit key`.
        #[arg(long)]
        key: PathBuf,
    },
    /// Hold a log against signed heads: one record that was edited, removed or put elsewhere before a head shows.
    Verify {
        #[command(flatten)]
        folder: Folder,
        /// The file of heads.
        #[arg(long)]
        heads: PathBuf,
        /// The public key, as `audit key` printed it.
        #[arg(long)]
        public: String,
    },
}

/// A head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    store: [u8; 16],
    position: u64,
    at_us: i64,
    chain: [u8; 32],
}

impl Head {
    fn signed(&self) -> Vec<u8> {
        let mut out = b"tegata head 1\0".to_vec();
        out.extend_from_slice(&self.store);
        out.extend_from_slice(&self.position.to_le_bytes());
        out.extend_from_slice(&self.at_us.to_le_bytes());
        out.extend_from_slice(&self.chain);
        out
    }

    fn line(&self, signature: &[u8]) -> String {
        let Self { store, position, at_us, chain } = self;
        format!("{WORD} {VERSION} {} {position} {at_us} {} {}", hex(store), hex(chain), hex(signature))
    }

    /// A line whose signature is the key's.
    fn from_line(line: &str, public: &[u8]) -> Result<Self, &'static str> {
        let mut words = line.split_ascii_whitespace();
        let mut next = || words.next().ok_or("it is no head");
        if next()? != WORD {
            return Err("it is no head");
        }
        if next()? != VERSION {
            return Err("it is a head of another version");
        }
        let store = unhex(next()?).ok_or("its store is no id")?;
        let position = next()?.parse().map_err(|_| "its position is no number")?;
        let at_us = next()?.parse().map_err(|_| "its time is no number")?;
        let chain = unhex(next()?).ok_or("its chain is no hash")?;
        let signature: [u8; 64] = unhex(next()?).ok_or("its signature is none")?;
        if words.next().is_some() {
            return Err("something stands behind it");
        }
        let head = Self { store, position, at_us, chain };
        let is_signed = UnparsedPublicKey::new(&ED25519, public).verify(&head.signed(), &signature).is_ok();
        if is_signed { Ok(head) } else { Err("it is not signed by this key") }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut out = [0; N];
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    for (i, b) in out.iter_mut().enumerate() {
        *b = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(out)
}

fn of_file(file: &Path) -> impl FnOnce(std::io::Error) -> Failure + '_ {
    move |e| Failure::new(Exit::Usage, format!("{}: {e}", file.display()))
}

impl AuditCommand {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        match self {
            Self::Key { file, .. } => make_key(&file),
            Self::Head { folder, key } => sign(&folder.data, &key),
            Self::Verify { folder, heads, public } => verify(&folder.data, &heads, &public),
        }
    }

    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Key { json, .. } => *json,
            Self::Head { folder, .. } | Self::Verify { folder, .. } => folder.json,
        }
    }
}

fn make_key(file: &Path) -> Result<Report, Failure> {
    let none = |_| Failure::new(Exit::Usage, "the system gives no random numbers");
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(none)?;
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).map_err(|e| Failure::new(Exit::Usage, e))?;
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(of_file(file))?;
    out.write_all(pkcs8.as_ref()).and_then(|()| out.sync_all()).map_err(of_file(file))?;
    let public = hex(pair.public_key().as_ref());
    Ok(Report::done(format!("public key {public}"), json!({ "public": public })))
}

fn key(file: &Path) -> Result<Ed25519KeyPair, Failure> {
    let mut open = File::open(file).map_err(of_file(file))?;
    if let Err(mode) = tegata_access::is_private(&open).map_err(of_file(file))? {
        let file = file.display();
        return Err(Failure::new(
            Exit::Usage,
            format!("{file}: others may read or change this key (mode {mode:03o}): chmod 600 {file}"),
        ));
    }
    let mut bytes = Vec::new();
    open.read_to_end(&mut bytes).map_err(of_file(file))?;
    Ed25519KeyPair::from_pkcs8(&bytes)
        .map_err(|_| Failure::new(Exit::Usage, format!("{}: is no key of `tegata audit key`", file.display())))
}

/// Reads the whole log, and hands position, logged time and chain hash after each batch to `each`.
fn walk(data: &Path, each: &mut dyn FnMut(u64, i64, [u8; 32])) -> Result<([u8; 16], u64, u64), Failure> {
    let damaged = |e| Failure::new(exit_of(&e), e);
    let (store, ..) = read_store(data).map_err(damaged)?;
    let dropped = dropped_to(data, &store).map_err(damaged)?;
    let last = read_log::<std::convert::Infallible>(data, dropped, None, &mut |b| {
        each(b.first_position + u64::from(b.count) - 1, b.at_us, b.chain);
        Ok(())
    });
    match last {
        Ok(last) => Ok((store, dropped, last)),
        Err(ReadError::Journal(e)) => Err(damaged(e)),
        Err(ReadError::Consumer(never)) => match never {},
    }
}

fn sign(data: &Path, file: &Path) -> Result<Report, Failure> {
    let pair = key(file)?;
    let mut newest = None;
    let (store, ..) = walk(data, &mut |position, at_us, chain| newest = Some((position, at_us, chain)))?;
    let (position, at_us, chain) =
        newest.ok_or_else(|| Failure::new(Exit::Usage, format!("{}: the log is empty", data.display())))?;
    let head = Head { store, position, at_us, chain };
    let line = head.line(pair.sign(&head.signed()).as_ref());
    let json = json!({ "position": position, "at": parse::utc(at_us), "head": line });
    Ok(Report::done(line, json))
}

fn verify(data: &Path, file: &Path, public: &str) -> Result<Report, Failure> {
    let public: [u8; 32] =
        unhex(public).ok_or_else(|| Failure::new(Exit::Usage, "a public key is 64 digits in hex"))?;
    let text = std::fs::read_to_string(file).map_err(of_file(file))?;
    let bad = |n: usize, why: String| Failure::new(Exit::Damaged, format!("{}:{n}: {why}", file.display()));
    let mut heads = Vec::new();
    for (n, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        heads.push((n + 1, Head::from_line(line, &public).map_err(|why| bad(n + 1, why.to_owned()))?));
    }
    if heads.is_empty() {
        return Err(Failure::new(Exit::Usage, format!("{}: has no heads", file.display())));
    }
    heads.sort_by_key(|(_, h)| h.position);
    // Heads of one log follow each other; what stands at one of them is its time and its chain.
    let (mut next, mut wrong, mut before) = (0, None, None);
    let (store, dropped, last) = walk(data, &mut |position, at_us, chain| {
        while let Some((n, head)) = heads.get(next).filter(|(_, h)| h.position <= position) {
            let same = (head.position, head.at_us, head.chain) == (position, at_us, chain);
            match (same, wrong) {
                (true, None) => before = Some(head.position),
                (false, None) => wrong = Some((*n, head.position)),
                _ => {}
            }
            next += 1;
        }
    })?;
    if let Some((n, _)) = heads.iter().find(|(_, h)| h.store != store) {
        return Err(bad(*n, "it is the head of another store".to_owned()));
    }
    let too_old = heads.iter().filter(|(_, h)| h.position <= dropped).count();
    if too_old == heads.len() {
        let why = format!("every head is of what was dropped: the log begins at position {}", dropped + 1);
        return Err(Failure::new(Exit::Usage, why));
    }
    let wrong = wrong.filter(|(_, position)| *position > dropped);
    if let Some((n, position)) = wrong {
        let after = before.unwrap_or(dropped);
        let why = format!("the log was changed: a record after position {after} and up to {position} is another");
        return Err(bad(n, why));
    }
    if let Some((n, head)) = heads.get(next) {
        return Err(bad(
            *n,
            format!("the log was cut: it ends at position {last}, and once went to {}", head.position),
        ));
    }
    let checked = heads.len() - too_old;
    let first = dropped + 1;
    let text = format!("as signed: {checked} heads, positions {first} to {}", before.unwrap_or(dropped));
    let json = json!({ "heads": checked, "too_old": too_old, "first_position": first, "signed_to": before });
    Ok(Report::done(text, json))
}
