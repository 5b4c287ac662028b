//! What tills, customers and the gateway do about answers, and about none.

use super::{Driver, MILLI, PRESSED_AGAIN, Slot, Waits, request};
use crate::attempts::{Attempt, Said, What};
use crate::codes::{UNKNOWN, again_after, is_executed, is_final, is_refused};
use crate::frames::Stamp;
use crate::socket::Heard;
use std::cmp::Reverse;

/// How long what nobody waits for, and a fence, is asked for before its outcome is left to the end of the run, in ns.
pub(super) const SETTLE: u64 = 20_000 * MILLI;
/// How long after its deadline an answer may still come, in ns: so long "unknown" may take to be said.
pub(super) const LEEWAY: u64 = 100 * MILLI;

impl Driver<'_> {
    /// An answer.
    pub(super) fn hear(&mut self, heard: &Heard) {
        let (id, d) = (heard.request, &heard.decision);
        let n = self.slot(id);
        if self.chance.happens(self.common.scenario.till.drop_answers) {
            if let Some(slot) = n.map(|n| &mut self.slots[n as usize]) {
                (slot.outstanding, slot.lost) = (slot.outstanding.saturating_sub(1), true);
            }
            return;
        }
        let Some(n) = n else {
            // A repeat of what was answered before: the reconciliation looks whether it is the same.
            let number = self.journal.number(id, super::COUNT_BITS);
            let overtaken = id & PRESSED_AGAIN == 0;
            return self.journal.said(&Said { overtaken, ..Said::of(number, d) });
        };
        let at = self.at;
        let slot = &mut self.slots[n as usize];
        slot.outstanding = slot.outstanding.saturating_sub(1);
        let waited = at.saturating_sub(slot.attempt.due);
        let first = matches!(slot.attempt.what, What::Debit | What::Charge | What::Load | What::Hold);
        let slot = *slot;
        match d.code {
            UNKNOWN => self.tick().unknown += 1,
            code if is_refused(code) => {
                self.tick().refusals.count(code);
                self.tally.refusal.saturating_record(at.saturating_sub(slot.sent_at));
            }
            _ => {}
        }
        let definite = match d.code {
            code if is_final(code) => true,
            // Not executed, if no other send of this key may have been.
            code if is_refused(code) => {
                let till = &self.common.scenario.till;
                let again = if till.retries_at_once { 0 } else { again_after(d).as_nanos() as u64 };
                let wanted = slot.attempt.what.is_wanted();
                if !wanted || (slot.retries < till.retries && waited + again < self.patience()) {
                    self.slots[n as usize].retries += 1;
                    return self.retries.push(Reverse((at + again, id)));
                }
                slot.outstanding == 0 && !slot.lost
            }
            _ => false,
        };
        // The till shows what it does not try again.
        if first && !slot.told && waited <= self.patience() + LEEWAY {
            self.slots[n as usize].told = true;
            self.tally.told += 1;
        }
        if !definite {
            return;
        }
        self.journal.said(&Said::of(slot.number, d));
        self.release(n);
        self.tally.service.saturating_record(at.saturating_sub(slot.sent_at));
        if !slot.attempt.what.is_wanted() {
            return;
        }
        if d.code <= 100 {
            self.tally.decided.saturating_record(waited);
        }
        if first {
            let in_time = waited <= self.patience();
            self.tally.in_time += u64::from(in_time);
            self.tally.decided_in_time += u64::from(in_time && d.code <= 100);
        }
        // One whose fence is waited for was given up before, and stands among the response times.
        if slot.waits == Waits::Answer {
            self.tally.response.saturating_record(waited);
            self.tick().response.saturating_record(waited);
        }
        *self.tick().of(d.code) += 1;
        if is_executed(d.code) {
            self.afterwards(n, &slot);
        }
    }

    /// What some customers and shops do once a payment was approved.
    fn afterwards(&mut self, n: u32, slot: &Slot) {
        let (till, mix) = (self.common.scenario.till, self.common.scenario.mix);
        if self.chance.happens(till.press_again) {
            self.press_again(n, slot);
        }
        let amount = slot.attempt.amount;
        match slot.attempt.what {
            What::Debit | What::DebitAgain if self.chance.happens(till.reverse) => {
                self.follow(slot, What::Reversal, amount);
            }
            What::Debit | What::DebitAgain if self.chance.happens(rest(mix.refund, till.reverse)) => {
                self.follow(slot, What::Refund, amount.div_ceil(2));
            }
            What::Hold if self.chance.happens(mix.void) => self.follow(slot, What::Void, amount),
            What::Hold => self.follow(slot, What::Capture, amount - amount / 4),
            _ => {}
        }
    }

    /// The same request again, although it was answered. No slot waits for the answer: it goes into the journal.
    fn press_again(&mut self, n: u32, slot: &Slot) {
        let i = slot.connection as usize;
        let c = &mut self.connections[i];
        let Some(socket) = &mut c.socket else { return };
        let stamp = Stamp {
            request: request(n, slot.number) | PRESSED_AGAIN,
            acked: socket.acked,
            deadline_ms: self.common.scenario.till.deadline_ms,
            age_ms: 0,
        };
        self.frames.push(&slot.attempt, stamp, &slot.original, &mut socket.output);
        c.outstanding += 1;
        self.tally.sends += 1;
        self.tally.repeated += 1;
        self.touch(i);
    }

    /// Something that follows from an approved attempt, under a key of its own, if a connection has room.
    fn follow(&mut self, slot: &Slot, what: What, amount: u64) {
        if let Some(i) = self.room() {
            let attempt = Attempt { what, amount, of: slot.number + 1, due: self.at, ..slot.attempt };
            self.begin(attempt, slot.attempt.key, i);
        }
    }

    /// A payment that is given up took as long as its customer waited: left out, it would make the others look quick.
    pub(super) fn leave_unanswered(&mut self, due: u64) {
        let waited = self.at.saturating_sub(due);
        self.tally.response.saturating_record(waited);
        let tick = self.tick();
        tick.response.saturating_record(waited);
        tick.unanswered += 1;
    }

    /// The deadline has passed without a definite answer.
    pub(super) fn give_up(&mut self, n: u32) {
        let slot = self.slots[n as usize];
        if slot.waits == Waits::Fence || !slot.attempt.what.is_wanted() {
            // The end of the run finds out.
            return self.release(n);
        }
        self.leave_unanswered(slot.attempt.due);
        let till = self.common.scenario.till;
        if self.chance.happens(till.cash) {
            self.lanes.wanted.remove(n);
            self.lanes.again.remove(n);
            self.lanes.settles.push(n);
            let slot = &mut self.slots[n as usize];
            (slot.waits, slot.gives_up_at) = (Waits::Fence, self.at + SETTLE);
            return self.send_again(n);
        }
        self.release(n);
        if slot.attempt.what == What::Debit
            && self.chance.happens(rest(till.new_key, till.cash))
            && let Some(i) = self.room()
        {
            let again = Attempt { due: self.at, what: What::DebitAgain, of: slot.number + 1, ..slot.attempt };
            self.begin(again, [0; 16], i);
        }
    }
}

/// The share among those that did not do the other thing first.
fn rest(share: f64, other: f64) -> f64 {
    if other < 1.0 { share / (1.0 - other) } else { 0.0 }
}
