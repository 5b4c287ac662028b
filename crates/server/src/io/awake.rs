//! Whether this thread itself stood still: stopped, or kept from running by its machine. What came meanwhile lay in the
//! sockets, and its customers waited; nobody can tell for how long, so it counts as long as it may have been (FIELD, time).

use super::TICK;
use tegata_model::Timestamp;

/// A thread looks at least every [`TICK`]. When it did not for longer than this, in µs, it stood still.
const PAUSE_US: u64 = TICK.as_micros() as u64 + 50_000;
/// So long after a pause, in µs, what is read may have come meanwhile, until a connection was read empty. One that never is
/// has only so much counted as older than it is.
const SETTLE_US: u64 = 250_000;

/// The last pause, and since when what lies there may lie there: another that comes before all is read adds to the one before.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Awake {
    looked_at: Timestamp,
    since: Timestamp,
    from: Timestamp,
    until: Timestamp,
}

impl Awake {
    /// It is `now`, and the thread runs. True when it stood still until now.
    pub(super) fn look(&mut self, now: Timestamp) -> bool {
        let before = std::mem::replace(&mut self.looked_at, now);
        let stood = now.since(before) > PAUSE_US && !before.is_zero();
        if stood {
            if before.since(self.until) > SETTLE_US {
                self.since = before;
            }
            (self.from, self.until) = (before, now);
        }
        stood
    }

    /// For how long what is read `now` may have lain there, in ms, on a connection that was last empty at `emptied_at`.
    pub(super) fn may_have_waited_ms(&self, emptied_at: Timestamp, now: Timestamp) -> u32 {
        if emptied_at > self.from || now.since(self.until) > SETTLE_US {
            return 0;
        }
        u32::try_from(now.since(self.since.max(emptied_at)) / 1_000).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::Awake;
    use tegata_model::Timestamp;

    fn ms(n: i64) -> Timestamp {
        Timestamp::from_micros(1_780_000_000_000_000 + n * 1_000)
    }

    #[test]
    fn what_came_while_it_stood_still_counts_as_long_as_it_may_have_lain() {
        let mut awake = Awake::default();
        (0..10).for_each(|n| assert!(!awake.look(ms(n * 100))));
        assert_eq!(awake.may_have_waited_ms(ms(0), ms(901)), 0, "nothing is late while it runs");
        assert_eq!(awake.may_have_waited_ms(Timestamp::ZERO, ms(901)), 0, "nor of a connection that is never empty");
        assert!(awake.look(ms(3_900)));
        assert_eq!(awake.may_have_waited_ms(ms(900), ms(3_900)), 3_000);
        assert_eq!(awake.may_have_waited_ms(ms(850), ms(4_000)), 3_100);
        assert_eq!(awake.may_have_waited_ms(ms(3_901), ms(3_950)), 0, "until it was empty once");
        assert_eq!(awake.may_have_waited_ms(Timestamp::ZERO, ms(4_000)), 3_100, "also of a connection that is new");
        assert!(!awake.look(ms(4_000)));
        assert_eq!(awake.may_have_waited_ms(ms(850), ms(4_151)), 0, "later it came later");
    }
    #[test]
    fn a_second_pause_adds_to_one_that_is_not_read_yet() {
        let mut awake = Awake::default();
        for now in [0, 2_000, 2_100, 2_900] {
            awake.look(ms(now));
        }
        assert_eq!(awake.may_have_waited_ms(ms(-50), ms(2_950)), 2_950, "it may have come in the first");
        assert_eq!(awake.may_have_waited_ms(ms(2_050), ms(2_950)), 900, "it was empty in between");
        assert_eq!(awake.may_have_waited_ms(ms(2_910), ms(2_950)), 0);
        for now in [3_000, 3_100, 3_200, 3_300, 3_800] {
            awake.look(ms(now));
        }
        assert_eq!(awake.may_have_waited_ms(ms(-50), ms(3_800)), 500, "what was not read by then is not waited for");
    }
}
