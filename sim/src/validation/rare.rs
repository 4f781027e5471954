//! The numbers of the chains again, by simulating them with bias.

use super::Method::ImportanceSampling as Method;
use super::chains::{CODEX, MEAN_TIMES, RECOVERIES, codex_group, mean_time_group};
use super::{Check, Effort, Tolerance};
use crate::estimate::Estimate;
use crate::exact::{Redundancy, RepairRates};
use crate::rare::ImportanceSampling;

const CONFIDENCE: f64 = 0.99;
const SEED: u64 = 19_940_802;
const HOURS_PER_YEAR: f64 = 8760.0;

fn add(
    checks: &mut Vec<Check>,
    effort: Effort,
    what: String,
    published: f64,
    estimate: Option<Estimate>,
    (margin, half_width_max): (f64, f64),
) {
    let half_width_max = if effort == Effort::Full { half_width_max } else { f64::INFINITY };
    let tolerance = Tolerance::Interval { margin, half_width_max };
    // Nothing lost is nothing known.
    let unknown = Estimate { value: f64::NAN, interval: [f64::NAN; 2], confidence: CONFIDENCE };
    let estimate = estimate.unwrap_or(unknown);
    checks.push(Check::estimated(Method, what, published, estimate, tolerance));
}

fn mean_time(group: &Redundancy, effort: Effort, confidence: f64) -> Option<Estimate> {
    let chain = group.chain();
    let sampling = ImportanceSampling::new(&chain, |state| group.lost_slots(state));
    let cycles = if effort == Effort::Full { 400_000 } else { 4000 };
    Some(sampling.mean_time_to_loss(SEED, cycles, confidence)?.estimate)
}

pub(super) fn mean_times(checks: &mut Vec<Check>, effort: Effort) {
    for (n, k, mttf, mttr, parallel, published, unit) in MEAN_TIMES {
        let estimate = mean_time(&mean_time_group(n, k, mttf, mttr, parallel), effort, CONFIDENCE);
        let kind = if parallel { "par" } else { "ser" };
        let what = format!("MTTDL in h, {kind} ({n}, {k}), MTTF {mttf} h, simulated");
        add(checks, effort, what, published, estimate, (unit / 2.0, 0.02));
    }
}

pub(super) fn codex_durability(checks: &mut Vec<Check>, effort: Effort) {
    for (k, m, threshold, published, unit) in CODEX {
        let group = codex_group(k, m, threshold);
        let chain = group.chain();
        let sampling = ImportanceSampling::new(&chain, |state| group.lost_slots(state));
        let paths = if effort == Effort::Full { 60_000 } else { 400 };
        let weighted = sampling.loss_probability(HOURS_PER_YEAR, SEED, paths, CONFIDENCE);
        let estimate = weighted.map(|weighted| weighted.estimate);
        let what = format!("P(loss) in a year, {k}+{m}, l0 = {threshold}, simulated");
        add(checks, effort, what, published, estimate, (unit / 2.0, 0.05));
    }
}

/// From two mean times, each with an interval of half the error, so that the exponent's holds.
pub(super) fn recovery_rates(checks: &mut Vec<Check>, effort: Effort) {
    let confidence = 1.0 - (1.0 - CONFIDENCE) / 2.0;
    for (name, n, k, exponent) in RECOVERIES {
        let at = |rate| {
            let repair = RepairRates::Each { rate, detection_rate: f64::INFINITY };
            mean_time(&Redundancy { n, k, failure_rate: 1.0, repair }, effort, confidence)
        };
        let estimate = at(1e4).zip(at(1e5)).map(|(slow, fast)| Estimate {
            value: (fast.value / slow.value).log10(),
            interval: [
                (fast.interval[0] / slow.interval[1]).log10(),
                (fast.interval[1] / slow.interval[0]).log10(),
            ],
            confidence: CONFIDENCE,
        });
        let what = format!("exponent of MTTF in the recovery rate, {name}, simulated");
        add(checks, effort, what, exponent, estimate, (0.05, 0.0125));
    }
}
