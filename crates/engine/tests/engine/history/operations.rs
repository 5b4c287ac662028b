//! What a random command asks for.

use super::{
    ADVICE, CAPTURE, CHARGE, CONFIRM, DEBIT, DEBIT_CONFIRMED, FENCE, HOLD, History, ISSUE, LOAD, SHOPS, STAND_IN,
    WALLETS,
};
use crate::core::{account, approval, shop, yen};
use tegata_model::{
    AccountId, Advice, Allowance, Envelope, Extension, Key, Life, LotKind, Mark, Operation, Position, Positions,
    ProgrammeId, Purchase, ShopId, TerminalId, Timestamp,
};

impl History {
    fn any_programme(&mut self) -> ProgrammeId {
        ProgrammeId::new(if self.random.percent(98) { self.random.pick(&[1, 1, 2, 3]) } else { 9 })
    }

    fn any_shop(&mut self) -> ShopId {
        shop(if self.random.percent(98) { self.random.pick(&SHOPS) } else { "S9" })
    }

    fn amount(&mut self) -> u64 {
        match self.random.below(10) {
            0..6 => self.random.pick(&[100, 300, 500]),
            6..8 => 1 + self.random.below(40),
            _ => 1 + self.random.below(3_000),
        }
    }

    fn purchase(&mut self) -> Purchase {
        let terminal = match self.random.below(4) {
            0 => "T1",
            1 => "T2",
            _ => "",
        };
        Purchase {
            shop: self.any_shop(),
            terminal: TerminalId::from_text(terminal).unwrap_or(TerminalId::NONE),
            amount: yen(self.amount()),
            token: if self.random.percent(4) {
                Position::new(self.random.below(self.position))
            } else {
                Position::ZERO
            },
            partial: self.random.percent(15),
        }
    }

    fn life(&mut self) -> Life {
        match self.random.below(100) {
            0..80 => Life::Active,
            80..97 => Life::Suspended,
            _ => Life::Closed,
        }
    }

    fn expiry(&mut self) -> Timestamp {
        match self.random.below(10) {
            0..3 => Timestamp::ZERO,
            3 => self.sometime(self.at, 60),
            4..6 => self.at.plus_seconds(1 + self.random.below(300)),
            _ => self.at.plus_seconds(60 + self.random.below(20_000)),
        }
    }

    fn kind(&mut self) -> LotKind {
        if self.random.percent(50) { LotKind::Paid } else { LotKind::Promo }
    }

    pub(super) fn seconds(&mut self) -> u32 {
        self.random.pick(&[0, 0, 1, 30, 3_600, 900_000])
    }

    fn positions(&mut self) -> Positions {
        let mut list = Vec::new();
        let mut p = self.position.saturating_sub(1 + self.random.below(20)).max(1);
        for _ in 0..=self.random.below(4) {
            list.push(p);
            p += 1 + self.random.below(4);
        }
        Positions::take(&list)
    }

    pub(super) fn operation(&mut self, envelope: &mut Envelope) -> Operation {
        if envelope.account.is_none() {
            envelope.account = self.any_account();
        }
        match self.random.below(1_000) {
            0..270 => Operation::Debit(self.purchase()),
            270..320 => Operation::Advice(self.advice(envelope)),
            320..330 => self.lease(),
            330..410 => Operation::Hold { purchase: self.purchase(), seconds: self.seconds() },
            410..470 => Operation::DebitConfirmed { purchase: self.purchase(), seconds: self.seconds() },
            470..540 => {
                let amount = if self.random.percent(60) { 0 } else { self.amount() };
                Operation::Capture { original: self.original(envelope, &[HOLD]), amount }
            }
            540..600 => Operation::Confirm { original: self.original(envelope, &[DEBIT_CONFIRMED]) },
            600..630 => Operation::Void { original: self.original(envelope, &[HOLD, DEBIT_CONFIRMED]) },
            630..730 => {
                let remain = if self.random.percent(60) { 0 } else { self.amount() };
                Operation::Reversal {
                    original: self.original(envelope, &[ISSUE, LOAD, CHARGE, DEBIT, HOLD, CAPTURE, CONFIRM, ADVICE]),
                    remain,
                }
            }
            730..800 => Operation::Refund {
                original: self.original(envelope, &[DEBIT, CAPTURE, CONFIRM, ADVICE]),
                amount: yen(self.amount()),
            },
            800..820 => {
                envelope.key = self.original(envelope, &[]);
                Operation::Fence
            }
            820..945 => self.credit(envelope),
            945..970 => Operation::Undelivered(self.positions()),
            970..985 => Operation::Delivered(self.positions()),
            _ => self.rule(envelope),
        }
    }

    fn lease(&mut self) -> Operation {
        let allowance = match self.random.below(10) {
            0 => Allowance { total_max: 9_001, ..STAND_IN },
            1 => Allowance::NONE,
            2 => Allowance { account_max: 500, seconds: 60, ..STAND_IN },
            _ => STAND_IN,
        };
        Operation::Lease { programme: self.any_programme(), holder: [self.random.pick(&[1, 1, 1, 2]); 16], allowance }
    }

    /// Of something new, of a debit that was sent already, or of a key that is fenced or reversed.
    fn advice(&mut self, envelope: &mut Envelope) -> Advice {
        let mut purchase = self.purchase();
        if self.random.percent(50) {
            envelope.key = self.original(envelope, &[DEBIT, FENCE]);
            let sent = self.sent.iter().find(|c| c.envelope.key == envelope.key);
            if let Some(Operation::Debit(p)) = sent.map(|c| c.operation)
                && self.random.percent(90)
            {
                purchase = p;
            }
        }
        let newest = self.leases.len().saturating_sub(6);
        let (programme, lease) = match self.leases.get(newest..) {
            Some(some @ [_, ..]) if self.random.percent(90) => some[self.random.below(some.len() as u64) as usize],
            _ => (self.any_programme(), Position::new(self.random.below(self.position))),
        };
        let approved_at = match self.random.below(4) {
            0 => self.at,
            1 => self.sometime(self.at, 2_000),
            _ => self.at.minus_micros(self.random.below(600_000_000)),
        };
        Advice { purchase, programme, lease, approved_at }
    }

    fn credit(&mut self, envelope: &mut Envelope) -> Operation {
        let (programme, amount, expires_at) = (self.any_programme(), yen(self.amount()), self.expiry());
        let kind = self.kind();
        match self.random.below(10) {
            0..3 => {
                if self.random.percent(80) {
                    self.coupons += 1;
                    envelope.account = account(&format!("C{}", self.coupons));
                }
                let valid_from = if self.random.percent(75) { Timestamp::ZERO } else { self.sometime(self.at, 600) };
                Operation::Issue { programme, amount: yen(2_500), expires_at, valid_from, stay_end_day: 0, kind }
            }
            3..7 => {
                envelope.account = account(self.random.pick(&WALLETS));
                if self.drizzle {
                    // Many small lots: sometimes one payment would need more than it may take from.
                    envelope.account = account("W1");
                    let expires_at = self.at.plus_seconds(900_000);
                    return Operation::Load { programme, amount: yen(1 + self.random.below(3)), expires_at, kind };
                }
                Operation::Load { programme, amount, expires_at, kind }
            }
            7..9 => {
                envelope.account = self.any_coupon();
                let amount = if self.random.percent(40) { 0 } else { amount.get() };
                Operation::Charge { wallet: self.any_account(), amount }
            }
            _ => {
                let original = self.original(envelope, &[DEBIT, CAPTURE, ADVICE]);
                let corrects = if self.random.percent(30) { Key::NONE } else { original };
                let mut approval = approval();
                if self.random.percent(5) {
                    approval.approver = approval.maker;
                }
                Operation::Reinstate { programme, amount, expires_at, corrects, approval }
            }
        }
    }

    fn rule(&mut self, envelope: &mut Envelope) -> Operation {
        let programme = self.any_programme();
        match self.random.below(20) {
            0..6 => Operation::AccountLife(self.life()),
            6..8 => Operation::ShopLife { shop: self.any_shop(), life: self.life() },
            8..10 if self.random.percent(60) => Operation::ProgrammeLife { programme, life: Life::Active },
            8..10 => Operation::ProgrammeLife { programme, life: self.life() },
            10..12 => {
                envelope.account = AccountId::NONE;
                let programme = ProgrammeId::new(self.random.pick(&[0, 0, 0, 0, 2, 9]));
                Operation::Shop { shop: self.any_shop(), programme, name: [1; 48] }
            }
            12..15 => Operation::Mark(self.random.pick(&[
                Mark::Degraded,
                Mark::Normal,
                Mark::Normal,
                Mark::ClockSuspect,
                Mark::ClockTrusted,
                Mark::ClockTrusted,
            ])),
            15 => {
                self.settings.horizon_s = self.random.pick(&[900, 1_800, 7_200]);
                self.settings.skew_s = self.random.pick(&[30, 60, 300]);
                let delivered_to = Position::new(self.position - self.random.below(self.position.min(20)));
                Operation::Epoch { delivered_to, settings: self.settings }
            }
            _ => self.extension(),
        }
    }

    fn extension(&mut self) -> Operation {
        let expiry_from = self.sometime(self.at, 20_000);
        let extension = Extension {
            rule: 1 + self.random.below(60) as u32,
            programme: ProgrammeId::new(self.random.pick(&[0, 1, 2, 3, 9])),
            expiry_from,
            expiry_before: self.sometime(expiry_from.plus_seconds(4_000), 5_000),
            expires_at: self.sometime(self.at.plus_seconds(8_000), 8_000),
            as_of: Position::new(self.position - self.random.below(self.position.min(50))),
            include_expired: self.random.percent(50),
        };
        Operation::Extend { extension, approval: approval() }
    }
}
