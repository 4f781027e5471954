//! Validators on virtual time, with everything that may go wrong: messages lost, doubled and out of
//! order, partitions, crashes that tear the voting log, clocks that disagree, and a traitor.
//!
//! Each seed is one network. It must never fork, lose or double what was acknowledged; when the
//! faults stop, it must come to one chain with all that was posted. The same seed gives the same
//! trace, which every run of a seed is checked for.

mod fault;
mod machine;
mod network;
mod traitor;

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::ensure;
use clap::Args;
use fault::Fault;
use network::{Network, Outcome};

use crate::report::{Goal, Report};

/// Networks of the control.
const CONTROL_SEEDS: u64 = 40;

/// What `cargo xtask ledger-sim` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Networks to simulate, each with its own seed
    #[arg(long, default_value_t = 2000)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// 100 networks
    #[arg(long)]
    short: bool,
}

/// Simulates every seed; the first that breaks a promise is named.
pub(crate) fn run(options: &Options) -> anyhow::Result<Report> {
    let count = if options.short { options.seeds.min(100) } else { options.seeds };
    let start = Instant::now();
    let mut sum = Sum::default();
    for seed in options.first..options.first + count {
        sum.add(seed, &Network::run(seed))?;
        // Determinism is a property of the code, not of a seed: some seeds show it.
        if seed.is_multiple_of(20) {
            let again = Network::run(seed);
            ensure!(again.trace == sum.last_trace, "seed {seed} gives two different traces");
            sum.repeated += 1;
        }
    }
    // Without voting logs crashed validators contradict themselves. A simulation that does not
    // see it would see nothing.
    let forgetful = options.first..options.first + CONTROL_SEEDS;
    sum.caught = forgetful.filter(|seed| !Network::run_forgetful(*seed).broken.is_empty()).count();
    Ok(sum.report(count, start.elapsed().as_secs_f64()))
}

#[derive(Default)]
struct Sum {
    faults: BTreeMap<Fault, usize>,
    heights: u64,
    acknowledged: usize,
    later_rounds: usize,
    wanted: usize,
    expelled: usize,
    repeated: usize,
    last_trace: [u8; 32],
    caught: usize,
}

impl Sum {
    fn add(&mut self, seed: u64, outcome: &Outcome) -> anyhow::Result<()> {
        ensure!(outcome.broken.is_empty(), "seed {seed}: {}", outcome.broken.join("; "));
        for (fault, count) in &outcome.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        self.heights += outcome.height;
        self.acknowledged += outcome.acknowledged;
        self.later_rounds += outcome.later_rounds;
        self.wanted += outcome.wanted;
        self.expelled += usize::from(outcome.expelled);
        self.last_trace = outcome.trace;
        Ok(())
    }

    fn report(&self, seeds: u64, seconds: f64) -> Report {
        let mut report = Report::new("ledger-sim");
        report.count("seeds", seeds as usize);
        report.count("seeds_run_twice_alike", self.repeated);
        report.count("blocks", self.heights as usize);
        report.count("blocks_of_later_rounds", self.later_rounds).goal(Goal::AtLeast(1.0));
        report.count("blocks_asked_for_whole", self.wanted).goal(Goal::AtLeast(1.0));
        report.count("entries_acknowledged", self.acknowledged).goal(Goal::AtLeast(1.0));
        report.count("traitors_expelled", self.expelled).goal(Goal::AtLeast(1.0));
        for fault in Fault::ALL {
            let fired = self.faults.get(&fault).copied().unwrap_or(0);
            // A fault that never fires proves nothing.
            report.count(format!("fault_{}", fault.name()), fired).goal(Goal::AtLeast(1.0));
        }
        report
            .count(format!("control_without_logs_caught_of_{CONTROL_SEEDS}"), self.caught)
            .goal(Goal::AtLeast(1.0));
        report.count("promises_broken", 0).goal(Goal::AtMost(0.0));
        report.add("seconds", seconds);
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_networks_keep_their_promises_and_repeat_exactly() {
        for seed in 1..=6 {
            let outcome = Network::run(seed);
            assert!(outcome.broken.is_empty(), "seed {seed}: {:?}", outcome.broken);
            assert!(outcome.height > 0 && outcome.acknowledged > 0, "seed {seed} did nothing");
        }
        assert_eq!(Network::run(3).trace, Network::run(3).trace);
        assert_ne!(Network::run(3).trace, Network::run(4).trace);
    }
}
