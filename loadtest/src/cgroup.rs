//! Limits of the server's disk, by a control group (version 1) that the harness makes for it.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the controllers are.
const ROOT: &str = "/sys/fs/cgroup";

/// A group of one controller. It is removed when it is dropped; processes in it must have ended, or left.
#[derive(Debug)]
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    /// A new group of `controller`, for this process's children. The error says what is missing.
    pub(crate) fn new(controller: &str) -> Result<Self, String> {
        let path = Path::new(ROOT).join(controller).join(format!("tegata-load-{}", std::process::id()));
        match fs::create_dir(&path) {
            Ok(()) => Ok(Self(path)),
            Err(e) => Err(format!("a control group {}: {e}", path.display())),
        }
    }

    /// Writes one of its files.
    pub(crate) fn set(&self, file: &str, value: &str) -> Result<(), String> {
        let path = self.0.join(file);
        fs::write(&path, value).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Reads one of its files.
    pub(crate) fn get(&self, file: &str) -> Result<String, String> {
        let path = self.0.join(file);
        fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Takes a process in, with all its threads.
    pub(crate) fn take_in(&self, process: u32) -> Result<(), String> {
        self.set("cgroup.procs", &process.to_string())
    }

    /// Lets it write so often a second to the disk that `folder` is on; 0: as often as it can.
    pub(crate) fn limit_writes(&self, folder: &Path, per_second: u32) -> Result<(), String> {
        self.set("blkio.throttle.write_iops_device", &format!("{} {per_second}", device(folder)?))
    }

    /// How often it has written to the disk that `folder` is on.
    pub(crate) fn writes(&self, folder: &Path) -> Result<u64, String> {
        let line = format!("{} Write ", device(folder)?);
        let text = self.get("blkio.throttle.io_serviced")?;
        Ok(text.lines().find_map(|l| l.strip_prefix(&line)?.parse().ok()).unwrap_or(0))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // What is still in it goes back to where it came from.
        let parent = self.0.parent().map(|p| p.join("cgroup.procs"));
        let inside = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        if let Some(parent) = parent {
            inside.lines().for_each(|id| drop(fs::write(&parent, id)));
        }
        if let Err(e) = fs::remove_dir(&self.0) {
            eprintln!("{}: {e}", self.0.display());
        }
    }
}

/// The whole disk under a folder, as the kernel numbers it: `254:0`.
fn device(folder: &Path) -> Result<String, String> {
    use std::os::unix::fs::MetadataExt;
    let error = |e: std::io::Error| format!("{}: {e}", folder.display());
    let dev = fs::metadata(folder).map_err(error)?.dev();
    let number = format!("{}:{}", rustix::fs::major(dev), rustix::fs::minor(dev));
    let block = fs::canonicalize(Path::new("/sys/dev/block").join(&number))
        .map_err(|_| format!("{} is on no disk", folder.display()))?;
    // Only whole disks can be limited.
    let whole = if block.join("partition").exists() { block.parent().unwrap_or(&block) } else { &block };
    Ok(fs::read_to_string(whole.join("dev")).map_err(error)?.trim().to_owned())
}
