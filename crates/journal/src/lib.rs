//! Segments, batches, snapshots, the writer, recovery and the disk
