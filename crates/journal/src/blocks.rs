//! Files that are written once and then only read: snapshots and archived segments. `docs/formats/journal.md` has the
//! tables.
//!
//! ```text
//! header (64 bytes) | block … | trailer (256 bytes)
//! block:  0 u32 bytes, never 0 | 4 crc32c of what follows | 8 u64 number | payload
//! ```
//!
//! A file has its name only when it is whole and flushed; a reader trusts nothing but checksums all the same.

use crate::disk::{Disk, Folder, Open, Stream, read_exact_at};
use crate::error::OpenError;
use crate::layout::{Damage, MARGIN_BYTES, VERSION, countable};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const HEADER_BYTES: usize = 64;
const BLOCK_HEADER_BYTES: usize = 16;
const TRAILER_BYTES: usize = 256;
const TRAILER_MAGIC: [u8; 8] = *b"TGTTRAIL";
/// No block is longer; a length beyond is damage, and nothing is allocated for it.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 8 << 20;
/// Bytes after which the kernel is made to write, so that the log's next write never waits behind more than this.
const WRITE_BACK_EVERY: u64 = 256 << 10;
/// Writing rests so many times as long as it writes.
const REST: u32 = 5;

/// What stands at the end of a whole file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// The last position that is in it.
    pub position: u64,
    /// Logged time of that position, µs UTC.
    pub at_us: i64,
    /// The start of the node at that position.
    pub boot_epoch: u32,
    /// The segment that was archived; 0 in a snapshot.
    pub segment: u32,
    /// The chain hash after that position.
    pub chain: [u8; 32],
    /// The owner's own bytes.
    pub margin: [u8; MARGIN_BYTES],
}

impl Trailer {
    /// `0 magic | 8 crc32c of 12.. | 12 version | 16 blocks | 24 position | 32 time µs | 40 boot epoch | 44 segment |
    /// 48 chain hash | 80 margin | 144 zero`
    fn encode(&self, blocks: u64) -> [u8; TRAILER_BYTES] {
        let mut b = [0; TRAILER_BYTES];
        b[..8].copy_from_slice(&TRAILER_MAGIC);
        b[12..16].copy_from_slice(&VERSION.to_le_bytes());
        b[16..24].copy_from_slice(&blocks.to_le_bytes());
        b[24..32].copy_from_slice(&self.position.to_le_bytes());
        b[32..40].copy_from_slice(&self.at_us.to_le_bytes());
        b[40..44].copy_from_slice(&self.boot_epoch.to_le_bytes());
        b[44..48].copy_from_slice(&self.segment.to_le_bytes());
        b[48..80].copy_from_slice(&self.chain);
        b[80..80 + MARGIN_BYTES].copy_from_slice(&self.margin);
        let crc = crc32c::crc32c(&b[12..]);
        b[8..12].copy_from_slice(&crc.to_le_bytes());
        b
    }

    fn decode(b: &[u8; TRAILER_BYTES]) -> Result<(Self, u64), Damage> {
        if b[..8] != TRAILER_MAGIC {
            return Err(Damage::Magic);
        }
        if word(b, 8) != crc32c::crc32c(&b[12..]) {
            return Err(Damage::HeaderChecksum);
        }
        if word(b, 12) != VERSION {
            return Err(Damage::Version { got: word(b, 12) });
        }
        if b[80 + MARGIN_BYTES..].iter().any(|x| *x != 0) {
            return Err(Damage::Padding);
        }
        countable(long(b, 24), word(b, 40), word(b, 44))?;
        let trailer = Self {
            position: long(b, 24),
            at_us: long(b, 32) as i64,
            boot_epoch: word(b, 40),
            segment: word(b, 44),
            chain: *b[48..].first_chunk().ok_or(Damage::Length)?,
            margin: *b[80..].first_chunk().ok_or(Damage::Length)?,
        };
        Ok((trailer, long(b, 16)))
    }
}

fn word(b: &[u8], at: usize) -> u32 {
    b.get(at..).and_then(|b| b.first_chunk()).map_or(0, |c| u32::from_le_bytes(*c))
}

fn long(b: &[u8], at: usize) -> u64 {
    b.get(at..).and_then(|b| b.first_chunk()).map_or(0, |c| u64::from_le_bytes(*c))
}

/// `0 magic | 8 crc32c of 12.. | 12 version | 16 store id | 32 zero`
fn header(magic: [u8; 8], store: &[u8; 16]) -> [u8; HEADER_BYTES] {
    let mut b = [0; HEADER_BYTES];
    b[..8].copy_from_slice(&magic);
    b[12..16].copy_from_slice(&VERSION.to_le_bytes());
    b[16..32].copy_from_slice(store);
    let crc = crc32c::crc32c(&b[12..]);
    b[8..12].copy_from_slice(&crc.to_le_bytes());
    b
}

fn checksum(number: u64, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), payload)
}

/// A file that is being written, under another name until it is whole.
#[derive(Debug)]
pub(crate) struct BlocksWriter {
    out: BufWriter<Stream>,
    disk: Arc<dyn Disk>,
    draft: PathBuf,
    path: PathBuf,
    blocks: u64,
    unwritten: u64,
    whole: bool,
}

impl BlocksWriter {
    pub(crate) fn create(dir: &Folder, path: &Path, magic: [u8; 8], store: &[u8; 16]) -> io::Result<Self> {
        let draft = path.with_extension("tmp");
        let mut out =
            BufWriter::with_capacity(WRITE_BACK_EVERY as usize, Stream::new(dir.file(&draft, Open::Create)?, 0));
        out.write_all(&header(magic, store))?;
        let disk = Arc::clone(&dir.disk);
        Ok(Self { out, disk, draft, path: path.to_owned(), blocks: 0, unwritten: 0, whole: false })
    }

    pub(crate) fn block(&mut self, payload: &[u8]) -> io::Result<()> {
        assert!(!payload.is_empty() && payload.len() <= PAYLOAD_BYTES_MAX, "a block has 1 byte to 8 MiB");
        let mut head = [0; BLOCK_HEADER_BYTES];
        head[..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        head[4..8].copy_from_slice(&checksum(self.blocks, payload).to_le_bytes());
        head[8..].copy_from_slice(&self.blocks.to_le_bytes());
        self.out.write_all(&head)?;
        self.out.write_all(payload)?;
        self.blocks += 1;
        self.unwritten += payload.len() as u64;
        if self.unwritten >= WRITE_BACK_EVERY {
            self.unwritten = 0;
            let began = self.disk.elapsed();
            self.out.flush()?;
            // A flush would be one of the whole device, and a commit of the file system, that the log's writes had to wait
            // for. The end is flushed.
            self.out.get_ref().file.write_back()?;
            // Five sixths of the disk's time are left to the log.
            self.disk.rest((self.disk.elapsed() - began) * REST);
        }
        Ok(())
    }

    /// Writes the end, flushes, and gives the file its name.
    pub(crate) fn finish(mut self, trailer: &Trailer) -> io::Result<()> {
        self.out.write_all(&trailer.encode(self.blocks))?;
        self.out.flush()?;
        self.out.get_ref().file.sync()?;
        self.disk.rename(&self.draft, &self.path)?;
        self.whole = true;
        self.path.parent().map_or(Ok(()), |folder| self.disk.sync_folder(folder))
    }
}

/// Removes the drafts that a killed writer left in a folder; nobody writes there now.
pub(crate) fn remove_drafts(dir: &Folder, folder: &Path) -> io::Result<()> {
    for path in dir.list(folder)? {
        if path.extension().is_some_and(|x| x == "tmp") {
            dir.disk.remove(&path)?;
        }
    }
    Ok(())
}

impl Drop for BlocksWriter {
    fn drop(&mut self) {
        if !self.whole {
            let _ = self.disk.remove(&self.draft);
        }
    }
}

/// A whole file.
#[derive(Debug)]
pub(crate) struct BlocksReader {
    file: BufReader<Stream>,
    path: PathBuf,
    trailer: Trailer,
    blocks: u64,
    next: u64,
    offset: u64,
    /// Where the trailer begins.
    end: u64,
    buffer: Vec<u8>,
}

impl BlocksReader {
    /// A file of blocks.
    pub(crate) fn open(dir: &Folder, path: &Path, magic: [u8; 8], store: &[u8; 16]) -> Result<Self, OpenError> {
        let reader = Self::read(dir, path, magic, store)?;
        if reader.blocks == 0 { Err(reader.damaged(Damage::Length)) } else { Ok(reader) }
    }

    /// The trailer of a file without blocks.
    pub(crate) fn mark(dir: &Folder, path: &Path, magic: [u8; 8], store: &[u8; 16]) -> Result<Trailer, OpenError> {
        let reader = Self::read(dir, path, magic, store)?;
        let empty = reader.blocks == 0 && reader.end == reader.offset;
        if empty { Ok(reader.trailer) } else { Err(reader.damaged(Damage::Length)) }
    }

    fn read(dir: &Folder, path: &Path, magic: [u8; 8], store: &[u8; 16]) -> Result<Self, OpenError> {
        let io = |e| OpenError::io("reading", path)(e);
        let corrupt = |offset, damage| OpenError::damaged(path, offset, 0, damage, 0);
        let file = dir.file(path, Open::Read).map_err(io)?;
        let bytes = file.bytes().map_err(io)?;
        let Some(end) = bytes.checked_sub(TRAILER_BYTES as u64).filter(|n| *n >= HEADER_BYTES as u64) else {
            return Err(corrupt(0, Damage::Length));
        };
        let mut head = [0; HEADER_BYTES];
        read_exact_at(&*file, &mut head, 0).map_err(io)?;
        if head != header(magic, store) {
            let version = word(&head, 12);
            let newer = head[..8] == magic && word(&head, 8) == crc32c::crc32c(&head[12..]) && version != VERSION;
            return Err(corrupt(0, if newer { Damage::Version { got: version } } else { Damage::Misplaced }));
        }
        let mut tail = [0; TRAILER_BYTES];
        read_exact_at(&*file, &mut tail, end).map_err(io)?;
        let (trailer, blocks) = Trailer::decode(&tail).map_err(|d| corrupt(end, d))?;
        let offset = HEADER_BYTES as u64;
        let file = BufReader::with_capacity(1 << 20, Stream::new(file, offset));
        Ok(Self { file, path: path.to_owned(), trailer, blocks, next: 0, offset, end, buffer: Vec::new() })
    }

    pub(crate) fn trailer(&self) -> &Trailer {
        &self.trailer
    }

    pub(crate) fn damaged(&self, damage: Damage) -> OpenError {
        OpenError::damaged(&self.path, self.offset, self.trailer.position, damage, self.trailer.position)
    }

    /// The next block's payload; nothing after the last, with which the file must be at its trailer.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, OpenError> {
        if self.next == self.blocks {
            return if self.offset == self.end { Ok(None) } else { Err(self.damaged(Damage::Length)) };
        }
        let mut head = [0; BLOCK_HEADER_BYTES];
        self.fill(Some(&mut head), 0)?;
        let bytes = word(&head, 0) as usize;
        if bytes == 0 || bytes > PAYLOAD_BYTES_MAX || long(&head, 8) != self.next {
            return Err(self.damaged(Damage::Length));
        }
        self.fill(None, bytes)?;
        if checksum(self.next, &self.buffer) != word(&head, 4) {
            return Err(self.damaged(Damage::BodyHash));
        }
        self.next += 1;
        self.offset += (BLOCK_HEADER_BYTES + bytes) as u64;
        Ok(Some(&self.buffer))
    }

    fn fill(&mut self, head: Option<&mut [u8]>, bytes: usize) -> Result<(), OpenError> {
        let result = match head {
            Some(head) => self.file.read_exact(head),
            None => {
                self.buffer.resize(bytes, 0);
                self.file.read_exact(&mut self.buffer)
            }
        };
        match result {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(self.damaged(Damage::Length)),
            other => other.map_err(OpenError::io("reading", &self.path)),
        }
    }
}
