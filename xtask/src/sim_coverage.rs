//! `sim-coverage`: whether intervals of the simulator hold the true value as often as they say.
//!
//! Every estimate is made a thousand times with other seeds, beside the exact answer of a chain. An
//! interval of 95 % must hold it in 93 to 97 % of the repetitions.

use anyhow::{Context, Result};
use kakera_sim::campaign::Campaign;
use kakera_sim::exact::{Redundancy, RepairRates};
use kakera_sim::fleet::{Fleet, Repair, RepairTime};
use kakera_sim::random::Law;
use kakera_sim::rare::{CrossingSampling, ImportanceSampling, split_loss_probability};
use kakera_sim::time::HOUR;

use crate::report::{Goal, Report};

const CONFIDENCE: f64 = 0.95;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Repetitions of every estimate
    #[arg(long, default_value_t = 1000)]
    repetitions: u64,
}

pub(crate) fn run(options: &Options) -> Result<Report> {
    let mut report = Report::new("sim-coverage");
    let rare = group(6, 3, 0.01, 10.0);
    let chain = rare.chain();
    let sampling = ImportanceSampling::new(&chain, |state| rare.lost_slots(state));
    let (mean, within) = (rare.mean_time_to_loss()?, rare.loss_probability(100.0));
    let common = group(6, 3, 0.01, 0.1);
    let fleet = fleet(6, 3, 100.0, 10.0);
    let lost = common.loss_probability(100.0);
    let crossings = CrossingSampling::new(&fleet)?;
    let mut covered = [0u64; 5];
    for seed in 0..options.repetitions {
        let time = sampling.mean_time_to_loss(seed, 4000, CONFIDENCE).context("no loss")?;
        covered[0] += u64::from(time.estimate.holds(mean));
        let loss = sampling.loss_probability(100.0, seed, 2000, CONFIDENCE).context("no loss")?;
        covered[1] += u64::from(loss.estimate.holds(within));
        let split = split_loss_probability(&fleet, seed, 100, CONFIDENCE)?;
        covered[2] += u64::from(split.estimate.holds(lost));
        let crossed = crossings.loss_probability(seed, 1000, CONFIDENCE);
        covered[3] += u64::from(crossed.estimate.holds(lost));
        let campaign = Campaign { fleet: fleet.clone(), protocol: None, seed, replications: 2000 };
        let counted = campaign.summary(&campaign.run(), CONFIDENCE).loss_of_any;
        covered[4] += u64::from(counted.holds(lost));
    }
    let share = |covered: u64| covered as f64 / options.repetitions as f64;
    let names = ["importance_mean_time", "importance_probability", "splitting", "crossings"];
    for (name, covered) in names.into_iter().zip(covered) {
        report.add(name, share(covered)).goal(Goal::AtLeast(0.93));
        report.add(format!("{name}_not_too_wide"), share(covered)).goal(Goal::AtMost(0.97));
    }
    // Clopper and Pearson's interval is never too narrow, and a little too wide.
    report.add("counting", share(covered[4])).goal(Goal::AtLeast(0.93));
    Ok(report)
}

fn group(n: u32, k: u32, failure_rate: f64, rate: f64) -> Redundancy {
    let repair = RepairRates::Each { rate, detection_rate: f64::INFINITY };
    Redundancy { n, k, failure_rate, repair }
}

/// The group as a fleet, its mean life and repair in hours, for 100 h.
fn fleet(n: u8, k: u8, life: f64, repair: f64) -> Fleet {
    let hours = |mean: f64| Law::Exponential { mean: mean * HOUR as f64 };
    let repair = Repair::Each(RepairTime::Law(hours(repair)));
    Fleet::of_one_group(n, k, hours(life), repair, 100 * HOUR)
}
