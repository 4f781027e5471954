//! An append-only log under one root: the Merkle tree of RFC 6962 §2.1 over SHA3-256.

use minicbor::{Decode, Encode};
use sha3::{Digest, Sha3_256};
use thiserror::Error;

/// A SHA3-256 output.
pub type Digest32 = [u8; 32];

/// The tree of everything appended so far, complete subtrees kept: 64 bytes a leaf that can be proved.
///
/// Appending costs one hash on average, a root or a proof O(log n). A log that begins with the
/// [`Log::peaks`] of another goes on as that one would, but proves only what was appended since.
#[derive(Clone, Debug, Default)]
pub struct Log {
    levels: Vec<Level>,
    /// Leaves that cannot be proved any more.
    archived: u64,
}

/// Complete subtrees of one height h: number i is over the leaves `i << h .. (i + 1) << h`.
#[derive(Clone, Debug, Default)]
struct Level {
    /// Subtrees before those kept.
    skipped: u64,
    kept: Vec<Digest32>,
}

impl Level {
    fn len(&self) -> u64 {
        self.skipped + self.kept.len() as u64
    }

    fn at(&self, index: u64) -> Digest32 {
        self.kept[(index - self.skipped) as usize]
    }
}

/// Why the place of an entry cannot be proved. Whoever asked is to blame.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum LogProofError {
    /// There is no such entry yet.
    #[error("entry {index} where the log has {size}")]
    Beyond {
        /// The entry, from 0.
        index: u64,
        /// The log's size.
        size: u64,
    },
    /// The entry was appended before the log that is kept here begins.
    #[error(
        "entry {index} is older than entry {kept_from}, from which on proofs are kept here; \
         try: ask a machine that has the whole chain"
    )]
    Archived {
        /// The entry, from 0.
        index: u64,
        /// The first one that is kept.
        kept_from: u64,
    },
}

impl Log {
    /// The log of `size` leaves with these [`Log::peaks`]; `None` if their number is another.
    pub fn from_peaks(size: u64, peaks: &[Digest32]) -> Option<Self> {
        let mut rest = peaks.iter().rev();
        let level = |height: u32| {
            let complete = size >> height;
            let kept: Vec<Digest32> =
                if complete % 2 == 1 { vec![*rest.next()?] } else { Vec::new() };
            Some(Level { skipped: complete - kept.len() as u64, kept })
        };
        let levels = (0..u64::BITS - size.leading_zeros()).map(level).collect::<Option<_>>()?;
        rest.next().is_none().then_some(Self { levels, archived: size })
    }

    /// The complete subtrees on the right edge, largest first: one for each bit that the size has
    /// set, and all that appending needs.
    pub fn peaks(&self) -> Vec<Digest32> {
        RightEdge::of(self).peaks
    }

    /// The log of the same leaves that proves those from `first` on, as far as this one does, and can
    /// be appended to: with its size for `first` the right edge only.
    pub(super) fn since(&self, first: u64) -> Self {
        let first = first.clamp(self.archived, self.size());
        let level = |(height, level): (usize, &Level)| {
            // Of two with one parent the left one stands beside the way of the right one's leaves.
            let skipped = (first >> height) & !1;
            let kept = level.kept[(skipped - level.skipped) as usize..].to_vec();
            Level { skipped, kept }
        };
        Self { levels: self.levels.iter().enumerate().map(level).collect(), archived: first }
    }

    /// Leaves that can be proved.
    pub(super) fn provable(&self) -> u64 {
        self.size() - self.archived
    }

    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, Level::len)
    }

    /// Appends a leaf, given as [`leaf_hash`].
    pub fn append(&mut self, leaf: Digest32) {
        let mut complete = leaf;
        for height in 0.. {
            if self.levels.len() == height {
                self.levels.push(Level::default());
            }
            let level = &mut self.levels[height];
            level.kept.push(complete);
            if level.len() % 2 == 1 {
                return;
            }
            complete = node_hash(&level.at(level.len() - 2), &complete);
        }
    }

    /// The root; the hash of nothing when empty.
    pub fn root(&self) -> Digest32 {
        self.root_with(&[])
    }

    /// The root after `leaves` were appended, without appending them: O(log n + leaves).
    pub fn root_with(&self, leaves: &[Digest32]) -> Digest32 {
        let mut edge = RightEdge::of(self);
        leaves.iter().for_each(|leaf| edge.append(*leaf));
        edge.root()
    }

    /// Proves that the leaf `index` is under [`Log::root`].
    pub fn prove(&self, index: u64) -> Result<LogProof, LogProofError> {
        let (size, kept_from) = (self.size(), self.archived);
        if index >= size {
            return Err(LogProofError::Beyond { index, size });
        }
        if index < kept_from {
            return Err(LogProofError::Archived { index, kept_from });
        }
        let mut path = Vec::new();
        self.collect_path(index, 0, size, &mut path);
        Ok(LogProof { index, path: path.into_iter().map(PathHash).collect() })
    }

    /// PATH(m, D[start:end]) of RFC 6962 §2.1.1, from the leaf upwards.
    fn collect_path(&self, index: u64, start: u64, end: u64, path: &mut Vec<Digest32>) {
        if end - start == 1 {
            return;
        }
        let middle = start + split(end - start);
        if index < middle {
            self.collect_path(index, start, middle, path);
            path.push(self.subtree(middle, end));
        } else {
            self.collect_path(index, middle, end, path);
            path.push(self.subtree(start, middle));
        }
    }

    /// The root over the leaves `start..end`, where `start` is a multiple of the largest power of
    /// two in the range: true of every range that [`Log::collect_path`] meets. Beside the path of a
    /// leaf that is not archived, a complete subtree of archived ones is a peak, and so is kept.
    fn subtree(&self, start: u64, end: u64) -> Digest32 {
        let width = end - start;
        if width.is_power_of_two() {
            let height = width.trailing_zeros();
            return self.levels[height as usize].at(start >> height);
        }
        let middle = start + split(width);
        node_hash(&self.subtree(start, middle), &self.subtree(middle, end))
    }
}

/// The complete subtrees on the right edge of a tree, largest first: all that appending needs.
struct RightEdge {
    size: u64,
    peaks: Vec<Digest32>,
}

impl RightEdge {
    fn of(log: &Log) -> Self {
        let odd_levels = log.levels.iter().rev().filter(|level| level.len() % 2 == 1);
        Self {
            size: log.size(),
            peaks: odd_levels.filter_map(|level| level.kept.last()).copied().collect(),
        }
    }

    fn append(&mut self, leaf: Digest32) {
        let mut complete = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                complete = node_hash(&left, &complete);
            }
        }
        self.peaks.push(complete);
        self.size += 1;
    }

    fn root(&self) -> Digest32 {
        let joined =
            self.peaks.iter().rev().copied().reduce(|right, left| node_hash(&left, &right));
        joined.unwrap_or_else(|| Sha3_256::digest([]).into())
    }
}

/// The root over `leaves`, for a tree that is not kept.
pub fn root_of(leaves: &[Digest32]) -> Digest32 {
    Log::default().root_with(leaves)
}

/// The way from a leaf to the root (RFC 6962 §2.1.1): 32 bytes a level.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LogProof {
    /// The place of the leaf in the log, from 0.
    #[n(0)]
    pub index: u64,
    #[n(1)]
    path: Vec<PathHash>,
}

/// One step of a proof, a byte string on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub(super) struct PathHash(#[cbor(n(0), with = "minicbor::bytes")] pub(super) Digest32);

impl LogProof {
    /// Whether `leaf` stands at [`LogProof::index`] of the log with this size and root
    /// (RFC 9162 §2.1.3.2).
    pub fn verifies(&self, size: u64, root: &Digest32, leaf: Digest32) -> bool {
        if self.index >= size {
            return false;
        }
        let (mut place, mut last) = (self.index, size - 1);
        let mut computed = leaf;
        for PathHash(step) in &self.path {
            if last == 0 {
                return false;
            }
            if place % 2 == 1 || place == last {
                computed = node_hash(step, &computed);
                while place % 2 == 0 && place != 0 {
                    place >>= 1;
                    last >>= 1;
                }
            } else {
                computed = node_hash(&computed, step);
            }
            place >>= 1;
            last >>= 1;
        }
        last == 0 && computed == *root
    }
}

/// MTH of one leaf, its parts joined: SHA3-256(0x00 ‖ parts).
pub fn leaf_hash(parts: &[&[u8]]) -> Digest32 {
    let mut state = Sha3_256::new_with_prefix([0]);
    parts.iter().for_each(|part| state.update(part));
    state.finalize().into()
}

/// SHA3-256(0x01 ‖ left ‖ right).
fn node_hash(left: &Digest32, right: &Digest32) -> Digest32 {
    Sha3_256::new_with_prefix([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The largest power of two below `width`, which is at least 2.
fn split(width: u64) -> u64 {
    1 << (u64::BITS - 1 - (width - 1).leading_zeros())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 6962 §2.1, word for word.
    fn naive_root(leaves: &[Digest32]) -> Digest32 {
        match leaves {
            [] => Sha3_256::digest([]).into(),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(split(leaves.len() as u64) as usize);
                node_hash(&naive_root(left), &naive_root(right))
            }
        }
    }

    fn leaves(count: usize) -> Vec<Digest32> {
        (0..count).map(|index| leaf_hash(&[&index.to_be_bytes()])).collect()
    }

    /// That `log`, which proves from `kept_from` on, takes `more` as the whole one does.
    fn goes_on_as(
        mut whole: Log,
        mut log: Log,
        kept_from: u64,
        more: &[Digest32],
    ) -> Result<(), TestCaseError> {
        for leaf in more {
            log.append(*leaf);
            whole.append(*leaf);
            prop_assert_eq!((log.size(), log.root()), (whole.size(), whole.root()));
        }
        prop_assert_eq!(log.peaks(), whole.peaks());
        for index in 0..whole.size() {
            let expected = if index < kept_from {
                Err(LogProofError::Archived { index, kept_from })
            } else {
                whole.prove(index)
            };
            prop_assert_eq!(log.prove(index), expected);
        }
        Ok(())
    }

    #[test]
    fn roots_and_proofs_match_the_naive_tree_at_every_size() {
        let leaves = leaves(70);
        let mut log = Log::default();
        assert_eq!(log.root(), naive_root(&[]));
        assert_eq!(log.prove(0), Err(LogProofError::Beyond { index: 0, size: 0 }));
        for size in 1..=leaves.len() {
            log.append(leaves[size - 1]);
            let root = log.root();
            assert_eq!(root, naive_root(&leaves[..size]));
            for (index, leaf) in leaves[..size].iter().enumerate() {
                let proof = log.prove(index as u64).expect("inside the log");
                assert!(proof.verifies(size as u64, &root, *leaf));
                assert!(!proof.verifies(size as u64, &root, leaf_hash(&[b"another"])));
            }
        }
    }

    #[test]
    fn the_empty_log_has_the_sha3_256_of_nothing() {
        // FIPS 202, SHA3-256 of the empty message
        let hex: String = Log::default().root().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a");
    }

    proptest! {
        #[test]
        fn appending_ahead_equals_appending(before in 0usize..40, after in 0usize..40) {
            let all = leaves(before + after);
            let mut log = Log::default();
            all[..before].iter().for_each(|leaf| log.append(*leaf));
            prop_assert_eq!(log.root_with(&all[before..]), naive_root(&all));
        }

        #[test]
        fn a_log_from_peaks_goes_on_as_the_whole_one(archived in 0usize..70, after in 0usize..70) {
            let all = leaves(archived + after);
            let mut whole = Log::default();
            all[..archived].iter().for_each(|leaf| whole.append(*leaf));
            let size = archived as u64;
            let log = Log::from_peaks(size, &whole.peaks()).expect("as many as bits are set");
            prop_assert_eq!(log.root(), whole.root());
            goes_on_as(whole, log, size, &all[archived..])?;
        }

        #[test]
        fn a_log_that_forgets_goes_on_as_the_whole_one(
            firsts in prop::collection::vec(0u64..80, 1..4), after in 0usize..40,
        ) {
            let all = leaves(70 + after);
            let mut whole = Log::default();
            all[..70].iter().for_each(|leaf| whole.append(*leaf));
            let (mut log, mut kept_from) = (whole.clone(), 0);
            for first in firsts {
                log = log.since(first);
                kept_from = kept_from.max(first.min(70));
                prop_assert_eq!(log.provable(), 70 - kept_from);
                goes_on_as(whole.clone(), log.clone(), kept_from, &all[70..])?;
            }
        }

        #[test]
        fn only_as_many_peaks_as_bits_are_set_make_a_log(size in any::<u64>(), count in 0usize..70) {
            let log = Log::from_peaks(size, &leaves(count));
            prop_assert_eq!(log.is_some(), count == size.count_ones() as usize);
        }

        #[test]
        fn a_damaged_proof_is_refused(
            size in 2usize..60, pick in any::<prop::sample::Index>(), step in any::<prop::sample::Index>(),
            damage in 0u8..4,
        ) {
            let all = leaves(size);
            let mut log = Log::default();
            all.iter().for_each(|leaf| log.append(*leaf));
            let index = pick.index(size);
            let mut proof = log.prove(index as u64).expect("inside the log");
            let step = step.index(proof.path.len());
            match damage {
                0 => proof.path[step].0[0] ^= 1,
                1 => { proof.path.remove(step); }
                2 => proof.path.push(PathHash([0; 32])),
                _ => proof.index = (proof.index + 1) % size as u64,
            }
            prop_assert!(!proof.verifies(size as u64, &log.root(), all[index]));
        }
    }
}
