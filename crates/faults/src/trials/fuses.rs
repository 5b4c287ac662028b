//! A disk that fails, shortens, tears, drops and holds back writes, and that loses its power: our own file system.

use super::disks::stops_by_itself;
use crate::fuse::{Harm, Lossy};
use crate::server::DAMAGED;
use crate::trial::{PATIENCE, SETTINGS, Scale, Stage, Trouble};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tegata_load::Link;
use tegata_wire::{AnswerBody, KIND_SERVER_STATUS, RequestHeader, encode_request};

type Told = Result<(String, String), Trouble>;

/// A server under load on our file system. The stage is dropped, and so the server gone, before the file system is.
struct OnLossy {
    /// Nothing only once it was compared.
    stage: Option<Stage>,
    disk: Lossy,
    data: PathBuf,
    _folder: tempfile::TempDir,
}

impl Drop for OnLossy {
    fn drop(&mut self) {
        // A server that waits for an answer cannot die.
        self.disk.cut_power();
        self.disk.let_go();
    }
}

fn begin(settings: &[&'static str], past_cache: bool) -> Result<OnLossy, Trouble> {
    let folder = tempfile::tempdir()?;
    let at = folder.path().join("disk");
    let disk = Lossy::mount(&at, past_cache).map_err(Trouble::Skipped)?;
    let data = at.join("data");
    let stage = Stage::begin(&data, folder.path(), settings)?;
    Ok(OnLossy { stage: Some(stage), disk, data, _folder: folder })
}

impl OnLossy {
    /// The power goes with the server on it, and comes back.
    fn power_off_and_on(&mut self) -> Result<crate::fuse::Lost, Trouble> {
        self.disk.cut_power();
        if let Some(mut server) = self.stage()?.server.take() {
            // Whoever waits for an answer dies only when there is one.
            server.kill_then(|| self.disk.let_go())?;
        }
        Ok(self.disk.restore()?)
    }

    fn stage(&mut self) -> Result<&mut Stage, Trouble> {
        self.stage.as_mut().ok_or_else(|| "it is over".into())
    }

    fn compare(mut self) -> Result<String, Trouble> {
        Ok(self.stage.take().ok_or("it is over")?.compare()?.to_string())
    }
}

/// Everything that was not flushed is lost, at any time, again and again.
pub(crate) fn power_cut(scale: Scale) -> Told {
    let mut settings = SETTINGS.to_vec();
    settings.push("snapshot_bytes = 8388608");
    let mut on = begin(&settings, true)?;
    let times = if scale == Scale::Short { 2 } else { 20 };
    let (mut bytes, mut names) = (0, 0);
    for _ in 0..times {
        on.stage()?.answers(2_000)?;
        let lost = on.power_off_and_on()?;
        (bytes, names) = (bytes + lost.bytes, names + lost.names);
        on.stage()?.start()?;
    }
    if bytes + names == 0 {
        return Err("nothing that was not flushed was lost: there was nothing to lose".into());
    }
    let evidence = format!("{times} times without power; lost: {bytes} bytes that were not flushed, {names} names");
    Ok((evidence, on.compare()?))
}

/// Of a batch that is being written half is there after the power cut.
pub(crate) fn torn(scale: Scale) -> Told {
    let mut on = begin(&SETTINGS, true)?;
    let times = if scale == Scale::Short { 1 } else { 10 };
    let mut cut = 0;
    for _ in 0..times {
        on.stage()?.answers(1_000)?;
        on.disk.arm(Harm::Tear);
        crate::until(PATIENCE, || on.disk.is_off().then_some(())).ok_or("no batch was torn")?;
        on.power_off_and_on()?;
        cut += u32::from(on.stage()?.start()?.said("torn") != "0");
    }
    // A batch of one block whose second half is padding is whole.
    if cut == 0 {
        return Err(format!("{times} batches were torn, and no start found one").into());
    }
    let evidence = format!("{times} batches torn in their middle; {cut} starts found and cut a torn tail");
    Ok((evidence, on.compare()?))
}

fn stops(harm: Harm, settings: &[&'static str], past_cache: bool, says: &str) -> Told {
    let mut on = begin(settings, past_cache)?;
    on.stage()?.answers(2_000)?;
    on.disk.arm(harm);
    let said = stops_by_itself(on.stage()?)?;
    if on.disk.harmed() != 1 || !said.contains(says) {
        return Err(format!("{} writes were harmed, and it stopped because of: {said}", on.disk.harmed()).into());
    }
    // What had not been flushed by then is lost as well.
    on.disk.restore()?;
    on.stage()?.start()?;
    on.stage()?.answers(1_000)?;
    Ok((format!("one write of a batch; the server: {said}"), on.compare()?))
}

/// A write fails.
pub(crate) fn fail(_: Scale) -> Told {
    stops(Harm::Fail, &SETTINGS, false, "os error 5")
}

/// A write is shorter than it was asked for. With io_uring the kernel writes the rest by itself.
pub(crate) fn short(_: Scale) -> Told {
    stops(Harm::Short, &[SETTINGS[0], SETTINGS[1], "journal_io = \"pwritev2\""], true, "short write")
}

/// The flush of a batch fails; later ones would say that all is well. Then the power goes.
pub(crate) fn fail_flush(_: Scale) -> Told {
    let mut on = begin(&SETTINGS, false)?;
    on.stage()?.answers(2_000)?;
    on.disk.fail_flushes(1);
    let said = stops_by_itself(on.stage()?)?;
    let failed = on.disk.failed_flushes();
    if failed != 1 {
        return Err(format!("{failed} flushes failed, and it stopped because of: {said}").into());
    }
    let lost = on.disk.restore()?;
    on.stage()?.start()?;
    on.stage()?.answers(1_000)?;
    let evidence = format!("1 flush failed, then a power cut lost {} bytes; the server: {said}", lost.bytes);
    Ok((evidence, on.compare()?))
}

/// Writes are not answered for a while.
pub(crate) fn stall(_: Scale) -> Told {
    let mut on = begin(&SETTINGS, false)?;
    on.stage()?.answers(2_000)?;
    on.disk.arm(Harm::Stall);
    crate::until(PATIENCE, || (on.disk.harmed() > 0).then_some(())).ok_or("no batch was held back")?;
    let operate = on.stage()?.server()?.operate;
    let degraded = crate::until(PATIENCE, || mode(operate).filter(|m| *m != 0)).is_some();
    let held = on.disk.harmed();
    on.disk.let_go();
    if !degraded {
        return Err(format!("{held} writes were held back, and it never said that it is degraded").into());
    }
    crate::until(PATIENCE, || mode(operate).filter(|m| *m == 0)).ok_or("it did not come back")?;
    on.stage()?.answers(2_000)?;
    Ok((format!("{held} writes held back until it was degraded; normal again by itself"), on.compare()?))
}

/// How the server says that it is; 0: normal.
fn mode(operate: SocketAddr) -> Option<u64> {
    let mut link = Link::open_within(operate, true, PATIENCE).ok()?;
    link.answer_within(PATIENCE).ok()?;
    let mut out = Vec::new();
    encode_request(&RequestHeader { kind: KIND_SERVER_STATUS, ..RequestHeader::default() }, &mut out);
    link.send(&out).ok()?;
    match link.receive().ok()?.body {
        AnswerBody::Server(s) => Some(s.mode),
        _ => None,
    }
}

/// A disk that says that it has written, and has not: later batches vouch for the one that is missing.
pub(crate) fn drop_write(_: Scale) -> Told {
    let mut on = begin(&SETTINGS, false)?;
    on.stage()?.answers(2_000)?;
    on.disk.arm(Harm::Drop);
    crate::until(PATIENCE, || (on.disk.harmed() > 0).then_some(())).ok_or("no batch was dropped")?;
    on.stage()?.answers(2_000)?;
    on.power_off_and_on()?;
    let data = on.data.join("journal");
    let before = files(&data)?;
    let refused = match on.stage()?.starting()?.ready() {
        Ok(_) => return Err("it started, although a batch is missing that later ones vouch for".into()),
        Err(refused) => refused,
    };
    if refused.code != Some(DAMAGED) {
        return Err(refused.to_string().into());
    }
    let same = files(&data)? == before;
    let words = refused.words.lines().last().unwrap_or_default().to_owned();
    if same { Ok(("1 batch was never written".to_owned(), words)) } else { Err("it changed something".into()) }
}

/// The files of a folder, with what is in them.
fn files(folder: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, Trouble> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        all.push((path.clone(), std::fs::read(path)?));
    }
    all.sort();
    Ok(all)
}
