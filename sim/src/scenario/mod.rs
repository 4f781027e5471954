//! Scenarios: a network, what it stores and what befalls it, as a TOML text.
//!
//! ```toml
//! [network]
//! nodes = 25                                # machines
//! zones = 5                                 # places that fail together [nodes]
//! lifetime = { exponential = "4y" }         # a law, or a list of causes of death
//! # churn = "skype"                         # measured lives and pauses, where these keys are left out
//!
//! [[network.kinds]]                         # some of these machines are of another kind [none]
//! nodes = 5                                 # or share = "20%"
//! lifetime = { exponential = "1y" }         # [as the others']
//! pauses = { session = { exponential = "9h" } }   # length and timeout [as the others']; [never]
//!
//! [code]
//! data = "mbr(20,8,14)"                     # as `kakera codes` names them
//! key = { k = 10, d = 11 }                  # the code of V [none: nothing to leak]
//!
//! [objects]
//! groups = 1                                # placement groups [1]
//! bytes_per_group = "40GiB"                 # of all objects of a group [1GiB]
//!
//! [repair]
//! mode = "each"                             # each, one-by-one or together
//! detection = { fixed = "1h" }              # from a death to its being known [at once]
//! # or patience = "4h"                      # silence after which validators give a machine up
//! time = { exponential = "12h" }            # or rate = "10MB/s"
//! # with rate: uplink = "100MB/s"           # that newcomers of a zone share evenly [endless]
//! # or helper_uplink = "2MB/s"              # of each machine, shared by those that it helps [endless]
//!
//! [pauses]                                  # [machines never pause]
//! session = { lognormal = { median = "9h", sigma = 1.0 } }   # or availability = "75%"
//! length = { exponential = "3h" }
//! timeout = "1d"                            # who is away for longer is taken for dead
//!
//! # or daily = "22h", spread = "2h"           # at ten in the evening or up to two hours later
//!
//! [outages]                                 # of whole zones [never]
//! every = { exponential = "90d" }           # from the end of one to the next
//! length = { exponential = "6h" }
//!
//! [quorum_losses]                           # of the ledger: no repairs, no refresh [never]
//! every = { exponential = "1y" }
//! length = { exponential = "1d" }
//!
//! [mass_loss]                               # [never]
//! at = "180d"
//! share = "50%"                             # of machines
//!
//! [corruption]                              # that nobody sees [never]
//! share = "50y"                             # how long a share is sound in the mean
//! found = { uniform = "30d" }               # from its decay to an audit: here one every 30 days
//!
//! [attacker]                                # [nobody]
//! hostile = "10%"                           # of machines, or machines = 3
//! refresh = "30d"                           # or "never" ["never"]; with patience, epochs of single groups
//! growth = "5%"                             # more of all newcomers in every year [0%]
//! withholds = true                          # answers audits, but no reader and no repair [false]
//!
//! [protocol]                                # run the engine's own machines [counts]
//! validators = 1                            # that watch, 1 to 100 [1]
//! object = "64KiB"                          # of the objects of a group [64KiB]
//! scrub = "1d"                              # how often a node checks what it keeps [1d]
//! loss = "0%"                               # of messages, in whole percents [0%]
//!
//! [run]
//! horizon = "1y"
//! replications = 10000                      # [10000]
//! seed = 7                                  # [1]
//! stop = { half_width = "5%" }              # or seen = 1000, or events = 1000000000 [never]
//! confidence = "99%"                        # of every interval ["95%"]
//! ```
//! What stands in brackets holds where a key is left out. A law is one of
//! `{ exponential = MEAN }`, `{ fixed = SPAN }`, `{ weibull = { shape, scale, location } }`,
//! `{ lognormal = { median, sigma } }`, `{ uniform = LONGEST }`, `{ empirical = [SPAN, …] }` and `"never"`. Spans have a unit:
//! ms, s, min, h, d, w or y (365 days); sizes too: B, KB, MB, GB, TB, KiB, MiB, GiB or TiB. What
//! happens in a network is said in [`crate::fleet`], and with `[protocol]` in [`crate::protocol`]: that
//! needs a patience, and `repair.rate` is the speed of a node's link.

pub(crate) mod churn;
mod exact;
mod full_nodes;
mod laws;
mod machines;
pub(crate) mod reader;

pub use exact::{ExactAnswer, Leak, NotExact};
pub use reader::ScenarioError;

use kakera_engine::code::{CodeKind, CodeParameters};
use kakera_engine::hash::hash;
use kakera_engine::keyshare::KeyParameters;
use kakera_engine::policy::durability;

use crate::campaign::{Campaign, Stop, Summary};
use crate::coding::{CodingSeconds, coding_seconds};
use crate::exact::{mbr_repair_share, msr_repair_share};
use crate::fleet::{Attack, Fleet, Hostile, Repair, RepairTime, Traffic};
use crate::quantity::{parse_rate, parse_share, parse_size, parse_span};
use crate::random::Law;
use crate::time::{NEVER, Nanoseconds, YEAR};
use laws::law;
use machines::{read_corruption, read_mass_loss, read_network, read_outages, read_pauses};
use reader::Reader;

/// Machines, and shares, that an event queue can number.
const ENTITIES_MAX: u64 = 1 << 30;
/// Virtual time ends after 584 years.
const HORIZON_MAX_YEARS: u64 = 500;

/// A scenario that can be run.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The model, and how often it is run.
    pub campaign: Campaign,
    /// The data code.
    pub code: CodeParameters,
    /// The key code, if there is a secret to keep.
    pub key: Option<KeyParameters>,
    /// Bytes of all objects of a group, before coding.
    pub bytes_per_group: u64,
    /// Of intervals, from 0 to 1.
    pub confidence: f64,
    /// When fewer replications are enough.
    pub stop: Option<Stop>,
    /// The hash of the text, in hexadecimal.
    pub hash: String,
}

impl Scenario {
    /// Reads a scenario.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let mut root = Reader::parse(text)?;
        churn::add_churn(root.table_mut())?;
        let mut section = |name: &'static str| root.section(name);
        let (network, code, objects) = (section("network")?, section("code")?, section("objects")?);
        let (repair, pauses, attacker) =
            (section("repair")?, section("pauses")?, section("attacker")?);
        let (outages, mass_loss) = (section("outages")?, section("mass_loss")?);
        let (corruption, quorum) = (section("corruption")?, section("quorum_losses")?);
        let (protocol, run) = (section("protocol")?, section("run")?);
        let need = |reader: Option<Reader>, name: &str| {
            reader.ok_or_else(|| ScenarioError::new(name, "is missing", format!("[{name}]")))
        };
        let network = need(network, "network")?;
        let (notice, repair) = read_repair(need(repair, "repair")?)?;
        let absence = pauses.map(|reader| read_pauses(reader, &notice, None)).transpose()?;
        let machines::Network { nodes, zones, lives, kinds } =
            read_network(network, &notice, absence.as_ref())?;
        let (code, key) = read_code(need(code, "code")?, nodes)?;
        let (groups, bytes_per_group) = read_objects(objects)?;
        let attack = attacker.map(|reader| read_attacker(reader, nodes, key)).transpose()?;
        let outages = outages.map(read_outages).transpose()?;
        let mass_loss = mass_loss.map(read_mass_loss).transpose()?;
        let corruption = corruption.map(read_corruption).transpose()?;
        let quorum_losses = quorum.map(read_outages).transpose()?;
        let run = read_run(need(run, "run")?)?;
        root.finish()?;
        // What cannot be numbered is refused below, with what it would take.
        let number = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        let fleet = Fleet {
            nodes: number(nodes),
            zones: number(zones),
            groups: number(groups),
            n: code.n,
            k: key.map_or(code.k, |key| durability::read_threshold(&code, &key) as u8),
            lives,
            absence,
            outages,
            mass_loss,
            kinds,
            corruption,
            quorum_losses,
            detection: notice.detection,
            patience: notice.patience,
            repair,
            traffic: traffic(&code, key.as_ref(), bytes_per_group),
            attack,
            horizon: run.horizon,
        };
        check_size(&fleet, nodes, groups)?;
        check_withholding(&fleet)?;
        let read = |reader| full_nodes::read(reader, &fleet, code, key, bytes_per_group);
        let protocol = protocol.map(read).transpose()?;
        let digest = hash("simulation/scenario", &[text.as_bytes()]);
        Ok(Self {
            campaign: Campaign { fleet, protocol, seed: run.seed, replications: run.replications },
            code,
            key,
            bytes_per_group,
            confidence: run.confidence,
            stop: run.stop,
            hash: digest[..16].iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }

    /// What the coding of repairs costs a machine in a year ([`coding_seconds`]).
    pub fn coding_seconds_per_node_year(&self, summary: &Summary) -> Vec<CodingSeconds> {
        let fragment = code_costs(&self.code).stored * self.bytes_per_group as f64;
        let bytes = summary.shares_repaired_per_node_year * fragment;
        // The code was checked when it was read.
        self.code.build().map_or_else(|_| Vec::new(), |code| coding_seconds(&code, bytes))
    }

    /// Bytes on all slots, per byte of the objects.
    pub fn storage_factor(&self) -> f64 {
        f64::from(self.code.n) * code_costs(&self.code).stored
    }
}

/// What a code costs, per byte of the objects.
pub(crate) struct CodeCosts {
    /// By a slot.
    pub(crate) stored: f64,
    /// For a repair with d helpers.
    pub(crate) moved: f64,
}

/// Exactly, without the padding of small objects.
pub(crate) fn code_costs(code: &CodeParameters) -> CodeCosts {
    let (k, d) = (code.k.into(), code.d.into());
    let whole = f64::from(k).recip();
    match code.kind {
        CodeKind::Rs => CodeCosts { stored: whole, moved: 1.0 },
        CodeKind::Mbr => {
            CodeCosts { stored: mbr_repair_share(k, d), moved: mbr_repair_share(k, d) }
        }
        CodeKind::Msr | CodeKind::Clay => {
            CodeCosts { stored: whole, moved: msr_repair_share(k, d) }
        }
    }
}

/// With d helpers what the code moves, with fewer k whole fragments, as `RepairObject` does.
fn traffic(code: &CodeParameters, key: Option<&KeyParameters>, bytes: u64) -> Traffic {
    let costs = code_costs(code);
    let moved = |share: f64| (share * bytes as f64).round() as u64;
    Traffic {
        d: key.map_or(code.d, |key| durability::repair_helpers(code, key) as u8),
        repair_bytes: moved(costs.moved),
        decode_bytes: moved(f64::from(code.k) * costs.stored),
    }
}

/// Fleets of any size are described, but not run.
fn check_size(fleet: &Fleet, nodes: u64, groups: u64) -> Result<(), ScenarioError> {
    let groups_max = ENTITIES_MAX / u64::from(fleet.n);
    let (at, what, advice) = if nodes > ENTITIES_MAX {
        let advice = format!("nodes = {ENTITIES_MAX}, the most that can be numbered, or fewer");
        ("network.nodes", format!("{nodes} machines"), advice)
    } else if groups > groups_max {
        let advice = format!(
            "groups = {groups_max}, the most that can be numbered, or fewer; with a larger \
             bytes_per_group they hold as many objects"
        );
        ("objects.groups", format!("{groups} groups"), advice)
    } else {
        return Ok(());
    };
    let gigabytes = fleet.memory_bytes_of(nodes, groups) as f64 / 1e9;
    let message = format!("{what} need {gigabytes:.0} GB of memory a thread");
    Err(ScenarioError::new(at, message, advice))
}

/// Where validators are patient, shares decay or groups are repaired whole, it matters who knows what of
/// a share that is withheld.
fn check_withholding(fleet: &Fleet) -> Result<(), ScenarioError> {
    let singly = fleet.corruption.is_some() || matches!(fleet.repair, Repair::Together { .. });
    if fleet.attack.is_some_and(|attack| attack.withholds) && (singly || fleet.patience.is_some()) {
        let message = "is not simulated beside patience, corruption or repairs together";
        return Err(ScenarioError::new("attacker.withholds", message, "repair.detection"));
    }
    Ok(())
}

fn read_code(
    mut reader: Reader,
    nodes: u64,
) -> Result<(CodeParameters, Option<KeyParameters>), ScenarioError> {
    let at = reader.at("data");
    let example = "\"mbr(20,8,14)\"";
    let text = reader.text("data", example)?.ok_or_else(|| reader.missing("data", example))?;
    let of = |error: &dyn std::fmt::Display| ScenarioError::of(&at, error, "mbr(20,8,14)");
    let code: CodeParameters = text.parse().map_err(|error| of(&error))?;
    code.check().map_err(|error| of(&error))?;
    if u64::from(code.n) > nodes {
        let message = format!("{code} needs {} machines, and network.nodes is {nodes}", code.n);
        return Err(ScenarioError::new(at, message, format!("network.nodes = {}", code.n)));
    }
    let key = match reader.section("key")? {
        None => None,
        Some(mut reader) => {
            let at = reader.at("k");
            let k = reader.count("k", 2, 254)?.ok_or_else(|| reader.missing("k", "10"))?;
            let d = reader.count("d", 2, 254)?.unwrap_or(k);
            reader.finish()?;
            let advice = format!("k = {0}, d = {0}", (code.n / 2).max(2));
            let key = KeyParameters::new(code.n, k as u8, d as u8);
            Some(key.map_err(|error| ScenarioError::of(at, error, &advice))?)
        }
    };
    reader.finish()?;
    Ok((code, key))
}

fn read_objects(reader: Option<Reader>) -> Result<(u64, u64), ScenarioError> {
    let Some(mut reader) = reader else { return Ok((1, 1 << 30)) };
    let groups = reader.count("groups", 1, i64::MAX as u64)?.unwrap_or(1);
    let bytes = reader.quantity("bytes_per_group", parse_size)?;
    reader.finish()?;
    Ok((groups, bytes.map_or(1 << 30, |bytes| bytes as u64)))
}

/// When a loss is known.
struct Notice {
    detection: Law,
    patience: Option<Nanoseconds>,
}

fn read_notice(reader: &mut Reader) -> Result<Notice, ScenarioError> {
    let detection = law(reader, "detection")?;
    let patience = reader.quantity("patience", parse_span)?;
    match (detection, patience) {
        (None, Some(span)) => {
            let patience = Some(span as Nanoseconds);
            Ok(Notice { detection: Law::Fixed(span), patience })
        }
        (detection, None) => {
            let detection = detection.unwrap_or(Law::Fixed(0.0));
            Ok(Notice { detection, patience: None })
        }
        (Some(_), Some(_)) => {
            let message = "is given beside a detection";
            Err(ScenarioError::new(reader.at("patience"), message, "one of the two"))
        }
    }
}

fn read_repair(mut reader: Reader) -> Result<(Notice, Repair), ScenarioError> {
    let notice = read_notice(&mut reader)?;
    let mode = reader.text("mode", "\"each\"")?.unwrap_or_else(|| "each".into());
    let time = law(&mut reader, "time")?;
    let rate = reader.quantity("rate", parse_rate)?;
    let uplink = reader.quantity("uplink", parse_rate)?;
    let uplink_at = reader.at("uplink");
    let helper_uplink = reader.quantity("helper_uplink", parse_rate)?;
    let helper_at = reader.at("helper_uplink");
    let threshold = reader.count("threshold", 1, 254)?;
    let (mode_at, time_at) = (reader.at("mode"), reader.at("time"));
    let threshold_at = reader.at("threshold");
    reader.finish()?;
    let example = "time = { exponential = \"12h\" }";
    let repair_time = match (time.clone(), rate) {
        (Some(law), None) => RepairTime::Law(law),
        (None, Some(rate)) if rate > 0.0 => match (uplink, helper_uplink) {
            (None, None) => RepairTime::BytesPerSecond(rate),
            (Some(uplink), None) if uplink > 0.0 => RepairTime::Shared { rate, uplink },
            (None, Some(uplink)) if uplink > 0.0 => RepairTime::Helped { rate, uplink },
            (Some(_), None) => return Err(ScenarioError::new(uplink_at, "is zero", "\"100MB/s\"")),
            (None, Some(_)) => return Err(ScenarioError::new(helper_at, "is zero", "\"2MB/s\"")),
            (Some(_), Some(_)) => {
                let message = "is given beside an uplink of zones";
                return Err(ScenarioError::new(helper_at, message, "one of the two"));
            }
        },
        (None, Some(_)) => {
            return Err(ScenarioError::new("repair.rate", "is zero", "rate = \"10MB/s\""));
        }
        (None, None) => return Err(ScenarioError::new(time_at, "is missing", example)),
        (Some(_), Some(_)) => {
            return Err(ScenarioError::new(time_at, "is given beside a rate", "one of the two"));
        }
    };
    if rate.is_none() && (uplink.is_some() || helper_uplink.is_some()) {
        let at = if uplink.is_some() { uplink_at } else { helper_at };
        let message = "is of repairs at a rate, which is missing";
        return Err(ScenarioError::new(at, message, "rate = \"10MB/s\""));
    }
    if mode != "together" && threshold.is_some() {
        let message = format!("belongs to mode \"together\", not \"{mode}\"");
        return Err(ScenarioError::new(threshold_at, message, "mode = \"together\""));
    }
    let repair = match (mode.as_str(), time) {
        ("each", _) => Repair::Each(repair_time),
        ("one-by-one", _) => Repair::OneByOne(repair_time),
        ("together", Some(time)) => {
            Repair::Together { time, threshold: threshold.unwrap_or(1) as u8 }
        }
        ("together", None) => {
            return Err(ScenarioError::new(time_at, "is missing for mode \"together\"", example));
        }
        _ => {
            let message = format!("there is no mode '{mode}'");
            return Err(ScenarioError::new(mode_at, message, "each, one-by-one or together"));
        }
    };
    if notice.patience.is_some() && matches!(repair, Repair::Together { .. }) {
        let message = "is of machines, and mode \"together\" repairs groups";
        return Err(ScenarioError::new("repair.patience", message, "detection, or another mode"));
    }
    Ok((notice, repair))
}

fn read_attacker(
    mut reader: Reader,
    nodes: u64,
    key: Option<KeyParameters>,
) -> Result<Attack, ScenarioError> {
    let at = reader.at("hostile");
    let share = reader.quantity("hostile", parse_share)?;
    let machines = reader.count("machines", 0, nodes)?;
    let hostile = match (share, machines) {
        (Some(share), None) => Hostile::Each(share),
        (None, Some(machines)) => Hostile::Exactly(machines as u32),
        _ => {
            let message = "needs either a share or a number of machines";
            return Err(ScenarioError::new(at, message, "hostile = \"10%\" or machines = 3"));
        }
    };
    let growth = reader.quantity("growth", parse_share)?.unwrap_or(0.0);
    let withholds = reader.flag("withholds")?;
    let epoch = match reader.take("refresh") {
        None => None,
        Some(value) if value.as_str() == Some("never") => None,
        Some(value) => {
            let at = reader.at("refresh");
            let span = reader::quantity(&at, &value, parse_span)?;
            if span < 1.0 {
                return Err(ScenarioError::new(at, "is no time at all", "\"30d\""));
            }
            Some(span as Nanoseconds)
        }
    };
    reader.finish()?;
    let Some(key) = key else {
        let message = "there is no secret to leak: the key code is missing";
        return Err(ScenarioError::new("code.key", message, "key = { k = 10, d = 11 }"));
    };
    Ok(Attack { hostile, k_key: key.k(), d_key: key.d(), epoch, growth, withholds })
}

struct Run {
    horizon: Nanoseconds,
    replications: u64,
    seed: u64,
    confidence: f64,
    stop: Option<Stop>,
}

fn read_run(mut reader: Reader) -> Result<Run, ScenarioError> {
    let horizon = reader.quantity("horizon", parse_span)?;
    let horizon = horizon.ok_or_else(|| reader.missing("horizon", "\"1y\""))?;
    let at = reader.at("horizon");
    let replications = reader.count("replications", 1, 1 << 40)?.unwrap_or(10_000);
    let seed = reader.count("seed", 0, i64::MAX as u64)?.unwrap_or(1);
    let confidence = reader.quantity("confidence", parse_share)?.unwrap_or(0.95);
    let confidence_at = reader.at("confidence");
    let stop = reader.section("stop")?.map(read_stop).transpose()?;
    reader.finish()?;
    if horizon < 1.0 || horizon > (HORIZON_MAX_YEARS * YEAR) as f64 {
        let message = format!("must be above zero and at most {HORIZON_MAX_YEARS} years");
        return Err(ScenarioError::new(at, message, "\"1y\""));
    }
    if !(0.5..1.0).contains(&confidence) {
        let message = "must be at least 50% and below 100%";
        return Err(ScenarioError::new(confidence_at, message, "\"95%\""));
    }
    debug_assert!((horizon as Nanoseconds) < NEVER);
    Ok(Run { horizon: horizon as Nanoseconds, replications, seed, confidence, stop })
}

fn read_stop(mut reader: Reader) -> Result<Stop, ScenarioError> {
    let half_width = reader.quantity("half_width", parse_share)?;
    let seen = reader.count("seen", 1, i64::MAX as u64)?;
    let events = reader.count("events", 1, i64::MAX as u64)?;
    reader.finish()?;
    if half_width.is_none() && seen.is_none() && events.is_none() {
        let advice = "stop = { half_width = \"5%\" }, seen = 1000 or events = 1000000000";
        return Err(ScenarioError::new("run.stop", "says nothing", advice));
    }
    Ok(Stop { half_width, seen, events })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;
    use crate::fleet::{MassLoss, Session};
    use crate::time::{DAY, HOUR};

    pub(super) const CLINICS: &str = "\
[network]
nodes = 25
zones = 5
lifetime = { exponential = \"4y\" }
[code]
data = \"mbr(20,8,14)\"
key = { k = 10, d = 11 }
[objects]
groups = 3
bytes_per_group = \"1GB\"
[repair]
detection = { fixed = \"1h\" }
time = { exponential = \"12h\" }
[attacker]
hostile = \"10%\"
refresh = \"30d\"
[run]
horizon = \"1y\"
replications = 500
";

    #[test]
    fn a_scenario_becomes_a_fleet() {
        let scenario = Scenario::parse(CLINICS).unwrap();
        let fleet = &scenario.campaign.fleet;
        assert_eq!((fleet.nodes, fleet.zones, fleet.groups), (25, 5, 3));
        // Ten key shares and eight fragments: ten slots; fourteen helpers.
        assert_eq!((fleet.n, fleet.k, fleet.traffic.d), (20, 10, 14));
        assert_eq!(fleet.detection, Law::Fixed(HOUR as f64));
        let attack = Attack {
            hostile: Hostile::Each(0.1),
            k_key: 10,
            d_key: 11,
            epoch: Some(30 * DAY),
            growth: 0.0,
            withholds: false,
        };
        assert_eq!(fleet.attack, Some(attack));
        // 2d / (k (2d-k+1)) of a gigabyte.
        assert_eq!(fleet.traffic.repair_bytes, 166_666_667);
        assert_eq!(fleet.traffic.decode_bytes, 1_333_333_333);
        assert!((scenario.storage_factor() - 10.0 / 3.0).abs() < 1e-12);
        assert_eq!((scenario.campaign.seed, scenario.confidence), (1, 0.95));
    }

    fn refusal(change: (&str, &str)) -> String {
        assert!(CLINICS.contains(change.0), "{}", change.0);
        Scenario::parse(&CLINICS.replacen(change.0, change.1, 1)).unwrap_err().to_string()
    }

    #[test]
    fn mistakes_are_one_line_that_says_where_and_what_to_write() {
        for (change, expected) in [
            (("nodes = 25", "nodess = 25"), "network.nodes: is missing; try: nodes = 25"),
            (
                ("zones = 5", "zone = 5"),
                "network.zone: there is no such key; try: 'zones'; known here are nodes, zones, \
                 lifetime, kinds",
            ),
            (("\"4y\"", "\"4\""), "network.lifetime.exponential: '4' has no unit; try: \"4d\""),
            (("\"4y\"", "4"), "network.lifetime.exponential: '4' has no unit; try: \"4d\""),
            (
                ("\"4y\"", "\"-4y\""),
                "network.lifetime.exponential: '-4y' is below zero; try: \"12h\"",
            ),
            (
                ("{ exponential = \"4y\" }", "\"4y\""),
                "network.lifetime: does not say which law it follows; try: { exponential = \
                 \"180d\" }; kinds are exponential, weibull, lognormal, uniform, fixed, \
                 empirical, and \
                 \"never\"",
            ),
            (
                ("{ exponential = \"4y\" }", "{ empirical = [] }"),
                "network.lifetime.empirical: there are no observations; try: { exponential = \
                 \"180d\" }",
            ),
            (
                ("mbr(20,8,14)", "mbr(20,21,14)"),
                "code.data: mbr(20,21,14): a code needs 1 <= k <= d < n; try: mbr(20,8,14)",
            ),
            (
                ("mbr(20,8,14)", "mbr(30,8,14)"),
                "code.data: mbr(30,8,14) needs 30 machines, and network.nodes is 25; try: \
                 network.nodes = 30",
            ),
            (
                ("d = 11", "d = 15"),
                "code.key.k: (n, k, d) = (20, 10, 15): k must be at least 2, d must be k or k + 1, \
                 and n above d; try: k = 10, d = 10",
            ),
            (
                ("groups = 3", "groups = 1000000000000"),
                "objects.groups: 1000000000000 groups need 196000 GB of memory a thread; try: groups = 53687091",
            ),
            (
                ("groups = 3", "groups = 9223372036854775807"),
                "objects.groups: 9223372036854775807 groups need ",
            ),
            (
                ("nodes = 25", "nodes = 1000000000000"),
                "network.nodes: 1000000000000 machines need 102000 GB of memory a thread; try: nodes = 1073741824",
            ),
            (
                ("refresh = \"30d\"", "withholds = \"yes\""),
                "attacker.withholds: 'yes' is neither true nor false; try: withholds = true",
            ),
            (
                (
                    "refresh = \"30d\"",
                    "withholds = true\n[corruption]\nshare = \"9y\"\nfound = { fixed = \"1d\" }",
                ),
                "attacker.withholds: is not simulated beside patience, corruption or",
            ),
            (
                ("groups = 3", "groups = -1"),
                "objects.groups: -1 is not between 1 and 9223372036854775807; try: 1",
            ),
            (
                ("\"10%\"", "\"110%\""),
                "attacker.hostile: '110%' is not a share from 0 to 100%; try: \"10%\"",
            ),
            (
                ("key = { k = 10, d = 11 }", ""),
                "code.key: there is no secret to leak: the key code is missing; try: key = { k = 10, d = 11 }",
            ),
            (
                ("\"1y\"", "\"900y\""),
                "run.horizon: must be above zero and at most 500 years; try: \"1y\"",
            ),
            (("[run]", "[runs]"), "run: is missing; try: [run]"),
            (("nodes = 25", "nodes = = 25"), "line 2: extra"),
        ] {
            let message = refusal(change);
            assert!(message.starts_with(expected), "{change:?}: {message}");
            assert!(!message.contains('\n') && message.contains("; try: "), "{message}");
        }
    }

    #[test]
    fn nights_outages_and_mass_losses_are_read() {
        let more = "[pauses]\ndaily = \"22h\"\nspread = \"2h\"\nlength = { fixed = \"8h\" }\n\
                    timeout = \"1d\"\n[outages]\nevery = { exponential = \"90d\" }\n\
                    length = { fixed = \"6h\" }\n[mass_loss]\nat = \"180d\"\nshare = \"50%\"\n[run]";
        let parse = |text: &str| Scenario::parse(&CLINICS.replacen("[run]", text, 1));
        let fleet = parse(more).unwrap().campaign.fleet;
        let session = Session::Daily { at: 22 * HOUR, spread: 2 * HOUR };
        assert_eq!(fleet.absence.unwrap().session, session);
        assert_eq!(fleet.mass_loss, Some(MassLoss { at: 180 * DAY, share: 0.5 }));
        assert_eq!(fleet.outages.unwrap().length, Law::Fixed(6.0 * HOUR as f64));
        for (from, to, expected) in [
            ("daily = \"22h\"", "", "pauses.session: needs either a session, a time of day or"),
            ("\"22h\"", "\"25h\"", "pauses.daily: must be a time of day"),
            ("\"50%\"", "\"150%\"", "mass_loss.share: '150%' is not a share"),
            ("at = \"180d\"\n", "", "mass_loss.at: is missing"),
            ("every", "evry", "outages.every: is missing"),
        ] {
            let message = parse(&more.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[test]
    fn kinds_corruption_and_uplinks_are_read() {
        let more = "[[network.kinds]]\nnodes = 5\nlifetime = { exponential = \"1y\" }\n\
                    pauses = { session = { exponential = \"9h\" }, length = { exponential = \
                    \"3h\" }, timeout = \"1d\" }\n[corruption]\nshare = \"50y\"\n\
                    found = { uniform = \"30d\" }\n[run]";
        let shared = CLINICS.replacen(
            "time = { exponential = \"12h\" }",
            "rate = \"1MB/s\"\nuplink = \"4MB/s\"",
            1,
        );
        let parse = |text: &str| Scenario::parse(&shared.replacen("[run]", text, 1));
        let fleet = parse(more).unwrap().campaign.fleet;
        assert_eq!(fleet.repair, Repair::Each(RepairTime::Shared { rate: 1e6, uplink: 4e6 }));
        let corruption = fleet.corruption.unwrap();
        assert_eq!(corruption.found, Law::Uniform { longest: 30.0 * DAY as f64 });
        assert_eq!(fleet.kinds[0].nodes, 5);
        assert!(fleet.kinds[0].absence.is_some());
        for (from, to, expected) in [
            ("nodes = 5", "nodes = 26", "network.kinds[1].nodes: 26 is not between 1 and 25"),
            (
                "nodes = 5",
                "node = 5",
                "network.kinds[1]: needs either a number of machines or a share",
            ),
            ("timeout = \"1d\"", "timeout = \"-1d\"", "network.kinds[1].pauses.timeout: '-1d'"),
            ("share = \"50y\"", "share = 50", "corruption.share: '50' has no unit"),
            ("share = \"50y\"", "share = \"0s\"", "corruption.share: is no time at all"),
            ("found = { uniform = \"30d\" }", "", "corruption.found: is missing"),
        ] {
            let message = parse(&more.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        }
        for key in ["uplink", "helper_uplink"] {
            let message = refusal(("[repair]", &format!("[repair]\n{key} = \"1MB/s\"")));
            let expected = format!("repair.{key}: is of repairs at a rate");
            assert!(message.starts_with(&expected), "{message}");
        }
        let helped = shared.replacen("uplink = \"4MB/s\"", "helper_uplink = \"2MB/s\"", 1);
        let repair = Scenario::parse(&helped).unwrap().campaign.fleet.repair;
        assert_eq!(repair, Repair::Each(RepairTime::Helped { rate: 1e6, uplink: 2e6 }));
        let both = shared.replacen("uplink", "helper_uplink = \"2MB/s\"\nuplink", 1);
        assert_eq!(Scenario::parse(&both).unwrap_err().at, "repair.helper_uplink");
    }

    /// The chain of shares that decay, and why there is none of those that die, too.
    #[test]
    fn decay_has_a_chain_on_machines_that_never_die() {
        let decay = "[corruption]\nshare = \"1y\"\nfound = { exponential = \"30d\" }\n[run]";
        let dying = CLINICS
            .replacen("{ fixed = \"1h\" }", "{ exponential = \"1h\" }", 1)
            .replacen("[run]", decay, 1);
        assert_eq!(Scenario::parse(&dying).unwrap().exact(), Err(NotExact::Corruption));
        let still = dying.replacen("{ exponential = \"4y\" }", "\"never\"", 1);
        let exact = Scenario::parse(&still).unwrap().exact().unwrap();
        let chain = crate::exact::Redundancy {
            n: 20,
            k: 10,
            failure_rate: (YEAR as f64).recip(),
            repair: crate::exact::RepairRates::Each {
                rate: ((30 * DAY) as f64).recip(),
                detection_rate: f64::INFINITY,
            },
        };
        assert_eq!(exact.loss_probability, chain.loss_probability(YEAR as f64));
        let kinds = "[[network.kinds]]\nnodes = 5\nlifetime = \"never\"\n[run]";
        let kinds = Scenario::parse(&CLINICS.replacen("[run]", kinds, 1)).unwrap();
        assert_eq!(kinds.exact(), Err(NotExact::Kinds));
    }

    #[test]
    fn laws_take_every_form() {
        let lives = |text: &str| {
            let changed = CLINICS.replacen("{ exponential = \"4y\" }", text, 1);
            Scenario::parse(&changed).map(|scenario| scenario.campaign.fleet.lives)
        };
        let hour = HOUR as f64;
        assert_eq!(
            lives(
                "[{ weibull = { shape = 1.12, scale = \"9h\" } }, { fixed = \"5h\" }, \"never\"]"
            ),
            Ok(vec![
                Law::Weibull { shape: 1.12, scale: 9.0 * hour, location: 0.0 },
                Law::Fixed(5.0 * hour),
                Law::Never
            ])
        );
        assert_eq!(
            lives("{ lognormal = { median = \"2h\", sigma = 1 } }"),
            Ok(vec![Law::LogNormal { median: 2.0 * hour, sigma: 1.0 }])
        );
        assert_eq!(
            lives("{ empirical = [\"3h\", \"1h\"] }"),
            Ok(vec![Law::Empirical(vec![hour, 3.0 * hour])])
        );
        assert!(lives("{ weibull = { shape = 0, scale = \"9h\" } }").is_err());
        assert!(lives("{ weibull = { shap = 1, scale = \"9h\" } }").is_err());
        assert!(lives("{ gamma = \"9h\" }").is_err());
    }
}
