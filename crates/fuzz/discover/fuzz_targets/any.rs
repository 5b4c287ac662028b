//! libFuzzer over any target of `tegata-fuzz`, named by the environment. Needs a nightly toolchain and cargo-fuzz:
//! `TARGET=journal cargo +nightly fuzz run --fuzz-dir crates/fuzz/discover any FOLDER crates/fuzz/corpus/journal`

#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use std::sync::LazyLock;
use tegata_fuzz::{Random, Target, target};

static CHOSEN: LazyLock<&Target> =
    LazyLock::new(|| target(&std::env::var("TARGET").unwrap_or_default()).expect("TARGET names a target"));

fuzz_target!(|bytes: &[u8]| (CHOSEN.run)(bytes));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Random::new(seed.into());
    let size = if random.one_in(2) { fuzzer_mutate(data, size, max_size) } else { size };
    let mut bytes = data[..size].to_vec();
    if random.one_in(2) {
        (CHOSEN.mutate)(&mut bytes, &[], &mut random);
    }
    (CHOSEN.reseal)(&mut bytes, &mut random);
    bytes.truncate(max_size);
    data[..bytes.len()].copy_from_slice(&bytes);
    bytes.len()
});
