//! Larger uses of the lock-free pieces under random and probabilistic (PCT) schedules, by shuttle; and a broken twin of
//! each, which it must catch. `docs/loom.md` has the command and the table.

#[cfg(tegata_shuttle)]
mod models;

#[cfg(tegata_shuttle)]
fn main() -> std::process::ExitCode {
    models::run()
}

#[cfg(not(tegata_shuttle))]
fn main() {
    println!(
        "shuttle models run with: RUSTFLAGS='--cfg tegata_shuttle' cargo test -p tegata-sync --release --test shuttle"
    );
}
