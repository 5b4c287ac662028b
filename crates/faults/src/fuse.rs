//! A file system of our own (FUSE) that keeps two states: what its users see, and what a power cut would leave. Only what was
//! flushed, or written with O_DSYNC, is in the second one; names are when their folder is flushed. It can fail, shorten,
//! tear, drop and hold back a write of the journal, fail a flush and then say that all is well, and lose its power.
//!
//! ```text
//! write ─▶ now            O_DSYNC, fsync ─▶ kept            power cut: now := kept
//! ```

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use rustix::mount::{UnmountFlags, unmount};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a write of a batch of the journal meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Harm {
    /// It fails.
    Fail,
    /// Half of it is written, and that is said.
    Short,
    /// It succeeds, and a power cut loses it: a disk that lies.
    Drop,
    /// Its first sector is kept, and the power goes.
    Tear,
    /// It is answered when [`Lossy::let_go`] is called, and so are those behind it.
    Stall,
}

/// How long the kernel may believe what it was told of names and sizes: nobody else changes them.
const TTL: Duration = Duration::from_secs(1);
/// The root.
const ROOT: u64 = 1;
/// What a batch of the journal begins with.
const BATCH: &[u8] = b"TGTBATCH";
const SECTOR: usize = 512;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Body {
    File(Vec<u8>),
    Folder(BTreeMap<OsString, u64>),
}

#[derive(Debug, Clone)]
struct Node {
    now: Body,
    kept: Body,
    /// What a disk that lies never wrote: where, and what is there instead.
    unwritten: Vec<(usize, Vec<u8>)>,
}

impl Node {
    fn of(body: Body) -> Self {
        Self { now: body.clone(), kept: body, unwritten: Vec::new() }
    }

    fn keep(&mut self) {
        self.kept.clone_from(&self.now);
        if let Body::File(bytes) = &mut self.kept {
            for (at, old) in &self.unwritten {
                bytes[*at..at + old.len()].copy_from_slice(old);
            }
        }
    }
}

type Held = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    /// The power is off: nothing is answered.
    off: bool,
    /// Nobody waits any longer: everything fails at once.
    gone: bool,
    held: Vec<Held>,
    /// The next write of a batch meets this.
    armed: Option<Harm>,
    stalls: bool,
    /// Flushes that will fail.
    failing_flushes: u32,
    /// What was done, and to how many.
    harmed: u32,
    failed_flushes: u32,
}

/// The file system, mounted; it is taken down when it is dropped.
pub(crate) struct Lossy {
    state: Arc<Mutex<State>>,
    past_cache: bool,
    session: Option<BackgroundSession>,
    at: PathBuf,
}

/// What a power cut took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) bytes: u64,
    pub(crate) names: u64,
}

impl Lossy {
    /// An empty one at a folder. `past_cache`: every read and write comes here as it is, O_DSYNC is all that is heard of a
    /// flush, and nobody makes up for a short write. Else the kernel's cache is in between, and flushes such a write.
    pub(crate) fn mount(at: &Path, past_cache: bool) -> Result<Self, String> {
        std::fs::create_dir_all(at).map_err(|e| e.to_string())?;
        let empty = Body::Folder(BTreeMap::new());
        let root = Node::of(empty);
        let state = State { nodes: BTreeMap::from([(ROOT, root)]), next: ROOT + 1, ..State::default() };
        let mut lossy = Self { state: Arc::new(Mutex::new(state)), past_cache, session: None, at: at.to_owned() };
        lossy.mount_again()?;
        Ok(lossy)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mount_again(&mut self) -> Result<(), String> {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("tegata-faults".to_owned())];
        let open = if self.past_cache { FopenFlags::FOPEN_DIRECT_IO } else { FopenFlags::empty() };
        let files = Files(Arc::clone(&self.state), open);
        self.session = Some(fuser::spawn_mount(files, &self.at, &config).map_err(|e| format!("FUSE: {e}"))?);
        Ok(())
    }

    /// The next batch of the journal meets `harm`.
    pub(crate) fn arm(&self, harm: Harm) {
        self.lock().armed = Some(harm);
    }

    /// So many flushes of files fail; what they were to flush is never flushed, and later ones say that all is well.
    pub(crate) fn fail_flushes(&self, n: u32) {
        self.lock().failing_flushes = n;
    }

    /// Writes that met what was armed.
    pub(crate) fn harmed(&self) -> u32 {
        self.lock().harmed
    }

    pub(crate) fn failed_flushes(&self) -> u32 {
        self.lock().failed_flushes
    }

    /// From now on nothing is answered.
    pub(crate) fn cut_power(&self) {
        self.lock().off = true;
    }

    /// True when a write tore and took the power with it.
    pub(crate) fn is_off(&self) -> bool {
        self.lock().off
    }

    /// What was held back is answered: failed, where the power is off.
    pub(crate) fn let_go(&self) {
        let held = {
            let mut state = self.lock();
            (state.stalls, state.gone) = (false, state.off);
            std::mem::take(&mut state.held)
        };
        held.into_iter().for_each(|reply| reply());
    }

    /// The power is back: only what was kept is there. Nobody may have a file open.
    pub(crate) fn restore(&mut self) -> Result<Lost, String> {
        self.cut_power();
        self.let_go();
        self.take_down()?;
        let lost = self.lock().forget();
        self.mount_again()?;
        Ok(lost)
    }
}

impl Lossy {
    /// Unmounts. What a killed process had in flight may hold it for a moment.
    fn take_down(&mut self) -> Result<(), String> {
        let Some(session) = self.session.take() else { return Ok(()) };
        let gone = || unmount(&self.at, UnmountFlags::empty()).is_ok().then_some(());
        if crate::until(Duration::from_secs(20), gone).is_none() {
            let detached = unmount(&self.at, UnmountFlags::DETACH);
            return Err(format!("{} is in use; detached: {detached:?}", self.at.display()));
        }
        session.join().map_err(|e| format!("taking it down: {e}"))
    }
}

impl Drop for Lossy {
    fn drop(&mut self) {
        self.cut_power();
        self.let_go();
        if let Err(e) = self.take_down() {
            eprintln!("{e}");
        }
    }
}

impl State {
    fn forget(&mut self) -> Lost {
        let mut lost = Lost::default();
        for node in self.nodes.values_mut() {
            match (&node.now, &node.kept) {
                (Body::File(now), Body::File(kept)) => {
                    let longer = now.len().abs_diff(kept.len());
                    lost.bytes += (now.iter().zip(kept).filter(|(a, b)| a != b).count() + longer) as u64;
                }
                (Body::Folder(now), Body::Folder(kept)) => {
                    lost.names += now.iter().filter(|(name, n)| kept.get(*name) != Some(n)).count() as u64;
                    lost.names += kept.keys().filter(|name| !now.contains_key(*name)).count() as u64;
                }
                _ => {}
            }
            node.now = node.kept.clone();
            node.unwritten.clear();
        }
        (self.off, self.gone, self.armed, self.stalls, self.failing_flushes) = (false, false, None, false, 0);
        lost
    }

    fn folder(&mut self, n: INodeNo) -> Option<&mut BTreeMap<OsString, u64>> {
        match &mut self.nodes.get_mut(&n.0)?.now {
            Body::Folder(names) => Some(names),
            Body::File(_) => None,
        }
    }

    fn find(&mut self, parent: INodeNo, name: &OsStr) -> Option<u64> {
        self.folder(parent)?.get(name).copied()
    }

    fn attr(&self, n: u64) -> Option<FileAttr> {
        let (kind, size, perm) = match &self.nodes.get(&n)?.now {
            Body::File(bytes) => (FileType::RegularFile, bytes.len() as u64, 0o644),
            Body::Folder(_) => (FileType::Directory, 0, 0o755),
        };
        Some(FileAttr {
            ino: INodeNo(n),
            size,
            blocks: size.div_ceil(SECTOR as u64),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4_096,
            flags: 0,
        })
    }

    /// A new, empty one under a name; what had the name before is not reached any more.
    fn make(&mut self, parent: INodeNo, name: &OsStr, body: Body) -> Option<FileAttr> {
        let n = self.next;
        self.folder(parent)?.insert(name.to_owned(), n);
        self.nodes.insert(n, Node::of(body));
        self.next += 1;
        self.attr(n)
    }

    /// Writes into what is seen and, if `durable`, into what is kept.
    fn write(&mut self, n: u64, offset: usize, data: &[u8], durable: bool) {
        let Some(node) = self.nodes.get_mut(&n) else { return };
        let bodies = if durable { vec![&mut node.now, &mut node.kept] } else { vec![&mut node.now] };
        for body in bodies {
            if let Body::File(bytes) = body {
                let end = offset + data.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[offset..end].copy_from_slice(data);
            }
        }
    }

    fn keep(&mut self, n: u64) -> Result<(), Errno> {
        let is_file = self.nodes.get(&n).is_some_and(|node| matches!(node.now, Body::File(_)));
        if is_file && self.failing_flushes > 0 {
            (self.failing_flushes, self.failed_flushes) = (self.failing_flushes - 1, self.failed_flushes + 1);
            return Err(Errno::EIO);
        }
        self.nodes.get_mut(&n).ok_or(Errno::ENOENT)?.keep();
        Ok(())
    }
}

/// The kernel's side.
struct Files(Arc<Mutex<State>>, FopenFlags);

/// The state, or nothing when the power is off: then the reply is held.
macro_rules! powered {
    ($self:ident, $reply:ident) => {{
        let mut state = $self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.gone {
            return $reply.error(Errno::EIO);
        }
        if state.off {
            state.held.push(Box::new(move || $reply.error(Errno::EIO)));
            return;
        }
        state
    }};
}

fn entry(reply: ReplyEntry, attr: Option<FileAttr>) {
    match attr {
        Some(attr) => reply.entry(&TTL, &attr, Generation(0)),
        None => reply.error(Errno::ENOENT),
    }
}

fn empty(reply: ReplyEmpty, done: Result<(), Errno>) {
    match done {
        Ok(()) => reply.ok(),
        Err(e) => reply.error(e),
    }
}

impl Filesystem for Files {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut state = powered!(self, reply);
        let found = state.find(parent, name);
        entry(reply, found.and_then(|n| state.attr(n)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let state = powered!(self, reply);
        match state.attr(ino.0) {
            Some(attr) => reply.attr(&TTL, &attr),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut state = powered!(self, reply);
        if let (Some(size), Some(Node { now: Body::File(bytes), .. })) = (size, state.nodes.get_mut(&ino.0)) {
            bytes.resize(size as usize, 0);
        }
        match state.attr(ino.0) {
            Some(attr) => reply.attr(&TTL, &attr),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let mut state = powered!(self, reply);
        entry(reply, state.make(parent, name, Body::Folder(BTreeMap::new())));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut state = powered!(self, reply);
        let gone = state.folder(parent).and_then(|names| names.remove(name));
        empty(reply, gone.map(drop).ok_or(Errno::ENOENT));
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.unlink(request, parent, name, reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to: INodeNo,
        new: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mut state = powered!(self, reply);
        let Some(n) = state.folder(parent).and_then(|names| names.remove(name)) else {
            return reply.error(Errno::ENOENT);
        };
        if let Some(names) = state.folder(to) {
            names.insert(new.to_owned(), n);
        }
        reply.ok();
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        drop(powered!(self, reply));
        reply.opened(FileHandle(0), self.1);
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        let mut state = powered!(self, reply);
        match state.make(parent, name, Body::File(Vec::new())) {
            Some(attr) => reply.created(&TTL, &attr, Generation(0), FileHandle(0), self.1),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let state = powered!(self, reply);
        match state.nodes.get(&ino.0) {
            Some(Node { now: Body::File(bytes), .. }) => {
                let from = bytes.len().min(offset as usize);
                reply.data(&bytes[from..bytes.len().min(from + size as usize)]);
            }
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = powered!(self, reply);
        let durable = flags.0 & libc::O_DSYNC != 0;
        let (offset, all) = (offset as usize, data.len() as u32);
        let half = &data[..(data.len() / 2).next_multiple_of(SECTOR).min(data.len())];
        let harm = if durable && data.starts_with(BATCH) { state.armed } else { None };
        if harm.is_some() && harm != Some(Harm::Stall) {
            state.armed = None;
        }
        state.harmed += u32::from(harm.is_some());
        match harm {
            Some(Harm::Fail) => reply.error(Errno::EIO),
            Some(Harm::Short) => {
                state.write(ino.0, offset, half, durable);
                reply.written(half.len() as u32);
            }
            Some(Harm::Drop) => {
                if let Some(Node { now: Body::File(bytes), unwritten, .. }) = state.nodes.get_mut(&ino.0) {
                    let old =
                        bytes.get(offset..offset + data.len()).map_or_else(|| vec![0; data.len()], <[u8]>::to_vec);
                    unwritten.push((offset, old));
                }
                state.write(ino.0, offset, data, false);
                reply.written(all);
            }
            Some(Harm::Tear) => {
                state.write(ino.0, offset, &data[..SECTOR.min(data.len())], durable);
                state.off = true;
                state.held.push(Box::new(move || reply.error(Errno::EIO)));
            }
            Some(Harm::Stall) if !state.stalls && state.harmed > 1 => {
                // It was let go.
                state.armed = None;
                state.write(ino.0, offset, data, durable);
                reply.written(all);
            }
            Some(Harm::Stall) => {
                state.stalls = true;
                state.write(ino.0, offset, data, durable);
                state.held.push(Box::new(move || reply.written(all)));
            }
            None => {
                state.write(ino.0, offset, data, durable);
                reply.written(all);
            }
        }
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let mut state = powered!(self, reply);
        empty(reply, state.keep(ino.0));
    }

    fn fsyncdir(&self, request: &Request, ino: INodeNo, handle: FileHandle, data: bool, reply: ReplyEmpty) {
        self.fsync(request, ino, handle, data, reply);
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let mut state = powered!(self, reply);
        let Some(names) = state.folder(ino).cloned() else { return reply.error(Errno::ENOENT) };
        let dots = [(OsString::from("."), ino.0), (OsString::from(".."), ROOT)];
        for (i, (name, n)) in (1..).zip(dots.into_iter().chain(names)).skip(offset as usize) {
            let kind = state.attr(n).map_or(FileType::RegularFile, |a| a.kind);
            if reply.add(INodeNo(n), i, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        const BLOCKS: u64 = 1 << 24;
        reply.statfs(BLOCKS, BLOCKS, BLOCKS, BLOCKS, BLOCKS, 4_096, 255, 4_096);
    }
}
