//! Numbers that are formulas.

use super::Method::{Chain, ClosedForm};
use super::Tolerance::{Absolute, Printed, Relative};
use super::{Check, Effort, Tolerance};
use crate::exact::{
    Binomial, CountLaw, Hypergeometric, Poisson, Redundancy, RepairRates, mbr_repair_share,
    msr_repair_share,
};

/// Adds one check.
fn add(
    checks: &mut Vec<Check>,
    what: impl Into<String>,
    published: f64,
    reproduced: f64,
    tolerance: Tolerance,
) {
    checks.push(Check::exact(ClosedForm, what, published, reproduced, tolerance));
}

/// A segment is durable if at most n - k of its pieces are lost, and these are Poisson with mean
/// 0.1 n.
pub(super) fn storj_durability(checks: &mut Vec<Check>, _: Effort) {
    for (k, n, percent) in [
        (2, 4, 99.207_366_813_274_62),
        (20, 40, 99.999_999_807_694_15),
        (100, 150, 99.999_999_999_973_57),
    ] {
        let durability = Poisson { mean: 0.1 * n as f64 }.at_most(n - k);
        let what = format!("P(durable), (k, n) = ({k}, {n})");
        add(checks, what, percent / 100.0, durability, Absolute(1e-14));
    }
}

/// Repair traffic a month over stored bytes: a repair, due when m of n pieces are left, reads k
/// pieces and writes n - m, and comes every MTTF ln(n/m).
pub(super) fn storj_repair(checks: &mut Vec<Check>, _: Effort) {
    for (mttf_months, k, n, m, ratio) in [
        (1.0, 20.0, 40.0, 35.0, 9.36),
        (6.0, 20.0, 40.0, 30.0, 0.87),
        (12.0, 20.0, 40.0, 25.0, 0.31),
        (1.0, 30.0, 60.0, 35.0, 3.40),
        (6.0, 30.0, 70.0, 40.0, 0.60),
        (12.0, 30.0, 80.0, 45.0, 0.31),
        (1.0, 40.0, 80.0, 60.0, 5.21),
        (6.0, 40.0, 120.0, 50.0, 0.52),
        (12.0, 40.0, 120.0, 45.0, 0.24),
    ] {
        let interval_months: f64 = mttf_months * f64::ln(n / m);
        let reproduced = (1.0 + (n - m) / k) / interval_months;
        let what =
            format!("repair ratio a month, MTTF {mttf_months} months, (k, n, m) = ({k}, {n}, {m})");
        add(checks, what, ratio, reproduced, Printed(0.01));
        // The formula takes pieces for a continuum; the chain loses them one by one, at rate i / MTTF
        // while there are i.
        let exact_months: f64 = (m as u32 + 1..=n as u32).map(|i| mttf_months / f64::from(i)).sum();
        let what = format!("the same, with the chain's time from {n} pieces to {m}");
        add(checks, what, reproduced, (1.0 + (n - m) / k) / exact_months, Relative(0.02));
        // From m pieces on, the repair races k to m further losses; without it, all begins anew.
        let rebuild_months = 12.0 * 12.0 / 8760.0;
        let fatal: f64 = (k as u32..=m as u32)
            .map(|i| f64::from(i) * rebuild_months / mttf_months)
            .map(|losses| losses / (1.0 + losses))
            .product();
        let years = (exact_months + rebuild_months * (1.0 - fatal)) / fatal / 12.0;
        let group = Redundancy {
            n: n as u32,
            k: k as u32,
            failure_rate: mttf_months.recip(),
            repair: RepairRates::Together {
                rate: rebuild_months.recip(),
                threshold: (n - m) as u32,
                detection_rate: f64::INFINITY,
            },
        };
        let chain = group.mean_time_to_loss().map_or(f64::NAN, |months| months / 12.0);
        let what = format!(
            "losses a year, MTTF {mttf_months} months, (k, n, m) = ({k}, {n}, {m}), rebuilt in 12 h"
        );
        checks.push(Check::exact(Chain, what, years.recip(), chain.recip(), Relative(1e-9)));
    }
}

/// Time is cut into spans of one rebuild; in each, drives fail independently.
pub(super) fn backblaze_durability(checks: &mut Vec<Check>, _: Effort) {
    for (shards, percent_a_year, rebuild_days, failures, published) in [
        (6, 10.0, 1.0, 3, 1.500e-7),
        (6, 10.0, 1.0, 2, 4.105e-4),
        (6, 10.0, 1.0, 4, 3.082e-11),
        (20, 0.405, 6.5, 4, 7.34e-12),
    ] {
        let p = percent_a_year / 100.0 * rebuild_days / 365.0;
        let in_one = Binomial { n: shards, p }.at_least(failures);
        let spans: f64 = 365.0 / rebuild_days;
        let reproduced = -(spans * (-in_one).ln_1p()).exp_m1();
        let what = format!(
            "P({failures} of {shards} drives fail in one rebuild) in a year, {percent_a_year}% a \
             year, {rebuild_days} d"
        );
        add(checks, what, published, reproduced, Relative(0.005));
    }
}

/// A file is there if enough of its distinct machines are, out of a million of which a tenth is
/// down.
pub(super) fn erasure_replication(checks: &mut Vec<Check>, _: Effort) {
    let down = |drawn| Hypergeometric { population: 1_000_000, marked: 100_000, drawn };
    let (copies, coded) = (down(2).at_most(1), down(32).at_most(16));
    add(checks, "P(available), 2 copies", 0.99, copies, Printed(0.01));
    add(checks, "P(available), 16 of 32", 0.999_999_998_719, coded, Absolute(1e-9));
}

/// 50 of 5000 machines are lost at once; data is lost if one of the sets of three lies in them.
pub(super) fn copysets(checks: &mut Vec<Check>, _: Effort) {
    let lost = Hypergeometric { population: 5000, marked: 50, drawn: 3 }.probability(3);
    let any_of = |sets: f64| -(sets * (-lost).ln_1p()).exp_m1();
    add(checks, "P(loss), 1e7 random sets of 3", 0.999_92, any_of(1e7), Absolute(0.01));
    let permutation = any_of(f64::floor(5000.0 / 3.0));
    add(checks, "P(loss), one permutation", 0.001_57, permutation, Relative(0.05));
}

/// Each of 48 fragments survives with 40 %; any 5 give the object back.
pub(super) fn glacier(checks: &mut Vec<Check>, _: Effort) {
    let durability = Binomial { n: 48, p: 0.4 }.at_least(5);
    add(checks, "P(durable), 5 of 48, 60% lost", 0.999_999_010, durability, Absolute(1e-7));
}

/// Bytes that a repair moves, per byte of the file.
pub(super) fn regenerating_codes(checks: &mut Vec<Check>, _: Effort) {
    for (n, k, d, msr, mbr, msr_unit, mbr_unit) in [
        (14, 10, 13, 0.325, 0.152_94, 1e-3, 1e-5),
        (20, 10, 19, 0.19, 0.131_03, 1e-2, 1e-5),
        (9, 6, 8, 0.4444, 0.2424, 1e-4, 1e-4),
        (16, 8, 12, 0.3, 0.176_47, 1e-1, 1e-5),
    ] {
        let what = |code| format!("repair / file, {code} ({n}, {k}, {d})");
        add(checks, what("MSR"), msr, msr_repair_share(k, d), Printed(msr_unit));
        add(checks, what("MBR"), mbr, mbr_repair_share(k, d), Printed(mbr_unit));
    }
}

/// The attacker owns 100 of 1000 machines and reads an object with 8 of its 15 shares.
pub(super) fn static_leak(checks: &mut Vec<Check>, _: Effort) {
    let one = Hypergeometric { population: 1000, marked: 100, drawn: 15 }.at_least(8);
    add(checks, "P(leak) of one object", 2.720_449_71e-5, one, Relative(1e-9));
    let any = -(1e4 * (-one).ln_1p()).exp_m1();
    add(checks, "P(leak) of any of 1e4 objects", 0.238_182_8, any, Printed(1e-7));
}

/// Machines drawn without putting back until one more healthy piece than can be spared was hit: the
/// mean of a negative hypergeometric law, in days of churn.
pub(super) fn storj_priority(checks: &mut Vec<Check>, _: Effort) {
    let (nodes, k, churn_per_node_day) = (24_000.0, 29.0, 5.435e-5);
    for (healthy, days) in [(34.0, 3154.0), (40.0, 5385.0)] {
        let fatal: f64 = healthy - k + 1.0;
        let others_hit = fatal * (nodes - healthy) / (healthy + 1.0);
        let reproduced = (others_hit + fatal) / (nodes * churn_per_node_day);
        let what = format!("mean days until fewer than 29 of {healthy} pieces are left");
        add(checks, what, days, reproduced, Absolute(1.0));
    }
}

/// 20 shares, any 10 of which give the data back, each on two machines; half of all machines go.
/// Copying repairs a share of which a copy is left, and no other; regeneration repairs any while 10
/// are left.
pub(super) fn mass_loss_copies(checks: &mut Vec<Check>, _: Effort) {
    let shares_left = Binomial { n: 20, p: 1.0 - 0.5 * 0.5 };
    let lost = shares_left.at_most(9);
    let whole = shares_left.probability(20);
    let tolerance = Printed(0.001);
    add(checks, "P(lost)", 0.004, lost, tolerance);
    add(checks, "P(degraded for ever), copies only", 0.993, 1.0 - lost - whole, tolerance);
    add(checks, "P(repairable to full), copies only", 0.003, whole, tolerance);
    let regenerated = shares_left.at_least(10);
    let degraded = (1.0 - lost - regenerated).max(0.0);
    add(checks, "P(degraded for ever), regeneration", 0.0, degraded, Absolute(1e-15));
}

/// A share f of all machines goes at once; fewer than k of n shares are left.
pub(super) fn mass_loss(checks: &mut Vec<Check>, _: Effort) {
    for (share, n, k, published, unit) in [
        (0.3, 20, 10, 1.71e-2, 1e-4),
        (0.3, 20, 7, 2.61e-4, 1e-6),
        (0.3, 30, 10, 7.28e-6, 1e-8),
        (0.5, 20, 10, 4.12e-1, 1e-3),
    ] {
        let reproduced = Binomial { n, p: 1.0 - share }.at_most(k - 1);
        let what = format!("P(lost), ({n}, {k}), {}% of machines lost", share * 100.0);
        add(checks, what, published, reproduced, Printed(unit));
    }
}

/// After the i-th of 4000 writes of 1 KiB, i KiB are copied; a delta is the write itself.
pub(super) fn full_copy_sync(checks: &mut Vec<Check>, _: Effort) {
    let (writes, bytes) = (4000u64, 1024u64);
    let full: u64 = (1..=writes).map(|chain| chain * bytes).sum();
    add(checks, "bytes of 4000 syncs, full copies", 8.2e9, full as f64, Relative(0.02));
    let delta = (writes * bytes) as f64;
    add(checks, "bytes of 4000 syncs, deltas", 4.1e6, delta, Relative(0.02));
}
