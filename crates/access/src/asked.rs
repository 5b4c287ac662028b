//! What rights look at of a request: kind, shop, programme, amount, each at its fixed place. `docs/protocol.md` has the
//! places.

use tegata_model::{Operation, ProgrammeId, ShopId};

/// Names of operations in rights, with the kinds of frames that they stand for. Commands have the names of their records.
pub const OPERATIONS: [(&str, &[u8]); 30] = [
    ("issue", &[1]),
    ("load", &[2]),
    ("charge", &[3]),
    ("debit", &[4]),
    ("debit-confirmed", &[5]),
    ("hold", &[6]),
    ("capture", &[7]),
    ("void", &[8]),
    ("confirm", &[9]),
    ("reversal", &[10]),
    ("refund", &[11]),
    ("reinstate", &[13]),
    ("extend", &[14]),
    ("account-life", &[15]),
    ("shop-life", &[16]),
    ("programme-life", &[17]),
    ("programme", &[18]),
    ("shop", &[19]),
    ("lease", &[24]),
    ("advice", &[25]),
    ("balance", &[69]),
    ("plan-extend", &[70]),
    ("plan-reinstate", &[71]),
    ("history", &[72]),
    ("server-status", &[73]),
    ("lists", &[74, 75]),
    ("snapshot", &[76]),
    ("digest", &[77]),
    ("breakers", &[78]),
    ("breaker-order", &[79]),
];

/// Kinds of frames that need no grant: the connection's own, and the way out of a doubt about one's own keys.
#[must_use]
#[inline]
pub const fn is_granted_to_all(kind: u8) -> bool {
    matches!(kind, 12 | 64..=68 | 80)
}

/// The name of what a kind asks, in rights and in the trail of denials.
#[must_use]
pub fn name_of(kind: u8) -> &'static str {
    let listed = OPERATIONS.iter().find(|(_, kinds)| kinds.contains(&kind)).map(|(name, _)| *name);
    listed.unwrap_or(match kind {
        12 => Operation::name_of(12),
        64 => "hello",
        68 => "status",
        80 => "challenge",
        _ => "",
    })
}

/// The kinds that a name stands for.
#[must_use]
pub fn kinds_of(name: &str) -> Option<&'static [u8]> {
    OPERATIONS.iter().find(|(n, _)| *n == name).map(|(_, kinds)| *kinds)
}

/// What rights look at of a request. What its kind does not have is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asked {
    /// Kind of the frame.
    pub kind: u8,
    /// At which shop.
    pub shop: Option<ShopId>,
    /// How many yen at most.
    pub amount: Option<u64>,
    /// Of which programme.
    pub programme: Option<ProgrammeId>,
    /// The programme is that of the account's value, which only the engine knows.
    pub by_account: bool,
}

impl Asked {
    /// From the kind and the body of a frame. A field that is cut off is one that no grant covers.
    #[must_use]
    #[inline]
    pub fn of(kind: u8, body: &[u8]) -> Self {
        let long =
            |at: usize| body.get(at..).and_then(<[u8]>::first_chunk).map_or(u64::MAX, |b| u64::from_le_bytes(*b));
        let word = |at: usize| {
            let n = body.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |b| u32::from_le_bytes(*b));
            Some(ProgrammeId::new(n))
        };
        let shop = |at: usize| {
            let id = body.get(at..).and_then(<[u8]>::first_chunk).map(|b| ShopId::from_bytes(*b));
            Some(id.and_then(Result::ok).unwrap_or(ShopId::NONE))
        };
        // 0 stands for all there is, which is as much as there can be.
        let all = |at: usize| Some(long(at)).map(|n| if n == 0 { u64::MAX } else { n });
        let asked = Self { kind, ..Self::default() };
        match kind {
            1 | 2 | 13 => Self { programme: word(0), amount: Some(long(8)), ..asked },
            3 => Self { amount: all(16), by_account: true, ..asked },
            4..=6 => Self { shop: shop(0), amount: Some(long(24)), by_account: true, ..asked },
            // What a hold reserved was asked for before: all of it is not more.
            7 => Self { amount: Some(long(16)), ..asked },
            11 => Self { amount: Some(long(16)), ..asked },
            14 | 70 => Self { programme: word(4), ..asked },
            16 => Self { shop: shop(0), ..asked },
            17 | 18 => Self { programme: word(0), ..asked },
            19 => Self { shop: shop(0), programme: word(16), ..asked },
            24 => Self { programme: word(0), amount: Some(long(24)), ..asked },
            25 => Self { shop: shop(0), amount: Some(long(24)), programme: word(48), ..asked },
            71 => Self { programme: word(0), amount: Some(long(8)), ..asked },
            _ => asked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tegata_model::{
        AccountId, Advice, Allowance, Amount, Approval, Extension, Key, LotKind, Position, Programme, Purchase,
        TerminalId, Timestamp,
    };
    use tegata_wire::{REQUEST_HEADER_BYTES, RequestHeader, encode_operation, encode_plan};

    fn frame(operation: &Operation, plan: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let header = RequestHeader::default();
        if plan {
            encode_plan(&header, operation, &mut out)
        } else {
            encode_operation(&header, operation, &mut out)
        }
        out
    }

    #[test]
    fn the_places_are_those_of_the_frames() {
        let shop = ShopId::from_text("SHOP1").expect("a shop");
        let amount = Amount::new(1_500).expect("an amount");
        let programme = ProgrammeId::new(13);
        let (terminal, token) = (TerminalId::NONE, Position::ZERO);
        let purchase = Purchase { shop, terminal, amount, token, partial: false };
        let wallet = AccountId::from_text("W1").expect("an account");
        let (zero, kind, original) = (Timestamp::ZERO, LotKind::Paid, Key::NONE);
        let approval = Approval { maker: [1; 16], approver: [2; 16], reason: [3; 48], incident: 4, plan: 5 };
        let extension = Extension {
            rule: 9,
            programme,
            expiry_from: zero,
            expiry_before: zero,
            expires_at: zero,
            as_of: Position::ZERO,
            include_expired: false,
        };
        let allowance = Allowance { payment_max: 1_500, ..Allowance::default() };
        let life = tegata_model::Life::Closed;
        let advice = Advice { purchase, programme, lease: Position::new(7), approved_at: Timestamp::from_micros(8) };
        let at_shop = |a: Asked| (a.shop, a.amount, a.programme) == (Some(shop), Some(1_500), None) && a.by_account;
        let of_programme = |a: Asked| (a.shop, a.amount, a.programme) == (None, Some(1_500), Some(programme));
        let only_programme = |a: Asked| (a.shop, a.amount, a.programme) == (None, None, Some(programme));
        let only_amount = |a: Asked| (a.shop, a.amount, a.programme) == (None, Some(1_500), None);
        let reinstate = Operation::Reinstate { programme, amount, expires_at: zero, corrects: original, approval };
        let extend = Operation::Extend { extension, approval };
        type Check<'a> = &'a dyn Fn(Asked) -> bool;
        let cases: [(Operation, Check<'_>); 18] = [
            (
                Operation::Issue { programme, amount, expires_at: zero, valid_from: zero, stay_end_day: 0, kind },
                &of_programme,
            ),
            (Operation::Load { programme, amount, expires_at: zero, kind }, &of_programme),
            (Operation::Charge { wallet, amount: 1_500 }, &|a| only_amount(a) && a.by_account),
            (Operation::Charge { wallet, amount: 0 }, &|a| a.amount == Some(u64::MAX)),
            (Operation::Debit(purchase), &at_shop),
            (Operation::DebitConfirmed { purchase, seconds: 9 }, &at_shop),
            (Operation::Hold { purchase, seconds: 9 }, &at_shop),
            (Operation::Capture { original, amount: 1_500 }, &only_amount),
            (Operation::Capture { original, amount: 0 }, &|a| a.amount == Some(0)),
            (Operation::Refund { original, amount }, &only_amount),
            (reinstate, &of_programme),
            (extend, &only_programme),
            (Operation::ShopLife { shop, life }, &|a| (a.shop, a.amount, a.programme) == (Some(shop), None, None)),
            (Operation::ProgrammeLife { programme, life }, &only_programme),
            (Operation::Programme(Programme::with_defaults(programme)), &only_programme),
            (Operation::Shop { shop, programme, name: [0; 48] }, &|a| {
                (a.shop, a.amount, a.programme) == (Some(shop), None, Some(programme))
            }),
            (Operation::Lease { programme, holder: [6; 16], allowance }, &of_programme),
            (Operation::Advice(advice), &|a| {
                (a.shop, a.amount, a.programme) == (Some(shop), Some(1_500), Some(programme)) && !a.by_account
            }),
        ];
        let body = |f: &[u8]| f[REQUEST_HEADER_BYTES..].to_vec();
        for (operation, holds) in cases {
            let asked = Asked::of(operation.kind() as u8, &body(&frame(&operation, false)));
            assert!(holds(asked), "{operation:?}: {asked:?}");
        }
        assert!(of_programme(Asked::of(71, &body(&frame(&reinstate, true)))));
        assert!(only_programme(Asked::of(70, &body(&frame(&extend, true)))));
        for kind in 0..=u8::MAX {
            for cut in 0..64 {
                let asked = Asked::of(kind, &vec![0xFF; cut]);
                assert_eq!(asked.kind, kind);
                assert!(cut > 0 || asked.amount.is_none_or(|n| n == u64::MAX), "nothing there is not nothing asked");
            }
        }
    }

    #[test]
    fn every_kind_has_one_name_or_needs_no_grant() {
        let named: Vec<u8> = OPERATIONS.iter().flat_map(|(_, kinds)| kinds.iter().copied()).collect();
        for kind in (1..=25u8).chain(64..=80) {
            let times = named.iter().filter(|k| **k == kind).count();
            let own = matches!(kind, 20..=23);
            assert_eq!(times + usize::from(is_granted_to_all(kind)) + usize::from(own), 1, "{kind}");
            if tegata_wire::is_command(kind) {
                assert_eq!(name_of(kind), Operation::name_of(u16::from(kind)));
            }
        }
        assert!(named.iter().all(|kind| *kind < 128), "a set of kinds has 128 bits");
    }
}
