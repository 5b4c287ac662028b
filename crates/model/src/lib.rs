//! The vocabulary of Tegata: ids, yen, instants, commands, decisions and reason codes.
//!
//! Every other crate speaks in these types. Nothing here does I/O, reads a clock or allocates by a length
//! that came from outside.
//!
//! Invariants:
//! - an [`Amount`] is 1 … 999,999,999,999 yen; arithmetic on [`Yen`] is checked;
//! - a [`Timestamp`] is microseconds UTC and is always a parameter;
//! - a record has one layout, described in `docs/formats/records.md`, and decodes totally: any bytes give a
//!   command or a [`RecordError`].
#![forbid(unsafe_code)]

mod allowance;
mod bytes;
mod code;
mod command;
mod decision;
mod fingerprint;
mod header;
mod ids;
mod key;
mod programme;
mod record;
mod time;
mod yen;

pub use allowance::Allowance;
pub use bytes::{Reader, Short, Writer};
pub use code::{Class, Code, Retry};
pub use command::*;
pub use decision::{Decision, State};
pub use fingerprint::{Fingerprint, hash_bytes, mix};
pub use header::{Header, NewHeader};
pub use ids::{AccountId, CredentialId, GatewayId, IdError, Masked, NamespaceId, ProgrammeId, ShopId, TerminalId};
pub use key::Key;
pub use programme::{ExpiredRefund, GuardMode, Programme};
pub use record::{
    PROGRAMME_BYTES, PurchaseRecord, RECORD_ALIGN, RECORD_BYTES_MAX, RECORD_HEADER_BYTES, RecordError, decode,
    decode_envelope, decode_purchase, encode, get_allowance, get_approval, get_programme, put_allowance, put_approval,
    put_programme, record_len,
};
pub use time::{Position, Timestamp};
pub use yen::{Amount, Yen};
