//! The client: reads the ledger with proofs, submits entries, moves objects.
//!
//! It believes a validator nothing: heads are certified and attested for its own nonce, values come
//! with proofs. Memory: the groups and nodes it has dealt with, and the objects under way.

mod copy;
mod error;
mod identity;
mod ledger;
mod transfer;
mod validators;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use kakera_engine::code::CodeParameters;
use kakera_engine::keyshare::KeyParameters;
use kakera_engine::ledger::GroupEpochs;
use kakera_engine::ledger::{LightClient, Seen};
use kakera_engine::names::{GroupId, NetworkId, NodeId, Slot};
use kakera_engine::peer::Member;
use kakera_engine::wire::{NodeStatus, Operation, RepairProgress, Response};
use rand_core::Rng;
use tokio::time::Instant;

pub use error::{ClientError, ErrorKind};
pub use identity::{NewPassphrase, OpenedIdentity};
pub use ledger::Submitted;
pub use transfer::Transfers;
use validators::Suspects;

use crate::exchange::{AddressBook, Exchange};
use crate::fabric::{Fabric, Limits};
use crate::id::Identity;
use crate::neighbours::Neighbours;
use crate::network_file::NetworkFile;
use crate::random::system_random;

/// What a client needs to start.
pub struct ClientSettings {
    /// The network.
    pub network: NetworkFile,
    /// The machine's enrolled identity.
    pub identity: Arc<Identity>,
    /// The highest head seen by earlier runs, so that nobody can roll the ledger back.
    pub seen: Option<Seen>,
}

/// A connection to a network.
pub struct Client {
    network_id: NetworkId,
    network: NetworkFile,
    identity: Arc<Identity>,
    exchange: Exchange,
    addresses: Arc<Addresses>,
    light: Mutex<LightClient>,
    /// Whether the network is known to follow version 2 of the rules, so that all its machines know
    /// the requests that came with it.
    agrees: AtomicBool,
    /// Where the order begins in which this client asks validators.
    first_validator: AtomicUsize,
    suspects: Suspects,
    groups: Mutex<BTreeMap<GroupId, GroupPlace>>,
    open_groups: tokio::sync::Mutex<Option<(Arc<[GroupPlace]>, Instant)>>,
    next_sequence: tokio::sync::Mutex<Option<u64>>,
    transfers: Arc<Transfers>,
}

/// A placement group as registered.
#[derive(Clone, Debug)]
pub struct GroupPlace {
    /// Its number.
    pub id: GroupId,
    /// The data code.
    pub code: CodeParameters,
    /// The key code.
    pub key: KeyParameters,
    /// The epochs of its key shares.
    pub epochs: GroupEpochs,
    /// When the last refresh of all its shares ended, or when it was drawn, Unix milliseconds; none
    /// in a network that has no refreshes yet.
    pub refreshed: Option<u64>,
    /// The holders of its slots.
    pub members: Vec<Member>,
    /// Slots whose holders are still rebuilding what belongs there.
    pub filling: BTreeSet<Slot>,
    /// Who left a slot in this epoch: they know shares that are still good.
    pub left: Vec<Member>,
}

/// Where nodes listen, as proven by the ledger.
#[derive(Default)]
struct Addresses(RwLock<BTreeMap<NodeId, SocketAddr>>);

impl Addresses {
    fn learn(&self, node: NodeId, address: SocketAddr) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(node, address);
    }
}

impl AddressBook for Addresses {
    fn address(&self, node: &NodeId) -> Option<SocketAddr> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(node).copied()
    }
}

impl Client {
    /// Opens a socket; connects to nobody yet.
    pub fn new(settings: ClientSettings) -> Result<Self, ClientError> {
        let ClientSettings { network, identity, seen } = settings;
        let light = match seen {
            Some(seen) => LightClient::resume(network.genesis.clone(), seen),
            None => LightClient::new(network.genesis.clone()),
        }
        .map_err(|error| ClientError::usage(format!("the network file: {error}")))?;
        let fabric = bind(&network, &identity)?;
        let network_id = network.network_id();
        let addresses = Arc::new(Addresses::default());
        for (validator, address) in &network.addresses {
            addresses.learn(*validator, *address);
        }
        let book = Arc::clone(&addresses) as Arc<dyn AddressBook>;
        let exchange = Exchange::new(fabric, network_id, Arc::clone(&identity), book);
        let transfers = Arc::new(Transfers::new(exchange.clone(), network_id));
        Ok(Self {
            network_id,
            agrees: AtomicBool::new(network.genesis.rules_version() >= 2),
            first_validator: AtomicUsize::new(system_random().next_u32() as usize),
            suspects: Suspects::default(),
            network,
            identity,
            exchange,
            addresses,
            light: Mutex::new(light),
            groups: Mutex::default(),
            open_groups: tokio::sync::Mutex::default(),
            next_sequence: tokio::sync::Mutex::default(),
            transfers,
        })
    }

    /// Asks machines on the same local network where they say that they are, first.
    pub fn with_neighbours(mut self, neighbours: Arc<Neighbours>) -> Self {
        self.exchange = self.exchange.with_neighbours(Some(neighbours));
        self.transfers = Arc::new(Transfers::new(self.exchange.clone(), self.network_id));
        self
    }

    /// The network.
    pub fn network(&self) -> &NetworkId {
        &self.network_id
    }

    /// What to keep for the next run's [`ClientSettings::seen`].
    pub fn seen(&self) -> Seen {
        self.light.lock().unwrap_or_else(PoisonError::into_inner).seen()
    }

    /// Object transfers.
    pub fn transfers(&self) -> &Arc<Transfers> {
        &self.transfers
    }

    /// The transport, for its statistics.
    pub fn fabric(&self) -> &Fabric {
        self.exchange.fabric()
    }

    /// Says goodbye to every peer.
    pub async fn close(&self) {
        self.exchange.fabric().close().await;
    }

    /// Figures of a storage node.
    pub async fn node_status(&self, node: NodeId) -> Result<NodeStatus, ClientError> {
        match self.ask_node(node, Operation::Status).await? {
            Response::Status(status) => Ok(status),
            _ => Err(ClientError::unfitting(&node)),
        }
    }

    /// Starts the repair of a slot at its holder, or looks how far it has come.
    pub async fn repair(
        &self,
        node: NodeId,
        group: GroupId,
        slot: Slot,
    ) -> Result<RepairProgress, ClientError> {
        match self.ask_node(node, Operation::Repair { group, slot }).await? {
            Response::Repair(progress) => Ok(progress),
            _ => Err(ClientError::unfitting(&node)),
        }
    }

    pub(crate) fn signing_key(&self) -> &SigningKey {
        self.identity.signing_key()
    }

    pub(crate) async fn ask_node(
        &self,
        node: NodeId,
        operation: Operation,
    ) -> Result<Response, ClientError> {
        if self.addresses.address(&node).is_none() {
            self.learn_nodes(&[node]).await?;
        }
        let answer = self
            .exchange
            .ask(node, &operation, Bytes::new(), ledger::TIMEOUT, None)
            .await
            .map_err(|failure| ClientError::peer(&node, &failure))?;
        match answer.response {
            Response::Refused(refusal) => Err(ClientError::refused(refusal)),
            response => Ok(response),
        }
    }
}

/// A socket from which the network can be reached; on one machine, not from outside it.
fn bind(network: &NetworkFile, identity: &Arc<Identity>) -> Result<Fabric, ClientError> {
    let on_loopback = network.addresses.values().all(|address| address.ip().is_loopback());
    let (address, limits) = if on_loopback {
        (Ipv4Addr::LOCALHOST, Limits::client().on_loopback())
    } else {
        (Ipv4Addr::UNSPECIFIED, Limits::client())
    };
    // A client answers nobody.
    Fabric::bind(Arc::clone(identity), SocketAddr::from((address, 0)), limits, |_| false)
        .map_err(ClientError::socket)
}
