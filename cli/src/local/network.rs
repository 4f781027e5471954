//! A whole network on this machine: `network.toml`, `operator.key`, `validator/`, `node-01/` …

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kakera_engine::ledger::{Node, NodeJoin, Roles};
use kakera_engine::names::NodeId;
use kakera_net::listening;

use super::machine_folder::{MachineFolder, Role, State};
use super::no_machine;
use crate::codes::Codes;
use crate::failure::{Failure, Kind};
use crate::listing::ask_nodes;
use crate::machine::QUOTA_BYTES;
use crate::operator;
use crate::output::Output;
use crate::session::{Connection, Session, load_identity, load_network, make_private_folder};
use crate::validator::{found, make_validator};

/// How long a process may take until it listens, and the network until it answers.
const START_TIME: Duration = Duration::from_secs(30);
const POLL_PAUSE: Duration = Duration::from_millis(20);

/// How long the processes live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// Until `kakera local down`.
    Persistent,
    /// At most as long as this process.
    WithParent,
}

/// A network of processes on this machine.
pub(crate) struct LocalNetwork {
    folder: PathBuf,
    lifetime: Lifetime,
}

impl LocalNetwork {
    /// Whether there is a network in the folder.
    pub(crate) fn exists(folder: &Path) -> bool {
        network_file(folder).exists()
    }

    /// Founds a network with folders for this many validators and nodes; starts nothing.
    pub(crate) fn create(
        folder: &Path,
        validators: u8,
        nodes: u16,
        codes: Codes,
        lifetime: Lifetime,
    ) -> Result<Self, Failure> {
        let network = Self::at(folder, lifetime);
        make_private_folder(folder)?;
        let founders = (1..=validators.into())
            .map(|number| make_validator(network.validator_folder(number).path(), free_address()?))
            .collect::<Result<Vec<_>, _>>()?;
        found(folder, "local", codes, &founders)?;
        for _ in 0..nodes {
            network.add_node()?;
        }
        Ok(network)
    }

    /// The network in the folder.
    pub(crate) fn open(folder: &Path, lifetime: Lifetime) -> Result<Self, Failure> {
        if !Self::exists(folder) {
            let message = format!("there is no local network in {}", folder.display());
            return Err(Failure::new(Kind::NotFound, message, "kakera local up"));
        }
        Ok(Self::at(folder, lifetime))
    }

    fn at(folder: &Path, lifetime: Lifetime) -> Self {
        Self { folder: folder.to_owned(), lifetime }
    }

    /// The nodes of the network in the folder, if there is one, that were killed for good.
    pub(crate) fn killed_nodes(folder: &Path) -> Result<Vec<NodeId>, Failure> {
        if !Self::exists(folder) {
            return Ok(Vec::new());
        }
        let nodes = Self::at(folder, Lifetime::Persistent).nodes()?;
        let killed = nodes.iter().filter(|(_, node)| node.state() == State::Killed);
        killed.map(|(_, node)| node.node_id()).collect()
    }

    /// Where it is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The network file.
    pub(crate) fn network_file(&self) -> PathBuf {
        network_file(&self.folder)
    }

    /// The validators by their numbers, from 1.
    pub(crate) fn validators(&self) -> Result<Vec<(u16, MachineFolder)>, Failure> {
        let mut validators = self.numbered("validator-", Self::validator_folder)?;
        validators.insert(0, (1, self.validator_folder(1)));
        Ok(validators)
    }

    /// The nodes by their numbers, from 1.
    pub(crate) fn nodes(&self) -> Result<Vec<(u16, MachineFolder)>, Failure> {
        self.numbered("node-", Self::node_folder)
    }

    fn numbered(
        &self,
        prefix: &str,
        folder: impl Fn(&Self, u16) -> MachineFolder,
    ) -> Result<Vec<(u16, MachineFolder)>, Failure> {
        let failure = |error| Failure::file(&self.folder, &error);
        let mut machines = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failure)? {
            let name = entry.map_err(failure)?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(prefix)?.parse().ok());
            machines.extend(number.map(|number| (number, folder(self, number))));
        }
        machines.sort_unstable_by_key(|(number, _)| *number);
        Ok(machines)
    }

    /// One node.
    pub(crate) fn node(&self, number: u16) -> Result<MachineFolder, Failure> {
        let node = self.node_folder(number);
        if node.path().exists() { Ok(node) } else { Err(no_machine("node", number)) }
    }

    /// One validator.
    pub(crate) fn validator(&self, number: u16) -> Result<MachineFolder, Failure> {
        let validator = self.validator_folder(number);
        if validator.path().exists() { Ok(validator) } else { Err(no_machine("validator", number)) }
    }

    /// Makes the folder of one more node, configured as the last one; [`LocalNetwork::up`] starts it.
    pub(crate) fn add_node(&self) -> Result<MachineFolder, Failure> {
        let nodes = self.nodes()?;
        let last = nodes.last().map_or(0, |(number, _)| *number);
        let node = self.node_folder(last + 1);
        node.create()?;
        if let Some((_, last)) = nodes.last() {
            node.configure_as(last)?;
        }
        Ok(node)
    }

    fn validator_folder(&self, number: u16) -> MachineFolder {
        MachineFolder::new(self.folder.join(validator_name(number)), Role::Validator)
    }

    fn node_folder(&self, number: u16) -> MachineFolder {
        MachineFolder::new(self.folder.join(format!("node-{number:02}")), Role::Node)
    }

    /// Starts what does not run and was not killed, and returns when all of it answers.
    pub(crate) async fn up(&self) -> Result<Connection, Failure> {
        self.start_processes().await?;
        let operator = self.operator()?;
        self.admit(&operator).await?;
        Ok(operator)
    }

    /// Starts what does not run and was not killed, and returns when all of it listens.
    pub(crate) async fn start_processes(&self) -> Result<(), Failure> {
        let network = load_network(&self.network_file())?;
        let alive = self.alive()?;
        let validators: Vec<MachineFolder> =
            self.validators()?.into_iter().map(|(_, validator)| validator).collect();
        let validators: Vec<MachineFolder> =
            validators.into_iter().filter(|machine| machine.state() != State::Killed).collect();
        for validator in &validators {
            self.start(validator, network.addresses.get(&validator.node_id()?).copied())?;
        }
        for node in &alive {
            self.start(node, node.address())?;
        }
        for machine in alive.iter().chain(&validators) {
            wait_until_listening(machine).await?;
        }
        Ok(())
    }

    /// Enrols whom the ledger does not know and lost nodes with another address than it knows, brings the
    /// addresses of the others up to date, and returns when all running nodes that are enrolled answer.
    /// Who was retired or convicted stays out; who was only lost the validators take back by themselves,
    /// unless it failed its audits.
    ///
    /// Entries of one author are numbered, so one connection should do all of the operator's work.
    pub(crate) async fn admit(&self, operator: &Connection) -> Result<(), Failure> {
        let network = load_network(&self.network_file())?;
        let known = operator.client.nodes().await?.into_iter();
        let known: BTreeMap<NodeId, Node> = known.map(|node| (node.join.node, node)).collect();
        let mut nodes = Vec::new();
        for node in self.alive()? {
            let known = known.get(&node.node_id()?);
            let gone = known.filter(|known| known.retired);
            let moved = |gone: &Node| node.address() != gone.join.address.parse().ok();
            if gone.is_none_or(|gone| gone.lost.is_some() && moved(gone)) {
                operator::enrol_known(&operator.client, known, self.join_of(&node)?).await?;
                nodes.push(node);
            }
        }
        let codes = Codes { data: network.genesis.code, key: network.genesis.key };
        operator::make_first_group(&operator.client, codes).await?;
        wait_until_answering(operator, &nodes).await
    }

    /// Enrols a node, again if it had left.
    pub(crate) async fn enrol_node(
        &self,
        operator: &Connection,
        node: &MachineFolder,
    ) -> Result<(), Failure> {
        operator::enrol(&operator.client, self.join_of(node)?).await
    }

    fn join_of(&self, node: &MachineFolder) -> Result<NodeJoin, Failure> {
        let address = node.address().map(|address| address.to_string()).unwrap_or_default();
        self.join(node.node_id()?, Roles { storage: true, submitter: false }, address)
    }

    fn alive(&self) -> Result<Vec<MachineFolder>, Failure> {
        let nodes = self.nodes()?.into_iter().map(|(_, node)| node);
        Ok(nodes.filter(|node| node.state() != State::Killed).collect())
    }

    fn start(&self, machine: &MachineFolder, listen: Option<SocketAddr>) -> Result<(), Failure> {
        if machine.is_running() {
            return Ok(());
        }
        // Whose address nobody knows yet takes any port.
        let listen = listen.unwrap_or((Ipv4Addr::LOCALHOST, 0).into());
        machine.start(&self.network_file(), listen, self.lifetime)
    }

    /// A connection with the operator's key.
    pub(crate) fn operator(&self) -> Result<Connection, Failure> {
        let identity = load_identity(&self.folder.join("operator.key"), "kakera local up")?;
        // Its own folder: the operator remembers its own newest head.
        let session = Session::over(self.folder.clone(), self.network_file(), Output::new(true));
        session.connect_as(identity)
    }

    /// Lets a client store records.
    pub(crate) async fn enrol_client(
        &self,
        operator: &Connection,
        client: NodeId,
    ) -> Result<(), Failure> {
        let submitter = Roles { storage: false, submitter: true };
        operator::enrol(&operator.client, self.join(client, submitter, String::new())?).await
    }

    fn join(&self, node: NodeId, roles: Roles, address: String) -> Result<NodeJoin, Failure> {
        let operator = load_identity(&self.folder.join("operator.key"), "kakera local up")?;
        Ok(NodeJoin {
            node,
            roles,
            address,
            zone: "local".into(),
            operator: operator.node_id(),
            quota_bytes: QUOTA_BYTES,
            generation: 1,
        })
    }

    /// Stops every process.
    pub(crate) fn down(&self) -> Result<(), Failure> {
        let machines: Vec<MachineFolder> = self.machines()?;
        machines.iter().try_for_each(MachineFolder::ask_to_end)?;
        machines.iter().try_for_each(MachineFolder::end)
    }

    /// Kills every process, whatever else fails.
    pub(crate) fn kill(&self) {
        for machine in self.machines().unwrap_or_default() {
            // The others are to be killed too; what is left dies with this process.
            let _ = machine.kill();
        }
    }

    /// The nodes, then the validators.
    fn machines(&self) -> Result<Vec<MachineFolder>, Failure> {
        let numbered = self.nodes()?.into_iter().chain(self.validators()?);
        Ok(numbered.map(|(_, machine)| machine).collect())
    }
}

/// The first has no number: most networks have one.
pub(super) fn validator_name(number: u16) -> String {
    if number == 1 { "validator".into() } else { format!("validator-{number:02}") }
}

fn network_file(folder: &Path) -> PathBuf {
    folder.join("network.toml")
}

/// An address for a validator, which stands in the network file before the validator runs.
fn free_address() -> Result<SocketAddr, Failure> {
    listening::free_address().map_err(|error| {
        let message = format!("no free port on 127.0.0.1: {error}");
        Failure::new(Kind::TryAgain, message, "repeat the command")
    })
}

async fn wait_until_listening(machine: &MachineFolder) -> Result<(), Failure> {
    let deadline = Instant::now() + START_TIME;
    while machine.address().is_none() {
        if !machine.is_running() || Instant::now() >= deadline {
            return Err(machine.did_not_start());
        }
        tokio::time::sleep(POLL_PAUSE).await;
    }
    Ok(())
}

/// A node answers once it has followed the ledger up to the entry that let it in.
async fn wait_until_answering(
    operator: &Connection,
    nodes: &[MachineFolder],
) -> Result<(), Failure> {
    let ids = nodes.iter().map(MachineFolder::node_id).collect::<Result<Vec<_>, _>>()?;
    let height = operator.client.head().await?.header().height;
    let deadline = Instant::now() + START_TIME;
    loop {
        let figures = ask_nodes(&operator.client, &ids).await;
        let is_ready = |figures: &Option<_>| {
            figures
                .as_ref()
                .is_some_and(|figures: &kakera_engine::wire::NodeStatus| figures.height >= height)
        };
        let Some(late) = figures.iter().position(|figures| !is_ready(figures)) else {
            return Ok(());
        };
        if Instant::now() >= deadline || !nodes[late].is_running() {
            return Err(nodes[late].did_not_start());
        }
        tokio::time::sleep(POLL_PAUSE).await;
    }
}
