//! Segments that are made ahead of the log, so that it never waits for one in the ordinary case: by a thread of their own,
//! or over a given disk by the log's owner, a segment at each of its turns.

use crate::background::be_modest;
use crate::device::Doorbell;
use crate::disk::Folder;
use crate::segments::{Segment, create};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// Segments that are kept ready.
pub(crate) const READY: usize = 2;
/// How long to wait before trying again when a segment could not be made (a full disk, most likely).
const AGAIN: Duration = Duration::from_secs(1);

/// How the next segments are made.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) dir: Folder,
    pub(crate) store: [u8; 16],
    /// The number of the first that is not there.
    pub(crate) next_number: u32,
    pub(crate) bytes: u64,
    pub(crate) direct: bool,
}

impl Plan {
    fn make(&mut self) -> io::Result<Segment> {
        let segment = create(&self.dir, &self.store, self.next_number, self.bytes, self.direct)?;
        self.next_number += 1;
        Ok(segment)
    }
}

#[derive(Debug)]
pub(crate) struct Preparer {
    next: Option<Segment>,
    maker: Maker,
}

#[derive(Debug)]
enum Maker {
    Thread { ready: Receiver<Segment>, stuck: Arc<AtomicBool> },
    Owner { ready: VecDeque<Segment>, plan: Plan, failed_at: Option<Duration> },
}

impl Preparer {
    /// Starts a thread. `have` are segments that exist already, behind the one in use.
    pub(crate) fn start(plan: Plan, have: Vec<Segment>, bell: Doorbell) -> io::Result<Self> {
        // One more is in the thread's hand while these are not taken.
        let (send, ready) = sync_channel(READY - 1);
        let stuck = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stuck);
        let work = move || {
            be_modest();
            for segment in have {
                if send.send(segment).is_err() {
                    return;
                }
                bell.ring();
            }
            keep_making(plan, &send, &bell, &told);
        };
        std::thread::Builder::new().name("segments".into()).spawn(work)?;
        Ok(Self { next: None, maker: Maker::Thread { ready, stuck } })
    }

    /// The same without a thread: [`Preparer::work`] makes them.
    pub(crate) fn by_owner(plan: Plan, have: Vec<Segment>) -> Self {
        Self { next: None, maker: Maker::Owner { ready: have.into(), plan, failed_at: None } }
    }

    /// Makes one segment, if that is the owner's work and one is wanted.
    pub(crate) fn work(&mut self) {
        let Maker::Owner { ready, plan, failed_at } = &mut self.maker else { return };
        let waits = failed_at.is_some_and(|t| plan.dir.disk.elapsed() < t + AGAIN);
        if ready.len() >= READY || waits {
            return;
        }
        match plan.make() {
            Ok(segment) => {
                *failed_at = None;
                ready.push_back(segment);
            }
            Err(_) => *failed_at = Some(plan.dir.disk.elapsed()),
        }
    }

    /// True when a segment is ready to be taken.
    pub(crate) fn has_next(&mut self) -> bool {
        if self.next.is_none() {
            self.next = match &mut self.maker {
                Maker::Thread { ready, .. } => ready.try_recv().ok(),
                Maker::Owner { ready, .. } => ready.pop_front(),
            };
        }
        self.next.is_some()
    }

    /// The next segment, if one is ready.
    pub(crate) fn take(&mut self) -> Option<Segment> {
        self.has_next();
        self.next.take()
    }

    /// True while the last attempt to make a segment failed: a full disk, most likely.
    pub(crate) fn is_stuck(&self) -> bool {
        match &self.maker {
            Maker::Thread { stuck, .. } => stuck.load(Ordering::Relaxed),
            Maker::Owner { failed_at, .. } => failed_at.is_some(),
        }
    }
}

fn keep_making(mut plan: Plan, send: &SyncSender<Segment>, bell: &Doorbell, stuck: &AtomicBool) {
    loop {
        match plan.make() {
            Ok(segment) => {
                stuck.store(false, Ordering::Relaxed);
                if send.send(segment).is_err() {
                    return;
                }
                bell.ring();
            }
            Err(_) => {
                if !stuck.swap(true, Ordering::Relaxed) {
                    bell.ring();
                }
                plan.dir.disk.rest(AGAIN);
            }
        }
    }
}
