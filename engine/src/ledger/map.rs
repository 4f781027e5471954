//! An authenticated map: a compact sparse Merkle tree over SHA3-256 with proofs of presence and of
//! absence.
//!
//! A key's place is its hash, read bit by bit from the root. A subtree with one key is that leaf
//! itself, wherever it starts, so a path is about log2(n) long (Dahlberg, Pulls, Peeters,
//! "Efficient Sparse Merkle Trees", NordSec 2016, with the compaction of Diem's Jellyfish tree).
//! The tree is persistent: a clone is one pointer, and a write copies one path. Hashes are computed
//! when a root is asked for, once for each changed branch.

use std::sync::{Arc, OnceLock};

use minicbor::{Decode, Encode};
use sha3::{Digest, Sha3_256};

use super::log::{Digest32, PathHash};

pub(super) const EMPTY: Digest32 = [0; 32];
pub(super) const DEPTH_MAX: usize = 256;

/// A map from hashed keys to values under one root. Keys are never removed.
#[derive(Clone, Default)]
pub struct AuthenticatedMap {
    tree: Subtree,
}

pub(super) type Subtree = Option<Arc<Tree>>;

pub(super) enum Tree {
    Leaf(Leaf),
    Branch { left: Subtree, right: Subtree, hash: OnceLock<Digest32> },
}

#[derive(Clone)]
pub(super) struct Leaf {
    pub(super) place: Digest32,
    pub(super) value: Arc<[u8]>,
    hash: Digest32,
}

impl Leaf {
    pub(super) fn new(place: Digest32, value: Arc<[u8]>) -> Self {
        let hash = leaf_hash(&place, &value_hash(&value));
        Self { place, value, hash }
    }
}

impl AuthenticatedMap {
    /// The map that a whole tree is.
    pub(super) fn from_tree(tree: Subtree) -> Self {
        Self { tree }
    }

    pub(super) fn tree(&self) -> &Subtree {
        &self.tree
    }

    /// The value under a key.
    pub fn read(&self, key: &[u8]) -> Option<&[u8]> {
        let place = place_of(key);
        let mut subtree = &self.tree;
        for depth in 0.. {
            match subtree.as_deref()? {
                Tree::Leaf(leaf) => return (leaf.place == place).then_some(&*leaf.value),
                Tree::Branch { left, right, .. } => {
                    subtree = if bit(&place, depth) { right } else { left };
                }
            }
        }
        None
    }

    /// Sets the value under a key: one path of the tree is copied.
    pub fn write(&mut self, key: &[u8], value: &[u8]) {
        let leaf = Leaf::new(place_of(key), value.into());
        self.tree = Some(Arc::new(with_leaf(&self.tree, leaf, 0)));
    }

    /// The root; zeros when empty.
    pub fn root(&self) -> Digest32 {
        subtree_hash(&self.tree)
    }

    /// Proves what [`AuthenticatedMap::read`] of the key says, be it nothing.
    pub fn prove(&self, key: &[u8]) -> StateProof {
        let place = place_of(key);
        let mut siblings = Vec::new();
        let mut subtree = &self.tree;
        while let Some(Tree::Branch { left, right, .. }) = subtree.as_deref() {
            let (next, sibling) =
                if bit(&place, siblings.len()) { (right, left) } else { (left, right) };
            siblings.push(PathHash(subtree_hash(sibling)));
            subtree = next;
        }
        let neighbour = match subtree.as_deref() {
            Some(Tree::Leaf(leaf)) if leaf.place != place => Some(Neighbour {
                place: PathHash(leaf.place),
                value: PathHash(value_hash(&leaf.value)),
            }),
            _ => None,
        };
        StateProof { siblings, neighbour }
    }
}

/// The way from a key's place to the root: 32 bytes a level.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct StateProof {
    /// The hashes beside the path, from the root downwards.
    #[n(0)]
    siblings: Vec<PathHash>,
    /// For an absent key, the leaf of another key that stands where it would; none if nothing does.
    #[n(1)]
    neighbour: Option<Neighbour>,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct Neighbour {
    #[n(0)]
    place: PathHash,
    #[n(1)]
    value: PathHash,
}

impl StateProof {
    /// Whether the map with this root holds `value` under `key`, or nothing if `None`.
    pub fn verifies(&self, root: &Digest32, key: &[u8], value: Option<&[u8]>) -> bool {
        if self.siblings.len() > DEPTH_MAX {
            return false;
        }
        let place = place_of(key);
        let end = match (value, &self.neighbour) {
            (Some(value), None) => leaf_hash(&place, &value_hash(value)),
            (None, None) => EMPTY,
            (None, Some(other)) if other.place.0 != place => {
                leaf_hash(&other.place.0, &other.value.0)
            }
            _ => return false,
        };
        root_above(&place, end, &self.siblings) == *root
    }
}

/// The root over a subtree on the way to `place`, from its hash and those beside the way.
pub(super) fn root_above(place: &Digest32, subtree: Digest32, siblings: &[PathHash]) -> Digest32 {
    let steps = siblings.iter().enumerate().rev();
    steps.fold(subtree, |below, (depth, PathHash(sibling))| {
        if bit(place, depth) { branch_hash(sibling, &below) } else { branch_hash(&below, sibling) }
    })
}

/// The tree over leaves that ascend by place and agree in their first `depth` bits.
pub(super) fn subtree_of(leaves: &[Leaf], depth: usize) -> Subtree {
    match leaves {
        [] => None,
        [leaf] => Some(Arc::new(Tree::Leaf(leaf.clone()))),
        _ => {
            let (left, right) =
                leaves.split_at(leaves.partition_point(|leaf| !bit(&leaf.place, depth)));
            let (left, right) = (subtree_of(left, depth + 1), subtree_of(right, depth + 1));
            Some(Arc::new(branch(left, right)))
        }
    }
}

/// The subtree at `depth` with the leaf put in.
fn with_leaf(subtree: &Subtree, leaf: Leaf, depth: usize) -> Tree {
    match subtree.as_deref() {
        None => Tree::Leaf(leaf),
        Some(Tree::Leaf(old)) if old.place == leaf.place => Tree::Leaf(leaf),
        Some(Tree::Leaf(old)) => {
            let alone = Some(Arc::new(Tree::Leaf(old.clone())));
            let pushed_down =
                if bit(&old.place, depth) { branch(None, alone) } else { branch(alone, None) };
            with_leaf(&Some(Arc::new(pushed_down)), leaf, depth)
        }
        Some(Tree::Branch { left, right, .. }) => {
            if bit(&leaf.place, depth) {
                branch(left.clone(), Some(Arc::new(with_leaf(right, leaf, depth + 1))))
            } else {
                branch(Some(Arc::new(with_leaf(left, leaf, depth + 1))), right.clone())
            }
        }
    }
}

pub(super) fn branch(left: Subtree, right: Subtree) -> Tree {
    Tree::Branch { left, right, hash: OnceLock::new() }
}

pub(super) fn subtree_hash(subtree: &Subtree) -> Digest32 {
    match subtree.as_deref() {
        None => EMPTY,
        Some(Tree::Leaf(leaf)) => leaf.hash,
        Some(Tree::Branch { left, right, hash }) => {
            *hash.get_or_init(|| branch_hash(&subtree_hash(left), &subtree_hash(right)))
        }
    }
}

/// Where a key stands: SHA3-256(0x02 ‖ key).
fn place_of(key: &[u8]) -> Digest32 {
    Sha3_256::new_with_prefix([2]).chain_update(key).finalize().into()
}

fn value_hash(value: &[u8]) -> Digest32 {
    Sha3_256::new_with_prefix([3]).chain_update(value).finalize().into()
}

/// SHA3-256(0x00 ‖ place ‖ value hash). The place inside the leaf makes proofs of absence sound.
fn leaf_hash(place: &Digest32, value: &Digest32) -> Digest32 {
    Sha3_256::new_with_prefix([0]).chain_update(place).chain_update(value).finalize().into()
}

fn branch_hash(left: &Digest32, right: &Digest32) -> Digest32 {
    Sha3_256::new_with_prefix([1]).chain_update(left).chain_update(right).finalize().into()
}

/// Bit `depth` of a place, the most significant first.
pub(super) fn bit(place: &Digest32, depth: usize) -> bool {
    place[depth / 8] >> (7 - depth % 8) & 1 == 1
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// The definition: split by the bits of the place until at most one key is left.
    fn naive_root(leaves: &[(Digest32, Digest32)], depth: usize) -> Digest32 {
        match leaves {
            [] => EMPTY,
            [(place, value)] => leaf_hash(place, value),
            _ => {
                let (right, left): (Vec<_>, Vec<_>) =
                    leaves.iter().partition(|(place, _)| bit(place, depth));
                branch_hash(&naive_root(&left, depth + 1), &naive_root(&right, depth + 1))
            }
        }
    }

    proptest! {
        #[test]
        fn matches_the_naive_tree(
            writes in prop::collection::vec((0u8..40, any::<u16>()), 0..120),
            asked in prop::collection::vec(0u8..60, 20),
        ) {
            let mut map = AuthenticatedMap::default();
            let mut oracle = BTreeMap::new();
            for (key, value) in &writes {
                map.write(&[*key], &value.to_be_bytes());
                oracle.insert([*key], value.to_be_bytes());
                if *key % 4 == 0 {
                    map.root();
                }
            }
            let leaves: Vec<_> =
                oracle.iter().map(|(key, value)| (place_of(key), value_hash(value))).collect();
            let root = map.root();
            prop_assert_eq!(root, naive_root(&leaves, 0));
            for key in asked {
                let held = oracle.get(&[key]).map(|value| value.as_slice());
                prop_assert_eq!(map.read(&[key]), held);
                let proof = map.prove(&[key]);
                prop_assert!(proof.verifies(&root, &[key], held));
                prop_assert!(!proof.verifies(&root, &[key], Some(b"another")));
                prop_assert!(!proof.verifies(&[9; 32], &[key], held));
                if held.is_some() {
                    prop_assert!(!proof.verifies(&root, &[key], None));
                }
            }
        }

        #[test]
        fn no_proof_of_another_key_hides_a_present_one(
            keys in prop::collection::btree_set(any::<u8>(), 2..60),
            others in prop::collection::vec(any::<u8>(), 8),
        ) {
            let mut map = AuthenticatedMap::default();
            keys.iter().for_each(|key| map.write(&[*key], b"here"));
            let root = map.root();
            for present in &keys {
                for other in &others {
                    prop_assert!(!map.prove(&[*other]).verifies(&root, &[*present], None));
                }
            }
        }
    }

    #[test]
    fn a_clone_keeps_its_own_contents() {
        let mut map = AuthenticatedMap::default();
        map.write(b"a", b"1");
        let (before, root) = (map.clone(), map.root());
        map.write(b"a", b"2");
        assert_eq!(before.read(b"a"), Some(b"1".as_slice()));
        assert_eq!(before.root(), root);
        assert_ne!(map.root(), root);
    }
}
