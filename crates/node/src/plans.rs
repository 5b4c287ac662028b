//! Plans that were shown: an extension or a reinstatement is only applied as it was planned, with the digest of a plan
//! that this node made since it started, and a plan is applied once (F17). A restart forgets them, which only means to
//! plan again.
//!
//! ```text
//! planned ──apply──▶ taken by its key ──approved──▶ used for ever
//!    ▲                     └──declined──┐
//!    └──────────────────────────────────┘
//! ```

use std::collections::VecDeque;
use tegata_engine::{Engine, Plan};
use tegata_model::{
    AccountId, Approval, Code, Command, Envelope, Extension, Key, Operation, decode, encode, hash_bytes, mix,
};

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
    /// The key under which it is being applied, or was.
    taken_by: Option<Key>,
}

/// The plans that were made.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    made: VecDeque<Planned>,
}

impl Plans {
    fn remember(&mut self, digest: u64, account: AccountId, operation: Operation) {
        if self.made.iter().any(|p| p.digest == digest) {
            return;
        }
        if self.made.len() == PLANS_MAX {
            self.made.pop_front();
        }
        self.made.push_back(Planned { digest, account, operation, taken_by: None });
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
        // The position is part of it: the same plan made later is another one.
        let position = engine.applied();
        let digest = mix(hash_bytes(7, &terms), position.get()).max(1);
        self.remember(digest, account, operation);
        Some(Plan { count: 1, sum: amount.get(), digest, position })
    }

    /// Why a correction may not be applied: it is not what was planned under its digest, or was applied.
    #[inline]
    pub(crate) fn obstacle(&self, kind: u16, record: &[u8]) -> Option<Code> {
        if !is_correction(kind) {
            return None;
        }
        let planned = self.place(record).is_some_and(|(i, key)| self.made[i].taken_by.is_none_or(|by| by == key));
        (!planned).then_some(Code::PlanMismatch)
    }

    /// A correction without obstacle goes into the log. An extension needs no mark: its rule is made once.
    #[inline]
    pub(crate) fn take(&mut self, kind: u16, record: &[u8]) {
        if kind == 13
            && let Some((i, key)) = self.place(record)
        {
            self.made[i].taken_by = Some(key);
        }
    }

    /// A correction was decided. What is declined has used nothing up.
    #[inline]
    pub(crate) fn decided(&mut self, kind: u16, record: &[u8], code: Code) {
        if kind == 13
            && code != Code::Approved
            && let Some((i, key)) = self.place(record)
            && self.made[i].taken_by == Some(key)
        {
            self.made[i].taken_by = None;
        }
    }

    /// The plan of a correction, and the key that would apply it.
    fn place(&self, record: &[u8]) -> Option<(usize, Key)> {
        let command = decode(record).ok()?;
        let (operation, digest) = unapproved(&command.operation)?;
        let whose = match operation {
            Operation::Extend { .. } => AccountId::NONE,
            _ => command.envelope.account,
        };
        let is_it = |p: &Planned| p.digest == digest && p.account == whose && p.operation == operation;
        Some((self.made.iter().position(is_it)?, command.envelope.key))
    }
}

fn is_correction(kind: u16) -> bool {
    matches!(kind, 13 | 14)
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
