//! Scales and their ticks: where a value stands in a picture, and which values are worth a line.

/// Values of a logarithmic axis, in whole decades.
#[derive(Debug, Clone, Copy)]
pub(super) struct Log {
    low: i32,
    high: i32,
}

impl Log {
    /// The decades around `values`; those that are not above zero and finite have no place on it.
    pub(super) fn around(values: impl Iterator<Item = f64>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, 0.0f64);
        for v in values.filter(|v| v.is_finite() && *v > 0.0) {
            (low, high) = (low.min(v), high.max(v));
        }
        if high == 0.0 {
            return Self { low: 2, high: 4 };
        }
        let low = low.log10().floor() as i32;
        Self { low, high: (high.log10().ceil() as i32).max(low + 1) }
    }

    /// From 0 at the lower end to 1 at the upper one; nothing for what has no place.
    pub(super) fn part(self, v: f64) -> Option<f64> {
        (v.is_finite() && v > 0.0)
            .then(|| ((v.log10() - f64::from(self.low)) / f64::from(self.high - self.low)).clamp(0.0, 1.0))
    }

    /// The decades; of a short axis also the twos and fives between them.
    pub(super) fn ticks(self) -> Vec<f64> {
        let steps: &[f64] = if self.high - self.low <= 2 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        // Beyond eight decades every second one is enough.
        let stride = ((self.high - self.low) as usize).div_ceil(8).max(1);
        let decades = (self.low..=self.high).step_by(stride);
        let ticks = decades.flat_map(|d| steps.iter().map(move |s| s * 10f64.powi(d)));
        ticks.filter(|v| *v <= 10f64.powi(self.high) * 1.001).collect()
    }
}

/// A round step, so that `span` has at most `most` of them.
pub(super) fn round_step(span: f64, most: f64) -> f64 {
    let raw = (span / most).max(f64::MIN_POSITIVE);
    let decade = 10f64.powf(raw.log10().floor());
    [1.0, 2.0, 5.0].iter().map(|s| s * decade).find(|s| *s >= raw * 0.999).unwrap_or(10.0 * decade)
}

/// A step of a clock, in s, so that `span` s have at most 12 of them.
pub(super) fn clock_step(span: u64) -> u64 {
    const STEPS: [u64; 16] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 43_200];
    STEPS.into_iter().find(|s| span / s <= 12).unwrap_or_else(|| span.div_ceil(12 * 86_400) * 86_400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_axis_has_room_for_its_values_and_few_ticks() {
        let a = Log::around([0.0, 812.0, 5_810.0, f64::NAN].into_iter());
        assert_eq!(a.ticks(), [100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0]);
        assert_eq!([a.part(100.0), a.part(1_000.0), a.part(0.0)], [Some(0.0), Some(0.5), None]);
        assert_eq!(Log::around([100.0].into_iter()).ticks().len(), 4);
        assert_eq!(Log::around(core::iter::empty()).ticks().len(), 7);
        let wide = Log::around([f64::MIN_POSITIVE, f64::MAX].into_iter()).ticks();
        assert!(wide.len() <= 10 && wide.iter().all(|v| v.is_finite()), "{wide:?}");
    }

    #[test]
    fn steps_are_round() {
        assert_eq!([1.0, 73.0, 50_000.0, 1.2e6].map(|s| round_step(s, 4.0)), [0.5, 20.0, 20_000.0, 500_000.0]);
        assert_eq!([1, 60, 300, 10_000, 864_000].map(clock_step), [1, 5, 30, 900, 86_400]);
        assert!(u64::from(u32::MAX) / clock_step(u64::from(u32::MAX)) <= 12);
    }
}
