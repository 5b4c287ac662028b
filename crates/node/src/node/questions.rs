//! Questions: status, balance, plans, lists, sums, how the node is. Nothing of them goes into the log. They are answered
//! at once from what is applied, but for the plan of an extension, which is counted in slices between payments.

use super::retry_after_ms;
use super::{Node, SnapshotWish};
use crate::degrade::{Cause, Rank};
use crate::message::{Question, Reply, ServerFacts, Waiter};
use tegata_engine::scope_hash;
use tegata_model::{AccountId, Code, Decision, Key, NamespaceId, Position};

impl Node {
    /// A question of a thread of connections.
    pub(super) fn ask(&mut self, thread: usize, waiter: Waiter, question: Question) {
        if let Some((kind, rank)) = can_wait(&question)
            && let Some(code) = self.question_obstacle(rank)
        {
            let retry_after_ms = retry_after_ms(code, waiter);
            self.out[thread].replies.push((waiter, Reply::NotNow { kind, code, retry_after_ms }));
            return;
        }
        match question {
            Question::PlanExtension(rule) => self.planning.push_back((thread, waiter, rule)),
            question => {
                let reply = self.answer_question(&question);
                self.out[thread].replies.push((waiter, reply));
            }
        }
    }

    fn answer_question(&mut self, question: &Question) -> Reply {
        match question {
            Question::Status { namespace, account, key } => {
                let decided = self.engine.status(*namespace, account, key, self.now);
                let first = || self.first_in_flight(scope_hash(*namespace, account, key), *namespace, account, key);
                let undecided = match decided {
                    None if first().is_some() => Code::InProgress,
                    // Another node may have decided it.
                    None if self.breakers.state(Cause::Replication).is_tripped() => Code::Unknown,
                    _ => self.engine.unseen(key, self.now),
                };
                Reply::Status { decided, undecided }
            }
            Question::Refused { kind, namespace, account, key, code } => {
                let decision = match self.engine.status(*namespace, account, key, self.now) {
                    None => Decision::refusal(self.undecided(*namespace, account, key, *code), self.now),
                    Some((fenced, _)) if fenced.code == Code::Fenced => fenced,
                    Some((d, _)) => {
                        Decision { code: Code::Conflict, position: Position::ZERO, related: d.position, ..d }
                    }
                };
                Reply::Refused { kind: *kind, decision }
            }
            Question::Balance(account) => {
                Reply::Balance { position: self.engine.applied(), account: self.engine.account(account, self.now) }
            }
            Question::PlanExtension(_) => unreachable!("plans are counted in slices, see `plan_some`"),
            Question::PlanReinstatement { account, operation } => {
                Reply::Reinstatement(self.plans.reinstatement(&self.engine, *account, operation).unwrap_or_default())
            }
            Question::Digest => Reply::Digest {
                position: self.engine.applied(),
                digest: self.engine.digest(),
                sums: self.engine.sums(),
            },
            Question::Programmes => Reply::Programmes(self.engine.rules().programmes.clone()),
            Question::Shops(after) => {
                let (shops, next) = self.engine.shops_after(*after, 200);
                Reply::Shops(shops, next)
            }
            Question::Server => Reply::Server(Box::new(self.facts())),
            Question::Snapshot => {
                let started = self.snapshot == SnapshotWish::None;
                if started {
                    self.snapshot = SnapshotWish::Wanted;
                }
                Reply::Snapshot { started, position: self.engine.applied() }
            }
            Question::Breakers => self.breaker_reply(false),
            Question::Order(cause, order) if self.order(*cause, *order) => self.breaker_reply(true),
            Question::Order(..) => Reply::NotNow { kind: 79, code: Code::NotFromHere, retry_after_ms: 0 },
        }
    }

    /// What is said of a key that is not decided, where `code` would say that nothing was taken: it may be in flight, or
    /// forgotten.
    fn undecided(&self, namespace: NamespaceId, account: &AccountId, key: &Key, code: Code) -> Code {
        if self.first_in_flight(scope_hash(namespace, account, key), namespace, account, key).is_some() {
            return Code::InProgress;
        }
        if self.engine.unseen(key, self.now) == Code::KeyTooOld { Code::KeyTooOld } else { code }
    }

    fn breaker_reply(&self, ordered: bool) -> Reply {
        Reply::Breakers { ordered, mode: self.breakers.mode(), breakers: self.breakers.facts().to_vec() }
    }

    /// Counts at most `accounts` accounts more for the plan of an extension, one plan at a time: a plan looks at every
    /// account, which would keep payments waiting. True when there was something to count.
    pub fn plan_some(&mut self, accounts: u32) -> bool {
        let Some((thread, waiter, rule)) = self.planning.front_mut() else { return false };
        if !self.engine.is_planning() {
            // Position 0 stands for "as things are": the plan names the position that this came to.
            if rule.as_of == Position::ZERO {
                rule.as_of = self.engine.applied();
            }
            self.engine.start_plan(rule, self.now);
        }
        if let Some(plan) = self.engine.plan_slice(accounts) {
            self.plans.extension(&plan, *rule);
            self.out[*thread].replies.push((*waiter, Reply::Extension(plan)));
            self.planning.pop_front();
        }
        true
    }

    /// How the node is doing.
    #[must_use]
    pub fn facts(&mut self) -> ServerFacts {
        let delivered = self.delivered_to();
        let sizes = self.engine.sizes();
        let breakers = self.breakers.facts();
        ServerFacts {
            accepted: self.next.get() - 1,
            submitted: self.submitted,
            durable: self.durable,
            applied: self.engine.applied().get(),
            delivered,
            counts: self.engine.counts(),
            in_flight: self.in_flight() as u64,
            table_bytes: sizes.account_bytes + sizes.decision_bytes,
            shortfall: self.engine.shortfall(),
            answers: self.answers,
            replayed: self.replayed,
            not_executed: self.not_executed,
            room: self.room,
            mode: self.breakers.mode(),
            states: breakers.map(|b| b.state),
            entered: breakers.map(|b| b.entered),
            levels: breakers.map(|b| b.level),
        }
    }
}

/// Questions that can wait, with the kind of their frame.
fn can_wait(question: &Question) -> Option<(u8, Rank)> {
    Some(match question {
        Question::Balance(_) => (69, Rank::Look),
        Question::PlanExtension(_) => (70, Rank::Report),
        Question::PlanReinstatement { .. } => (71, Rank::Report),
        Question::Programmes => (74, Rank::Report),
        Question::Shops(_) => (75, Rank::Report),
        Question::Digest => (77, Rank::Report),
        _ => return None,
    })
}
