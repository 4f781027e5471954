//! Churn that was measured elsewhere, by its name: parts of scenarios, each with its source.

use toml::{Table, Value};

use super::reader::ScenarioError;

/// (name, text); each text says where it is from.
pub(crate) const PRESETS: [(&str, &str); 17] = [
    ("ipfs", include_str!("../../presets/ipfs.toml")),
    ("bittorrent-debian", include_str!("../../presets/bittorrent-debian.toml")),
    ("bittorrent-red-hat", include_str!("../../presets/bittorrent-red-hat.toml")),
    ("bittorrent-flatout", include_str!("../../presets/bittorrent-flatout.toml")),
    ("lanl-18", include_str!("../../presets/lanl-18.toml")),
    ("lanl-19", include_str!("../../presets/lanl-19.toml")),
    ("lanl-20", include_str!("../../presets/lanl-20.toml")),
    ("skype", include_str!("../../presets/skype.toml")),
    ("microsoft", include_str!("../../presets/microsoft.toml")),
    ("planetlab", include_str!("../../presets/planetlab.toml")),
    ("gnutella", include_str!("../../presets/gnutella.toml")),
    ("hyphanet", include_str!("../../presets/hyphanet.toml")),
    ("storj", include_str!("../../presets/storj.toml")),
    ("iot-mains", include_str!("../../presets/iot-mains.toml")),
    ("iot-wifi", include_str!("../../presets/iot-wifi.toml")),
    ("iot-nights", include_str!("../../presets/iot-nights.toml")),
    ("iot-site", include_str!("../../presets/iot-site.toml")),
];

/// Adds what the preset named by `network.churn` says and the scenario does not.
pub(super) fn add_churn(scenario: &mut Table) -> Result<(), ScenarioError> {
    let network = scenario.get_mut("network").and_then(Value::as_table_mut);
    let Some(name) = network.and_then(|network| network.remove("churn")) else { return Ok(()) };
    let preset = PRESETS.iter().find(|(preset, _)| name.as_str() == Some(preset));
    let Some((_, text)) = preset else {
        let names: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
        let message = format!("there is no churn {name}");
        return Err(ScenarioError::new("network.churn", message, names.join(", ")));
    };
    // Tests read every preset.
    let preset: Table = text.parse().unwrap_or_default();
    for (section, value) in preset {
        let Value::Table(said) = value else { continue };
        let section = scenario.entry(section).or_insert_with(|| Value::Table(Table::new()));
        let Value::Table(section) = section else { continue };
        for (key, value) in said {
            section.entry(key).or_insert(value);
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;
    use crate::fleet::Session;
    use crate::random::Law;
    use crate::scenario::Scenario;
    use crate::time::{DAY, HOUR};

    fn scenario(name: &str, lives: &str, pauses: &str) -> Result<Scenario, ScenarioError> {
        Scenario::parse(&format!(
            "[network]\nnodes = 100\nchurn = \"{name}\"\n{lives}\n[code]\ndata = \"mbr(20,8,14)\"\n\
             [repair]\ntime = {{ fixed = \"1d\" }}\n{pauses}\n[run]\nhorizon = \"1y\""
        ))
    }

    /// What no source says is asked for; with it every preset is a scenario.
    #[test]
    fn every_preset_is_a_scenario_and_has_its_source() {
        for (name, text) in PRESETS {
            assert!(text.starts_with("# "), "{name}");
            let table: Table = text.parse().unwrap();
            let says = |section: &str, key: &str| {
                table.get(section).is_some_and(|section| section.get(key).is_some())
            };
            let lives = if says("network", "lifetime") { "" } else { "lifetime = \"never\"" };
            let pauses = match (table.get("pauses"), says("pauses", "length")) {
                (None, _) => "",
                (_, true) => "[pauses]\ntimeout = \"2d\"",
                (_, false) => "[pauses]\nlength = { exponential = \"6h\" }\ntimeout = \"2d\"",
            };
            let fleet = scenario(name, lives, pauses).unwrap().campaign.fleet;
            assert_eq!(fleet.nodes, 100, "{name}");
        }
    }

    #[test]
    fn presets_give_way_to_the_scenario() {
        let pauses = "[pauses]\nlength = { exponential = \"7h\" }\ntimeout = \"2d\"";
        let fleet = scenario("skype", "", pauses).unwrap().campaign.fleet;
        assert_eq!(fleet.lives, [Law::Exponential { mean: 8.333 * DAY as f64 }]);
        // Up for 65 of 100 hours.
        let Session::Law(Law::Exponential { mean }) = fleet.absence.unwrap().session else {
            panic!("another law")
        };
        assert!((mean / HOUR as f64 - 13.0).abs() < 1e-9, "{mean}");
        let fleet = scenario("skype", "lifetime = \"never\"", pauses).unwrap().campaign.fleet;
        assert_eq!(fleet.lives, [Law::Never]);
        let fleet = scenario("hyphanet", "lifetime = \"never\"", pauses).unwrap().campaign.fleet;
        assert_eq!(fleet.kinds.iter().map(|kind| kind.nodes).collect::<Vec<_>>(), [33, 30]);
        for (name, lives, pauses, at) in [
            ("napster", "", "", "network.churn"),
            ("ipfs", "", pauses, "network.lifetime"),
            ("skype", "", "", "pauses.length"),
        ] {
            assert_eq!(scenario(name, lives, pauses).unwrap_err().at, at);
        }
    }
}
