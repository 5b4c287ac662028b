//! Commands: everything that can change money, time or rules. Each is one record in the journal.

use crate::{
    AccountId, Allowance, Amount, GatewayId, Key, NamespaceId, Position, Programme, ProgrammeId, ShopId, TerminalId,
    Timestamp,
};

/// What every record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Envelope {
    /// When the request was received; expiry is compared with it.
    pub received_at: Timestamp,
    /// After this instant of logged time it changes nothing; zero: no deadline.
    pub deadline: Timestamp,
    /// Whose key it is.
    pub namespace: NamespaceId,
    /// Who carried it.
    pub gateway: GatewayId,
    /// The account it is about; absent for rules.
    pub account: AccountId,
    /// Its idempotency key.
    pub key: Key,
}

/// A command with its envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command {
    /// Who, when, under which key.
    pub envelope: Envelope,
    /// What.
    pub operation: Operation,
}

/// Kind of value: promotional value is taken before paid value and never turns into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum LotKind {
    /// Bonus, subsidy, reinstated value.
    Promo = 0,
    /// Bought by the holder.
    Paid = 1,
}

/// Life of an account, a shop or a programme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Life {
    /// In use.
    Active = 0,
    /// Stopped for now.
    Suspended = 1,
    /// Ended.
    Closed = 2,
}

/// A debit or a hold of a coupon at a shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purchase {
    /// Where.
    pub shop: ShopId,
    /// At which terminal; often absent.
    pub terminal: TerminalId,
    /// How much.
    pub amount: Amount,
    /// Position of the earlier like debit when a second purchase is meant; 0 otherwise.
    pub token: Position,
    /// Less is acceptable.
    pub partial: bool,
}

/// A debit that a gateway's client approved by itself under a lease, told afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// The debit; the envelope's key is its key.
    pub purchase: Purchase,
    /// Whose lease it was.
    pub programme: ProgrammeId,
    /// Position of the lease.
    pub lease: Position,
    /// When the client approved it, by its own clock.
    pub approved_at: Timestamp,
}

/// Who answers for a correction: two people, a reason, an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Approval {
    /// Who asks for it.
    pub maker: [u8; 16],
    /// Who agrees to it.
    pub approver: [u8; 16],
    /// Why, UTF-8, zero-padded.
    pub reason: [u8; 48],
    /// The incident it belongs to; 0: none.
    pub incident: u32,
    /// Digest of the plan that was shown to both.
    pub plan: u64,
}

/// A cohort's new expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension {
    /// Its id, unique for ever.
    pub rule: u32,
    /// Lots of this programme; 0: of all.
    pub programme: ProgrammeId,
    /// Lots whose expiry at issue is at or after this instant …
    pub expiry_from: Timestamp,
    /// … and before this one.
    pub expiry_before: Timestamp,
    /// The new exclusive instant.
    pub expires_at: Timestamp,
    /// Only lots that exist at this position; a plan with 0 is made as things are, and names the position.
    pub as_of: Position,
    /// Lots that had expired by the time of the rule are covered too.
    pub include_expired: bool,
}

/// What a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Create a paper coupon with one lot (F1).
    Issue {
        /// Of which programme.
        programme: ProgrammeId,
        /// How much.
        amount: Amount,
        /// Exclusive; zero: the programme's validity from now.
        expires_at: Timestamp,
        /// Zero: at once.
        valid_from: Timestamp,
        /// Last day of the stay as days since 1970-01-01; 0: not known.
        stay_end_day: u16,
        /// Promo or paid.
        kind: LotKind,
    },
    /// Put value on a wallet against cash or a bank transfer. Opens the wallet on first use.
    Load {
        /// Of which programme.
        programme: ProgrammeId,
        /// How much.
        amount: Amount,
        /// Exclusive; zero: the programme's validity from now.
        expires_at: Timestamp,
        /// Promo or paid.
        kind: LotKind,
    },
    /// Move a paper coupon's value into a wallet (F2). The envelope's account is the coupon.
    Charge {
        /// The wallet; opened on first use.
        wallet: AccountId,
        /// How much; 0: all that can be spent.
        amount: u64,
    },
    /// Take value (F3).
    Debit(Purchase),
    /// Take value and wait for a confirmation; without it the value goes back by itself.
    DebitConfirmed {
        /// What.
        purchase: Purchase,
        /// How long to wait; 0: the programme's default.
        seconds: u32,
    },
    /// Reserve value.
    Hold {
        /// What.
        purchase: Purchase,
        /// How long; 0: the programme's default.
        seconds: u32,
    },
    /// Take what was reserved, or less; the rest goes back.
    Capture {
        /// The hold's key.
        original: Key,
        /// How much; 0: all.
        amount: u64,
    },
    /// Cancel a hold.
    Void {
        /// The hold's key.
        original: Key,
    },
    /// The customer's side knows of the approval.
    Confirm {
        /// The debit's key.
        original: Key,
    },
    /// Treat as never made, or leave `remain` of it.
    Reversal {
        /// The original's key.
        original: Key,
        /// Yen that shall remain taken; 0: full.
        remain: u64,
    },
    /// New credit for an earlier debit, to the lots it came from.
    Refund {
        /// The debit's key.
        original: Key,
        /// How much.
        amount: Amount,
    },
    /// Decide the envelope's key as "never", if it is not decided.
    Fence,
    /// The operator gives value back (F17).
    Reinstate {
        /// To a lot of this programme.
        programme: ProgrammeId,
        /// How much.
        amount: Amount,
        /// Exclusive.
        expires_at: Timestamp,
        /// The decision it corrects; absent: none.
        corrects: Key,
        /// Who answers for it.
        approval: Approval,
    },
    /// Extend the expiry of a cohort (F8, F11).
    Extend {
        /// Which lots, until when.
        extension: Extension,
        /// Who answers for it.
        approval: Approval,
    },
    /// Suspend, resume or close the envelope's account.
    AccountLife(Life),
    /// Suspend, resume or close a shop.
    ShopLife {
        /// Which.
        shop: ShopId,
        /// To what.
        life: Life,
    },
    /// Suspend, resume or close a programme (F28).
    ProgrammeLife {
        /// Which.
        programme: ProgrammeId,
        /// To what.
        life: Life,
    },
    /// Create a programme or give it new rules.
    Programme(Programme),
    /// Register a shop, or change its name and programme.
    Shop {
        /// Its id.
        shop: ShopId,
        /// The only programme it takes; 0: any that allows any shop.
        programme: ProgrammeId,
        /// Its name, UTF-8, zero-padded.
        name: [u8; 48],
    },
    /// Answers whose caller has not shown that it knows them.
    Undelivered(Positions),
    /// Answers that were logged as undelivered and have been acknowledged since.
    Delivered(Positions),
    /// A node started, or goes on after it stood still for long: every decision after `delivered_to` and before this counts as
    /// undelivered.
    Epoch {
        /// The last position known to be delivered.
        delivered_to: Position,
        /// What the engine keeps, and for how long.
        settings: Settings,
    },
    /// What the engine must know of the outside.
    Mark(Mark),
    /// Lease to a gateway's client what it may approve by itself while it cannot reach the core. The decision's position
    /// names the lease; it lives from the decision's time on.
    Lease {
        /// Of which programme.
        programme: ProgrammeId,
        /// Names the client: one at a time holds a programme's lease, and renews it.
        holder: [u8; 16],
        /// The caps, within those of the programme.
        allowance: Allowance,
    },
    /// A debit that was approved under a lease.
    Advice(Advice),
}

/// Up to [`Positions::MAX`] positions in one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Positions {
    /// How many of `list` are used.
    pub count: u8,
    /// The positions, ascending; unused ones are zero.
    pub list: [u64; Self::MAX],
}

impl Positions {
    /// Positions that fit into one record.
    pub const MAX: usize = 24;

    /// The positions in use.
    #[must_use]
    pub fn as_slice(&self) -> &[u64] {
        &self.list[..usize::from(self.count).min(Self::MAX)]
    }

    /// From at most [`Positions::MAX`] positions; the rest is left.
    #[must_use]
    pub fn take(from: &[u64]) -> Self {
        let n = from.len().min(Self::MAX);
        let mut list = [0; Self::MAX];
        list[..n].copy_from_slice(&from[..n]);
        Self { count: n as u8, list }
    }
}

/// Periods that decide answers; logged, so that replay decides as it was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Version of the rules (D12).
    pub rules: u32,
    /// Seconds a key is remembered, by its own time. Default 604,800 (7 days).
    pub horizon_s: u32,
    /// Seconds a key may come from the future. Default 300.
    pub skew_s: u32,
    /// Seconds after which an answer without acknowledgement is logged as undelivered. Default 5.
    pub ack_s: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { rules: 1, horizon_s: 604_800, skew_s: 300, ack_s: 5 }
    }
}

/// A fact about the outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mark {
    /// The core is degraded: T1 lasts.
    Degraded = 0,
    /// The core is back to normal: T1 ends ten minutes later.
    Normal = 1,
    /// The clock jumped: nothing expires.
    ClockSuspect = 2,
    /// The clock is trusted again.
    ClockTrusted = 3,
}
