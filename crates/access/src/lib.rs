//! Who may do what: files of credentials and rights as people write them, the table that a request is held against, and
//! the rate at which a caller may ask.
//!
//! It decides nothing about money and keeps no connection. Invariants:
//! - what no grant covers is denied, and so is everything of a caller that the file does not name;
//! - what is looked at of a request is in its fixed header or at a fixed place of its body; any bytes are looked at
//!   without a panic, and what is not there counts as what no grant covers;
//! - no error prints anything of a file with secrets but a line number.
#![forbid(unsafe_code)]

mod asked;
mod credentials;
pub mod file;
mod rate;
mod rights;
mod rights_file;

pub use asked::{Asked, OPERATIONS, is_granted_to_all, kinds_of, name_of};
pub use credentials::{Credential, Credentials, CredentialsError, is_private};
pub use rate::{Bucket, RATE_MAX, Rate, is_rated};
pub use rights::{Caller, Class, Grant, Named, Rights, Verdict};
pub use rights_file::{RightsError, read_rights};
