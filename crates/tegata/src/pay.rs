//! What a gateway does: charge, debit, hold and what follows from them.

use crate::output::{Failure, Report};
use crate::parse;
use crate::talk::{self, Reach, Ticket};
use tegata_client::Role;
use tegata_model::{AccountId, Amount, Key, Operation, Position, Purchase, ShopId, TerminalId};

/// A payment or a reservation.
#[derive(Debug, clap::Args)]
pub(crate) struct Pay {
    /// The coupon or wallet.
    #[arg(value_parser = parse::account)]
    account: AccountId,
    /// Whole yen.
    #[arg(value_parser = parse::amount)]
    amount: Amount,
    /// Where.
    #[arg(long, value_parser = parse::shop)]
    shop: ShopId,
    /// At which terminal.
    #[arg(long, value_parser = parse::terminal)]
    terminal: Option<TerminalId>,
    /// The position of the earlier like payment, when a second purchase is meant.
    #[arg(long, value_name = "POSITION", default_value_t = 0, hide_default_value = true)]
    token: u64,
    /// Less is acceptable.
    #[arg(long)]
    partial: bool,
    #[command(flatten)]
    ticket: Ticket,
    #[command(flatten)]
    reach: Reach,
}

impl Pay {
    fn purchase(&self) -> Purchase {
        Purchase {
            shop: self.shop,
            terminal: self.terminal.unwrap_or(TerminalId::NONE),
            amount: self.amount,
            token: Position::new(self.token),
            partial: self.partial,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Debit {
    #[command(flatten)]
    pay: Pay,
    /// Take the value back by itself unless `confirm` comes within so many seconds.
    #[arg(long, value_name = "SECONDS")]
    confirm_within: Option<u32>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Hold {
    #[command(flatten)]
    pay: Pay,
    /// How long; the programme's default when it is not given.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    seconds: u32,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Charge {
    /// The paper coupon.
    #[arg(value_parser = parse::account)]
    coupon: AccountId,
    /// The wallet; opened on first use.
    #[arg(value_parser = parse::account)]
    wallet: AccountId,
    /// Whole yen; all that can be spent when it is not given.
    #[arg(value_parser = parse::amount)]
    amount: Option<Amount>,
    #[command(flatten)]
    ticket: Ticket,
    #[command(flatten)]
    reach: Reach,
}

/// Something that refers to an earlier decision.
#[derive(Debug, clap::Args)]
pub(crate) struct Original {
    /// The coupon or wallet.
    #[arg(value_parser = parse::account)]
    account: AccountId,
    /// The original's key.
    #[arg(value_parser = parse::key)]
    original: Key,
    #[command(flatten)]
    ticket: Ticket,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Capture {
    #[command(flatten)]
    of: Original,
    /// Whole yen; all that was reserved when it is not given.
    #[arg(long, value_parser = parse::amount)]
    amount: Option<Amount>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Reverse {
    #[command(flatten)]
    of: Original,
    /// Whole yen that shall remain taken; 0 is a full reversal.
    #[arg(long, value_parser = parse::yen, default_value = "0")]
    remain: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Refund {
    #[command(flatten)]
    of: Original,
    /// Whole yen.
    #[arg(long, value_parser = parse::amount)]
    amount: Amount,
}

/// A key to ask about, or to end.
#[derive(Debug, clap::Args)]
pub(crate) struct AboutKey {
    /// The coupon or wallet.
    #[arg(value_parser = parse::account)]
    account: AccountId,
    /// The key.
    #[arg(value_parser = parse::key)]
    key: Key,
    /// Whose key it is.
    #[arg(long, default_value_t = 1, value_name = "N")]
    namespace: u32,
    #[command(flatten)]
    reach: Reach,
}

impl Debit {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        let purchase = self.pay.purchase();
        let operation = match self.confirm_within {
            None => Operation::Debit(purchase),
            Some(seconds) => Operation::DebitConfirmed { purchase, seconds },
        };
        self.pay.reach.decide(Role::Gateway, self.pay.account, &self.pay.ticket, operation)
    }

    pub(crate) fn json(&self) -> bool {
        self.pay.reach.json
    }
}

impl Hold {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        let operation = Operation::Hold { purchase: self.pay.purchase(), seconds: self.seconds };
        self.pay.reach.decide(Role::Gateway, self.pay.account, &self.pay.ticket, operation)
    }

    pub(crate) fn json(&self) -> bool {
        self.pay.reach.json
    }
}

impl Charge {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        let operation = Operation::Charge { wallet: self.wallet, amount: self.amount.map_or(0, Amount::get) };
        self.reach.decide(Role::Gateway, self.coupon, &self.ticket, operation)
    }

    pub(crate) fn json(&self) -> bool {
        self.reach.json
    }
}

impl Original {
    fn decide(&self, operation: Operation) -> Result<Report, Failure> {
        self.reach.decide(Role::Gateway, self.account, &self.ticket, operation)
    }

    pub(crate) fn void(self) -> Result<Report, Failure> {
        self.decide(Operation::Void { original: self.original })
    }

    pub(crate) fn confirm(self) -> Result<Report, Failure> {
        self.decide(Operation::Confirm { original: self.original })
    }

    pub(crate) fn json(&self) -> bool {
        self.reach.json
    }
}

impl Capture {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        let amount = self.amount.map_or(0, Amount::get);
        self.of.decide(Operation::Capture { original: self.of.original, amount })
    }

    pub(crate) fn json(&self) -> bool {
        self.of.json()
    }
}

impl Reverse {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        self.of.decide(Operation::Reversal { original: self.of.original, remain: self.remain })
    }

    pub(crate) fn json(&self) -> bool {
        self.of.json()
    }
}

impl Refund {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        self.of.decide(Operation::Refund { original: self.of.original, amount: self.amount })
    }

    pub(crate) fn json(&self) -> bool {
        self.of.json()
    }
}

impl AboutKey {
    pub(crate) fn status(self) -> Result<Report, Failure> {
        talk::status(&self.reach, self.account, self.namespace, self.key)
    }

    pub(crate) fn fence(self) -> Result<Report, Failure> {
        talk::fence(&self.reach, self.account, self.namespace, self.key)
    }

    pub(crate) fn json(&self) -> bool {
        self.reach.json
    }
}
