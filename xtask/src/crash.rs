//! `crash`: what was acknowledged survives.
//!
//! Power cuts run on the simulated disk of `kakera_net::store::crash_model`; then real nodes are
//! killed at random points of puts, and at last the validator's folder is deleted.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kakera_net::store::crash_model::{self, Plan, Subject};
use kakera_net::store::simulated::Fault;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::product::{LocalNetwork, answer, machines};
use crate::records::{content, holds, listed_names};
use crate::report::{Goal, Report};

const NODES: u8 = 10;
/// n - max(k, k_key) of the codes for ten nodes.
const LOSSES_MAX: usize = 5;

/// Power cuts until a removed sync counts as unnoticed.
const SYNC_REMOVED_CUTS: u64 = 2000;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Puts during which a node is killed
    #[arg(long, default_value_t = 200)]
    puts: u32,
    /// Power cuts of each part of the store
    #[arg(long, default_value_t = 1000)]
    cuts: u64,
    /// Where every draw begins
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A tenth of it, for the gate
    #[arg(long, conflicts_with_all = ["puts", "cuts"])]
    short: bool,
}

pub(crate) fn run(options: &Options) -> Result<Report> {
    let (puts, cuts) = if options.short { (20, 100) } else { (options.puts, options.cuts) };
    eprintln!("crash: seed {}, {puts} puts, {cuts} power cuts", options.seed);
    let mut report = Report::new("crash");
    power_cuts(cuts, options.seed, &mut report);
    kills(puts, options.seed, &mut report)?;
    Ok(report)
}

fn power_cuts(cuts: u64, first_seed: u64, report: &mut Report) {
    let (mut happened, mut faults, mut violations) = (0, 0, 0);
    for subject in Subject::ALL {
        let plan = Plan { subject, first_seed, cuts, ignored_site: None };
        let figures = crash_model::run(&plan);
        happened += figures.cuts;
        faults += Fault::ALL.iter().map(|fault| figures.faults.count(*fault)).sum::<u64>();
        if let Some(violation) = figures.violation {
            eprintln!("{subject:?}: {violation}");
            violations += 1;
        }
    }
    report.add("power_cuts", happened as f64).goal(Goal::AtLeast(cuts as f64));
    report.add("power_cut_faults", faults as f64).goal(Goal::AtLeast(1.0));
    report.count("power_cut_violations", violations).goal(Goal::AtMost(0.0));
    // A removed sync is mostly noticed within a few cuts, which ends its run.
    let mutations = crash_model::remove_each_sync(first_seed, cuts.max(SYNC_REMOVED_CUTS));
    let unnoticed = mutations.iter().filter(|mutation| mutation.violation.is_none());
    let unnoticed = unnoticed.inspect(|mutation| eprintln!("{} can be left out", mutation.site));
    let unnoticed = unnoticed.count();
    report.count("syncs_removed", mutations.len()).goal(Goal::AtLeast(1.0));
    report.count("syncs_removed_unnoticed", unnoticed).goal(Goal::AtMost(0.0));
}

fn kills(puts: u32, seed: u64, report: &mut Report) -> Result<()> {
    let network = LocalNetwork::start(NODES)?;
    let mut run = Run {
        network,
        rng: ChaCha8Rng::seed_from_u64(seed),
        acknowledged: BTreeMap::new(),
        refused: BTreeMap::new(),
        kills: 0,
        put_time: Duration::from_millis(500),
    };
    for index in 0..puts {
        run.put_with_kill(index)?;
    }
    report.count("kills", run.kills).goal(Goal::AtLeast(f64::from(puts) * 0.9));
    report.count("puts_acknowledged", run.acknowledged.len()).goal(Goal::AtLeast(1.0));
    report.count("puts_refused", run.refused.len());
    run.check("all_nodes", report)?;

    run.network.run(&["repair"])?;
    run.kill_nodes(LOSSES_MAX)?;
    run.check("five_nodes_down", report)?;

    run.network.run(&["local", "up"])?;
    run.lose_validator()?;
    run.check("validator_recovered", report)
}

/// A network under test, and what it promised.
struct Run {
    network: LocalNetwork,
    rng: ChaCha8Rng,
    /// Seeds of the records' contents by name.
    acknowledged: BTreeMap<String, u64>,
    refused: BTreeMap<String, u64>,
    kills: usize,
    /// Of the last put: kills are drawn within it.
    put_time: Duration,
}

impl Run {
    /// Puts one record, kills a node somewhere in between and starts it again.
    fn put_with_kill(&mut self, index: u32) -> Result<()> {
        let (name, seed) = (format!("record-{index}"), self.rng.next_u64());
        let path = self.network.scratch().join(&name);
        fs::write(&path, content(seed))?;
        let moment = self.put_time.mul_f64(self.fraction());
        let nodes = self.network.nodes()?;
        ensure!(nodes.len() == usize::from(NODES), "only {} nodes came back", nodes.len());
        let victim = nodes[self.rng.next_u32() as usize % nodes.len()];
        let start = Instant::now();
        let path_text = path.to_str().context("the scratch path is not UTF-8")?;
        let put = self.network.spawn(&["put", path_text])?;
        std::thread::sleep(moment);
        victim.kill()?;
        self.kills += 1;
        let output = put.wait_with_output()?;
        match answer(&output) {
            Ok(_) => {
                self.put_time = start.elapsed().min(Duration::from_secs(5));
                self.acknowledged.insert(name, seed);
            }
            Err(error) => {
                eprintln!("{name} was refused: {error:#}");
                self.refused.insert(name, seed);
            }
        }
        fs::remove_file(path)?;
        self.network.run(&["local", "up"])?;
        Ok(())
    }

    fn kill_nodes(&mut self, count: usize) -> Result<()> {
        let mut nodes = self.network.nodes()?;
        for _ in 0..count {
            let index = self.rng.next_u32() as usize % nodes.len();
            nodes.swap_remove(index).kill()?;
        }
        Ok(())
    }

    /// kill -9 and a deleted folder but for a copy of the key: the chain comes back from the nodes
    /// that follow it.
    fn lose_validator(&mut self) -> Result<()> {
        let status = self.network.run(&["local", "status"])?;
        for validator in self.network.validators()? {
            validator.kill()?;
        }
        let folder = self.network.machines().join("validator");
        let (key, network) =
            (folder.join("identity.key"), self.network.machines().join("network.toml"));
        let saved = self.network.scratch().join("identity.key");
        fs::rename(&key, &saved)?;
        fs::remove_dir_all(&folder)?;
        fs::create_dir(&folder)?;
        fs::rename(&saved, &key)?;
        let sources = machines(&status).filter(|machine| machine["name"] != "validator");
        let sources = sources.filter_map(|node| {
            Some(format!("{}@{}", node["id"].as_str()?, node["address"].as_str()?))
        });
        let sources: Vec<String> = sources.collect();
        let network = network.to_str().context("the path is not UTF-8")?;
        let mut arguments = vec!["--network", network, "validator", "init", "--recover"];
        arguments.extend(sources.iter().flat_map(|source| ["--source", source]));
        self.network.run_over(&folder, &arguments)?;
        self.network.run(&["local", "up"])?;
        Ok(())
    }

    /// Reads everything with a fresh process and compares every byte.
    fn check(&self, when: &str, report: &mut Report) -> Result<()> {
        let listed = listed_names(&self.network.run(&["ls"])?);
        let unlisted = self.acknowledged.keys().filter(|name| !listed.contains(name)).count();
        let restored = tempfile::tempdir_in(self.network.scratch())?;
        let folder = restored.path().to_str().context("the scratch path is not UTF-8")?;
        self.network.run(&["get", "--all", "--output", folder])?;
        let differs = |(name, seed): (&String, &u64)| !holds(&restored.path().join(name), *seed);
        let lost = self.acknowledged.iter().filter(|record| differs(*record)).count();
        let shown = self.refused.iter().filter(|(name, _)| listed.contains(name));
        let halves = shown.filter(|record| differs(*record)).count();
        report.count(format!("{when}_acknowledged_lost"), lost + unlisted).goal(Goal::AtMost(0.0));
        report.count(format!("{when}_halves_visible"), halves).goal(Goal::AtMost(0.0));
        Ok(())
    }

    fn fraction(&mut self) -> f64 {
        f64::from(self.rng.next_u32()) / f64::from(u32::MAX)
    }
}
