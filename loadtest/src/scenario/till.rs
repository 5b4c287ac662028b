//! How tills behave.

use super::{Mix, between, shares};
use serde::{Deserialize, Serialize};

/// How tills behave when an answer is late or does not come. Shares are of payments, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Till {
    /// How long the customer waits, in ms.
    pub deadline_ms: u32,
    /// No answer for so long: the same key again, in ms; 0: never.
    pub repeat_after_ms: u32,
    /// How often a refused request is tried again while there is time; by default as often as that allows.
    pub retries: u32,
    /// Refused requests are tried again at once, whatever the server asked for.
    pub retries_at_once: bool,
    /// How long a payment waits in the gateway for a connection with room before the gateway itself refuses it, in ms;
    /// 0: until its deadline.
    pub gateway_waits_ms: u32,
    /// How long the gateway gathers what goes out on a connection before it writes it, at once, in µs; 0: it does not.
    pub gateway_gathers_us: u32,
    /// Share that press Pay again although it was answered: the same key.
    pub press_again: f64,
    /// Share of broken tills, which pay again under a new key when the deadline passes.
    pub new_key: f64,
    /// Share that fence the key when the deadline passes and take cash when it is fenced.
    pub cash: f64,
    /// Share of answers that the gateway drops.
    pub drop_answers: f64,
    /// Share of approved debits that are reversed at once.
    pub reverse: f64,
}

impl Default for Till {
    fn default() -> Self {
        let (deadline_ms, repeat_after_ms) = (8_000, 1_000);
        Self {
            deadline_ms,
            repeat_after_ms,
            retries: u32::MAX,
            retries_at_once: false,
            gateway_waits_ms: 0,
            gateway_gathers_us: 0,
            press_again: 0.0,
            new_key: 0.0,
            cash: 0.0,
            drop_answers: 0.0,
            reverse: 0.0,
        }
    }
}

impl Till {
    pub(super) fn check(&self, mix: &Mix) -> Result<(), String> {
        shares([
            ("till.press_again", self.press_again),
            ("till.new_key", self.new_key),
            ("till.cash", self.cash),
            ("till.drop_answers", self.drop_answers),
            ("till.reverse", self.reverse),
        ])?;
        if self.new_key + self.cash > 1.0 {
            return Err("till.new_key and till.cash are shares of the same payments: at most 1 together".to_owned());
        }
        if self.reverse + mix.refund > 1.0 {
            return Err("till.reverse and mix.refund are shares of the same debits: at most 1 together".to_owned());
        }
        between("till.deadline_ms", self.deadline_ms as usize, 30_000)?;
        if self.gateway_gathers_us >= self.deadline_ms * 1_000 {
            return Err("till.gateway_gathers_us is less than till.deadline_ms".to_owned());
        }
        Ok(())
    }
}
