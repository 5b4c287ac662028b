//! FIELD's tables, row by row.

mod credit;
mod guard;
mod holds;
mod keys;
mod lots;
mod refunds;
mod returns;
mod rules;
mod stand_in;
