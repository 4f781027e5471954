//! Names of subtrees of the state.

use minicbor::{Decode, Decoder, Encode, Encoder};

use crate::ledger::log::Digest32;
use crate::ledger::map::{DEPTH_MAX, bit};

/// The leading bits that places of the state have in common: the name of a subtree.
///
/// Ordered by place, a subtree before those inside it. Encoded as the number of bits and the 32
/// bytes of the first place, whose other bits are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    first: Digest32,
    depth: u16,
}

impl Prefix {
    /// The whole tree.
    pub const ROOT: Self = Self { first: [0; 32], depth: 0 };

    /// The first `depth` bits of a place; `depth` is at most 256.
    pub(super) fn of(place: &Digest32, depth: usize) -> Self {
        let mut first = *place;
        first[depth.div_ceil(8)..].fill(0);
        if !depth.is_multiple_of(8) {
            first[depth / 8] &= 0xff << (8 - depth % 8);
        }
        Self { first, depth: depth as u16 }
    }

    /// Bits.
    pub fn depth(&self) -> usize {
        self.depth.into()
    }

    /// Bit `depth`, from 0.
    pub(super) fn bit(&self, depth: usize) -> bool {
        bit(&self.first, depth)
    }

    /// Whether a subtree lies in this one or is it.
    pub fn contains(&self, other: &Self) -> bool {
        other.depth >= self.depth && Self::of(&other.first, self.depth()) == *self
    }

    /// The subtree that has one bit more; this one has less than 256.
    pub(super) fn child(&self, right: bool) -> Self {
        let mut child = Self { depth: self.depth + 1, ..*self };
        if right {
            child.first[self.depth() / 8] |= 0x80 >> (self.depth() % 8);
        }
        child
    }

    /// The subtree beside the one above this one with `depth` + 1 bits.
    pub(super) fn beside(&self, depth: usize) -> Self {
        Self::of(&self.first, depth).child(!self.bit(depth))
    }
}

impl<C> Encode<C> for Prefix {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.array(2)?.u16(self.depth)?.bytes(&self.first)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Prefix {
    fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let refused = minicbor::decode::Error::message;
        if decoder.array()? != Some(2) {
            return Err(refused("a prefix is an array of two"));
        }
        let depth = usize::from(decoder.u16()?);
        let first: Digest32 =
            decoder.bytes()?.try_into().map_err(|_| refused("a place has 32 bytes"))?;
        if depth > DEPTH_MAX {
            return Err(refused("a prefix has at most 256 bits"));
        }
        let prefix = Self::of(&first, depth);
        if prefix.first == first { Ok(prefix) } else { Err(refused("bits beyond a prefix")) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::canonical;

    proptest! {
        #[test]
        fn a_prefix_is_its_bits(
            place in any::<[u8; 32]>(), other in any::<[u8; 32]>(), depth in 0usize..=256,
            agreeing in 0usize..=256,
        ) {
            let prefix = Prefix::of(&place, depth);
            prop_assert!((0..depth).all(|at| prefix.bit(at) == bit(&place, at)));
            prop_assert!((depth..256).all(|at| !prefix.bit(at)));
            let bytes = canonical::encode(&prefix);
            prop_assert_eq!(canonical::decode::<Prefix>(&bytes, 64), Ok(prefix));

            let mut mixed = Prefix::of(&place, agreeing).first;
            let tail = (agreeing..256).filter(|at| bit(&other, *at));
            tail.for_each(|at| mixed[at / 8] |= 0x80 >> (at % 8));
            let inside = (0..depth).all(|at| bit(&mixed, at) == bit(&place, at));
            prop_assert_eq!(prefix.contains(&Prefix::of(&mixed, 256)), inside);
            prop_assert!(Prefix::ROOT.contains(&prefix));
        }

        #[test]
        fn children_and_neighbours_share_no_place(place in any::<[u8; 32]>(), depth in 0usize..256) {
            let prefix = Prefix::of(&place, depth);
            let (left, right) = (prefix.child(false), prefix.child(true));
            prop_assert!(prefix.contains(&left) && prefix.contains(&right) && prefix < right);
            prop_assert!(!left.contains(&right) && !right.contains(&left));
            let own = Prefix::of(&place, depth + 1);
            prop_assert_eq!(own.beside(depth), if own == left { right } else { left });
        }
    }

    #[test]
    fn bits_beyond_a_prefix_are_refused() {
        let mut bytes = canonical::encode(&Prefix::ROOT.child(true));
        assert!(canonical::decode::<Prefix>(&bytes, 64).is_ok());
        *bytes.last_mut().expect("a place") = 1;
        assert!(canonical::decode::<Prefix>(&bytes, 64).is_err());
        let deep = [&[0x82, 0x19, 1, 1, 0x58, 32][..], &[0; 32]].concat();
        assert!(canonical::decode::<Prefix>(&deep, 64).is_err());
    }
}
