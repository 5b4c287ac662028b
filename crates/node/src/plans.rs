//! Plans that were shown: an extension or a reinstatement is only applied as it was planned, with the digest of a plan
//! that this node made since it started. A restart forgets them, which only means to plan again.

use std::collections::VecDeque;
use tegata_engine::{Engine, Plan};
use tegata_model::{AccountId, Approval, Code, Command, Envelope, Extension, Operation, decode, encode, hash_bytes};

/// Plans remembered; the oldest are forgotten.
const PLANS_MAX: usize = 4_096;

/// Nobody has approved it yet.
const UNAPPROVED: Approval = Approval { maker: [0; 16], approver: [0; 16], reason: [0; 48], incident: 0, plan: 0 };

#[derive(Debug)]
struct Planned {
    digest: u64,
    account: AccountId,
    /// With [`UNAPPROVED`].
    operation: Operation,
}

/// The plans that were made.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    made: VecDeque<Planned>,
}

impl Plans {
    fn remember(&mut self, digest: u64, account: AccountId, operation: Operation) {
        if self.made.len() == PLANS_MAX {
            self.made.pop_front();
        }
        self.made.push_back(Planned { digest, account, operation });
    }

    /// The plan of an extension.
    pub(crate) fn extension(&mut self, plan: &Plan, extension: Extension) {
        let operation = Operation::Extend { extension, approval: UNAPPROVED };
        self.remember(plan.digest, AccountId::NONE, operation);
    }

    /// The plan of a reinstatement: one lot. Nothing when `operation` is something else.
    pub(crate) fn reinstatement(&mut self, engine: &Engine, account: AccountId, operation: &Operation) -> Option<Plan> {
        let Operation::Reinstate { amount, .. } = operation else { return None };
        let operation = unapproved(operation)?.0;
        let mut terms = Vec::new();
        encode(&Command { envelope: Envelope { account, ..Envelope::default() }, operation }, &mut terms);
        let digest = hash_bytes(7, &terms).max(1);
        self.remember(digest, account, operation);
        Some(Plan { count: 1, sum: amount.get(), digest, position: engine.applied() })
    }

    /// Why a correction may not be applied: it is not what was planned under its digest.
    #[inline]
    pub(crate) fn obstacle(&self, kind: u16, record: &[u8]) -> Option<Code> {
        if !matches!(kind, 13 | 14) {
            return None;
        }
        let command = decode(record).ok()?;
        let (operation, digest) = unapproved(&command.operation)?;
        let account = if kind == 14 { AccountId::NONE } else { command.envelope.account };
        let planned = self.made.iter().any(|p| p.digest == digest && p.account == account && p.operation == operation);
        (!planned).then_some(Code::PlanMismatch)
    }
}

/// A correction without its approval, and the digest that the approval names.
fn unapproved(operation: &Operation) -> Option<(Operation, u64)> {
    match *operation {
        Operation::Reinstate { programme, amount, expires_at, corrects, approval } => {
            let operation = Operation::Reinstate { programme, amount, expires_at, corrects, approval: UNAPPROVED };
            Some((operation, approval.plan))
        }
        Operation::Extend { extension, approval } => {
            Some((Operation::Extend { extension, approval: UNAPPROVED }, approval.plan))
        }
        _ => None,
    }
}
