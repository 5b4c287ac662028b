//! The engine against FIELD's tables, against a naive reference, and against itself over other numbers of shards.

mod core;
mod histories;
mod history;
mod shards;
mod tables;
