//! What every command works with: the data folder, the settings, the network, the vault.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kakera_engine::ledger::Seen;
use kakera_engine::names::{NetworkId, NodeId};
use kakera_engine::wire::canonical;
use kakera_net::client::{Client, ClientError, ClientSettings, ErrorKind};
use kakera_net::id::{Identity, IdentityError};
use kakera_net::neighbours::Neighbours;
use kakera_net::network_file::NetworkFile;
use kakera_net::vault::Vault;

use crate::arguments::{General, PassphraseOptions};
use crate::configuration::Configuration;
use crate::failure::{Failure, Kind};
use crate::output::Output;
use crate::passphrase::PassphraseSource;
use crate::vault::{self, Unlocked};

pub(crate) const NETWORK_FILE: &str = "network.toml";
pub(crate) const CLIENT_KEY: &str = "client.key";
pub(crate) const OPERATOR_KEY: &str = "operator.key";
/// A height, a hash and a validator set.
const SEEN_LEN_MAX: usize = 8192;

/// The settings of one run.
pub(crate) struct Session {
    data: PathBuf,
    network: Option<PathBuf>,
    /// `config.toml`, without what flags and the environment overrule.
    pub(crate) configuration: Configuration,
    /// Where the command speaks.
    pub(crate) output: Output,
}

impl Session {
    /// Reads the configuration of the data folder that the command line names.
    pub(crate) fn new(general: &General) -> Result<Self, Failure> {
        let data = match &general.data {
            Some(data) => data.clone(),
            None => home()?.join(".kakera"),
        };
        let configuration = Configuration::load(&data)?;
        let network = general.network.clone().or_else(|| configuration.network.clone());
        Ok(Self { data, network, configuration, output: Output::new(general.json) })
    }

    /// A session over another data folder, in the network of this file.
    pub(crate) fn over(data: PathBuf, network: PathBuf, output: Output) -> Self {
        let configuration = Configuration::default();
        Self { data, network: Some(network), configuration, output }
    }

    /// The data folder, which may not exist.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// The folder of `kakera local`.
    pub(crate) fn local_folder(&self) -> PathBuf {
        self.data.join("local")
    }

    /// Makes the data folder, for its owner alone.
    pub(crate) fn make_data_folder(&self) -> Result<(), Failure> {
        make_private_folder(&self.data)
    }

    /// The network that was named, or is here, or runs here.
    pub(crate) fn network(&self) -> Result<NetworkFile, Failure> {
        let path = match &self.network {
            Some(path) => path.clone(),
            None => self.here_or_local(NETWORK_FILE),
        };
        load_network(&path)
    }

    /// The key of the network's operator.
    pub(crate) fn operator(&self, named: Option<&Path>) -> Result<Arc<Identity>, Failure> {
        let path = named.map_or_else(|| self.here_or_local(OPERATOR_KEY), Path::to_owned);
        load_identity(&path, "--operator-key FILE: only the operator's key can do this")
    }

    fn here_or_local(&self, name: &str) -> PathBuf {
        let here = self.data.join(name);
        let local = self.local_folder().join(name);
        if !here.exists() && local.exists() { local } else { here }
    }

    /// This machine's key as a client; made at the first use.
    pub(crate) fn client_identity(&self) -> Result<Arc<Identity>, Failure> {
        self.make_data_folder()?;
        let path = self.data.join(CLIENT_KEY);
        if !path.exists() {
            make_identity(&path)?;
        }
        load_identity(&path, "restore it from a copy")
    }

    /// A connection to the network as this client.
    pub(crate) fn connect(&self) -> Result<Connection, Failure> {
        self.connect_as(self.client_identity()?)
    }

    /// A connection to the network as someone else.
    pub(crate) fn connect_as(&self, identity: Arc<Identity>) -> Result<Connection, Failure> {
        self.connect_through(identity, self.configuration.mdns)
    }

    /// The same; `mdns` says whether machines are looked for on the local network.
    pub(crate) fn connect_through(
        &self,
        identity: Arc<Identity>,
        mdns: bool,
    ) -> Result<Connection, Failure> {
        let network = self.network()?;
        let network_id = network.network_id();
        let seen_path = self.data.join(seen_name(&network_id));
        let machine = identity.node_id();
        let settings = ClientSettings { network, identity, seen: load_seen(&seen_path) };
        let mut client = Client::new(settings)?;
        if mdns {
            let neighbours = Neighbours::look(network_id)
                .map_err(|error| Failure::of(Kind::Failure, error, "without mdns"))?;
            client = client.with_neighbours(neighbours);
        }
        Ok(Connection { client: Arc::new(client), machine, seen_path })
    }

    /// The vault of this data folder, opened. From here on the connection is that of the machine
    /// which the operator enrolled for the vault, on whatever machine this runs.
    pub(crate) async fn open_vault(
        &self,
        connection: &mut Connection,
        passphrase: &PassphraseOptions,
    ) -> Result<Vault, Failure> {
        let Unlocked { root, machine } = vault::unlock(self, connection, passphrase).await?;
        if let Some(machine) = machine {
            self.change_machine(connection, machine).await?;
        }
        Ok(Vault::open(Arc::clone(&connection.client), root).await?)
    }

    /// Connects as another machine, if it is another.
    pub(crate) async fn change_machine(
        &self,
        connection: &mut Connection,
        machine: Arc<Identity>,
    ) -> Result<(), Failure> {
        if connection.machine != machine.node_id() {
            let other = std::mem::replace(connection, self.connect_as(machine)?);
            other.close().await?;
        }
        Ok(())
    }

    /// Where this run looks for a passphrase.
    pub(crate) fn passphrase(&self, options: &PassphraseOptions) -> PassphraseSource {
        PassphraseSource {
            file: options.passphrase_file.clone(),
            configured_file: self.configuration.passphrase_file.clone(),
        }
    }
}

/// A client, and where it remembers the newest head it has seen.
pub(crate) struct Connection {
    pub(crate) client: Arc<Client>,
    machine: NodeId,
    seen_path: PathBuf,
}

impl Connection {
    /// Remembers the newest head, so that no later run takes an older one, and says goodbye.
    pub(crate) async fn close(self) -> Result<(), Failure> {
        let seen = canonical::encode(&self.client.seen());
        self.client.close().await;
        replace_file(&self.seen_path, &seen)
    }
}

/// A network file.
pub(crate) fn load_network(path: &Path) -> Result<NetworkFile, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => NetworkFile::parse(&text).map_err(|error| {
            let advice = "ask the network's operator for the file again";
            Failure::of(Kind::Usage, error, advice).during(path.display())
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Failure::new(
            Kind::NotFound,
            format!("there is no network file {}", path.display()),
            "kakera local up, or --network FILE",
        )),
        Err(error) => Err(Failure::file(path, &error)),
    }
}

/// Writes a new key; refuses to replace one.
pub(crate) fn make_identity(path: &Path) -> Result<Arc<Identity>, Failure> {
    let identity = Identity::generate().map_err(|error| {
        let message = format!("the operating system has no randomness: {error}");
        Failure::new(Kind::TryAgain, message, "repeat the command in a moment")
    })?;
    identity.store(path).map_err(|error| identity_failure(error, "keep the key that is there"))?;
    Ok(Arc::new(identity))
}

/// Reads a key; `advice` is for the case that there is none.
pub(crate) fn load_identity(path: &Path, advice: &str) -> Result<Arc<Identity>, Failure> {
    Identity::load(path).map(Arc::new).map_err(|error| identity_failure(error, advice))
}

fn identity_failure(error: IdentityError, advice: &str) -> Failure {
    let kind = match &error {
        IdentityError::Io { error, .. } if error.kind() == io::ErrorKind::NotFound => {
            Kind::NotFound
        }
        IdentityError::Io { .. } => Kind::Failure,
        IdentityError::Exposed { .. } => Kind::Denied,
        IdentityError::Damaged { .. } => Kind::Integrity,
    };
    Failure::of(kind, error, advice)
}

/// Makes a folder that nobody else may look into.
pub(crate) fn make_private_folder(path: &Path) -> Result<(), Failure> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| Failure::file(path, &error))
}

/// Writes a file whole or not at all.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(Path::new("."));
    tempfile::NamedTempFile::new_in(folder)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist(path).map_err(|error| error.error)?;
            Ok(())
        })
        .map_err(|error| Failure::file(path, &error))
}

fn home() -> Result<PathBuf, Failure> {
    std::env::home_dir()
        .filter(|home| home.is_absolute())
        .ok_or_else(|| Failure::new(Kind::Usage, "this user has no home folder", "--data DIR"))
}

/// One file a network: a data folder may meet several.
fn seen_name(network: &NetworkId) -> String {
    format!("head-{}", &network.to_string()[..16])
}

/// A file that cannot be read is as none: what it guards against is an old head, not this user.
fn load_seen(path: &Path) -> Option<Seen> {
    canonical::decode(&fs::read(path).ok()?, SEEN_LEN_MAX).ok()
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let kind = match error.kind() {
            ErrorKind::Usage => Kind::Usage,
            ErrorKind::NotFound => Kind::NotFound,
            ErrorKind::BelowThreshold => Kind::BelowThreshold,
            ErrorKind::Integrity => Kind::Integrity,
            ErrorKind::Denied => Kind::Denied,
            ErrorKind::Unavailable => Kind::TryAgain,
            ErrorKind::Other => Kind::Failure,
        };
        Self::new(kind, error.to_string(), error.advice())
    }
}
