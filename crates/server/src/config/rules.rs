//! A programme's rules as people write them: flat TOML, every value in its range, what is wrong told with its line.

use super::file;
use serde::{Deserialize, Serialize};
use tegata_model::{Allowance, Amount, ExpiredRefund, GuardMode, Programme, ProgrammeId};

/// A programme's rules as a file has them. Flat, since serde loses the line of what it flattens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    id: u32,
    name: String,
    payment_max: u64,
    balance_max: u64,
    any_shop: bool,
    guard_window_s: u32,
    guard_mode: Guard,
    doubt_window_s: u32,
    hold_default_s: u32,
    hold_max_s: u32,
    validity_days: u32,
    zone_minutes: i16,
    expired_refund: Expired,
    refund_days: u32,
    priority: u8,
    stand_in_total_max: u64,
    stand_in_payment_max: u64,
    stand_in_account_max: u64,
    stand_in_shop_max: u64,
    stand_in_lease_s: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Guard {
    Ask,
    Flag,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Expired {
    Reinstate,
    Forfeit,
    PayOut,
}

/// A rule that is out of its range, and what it may be.
#[derive(Debug, PartialEq)]
struct Wrong(&'static str, String);

impl Default for Rules {
    /// Without an id, which has no default.
    fn default() -> Self {
        Self { id: 0, ..Self::of(&Programme::with_defaults(ProgrammeId::new(1))) }
    }
}

impl Rules {
    /// The rules of a programme, to be shown.
    #[must_use]
    pub fn of(p: &Programme) -> Self {
        let most = if p.stand_in.is_none() { Allowance::with_defaults(0) } else { p.stand_in };
        Self {
            id: p.id.get(),
            name: p.name_text().to_owned(),
            payment_max: p.payment_max,
            balance_max: p.balance_max,
            any_shop: p.any_shop,
            guard_window_s: p.guard_window_s,
            guard_mode: match p.guard_mode {
                GuardMode::Ask => Guard::Ask,
                GuardMode::Flag => Guard::Flag,
            },
            doubt_window_s: p.doubt_window_s,
            hold_default_s: p.hold_default_s,
            hold_max_s: p.hold_max_s,
            validity_days: p.validity_days,
            zone_minutes: p.zone_minutes,
            expired_refund: match p.expired_refund {
                ExpiredRefund::Reinstate => Expired::Reinstate,
                ExpiredRefund::Forfeit => Expired::Forfeit,
                ExpiredRefund::PayOut => Expired::PayOut,
            },
            refund_days: p.refund_days,
            priority: p.priority,
            stand_in_total_max: most.total_max,
            stand_in_payment_max: most.payment_max,
            stand_in_account_max: most.account_max,
            stand_in_shop_max: most.shop_max,
            stand_in_lease_s: most.seconds,
        }
    }

    /// From a file's text; what is wrong is told with its line.
    pub fn parse(text: &str) -> Result<Programme, String> {
        let rules = file::read(text, &Self::default()).map_err(|e| e.to_string())?;
        rules.programme().map_err(|Wrong(key, allowed)| {
            let line = file::line_of(text, key).map_or_else(String::new, |n| format!("line {n}: "));
            format!("{line}{key}: must be {allowed}")
        })
    }

    fn programme(&self) -> Result<Programme, Wrong> {
        let range = |ok: bool, key, allowed: &str| if ok { Ok(()) } else { Err(Wrong(key, allowed.to_owned())) };
        let r = self;
        range(r.id > 0, "id", "given, 1 or more")?;
        range((1..=604_800).contains(&r.hold_max_s), "hold_max_s", "1 to 604800 s")?;
        range((1..=r.hold_max_s).contains(&r.hold_default_s), "hold_default_s", "1 s to hold_max_s")?;
        range(r.validity_days > 0, "validity_days", "1 or more")?;
        range((-720..=840).contains(&r.zone_minutes), "zone_minutes", "-720 to 840")?;
        let stand_in = Allowance {
            payment_max: r.stand_in_payment_max,
            account_max: r.stand_in_account_max,
            shop_max: r.stand_in_shop_max,
            total_max: r.stand_in_total_max,
            seconds: r.stand_in_lease_s,
        };
        for (key, yen) in [
            ("stand_in_total_max", stand_in.total_max.max(1)),
            ("stand_in_payment_max", stand_in.payment_max),
            ("stand_in_account_max", stand_in.account_max),
            ("stand_in_shop_max", stand_in.shop_max),
        ] {
            range((1..=Amount::MAX).contains(&yen), key, "1 to 999999999999 yen")?;
        }
        range((1..=604_800).contains(&stand_in.seconds), "stand_in_lease_s", "1 to 604800 s")?;
        Ok(Programme {
            id: ProgrammeId::new(self.id),
            name: padded(&self.name).ok_or_else(|| Wrong("name", "at most 48 bytes of UTF-8".to_owned()))?,
            payment_max: r.payment_max,
            balance_max: r.balance_max,
            guard_window_s: r.guard_window_s,
            doubt_window_s: r.doubt_window_s,
            hold_default_s: r.hold_default_s,
            hold_max_s: r.hold_max_s,
            refund_days: r.refund_days,
            validity_days: r.validity_days,
            zone_minutes: r.zone_minutes,
            priority: r.priority,
            expired_refund: match r.expired_refund {
                Expired::Reinstate => ExpiredRefund::Reinstate,
                Expired::Forfeit => ExpiredRefund::Forfeit,
                Expired::PayOut => ExpiredRefund::PayOut,
            },
            guard_mode: match r.guard_mode {
                Guard::Ask => GuardMode::Ask,
                Guard::Flag => GuardMode::Flag,
            },
            any_shop: r.any_shop,
            stand_in: if r.stand_in_total_max == 0 { Allowance::NONE } else { stand_in },
        })
    }
}

/// A name as records have it.
fn padded(name: &str) -> Option<[u8; 48]> {
    let mut bytes = [0; 48];
    bytes.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stand_in_is_on_with_a_total() {
        let on = Rules::parse("id = 1\nstand_in_total_max = 300_000").expect("good rules");
        assert_eq!(on.stand_in, Allowance::with_defaults(300_000));
        assert_eq!(Rules::of(&on).programme(), Ok(on), "it is shown as it is set");
        let off = Rules::parse("id = 1\nstand_in_payment_max = 500").expect("good rules");
        assert_eq!(off.stand_in, Allowance::NONE);
    }

    #[test]
    fn wrong_rules_are_told_with_their_line() {
        for (wrong, told) in [
            ("id = 1\npayment_maximum = 5", "line 2: payment_maximum is not known; did you mean `payment_max`?"),
            ("name = \"no id\"", "id: must be given"),
            ("name = \"Tokyo\"\nid = 0", "line 2: id: must be"),
            ("id = 1\nguard_mode = \"never\"", "line 2"),
            ("id = 1\n\npriority = \"high\"", "line 3"),
            ("id = 1\nstand_in_payment_max = 0", "line 2: stand_in_payment_max: must be"),
            ("id = 1\nhold_max_s = 9\nhold_default_s = 10", "line 3: hold_default_s: must be"),
        ] {
            let refused = Rules::parse(wrong).expect_err(wrong);
            assert!(refused.contains(told), "{wrong}: {refused}");
        }
    }
}
