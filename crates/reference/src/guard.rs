//! The second press: every earlier purchase of the account is looked at, newest first.

use super::{Entry, Now, Outcome, Reference};
use tegata_model::{Code, GuardMode, Position, ProgrammeId, Purchase, State, Timestamp};

impl Reference {
    /// The answer when the guard asks; otherwise whether it flags, and the purchase that it flags or the token names.
    pub fn guard(&self, now: &Now, p: &Purchase, home: ProgrammeId) -> Result<(bool, Position), Outcome> {
        let rules = &self.programmes[&home].0;
        let mut flag = Position::ZERO;
        let account = now.envelope.account;
        let like = |e: &&Entry| e.account == account && same_debit(e, p) && !self.forgets(e, now.at);
        let named = self.entries.iter().filter(like).map(|e| e.decision.position).find(|at| *at == p.token);
        let known = named.unwrap_or(Position::ZERO);
        for entry in self.entries.iter().rev().filter(|e| e.account == account && e.decision.position > known) {
            if !alike(entry, p) || !stands(entry) || self.forgets(entry, now.at) {
                continue;
            }
            let age_below = |seconds: u32| now.at < entry.decision.at.plus_seconds(u64::from(seconds));
            let first = self.in_doubt(entry, now.at) && self.doubt_lasts(entry, rules.doubt_window_s, now.at);
            let second = age_below(rules.guard_window_s);
            if first || second && rules.guard_mode == GuardMode::Ask {
                let d = entry.decision;
                return Err(Outcome {
                    amount: d.amount.get(),
                    balance: d.balance.get(),
                    related: d.position,
                    ..Outcome::of(Code::SuspectedDuplicate)
                });
            }
            if second && flag == Position::ZERO {
                flag = entry.decision.position;
            }
        }
        Ok((flag > Position::ZERO, flag.max(known)))
    }

    /// The guard reaches back as far as the engine is bound to remember, whichever of the key and its decision is younger.
    fn forgets(&self, entry: &Entry, at: Timestamp) -> bool {
        let period = u64::from(self.settings.horizon_s) + 2 * u64::from(self.settings.skew_s);
        let made = entry.decision.at;
        let old = at > made.plus_seconds(period) || Some(made) < self.keys_from;
        // What stands beside a decision is not kept for its key.
        let beside = entry.is_advice() && entry.decision.related > Position::ZERO;
        old && (beside || !self.remembers(&entry.key, at))
    }

    /// Nobody has shown that the caller knows.
    fn in_doubt(&self, entry: &Entry, at: Timestamp) -> bool {
        let in_flight = at < entry.decision.at.plus_seconds(u64::from(self.settings.ack_s));
        let position = entry.decision.position;
        let lost = self.restarts.iter().any(|(from, to)| *from < position && position < *to);
        match entry.delivered {
            Some(delivered) => !delivered,
            None => in_flight || lost,
        }
    }

    /// Thirty minutes, or until ten minutes after the core was back to normal: for as long, too.
    fn doubt_lasts(&self, entry: &Entry, window_s: u32, at: Timestamp) -> bool {
        let made = entry.decision.at;
        let until = made.plus_seconds(u64::from(window_s));
        let now_too = self.degraded_since.map(|since| (since, Timestamp::MAX));
        let mut last: Option<(Timestamp, Timestamp)> = None;
        for (since, end) in self.degraded.iter().copied().chain(now_too) {
            let goes_on = last.filter(|(_, before)| since < before.plus_seconds(600));
            last = Some((goes_on.map_or(since, |(from, _)| from), end));
        }
        let recovers = |(from, to): (Timestamp, Timestamp)| from <= until && made <= to && at < to.plus_seconds(600);
        at < until || last.is_some_and(recovers)
    }
}

/// Approved, same shop and amount.
fn same_debit(entry: &Entry, p: &Purchase) -> bool {
    entry.purchase().is_some_and(|other| entry.approved() && other.shop == p.shop && other.amount == p.amount)
}

/// Same shop and amount, and not two different terminals.
fn alike(entry: &Entry, p: &Purchase) -> bool {
    let Some(other) = entry.purchase() else { return false };
    let two_terminals = !other.terminal.is_none() && !p.terminal.is_none() && other.terminal != p.terminal;
    same_debit(entry, p) && !two_terminals
}

fn stands(entry: &Entry) -> bool {
    !matches!(entry.state, State::Voided | State::Reversed | State::Fenced)
}
