//! What a process may do is taken from it: files of any size, and io_uring.

use super::disks::stops_by_itself;
use super::kills;
use crate::server::NO_IO_URING;
use crate::trial::{SETTINGS, Scale, Stage, Trouble};

type Told = Result<(String, String), Trouble>;

/// RLIMIT_FSIZE is lowered beneath a server under load: its next write behind the limit fails, or is short.
pub(crate) fn file_size(_: Scale) -> Told {
    let folder = tempfile::tempdir()?;
    let mut stage = Stage::begin(&folder.path().join("data"), folder.path(), &SETTINGS)?;
    stage.answers(3_000)?;
    stage.server()?.limit_files(1 << 20)?;
    let said = stops_by_itself(&mut stage)?;
    if !said.contains("File too large") && !said.contains("short write") {
        return Err(format!("it stopped for another reason: {said}").into());
    }
    stage.start()?;
    stage.answers(1_000)?;
    Ok((format!("RLIMIT_FSIZE of 1 MiB; the server: {said}"), stage.compare()?.to_string()))
}

/// io_uring is forbidden: another way is used, said, and as good.
pub(crate) fn no_io_uring(scale: Scale) -> Told {
    let folder = tempfile::tempdir()?;
    let plain = Stage::begin(&folder.path().join("plain"), folder.path(), &SETTINGS)?;
    let usual = plain.server.as_ref().map(|s| s.said("flush").to_owned()).unwrap_or_default();
    drop(plain);
    if !usual.starts_with("io_uring") {
        return Err(Trouble::Skipped(format!("io_uring does not work here anyway: {usual}")));
    }
    let mut settings = SETTINGS.to_vec();
    settings.push(NO_IO_URING);
    let mut stage = Stage::begin(&folder.path().join("data"), folder.path(), &settings)?;
    let method = stage.server()?.said("flush").to_owned();
    if !method.starts_with("pwritev2") {
        return Err(format!("io_uring_setup is forbidden, and it says {method}").into());
    }
    let kills = kills::again_and_again(&mut stage, if scale == Scale::Short { 2 } else { 20 })?;
    Ok((format!("instead of {usual} it says {method}; {kills}"), stage.compare()?.to_string()))
}
