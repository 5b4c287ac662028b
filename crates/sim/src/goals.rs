//! What must happen in some world of a run: a simulation that never tears a tail says nothing about torn tails.

macro_rules! goals {
    ($($variant:ident $words:literal,)*) => {
        /// Something that must happen now and then.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Goal {
            $(#[doc = $words] $variant,)*
        }

        impl Goal {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// In words.
            #[must_use]
            pub fn words(self) -> &'static str {
                match self { $(Self::$variant => $words,)* }
            }
        }
    };
}

goals! {
    TornTail "a torn tail was cut",
    CrashInRecovery "a crash hit recovery",
    CrashBeforeAnswer "a crash came between flush and answer",
    CrashInSnapshot "a crash hit a snapshot that was being written",
    UnflushedLost "a batch that was sealed was lost in a crash",
    UnflushedKept "a batch that nobody had called durable survived a crash",
    SnapshotLoaded "a start began with a snapshot",
    SnapshotTaken "a snapshot was taken",
    SegmentRolled "a segment rolled over",
    ArchiveWritten "an archive was written",
    WriteFailed "a write failed, and the process stopped for good",
    DiskFullDegraded "a full disk degraded the node",
    DiskFullRecovered "it recovered from that by itself",
    StallDelayed "a stalled write delayed an answer beyond its deadline",
    BreakerRound "a breaker went round: closed, open, half-open, closed",
    DrillDone "a drill opened a breaker",
    QueueStood "the queue stood too long and became a crowd",
    MemoryFull "a table reached its limit",
    ClockLatched "a step of the clock latched its breaker",
    LatchKept "a latched breaker outlived its server",
    ClockConfirmed "an operator confirmed the clock",
    DuplicateInFlight "a duplicate met its original in flight",
    RepeatAfterRestart "a repeat got its stored decision after a restart",
    RepeatReplayed "a repeat got its stored decision",
    ConflictSeen "another request under the same key was a conflict",
    FenceWon "a fence won, and its original came late",
    ReversalFirst "a reversal came before its original",
    Reversed "a debit was reversed",
    Refunded "a debit was refunded",
    DeadlineInQueue "a deadline passed in the queue",
    GuardAsked "the guard asked",
    TokenTaken "a second purchase was meant, and taken",
    HoldExpired "a hold died at its instant",
    HoldCaptured "a hold was captured",
    Unconfirmed "a confirmed debit was confirmed",
    LateConfirm "a confirmation came too late",
    PlanApplied "a plan was applied",
    KeyTooOld "a key was older than the horizon",
    NotExecuted "a client ended in not executed",
    UnknownApproved "an unknown outcome was resolved: it had been done",
    UnknownDeclined "an unknown outcome was resolved: it never will be",
    ConnectionCut "a connection was cut within a frame",
    LateMessage "a message arrived after its caller had connected anew",
    Suspended "a suspended account was refused",
    Drained "a server stopped in order and started again",
}

/// How often each was reached: in one world, or in how many worlds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goals(pub Vec<u64>);

impl Default for Goals {
    fn default() -> Self {
        Self(vec![0; Goal::ALL.len()])
    }
}

impl Goals {
    /// It happened.
    pub fn reach(&mut self, goal: Goal) {
        self.0[goal as usize] += 1;
    }

    /// One world more: what happened in it, however often, happened in one world more.
    pub fn add(&mut self, world: &Self) {
        self.0.iter_mut().zip(&world.0).for_each(|(n, m)| *n += u64::from(*m > 0));
    }

    /// How many of them were reached.
    #[must_use]
    pub fn reached(&self) -> usize {
        self.0.iter().filter(|n| **n > 0).count()
    }

    /// Those that were not.
    pub fn missed(&self) -> impl Iterator<Item = Goal> {
        Goal::ALL.iter().copied().filter(|g| self.0[*g as usize] == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_that_was_not_reached_is_named() {
        let mut goals = Goals::default();
        assert_eq!(goals.missed().count(), Goal::ALL.len());
        Goal::ALL.iter().skip(1).for_each(|g| goals.reach(*g));
        assert_eq!(goals.missed().collect::<Vec<_>>(), [Goal::TornTail]);
        assert_eq!(goals.reached(), Goal::ALL.len() - 1);
    }
}
