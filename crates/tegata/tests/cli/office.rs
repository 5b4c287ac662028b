//! What the programme's office types.

use crate::stage::Stage;

#[test]
fn rules_and_shops_are_listed_as_they_were_given() {
    let s = Stage::open();
    let rules = s.done(&["programme", "show", "13"]);
    assert_eq!(
        (&rules["name"], &rules["guard_window_s"], &rules["life"]),
        (&"東京".into(), &120.into(), &"active".into())
    );
    assert_eq!(s.done(&["programme", "list"]).as_array().map(Vec::len), Some(1));
    let shops = s.done(&["shop", "list"]);
    assert_eq!((&shops[0]["shop"], &shops[0]["name"]), (&"SHOP1".into(), &"そば屋".into()));
    let wrong = s.file("wrong.toml", "id = 14\nguard_windows = 5\n");
    let said = s.run(&["programme", "create", wrong.to_str().expect("UTF-8")]);
    assert_eq!(said.code, 9, "{}", said.error);
    let told = "wrong.toml: line 2: guard_windows is not known; did you mean `guard_window_s`?";
    assert!(said.error.contains(told), "{}", said.error);
}

#[test]
fn suspension_gets_a_definite_answer() {
    let s = Stage::open();
    for (what, id, code) in [
        ("account", "C1", "account-suspended"),
        ("shop", "SHOP1", "shop-suspended"),
        ("programme", "13", "programme-suspended"),
    ] {
        s.done(&["suspend", what, id]);
        s.ends(3, code, &["debit", "C1", "100", "--shop", "SHOP1"]);
        s.done(&["resume", what, id]);
    }
    s.done(&["debit", "C1", "100", "--shop", "SHOP1"]);
    s.done(&["close", "account", "C1"]);
    s.ends(3, "account-closed", &["debit", "C1", "100", "--shop", "SHOP1"]);
}

#[test]
fn a_cohort_is_extended_by_two_people_as_planned() {
    let s = Stage::open();
    s.done(&["issue", "C2", "700", "--programme", "13", "--expires", "2098-02-24"]);
    let cohort = ["--rule", "1", "--expiring-by", "2098-02-24", "--until", "2098-03-31"];
    let plan = s.done(&[&["extend", "plan"][..], &cohort].concat());
    assert_eq!((&plan["count"], &plan["sum"]), (&1.into(), &700.into()));
    let (digest, position) = (plan["digest"].as_str().expect("hex"), plan["position"].to_string());
    let apply = |maker, approver, more: &[&str]| {
        let names = ["--digest", digest, "--position", &position, "--maker", maker, "--approver", approver];
        [&["extend", "apply"][..], &names, more].concat().iter().map(|w| (*w).to_owned()).collect::<Vec<_>>()
    };
    let run = |words: Vec<String>| s.run(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let alone = run(apply("SATO", "SATO", &cohort));
    assert_eq!((alone.code, &alone.json["name"]), (3, &"same-person".into()), "{}", alone.error);
    let other = ["--rule", "1", "--expiring-by", "2099-03-31", "--until", "2099-04-30"];
    let unplanned = run(apply("SATO", "SUZUKI", &other));
    let told = (unplanned.code, &unplanned.json["name"]);
    assert_eq!(told, (3, &"plan-mismatch".into()), "another cohort under this digest: {}", unplanned.error);
    let applied = run(apply("SATO", "SUZUKI", &cohort));
    assert_eq!((applied.code, &applied.json["names_proven"]), (0, &false.into()), "{}", applied.error);
    assert_eq!(s.done(&["balance", "C2"])["lots"][0]["expires_at"], "2098-03-31T15:00:00Z");
    assert_eq!(s.done(&["balance", "C1"])["lots"][0]["expires_at"], "2099-03-31T15:00:00Z");
    let history = s.done(&["history"]);
    let extended = history["entries"].as_array().expect("entries").iter().filter(|e| e["kind"] == "extend");
    let people: Vec<_> = extended.map(|e| [&e["name"], &e["approval"]["maker"], &e["approval"]["approver"]]).collect();
    assert!(people.contains(&[&"approved".into(), &"SATO".into(), &"SUZUKI".into()]), "{people:?}");
    assert!(people.contains(&[&"same-person".into(), &"SATO".into(), &"SATO".into()]), "{people:?}");
    let twice = run(apply("SATO", "SUZUKI", &cohort));
    assert_eq!((twice.code, &twice.json["name"]), (3, &"rule-exists".into()), "{}", twice.error);
}

#[test]
fn value_is_reinstated_once_by_two_people() {
    let s = Stage::open();
    let paid = s.done(&["debit", "C1", "500", "--shop", "SHOP1"]);
    let key = paid["key"].as_str().expect("a key");
    let giving = ["C1", "500", "--programme", "13", "--expires", "2099-03-31", "--corrects", key];
    let plan = s.done(&[&["reinstate", "plan"][..], &giving].concat());
    let digest = plan["digest"].as_str().expect("hex");
    let people = ["--digest", digest, "--maker", "SATO", "--approver", "SUZUKI"];
    let names = [&people[..], &["--reason", "paid in cash too", "--incident", "31"]].concat();
    s.done(&[&["reinstate", "apply"][..], &giving, &names].concat());
    assert_eq!(s.balance("C1"), 5_000);
    let again = s.run(&[&["reinstate", "apply"][..], &giving, &names].concat());
    let told = (again.code, &again.json["name"]);
    assert_eq!(told, (3, &"plan-mismatch".into()), "nobody can apply it twice: {}", again.json);
    let history = s.done(&["history", "--account", "C1"]);
    let entries = history["entries"].as_array().expect("entries");
    let why = serde_json::json!({
        "maker": "SATO", "approver": "SUZUKI", "reason": "paid in cash too", "incident": 31, "plan": digest,
    });
    assert_eq!(entries.iter().find(|e| e["kind"] == "reinstate").map(|e| &e["approval"]), Some(&why));
    assert!(entries.iter().filter(|e| e["kind"] != "reinstate").all(|e| e["approval"].is_null()));
    let text = s.command(&["history", "--account", "C1"]).output().expect("it runs").stdout;
    let text = String::from_utf8(text).expect("UTF-8");
    assert!(text.contains("SATO, SUZUKI incident 31: paid in cash too\n"), "{text}");
    assert_eq!(s.balance("C1"), 5_000);
}

#[test]
fn history_filters_and_sums_agree() {
    let s = Stage::open();
    s.done(&["issue", "C2", "700", "--programme", "13"]);
    s.done(&["debit", "C1", "500", "--shop", "SHOP1"]);
    s.done(&["debit", "C2", "100", "--shop", "SHOP1"]);
    let of = |words: &[&str]| s.done(words)["entries"].as_array().expect("entries").clone();
    assert_eq!(of(&["history", "--account", "C1"]).len(), 2, "its issue and its debit");
    let at_shop = of(&["history", "--shop", "SHOP1"]);
    let debits: Vec<_> = at_shop.iter().filter(|e| e["kind"] == "debit").collect();
    assert_eq!(debits.len(), 2);
    assert_eq!(debits[0]["lots"][0]["yen"], 500);
    let all = of(&["history"]);
    let (mut pages, mut next) = (Vec::new(), 0);
    while pages.len() < all.len() {
        let page = s.done(&["history", "--limit", "2", "--position", &next.to_string()]);
        let entries = page["entries"].as_array().expect("entries");
        assert!(entries.len() == 2 || pages.len() + entries.len() == all.len(), "a page is full, or the last");
        pages.extend(entries.clone());
        next = page["up_to"].as_u64().expect("a position") + 1;
    }
    assert_eq!(pages, all, "page by page nothing is missed");
    assert_eq!(of(&["history", "--position", &debits[1]["position"].to_string()])[0]["account"], "C2");
    let sums = s.done(&["server", "digest"])["programmes"][0].clone();
    let of = |name: &str| sums[name].as_u64().expect("a sum");
    assert_eq!((of("issued"), of("spent"), of("balances")), (5_700, 600, 5_100));
    assert_eq!(s.done(&["server", "status"])["accounts"], 2);
}
