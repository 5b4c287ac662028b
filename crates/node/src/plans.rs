//! Plans that were shown: an extension or a reinstatement is only applied with the digest of a plan that this node
//! made since it started. A restart forgets them, which only means to plan again.

use std::collections::VecDeque;
use tegata_engine::{Engine, Plan};
use tegata_model::{AccountId, Code, Key, Operation, decode, hash_bytes, mix};

/// Plans remembered; the oldest are forgotten.
const PLANS_MAX: usize = 4_096;

/// The digests of the plans that were made.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    digests: VecDeque<u64>,
}

impl Plans {
    /// Remembers a digest that was shown.
    pub(crate) fn remember(&mut self, digest: u64) {
        if self.digests.len() == PLANS_MAX {
            self.digests.pop_front();
        }
        self.digests.push_back(digest);
    }

    /// The plan of a reinstatement: one lot of `amount` yen.
    pub(crate) fn reinstatement(&mut self, engine: &Engine, account: &AccountId, amount: u64, corrects: &Key) -> Plan {
        let digest = reinstatement_digest(account, amount, corrects);
        self.remember(digest);
        Plan { count: 1, sum: amount, digest, position: engine.applied() }
    }

    /// Why a correction may not be applied: its plan was not made here.
    #[inline]
    pub(crate) fn obstacle(&self, kind: u16, record: &[u8]) -> Option<Code> {
        if !matches!(kind, 13 | 14) {
            return None;
        }
        let command = decode(record).ok()?;
        let fits = match &command.operation {
            Operation::Reinstate { amount, corrects, approval, .. } => {
                approval.plan == reinstatement_digest(&command.envelope.account, amount.get(), corrects)
                    && self.digests.contains(&approval.plan)
            }
            Operation::Extend { approval, .. } => self.digests.contains(&approval.plan),
            _ => true,
        };
        (!fits).then_some(Code::PlanMismatch)
    }
}

fn reinstatement_digest(account: &AccountId, amount: u64, corrects: &Key) -> u64 {
    mix(hash_bytes(hash_bytes(7, account.bytes()), corrects.bytes()), amount).max(1)
}
