//! What there is and what is wanted, as a TOML text.
//!
//! ```toml
//! [network]
//! nodes = 21                    # machines
//! zones = 7                     # places, such as clinics [nodes]
//! machines = "raspberry-pi"     # raspberry-pi, home-gateway or server, or its numbers:
//! lifetime = "4y"               # mean life of a machine
//! uptime = "90%"                # share of its life in which it answers
//! absence = "8h"                # mean length of a time away
//! bandwidth = "5MB/s"           # that one repair gets
//! detection = "1h"              # from a death or the delay to its being known
//! hostile = "5%"                # of machines, old and new ["0%"]
//!
//! [objects]
//! bytes = "40GiB"               # of all objects, before coding
//! groups = 1                    # placement groups [1]
//!
//! [targets]                     # a level, and what differs from it
//! level = "clinic"              # home, clinic, hospital or archive
//! durability = "1e-6"           # that any group is lost in a year, at most
//! leak = "1e-4"                 # that any group's secret leaks in a year, at most
//! availability = "99.9%"        # that a group can be read, at least
//! repair = "20GB"               # that a machine sends for repairs in a month, at most
//! storage = 6                   # bytes stored a byte of objects, at most
//! ```

use serde::Serialize;

use super::candidate::{Candidate, Outcome};
use crate::quantity::{parse_rate, parse_share, parse_size, parse_span};
use crate::scenario::ScenarioError;
use crate::scenario::reader::Reader;
use crate::time::{HOUR, YEAR};

/// A network of equal machines. Spans are in years, sizes in bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Machines.
    pub nodes: u32,
    /// Places.
    pub zones: u32,
    /// Mean life of a machine.
    pub lifetime: f64,
    /// Share of its life in which a machine answers.
    pub uptime: f64,
    /// Mean length of a time away.
    pub absence: f64,
    /// Bytes a second of one repair.
    pub bandwidth: f64,
    /// From a death to its being known.
    pub detection: f64,
    /// Share of machines that the attacker owns.
    pub hostile: f64,
    /// Of all objects.
    pub bytes: f64,
    /// Placement groups.
    pub groups: u32,
    /// What is wanted.
    pub targets: Targets,
}

/// Upper limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Targets {
    /// That any group is lost in a year.
    pub loss_a_year: f64,
    /// That any secret leaks in a year.
    pub leak_a_year: f64,
    /// Share of the time in which a group cannot be read.
    pub unavailability: f64,
    /// Bytes a machine and month.
    pub repair_bytes: f64,
    /// Bytes stored a byte of objects.
    pub storage_factor: f64,
}

/// Targets that go together, and have a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Copies of what exists elsewhere.
    Home,
    /// Records that a clinic works with.
    Clinic,
    /// Records that must not be missed for an hour.
    Hospital,
    /// Records of which there is no other copy.
    Archive,
}

/// One target.
pub(super) struct Target {
    pub(super) name: &'static str,
    pub(super) limit: f64,
    pub(super) of: fn(&Outcome) -> f64,
    form: Form,
}

/// How a target's value is written.
#[derive(Clone, Copy)]
enum Form {
    Probability,
    Share,
    Bytes,
    Factor,
}

impl Level {
    /// From the least to the most demanding.
    pub const ALL: [Self; 4] = [Self::Home, Self::Clinic, Self::Hospital, Self::Archive];

    /// As written in a file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::Clinic => "clinic",
            Self::Hospital => "hospital",
            Self::Archive => "archive",
        }
    }

    /// What it asks for. Traffic and storage are limited by what a level is worth.
    pub fn targets(self) -> Targets {
        let (loss_a_year, leak_a_year, unavailability, storage_factor) = match self {
            Self::Home => (1e-3, 1e-2, 1e-2, 4.0),
            Self::Clinic => (1e-6, 1e-4, 1e-3, 8.0),
            Self::Hospital => (1e-9, 1e-6, 1e-4, 10.0),
            Self::Archive => (1e-11, 1e-8, 1e-2, 12.0),
        };
        let repair_bytes = f64::INFINITY;
        Targets { loss_a_year, leak_a_year, unavailability, repair_bytes, storage_factor }
    }
}

impl Targets {
    /// Whether an outcome is within every limit.
    pub fn are_met(&self, outcome: &Outcome) -> bool {
        self.each().all(|target| (target.of)(outcome) <= target.limit)
    }

    pub(super) fn each(&self) -> impl Iterator<Item = Target> + use<> {
        let target = |name, limit, of, form| Target { name, limit, of, form };
        [
            target("loss a year", self.loss_a_year, |o| o.loss_a_year, Form::Probability),
            target("leak a year", self.leak_a_year, |o| o.leak_a_year, Form::Probability),
            target("unavailability", self.unavailability, |o| o.unavailability, Form::Share),
            target("repair traffic", self.repair_bytes, |o| o.repair_bytes, Form::Bytes),
            target("storage factor", self.storage_factor, |o| o.storage_factor, Form::Factor),
        ]
        .into_iter()
    }
}

impl Target {
    /// How a file asks for a little less than a value that can be had.
    pub(super) fn write(&self, value: f64) -> String {
        let hopeless = "more machines, longer lives or faster links";
        match self.form {
            Form::Probability | Form::Share if value > 0.9 => hopeless.into(),
            Form::Probability => {
                let key = if self.name == "leak a year" { "leak" } else { "durability" };
                format!("{key} = \"{:.1e}\"", value * 1.06)
            }
            Form::Share => {
                let percent = ((1.0 - 1.01 * value) * 1e8).floor() / 1e6;
                format!("availability = \"{percent}%\"")
            }
            Form::Bytes => format!("repair = \"{}MB\"", (value / 1e6).ceil()),
            Form::Factor => format!("storage = {}", (value * 100.0).ceil() / 100.0),
        }
    }

    /// A value of this target with its unit.
    pub(super) fn show(&self, value: f64) -> String {
        match self.form {
            Form::Probability => format!("{value:.2e}"),
            Form::Share => format!("{:.3e} %", value * 100.0),
            Form::Bytes => format!("{:.2} GB a machine and month", value / 1e9),
            Form::Factor => format!("{}", (value * 1000.0).round() / 1000.0),
        }
    }
}

/// (name, lifetime in years, uptime, absence in hours, MB a second) of kinds of machines. The
/// lifetimes are cautious guesses for the kinds of storage that they have: an SD card, the flash of
/// a consumer's box, disks of a server.
const MACHINES: [(&str, f64, f64, f64, f64); 3] = [
    ("raspberry-pi", 4.0, 0.95, 8.0, 5.0),
    ("home-gateway", 2.0, 0.85, 8.0, 1.0),
    ("server", 10.0, 0.999, 2.0, 50.0),
];

impl Network {
    /// Reads a description.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let mut root = Reader::parse(text)?;
        let need = |reader: Option<Reader>, name: &str| {
            reader.ok_or_else(|| ScenarioError::new(name, "is missing", format!("[{name}]")))
        };
        let (network, objects) = (root.section("network")?, root.section("objects")?);
        let targets = root.section("targets")?;
        let mut network = read_network(need(network, "network")?)?;
        (network.bytes, network.groups) = read_objects(need(objects, "objects")?)?;
        network.targets = read_targets(need(targets, "targets")?)?;
        root.finish()?;
        Ok(network)
    }

    /// A candidate as a scenario for `kakera sim run` and `calc`.
    pub fn scenario(&self, candidate: &Candidate) -> String {
        let hours = |years: f64| years * YEAR as f64 / HOUR as f64;
        let bytes_per_group = self.bytes / f64::from(self.groups);
        let transfer = hours(candidate.transfer_years(self));
        let detection = hours(self.detection) + hours(candidate.delay);
        let refresh = candidate.epoch.map_or("never".into(), |years| format!("{}h", hours(years)));
        let threshold = match candidate.threshold {
            1 => String::new(),
            threshold => format!("mode = \"together\"\nthreshold = {threshold}\n"),
        };
        format!(
            "[network]\nnodes = {}\nzones = {}\nlifetime = {{ exponential = \"{}h\" }}\n\
             [code]\ndata = \"{}\"\nkey = {{ k = {}, d = {} }}\n\
             [objects]\ngroups = {}\nbytes_per_group = \"{}B\"\n\
             [repair]\n{threshold}detection = {{ exponential = \"{detection}h\" }}\n\
             time = {{ exponential = \"{transfer}h\" }}\n\
             [attacker]\nhostile = \"{}%\"\nrefresh = \"{refresh}\"\n\
             [run]\nhorizon = \"1y\"\n",
            self.nodes,
            self.zones,
            hours(1.0 / candidate.replacement_rate(self)),
            candidate.code,
            candidate.k_key,
            candidate.k_key,
            self.groups,
            bytes_per_group.round(),
            self.hostile * 100.0,
        )
    }
}

fn read_network(mut reader: Reader) -> Result<Network, ScenarioError> {
    let nodes = reader.count("nodes", 3, 1 << 30)?;
    let nodes = nodes.ok_or_else(|| reader.missing("nodes", "21"))?;
    let zones = reader.count("zones", 1, nodes)?.unwrap_or(nodes);
    let at = reader.at("machines");
    let kind = match reader.text("machines", "\"raspberry-pi\"")? {
        None => None,
        Some(name) => Some(MACHINES.iter().find(|kind| kind.0 == name).ok_or_else(|| {
            let known = MACHINES.map(|kind| kind.0).join(", ");
            ScenarioError::new(at, format!("there are no machines '{name}'"), known)
        })?),
    };
    let year = YEAR as f64;
    let span = |reader: &mut Reader, key, usual: Option<f64>, example: &str| {
        let value = reader.quantity(key, parse_span)?.map(|span| span / year).or(usual);
        let value = value.ok_or_else(|| reader.missing(key, example))?;
        let at = reader.at(key);
        if value > 0.0 { Ok(value) } else { Err(ScenarioError::new(at, "is zero", example)) }
    };
    let lifetime = span(&mut reader, "lifetime", kind.map(|kind| kind.1), "\"4y\"")?;
    let hours = HOUR as f64 / year;
    let absence = kind.map(|kind| kind.3 * hours).or(Some(8.0 * hours));
    let absence = span(&mut reader, "absence", absence, "\"8h\"")?;
    let detection = span(&mut reader, "detection", Some(hours), "\"1h\"")?;
    let uptime = reader.quantity("uptime", parse_share)?.or(kind.map(|kind| kind.2));
    let uptime = uptime.ok_or_else(|| reader.missing("uptime", "\"90%\""))?;
    let at = reader.at("uptime");
    if uptime == 0.0 {
        return Err(ScenarioError::new(at, "is zero", "\"90%\""));
    }
    let bandwidth = reader.quantity("bandwidth", parse_rate)?.or(kind.map(|kind| kind.4 * 1e6));
    let bandwidth = bandwidth.ok_or_else(|| reader.missing("bandwidth", "\"5MB/s\""))?;
    let at = reader.at("bandwidth");
    if bandwidth == 0.0 {
        return Err(ScenarioError::new(at, "is zero", "\"5MB/s\""));
    }
    let hostile = reader.quantity("hostile", parse_share)?.unwrap_or(0.0);
    reader.finish()?;
    let targets = Level::Clinic.targets();
    let (nodes, zones) = (nodes as u32, zones as u32);
    let (bytes, groups) = (0.0, 1);
    Ok(Network {
        nodes,
        zones,
        lifetime,
        uptime,
        absence,
        bandwidth,
        detection,
        hostile,
        bytes,
        groups,
        targets,
    })
}

fn read_objects(mut reader: Reader) -> Result<(f64, u32), ScenarioError> {
    let bytes = reader.quantity("bytes", parse_size)?;
    let bytes = bytes.ok_or_else(|| reader.missing("bytes", "\"40GiB\""))?;
    let groups = reader.count("groups", 1, 1 << 24)?.unwrap_or(1);
    reader.finish()?;
    Ok((bytes, groups as u32))
}

fn read_targets(mut reader: Reader) -> Result<Targets, ScenarioError> {
    let at = reader.at("level");
    let mut targets = match reader.text("level", "\"clinic\"")? {
        None => Targets {
            loss_a_year: 1.0,
            leak_a_year: 1.0,
            unavailability: 1.0,
            repair_bytes: f64::INFINITY,
            storage_factor: f64::INFINITY,
        },
        Some(name) => {
            let level = Level::ALL.into_iter().find(|level| level.name() == name);
            let known = Level::ALL.map(Level::name).join(", ");
            let unknown = || ScenarioError::new(at, format!("there is no level '{name}'"), known);
            level.ok_or_else(unknown)?.targets()
        }
    };
    if let Some(loss) = reader.quantity("durability", parse_share)? {
        targets.loss_a_year = loss;
    }
    if let Some(leak) = reader.quantity("leak", parse_share)? {
        targets.leak_a_year = leak;
    }
    if let Some(availability) = reader.quantity("availability", parse_share)? {
        targets.unavailability = 1.0 - availability;
    }
    if let Some(bytes) = reader.quantity("repair", parse_size)? {
        targets.repair_bytes = bytes;
    }
    if let Some(storage) = reader.optional_number("storage", "6")? {
        targets.storage_factor = storage;
    }
    reader.finish()?;
    Ok(targets)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::super::tests::CLINICS;
    use super::*;

    #[test]
    fn kinds_of_machines_have_numbers_that_can_be_changed() {
        let network = Network::parse(CLINICS).unwrap();
        assert_eq!((network.nodes, network.zones, network.lifetime), (21, 7, 4.0));
        assert_eq!((network.uptime, network.bandwidth), (0.9, 5e6));
        assert_eq!(network.targets, Level::Clinic.targets());
        let strict = CLINICS.replacen("level", "leak = \"1e-9\"\nlevel", 1);
        assert_eq!(Network::parse(&strict).unwrap().targets.leak_a_year, 1e-9);
    }

    #[test]
    fn mistakes_say_where_and_what_to_write() {
        for (from, to, expected) in [
            ("raspberry-pi", "raspberry", "network.machines: there are no machines 'raspberry'"),
            ("\"90%\"", "\"190%\"", "network.uptime: '190%' is not a share from 0 to 100%"),
            ("\"90%\"", "\"0%\"", "network.uptime: is zero; try: \"90%\""),
            ("nodes = 21", "node = 21", "network.nodes: is missing; try: nodes = 21"),
            ("clinic", "clinics", "targets.level: there is no level 'clinics'; try: home, clinic"),
            ("\"40GiB\"", "\"40\"", "objects.bytes: '40' has no unit"),
            ("[objects]\nbytes = \"40GiB\"\n", "", "objects: is missing; try: [objects]"),
            ("level = ", "leak = \"-1\"\nlevel = ", "targets.leak: '-1' is not a share"),
            ("level = ", "cost = 3\nlevel = ", "targets.cost: there is no such key"),
        ] {
            assert!(CLINICS.contains(from), "{from}");
            let refusal = Network::parse(&CLINICS.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(refusal.starts_with(expected), "{refusal}");
        }
    }
}
