//! The golden vectors: three lines each — name, meaning, hex. They are written once (`cargo test -p tegata-wire --
//! --ignored write_vectors`) and compared ever after; other languages read the same files.

use crate::{Sample, answers, exchange, requests};
use std::fmt::Write as _;
use std::path::PathBuf;

fn files() -> Vec<(&'static str, &'static str, Vec<Sample>)> {
    let crc = |name, meaning: &str, bytes: Vec<u8>| Sample { name, meaning: meaning.to_owned(), frame: bytes };
    let checksums = vec![
        crc("e3069283", "the characters 123456789", b"123456789".to_vec()),
        crc("8a9136aa", "32 zeros (RFC 3720, B.4)", vec![0; 32]),
        crc("62a8ab43", "32 bytes of ff (RFC 3720, B.4)", vec![0xFF; 32]),
        crc("46dd794e", "00 to 1f (RFC 3720, B.4)", (0..32).collect()),
    ];
    vec![
        ("crc32c.txt", "CRC-32C: the name is the checksum of the bytes.", checksums),
        ("requests.txt", "A request of every kind.", requests::samples()),
        ("answers.txt", "An answer of every kind.", answers::samples()),
        ("exchange.txt", "Four conversations, in order: what a caller sends and what it gets.", exchange::samples()),
    ]
}

fn text(title: &str, samples: &[Sample]) -> String {
    let mut out = format!("# {title}\n# name, meaning, hex; generated, see tests/wire/vectors.rs\n");
    for s in samples {
        let _ = write!(out, "\nname: {}\nmeaning: {}\nhex: ", s.name, s.meaning);
        s.frame.iter().for_each(|b| {
            let _ = write!(out, "{b:02x}");
        });
        out.push('\n');
    }
    out
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name)
}

#[test]
fn the_vectors_are_what_is_encoded() {
    for (name, title, samples) in files() {
        let kept = std::fs::read_to_string(path(name)).unwrap_or_default();
        let fresh = text(title, &samples);
        let differs = kept.lines().zip(fresh.lines()).find(|(a, b)| a != b);
        assert!(kept == fresh, "{name} differs: a released layout never changes; first difference {differs:?}");
    }
}

#[test]
fn the_specification_prints_the_exchange() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocol.md");
    let page = std::fs::read_to_string(file).expect("the specification is there");
    let rows = page.lines().filter_map(|l| l.strip_prefix("> ").or_else(|| l.strip_prefix("< ")));
    let printed: String = rows.collect();
    let mut sent = String::new();
    for s in exchange::samples() {
        s.frame.iter().for_each(|b| {
            let _ = write!(sent, "{b:02x}");
        });
        assert!(page.contains(s.name), "{} is not named", s.name);
    }
    assert_eq!(printed, sent, "frame by frame, in order");
}

#[test]
fn names_are_unique() {
    for (name, _, samples) in files() {
        let mut names: Vec<_> = samples.iter().map(|s| s.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), samples.len(), "{name}");
    }
}

#[test]
#[ignore = "writes the golden files"]
fn write_vectors() {
    for (name, title, samples) in files() {
        std::fs::write(path(name), text(title, &samples)).expect("the vectors are writable");
    }
}
