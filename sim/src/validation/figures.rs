//! Charts for the pages in `papers/`.

use super::chains::{self, ACCUMULATION, RECOVERIES};
use super::{Check, Effort, Row, Tolerance, closed_forms, simulated};
use crate::campaign::CurvePoint;
use crate::exact::{Binomial, CountLaw, mbr_repair_share, msr_repair_share};
use crate::figure::{Chart, Point, Range, Series};

/// A row of the table and its chart.
type Figure = (&'static str, fn() -> Chart);

/// Rows with a chart of more than their numbers.
const FIGURES: [Figure; 6] = [
    ("P2", repair_ratios),
    ("P9", recovery),
    ("P11", regenerating_codes),
    ("P13", static_leak),
    ("S2", mass_loss),
    ("S3", leak_accumulation),
];

/// The chart of a row: its own, or its numbers beside each other.
pub(super) fn of_row(row: &Row) -> Chart {
    match FIGURES.iter().find(|(id, _)| *id == row.id) {
        Some((_, draw)) => draw(),
        None => {
            comparison(row.id, &row.checks(Effort::Full), "row of the table below, from the top")
        }
    }
}

/// Without the numbers of other units beside the published ones.
fn repair_ratios() -> Chart {
    let mut checks = Vec::new();
    closed_forms::storj_repair(&mut checks, Effort::Full);
    checks.retain(|check| matches!(check.tolerance, Tolerance::Printed(_)));
    comparison("P2", &checks, "repair ratio of the table below, from the top")
}

/// Published numbers and ours. Of probabilities near one what is missing to one is shown.
fn comparison(id: &str, checks: &[Check], x_label: &str) -> Chart {
    let near_one = checks.iter().all(|check| (0.9..1.0).contains(&check.published));
    let shown = |value: f64| if near_one { 1.0 - value } else { value };
    let numbered = || (1..).map(f64::from).zip(checks);
    // Side by side, or one would hide the other.
    let published = numbered().map(|(x, check)| Point::new(x - 0.1, shown(check.published)));
    let here = numbered().map(|(x, check)| {
        let interval = check.interval.map(|ends| ends.map(shown));
        Point { interval, ..Point::new(x + 0.1, shown(check.reproduced)) }
    });
    let positive =
        || checks.iter().map(|check| shown(check.published)).filter(|&value| value > 0.0);
    let (least, most) = (positive().fold(f64::INFINITY, f64::min), positive().fold(0.0, f64::max));
    let points = |name: &str, points| Series { name: name.into(), points, joined: false };
    Chart {
        title: format!("{id}: published and computed again"),
        x_label: x_label.into(),
        y_label: if near_one { "1 - the number" } else { "the number, in its unit" }.into(),
        y_range: if most > 20.0 * least { Range::PowersOfTen } else { Range::FromZero },
        series: vec![
            points("published", published.collect()),
            points("here, 99 % interval", here.collect()),
        ],
    }
}

fn line(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Series {
    let points = points.into_iter().map(|(x, y)| Point::new(x, y)).collect();
    Series { name: name.into(), points, joined: true }
}

/// Must be read with its page: (20, 10), a tenth hostile, lives of 30 days.
fn leak_accumulation() -> Chart {
    let days = |years: f64| years * 365.0;
    let exact = |epoch: Option<f64>| {
        move |year: f64| match epoch {
            None => ACCUMULATION.without_refresh(days(year)),
            Some(epoch) => ACCUMULATION.with_refresh(days(year), epoch),
        }
    };
    let parts = (1..=64).map(|part| f64::from(part) / 64.0);
    let of = |epoch| parts.clone().map(move |year| (year, exact(epoch)(year)));
    let counted = |name: &str, curve: Vec<CurvePoint>| Series {
        name: name.into(),
        points: curve
            .into_iter()
            .skip(3)
            .step_by(4)
            .map(|point| Point { interval: point.interval, ..Point::new(point.years, point.value) })
            .collect(),
        joined: false,
    };
    Chart {
        title: "Leak of a secret, 99 % intervals".into(),
        x_label: "years since the start".into(),
        y_label: "P(the secret has leaked)".into(),
        y_range: Range::PowersOfTen,
        series: vec![
            line("never refreshed", of(None)),
            line("every 30 d", of(Some(30.0))),
            counted("counted", simulated::leak_curve(None)),
            counted("counted, 30 d", simulated::leak_curve(Some(30))),
        ],
    }
}

fn mass_loss() -> Chart {
    let series = [(20u64, 10u64), (20, 7), (30, 10)].map(|(n, k)| {
        let shares = (1..=45).map(|percent| f64::from(percent) / 50.0);
        line(
            format!("({n}, {k})"),
            shares.map(|p| (100.0 * p, Binomial { n, p }.at_least(n - k + 1))),
        )
    });
    Chart {
        title: "Loss when many machines go at once".into(),
        x_label: "share of machines lost, %".into(),
        y_label: "P(an object is lost)".into(),
        y_range: Range::PowersOfTen,
        series: series.into(),
    }
}

fn static_leak() -> Chart {
    let series = [0.05, 0.1, 0.2].map(|p| {
        let leak = move |k: u64| (k as f64, Binomial { n: 15, p }.at_least(k));
        line(format!("{} % hostile", p * 100.0), (2..=14).map(leak))
    });
    Chart {
        title: "Leak of one of 15 shares' secrets, by threshold".into(),
        x_label: "shares that give the secret".into(),
        y_label: "P(leak)".into(),
        y_range: Range::PowersOfTen,
        series: series.into(),
    }
}

fn regenerating_codes() -> Chart {
    let (k, helpers) = (10, 10..=19);
    let of = |share: fn(u32, u32) -> f64| helpers.clone().map(move |d| (f64::from(d), share(k, d)));
    Chart {
        title: "Traffic of one repair, (20, 10, d)".into(),
        x_label: "helpers d".into(),
        y_label: "bytes moved a byte of the file".into(),
        y_range: Range::FromZero,
        series: vec![
            line("Reed-Solomon", helpers.clone().map(|d| (f64::from(d), 1.0))),
            line("MSR", of(msr_repair_share)),
            line("MBR", of(mbr_repair_share)),
        ],
    }
}

fn recovery() -> Chart {
    let speeds = (0..=20).map(|step| 10f64.powf(2.0 + f64::from(step) / 5.0));
    let series = RECOVERIES.iter().flat_map(|&(name, n, k, _)| {
        let speeds = speeds.clone();
        [(0.0, "alone"), (0.01, "with bursts")].map(|(bursts, how)| {
            let time = |rate: f64| chains::mean_time_with_bursts(n, k, rate, bursts);
            line(format!("{name} {how}"), speeds.clone().map(|rate| (rate.log10(), time(rate))))
        })
    });
    Chart {
        title: "Faster recovery".into(),
        x_label: "recoveries a mean life, power of ten".into(),
        y_label: "mean time to loss, in mean lives".into(),
        y_range: Range::PowersOfTen,
        series: series.collect(),
    }
}
