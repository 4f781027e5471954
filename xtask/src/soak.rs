//! `soak`: a network that looks after itself, in a storm. Nodes are killed, paused, replaced, filled up
//! and rot, some lie from the start, and records are put and read all the while: nothing that was
//! acknowledged may be lost or wrong, who lies is given up, and nobody else is.
//!
//! Times are shortened: a node is lost after 20 s, an epoch takes 3 minutes.

mod liar;
mod registry;
mod storm;

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use serde_json::Value;

use self::liar::replace_by_liar;
pub(crate) use self::liar::{Deceit, Liar, LyingOptions, lie};
use self::registry::Registry;
use self::storm::Storm;
use crate::load::Load;
use crate::node_figures::Figures;
use crate::product::{self, LocalNetwork, Machine};
use crate::report::{Goal, Report};

const VALIDATORS: u8 = 4;
/// How long the network may take to be whole after the storm.
const WHOLE_TIME_MAX: Duration = Duration::from_secs(600);
/// Shorter runs do not tell a slope an hour.
const GROWTH_MINUTES_MIN: u64 = 30;

/// Hours in a network in use.
const TIMES: &str = "observe = '127.0.0.1:0'\nprobe_every = '1s'\nsuspect_after = '5s'\n\
                     lost_after = '20s'\ncompare_every = '30s'\nscrub_pause = '200ms'\n\
                     audit_every = '3s'\nrefresh_every = '3m'\n";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long the storm lasts
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Storage nodes, of which three lie
    #[arg(long, default_value_t = 24)]
    nodes: u8,
    /// Where every draw begins
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Five minutes
    #[arg(long, conflicts_with = "minutes")]
    short: bool,
}

pub(crate) fn run(options: &Options) -> Result<Report> {
    let minutes = if options.short { 5 } else { options.minutes };
    eprintln!("soak: seed {}, {minutes} minutes, {} nodes", options.seed, options.nodes);
    let mut network = found(options.nodes)?;
    let report = weather(&network, minutes, options.seed);
    if !report.as_ref().is_ok_and(|report| report.goals_missed().is_empty()) {
        eprintln!("soak: what the machines leave is kept in {}", network.keep().display());
    }
    report
}

/// The storm and what the network makes of it.
fn weather(network: &LocalNetwork, minutes: u64, seed: u64) -> Result<Report> {
    let registry = Registry::watch(network)?;
    let liars = plant_liars(network)?;
    let figures = Figures::watch(network.machines());
    let programs = [network.client(), network.client()];
    let scratch = network.scratch().to_owned();
    let load = Load::start(programs, scratch, first_record(network)?, seed);
    load.wait_for_success()?;

    let mut report = Report::new("soak");
    let rng = ChaCha8Rng::seed_from_u64(seed);
    let storm = Storm::new(network, liars.iter().map(|liar| liar.id).collect(), rng)
        .rage(Duration::from_secs(60 * minutes))?;
    storm.add_to(&mut report);
    // What comes after it, such as reading everything at once, is another load.
    let storm_hours = figures.hours();
    let outcome = load.stop()?;
    outcome.add_to(&mut report);

    let honest_gone = storm.given_up_rightly();
    let start = Instant::now();
    let whole = wait_until_whole(network, &liars)?;
    report.add("seconds_until_whole", start.elapsed().as_secs_f64());
    let [groups, short] = whole;
    report.count("groups", groups).goal(Goal::AtLeast(1.0));
    report.count("groups_not_whole", short).goal(Goal::AtMost(0.0));
    outcome.check_records(&network.client(), "fresh", network.scratch(), &mut report)?;

    let given_up = registry.stop()?;
    let excluded = liars.iter().filter(|liar| given_up.contains(&liar.id)).count();
    report.count("liars", liars.len()).goal(Goal::AtLeast(3.0));
    report.count("liars_excluded", excluded).goal(Goal::AtLeast(liars.len() as f64));
    let wronged = given_up
        .iter()
        .filter(|id| !honest_gone.contains(id) && !liars.iter().any(|liar| liar.id == **id));
    report.count("honest_excluded", wronged.count()).goal(Goal::AtMost(0.0));
    let figures = figures.stop()?;
    figures.add_repairs_to("", &mut report);
    figures.add_memory_to(storm_hours, minutes >= GROWTH_MINUTES_MIN, &mut report);
    Ok(report)
}

/// A network of groups (10,5,7) in a hurry, with a vault.
fn found(nodes: u8) -> Result<LocalNetwork> {
    let counts = [VALIDATORS, nodes].map(|count| count.to_string());
    let words = [
        "--validators",
        &counts[0],
        "--nodes",
        &counts[1],
        "--code",
        "mbr(10,5,7)",
        "--key-code",
        "5,6",
    ];
    let network = LocalNetwork::up(product::build()?, &words)?;
    network.configure(TIMES)?;
    network.create_vault()?;
    Ok(network)
}

/// Writes a machine's configuration with lines of its own.
fn configure(machine: &Path, more: &str) -> Result<()> {
    Ok(fs::write(machine.join("config.toml"), format!("{TIMES}{more}"))?)
}

/// Makes one holder of slots a liar of each kind that needs no past.
fn plant_liars(network: &LocalNetwork) -> Result<Vec<Machine>> {
    let status = network.run(&["status"])?;
    let holds = |machine: &Machine| {
        let mut holders = groups(&status).flat_map(holders);
        holders.any(|holder| holder["node"] == machine.id.to_string().as_str())
    };
    let machines = network.running()?;
    let nodes = machines.into_iter().filter(|machine| !machine.is_validator() && holds(machine));
    let liars: Vec<Machine> = nodes.take(Deceit::FROM_THE_START.len()).collect();
    ensure!(liars.len() == Deceit::FROM_THE_START.len(), "too few nodes hold slots");
    for (machine, deceit) in liars.iter().zip(Deceit::FROM_THE_START) {
        replace_by_liar(network, machine, deceit)?;
    }
    Ok(liars)
}

/// What the readers have to read at first.
fn first_record(network: &LocalNetwork) -> Result<std::collections::BTreeMap<String, u64>> {
    let path = network.scratch().join("first");
    fs::write(&path, crate::records::content(0))?;
    network.run(&["put", path.to_str().context("not UTF-8")?])?;
    Ok([("first".to_owned(), 0)].into())
}

/// Waits until every slot of every group is held by a machine that answers, has all and does not lie;
/// how many groups there are, and of how many this did not come true.
fn wait_until_whole(network: &LocalNetwork, liars: &[Machine]) -> Result<[usize; 2]> {
    let start = Instant::now();
    loop {
        let status = network.run(&["status"])?;
        let short = groups(&status).filter(|group| {
            let lies = |holder: &Value| {
                liars.iter().any(|liar| holder["node"] == liar.id.to_string().as_str())
            };
            group["whole"] != group["n"]
                || group["answering"] != group["n"]
                || holders(group).any(lies)
        });
        let counts = [groups(&status).count(), short.count()];
        if counts[1] == 0 || start.elapsed() > WHOLE_TIME_MAX {
            if counts[1] > 0 {
                eprintln!("soak: not whole: {status}");
            }
            return Ok(counts);
        }
        sleep(Duration::from_secs(2));
    }
}

fn groups(status: &Value) -> impl Iterator<Item = &Value> {
    status["groups"].as_array().into_iter().flatten()
}

fn holders(group: &Value) -> impl Iterator<Item = &Value> {
    group["holders"].as_array().into_iter().flatten()
}
