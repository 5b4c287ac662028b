//! A closed store with every kind of file, spoilt in one place at a time: in each sector of each file a bit is flipped, and
//! each is zeroed. Whoever reads the whole store refuses it by file and place and changes nothing; or nothing depends on
//! that sector, and it is known why.

use super::explore::{config, script};
use super::told::{Stop, Teller, Told};
use super::{archived, dropped};
use crate::disk::{Script, SimDisk};
use std::path::{Path, PathBuf};
use tegata_journal::{OpenError, read_log};

/// How much was gone through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spoils {
    /// Times that a sector was spoilt.
    pub tried: u64,
    /// Refused, by file and place.
    pub refused: u64,
    /// Behind the end of the log: cut like a torn tail.
    pub behind_the_end: u64,
    /// One of the two places of the beacon: the other one speaks.
    pub twin: u64,
    /// A segment that was set aside: it is written anew before it is used.
    pub set_aside: u64,
    /// A segment that is archived and not yet set aside: the archive speaks.
    pub archived: u64,
}

impl std::fmt::Display for Spoils {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { tried, refused, behind_the_end, twin, set_aside, archived } = self;
        write!(
            f,
            "spoilt={tried} refused={refused} behind_the_end={behind_the_end} twin={twin} set_aside={set_aside} \
             archived={archived}"
        )
    }
}

const SECTOR: u64 = 512;

/// Goes through all sectors.
pub fn spoil() -> Result<Spoils, String> {
    let mut t = Teller { disk: SimDisk::new(config(), script(Script::default())), told: Told::default() };
    let sound = archived(&mut t).and_then(|()| dropped(&mut t)).and_then(|()| t.read_all());
    sound.map_err(|stop| format!("the sound store: {stop:?}"))?;
    let end = end_of_log(&t.disk)?;
    let mut count = Spoils::default();
    for (file, bytes) in t.disk.files() {
        for offset in (0..bytes).step_by(SECTOR as usize) {
            let n = SECTOR.min(bytes - offset);
            // Every byte of a sector has its turn, over the sectors.
            let at = offset + (offset / SECTOR * 37) % n;
            one(&t, &file, offset, &end, &mut count, &|disk| disk.flip(&file, at, offset as u8 / 2))?;
            let before = t.disk.bytes_of(&file).unwrap_or_default();
            if before[offset as usize..(offset + n) as usize].iter().any(|b| *b != 0) {
                one(&t, &file, offset, &end, &mut count, &|disk| disk.zero(&file, offset, n))?;
            }
        }
    }
    Ok(count)
}

/// The segment and the byte behind the last batch.
fn end_of_log(disk: &SimDisk) -> Result<(PathBuf, u64), String> {
    let mut end = (PathBuf::new(), 0);
    let after = tegata_journal::dropped_to(disk.folder("/data"), &super::told::STORE).map_err(|e| e.to_string())?;
    read_log::<OpenError>(disk.folder("/data"), after, None, &mut |b| {
        end = (PathBuf::from(format!("/data/journal/{:08}.seg", b.segment)), b.offset + b.disk_bytes);
        Ok(())
    })
    .map_err(|e| e.to_string())?;
    Ok(end)
}

fn one(
    sound: &Teller,
    file: &Path,
    offset: u64,
    end: &(PathBuf, u64),
    count: &mut Spoils,
    damage: &dyn Fn(&SimDisk),
) -> Result<(), String> {
    let mut t = Teller { disk: sound.disk.fork(script(Script::default())), told: sound.told.clone() };
    damage(&t.disk);
    let before = files(&t.disk);
    let result = t.read_all();
    let wrong = |what: &str| Err(format!("{} spoilt at byte {offset}: {what}", file.display()));
    count.tried += 1;
    match result {
        Err(Stop::Refused(OpenError::Corrupt { file: named, offset: told, .. })) => {
            if named != file || told >= offset + SECTOR {
                return wrong(&format!("{} was named, at byte {told}", named.display()));
            }
            if files(&t.disk) != before {
                return wrong("it was refused, and changed");
            }
            count.refused += 1;
        }
        Err(stop) => return wrong(&format!("{stop:?}")),
        Ok(()) if file.ends_with("BEACON") => count.twin += 1,
        Ok(()) if file.extension().is_some_and(|x| x == "tmp") => count.set_aside += 1,
        Ok(()) if is_archived(&t.disk, file) => count.archived += 1,
        Ok(()) if file > end.0.as_path() && file.extension().is_some_and(|x| x == "seg") => count.behind_the_end += 1,
        Ok(()) if file == end.0 && offset >= end.1 => count.behind_the_end += 1,
        Ok(()) => return wrong("nobody noticed"),
    }
    Ok(())
}

fn is_archived(disk: &SimDisk, segment: &Path) -> bool {
    let Some(number) = segment.strip_prefix("/data/journal").ok().and_then(|name| name.to_str()) else { return false };
    disk.files()
        .iter()
        .any(|(path, _)| *path == Path::new(&format!("/data/archive/00{}", number.replace("seg", "arc"))))
}

fn files(disk: &SimDisk) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    disk.files().into_iter().map(|(path, _)| (path.clone(), disk.bytes_of(&path))).collect()
}
