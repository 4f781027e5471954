//! `compare`: codes, key sharing and sealing beside their rivals and a copy, in one run.
//!
//! A goal is a number of times a rival's speed. Where a rival is itself close to what the machine can
//! load and store, as with few parities, that many times its speed is more than any code can reach:
//! then what counts is how close ours comes to the limit (`report::Verdict`).
//!
//! The rivals are dependencies of `kakera-benches` only, which measures and answers as JSON.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::product;
use crate::report::{Goal, Report};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Run everything once and compare what it computes, for the gate; the ratios mean nothing
    #[arg(long)]
    short: bool,
    /// Only contests whose name contains this, such as code/encode
    #[arg(default_value = "")]
    filter: String,
}

pub(crate) fn run(options: &Options) -> Result<Report> {
    // With the features that the product's dependencies are built with, so that they are used again.
    let packages = ["--package", "kakera-benches", "--package", "kakera"];
    let program = product::build_program("compare", &packages)?;
    // One process has one kernel.
    let mut outcomes = measure(&program, options, &[])?;
    outcomes.extend(measure(&program, options, &["--avx2"])?);
    ensure!(!outcomes.is_empty(), "no contest has a name with '{}' in it", options.filter);
    let mut report = Report::beside("compare", "peer");
    for outcome in &outcomes {
        add(&mut report, outcome, options.short).with_context(|| outcome.to_string())?;
    }
    Ok(report)
}

fn measure(program: &Path, options: &Options, arguments: &[&str]) -> Result<Vec<Value>> {
    let output = Command::new(program)
        .args(["--filter", &options.filter])
        .args(options.short.then_some("--short"))
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "the comparison failed");
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn add(report: &mut Report, outcome: &Value, short: bool) -> Option<()> {
    let text = |key: &str| outcome[key].as_str();
    let number = |key: &str| outcome[key].as_f64();
    let (contest, peer, unit) = (text("contest")?, text("peer")?, text("unit")?);
    let figure = report
        .add(format!("{contest}/{peer}/{unit}"), number("ours")?)
        .peer(number("theirs")?)
        .paired_ratio(number("times_better")?);
    if unit.ends_with("per_second") {
        figure.more_is_better();
    }
    if let Some(limit) = number("limit") {
        figure.limit(limit);
    }
    if let Some(times) = number("goal").filter(|_| !short) {
        figure.goal(Goal::TimesBetter(times));
    }
    Some(())
}
