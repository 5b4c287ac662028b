//! File systems of a trial's own on loop devices, and memory that is too small for them. All of it is taken down when it is
//! dropped, also when a trial fails.

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a system's tool; gives what it said.
fn tool(words: &[&str]) -> Result<String, String> {
    let out = Command::new(words[0]).args(&words[1..]).output().map_err(|e| format!("{}: {e}", words[0]))?;
    let said = String::from_utf8_lossy(if out.status.success() { &out.stdout } else { &out.stderr }).trim().to_owned();
    if out.status.success() { Ok(said) } else { Err(format!("{}: {said}", words[0])) }
}

fn path_text(path: &Path) -> Result<&str, String> {
    path.to_str().ok_or_else(|| "a path that is not UTF-8".to_owned())
}

/// Something mounted.
#[derive(Debug)]
struct Mounted(PathBuf);

impl Mounted {
    fn new(what: &str, at: &Path, kind: &str, options: &str) -> Result<Self, String> {
        std::fs::create_dir_all(at).map_err(|e| e.to_string())?;
        let c = |s: &str| std::ffi::CString::new(s).map_err(|e| e.to_string());
        mount(what, at, c(kind)?.as_c_str(), MountFlags::empty(), c(options)?.as_c_str())
            .map_err(|e| format!("mounting {kind} at {}: {e}", at.display()))?;
        Ok(Self(at.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(e) = unmount(&self.0, UnmountFlags::DETACH) {
            eprintln!("unmounting {}: {e}", self.0.display());
        }
    }
}

/// Memory with a size, as a folder.
#[derive(Debug)]
pub(crate) struct Memory {
    mounted: Mounted,
}

impl Memory {
    pub(crate) fn new(at: &Path, mib: u64) -> Result<Self, String> {
        Ok(Self { mounted: Mounted::new("tmpfs", at, "tmpfs", &format!("size={mib}m"))? })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.mounted.0
    }

    /// Takes all that is left of it, until the returned file is removed.
    pub(crate) fn fill(&self) -> PathBuf {
        let path = self.path().join("ballast");
        if let Ok(mut file) = File::create(&path) {
            let piece = [0x5A; 4_096];
            while file.write_all(&piece).is_ok() {}
        }
        path
    }
}

/// A loop device over a file.
#[derive(Debug)]
struct Loop(String);

impl Drop for Loop {
    fn drop(&mut self) {
        if let Err(e) = tool(&["losetup", "--detach", &self.0]) {
            eprintln!("{e}");
        }
    }
}

/// A file system of its own in a file.
#[derive(Debug)]
pub(crate) struct Disk {
    /// Before the device, which it stands on.
    mounted: Option<Mounted>,
    device: Loop,
    kind: &'static str,
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    /// A file system of `mib` in a sparse file in `folder`. The error says what is missing.
    pub(crate) fn new(kind: &'static str, folder: &Path, mib: u64) -> Result<Self, String> {
        let (image, at) = (folder.join(format!("{kind}.img")), folder.join(kind));
        File::create(&image).and_then(|f| f.set_len(mib << 20)).map_err(|e| e.to_string())?;
        let text = path_text(&image)?;
        match kind {
            "xfs" => tool(&["mkfs.xfs", "-q", "-f", text])?,
            // Its tables are written now, and not by the kernel at some later time.
            _ => tool(&["mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", text])?,
        };
        let device = Loop(tool(&["losetup", "--find", "--show", text])?);
        let mut disk = Self { mounted: None, device, kind, image, at };
        disk.mount()?;
        Ok(disk)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.at
    }

    pub(crate) fn mount(&mut self) -> Result<(), String> {
        self.mounted = Some(Mounted::new(&self.device.0, &self.at, self.kind, "")?);
        Ok(())
    }

    /// Takes it down and mounts it again: what its pages held in memory is gone.
    pub(crate) fn mount_again(&mut self) -> Result<(), String> {
        // A mount that is only detached lives on in whoever has a file open.
        if let Some(mounted) = self.mounted.take() {
            let gone = crate::until(std::time::Duration::from_secs(20), || {
                unmount(&mounted.0, UnmountFlags::empty()).is_ok().then_some(())
            });
            if gone.is_none() {
                return Err(format!("{} is in use", mounted.0.display()));
            }
            std::mem::forget(mounted);
        }
        self.mount()
    }

    /// Gives the blocks of the file back that hold nothing but zeros, so that they must be found again when they are
    /// written. Nobody may write meanwhile.
    pub(crate) fn make_thin(&self) -> Result<u64, String> {
        use std::os::unix::fs::MetadataExt;
        let blocks = || std::fs::metadata(&self.image).map(|m| m.blocks() * 512).map_err(|e| e.to_string());
        let name = self.device.0.trim_start_matches("/dev/");
        let inflight = format!("/sys/block/{name}/inflight");
        let idle = || {
            let text = std::fs::read_to_string(&inflight).ok()?;
            text.split_whitespace().all(|n| n == "0").then_some(())
        };
        crate::until(std::time::Duration::from_secs(5), idle).ok_or("the device is never idle")?;
        let before = blocks()?;
        tool(&["fallocate", "--dig-holes", path_text(&self.image)?])?;
        Ok(before.saturating_sub(blocks()?))
    }
}
