//! A till that keeps every approved answer, to hold the server to it.

use crate::stage::Server;
use std::time::Duration;
use tegata_client::{Attempt, Client, Credential, Decided, Options, Outcome, Role, new_key};
use tegata_model::{AccountId, Amount, NamespaceId, Operation, Position, Purchase, ShopId, TerminalId};
use tokio::runtime::{Builder, Runtime};

pub(crate) struct Till {
    client: Client,
    runtime: Runtime,
    next_yen: u64,
    /// What was approved.
    pub(crate) approved: Vec<(Attempt, Decided)>,
}

fn client(server: &Server) -> Client {
    let credential = Credential { gateway: 1, role: Role::Gateway, namespaces: Vec::new() };
    Client::new(Options { addrs: vec![server.field("addr").parse().expect("an address")], credential })
}

pub(crate) fn attempt(account: &str, operation: Operation) -> Attempt {
    Attempt {
        account: AccountId::from_text(account).expect("an account"),
        key: new_key(),
        namespace: NamespaceId::new(1),
        operation,
        deadline: Duration::from_secs(5),
    }
}

impl Till {
    pub(crate) fn new(server: &Server) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { client: client(server), runtime, next_yen: 1, approved: Vec::new() }
    }

    /// The server was started again.
    pub(crate) fn connect(&mut self, server: &Server) {
        self.client = client(server);
    }

    /// A payment that no other is like, so that the guard has nothing to ask.
    pub(crate) fn payment(&mut self, account: &str) -> Attempt {
        let purchase = Purchase {
            shop: ShopId::from_text("SHOP1").expect("a shop"),
            terminal: TerminalId::NONE,
            amount: Amount::new(self.next_yen).expect("an amount"),
            token: Position::ZERO,
            partial: false,
        };
        self.next_yen += 1;
        attempt(account, Operation::Debit(purchase))
    }

    pub(crate) fn decide(&mut self, attempt: Attempt) -> Outcome {
        let outcome = self.runtime.block_on(self.client.decide(&attempt));
        if let Outcome::Approved(d) = &outcome {
            self.approved.push((attempt, *d));
        }
        outcome
    }

    /// Every answer that was given is given again, to the byte.
    pub(crate) fn check(&self) {
        for (attempt, first) in &self.approved {
            match self.runtime.block_on(self.client.decide(attempt)) {
                Outcome::Approved(d) => assert!(d.replayed && d.decision == first.decision, "{d:?}: {first:?}"),
                other => panic!("{first:?} became {other:?}"),
            }
        }
    }
}
