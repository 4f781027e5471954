//! Rebuilds a validator's lost folder from the storage nodes that followed it.
//!
//! The key cannot be rebuilt; its backup must be in the folder. What was final is on min(2, n) of
//! the n storage nodes, so among any n - min(2, n) + 1 of them one has it: when so many agree, the
//! longest chain holds every final block, and a pending one that anybody may have seen is adopted,
//! not signed over (`engine/spec/validator.md`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kakera_engine::ledger::{BlockError, CertifiedBlock, Chain, FOLLOWERS_MIN, Node};
use kakera_engine::names::NodeId;
use kakera_engine::peer::AskFailure;
use kakera_engine::wire::{Operation, Response};
use thiserror::Error;
use tracing::{info, warn};

use super::{ValidatorError, ValidatorSettings, load_identity};
use crate::blocking::blocking;
use crate::chain_store::{CHAIN_FILE, ChainStore, ChainStoreError, split_blocks};
use crate::exchange::Exchange;
use crate::fabric::{Fabric, Limits};
use crate::listening;
use crate::store::disk::{Disk, OsDisk};

/// Where the chain is gathered before it is trusted to be whole.
const GATHERED_FILE: &str = "recovering.log";
const TIMEOUT: Duration = Duration::from_secs(20);

/// What a recovery did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The newest height; its block is pending until the storage nodes confirm it again.
    pub height: u64,
    /// Who sent or confirmed the chain.
    pub sources: Vec<NodeId>,
    /// Who did not, and why.
    pub faults: Vec<SourceFault>,
    /// Enrolled storage nodes that did not confirm it. One of them may have a block that was never
    /// final and is replaced now; it will report a fork and must fetch the chain anew.
    pub silent: Vec<NodeId>,
}

/// Why a source does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFault {
    /// The source.
    pub node: NodeId,
    /// What is wrong.
    pub reason: String,
}

/// Why a folder was not recovered. No `chain.log` was written.
#[derive(Debug, Error)]
pub enum RecoverError {
    /// The folder, its key, the disk or the socket cannot be used.
    #[error(transparent)]
    Validator(#[from] ValidatorError),
    /// There is a chain.
    #[error("the folder has a chain already; try: run the validator, or move chain.log away first")]
    ChainExists,
    /// Some source may have blocks that none of those that answered has.
    #[error(
        "{answered} storage nodes confirmed the chain up to height {height} and {needed} must, so \
         that no final block is missed{}; try: start {}. If they are gone for good, rename \
         recovering.log to chain.log in the validator's folder: blocks that only they had are then \
         lost, and the chain goes on without them",
        listed("; ", faults),
        named(silent)
    )]
    TooFewSources {
        /// The height reached.
        height: u64,
        /// Enrolled storage nodes that confirmed the chain.
        answered: usize,
        /// How many must.
        needed: usize,
        /// Enrolled storage nodes that did not.
        silent: Vec<NodeId>,
        /// What was wrong with the sources.
        faults: Vec<SourceFault>,
    },
}

fn listed(before: &str, faults: &[SourceFault]) -> String {
    faults.iter().map(|fault| format!("{before}{}: {}", fault.node, fault.reason)).collect()
}

fn named(nodes: &[NodeId]) -> String {
    let names: Vec<String> = nodes.iter().map(NodeId::to_string).collect();
    if names.is_empty() { "a storage node".into() } else { names.join(", ") }
}

/// Rebuilds the chain in a folder that has the validator's key and no chain.
///
/// Every block is checked from the genesis on, so a source can only withhold, not invent; those
/// that lie are named. An interrupted recovery is resumed.
pub async fn recover(
    settings: ValidatorSettings,
    sources: Vec<(NodeId, SocketAddr)>,
) -> Result<Recovered, RecoverError> {
    let ValidatorSettings { folder, listen, network, .. } = settings;
    let disk = OsDisk::open(&folder).map_err(ValidatorError::from)?;
    let identity = load_identity(&folder)?;
    if disk.open(CHAIN_FILE).is_ok() {
        return Err(RecoverError::ChainExists);
    }
    let store = ChainStore::open(&disk, GATHERED_FILE).map_err(ValidatorError::from)?;
    let chain = store.replay(network.genesis.clone(), u64::MAX).map_err(ValidatorError::from)?;

    let limits = listening::limits(listen, Limits::client());
    let anywhere = SocketAddr::new(listen.ip(), 0);
    let fabric = Fabric::bind(Arc::clone(&identity), anywhere, limits, |_| false)
        .map_err(ValidatorError::from)?;
    let addresses = Arc::new(sources.iter().copied().collect::<BTreeMap<_, _>>());
    let exchange = Exchange::new(fabric.clone(), network.network_id(), identity, addresses);
    let mut gathering = Gathering { exchange, store: Arc::new(store), chain };
    let (mut agreeing, mut faults) = (Vec::new(), Vec::new());
    for (node, _) in sources {
        match gathering.take_from(node).await {
            Ok(()) => agreeing.push(node),
            Err(SourceError::Own(error)) => return Err(ValidatorError::from(error).into()),
            Err(error) => {
                warn!(source = %node, "{error}");
                faults.push(SourceFault { node, reason: error.to_string() });
            }
        }
    }
    fabric.close().await;
    let height = gathering.chain.head().header.height;
    let silent = check_sources(&gathering.chain, &agreeing, &faults)?;
    disk.rename(GATHERED_FILE, CHAIN_FILE)
        .and_then(|()| disk.sync_directory(""))
        .map_err(ValidatorError::from)?;
    info!(height, sources = agreeing.len(), "chain recovered");
    Ok(Recovered { height, sources: agreeing, faults, silent })
}

/// Among those who agree there must be one of any min(2, n) followers; names the others.
fn check_sources(
    chain: &Chain,
    agreeing: &[NodeId],
    faults: &[SourceFault],
) -> Result<Vec<NodeId>, RecoverError> {
    let storage = chain.state().nodes().filter(Node::takes_slots);
    let followers: BTreeSet<NodeId> = storage.map(|node| node.join.node).collect();
    let needed = followers.len() - followers.len().min(FOLLOWERS_MIN) + 1;
    let silent: Vec<NodeId> =
        followers.iter().filter(|node| !agreeing.contains(node)).copied().collect();
    let answered = followers.len() - silent.len();
    if answered >= needed {
        return Ok(silent);
    }
    let height = chain.head().header.height;
    Err(RecoverError::TooFewSources { height, answered, needed, silent, faults: faults.to_vec() })
}

/// Why a source does not count.
#[derive(Debug, Error)]
enum SourceError {
    #[error(transparent)]
    Ask(#[from] AskFailure),
    #[error("it refused: {0}")]
    Refused(String),
    #[error("its answer does not fit the question")]
    Unfitting,
    #[error("its block {height} is wrong: {error}")]
    Block { height: u64, error: BlockError },
    #[error("it has another block at height {0} than the others")]
    Fork(u64),
    #[error(transparent)]
    Own(#[from] ChainStoreError),
}

/// The chain so far.
struct Gathering {
    exchange: Exchange,
    store: Arc<ChainStore<OsDisk>>,
    chain: Chain,
}

impl Gathering {
    /// Compares a source's chain with ours where both have blocks, and takes what it has more.
    async fn take_from(&mut self, source: NodeId) -> Result<(), SourceError> {
        loop {
            let height = self.chain.head().header.height;
            let (head, blocks) = self.ask(source, height.max(1)).await?;
            if head < height {
                return self.compare_shorter(source, head).await;
            }
            let more = match blocks.split_first() {
                None if head == 0 => return Ok(()),
                None => return Err(SourceError::Unfitting),
                Some((first, more)) if height > 0 => {
                    same(first, self.chain.head().header.hash(), height)?;
                    more
                }
                Some(_) => &blocks,
            };
            if more.is_empty() {
                return if head == height { Ok(()) } else { Err(SourceError::Unfitting) };
            }
            self.append(more.to_vec()).await?;
        }
    }

    /// A source that has less must have the same at its own head.
    async fn compare_shorter(&self, source: NodeId, head: u64) -> Result<(), SourceError> {
        if head == 0 {
            return Ok(());
        }
        let (_, blocks) = self.ask(source, head).await?;
        let theirs = blocks.first().ok_or(SourceError::Unfitting)?;
        let store = Arc::clone(&self.store);
        let ours = blocking(move || store.block(head)).await?;
        let ours = ours.ok_or(SourceError::Unfitting)?;
        same(theirs, ours.block.header.hash(), head)
    }

    async fn ask(
        &self,
        source: NodeId,
        from: u64,
    ) -> Result<(u64, Vec<CertifiedBlock>), SourceError> {
        let operation = Operation::Follow { from, acknowledged: None, form: None };
        let answer = self.exchange.ask(source, &operation, Bytes::new(), TIMEOUT, None).await?;
        match answer.response {
            Response::Blocks { head } => {
                Ok((head, split_blocks(&answer.body).ok_or(SourceError::Unfitting)?))
            }
            Response::Refused(refusal) => Err(SourceError::Refused(refusal.message)),
            _ => Err(SourceError::Unfitting),
        }
    }

    /// Checks blocks and keeps the good ones.
    async fn append(&mut self, blocks: Vec<CertifiedBlock>) -> Result<(), SourceError> {
        let mut good = Vec::new();
        let mut checked = Ok(());
        for block in blocks {
            let height = block.block.header.height;
            checked = self
                .chain
                .apply(&block, None)
                .map_err(|error| SourceError::Block { height, error });
            if checked.is_err() {
                break;
            }
            good.push(block);
        }
        let store = Arc::clone(&self.store);
        blocking(move || store.append(&good)).await?;
        checked
    }
}

fn same(block: &CertifiedBlock, hash: [u8; 32], height: u64) -> Result<(), SourceError> {
    if block.block.header.hash() == hash { Ok(()) } else { Err(SourceError::Fork(height)) }
}
