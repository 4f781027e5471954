//! `sim-speed`: CPU seconds of the simulator on scenarios of known size, beside their goals.
//!
//! `sim/benches/speed.rs` measures, optimised, and answers as JSON. Figures begin with the number of
//! their goal.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::product::workspace;
use crate::report::{Goal, Report};

const GOALS: [(&str, Goal); 15] = [
    ("v1_data_centre_seconds_per_iteration", Goal::AtMost(0.05)),
    ("v1_with_transient_failures_seconds_per_iteration", Goal::AtMost(0.05)),
    ("v2_small_data_centre_events_per_second", Goal::AtLeast(10e6)),
    ("v3_churn_1e5_objects_updates_per_second", Goal::AtLeast(200e6)),
    ("v3_churn_1e6_objects_updates_per_second", Goal::AtLeast(80e6)),
    ("v4_year_of_1e5_nodes_1e6_objects_minutes", Goal::AtMost(10.0)),
    ("v4_bytes_per_share_of_1e6_nodes_1e7_objects", Goal::AtMost(10.0)),
    ("v5_mttdl_20_10_to_1_percent_seconds", Goal::AtMost(3.0)),
    ("v5_mttdl_40_20_to_5_percent_seconds", Goal::AtMost(20.0)),
    ("v5_weibull_40_20_to_5_percent_seconds", Goal::AtMost(60.0)),
    ("v6_cpu_seconds_on_one_thread_over_those_on_two", Goal::AtLeast(0.95)),
    ("v7_full_nodes_events_per_second", Goal::AtLeast(0.3e6)),
    ("v7_hundred_full_nodes_times_real_time", Goal::AtLeast(700.0)),
    ("v8_slowest_chain_seconds", Goal::AtMost(0.01)),
    ("v8_designer_seconds_for_1e4_candidates", Goal::AtMost(10.0)),
];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Small scenarios without goals, for the gate: whether everything runs
    #[arg(long)]
    short: bool,
    /// Only figures that begin so, such as v3
    #[arg(long, default_value = "")]
    only: String,
}

pub(crate) fn run(options: &Options) -> Result<Report> {
    eprintln!("{}", machine());
    let output = Command::new(env!("CARGO"))
        .current_dir(workspace())
        .args(["bench", "--quiet", "--locked", "--package", "kakera-sim", "--bench", "speed", "--"])
        .args(["--only", &options.only])
        .args(options.short.then_some("--short"))
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "the measurement failed");
    let figures: Value = serde_json::from_slice(&output.stdout)?;
    let figures = figures.as_object().context("the measurement is no JSON object")?;
    ensure!(!figures.is_empty(), "no figure begins with '{}'", options.only);
    let mut report = Report::new("sim-speed");
    for (name, value) in figures {
        let figure = report.add(name.clone(), value.as_f64().context("a figure is no number")?);
        let goal = GOALS.iter().find(|(goal, _)| goal == name);
        if let Some((_, goal)) = goal.filter(|_| !options.short) {
            figure.goal(*goal);
        }
    }
    Ok(report)
}

/// The processor, its cores, their load and the memory, on one line.
fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or(String::new(), |(_, value)| value.trim().to_owned())
    };
    let processor = field(&read("/proc/cpuinfo"), "model name");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    format!("{processor}, {cores} cores (load {load}), {memory} of memory")
}
