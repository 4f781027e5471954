//! Hash commitments to what a slot can say about V: one row a slot, one root a sharing.
//!
//! Row i is a binary Merkle tree over the pair symbols of slot i with every other slot, in slot
//! order, then its read part (`engine/spec/keyshare.md` §3).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use minicbor::{Decode, Encode};
use thiserror::Error;

use super::parameters::{Binding, KeyParameters};
use super::share::Share;
use super::symbol::Symbol;
use crate::hash::{LabelledHash, hash};
use crate::names::Slot;
use crate::wire::canonical;

const HASH_LEN: usize = 32;
pub(super) type Digest = [u8; HASH_LEN];

static PAIR: LazyLock<LabelledHash> = LazyLock::new(|| LabelledHash::new("ks/pair"));
static PART: LazyLock<LabelledHash> = LazyLock::new(|| LabelledHash::new("ks/part"));
static NODE: LazyLock<LabelledHash> = LazyLock::new(|| LabelledHash::new("ks/node"));

/// The leaf of what nobody vouched for; no hash is known to be this.
pub(super) const UNCOVERED: Digest = [0; HASH_LEN];

/// The commitment to all that one slot can say: the top of its Merkle tree. Public.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct RowHash(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; HASH_LEN]);

/// A node said something that its committed row does not admit. The node is to blame.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("slot {slot} sent a value that its committed row does not admit")]
pub struct PeerFault {
    /// The slot whose holder is to blame.
    pub slot: Slot,
}

/// The commitment to a whole sharing: `H("ks/root"; salt, epoch, n k d, row_1, .., row_n)`, after a
/// renewal with the coverage as a last part.
pub fn root(binding: &Binding<'_>, rows: &[RowHash]) -> [u8; HASH_LEN] {
    let epoch = binding.epoch.0.to_be_bytes();
    let parameters = binding.parameters.to_bytes();
    let mut parts: Vec<&[u8]> = vec![binding.salt, &epoch, &parameters];
    parts.extend(rows.iter().map(|row| row.0.as_slice()));
    let coverage = binding.coverage.map(canonical::encode);
    parts.extend(coverage.as_deref());
    hash("ks/root", &parts)
}

impl Share {
    /// The row of this slot, recomputed from the share alone.
    ///
    /// It equals the committed row exactly if this is the share that was dealt: the row binds the
    /// length, the read part and n - 1 >= d values of the polynomial.
    pub fn row(&self, binding: &Binding<'_>) -> RowHash {
        self.row_tree(binding).row()
    }

    pub(super) fn row_tree(&self, binding: &Binding<'_>) -> RowTree {
        let others = binding.parameters.slots().filter(|&other| other != self.slot());
        let leaf = |other| match binding.covers(self.slot(), other) {
            true => pair_leaf(binding, self.slot(), other, &self.pair_symbol(other)),
            false => UNCOVERED,
        };
        let mut leaves: Vec<Digest> = others.map(leaf).collect();
        leaves.push(self.part_leaf(binding));
        RowTree::new(leaves)
    }

    /// Whether this is the share that the committed row of its slot stands for.
    ///
    /// False also if the row covers too little to tell: fewer than d pair symbols.
    pub fn matches(&self, binding: &Binding<'_>, row: &RowHash) -> bool {
        binding.commits_to(self.slot()) && self.row(binding) == *row
    }

    pub(super) fn part_leaf(&self, binding: &Binding<'_>) -> Digest {
        if binding.coverage.is_some() {
            return UNCOVERED;
        }
        let part = self.read_part(binding.parameters);
        part_leaf(binding, self.slot(), self.columns().len(), part)
    }
}

/// `H("ks/pair"; salt, epoch, min max, u_ij)`: the same for both slots.
pub(super) fn pair_leaf(binding: &Binding<'_>, one: Slot, other: Slot, symbol: &Symbol) -> Digest {
    let pair = [one.min(other).point(), one.max(other).point()];
    PAIR.hash(&[binding.salt, &binding.epoch.0.to_be_bytes(), &pair, symbol.expose()])
}

/// `H("ks/part"; salt, epoch, i columns, part_i)`.
pub(super) fn part_leaf(
    binding: &Binding<'_>,
    slot: Slot,
    columns: usize,
    part: &Symbol,
) -> Digest {
    let place = [slot.point(), columns as u8];
    PART.hash(&[binding.salt, &binding.epoch.0.to_be_bytes(), &place, part.expose()])
}

/// The leaf of `other` in the row of `slot`; `None` if that pair does not exist.
pub(super) fn pair_index(parameters: KeyParameters, slot: Slot, other: Slot) -> Option<usize> {
    let exists = slot != other && parameters.contains(slot) && parameters.contains(other);
    exists.then(|| other.index() - usize::from(other > slot))
}

/// The leaf of the read part in every row.
pub(super) fn part_index(parameters: KeyParameters) -> usize {
    usize::from(parameters.n()) - 1
}

/// Every level of one row's Merkle tree, leaves first; the odd node of a level is promoted.
pub(super) struct RowTree {
    levels: Vec<Vec<Digest>>,
}

impl RowTree {
    /// Over at least one leaf.
    pub(super) fn new(leaves: Vec<Digest>) -> Self {
        let mut levels = vec![leaves];
        while let Some(level) = levels.last().filter(|level| level.len() > 1) {
            let above = level.chunks(2).map(|pair| match pair {
                [left, right] => node(left, right),
                promoted => promoted[0],
            });
            let above = above.collect();
            levels.push(above);
        }
        Self { levels }
    }

    pub(super) fn row(&self) -> RowHash {
        RowHash(self.levels[self.levels.len() - 1][0])
    }

    /// The sibling hashes from leaf `index` upwards, 32 bytes each.
    pub(super) fn path(&self, index: usize) -> Vec<u8> {
        let siblings = self.levels.iter().enumerate();
        siblings
            .filter_map(|(height, level)| level.get((index >> height) ^ 1))
            .flatten()
            .copied()
            .collect()
    }
}

/// Whether `path` leads from `leaf` at `index` of `count` leaves to `row`.
pub(super) fn leads_to(
    row: &RowHash,
    count: usize,
    mut index: usize,
    leaf: Digest,
    path: &[u8],
) -> bool {
    let (siblings, rest) = path.as_chunks::<HASH_LEN>();
    let mut siblings = siblings.iter();
    let mut top = leaf;
    let mut width = count;
    while width > 1 {
        if index ^ 1 < width {
            let Some(sibling) = siblings.next() else { return false };
            top = if index.is_multiple_of(2) { node(&top, sibling) } else { node(sibling, &top) };
        }
        index /= 2;
        width = width.div_ceil(2);
    }
    rest.is_empty() && siblings.next().is_none() && top == row.0
}

fn node(left: &Digest, right: &Digest) -> Digest {
    NODE.hash(&[left, right])
}

/// What peers said, sorted into what is true, one a slot, and the slots that lied.
pub(super) fn sift<'a, T>(
    verdicts: impl Iterator<Item = Result<(Slot, &'a T), PeerFault>>,
) -> (BTreeMap<Slot, &'a T>, BTreeSet<Slot>) {
    let mut truths = BTreeMap::new();
    let mut liars = BTreeSet::new();
    for verdict in verdicts {
        match verdict {
            Ok((slot, value)) => drop(truths.insert(slot, value)),
            Err(PeerFault { slot }) => drop(liars.insert(slot)),
        }
    }
    (truths, liars)
}
