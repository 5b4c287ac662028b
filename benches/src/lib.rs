//! Benchmarks and the debit rate
