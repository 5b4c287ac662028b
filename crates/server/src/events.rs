//! What happened to the breakers, for later: a line on the standard error and one in the file `EVENTS` of the data folder,
//! from which an incident's time line is drawn. A thread of its own writes both, because neither a disk that stalls nor a
//! reader of the standard error may stall the core; what it cannot keep up with is counted and left out.
//!
//! ```text
//! core ──bounded channel──▶ writer ──▶ EVENTS, at most EVENTS_BYTES_MAX, then EVENTS.1
//! ```
//!
//! A line is a JSON object: `at_us`, `event`, and of a breaker `cause`, `from`, `to`, `level` and `mode`.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tegata_model::Timestamp;
use tegata_node::Transition;

/// Bytes of the file before it becomes the older one, of which there is one.
const EVENTS_BYTES_MAX: u64 = 1 << 20;
/// Lines that wait for the disk.
const WAITING_MAX: usize = 1_024;

/// How long a stop waits for the last lines.
const STOP_MAX: Duration = Duration::from_secs(1);

/// A line for people, if it is one, and for the file.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) text: Option<String>,
    pub(crate) json: String,
}

/// A file of lines, and the thread that writes it. It is made with its first line.
#[derive(Debug)]
pub(crate) struct Trail {
    writer: Mutex<Option<(SyncSender<Line>, JoinHandle<()>)>>,
    /// Lines that are not in the file: there was no room to wait, or the disk did not take them.
    lost: Arc<AtomicU64>,
}

impl Trail {
    /// Without a thread nothing is written.
    pub(crate) fn start(dir: &Path, name: &'static str) -> Self {
        let (lines, waiting) = sync_channel::<Line>(WAITING_MAX);
        let path = dir.join(name);
        let lost = Arc::new(AtomicU64::new(0));
        let unwritten = Arc::clone(&lost);
        let write = move || {
            let mut file = None;
            while let Ok(line) = waiting.recv() {
                // A full disk keeps no lines; the next one tries again.
                if append(&path, &mut file, &line.json).is_err() {
                    file = None;
                    unwritten.fetch_add(1, Ordering::Relaxed);
                }
                // Last, because its reader may let it wait.
                if let Some(text) = &line.text {
                    crate::say(text);
                }
            }
        };
        let thread = std::thread::Builder::new().name(name.to_lowercase()).spawn(write).ok();
        Self { writer: Mutex::new(thread.map(|thread| (lines, thread))), lost }
    }

    pub(crate) fn line(&self, line: Line) {
        let sent = self
            .writer
            .lock()
            .is_ok_and(|inside| inside.as_ref().is_some_and(|(lines, _)| lines.try_send(line).is_ok()));
        self.lost.fetch_add(u64::from(!sent), Ordering::Relaxed);
    }

    /// Lines that the file lacks.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Takes no more lines, and waits for the last ones, but not for ever.
    pub(crate) fn stop(&self) {
        let Some((lines, thread)) = self.writer.lock().ok().and_then(|mut inside| inside.take()) else { return };
        drop(lines);
        let until = Instant::now() + STOP_MAX;
        while !thread.is_finished() && Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }
}

/// Where events go.
#[derive(Debug)]
pub(crate) struct Events {
    trail: Trail,
}

impl Events {
    /// The last event, when the server stops in order.
    pub(crate) fn stop(&mut self, at: Timestamp) {
        self.note("stop", at);
        self.trail.stop();
    }

    /// Begins with the event `start`. Without a thread nothing is told, but counted.
    pub(crate) fn start(dir: &Path, at: Timestamp) -> Self {
        let mut events = Self { trail: Trail::start(dir, "EVENTS") };
        events.note("start", at);
        events
    }

    /// Tells of a transition.
    pub(crate) fn tell(&mut self, t: &Transition) {
        let (c, cause, mode) = (&t.change, t.cause.row().name, t.mode);
        let (from, to, event) = (c.from.name(), c.to.name(), c.event.name());
        let text =
            format!("tegata: breaker {cause}: {from} → {to} ({event}, {}); {}: {}", c.level, mode.name(), mode.words());
        let json = format!(
            "{{\"at_us\":{},\"event\":\"{event}\",\"cause\":\"{cause}\",\"from\":\"{from}\",\"to\":\"{to}\",\"level\":{},\"mode\":\"{}\"}}\n",
            c.at.micros(),
            c.level,
            mode.name()
        );
        self.line(Line { text: Some(text), json });
    }

    fn note(&mut self, event: &str, at: Timestamp) {
        let json = format!("{{\"at_us\":{},\"event\":\"{event}\"}}\n", at.micros());
        self.line(Line { text: None, json });
    }

    fn line(&mut self, line: Line) {
        self.trail.line(line);
    }

    /// Lines that the file lacks.
    pub(crate) fn lost(&self) -> u64 {
        self.trail.lost()
    }
}

fn append(path: &PathBuf, file: &mut Option<(File, u64)>, line: &str) -> std::io::Result<()> {
    let (open, bytes) = match file.take() {
        Some((_, bytes)) if bytes + line.len() as u64 > EVENTS_BYTES_MAX => {
            std::fs::rename(path, path.with_extension("1"))?;
            opened(path)?
        }
        Some(file) => file,
        None => opened(path)?,
    };
    let (mut open, mut bytes) = (open, bytes);
    open.write_all(line.as_bytes())?;
    bytes += line.len() as u64;
    *file = Some((open, bytes));
    Ok(())
}

fn opened(path: &PathBuf) -> std::io::Result<(File, u64)> {
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
    let mut bytes = file.metadata()?.len();
    let mut last = [b'\n'];
    if bytes > 0 {
        file.read_exact_at(&mut last, bytes - 1)?;
    }
    if last != [b'\n'] {
        // A disk that was full took a part of a line.
        file.write_all(b"\n")?;
        bytes += 1;
    }
    Ok((file, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_the_disk_does_not_take_is_counted_and_spoils_no_other() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("EVENTS");
        std::fs::create_dir(&path).expect("in the way");
        let mut events = Events::start(dir.path(), Timestamp::ZERO);
        events.stop(Timestamp::ZERO);
        assert_eq!(events.lost(), 2, "start and stop");
        std::fs::remove_dir(&path).expect("out of the way");
        std::fs::write(&path, "{\"at_us\":1}\n{\"at_").expect("a part of a line");
        let mut events = Events::start(dir.path(), Timestamp::ZERO);
        events.stop(Timestamp::ZERO);
        let text = std::fs::read_to_string(&path).expect("text");
        let whole = |l: &&str| serde_json::from_str::<serde_json::Value>(l).is_ok();
        assert_eq!((events.lost(), text.lines().filter(whole).count(), text.lines().count()), (0, 3, 4), "{text}");
    }

    #[test]
    fn the_file_is_bounded_and_the_newest_lines_are_there() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("EVENTS");
        let (mut file, line) = (None, "x".repeat(99) + "\n");
        for _ in 0..25_000 {
            append(&path, &mut file, &line).expect("it is written");
        }
        append(&path, &mut file, "last\n").expect("it is written");
        let bytes = |p: PathBuf| std::fs::metadata(p).map_or(0, |m| m.len());
        assert!(bytes(path.clone()) <= EVENTS_BYTES_MAX && bytes(dir.path().join("EVENTS.1")) <= EVENTS_BYTES_MAX);
        assert!(std::fs::read_to_string(path).expect("text").ends_with("last\n"));
        assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 2, "no others");
    }
}
