//! What became of an attempt, in the only ways that matter to a till.

use crate::sends::Attempt;
use std::time::Duration;
use tegata_model::{Code, Decision, Position, State, Timestamp, Yen};
use tegata_wire::{Answer, AnswerBody, FLAG_FLAGGED, FLAG_REPLAYED};

/// A decision as the core stored it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided {
    /// The same for every repeat.
    pub decision: Decision,
    /// What became of it since; told by `status` only, [`State::Final`] otherwise.
    pub state: State,
    /// It had been decided before this request.
    pub replayed: bool,
    /// Executed although a like payment was seen just before.
    pub flagged: bool,
    /// Approved by this client under a lease, while the core could not be reached: it has no position yet.
    pub stood_in: bool,
}

/// What became of an attempt.
#[must_use = "money may have moved: look at the outcome"]
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a box would only make the rare variant harder to take apart")]
pub enum Outcome {
    /// Done, durably; a payment is paid: show it.
    Approved(Decided),
    /// A debit that goes back by itself unless it is confirmed in time. Nobody shows "paid" before the confirmation is
    /// answered with [`Outcome::Approved`]. A repeat under the debit's own key says this for ever, since its stored
    /// answer does not change; [`crate::Client::resolve`] tells whether it was confirmed.
    Unconfirmed(Decided),
    /// Nothing was taken, and nothing ever will be under this key; or what was taken has gone back since, as `state`
    /// says. A new attempt needs a new key.
    Declined(Decided),
    /// Nothing was taken: a like payment was made just before. Look at the earlier one (`decision.related` is its
    /// position); if a second purchase is meant, send the same key with that position as the token.
    SuspectedDuplicate(Decided),
    /// Every send of this attempt was definitely refused, or none was sent: nothing was taken by it. Of an earlier attempt under
    /// the same key this says nothing: whoever does not know what one came to goes by [`crate::Client::resolve`] before
    /// cash is taken. [`crate::StandIn`] keeps that in mind, and says `Unknown` then. [`Code::retry`] tells whether the same key
    /// may be sent again; of [`tegata_model::Class::Refused`] nothing may be sent again unchanged. A fence that was not
    /// executed says nothing about what was sent before it under its key.
    NotExecuted {
        /// Why, of the last refusal.
        code: Code,
        /// When to try again, if the core said so.
        retry_after: Option<Duration>,
    },
    /// The key had been used for another request: `decision.related` is the position of what was decided about that
    /// (0: not decided yet), and its debit may stand. Nothing about "nothing was taken": a human looks at the status of
    /// the key. The caller's own mistake, since a key is made for one decision.
    Conflict(Decided),
    /// At least one send got no answer. Not a failure: the only way out is [`crate::Client::resolve`].
    Unknown(InDoubt),
}

/// An attempt whose outcome is not known.
#[must_use = "an outcome in doubt must be resolved"]
#[derive(Debug, Clone, PartialEq)]
pub struct InDoubt {
    /// What was tried, with its key.
    pub attempt: Attempt,
    /// The last thing that was heard of it: `unknown`, `in-progress`, or `key-too-old` (ask the office). Never a refusal:
    /// that would speak of one frame.
    pub code: Code,
}

impl Decided {
    /// What an answer says, if it is a decision or a refusal and this version knows its code.
    #[must_use]
    pub fn from_answer(answer: &Answer) -> Option<Self> {
        let (AnswerBody::Decision(body), flags) = (&answer.body, answer.header.flags) else { return None };
        Some(Self {
            decision: Decision {
                code: u8::try_from(body.code).ok().and_then(Code::from_u8)?,
                amount: Yen::new(body.amount),
                balance: Yen::new(body.balance),
                position: Position::new(body.position),
                at: Timestamp::from_micros(body.decided_at),
                related: Position::new(body.related),
            },
            state: State::from_u8(body.state)?,
            replayed: flags & FLAG_REPLAYED != 0,
            flagged: flags & FLAG_FLAGGED != 0,
            stood_in: false,
        })
    }
}
