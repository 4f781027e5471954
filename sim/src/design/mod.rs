//! From targets to parameters: which codes, thresholds, epochs and delays a network of given machines
//! should use.
//!
//! A [`Network`] says what there is and what is wanted. [`design`](Network::design) evaluates every
//! candidate exactly, under laws without memory, and keeps those that meet all targets and that no
//! other candidate beats in everything: the Pareto set. Where none meets them, it says which target
//! is out of reach and what is the nearest.
//!
//! # The model of a candidate
//! - A machine dies at rate 1 / lifetime. It is up for the share `uptime` of its time, and each time
//!   away for `absence` in the mean, exponentially. Who is away for longer than the repair delay is
//!   taken for dead, and replaced: waiting longer saves these false repairs, and is riskier.
//! - A death is known after detection and delay; then a newcomer is filled at the bandwidth. With
//!   threshold 1 every slot on its own, above it the group at once when so many slots are missing.
//!   The probability of a loss is the chain's ([`crate::exact::Redundancy`]), of any group by the
//!   union bound.
//! - The secret leaks by accumulation over an epoch ([`crate::exact::LeakModel`]), any group's again
//!   by the union bound.
//! - A group can be read while enough of its slots are up, as many missing as repair tolerates.
//! - Repair moves, for every lost slot and every false repair, what the code moves with d helpers.

mod candidate;
mod network;
mod pareto;

pub use candidate::{Candidate, Design, Outcome};
pub use network::{Level, Network, Targets};

use serde::Serialize;

use candidate::Evaluation;
use network::Target;

/// What became of a search.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Findings {
    /// Candidates that meet all targets and that none beats in everything, the cheapest first.
    Possible {
        /// Evaluated.
        candidates: usize,
        /// That met all targets.
        sufficient: usize,
        /// The Pareto set.
        designs: Vec<Design>,
    },
    /// No candidate meets all targets.
    Impossible {
        /// Evaluated.
        candidates: usize,
        /// What stands against them.
        reasons: Vec<Reason>,
    },
}

/// Why targets cannot be met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The target and what is the nearest.
    pub because: String,
    /// What to write instead.
    pub instead: String,
}

impl Reason {
    fn new(because: impl Into<String>, instead: impl Into<String>) -> Self {
        Self { because: because.into(), instead: instead.into() }
    }
}

impl Network {
    /// Searches all candidates.
    pub fn design(&self) -> Findings {
        let mut evaluation = Evaluation::new(self);
        let outcomes: Vec<Design> =
            candidate::all(self).into_iter().map(|one| evaluation.design(one)).collect();
        let candidates = outcomes.len();
        let sufficient: Vec<Design> = outcomes
            .iter()
            .filter(|design| self.targets.are_met(&design.outcome))
            .cloned()
            .collect();
        if sufficient.is_empty() {
            return Findings::Impossible { candidates, reasons: self.reasons(&outcomes) };
        }
        let count = sufficient.len();
        let designs = pareto::set(sufficient);
        Findings::Possible { candidates, sufficient: count, designs }
    }

    /// Why no candidate meets all targets: those that none meets on its own, else which of them
    /// stands against the others.
    fn reasons(&self, outcomes: &[Design]) -> Vec<Reason> {
        if outcomes.is_empty() {
            let because = format!("{} machines are too few for any code", self.nodes);
            return vec![Reason::new(because, "network.nodes = 10")];
        }
        let alone: Vec<Reason> = self
            .targets
            .each()
            .filter_map(|target| {
                let best = best_by(outcomes, target.of)?;
                let value = (target.of)(&best.outcome);
                let because = format!(
                    "{} of {} is out of reach: the best of {} candidates is {}, by {}",
                    target.name,
                    target.show(target.limit),
                    outcomes.len(),
                    target.show(value),
                    best.candidate
                );
                (value > target.limit).then(|| Reason::new(because, target.write(value)))
            })
            .collect();
        if !alone.is_empty() {
            return alone;
        }
        let pairs = self.excluded_pairs(outcomes);
        if !pairs.is_empty() {
            return pairs;
        }
        let without = |left_out: &str| {
            let others = |outcome: &Outcome| {
                self.targets
                    .each()
                    .filter(|target| target.name != left_out)
                    .all(|target| (target.of)(outcome) <= target.limit)
            };
            outcomes.iter().filter(|design| others(&design.outcome)).cloned().collect::<Vec<_>>()
        };
        let together: Vec<Reason> = self
            .targets
            .each()
            .filter_map(|target| {
                let rest = without(target.name);
                let best = best_by(&rest, target.of)?;
                let value = (target.of)(&best.outcome);
                let because = format!(
                    "{} of {} stands against the other targets: with all of them met the best is \
                     {}, by {}",
                    target.name,
                    target.show(target.limit),
                    target.show(value),
                    best.candidate
                );
                Some(Reason::new(because, target.write(value)))
            })
            .collect();
        if together.is_empty() {
            let because = "at least three targets stand against each other";
            return vec![Reason::new(because, "two of them looser")];
        }
        together
    }
}

impl Network {
    /// Pairs of targets of which some candidates meet either, and none both.
    fn excluded_pairs(&self, outcomes: &[Design]) -> Vec<Reason> {
        let targets: Vec<Target> = self.targets.each().collect();
        let mut reasons = Vec::new();
        for (number, one) in targets.iter().enumerate() {
            for other in &targets[number + 1..] {
                let meets = |design: &&Design| (one.of)(&design.outcome) <= one.limit;
                let first: Vec<Design> = outcomes.iter().filter(meets).cloned().collect();
                let Some(best) = best_by(&first, other.of) else { continue };
                let value = (other.of)(&best.outcome);
                if value > other.limit {
                    let because = format!(
                        "{} of {} and {} of {} exclude each other: with the first the second is {} \
                         at best, by {}",
                        one.name,
                        one.show(one.limit),
                        other.name,
                        other.show(other.limit),
                        other.show(value),
                        best.candidate
                    );
                    reasons.push(Reason::new(because, other.write(value)));
                }
            }
        }
        reasons
    }
}

fn best_by(designs: &[Design], of: fn(&Outcome) -> f64) -> Option<&Design> {
    designs.iter().min_by(|a, b| of(&a.outcome).total_cmp(&of(&b.outcome)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    /// Seven clinics with three small machines each that are up nine tenths of the time.
    pub(super) const CLINICS: &str = "\
[network]
nodes = 21
zones = 7
machines = \"raspberry-pi\"
uptime = \"90%\"
hostile = \"5%\"
[objects]
bytes = \"40GiB\"
[targets]
level = \"clinic\"
";

    fn designs(text: &str) -> Vec<Design> {
        match Network::parse(text).unwrap().design() {
            Findings::Possible { candidates, sufficient, designs } => {
                assert!(sufficient >= designs.len() && candidates >= sufficient);
                designs
            }
            Findings::Impossible { reasons, .. } => panic!("{reasons:?}"),
        }
    }

    #[test]
    fn clinics_find_designs_that_none_beats() {
        let network = Network::parse(CLINICS).unwrap();
        let designs = designs(CLINICS);
        assert!(designs.len() >= 3, "{designs:?}");
        for design in &designs {
            assert!(network.targets.are_met(&design.outcome), "{design:?}");
            let beaten = |other: &&Design| pareto::beats(&other.outcome, &design.outcome);
            assert_eq!(designs.iter().find(beaten), None);
        }
    }

    /// What the designer says of its first design, the simulator's own exact answer says too.
    #[test]
    fn a_design_keeps_its_word_as_a_scenario() {
        let network = Network::parse(CLINICS).unwrap();
        let design = &designs(CLINICS)[0];
        let text = network.scenario(&design.candidate);
        let scenario = crate::scenario::Scenario::parse(&text).unwrap();
        let exact = scenario.exact().unwrap();
        let of_any = exact.loss_probability * f64::from(network.groups);
        let ratio = of_any / design.outcome.loss_a_year;
        assert!((0.2..5.0).contains(&ratio), "{of_any:e} is not {design:?}\n{text}");
        let leak = exact.leak.unwrap().probability() * f64::from(network.groups);
        assert!(leak / design.outcome.leak_a_year < 1.3, "{leak:e} {design:?}");
        assert!((scenario.storage_factor() / design.outcome.storage_factor - 1.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_impossible_is_said_with_the_reason() {
        let reasons = |from: &str, to: &str| {
            let text = CLINICS.replacen(from, to, 1);
            match Network::parse(&text).unwrap().design() {
                Findings::Impossible { reasons, .. } => {
                    reasons.into_iter().map(|reason| reason.because).collect::<Vec<_>>().join("; ")
                }
                found => panic!("{found:?}"),
            }
        };
        let storage = reasons("level = \"clinic\"", "level = \"clinic\"\nstorage = 0.9");
        assert!(storage.starts_with("storage factor of 0.9 is out of reach"), "{storage}");
        let few = reasons("nodes = 21\nzones = 7", "nodes = 5");
        assert!(few.contains("out of reach") || few.contains("exclude each other"), "{few}");
        let both = reasons(
            "level = \"clinic\"",
            "durability = \"1e-10\"\nleak = \"1e-12\"\nstorage = 1.3\navailability = \"99.9%\"",
        );
        assert!(both.contains("exclude each other"), "{both}");
    }

    /// Whatever target is out of reach: with what is written instead it is not.
    #[test]
    fn what_is_written_instead_is_within_reach() {
        for target in [
            "storage = 0.9",
            "durability = \"1e-60\"",
            "leak = \"1e-60\"",
            "availability = \"99.999999999999%\"",
            "repair = \"1B\"",
        ] {
            let text =
                format!("{CLINICS}{target}\n").replace("level = \"clinic\"", "level = \"home\"");
            let key = target.split(' ').next().unwrap();
            let Findings::Impossible { reasons, .. } = Network::parse(&text).unwrap().design()
            else {
                panic!("{target} is met")
            };
            assert_eq!(reasons.len(), 1, "{reasons:?}");
            assert!(reasons[0].instead.starts_with(key), "{reasons:?}");
            let mended = text.replace(target, &reasons[0].instead);
            match Network::parse(&mended).unwrap().design() {
                Findings::Possible { .. } => {}
                // The nearest may cost more than another target allows.
                Findings::Impossible { reasons, .. } => {
                    let alone =
                        reasons.iter().any(|reason| reason.because.contains("out of reach"));
                    assert!(!alone, "{mended}: {reasons:?}");
                }
            }
        }
    }
}
