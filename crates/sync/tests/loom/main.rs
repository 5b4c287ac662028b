//! Every interleaving of small uses of the lock-free pieces, by loom; and of a broken twin of each, which loom must
//! catch. `docs/loom.md` has the command and the table.

#[cfg(tegata_loom)]
mod models;

#[cfg(tegata_loom)]
fn main() -> std::process::ExitCode {
    models::run()
}

#[cfg(not(tegata_loom))]
fn main() {
    println!("loom models run with: RUSTFLAGS='--cfg tegata_loom' cargo test -p tegata-sync --release --test loom");
}
