//! Writes the seeds of the corpora: from the golden vectors and files of other crates, and from a journal made here. What
//! libFuzzer found stands beside them. `cargo test -p tegata-fuzz --test seeds -- --ignored`

use std::path::{Path, PathBuf};
use tegata_fuzz::corpus;
use tegata_journal::{BatchMeta, IoChoice, Options, archive_retired, open};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn keep(target: &str, name: &str, bytes: &[u8]) {
    let folder = corpus::folder(target);
    std::fs::create_dir_all(&folder).expect("a corpus folder");
    std::fs::write(folder.join(name), bytes).expect("a corpus file");
}

fn read(path: &str) -> Vec<u8> {
    let path = repository().join(path);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Names and bytes of a file of golden vectors.
fn vectors(file: &str) -> Vec<(String, Vec<u8>)> {
    let text = String::from_utf8(read(&format!("crates/wire/tests/vectors/{file}"))).expect("text");
    let lines = |with: &'static str| text.lines().filter_map(move |l| l.strip_prefix(with));
    let bytes =
        |hex: &str| (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hex")).collect();
    lines("name: ").map(str::to_owned).zip(lines("hex: ").map(bytes)).collect()
}

#[test]
#[ignore = "writes the seeds"]
fn write_seeds() {
    for (name, bytes) in vectors("requests.txt") {
        keep("requests", &name, &bytes);
    }
    for (name, bytes) in vectors("answers.txt") {
        keep("answers", &name, &bytes);
    }
    let exchange: Vec<u8> = vectors("exchange.txt").into_iter().flat_map(|(_, b)| b).collect();
    for step in [0u8, 71, 200] {
        keep("session", &format!("exchange-{step}"), &[&[step, 3][..], &exchange].concat());
    }
    let all: Vec<u8> = vectors("requests.txt").into_iter().flat_map(|(_, b)| b).collect();
    keep("session", "requests", &[&[99, 255][..], &all].concat());
    for (target, name, path) in [
        ("snapshot", "v1", "crates/server/tests/golden/v1.snap"),
        ("snapshot", "v2", "crates/server/tests/golden/v2.snap"),
        ("spool", "v1", "crates/client/tests/golden/v1.spool"),
        ("programme", "template", "crates/tegata/src/programme.toml"),
    ] {
        keep(target, name, &read(path));
    }
    let config = toml::to_string(&tegata_server::Config::default()).expect("settings can be shown");
    keep("config", "defaults", config.as_bytes());
    keep(
        "config",
        "few",
        b"# by hand\nlisten = \"127.0.0.1:0\"\nhttp = \"off\"\nshards = 16\njournal_io = \"pwritev2\"\n",
    );
    keep(
        "programme",
        "stand-in",
        b"id = 1\nstand_in_total_max = 300_000\nguard_mode = \"flag\"\nexpired_refund = \"pay-out\"\n",
    );
    for entry in std::fs::read_dir(repository().join("loadtest/scenarios")).expect("scenarios") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        keep("scenario", &name, &std::fs::read(&path).expect("a scenario"));
    }
    journals();
}

const SEGMENT_BYTES: usize = tegata_fuzz::targets::SEGMENT_BYTES;

fn options(dir: &Path) -> Options {
    let mut o = Options::new(dir);
    (o.segment_bytes, o.window_bytes, o.batch_bytes_max) = (SEGMENT_BYTES as u64, 8_192, 4_096);
    (o.io, o.allow_volatile, o.store_id) = (IoChoice::Buffered, true, [9; 16]);
    o
}

/// A log of some batches over some starts, as the journal itself writes it; whole, torn, and archived.
fn journals() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("data");
    let mut position = 0u64;
    for start in 0..2 {
        let mut writer = open(options(&dir)).expect("it opens").into_writer().expect("it writes");
        for n in 0..3u8 {
            let body = vec![n + 1; 24 * (usize::from(n) + 1)];
            position += 1;
            let meta =
                BatchMeta { first_position: position, count: 1, at_us: 1_000 * position as i64, margin: [0; 64] };
            while !writer.has_room() {
                writer.wait(None).expect("a wait");
                writer.reap().expect("flushed");
            }
            writer.append(&meta, &[&body]).expect("appended");
            while writer.flushed() < position {
                writer.wait(None).expect("a wait");
                writer.reap().expect("flushed");
            }
        }
        writer.close().expect("a clean stop");
        let segments = |n: u32| std::fs::read(dir.join("journal").join(format!("{n:08}.seg"))).unwrap_or_default();
        let beacon = std::fs::read(dir.join("BEACON")).expect("a beacon");
        let whole = [beacon.clone(), segments(1), segments(2)].concat();
        keep("journal", &format!("start-{start}"), &whole);
        let mut torn = whole.clone();
        let last = whole.chunks(4_096).rposition(|b| b.starts_with(b"TGTBATCH")).expect("a batch");
        torn[last * 4_096 + 300..last * 4_096 + 320].fill(0xEE);
        keep("journal", &format!("torn-{start}"), &[vec![0; 8_192], torn[8_192..].to_vec()].concat());
        keep("journal", &format!("damaged-{start}"), &torn);
    }
    archive_retired(&dir, &[9; 16], position).expect("archived");
    keep("archive", "first", &std::fs::read(dir.join("archive/0000000001.arc")).expect("an archived segment"));
}
