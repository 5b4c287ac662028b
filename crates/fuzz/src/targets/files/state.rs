//! A state that came from a file is asked and changed as a server would: nothing that a file says makes it panic.

use tegata_engine::{Engine, Restorer};
use tegata_model::{
    AccountId, Amount, Command, Envelope, Key, NamespaceId, Operation, Position, Purchase, ShopId, TerminalId,
    Timestamp, encode,
};

/// Accounts and shops of the golden snapshot.
const ACCOUNTS: [&str; 3] = ["C1", "W1", "C9"];
const SHOP: &str = "S1";

pub(super) fn work_on(engine: &mut Engine) {
    let digest = engine.digest();
    let head = engine.start_snapshot();
    let mut restorer = Restorer::new(&head).expect("what was restored can be restored again");
    while let Some(page) = engine.snapshot_page(64) {
        restorer.page(&page).expect("a page of it");
    }
    let again = restorer.finish().expect("all of it");
    assert_eq!((again.digest(), again.applied()), (digest, engine.applied()), "the same state");
    let at = Timestamp::from_micros(engine.at().micros().saturating_add(1_000_000).max(1));
    for (n, name) in (1u64..).zip(ACCOUNTS) {
        let account = AccountId::from_text(name).expect("an id");
        let purchase = Purchase {
            shop: ShopId::from_text(SHOP).expect("an id"),
            terminal: TerminalId::NONE,
            amount: Amount::new(7).expect("in range"),
            token: Position::ZERO,
            partial: true,
        };
        let key = Key::new(at, u128::from(n));
        for operation in [Operation::Debit(purchase), Operation::Fence] {
            let namespace = NamespaceId::new(1);
            let envelope = Envelope { received_at: at, deadline: at, namespace, account, key, ..Envelope::default() };
            let mut record = Vec::new();
            encode(&Command { envelope, operation }, &mut record);
            let position = engine.applied().next();
            let _ = engine.apply(position, at, &record);
        }
    }
}
