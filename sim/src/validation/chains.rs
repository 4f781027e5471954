//! Numbers that are solutions of Markov chains.

use super::Method::{Chain, ClosedForm};
use super::Tolerance::{Absolute, Printed, Relative};
use super::{Check, Effort, Tolerance};
use crate::exact::{Binomial, CountLaw, LeakModel, Redundancy, RepairRates};

const HOURS_PER_YEAR: f64 = 8760.0;

fn add(
    checks: &mut Vec<Check>,
    what: impl Into<String>,
    published: f64,
    reproduced: f64,
    tolerance: Tolerance,
) {
    checks.push(Check::exact(Chain, what, published, reproduced, tolerance));
}

/// A chain that cannot be lost has no mean time: NaN, which no tolerance lets pass.
fn mean_time(group: Redundancy) -> f64 {
    group.mean_time_to_loss().unwrap_or(f64::NAN)
}

/// (n, k, MTTF, MTTR) in hours, `par` or `ser`, mean hours from a full group to the loss, and the
/// unit of the last printed digit.
pub(super) const MEAN_TIMES: [(u32, u32, f64, f64, bool, f64, f64); 6] = [
    (3, 1, 1000.0, 10.0, true, 3_451_833.33, 0.01),
    (3, 1, 1000.0, 10.0, false, 1_735_166.67, 0.01),
    (9, 6, 87_600.0, 24.0, true, 8.477_367_538e12, 1e3),
    (9, 6, 87_600.0, 24.0, false, 1.414_449_661e12, 1e3),
    (14, 10, 35_040.0, 12.0, true, 2.559_266_07e14, 1e6),
    (6, 3, 2000.0, 24.0, true, 20_976_282.7, 0.1),
];

/// The group of a row of [`MEAN_TIMES`].
pub(super) fn mean_time_group(n: u32, k: u32, mttf: f64, mttr: f64, parallel: bool) -> Redundancy {
    let rate = mttr.recip();
    let repair = if parallel {
        RepairRates::Each { rate, detection_rate: f64::INFINITY }
    } else {
        RepairRates::OneByOne { rate }
    };
    Redundancy { n, k, failure_rate: mttf.recip(), repair }
}

pub(super) fn mean_times(checks: &mut Vec<Check>, _: Effort) {
    for (n, k, mttf, mttr, parallel, published, unit) in MEAN_TIMES {
        let reproduced = mean_time(mean_time_group(n, k, mttf, mttr, parallel));
        let kind = if parallel { "par" } else { "ser" };
        let what = format!("MTTDL in h, {kind} ({n}, {k}), MTTF {mttf} h, MTTR {mttr} h");
        add(checks, what, published, reproduced, Printed(unit));
    }
}

/// (k, m, l0, P(loss) in a year, unit of the last printed digit).
pub(super) const CODEX: [(u32, u32, u32, f64, f64); 9] = [
    (18, 9, 1, 3.54e-10, 1e-12),
    (16, 8, 1, 2.28e-9, 1e-11),
    (7, 7, 1, 2.83e-10, 1e-12),
    (6, 6, 1, 3.64e-9, 1e-11),
    (4, 6, 1, 5.77e-10, 1e-12),
    (28, 14, 5, 2.48e-10, 1e-12),
    (26, 13, 5, 1.45e-9, 1e-11),
    (8, 12, 5, 5.3e-12, 1e-13),
    (6, 9, 5, 2.4e-8, 1e-9),
];

/// Lost slots are noticed one by one, each after 24 h in the mean; while l0 are, a repair of 24 h in
/// the mean is under way and brings everything back.
pub(super) fn codex_group(k: u32, m: u32, threshold: u32) -> Redundancy {
    let (n, day_rate) = (k + m, 1.0 / 24.0);
    let repair = RepairRates::Together { rate: day_rate, threshold, detection_rate: day_rate };
    Redundancy { n, k, failure_rate: 1.0 / HOURS_PER_YEAR, repair }
}

pub(super) fn codex_durability(checks: &mut Vec<Check>, _: Effort) {
    for (k, m, threshold, published, unit) in CODEX {
        let reproduced = codex_group(k, m, threshold).loss_probability(HOURS_PER_YEAR);
        let what = format!("P(loss) in a year, {k}+{m}, l0 = {threshold}");
        add(checks, what, published, reproduced, Printed(unit));
    }
}

pub(super) fn recovery_rates(checks: &mut Vec<Check>, _: Effort) {
    for (name, n, k, exponent) in RECOVERIES {
        let what = format!("exponent of MTTF in the recovery rate, {name}");
        add(checks, what, exponent, recovery_exponent(n, k, 0.0), Absolute(0.05));
    }
}

/// How much the mean time grows when recovery gets ten times as fast, as a power.
fn recovery_exponent(n: u32, k: u32, burst_rate: f64) -> f64 {
    let time = |rate: f64| mean_time_with_bursts(n, k, rate, burst_rate);
    (time(1e5) / time(1e4)).log10()
}

/// (name, n, k, exponent) of the groups of Ford et al.
pub(super) const RECOVERIES: [(&str, u32, u32, f64); 2] =
    [("R = 3", 3, 1, 2.0), ("RS(9,4)", 13, 9, 4.0)];

/// The group of unit failure rate, struck by bursts too, each of which takes every live slot with
/// probability 0.1.
pub(super) fn mean_time_with_bursts(n: u32, k: u32, recovery_rate: f64, burst_rate: f64) -> f64 {
    let repair = RepairRates::Each { rate: recovery_rate, detection_rate: f64::INFINITY };
    let mut chain = Redundancy { n, k, failure_rate: 1.0, repair }.chain();
    for lost in 0..=n - k {
        let alive = u64::from(n - lost);
        let burst = Binomial { n: alive, p: 0.1 };
        for struck in 1..=alive {
            let after = (u64::from(lost) + struck).min(chain.loss() as u64);
            chain.add(lost as usize, after as usize, burst_rate * burst.probability(struck));
        }
    }
    chain.mean_time_to_loss().unwrap_or(f64::NAN)
}

pub(super) fn tahoe_reliability(checks: &mut Vec<Check>, _: Effort) {
    let [unmaintained, maintained] = tahoe_dead(true);
    let what = "P(dead) after 5 y, unmaintained";
    add(checks, what, 0.033_591_004_555_395_27, unmaintained, Relative(1e-9));
    let what = "P(dead) after 5 y, maintained";
    add(checks, what, 3.298_399_581_917_754e-8, maintained, Relative(1e-9));
}

/// The probabilities that fewer than k = 3 of N = 10 shares are left after 5 years, without and with
/// maintenance, in steps of 100 000 s: when a month of 31 d is over, fewer than R = 7 shares, but
/// at least k, become N.
///
/// The published matrix has a row of zeros for no share, so that such a file counts as dead for one
/// step only; `forgets_empty` does the same.
fn tahoe_dead(forgets_empty: bool) -> [f64; 2] {
    let (k, repair_below, n) = (3, 7, 10);
    let (step, month, span) = (100_000u64, 31 * 86_400u64, 5 * 365 * 86_400u64);
    let survives = (-(step as f64) / (8.0 * 365.0 * 86_400.0)).exp();
    let mut unmaintained = vec![0.0; n + 1];
    unmaintained[n] = 1.0;
    let mut maintained = unmaintained.clone();
    let mut checked = 0;
    for now in (0..span + step).step_by(step as usize) {
        for shares in [&mut unmaintained, &mut maintained] {
            if forgets_empty {
                shares[0] = 0.0;
            }
            *shares = decay(shares, survives);
        }
        if now - checked > month - 1 {
            checked = now;
            let repaired: f64 = maintained[k..repair_below].iter_mut().map(std::mem::take).sum();
            maintained[n] += repaired;
        }
    }
    [unmaintained, maintained].map(|shares| shares[..k].iter().sum())
}

/// The distribution of the shares that are left when each survives with the same probability.
fn decay(shares: &[f64], survives: f64) -> Vec<f64> {
    let mut after = vec![0.0; shares.len()];
    for (count, p) in shares.iter().enumerate() {
        let left = Binomial { n: count as u64, p: survives };
        (0..=count).for_each(|i| after[i] += p * left.probability(i as u64));
    }
    after
}

/// (20, 10), a tenth of all machines hostile, lives of 30 d; in days.
pub(super) const ACCUMULATION: LeakModel =
    LeakModel { n: 20, k: 10, hostile: 0.1, replacement_rate: 1.0 / 30.0 };

pub(super) fn leak_accumulation(checks: &mut Vec<Check>, _: Effort) {
    let without = ACCUMULATION.without_refresh(365.0);
    let what = "P(leak) in a year without refresh";
    checks.push(Check::exact(ClosedForm, what, 0.993, without, Relative(0.01)));
    let summed = ACCUMULATION.epochs_summed(365.0, 30.0);
    let what = "P(leak) in a year, refresh every 30 d, sum over epochs";
    checks.push(Check::exact(ClosedForm, what, 1.75e-2, summed, Relative(0.01)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the page of `papers/tahoe-reliability` says of the published matrix.
    #[test]
    fn files_without_a_share_stay_dead() {
        let [unmaintained, maintained] = tahoe_dead(false);
        assert!((unmaintained - 0.034_061).abs() < 5e-7, "{unmaintained}");
        assert!((maintained - 3.4697e-8).abs() < 5e-13, "{maintained}");
    }

    /// The source's second claim, which has no number: with bursts faster recovery hardly helps.
    #[test]
    fn bursts_take_the_worth_of_fast_recovery() {
        for (n, k) in [(3, 1), (13, 9)] {
            assert!(recovery_exponent(n, k, 0.01) < 0.01);
        }
    }

    /// What the page of `papers/leak-accumulation` says beside the usual estimate.
    #[test]
    fn the_exact_leak_with_refresh() {
        let exact = ACCUMULATION.with_refresh(365.0, 30.0);
        assert!((exact - 1.5865e-2).abs() < 5e-7, "{exact}");
    }
}
