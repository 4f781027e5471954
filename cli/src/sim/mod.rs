//! `kakera sim`: the simulator. The crate `kakera-sim` computes; this reads arguments and prints.

mod answer;
mod design;
mod explain;
mod fit;
mod number;
mod page;
mod parts;
mod plan;
mod run;
mod sensitivity;
mod validate;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use kakera_sim::scenario::Scenario;

use crate::failure::{Failure, Kind};
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum SimCommand {
    /// Simulate a scenario
    #[command(after_help = "\
Examples:
  kakera sim run clinics.toml
  kakera sim run clinics.toml --threads 8 --json
  kakera sim run clinics.toml --html report.html
  kakera sim run clinics.toml --parts work/ --shard 3/16    one of 16 machines
  kakera sim merge clinics.toml work/                       when all are done

With --parts every finished block is kept, and a run that was stopped goes on where it was. The
numbers are the same for any threads and shards. --shard auto takes its place from a Slurm array,
a Kubernetes indexed job or an AWS Batch array.")]
    Run(RunOptions),
    /// Answer a scenario exactly, where a Markov chain can
    #[command(after_help = "\
Examples:
  kakera sim calc clinics.toml
  kakera sim calc clinics.toml --json")]
    Calc(ScenarioFile),
    /// Find the parameters that meet targets: the Pareto set of codes, thresholds, epochs and delays
    #[command(after_help = "\
Examples:
  kakera sim design seven-clinics.toml
  kakera sim design seven-clinics.toml --html designs.html
  kakera sim design seven-clinics.toml --scenario 1 > first.toml    for kakera sim run

A network says what there is ([network], [objects]) and what is wanted ([targets]); ready ones are in
sim/networks.")]
    Design(design::Options),
    /// Say what a run would take for intervals of a width: replications, CPU hours, shards, memory
    #[command(after_help = "\
Examples:
  kakera sim plan clinics.toml
  kakera sim plan clinics.toml --half-width 2% --hours 4")]
    Plan(plan::Options),
    /// Halve and double every parameter, and say what it does to loss and leak
    #[command(after_help = "\
Examples:
  kakera sim sensitivity clinics.toml")]
    Sensitivity(ScenarioFile),
    /// Fit laws of lives, sessions and absences to a trace
    #[command(after_help = "\
Examples:
  kakera sim fit trace.csv              node,start,end in seconds; an empty end was not seen
  kakera sim fit event_trace.tab        of the Failure Trace Archive")]
    Fit(fit::Options),
    /// Say in words what a scenario means, and what its codes cost
    #[command(after_help = "\
Examples:
  kakera sim explain clinics.toml")]
    Explain(ScenarioFile),
    /// Sum up the parts of a run
    #[command(after_help = "\
Examples:
  kakera sim merge clinics.toml work/
  kakera sim merge clinics.toml from-a/ from-b/ --json")]
    Merge {
        #[command(flatten)]
        scenario: ScenarioFile,
        /// Folders with parts
        #[arg(value_name = "DIR", required = true)]
        folders: Vec<PathBuf>,
        #[command(flatten)]
        form: Form,
    },
    /// Compute published numbers again and compare
    #[command(after_help = "\
Examples:
  kakera sim validate
  kakera sim validate P4 S3
  kakera sim validate --json
  kakera sim validate --figures papers

Rows are P1 to P16 and S1 to S4; papers/ has a page on each. It fails if a number is missed.")]
    Validate {
        /// Rows to compute [default: all]
        #[arg(value_name = "ROW")]
        rows: Vec<String>,
        /// Draw the charts of the rows into the folders below this one instead
        #[arg(long, value_name = "DIR", conflicts_with = "json")]
        figures: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ScenarioFile {
    /// The scenario
    #[arg(value_name = "SCENARIO")]
    path: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    scenario: ScenarioFile,
    /// Threads [default: as many as there are cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Keep every finished block in this folder, and do not run again what is there
    #[arg(long, value_name = "DIR")]
    parts: Option<PathBuf>,
    /// Run only this part of the blocks, as in 0/16 to 15/16, or auto
    #[arg(long, value_name = "I/N", requires = "parts", value_parser = parts::parse_shard)]
    shard: Option<parts::Shard>,
    #[command(flatten)]
    form: Form,
}

/// In which forms an answer is given.
#[derive(Debug, Args)]
pub(crate) struct Form {
    /// Print rows of comma-separated values
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Write a report with curves to this HTML file, too
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(output: Output, command: &SimCommand) -> Result<(), Failure> {
    match command {
        SimCommand::Run(options) => run::run(output, options),
        SimCommand::Calc(file) => answer::calc(output, &read_scenario(&file.path)?),
        SimCommand::Explain(file) => explain::run(output, &read_scenario(&file.path)?),
        SimCommand::Design(options) => design::run(output, options),
        SimCommand::Plan(options) => plan::run(output, options),
        SimCommand::Sensitivity(file) => sensitivity::run(output, file),
        SimCommand::Fit(options) => fit::run(output, options),
        SimCommand::Merge { scenario: file, folders, form } => {
            let scenario = read_scenario(&file.path)?;
            let blocks = parts::merge_folders(&scenario, folders)?;
            answer::simulated(output, file, &scenario, &blocks, form)
        }
        SimCommand::Validate { rows, figures } => validate::run(output, rows, figures.as_deref()),
    }
}

fn read_scenario(path: &Path) -> Result<Scenario, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
    Scenario::parse(&text).map_err(|error| {
        let message = format!("{}: {}: {}", path.display(), error.at, error.message);
        Failure::new(Kind::Usage, message, error.advice)
    })
}
