//! Snapshots beside the running engine: the core hands out pages between its turns, and a thread of its own writes them.
//!
//! ```text
//! core: page, page, … ──bounded channel──▶ writer
//! ```

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use tegata_drive::{Beginning, Copying, Draft};
use tegata_engine::{Engine, Page};
use tegata_journal::be_idle;

/// Slots of a page. It is copied in some microseconds, and is small enough for the allocator to use its memory again:
/// memory that is touched for the first time costs more than the copying.
const PAGE_SLOTS: usize = 256;
/// Pages that wait for the disk; then the copying waits, and payments go on.
const PAGES_WAITING: usize = 32;

/// A snapshot that is being taken.
#[derive(Debug)]
pub(crate) struct Taking {
    /// Nothing once all pages are handed out.
    pages: Option<SyncSender<Piece>>,
    waiting: Option<Piece>,
    writer: JoinHandle<bool>,
}

#[derive(Debug)]
enum Piece {
    Page(Page),
    End,
}

impl Taking {
    /// Starts the writer.
    pub(crate) fn start(b: Beginning) -> std::io::Result<Self> {
        let (pages, pieces) = sync_channel(PAGES_WAITING);
        let write = move || {
            be_idle();
            let position = b.position;
            let written = write(b, &pieces);
            if let Err(e) = &written {
                crate::say(format_args!("tegata: the snapshot at position {position} was not taken: {e}"));
            }
            written.is_ok()
        };
        let writer = std::thread::Builder::new().name("snapshot".into()).spawn(write)?;
        Ok(Self { pages: Some(pages), waiting: None, writer })
    }
}

impl Copying for Taking {
    /// Hands out one page, if the writer has room. True when it did.
    fn step(&mut self, engine: &mut Engine) -> bool {
        let Some(pages) = &self.pages else { return false };
        let piece =
            self.waiting.take().unwrap_or_else(|| engine.snapshot_page(PAGE_SLOTS).map_or(Piece::End, Piece::Page));
        let last = matches!(piece, Piece::End);
        match pages.try_send(piece) {
            Ok(()) if last => {
                self.pages = None;
                true
            }
            Ok(()) => true,
            Err(TrySendError::Full(piece)) => {
                self.waiting = Some(piece);
                false
            }
            Err(TrySendError::Disconnected(_)) => {
                self.pages = None;
                false
            }
        }
    }

    /// True when the writer has ended and the next snapshot may begin. What is left of a failed one is not copied on.
    fn is_over(&self) -> bool {
        self.writer.is_finished()
    }

    /// True when it was taken. To be asked when it is over.
    fn was_taken(self) -> bool {
        self.writer.join().unwrap_or(false)
    }
}

fn write(b: Beginning, pieces: &Receiver<Piece>) -> Result<(), Box<dyn std::error::Error>> {
    let mut draft = Draft::begin(b)?;
    loop {
        match pieces.recv() {
            Ok(Piece::Page(page)) => draft.page(page)?,
            Ok(Piece::End) => return draft.finish(),
            // The server ended meanwhile: nothing is left of it.
            Err(_) => return Ok(()),
        }
    }
}
