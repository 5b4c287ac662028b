//! Heads that were signed and kept elsewhere show a log that was rewritten with all its checksums computed anew.

use crate::stage::Stage;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tegata_journal::{BatchMeta, Options, open, read_log, read_store};

/// A batch as it is appended.
type Copied = (BatchMeta, Vec<u8>);

fn batches(dir: &Path) -> Vec<Copied> {
    let mut all = Vec::new();
    read_log::<std::convert::Infallible>(dir, 0, None, &mut |b| {
        let meta = BatchMeta { first_position: b.first_position, count: b.count, at_us: b.at_us, margin: *b.margin };
        all.push((meta, b.body.to_vec()));
        Ok(())
    })
    .expect("a whole log");
    all
}

/// Writes a log of these batches for the same store, with the journal's own writer: every checksum of it is right.
fn rewrite(dir: &Path, store: [u8; 16], batches: &[Copied]) {
    let mut options = Options::new(dir);
    (options.store_id, options.allow_volatile, options.shards) = (store, true, 1);
    let mut writer = open(options).expect("an empty folder").into_writer().expect("it is written");
    let mut next = 1;
    for (meta, body) in batches {
        writer.append(&BatchMeta { first_position: next, ..*meta }, &[body]).expect("the disk works");
        next += u64::from(meta.count);
        // One after the other, as the commands were.
        while writer.reap().expect("the disk works") < next - 1 {
            writer.wait(None).expect("the disk works");
        }
    }
    writer.close().expect("it ends in order");
    assert_eq!(self::batches(dir).len(), batches.len(), "whole, by all that it says of itself");
}

#[test]
fn what_was_rewritten_is_not_as_it_was_signed() {
    let mut s = Stage::open();
    for yen in ["100", "200", "300", "400"] {
        s.done(&["debit", "C1", yen, "--shop", "SHOP1"]);
    }
    assert_eq!(s.server.stop(), Some(0));
    let data = s.folder.path().join("data");
    let (key, heads) = (s.folder.path().join("audit.key"), s.folder.path().join("heads"));
    let text = |p: &PathBuf| p.to_str().expect("UTF-8").to_owned();
    let (data_, key_, heads_) = (text(&data), text(&key), text(&heads));
    let public = s.done(&["audit", "key", &key_])["public"].as_str().expect("a key").to_owned();
    let head =
        s.done(&["audit", "head", "--data", &data_, "--key", &key_])["head"].as_str().expect("a head").to_owned();
    std::fs::write(&heads, format!("{head}\n")).expect("written");
    let verify = |dir: &str, public: &str, heads: &str| {
        s.run(&["audit", "verify", "--data", dir, "--heads", heads, "--public", public])
    };
    assert_eq!(verify(&data_, &public, &heads_).code, 0);

    let (store, ..) = read_store(&data).expect("a store");
    let whole = batches(&data);
    assert!(whole.len() >= 6, "{} batches", whole.len());
    let n = whole.len() - 3;
    let rewritten = |name: &str, batches: &[Copied]| {
        let dir = s.folder.path().join(name);
        rewrite(&dir, store, batches);
        verify(&text(&dir), &public, &heads_)
    };
    assert_eq!(rewritten("copied", &whole).code, 0, "writing it anew is no change");

    let mut edited = whole.clone();
    let last = edited[n].1.len() - 1;
    edited[n].1[last] ^= 1;
    let mut removed = whole.clone();
    removed.remove(n);
    let mut swapped = whole.clone();
    let (a, b) = (swapped[n].1.clone(), swapped[n + 1].1.clone());
    (swapped[n].1, swapped[n + 1].1) = (b, a);
    let mut cut = whole.clone();
    cut.pop();
    for (name, batches) in [("edited", edited), ("removed", removed), ("swapped", swapped), ("cut", cut)] {
        let said = rewritten(name, &batches);
        assert_eq!(said.code, 10, "{name}: {}", said.json);
        assert!(said.json.to_string().contains("the log was "), "{name}: {}", said.json);
    }

    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).expect("it is the test's own");
    let shown = s.run(&["audit", "head", "--data", &data_, "--key", &key_]);
    assert!(shown.code == 2 && shown.json.to_string().contains("chmod 600"), "{}", shown.json);

    let another = s.done(&["audit", "key", &text(&s.folder.path().join("another.key"))]);
    let said = verify(&data_, another["public"].as_str().expect("a key"), &heads_);
    assert!(said.code == 10 && said.json.to_string().contains("not signed by this key"), "{}", said.json);
    // Its numbers are signed, too.
    let mut words: Vec<String> = head.split(' ').map(str::to_owned).collect();
    words[4].push('0');
    let forged = s.file("forged", &words.join(" "));
    assert_eq!(verify(&data_, &public, &text(&forged)).code, 10);
}
