//! The validator's process: drives [`Validator`] over the disk and the network.
//!
//! One writer makes blocks and syncs them; requests meet it at the desk, a short lock around the
//! machine. Reads are served from a view of the final chain and wait for neither.

mod recover;
mod service;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kakera_engine::ledger::Chain;
use kakera_engine::names::NodeId;
use kakera_engine::peer::{SetupError, Validator};
use kakera_engine::policy::LedgerView;
use thiserror::Error;
use tracing::info;

pub use recover::{RecoverError, Recovered, SourceFault, recover};
use service::Service;

use crate::chain_store::{CHAIN_FILE, ChainStore, ChainStoreError};
use crate::fabric::{Fabric, Limits};
use crate::id::{Identity, IdentityError};
use crate::listening;
use crate::network_file::NetworkFile;
use crate::node::IDENTITY_FILE;
use crate::store::disk::{OpenDiskError, OsDisk};

/// What a validator needs to run.
pub struct ValidatorSettings {
    /// Its folder: identity and chain. One process at a time.
    pub folder: PathBuf,
    /// Where to listen; port 0 takes the port of the last run if it is free, else any.
    pub listen: SocketAddr,
    /// The network.
    pub network: NetworkFile,
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
    /// The network file names other validators, or more.
    #[error("{0}; try: check that the network file and the folder belong together")]
    Setup(#[from] SetupError),
    /// Several validators decide, which this driver does not do.
    #[error(
        "this network has several validators, and this program runs a validator only where one \
         decides alone; try: a newer program"
    )]
    NotAlone,
    /// The chain kept here cannot be used.
    #[error("the chain in the validator's folder: {0}")]
    Chain(#[from] ChainStoreError),
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
    let ValidatorSettings { folder, listen, network } = settings;
    let disk = OsDisk::open(&folder)?;
    let identity = load_identity(&folder)?;
    let (store, machine) = open_chain(&disk, &network, &identity)?;
    let service = Service::new(Arc::clone(&identity), network, store, machine);
    info!(durable = service.durable_height(), r#final = service.view().height(), "chain verified");

    let listen = listening::preferred(&disk, listen)?;
    let limits = listening::limits(listen, Limits::default());
    let admitted = Arc::clone(&service);
    let admission = move |peer: &NodeId| admitted.view().is_enrolled(peer);
    let fabric = Fabric::bind(identity, listen, limits, admission)?;
    listening::announce(&disk, fabric.local_address())?;
    info!(address = %fabric.local_address(), "listening");

    let writing = Arc::clone(&service).write();
    let serving = fabric.serve(move |incoming| Arc::clone(&service).serve(incoming));
    let ended = tokio::select! {
        () = serving => Ok(()),
        error = writing => Err(error),
        () = shutdown => Ok(()),
    };
    fabric.close().await;
    ended
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
fn open_chain(
    disk: &OsDisk,
    network: &NetworkFile,
    identity: &Identity,
) -> Result<(ChainStore<OsDisk>, Validator), ValidatorError> {
    let store = ChainStore::open(disk, CHAIN_FILE)?;
    let height = store.height();
    let chain: Chain = store.replay(network.genesis.clone(), height.saturating_sub(1))?;
    let machine = Validator::new(identity.signing_key().clone(), chain, store.block(height)?)?;
    if machine.decides_alone() { Ok((store, machine)) } else { Err(ValidatorError::NotAlone) }
}
