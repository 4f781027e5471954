//! Numbers that come out of runs of a fleet, by counting.

use super::Method::Simulation;
use super::{Check, Effort, Tolerance, chains};
use crate::campaign::{Campaign, CurvePoint, Summary};
use crate::estimate::Estimate;
use crate::exact::{mbr_repair_share, msr_repair_share};
use crate::fleet::{Attack, Fleet, Hostile, Repair, RepairTime, Traffic};
use crate::random::Law;
use crate::time::{DAY, HOUR, Nanoseconds, YEAR};

const CONFIDENCE: f64 = 0.99;
const SEED: u64 = 20_170_926;

const HOURS: f64 = HOUR as f64;
const DAYS: f64 = DAY as f64;

fn run(fleet: Fleet, effort: Effort, full: u64, short: u64) -> Summary {
    let replications = if effort == Effort::Full { full } else { short };
    let campaign = Campaign { fleet, protocol: None, seed: SEED, replications };
    campaign.summary(&campaign.run(), CONFIDENCE)
}

fn add(
    checks: &mut Vec<Check>,
    effort: Effort,
    what: impl Into<String>,
    published: f64,
    estimate: Estimate,
    (margin, half_width_max): (f64, f64),
) {
    let half_width_max = if effort == Effort::Full { half_width_max } else { f64::INFINITY };
    let tolerance = Tolerance::Interval { margin, half_width_max };
    checks.push(Check::estimated(Simulation, what, published, estimate, tolerance));
}

/// One group on `n` machines that are replaced at once; nothing moves and nobody attacks.
fn one_group(n: u8, k: u8, life: Law) -> Fleet {
    let at_once = Repair::Each(RepairTime::Law(Law::Fixed(0.0)));
    Fleet::of_one_group(n, k, life, at_once, YEAR)
}

/// 8 racks of 4 nodes; 500 stripes RS(3,2), each in three racks. A disk dies of its own (Weibull)
/// or with its node; one repair at a time reads two chunks of 256 MiB for each lost one over a link
/// of 1 MiB/s.
pub(super) fn simedc(checks: &mut Vec<Check>, effort: Effort) {
    let disk = Law::Weibull { shape: 1.12, scale: 87_600.0 * HOURS, location: 0.0 };
    let node = Law::Exponential { mean: 91_250.0 * HOURS };
    let mebibyte = 1 << 20;
    let moved = 2 * 256 * mebibyte;
    let fleet = Fleet {
        nodes: 32,
        zones: 8,
        groups: 500,
        lives: vec![disk, node],
        repair: Repair::OneByOne(RepairTime::BytesPerSecond(mebibyte as f64)),
        traffic: Traffic { d: 2, repair_bytes: moved, decode_bytes: moved },
        horizon: 10 * YEAR,
        ..one_group(3, 2, Law::Never)
    };
    let any = run(fleet, effort, 30_000, 1000).loss_of_any;
    let what = "P(any loss) in 10 y, 500 stripes RS(3,2), 8 x 4 nodes";
    add(checks, effort, what, 0.202, any, (0.006, 0.04));
}

/// RAID of 7+1 drives with the field distributions of the paper, no latent defects.
pub(super) fn raid_double_failures(checks: &mut Vec<Check>, effort: Effort) {
    let life = Law::Weibull { shape: 1.12, scale: 461_386.0 * HOURS, location: 0.0 };
    let restore = Law::Weibull { shape: 2.0, scale: 12.0 * HOURS, location: 6.0 * HOURS };
    let fleet = Fleet {
        repair: Repair::Each(RepairTime::Law(restore)),
        horizon: 10 * YEAR,
        ..one_group(8, 7, life)
    };
    let of_one = run(fleet, effort, 2_000_000, 60_000).loss_of_a_group;
    let of_1000 = Estimate {
        value: 1000.0 * of_one.value,
        interval: of_one.interval.map(|end| 1000.0 * end),
        ..of_one
    };
    let what = "double failures of 1000 groups 7+1 in 10 y";
    add(checks, effort, what, 0.263, of_1000, (0.08 * 0.263, 0.15));
}

/// The closed forms of row P13, by drawing machines.
pub(super) fn static_leak(checks: &mut Vec<Check>, effort: Effort) {
    let attack = Attack {
        hostile: Hostile::Exactly(100),
        k_key: 8,
        d_key: 8,
        epoch: None,
        growth: 0.0,
        withholds: false,
    };
    let fleet = Fleet {
        nodes: 1000,
        groups: 10_000,
        lives: vec![],
        attack: Some(attack),
        ..one_group(15, 8, Law::Never)
    };
    let summary = run(fleet, effort, 300, 16);
    let what = "P(leak) of one object, drawn";
    add(checks, effort, what, 2.720_449_71e-5, summary.leak_of_a_group, (0.0, 0.4));
    let what = "P(leak) of any of 1e4 objects, drawn";
    add(checks, effort, what, 0.238_182_8, summary.leak_of_any, (0.0, 0.4));
}

/// 20 machines that live 180 days; every lost share of a 1 GiB object is repaired at once.
pub(super) fn eager_repair(checks: &mut Vec<Check>, effort: Effort) {
    let gibibyte = f64::from(1 << 30);
    for (code, share, published) in [
        ("RS", 1.0, 40.556),
        ("MSR(d=19)", msr_repair_share(10, 19), 7.7056),
        ("MBR(d=19)", mbr_repair_share(10, 19), 5.3142),
    ] {
        let moved = (share * gibibyte).round() as u64;
        let fleet = Fleet {
            traffic: Traffic { d: 19, repair_bytes: moved, decode_bytes: moved },
            horizon: 20 * YEAR,
            ..one_group(20, 10, Law::Exponential { mean: 180.0 * DAYS })
        };
        let summary = run(fleet, effort, 128, 16);
        let Some(per_node) = summary.repair_bytes_per_node_year else { continue };
        let of_object = |bytes: f64| 20.0 * bytes / gibibyte;
        let estimate = Estimate {
            value: of_object(per_node.value),
            interval: per_node.interval.map(of_object),
            ..per_node
        };
        add(checks, effort, format!("GiB moved a year, {code}"), published, estimate, (0.0, 0.02));
    }
}

/// Machines that stay for 30 days, a tenth of them hostile, replaced at once.
fn accumulation(epoch: Option<Nanoseconds>) -> Fleet {
    let hostile = Hostile::Each(chains::ACCUMULATION.hostile);
    Fleet {
        attack: Some(Attack {
            hostile,
            k_key: 10,
            d_key: 11,
            epoch,
            growth: 0.0,
            withholds: false,
        }),
        ..one_group(20, 10, Law::Exponential { mean: 30.0 * DAYS })
    }
}

/// The leak of row S3 over a year, with a refresh every so many days.
pub(super) fn leak_curve(refresh_days: Option<u64>) -> Vec<CurvePoint> {
    let epoch = refresh_days.map(|days| days * DAY);
    run(accumulation(epoch), Effort::Full, 20_000, 0).leak_curve
}

/// The closed forms of row S3, machine by machine.
pub(super) fn leak_accumulation(checks: &mut Vec<Check>, effort: Effort) {
    let model = chains::ACCUMULATION;
    let fleet = accumulation;
    let without = run(fleet(None), effort, 20_000, 500).leak_of_a_group;
    let what = "P(leak) in a year without refresh, simulated; exact: left";
    add(checks, effort, what, model.without_refresh(365.0), without, (0.0, 0.01));
    let with = run(fleet(Some(30 * DAY)), effort, 40_000, 1000).leak_of_a_group;
    let what = "P(leak) in a year, refresh every 30 d, simulated; exact: left";
    add(checks, effort, what, model.with_refresh(365.0, 30.0), with, (0.0, 0.15));
}
