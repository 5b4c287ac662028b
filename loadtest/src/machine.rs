//! Where and of what a measurement was made: a figure without them says nothing.

use std::io;
use std::process::Command;

/// The machine in one line: processor, how many, memory, kernel.
#[must_use]
pub fn machine() -> String {
    let field = |file: &str, name: &str| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|l| l.starts_with(name)).unwrap_or_default();
        line.split_once(':').map(|(_, v)| v.trim().to_owned()).unwrap_or_default()
    };
    let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kib: u64 = field("/proc/meminfo", "MemTotal").split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let model = field("/proc/cpuinfo", "model name");
    format!("{processors} × {model}, {} GiB, Linux {}", kib >> 20, kernel.trim())
}

/// The most memory that this process has held so far, in bytes; 0: not known.
#[must_use]
pub(crate) fn memory_peak_bytes() -> u64 {
    memory_bytes(std::process::id(), "VmHWM:").unwrap_or(0)
}

/// Bytes of memory that a process holds (`VmRSS:`), or has held at most (`VmHWM:`).
#[must_use]
pub(crate) fn memory_bytes(process: u32, which: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let kib = text.lines().find_map(|l| l.strip_prefix(which)?.trim().split(' ').next()?.parse::<u64>().ok())?;
    Some(kib << 10)
}

/// The most that a process has held is from now on what it holds now, until it is more.
pub(crate) fn forget_memory_peak(process: u32) -> io::Result<()> {
    // proc_pid_clear_refs(5).
    std::fs::write(format!("/proc/{process}/clear_refs"), "5")
}

/// Processor time that the host of a virtual machine has taken so far, in ms of all processors; 0: none, or not known.
#[must_use]
pub(crate) fn stolen_ms() -> u64 {
    stolen_ticks(&std::fs::read_to_string("/proc/stat").unwrap_or_default()) * 1_000
        / rustix::param::clock_ticks_per_second()
}

/// The eighth number of the line of all processors.
fn stolen_ticks(stat: &str) -> u64 {
    let all = stat.lines().find_map(|l| l.strip_prefix("cpu "));
    all.and_then(|l| l.split_whitespace().nth(7)?.parse().ok()).unwrap_or(0)
}

/// The commit that the working tree stands on, and whether it was changed since.
#[must_use]
pub fn commit() -> String {
    let git = |args: &[&str]| {
        let out = Command::new("git").args(args).output().ok()?;
        out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    match (git(&["rev-parse", "--short", "HEAD"]), git(&["status", "--porcelain", "--untracked-files=no"])) {
        (Some(commit), Some(changes)) if changes.is_empty() => commit,
        (Some(commit), _) => format!("{commit} with changes"),
        _ => "not a checkout".to_owned(),
    }
}

/// The command line that was run, as somebody would type it who has the program as `program`.
#[must_use]
pub fn command_line(program: &str) -> String {
    let args: Vec<String> = std::env::args().skip(1).collect();
    format!("{program} {}", args.join(" ")).trim_end_matches(" -- ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_the_host_took_is_read_of_all_processors() {
        let stat = "cpu  48346 1314 5059 44650 584 0 1351 49 7 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        assert_eq!(super::stolen_ticks(stat), 49);
        assert_eq!(["", "cpu ", "cpu0 1 2 3 4 5 6 7 8"].map(super::stolen_ticks), [0; 3], "nothing is known");
    }
}
