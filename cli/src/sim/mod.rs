//! `kakera sim`: the simulator. The crate `kakera-sim` computes; this reads arguments and prints.

mod validate;

use clap::Subcommand;

use crate::failure::Failure;
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum SimCommand {
    /// Compute published numbers again and compare
    #[command(after_help = "\
Examples:
  kakera sim validate
  kakera sim validate P4 S3
  kakera sim validate --json

Rows are P1 to P16 and S1 to S4; papers/ has a page on each. It fails if a number is missed.")]
    Validate {
        /// Rows to compute [default: all]
        #[arg(value_name = "ROW")]
        rows: Vec<String>,
    },
}

/// Runs the command.
pub(crate) fn run(output: Output, command: &SimCommand) -> Result<(), Failure> {
    match command {
        SimCommand::Validate { rows } => validate::run(output, rows),
    }
}
