//! `kakera validator`: found a network, be one of its validators, decide who else is.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use kakera_engine::ledger::{
    Anchor, BeaconChain, Body, Genesis, NodeJoin, NodeLost, RULES_VERSION_MAX, RetentionFloor,
    Roles, Suite, Upgrade, ValidatorChange, ValidatorSet,
};
use kakera_engine::names::NodeId;
use kakera_net::client::Client;
use kakera_net::clock::system_clock;
use kakera_net::network_file::NetworkFile;
use kakera_net::node::IDENTITY_FILE;
use kakera_net::validator::{self, ValidatorSettings};
use serde::Serialize;

use crate::arguments::{Source, ValidatorCommand};
use crate::codes::Codes;
use crate::failure::{Failure, Kind};
use crate::machine::{LISTEN, listen, stopped, stopped_working};
use crate::operator;
use crate::output::Report;
use crate::session::{
    Connection, Session, load_identity, make_identity, make_private_folder, replace_file,
};

/// Pointers that one machine may keep on the ledger.
const POINTERS_PER_AUTHOR_MAX: u64 = 1_000_000;

/// Runs a validator command.
pub(crate) async fn run(session: &Session, command: &ValidatorCommand) -> Result<(), Failure> {
    match command {
        ValidatorCommand::Init { recover: true, sources, .. } => recover(session, sources).await,
        ValidatorCommand::Init { join: true, .. } => {
            let Founder { id, .. } = make_validator(session.data(), LISTEN)?;
            session.output.report(&JoinReport { validator: id.to_string() })
        }
        ValidatorCommand::Init { address, name, codes, with, .. } => {
            let codes = Codes::choose(codes)?;
            let mut founders = vec![make_validator(session.data(), address.unwrap_or(LISTEN))?];
            let others = with.iter().map(|(id, address)| Founder {
                id: *id,
                address: *address,
                anchor: None,
            });
            founders.extend(others);
            let network = found(session.data(), name, codes, &founders)?;
            let network_file = session.data().join("network.toml");
            let id = network.network_id().to_string();
            session.output.report(&FoundReport { network: id, network_file })
        }
        ValidatorCommand::Run { listening } => {
            let settings = settings(session, listen(session, listening)?)?;
            let stopped = stopped()?;
            validator::run(settings, stopped).await.map_err(stopped_working)
        }
        ValidatorCommand::Add { validator: (id, address), power } => {
            let join = Join { id: *id, address: *address };
            change(session, Some(join), |set| _ = set.0.insert(*id, *power)).await
        }
        ValidatorCommand::Remove { validator } => {
            change(session, None, |set| _ = set.0.remove(validator)).await
        }
        ValidatorCommand::Upgrade => upgrade(session).await,
        ValidatorCommand::Retain { height } => retain(session, *height).await,
        ValidatorCommand::Lost { node } => lose(session, node).await,
    }
}

fn settings(session: &Session, listen: SocketAddr) -> Result<ValidatorSettings, Failure> {
    let (folder, network) = (session.data().to_owned(), session.network()?);
    let watch = session.configuration.watch()?;
    let (observe, mdns) = (session.configuration.observe, session.configuration.mdns);
    let tries_clock = system_clock();
    Ok(ValidatorSettings { folder, listen, network, watch, tries_clock, observe, mdns })
}

/// A validator of a network that is founded.
pub(crate) struct Founder {
    pub(crate) id: NodeId,
    pub(crate) address: SocketAddr,
    /// Where its contributions to the beacon begin; without one it registers its own later.
    pub(crate) anchor: Option<Anchor>,
}

/// Makes the folder of a validator with a new key.
pub(crate) fn make_validator(folder: &Path, address: SocketAddr) -> Result<Founder, Failure> {
    make_private_folder(folder)?;
    let identity = make_identity(&folder.join(IDENTITY_FILE))?;
    validator::create_voting_log(folder).map_err(stopped_working)?;
    let anchor = BeaconChain::of_genesis(identity.signing_key()).anchor();
    Ok(Founder { id: identity.node_id(), address, anchor: Some(anchor) })
}

/// Founds a network: the operator's key and the network file in `folder`.
pub(crate) fn found(
    folder: &Path,
    name: &str,
    codes: Codes,
    founders: &[Founder],
) -> Result<NetworkFile, Failure> {
    make_private_folder(folder)?;
    let operator = make_identity(&folder.join("operator.key"))?.node_id();
    let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let anchored = founders.iter().filter_map(|founder| Some((founder.id, founder.anchor?)));
    let genesis = Genesis {
        suite: Suite,
        name: name.to_owned(),
        created: created.as_millis() as u64,
        validators: founders.iter().map(|founder| (founder.id, 1)).collect(),
        operators: BTreeSet::from([operator]),
        code: codes.data,
        key: codes.key,
        pointers_per_author_max: POINTERS_PER_AUTHOR_MAX,
        version: Some(RULES_VERSION_MAX),
        anchors: anchored.collect(),
    };
    genesis
        .check()
        .map_err(|error| Failure::of(Kind::Usage, error, "kakera validator init --help"))?;
    let addresses = founders.iter().map(|founder| (founder.id, founder.address)).collect();
    let network = NetworkFile { genesis, addresses };
    replace_file(&folder.join("network.toml"), network.to_text().as_bytes())?;
    Ok(network)
}

/// A validator that is to be let in.
struct Join {
    id: NodeId,
    address: SocketAddr,
}

/// A connection under this validator's own key, with which it votes.
fn connect(session: &Session) -> Result<(Connection, NodeId), Failure> {
    let path = session.data().join(IDENTITY_FILE);
    let identity = load_identity(&path, "kakera validator init")?;
    let id = identity.node_id();
    Ok((session.connect_as(identity)?, id))
}

/// Votes, with this machine's key, for another validator set.
async fn change(
    session: &Session,
    join: Option<Join>,
    alter: impl FnOnce(&mut ValidatorSet),
) -> Result<(), Failure> {
    let (connection, own) = connect(session)?;
    let client = &connection.client;
    let present = client.next_validators().await?;
    let mut validators = present.clone();
    alter(&mut validators);
    if validators == present {
        let message = "the validator set is so already";
        return Err(Failure::new(Kind::Usage, message, "kakera ledger head"));
    }
    if !present.contains(&own) {
        let message = "this machine is not a validator of the network, so it has no vote";
        return Err(Failure::new(Kind::Denied, message, "run it in a validator's data folder"));
    }
    if let Some(Join { id, address }) = join {
        // So that the others reach it, and it them, before the set has changed.
        operator::enrol(client, machine_of(id, address, own)).await?;
    }
    let change = ValidatorChange { validators: validators.clone(), from: Some(present.hash()) };
    let votes = cast(client, &own, Body::ValidatorChange(change)).await?;
    let in_force = client.next_validators().await? == validators;
    connection.close().await?;
    let validators = validators.0.keys().map(NodeId::to_string).collect();
    session.output.report(&ChangeReport { validators, in_force, votes })
}

/// Votes for the newest rules that this program knows.
async fn upgrade(session: &Session) -> Result<(), Failure> {
    let (connection, own) = connect(session)?;
    let client = &connection.client;
    let version = RULES_VERSION_MAX;
    let mut votes = 0;
    if client.rules_version().await? < version {
        votes = cast(client, &own, Body::Upgrade(Upgrade { version })).await?;
    }
    let in_force = client.rules_version().await? >= version;
    connection.close().await?;
    session.output.report(&UpgradeReport { version, in_force, votes })
}

/// Votes that bodies of blocks below a height need not be kept.
async fn retain(session: &Session, height: u64) -> Result<(), Failure> {
    let (connection, own) = connect(session)?;
    let client = &connection.client;
    let mut votes = 0;
    if client.retention_floor().await? < height {
        votes = cast(client, &own, Body::RetentionFloor(RetentionFloor { height })).await?;
    }
    let in_force = client.retention_floor().await? >= height;
    connection.close().await?;
    session.output.report(&RetainReport { height, in_force, votes })
}

/// Votes that a storage node is lost.
async fn lose(session: &Session, id: &NodeId) -> Result<(), Failure> {
    let (connection, own) = connect(session)?;
    let client = &connection.client;
    let Some(node) = operator::find(client, id).await? else {
        let message = format!("no machine {id} is enrolled");
        return Err(Failure::new(Kind::NotFound, message, "kakera status"));
    };
    let mut votes = 0;
    if !node.retired {
        let (generation, exclusions) = (node.join.generation, client.exclusions().await?);
        let lost = NodeLost { node: *id, generation, exclusions };
        votes = cast(client, &own, Body::NodeLost(lost)).await?;
    }
    let in_force = operator::find(client, id).await?.is_some_and(|node| node.retired);
    connection.close().await?;
    session.output.report(&LostReport { node: id.to_string(), in_force, votes })
}

/// Votes, unless this validator has; how many votes for the same now wait for others.
async fn cast(client: &Client, own: &NodeId, vote: Body) -> Result<usize, Failure> {
    if !client.voters(&vote).await?.contains(own) {
        client.submit(vote.clone()).await?;
    }
    Ok(client.voters(&vote).await?.len())
}

fn machine_of(id: NodeId, address: SocketAddr, operator: NodeId) -> NodeJoin {
    NodeJoin {
        node: id,
        roles: Roles { storage: false, submitter: false },
        address: address.to_string(),
        zone: "validator".into(),
        operator,
        quota_bytes: 0,
        generation: 1,
    }
}

async fn recover(session: &Session, sources: &[Source]) -> Result<(), Failure> {
    let settings = settings(session, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))?;
    let recovered =
        validator::recover(settings, sources.to_vec()).await.map_err(stopped_working)?;
    let faults = recovered.faults.iter().map(|fault| format!("{}: {}", fault.node, fault.reason));
    session.output.report(&RecoverReport {
        height: recovered.height,
        sources: recovered.sources.iter().map(ToString::to_string).collect(),
        faults: faults.collect(),
    })
}

#[derive(Serialize)]
struct FoundReport {
    network: String,
    network_file: PathBuf,
}

impl Report for FoundReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "Network {} was founded.", self.network)?;
        writeln!(
            out,
            "Everybody who joins needs {}; it holds no secret.",
            self.network_file.display()
        )?;
        writeln!(out, "Keep operator.key beside it safe: it lets machines in.")
    }
}

#[derive(Serialize)]
struct JoinReport {
    validator: String,
}

impl Report for JoinReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "This validator's key is {}.", self.validator)?;
        writeln!(out, "To found a network with it, on another machine:")?;
        writeln!(
            out,
            "  kakera validator init --address ADDRESS:7400 --with {}@ADDRESS:7400",
            self.validator
        )?;
        writeln!(out, "To let it into a network, on the validators there:")?;
        writeln!(out, "  kakera validator add {}@ADDRESS:7400", self.validator)?;
        writeln!(out, "Then put the network's network.toml into this data folder and start it:")?;
        writeln!(out, "  kakera validator run")
    }
}

#[derive(Serialize)]
struct ChangeReport {
    validators: Vec<String>,
    /// Whether enough have voted.
    in_force: bool,
    /// How many have so far; none once it is in force.
    votes: usize,
}

impl Report for ChangeReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.in_force {
            writeln!(out, "From the next block on the validators are")?;
        } else {
            writeln!(
                out,
                "{} of the validators voted so. Once more than two thirds have, by the same command \
                 on the others, the validators are",
                self.votes
            )?;
        }
        self.validators.iter().try_for_each(|id| writeln!(out, "  {id}"))?;
        if let 2..=3 = self.validators.len() {
            writeln!(out, "Fewer than four validators must all run: none of them may fail.")?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct UpgradeReport {
    version: u32,
    /// Whether enough have voted.
    in_force: bool,
    /// How many have so far; none once it is in force.
    votes: usize,
}

impl Report for UpgradeReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let decided = format!("The ledger follows version {} of its rules.", self.version);
        let vote = format!("for version {} of the ledger's rules", self.version);
        write_vote(out, (self.in_force, self.votes), &decided, &vote)
    }
}

#[derive(Serialize)]
struct RetainReport {
    height: u64,
    /// Whether enough have voted.
    in_force: bool,
    /// How many have so far; none once it is in force.
    votes: usize,
}

impl Report for RetainReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let decided = format!("Machines may drop the bodies of blocks below {}.", self.height);
        let vote = format!("to let the bodies of blocks below {} go", self.height);
        write_vote(out, (self.in_force, self.votes), &decided, &vote)
    }
}

#[derive(Serialize)]
struct LostReport {
    node: String,
    /// Whether enough have voted.
    in_force: bool,
    /// How many have so far; none once it is in force.
    votes: usize,
}

impl Report for LostReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let decided = format!("{} counts as lost: its slots are drawn anew.", self.node);
        let vote = format!("that {} is lost", self.node);
        write_vote(out, (self.in_force, self.votes), &decided, &vote)
    }
}

/// What the validators decided, or what some of them voted.
fn write_vote(
    out: &mut dyn Write,
    (in_force, votes): (bool, usize),
    decided: &str,
    vote: &str,
) -> io::Result<()> {
    if in_force {
        return writeln!(out, "{decided}");
    }
    writeln!(
        out,
        "{votes} of the validators voted {vote}. That holds once more than two thirds have, by the \
         same command on the others."
    )
}

#[derive(Serialize)]
struct RecoverReport {
    height: u64,
    sources: Vec<String>,
    faults: Vec<String>,
}

impl Report for RecoverReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let confirmed = self.sources.len();
        writeln!(out, "The chain is back up to block {}, by {confirmed} nodes.", self.height)?;
        self.faults.iter().try_for_each(|fault| writeln!(out, "  not by {fault}"))
    }
}
