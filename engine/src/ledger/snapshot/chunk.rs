//! Chunks of the state: a subtree with all that is in it, provable alone.

use minicbor::{Decode, Encode};
use thiserror::Error;

use super::prefix::Prefix;
use crate::ledger::log::{Digest32, PathHash};
use crate::ledger::map::{
    AuthenticatedMap, DEPTH_MAX, EMPTY, Leaf, Subtree, Tree, root_above, subtree_hash, subtree_of,
};
use crate::wire::canonical::{self, CanonicalError};

/// Longest chunk, in bytes. No value of the state has half of that.
pub const CHUNK_LEN_MAX: usize = 256 * 1024;
/// At most what encodes a chunk besides hashes and leaves, a hash, and a leaf besides its value.
const CHUNK_OVERHEAD: usize = 16;
const HASH_LEN: usize = 34;
const LEAF_OVERHEAD: usize = 40;

/// A subtree of the state: all keys whose places begin with the same bits, and their values.
///
/// Complete, because the hash of the subtree is computed from what is here alone, and the state's
/// root from it: a leaf left out, added or changed gives another root.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct StateChunk {
    /// The hashes beside the way from the root to the subtree, from the root downwards: as many as
    /// the leaves' places have bits in common by being here.
    #[n(0)]
    pub(super) siblings: Vec<PathHash>,
    /// Ascending by place; none only of a state that is empty.
    #[n(1)]
    pub(super) leaves: Vec<StateLeaf>,
}

/// A key, known by its place, and its value.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct StateLeaf {
    #[cbor(n(0), with = "minicbor::bytes")]
    place: Digest32,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(super) value: Vec<u8>,
}

/// Why a chunk is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ChunkError {
    /// The bytes are no chunk.
    #[error("no chunk: {0}")]
    Malformed(#[from] CanonicalError),
    /// Leaves are out of order, or belong elsewhere.
    #[error("the leaves of the chunk are not those of one subtree in order")]
    Order,
    /// Something is missing, too much or changed, or this is of another state.
    #[error("the chunk does not lead to the root of the state")]
    Root,
    /// All or some of it is here already; nobody is to blame.
    #[error("part of the chunk is here already")]
    Overlap,
}

impl StateChunk {
    /// The largest subtree of `map` that begins where `within` begins, does not reach further, and
    /// fits into `len_max` bytes; a single leaf always fits. `None` if no such subtree exists.
    pub fn cut(map: &AuthenticatedMap, within: &Prefix, len_max: usize) -> Option<Self> {
        let mut siblings = Vec::new();
        let mut subtree = map.tree();
        let room = |depth| len_max.checked_sub(CHUNK_OVERHEAD + HASH_LEN * depth);
        loop {
            let depth = siblings.len();
            let (left, right) = match subtree.as_deref() {
                None => return (depth == 0 && within.depth() == 0).then(Self::empty),
                Some(Tree::Leaf(_)) if depth < within.depth() => return None,
                Some(Tree::Branch { left, right, .. })
                    if depth < within.depth()
                        || room(depth).and_then(|room| room_left(subtree, room)).is_none() =>
                {
                    (left, right)
                }
                Some(_) => break,
            };
            let goes_right =
                if depth < within.depth() { within.bit(depth) } else { left.is_none() };
            let (next, sibling) = if goes_right { (right, left) } else { (left, right) };
            siblings.push(PathHash(subtree_hash(sibling)));
            subtree = next;
        }
        let mut leaves = Vec::new();
        collect(subtree, &mut leaves);
        Some(Self { siblings, leaves })
    }

    fn empty() -> Self {
        Self { siblings: Vec::new(), leaves: Vec::new() }
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// Reads the canonical bytes, at most [`CHUNK_LEN_MAX`] of them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CanonicalError> {
        canonical::decode(bytes, CHUNK_LEN_MAX)
    }

    /// The name of the subtree.
    pub fn prefix(&self) -> Prefix {
        let depth = self.siblings.len().min(DEPTH_MAX);
        self.leaves.first().map_or(Prefix::ROOT, |leaf| Prefix::of(&leaf.place, depth))
    }

    /// The subtrees beside the way to this one that are not empty, from the root downwards.
    pub(super) fn others(&self) -> impl Iterator<Item = Prefix> {
        others(self.prefix(), &self.siblings)
    }

    /// The subtree, if it is all that the state with this root has there.
    pub(super) fn verify(self, root: &Digest32) -> Result<VerifiedChunk, ChunkError> {
        let (prefix, depth) = (self.prefix(), self.siblings.len());
        let here = |leaf: &StateLeaf| prefix.contains(&Prefix::of(&leaf.place, DEPTH_MAX));
        let ascending = self.leaves.windows(2).all(|pair| pair[0].place < pair[1].place);
        let alone = depth == 0 || !self.leaves.is_empty();
        if depth > DEPTH_MAX || !alone || !ascending || !self.leaves.iter().all(here) {
            return Err(ChunkError::Order);
        }
        let leaves: Vec<Leaf> =
            self.leaves.into_iter().map(|leaf| Leaf::new(leaf.place, leaf.value.into())).collect();
        let subtree = subtree_of(&leaves, depth);
        let place = leaves.first().map_or(EMPTY, |leaf| leaf.place);
        if root_above(&place, subtree_hash(&subtree), &self.siblings) != *root {
            return Err(ChunkError::Root);
        }
        let others = others(prefix, &self.siblings).collect();
        Ok(VerifiedChunk { prefix, subtree, others })
    }
}

/// A chunk that belongs to a state.
pub(super) struct VerifiedChunk {
    pub(super) prefix: Prefix,
    pub(super) subtree: Subtree,
    /// [`StateChunk::others`].
    pub(super) others: Vec<Prefix>,
}

fn others(prefix: Prefix, siblings: &[PathHash]) -> impl Iterator<Item = Prefix> {
    let full = siblings.iter().enumerate().filter(|(_, hash)| hash.0 != EMPTY);
    full.map(move |(depth, _)| prefix.beside(depth))
}

/// What is left of `room` bytes after the leaves of a subtree; `None` if they do not fit.
fn room_left(subtree: &Subtree, room: usize) -> Option<usize> {
    match subtree.as_deref() {
        None => Some(room),
        Some(Tree::Leaf(leaf)) => room.checked_sub(LEAF_OVERHEAD + leaf.value.len()),
        Some(Tree::Branch { left, right, .. }) => room_left(right, room_left(left, room)?),
    }
}

fn collect(subtree: &Subtree, leaves: &mut Vec<StateLeaf>) {
    match subtree.as_deref() {
        None => {}
        Some(Tree::Leaf(leaf)) => {
            leaves.push(StateLeaf { place: leaf.place, value: leaf.value.to_vec() });
        }
        Some(Tree::Branch { left, right, .. }) => {
            collect(left, leaves);
            collect(right, leaves);
        }
    }
}
