//! What machines there are, and what befalls them.

use toml::Value;

use super::laws::{law, laws};
use super::reader::{Reader, ScenarioError};
use crate::fleet::{Absence, Corruption, Kind, MassLoss, Outages, Session};
use crate::quantity::{parse_share, parse_span};
use crate::random::Law;
use crate::time::{DAY, Nanoseconds};

/// Machines.
pub(super) struct Network {
    pub(super) nodes: u32,
    pub(super) zones: u32,
    pub(super) lives: Vec<Law>,
    pub(super) kinds: Vec<Kind>,
}

pub(super) fn read_network(
    mut reader: Reader,
    patience: Option<Nanoseconds>,
) -> Result<Network, ScenarioError> {
    let nodes = reader.count("nodes", 2, 1 << 30)?;
    let nodes = nodes.ok_or_else(|| reader.missing("nodes", "25"))?;
    let zones = reader.count("zones", 1, nodes)?.unwrap_or(nodes);
    let lives = laws(&mut reader, "lifetime")?;
    let at = reader.at("kinds");
    let kinds = read_kinds(&at, reader.take("kinds"), patience)?;
    reader.finish()?;
    let others: u64 = kinds.iter().map(|kind| u64::from(kind.nodes)).sum();
    if others > nodes {
        let message = format!("have {others} machines, and network.nodes is {nodes} of all kinds");
        return Err(ScenarioError::new(at, message, format!("network.nodes = {others}")));
    }
    Ok(Network { nodes: nodes as u32, zones: zones as u32, lives, kinds })
}

fn read_kinds(
    at: &str,
    value: Option<Value>,
    patience: Option<Nanoseconds>,
) -> Result<Vec<Kind>, ScenarioError> {
    let list = match value {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(ScenarioError::new(at, "is not a list", "[[network.kinds]]")),
    };
    let kind = |(number, value): (u32, Value)| {
        let example = "{ nodes = 5, lifetime = { exponential = \"180d\" } }";
        let mut reader = Reader::of(&format!("{at}[{number}]"), value, example)?;
        let nodes = reader.count("nodes", 1, 1 << 30)?;
        let nodes = nodes.ok_or_else(|| reader.missing("nodes", "5"))? as u32;
        let lives = laws(&mut reader, "lifetime")?;
        let pauses = reader.section("pauses")?;
        let absence = pauses.map(|pauses| read_pauses(pauses, patience)).transpose()?;
        reader.finish()?;
        Ok(Kind { nodes, lives, absence })
    };
    (1..).zip(list).map(kind).collect()
}

pub(super) fn read_pauses(
    mut reader: Reader,
    patience: Option<Nanoseconds>,
) -> Result<Absence, ScenarioError> {
    let example = "{ exponential = \"3h\" }";
    let at = reader.at("session");
    let session = law(&mut reader, "session")?;
    let daily = reader.quantity("daily", parse_span)?;
    let spread = reader.quantity("spread", parse_span)?.unwrap_or(0.0);
    let length = law(&mut reader, "length")?.ok_or_else(|| reader.missing("length", example))?;
    let timeout = reader.quantity("timeout", parse_span)?;
    let timeout = match (timeout, patience) {
        (Some(_), Some(_)) => {
            let message = "is given beside repair.patience";
            return Err(ScenarioError::new(reader.at("timeout"), message, "one of the two"));
        }
        (None, Some(patience)) => patience,
        (Some(timeout), None) => timeout as Nanoseconds,
        (None, None) => return Err(reader.missing("timeout", "\"1d\"")),
    };
    let daily_at = reader.at("daily");
    reader.finish()?;
    if session == Some(Law::Fixed(0.0)) && length == Law::Fixed(0.0) {
        return Err(ScenarioError::new(at, "never passes any time", example));
    }
    let session = match (session, daily) {
        (Some(law), None) => Session::Law(law),
        (None, Some(at)) if at < DAY as f64 && spread <= DAY as f64 => {
            Session::Daily { at: at as Nanoseconds, spread: spread as Nanoseconds }
        }
        (None, Some(_)) => {
            let message = "must be a time of day, and the spread at most a day";
            return Err(ScenarioError::new(daily_at, message, "\"22h\""));
        }
        _ => {
            let message = "needs either a session or a time of day";
            let advice = "session = { exponential = \"9h\" } or daily = \"22h\"";
            return Err(ScenarioError::new(at, message, advice));
        }
    };
    Ok(Absence { session, length, timeout })
}

pub(super) fn read_outages(mut reader: Reader) -> Result<Outages, ScenarioError> {
    let example = "{ exponential = \"90d\" }";
    let interval = law(&mut reader, "every")?.ok_or_else(|| reader.missing("every", example))?;
    let example = "{ exponential = \"6h\" }";
    let length = law(&mut reader, "length")?.ok_or_else(|| reader.missing("length", example))?;
    let at = reader.at("every");
    reader.finish()?;
    if interval == Law::Fixed(0.0) && length == Law::Fixed(0.0) {
        return Err(ScenarioError::new(at, "never passes any time", "{ exponential = \"90d\" }"));
    }
    Ok(Outages { interval, length })
}

pub(super) fn read_mass_loss(mut reader: Reader) -> Result<MassLoss, ScenarioError> {
    let at = reader.quantity("at", parse_span)?.ok_or_else(|| reader.missing("at", "\"180d\""))?;
    let share = reader.quantity("share", parse_share)?;
    let share = share.ok_or_else(|| reader.missing("share", "\"50%\""))?;
    reader.finish()?;
    Ok(MassLoss { at: at as Nanoseconds, share })
}

pub(super) fn read_corruption(mut reader: Reader) -> Result<Corruption, ScenarioError> {
    let share = reader.quantity("share", parse_span)?;
    let at = reader.at("share");
    let share_mean = share.ok_or_else(|| reader.missing("share", "\"50y\""))?;
    let example = "{ uniform = \"30d\" }";
    let found = law(&mut reader, "found")?.ok_or_else(|| reader.missing("found", example))?;
    reader.finish()?;
    if share_mean < 1.0 {
        return Err(ScenarioError::new(at, "is no time at all", "\"50y\""));
    }
    Ok(Corruption { share_mean, found })
}
