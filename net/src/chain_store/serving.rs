//! What a machine gives others of the chain that it keeps.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kakera_engine::ledger::{Prefix, Snapshot};
use kakera_engine::peer::Answer;
use kakera_engine::wire::{BlockForm, Operation, Refusal, RefusalKind, Response};
use tokio::time::Instant;

use super::follow::{FOLLOW_LEN_MAX, join};
use super::{ChainStore, answer_follow};
use crate::chain_view::ChainView;
use crate::store::disk::Disk;

/// Snapshots that are being gathered at a time. Old ones share most of their state with the chain.
const SHELF_MAX: usize = 4;
/// For how long a snapshot is kept after the last question for it.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// For how long it is kept at most, so that nobody can keep the others from a newer one.
const AGE_MAX: Duration = Duration::from_secs(1800);

/// Answers from a stored chain. All methods block on the disk.
pub struct ChainServer<D: Disk> {
    store: Arc<ChainStore<D>>,
    shelf: Mutex<Vec<Shelved>>,
}

/// A snapshot that stays as it is while somebody gathers it.
struct Shelved {
    snapshot: Snapshot,
    since: Instant,
    asked: Instant,
}

impl<D: Disk> ChainServer<D> {
    /// Answers from `store`.
    pub fn new(store: Arc<ChainStore<D>>) -> Self {
        Self { store, shelf: Mutex::default() }
    }

    /// The store.
    pub fn store(&self) -> &Arc<ChainStore<D>> {
        &self.store
    }

    /// The answer to a question about the chain's blocks or snapshots; `None` to any other.
    pub fn answer(&self, operation: &Operation, view: &ChainView) -> Option<Answer> {
        match operation {
            Operation::Follow { from, form, .. } => Some(self.follow(*from, *form, view)),
            Operation::SetChanges { after } => Some(self.set_changes(*after, view)),
            Operation::Snapshot => Some(self.snapshot(view)),
            Operation::SnapshotChunk { height, within } => {
                Some(self.snapshot_chunk(*height, within, view))
            }
            _ => None,
        }
    }

    /// Blocks from a height on, at once.
    fn follow(&self, from: u64, form: Option<BlockForm>, view: &ChainView) -> Answer {
        let known = form.map(|BlockForm::Compact| view.snapshot());
        let (response, body) = answer_follow(&self.store, from, known);
        Answer { response, body: body.into() }
    }

    /// Changes of the validator set above a height.
    fn set_changes(&self, after: u64, view: &ChainView) -> Answer {
        let changes = view.snapshot().set_changes();
        let known = changes.partition_point(|change| change.header.header.height <= after);
        let (mut sent, mut length) = (Vec::new(), 0);
        for change in &changes[known..] {
            let bytes = change.to_bytes();
            length += bytes.len();
            if length > FOLLOW_LEN_MAX {
                break;
            }
            sent.push(bytes);
        }
        let more = known + sent.len() < changes.len();
        Answer { response: Response::SetChanges { more }, body: join(&sent).into() }
    }

    /// The base of the newest snapshot that can be gathered.
    fn snapshot(&self, view: &ChainView) -> Answer {
        let Some(newest) = view.milestones().last() else {
            return refused("the chain is too short for snapshots; ask for its blocks");
        };
        let base = self.shelve(newest).base().clone();
        Answer::bare(Response::Snapshot(Box::new(base)))
    }

    /// A chunk of the state of a snapshot that is given away here, or could be.
    fn snapshot_chunk(&self, height: u64, within: &Prefix, view: &ChainView) -> Answer {
        let Some(snapshot) = self.at_height(height, view) else {
            return refused("there is no snapshot of this height here; ask for another one");
        };
        match snapshot.chunk(within) {
            Some(chunk) => {
                Answer { response: Response::SnapshotChunk, body: Bytes::from(chunk.to_bytes()) }
            }
            None => refused("the state has no such subtree"),
        }
    }

    fn at_height(&self, height: u64, view: &ChainView) -> Option<Snapshot> {
        let shelved = {
            let mut shelf = self.lock_shelf();
            let found = shelf.iter_mut().find(|shelved| shelved.snapshot.height() == height);
            found.map(|shelved| {
                shelved.asked = Instant::now();
                shelved.snapshot.clone()
            })
        };
        shelved.or_else(|| {
            let known = view.milestones().iter().find(|known| known.height() == height)?;
            Some(self.shelve(known)).filter(|snapshot| snapshot.height() == height)
        })
    }

    /// Keeps a snapshot for those who gather it; if there is no room, gives the newest one that is
    /// kept instead.
    fn shelve(&self, snapshot: &Snapshot) -> Snapshot {
        let now = Instant::now();
        let mut shelf = self.lock_shelf();
        shelf.retain(|shelved| {
            now.duration_since(shelved.asked) < IDLE_MAX
                && now.duration_since(shelved.since) < AGE_MAX
        });
        if shelf.len() < SHELF_MAX
            && shelf.iter().all(|shelved| shelved.snapshot.height() != snapshot.height())
        {
            shelf.push(Shelved { snapshot: snapshot.clone(), since: now, asked: now });
        }
        let not_above = |shelved: &&mut Shelved| shelved.snapshot.height() <= snapshot.height();
        match shelf.iter_mut().filter(not_above).max_by_key(|shelved| shelved.snapshot.height()) {
            Some(shelved) => {
                shelved.asked = now;
                shelved.snapshot.clone()
            }
            None => snapshot.clone(),
        }
    }

    fn lock_shelf(&self) -> std::sync::MutexGuard<'_, Vec<Shelved>> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(message: &str) -> Answer {
    Answer::bare(Response::Refused(Refusal::new(RefusalKind::NotFound, message)))
}
