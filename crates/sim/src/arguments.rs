//! What the command line asks.

use tegata_sim::Feature;

pub(crate) const USAGE: &str = "usage: tegata-sim [--seeds N] [--from SEED] [--stats] [--shrink N]
       tegata-sim --seed SEED [--without FEATURE,…] [--steps N] [--trace] [--report]";

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// Fresh seeds.
    pub(crate) seeds: u64,
    /// The first of them; nothing: the system's randomness says.
    pub(crate) from: Option<u64>,
    /// One world only.
    pub(crate) seed: Option<u64>,
    /// Features that it has not.
    pub(crate) without: Vec<Feature>,
    /// Its steps, where they are not as drawn.
    pub(crate) steps: Option<u64>,
    /// Everything that happens is told.
    pub(crate) trace: bool,
    /// The result in words for a program.
    pub(crate) report: bool,
    /// Figures at the end.
    pub(crate) stats: bool,
    /// Failures that are made smaller before they are printed.
    pub(crate) shrink: usize,
}

impl Arguments {
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut a = Self {
            seeds: 200,
            from: None,
            seed: None,
            without: Vec::new(),
            steps: None,
            trace: false,
            report: false,
            stats: false,
            shrink: 3,
        };
        let mut words = words;
        while let Some(word) = words.next() {
            let mut number = || {
                let text = words.next().ok_or_else(|| format!("{word} needs a number"))?;
                text.parse::<u64>().map_err(|_| format!("{text} is no number"))
            };
            match word.as_str() {
                "--seeds" => a.seeds = number()?,
                "--from" => a.from = Some(number()?),
                "--seed" => a.seed = Some(number()?),
                "--steps" => a.steps = Some(number()?),
                "--shrink" => a.shrink = usize::try_from(number()?).map_err(|e| e.to_string())?,
                "--trace" => a.trace = true,
                "--report" => a.report = true,
                "--stats" => a.stats = true,
                "--without" => {
                    let list = words.next().ok_or("--without needs names")?;
                    for name in list.split(',').filter(|n| !n.is_empty()) {
                        let feature = Feature::from_name(name).ok_or_else(|| format!("no feature is called {name}"))?;
                        a.without.push(feature);
                    }
                }
                other => return Err(format!("{other} is not known")),
            }
        }
        Ok(a)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_can_be_asked_for_again_and_nonsense_is_refused() {
        let parse = |text: &str| Arguments::parse(text.split_whitespace().map(str::to_owned));
        let a = parse("--seed 7 --without crash,full-disk --steps 12").expect("it parses");
        assert_eq!((a.seed, a.steps), (Some(7), Some(12)));
        assert_eq!(a.without, [Feature::Crash, Feature::FullDisk]);
        for bad in ["--seed", "--seed x", "--without what", "--what"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
