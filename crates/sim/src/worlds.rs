//! Small worlds, gone through completely: a short history of a store, ended at every step of its disk, with every
//! combination of what may survive; a recovery, ended at every one of its steps in the same way; and one more.
//!
//! What must hold: what was called flushed is there, what is there is a prefix of what was appended, a recovery hands out
//! what the next one finds, and the end of power or process alone never makes a store refused.

mod explore;
mod spoil;
mod told;

pub use explore::{Count, Violation, explore};
pub use spoil::{Spoils, spoil};
pub use told::{Stop, Teller, Told};

/// A history.
#[derive(Debug, Clone, Copy)]
pub struct World {
    /// Its name.
    pub name: &'static str,
    /// What happened before; not ended anywhere.
    before: fn(&mut Teller) -> Result<(), Stop>,
    /// What is ended at every step.
    history: fn(&mut Teller) -> Result<(), Stop>,
}

/// All of them.
pub const WORLDS: [World; 6] = [
    World { name: "creation", before: |_| Ok(()), history: creation },
    World { name: "two in flight", before: creation, history: two_in_flight },
    World { name: "rollover", before: one_batch, history: rollover },
    World { name: "beacon and stop", before: one_batch, history: beacon_and_stop },
    World { name: "snapshot and archive", before: full_segments, history: snapshot_and_archive },
    World { name: "archive dropped", before: archived, history: dropped },
];

fn creation(t: &mut Teller) -> Result<(), Stop> {
    Ok(t.start()?.close()?)
}

fn two_in_flight(t: &mut Teller) -> Result<(), Stop> {
    let mut writer = t.start()?;
    t.append(&mut writer, 900)?;
    t.append(&mut writer, 1_400)?;
    t.append(&mut writer, 300)?;
    t.flush(&mut writer)
}

fn one_batch(t: &mut Teller) -> Result<(), Stop> {
    let mut writer = t.start()?;
    t.append(&mut writer, 500)?;
    t.flush(&mut writer)?;
    Ok(writer.close()?)
}

fn rollover(t: &mut Teller) -> Result<(), Stop> {
    let mut writer = t.start()?;
    t.append(&mut writer, 600)?;
    t.append(&mut writer, 400)?;
    t.append(&mut writer, 600)?;
    t.append(&mut writer, 200)?;
    t.flush(&mut writer)
}

fn beacon_and_stop(t: &mut Teller) -> Result<(), Stop> {
    let mut writer = t.start()?;
    t.append(&mut writer, 600)?;
    t.flush(&mut writer)?;
    t.quiet(&mut writer)?;
    t.append(&mut writer, 100)?;
    // Not while something is in flight.
    t.quiet(&mut writer)?;
    Ok(writer.close()?)
}

/// Two full segments and a batch in the third.
fn full_segments(t: &mut Teller) -> Result<(), Stop> {
    let mut writer = t.start()?;
    for _ in 0..5 {
        t.append(&mut writer, 700)?;
        t.flush(&mut writer)?;
    }
    Ok(writer.close()?)
}

fn snapshot_and_archive(t: &mut Teller) -> Result<(), Stop> {
    let mut writer = t.start()?;
    t.append(&mut writer, 100)?;
    t.flush(&mut writer)?;
    let position = t.snapshot(&writer)?;
    t.archive(position)?;
    // What was archived is set aside, and becomes the next segment.
    t.append(&mut writer, 700)?;
    t.archive(position)?;
    t.append(&mut writer, 100)?;
    t.flush(&mut writer)
}

/// Two snapshots, and the segments before the first are archived.
fn archived(t: &mut Teller) -> Result<(), Stop> {
    full_segments(t)?;
    let mut writer = t.start()?;
    t.append(&mut writer, 100)?;
    t.flush(&mut writer)?;
    let first = t.snapshot(&writer)?;
    t.archive(first)?;
    t.append(&mut writer, 100)?;
    t.flush(&mut writer)?;
    t.snapshot(&writer)?;
    Ok(writer.close()?)
}

fn dropped(t: &mut Teller) -> Result<(), Stop> {
    let mut writer = t.start()?;
    t.append(&mut writer, 300)?;
    t.drop_archived(6)?;
    t.archive(7)?;
    t.remove_snapshot(6)?;
    t.flush(&mut writer)?;
    Ok(writer.close()?)
}
