//! The committed corpora: a folder of files for each target, read in the order of their names.

use std::io;
use std::path::{Path, PathBuf};

/// All corpora together are smaller, in bytes.
pub const BYTES_MAX: u64 = 2 << 20;

/// The corpus folder of a target.
#[must_use]
pub fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// The files of a corpus with their bytes, by name. A target without one is an error: it would be tested with nothing.
pub fn read(target: &str) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder(target))?.map(|e| e.map(|e| e.path())).collect::<io::Result<_>>()?;
    paths.sort();
    if paths.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "an empty corpus"));
    }
    paths.into_iter().map(|p| std::fs::read(&p).map(|bytes| (p, bytes))).collect()
}
