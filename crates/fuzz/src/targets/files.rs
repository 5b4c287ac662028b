//! Files from a disk: a journal with its beacon, a snapshot, an archived segment. Damage is refused and left as it is; what
//! is read is read the same way twice.

mod state;

use super::{BEACON_BYTES, SEGMENT_BYTES};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use tegata_journal::{BLOCK, IoChoice, Options, ReadError, read_log};
use tegata_model::mix;
use tegata_server::load_snapshot;

/// A folder in memory, one for each thread: nothing here is about durability.
pub(super) fn folder() -> PathBuf {
    thread_local! {
        static FOLDER: RefCell<Option<tempfile::TempDir>> = const { RefCell::new(None) };
    }
    FOLDER.with(|f| {
        let mut f = f.borrow_mut();
        let dir = f.get_or_insert_with(|| {
            let memory = Path::new("/dev/shm");
            let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
            made.expect("a folder to work in")
        });
        let data = dir.path().join("data");
        let _ = std::fs::remove_dir_all(&data);
        std::fs::create_dir(&data).expect("a folder to work in");
        data
    })
}

fn write(path: PathBuf, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("a file in a folder")).expect("a folder");
    std::fs::write(path, bytes).expect("a file");
}

/// The store file of these targets.
fn store(data: &Path, id: [u8; 16]) {
    let mut b = vec![0; BLOCK];
    b[..8].copy_from_slice(b"TGTSTORE");
    b[12..16].copy_from_slice(&1u32.to_le_bytes());
    b[16..32].copy_from_slice(&id);
    b[32..36].copy_from_slice(&1u32.to_le_bytes());
    b[40..48].copy_from_slice(&(SEGMENT_BYTES as u64).to_le_bytes());
    let crc = crc32c::crc32c(&b[12..]);
    b[8..12].copy_from_slice(&crc.to_le_bytes());
    write(data.join("STORE"), &b);
}

/// The id that a file of ours says it belongs to.
fn id_in(bytes: &[u8]) -> [u8; 16] {
    bytes.get(16..).and_then(|b| b.first_chunk()).copied().unwrap_or_default()
}

fn options(data: &Path) -> Options {
    let mut o = Options::new(data);
    (o.segment_bytes, o.window_bytes, o.batch_bytes_max) = (SEGMENT_BYTES as u64, 8_192, 4_096);
    (o.io, o.allow_volatile) = (IoChoice::Buffered, true);
    o
}

/// What a log says, in a number; and how far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Said {
    sum: u64,
    position: u64,
    at_us: i64,
}

/// Before its first batch.
const NOTHING: Said = Said { sum: 0, position: 0, at_us: i64::MIN };

impl Said {
    fn batch(&mut self, b: &tegata_journal::Batch<'_>) {
        assert!(b.first_position == self.position + 1 && b.count > 0, "positions follow each other, from 1 on");
        assert!(b.at_us >= self.at_us, "logged time never goes back");
        self.sum = mix(mix(self.sum, b.first_position), u64::from(b.count) << 32 ^ b.at_us as u64);
        self.sum = mix(self.sum, u64::from(crc32c::crc32c(b.body)));
        self.position += u64::from(b.count);
        self.at_us = b.at_us;
    }
}

/// `BEACON` of 8 KiB, then segments of 16 KiB; the last one is filled up with zeros.
pub(super) fn journal(bytes: &[u8]) {
    let (beacon, segments) = bytes.split_at(bytes.len().min(BEACON_BYTES));
    let data = folder();
    store(&data, id_in(segments));
    write(data.join("BEACON"), beacon);
    std::fs::create_dir_all(data.join("journal")).expect("a folder");
    let name = |n: usize| data.join("journal").join(format!("{n:08}.seg"));
    let mut before = Vec::new();
    for (i, s) in segments.chunks(SEGMENT_BYTES).enumerate() {
        let mut whole = s.to_vec();
        whole.resize(SEGMENT_BYTES, 0);
        write(name(i + 1), &whole);
        before.push(whole);
    }
    // As a reader beside a running server has it, and as a start has it.
    let mut read = NOTHING;
    let looked = read_log::<()>(&data, 0, None, &mut |b| {
        read.batch(b);
        Ok(())
    });
    let mut opened = match tegata_journal::open(options(&data)) {
        Ok(opened) => opened,
        Err(_) => {
            let after = (1..=before.len()).map(|n| std::fs::read(name(n)).expect("it is still there"));
            assert!(before.iter().cloned().eq(after), "what is refused is left as it is");
            return;
        }
    };
    let recovery = opened.recovery().clone();
    let mut replayed = NOTHING;
    let last = opened.replay::<()>(0, None, &mut |b| {
        replayed.batch(b);
        Ok(())
    });
    assert_eq!(last.as_ref().ok(), Some(&recovery.last_position), "what was found is what is replayed");
    if let Ok(position) = looked
        && recovery.torn.is_none()
    {
        assert_eq!((position, read), (recovery.last_position, replayed), "a reader and a start see the same log");
    }
    drop(opened);
    let again = tegata_journal::open(options(&data)).expect("what was opened once opens again");
    let second = again.recovery();
    assert_eq!(second.last_position, recovery.last_position, "a second start ends where the first one did");
    assert_eq!(second.torn, None, "what was cut is gone");
}

/// A snapshot's file: whatever loads is conserved, and is written and read back as the same state.
pub(super) fn snapshot(bytes: &[u8]) {
    let data = folder();
    write(tegata_journal::snapshot_path(&data, 1), bytes);
    let Ok(loaded) = load_snapshot(&data, &id_in(bytes), 1) else { return };
    let mut engine = loaded.engine;
    assert_eq!(engine.applied().get(), loaded.trailer.position, "it is as of the position that it says");
    state::work_on(&mut engine);
}

/// An archived segment, and a log that goes on behind it.
pub(super) fn archive(bytes: &[u8]) {
    let data = folder();
    store(&data, id_in(bytes));
    write(data.join("BEACON"), &[0; BEACON_BYTES]);
    write(data.join("archive").join("0000000001.arc"), bytes);
    std::fs::create_dir_all(data.join("journal")).expect("a folder");
    let read = || {
        let mut sum = NOTHING;
        let end = read_log::<()>(&data, 0, None, &mut |b| {
            sum.batch(b);
            Ok(())
        });
        match end {
            Ok(end) => Some((end, sum)),
            Err(ReadError::Journal(_)) => None,
            Err(ReadError::Consumer(())) => unreachable!("nobody refuses"),
        }
    };
    let first = read();
    assert_eq!(read(), first, "it says the same twice");
    if let Ok(opened) = tegata_journal::open(options(&data)) {
        let found = opened.recovery().last_position;
        assert!(first.is_none_or(|(end, _)| end == found), "a reader and a start see the same end");
    }
}
