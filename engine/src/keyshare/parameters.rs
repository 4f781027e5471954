//! What a sharing is dealt for.

use minicbor::{Decode, Decoder, Encode, decode};
use thiserror::Error;

use super::coverage::Coverage;
use crate::names::{Epoch, Slot};

/// Bytes of V, and of every symbol of the code: one field element a byte of V.
pub const SECRET_LEN: usize = 32;

/// (n, k, d): slots, read threshold and helpers of a repair; valid by construction.
///
/// `2 <= k`, `d` is `k` or `k + 1`, and `d < n`. A larger d makes symbols shorter than 32 bytes,
/// and a hash commitment to a short symbol is inverted by guessing (`engine/spec/keyshare.md` §1).
/// With `d = k + 1`, the default, one symbol may become public without any leak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode)]
pub struct KeyParameters {
    #[n(0)]
    n: u8,
    #[n(1)]
    k: u8,
    #[n(2)]
    d: u8,
}

/// Not parameters of KS1.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("(n, k, d) = ({n}, {k}, {d}): k must be at least 2, d must be k or k + 1, and n above d")]
pub struct InvalidParameters {
    n: u8,
    k: u8,
    d: u8,
}

impl KeyParameters {
    /// Parameters for `n` slots of which `k` read and `d` repair.
    pub const fn new(n: u8, k: u8, d: u8) -> Result<Self, InvalidParameters> {
        if k >= 2 && d < n && d >= k && d - k <= 1 {
            Ok(Self { n, k, d })
        } else {
            Err(InvalidParameters { n, k, d })
        }
    }

    /// Slots: nodes that hold a share.
    pub const fn n(self) -> u8 {
        self.n
    }

    /// Read threshold: fewer shares than this tell nothing about V.
    pub const fn k(self) -> u8 {
        self.k
    }

    /// Helpers that a repair needs.
    pub const fn d(self) -> u8 {
        self.d
    }

    /// Bytes of one share.
    pub const fn share_len(self) -> usize {
        SECRET_LEN * self.d as usize
    }

    /// Whether there is a spare coordinate beside V: d = k + 1.
    pub(super) const fn has_spare(self) -> bool {
        self.d > self.k
    }

    /// n, k, d, as commitments hash them.
    pub(super) const fn to_bytes(self) -> [u8; 3] {
        [self.n, self.k, self.d]
    }

    /// The slots of the group.
    pub fn slots(self) -> impl DoubleEndedIterator<Item = Slot> + ExactSizeIterator + Clone {
        Slot::all(self.n)
    }

    /// Whether `slot` is one of 1..=n.
    pub fn contains(self, slot: Slot) -> bool {
        slot.point() <= self.n
    }
}

impl<'b, C> Decode<'b, C> for KeyParameters {
    fn decode(decoder: &mut Decoder<'b>, context: &mut C) -> Result<Self, decode::Error> {
        let (n, k, d) = Decode::decode(decoder, context)?;
        Self::new(n, k, d).map_err(decode::Error::message)
    }
}

/// What every commitment of one sharing binds: no value can be shown for another object or epoch.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    /// The parameters that V was dealt with.
    pub parameters: KeyParameters,
    /// The object's random salt. (The object's name hashes the rows, so it cannot be in them.)
    pub salt: &'a [u8; 32],
    /// The epoch of the shares.
    pub epoch: Epoch,
    /// What the rows cover: `None` for everything, as its writer dealt it.
    pub coverage: Option<&'a Coverage>,
}

impl Binding<'_> {
    /// Whether the pair symbol of the two slots is committed.
    pub fn covers(&self, one: Slot, other: Slot) -> bool {
        self.coverage.is_none_or(|coverage| coverage.covers(one, other))
    }

    /// Whether enough of a slot's pair symbols are committed to tell its share from any other: at
    /// least d. Not so of a slot that was absent from the last renewal.
    pub fn commits_to(&self, slot: Slot) -> bool {
        let others = self.parameters.slots().filter(|other| *other != slot);
        let covered = others.filter(|other| self.covers(slot, *other)).count();
        covered >= usize::from(self.parameters.d())
    }
}
