//! What the rows of a renewed sharing commit to.

use std::collections::BTreeSet;

use minicbor::{Decode, Decoder, Encode, decode};

use crate::names::Slot;

/// The pairs of slots whose symbols are committed after a renewal: those of slots that both
/// vouched, and for the same symbol (`engine/spec/keyshare.md` §9.5).
///
/// Read parts are never covered: only their own slot could vouch for them. Encoded as
/// `[vouched, disputed]`, both ascending, a disputed pair as `[smaller, greater]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode)]
pub struct Coverage {
    #[n(0)]
    vouched: BTreeSet<Slot>,
    #[n(1)]
    disputed: BTreeSet<(Slot, Slot)>,
}

impl Coverage {
    /// Covers the pairs of slots in `vouched` that are not `disputed`, the smaller slot first.
    pub(super) fn new(vouched: BTreeSet<Slot>, disputed: BTreeSet<(Slot, Slot)>) -> Self {
        Self { vouched, disputed }
    }

    /// Whether the pair symbol of the two slots is committed.
    pub fn covers(&self, one: Slot, other: Slot) -> bool {
        let pair = (one.min(other), one.max(other));
        self.vouched.contains(&one)
            && self.vouched.contains(&other)
            && !self.disputed.contains(&pair)
    }

    /// The slots that vouched for their symbols; the others were absent.
    pub fn vouched(&self) -> &BTreeSet<Slot> {
        &self.vouched
    }

    /// Pairs of slots that vouched for different symbols: one of the two lies.
    pub fn disputed(&self) -> &BTreeSet<(Slot, Slot)> {
        &self.disputed
    }
}

impl<'b, C> Decode<'b, C> for Coverage {
    fn decode(decoder: &mut Decoder<'b>, context: &mut C) -> Result<Self, decode::Error> {
        let (vouched, disputed): (BTreeSet<Slot>, BTreeSet<(Slot, Slot)>) =
            Decode::decode(decoder, context)?;
        let possible = |&(low, high): &(Slot, Slot)| {
            low < high && vouched.contains(&low) && vouched.contains(&high)
        };
        if disputed.iter().all(possible) {
            Ok(Self { vouched, disputed })
        } else {
            Err(decode::Error::message("a dispute is between two slots that vouched"))
        }
    }
}
