//! BLAKE3 over a fragment, cut at groups of 16 KiB (BLAKE3 paper §2.1, §5.4).
//!
//! A group is 16 BLAKE3 chunks, a complete subtree. Its chaining value proves it alone, so a range
//! is read, audited and repaired by groups; the values of all groups merge to the plain BLAKE3 hash
//! of the fragment.

use blake3::Hasher;
use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use minicbor::{Decode, Encode};

use super::{FormatError, require};
use crate::code::GROUP_LEN;
use crate::wire::canonical;

/// The most groups that a fragment has: [`super::OBJECT_LEN_MAX`] at k = 1, and the fill of full
/// groups, below alpha/16384 with alpha < 256.
pub const GROUPS_MAX: usize = 264;

/// The BLAKE3 hash of a whole fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct FragmentRoot(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 32]);

impl FragmentRoot {
    /// The root of `fragment`.
    pub fn of(fragment: &[u8]) -> Self {
        Self(*blake3::hash(fragment).as_bytes())
    }
}

/// The hash of every group of one fragment, at least one and at most [`GROUPS_MAX`].
///
/// A fragment of one group has its root here; otherwise these are non-root chaining values.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct GroupHashes(#[n(0)] Vec<FragmentRoot>);

impl GroupHashes {
    /// Hashes the groups of `fragment`.
    pub fn of(fragment: &[u8]) -> Self {
        if fragment.len() as u64 <= GROUP_LEN {
            return Self(vec![FragmentRoot::of(fragment)]);
        }
        let groups = fragment.chunks(GROUP_LEN as usize).enumerate();
        Self(groups.map(|(index, group)| chaining_value(index, group)).collect())
    }

    /// Reads hashes sent by a peer. They mean nothing until [`Self::verify`] holds.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let hashes: Self = canonical::decode(bytes, 3 + GROUPS_MAX * 34)?;
        require(!hashes.0.is_empty(), "a fragment has at least one group")?;
        require(hashes.0.len() <= GROUPS_MAX, "more groups than a fragment can have")?;
        Ok(hashes)
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// The number of groups.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The hash of the fragment.
    pub fn root(&self) -> FragmentRoot {
        match &self.0[..] {
            [only] => *only,
            several => {
                let (left, right) = halves(several);
                let root = merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash);
                FragmentRoot(*root.as_bytes())
            }
        }
    }

    /// Whether these are the groups of the fragment with this root and length.
    pub fn verify(&self, root: &FragmentRoot, fragment_len: u64) -> bool {
        self.0.len() as u64 == fragment_len.div_ceil(GROUP_LEN).max(1) && self.root() == *root
    }

    /// Whether `group` is the group at `index`. A group of another length is not.
    pub fn check_group(&self, index: usize, group: &[u8]) -> bool {
        let Some(expected) = self.0.get(index) else { return false };
        if self.0.len() == 1 {
            return FragmentRoot::of(group) == *expected;
        }
        (1..=GROUP_LEN as usize).contains(&group.len()) && chaining_value(index, group) == *expected
    }
}

/// Of a group with 1 to [`GROUP_LEN`] bytes in a fragment of several groups.
fn chaining_value(index: usize, group: &[u8]) -> FragmentRoot {
    let mut hasher = Hasher::new();
    hasher.set_input_offset(index as u64 * GROUP_LEN).update(group);
    FragmentRoot(hasher.finalize_non_root())
}

/// The value of the subtree over at least one group.
fn subtree(groups: &[FragmentRoot]) -> [u8; 32] {
    match groups {
        [only] => only.0,
        several => {
            let (left, right) = halves(several);
            merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
        }
    }
}

/// The left subtree is complete: the largest power of two below the number of groups, which is
/// at least two.
fn halves(groups: &[FragmentRoot]) -> (&[FragmentRoot], &[FragmentRoot]) {
    groups.split_at(groups.len().div_ceil(2).next_power_of_two())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fragment(length: usize) -> Vec<u8> {
        (0..length).map(|place| (place * 7 + place / 251) as u8).collect()
    }

    fn check(length: usize) {
        let fragment = fragment(length);
        let hashes = GroupHashes::of(&fragment);
        let root = FragmentRoot(*blake3::hash(&fragment).as_bytes());
        assert_eq!(hashes.root(), root, "{length}");
        assert!(hashes.verify(&root, length as u64), "{length}");
        for (index, group) in fragment.chunks(GROUP_LEN as usize).enumerate() {
            assert!(hashes.check_group(index, group), "{length}");
        }
        assert_eq!(GroupHashes::decode(&hashes.encode()), Ok(hashes));
    }

    #[test]
    fn roots_equal_plain_blake3_around_every_border() {
        let borders = (0..=100).map(|chunks| chunks * 1024).chain([258 * 16 * 1024]);
        for border in borders {
            (border.max(1) - 1..=border + 1).for_each(check);
        }
        check(0);
    }

    #[test]
    fn groups_prove_their_place_and_length() {
        let fragment = fragment(3 * GROUP_LEN as usize + 100);
        let hashes = GroupHashes::of(&fragment);
        let (first, rest) = fragment.split_at(GROUP_LEN as usize);
        assert!(!hashes.check_group(1, first));
        assert!(!hashes.check_group(0, &first[1..]));
        assert!(!hashes.check_group(0, &[]));
        assert!(!hashes.check_group(0, &fragment));
        assert!(!hashes.check_group(4, &rest[..10]));
        assert!(!hashes.verify(&hashes.root(), 4 * GROUP_LEN + 1));
        assert!(!hashes.verify(&FragmentRoot([0; 32]), fragment.len() as u64));
        // a chaining value of the first group is not the root of a fragment of that group only
        assert_ne!(hashes.0[0], FragmentRoot::of(first));
    }

    #[test]
    fn decoding_limits_the_number_of_groups() {
        let hashes = |count| GroupHashes(vec![FragmentRoot([7; 32]); count]);
        assert!(GroupHashes::decode(&hashes(GROUPS_MAX).encode()).is_ok());
        assert!(GroupHashes::decode(&hashes(GROUPS_MAX + 1).encode()).is_err());
        assert!(GroupHashes::decode(&hashes(0).encode()).is_err());
    }

    proptest! {
        #[test]
        fn a_changed_byte_shows_in_its_group_only(
            length in 1usize..200_000,
            place in any::<prop::sample::Index>(),
        ) {
            let whole = fragment(length);
            let hashes = GroupHashes::of(&whole);
            let mut changed = whole.clone();
            let place = place.index(length);
            changed[place] ^= 1;
            for (index, group) in changed.chunks(GROUP_LEN as usize).enumerate() {
                prop_assert_eq!(hashes.check_group(index, group), index != place / GROUP_LEN as usize);
            }
        }
    }
}
