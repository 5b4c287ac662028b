//! Retired segments: everything in them is in a snapshot. They are archived without their padding, compressed, read
//! back and held against the chain, and only then used again for new segments.
//!
//! The oldest may be dropped. A file without blocks says up to where, so that what was dropped is told from what was
//! lost, and what follows is still held against the chain.
//!
//! ```text
//! archive/dropped: its trailer is that of the last dropped segment | archive/0000000005.arc … follow it without a gap
//! ```

use crate::background::Pace;
use crate::blocks::{BlocksReader, BlocksWriter, PAYLOAD_BYTES_MAX, Trailer};
use crate::disk::{Folder, Open, read_exact_at};
use crate::error::{OpenError, ReadError};
use crate::layout::{self, BATCH_HEADER_BYTES, BLOCK, BatchHeader, Damage, MARGIN_BYTES};
use crate::reader::After;
use crate::scan::{Expected, Place, Start, read_segment_slowly, segment_numbers};
use crate::segments::set_aside;
use crate::snapshots::read_snapshot;
use crate::store::segment_path;
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"TGTARCHV";
const DROPPED_MAGIC: [u8; 8] = *b"TGTDROPD";
/// Gets every batch in log order, without its padding.
type EachBatch<'a, E> = &'a mut dyn FnMut(&BatchHeader, &[u8]) -> Result<(), E>;

/// Bytes of batches that are compressed together; at least one batch.
const CHUNK_BYTES: usize = 1 << 20;

pub(crate) fn folder(dir: &Folder) -> PathBuf {
    dir.join("archive")
}

fn path(dir: &Folder, segment: u32) -> PathBuf {
    folder(dir).join(format!("{segment:010}.arc"))
}

fn dropped_path(dir: &Folder) -> PathBuf {
    folder(dir).join("dropped")
}

/// Where the archive begins: at the very start, or behind what was dropped.
fn beginning(dir: &Folder, store: &[u8; 16]) -> Result<Start, OpenError> {
    let path = dropped_path(dir);
    if !dir.disk.exists(&path) {
        return Ok(Start::default());
    }
    Ok(end_of(&BlocksReader::mark(dir, &path, DROPPED_MAGIC, store)?))
}

/// Where the log goes on behind a segment.
fn end_of(t: &Trailer) -> Start {
    Start { position: t.position, at_us: t.at_us, chain: t.chain, boot_epoch: t.boot_epoch, segment: t.segment }
}

/// The last position that was dropped; 0: the log is there from its first record on.
pub fn dropped_to(dir: impl Into<Folder>, store: &[u8; 16]) -> Result<u64, OpenError> {
    Ok(beginning(&dir.into(), store)?.position)
}

/// Numbers of the archive's files, ascending.
fn files(dir: &Folder) -> Result<Vec<u32>, OpenError> {
    let folder = folder(dir);
    let mut numbers = Vec::new();
    for path in dir.list(&folder).map_err(OpenError::io("reading", &folder))? {
        if path.extension().is_some_and(|x| x == "arc") {
            numbers.extend(path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse::<u32>().ok()));
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Numbers of the archived segments behind `dropped`, ascending. One that is missing is damage.
fn archived(dir: &Folder, dropped: u32) -> Result<Vec<u32>, OpenError> {
    let mut numbers = files(dir)?;
    // After a crash, files of what was dropped may still be there.
    numbers.retain(|n| *n > dropped);
    if numbers.iter().zip(dropped + 1..).any(|(n, expected)| *n != expected) {
        return Err(OpenError::NotAStore { dir: folder(dir), what: "an archived segment is missing" });
    }
    Ok(numbers)
}

/// Where the log goes on behind the archive.
pub(crate) fn start(dir: &Folder, store: &[u8; 16]) -> Result<Start, OpenError> {
    let beginning = beginning(dir, store)?;
    let Some(last) = archived(dir, beginning.segment)?.last().copied() else { return Ok(beginning) };
    let reader = BlocksReader::open(dir, &path(dir, last), MAGIC, store)?;
    let end = end_of(reader.trailer());
    if end.segment != last {
        return Err(reader.damaged(Damage::Misplaced));
    }
    Ok(end)
}

/// Hands the batches of the archived segments with positions above that of `from` to `each`, and checks that they follow
/// each other. What is archived completely below it is not read; what was dropped above it is an error.
pub(crate) fn walk<E: From<OpenError>>(
    dir: &Folder,
    store: &[u8; 16],
    from: After<'_>,
    each: EachBatch<'_, E>,
) -> Result<(), E> {
    let mut before = beginning(dir, store)?;
    if before.position > from.position {
        return Err(OpenError::Dropped { first: before.position + 1 }.into());
    }
    for segment in archived(dir, before.segment)? {
        let mut reader = BlocksReader::open(dir, &path(dir, segment), MAGIC, store)?;
        let t = *reader.trailer();
        from.agrees(dir, before.position, &before.chain)?;
        if t.position > from.position {
            let end = read(&mut reader, store, before, each)?;
            if (end.next - 1, end.chain) != (t.position, Some(t.chain)) {
                return Err(reader.damaged(Damage::Chain).into());
            }
        }
        before = end_of(&t);
    }
    Ok(())
}

fn read<E: From<OpenError>>(
    reader: &mut BlocksReader,
    store: &[u8; 16],
    before: Start,
    each: EachBatch<'_, E>,
) -> Result<Expected, E> {
    let mut expected = before.expected(store);
    let mut raw = Vec::new();
    loop {
        let Some(block) = reader.next()? else { return Ok(expected) };
        let unpacked = unpack(block, &mut raw);
        unpacked.map_err(|d| reader.damaged(d))?;
        let mut rest = &raw[..];
        while !rest.is_empty() {
            let (h, body) = split(rest).map_err(|d| reader.damaged(d))?;
            expected.follow(&h, Place { segment: h.segment, offset: h.offset }).map_err(|d| reader.damaged(d))?;
            each(&h, body)?;
            rest = &rest[BATCH_HEADER_BYTES + body.len()..];
        }
    }
}

/// A block is `u32 bytes | LZ4 block`.
fn unpack(block: &[u8], raw: &mut Vec<u8>) -> Result<(), Damage> {
    let (len, packed) = block.split_first_chunk().ok_or(Damage::Length)?;
    let len = u32::from_le_bytes(*len) as usize;
    if len > PAYLOAD_BYTES_MAX {
        return Err(Damage::Length);
    }
    raw.resize(len, 0);
    match lz4_flex::block::decompress_into(packed, raw) {
        Ok(n) if n == len => Ok(()),
        _ => Err(Damage::Length),
    }
}

fn pack(raw: &[u8]) -> Vec<u8> {
    let mut block = (raw.len() as u32).to_le_bytes().to_vec();
    block.extend_from_slice(&lz4_flex::block::compress(raw));
    block
}

/// A batch without its padding.
fn split(b: &[u8]) -> Result<(BatchHeader, &[u8]), Damage> {
    let h = BatchHeader::decode(b)?;
    let body = b.get(BATCH_HEADER_BYTES..BATCH_HEADER_BYTES + h.body_bytes as usize).ok_or(Damage::Length)?;
    if *blake3::hash(body).as_bytes() == h.body_hash { Ok((h, body)) } else { Err(Damage::BodyHash) }
}

/// Archives every segment whose positions are all at or below `position`; returns how many. What an earlier call has
/// archived is set aside for new segments: a reader of the log that began before this call still finds its files. To be
/// called by one thread at a time, beside a running writer.
pub fn archive_retired(dir: impl Into<Folder>, store: &[u8; 16], position: u64) -> Result<u32, OpenError> {
    let dir = &dir.into();
    let mut before = start(dir, store)?;
    let mut done = 0;
    for number in segment_numbers(dir)?.into_iter().filter(|n| *n <= before.segment) {
        set_aside(dir, number).map_err(OpenError::io("setting aside", segment_path(dir, number)))?;
    }
    loop {
        let number = before.segment + 1;
        let next = segment_path(dir, number + 1);
        // The next segment's first batch tells where this one ended.
        match first_position(dir, &next) {
            Ok(Some(first)) if first <= position + 1 => {}
            Ok(_) => return Ok(done),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(done),
            Err(e) => return Err(OpenError::io("reading", next)(e)),
        }
        before = archive(dir, store, number, before)?;
        done += 1;
    }
}

/// Drops the archived segments whose positions are all in the snapshot as of `position`; returns how many. To be called
/// by one thread at a time. A reader that began before finds a file missing, and says so.
pub fn drop_archived(dir: impl Into<Folder>, store: &[u8; 16], position: u64) -> Result<u32, OpenError> {
    let dir = &dir.into();
    let dropped = beginning(dir, store)?;
    let mut last = None;
    for segment in archived(dir, dropped.segment)? {
        let t = *BlocksReader::open(dir, &path(dir, segment), MAGIC, store)?.trailer();
        if t.position > position {
            break;
        }
        last = Some(t);
    }
    if let Some(trailer) = last {
        // What is left begins with this snapshot: all of it is read before anything goes.
        read_snapshot::<OpenError>(dir, store, position, &mut |_| Ok(())).map_err(|e| match e {
            ReadError::Journal(e) | ReadError::Consumer(e) => e,
        })?;
        let mark = dropped_path(dir);
        BlocksWriter::create(dir, &mark, DROPPED_MAGIC, store)
            .and_then(|out| out.finish(&trailer))
            .map_err(OpenError::io("writing", mark))?;
    }
    // Only now that it is said may they go; a crash before leaves some for the next call.
    let end = last.map_or(dropped.segment, |t| t.segment);
    for segment in files(dir)?.into_iter().filter(|n| *n <= end) {
        let file = path(dir, segment);
        dir.disk.remove(&file).map_err(OpenError::io("removing", file))?;
    }
    Ok(end - dropped.segment)
}

fn first_position(dir: &Folder, segment: &Path) -> std::io::Result<Option<u64>> {
    let mut b = [0; BATCH_HEADER_BYTES];
    read_exact_at(&*dir.file(segment, Open::Read)?, &mut b, BLOCK as u64)?;
    Ok(BatchHeader::decode(&b).ok().map(|h| h.first_position))
}

fn archive(dir: &Folder, store: &[u8; 16], number: u32, before: Start) -> Result<Start, OpenError> {
    let file = segment_path(dir, number);
    let mut pace = Pace::start(&dir.disk);
    let bytes = read_segment_slowly(dir, store, number, &mut || pace.rest())?;
    let target = path(dir, number);
    let write = |e| OpenError::io("archiving to", &target)(e);
    dir.create_folder(&folder(dir)).map_err(write)?;
    let mut out = BlocksWriter::create(dir, &target, MAGIC, store).map_err(write)?;
    let mut expected = before.expected(store);
    let (mut offset, mut raw) = (BLOCK, Vec::with_capacity(2 * CHUNK_BYTES));
    while let Some(rest) = bytes.get(offset..).filter(|r| r.len() >= BLOCK && r[..8] != [0; 8]) {
        let position = expected.next;
        let corrupt = |damage| OpenError::damaged(&file, offset as u64, position, damage, u64::MAX);
        let (h, body) = layout::batch(rest).map_err(corrupt)?;
        raw.extend_from_slice(&rest[..BATCH_HEADER_BYTES + body.len()]);
        let place = Place { segment: number, offset: offset as u64 };
        expected.follow(&h, place).map_err(corrupt)?;
        offset += h.disk_bytes();
        if raw.len() >= CHUNK_BYTES {
            out.block(&pack(&raw)).map_err(write)?;
            raw.clear();
            pace.rest();
        }
    }
    if !raw.is_empty() {
        out.block(&pack(&raw)).map_err(write)?;
    }
    let end = expected.start(number);
    let trailer = Trailer {
        position: end.position,
        at_us: end.at_us,
        boot_epoch: end.boot_epoch,
        segment: number,
        chain: end.chain,
        margin: [0; MARGIN_BYTES],
    };
    out.finish(&trailer).map_err(write)?;
    // What was written is what will be read: only then may the segment go.
    let mut reader = BlocksReader::open(dir, &target, MAGIC, store)?;
    let again = read::<OpenError>(&mut reader, store, before, &mut |_, _| {
        pace.rest();
        Ok(())
    })?;
    if again.start(number) != end {
        return Err(reader.damaged(Damage::Chain));
    }
    Ok(end)
}
