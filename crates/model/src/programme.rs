//! The rules of one programme, as one logged command sets them.

use crate::{Allowance, Amount, ProgrammeId};

/// What happens to a refund whose lot has expired meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExpiredRefund {
    /// The value comes back and lives for `refund_days` from the refund.
    Reinstate = 0,
    /// The value is gone; it is counted as expired.
    Forfeit = 1,
    /// The value is owed in cash; it is counted as paid out.
    PayOut = 2,
}

/// What the guard does with a like debit whose earlier one is known to have been delivered (T2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum GuardMode {
    /// Answer "suspected duplicate" and wait for the token.
    Ask = 0,
    /// Execute and point to the earlier decision.
    Flag = 1,
}

/// A programme's rules. Numbers are bounds, inclusive, and taken as they are; [`Programme::with_defaults`] names the
/// defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Programme {
    /// Its id; 0 is invalid.
    pub id: ProgrammeId,
    /// Its name, UTF-8, zero-padded.
    pub name: [u8; 48],
    /// Most yen one debit may take.
    pub payment_max: u64,
    /// Most yen one account may hold.
    pub balance_max: u64,
    /// Seconds in which a like debit is suspected although the earlier one was delivered (T2). Default 120.
    pub guard_window_s: u32,
    /// Seconds in which a like debit is suspected because the earlier one is in doubt (T1). Default 1,800.
    pub doubt_window_s: u32,
    /// Seconds a hold lives when it does not say. Default 600.
    pub hold_default_s: u32,
    /// Seconds a hold may live. At most 604,800.
    pub hold_max_s: u32,
    /// Days a refund to an expired lot lives, with [`ExpiredRefund::Reinstate`].
    pub refund_days: u32,
    /// Days a lot lives when issue or load does not say; counted to the end of the day in `zone_minutes`.
    pub validity_days: u32,
    /// Minutes east of UTC of the programme's days. Japan: 540.
    pub zone_minutes: i16,
    /// Lots of a programme with a smaller number are taken first.
    pub priority: u8,
    /// See [`ExpiredRefund`].
    pub expired_refund: ExpiredRefund,
    /// See [`GuardMode`].
    pub guard_mode: GuardMode,
    /// True when any registered shop may take it; false when only shops registered for this programme may.
    pub any_shop: bool,
    /// The most that a gateway's client may be leased to approve by itself; [`Allowance::NONE`]: nothing, the default.
    pub stand_in: Allowance,
}

impl Programme {
    /// The defaults of FIELD's chapters for a programme with this id.
    #[must_use]
    pub fn with_defaults(id: ProgrammeId) -> Self {
        Self {
            id,
            name: [0; 48],
            payment_max: Amount::MAX,
            balance_max: Amount::MAX,
            guard_window_s: 120,
            doubt_window_s: 1_800,
            hold_default_s: 600,
            hold_max_s: 604_800,
            refund_days: 30,
            validity_days: 180,
            zone_minutes: 540,
            priority: 100,
            expired_refund: ExpiredRefund::Reinstate,
            guard_mode: GuardMode::Ask,
            any_shop: true,
            stand_in: Allowance::NONE,
        }
    }

    /// Its name as text.
    #[must_use]
    pub fn name_text(&self) -> &str {
        let end = self.name.iter().position(|b| *b == 0).unwrap_or(self.name.len());
        core::str::from_utf8(&self.name[..end]).unwrap_or("")
    }
}
