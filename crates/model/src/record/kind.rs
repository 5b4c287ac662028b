//! The numbers of record kinds, and what goes by them alone.

use crate::Operation;

impl Operation {
    /// Record kind of an advice.
    pub const ADVICE: u16 = 25;
    /// The last record kind.
    pub const KIND_MAX: u16 = 25;

    /// Number of its kind in records.
    #[must_use]
    pub const fn kind(&self) -> u16 {
        match self {
            Self::Issue { .. } => 1,
            Self::Load { .. } => 2,
            Self::Charge { .. } => 3,
            Self::Debit(_) => 4,
            Self::DebitConfirmed { .. } => 5,
            Self::Hold { .. } => 6,
            Self::Capture { .. } => 7,
            Self::Void { .. } => 8,
            Self::Confirm { .. } => 9,
            Self::Reversal { .. } => 10,
            Self::Refund { .. } => 11,
            Self::Fence => 12,
            Self::Reinstate { .. } => 13,
            Self::Extend { .. } => 14,
            Self::AccountLife(_) => 15,
            Self::ShopLife { .. } => 16,
            Self::ProgrammeLife { .. } => 17,
            Self::Programme(_) => 18,
            Self::Shop { .. } => 19,
            Self::Undelivered(_) => 20,
            Self::Delivered(_) => 21,
            Self::Epoch { .. } => 22,
            Self::Mark(_) => 23,
            Self::Lease { .. } => 24,
            Self::Advice(_) => Self::ADVICE,
        }
    }

    /// Whether an operation of a kind is refused once its caller's deadline has passed. Void, reversal and fence are what
    /// a caller does *because* time ran out, and what an advice tells has happened: they are taken however late they come
    /// (FIELD, reversal).
    #[must_use]
    #[inline]
    pub const fn has_deadline(kind: u16) -> bool {
        !matches!(kind, 8 | 10 | 12 | Self::ADVICE)
    }

    /// Whether an operation of a kind adds value to an account: it may need an account, or a lot, that there is not.
    #[must_use]
    pub const fn adds_value(kind: u16) -> bool {
        matches!(kind, 1..=3)
    }

    /// Whether an operation of a kind may need a lot that there is not: one that adds value; a refund of what has expired; a
    /// reinstatement. A void or a reversal puts value back to lots that are still there.
    #[must_use]
    pub const fn may_make_lot(kind: u16) -> bool {
        Self::adds_value(kind) || matches!(kind, 11 | 13)
    }

    /// The operation's name, as the command line and the docs have it.
    #[must_use]
    pub const fn name_of(kind: u16) -> &'static str {
        const NAMES: [&str; 26] = [
            "",
            "issue",
            "load",
            "charge",
            "debit",
            "debit-confirmed",
            "hold",
            "capture",
            "void",
            "confirm",
            "reversal",
            "refund",
            "fence",
            "reinstate",
            "extend",
            "account-life",
            "shop-life",
            "programme-life",
            "programme",
            "shop",
            "undelivered",
            "delivered",
            "epoch",
            "mark",
            "lease",
            "advice",
        ];
        if (kind as usize) < NAMES.len() { NAMES[kind as usize] } else { "" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_need_a_new_account_or_lot() {
        let names = |may: fn(u16) -> bool| -> Vec<&str> {
            (1..=Operation::KIND_MAX).filter(|k| may(*k)).map(Operation::name_of).collect()
        };
        assert_eq!(names(Operation::adds_value), ["issue", "load", "charge"]);
        assert_eq!(names(Operation::may_make_lot), ["issue", "load", "charge", "refund", "reinstate"]);
    }
}
