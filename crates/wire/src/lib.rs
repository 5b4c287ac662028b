//! The native frame protocol: layouts, codec, limits, test vectors. `docs/protocol.md` is its specification.
//!
//! Nothing here does I/O. Invariants:
//! - any bytes decode to a frame or to a [`FrameError`]; nothing panics, and nothing is allocated by a length from
//!   outside beyond the largest frame;
//! - the body of a command frame is the body of its journal record, byte for byte;
//! - a decision's body is the same 48 bytes for ever.
#![forbid(unsafe_code)]

mod answer;
mod breakers;
mod command;
mod decision;
mod frame;
mod history;
mod proof;
mod refusals;
mod report;
mod request;
mod session;
mod tunnel;

pub use answer::{Answer, AnswerBody, decode_answer};
pub use breakers::{BreakerBody, BreakerOrder, BreakersBody, encode_breaker_order};
pub use command::{deadline, decode_operation, encode_operation, record_from_frame, record_unlooked};
pub use decision::{DECISION_BYTES, DecisionBody, encode_decision_answer};
pub use frame::*;
pub use history::{HistoryBody, HistoryEntry, HistoryQuery, ONLY_ADVICES, ONLY_FOR_OFFICE};
pub use proof::{AUTH_NONE, AUTH_SECRET, Challenge, Challenged, Exchange, Secret, encode_challenged};
pub use refusals::{REFUSALS_MAX, Refusals, encode_refusals, refusals};
pub use report::{
    BalanceBody, Body, DigestBody, LOTS_MAX, LotBody, PlanBody, ProgrammesBody, ServerBody, ShopBody, ShopsBody,
    SnapshotBody, SumsBody, encode_answer,
};
pub use request::{Request, decode_request, encode_history, encode_list_shops, encode_plan, encode_request};
pub use session::{
    CloseReason, Goodbye, Hello, HelloAnswer, NAMESPACES_MAX, encode_goodbye, encode_hello_answer, encode_pong,
};
pub use tunnel::{Dial, Tunnel, TunnelError, Tunnels};
