//! Disks that the tests make for themselves, and take away again however a test ends.

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system of its own.
pub(crate) struct Disk {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// The loop device under it.
    device: Option<String>,
    _folder: tempfile::TempDir,
}

/// Runs a system's tool; gives what it said.
fn tool(words: &[&str]) -> Result<String, String> {
    let output = Command::new(words[0]).args(&words[1..]).output().map_err(|e| format!("{}: {e}", words[0]))?;
    let said = String::from_utf8_lossy(if output.status.success() { &output.stdout } else { &output.stderr });
    if output.status.success() { Ok(said.trim().to_owned()) } else { Err(said.trim().to_owned()) }
}

/// Without the right to mount there is nothing to test on. Past the test harness, which hides what a passing test says.
fn skip(why: &dyn std::fmt::Display) {
    let test = std::thread::current();
    let test = test.name().unwrap_or_default();
    let text = format!("\n!!! {test} SKIPPED: mounting is not allowed here ({why})\n\n");
    let _ = std::io::stderr().write_all(text.as_bytes());
}

impl Disk {
    fn mounted(source: &str, kind: &str, options: &str, device: Option<String>) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_owned();
        let data = std::ffi::CString::new(options).expect("no zeros");
        match mount(source, &path, kind, MountFlags::empty(), data.as_c_str()) {
            Ok(()) => Some(Self { path, device, _folder: folder }),
            Err(e @ (rustix::io::Errno::PERM | rustix::io::Errno::ACCESS)) => {
                skip(&e);
                None
            }
            Err(e) => panic!("mounting {source}: {e}"),
        }
    }

    /// In memory, of a fixed size. Nothing when mounting is not allowed here.
    pub(crate) fn in_memory(bytes: u64) -> Option<Self> {
        Self::mounted("none", "tmpfs", &format!("size={bytes}"), None)
    }

    /// In a file.
    pub(crate) fn in_file(image: &Path) -> Option<Self> {
        let image = image.to_str().expect("UTF-8");
        match tool(&["losetup", "--find", "--show", image]) {
            Ok(device) => Self::mounted(&device, "ext4", "", Some(device.clone())),
            Err(e) if rustix::process::geteuid().is_root() && Path::new("/dev/loop-control").exists() => {
                panic!("losetup: {e}")
            }
            Err(e) => {
                skip(&e);
                None
            }
        }
    }

    /// What was written is on the device.
    pub(crate) fn flush(&self) {
        rustix::fs::syncfs(File::open(&self.path).expect("it is open")).expect("it is flushed");
    }

    /// Takes all the space that is left.
    pub(crate) fn fill(&self) -> Ballast {
        let path = self.path.join("ballast");
        let mut file = File::create(&path).expect("it is made");
        let zeros = vec![0; 64 << 10];
        // From large to small, until not even one block fits.
        for size in [zeros.len(), 4_096] {
            let full =
                std::iter::repeat_with(|| file.write_all(&zeros[..size])).find_map(Result::err).expect("it ends");
            assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
        }
        Ballast(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(e) = unmount(&self.path, UnmountFlags::DETACH) {
            eprintln!("{}: {e}", self.path.display());
        }
        if let Some(device) = &self.device {
            let _ = tool(&["losetup", "--detach", device]);
        }
    }
}

/// A new file system in a file that takes no space yet.
pub(crate) fn make_image(image: &Path, bytes: u64) {
    File::create(image).and_then(|f| f.set_len(bytes)).expect("it is made");
    tool(&["mkfs.ext4", "-q", image.to_str().expect("UTF-8")]).expect("mkfs.ext4");
}

/// Gives the space of everything that is zero in a file back, without changing what is read from it.
pub(crate) fn dig_holes(image: &Path) {
    tool(&["fallocate", "--dig-holes", image.to_str().expect("UTF-8")]).expect("fallocate");
}

/// What fills a disk.
pub(crate) struct Ballast(PathBuf);

impl Ballast {
    /// There is space again.
    pub(crate) fn remove(self) {
        std::fs::remove_file(self.0).expect("it is removed");
    }
}
