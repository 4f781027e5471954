//! The section `[protocol]`: what a scenario must be for protocol mode, and what that needs beside.

use std::time::Duration;

use kakera_engine::code::CodeParameters;
use kakera_engine::keyshare::KeyParameters;
use kakera_engine::policy::refresh::{RefreshTimes, objects_max};

use super::reader::{Reader, ScenarioError};
use crate::fleet::{Attack, Fleet, Repair, RepairTime};
use crate::protocol::Network;
use crate::quantity::{parse_share, parse_size, parse_span};
use crate::random::Law;
use crate::time::{DAY, Nanoseconds, SECOND};

/// Machines and objects of one run; each is there in full.
const NODES_MAX: u32 = 5000;
const OBJECTS_MAX: u64 = 1_000_000;
/// An object is at most 4 MiB with what sealing adds.
const OBJECT_BYTES_MAX: f64 = 4e6;
const MINUTE: Nanoseconds = 60 * SECOND;

/// Reads the section, for a fleet and its codes.
pub(super) fn read(
    mut reader: Reader,
    fleet: &Fleet,
    code: CodeParameters,
    key: Option<KeyParameters>,
    bytes_per_group: u64,
) -> Result<Network, ScenarioError> {
    let validators = reader.count("validators", 1, 100)?.unwrap_or(1);
    let object = reader.quantity("object", parse_size)?.unwrap_or(65536.0);
    let scrub = reader.quantity("scrub", parse_span)?.unwrap_or(DAY as f64);
    let loss = reader.quantity("loss", parse_share)?.unwrap_or(0.0);
    let (object_at, scrub_at) = (reader.at("object"), reader.at("scrub"));
    reader.finish()?;
    check_fleet(fleet)?;
    if !(1.0..=OBJECT_BYTES_MAX).contains(&object) {
        return Err(ScenarioError::new(object_at, "is not between 1B and 4MB", "\"64KiB\""));
    }
    if scrub < SECOND as f64 {
        return Err(ScenarioError::new(scrub_at, "is below a second", "\"1d\""));
    }
    let key = key.ok_or_else(|| {
        let message = "is missing, and full nodes hold key shares";
        ScenarioError::new("code.key", message, "key = { k = 10, d = 11 }")
    })?;
    let objects_per_group = (bytes_per_group as f64 / object).round().max(1.0) as u64;
    let network = Network {
        nodes: fleet.nodes,
        zones: fleet.zones,
        validators: validators as u32,
        groups: fleet.groups,
        code,
        key,
        objects_per_group: u32::try_from(objects_per_group).unwrap_or(u32::MAX),
        object_bytes: object as u32,
        lost_after: lost_after(fleet)?,
        refresh: refresh(fleet)?,
        scrub_every: Duration::from_nanos(scrub as u64),
        loss_percent: (loss * 100.0).round() as u64,
        bytes_per_second: bytes_per_second(&fleet.repair)?,
    };
    let objects = objects_per_group.saturating_mul(fleet.groups.into());
    if objects > OBJECTS_MAX {
        let gigabytes = network.memory_bytes_of(objects) as f64 / 1e9;
        let message = format!(
            "makes {objects} objects, which need {gigabytes:.0} GB of memory a thread, and \
             {OBJECTS_MAX} can be in full nodes"
        );
        return Err(ScenarioError::new("objects.bytes_per_group", message, "\"1MiB\""));
    }
    Ok(network)
}

/// What only counts can do.
fn check_fleet(fleet: &Fleet) -> Result<(), ScenarioError> {
    if fleet.nodes > NODES_MAX {
        let message = format!("is above {NODES_MAX}, the most full nodes of a run");
        return Err(ScenarioError::new("network.nodes", message, "leave [protocol] out"));
    }
    if fleet.corruption.is_some() {
        let message = "is of counts: full nodes find what their disks lose in a scrub";
        return Err(ScenarioError::new("corruption", message, "leave [protocol] out"));
    }
    if fleet.quorum_losses.is_some() {
        let message = "is of counts: with full nodes, validators pause or die";
        return Err(ScenarioError::new("quorum_losses", message, "leave [protocol] out"));
    }
    Ok(())
}

/// When key shares are refreshed, which is the attacker's epoch.
fn refresh(fleet: &Fleet) -> Result<Option<RefreshTimes>, ScenarioError> {
    let times = fleet.attack.as_ref().and_then(Attack::refresh_times);
    if times.is_some() && objects_max(fleet.n) == 0 {
        let message = format!("is not possible: {} slots are too many signatures", fleet.n);
        return Err(ScenarioError::new("attacker.refresh", message, "a group of at most 64 slots"));
    }
    Ok(times)
}

/// The silence after which validators give a machine up.
fn lost_after(fleet: &Fleet) -> Result<Duration, ScenarioError> {
    let example = "patience = \"4h\" instead of a detection";
    let Some(patience) = fleet.patience else {
        let message = "is missing, and full nodes find losses by themselves";
        return Err(ScenarioError::new("repair.patience", message, example));
    };
    if patience < MINUTE {
        let message = "is below a minute, and nobody is given up sooner";
        return Err(ScenarioError::new("repair.patience", message, example));
    }
    Ok(Duration::from_nanos(patience))
}

fn bytes_per_second(repair: &Repair) -> Result<Option<f64>, ScenarioError> {
    match repair {
        Repair::Each(RepairTime::BytesPerSecond(rate)) => Ok(Some(*rate)),
        Repair::Each(RepairTime::Law(Law::Fixed(0.0))) => Ok(None),
        _ => {
            let message = "follows from the protocol: say how fast a node's link is";
            Err(ScenarioError::new("repair", message, "mode = \"each\", rate = \"10MB/s\""))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    const TEXT: &str = include_str!("../../scenarios/hundred-full-nodes.toml");

    #[test]
    fn a_scenario_of_full_nodes_is_read() {
        let network = Scenario::parse(TEXT).unwrap().campaign.protocol.unwrap();
        assert_eq!((network.nodes, network.validators, network.groups), (100, 4, 10));
        assert_eq!((network.objects_per_group, network.object_bytes), (16, 65536));
        assert_eq!(network.lost_after, Duration::from_secs(4 * 3600));
        assert_eq!((network.bytes_per_second, network.loss_percent), (Some(1e7), 0));
        let megabytes = network.memory_bytes() as f64 / 1e6;
        assert!((20.0..80.0).contains(&megabytes), "{megabytes}");
    }

    #[test]
    fn what_full_nodes_cannot_do_is_refused() {
        // Without pauses and attacker, which need patience and keys themselves.
        let (before, after) = TEXT.split_once("[pauses]").unwrap();
        let base = format!("{before}{}", &after[after.find("[protocol]").unwrap()..]);
        let refreshed = "[attacker]\nhostile = \"5%\"\nrefresh = \"30d\"\n[run]";
        let many = base.replacen("mbr(20,8,14)", "mbr(70,8,14)", 1).replacen("[run]", refreshed, 1);
        assert_eq!(Scenario::parse(&many).unwrap_err().at, "attacker.refresh");
        for (from, to, at) in [
            ("patience = \"4h\"", "detection = { fixed = \"4h\" }", "repair.patience"),
            ("patience = \"4h\"", "patience = \"4s\"", "repair.patience"),
            ("rate = \"10MB/s\"", "time = { exponential = \"1h\" }", "repair"),
            ("rate =", "mode = \"one-by-one\"\nrate =", "repair"),
            ("nodes = 100", "nodes = 10000", "network.nodes"),
            ("\"1MiB\"", "\"1TiB\"", "objects.bytes_per_group"),
            ("validators = 4", "validators = 4\nobject = \"1GiB\"", "protocol.object"),
            ("validators = 4", "validators = 0", "protocol.validators"),
            ("validators = 4", "watchers = 4", "protocol.watchers"),
            ("key = { k = 10, d = 11 }", "", "code.key"),
        ] {
            let error = Scenario::parse(&base.replacen(from, to, 1)).unwrap_err();
            assert_eq!(error.at, at, "{error}");
        }
    }
}
