//! Follows the ledger: fetches blocks from a validator, checks and keeps every one, and tells the
//! validator so, which is what makes entries final (`engine/spec/validator.md`).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kakera_engine::ledger::{
    BlockError, CertifiedBlock, Chain, FollowAck, GenesisError, HeadError, LightClient, Seen,
};
use kakera_engine::names::NodeId;
use kakera_engine::peer::{Answer, AskFailure};
use kakera_engine::wire::{Operation, Refusal, Response};
use rand_core::Rng;
use thiserror::Error;
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::blocking::blocking;
use crate::chain_store::{CHAIN_FILE, ChainStore, ChainStoreError, answer_follow, split_blocks};
use crate::chain_view::ChainView;
use crate::clock::unix_milliseconds;
use crate::exchange::{AddressBook, Exchange};
use crate::network_file::NetworkFile;
use crate::random::system_random;
use crate::store::disk::OsDisk;

/// How long a poll lasts at most; also how long the silent death of a validator goes unnoticed.
const POLL_TIMEOUT: Duration = Duration::from_secs(8);
/// How long to wait for a head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(8);
/// A tenth of the age at which a view proves nothing any more.
const ATTESTATION_INTERVAL: Duration = Duration::from_secs(60);
/// Between attempts, doubling from the least to the most, each shortened by up to a half at random.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// The ledger as this node follows it. Readers get the newest [`ChainView`] and never wait for the
/// disk.
pub struct FollowedLedger {
    network: NetworkFile,
    store: ChainStore<OsDisk>,
    chain: Mutex<Chain>,
    view: watch::Sender<Arc<ChainView>>,
    last_failure: Mutex<Option<String>>,
}

/// Why following stopped for the moment. Unless said otherwise the validator is to blame; the
/// chain kept here is unchanged but for the good blocks that came before.
#[derive(Debug, Error)]
enum FollowError {
    #[error("{0}")]
    Ask(#[from] AskFailure),
    #[error("it refused: {} ({:?})", .0.message, .0.kind)]
    Refused(Refusal),
    #[error("its answer does not fit the question")]
    Unfitting,
    #[error("block {height}: {error}")]
    Block { height: u64, error: BlockError },
    #[error(
        "it certified a second block at height {0}: THE CHAIN IS FORKED; keep both machines' files and call the operator"
    )]
    Fork(u64),
    #[error("{0}")]
    Head(#[from] HeadError),
    #[error("our own network file: {0}")]
    Genesis(#[from] GenesisError),
    #[error("our own disk: {0}")]
    Store(#[from] ChainStoreError),
}

impl FollowedLedger {
    /// Opens the chain kept in the folder and verifies all of it.
    pub fn open(disk: &OsDisk, network: NetworkFile) -> Result<Self, ChainStoreError> {
        let store = ChainStore::open(disk, CHAIN_FILE)?;
        let chain = store.replay(network.genesis.clone(), u64::MAX)?;
        let view = ChainView::new(&chain, Arc::new(network.addresses.clone()), 0);
        info!(height = view.height(), "chain verified");
        Ok(Self {
            network,
            store,
            chain: Mutex::new(chain),
            view: watch::Sender::new(Arc::new(view)),
            last_failure: Mutex::default(),
        })
    }

    /// The newest view. What it shows is durable here.
    pub fn view(&self) -> Arc<ChainView> {
        Arc::clone(&self.view.borrow())
    }

    /// The newest height.
    pub fn height(&self) -> u64 {
        self.view().height()
    }

    /// Why the last attempt to follow failed; `None` while following goes well.
    pub fn last_failure(&self) -> Option<String> {
        self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers another's `Follow` from what is kept here. Blocks on the disk.
    pub fn answer_follow(&self, from: u64) -> Answer {
        let (response, body) = answer_follow(&self.store, from);
        Answer { response, body: body.into() }
    }

    /// Follows until dropped: one validator as long as it answers well, then the next.
    pub async fn follow(self: Arc<Self>, exchange: Exchange) {
        let mut pause = PAUSE_MIN;
        for validator in self.network.addresses.keys().cycle() {
            let failure = self.follow_one(*validator, &exchange, &mut pause).await;
            let told = format!("validator {validator}: {failure}");
            match failure {
                FollowError::Block { .. } | FollowError::Fork(_) | FollowError::Store(_) => {
                    error!("{told}");
                }
                _ => warn!("{told}"),
            }
            *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
            let shortened = system_random().next_u32() % 500;
            tokio::time::sleep(pause * (1000 - shortened) / 1000).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Follows one validator until it fails.
    async fn follow_one(
        self: &Arc<Self>,
        validator: NodeId,
        exchange: &Exchange,
        pause: &mut Duration,
    ) -> FollowError {
        let polling = async {
            loop {
                if let Err(failure) = self.poll(validator, exchange).await {
                    return failure;
                }
                *pause = PAUSE_MIN;
                *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
        };
        // Beside the polls: a validator that restarted attests nothing before they let it.
        tokio::select! {
            failure = polling => failure,
            failure = self.keep_attested(validator, exchange) => failure,
        }
    }

    /// Lets the validator attest its head from time to time, until it attests another chain.
    async fn keep_attested(
        self: &Arc<Self>,
        validator: NodeId,
        exchange: &Exchange,
    ) -> FollowError {
        loop {
            match self.attest(validator, exchange).await {
                Ok(()) => tokio::time::sleep(ATTESTATION_INTERVAL).await,
                // If it is gone, the polls tell.
                Err(FollowError::Ask(_) | FollowError::Refused(_)) => {
                    tokio::time::sleep(PAUSE_MIN).await;
                }
                Err(failure) => return failure,
            }
        }
    }

    async fn attest(
        self: &Arc<Self>,
        validator: NodeId,
        exchange: &Exchange,
    ) -> Result<(), FollowError> {
        let (head, time) = ask_head(&self.network, validator, exchange).await?;
        let mut view = self.view.subscribe();
        // The sender is our own; only a wait for ever could end this otherwise.
        let _ = view.wait_for(|view| view.height() >= head.height).await;
        self.check_head(head).await?;
        self.publish(|view| view.attested(time));
        Ok(())
    }

    /// Acknowledges what is durable here and takes the blocks after it.
    async fn poll(
        self: &Arc<Self>,
        validator: NodeId,
        exchange: &Exchange,
    ) -> Result<(), FollowError> {
        let view = self.view();
        let head = &view.head().header;
        let acknowledged = (head.height > 0).then(|| FollowAck::of(head));
        let operation = Operation::Follow { from: head.height + 1, acknowledged };
        let answer = exchange.ask(validator, &operation, Bytes::new(), POLL_TIMEOUT, None).await?;
        match answer.response {
            Response::Blocks { .. } => {}
            Response::Refused(refusal) => return Err(FollowError::Refused(refusal)),
            _ => return Err(FollowError::Unfitting),
        }
        if answer.body.is_empty() {
            return Ok(());
        }
        let ledger = Arc::clone(self);
        blocking(move || {
            let blocks = split_blocks(&answer.body).ok_or(FollowError::Unfitting)?;
            ledger.append(&blocks)
        })
        .await
    }

    /// Checks blocks, makes the good ones durable and shows them.
    fn append(&self, blocks: &[CertifiedBlock]) -> Result<(), FollowError> {
        let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Some(unix_milliseconds());
        let refused = blocks.iter().position(|block| chain.apply(block, now).is_err());
        let good = &blocks[..refused.unwrap_or(blocks.len())];
        if !good.is_empty() {
            if let Err(error) = self.store.append(good) {
                *chain = self.store.replay(self.network.genesis.clone(), u64::MAX)?;
                return Err(error.into());
            }
            self.publish(|view| view.at(&chain));
        }
        match refused {
            None => Ok(()),
            Some(place) => Err(blame(&mut chain, &blocks[place], now)),
        }
    }

    /// That what a validator calls its head is in the chain kept here.
    async fn check_head(self: &Arc<Self>, head: Seen) -> Result<(), FollowError> {
        let ledger = Arc::clone(self);
        let ours = blocking(move || {
            let newest = ledger.view();
            Ok::<_, ChainStoreError>(match head.height {
                0 => Some(ledger.network.genesis.head().header.hash()),
                height if height == newest.height() => Some(newest.head().header.hash()),
                height => ledger.store.block(height)?.map(|block| block.block.header.hash()),
            })
        })
        .await?;
        if ours == Some(head.hash) { Ok(()) } else { Err(FollowError::Fork(head.height)) }
    }

    fn publish(&self, change: impl FnOnce(&ChainView) -> ChainView) {
        self.view.send_modify(|view| *view = Arc::new(change(view)));
    }
}

impl AddressBook for FollowedLedger {
    fn address(&self, node: &NodeId) -> Option<SocketAddr> {
        self.view().address(node)
    }
}

/// The validator's final head, certified and attested now, and when that was by its clock or ours,
/// whichever is earlier.
async fn ask_head(
    network: &NetworkFile,
    validator: NodeId,
    exchange: &Exchange,
) -> Result<(Seen, u64), FollowError> {
    let mut nonce = [0; 32];
    system_random().fill_bytes(&mut nonce);
    let operation = Operation::Head { nonce };
    let answer = exchange.ask(validator, &operation, Bytes::new(), HEAD_TIMEOUT, None).await?;
    let (head, attestation) = match answer.response {
        Response::Head { head, attestation } => (head, attestation),
        Response::Refused(refusal) => return Err(FollowError::Refused(refusal)),
        _ => return Err(FollowError::Unfitting),
    };
    let now = unix_milliseconds();
    // A new one each time: against an older head stands the chain kept here.
    let mut light = LightClient::new(network.genesis.clone())?;
    let time = attestation.time.min(now);
    light.accept_head(&head, &[attestation], &nonce, now)?;
    Ok((light.seen(), time))
}

/// Why a block is refused: a fork if the validators certified it all the same.
fn blame(chain: &mut Chain, block: &CertifiedBlock, now: Option<u64>) -> FollowError {
    let header = &block.block.header;
    let height = header.height;
    match chain.apply(block, now) {
        Err(BlockError::Unlinked("previous hash"))
            if block.certificate.certifies(header, chain.validators()) =>
        {
            FollowError::Fork(height.saturating_sub(1))
        }
        Err(error) => FollowError::Block { height, error },
        Ok(()) => unreachable!("the same block was refused by the same chain"),
    }
}
