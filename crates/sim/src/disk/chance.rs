//! Where everything that may go one way or another is decided: from a seed, or by going through all ways.

/// A source of decisions.
#[derive(Debug, Clone)]
pub enum Chance {
    /// Pseudo-random.
    Seeded(Seeded),
    /// Every way once, run after run.
    Script(Script),
}

impl Chance {
    /// One of `of` ways.
    pub fn pick(&mut self, of: u32) -> u32 {
        match self {
            Self::Seeded(s) => s.below(u64::from(of.max(1))) as u32,
            Self::Script(s) => s.pick(of),
        }
    }

    /// True so many times in a million. Never asked of a script, when it is 0.
    pub(super) fn happens(&mut self, in_a_million: u32) -> bool {
        in_a_million > 0 && self.pick(1_000_000) < in_a_million
    }

    /// A number up to and including `most`.
    pub(super) fn up_to(&mut self, most: u64) -> u64 {
        match self {
            Self::Seeded(s) => s.below(most.saturating_add(1)),
            Self::Script(_) => 0,
        }
    }
}

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Seeded(u64);

impl Seeded {
    /// Its seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, of: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(of)) >> 64) as u64
    }
}

/// Goes through all ways, depth first: a run takes the decisions that stand here, and the first way of each new one.
/// [`Script::next`] turns the last that has another way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Script {
    picks: Vec<(u32, u32)>,
    at: usize,
}

impl Script {
    fn pick(&mut self, of: u32) -> u32 {
        if of <= 1 {
            return 0;
        }
        if self.at == self.picks.len() {
            self.picks.push((0, of));
        }
        let (pick, ways) = self.picks[self.at];
        assert!(ways == of, "the same run asks the same questions");
        self.at += 1;
        pick
    }

    /// The script of the next run; nothing when all ways were gone.
    #[must_use]
    pub fn next(mut self) -> Option<Self> {
        self.at = 0;
        while let Some((pick, ways)) = self.picks.pop() {
            if pick + 1 < ways {
                self.picks.push((pick + 1, ways));
                return Some(self);
            }
        }
        None
    }

    /// The same run again.
    #[must_use]
    pub fn again(mut self) -> Self {
        self.at = 0;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_goes_every_way_once() {
        let mut seen = Vec::new();
        let mut script = Some(Script::default());
        while let Some(mut s) = script {
            let first = s.pick(3);
            seen.push(if first == 1 { vec![first, s.pick(2), s.pick(1)] } else { vec![first] });
            script = s.next();
        }
        assert_eq!(seen, [vec![0], vec![1, 0, 0], vec![1, 1, 0], vec![2]]);
    }

    #[test]
    fn a_seed_gives_the_same_numbers() {
        let numbers = |seed| {
            let mut chance = Chance::Seeded(Seeded::new(seed));
            (0..100).map(|_| chance.pick(10)).collect::<Vec<_>>()
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
        assert!((0..10).all(|n| numbers(7).contains(&n)), "every number comes");
    }
}
