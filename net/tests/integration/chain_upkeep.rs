//! What happens to a stored chain beside its growth: checkpoints, and blocks that nobody must keep.

use std::sync::Arc;
use std::time::Duration;

use crate::ledger_network::key;
use crate::ledger_validators::{Consortium, FOUR, genesis_of};
use kakera_engine::ledger::{
    Body, CertifiedBlock, Chain, Genesis, LogProofError, Pointer, RetentionFloor,
};
use kakera_net::chain_store::{CHECKPOINT_LEN_MIN, ChainStore};
use kakera_net::chain_view::ChainView;
use kakera_net::store::disk::Disk;
use kakera_net::store::simulated::SimulatedDisk;
use kakera_net::upkeep::Upkeep;
use kakera_net::watch;

const LOG: &str = "chain.log";

/// A network of four whose chain is stored and looked after.
struct Kept {
    network: Consortium,
    disk: SimulatedDisk,
    store: Arc<ChainStore<SimulatedDisk>>,
    view: watch::Sender<Arc<ChainView>>,
    upkeep: Upkeep,
}

impl Kept {
    fn start() -> Self {
        let network = Consortium::with_machines(2);
        let disk = SimulatedDisk::new();
        let store = Arc::new(ChainStore::open(&disk, LOG).unwrap());
        let before = Chain::new(genesis()).unwrap();
        let view = watch::Sender::new(Arc::new(ChainView::new(&before, Arc::default(), 0)));
        let upkeep = Upkeep::start(Arc::clone(&store), genesis(), view.subscribe());
        let kept = Self { network, disk, store, view, upkeep };
        kept.store_newest();
        kept
    }

    /// What a validator or a follower does with a block.
    fn store_newest(&self) {
        let block = CertifiedBlock::from_bytes(self.network.blocks.last().unwrap()).unwrap();
        self.store.append(&[block]).unwrap();
        let next = self.view.newest().at(&self.network.chain);
        self.view.send(Arc::new(next));
    }

    /// A block of about a hundred kilobytes.
    fn grow(&mut self) {
        let height = self.network.chain.head().header.height as u8;
        let pointers = (0..14).map(|place| {
            let owner = key(1 + place + 14 * (height % 17));
            let pointer = Pointer::sign(&self.network.id(), &owner, vec![height; 7000]);
            self.network.say(10, Body::Pointer(pointer))
        });
        let pointers = pointers.collect();
        self.network.seal(pointers);
        self.store_newest();
    }

    async fn wait_until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        for _ in 0..1000 {
            if done(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what}: not in ten seconds");
    }

    fn has_checkpoint(&self) -> bool {
        self.disk.open("chain.checkpoint").is_ok()
    }
}

fn genesis() -> Genesis {
    genesis_of(&FOUR)
}

#[tokio::test]
async fn the_floor_that_the_validators_agreed_on_is_kept_to() {
    let mut kept = Kept::start();
    (0..4).for_each(|_| kept.grow());
    assert_eq!(kept.store.first_height(), 1);
    kept.network.vote(&FOUR[..3], &Body::RetentionFloor(RetentionFloor { height: 4 }));
    kept.store_newest();
    kept.wait_until("blocks are dropped", |kept| kept.store.first_height() == 4).await;
    let chain = kept.store.replay(genesis(), u64::MAX).unwrap();
    assert_eq!(chain.head(), kept.network.chain.head());
}

#[tokio::test]
async fn a_clean_end_leaves_a_checkpoint_before_the_newest_block() {
    let mut kept = Kept::start();
    kept.grow();
    let Kept { upkeep, .. } = std::mem::replace(&mut kept, Kept::start());
    upkeep.end().await;
    assert!(!kept.has_checkpoint());

    let bytes = CHECKPOINT_LEN_MIN / 16;
    for _ in 0..bytes / 100_000 + 3 {
        kept.grow();
    }
    assert!(!kept.has_checkpoint(), "too few blocks while it runs");
    let Kept { upkeep, disk, store, network, view } = kept;
    drop(view);
    upkeep.end().await;
    drop(store);
    let store = ChainStore::open(&disk, LOG).unwrap();
    let newest = network.chain.head().header.height;
    for height in [newest - 1, newest] {
        let chain = store.load(genesis(), height).unwrap();
        let archived = network.heads[newest as usize - 2].header.log_size;
        assert_eq!(
            chain.entry_proof(0),
            Err(LogProofError::Archived { index: 0, kept_from: archived })
        );
        assert_eq!(chain.head(), &network.heads[height as usize - 1]);
    }
}

#[tokio::test]
async fn a_chain_that_grows_gets_a_checkpoint() {
    let mut kept = Kept::start();
    while kept.store.height() < 50 {
        kept.grow();
        if kept.network.chain.head().header.height == 16 {
            assert!(!kept.has_checkpoint());
        }
        tokio::task::yield_now().await;
    }
    kept.wait_until("a checkpoint is written", Kept::has_checkpoint).await;
}
