//! `upgrade`: a network of the last release's program goes over to this one's, machine by machine
//! and under load, and nothing is lost.
//!
//! Every machine opens the folder that the old program wrote. Clients of the old program put and of
//! both get all the while; at last the owner goes over, too, and the vault gets its catalogue. Then
//! a network with a vault behind a handle, of a program that knows them.

mod handle;
mod pinned;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use serde_json::Value;

use crate::load::Load;
use crate::product::{self, Kakera, LocalNetwork, Machine, total};
use crate::records::content;
use crate::report::{Goal, Report};

/// Records of one put before the upgrade.
const RECORDS_PER_PUT: usize = 10;
/// How long a program may take to see that it cannot open a folder.
const REFUSAL_TIME_MAX: Duration = Duration::from_secs(30);
/// Where `chain.log` says its format's version, little endian (`engine/spec/store.md` §3).
const LOG_VERSION_OFFSET: usize = 8;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Records before the upgrade
    #[arg(long, default_value_t = 300)]
    records: usize,
    /// Storage nodes
    #[arg(long, default_value_t = 10)]
    nodes: u8,
    /// Where every draw begins
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// 40 records on 5 nodes
    #[arg(long, conflicts_with_all = ["records", "nodes"])]
    short: bool,
}

pub(crate) fn run(options: &Options) -> Result<Report> {
    let (records, nodes) = if options.short { (40, 5) } else { (options.records, options.nodes) };
    let (old, new) = (pinned::build(pinned::SINGLE_VALIDATOR)?, product::build()?);
    eprintln!("upgrade: seed {}, {records} records, {nodes} nodes", options.seed);
    let mut report = Report::new("upgrade");
    // The old program knows one validator only.
    let mut network = LocalNetwork::up(old.clone(), &["--nodes", &nodes.to_string()])?;
    // It knows no handles either: its vaults are files.
    network.run(&["vault", "create", "--profile", "small"])?;
    let put = |words: &[&str]| network.run(words).map(drop);
    let stored = store(network.scratch(), records, options.seed, put)?;
    report.count("records_before", stored.len()).goal(Goal::AtLeast(records as f64));
    report.add("megabytes_before", megabytes(&stored));

    let data = network.data();
    let programs = [&old, &new].map(|program| Kakera::new(program, &data));
    let load = Load::start(programs.clone(), network.scratch().to_owned(), stored, options.seed);
    load.wait_for_success()?;
    network.set_program(new.clone());
    let machines = upgrade_order(network.running()?);
    for machine in &machines {
        replace(&network, machine, &new)?;
        load.wait_for_success().with_context(|| format!("after {} was replaced", machine.name))?;
    }
    report.count("machines_replaced", machines.len()).goal(Goal::AtLeast(f64::from(nodes) + 1.0));
    let outcome = load.stop()?;
    report.add("upgrade_seconds", (outcome.end - outcome.start).as_secs_f64());
    outcome.add_to(&mut report);

    for (program, name) in programs.iter().zip(["old", "new"]) {
        outcome.check_records(program, name, network.scratch(), &mut report)?;
        let verified = program.run(&["ledger", "verify"])?;
        let blocks = total(&verified, "height");
        report.add(format!("{name}_program_verifies_blocks"), blocks).goal(Goal::AtLeast(1.0));
    }
    activate(&network, &programs, outcome.acknowledged, options.seed, &mut report)?;
    check_refusals(&network, &old, &mut report)?;
    handle::run(&new, records, nodes, options.seed, &mut report)?;
    Ok(report)
}

/// Has the validators vote for the new program's rules while it puts and gets; then reads all.
fn activate(
    network: &LocalNetwork,
    [old, new]: &[Kakera; 2],
    stored: BTreeMap<String, u64>,
    seed: u64,
    report: &mut Report,
) -> Result<()> {
    let programs = [new.clone(), new.clone()];
    let load = Load::start(programs, network.scratch().to_owned(), stored, seed + 10);
    load.wait_for_success()?;
    let network_file = network.machines().join("network.toml");
    let words = ["--network", network_file.to_str().context("not UTF-8")?, "validator", "upgrade"];
    for validator in network.running()?.iter().filter(|machine| machine.is_validator()) {
        let voted = network.run_over(&validator.folder, &words)?;
        report.add("rules_version", total(&voted, "version")).goal(Goal::AtLeast(2.0));
        let in_force = usize::from(voted["in_force"] == true);
        report.count("rules_in_force", in_force).goal(Goal::AtLeast(1.0));
    }
    load.wait_for_success()?;
    let outcome = load.stop()?;
    let counts = [("puts", &outcome.puts), ("gets", &outcome.gets)];
    for (name, series) in counts {
        let count = series.successes.len();
        report.count(format!("{name}_around_activation"), count).goal(Goal::AtLeast(2.0));
        series.failures.iter().for_each(|failure| eprintln!("refused: {failure}"));
    }
    outcome.check_records(new, "activated", network.scratch(), report)?;
    let verified = new.run(&["ledger", "verify"])?;
    report.add("activated_verifies_blocks", total(&verified, "height")).goal(Goal::AtLeast(1.0));
    // What the old program says of a vault with a catalogue.
    let output = old.command(&["ls"]).output()?;
    eprintln!(
        "upgrade: the old program on a catalogue: {}",
        String::from_utf8_lossy(&output.stdout)
    );
    let refused = f64::from(output.status.code().unwrap_or_default());
    report.add("old_program_on_catalogue_exit_code", refused).goal(Goal::AtLeast(1.0));
    // What the old program says of a chain under rules that it does not know.
    let output = old.command(&["ledger", "verify"]).output()?;
    eprintln!(
        "upgrade: the old program on the new rules: {}",
        String::from_utf8_lossy(&output.stdout)
    );
    let refused = f64::from(output.status.code().unwrap_or_default());
    report.add("old_program_on_new_rules_exit_code", refused).goal(Goal::AtLeast(1.0));
    Ok(())
}

/// Puts records of all sizes, several at a time; their seeds by name.
fn store(
    scratch: &Path,
    records: usize,
    seed: u64,
    run: impl Fn(&[&str]) -> Result<()>,
) -> Result<BTreeMap<String, u64>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let seeds = (0..records).map(|index| (format!("record-{index}"), rng.next_u64()));
    let stored: BTreeMap<String, u64> = seeds.collect();
    for some in stored.iter().collect::<Vec<_>>().chunks(RECORDS_PER_PUT) {
        let files = tempfile::tempdir_in(scratch)?;
        let mut arguments = vec!["put".to_owned()];
        for (name, seed) in some {
            let path = files.path().join(name);
            fs::write(&path, content(**seed))?;
            arguments.push(path.to_str().context("not UTF-8")?.to_owned());
        }
        run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    }
    Ok(stored)
}

fn megabytes(records: &BTreeMap<String, u64>) -> f64 {
    records.values().map(|seed| content(*seed).len() as f64).sum::<f64>() / 1e6
}

/// Validators after half of the nodes: each program follows the other's blocks for a while.
fn upgrade_order(machines: Vec<Machine>) -> Vec<Machine> {
    let (validators, mut order): (Vec<_>, Vec<_>) =
        machines.into_iter().partition(Machine::is_validator);
    let middle = order.len() / 2;
    order.splice(middle..middle, validators);
    order
}

/// Ends a machine's process and has `local up` of the new program start it over the same folder.
fn replace(network: &LocalNetwork, machine: &Machine, new: &Path) -> Result<()> {
    machine.process.terminate()?;
    network.run(&["local", "up"])?;
    let machines = network.running()?;
    let running = machines.iter().find(|running| running.id == machine.id);
    let program = running.and_then(|running| running.process.program());
    ensure!(
        program.as_deref() == Some(fs::canonicalize(new)?.as_path()),
        "{} runs {program:?} after its upgrade",
        machine.name
    );
    Ok(())
}

/// Starts the old program on copies of a validator's and a node's folder whose logs say that a
/// newer format was written.
fn check_refusals(network: &LocalNetwork, old: &Path, report: &mut Report) -> Result<()> {
    let mut machines = network.running()?;
    machines.dedup_by_key(|machine| machine.is_validator());
    for machine in machines {
        let copy = tempfile::tempdir_in(network.scratch())?;
        for name in ["identity.key", "chain.log"] {
            fs::copy(machine.folder.join(name), copy.path().join(name))?;
        }
        let log = copy.path().join("chain.log");
        let mut bytes = fs::read(&log)?;
        bytes[LOG_VERSION_OFFSET] += 1;
        fs::write(&log, bytes)?;
        let (exit_code, message) = refusal(network, old, copy.path(), machine.run_words())?;
        eprintln!("upgrade: the old program on a newer {}: {message}", machine.run_words()[0]);
        let clear = message.contains("format version") && message.contains("try: upgrade");
        ensure!(clear, "the old program's refusal does not say what to do: {message}");
        report
            .add(format!("old_{}_exit_code", machine.run_words()[0]), f64::from(exit_code))
            .goal(Goal::AtLeast(1.0));
    }
    Ok(())
}

/// The exit code and the message with which a program refuses to run a machine.
fn refusal(
    network: &LocalNetwork,
    program: &Path,
    folder: &Path,
    words: [&str; 2],
) -> Result<(i32, String)> {
    let network_file = network.machines().join("network.toml");
    let network_file = network_file.to_str().context("not UTF-8")?;
    let mut arguments = vec!["--network", network_file];
    arguments.extend(words);
    arguments.extend(["--listen", "127.0.0.1:0"]);
    let output = Kakera::new(program, folder).run_within(REFUSAL_TIME_MAX, &arguments)?;
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let text = |key: &str| answer["error"][key].as_str();
    match (output.status.code(), text("message"), text("try")) {
        (Some(exit_code), Some(message), Some(advice)) => {
            Ok((exit_code, format!("{message}; try: {advice}")))
        }
        _ => bail!("the old program runs {words:?} on a newer folder: {}", output.status),
    }
}
