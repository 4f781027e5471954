//! What machines there are, and what befalls them.

use toml::Value;

use super::Notice;
use super::laws::{law, laws};
use super::reader::{Reader, ScenarioError};
use crate::fleet::{Absence, Corruption, Kind, MassLoss, Outages, Session};
use crate::quantity::{parse_share, parse_span};
use crate::random::Law;
use crate::time::{DAY, Nanoseconds};

/// Machines.
pub(super) struct Network {
    pub(super) nodes: u64,
    pub(super) zones: u64,
    pub(super) lives: Vec<Law>,
    pub(super) kinds: Vec<Kind>,
}

/// `pauses` are those of machines of no kind.
pub(super) fn read_network(
    mut reader: Reader,
    notice: &Notice,
    pauses: Option<&Absence>,
) -> Result<Network, ScenarioError> {
    let nodes = reader.count("nodes", 2, i64::MAX as u64)?;
    let nodes = nodes.ok_or_else(|| reader.missing("nodes", "25"))?;
    let zones = reader.count("zones", 1, nodes)?.unwrap_or(nodes);
    let lives = laws(&mut reader, "lifetime")?;
    let at = reader.at("kinds");
    let list = match reader.take("kinds") {
        None => Vec::new(),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(ScenarioError::new(at, "is not a list", "[[network.kinds]]")),
    };
    reader.finish()?;
    let others = Others { nodes, lives: &lives, pauses };
    let kinds = (1..).zip(list);
    let kinds = kinds.map(|(number, value)| others.kind(&format!("{at}[{number}]"), value, notice));
    let kinds = kinds.collect::<Result<Vec<Kind>, _>>()?;
    let of_kinds: u64 = kinds.iter().map(|kind| u64::from(kind.nodes)).sum();
    if of_kinds > nodes {
        let message =
            format!("have {of_kinds} machines, and network.nodes is {nodes} of all kinds");
        return Err(ScenarioError::new(at, message, format!("network.nodes = {of_kinds}")));
    }
    Ok(Network { nodes, zones, lives, kinds })
}

/// What holds for a kind of machines that does not say otherwise.
struct Others<'a> {
    /// Of all kinds.
    nodes: u64,
    lives: &'a [Law],
    pauses: Option<&'a Absence>,
}

impl Others<'_> {
    fn kind(&self, at: &str, value: Value, notice: &Notice) -> Result<Kind, ScenarioError> {
        let mut reader = Reader::of(at, value, "{ nodes = 5, lifetime = \"never\" }")?;
        let nodes = reader.count("nodes", 1, self.nodes)?;
        let share = reader.quantity("share", parse_share)?;
        let nodes = match (nodes, share) {
            (Some(nodes), None) => nodes as u32,
            (None, Some(share)) => (share * self.nodes as f64).round() as u32,
            _ => {
                let message = "needs either a number of machines or a share of all";
                return Err(ScenarioError::new(at, message, "nodes = 5 or share = \"20%\""));
            }
        };
        let lives = match reader.has("lifetime") {
            true => laws(&mut reader, "lifetime")?,
            false => self.lives.to_vec(),
        };
        let pauses = reader.section("pauses")?;
        let absence = pauses.map(|pauses| read_pauses(pauses, notice, self.pauses)).transpose()?;
        reader.finish()?;
        Ok(Kind { nodes, lives, absence })
    }
}

/// `others` pause for so long, and with this time-out, where nothing else is said.
pub(super) fn read_pauses(
    mut reader: Reader,
    notice: &Notice,
    others: Option<&Absence>,
) -> Result<Absence, ScenarioError> {
    let example = "{ exponential = \"3h\" }";
    let length = law(&mut reader, "length")?.or_else(|| others.map(|other| other.length.clone()));
    let length = length.ok_or_else(|| reader.missing("length", example))?;
    let timeout = reader.quantity("timeout", parse_span)?;
    let timeout = match (timeout, notice.patience, others) {
        (Some(_), Some(_), _) => {
            let message = "is given beside repair.patience";
            return Err(ScenarioError::new(reader.at("timeout"), message, "one of the two"));
        }
        (Some(timeout), None, _) => timeout as Nanoseconds,
        (None, Some(patience), _) => patience,
        (None, None, Some(others)) => others.timeout,
        (None, None, None) => return Err(reader.missing("timeout", "\"1d\"")),
    };
    let at = reader.at("session");
    let session = read_session(&mut reader, &length)?;
    reader.finish()?;
    if session == Session::Law(Law::Fixed(0.0)) && length == Law::Fixed(0.0) {
        return Err(ScenarioError::new(at, "never passes any time", example));
    }
    Ok(Absence { session, length, timeout })
}

/// When a machine pauses that is then away for a length.
fn read_session(reader: &mut Reader, length: &Law) -> Result<Session, ScenarioError> {
    let session = law(reader, "session")?;
    let daily = reader.quantity("daily", parse_span)?;
    let spread = reader.quantity("spread", parse_span)?.unwrap_or(0.0);
    let availability = reader.quantity("availability", parse_share)?;
    match (session, daily, availability) {
        (Some(law), None, None) => Ok(Session::Law(law)),
        (None, Some(at), None) if at < DAY as f64 && spread <= DAY as f64 => {
            Ok(Session::Daily { at: at as Nanoseconds, spread: spread as Nanoseconds })
        }
        (None, Some(_), None) => {
            let message = "must be a time of day, and the spread at most a day";
            Err(ScenarioError::new(reader.at("daily"), message, "\"22h\""))
        }
        (None, None, Some(share)) => match length {
            Law::Exponential { mean } if share > 0.0 && share < 1.0 => {
                Ok(Session::Law(Law::Exponential { mean: mean * share / (1.0 - share) }))
            }
            _ => {
                let message = "must be between 0% and 100%, with a length that is exponential";
                let advice = "\"75%\", and length = { exponential = \"3h\" }";
                Err(ScenarioError::new(reader.at("availability"), message, advice))
            }
        },
        _ => {
            let message = "needs either a session, a time of day or an availability";
            let advice = "session = { exponential = \"9h\" } or daily = \"22h\"";
            Err(ScenarioError::new(reader.at("session"), message, advice))
        }
    }
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
