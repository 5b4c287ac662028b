//! Everything that reads bytes from outside, as plain functions of bytes; committed corpora; and a seeded mutator that
//! knows the formats, checksums included, so that what it makes gets behind the first check.
//!
//! ```text
//! corpus file ─▶ target ─▶ properties hold, allocations bounded
//!      └─ mutate ─ reseal ─▶ target …                        stable, bounded, the same for a seed
//! libFuzzer (discover/, nightly, by hand) ─▶ new corpus files
//! ```
//!
//! A target never returns an error: what it finds is a panic, with the input written to a file by who runs it.

pub mod allocations;
pub mod corpus;
pub mod mutate;
mod random;
pub mod reseal;
pub mod targets;

pub use random::Random;
pub use targets::{TARGETS, Target, target};

/// Runs a target on bytes, and holds what it allocates against the length of the bytes.
///
/// # Panics
///
/// When a property of the target does not hold: that is a finding.
pub fn run(target: &Target, bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(target.bytes_max)];
    let before = allocations::reset();
    (target.run)(bytes);
    let spent = allocations::since(before);
    let allowed = target.allocates.limit(bytes.len());
    assert!(
        spent.largest <= allowed,
        "{}: {} bytes of input decided an allocation of {} bytes; {allowed} are allowed",
        target.name,
        bytes.len(),
        spent.largest,
    );
}
