# Every recipe works without just: each line is a cargo command.
test:
    cargo test --workspace
demo:
    cargo run --release -- demo
lint:
    cargo clippy --workspace --all-targets -- -D warnings
loom: && shuttle
    cargo loom
shuttle:
    cargo shuttle
sim:
    cargo run --release -p tegata-sim
bench:
    cargo run --release -p tegata-bench --bin numbers
load scenario="peak":
    cargo run --release -p tegata-load -- run --scenario {{scenario}}
peers:
    loadtest/peers/run
mutants:
    cargo run --release -p tegata-sim --bin mutants
