//! The storage node: holds parts, follows the ledger, repairs what it should hold.

mod audit;
mod budget;
mod custody;
mod disk;
mod follower;
mod observed;
mod refresh;
mod repairs;
mod scrub;
mod service;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kakera_engine::names::{NetworkId, NodeId};
use kakera_engine::peer::refresh::Seats;
use kakera_engine::peer::{Alarm, Answer, AuditSettings, CustodySettings, Holder, IllFormed};
use kakera_engine::policy::refresh::RefreshTimes;
#[cfg(feature = "testkit")]
use kakera_engine::wire::Operation;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tracing::info;

use self::budget::RepairBudget;
use self::custody::ALARMS_WAITING_MAX;
#[cfg(feature = "testkit")]
pub use self::disk::{KeptPart, kept_parts};
pub use self::follower::FollowedLedger;
use self::observed::{ObservedNode, Tally};
use self::repairs::Repairs;
use crate::blocking::blocking;
use crate::exchange::{AddressBook, Exchange};
use crate::fabric::{Fabric, Incoming, Limits};
use crate::id::{Identity, IdentityError};
use crate::listening::{self, ADDRESS_FILE};
use crate::neighbours::{Neighbours, NeighboursError};
use crate::network_file::NetworkFile;
use crate::observe;
use crate::rpc::Message;
use crate::store::disk::{OpenDiskError, OsDisk};
use crate::store::parts::PartStore;

/// The identity's file in the node's folder.
pub const IDENTITY_FILE: &str = "identity.key";

/// What a line sends unless its node is told otherwise, bytes a second: 100 Mbit/s.
pub const UPLINK_DEFAULT: u64 = 12_500_000;

/// What a storage node needs to run.
pub struct NodeSettings {
    /// Its folder: identity, chain, parts. One process at a time.
    pub folder: PathBuf,
    /// Where to listen; port 0 takes the port of the last run if it is free, else any.
    pub listen: SocketAddr,
    /// The network.
    pub network: NetworkFile,
    /// Bytes that parts may use.
    pub quota_bytes: u64,
    /// How it looks after its slots.
    pub custody: CustodySettings,
    /// How it audits other holders.
    pub audit: AuditSettings,
    /// When key shares are refreshed.
    pub refresh: RefreshTimes,
    /// Bytes a second that its line sends; repairs of others get what readers leave of it.
    pub uplink: u64,
    /// Where it may be observed ([`observe`]).
    pub observe: Option<SocketAddr>,
    /// Whether it announces itself on the local network and looks for others there.
    pub mdns: bool,
}

impl NodeSettings {
    /// A node of the default times and uplink, neither observed nor announced.
    pub fn new(
        folder: PathBuf,
        listen: SocketAddr,
        network: NetworkFile,
        quota_bytes: u64,
    ) -> Self {
        Self {
            folder,
            listen,
            network,
            quota_bytes,
            custody: CustodySettings::default(),
            audit: AuditSettings::default(),
            refresh: RefreshTimes::default(),
            uplink: UPLINK_DEFAULT,
            observe: None,
            mdns: false,
        }
    }
}

/// Why a node does not run.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The folder cannot be used.
    #[error(transparent)]
    Folder(#[from] OpenDiskError),
    /// The identity cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The chain kept here cannot be used.
    #[error("the chain in the node's folder: {0}")]
    Chain(#[from] crate::chain_store::ChainStoreError),
    /// It cannot look for others on the local network.
    #[error(transparent)]
    Neighbours(#[from] NeighboursError),
    /// The disk or the socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A running node's parts.
struct Node {
    network: NetworkId,
    holder: Holder,
    store: PartStore<OsDisk>,
    ledger: Arc<FollowedLedger>,
    exchange: Exchange,
    repairs: Repairs,
    /// What repairs are not to try again.
    ill_formed: Mutex<IllFormed>,
    /// What is sent for the repairs of others.
    budget: RepairBudget,
    /// Why slots are to be looked at soon. As many as can wait name every slot in trouble soon enough.
    alarms: mpsc::Sender<Alarm>,
    /// The number of this node's last entry, if it became final; held while one is on its way.
    told: tokio::sync::Mutex<u64>,
    /// How long a round of a refresh is open.
    refresh_round: Duration,
    /// The refreshes that it takes part in.
    seats: Mutex<Seats>,
    /// Machines that failed several audits of this node in a row.
    suspects: Mutex<Vec<NodeId>>,
    tally: Tally,
    /// What goes on beside requests: entries on their way, repairs that somebody asked for.
    errands: Mutex<JoinSet<()>>,
}

/// Ends the errands of a node that ends, however it does.
struct EndErrands(Arc<Node>);

impl Drop for EndErrands {
    fn drop(&mut self) {
        self.0.errands().abort_all();
    }
}

impl Node {
    /// Does something beside, until it is done or the node ends.
    fn go<T>(&self, errand: impl Future<Output = T> + Send + 'static) {
        let mut errands = self.errands();
        while errands.try_join_next().is_some() {}
        errands.spawn(async move { drop(errand.await) });
    }

    fn errands(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.errands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a storage node until `shutdown` completes. The folder's `address` file tells where it
/// listens once it does. Dropped, it ends at once, in the middle of whatever it does.
pub async fn run(
    settings: NodeSettings,
    shutdown: impl Future<Output = ()>,
) -> Result<(), NodeError> {
    let answer = async |node: Arc<Node>, incoming| node.answer(incoming).await;
    run_answering(settings, answer, shutdown).await
}

/// Runs a storage node that does something to its answers before they leave; for tests of the others.
#[cfg(feature = "testkit")]
pub async fn run_lying(
    settings: NodeSettings,
    lie: impl Fn(&Operation, &mut Answer) + Send + Sync + 'static,
    shutdown: impl Future<Output = ()>,
) -> Result<(), NodeError> {
    let lie = Arc::new(lie);
    let answer = move |node: Arc<Node>, incoming| {
        let lie = Arc::clone(&lie);
        async move { node.answer_falsely(incoming, &*lie).await }
    };
    run_answering(settings, answer, shutdown).await
}

async fn run_answering<A, F>(
    settings: NodeSettings,
    answer: A,
    shutdown: impl Future<Output = ()>,
) -> Result<(), NodeError>
where
    A: Fn(Arc<Node>, Incoming) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let NodeSettings {
        folder,
        listen,
        network,
        quota_bytes,
        custody,
        audit,
        refresh,
        uplink,
        observe,
        mdns,
    } = settings;
    let disk = OsDisk::open(&folder)?;
    let identity = Arc::new(Identity::load(&folder.join(IDENTITY_FILE))?);
    let network_id = network.network_id();
    let ledger = Arc::new(FollowedLedger::open(&disk, network)?);
    let (store, recovery) = PartStore::open(disk.clone(), quota_bytes)?;
    info!(?recovery, "part store opened");

    let listen = listening::preferred(&disk, listen)?;
    let limits = listening::limits(listen, Limits::default());
    // Connections that are being closed outlive the node, and shall not keep its folder.
    let admitted = Arc::downgrade(&ledger);
    let admission = move |peer: &_| {
        use kakera_engine::policy::LedgerView;
        admitted.upgrade().is_some_and(|ledger| ledger.view().is_enrolled(peer))
    };
    let fabric = Fabric::bind(Arc::clone(&identity), listen, limits, admission)?;
    listening::announce(&disk, ADDRESS_FILE, fabric.local_address())?;

    let book = Arc::clone(&ledger) as Arc<dyn AddressBook>;
    let neighbours = Neighbours::meet(mdns, network_id, &fabric)?;
    let exchange = Exchange::new(fabric.clone(), network_id, Arc::clone(&identity), book)
        .with_neighbours(neighbours);
    let mut care = JoinSet::new();
    care.spawn(Arc::clone(&ledger).follow(exchange.clone()));
    let upkeep = ledger.start_upkeep();
    let (alarms, raised) = mpsc::channel(ALARMS_WAITING_MAX);
    let node = Arc::new(Node {
        network: network_id,
        holder: Holder::new(network_id, identity.signing_key().clone()),
        store,
        ledger,
        exchange,
        repairs: Repairs::default(),
        ill_formed: Mutex::default(),
        budget: RepairBudget::new(uplink),
        alarms,
        told: tokio::sync::Mutex::default(),
        refresh_round: refresh.round,
        seats: Mutex::new(Seats::new(network_id, identity.signing_key().clone())),
        suspects: Mutex::default(),
        tally: Tally::default(),
        errands: Mutex::default(),
    });
    let _errands = EndErrands(Arc::clone(&node));
    let observed = ObservedNode { node: Arc::clone(&node), fabric: fabric.clone() };
    let showing = observe::show(&disk, observe, Arc::new(observed)).await?;
    info!(address = %fabric.local_address(), file = ADDRESS_FILE, "listening");
    let counted = Arc::downgrade(&node);
    care.spawn(blocking(move || disk::attribute_all(&counted)));
    care.spawn(Arc::clone(&node).keep_slots(custody, raised));
    care.spawn(Arc::clone(&node).audit(audit));
    care.spawn(Arc::clone(&node).keep_epochs(refresh));
    care.spawn(scrub::scrub(Arc::downgrade(&node), custody.scrub_pause));
    listening::tell_ready();
    let serving = fabric.serve(move |incoming| {
        let answering = answer(Arc::clone(&node), incoming);
        async {
            let Answer { response, body } = answering.await;
            Message { header: response.to_header().into(), body }
        }
    });
    tokio::select! {
        biased;
        () = shutdown => {}
        () = serving => {}
    }
    care.abort_all();
    showing.inspect(JoinHandle::abort);
    fabric.close().await;
    upkeep.end().await;
    Ok(())
}
