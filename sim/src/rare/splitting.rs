//! Multilevel splitting of fleets, under any law.
//!
//! The levels are the shares that a group misses. A pilot finds how likely each level leads to the
//! next (fixed effort: Garvels, "The splitting method in rare event simulation", 2000, §3.2). Then
//! RESTART (Villén-Altamirano, "RESTART: a method for accelerating rare event simulations", 1991)
//! gives the estimate: whenever a run comes up to a level, it is continued by as many runs as bring
//! one of them to the next level in the mean, each with a future of its own: what is under way is
//! drawn again, given how long it has lasted. All of them but the one that was there before end when
//! they fall below that level again, so that little time is spent where nothing is at risk. Every run
//! that is lost counts with the product of what the levels were split by, which makes the estimate
//! unbiased whatever the pilot said.

use serde::Serialize;
use thiserror::Error;

use crate::estimate::Estimate;
use crate::fleet::{Fleet, Run};
use crate::random::{Purpose, Source};

/// Independent estimates, whose spread gives the interval.
const BATCHES: u64 = 20;
/// Runs of the pilot from one level to the next, at most.
const PILOT_RUNS_MAX: u64 = 100_000;
/// The pilot's replications come before this number, those of the estimate after.
const ESTIMATE_BEGINS: u64 = 1 << 54;
/// Runs that one run may be split into, all levels together.
const OFFSPRING_MAX: u64 = 1 << 24;

/// The loss probability of a fleet by splitting.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Splitting {
    /// Within the horizon.
    pub estimate: Estimate,
    /// The share of the pilot's runs that came from each level to the next. The last leads to the
    /// loss.
    pub passed: Vec<f64>,
    /// Runs that were lost, in the estimate.
    pub losses: u64,
}

/// Why there is no estimate.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SplittingError {
    /// The levels are those of one group.
    #[error("splitting takes one group, and there are {0}; try: groups = 1")]
    Groups(u32),
    /// A pause cannot be drawn again yet.
    #[error("splitting takes machines that do not pause; try: leave [pauses] and [outages] out")]
    Pauses,
    /// Nor can decay and what waits for the ledger.
    #[error("splitting takes deaths only; try: leave [corruption] and [quorum_losses] out")]
    Decay,
    /// A silence that others cut short cannot be drawn again yet.
    #[error("splitting takes losses that are known by a law; try: repair.detection, no patience")]
    Patience,
    /// It is no matter of levels.
    #[error("splitting takes losses one by one; try: leave [mass_loss] out")]
    MassLoss,
    /// The pilot never passed some level.
    #[error(
        "none of 100000 runs came beyond {level} missing shares; try: a chain, kakera sim calc"
    )]
    TooRare {
        /// The level that was not left.
        level: usize,
    },
    /// None was lost.
    #[error("no run was lost; try: more runs a batch than {runs}")]
    TooFewRuns {
        /// Runs of a batch.
        runs: u64,
    },
}

impl SplittingError {
    /// Whether the same with more runs may give an estimate.
    pub fn passes_with_more_runs(&self) -> bool {
        matches!(self, Self::TooFewRuns { .. })
    }
}

/// The probability that the group of a fleet is lost within its horizon, from 20 batches of `runs` >=
/// 1 runs.
pub fn split_loss_probability(
    fleet: &Fleet,
    seed: u64,
    runs: u64,
    confidence: f64,
) -> Result<Splitting, SplittingError> {
    if fleet.groups != 1 {
        return Err(SplittingError::Groups(fleet.groups));
    }
    if fleet.pauses() || fleet.outages.is_some() {
        return Err(SplittingError::Pauses);
    }
    if fleet.corruption.is_some() || fleet.quorum_losses.is_some() {
        return Err(SplittingError::Decay);
    }
    if fleet.patience.is_some() {
        return Err(SplittingError::Patience);
    }
    if fleet.mass_loss.is_some() {
        return Err(SplittingError::MassLoss);
    }
    let levels = usize::from(fleet.n - fleet.k) + 1;
    let passed = pilot(fleet, seed, runs.clamp(20, 1000) as usize, levels);
    if let Some(level) = passed.iter().position(|&share| share == 0.0) {
        return Err(SplittingError::TooRare { level });
    }
    // The start is no level that runs come up to.
    let splits: Vec<f64> = passed.iter().map(|share| share.recip()).collect();
    let weight: f64 = splits[1..].iter().map(|split| split.recip()).product();
    let mut losses = 0;
    let batches: Vec<f64> = (0..BATCHES)
        .map(|batch| {
            let numbers = batch * runs..(batch + 1) * runs;
            let hits: u64 = numbers.map(|number| restart(fleet, seed, number, &splits)).sum();
            losses += hits;
            hits as f64 * weight / runs as f64
        })
        .collect();
    let estimate = Estimate::of_mean(&batches, confidence).filter(|_| losses > 0);
    let estimate = estimate.ok_or(SplittingError::TooFewRuns { runs })?;
    Ok(Splitting { estimate, passed, losses })
}

/// The losses of run `number` and of all that it is split into; a run that reaches level i is split
/// into `splits[i]` in the mean.
fn restart(fleet: &Fleet, seed: u64, number: u64, splits: &[f64]) -> u64 {
    let first = ESTIMATE_BEGINS + number * OFFSPRING_MAX;
    let source = Source::new(seed, first);
    // Runs with the level below which they end.
    let mut under_way = vec![(Run::new(fleet, source), 0)];
    let (mut losses, mut offspring, mut crossings) = (0, 0, 0);
    while let Some((mut run, floor)) = under_way.pop() {
        let mut level = run.shares_missing();
        while run.step() {
            let before = std::mem::replace(&mut level, run.shares_missing());
            if level < floor {
                break;
            }
            if level <= before {
                continue;
            }
            let Some(split) = splits.get(usize::from(level)) else {
                losses += 1;
                break;
            };
            crossings += 1;
            let chance = source.draw(0, Purpose::Jump, crossings).uniform();
            let copies = (split - 1.0 + chance) as u64;
            if copies == 0 {
                continue;
            }
            let numbers = offspring + 1..OFFSPRING_MAX.min(offspring + 1 + copies);
            offspring = numbers.end - 1;
            let numbers = numbers.map(|number| first + number);
            under_way.extend(run.futures(numbers).map(|copy| (copy, level)));
        }
    }
    losses
}

/// The share of runs that pass each level, from so many that `passes` of them do; zero where none of
/// [`PILOT_RUNS_MAX`] does, and after it.
fn pilot(fleet: &Fleet, seed: u64, passes: usize, levels: usize) -> Vec<f64> {
    let source = Source::new(seed, 0);
    let mut shares = vec![0.0; levels];
    let mut entries: Vec<Run<'_>> = Vec::new();
    for (level, share) in shares.iter_mut().enumerate() {
        let mut reached = Vec::new();
        let mut runs = 0;
        while reached.len() < passes && runs < PILOT_RUNS_MAX {
            let number = level as u64 * PILOT_RUNS_MAX + runs;
            let begun = match entries.len() {
                0 => Some(Run::new(fleet, source.of_replication(number))),
                count => entries[runs as usize % count].futures([number]).next(),
            };
            reached.extend(begun.and_then(|begun| reach(begun, level as u8 + 1)));
            runs += 1;
        }
        *share = reached.len() as f64 / runs as f64;
        if reached.is_empty() {
            break;
        }
        entries = reached;
    }
    shares
}

/// The run at the moment at which it reaches a level, if it does.
fn reach(mut run: Run<'_>, level: u8) -> Option<Run<'_>> {
    while run.step() {
        if run.shares_missing() >= level {
            return Some(run);
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;
    use crate::exact::{Redundancy, RepairRates};
    use crate::fleet::{Repair, RepairTime};
    use crate::random::Law;
    use crate::time::HOUR;

    fn hours(mean: f64) -> Law {
        Law::Exponential { mean: mean * HOUR as f64 }
    }

    /// One group on machines that live 100 h.
    fn fleet(n: u8, k: u8, repair: Repair, detection: Law) -> Fleet {
        Fleet { detection, ..Fleet::of_one_group(n, k, hours(100.0), repair, 100 * HOUR) }
    }

    #[test]
    fn agrees_with_the_chain_over_many_decades() {
        let mut range: (f64, f64) = (1.0, 0.0);
        for (n, k, repair_hours) in [(4, 3, 10.0), (10, 5, 8.0), (20, 8, 10.0), (22, 6, 8.0)] {
            let each = Repair::Each(RepairTime::Law(hours(repair_hours)));
            let fleet = fleet(n, k, each, Law::Fixed(0.0));
            let split = split_loss_probability(&fleet, 1, 25, 0.999).unwrap();
            let group = Redundancy {
                n: n.into(),
                k: k.into(),
                failure_rate: 0.01,
                repair: RepairRates::Each {
                    rate: repair_hours.recip(),
                    detection_rate: f64::INFINITY,
                },
            };
            let exact = group.loss_probability(100.0);
            assert!(split.estimate.holds(exact), "{exact:e} is not in {split:?}");
            assert!(split.estimate.relative_half_width() < 1.5, "{split:?}");
            range = (range.0.min(exact), range.1.max(exact));
        }
        assert!(range.1 / range.0 > 1e12, "{range:?}");
    }

    #[test]
    fn splits_repairs_of_every_kind() {
        let lazy = Repair::Together { time: hours(5.0), threshold: 2 };
        let rates = RepairRates::Together { rate: 0.2, threshold: 2, detection_rate: 0.25 };
        let serial = Repair::OneByOne(RepairTime::Law(hours(5.0)));
        for (fleet, repair) in [
            (fleet(8, 4, lazy, hours(4.0)), rates),
            (fleet(8, 4, serial, Law::Fixed(0.0)), RepairRates::OneByOne { rate: 0.2 }),
        ] {
            let split = split_loss_probability(&fleet, 1, 40, 0.999).unwrap();
            let exact =
                Redundancy { n: 8, k: 4, failure_rate: 0.01, repair }.loss_probability(100.0);
            assert!(split.estimate.holds(exact), "{exact:e} is not in {split:?}");
        }
    }

    /// Laws with memory, against counting.
    #[test]
    fn agrees_with_counting_under_laws_with_memory() {
        let hour = HOUR as f64;
        let restore = Law::Weibull { shape: 2.0, scale: 8.0 * hour, location: 2.0 * hour };
        let mut fleet = fleet(
            6,
            4,
            Repair::Each(RepairTime::Law(restore)),
            Law::LogNormal { median: hour, sigma: 1.0 },
        );
        fleet.lives = vec![Law::Weibull { shape: 0.7, scale: 150.0 * hour, location: 0.0 }];
        let split = split_loss_probability(&fleet, 1, 40, 0.99).unwrap();
        let campaign =
            crate::campaign::Campaign { fleet, protocol: None, seed: 2, replications: 4000 };
        let counted = campaign.summary(&campaign.run(), 0.99).loss_of_any;
        assert!(
            counted.interval[0] < split.estimate.interval[1]
                && split.estimate.interval[0] < counted.interval[1],
            "{counted:?} {split:?}"
        );
    }

    #[test]
    fn says_when_it_cannot() {
        let each = Repair::Each(RepairTime::Law(hours(1e-6)));
        let fleet = fleet(6, 2, each, Law::Fixed(0.0));
        let many = Fleet { groups: 2, ..fleet.clone() };
        assert_eq!(split_loss_probability(&many, 1, 9, 0.95), Err(SplittingError::Groups(2)));
        let too_few = split_loss_probability(&fleet, 1, 9, 0.95);
        assert_eq!(too_few, Err(SplittingError::TooRare { level: 1 }));
    }
}
