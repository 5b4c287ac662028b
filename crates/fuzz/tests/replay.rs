//! Every kept input, and some changed ones, through every target; and that the harness itself would see a finding.

use tegata_fuzz::allocations::{Counting, reset, since};
use tegata_fuzz::targets::Allocates;
use tegata_fuzz::{Random, TARGETS, Target, corpus, mutate, reseal, run};

#[global_allocator]
static COUNTING: Counting = Counting;

/// Changed inputs for each target here; `just fuzz-replay` has more.
const ITERATIONS: u64 = 300;

#[test]
fn kept_inputs_and_some_changed_ones_find_nothing() {
    for target in &TARGETS {
        let files: Vec<Vec<u8>> =
            corpus::read(target.name).expect("a corpus").into_iter().map(|(_, bytes)| bytes).collect();
        files.iter().for_each(|bytes| run(target, bytes));
        let mut random = Random::new(7);
        for _ in 0..ITERATIONS {
            let mut bytes = files[random.below(files.len())].clone();
            (target.mutate)(&mut bytes, &files, &mut random);
            (target.reseal)(&mut bytes, &mut random);
            run(target, &bytes);
        }
    }
}

#[test]
fn the_corpora_are_small_and_no_file_is_there_twice() {
    let mut bytes = 0;
    for target in &TARGETS {
        let files = corpus::read(target.name).expect("a corpus");
        let mut contents: Vec<_> = files.iter().map(|(_, b)| b).collect();
        contents.sort();
        assert!(contents.windows(2).all(|w| w[0] != w[1]), "{}", target.name);
        assert!(files.iter().all(|(_, b)| b.len() <= target.bytes_max), "{}: all of a file is looked at", target.name);
        bytes += files.iter().map(|(_, b)| b.len() as u64).sum::<u64>();
    }
    assert!(bytes < corpus::BYTES_MAX, "{bytes} bytes");
}

/// What a reader does that believes a length.
fn believes(bytes: &[u8]) {
    let n = bytes.first_chunk().map_or(0, |b| u32::from_le_bytes(*b)) as usize;
    assert_eq!(Vec::<u8>::with_capacity(n).len(), 0);
}

#[test]
fn an_allocation_by_a_length_from_outside_is_seen() {
    let allocates = Allocates { per_byte: 16, anyway: 4_096 };
    let target = Target {
        name: "believes",
        run: believes,
        mutate: mutate::bytes,
        reseal: reseal::nothing,
        bytes_max: 64,
        allocates,
    };
    run(&target, &4_096u32.to_le_bytes());
    let found = std::panic::catch_unwind(|| run(&target, &100_000u32.to_le_bytes()));
    assert!(found.is_err(), "the bound is one");
    let before = reset();
    drop(std::hint::black_box(vec![0u8; 777]));
    assert!(since(before).largest >= 777 && since(before).count > 0, "the counter counts");
}

#[test]
fn what_is_changed_and_sealed_gets_behind_the_checksums() {
    use tegata_wire::{check_crc, decode_request};
    let whole = |p: &std::path::Path| !p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("found"));
    let files = corpus::read("requests").expect("a corpus").into_iter().filter(|(p, _)| whole(p));
    let files: Vec<Vec<u8>> = files.map(|(_, b)| b).collect();
    let (mut random, mut sealed, mut decoded) = (Random::new(3), 0, 0);
    for _ in 0..2_000 {
        let mut bytes = files[random.below(files.len())].clone();
        mutate::bytes(&mut bytes, &files, &mut random);
        reseal::frames(&mut bytes, &mut random);
        sealed += u32::from(bytes.len() >= 24 && check_crc(&bytes).is_ok());
        decoded += u32::from(decode_request(&bytes).is_ok());
    }
    assert!(sealed > 1_000 && decoded > 200 && decoded < 1_900, "{sealed} sealed, {decoded} decoded");
}
