//! Snapshots and archived segments: version 1 stays as it is, the tables of `docs/formats/journal.md` are what the
//! golden files hold, and a file that a writer would not have made is refused.

use std::path::Path;
use std::time::Duration;
use tegata_journal::{
    BatchMeta, Damage, OpenError, Options, ReadError, SnapshotWriter, Trailer, Writer, archive_retired, drop_archived,
    dropped_to, open, read_log, read_snapshot,
};

const SNAPSHOT: &[u8] = include_bytes!("golden/v1.snap");
const ARCHIVED: &[u8] = include_bytes!("golden/v1.arc");

const STORE: [u8; 16] = [9; 16];
const POSITION: u64 = 42;
const BLOCKS: [&[u8]; 2] = [b"head", b"and a page"];
const TRAILER_BYTES: usize = 256;

fn trailer() -> Trailer {
    let (chain, margin) = ([7; 32], [5; 64]);
    Trailer { position: POSITION, at_us: -3, boot_epoch: 2, segment: 0, chain, margin }
}

fn snapshot_path(dir: &Path) -> std::path::PathBuf {
    dir.join(format!("snapshots/{POSITION:020}.snap"))
}

fn archived_path(dir: &Path) -> std::path::PathBuf {
    dir.join("archive/0000000001.arc")
}

fn written_snapshot(dir: &Path) -> Vec<u8> {
    let mut out = SnapshotWriter::create(dir, &STORE, POSITION).expect("a draft");
    BLOCKS.iter().for_each(|b| out.block(b).expect("the disk works"));
    out.finish(&trailer()).expect("the disk works");
    std::fs::read(snapshot_path(dir)).expect("it has its name")
}

fn read_back(dir: &Path, bytes: &[u8]) -> Result<(Trailer, Vec<Vec<u8>>), OpenError> {
    std::fs::create_dir_all(dir.join("snapshots")).expect("a folder");
    std::fs::write(snapshot_path(dir), bytes).expect("it is written");
    let mut blocks = Vec::new();
    let read = read_snapshot::<OpenError>(dir, &STORE, POSITION, &mut |b| {
        blocks.push(b.to_vec());
        Ok(())
    });
    match read {
        Ok(trailer) => Ok((trailer, blocks)),
        Err(ReadError::Journal(e) | ReadError::Consumer(e)) => Err(e),
    }
}

fn body(position: u64) -> Vec<u8> {
    (0..300).map(|i| (position * 31 + i / 4) as u8).collect()
}

fn append(writer: &mut Writer, first_position: u64, count: u32) {
    let meta = BatchMeta { first_position, count, at_us: 1_000 + first_position as i64, margin: [5; 64] };
    while !writer.has_room() {
        writer.wait(Some(Duration::from_millis(20))).expect("the disk works");
        writer.reap().expect("the disk works");
    }
    writer.append(&meta, &[&body(first_position)]).expect("the disk works");
    while writer.reap().expect("the disk works") < first_position + u64::from(count) - 1 {
        writer.wait(Some(Duration::from_millis(20))).expect("the disk works");
    }
}

fn small_segments(dir: &Path) -> Options {
    let mut options = Options::new(dir);
    (options.segment_bytes, options.batch_bytes_max, options.window_bytes) = (12 << 10, 4 << 10, 8 << 10);
    (options.store_id, options.allow_volatile) = (STORE, true);
    options
}

/// A log of five batches in segments of two, the first of which is archived. The second start wrote it.
fn written_archive(dir: &Path) -> Vec<u8> {
    let start = || open(small_segments(dir)).expect("a sound folder").into_writer().expect("a writer");
    start().close().expect("an orderly stop");
    let mut writer = start();
    (1..=5).for_each(|position| append(&mut writer, position, 1));
    writer.close().expect("an orderly stop");
    assert_eq!(archive_retired(dir, &STORE, 2).expect("the disk works"), 1);
    std::fs::read(archived_path(dir)).expect("it has its name")
}

#[test]
#[ignore = "writes the golden files"]
fn write_the_golden_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    std::fs::write(golden.join("v1.snap"), written_snapshot(folder.path())).expect("it is written");
    std::fs::write(golden.join("v1.arc"), written_archive(&folder.path().join("data"))).expect("it is written");
}

#[test]
fn version_1_of_a_snapshot_is_written_and_read_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let written = written_snapshot(folder.path());
    assert!(written == SNAPSHOT, "what is written has changed: that is a new format version");
    let read = read_back(folder.path(), SNAPSHOT).expect("a sound file");
    assert_eq!(read, (trailer(), BLOCKS.map(<[u8]>::to_vec).to_vec()));
}

#[test]
fn version_1_of_an_archived_segment_is_written_and_read_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("data");
    let written = written_archive(&dir);
    assert!(written == ARCHIVED, "what is written has changed: that is a new format version");
    std::fs::write(archived_path(&dir), ARCHIVED).expect("it is written");
    let mut log = Vec::new();
    let last = read_log::<OpenError>(&dir, 0, None, &mut |b| {
        log.push((b.first_position, b.segment, b.body.to_vec()));
        Ok(())
    });
    assert_eq!(last.expect("a sound log"), 5);
    assert!(log == (1..=5u64).map(|p| (p, p.div_ceil(2) as u32, body(p))).collect::<Vec<_>>());
}

fn sealed(b: &mut [u8]) {
    let crc = crc32c::crc32c(&b[12..]);
    b[8..12].copy_from_slice(&crc.to_le_bytes());
}

/// Version 2 in a sealed header at some offset.
fn newer(file: &[u8], at: usize, bytes: usize) -> Vec<u8> {
    let mut file = file.to_vec();
    file[at + 12..at + 16].copy_from_slice(&2u32.to_le_bytes());
    sealed(&mut file[at..at + bytes]);
    file
}

#[test]
fn what_a_newer_version_wrote_is_not_called_damage() {
    let folder = tempfile::tempdir().expect("a folder");
    for (at, bytes) in [(0, 64), (SNAPSHOT.len() - TRAILER_BYTES, TRAILER_BYTES)] {
        let read = read_back(folder.path(), &newer(SNAPSHOT, at, bytes));
        assert!(matches!(read, Err(OpenError::NewerVersion { got: 2, .. })), "byte {at}: {read:?}");
    }
    // A batch inside an archived segment.
    let end = ARCHIVED.len() - TRAILER_BYTES;
    let raw = lz4_flex::block::decompress(&ARCHIVED[84..end], 2 * 556).expect("an LZ4 block");
    let packed = lz4_flex::block::compress(&newer(&raw, 0, 256));
    let mut file = ARCHIVED[..64].to_vec();
    file.extend_from_slice(&(packed.len() as u32 + 4).to_le_bytes());
    let payload = [&ARCHIVED[72..84], &packed].concat();
    file.extend_from_slice(&crc32c::crc32c(&payload).to_le_bytes());
    file.extend_from_slice(&payload);
    file.extend_from_slice(&ARCHIVED[end..]);
    let dir = folder.path().join("data");
    written_archive(&dir);
    std::fs::write(archived_path(&dir), file).expect("it is written");
    let read = read_log::<OpenError>(&dir, 0, None, &mut |_| Ok(()));
    assert!(matches!(read, Err(ReadError::Journal(OpenError::NewerVersion { got: 2, .. }))), "{read:?}");
}

#[test]
fn what_no_writer_would_have_made_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let end = SNAPSHOT.len() - TRAILER_BYTES;
    let refused = |bytes: &[u8]| match read_back(folder.path(), bytes) {
        Err(OpenError::Corrupt { damage, .. }) => damage,
        other => panic!("{other:?}"),
    };
    let more = [&SNAPSHOT[..end], &[0], &SNAPSHOT[end..]].concat();
    assert_eq!(refused(&more), Damage::Length, "bytes before the trailer");
    let mut fewer = SNAPSHOT.to_vec();
    fewer[end + 16] = 1;
    sealed(&mut fewer[end..]);
    assert_eq!(refused(&fewer), Damage::Length, "a block that the trailer does not count");
    fewer[end + 16] = 0;
    sealed(&mut fewer[end..]);
    assert_eq!(refused(&fewer), Damage::Length, "blocks, and the trailer counts none");
    let none = [&fewer[..64], &fewer[end..]].concat();
    assert_eq!(refused(&none), Damage::Length, "no block at all");
    for at in [144, 200, 255] {
        let mut reserved = SNAPSHOT.to_vec();
        reserved[end + at] = 1;
        sealed(&mut reserved[end..]);
        assert_eq!(refused(&reserved), Damage::Padding, "byte {at} of the trailer");
    }
    for (at, bytes) in [(24, 8), (40, 4), (44, 4)] {
        let mut counted = SNAPSHOT.to_vec();
        counted[end + at..end + at + bytes].fill(0xFF);
        sealed(&mut counted[end..]);
        assert_eq!(refused(&counted), Damage::Number, "byte {at} of the trailer");
    }
    for at in 0..SNAPSHOT.len() {
        let mut flipped = SNAPSHOT.to_vec();
        flipped[at] ^= 0x10;
        refused(&flipped);
        refused(&SNAPSHOT[..at]);
    }
}

#[test]
fn the_mark_of_what_was_dropped_has_no_blocks() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("archive")).expect("a folder");
    let end = ARCHIVED.len() - TRAILER_BYTES;
    let mut mark = [&ARCHIVED[..64], &ARCHIVED[end..]].concat();
    mark[..8].copy_from_slice(b"TGTDROPD");
    sealed(&mut mark[..64]);
    mark[64 + 16] = 0;
    sealed(&mut mark[64..]);
    let read = |bytes: &[u8]| {
        std::fs::write(folder.path().join("archive/dropped"), bytes).expect("it is written");
        dropped_to(folder.path(), &STORE)
    };
    assert_eq!(read(&mark).expect("a sound file"), 2);
    for wrong in [[&mark[..64], &ARCHIVED[64..]].concat(), [&mark[..64], &[0; 16], &mark[64..]].concat()] {
        let refused = read(&wrong);
        assert!(matches!(refused, Err(OpenError::Corrupt { damage: Damage::Length, .. })), "{refused:?}");
    }
}

#[test]
fn nothing_behind_the_snapshot_is_dropped_from_the_archive() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    let mut writer = open(small_segments(dir)).expect("a new folder").into_writer().expect("a writer");
    (1..=7).for_each(|position| append(&mut writer, position, 1));
    writer.close().expect("an orderly stop");
    // Segments of two batches each.
    assert_eq!(archive_retired(dir, &STORE, 6).expect("the disk works"), 3);
    for (snapshot, dropped, to) in [(1, 0, 0), (3, 1, 2), (4, 1, 4), (5, 0, 4)] {
        let mut out = SnapshotWriter::create(dir, &STORE, snapshot).expect("a draft");
        out.block(BLOCKS[0]).expect("the disk works");
        out.finish(&Trailer { position: snapshot, ..trailer() }).expect("the disk works");
        assert_eq!(drop_archived(dir, &STORE, snapshot).expect("the disk works"), dropped, "snapshot {snapshot}");
        assert_eq!(dropped_to(dir, &STORE).expect("the mark"), to, "snapshot {snapshot}");
    }
}

#[test]
fn a_log_knows_its_own_snapshots() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut writer = open(small_segments(folder.path())).expect("a new folder").into_writer().expect("a writer");
    (0..7).for_each(|n| append(&mut writer, 1 + 3 * n, 3));
    writer.close().expect("an orderly stop");
    assert_eq!(archive_retired(folder.path(), &STORE, 12).expect("the disk works"), 2);
    let mut journal = open(small_segments(folder.path())).expect("a sound log");
    let mut ends = Vec::new();
    let read = journal.replay::<OpenError>(0, None, &mut |b| {
        ends.push((b.first_position + u64::from(b.count) - 1, b.chain));
        Ok(())
    });
    assert_eq!(read.expect("a sound log"), 21);
    for (position, chain) in &ends {
        let mut replay = |position, chain: &[u8; 32]| {
            let mut batches = 0;
            let read = journal.replay::<OpenError>(position, Some(chain), &mut |_| {
                batches += 1;
                Ok(())
            });
            read.map(|_| batches)
        };
        assert_eq!(replay(*position, chain).expect("its own"), (21 - position) / 3, "position {position}");
        for (position, chain) in [(*position, &[7; 32]), (position - 1, chain), (position - 2, chain)] {
            let other = replay(position, chain);
            let told =
                matches!(other, Err(ReadError::Journal(OpenError::Foreign { position: p, .. })) if p == position);
            assert!(told, "position {position}: {other:?}");
        }
    }
}

/// Takes a file apart by the page's tables alone.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(*self.0[at..].first_chunk().expect("four bytes"))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(*self.0[at..].first_chunk().expect("eight bytes"))
    }

    fn is_zero(&self, from: usize, to: usize) -> bool {
        self.0[from..to].iter().all(|b| *b == 0)
    }

    /// Checks header, block headers and trailer against the tables; returns the payloads and where the trailer begins.
    fn payloads(&self, magic: &[u8; 8]) -> (Vec<&[u8]>, usize) {
        assert_eq!((&self.0[..8], self.u32(12), &self.0[16..32]), (&magic[..], 1, &STORE[..]));
        assert_eq!(self.u32(8), crc32c::crc32c(&self.0[12..64]));
        assert!(self.is_zero(32, 64));
        let end = self.0.len() - TRAILER_BYTES;
        let (mut at, mut payloads) = (64, Vec::new());
        while at < end {
            let bytes = self.u32(at) as usize;
            assert_eq!(self.u32(at + 4), crc32c::crc32c(&self.0[at + 8..at + 16 + bytes]));
            assert_eq!(self.u64(at + 8), payloads.len() as u64);
            payloads.push(&self.0[at + 16..at + 16 + bytes]);
            at += 16 + bytes;
        }
        assert_eq!((at, &self.0[end..end + 8], self.u32(end + 12)), (end, &b"TGTTRAIL"[..], 1));
        assert_eq!(self.u32(end + 8), crc32c::crc32c(&self.0[end + 12..]));
        assert_eq!(self.u64(end + 16), payloads.len() as u64);
        assert!(self.is_zero(end + 144, end + TRAILER_BYTES));
        (payloads, end)
    }
}

#[test]
fn the_golden_snapshot_is_as_the_page_says() {
    let file = Bytes(SNAPSHOT);
    let (payloads, end) = file.payloads(b"TGTSNAPS");
    assert_eq!(payloads, BLOCKS);
    assert_eq!((file.u64(end + 24), file.u64(end + 32) as i64), (POSITION, -3));
    assert_eq!((file.u32(end + 40), file.u32(end + 44)), (2, 0));
    assert_eq!((&file.0[end + 48..end + 80], &file.0[end + 80..end + 144]), (&[7; 32][..], &[5; 64][..]));
}

#[test]
fn the_golden_archived_segment_is_as_the_page_says() {
    let file = Bytes(ARCHIVED);
    let (payloads, end) = file.payloads(b"TGTARCHV");
    let [block] = payloads[..] else { panic!("one block holds both batches") };
    let batches = lz4_flex::block::decompress(&block[4..], Bytes(block).u32(0) as usize).expect("an LZ4 block");
    assert_eq!(batches.len(), Bytes(block).u32(0) as usize);
    let (mut chain, mut at) = ([0; 32], 0);
    for position in 1..=2 {
        let b = Bytes(&batches[at..]);
        assert_eq!((&b.0[..8], b.u64(48), b.u32(56), b.u32(60)), (&b"TGTBATCH"[..], position, 1, 300));
        assert_eq!((&b.0[80..112], &b.0[256..556]), (&chain[..], &body(position)[..]));
        let hash = blake3::Hasher::new().update(&b.0[16..36]).update(&b.0[48..208]).finalize();
        (chain, at) = (*hash.as_bytes(), at + 556);
    }
    assert_eq!(at, batches.len(), "no padding");
    assert_eq!((file.u64(end + 24), file.u64(end + 32)), (2, 1_002));
    assert_eq!((file.u32(end + 40), file.u32(end + 44)), (2, 1), "epoch and segment");
    assert_eq!(file.0[end + 48..end + 80], chain);
    assert!(file.is_zero(end + 80, end + 144));
}
