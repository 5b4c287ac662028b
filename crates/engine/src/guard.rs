//! The second press is seen (D6, F6): a like debit under another key is asked about before it takes anything.
//!
//! Likes form a chain through the decisions, newest first; the index holds the newest. At most [`LIKES_MAX`] are
//! looked at, so that no payment pays for a long history.

use crate::apply::Context;
use crate::rules::Rules;
use crate::shard::Shard;
use crate::slots::Remembered;
use tegata_model::{Code, GuardMode, Position, Purchase, State, TerminalId, Timestamp, mix};

/// Like debits that one check looks at.
const LIKES_MAX: usize = 64;

/// What the guard makes of a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suspicion {
    /// Nothing like it.
    None,
    /// Like this decision: ask.
    Ask(u32),
    /// Like the decision at this position: execute, and say so.
    Flag(Position),
}

/// The hash under which the newest like debit is found.
#[inline]
pub(crate) fn like_hash(account_hash: u64, shop: u32, amount: u64) -> u64 {
    mix(account_hash ^ u64::from(shop), amount)
}

/// A terminal as four bytes; 0: absent.
#[inline]
pub(crate) fn terminal_hash(terminal: &TerminalId) -> u32 {
    if terminal.is_none() {
        return 0;
    }
    (mix(u64::from_le_bytes(*terminal.bytes()), 5) as u32).max(1)
}

impl Shard {
    /// Yen that were asked for.
    #[inline]
    pub(crate) fn asked(&self, d: &Remembered) -> u64 {
        if d.detail == 0 {
            return d.amount;
        }
        match self.details.get(d.detail).asked {
            0 => d.amount,
            asked => asked,
        }
    }

    /// The newest like debit.
    #[inline]
    pub(crate) fn newest_like(&self, hash: u64, c: &Context, shop: u32, amount: u64) -> Option<u32> {
        self.like_index.find(hash, |n| {
            self.decisions
                .get(n)
                .is_some_and(|d| d.shop == shop && d.account == c.envelope.account && self.asked(d) == amount)
        })
    }

    /// Looks at the like debits from `newest` on.
    #[inline]
    pub(crate) fn suspicion(
        &self,
        rules: &Rules,
        c: &Context,
        programme: u32,
        newest: Option<u32>,
        p: &Purchase,
        known: Position,
    ) -> Suspicion {
        match newest {
            None => Suspicion::None,
            Some(n) => self.suspicion_among(rules, c, programme, n, p, known),
        }
    }

    /// The token names an earlier like debit: from there on back all are known to the caller. Any other number is none.
    pub(crate) fn known_to_caller(
        &self,
        rules: &Rules,
        newest: Option<u32>,
        token: Position,
        at: Timestamp,
    ) -> Position {
        let mut n = newest.filter(|_| token != Position::ZERO);
        for _ in 0..LIKES_MAX {
            let Some(d) = n.and_then(|n| self.decisions.get(n)) else { break };
            if d.position == token && !rules.forgets(d, at) {
                return token;
            }
            n = Some(d.like_before);
        }
        Position::ZERO
    }

    fn suspicion_among(
        &self,
        rules: &Rules,
        c: &Context,
        programme: u32,
        newest: u32,
        p: &Purchase,
        known: Position,
    ) -> Suspicion {
        let programme = &rules.programme_at(programme).rules;
        let terminal = terminal_hash(&p.terminal);
        let (mut n, mut flagged) = (newest, Suspicion::None);
        for _ in 0..LIKES_MAX {
            let Some(d) = self.decisions.get(n) else { break };
            if d.position <= known {
                break;
            }
            let other_terminal = terminal != 0 && d.terminal != 0 && terminal != d.terminal;
            if !other_terminal && self.stands(d, c) && !rules.forgets(d, c.at) {
                if rules.in_doubt(d, c.at) && rules.doubt_lasts(d, programme.doubt_window_s, c.at) {
                    return Suspicion::Ask(n);
                }
                if c.at < d.at.plus_seconds(u64::from(programme.guard_window_s)) {
                    match programme.guard_mode {
                        GuardMode::Ask => return Suspicion::Ask(n),
                        GuardMode::Flag if flagged == Suspicion::None => flagged = Suspicion::Flag(d.position),
                        GuardMode::Flag => {}
                    }
                }
            }
            n = d.like_before;
        }
        flagged
    }

    /// True while what `d` took is still taken.
    fn stands(&self, d: &Remembered, c: &Context) -> bool {
        match d.state {
            State::Final | State::Captured | State::PartlyReturned => {
                d.code == Code::Approved.number() || d.code == Code::PartiallyApproved.number()
            }
            State::Open => self.details.get(d.detail).dies_at > c.at.micros(),
            State::Voided | State::Reversed | State::Fenced => false,
        }
    }
}
