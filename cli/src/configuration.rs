//! `config.toml` in the data folder. A flag beats the environment, which beats this file.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kakera_engine::peer::{AuditSettings, CustodySettings, WatchSettings};
use kakera_engine::policy::refresh::RefreshTimes;
use kakera_engine::policy::suspicion::LadderTimes;
use serde::Deserialize;

use crate::failure::{Failure, Kind};
use crate::quantity::{parse_size, parse_span};

/// The file's name in a data folder.
pub(crate) const CONFIG_FILE: &str = "config.toml";

/// The keys, in the order of the documentation.
const KEYS: [&str; 16] = [
    "network",
    "log",
    "gf",
    "passphrase_file",
    "listen",
    "observe",
    "mdns",
    "quota",
    "uplink",
    "probe_every",
    "suspect_after",
    "lost_after",
    "compare_every",
    "scrub_pause",
    "audit_every",
    "refresh_every",
];

/// What the file may say; every key may be left out.
#[derive(Debug, Default, Deserialize, PartialEq)]
pub(crate) struct Configuration {
    /// The network file.
    pub(crate) network: Option<PathBuf>,
    /// Which log lines are written, in the syntax of `RUST_LOG`.
    pub(crate) log: Option<String>,
    /// The kernel of bulk coding.
    pub(crate) gf: Option<String>,
    /// The file whose first line is the vault's passphrase.
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Where a node or validator listens.
    pub(crate) listen: Option<SocketAddr>,
    /// Where a node or validator shows its figures over HTTP; nowhere if left out.
    pub(crate) observe: Option<SocketAddr>,
    /// Whether machines announce themselves on the local network and look for each other there.
    #[serde(default)]
    pub(crate) mdns: bool,
    /// The most a node stores, in bytes or with a unit.
    #[serde(default, deserialize_with = "size")]
    pub(crate) quota: Option<u64>,
    /// Bytes a second that a node's line sends.
    #[serde(default, deserialize_with = "size")]
    pub(crate) uplink: Option<u64>,
    /// How often a validator asks each storage node for a sign of life.
    #[serde(default, deserialize_with = "span")]
    pub(crate) probe_every: Option<Duration>,
    /// Silence after which a validator suspects a node.
    #[serde(default, deserialize_with = "span")]
    pub(crate) suspect_after: Option<Duration>,
    /// Silence after which a validator votes that a node is lost.
    #[serde(default, deserialize_with = "span")]
    pub(crate) lost_after: Option<Duration>,
    /// How often a node compares each of its slots with the other holders.
    #[serde(default, deserialize_with = "span")]
    pub(crate) compare_every: Option<Duration>,
    /// How often a node audits another holder.
    #[serde(default, deserialize_with = "span")]
    pub(crate) audit_every: Option<Duration>,
    /// How old the key shares of a group become before its nodes deal them anew.
    #[serde(default, deserialize_with = "span")]
    pub(crate) refresh_every: Option<Duration>,
    /// How long a node waits before it reads and checks the next part that it keeps.
    #[serde(default, deserialize_with = "span")]
    pub(crate) scrub_pause: Option<Duration>,
}

impl Configuration {
    /// Reads `config.toml` of a data folder; no file is no configuration.
    pub(crate) fn load(data: &Path) -> Result<Self, Failure> {
        let path = data.join(CONFIG_FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text, &path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Failure::file(&path, &error)),
        }
    }

    /// How a validator watches the storage nodes.
    pub(crate) fn watch(&self) -> Result<WatchSettings, Failure> {
        let usual = WatchSettings::default();
        let times = LadderTimes {
            suspect_after: self.suspect_after.unwrap_or(usual.times.suspect_after),
            lost_after: self.lost_after.unwrap_or(usual.times.lost_after),
        };
        let probe_every = self.probe_every.unwrap_or(usual.probe_every);
        if probe_every * 3 > times.suspect_after || times.suspect_after > times.lost_after {
            return Err(Failure::new(
                Kind::Usage,
                "config.toml: three times probe_every must fit into suspect_after, and that into \
                 lost_after",
                "probe_every = \"20s\", suspect_after = \"1m\" and lost_after = \"4h\"",
            ));
        }
        Ok(WatchSettings { times, probe_every })
    }

    /// How a node looks after its slots.
    pub(crate) fn custody(&self) -> CustodySettings {
        let usual = CustodySettings::default();
        CustodySettings {
            compare_every: self.compare_every.unwrap_or(usual.compare_every),
            scrub_pause: self.scrub_pause.unwrap_or(usual.scrub_pause),
        }
    }

    /// How a node audits others.
    pub(crate) fn audit(&self) -> AuditSettings {
        let usual = AuditSettings::default();
        AuditSettings { every: self.audit_every.unwrap_or(usual.every), ..usual }
    }

    /// When a node has key shares dealt anew; turns are a sixteenth of an epoch, at most ten minutes.
    pub(crate) fn refresh(&self) -> RefreshTimes {
        let usual = RefreshTimes::default();
        let epoch = self.refresh_every.unwrap_or(usual.epoch);
        let pause = (epoch / 16).clamp(Duration::from_secs(1), usual.pause);
        RefreshTimes { epoch, pause, ..usual }
    }

    fn parse(text: &str, path: &Path) -> Result<Self, Failure> {
        let malformed = |error: toml::de::Error| {
            let message = format!("{}: {}", path.display(), error.to_string().trim_end());
            Failure::new(Kind::Usage, message, format!("correct {}", path.display()))
        };
        let table: toml::Table = text.parse().map_err(malformed)?;
        if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(unknown_key(key, path));
        }
        toml::from_str(text).map_err(malformed)
    }
}

fn unknown_key(key: &str, path: &Path) -> Failure {
    let likeness = |known: &&str| (strsim::jaro_winkler(key, known) * 1000.0) as u32;
    let nearest = KEYS.into_iter().max_by_key(likeness).unwrap_or(KEYS[0]);
    Failure::new(
        Kind::Usage,
        format!("{}: there is no key '{key}'", path.display()),
        format!("the key '{nearest}'; all keys are {}", KEYS.join(", ")),
    )
}

fn span<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_span(&text).map(Some).map_err(serde::de::Error::custom)
}

fn size<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Size {
        Bytes(u64),
        Text(String),
    }
    match Size::deserialize(deserializer)? {
        Size::Bytes(bytes) => Ok(Some(bytes)),
        Size::Text(text) => parse_size(&text).map(Some).map_err(serde::de::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Configuration, Failure> {
        Configuration::parse(text, Path::new(CONFIG_FILE))
    }

    #[test]
    fn every_key_is_in_the_operators_book() {
        let book = include_str!("../../docs/configuration.md");
        let rows = book.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let (mut documented, mut keys): (Vec<&str>, Vec<&str>) = (rows.collect(), KEYS.into());
        documented.sort_unstable();
        keys.sort_unstable();
        assert_eq!(documented, keys);
    }

    #[test]
    fn reads_every_key() {
        let text = "network = 'n.toml'\nlog = 'info'\ngf = 'avx2'\npassphrase_file = 'p'\n\
                    listen = '127.0.0.1:7000'\nquota = '10GB'\nuplink = '1MB'\nprobe_every = '500ms'\n\
                    suspect_after = '2s'\nlost_after = '4s'\ncompare_every = '1m'\nscrub_pause = '1s'\n\
                    audit_every = '2m'\nobserve = '127.0.0.1:9464'\nrefresh_every = '7d'\nmdns = true";
        let configuration = parse(text).unwrap();
        assert_eq!(configuration.quota, Some(10_000_000_000));
        assert_eq!(configuration.uplink, Some(1_000_000));
        assert!(configuration.mdns);
        assert_eq!(configuration.listen, "127.0.0.1:7000".parse().ok());
        let watch = configuration.watch().unwrap();
        assert_eq!(watch.probe_every, Duration::from_millis(500));
        assert_eq!(watch.times.lost_after, Duration::from_secs(4));
        assert_eq!(configuration.custody().compare_every, Duration::from_secs(60));
        assert_eq!(configuration.refresh().epoch, Duration::from_secs(7 * 24 * 3600));
        assert!(parse("probe_every = '1h'").unwrap().watch().is_err());
        assert_eq!(parse("").unwrap(), Configuration::default());
        assert_eq!(parse("quota = 5").unwrap().quota, Some(5));
        for key in KEYS {
            let Err(failure) = parse(&format!("{key} = []")) else { panic!("{key} took a list") };
            assert!(failure.message.contains(key), "{}", failure.message);
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_the_nearest_one() {
        let failure = parse("quotas = 5").unwrap_err();
        assert_eq!(failure.kind, Kind::Usage);
        assert_eq!(failure.message, "config.toml: there is no key 'quotas'");
        assert!(failure.advice.starts_with("the key 'quota';"), "{}", failure.advice);
        assert!(parse("netwrok = 'x'").unwrap_err().advice.starts_with("the key 'network';"));
    }
}
