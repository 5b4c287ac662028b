//! A share of a processor for the server: what takes the rest of it is a process of real-time priority that is busy for
//! a part of every millisecond. The kernel's own quota is counted at its ticks, of 4 ms here: with a tenth of a
//! processor whoever has used it up stands still for 25 to 35 ms, longer than most goals of an overload allow.

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The hidden command that takes the rest.
pub(crate) const CHILD_TAKE: &str = "__take";

const PERIOD: Duration = Duration::from_millis(1);
/// Periods between two looks at whether the harness is still there.
const LOOK_EVERY: u32 = 100;

/// The share. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    taker: Child,
    processor: usize,
}

impl Share {
    /// Gives the last processor to the server, less what is taken of it; the harness keeps to the others. The error says
    /// what is missing.
    pub(crate) fn new(processors: f64) -> Result<Self, String> {
        let count = online()?;
        if count < 2 {
            return Err("a second processor, for the server's share".to_owned());
        }
        let program = std::env::current_exe().map_err(|e| format!("the harness's own program: {e}"))?;
        let processor = count - 1;
        let mut taker = Command::new("chrt")
            .args(["--fifo", "1"])
            .arg(program)
            .args([CHILD_TAKE, &processors.to_string(), &processor.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("chrt, of util-linux: {e}"))?;
        let granted = is_real_time(&mut taker);
        let share = Self { taker, processor };
        granted?;
        keep_to(std::process::id(), &all_but(processor, count))?;
        Ok(share)
    }

    /// Takes a process in, with all its threads.
    pub(crate) fn take_in(&self, process: u32) -> Result<(), String> {
        let mut set = CpuSet::new();
        set.set(self.processor);
        keep_to(process, &set)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let _ = self.taker.kill();
        let _ = self.taker.wait();
        let everywhere = all_but(usize::MAX, online().unwrap_or(1));
        let _ = keep_to(std::process::id(), &everywhere);
    }
}

/// Takes all but `processors` of a processor, until the harness that started it is gone.
pub(crate) fn take(processors: f64, processor: usize) {
    let harness = rustix::process::getppid();
    let mut set = CpuSet::new();
    set.set(processor);
    if sched_setaffinity(None, &set).is_err() {
        return;
    }
    let busy = PERIOD.mul_f64((1.0 - processors).clamp(0.0, 1.0));
    let mut begins = Instant::now();
    while rustix::process::getppid() == harness {
        for _ in 0..LOOK_EVERY {
            while begins.elapsed() < busy {
                std::hint::spin_loop();
            }
            begins += PERIOD;
            // What came too late is left to the server.
            let now = Instant::now();
            if begins <= now {
                begins = now;
            }
            std::thread::sleep(begins - now);
        }
    }
}

/// Waits until the kernel has made it a real-time process, or refused to.
fn is_real_time(taker: &mut Child) -> Result<(), String> {
    let stat = format!("/proc/{}/stat", taker.id());
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        if !matches!(taker.try_wait(), Ok(None)) {
            break;
        }
        let text = fs::read_to_string(&stat).unwrap_or_default();
        // Behind the name come state and 37 numbers; the next is the priority among real-time processes.
        let priority = text.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(37));
        if priority == Some("1") {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err("real-time priority, by chrt".to_owned())
}

fn online() -> Result<usize, String> {
    let text = fs::read_to_string("/proc/stat").map_err(|e| format!("/proc/stat: {e}"))?;
    let is_one = |l: &&str| l.strip_prefix("cpu").is_some_and(|r| r.starts_with(|c: char| c.is_ascii_digit()));
    Ok(text.lines().filter(is_one).count())
}

fn all_but(one: usize, count: usize) -> CpuSet {
    let mut set = CpuSet::new();
    (0..count.min(CpuSet::MAX_CPU)).filter(|n| *n != one).for_each(|n| set.set(n));
    set
}

/// Binds all threads of a process, and so those that they will start.
fn keep_to(process: u32, set: &CpuSet) -> Result<(), String> {
    let folder = PathBuf::from(format!("/proc/{process}/task"));
    let error = |e: std::io::Error| format!("{}: {e}", folder.display());
    for entry in fs::read_dir(&folder).map_err(error)? {
        let name = entry.map_err(error)?.file_name();
        let thread = name.to_str().and_then(|n| n.parse().ok()).and_then(Pid::from_raw);
        match sched_setaffinity(thread, set) {
            // It ended meanwhile.
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(e) => return Err(error(e.into())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{all_but, online};

    #[test]
    fn a_processor_is_left_out() {
        let count = online().expect("/proc/stat is there");
        assert_eq!(count, std::thread::available_parallelism().map_or(0, usize::from));
        assert_eq!(all_but(0, 3).count(), 2);
        assert!(!all_but(2, 3).is_set(2));
        assert_eq!(all_but(usize::MAX, 3).count(), 3);
    }
}
