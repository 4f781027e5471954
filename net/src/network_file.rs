//! The network file: what everybody needs to join, as TOML for people.
//!
//! Everything but the addresses is the genesis, whose canonical hash is the network's name: two
//! files that spell it differently are the same network.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;

use kakera_engine::code::CodeParameters;
use kakera_engine::keyshare::KeyParameters;
use kakera_engine::ledger::{Anchor, Genesis, GenesisError, Suite};
use kakera_engine::names::{NetworkId, NodeId};
use serde::Deserialize;
use thiserror::Error;

/// A network's parameters and where its validators listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkFile {
    /// What the network agrees on.
    pub genesis: Genesis,
    /// Where each validator listens.
    pub addresses: BTreeMap<NodeId, SocketAddr>,
}

/// Why a network file is refused. Whoever wrote or copied it is to blame.
#[derive(Debug, Error)]
pub enum NetworkFileError {
    /// No TOML, or an unknown, missing or wrong key; the text names the line.
    #[error("the network file: {0}")]
    Text(#[from] toml::de::Error),
    /// The key code does not exist.
    #[error("the network file, key = \"({k},{d})\" with n = {n}: {reason}; try: key = \"({k},{})\"", k.saturating_add(1))]
    Key {
        /// Slots, from the data code.
        n: u8,
        /// Read threshold.
        k: u8,
        /// Helpers.
        d: u8,
        /// What is wrong.
        reason: String,
    },
    /// One validator or operator stands there twice.
    #[error("the network file names {0} twice; try: remove one of the two")]
    Twice(NodeId),
    /// The parameters make no network.
    #[error("the network file: {0}")]
    Genesis(#[from] GenesisError),
}

impl NetworkFile {
    /// Reads a network file.
    pub fn parse(text: &str) -> Result<Self, NetworkFileError> {
        let file: Text = toml::from_str(text)?;
        let (n, HelperNumbers { k, d }) = (file.code.0.n, file.key);
        let key = KeyParameters::new(n, k, d).map_err(|error| NetworkFileError::Key {
            n,
            k,
            d,
            reason: error.to_string(),
        })?;
        let mut genesis = Genesis {
            suite: Suite,
            name: file.name,
            created: file.created,
            validators: [].into_iter().collect(),
            operators: [].into(),
            code: file.code.0,
            key,
            pointers_per_author_max: file.pointers_per_author_max,
            version: file.version,
            anchors: BTreeMap::new(),
        };
        let mut addresses = BTreeMap::new();
        for ValidatorText { id, power, address, anchor } in file.validator {
            if genesis.validators.0.insert(id.0, power).is_some() {
                return Err(NetworkFileError::Twice(id.0));
            }
            addresses.insert(id.0, address.0);
            genesis.anchors.extend(anchor.map(|anchor| (id.0, anchor.0)));
        }
        for operator in file.operators {
            if !genesis.operators.insert(operator.0) {
                return Err(NetworkFileError::Twice(operator.0));
            }
        }
        genesis.check()?;
        Ok(Self { genesis, addresses })
    }

    /// The text that [`NetworkFile::parse`] reads. A validator without an address is left out.
    pub fn to_text(&self) -> String {
        let Genesis { name, created, code, key, operators, .. } = &self.genesis;
        let mut text = format!(
            "# A Kakera network. Whoever joins needs this file; it holds no secret.\n\
             # Only the addresses may be changed: the rest is the network's identity,\n\
             # {}.\n\
             name = {}\n\
             # Unix milliseconds\n\
             created = {created}\n\
             # Data code (n,k,d), and (k,d) of the key code over the same n\n\
             code = \"{code}\"\n\
             key = \"({},{})\"\n\
             # Pointers that one machine may keep on the ledger\n\
             pointers_per_author_max = {}\n\
             # Keys that enrol machines, besides the validators\n\
             operators = [",
            self.network_id(),
            toml::Value::from(name.as_str()),
            key.k(),
            key.d(),
            self.genesis.pointers_per_author_max,
        );
        let quoted: Vec<String> = operators.iter().map(|id| format!("\n  \"{id}\",")).collect();
        text.push_str(&quoted.concat());
        text.push_str(if quoted.is_empty() { "]\n" } else { "\n]\n" });
        // Writing to a string cannot fail.
        if let Some(version) = self.genesis.version {
            let _ = write!(text, "# Version of the rules\nversion = {version}\n");
        }
        for (id, power) in &self.genesis.validators.0 {
            if let Some(address) = self.addresses.get(id) {
                let _ = write!(
                    text,
                    "\n[[validator]]\nid = \"{id}\"\npower = {power}\naddress = \"{address}\"\n"
                );
                if let Some(Anchor(anchor)) = self.genesis.anchors.get(id) {
                    let _ = writeln!(text, "anchor = \"{}\"", NodeId(*anchor));
                }
            }
        }
        text
    }

    /// The network's name.
    pub fn network_id(&self) -> NetworkId {
        self.genesis.network_id()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    name: String,
    created: u64,
    code: CodeText,
    key: HelperNumbers,
    pointers_per_author_max: u64,
    version: Option<u32>,
    #[serde(default)]
    operators: Vec<NodeText>,
    validator: Vec<ValidatorText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ValidatorText {
    id: NodeText,
    power: u64,
    address: AddressText,
    anchor: Option<AnchorText>,
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct NodeText(NodeId);

impl TryFrom<String> for NodeText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not a machine's id; try: 64 hexadecimal digits");
        NodeId::from_hex(&text).map(Self).ok_or_else(wrong)
    }
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct AnchorText(Anchor);

impl TryFrom<String> for AnchorText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not an anchor; try: 64 hexadecimal digits");
        NodeId::from_hex(&text).map(|NodeId(hash)| Self(Anchor(hash))).ok_or_else(wrong)
    }
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct AddressText(SocketAddr);

impl TryFrom<String> for AddressText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = |_| format!("'{text}' is not an IP address with a port; try: 192.0.2.1:4433");
        text.parse().map(Self).map_err(wrong)
    }
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct CodeText(CodeParameters);

impl TryFrom<String> for CodeText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
            .map(Self)
            .map_err(|error: kakera_engine::code::ParametersError| error.to_string())
    }
}

/// (k, d) of the key code.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct HelperNumbers {
    k: u8,
    d: u8,
}

impl TryFrom<String> for HelperNumbers {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let numbers = text.strip_prefix('(').and_then(|text| text.strip_suffix(')'));
        numbers
            .and_then(|numbers| numbers.split_once(','))
            .and_then(|(k, d)| Some(Self { k: k.parse().ok()?, d: d.parse().ok()? }))
            .ok_or_else(|| format!("'{text}' is not (k,d) of a key code; try: (5,6)"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn text() -> String {
        let [one, two] = ["11".repeat(32), "22".repeat(32)];
        format!(
            "name = \"north\"\ncreated = 5\ncode = \"mbr(10,5,7)\"\nkey = \"(5,6)\"\n\
             pointers_per_author_max = 100\noperators = [\"{two}\"]\n\
             [[validator]]\nid = \"{one}\"\npower = 1\naddress = \"127.0.0.1:4433\"\n"
        )
    }

    #[test]
    fn what_is_written_is_read_back() {
        let file = NetworkFile::parse(&text()).unwrap();
        assert_eq!(file.genesis.key, KeyParameters::new(10, 5, 6).unwrap());
        assert_eq!(file.addresses[&NodeId([0x11; 32])].port(), 4433);
        assert_eq!(NetworkFile::parse(&file.to_text()).unwrap(), file);
        let mut quoted = file.clone();
        quoted.genesis.name = "a \"b\"\n[c] \\".into();
        quoted.genesis.operators.clear();
        assert_eq!(NetworkFile::parse(&quoted.to_text()).unwrap(), quoted);
        let mut agreed = file;
        agreed.genesis.version = Some(2);
        agreed.genesis.anchors.insert(NodeId([0x11; 32]), Anchor([7; 32]));
        assert_eq!(NetworkFile::parse(&agreed.to_text()).unwrap(), agreed);
    }

    #[test]
    fn the_address_is_not_part_of_the_name() {
        let moved = text().replace("4433", "4434");
        let file = NetworkFile::parse(&text()).unwrap();
        assert_eq!(NetworkFile::parse(&moved).unwrap().network_id(), file.network_id());
        assert_eq!(
            file.network_id().to_string(),
            "01057d2df631c6cab36231454783f66e8d7c70b4361fa90cbdb44bfe3f9576b7"
        );
        let renamed = text().replace("north", "south");
        assert_ne!(NetworkFile::parse(&renamed).unwrap().network_id(), file.network_id());
    }

    #[test]
    fn mistakes_are_named() {
        let id = "11".repeat(32);
        let cases = [
            ("created = 5", "created = 5\ncolour = 1", "colour"),
            ("created = 5\n", "", "created"),
            ("created = 5", "created = -5", "line 2"),
            ("mbr(10,5,7)", "mbr(10;5)", "try: mbr(10,5,7)"),
            ("(5,6)", "5,6", "try: (5,6)"),
            ("(5,6)", "(5,9)", "try: key = \"(5,6)\""),
            (&id, "11", "64 hexadecimal digits"),
            ("127.0.0.1:4433", "localhost", "try: 192.0.2.1:4433"),
            ("power = 1", "power = 0", "voting power"),
            ("power = 1", "power = 1\nweight = 2", "weight"),
            ("name = \"north\"", "name = \"\"", "0 bytes"),
            ("created = 5", "created = 5\nversion = 1", "none for version 1"),
        ];
        for (from, to, expected) in cases {
            let changed = text().replacen(from, to, 1);
            assert_ne!(changed, text());
            let message = NetworkFile::parse(&changed).unwrap_err().to_string();
            assert!(message.contains(expected), "{to}: {message}");
        }
        let twice = text() + &text()[text().find("[[").unwrap()..];
        assert!(matches!(NetworkFile::parse(&twice), Err(NetworkFileError::Twice(_))));
    }
}
