//! One network, from its founding to its end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use kakera_engine::keyshare::KeyParameters;
use kakera_engine::ledger::{RULES_VERSION_MAX, State};
use kakera_engine::peer::{AuditSettings, CustodySettings, WatchSettings};
use kakera_engine::policy::refresh::RefreshTimes;
use kakera_engine::policy::suspicion::LadderTimes;
use kakera_net::testkit::network::{Network, Plan};
use kakera_net::testkit::{Weather, Wire, counts, simulate};
use tokio::time::{Instant, sleep, sleep_until};

use super::load::Load;
use super::storm::Storm;
use super::{Outcome, judge, misfits};

/// Machines that may join in place of those that die.
const NEWCOMERS_MAX: usize = 100;
/// How long the network may take to be whole after the storm.
const WHOLE_TIME_MAX: Duration = Duration::from_secs(900);
/// When a machine is lost.
pub(super) const LOST_AFTER: Duration = Duration::from_secs(20);
/// How often a slot is compared with its helpers.
const COMPARE_EVERY: Duration = Duration::from_secs(60);

/// Seconds and minutes where a network in use has hours and months.
fn plan(nodes: usize) -> Plan {
    Plan {
        validators: 4,
        code: "mbr(10,5,7)".parse().expect("a code that exists"),
        key: KeyParameters::new(10, 5, 6).expect("a key code that exists"),
        version: RULES_VERSION_MAX,
        nodes_max: nodes + NEWCOMERS_MAX,
        watch: WatchSettings {
            times: LadderTimes { suspect_after: Duration::from_secs(6), lost_after: LOST_AFTER },
            probe_every: Duration::from_secs(2),
        },
        custody: CustodySettings {
            compare_every: COMPARE_EVERY,
            scrub_pause: Duration::from_secs(1),
        },
        // A liar is given up when enough of dozens of neighbours drew it three times each.
        audit: AuditSettings { every: Duration::from_millis(500), ..AuditSettings::default() },
        refresh: RefreshTimes {
            epoch: Duration::from_secs(120),
            round: Duration::from_secs(10),
            pause: Duration::from_secs(11),
        },
    }
}

/// Founds a network, lets a storm rage over it, and judges what is left.
pub(super) fn run(seed: u64, nodes: usize, trouble: Duration) -> Result<Outcome> {
    // Files that nobody syncs to a disk, where the system has such a folder.
    let memory = std::path::Path::new("/dev/shm");
    let folder = match memory.is_dir() {
        true => tempfile::tempdir_in(memory)?,
        false => tempfile::tempdir()?,
    };
    simulate(seed, Weather::default(), async |wire| {
        let begun = Instant::now();
        let mut network = Network::found(&wire, folder.path(), plan(nodes));
        let outcome = weather(seed, &wire, &mut network, nodes, trouble).await?;
        Ok(Outcome { virtual_time: begun.elapsed(), ..outcome })
    })
}

async fn weather(
    seed: u64,
    wire: &Wire,
    network: &mut Network,
    nodes: usize,
    trouble: Duration,
) -> Result<Outcome> {
    let begun = (Instant::now(), std::time::Instant::now());
    let tell = |what: &str| {
        let (at, took) = (begun.0.elapsed().as_secs(), begun.1.elapsed().as_secs());
        let datagrams = wire.traffic().datagrams;
        eprintln!(
            "wire-sim: seed {seed}: virtual second {at}, {took} s, {datagrams} datagrams: {what}"
        );
    };
    network.add_nodes(nodes).await;
    tell("all nodes run");
    let ledger = network.observer().await;
    wait_until(WHOLE_TIME_MAX, || are_drawn(ledger.view().state(), nodes)).await;
    let mut load = Load::start(seed, network).await?;
    load.wait_for_first_records().await;
    tell("the first records are put, the storm begins");

    let used = load.groups(network).await;
    let ill_formed = misfits::put(seed, network, &used).await?;
    tell("ill-formed objects are put");
    let mut storm = Storm::new(seed, wire.clone(), Arc::clone(&ledger), used);
    storm.plant_liars(network).await?;
    storm.rage(network, trouble).await;
    load.stop().await;
    wire.clear_up();
    let over = Instant::now();
    tell("the storm is over");
    wait_until(WHOLE_TIME_MAX, || storm.is_whole(network)).await;
    tell("every slot is whole, or patience is at an end");
    let mut broken = load.check_records(network).await;
    tell("all records are read");
    // What is in no place yet is found by a comparison, and tried again once.
    sleep_until(over + COMPARE_EVERY * 2).await;
    wait_until(WHOLE_TIME_MAX, || storm.is_whole(network)).await;
    broken.extend(storm.gaps(network));
    tell("all is settled, or patience is at an end");
    let (trace, trace_by_second) = (wire.trace(), wire.trace_by_second());
    let (traffic, counts) = (wire.traffic(), counts());
    network.stop().await;
    tell("all have stopped");
    let judged = judge::judge(network, &storm, &load.objects(), &mut broken)?;
    let (faults, load) = (storm.faults().clone(), load.outcome());
    let virtual_time = Duration::ZERO;
    Ok(Outcome {
        broken,
        trace,
        trace_by_second,
        virtual_time,
        traffic,
        counts,
        faults,
        load,
        ill_formed,
        judged,
    })
}

/// Whether all groups that are due have members (`engine/spec/ledger.md` §5).
fn are_drawn(state: &State, nodes: usize) -> bool {
    let due = 1 + 4 * nodes.saturating_sub(10) / 10;
    state.groups().filter(|(_, group)| !group.holders.is_empty()).count() >= due
}

/// Waits until it is so, or patience is at an end.
async fn wait_until(patience: Duration, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() && begun.elapsed() < patience {
        sleep(Duration::from_secs(1)).await;
    }
}
