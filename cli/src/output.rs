//! What a command says: a report on standard output, as text for people or as one JSON object.

use std::io::{self, Write};

use serde::Serialize;

use crate::failure::Failure;

/// The result of a command. Its `Serialize` form is the JSON object.
pub(crate) trait Report: Serialize {
    /// Writes the form for people.
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()>;
}

/// Where and in which form a command speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    /// JSON or text.
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether standard output carries one JSON object and standard error nothing but logs.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// The command's result, printed once at its end.
    pub(crate) fn report(self, report: &impl Report) -> Result<(), Failure> {
        let written = if self.json {
            write_json(report)
        } else {
            report.write_text(&mut io::stdout().lock()).and_then(|()| io::stdout().flush())
        };
        written.map_err(|error| Failure::standard_output(&error))
    }

    /// The result of a command that may have something to show and yet not have done all that it was
    /// asked: as JSON, one object of both.
    pub(crate) fn conclude(
        self,
        report: &impl Report,
        failure: Option<Failure>,
    ) -> Result<(), Failure> {
        let Some(failure) = failure else { return self.report(report) };
        // That the output refuses it is less than the failure itself.
        if self.json {
            let _ = write_json(&FailedReport { report, error: &failure });
            return Err(failure.shown());
        }
        let _ = self.report(report);
        Err(failure)
    }

    /// A line on what is going on, for people only.
    pub(crate) fn narrate(self, line: &str) {
        if !self.json {
            eprintln!("{line}");
        }
    }
}

#[derive(Serialize)]
struct FailedReport<'a, R> {
    #[serde(flatten)]
    report: &'a R,
    error: &'a Failure,
}

/// One object on a line of standard output.
pub(crate) fn write_json(value: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    writeln!(out)?;
    out.flush()
}

/// Which side of a column its cells stand on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Align {
    /// Text.
    Left,
    /// Figures.
    Right,
}

/// Writes rows under headings, if there are any, two spaces between columns, no trailing blanks.
pub(crate) fn write_table<const COLUMNS: usize>(
    out: &mut dyn Write,
    headings: [(&str, Align); COLUMNS],
    rows: &[[String; COLUMNS]],
) -> io::Result<()> {
    let width = |text: &str| text.chars().count();
    let widths: [usize; COLUMNS] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| width(&row[column]));
        cells.chain([width(headings[column].0)]).max().unwrap_or(0)
    });
    let mut write_row = |cells: [&str; COLUMNS]| {
        let mut line = String::new();
        for (column, cell) in cells.iter().enumerate() {
            let fill = " ".repeat(widths[column] - width(cell));
            match headings[column].1 {
                Align::Left => line.extend([cell, fill.as_str(), "  "]),
                Align::Right => line.extend([fill.as_str(), cell, "  "]),
            }
        }
        writeln!(out, "{}", line.trim_end())
    };
    if headings.iter().any(|(heading, _)| !heading.is_empty()) {
        write_row(headings.map(|(heading, _)| heading))?;
    }
    rows.iter().try_for_each(|row| write_row(std::array::from_fn(|column| row[column].as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up_and_end_clean() {
        let mut out = Vec::new();
        let rows =
            [["太郎".into(), "7".into(), "x".into()], ["a".into(), "1234".into(), String::new()]];
        let headings = [("name", Align::Left), ("n", Align::Right), ("note", Align::Left)];
        write_table(&mut out, headings, &rows).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "name     n  note\n太郎       7  x\na     1234\n");
    }
}
