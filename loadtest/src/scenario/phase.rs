//! What is offered, and when.

use serde::{Deserialize, Serialize};

/// Load over some time.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// How long, in s.
    pub seconds: f64,
    /// Payments a second, at its beginning; a closed loop has none.
    #[serde(default)]
    pub rate: f64,
    /// Payments a second at its end; the rate in between is a straight line. Default: as at the beginning.
    pub to: Option<f64>,
    /// How payments follow each other.
    #[serde(default)]
    pub arrivals: Arrivals,
}

/// How payments follow each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// Independently of each other, as customers come.
    #[default]
    Poisson,
    /// At equal distances.
    Constant,
    /// A closed loop: the next comes when there is room for it, on connections × depth. It shows the most that the
    /// server does, and hides how long customers would wait.
    Closed,
}

impl Phase {
    /// `of_peak`: its rates are multiples of the peak.
    pub(super) fn check(&self, of_peak: bool) -> Result<(), String> {
        if !(self.seconds > 0.0 && self.seconds <= 86_400.0) {
            return Err(format!("seconds is over 0 and at most 86,400, not {}", self.seconds));
        }
        if self.arrivals == Arrivals::Closed {
            return if self.rate == 0.0 && self.to.is_none() {
                Ok(())
            } else {
                Err("a closed loop has no rate".to_owned())
            };
        }
        let mut rates = [Some(self.rate), self.to].into_iter().flatten();
        if of_peak {
            return match rates.find(|r| !(0.01..=100.0).contains(r)) {
                Some(rate) => Err(format!("a multiple of the peak is from 0.01 to 100, not {rate}")),
                None => Ok(()),
            };
        }
        // Above this the generator's own clock is too coarse to say when a payment was due.
        match rates.find(|r| !(1.0..=20_000_000.0).contains(r)) {
            Some(rate) => Err(format!("a rate is from 1 to 20,000,000 a second, not {rate}")),
            None => Ok(()),
        }
    }
}
