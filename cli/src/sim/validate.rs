//! `kakera sim validate`: published numbers beside ours.

use std::io::{self, Write};
use std::path::Path;

use kakera_sim::validation::{Check, Effort, Row, Tolerance, rows};
use serde::Serialize;

use crate::failure::{Failure, Kind};
use crate::output::{Align, Output, Report, write_table};
use crate::sim::number::show;

/// Computes the named rows, or all, and fails if a number is missed.
pub(super) fn run(output: Output, names: &[String], figures: Option<&Path>) -> Result<(), Failure> {
    let chosen = choose(names)?;
    if let Some(folder) = figures {
        return draw(output, &chosen, folder);
    }
    let rows = chosen.into_iter().map(RowReport::of).collect();
    let report = ValidationReport { rows };
    let (missed, all) = (report.missed(), report.checks().count());
    let failure = (missed > 0).then(|| {
        let message = format!("{missed} of {all} numbers are not reproduced");
        Failure::new(Kind::Failure, message, "the rows marked 'missed', and their pages in papers/")
    });
    output.conclude(&report, failure)
}

/// Writes the charts of rows below a folder, each into the row's own.
fn draw(output: Output, rows: &[&Row], folder: &Path) -> Result<(), Failure> {
    for row in rows {
        let path = folder.join(row.folder).join("figure.svg");
        std::fs::write(&path, row.figure().to_svg())
            .map_err(|error| Failure::file(&path, &error))?;
        output.narrate(&format!("{} is drawn", path.display()));
    }
    Ok(())
}

fn choose(names: &[String]) -> Result<Vec<&'static Row>, Failure> {
    if names.is_empty() {
        return Ok(rows().iter().collect());
    }
    let find = |name: &String| rows().iter().find(|row| row.id.eq_ignore_ascii_case(name));
    let unknown = |name: &String| {
        let known: Vec<&str> = rows().iter().map(|row| row.id).collect();
        Failure::new(Kind::Usage, format!("there is no row '{name}'"), known.join(", "))
    };
    names.iter().map(|name| find(name).ok_or_else(|| unknown(name))).collect()
}

#[derive(Serialize)]
struct ValidationReport {
    rows: Vec<RowReport>,
}

#[derive(Serialize)]
struct RowReport {
    id: &'static str,
    folder: &'static str,
    source: &'static str,
    checks: Vec<Check>,
}

impl RowReport {
    fn of(row: &Row) -> Self {
        Self {
            id: row.id,
            folder: row.folder,
            source: row.source,
            checks: row.checks(Effort::Full),
        }
    }
}

impl ValidationReport {
    fn checks(&self) -> impl Iterator<Item = &Check> {
        self.rows.iter().flat_map(|row| &row.checks)
    }

    fn missed(&self) -> usize {
        self.checks().filter(|check| !check.passed).count()
    }
}

impl Report for ValidationReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let headings = [
            ("row", Align::Left),
            ("number", Align::Left),
            ("published", Align::Right),
            ("here", Align::Right),
            ("99 % interval", Align::Right),
            ("allowed", Align::Right),
            ("", Align::Left),
        ];
        let cells = |row: &RowReport, check: &Check| {
            [
                row.id.into(),
                check.what.clone(),
                show(check.published, digits(check.tolerance)),
                show(check.reproduced, digits(check.tolerance)),
                check.interval.map_or(String::new(), |[low, high]| {
                    format!("{} to {}", show(low, 4), show(high, 4))
                }),
                show_tolerance(check.tolerance),
                if check.passed { "" } else { "missed" }.into(),
            ]
        };
        let table: Vec<_> = self
            .rows
            .iter()
            .flat_map(|row| row.checks.iter().map(move |check| cells(row, check)))
            .collect();
        write_table(out, headings, &table)?;
        let all = self.checks().count();
        writeln!(out, "\n{} of {all} numbers are reproduced.", all - self.missed())
    }
}

/// Significant digits worth showing: some more than are compared.
fn digits(tolerance: Tolerance) -> usize {
    match tolerance {
        Tolerance::Absolute(distance) if distance < 1e-11 => 16,
        Tolerance::Relative(share) if share > 1e-4 => 6,
        Tolerance::Interval { .. } => 5,
        _ => 10,
    }
}

fn show_tolerance(tolerance: Tolerance) -> String {
    match tolerance {
        Tolerance::Absolute(distance) => format!("± {}", show(distance, 3)),
        Tolerance::Relative(share) if share >= 1e-4 => format!("± {} %", show(share * 100.0, 3)),
        Tolerance::Relative(share) => format!("± {} of it", show(share, 3)),
        Tolerance::Printed(unit) => format!("as printed, ± {}", show(unit / 2.0, 1)),
        Tolerance::Interval { margin: 0.0, .. } => "in the interval".into(),
        Tolerance::Interval { margin, .. } => format!("interval meets ± {}", show(margin, 3)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_any_spelling_and_unknown_ones_refused() {
        let ids = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
            choose(&names).map(|rows| rows.iter().map(|row| row.id).collect::<Vec<_>>())
        };
        assert_eq!(ids(&["p4", "S3"]).unwrap(), ["P4", "S3"]);
        let failure = ids(&["P99"]).unwrap_err();
        assert_eq!((failure.kind, &*failure.message), (Kind::Usage, "there is no row 'P99'"));
        assert!(failure.advice.starts_with("P1, P2"));
    }
}
