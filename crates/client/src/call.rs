//! One request before it has a number on a connection.

use tegata_model::{AccountId, Key, NamespaceId, Operation};
use tegata_wire::{
    BreakerOrder, HistoryQuery, RequestHeader, encode_breaker_order, encode_history, encode_list_shops,
    encode_operation, encode_plan, encode_request,
};

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ask {
    /// A command: it is decided once under the call's key.
    Do(Operation),
    /// A question that is nothing but its header: `KIND_STATUS`, `KIND_BALANCE`, `KIND_DIGEST`, …
    Question(u8),
    /// What an extension or a reinstatement would cover.
    Plan(Operation),
    /// Shops from a cursor on.
    Shops(u32),
    /// Decisions in log order.
    History(HistoryQuery),
    /// An order to a breaker.
    Breaker(BreakerOrder),
}

/// A request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Call {
    /// About which account; absent for rules.
    pub account: AccountId,
    /// Its idempotency key; absent for questions other than status.
    pub key: Key,
    /// Whose key it is.
    pub namespace: NamespaceId,
    /// How long the caller waits from the customer's action on, in ms, at most 30,000; 0: the default of 8,000.
    pub deadline_ms: u32,
    /// How long ago the customer's action was, in ms.
    pub age_ms: u32,
    /// What.
    pub ask: Ask,
}

impl Call {
    /// A question about an account.
    #[must_use]
    pub fn question(kind: u8, account: AccountId) -> Self {
        Self { account, ask: Ask::Question(kind), ..Self::of(Ask::Question(kind)) }
    }

    /// A request about nobody in particular.
    #[must_use]
    pub fn of(ask: Ask) -> Self {
        Self { account: AccountId::NONE, key: Key::NONE, namespace: NamespaceId::NONE, deadline_ms: 0, age_ms: 0, ask }
    }

    /// Appends its frame: `request_id` is its number on the connection, `acked` the number of the last answer known.
    pub fn encode(&self, request_id: u64, acked: u32, out: &mut Vec<u8>) {
        let header = RequestHeader {
            request_id,
            acked,
            deadline_ms: self.deadline_ms,
            age_ms: self.age_ms,
            account: *self.account.bytes(),
            key: *self.key.bytes(),
            namespace: self.namespace.get(),
            ..RequestHeader::default()
        };
        match &self.ask {
            Ask::Do(operation) => encode_operation(&header, operation, out),
            Ask::Question(kind) => encode_request(&RequestHeader { kind: *kind, ..header }, out),
            Ask::Plan(operation) => encode_plan(&header, operation, out),
            Ask::Shops(after) => encode_list_shops(&header, *after, out),
            Ask::History(query) => encode_history(&header, query, out),
            Ask::Breaker(order) => encode_breaker_order(&header, order, out),
        }
    }
}
