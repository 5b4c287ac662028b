//! What a client approved by itself, kept until the core has been told: an append-only file of fixed records, each
//! flushed before the next step.
//!
//! ```text
//! record: 0 u32 crc32c of 4.. | 4 u8 what | 5 zero | 8 u64 number | 16 [144] payload
//! what:   1 opened  magic, holder            the first record
//!         2 lease   position, journal record of the lease
//!         3 queued  journal record of an advice, a reversal or a fence
//!         4 done    up to 15 times: number of a queued record, code of its answer
//! ```
//!
//! Invariants: what was appended is on the disk when [`Spool::append`] returns; after a write or a flush that failed
//! nothing is appended any more; a torn record at the end is cut when the file is opened, damage anywhere else is an
//! error and changes nothing; one process has it open.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tegata_model::{Command, Position, Reader, Writer, decode, encode};

/// Bytes of every record.
const RECORD_BYTES: usize = 160;
const PAYLOAD_AT: usize = 16;
/// What the first record begins with: name and version of the format.
const MAGIC: [u8; 8] = *b"TGTSPOL1";
/// The largest spool that is read: a lease cannot cover as many payments.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Why a spool cannot be used.
#[derive(Debug)]
pub enum SpoolError {
    /// The disk.
    Io(io::Error),
    /// Another process has it.
    InUse,
    /// What no crash explains: it is left as it is.
    Damaged {
        /// Byte in the file.
        at: u64,
    },
    /// An earlier write or flush failed, and what is on the disk is not known; or it is full.
    Failed,
}

impl core::fmt::Display for SpoolError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Io(e) => write!(f, "the spool: {e}"),
            Self::InUse => f.write_str("another process has the spool"),
            Self::Damaged { at } => write!(f, "the spool is damaged at byte {at}"),
            Self::Failed => f.write_str("the spool failed before; open it again"),
        }
    }
}

impl std::error::Error for SpoolError {}

impl From<io::Error> for SpoolError {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Entry {
    /// The name under which this client holds leases.
    Opened { holder: [u8; 16] },
    /// A lease: where it was granted, and its command, received when it was granted.
    Lease { epoch: Position, command: Command },
    /// To be told.
    Queued(Command),
    /// Told.
    Done(Dones),
}

/// Queued records that were answered, and with which codes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Dones {
    count: u8,
    list: [(u64, u8); Self::MAX],
}

impl Dones {
    /// So many fit into a record: what is told side by side is done with one flush.
    pub(crate) const MAX: usize = 15;

    /// From at most [`Dones::MAX`]; the rest is left, and told again.
    pub(crate) fn take(from: &[(u64, u8)]) -> Self {
        let n = from.len().min(Self::MAX);
        let mut list = [(0, 0); Self::MAX];
        list[..n].copy_from_slice(&from[..n]);
        Self { count: n as u8, list }
    }

    pub(crate) fn as_slice(&self) -> &[(u64, u8)] {
        &self.list[..usize::from(self.count).min(Self::MAX)]
    }
}

const DONES_BYTES: usize = 1 + 9 * Dones::MAX;
const _: () = assert!(DONES_BYTES <= RECORD_BYTES - PAYLOAD_AT, "they fit into a record");

/// Steps of an append, for whoever watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Append {
    Write,
    Flush,
}

/// What a spool needs of a file; a test has one that forgets what was not flushed.
pub(crate) trait Disk {
    /// All of it, at most [`FILE_BYTES_MAX`] and one more.
    fn read(&mut self) -> io::Result<Vec<u8>>;
    /// Writes at a byte.
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Keeps what is cut and may have been told to somebody.
    fn keep(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Ends the file at a byte.
    fn cut(&mut self, at: u64) -> io::Result<()>;
    /// What was written and cut survives any crash.
    fn flush(&mut self) -> io::Result<()>;
}

/// The file of a folder.
#[derive(Debug)]
pub(crate) struct InFolder {
    file: File,
    folder: PathBuf,
}

impl Disk for InFolder {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        (&self.file).take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(at))?;
        self.file.write_all(bytes)
    }

    fn keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut kept = OpenOptions::new().append(true).create(true).open(kept_path(&self.folder))?;
        kept.write_all(bytes)?;
        kept.sync_all()
    }

    fn cut(&mut self, at: u64) -> io::Result<()> {
        self.file.set_len(at)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Spool<D = InFolder> {
    disk: D,
    /// Number of the next record, from 1.
    next: u64,
    failed: bool,
}

impl Spool {
    /// Opens or makes the spool of a folder; returns what is in it, with its numbers.
    pub(crate) fn open(folder: &Path, holder: [u8; 16]) -> Result<(Self, Vec<(u64, Entry)>), SpoolError> {
        let whole = std::path::absolute(folder)?;
        let missing: Vec<&Path> = whole.ancestors().take_while(|d| !d.exists()).collect();
        std::fs::create_dir_all(folder)?;
        let path = spool_path(folder);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SpoolError::InUse),
            Err(TryLockError::Error(e)) => return Err(e.into()),
        }
        let opened = Self::on(InFolder { file, folder: folder.to_owned() }, holder)?;
        // Its name survives a crash, too, and those of the folders that were made for it.
        let made_in = missing.iter().filter_map(|d| d.parent());
        [folder].into_iter().chain(made_in).try_for_each(|d| File::open(d)?.sync_all())?;
        Ok(opened)
    }
}

impl<D: Disk> Spool<D> {
    /// On a disk that nobody else writes.
    fn on(disk: D, holder: [u8; 16]) -> Result<(Self, Vec<(u64, Entry)>), SpoolError> {
        let mut spool = Self { disk, next: 1, failed: false };
        let mut entries = spool.read()?;
        if entries.is_empty() {
            let opened = Entry::Opened { holder };
            entries.push((spool.append(&opened, &mut |_| {})?, opened));
        }
        Ok((spool, entries))
    }

    /// Reads all of it, cuts a torn end, and flushes what was read before it is trusted. A last record that is whole and
    /// cannot be read may have been flushed, and so told to somebody: it is kept beside.
    fn read(&mut self) -> Result<Vec<(u64, Entry)>, SpoolError> {
        let bytes = self.disk.read()?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(SpoolError::Damaged { at: FILE_BYTES_MAX });
        }
        let mut entries = Vec::new();
        let mut torn = None;
        for (i, record) in bytes.chunks(RECORD_BYTES).enumerate() {
            let (at, number) = ((i * RECORD_BYTES) as u64, i as u64 + 1);
            match (get(record, number), torn) {
                (Some(entry), None) if matches!(entry, Entry::Opened { .. }) == (i == 0) => {
                    entries.push((number, entry))
                }
                // One record is written at a time: behind a torn one there is nothing.
                (_, Some(torn)) => return Err(SpoolError::Damaged { at: torn }),
                (Some(_), None) => return Err(SpoolError::Damaged { at }),
                (None, None) => torn = Some(at),
            }
        }
        if let Some(at) = torn {
            let end = &bytes[at as usize..];
            if end.len() == RECORD_BYTES && end.iter().any(|b| *b != 0) {
                self.disk.keep(end)?;
            }
            self.disk.cut(at)?;
        }
        self.disk.flush()?;
        self.next = entries.len() as u64 + 1;
        Ok(entries)
    }

    /// Appends a record and flushes it; returns its number. `watch` is told of each step before it is done.
    pub(crate) fn append(&mut self, entry: &Entry, watch: &mut dyn FnMut(Append)) -> Result<u64, SpoolError> {
        if self.failed || self.next > FILE_BYTES_MAX / RECORD_BYTES as u64 {
            return Err(SpoolError::Failed);
        }
        let number = self.next;
        let record = put(entry, number);
        // Whatever fails from here on, nobody knows what is on the disk.
        self.failed = true;
        watch(Append::Write);
        self.disk.write((number - 1) * RECORD_BYTES as u64, &record)?;
        watch(Append::Flush);
        self.disk.flush()?;
        self.failed = false;
        self.next += 1;
        Ok(number)
    }

    /// Forgets everything but who holds it: nothing else is needed any more.
    pub(crate) fn empty(&mut self) -> Result<(), SpoolError> {
        self.disk.cut(RECORD_BYTES as u64)?;
        self.disk.flush()?;
        self.next = 2;
        Ok(())
    }
}

fn spool_path(folder: &Path) -> PathBuf {
    folder.join("spool")
}

/// Last records that were whole and could not be read, one after the other.
pub(crate) fn kept_path(folder: &Path) -> PathBuf {
    folder.join("spool.damaged")
}

fn put(entry: &Entry, number: u64) -> [u8; RECORD_BYTES] {
    let mut payload = Vec::with_capacity(RECORD_BYTES);
    let what = match entry {
        Entry::Opened { holder } => {
            Writer::new(&mut payload).bytes(&MAGIC).bytes(holder);
            1
        }
        Entry::Lease { epoch, command } => {
            Writer::new(&mut payload).u64(epoch.get());
            encode(command, &mut payload);
            2
        }
        Entry::Queued(command) => {
            encode(command, &mut payload);
            3
        }
        Entry::Done(dones) => {
            let mut w = Writer::new(&mut payload);
            w.u8(dones.count);
            for (number, code) in dones.as_slice() {
                w.u64(*number).u8(*code);
            }
            4
        }
    };
    let mut b = [0; RECORD_BYTES];
    b[4] = what;
    b[8..PAYLOAD_AT].copy_from_slice(&number.to_le_bytes());
    b[PAYLOAD_AT..PAYLOAD_AT + payload.len()].copy_from_slice(&payload);
    let crc = crc32c::crc32c(&b[4..]);
    b[..4].copy_from_slice(&crc.to_le_bytes());
    b
}

/// The record with this number; nothing when it is not one.
fn get(b: &[u8], expected: u64) -> Option<Entry> {
    if b.len() != RECORD_BYTES || crc32c::crc32c(&b[4..]).to_le_bytes() != b[..4] {
        return None;
    }
    let mut r = Reader::new(&b[4..]);
    let (what, zero, number) = (r.u8().ok()?, r.array::<3>().ok()?, r.u64().ok()?);
    if zero != [0; 3] || number != expected {
        return None;
    }
    match what {
        1 => (r.array().ok()? == MAGIC).then_some(())?,
        2 => return Some(Entry::Lease { epoch: Position::new(r.u64().ok()?), command: decode(r.rest()).ok()? }),
        3 => return Some(Entry::Queued(decode(r.rest()).ok()?)),
        4 => {
            let count = r.u8().ok()?;
            let some: Option<Vec<_>> = (0..count).map(|_| Some((r.u64().ok()?, r.u8().ok()?))).collect();
            return some.filter(|some| some.len() <= Dones::MAX).map(|some| Entry::Done(Dones::take(&some)));
        }
        _ => return None,
    }
    Some(Entry::Opened { holder: r.array().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tegata_model::{
        Advice, Allowance, Amount, Envelope, Key, Operation, ProgrammeId, Purchase, ShopId, TerminalId, Timestamp,
    };

    fn queued(n: u8) -> Entry {
        let purchase = Purchase {
            shop: ShopId::from_text("S1").expect("a shop"),
            terminal: TerminalId::NONE,
            amount: Amount::new(100).expect("in range"),
            token: Position::ZERO,
            partial: false,
        };
        let (lease, approved_at) = (Position::new(9), Timestamp::from_micros(7));
        let advice = Advice { purchase, programme: ProgrammeId::new(1), lease, approved_at };
        let envelope = Envelope { key: Key::from_bytes([n; 16]), ..Envelope::default() };
        Entry::Queued(Command { envelope, operation: Operation::Advice(advice) })
    }

    /// A spool with some records, closed.
    fn written(folder: &Path) -> Vec<Entry> {
        let mut all = vec![Entry::Opened { holder: [1; 16] }];
        let (mut spool, found) = Spool::open(folder, [1; 16]).expect("a new spool");
        assert_eq!(found, [(1, all[0])]);
        for entry in [queued(1), queued(2), Entry::Done(Dones::take(&[(2, 0)])), queued(3)] {
            spool.append(&entry, &mut |_| {}).expect("it is written");
            all.push(entry);
        }
        all
    }

    fn entries(folder: &Path) -> Result<Vec<Entry>, SpoolError> {
        Spool::open(folder, [2; 16]).map(|(_, found)| found.into_iter().map(|(_, e)| e).collect())
    }

    const GOLDEN: &[u8] = include_bytes!("../tests/golden/v1.spool");

    /// One of each record, as `docs/formats/spool.md` has them.
    fn sample() -> Vec<Entry> {
        let allowance = Allowance::with_defaults(300_000);
        let operation = Operation::Lease { programme: ProgrammeId::new(13), holder: [5; 16], allowance };
        let envelope = Envelope { received_at: Timestamp::from_micros(1_780_000_000_000_000), ..Envelope::default() };
        let lease = Entry::Lease { epoch: Position::new(9), command: Command { envelope, operation } };
        vec![Entry::Opened { holder: [5; 16] }, lease, queued(3), Entry::Done(Dones::take(&[(3, 0), (9, 154)]))]
    }

    fn sample_bytes() -> Vec<u8> {
        (1..).zip(sample()).flat_map(|(n, e)| put(&e, n)).collect()
    }

    #[test]
    #[ignore = "writes the golden file"]
    fn write_the_golden_file() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1.spool");
        std::fs::write(golden, sample_bytes()).expect("it is written");
    }

    #[test]
    fn version_1_is_written_and_read_as_it_was() {
        assert!(sample_bytes() == GOLDEN, "what is written has changed: that is a new version");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(spool_path(folder.path()), GOLDEN).expect("it is written");
        assert_eq!(entries(folder.path()).expect("a sound spool"), sample());
        assert_eq!(GOLDEN[PAYLOAD_AT..PAYLOAD_AT + 24], [&MAGIC[..], &[5; 16]].concat());
        assert_eq!((GOLDEN[160 + 4], GOLDEN[160 + 8], GOLDEN[160 + 16]), (2, 2, 9));
        assert_eq!(GOLDEN[3 * 160 + 16..][..19], [2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 154]);
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let all = written(folder.path());
        assert_eq!(entries(folder.path()).expect("a sound spool"), all);
        let (_open, _) = Spool::open(folder.path(), [2; 16]).expect("a sound spool");
        assert!(matches!(Spool::open(folder.path(), [2; 16]), Err(SpoolError::InUse)));
    }

    #[test]
    fn a_torn_end_is_cut_at_every_byte_and_written_over() {
        for lost in (1..=2 * RECORD_BYTES).step_by(3) {
            let folder = tempfile::tempdir().expect("a folder");
            let all = written(folder.path());
            let file = OpenOptions::new().write(true).open(spool_path(folder.path())).expect("a file");
            file.set_len((all.len() * RECORD_BYTES - lost) as u64).expect("it is cut");
            let kept = all.len() - lost.div_ceil(RECORD_BYTES);
            let (mut spool, found) = Spool::open(folder.path(), [2; 16]).expect("a torn spool opens");
            assert_eq!(found.len(), kept, "{lost} bytes lost");
            let length = spool.disk.file.metadata().expect("a file").len();
            assert_eq!(length, (kept * RECORD_BYTES) as u64, "{lost} bytes lost: the end is cut");
            spool.append(&queued(7), &mut |_| {}).expect("it goes on");
            drop(spool);
            assert_eq!(entries(folder.path()).expect("a sound spool")[kept], queued(7));
            assert!(!kept_path(folder.path()).exists(), "what was not written whole was told to nobody");
        }
    }

    #[test]
    fn damage_before_the_end_is_refused_and_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let all = written(folder.path());
        let path = spool_path(folder.path());
        let sound = std::fs::read(&path).expect("a file");
        for at in (0..sound.len()).step_by(7) {
            let mut bad = sound.clone();
            bad[at] ^= 4;
            std::fs::write(&path, &bad).expect("it is written");
            let last = (all.len() - 1) * RECORD_BYTES;
            match entries(folder.path()) {
                Ok(found) => {
                    assert!(at >= last && found == all[..all.len() - 1], "byte {at}: only the end may be torn");
                    let kept = std::fs::read(kept_path(folder.path())).expect("a copy");
                    assert!(kept.ends_with(&bad[last..]), "byte {at}: somebody may have been told of it");
                }
                Err(SpoolError::Damaged { at: told }) => {
                    assert_eq!(told as usize, at / RECORD_BYTES * RECORD_BYTES);
                    assert_eq!(std::fs::read(&path).expect("a file"), bad, "byte {at}: it is left as it is");
                }
                Err(e) => panic!("byte {at}: {e}"),
            }
        }
    }

    #[test]
    fn a_record_in_the_place_of_another_is_damage() {
        let folder = tempfile::tempdir().expect("a folder");
        written(folder.path());
        let path = spool_path(folder.path());
        let mut bytes = std::fs::read(&path).expect("a file");
        let (a, b) = bytes.split_at_mut(2 * RECORD_BYTES);
        a[RECORD_BYTES..].swap_with_slice(&mut b[..RECORD_BYTES]);
        std::fs::write(&path, &bytes).expect("it is written");
        assert!(matches!(entries(folder.path()), Err(SpoolError::Damaged { at: 160 })));
    }

    /// A disk that keeps only what was flushed, and may refuse to flush.
    #[derive(Debug, Clone, Default)]
    struct Forgetful {
        written: Vec<u8>,
        kept: Vec<u8>,
        broken: bool,
    }

    impl Disk for Forgetful {
        fn read(&mut self) -> io::Result<Vec<u8>> {
            Ok(self.written.clone())
        }

        fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
            let end = at as usize + bytes.len();
            self.written.resize(self.written.len().max(end), 0);
            self.written[at as usize..end].copy_from_slice(bytes);
            Ok(())
        }

        fn keep(&mut self, _: &[u8]) -> io::Result<()> {
            Ok(())
        }

        fn cut(&mut self, at: u64) -> io::Result<()> {
            self.written.truncate(at as usize);
            Ok(())
        }

        fn flush(&mut self) -> io::Result<()> {
            if self.broken {
                return Err(io::ErrorKind::Other.into());
            }
            self.kept.clone_from(&self.written);
            Ok(())
        }
    }

    /// What is there after the power failed.
    fn after_power_loss(disk: &Forgetful) -> (Spool<Forgetful>, Vec<Entry>) {
        let disk = Forgetful { written: disk.kept.clone(), kept: disk.kept.clone(), broken: false };
        let (spool, found) = Spool::on(disk, [2; 16]).expect("a sound spool");
        (spool, found.into_iter().map(|(_, e)| e).collect())
    }

    #[test]
    fn what_was_appended_survives_a_power_loss_before_any_other_step() {
        let mut all = vec![Entry::Opened { holder: [1; 16] }];
        let (mut spool, _) = Spool::on(Forgetful::default(), [1; 16]).expect("a new spool");
        assert_eq!(after_power_loss(&spool.disk).1, all);
        for n in 0..9 {
            spool.append(&queued(n), &mut |_| {}).expect("it is written");
            all.push(queued(n));
            let (again, found) = after_power_loss(&spool.disk);
            assert_eq!(found, all);
            spool = again;
        }
        spool.empty().expect("it is cut");
        assert_eq!(after_power_loss(&spool.disk).1, all[..1]);
        // What was read is flushed before it is trusted, and what is torn is gone for good.
        let mut torn = spool.disk.clone();
        torn.written = [sample_bytes(), vec![7; 90]].concat();
        let (spool, found) = Spool::on(torn, [2; 16]).expect("a torn spool opens");
        assert_eq!((found.len(), after_power_loss(&spool.disk).1), (4, sample()));
    }

    #[test]
    fn after_a_flush_that_failed_nothing_is_appended_any_more() {
        let (mut spool, _) = Spool::on(Forgetful::default(), [1; 16]).expect("a new spool");
        spool.disk.broken = true;
        assert!(matches!(spool.append(&queued(1), &mut |_| {}), Err(SpoolError::Io(_))));
        spool.disk.broken = false;
        assert!(matches!(spool.append(&queued(2), &mut |_| {}), Err(SpoolError::Failed)));
    }
}
