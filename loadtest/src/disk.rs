//! A disk of the server's own, that can be full: a file system in a file.

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Bytes that are written at once to fill it: from large to small, until not even a block fits.
const PIECES: [usize; 2] = [1 << 20, 4_096];

/// A mounted file system. It is gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    /// Where it is.
    pub(crate) path: PathBuf,
    device: String,
}

/// Runs a system's tool; gives what it said.
fn tool(words: &[&str]) -> Result<String, String> {
    let out = Command::new(words[0]).args(&words[1..]).output().map_err(|e| format!("{}: {e}", words[0]))?;
    let said = String::from_utf8_lossy(if out.status.success() { &out.stdout } else { &out.stderr }).trim().to_owned();
    if out.status.success() { Ok(said) } else { Err(format!("{}: {said}", words[0])) }
}

impl Disk {
    /// An ext4 of `bytes` in a file in `folder`, with nothing set aside for root. The error says what is missing.
    pub(crate) fn make(folder: &Path, bytes: u64) -> Result<Self, String> {
        let (image, path) = (folder.join("disk.img"), folder.join("disk"));
        let error = |e: io::Error| format!("{}: {e}", image.display());
        File::create(&image).and_then(|f| f.set_len(bytes)).map_err(error)?;
        std::fs::create_dir(&path).map_err(error)?;
        let image = image.to_str().ok_or("a path that is not UTF-8")?;
        tool(&["mkfs.ext4", "-q", "-m", "0", image])?;
        let disk = Self { path, device: tool(&["losetup", "--find", "--show", image])? };
        mount(&disk.device, &disk.path, c"ext4", MountFlags::empty(), None)
            .map_err(|e| format!("mounting {}: {e}", disk.device))?;
        Ok(disk)
    }

    /// Takes all the space that is left, until the returned file is removed.
    pub(crate) fn fill(&self) -> io::Result<PathBuf> {
        let path = self.path.join("ballast");
        let mut file = File::create(&path)?;
        let zeros = vec![0; PIECES[0]];
        for size in PIECES {
            loop {
                match file.write_all(&zeros[..size]) {
                    Ok(()) => {}
                    Err(e) if e.kind() == io::ErrorKind::StorageFull => break,
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = unmount(&self.path, UnmountFlags::DETACH);
        let _ = tool(&["losetup", "--detach", &self.device]);
    }
}
