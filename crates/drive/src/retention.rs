//! Which snapshots stay, and up to where the archive may go. It decides and removes nothing.
//!
//! ```text
//! dropped ──▶│ base …… spaced …… spaced …… second newest, newest │
//!            └ newest snapshot that is old enough: from here on history can be read
//! ```
//!
//! A history is a replay, and a replay begins with a state. So what is dropped ends at a snapshot, which stays, and
//! some are kept on the way for later drops to end at.

/// Snapshots that are kept for a start: the newest, and one in case it cannot be read.
pub const KEEP: usize = 2;
/// Snapshots that are kept for each period of the archive, so that it is never more than a quarter longer than asked.
const SPACING: i64 = 4;
const DAY_US: i64 = 86_400_000_000;

/// A snapshot: its position and logged time.
pub type Taken = (u64, i64);

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Snapshots to remove.
    pub remove: Vec<u64>,
    /// Segments up to here are only needed by history; nothing while there are too few snapshots.
    pub archive_to: Option<u64>,
    /// The snapshot up to which the archive is to be dropped.
    pub drop_to: Option<u64>,
}

/// Decides for `taken`, newest first. `keep_days` is how long the archive is kept, 0: for ever; `dropped` up to where
/// it was dropped before, 0: nowhere. The newest snapshot's logged time is what "now" means.
pub fn decide(taken: &[Taken], keep_days: u32, dropped: u64) -> Retention {
    let Some((newest, older)) = taken.split_first().filter(|(_, older)| older.len() + 1 >= KEEP) else {
        return Retention::default();
    };
    let period = i64::from(keep_days) * DAY_US;
    let old_enough = |(_, at): &&Taken| keep_days > 0 && *at <= newest.1 - period;
    let base = older.iter().find(old_enough).map(|(position, _)| *position);
    // Without a new base the old one stays: the log that is left begins behind it.
    let oldest = base.or((dropped > 0).then_some(dropped));
    let mut last: Option<i64> = None;
    let mut remove = Vec::new();
    for (position, at) in older.iter().skip(KEEP - 1).rev() {
        let is_base = last.is_none() && oldest.is_some_and(|oldest| *position >= oldest);
        let spaced = keep_days > 0
            && oldest.is_none_or(|oldest| *position >= oldest)
            && last.is_none_or(|last| *at >= last + period / SPACING);
        if is_base || spaced {
            last = Some(*at);
        } else {
            remove.push(*position);
        }
    }
    Retention { remove, archive_to: older.get(KEEP - 2).map(|(position, _)| *position), drop_to: base }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Snapshots at these days, oldest first; the position is the day times ten.
    fn check(days: &[i64], keep_days: u32, dropped: u64, removed: &[i64], drop_to: Option<i64>) {
        let mut taken: Vec<Taken> = days.iter().map(|d| (*d as u64 * 10, d * DAY_US)).collect();
        taken.reverse();
        let got = decide(&taken, keep_days, dropped);
        let positions = |days: &[i64]| days.iter().map(|d| *d as u64 * 10).collect::<Vec<_>>();
        assert_eq!(got.remove, positions(removed), "{days:?}");
        assert_eq!(got.drop_to, drop_to.map(|d| d as u64 * 10), "{days:?}");
        assert_eq!(got.archive_to, taken.get(1).map(|t| t.0), "{days:?}");
    }

    #[test]
    fn everything_is_kept_unless_it_is_said_otherwise() {
        check(&[1], 0, 0, &[], None);
        check(&[1, 2], 0, 0, &[], None);
        check(&[1, 2, 500, 501], 0, 0, &[1, 2], None);
    }

    #[test]
    fn what_is_dropped_ends_at_a_snapshot_that_is_old_enough_and_stays() {
        check(&[1, 3, 5, 7, 9], 8, 0, &[], Some(1));
        check(&[1, 3, 5, 7, 10], 8, 0, &[], Some(1));
        check(&[1, 3, 5, 7, 12], 8, 10, &[1], Some(3));
        check(&[3, 5, 7, 12], 8, 30, &[], Some(3));
    }

    #[test]
    fn nothing_is_dropped_that_the_two_newest_need() {
        check(&[1, 2, 3], 8, 0, &[], None);
        check(&[1, 2, 300], 8, 0, &[1], Some(2));
        check(&[2, 300], 8, 0, &[], Some(2));
        check(&[300], 8, 0, &[], None);
    }

    #[test]
    fn snapshots_between_are_a_quarter_of_the_period_apart() {
        check(&[1, 2, 3, 4, 5, 6, 7, 8], 12, 0, &[2, 3, 5, 6], None);
    }

    #[test]
    fn the_base_of_what_is_left_stays_when_the_policy_ends() {
        check(&[3, 5, 7, 8], 0, 25, &[5], None);
    }
}
