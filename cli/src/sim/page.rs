//! Reports as one HTML file: tables and charts, nothing loaded from elsewhere.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use kakera_sim::campaign::{CurvePoint, Summary};
use kakera_sim::design::{Design, Findings};
use kakera_sim::figure::{Chart, Point, Range, Series, escape};

use crate::failure::Failure;

const HEAD: &str = "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n\
<meta name=\"viewport\" content=\"width=device-width\">\n<style>\n\
body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#000}\n\
table{border-collapse:collapse;margin:1rem 0}\n\
td,th{border-bottom:1px solid #bbb;padding:.2rem .8rem;text-align:left}\n\
td.figure{text-align:right;font-variant-numeric:tabular-nums}\n\
svg{width:100%;max-width:48rem;height:auto;display:block;margin:1.5rem 0;break-inside:avoid}\n\
pre{background:#f4f4f4;padding:1rem;overflow:auto;white-space:pre-wrap}\n\
@media print{body{margin:0;max-width:none}pre{background:none;border:1px solid #bbb}}\n\
</style>\n";

/// A page under way.
pub(super) struct Page {
    html: String,
}

impl Page {
    /// A page with its title.
    pub(super) fn new(title: &str) -> Self {
        let title = escape(title);
        Self { html: format!("{HEAD}<title>{title}</title>\n<h1>{title}</h1>\n") }
    }

    /// A paragraph.
    pub(super) fn paragraph(&mut self, text: &str) {
        let _ = writeln!(self.html, "<p>{}</p>", escape(text));
    }

    /// A text as it was written.
    pub(super) fn verbatim(&mut self, heading: &str, text: &str) {
        let _ = writeln!(self.html, "<h2>{}</h2>\n<pre>{}</pre>", escape(heading), escape(text));
    }

    /// A table; cells after the first are figures.
    pub(super) fn table<const COLUMNS: usize>(
        &mut self,
        headings: [&str; COLUMNS],
        rows: &[[String; COLUMNS]],
    ) {
        let head: String =
            headings.iter().map(|text| format!("<th>{}</th>", escape(text))).collect();
        let _ = writeln!(self.html, "<table>\n<tr>{head}</tr>");
        for row in rows {
            let cells: String = (0..)
                .zip(row)
                .map(|(column, text)| match column {
                    0 => format!("<td>{}</td>", escape(text)),
                    _ => format!("<td class=\"figure\">{}</td>", escape(text)),
                })
                .collect();
            let _ = writeln!(self.html, "<tr>{cells}</tr>");
        }
        self.html.push_str("</table>\n");
    }

    /// A chart.
    pub(super) fn chart(&mut self, chart: &Chart) {
        self.html.push_str(&chart.to_svg());
    }

    /// Writes the file.
    pub(super) fn write(self, path: &Path) -> Result<(), Failure> {
        fs::write(path, self.html).map_err(|error| Failure::file(path, &error))
    }
}

/// From so many bytes on, traffic is in gigabytes.
const GIGABYTES_FROM: f64 = 5e9;

/// Loss, leak and repair traffic over time, with intervals.
pub(super) fn charts(summary: &Summary, confidence: f64) -> [Chart; 3] {
    let horizon_years = summary.loss_curve.last().map_or(1.0, |point| point.years);
    let (unit, per_year) = if horizon_years < 0.5 { ("days", 365.0) } else { ("years", 1.0) };
    let curve = |name: &str, points: &[CurvePoint]| Series {
        name: name.into(),
        points: points
            .iter()
            .map(|point| Point {
                interval: point.interval,
                ..Point::new(point.years * per_year, point.value)
            })
            .collect(),
        joined: true,
    };
    let percent = confidence * 100.0;
    let chart = |title: String, y_label: &str, y_range: Range, series: Series| Chart {
        title,
        x_label: format!("{unit} since the start"),
        y_label: y_label.into(),
        y_range,
        series: vec![series],
    };
    let survival: Vec<CurvePoint> = summary.loss_curve.iter().map(complement).collect();
    let most = summary.repair_curve.iter().map(|point| point.value).fold(0.0, f64::max);
    let (traffic, bytes) = if most < GIGABYTES_FROM {
        ("MB a machine and month", 1e6)
    } else {
        ("GB a machine and month", 1e9)
    };
    let repair: Vec<CurvePoint> =
        summary.repair_curve.iter().map(|point| divided(point, bytes)).collect();
    [
        chart(
            format!("Survival of a group, with {percent} % intervals"),
            "P(a group is not lost)",
            Range::Values,
            curve("survival", &survival),
        ),
        chart(
            format!("Leak of a group's secret, with {percent} % intervals"),
            "P(a group has leaked)",
            Range::FromZero,
            curve("leak", &summary.leak_curve),
        ),
        chart(
            format!("Repair traffic, with {percent} % intervals"),
            traffic,
            Range::FromZero,
            curve("repair", &repair),
        ),
    ]
}

fn complement(point: &CurvePoint) -> CurvePoint {
    CurvePoint {
        value: 1.0 - point.value,
        interval: point.interval.map(|[low, high]| [1.0 - high, 1.0 - low]),
        ..*point
    }
}

fn divided(point: &CurvePoint, bytes: f64) -> CurvePoint {
    CurvePoint {
        value: point.value / bytes,
        interval: point.interval.map(|ends| ends.map(|end| end / bytes)),
        ..*point
    }
}

/// The Pareto set of a search: storage beside repair traffic, and beside the two risks.
pub(super) fn pareto_charts(findings: &Findings) -> Vec<Chart> {
    let Findings::Possible { designs, .. } = findings else { return Vec::new() };
    let series = |of: fn(&Design) -> f64| Series {
        name: "designs that none beats".into(),
        points: designs
            .iter()
            .map(|design| Point {
                note: design.names.join(", "),
                ..Point::new(design.outcome.storage_factor, of(design))
            })
            .collect(),
        joined: false,
    };
    let chart = |title: &str, y_label: &str, of| Chart {
        title: title.into(),
        x_label: "bytes stored a byte of objects".into(),
        y_label: y_label.into(),
        y_range: Range::PowersOfTen,
        series: vec![series(of)],
    };
    vec![
        chart("Storage and repair traffic", "GB a machine and month", |design| {
            design.outcome.repair_bytes / 1e9
        }),
        chart("Storage and risk of loss", "P(any group is lost in a year)", |design| {
            design.outcome.loss_a_year
        }),
        chart("Storage and risk of a leak", "P(any group leaks in a year)", |design| {
            design.outcome.leak_a_year
        }),
    ]
}
