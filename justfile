# The core's tests, the demo and the debit rate; each line works without just.
test:
    cargo test --workspace
demo:
    cargo run --release -- demo
lint:
    cargo clippy --workspace --all-targets
bench:
    cargo run --release -p tegata-bench --bin debits -- --connections 64 --depth 16 --seconds 5 --json
