//! Putting a chain together from the chunks that several sources send.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use thiserror::Error;

use super::chunk::{ChunkError, StateChunk, VerifiedChunk};
use super::prefix::Prefix;
use super::{BaseError, SnapshotBase};
use crate::ledger::block::SignedHeader;
use crate::ledger::chain::Chain;
use crate::ledger::genesis::Genesis;
use crate::ledger::light::{LightClient, SetChange};
use crate::ledger::log::Log;
use crate::ledger::map::{AuthenticatedMap, Subtree, branch};
use crate::names::NodeId;

/// Gathers the state of one head, in any order, from whoever has it.
///
/// Sources are asked for subtrees and answer with the first chunk of each; what is beside it becomes
/// the next questions, so that there is soon something to ask of everybody. Every chunk is checked
/// alone when it comes: a source can withhold, not invent. After a restart, chunks that were kept
/// are given to [`SnapshotAssembly::add`] again.
pub struct SnapshotAssembly {
    genesis: Arc<Genesis>,
    head: SignedHeader,
    log: Log,
    changes: Vec<SetChange>,
    held: BTreeMap<Prefix, Subtree>,
    /// Disjoint, and disjoint from what is held; each is a subtree that exists.
    missing: BTreeSet<Prefix>,
    /// Of the missing ones, who was asked.
    asked: BTreeMap<Prefix, NodeId>,
    faulty: BTreeMap<NodeId, ChunkError>,
}

/// A chunk that did not fit, and who sent it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("a chunk from {sender}: {error}")]
pub struct RefusedChunk {
    /// The sender; to blame unless the error says otherwise.
    pub sender: NodeId,
    /// What is wrong.
    pub error: ChunkError,
}

impl SnapshotAssembly {
    /// Begins. `changes` are those of the validator set below the head of `base`, ascending; the set
    /// to which they lead from the genesis must have certified it.
    pub fn new(
        genesis: Genesis,
        base: SnapshotBase,
        changes: Vec<SetChange>,
    ) -> Result<Self, BaseError> {
        let mut light = LightClient::new(genesis.clone())?;
        let network = base.head.header.network;
        if network != genesis.network_id() {
            return Err(BaseError::Network(network));
        }
        changes.iter().try_for_each(|change| light.follow(change))?;
        light.check_certified(&base.head)?;
        let log = base.log().ok_or(BaseError::Log)?;
        Ok(Self {
            genesis: Arc::new(genesis),
            head: base.head,
            log,
            changes,
            held: BTreeMap::new(),
            missing: BTreeSet::from([Prefix::ROOT]),
            asked: BTreeMap::new(),
            faulty: BTreeMap::new(),
        })
    }

    /// The head whose state is gathered.
    pub fn head(&self) -> &SignedHeader {
        &self.head
    }

    /// Whether all is here.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// Who sent a wrong chunk, and what was wrong with the first one.
    pub fn faulty(&self) -> &BTreeMap<NodeId, ChunkError> {
        &self.faulty
    }

    /// What to ask of a source now; it may be asked for more before it answers. None of one that is
    /// faulty, and if all that is missing was asked for.
    pub fn poll_request(&mut self, source: NodeId) -> Option<Prefix> {
        if self.faulty.contains_key(&source) {
            return None;
        }
        let open = self.missing.iter().find(|prefix| !self.asked.contains_key(prefix));
        let open = open.copied()?;
        self.asked.insert(open, source);
        Some(open)
    }

    /// A source will not answer what it was asked: others may be asked for it.
    pub fn handle_silence(&mut self, source: &NodeId) {
        self.asked.retain(|_, asked| asked != source);
    }

    /// Takes a chunk, asked for or not. On an error nothing changes but what is known of the sender.
    pub fn handle_chunk(&mut self, sender: NodeId, bytes: &[u8]) -> Result<(), RefusedChunk> {
        self.add(bytes).map_err(|error| {
            if error != ChunkError::Overlap {
                self.faulty.entry(sender).or_insert_with(|| error.clone());
                self.handle_silence(&sender);
            }
            RefusedChunk { sender, error }
        })
    }

    /// Takes a chunk that was kept here. On an error nothing changes.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), ChunkError> {
        let chunk = StateChunk::from_bytes(bytes)?;
        // Cheaper than to check it first, and a wrong one for which there is no room does no harm.
        let around = self.missing_around(&chunk.prefix()).ok_or(ChunkError::Overlap)?;
        let VerifiedChunk { prefix, subtree, others } =
            chunk.verify(&self.head.header.state_root)?;
        self.missing.remove(&around);
        self.asked.remove(&around);
        self.missing.extend(others.into_iter().filter(|other| around.contains(other)));
        self.held.insert(prefix, subtree);
        Ok(())
    }

    /// The missing subtree that contains this one or is it.
    fn missing_around(&self, prefix: &Prefix) -> Option<Prefix> {
        let before = self.missing.range(..=prefix).next_back()?;
        before.contains(prefix).then_some(*before)
    }

    /// The chain after the head; `None` while something is missing.
    pub fn finish(self) -> Option<Chain> {
        if !self.is_complete() {
            return None;
        }
        let held: Vec<(Prefix, Subtree)> = self.held.into_iter().collect();
        let map = AuthenticatedMap::from_tree(joined(&held, 0));
        debug_assert_eq!(map.root(), self.head.header.state_root);
        Some(Chain::from_parts(self.genesis, self.head, map, self.log, self.changes))
    }
}

/// The tree over adjacent subtrees that agree in their first `depth` bits.
fn joined(subtrees: &[(Prefix, Subtree)], depth: usize) -> Subtree {
    match subtrees {
        [] => None,
        [(prefix, subtree)] if prefix.depth() == depth => subtree.clone(),
        _ => {
            let middle = subtrees.partition_point(|(prefix, _)| !prefix.bit(depth));
            let (left, right) = subtrees.split_at(middle);
            Some(Arc::new(branch(joined(left, depth + 1), joined(right, depth + 1))))
        }
    }
}
