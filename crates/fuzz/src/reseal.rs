//! Checksums and lengths set right after a change, so that what is tested is the reader behind them. Each walks as far as
//! the bytes make sense, and leaves the rest.

use crate::random::Random;

fn word(b: &[u8], at: usize) -> usize {
    b.get(at..).and_then(|b| b.first_chunk()).map_or(0, |c| u32::from_le_bytes(*c)) as usize
}

fn put(b: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(to) = b.get_mut(at..at + bytes.len()) {
        to.copy_from_slice(bytes);
    }
}

/// Sets the checksum at `at` over `from..to`.
fn seal(b: &mut [u8], at: usize, from: usize, to: usize) {
    if let Some(crc) = b.get(from..to).map(crc32c::crc32c) {
        put(b, at, &crc.to_le_bytes());
    }
}

/// Frames, one behind the other; the last one takes what is left.
pub fn frames(b: &mut [u8], random: &mut Random) {
    let mut at = 0;
    while b.len() >= at + 8 {
        let left = b.len() - at;
        let mut n = word(b, at);
        if !(24..=left).contains(&n) || random.one_in(16) && n < left {
            n = left;
            put(b, at, &(n as u32).to_le_bytes());
        }
        seal(b, at + 4, at + 8, at + n);
        at += n;
    }
}

/// Bytes of a block of the journal.
const BLOCK: usize = 4_096;
const BATCH_BYTES: usize = 256;

/// A beacon and segments; see [`crate::targets`]. Batches get right hashes, and mostly a right chain.
pub fn journal(b: &mut [u8], random: &mut Random) {
    let segment_bytes = crate::targets::SEGMENT_BYTES;
    let mut chain: Option<[u8; 32]> = None;
    for at in (0..b.len()).step_by(BLOCK) {
        let end = (at + BLOCK).min(b.len());
        match b.get(at..at + 8) {
            Some(b"TGTBEACN" | b"TGTSEGMT") => seal(b, at + 8, at + 12, end),
            Some(b"TGTBATCH") if end >= at + BATCH_BYTES => {
                let body = at + BATCH_BYTES;
                let body_end = (body + word(b, at + 60)).min(b.len());
                let hash = *blake3::hash(&b[body..body_end]).as_bytes();
                put(b, at + 112, &hash);
                if let Some(chain) = chain.filter(|_| !random.one_in(16)) {
                    put(b, at + 80, &chain);
                }
                if !random.one_in(16) {
                    let place = at - crate::targets::BEACON_BYTES.min(at);
                    put(b, at + 36, &((place / segment_bytes) as u32 + 1).to_le_bytes());
                    put(b, at + 40, &((place % segment_bytes) as u64).to_le_bytes());
                }
                seal(b, at + 8, at + 12, body);
                let mut hash = blake3::Hasher::new();
                hash.update(&b[at + 16..at + 36]).update(&b[at + 48..at + 208]);
                chain = Some(*hash.finalize().as_bytes());
            }
            _ => {}
        }
    }
}

/// A file of blocks: a snapshot or an archived segment.
pub fn blocks(b: &mut [u8], _: &mut Random) {
    const HEADER: usize = 64;
    const TRAILER: usize = 256;
    seal(b, 8, 12, HEADER);
    let Some(end) = b.len().checked_sub(TRAILER) else { return };
    let (mut at, mut count) = (HEADER, 0u64);
    while at + 16 < end {
        let n = word(b, at).clamp(1, end - at - 16);
        put(b, at, &(n as u32).to_le_bytes());
        put(b, at + 8, &count.to_le_bytes());
        seal(b, at + 4, at + 8, at + 16 + n);
        (at, count) = (at + 16 + n, count + 1);
    }
    put(b, end + 16, &count.to_le_bytes());
    let all = b.len();
    seal(b, end + 8, end + 12, all);
}

/// Records of a spool.
pub fn spool(b: &mut [u8], random: &mut Random) {
    const RECORD: usize = 160;
    for (i, record) in b.chunks_exact_mut(RECORD).enumerate() {
        if !random.one_in(16) {
            put(record, 8, &(i as u64 + 1).to_le_bytes());
        }
        seal(record, 0, 4, RECORD);
    }
}

/// Nothing to set right.
pub fn nothing(_: &mut [u8], _: &mut Random) {}
