//! `kakera sim plan`: what a run would take, from a short pilot.

use std::io::{self, Write};
use std::time::Instant;

use kakera_sim::campaign::{Blocks, Campaign};
use kakera_sim::plan::{Need, needs};
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{Align, Output, Report, write_table};
use crate::quantity::show_size;
use crate::sim::number::show;
use crate::sim::{ScenarioFile, read_scenario, run::refuse_too_large};

/// Replications of the pilot, and how long it goes on at most.
const PILOT_REPLICATIONS: u64 = 4096;
const PILOT_SECONDS: f64 = 5.0;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    scenario: ScenarioFile,
    /// Half the interval's width, over the estimate
    #[arg(long, value_name = "SHARE", default_value = "10%", value_parser = half_width)]
    half_width: f64,
    /// How long each shard may take
    #[arg(long, value_name = "HOURS", default_value_t = 1.0)]
    hours: f64,
}

fn half_width(text: &str) -> Result<f64, String> {
    let share = kakera_sim::quantity::parse_share(text).map_err(|error| error.to_string())?;
    if share > 0.0 { Ok(share) } else { Err("must be above zero; try: 10%".into()) }
}

/// Runs the pilot and says what the whole would take.
pub(super) fn run(output: Output, options: &Options) -> Result<(), Failure> {
    let scenario = read_scenario(&options.scenario.path)?;
    refuse_too_large(&scenario, 1)?;
    let replications = PILOT_REPLICATIONS.min(scenario.campaign.replications);
    let pilot = Campaign { replications, ..scenario.campaign.clone() };
    let begin = Instant::now();
    let mut blocks = Blocks::new();
    for block in 0..pilot.blocks() {
        blocks.insert(block, pilot.run_block(block));
        if begin.elapsed().as_secs_f64() > PILOT_SECONDS {
            break;
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let summary = pilot.summary(&blocks, scenario.confidence);
    let per_replication = seconds / summary.replications as f64;
    let exact = scenario.exact().ok().filter(|_| scenario.campaign.fleet.groups == 1);
    let exact_loss = exact.map(|exact| exact.loss_probability);
    let plans = needs(&summary, exact_loss, options.half_width, scenario.confidence)
        .into_iter()
        .filter(|need| need.quantity.contains("lost") || scenario.campaign.fleet.attack.is_some())
        .map(|need| {
            let cpu_hours = need.replications * per_replication / 3600.0;
            Plan { need, cpu_hours, shards: (cpu_hours / options.hours).ceil().max(1.0) }
        })
        .collect();
    output.report(&PlanReport {
        pilot_replications: summary.replications,
        seconds_per_replication: per_replication,
        memory_bytes_per_thread: scenario.campaign.memory_bytes(),
        half_width: options.half_width,
        plans,
    })
}

#[derive(Serialize)]
struct PlanReport {
    pilot_replications: u64,
    seconds_per_replication: f64,
    memory_bytes_per_thread: u64,
    half_width: f64,
    plans: Vec<Plan>,
}

#[derive(Serialize)]
struct Plan {
    #[serde(flatten)]
    need: Need,
    cpu_hours: f64,
    shards: f64,
}

impl Report for PlanReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let headings = [
            ("to know", Align::Left),
            ("about", Align::Right),
            ("replications", Align::Right),
            ("CPU hours", Align::Right),
            ("shards", Align::Right),
        ];
        let row = |plan: &Plan| {
            let least = if plan.need.known { "" } else { ">= " };
            let most = if plan.need.known { "" } else { "<= " };
            [
                plan.need.quantity.into(),
                format!("{most}{}", show(plan.need.probability, 3)),
                format!("{least}{}", show(plan.need.replications, 4)),
                format!("{least}{}", show(plan.cpu_hours, 3)),
                format!("{least}{}", show(plan.shards, 3)),
            ]
        };
        let rows: Vec<_> = self.plans.iter().map(row).collect();
        write_table(out, headings, &rows)?;
        writeln!(
            out,
            "\nTo +- {} %, from a pilot of {} runs of {} s each; {} of memory a thread.",
            show(self.half_width * 100.0, 3),
            self.pilot_replications,
            show(self.seconds_per_replication, 3),
            show_size(self.memory_bytes_per_thread)
        )
    }
}
