//! The validator's process: drives [`Validator`] over the disk and the network.
//!
//! One writer makes blocks, or agrees on them with others, and syncs what must be synced; requests
//! meet it at the desk, a short lock around the machine. Reads are served from a view of the final
//! chain and wait for neither.

mod barred;
#[cfg(feature = "testkit")]
pub mod crash_model;
mod desk;
mod fetch;
mod identities;
mod join;
mod observed;
mod peers;
mod recover;
mod service;
mod voting_log;
mod watching;
mod writer;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use kakera_engine::ledger::agreement::Pace;
use kakera_engine::ledger::{Chain, Genesis};
use kakera_engine::names::NodeId;
use kakera_engine::peer::{Clock, SetupError, Validator, WatchSettings};
use kakera_engine::policy::LedgerView;
use thiserror::Error;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use identities::IdentityStore;
use observed::ObservedValidator;
pub use recover::{RecoverError, Recovered, SourceFault, recover};
use service::Service;
use voting_log::VotingLog;
pub use voting_log::{VOTING_LOG_FILE, VotingLogError};

use crate::chain_store::{CHAIN_FILE, ChainStore, ChainStoreError};
use crate::chain_view::ChainView;
use crate::clock::{UnixClock, system_clock, unix_milliseconds};
use crate::exchange::{AddressBook, Exchange};
use crate::fabric::{Fabric, Limits};
use crate::id::{Identity, IdentityError};
use crate::listening::{self, ADDRESS_FILE};
use crate::neighbours::{Neighbours, NeighboursError};
use crate::network_file::NetworkFile;
use crate::node::IDENTITY_FILE;
use crate::observe;
use crate::store::disk::{Disk, OpenDiskError, OsDisk};
use crate::upkeep::Upkeep;
use crate::watch;

/// What a validator needs to run.
pub struct ValidatorSettings {
    /// Its folder: identity and chain. One process at a time.
    pub folder: PathBuf,
    /// Where to listen; port 0 takes the port of the last run if it is free, else any.
    pub listen: SocketAddr,
    /// The network.
    pub network: NetworkFile,
    /// How it watches the storage nodes.
    pub watch: WatchSettings,
    /// By which it counts the tries of passphrases.
    pub tries_clock: UnixClock,
    /// Where it may be observed ([`observe`]).
    pub observe: Option<SocketAddr>,
    /// Whether it announces itself on the local network and looks for others there.
    pub mdns: bool,
}

impl ValidatorSettings {
    /// A validator of the default times and the computer's clock, neither observed nor announced.
    pub fn new(folder: PathBuf, listen: SocketAddr, network: NetworkFile) -> Self {
        Self {
            folder,
            listen,
            network,
            watch: WatchSettings::default(),
            tries_clock: system_clock(),
            observe: None,
            mdns: false,
        }
    }
}

/// Why a validator does not run.
#[derive(Debug, Error)]
pub enum ValidatorError {
    /// The folder cannot be used.
    #[error(transparent)]
    Folder(#[from] OpenDiskError),
    /// The identity cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// There is no identity in the folder.
    #[error(
        "{} is missing; try: put the backup of the validator's key there. Without it nobody can add \
         to this network's ledger; its data stay readable, and a new network can be set up beside it",
        .0.display()
    )]
    NoIdentity(PathBuf),
    /// The chain knows no agreement, or the folder's newest block is another's.
    #[error("{0}; try: check that the network file and the folder belong together")]
    Setup(#[from] SetupError),
    /// What this validator said before cannot be used.
    #[error(transparent)]
    VotingLog(#[from] VotingLogError),
    /// The chain kept here cannot be used.
    #[error("the chain in the validator's folder: {0}")]
    Chain(#[from] ChainStoreError),
    /// It cannot look for others on the local network.
    #[error(transparent)]
    Neighbours(#[from] NeighboursError),
    /// The disk or the socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Runs a validator until `shutdown` completes. The folder's `address` file tells where it listens
/// once it does.
///
/// A block of the log that is not known to be final is pending again: it is offered to the
/// followers as it is, and nothing else is ever signed at its height.
pub async fn run(
    settings: ValidatorSettings,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ValidatorError> {
    let ValidatorSettings { folder, listen, network, watch, tries_clock, observe, mdns } = settings;
    let disk = OsDisk::open(&folder)?;
    let identity = load_identity(&folder)?;
    let founder = network.genesis.validators.contains(&identity.node_id());
    if !founder || !VotingLog::exists(&disk)? {
        join::gather_chain(&disk, &network, &identity, listen).await?;
    }
    let (store, mut machine) = open_chain(&disk, &network.genesis, identity.signing_key())?;
    let clock = Clock { elapsed: Duration::ZERO, unix_millis: unix_milliseconds() };
    let voting_log = open_voting_log(&disk, &mut machine, clock)?;
    let (store, genesis) = (Arc::new(store), network.genesis.clone());
    let network_id = network.network_id();
    let identities = IdentityStore::open(disk.clone())?;
    let service = Service::new(
        Arc::clone(&identity),
        network,
        Arc::clone(&store),
        voting_log,
        (identities, tries_clock),
        machine,
    );
    let head = service.desk.view().height();
    info!(durable = service.durable_height(), r#final = head, "chain opened");
    if !service.desk.view().is_validator(&service.id) {
        info!("not of the validator set as far as this chain goes: following the others");
    }

    let listen = listening::preferred(&disk, listen)?;
    let limits = listening::limits(listen, Limits::validator());
    // Whoever has a handle and a passphrase may come from any machine: `policy::authorise` knows
    // what a stranger may ask.
    let fabric = Fabric::bind(Arc::clone(&identity), listen, limits, |_| true)?;
    listening::announce(&disk, ADDRESS_FILE, fabric.local_address())?;
    let observed = ObservedValidator { service: Arc::clone(&service), fabric: fabric.clone() };
    let showing = observe::show(&disk, observe, Arc::new(observed)).await?;
    info!(address = %fabric.local_address(), "listening");

    let upkeep = Upkeep::start(store, genesis, service.desk.views());
    let book = Arc::new(CurrentAddresses(service.desk.views()));
    let neighbours = Neighbours::meet(mdns, network_id, &fabric)?;
    let exchange =
        Exchange::new(fabric.clone(), network_id, identity, book).with_neighbours(neighbours);
    let writing = Arc::clone(&service).write(exchange.clone());
    let conversing = Arc::clone(&service).converse(exchange.clone());
    let renewing = Arc::clone(&service).renew_identities(exchange.clone());
    let watching = Arc::clone(&service).watch(watch, exchange, disk);
    listening::tell_ready();
    let serving = fabric.serve(move |incoming| Arc::clone(&service).serve(incoming));
    let ended = tokio::select! {
        biased;
        () = shutdown => Ok(()),
        () = serving => Ok(()),
        error = writing => Err(error),
        never = conversing => match never {},
        never = renewing => match never {},
        never = watching => match never {},
    };
    showing.inspect(JoinHandle::abort);
    fabric.close().await;
    upkeep.end().await;
    ended
}

/// Makes a folder with a new key that of a validator which never voted. **Only for a new key**:
/// one that voted before, and forgot, must not vote again.
pub fn create_voting_log(folder: &Path) -> Result<(), ValidatorError> {
    VotingLog::create(&OsDisk::open(folder)?)?;
    Ok(())
}

/// The key in the folder.
fn load_identity(folder: &Path) -> Result<Arc<Identity>, ValidatorError> {
    let path = folder.join(IDENTITY_FILE);
    match Identity::load(&path) {
        Ok(identity) => Ok(Arc::new(identity)),
        Err(IdentityError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
            Err(ValidatorError::NoIdentity(path))
        }
        Err(error) => Err(error.into()),
    }
}

/// The stored chain; its last block is pending, since only a follower knows whether it is final.
fn open_chain<D: Disk>(
    disk: &D,
    genesis: &Genesis,
    key: &SigningKey,
) -> Result<(ChainStore<D>, Validator), ValidatorError> {
    let store = ChainStore::open(disk, CHAIN_FILE)?;
    let height = store.height();
    // A chain that begins with a snapshot may have no block yet; what it begins with is final.
    let begins = height < store.first_height();
    let settled = if begins { height } else { height - 1 };
    let chain: Chain = store.load(genesis.clone(), settled)?;
    let newest = if begins { None } else { store.block(height)? };
    let machine = Validator::new(key.clone(), chain, newest)?;
    Ok((store, machine))
}

/// What this validator said before the last end of its process, put into the machine.
///
/// A validator that decides alone has said nothing to others, so a log may begin now. Without one
/// a validator among others only follows them: it may have voted, and nobody knows how.
fn open_voting_log<D: Disk>(
    disk: &D,
    machine: &mut Validator,
    clock: Clock,
) -> Result<Option<VotingLog<D>>, ValidatorError> {
    let opened = match VotingLog::open(disk)? {
        None if machine.decides_alone() => Some((VotingLog::create(disk)?, Vec::new())),
        opened => opened,
    };
    machine.set_voting(Pace::default(), opened.is_some());
    let Some((log, records)) = opened else {
        warn!(
            "{VOTING_LOG_FILE} is not in the folder, so nobody knows what this validator said: it \
             follows the others and does not vote; have it replaced by one with a new key"
        );
        return Ok(None);
    };
    machine.recall(&records, clock);
    Ok(Some(log))
}

/// Where machines listen, as the final chain says now.
struct CurrentAddresses(watch::Receiver<Arc<ChainView>>);

impl AddressBook for CurrentAddresses {
    fn address(&self, node: &NodeId) -> Option<SocketAddr> {
        self.0.newest().last_address(node)
    }
}
