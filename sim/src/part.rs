//! Blocks on their way between machines.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::campaign::Blocks;
use crate::fleet::Tally;
use crate::scenario::Scenario;

/// What a part says it is; a change of its form changes this.
const FORMAT: &str = "kakera-sim-part/5";

/// One block with all that tells whose it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    format: String,
    /// The version of the program that ran it.
    version: String,
    /// The hash of the scenario's text.
    scenario: String,
    seed: u64,
    block: u64,
    blocks: u64,
    tally: Tally,
}

/// Why parts do not make a whole.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum MergeError {
    /// Another format or version.
    #[error("block {block} is of {found}, and this is {expected}; try: the same program for all")]
    Version {
        /// The block.
        block: u64,
        /// What wrote it.
        found: String,
        /// What reads it.
        expected: String,
    },
    /// Another text.
    #[error("block {block} belongs to scenario {found}, not {expected}; try: its own folder")]
    Scenario {
        /// The block.
        block: u64,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
    /// Two results for one block: a program or machine that miscounts.
    #[error("block {0} is there twice, and differs; try: delete both and run it again")]
    Contradiction(u64),
    /// Not all there.
    #[error("{missing} of {blocks} blocks are missing, the first is {first}; try: run its shard")]
    Missing {
        /// How many.
        missing: u64,
        /// Of how many.
        blocks: u64,
        /// The least number.
        first: u64,
    },
}

impl Part {
    /// Runs a block.
    pub fn run(scenario: &Scenario, block: u64) -> Self {
        Self {
            format: FORMAT.into(),
            version: version(),
            scenario: scenario.hash.clone(),
            seed: scenario.campaign.seed,
            block,
            blocks: scenario.campaign.blocks(),
            tally: scenario.campaign.run_block(block),
        }
    }

    /// The block's number.
    pub fn block(&self) -> u64 {
        self.block
    }

    /// Whether it is a block of this scenario, as this program runs it.
    pub fn check(&self, scenario: &Scenario) -> Result<(), MergeError> {
        let block = self.block;
        let found = format!("{} {}", self.format, self.version);
        let expected = format!("{FORMAT} {}", version());
        if found != expected {
            return Err(MergeError::Version { block, found, expected });
        }
        let same = self.scenario == scenario.hash && self.seed == scenario.campaign.seed;
        if !same || self.blocks != scenario.campaign.blocks() || block >= self.blocks {
            let (found, expected) = (self.scenario.clone(), scenario.hash.clone());
            return Err(MergeError::Scenario { block, found, expected });
        }
        Ok(())
    }
}

/// The blocks of all parts, or as many as the scenario's rule says are enough; equal ones may come twice.
pub fn merge(
    scenario: &Scenario,
    parts: impl IntoIterator<Item = Part>,
) -> Result<Blocks, MergeError> {
    let mut merged = Blocks::new();
    for part in parts {
        part.check(scenario)?;
        let tally = merged.entry(part.block).or_insert_with(|| part.tally.clone());
        if *tally != part.tally {
            return Err(MergeError::Contradiction(part.block));
        }
    }
    if let Some(stop) = &scenario.stop
        && let Some(enough) = scenario.campaign.enough(stop, &merged, scenario.confidence)
    {
        return Ok(enough);
    }
    let blocks = scenario.campaign.blocks();
    let missing = blocks - merged.len() as u64;
    match (0..blocks).find(|block| !merged.contains_key(block)) {
        Some(first) => Err(MergeError::Missing { missing, blocks, first }),
        None => Ok(merged),
    }
}

fn version() -> String {
    env!("CARGO_PKG_VERSION").into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    const SCENARIO: &str = "\
[network]
nodes = 4
lifetime = { exponential = \"10d\" }
[code]
data = \"rs(3,2,2)\"
[repair]
time = { exponential = \"1d\" }
[run]
horizon = \"30d\"
replications = 6
";

    #[test]
    fn parts_merge_in_any_order_and_equal_ones_twice() {
        let scenario = Scenario::parse(SCENARIO).unwrap();
        let parts: Vec<Part> = (0..6).map(|block| Part::run(&scenario, block)).collect();
        let whole = merge(&scenario, parts.clone()).unwrap();
        assert_eq!(whole, scenario.campaign.run());
        let again = parts.iter().rev().chain(&parts[2..4]).cloned();
        assert_eq!(merge(&scenario, again), Ok(whole));
    }

    /// Whoever runs more than is enough gets the same blocks.
    #[test]
    fn a_rule_stops_at_the_border_of_a_batch() {
        let rule = |rule: &str| {
            let text = SCENARIO.replace("replications = 6", "replications = 6400");
            Scenario::parse(&format!("{text}stop = {{ {rule} }}\n")).unwrap()
        };
        for (text, expected) in [
            ("seen = 1", Some(8)),
            ("seen = 1000000", None),
            ("half_width = \"1%\", events = 1", Some(8)),
            ("half_width = \"4%\"", Some(16)),
        ] {
            let scenario = rule(text);
            let parts: Vec<Part> = (0..64).map(|block| Part::run(&scenario, block)).collect();
            let merged = merge(&scenario, parts.clone()).unwrap();
            assert_eq!(merged.len(), expected.unwrap_or(64), "{text}");
            let few = merge(&scenario, parts.into_iter().take(expected.unwrap_or(64)));
            assert_eq!(few, Ok(merged));
        }
        let nothing = format!("{SCENARIO}stop = {{}}\n");
        assert_eq!(Scenario::parse(&nothing).unwrap_err().at, "run.stop");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let scenario = Scenario::parse(SCENARIO).unwrap();
        let other = Scenario::parse(&SCENARIO.replace("10d", "11d")).unwrap();
        let parts: Vec<Part> = (0..6).map(|block| Part::run(&scenario, block)).collect();
        let foreign = Part::run(&other, 5);
        assert!(matches!(merge(&scenario, [foreign]), Err(MergeError::Scenario { block: 5, .. })));
        let some = [parts[0].clone(), parts[2].clone(), parts[5].clone()];
        let missing = MergeError::Missing { missing: 3, blocks: 6, first: 1 };
        assert_eq!(merge(&scenario, some), Err(missing));
        let mut wrong = parts[3].clone();
        wrong.tally.events += 1;
        let twice = parts.iter().cloned().chain([wrong.clone()]);
        assert_eq!(merge(&scenario, twice), Err(MergeError::Contradiction(3)));
        wrong.version = "0.0.0".into();
        assert!(matches!(wrong.check(&scenario), Err(MergeError::Version { block: 3, .. })));
    }
}
