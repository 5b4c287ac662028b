//! Time: the world's own, and what machines believe. A wall clock drifts against it and is put forward and back; the
//! monotonic clock only goes on.

/// The wall clock of one machine, against the world's time in µs.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// The world's beginning, µs UTC.
    began_us: i64,
    /// Parts in a million that it goes too fast, or too slowly.
    drift_ppm: i64,
    /// How far it was put forward.
    step_us: i64,
}

/// When worlds begin: 2026-11-24 00:00 in Japan.
pub const BEGAN_US: i64 = 1_795_446_000_000_000;

impl Clock {
    /// A clock that is right at the beginning, but for `off_us`.
    #[must_use]
    pub fn new(drift_ppm: i64, off_us: i64) -> Self {
        Self { began_us: BEGAN_US, drift_ppm, step_us: off_us }
    }

    /// What it shows, µs UTC.
    #[must_use]
    pub fn read(&self, now: u64) -> i64 {
        let now = now as i64;
        self.began_us + now + now / 1_000_000 * self.drift_ppm + self.step_us
    }

    /// Puts it forward, or back.
    pub fn step(&mut self, us: i64) {
        self.step_us += us;
    }

    /// Puts it to `wall_us`, and lets it go as it should.
    pub fn set(&mut self, wall_us: i64, now: u64) {
        self.drift_ppm = 0;
        self.step_us += wall_us - self.read(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_drifts_steps_and_is_put_right() {
        let mut clock = Clock::new(100, 7);
        assert_eq!(clock.read(0), BEGAN_US + 7);
        assert_eq!(clock.read(10_000_000), BEGAN_US + 10_000_000 + 1_000 + 7);
        clock.step(-50);
        assert_eq!(clock.read(10_000_000), BEGAN_US + 10_000_000 + 1_000 - 43);
        clock.set(BEGAN_US + 10_000_000, 10_000_000);
        assert_eq!(clock.read(20_000_000), BEGAN_US + 20_000_000);
    }
}
