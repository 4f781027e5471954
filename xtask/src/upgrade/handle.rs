//! A vault behind a handle on a network of four validators: after all machines have another program,
//! its passphrase opens it on a machine that has nothing, before and after the rules change.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::{pinned, replace, store, upgrade_order};
use crate::owner::Owner;
use crate::product::LocalNetwork;
use crate::records::holds;
use crate::report::{Goal, Report};

/// Of these more than two thirds decide.
const VALIDATORS: usize = 4;

pub(super) fn run(
    new: &Path,
    records: usize,
    nodes: u8,
    seed: u64,
    report: &mut Report,
) -> Result<()> {
    let old = pinned::build(pinned::WITH_HANDLES)?;
    let (nodes, validators) = (nodes.to_string(), VALIDATORS.to_string());
    let mut network = LocalNetwork::up(old, &["--nodes", &nodes, "--validators", &validators])?;
    let owner = Owner::new(&network, "upgrade")?;
    let put = |words: &[&str]| owner.run(&network, &network.data(), words).map(drop);
    let stored = store(network.scratch(), records, seed, put)?;
    report.count("handle_records_before", stored.len()).goal(Goal::AtLeast(records as f64));
    network.set_program(new.to_owned());
    for machine in &upgrade_order(network.running()?) {
        replace(&network, machine, new)?;
    }
    check(&network, &owner, &stored, "upgraded", report)?;
    let in_force = activate(&network)?;
    report.count("handle_rules_in_force", usize::from(in_force)).goal(Goal::AtLeast(1.0));
    check(&network, &owner, &stored, "activated", report)
}

/// Opens the vault on a machine with an empty folder and compares every record.
fn check(
    network: &LocalNetwork,
    owner: &Owner,
    stored: &BTreeMap<String, u64>,
    when: &str,
    report: &mut Report,
) -> Result<()> {
    let fresh = tempfile::tempdir_in(network.scratch())?;
    owner.run(network, fresh.path(), &["vault", "open", &owner.handle])?;
    let restored = fresh.path().join("restored");
    std::fs::create_dir(&restored)?;
    let output = restored.to_str().context("not UTF-8")?;
    owner.run(network, fresh.path(), &["get", "--all", "--output", output])?;
    let same = stored.iter().filter(|(name, seed)| holds(&restored.join(name), **seed)).count();
    report
        .count(format!("handle_{when}_reads_identical"), same)
        .goal(Goal::AtLeast(stored.len() as f64));
    Ok(())
}

/// Has the validators vote for the new program's rules; whether they are in force.
fn activate(network: &LocalNetwork) -> Result<bool> {
    let network_file = network.machines().join("network.toml");
    let words = ["--network", network_file.to_str().context("not UTF-8")?, "validator", "upgrade"];
    let machines = network.running()?;
    let validators: Vec<_> = machines.iter().filter(|machine| machine.is_validator()).collect();
    ensure!(validators.len() == VALIDATORS, "{} validators run", validators.len());
    let mut in_force = false;
    for validator in validators {
        in_force = network.run_over(&validator.folder, &words)?["in_force"] == true;
    }
    Ok(in_force)
}
