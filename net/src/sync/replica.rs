//! The copy of the chain that this machine keeps.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kakera_engine::ledger::{
    BlockError, CertifiedBlock, Chain, LightClient, Seen, SentBlock, Snapshot,
};
use tracing::info;

use super::SyncError;
use crate::blocking::blocking;
use crate::chain_store::{CHAIN_FILE, ChainServer, ChainStore, ChainStoreError};
use crate::chain_view::ChainView;
use crate::clock::unix_milliseconds;
use crate::network_file::NetworkFile;
use crate::store::disk::OsDisk;
use crate::watch;

/// A chain that is verified block by block, kept on disk and shown. Readers get the newest
/// [`ChainView`] and never wait for the disk.
pub struct Replica {
    network: NetworkFile,
    server: ChainServer<OsDisk>,
    chain: Mutex<Chain>,
    view: watch::Sender<Arc<ChainView>>,
}

impl Replica {
    /// Opens the chain kept in a folder and verifies what came after its checkpoint.
    pub fn open(disk: &OsDisk, network: NetworkFile) -> Result<Self, ChainStoreError> {
        let store = Arc::new(ChainStore::open(disk, CHAIN_FILE)?);
        let chain = store.load(network.genesis.clone(), u64::MAX)?;
        let view = ChainView::new(&chain, Arc::new(network.addresses.clone()), 0);
        info!(height = view.height(), "chain opened");
        Ok(Self {
            network,
            server: ChainServer::new(store),
            chain: Mutex::new(chain),
            view: watch::Sender::new(Arc::new(view)),
        })
    }

    /// The network.
    pub fn network(&self) -> &NetworkFile {
        &self.network
    }

    /// Where the chain is kept.
    pub fn store(&self) -> &Arc<ChainStore<OsDisk>> {
        self.server.store()
    }

    /// Gives others what is kept here.
    pub fn server(&self) -> &ChainServer<OsDisk> {
        &self.server
    }

    /// The newest view. What it shows is durable here.
    pub fn view(&self) -> Arc<ChainView> {
        self.view.newest()
    }

    /// The views to come.
    pub fn views(&self) -> watch::Receiver<Arc<ChainView>> {
        self.view.subscribe()
    }

    /// The newest height.
    pub fn height(&self) -> u64 {
        self.view.newest().height()
    }

    /// Checks blocks, makes the good ones durable and shows them. Blocks on the disk.
    pub(crate) fn append(&self, blocks: Vec<SentBlock>) -> Result<(), SyncError> {
        let mut chain = self.lock_chain();
        let now = Some(unix_milliseconds());
        let (mut good, mut refused) = (Vec::with_capacity(blocks.len()), None);
        for block in blocks {
            let height = chain.head().header.height + 1;
            let forks = forks(&block, &chain);
            match append_to(&mut chain, block, now) {
                // No entry is proved from here: a folder's chain is read for that.
                Ok(block) => {
                    chain.forget_entries_but(0);
                    good.push(block);
                }
                Err(_) if forks => refused = Some(SyncError::Fork(height - 1)),
                Err(error) => refused = Some(SyncError::Block { height, error }),
            }
            if refused.is_some() {
                break;
            }
        }
        if !good.is_empty() {
            if let Err(error) = self.store().append(&good) {
                *chain = self.store().load(self.network.genesis.clone(), u64::MAX)?;
                return Err(error.into());
            }
            self.publish(|view| view.at(&chain));
        }
        refused.map_or(Ok(()), Err)
    }

    /// Goes on from a chain that was verified elsewhere, in place of all that is kept. Blocks on the
    /// disk.
    pub fn begin_after(&self, gathered: Chain) -> Result<(), SyncError> {
        let mut chain = self.lock_chain();
        self.store().begin_after(&Snapshot::of(&gathered))?;
        *chain = gathered;
        self.publish(|view| view.at(&chain));
        Ok(())
    }

    /// That what validators call their head is in the chain kept here.
    pub(crate) async fn check_head(self: &Arc<Self>, head: Seen) -> Result<(), SyncError> {
        let replica = Arc::clone(self);
        let ours = blocking(move || {
            let newest = replica.view();
            Ok::<_, ChainStoreError>(match head.height {
                0 => Some(replica.network.genesis.head().header.hash()),
                height if height == newest.height() => Some(newest.head().header.hash()),
                height => replica.store().block(height)?.map(|block| block.block.header.hash()),
            })
        })
        .await?;
        if ours == Some(head.hash) { Ok(()) } else { Err(SyncError::Fork(head.height)) }
    }

    /// A light client that knows the validators of the chain kept here, and no height: a validator
    /// that decides alone has copies of its newest block made before it calls it its head.
    pub(crate) fn light_client(&self) -> Result<LightClient, SyncError> {
        let genesis = &self.network.genesis;
        let validators = Some(self.lock_chain().validators().clone());
        let seen = Seen { height: 0, hash: genesis.head().header.hash(), validators };
        Ok(LightClient::resume(genesis.clone(), seen)?)
    }

    pub(crate) fn publish(&self, change: impl FnOnce(&ChainView) -> ChainView) {
        self.view.send_if_modified(|view| {
            *view = Arc::new(change(view));
            true
        });
    }

    fn lock_chain(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn append_to(
    chain: &mut Chain,
    block: SentBlock,
    now: Option<u64>,
) -> Result<CertifiedBlock, BlockError> {
    #[cfg(feature = "testkit")]
    if crate::testkit::is_simulated() {
        return crate::testkit::append(block, chain, now);
    }
    block.append_to(chain, now)
}

/// Whether the validators certified the block after another one than our head. A compact block
/// cannot show that: it has no header of its own.
fn forks(block: &SentBlock, chain: &Chain) -> bool {
    let SentBlock::Whole(block) = block else { return false };
    let CertifiedBlock { block, certificate } = &**block;
    let (header, head) = (&block.header, &chain.head().header);
    header.height == head.height + 1
        && header.previous != head.hash()
        && certificate.certifies(header, chain.validators())
}
