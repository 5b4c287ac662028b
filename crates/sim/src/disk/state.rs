//! The disk's state, and every step that changes it.

use super::chance::Chance;
use super::content::{Content, Way};
use super::faults::{Fault, Fired};
use super::names::{Entry, Names};
use super::{Config, Order};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tegata_journal::Open;

/// What becomes of a durable write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Fate {
    Lands,
    /// It fails, and so many bytes of it have landed all the same.
    Fails(u64),
    /// So many bytes of it land, and then it fails.
    Short(u64),
    Lost,
    Stale,
    Misdirected,
}

/// What can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Power: what was not durable survives by sector at random.
    Power,
    /// The process: what it has written is there.
    Process,
}

/// When it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// During this step.
    Step(u64),
    /// During the next durable write that has more than zeros behind its first sector: it may be torn.
    Tearing,
    /// After the next durable write has landed, before anybody else hears of it.
    Landed,
}

/// A durable write in flight.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    pub(super) owner: u64,
    pub(super) buffer: usize,
    pub(super) due: Duration,
    file: u64,
    write: u64,
    offset: u64,
    bytes: Vec<u8>,
    fate: Fate,
}

#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) config: Config,
    pub(super) chance: Chance,
    pub(super) names: Names,
    pub(super) files: BTreeMap<u64, Content>,
    pub(super) flights: Vec<Flight>,
    pub(super) locks: BTreeSet<u64>,
    pub(super) fired: Fired,
    pub(super) now: Duration,
    pub(super) steps: u64,
    /// When what goes: power, or only the process.
    pub(super) ends: Option<(When, End)>,
    /// What went, until the restart.
    pub(super) ended: Option<End>,
    /// Counts restarts: handles of an earlier one are dead.
    pub(super) boot: u64,
    next_id: u64,
}

/// EIO.
fn failed() -> io::Error {
    io::Error::from_raw_os_error(5)
}

fn gone() -> io::Error {
    io::Error::other("the simulated power is gone")
}

impl State {
    pub(super) fn new(config: Config, chance: Chance) -> Self {
        assert!([512, 4_096].contains(&config.sector), "a sector has 512 or 4096 bytes");
        Self {
            config,
            chance,
            names: Names::default(),
            files: BTreeMap::new(),
            flights: Vec::new(),
            locks: BTreeSet::new(),
            fired: Fired::default(),
            now: Duration::ZERO,
            steps: 0,
            ends: None,
            ended: None,
            boot: 0,
            next_id: 1,
        }
    }

    pub(super) fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    pub(super) fn alive(&self, boot: u64) -> io::Result<()> {
        if self.ended.is_some() || boot != self.boot { Err(gone()) } else { Ok(()) }
    }

    /// A step begins. Says what goes during it: what it does may survive, and nobody hears of it.
    fn step(&mut self) -> Option<End> {
        self.steps += 1;
        if self.chance.happens(self.config.odds.bit_flip) {
            self.rot();
        }
        if self.chance.happens(self.config.odds.crash) {
            return Some(End::Power);
        }
        self.ends.and_then(|(when, end)| matches!(when, When::Step(at) if at <= self.steps).then_some(end))
    }

    /// What goes now, if it waited for this.
    fn goes(&self, now: When) -> Option<End> {
        self.ends.filter(|(when, _)| *when == now).map(|(_, end)| end)
    }

    /// A step ends.
    fn end(&mut self, end: Option<End>) -> io::Result<()> {
        let Some(end) = end else { return Ok(()) };
        self.go(end);
        Err(gone())
    }

    /// Power or the process goes.
    pub(super) fn go(&mut self, end: End) {
        self.ended = Some(end);
        self.ends = None;
        self.fired.add(if end == End::Power { Fault::Crash } else { Fault::Kill });
        self.flights.clear();
        if end == End::Process {
            // Nobody heard that they are on the disk, and perhaps they are not: the next flush sees to that.
            self.files.values_mut().for_each(Content::orphan);
        }
    }

    pub(super) fn restart(&mut self) {
        let Some(ended) = self.ended.take() else { return };
        self.boot += 1;
        self.locks.clear();
        if ended == End::Process {
            return;
        }
        for _ in 0..self.names.restart(&mut self.chance) {
            self.fired.add(Fault::NameLost);
        }
        let named: BTreeSet<u64> = self.names.files().map(|(_, id)| id).collect();
        self.files.retain(|id, _| named.contains(id));
        for file in self.files.values_mut() {
            let left = file.restart();
            if left.flying {
                self.fired.add(Fault::Torn);
            }
            if left.cached {
                self.fired.add(Fault::Unflushed);
            }
        }
    }

    pub(super) fn open(&mut self, path: &Path, how: Open) -> io::Result<u64> {
        match self.names.get(path) {
            Some(Entry::Folder) => Err(io::ErrorKind::IsADirectory.into()),
            Some(Entry::File(id)) if how == Open::Create => {
                let crashes = self.step();
                self.file(id).set_length(0);
                self.end(crashes)?;
                Ok(id)
            }
            Some(Entry::File(id)) => {
                let file = self.files.get_mut(&id).expect("a name has a file");
                file.open(&mut self.chance);
                Ok(id)
            }
            None if matches!(how, Open::Read | Open::Write { .. }) => Err(io::ErrorKind::NotFound.into()),
            None if !self.names.folder_is_there(path) => Err(io::ErrorKind::NotFound.into()),
            None => {
                let crashes = self.step();
                let id = self.id();
                self.files.insert(id, Content::new(self.config.sector));
                self.names.change(vec![(path.to_owned(), Some(Entry::File(id)))]);
                self.end(crashes)?;
                Ok(id)
            }
        }
    }

    fn file(&mut self, id: u64) -> &mut Content {
        self.files.get_mut(&id).expect("an open file is there")
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let entry = self.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        let crashes = self.step();
        self.names.change(vec![(from.to_owned(), None), (to.to_owned(), Some(entry))]);
        self.end(crashes)
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let Some(Entry::File(_)) = self.names.get(path) else { return Err(io::ErrorKind::NotFound.into()) };
        let crashes = self.step();
        self.names.change(vec![(path.to_owned(), None)]);
        self.end(crashes)
    }

    pub(super) fn create_folder(&mut self, path: &Path) -> io::Result<()> {
        match self.names.get(path) {
            Some(Entry::Folder) => return Ok(()),
            Some(Entry::File(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            None => {}
        }
        if !self.names.folder_is_there(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let crashes = self.step();
        self.names.change(vec![(path.to_owned(), Some(Entry::Folder))]);
        self.end(crashes)
    }

    pub(super) fn list(&mut self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        match self.names.get(folder) {
            Some(Entry::Folder) if self.read_fails() => Err(failed()),
            Some(Entry::Folder) => Ok(self.names.list(folder)),
            Some(Entry::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn sync_folder(&mut self, folder: &Path) -> io::Result<()> {
        if self.names.get(folder) != Some(Entry::Folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let crashes = self.step();
        self.end(crashes)?;
        self.names.sync(folder);
        self.pass();
        Ok(())
    }

    fn read_fails(&mut self) -> bool {
        let fails = self.chance.happens(self.config.odds.read_fails);
        if fails {
            self.fired.add(Fault::ReadFails);
        }
        fails
    }

    pub(super) fn read(&mut self, id: u64, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.read_fails() {
            return Err(failed());
        }
        let file = self.files.get_mut(&id).expect("an open file is there");
        Ok(file.read(bytes, offset, &mut self.chance))
    }

    /// Bytes that files take. One that has no name takes some while it is open; nobody here leaves one so.
    fn used(&self) -> u64 {
        self.names.files().map(|(_, id)| self.files[&id].bytes()).sum()
    }

    fn has_room(&mut self, id: u64, end: u64) -> io::Result<()> {
        let more = end.saturating_sub(self.file(id).bytes());
        if more > 0 && self.used() + more > self.config.capacity {
            self.fired.add(Fault::Full);
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn write_fails(&mut self) -> bool {
        let fails = self.chance.happens(self.config.odds.write_fails);
        if fails {
            self.fired.add(Fault::WriteFails);
        }
        fails
    }

    pub(super) fn write(&mut self, id: u64, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.has_room(id, offset + bytes.len() as u64)?;
        let crashes = self.step();
        if self.write_fails() {
            return Err(failed());
        }
        let write = self.id();
        let file = self.files.get_mut(&id).expect("an open file is there");
        file.write(write, Way::Cached, bytes, offset, &mut self.chance);
        self.end(crashes)
    }

    pub(super) fn reserve(&mut self, id: u64, bytes: u64) -> io::Result<()> {
        self.has_room(id, bytes)?;
        if self.file(id).bytes() == bytes {
            return Ok(());
        }
        let crashes = self.step();
        self.file(id).set_length(bytes);
        self.end(crashes)
    }

    pub(super) fn sync(&mut self, id: u64) -> io::Result<()> {
        let crashes = self.step();
        self.end(crashes)?;
        self.pass();
        if self.chance.happens(self.config.odds.sync_fails) {
            self.fired.add(Fault::SyncFails);
            self.file(id).forget();
            return Err(failed());
        }
        self.file(id).sync();
        Ok(())
    }

    fn latency(&mut self) -> Duration {
        let (least, most) = self.config.latency;
        if self.chance.happens(self.config.odds.stall) {
            self.fired.add(Fault::Stall);
            return self.config.stall;
        }
        least + Duration::from_nanos(self.chance.up_to(most.saturating_sub(least).as_nanos() as u64))
    }

    /// Whoever waits for the disk waits.
    fn pass(&mut self) {
        let time = self.latency();
        self.now += time;
    }

    pub(super) fn stall(&mut self, until: Duration) {
        self.fired.add(Fault::Stall);
        self.flights.iter_mut().for_each(|f| f.due = f.due.max(until));
    }

    fn fate(&mut self, bytes: u64) -> Fate {
        let odds = self.config.odds;
        let of = [
            (odds.write_fails, Fate::Fails(0)),
            (odds.write_short, Fate::Short(0)),
            (odds.write_lost, Fate::Lost),
            (odds.write_stale, Fate::Stale),
            (odds.write_misdirected, Fate::Misdirected),
        ];
        let chance = &mut self.chance;
        match of.into_iter().find(|(odds, _)| chance.happens(*odds)).map(|(_, fate)| fate) {
            Some(Fate::Short(_)) => Fate::Short(self.chance.up_to(bytes.saturating_sub(1))),
            Some(Fate::Fails(_)) => Fate::Fails(self.chance.up_to(bytes)),
            Some(fate) => fate,
            None => Fate::Lands,
        }
    }

    /// Starts a durable write.
    pub(super) fn submit(&mut self, owner: u64, buffer: usize, file: u64, bytes: &[u8], at: u64) -> io::Result<()> {
        self.has_room(file, at + bytes.len() as u64)?;
        let may_tear = bytes[self.config.sector.min(bytes.len())..].iter().any(|b| *b != 0);
        let crashes = self.step().or_else(|| if may_tear { self.goes(When::Tearing) } else { None });
        let fate = self.fate(bytes.len() as u64);
        let write = self.id();
        if fate != Fate::Lost && fate != Fate::Misdirected {
            let content = self.files.get_mut(&file).expect("an open file is there");
            content.write(write, Way::Flying, bytes, at, &mut self.chance);
        }
        let due = self.now + self.latency();
        self.flights.push(Flight { owner, buffer, due, file, write, offset: at, bytes: bytes.to_vec(), fate });
        self.end(crashes)
    }

    /// The numbers of the buffers whose writes are complete.
    pub(super) fn completed(&mut self, owner: u64, done: &mut Vec<usize>) -> io::Result<()> {
        loop {
            let due: Vec<usize> = (0..self.flights.len())
                .filter(|i| self.flights[*i].owner == owner && self.flights[*i].due <= self.now)
                .collect();
            let Some(last) = due.len().checked_sub(1) else { return Ok(()) };
            let which = match self.config.order {
                Order::ByTime => (0..=last).min_by_key(|i| self.flights[due[*i]].due).unwrap_or(0),
                Order::Oldest => 0,
                Order::Newest => last,
                Order::Any => self.chance.pick(due.len() as u32) as usize,
            };
            let crashes = self.step();
            self.end(crashes)?;
            let flight = self.flights.remove(due[which]);
            self.land(&flight);
            match flight.fate {
                Fate::Fails(_) => return Err(failed()),
                Fate::Short(_) => return Err(io::Error::new(io::ErrorKind::WriteZero, "a short write")),
                _ => done.push(flight.buffer),
            }
            if let Some(end) = self.goes(When::Landed) {
                self.go(end);
                return Ok(());
            }
            if self.config.order != Order::ByTime {
                return Ok(());
            }
        }
    }

    /// Nobody waits for these any more; they come to their end all the same.
    pub(super) fn end_flights(&mut self, flights: &[Flight]) {
        flights.iter().for_each(|f| self.land(f));
    }

    /// A durable write is over, one way or another.
    fn land(&mut self, flight: &Flight) {
        let (bytes, offset) = (flight.bytes.len() as u64, flight.offset);
        let path = self.names.path_of(flight.file).cloned().unwrap_or_default();
        let Some(file) = self.files.get_mut(&flight.file) else { return };
        match flight.fate {
            Fate::Lands => file.land(flight.write, bytes),
            Fate::Fails(n) => {
                file.land(flight.write, n);
                self.fired.add(Fault::WriteFails);
            }
            Fate::Short(n) => {
                file.land(flight.write, n);
                self.fired.add(Fault::WriteShort);
            }
            Fate::Lost => self.fired.spoil(Fault::WriteLost, path, offset, bytes),
            Fate::Stale => {
                file.strand(flight.write);
                self.fired.spoil(Fault::WriteStale, path, offset, bytes);
            }
            Fate::Misdirected => {
                self.fired.spoil(Fault::WriteMisdirected, path, offset, bytes);
                self.misdirect(flight);
            }
        }
    }

    /// The write goes to another place of any file that has one.
    fn misdirect(&mut self, flight: &Flight) {
        let bytes = flight.bytes.len() as u64;
        let targets: Vec<u64> =
            self.names.files().map(|(_, id)| id).filter(|id| self.files[id].bytes() >= bytes).collect();
        let Some(target) = targets.get(self.chance.pick(targets.len() as u32) as usize).copied() else { return };
        let sector = self.config.sector as u64;
        let places = (self.files[&target].bytes() - bytes) / sector;
        let offset = self.chance.up_to(places) * sector;
        let write = self.id();
        let file = self.files.get_mut(&target).expect("it was listed");
        file.open(&mut self.chance);
        file.write(write, Way::Flying, &flight.bytes, offset, &mut self.chance);
        file.land(write, bytes);
    }

    pub(super) fn write_durably(&mut self, file: u64, bytes: &[u8], offset: u64) -> io::Result<()> {
        let owner = self.id();
        self.submit(owner, 0, file, bytes, offset)?;
        let flight = self.flights.pop().expect("it was submitted");
        self.now = self.now.max(flight.due);
        self.land(&flight);
        match flight.fate {
            Fate::Fails(_) => Err(failed()),
            Fate::Short(_) => Err(io::Error::new(io::ErrorKind::WriteZero, "a short write")),
            _ => Ok(()),
        }
    }

    pub(super) fn bytes_of(&mut self, path: &Path) -> Option<Vec<u8>> {
        let Some(Entry::File(id)) = self.names.get(path) else { return None };
        let file = self.files.get_mut(&id).expect("a name has a file");
        file.open(&mut self.chance);
        let mut bytes = vec![0; file.bytes() as usize];
        file.read(&mut bytes, 0, &mut self.chance);
        Some(bytes)
    }

    pub(super) fn alter(&mut self, fault: Fault, path: &Path, offset: u64, bytes: u64, change: &dyn Fn(&mut [u8])) {
        let Some(Entry::File(id)) = self.names.get(path) else { panic!("{} is not there", path.display()) };
        let file = self.files.get_mut(&id).expect("a name has a file");
        file.open(&mut self.chance);
        assert!(offset + bytes <= file.bytes(), "{} has no byte {}", path.display(), offset + bytes - 1);
        file.alter(offset, change, bytes as usize, &mut self.chance);
        self.fired.spoil(fault, path.to_owned(), offset, bytes);
    }

    /// A bit of any file flips.
    fn rot(&mut self) {
        let files: Vec<PathBuf> =
            self.names.files().filter(|(_, id)| self.files[id].bytes() > 0).map(|(path, _)| path.clone()).collect();
        let Some(path) = files.get(self.chance.pick(files.len() as u32) as usize) else { return };
        let Some(Entry::File(id)) = self.names.get(path) else { return };
        let offset = self.chance.up_to(self.files[&id].bytes() - 1);
        let bit = self.chance.pick(8);
        self.alter(Fault::BitFlip, path, offset, 1, &|bytes| bytes[0] ^= 1 << bit);
    }

    pub(super) fn fingerprint(&self) -> u64 {
        let mut hash = DefaultHasher::new();
        self.names.fingerprint(&mut hash);
        for (id, file) in &self.files {
            hash.write_u64(*id);
            file.fingerprint(&mut hash);
        }
        for flight in &self.flights {
            hash.write_u64(flight.write);
        }
        hash.write_u8(self.ended.map_or(0, |end| 1 + end as u8));
        hash.finish()
    }
}
