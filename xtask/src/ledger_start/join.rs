//! A new storage node joins running validators, all in this process, over QUIC on loopback.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use kakera_engine::ledger::{Body, NodeJoin, Roles};
use kakera_engine::names::NodeId;
use kakera_engine::wire::{Operation, Response};
use kakera_net::chain_store::{CHAIN_FILE, ChainStore};
use kakera_net::exchange::{AddressBook, Exchange};
use kakera_net::fabric::{Fabric, Limits};
use kakera_net::id::Identity;
use kakera_net::listening;
use kakera_net::network_file::NetworkFile;
use kakera_net::node::{self, NodeSettings};
use kakera_net::store::disk::OsDisk;
use kakera_net::validator::{self, ValidatorSettings};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use super::{Stored, VALIDATORS};

/// Seed of the new node's key.
const NODE: u8 = 9;
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);

/// What a join took.
pub(super) struct Joined {
    pub(super) seconds: f64,
    /// Of the files that the node has then.
    pub(super) megabytes: f64,
    /// Blocks that came after the snapshot.
    pub(super) blocks: usize,
}

/// The entry that enrols the node.
pub(super) fn enrolment() -> Body {
    Body::NodeJoin(NodeJoin {
        node: identity(NODE).node_id(),
        roles: Roles { storage: true, submitter: true },
        address: "127.0.0.1:1".to_owned(),
        zone: "here".to_owned(),
        operator: identity(VALIDATORS[0]).node_id(),
        quota_bytes: 1 << 30,
        generation: 1,
    })
}

/// Starts validators with the chain and its checkpoint, then the node with an empty folder.
pub(super) fn measure(chain: &Stored) -> Result<Joined> {
    let folder = tempfile::tempdir()?;
    let address = |number| Ok((identity(number).node_id(), listening::free_address()?));
    let addresses: BTreeMap<NodeId, SocketAddr> =
        VALIDATORS.into_iter().map(address).collect::<Result<_>>()?;
    let network = NetworkFile { genesis: chain.genesis.clone(), addresses: addresses.clone() };
    let node_address = listening::free_address()?;
    let runtime = Runtime::new()?;
    let (seconds, node_folder) = runtime.block_on(async {
        let mut processes = JoinSet::new();
        for number in VALIDATORS {
            let folder = make_folder(folder.path(), number)?;
            for file in ["chain.log", "chain.checkpoint"] {
                std::fs::copy(chain.folder.join(file), folder.join(file))?;
            }
            validator::create_voting_log(&folder)?;
            let (listen, network) = (addresses[&identity(number).node_id()], network.clone());
            let settings = ValidatorSettings::new(folder, listen, network);
            processes.spawn(async move {
                let ended = validator::run(settings, std::future::pending()).await;
                ended.map_err(anyhow::Error::from)
            });
        }
        let book =
            Book(addresses.into_iter().chain([(identity(NODE).node_id(), node_address)]).collect());
        // Who asks must be enrolled, and is not measured.
        let limits = Limits::client().on_loopback();
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let fabric = Fabric::bind(identity(VALIDATORS[0]), anywhere, limits, |_| false)?;
        let exchange =
            Exchange::new(fabric, network.network_id(), identity(VALIDATORS[0]), Arc::new(book));
        let newest = chain.newest.height();
        for number in VALIDATORS {
            wait_for(&exchange, number, newest).await?;
        }
        let folder = make_folder(folder.path(), NODE)?;
        let settings = NodeSettings::new(folder.clone(), node_address, network, 1);
        let begin = Instant::now();
        processes.spawn(async move {
            let ended = node::run(settings, std::future::pending()).await;
            ended.map_err(anyhow::Error::from)
        });
        wait_for(&exchange, NODE, newest).await?;
        let seconds = begin.elapsed().as_secs_f64();
        processes.shutdown().await;
        Ok::<_, anyhow::Error>((seconds, folder))
    })?;
    drop(runtime);
    let store = ChainStore::open(&OsDisk::open(&node_folder)?, CHAIN_FILE)?;
    let kept = store.load(chain.genesis.clone(), u64::MAX)?;
    ensure!(kept.head() == chain.newest.base().head(), "another chain was joined");
    let blocks = (store.height() + 1 - store.first_height()) as usize;
    let files = ["chain.log", "chain.anchor"].map(|file| node_folder.join(file).metadata());
    let bytes: u64 = files.into_iter().map(|file| file.map_or(0, |metadata| metadata.len())).sum();
    Ok(Joined { seconds, megabytes: bytes as f64 / 1e6, blocks })
}

fn identity(number: u8) -> Arc<Identity> {
    Arc::new(Identity::from_seed(&Zeroizing::new([number; 32])))
}

fn make_folder(root: &Path, number: u8) -> Result<PathBuf> {
    let folder = root.join(number.to_string());
    std::fs::create_dir(&folder)?;
    identity(number).store(&folder.join("identity.key"))?;
    Ok(folder)
}

/// Waits until a machine has the chain up to a height.
async fn wait_for(exchange: &Exchange, number: u8, height: u64) -> Result<()> {
    let (node, begin) = (identity(number).node_id(), Instant::now());
    while begin.elapsed() < PATIENCE {
        let asked = exchange.ask(node, &Operation::Status, Bytes::new(), PATIENCE, None).await;
        if let Ok(answer) = asked
            && let Response::Status(status) = answer.response
            && status.height >= height
        {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
    None.with_context(|| format!("machine {number} does not reach height {height}"))
}

struct Book(BTreeMap<NodeId, SocketAddr>);

impl AddressBook for Book {
    fn address(&self, node: &NodeId) -> Option<SocketAddr> {
        self.0.get(node).copied()
    }
}
