//! A server with a programme, a shop and coupons, and clients for it.

use crate::proxy::Proxy;
use std::time::Duration;
use tegata_client::{Attempt, Call, Client, Credential, Options, Outcome, Role, new_key};
use tegata_model::{
    AccountId, Amount, LotKind, NamespaceId, Operation, Position, Programme, ProgrammeId, Purchase, ShopId, TerminalId,
    Timestamp,
};
use tegata_server::{Config, Running};
use tegata_wire::{AnswerBody, KIND_BALANCE, KIND_SERVER_STATUS};

pub(crate) const SHOP: &str = "SOBA-YA";

pub(crate) struct Stage {
    pub(crate) server: Option<Running>,
    pub(crate) proxy: Proxy,
    /// Through the proxy.
    pub(crate) till: Client,
    /// Straight to the operators' port.
    pub(crate) office: Client,
    _folder: tempfile::TempDir,
}

pub(crate) fn client(addr: std::net::SocketAddr, role: Role) -> Client {
    client_of(addr, Credential { gateway: 7, role, namespaces: Vec::new() })
}

pub(crate) fn client_of(addr: std::net::SocketAddr, credential: Credential) -> Client {
    Client::new(Options { addrs: vec![addr], credential })
}

pub(crate) fn account(name: &str) -> AccountId {
    AccountId::from_text(name).expect("an account id")
}

pub(crate) fn attempt(account: AccountId, operation: Operation) -> Attempt {
    let deadline = Duration::from_secs(10);
    Attempt { account, key: new_key(), namespace: NamespaceId::new(1), operation, deadline }
}

pub(crate) fn debit(name: &str, yen: u64, token: u64) -> Attempt {
    let purchase = Purchase {
        shop: ShopId::from_text(SHOP).expect("a shop id"),
        terminal: TerminalId::NONE,
        amount: Amount::new(yen).expect("an amount"),
        token: Position::new(token),
        partial: false,
    };
    attempt(account(name), Operation::Debit(purchase))
}

impl Stage {
    pub(crate) async fn open() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let any = "127.0.0.1:0".parse().expect("an address");
        let config = Config {
            http: None,
            data: folder.path().join("data"),
            listen: any,
            operate: any,
            segment_bytes: 4 << 20,
            warm_bytes: 0,
            allow_volatile: true,
            ..Config::default()
        };
        let server = tegata_server::start(config).expect("a server");
        let proxy = Proxy::start(server.banner().listen).await;
        let till = client(proxy.addr, Role::Gateway);
        let office = client(server.banner().operate, Role::Operator);
        let stage = Self { server: Some(server), proxy, till, office, _folder: folder };
        stage.rule(Operation::Programme(Programme::with_defaults(ProgrammeId::new(13)))).await;
        let shop = ShopId::from_text(SHOP).expect("a shop id");
        stage.rule(Operation::Shop { shop, programme: ProgrammeId::NONE, name: [0; 48] }).await;
        stage
    }

    async fn rule(&self, operation: Operation) {
        let outcome = self.office.decide(&attempt(AccountId::NONE, operation)).await;
        assert!(matches!(outcome, Outcome::Approved(_)), "{outcome:?}");
    }

    pub(crate) async fn coupon(&self, name: &str, yen: u64) {
        let issue = Operation::Issue {
            programme: ProgrammeId::new(13),
            amount: Amount::new(yen).expect("an amount"),
            expires_at: Timestamp::ZERO,
            valid_from: Timestamp::ZERO,
            stay_end_day: 0,
            kind: LotKind::Promo,
        };
        let outcome = self.office.decide(&attempt(account(name), issue)).await;
        assert!(matches!(outcome, Outcome::Approved(_)), "{outcome:?}");
    }

    /// The last position whose answer is known to be delivered, or was logged as undelivered.
    pub(crate) async fn delivered(&self) -> u64 {
        let connection = self.office.connection().await.expect("the office is connected");
        let answer = connection.ask(Call::question(KIND_SERVER_STATUS, AccountId::NONE)).await.expect("an answer");
        match answer.body {
            AnswerBody::Server(s) => s.delivered,
            other => panic!("not a server's state: {other:?}"),
        }
    }

    pub(crate) async fn balance(&self, name: &str) -> u64 {
        let connection = self.office.connection().await.expect("the office is connected");
        let answer = connection.ask(Call::question(KIND_BALANCE, account(name))).await.expect("an answer");
        match answer.body {
            AnswerBody::Balance(b) => b.balance,
            other => panic!("not a balance: {other:?}"),
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().expect("an orderly stop");
        }
    }
}
