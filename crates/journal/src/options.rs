//! What a journal needs to be told.

use crate::disk::Folder;
use crate::error::OpenError;
use crate::layout::BLOCK;

/// How to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoChoice {
    /// The best that works here: io_uring, else pwritev2, else buffered.
    Auto,
    /// io_uring, O_DIRECT, RWF_DSYNC, several writes in flight.
    Uring,
    /// pwritev2, O_DIRECT, RWF_DSYNC, one write at a time.
    Pwritev2,
    /// pwritev2, RWF_DSYNC through the page cache, for file systems that refuse O_DIRECT.
    Buffered,
}

/// A journal's settings.
#[derive(Debug, Clone)]
pub struct Options {
    /// The data folder; created when it is not there.
    pub dir: Folder,
    /// Bytes of a segment; fixed when the folder is created. Default 64 MiB.
    pub segment_bytes: u64,
    /// W: most bytes in flight, and so the farthest that a torn tail can reach. Default 8 MiB.
    pub window_bytes: u64,
    /// Writes in flight at once, 1 … 32. Default 8.
    pub writes_in_flight_max: usize,
    /// Most bytes of one batch, header included. Default 1 MiB.
    pub batch_bytes_max: usize,
    /// How to write.
    pub io: IoChoice,
    /// Accept a folder that is in memory only (tmpfs, ramfs).
    pub allow_volatile: bool,
    /// The new store's id; used when the folder is created.
    pub store_id: [u8; 16],
    /// A number kept with the store, fixed when the folder is created.
    pub shards: u32,
    /// A test's hand on the device.
    #[cfg(feature = "faults")]
    pub faults: crate::Faults,
}

impl Options {
    /// The defaults for a folder.
    pub fn new(dir: impl Into<Folder>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: 64 << 20,
            window_bytes: 8 << 20,
            writes_in_flight_max: 8,
            batch_bytes_max: 1 << 20,
            io: IoChoice::Auto,
            allow_volatile: false,
            store_id: [0; 16],
            shards: 1,
            #[cfg(feature = "faults")]
            faults: crate::Faults::default(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let bad = |what| Err(OpenError::Options { what });
        let block = BLOCK as u64;
        if !self.segment_bytes.is_multiple_of(block) || self.segment_bytes > u64::from(u32::MAX) {
            return bad("a segment is a multiple of 4 KiB and below 4 GiB");
        }
        if !self.batch_bytes_max.is_multiple_of(BLOCK) || self.batch_bytes_max < BLOCK {
            return bad("the largest batch is a multiple of 4 KiB");
        }
        if self.segment_bytes < 2 * self.batch_bytes_max as u64 + block {
            return bad("a segment holds at least two of the largest batches");
        }
        if self.window_bytes < self.batch_bytes_max as u64 {
            return bad("the window holds at least one of the largest batches");
        }
        if !(1..=32).contains(&self.writes_in_flight_max) {
            return bad("1 to 32 writes may be in flight");
        }
        Ok(())
    }
}
