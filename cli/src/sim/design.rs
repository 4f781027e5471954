//! `kakera sim design`: from targets to parameters.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use kakera_sim::design::{Design, Findings, Network};
use serde::Serialize;

use crate::failure::{Failure, Kind};
use crate::output::{Align, Output, Report, write_table};
use crate::sim::number::show;
use crate::sim::page::{Page, pareto_charts};

const DAYS_PER_YEAR: f64 = 365.0;
const HEADINGS: [&str; 10] = [
    "code",
    "key k",
    "refresh",
    "delay",
    "repair from",
    "loss a year",
    "leak a year",
    "unreadable",
    "GB a month",
    "storage",
];

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The network and its targets
    #[arg(value_name = "NETWORK")]
    path: PathBuf,
    /// Write the Pareto set with charts to this HTML file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write this design, by its number in the table, as a scenario to standard output
    #[arg(long, value_name = "NUMBER", conflicts_with = "html")]
    scenario: Option<usize>,
}

/// Searches, and fails with the reasons if no design meets the targets.
pub(super) fn run(output: Output, options: &Options) -> Result<(), Failure> {
    let network = read_network(&options.path)?;
    let findings = network.design();
    let designs = match &findings {
        Findings::Possible { designs, .. } => designs,
        Findings::Impossible { reasons, .. } => {
            let because: Vec<&str> = reasons.iter().map(|reason| &*reason.because).collect();
            let message = format!("impossible, because {}", because.join("; and "));
            let instead: Vec<&str> = reasons.iter().map(|reason| &*reason.instead).collect();
            return Err(Failure::new(Kind::Usage, message, instead.join(", ")));
        }
    };
    if let Some(number) = options.scenario {
        let design = number.checked_sub(1).and_then(|index| designs.get(index));
        let design = design.ok_or_else(|| {
            let message = format!("there is no design {number}");
            Failure::new(Kind::Usage, message, format!("1 to {}", designs.len()))
        })?;
        let mut out = io::stdout().lock();
        let written = out.write_all(network.scenario(&design.candidate).as_bytes());
        return written.map_err(|error| Failure::standard_output(&error));
    }
    if let Some(path) = &options.html {
        write_page(path, &options.path, &findings, designs)?;
    }
    output.report(&DesignReport { version: env!("CARGO_PKG_VERSION"), findings: &findings })
}

fn read_network(path: &Path) -> Result<Network, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
    Network::parse(&text).map_err(|error| {
        let message = format!("{}: {}: {}", path.display(), error.at, error.message);
        Failure::new(Kind::Usage, message, error.advice)
    })
}

fn write_page(
    path: &Path,
    network: &Path,
    findings: &Findings,
    designs: &[Design],
) -> Result<(), Failure> {
    let text = std::fs::read_to_string(network).map_err(|error| Failure::file(network, &error))?;
    let mut page = Page::new("Designs that meet the targets");
    page.paragraph(
        "Every design below meets all targets, and none is beaten by another in everything. \
         Answers are exact under laws without memory.",
    );
    pareto_charts(findings).iter().for_each(|chart| page.chart(chart));
    let rows: Vec<_> = designs.iter().map(cells).collect();
    page.table(HEADINGS, &rows);
    page.verbatim("Network and targets", &text);
    page.write(path)
}

#[derive(Serialize)]
struct DesignReport<'a> {
    version: &'static str,
    #[serde(flatten)]
    findings: &'a Findings,
}

impl Report for DesignReport<'_> {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Findings::Possible { candidates, sufficient, designs } = self.findings else {
            return Ok(());
        };
        let numbered = |(number, design): (usize, &Design)| {
            let mut row: [String; 12] = Default::default();
            row[0] = number.to_string();
            row[1..11].clone_from_slice(&cells(design));
            row[11] = design.names.join(", ");
            row
        };
        let rows: Vec<_> = (1..).zip(designs).map(numbered).collect();
        let mut headings = [("", Align::Right); 12];
        headings[1] = (HEADINGS[0], Align::Left);
        for (column, heading) in (2..).zip(&HEADINGS[1..]) {
            headings[column] = (heading, Align::Right);
        }
        headings[11] = ("best at", Align::Left);
        write_table(out, headings, &rows)?;
        writeln!(
            out,
            "\n{candidates} candidates, {sufficient} meet all targets, {} of them are beaten by \
             none. --scenario NUMBER writes one for `kakera sim run`.",
            designs.len()
        )
    }
}

fn cells(design: &Design) -> [String; 10] {
    let (candidate, outcome) = (&design.candidate, &design.outcome);
    let days = |years: f64| format!("{} d", show(years * DAYS_PER_YEAR, 3));
    [
        candidate.code.to_string(),
        candidate.k_key.to_string(),
        candidate.epoch.map_or("never".into(), days),
        days(candidate.delay),
        format!("{} missing", candidate.threshold),
        show(outcome.loss_a_year, 3),
        show(outcome.leak_a_year, 3),
        show(outcome.unavailability, 3),
        show(outcome.repair_bytes / 1e9, 3),
        show(outcome.storage_factor, 3),
    ]
}
