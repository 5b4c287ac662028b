//! What a gateway engineer types.

use crate::stage::Stage;

fn key(json: &serde_json::Value) -> String {
    json["key"].as_str().expect("a key").to_owned()
}

#[test]
fn a_payment_and_everything_that_can_follow() {
    let s = Stage::open();
    let paid = s.done(&["debit", "C1", "1,500", "--shop", "SHOP1"]);
    assert_eq!((&paid["amount"], &paid["balance"], &paid["replayed"]), (&1_500.into(), &3_500.into(), &false.into()));
    let again = s.done(&["debit", "C1", "1500", "--shop", "SHOP1", "--key", &key(&paid)]);
    assert_eq!((&again["position"], &again["replayed"]), (&paid["position"], &true.into()));
    s.ends(8, "conflict", &["debit", "C1", "1600", "--shop", "SHOP1", "--key", &key(&paid)]);
    let suspected = s.ends(4, "suspected-duplicate", &["debit", "C1", "1500", "--shop", "SHOP1"]);
    assert_eq!(suspected["related"], paid["position"]);
    let token = suspected["related"].to_string();
    s.done(&["debit", "C1", "1500", "--shop", "SHOP1", "--key", &key(&suspected), "--token", &token]);
    assert_eq!(s.balance("C1"), 2_000);
    s.done(&["refund", "C1", &key(&suspected), "--amount", "500"]);
    s.done(&["reverse", "C1", &key(&paid)]);
    assert_eq!(s.balance("C1"), 4_000);
    s.ends(3, "insufficient-funds", &["debit", "C1", "4001", "--shop", "SHOP1"]);
    let part = s.ends(0, "partially-approved", &["debit", "C1", "9000", "--shop", "SHOP1", "--partial"]);
    assert_eq!(part["amount"], 4_000);
    assert_eq!(s.done(&["status", "C1", &key(&paid)])["state"], "reversed");
}

#[test]
fn holds_are_captured_voided_and_confirmed() {
    let s = Stage::open();
    let held = s.done(&["hold", "C1", "2000", "--shop", "SHOP1"]);
    assert_eq!(s.done(&["balance", "C1"])["held"], 2_000);
    s.done(&["capture", "C1", &key(&held), "--amount", "1500"]);
    assert_eq!(s.balance("C1"), 3_500);
    let held = s.done(&["hold", "C1", "700", "--shop", "SHOP1", "--seconds", "60"]);
    s.done(&["void", "C1", &key(&held)]);
    s.ends(3, "voided", &["capture", "C1", &key(&held)]);
    let open = s.done(&["debit", "C1", "800", "--shop", "SHOP1", "--confirm-within", "60"]);
    assert_eq!((&open["name"], &open["state"]), (&"approved".into(), &"open".into()), "not paid yet");
    assert_eq!(s.done(&["status", "C1", &key(&open)])["state"], "open");
    s.done(&["confirm", "C1", &key(&open)]);
    assert_eq!(s.done(&["status", "C1", &key(&open)])["state"], "captured");
    assert_eq!(s.balance("C1"), 2_700);
}

#[test]
fn a_fence_and_a_reversal_come_before_their_original() {
    let s = Stage::open();
    let fresh = s.ends(3, "insufficient-funds", &["debit", "C1", "9000", "--shop", "SHOP1"]);
    // Two keys of now that were never sent: the last digit of a decided one is changed.
    let mut unsent = key(&fresh);
    let last = unsent.pop().expect("digits");
    unsent.push(if last == '0' { '1' } else { '0' });
    s.ends(6, "not-seen", &["status", "C1", &unsent]);
    s.ends(3, "fenced", &["fence", "C1", &unsent]);
    s.ends(3, "fenced", &["debit", "C1", "100", "--shop", "SHOP1", "--key", &unsent]);
    // A fence that is refused says nothing about its key: this one comes from the future.
    let refused = s.ends(6, "unknown", &["fence", "C1", "ffffffff-0000-7000-8000-000000000001"]);
    assert_eq!(refused["refused"], "key-clock");
    let mut other = unsent.clone();
    other.replace_range(35.., if last == '2' || last == '1' { "3" } else { "2" });
    s.done(&["reverse", "C1", &other]);
    s.ends(3, "fenced", &["debit", "C1", "100", "--shop", "SHOP1", "--key", &other]);
    assert_eq!(s.balance("C1"), 5_000);
}

#[test]
fn a_coupon_moves_into_a_wallet() {
    let s = Stage::open();
    s.done(&["charge", "C1", "W1", "2000"]);
    s.done(&["load", "W1", "1000", "--programme", "13"]);
    assert_eq!((s.balance("C1"), s.balance("W1")), (3_000, 3_000));
    let lots = s.done(&["balance", "W1"]);
    assert_eq!(lots["lots"].as_array().map(Vec::len), Some(2));
    assert_eq!(lots["lots"][0]["expires_at"], "2099-03-31T15:00:00Z", "the end of the day in Japan");
}

#[test]
fn wrong_words_are_told_apart_from_wrong_payments() {
    let s = Stage::open();
    for wrong in [
        &["debit", "C1", "0", "--shop", "SHOP1"][..],
        &["debit", "C1", "1.5", "--shop", "SHOP1"],
        &["debit", "C1", "100"],
        &["debit", "", "100", "--shop", "SHOP1"],
        &["debit", "C1", "100", "--shop", "A-SHOP-WITH-A-LONG-NAME"],
        &["debit", "C1", "100", "--shop", "SHOP1", "--key", "0000"],
        &["debit", "C1", "100", "--shop", "SHOP1", "--deadline-ms", "30001"],
    ] {
        let said = s.run(wrong);
        assert_eq!(said.code, 2, "{wrong:?}: {} {}", said.json, said.error);
        assert!(!said.error.is_empty());
    }
    s.ends(3, "account-unknown", &["debit", "NOBODY", "100", "--shop", "SHOP1"]);
    s.ends(3, "shop-unknown", &["debit", "C1", "100", "--shop", "NOWHERE"]);
}

#[test]
fn nobody_there_is_unreachable() {
    let s = Stage::open();
    let said =
        crate::stage::said(s.command(&["balance", "C1"]).env("TEGATA_ADDR", "127.0.0.1:1").output().expect("it runs"));
    assert_eq!(said.code, 7, "{}", said.error);
    // With `--json`, what failed is one object as well.
    let said = crate::stage::said(
        s.command(&["balance", "C1", "--json"]).env("TEGATA_ADDR", "127.0.0.1:1").output().expect("it runs"),
    );
    assert_eq!((said.code, &said.json["exit"]), (7, &7.into()), "{}", said.error);
    assert!(said.error.contains(said.json["error"].as_str().expect("a message")), "{}", said.json);
    let unknown = s.ends(3, "account-unknown", &["balance", "NOBODY"]);
    assert_eq!((&unknown["code"], unknown["error"].is_string()), (&16.into(), true), "{unknown}");
    s.ends(3, "programme-unknown", &["programme", "show", "99"]);
}
