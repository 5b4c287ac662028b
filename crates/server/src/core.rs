//! The core on a thread of its own, or among the tasks of the one thread that serves connections, where there are few
//! processors: then nothing is handed from one thread to another, and nobody has to be woken. What it waits for is the
//! same: a write that completed, or a bell.

use crate::Shared;
use crate::clock;
use crate::events::Events;
use crate::handover::{CoreBell, CoreSide};
use crate::snapshot::Taking;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tegata_drive::{Around, Beginning};
use tegata_journal::WriteError;
use tegata_model::Timestamp;
use tegata_node::{Inbound, Node, Outbound, Sealed, Transition};
use tegata_sync::Mark;
use tokio::io::unix::AsyncFd;

/// The core's own.
pub(crate) struct Core {
    pub(crate) turns: tegata_drive::Core<Outside>,
    pub(crate) bell: CoreBell,
}

/// The rings to the threads of connections, the clocks, and those who watch.
#[derive(Debug)]
pub(crate) struct Outside {
    pub(crate) sides: Vec<CoreSide>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) events: Events,
}

impl Core {
    /// Runs on a thread of its own until it is told to stop and everything is answered, or until the journal fails.
    pub(crate) fn run(mut self) -> Result<(), WriteError> {
        let result = self.serve();
        self.end(result)
    }

    fn serve(&mut self) -> Result<(), WriteError> {
        loop {
            if self.turns.turn()? {
                continue;
            }
            if self.is_over() {
                return Ok(());
            }
            if self.go_to_sleep() {
                let rest = self.turns.rest_time();
                self.turns.journal.wait(Some(rest))?;
            }
            self.wake_up()?;
        }
    }

    /// Runs among the tasks that serve connections, on their thread.
    pub(crate) async fn run_here(mut self) -> Result<(), WriteError> {
        let result = self.serve_here().await;
        self.end(result)
    }

    async fn serve_here(&mut self) -> Result<(), WriteError> {
        let failed = |error| WriteError::Failed { doing: "watching for completions", error };
        #[expect(
            deprecated,
            reason = "an OwnedFd keeps its one descriptor open, which is all that its successor asks for"
        )]
        let watch = |fd: OwnedFd| AsyncFd::new(fd).map_err(failed);
        let completions = match self.turns.journal.completions() {
            Some(fd) => Some(watch(fd.try_clone_to_owned().map_err(failed)?)?),
            None => None,
        };
        let called = Arc::clone(&self.bell.here);
        loop {
            if self.turns.turn()? {
                tokio::task::yield_now().await;
                continue;
            }
            if self.is_over() {
                return Ok(());
            }
            if self.go_to_sleep() {
                let completed = async {
                    match &completions {
                        Some(fd) => fd.readable().await.map(|mut ready| ready.clear_ready()),
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    done = completed => done.map_err(failed)?,
                    () = called.notified() => {}
                    () = tokio::time::sleep(self.turns.rest_time()) => {}
                }
            }
            self.wake_up()?;
        }
    }

    fn end(mut self, result: Result<(), WriteError>) -> Result<(), WriteError> {
        match result {
            Ok(()) => {
                self.turns.around.events.stop(clock::now());
                self.turns.journal.close()
            }
            Err(error) => {
                self.turns.fail();
                self.turns.around.shared.failed.store(true, Ordering::Release);
                Err(error)
            }
        }
    }

    /// True when it is time to end: everyone is gone and nothing is in flight.
    fn is_over(&self) -> bool {
        self.turns.around.shared.drained() && self.turns.is_quiet()
    }

    /// Says that it sleeps. False when something came in meanwhile: then it must not.
    fn go_to_sleep(&self) -> bool {
        self.bell.asleep.arm();
        self.turns.around.is_silent()
    }

    fn wake_up(&mut self) -> Result<(), WriteError> {
        self.bell.asleep.disarm();
        self.turns.wake_up()
    }
}

impl Around for Outside {
    type Copy = Taking;

    fn now(&mut self) -> Timestamp {
        clock::now()
    }

    fn elapsed(&mut self) -> Duration {
        self.shared.started.elapsed()
    }

    fn clock_is_suspect(&mut self) -> bool {
        clock::is_suspect()
    }

    fn trust_clock(&mut self) -> bool {
        clock::trust()
    }

    fn is_stopping(&self) -> bool {
        self.shared.is_stopping()
    }

    fn threads(&self) -> usize {
        self.sides.len()
    }

    #[inline]
    fn take_in(&mut self, thread: usize) -> Option<Inbound> {
        let side = &mut self.sides[thread];
        let bundle = side.from_io.try_recv();
        if bundle.is_some() {
            side.taken.notify_waiters();
        }
        bundle
    }

    #[inline]
    fn give_back(&mut self, thread: usize, empty: Inbound) {
        // A full ring means that enough empty bundles are on their way already.
        let _ = self.sides[thread].empty_inbound.try_send(empty);
    }

    fn is_silent(&self) -> bool {
        self.sides.iter().all(|s| s.from_io.is_empty())
    }

    #[inline]
    fn empty_outbound(&mut self, thread: usize) -> Outbound {
        self.sides[thread].empty_outbound.try_recv().unwrap_or_default()
    }

    #[inline]
    fn hand_out(&mut self, thread: usize, full: Outbound) -> Result<(), Outbound> {
        let side = &mut self.sides[thread];
        side.to_io.try_send(full)?;
        side.answers.notify_one();
        Ok(())
    }

    fn submitted(&mut self, batch: &Sealed<'_>) {
        let last = batch.first_position + u64::from(batch.count) - 1;
        self.shared.positions.advance(Mark::Accepted, last);
        self.shared.positions.advance(Mark::Submitted, last);
    }

    fn durable(&mut self, position: u64) {
        self.shared.positions.advance(Mark::Durable, position);
    }

    fn applied(&mut self, node: &Node) {
        self.shared.positions.advance(Mark::Applied, node.engine().applied().get());
    }

    fn changed(&mut self, transitions: &[Transition], unlooked_ranks: u8) {
        for transition in transitions {
            self.events.tell(transition);
        }
        self.shared.unlooked_ranks.store(unlooked_ranks, Ordering::Relaxed);
    }

    fn publish(&mut self, node: &mut Node) {
        self.shared.events_lost.store(self.events.lost(), Ordering::Relaxed);
        self.shared.positions.advance(Mark::Acked, node.delivered_to());
        assert_eq!(self.shared.positions.snapshot().check(), Ok(()), "the positions are in order");
        let facts = node.facts();
        if let Ok(mut shared) = self.shared.facts.lock() {
            *shared = facts;
        }
    }

    fn begin_snapshot(&mut self, beginning: Beginning) -> Option<Taking> {
        Taking::start(beginning).ok()
    }
}
