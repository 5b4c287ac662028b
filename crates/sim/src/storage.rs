//! The disk of a world.

use crate::plan::Plan;
use std::path::Path;
use tegata_journal::{IoChoice, Options};

/// See the module.
#[derive(Debug)]
pub(crate) struct Storage {
    dir: tempfile::TempDir,
}

impl Storage {
    pub(crate) fn new(_plan: &Plan) -> Self {
        Self { dir: tempfile::tempdir_in("/dev/shm").expect("a folder") }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn options(&self, plan: &Plan) -> Options {
        let mut o = Options::new(self.dir.path());
        o.segment_bytes = plan.segment_bytes;
        o.batch_bytes_max = (plan.batch_bytes_max + 4_096).next_multiple_of(4_096);
        o.window_bytes = o.batch_bytes_max as u64 * 4;
        o.writes_in_flight_max = 4;
        o.io = IoChoice::Buffered;
        o.allow_volatile = true;
        o.shards = plan.shards;
        o.store_id = [7; 16];
        o
    }
}
