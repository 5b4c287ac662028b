//! Reading segments: what is a batch, where the log ends, and what damage means.
//!
//! ```text
//! S: the highest position that any batch or the beacon vouches for as flushed
//! damage at a position ≤ S            → corruption: refuse, change nothing
//! damage above S, within W bytes      → a torn tail: what a crash leaves
//! damage above S, farther out         → not what a crash leaves: refuse
//! ```

use crate::disk::{Folder, Open, Stream};
use crate::error::OpenError;
use crate::layout::{self, BLOCK, BatchHeader, Beacon, Damage, SEGMENT_MAX};
use crate::store::{beacon_path, segment_path, segments_dir};
use std::collections::VecDeque;
use std::io::{self, Read};
use std::path::PathBuf;

/// Where a batch lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u32,
    pub(crate) offset: u64,
}

/// What the whole log came to.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Numbers of all segments, ascending, without gaps.
    pub(crate) segments: Vec<u32>,
    /// Where the next batch goes.
    pub(crate) end: Place,
    pub(crate) last_position: u64,
    pub(crate) last_at_us: i64,
    pub(crate) chain: [u8; 32],
    pub(crate) boot_epoch: u32,
    pub(crate) batches: u64,
    pub(crate) bytes: u64,
    /// S.
    pub(crate) vouched: u64,
    /// The first batch above S, if there is one: only its writer could know whether it was ever flushed.
    pub(crate) unvouched: Option<Place>,
    pub(crate) beacon: Option<Beacon>,
    /// Damage above S within W: everything from `end` on is cut.
    pub(crate) torn: Option<Damage>,
}

/// The segments of a folder, ascending.
pub(crate) fn segment_numbers(dir: &Folder) -> Result<Vec<u32>, OpenError> {
    let segments = segments_dir(dir);
    let mut numbers = Vec::new();
    for path in dir.disk.list(&segments).map_err(OpenError::io("reading", &segments))? {
        let number = path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse::<u32>().ok());
        match (path.extension().and_then(|x| x.to_str()), number) {
            (Some("seg"), Some(n)) if n <= SEGMENT_MAX => numbers.push(n),
            (Some("tmp"), _) => {}
            _ => return Err(OpenError::NotAStore { dir: segments, what: "a file there is not a segment" }),
        }
    }
    numbers.sort_unstable();
    if numbers.windows(2).any(|w| w[0] + 1 != w[1]) {
        return Err(OpenError::NotAStore { dir: segments, what: "a segment is missing" });
    }
    Ok(numbers)
}

/// The segments behind the archive. What is archived may still be there after a crash, and is not looked at.
pub(crate) fn live_segments(dir: &Folder, start: &Start) -> Result<Vec<u32>, OpenError> {
    let mut numbers = segment_numbers(dir)?;
    numbers.retain(|n| *n > start.segment);
    let first = numbers.first().copied();
    if first.unwrap_or(1) != start.segment + 1 {
        return Err(OpenError::NotAStore { dir: segments_dir(dir), what: "a segment is missing" });
    }
    Ok(numbers)
}

/// Bytes that are read at once.
const READ_BYTES: u64 = 1 << 20;

/// All of a segment, its first block checked.
pub(crate) fn read_segment(dir: &Folder, store: &[u8; 16], number: u32) -> Result<Vec<u8>, OpenError> {
    read_segment_slowly(dir, store, number, &mut || {})
}

/// The same in pieces; `rest` is called after each.
pub(crate) fn read_segment_slowly(
    dir: &Folder,
    store: &[u8; 16],
    number: u32,
    rest: &mut dyn FnMut(),
) -> Result<Vec<u8>, OpenError> {
    let path = segment_path(dir, number);
    let mut read = || -> io::Result<Vec<u8>> {
        let file = dir.file(&path, Open::Read)?;
        let length = usize::try_from(file.bytes()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut file = Stream::new(file, 0);
        let mut bytes = Vec::with_capacity(length);
        while Read::by_ref(&mut file).take(READ_BYTES).read_to_end(&mut bytes)? > 0 {
            rest();
        }
        Ok(bytes)
    };
    let bytes = read().map_err(OpenError::io("reading", &path))?;
    let corrupt = |damage| OpenError::damaged(&path, 0, 0, damage, 0);
    let (id, n, size) = layout::decode_segment_block(&bytes).map_err(corrupt)?;
    if id != *store || n != number || size != bytes.len() as u64 {
        return Err(corrupt(Damage::Misplaced));
    }
    Ok(bytes)
}

/// The newest valid beacon. A damaged slot is the other one's reason to exist.
pub(crate) fn read_beacon(dir: &Folder, store: &[u8; 16]) -> Result<Option<Beacon>, OpenError> {
    let path = beacon_path(dir);
    let bytes = match dir.read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(OpenError::io("reading", &path)(e)),
    };
    let slots = bytes.chunks_exact(BLOCK).filter_map(|b| Beacon::decode(b).ok());
    Ok(slots.filter(|b| b.store == *store).max_by_key(|b| b.sequence))
}

/// What must follow in a log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    pub(crate) store: [u8; 16],
    pub(crate) next: u64,
    pub(crate) chain: Option<[u8; 32]>,
    pub(crate) at_us: i64,
    pub(crate) boot_epoch: u32,
}

impl Expected {
    /// Where the log goes on when everything so far, up to the end of `segment`, is archived.
    pub(crate) fn start(&self, segment: u32) -> Start {
        Start {
            position: self.next - 1,
            at_us: self.at_us,
            chain: self.chain.unwrap_or_default(),
            boot_epoch: self.boot_epoch,
            segment,
        }
    }

    /// Checks a whole batch against its place, and moves on.
    pub(crate) fn follow(&mut self, h: &BatchHeader, at: Place) -> Result<(), Damage> {
        let placed = h.store == self.store && h.segment == at.segment && h.offset == at.offset;
        let ordered = h.first_position == self.next && h.at_us >= self.at_us && h.boot_epoch >= self.boot_epoch;
        if !placed || !ordered {
            return Err(Damage::Misplaced);
        }
        if self.chain.is_some_and(|c| c != h.chain_before) {
            return Err(Damage::Chain);
        }
        self.next = h.last_position() + 1;
        self.chain = Some(h.chain());
        self.at_us = h.at_us;
        self.boot_epoch = h.boot_epoch;
        Ok(())
    }
}

/// Reads all segments and says where the log ends, or why it must not be opened.
pub(crate) fn scan(
    dir: &Folder,
    store: &[u8; 16],
    window_bytes: u64,
    start: Start,
    witness: u64,
) -> Result<Found, OpenError> {
    let segments = live_segments(dir, &start)?;
    let beacon = read_beacon(dir, store)?;
    let mut found = Found {
        end: Place { segment: segments.first().copied().unwrap_or(start.segment + 1), offset: BLOCK as u64 },
        segments,
        last_position: start.position,
        last_at_us: start.at_us,
        chain: start.chain,
        boot_epoch: start.boot_epoch,
        batches: 0,
        bytes: 0,
        vouched: beacon.map_or(0, |b| b.flushed).max(start.position).max(witness),
        unvouched: None,
        beacon,
        torn: None,
    };
    let mut expected = start.expected(store);
    let mut damage: Option<(Damage, PathBuf, u64)> = None;
    let mut unvouched: VecDeque<(u64, Place)> = VecDeque::new();
    // Bytes of data behind the first damage, counted along the log.
    let mut behind = 0u64;
    let mut before_damage = 0u64;
    for number in found.segments.clone() {
        let bytes = read_segment(dir, store, number)?;
        let mut offset = BLOCK as u64;
        while damage.is_none() && offset < bytes.len() as u64 {
            let at = Place { segment: number, offset };
            let rest = &bytes[offset as usize..];
            let followed = layout::batch(rest).and_then(|(h, _)| expected.follow(&h, at).map(|()| h));
            match followed {
                Ok(h) => {
                    offset += h.disk_bytes() as u64;
                    found.end = Place { segment: number, offset };
                    found.last_position = h.last_position();
                    found.last_at_us = h.at_us;
                    found.chain = h.chain();
                    found.boot_epoch = found.boot_epoch.max(h.boot_epoch);
                    found.vouched = found.vouched.max(h.flushed);
                    unvouched.push_back((h.last_position(), at));
                    while unvouched.front().is_some_and(|(last, _)| *last <= found.vouched) {
                        unvouched.pop_front();
                    }
                    found.batches += 1;
                    found.bytes += u64::from(h.body_bytes);
                }
                Err(_) if rest.iter().all(|b| *b == 0) => break,
                Err(Damage::Version { got }) => {
                    return Err(OpenError::NewerVersion { file: segment_path(dir, number), got });
                }
                Err(d) => {
                    let d = if rest[..BLOCK].iter().all(|b| *b == 0) { Damage::Hole } else { d };
                    damage = Some((d, segment_path(dir, number), offset));
                    before_damage = offset;
                }
            }
        }
        if damage.is_some() {
            let from = if before_damage > 0 { before_damage } else { BLOCK as u64 };
            witnesses(&bytes, from, store, number, &mut found.vouched);
            let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |i| i as u64 + 1);
            if used > from {
                behind += used - from;
            }
            before_damage = 0;
        }
    }
    found.unvouched = unvouched.front().map(|(_, at)| *at);
    let Some((d, file, offset)) = damage else {
        // Nothing is damaged, but something that was flushed may be missing altogether.
        if found.vouched > found.last_position {
            return Err(OpenError::Corrupt {
                file: segment_path(dir, found.end.segment),
                offset: found.end.offset,
                position: found.last_position + 1,
                damage: Damage::Hole,
                vouched: found.vouched,
            });
        }
        return Ok(found);
    };
    let position = found.last_position + 1;
    if position <= found.vouched || behind > window_bytes {
        return Err(OpenError::Corrupt { file, offset, position, damage: d, vouched: found.vouched });
    }
    found.torn = Some(d);
    Ok(found)
}

/// Where the segments begin: after the archive, or at the very start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Start {
    /// The last position of the archive.
    pub(crate) position: u64,
    pub(crate) at_us: i64,
    pub(crate) chain: [u8; 32],
    pub(crate) boot_epoch: u32,
    /// The last archived segment.
    pub(crate) segment: u32,
}

impl Start {
    /// What must follow.
    pub(crate) fn expected(&self, store: &[u8; 16]) -> Expected {
        Expected {
            store: *store,
            next: self.position + 1,
            chain: Some(self.chain),
            at_us: self.at_us,
            boot_epoch: self.boot_epoch,
        }
    }
}

/// Headers behind a damage still say what was flushed when they were built.
fn witnesses(bytes: &[u8], from: u64, store: &[u8; 16], segment: u32, vouched: &mut u64) {
    let mut offset = from;
    while let Some(rest) = bytes.get(offset as usize..).filter(|r| r.len() >= BLOCK) {
        if let Ok(h) = BatchHeader::decode(rest)
            && h.store == *store
            && h.segment == segment
            && h.offset == offset
        {
            *vouched = (*vouched).max(h.flushed);
        }
        offset += BLOCK as u64;
    }
}
