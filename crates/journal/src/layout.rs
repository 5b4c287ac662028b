//! The bytes of the journal on disk. `docs/formats/journal.md` has the tables; sizes and offsets are asserted here.
//!
//! ```text
//! segment:  header block (4 KiB) | batch | batch | … | zeros
//! batch:    header (256 bytes) | body | zeros to a multiple of 4 KiB
//! ```
//!
//! Decoding is total: any bytes are a header or a [`Damage`].

/// Everything on disk starts and ends at a multiple of this.
pub const BLOCK: usize = 4_096;
/// Bytes of a batch before its body.
pub const BATCH_HEADER_BYTES: usize = 256;
/// Bytes in every batch that belong to whoever writes it.
pub const MARGIN_BYTES: usize = 64;
/// Version of the format of segments, batches, the store file and the beacon.
pub const VERSION: u32 = 1;

const BATCH_MAGIC: [u8; 8] = *b"TGTBATCH";
const SEGMENT_MAGIC: [u8; 8] = *b"TGTSEGMT";
const STORE_MAGIC: [u8; 8] = *b"TGTSTORE";
const BEACON_MAGIC: [u8; 8] = *b"TGTBEACN";

const _: () = assert!(BATCH_HEADER_BYTES.is_multiple_of(64) && BATCH_HEADER_BYTES < BLOCK, "a header fits a block");

/// What is wrong with bytes that should be ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// Not the magic number.
    Magic,
    /// Written by a newer version.
    Version {
        /// Its number.
        got: u32,
    },
    /// The header's checksum does not hold.
    HeaderChecksum,
    /// The body's hash does not hold.
    BodyHash,
    /// Padding or reserved space is not zero.
    Padding,
    /// A length that cannot be.
    Length,
    /// A whole batch, but not of this store, segment, offset or order.
    Misplaced,
    /// The chain of hashes breaks here.
    Chain,
    /// Zeros where a batch should be, with data behind them.
    Hole,
    /// A position, a start or a segment that no log comes to.
    Number,
}

impl core::fmt::Display for Damage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Magic => f.write_str("not a batch"),
            Self::Version { got } => write!(f, "format version {got}, newer than this program's {VERSION}"),
            Self::HeaderChecksum => f.write_str("the header's checksum does not hold"),
            Self::BodyHash => f.write_str("the body's hash does not hold"),
            Self::Padding => f.write_str("padding or reserved space is not zero"),
            Self::Length => f.write_str("an impossible length"),
            Self::Misplaced => f.write_str("a whole batch in the wrong place"),
            Self::Chain => f.write_str("the chain of hashes breaks"),
            Self::Hole => f.write_str("zeros with data behind them"),
            Self::Number => f.write_str("a number that no log comes to"),
        }
    }
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    b.get(at..).and_then(|b| b.first_chunk()).map_or(0, |c| u32::from_le_bytes(*c))
}

fn u64_at(b: &[u8], at: usize) -> u64 {
    b.get(at..).and_then(|b| b.first_chunk()).map_or(0, |c| u64::from_le_bytes(*c))
}

fn array_at<const N: usize>(b: &[u8], at: usize) -> [u8; N] {
    b.get(at..).and_then(|b| b.first_chunk()).copied().unwrap_or([0; N])
}

fn put(b: &mut [u8], at: usize, bytes: &[u8]) {
    b[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Where a sealed block keeps its checksum; it covers everything behind.
const CHECKSUM_AT: usize = 8;

fn seal(b: &mut [u8], magic: [u8; 8]) {
    put(b, 0, &magic);
    put(b, 12, &VERSION.to_le_bytes());
    let crc = crc32c::crc32c(&b[12..]);
    put(b, CHECKSUM_AT, &crc.to_le_bytes());
}

fn unseal(b: &[u8], magic: [u8; 8]) -> Result<(), Damage> {
    if array_at::<8>(b, 0) != magic {
        return Err(Damage::Magic);
    }
    if b.get(12..).map(crc32c::crc32c) != Some(u32_at(b, CHECKSUM_AT)) {
        return Err(Damage::HeaderChecksum);
    }
    match u32_at(b, 12) {
        VERSION => Ok(()),
        got => Err(Damage::Version { got }),
    }
}

/// The last segment, half of what its number could hold, as for positions and starts: no log comes to them, and whoever
/// counts on from one that was read does not overflow.
pub(crate) const SEGMENT_MAX: u32 = u32::MAX >> 1;

/// That a log may come to these.
pub(crate) fn countable(position: u64, boot_epoch: u32, segment: u32) -> Result<(), Damage> {
    let counts = position <= u64::MAX >> 1 && boot_epoch <= u32::MAX >> 1 && segment <= SEGMENT_MAX;
    if counts { Ok(()) } else { Err(Damage::Number) }
}

/// The header of a batch.
///
/// ```text
/// 0 magic | 8 crc32c of 12.. | 12 version | 16 store id | 32 boot epoch | 36 segment | 40 offset
/// 48 first position | 56 count | 60 body bytes | 64 logged time µs | 72 flushed position
/// 80 chain hash before | 112 body hash | 144 margin | 208 zero
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// The store it belongs to.
    pub store: [u8; 16],
    /// Counts the starts of the store.
    pub boot_epoch: u32,
    /// The segment's number.
    pub segment: u32,
    /// Its offset in the segment.
    pub offset: u64,
    /// Position of its first record.
    pub first_position: u64,
    /// Records in it.
    pub count: u32,
    /// Bytes of its body.
    pub body_bytes: u32,
    /// Logged time, µs UTC.
    pub at_us: i64,
    /// The highest position known to be flushed when it was built.
    pub flushed: u64,
    /// Chain hash of the batch before it.
    pub chain_before: [u8; 32],
    /// BLAKE3 of the body.
    pub body_hash: [u8; 32],
    /// The writer's own.
    pub margin: [u8; MARGIN_BYTES],
}

impl BatchHeader {
    /// Writes it into the first bytes of `b`.
    pub fn encode(&self, b: &mut [u8]) {
        let b = &mut b[..BATCH_HEADER_BYTES];
        b.fill(0);
        put(b, 16, &self.store);
        put(b, 32, &self.boot_epoch.to_le_bytes());
        put(b, 36, &self.segment.to_le_bytes());
        put(b, 40, &self.offset.to_le_bytes());
        put(b, 48, &self.first_position.to_le_bytes());
        put(b, 56, &self.count.to_le_bytes());
        put(b, 60, &self.body_bytes.to_le_bytes());
        put(b, 64, &self.at_us.to_le_bytes());
        put(b, 72, &self.flushed.to_le_bytes());
        put(b, 80, &self.chain_before);
        put(b, 112, &self.body_hash);
        put(b, 144, &self.margin);
        seal(b, BATCH_MAGIC);
    }

    /// Reads it from the first bytes of `b`.
    pub fn decode(b: &[u8]) -> Result<Self, Damage> {
        let b = b.get(..BATCH_HEADER_BYTES).ok_or(Damage::Length)?;
        unseal(b, BATCH_MAGIC)?;
        if b[208..].iter().any(|x| *x != 0) {
            return Err(Damage::Padding);
        }
        countable(u64_at(b, 48), u32_at(b, 32), u32_at(b, 36))?;
        Ok(Self {
            store: array_at(b, 16),
            boot_epoch: u32_at(b, 32),
            segment: u32_at(b, 36),
            offset: u64_at(b, 40),
            first_position: u64_at(b, 48),
            count: u32_at(b, 56),
            body_bytes: u32_at(b, 60),
            at_us: u64_at(b, 64) as i64,
            flushed: u64_at(b, 72),
            chain_before: array_at(b, 80),
            body_hash: array_at(b, 112),
            margin: array_at(b, 144),
        })
    }

    /// The chain hash after this batch: over what it says, not over where it lies, so that the archive keeps it.
    #[must_use]
    pub fn chain(&self) -> [u8; 32] {
        let mut b = [0; BATCH_HEADER_BYTES];
        self.encode(&mut b);
        let mut hash = blake3::Hasher::new();
        hash.update(&b[16..36]).update(&b[48..208]);
        *hash.finalize().as_bytes()
    }

    /// Position of its last record.
    #[must_use]
    pub fn last_position(&self) -> u64 {
        self.first_position.saturating_add(u64::from(self.count)).saturating_sub(1)
    }

    /// Bytes on disk, padding included.
    #[must_use]
    pub fn disk_bytes(&self) -> usize {
        disk_bytes(self.body_bytes as usize)
    }
}

/// Bytes on disk of a batch with a body of so many bytes.
#[must_use]
pub fn disk_bytes(body_bytes: usize) -> usize {
    (BATCH_HEADER_BYTES + body_bytes).next_multiple_of(BLOCK)
}

/// A batch in the bytes that start with it, its hash and padding checked.
pub fn batch(b: &[u8]) -> Result<(BatchHeader, &[u8]), Damage> {
    let header = BatchHeader::decode(b)?;
    if header.count == 0 {
        return Err(Damage::Length);
    }
    let end = BATCH_HEADER_BYTES + header.body_bytes as usize;
    let body = b.get(BATCH_HEADER_BYTES..end).ok_or(Damage::Length)?;
    let padding = b.get(end..header.disk_bytes()).ok_or(Damage::Length)?;
    if *blake3::hash(body).as_bytes() != header.body_hash {
        return Err(Damage::BodyHash);
    }
    if padding.iter().any(|x| *x != 0) {
        return Err(Damage::Padding);
    }
    Ok((header, body))
}

/// The first block of a segment: `0 magic | 8 crc | 12 version | 16 store id | 32 segment | 36 zero | 40 bytes`.
#[must_use]
pub fn segment_block(store: &[u8; 16], segment: u32, bytes: u64) -> [u8; BLOCK] {
    let mut b = [0; BLOCK];
    put(&mut b, 16, store);
    put(&mut b, 32, &segment.to_le_bytes());
    put(&mut b, 40, &bytes.to_le_bytes());
    seal(&mut b, SEGMENT_MAGIC);
    b
}

/// Store id, number and size of a segment.
pub fn decode_segment_block(b: &[u8]) -> Result<([u8; 16], u32, u64), Damage> {
    let b = b.get(..BLOCK).ok_or(Damage::Length)?;
    unseal(b, SEGMENT_MAGIC)?;
    if u32_at(b, 36) != 0 || b[48..].iter().any(|x| *x != 0) {
        return Err(Damage::Padding);
    }
    Ok((array_at(b, 16), u32_at(b, 32), u64_at(b, 40)))
}

/// The store file: `0 magic | 8 crc | 12 version | 16 store id | 32 shards | 36 zero | 40 segment bytes`.
#[must_use]
pub fn store_block(store: &[u8; 16], shards: u32, segment_bytes: u64) -> [u8; BLOCK] {
    let mut b = [0; BLOCK];
    put(&mut b, 16, store);
    put(&mut b, 32, &shards.to_le_bytes());
    put(&mut b, 40, &segment_bytes.to_le_bytes());
    seal(&mut b, STORE_MAGIC);
    b
}

/// Store id, shards and segment size.
pub fn decode_store_block(b: &[u8]) -> Result<([u8; 16], u32, u64), Damage> {
    let b = b.get(..BLOCK).ok_or(Damage::Length)?;
    unseal(b, STORE_MAGIC)?;
    if u32_at(b, 36) != 0 || b[48..].iter().any(|x| *x != 0) {
        return Err(Damage::Padding);
    }
    Ok((array_at(b, 16), u32_at(b, 32), u64_at(b, 40)))
}

/// A witness of the flushed position after the log has gone quiet.
///
/// ```text
/// 0 magic | 8 crc | 12 version | 16 store id | 32 boot epoch | 36 clean stop | 40 sequence | 48 flushed
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Beacon {
    /// The store it belongs to.
    pub store: [u8; 16],
    /// The start that wrote it.
    pub boot_epoch: u32,
    /// True when the writer ended by its own will, with nothing in flight.
    pub clean: bool,
    /// Grows with every beacon; the two slots alternate.
    pub sequence: u64,
    /// Everything up to this position is flushed.
    pub flushed: u64,
}

impl Beacon {
    /// Its block.
    #[must_use]
    pub fn encode(&self) -> [u8; BLOCK] {
        let mut b = [0; BLOCK];
        put(&mut b, 16, &self.store);
        put(&mut b, 32, &self.boot_epoch.to_le_bytes());
        put(&mut b, 36, &u32::from(self.clean).to_le_bytes());
        put(&mut b, 40, &self.sequence.to_le_bytes());
        put(&mut b, 48, &self.flushed.to_le_bytes());
        seal(&mut b, BEACON_MAGIC);
        b
    }

    /// From its block.
    pub fn decode(b: &[u8]) -> Result<Self, Damage> {
        let b = b.get(..BLOCK).ok_or(Damage::Length)?;
        unseal(b, BEACON_MAGIC)?;
        let clean = u32_at(b, 36);
        if clean > 1 || b[56..].iter().any(|x| *x != 0) {
            return Err(Damage::Padding);
        }
        countable(u64_at(b, 48).max(u64_at(b, 40)), u32_at(b, 32), 0)?;
        Ok(Self {
            store: array_at(b, 16),
            boot_epoch: u32_at(b, 32),
            clean: clean == 1,
            sequence: u64_at(b, 40),
            flushed: u64_at(b, 48),
        })
    }
}
