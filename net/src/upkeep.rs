//! Checkpoints and retention of a stored chain, beside whatever makes it grow.

use std::sync::Arc;
use std::time::Duration;

use kakera_engine::ledger::Genesis;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::blocking::blocking;
use crate::chain_store::{ChainStore, ChainStoreError, Occasion};
use crate::chain_view::ChainView;
use crate::store::disk::Disk;
use crate::watch;

/// After a failure, a full disk most often.
const REST: Duration = Duration::from_secs(600);

/// Work that goes on until it is told to end.
pub struct Upkeep {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Upkeep {
    /// Looks after `store` whenever there is a new view of the chain in it.
    pub fn start<D: Disk>(
        store: Arc<ChainStore<D>>,
        genesis: Genesis,
        view: watch::Receiver<Arc<ChainView>>,
    ) -> Self {
        let keeper = Keeper { store, genesis, resting_until: None };
        let (end, ended) = oneshot::channel();
        let task = tokio::spawn(keep(keeper, view, ended));
        Self { end, task }
    }

    /// Takes a last checkpoint, if it is worth one.
    pub async fn end(self) {
        // Either fails only if the task is gone already.
        let _ = self.end.send(());
        let _ = self.task.await;
    }
}

async fn keep<D: Disk>(
    mut keeper: Keeper<D>,
    mut view: watch::Receiver<Arc<ChainView>>,
    mut ended: oneshot::Receiver<()>,
) {
    let mut occasion = Occasion::Running;
    while occasion == Occasion::Running {
        tokio::select! {
            biased;
            _ = &mut ended => occasion = Occasion::Ending,
            changed = view.changed() => if changed.is_err() { occasion = Occasion::Ending },
        }
        let newest = view.take_newest();
        keeper = blocking(move || {
            keeper.look_after(&newest, occasion);
            keeper
        })
        .await;
    }
}

struct Keeper<D: Disk> {
    store: Arc<ChainStore<D>>,
    genesis: Genesis,
    /// Nothing is tried before.
    resting_until: Option<Instant>,
}

impl<D: Disk> Keeper<D> {
    /// What fails is tried again later: nothing else depends on it.
    fn look_after(&mut self, view: &ChainView, occasion: Occasion) {
        if self.resting_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        let floor = view.head().header.retention_floor;
        let dropped = match occasion {
            Occasion::Running => self.drop_blocks(floor),
            Occasion::Ending => Ok(()),
        };
        if let Err(error) = dropped.and_then(|()| self.checkpoint(view, occasion)) {
            warn!(%error, "the chain's upkeep failed; trying again in {REST:?}");
            self.resting_until = Some(Instant::now() + REST);
        }
    }

    /// Never of the newest block: a validator that starts again takes that one for pending, and
    /// needs the chain before it.
    fn checkpoint(&self, view: &ChainView, occasion: Occasion) -> Result<(), ChainStoreError> {
        let newest = self.store.height();
        let known = [Some(view.snapshot()), view.earlier()].into_iter().flatten();
        let Some(settled) = known.into_iter().find(|snapshot| snapshot.height() < newest) else {
            return Ok(());
        };
        if self.store.is_checkpoint_due(settled.height(), occasion) {
            self.store.write_checkpoint(settled)?;
            info!(height = settled.height(), "checkpoint written");
        }
        Ok(())
    }

    fn drop_blocks(&self, floor: u64) -> Result<(), ChainStoreError> {
        let first = self.store.first_height();
        if floor > first {
            self.store.drop_below(&self.genesis, floor)?;
            info!(from = first, below = floor, "dropped blocks that the network need not keep");
        }
        Ok(())
    }
}
