//! The targets: one for each door through which bytes come.

mod configuration;
mod files;
mod frames;
mod spool;

use crate::random::Random;
use crate::{mutate, reseal};

/// Bytes of a beacon file: two slots.
pub const BEACON_BYTES: usize = 8_192;
/// Bytes of a segment in the journal's target: as few as a journal takes.
pub const SEGMENT_BYTES: usize = 16_384;

/// What a target may ask of the allocator at once: so many bytes for each of its input's, and so many in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocates {
    /// For each byte of input.
    pub per_byte: usize,
    /// Buffers whose size is ours.
    pub anyway: usize,
}

impl Allocates {
    /// For an input of so many bytes.
    #[must_use]
    pub fn limit(&self, bytes: usize) -> usize {
        self.anyway + self.per_byte * bytes
    }
}

/// What of a corpus file is changed, and with what of the others.
pub type Mutate = fn(&mut Vec<u8>, &[Vec<u8>], &mut Random);

/// A target.
#[derive(Debug)]
pub struct Target {
    /// The name of its corpus folder.
    pub name: &'static str,
    /// Takes bytes; panics when a property does not hold.
    pub run: fn(&[u8]),
    /// How its input is changed.
    pub mutate: Mutate,
    /// What is set right afterwards.
    pub reseal: fn(&mut [u8], &mut Random),
    /// More bytes of input are not looked at.
    pub bytes_max: usize,
    /// The bound of one allocation.
    pub allocates: Allocates,
}

const WIRE: Allocates = Allocates { per_byte: 16, anyway: 4_096 };
/// Read and write buffers of a file are at most 1 MiB, a block is at most 8 MiB.
const FILE: Allocates = Allocates { per_byte: 16, anyway: 9 << 20 };
const TEXT: Allocates = Allocates { per_byte: 256, anyway: 64 << 10 };

/// All targets.
pub const TARGETS: [Target; 10] = [
    frames("requests", frames::requests, 65_536),
    frames("answers", frames::answers, 65_536),
    frames("session", frames::session, 65_536),
    Target {
        name: "journal",
        run: files::journal,
        mutate: mutate::bytes,
        reseal: reseal::journal,
        bytes_max: BEACON_BYTES + 3 * SEGMENT_BYTES,
        allocates: FILE,
    },
    file("snapshot", files::snapshot, reseal::blocks),
    file("archive", files::archive, reseal::blocks),
    file("spool", spool::spool, reseal::spool),
    text("config", configuration::config),
    text("programme", configuration::programme),
    text("scenario", configuration::scenario),
];

const fn frames(name: &'static str, run: fn(&[u8]), bytes_max: usize) -> Target {
    Target { name, run, mutate: mutate::bytes, reseal: reseal::frames, bytes_max, allocates: WIRE }
}

const fn file(name: &'static str, run: fn(&[u8]), reseal: fn(&mut [u8], &mut Random)) -> Target {
    Target { name, run, mutate: mutate::bytes, reseal, bytes_max: 1 << 20, allocates: FILE }
}

const fn text(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run, mutate: mutate::text, reseal: reseal::nothing, bytes_max: 16_384, allocates: TEXT }
}

/// The target of a name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|t| t.name == name)
}
