//! The beacon: public randomness that each proposer adds to and nobody chooses.
//!
//! Under version 2 a validator registers the end of a hash chain, its anchor, and with each block it
//! puts together it reveals the link before, which becomes its new anchor. It has one contribution
//! to each block and can only withhold it, together with the block: `engine/spec/ledger.md` says
//! what that is worth.

use std::fmt;

use ed25519_dalek::SigningKey;
use minicbor::{Decode, Decoder, Encode, Encoder};
use zeroize::Zeroizing;

use super::block::Header;
use super::log::Digest32;
use crate::hash::{LabelledHash, derive_key, hash};
use crate::names::{NetworkId, NodeId};
use crate::signature::Signature;

/// Links of a chain: blocks that one registration is good for.
pub const BEACON_LINKS: u32 = 1 << 16;
/// Blocks after which a registered anchor is used: nobody knows the beacon so far ahead, so that
/// none is chosen for what it leads to.
pub const ANCHOR_DELAY_BLOCKS: u64 = 64;
/// Links between two that are kept.
const STRIDE: u32 = 64;

/// The proposer's contribution to the beacon of a block, a byte string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reveal {
    /// Version 2, of a proposer that has no active anchor: empty.
    Nothing,
    /// Version 2: the link whose hash is the proposer's anchor, 32 bytes.
    Link(Digest32),
    /// Version 1: over the network and the beacon before, 64 bytes.
    ///
    /// Ed25519 signing is deterministic (RFC 8032 §5.1.6), but a verifier cannot tell.
    Signature(Signature),
}

impl Reveal {
    /// The contribution of `key` to the block after `previous` under version 1.
    pub(super) fn sign(key: &SigningKey, previous: &Header) -> Self {
        let parts: [&[u8]; 2] = [previous.network.as_bytes(), &previous.beacon];
        Self::Signature(Signature::sign(key, "reveal", &parts))
    }

    /// Whether it is the contribution of `proposer` after `previous` under version 1.
    pub(super) fn is_signed_by(&self, proposer: &NodeId, previous: &Header) -> bool {
        let parts: [&[u8]; 2] = [previous.network.as_bytes(), &previous.beacon];
        matches!(self, Self::Signature(own) if own.verifies(&proposer.0, "reveal", &parts))
    }

    /// Whether it is what a proposer with this active anchor reveals under version 2.
    pub(super) fn opens(&self, anchor: Option<&Anchor>) -> bool {
        match (self, anchor) {
            (Self::Nothing, None) => true,
            (Self::Link(link), Some(anchor)) => Anchor::after(link) == *anchor,
            _ => false,
        }
    }

    /// The beacon after `previous` with this contribution.
    pub(super) fn next_beacon(&self, previous: &Header) -> Digest32 {
        hash("beacon", &[&previous.beacon, self.as_bytes()])
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Nothing => &[],
            Self::Link(link) => link,
            Self::Signature(signature) => &signature.0,
        }
    }
}

impl<C> Encode<C> for Reveal {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.bytes(self.as_bytes())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Reveal {
    fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let bytes = decoder.bytes()?;
        if bytes.is_empty() {
            Ok(Self::Nothing)
        } else if let Ok(link) = bytes.try_into() {
            Ok(Self::Link(link))
        } else if let Ok(signature) = bytes.try_into() {
            Ok(Self::Signature(Signature(signature)))
        } else {
            Err(minicbor::decode::Error::message("a reveal has 0, 32 or 64 bytes"))
        }
    }
}

/// The end of what a validator has revealed of its chain: `H("beacon link"; next reveal)`.
#[derive(Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Anchor(#[cbor(n(0), with = "minicbor::bytes")] pub Digest32);

impl Anchor {
    /// The anchor that `link` opens.
    pub(super) fn after(link: &Digest32) -> Self {
        Self(hash("beacon link", &[link]))
    }
}

impl fmt::Debug for Anchor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        NodeId(self.0).fmt(formatter)
    }
}

/// A validator's own chain, computed from its key: there is nothing else to keep or to lose.
///
/// Links are counted from the far end; every 64th is in memory, 32 KiB, so that finding one costs
/// at most 64 hashes. Making the chain costs [`BEACON_LINKS`].
pub struct BeaconChain {
    kept: Zeroizing<Vec<Digest32>>,
    anchor: Anchor,
}

impl BeaconChain {
    /// The chain of a [`RegisteredAnchor`](super::RegisteredAnchor) with this number.
    pub fn new(network: &NetworkId, key: &SigningKey, number: u32) -> Self {
        match number {
            0 => Self::of_genesis(key),
            _ => Self::of_seed(key, &[network.as_bytes(), &number.to_be_bytes()]),
        }
    }

    /// The chain whose anchor goes into a genesis, which has no name before: a key in the geneses of
    /// two networks would reveal in one what it is going to reveal in the other.
    pub fn of_genesis(key: &SigningKey) -> Self {
        Self::of_seed(key, &[])
    }

    fn of_seed(key: &SigningKey, parts: &[&[u8]]) -> Self {
        let secret = Zeroizing::new(key.to_bytes());
        let mut link = *derive_key(secret.as_slice(), "beacon chain", parts);
        let step = LabelledHash::new("beacon link");
        let mut kept = Zeroizing::new(Vec::with_capacity((BEACON_LINKS / STRIDE) as usize));
        for place in 0..BEACON_LINKS {
            if place % STRIDE == 0 {
                kept.push(link);
            }
            link = step.hash(&[&link]);
        }
        Self { kept, anchor: Anchor(link) }
    }

    /// What is registered.
    pub fn anchor(&self) -> Anchor {
        self.anchor
    }

    /// The next reveal of a validator that revealed `revealed` links of this chain and has this
    /// anchor now. None if the anchor is another chain's, or the chain is used up.
    pub fn link(&self, revealed: u32, anchor: &Anchor) -> Option<Digest32> {
        let place = BEACON_LINKS.checked_sub(revealed)?.checked_sub(1)?;
        let step = LabelledHash::new("beacon link");
        let mut link = self.kept[(place / STRIDE) as usize];
        for _ in 0..place % STRIDE {
            link = step.hash(&[&link]);
        }
        (Anchor::after(&link) == *anchor).then_some(link)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_link_opens_the_anchor_before_it_until_none_is_left() {
        let (network, key) = (NetworkId([3; 32]), SigningKey::from_bytes(&[1; 32]));
        let chain = BeaconChain::new(&network, &key, 0);
        let mut anchor = chain.anchor();
        for revealed in 0..600 {
            let link = chain.link(revealed, &anchor).expect("not used up");
            assert!(Reveal::Link(link).opens(Some(&anchor)));
            anchor = Anchor(link);
        }
        assert_eq!(chain.link(600, &chain.anchor()), None);
        let last = Anchor::after(&chain.kept[0]);
        assert_eq!(chain.link(BEACON_LINKS - 1, &last), Some(chain.kept[0]));
        assert_eq!(chain.link(BEACON_LINKS, &Anchor(chain.kept[0])), None);
        assert_eq!(chain.link(u32::MAX, &last), None);
    }

    #[test]
    fn chains_of_other_networks_keys_and_numbers_share_nothing() {
        let anchor = |network: u8, key: u8, number| {
            let key = SigningKey::from_bytes(&[key; 32]);
            BeaconChain::new(&NetworkId([network; 32]), &key, number).anchor().0
        };
        let anchors = [(1, 1, 0), (1, 2, 0), (1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2)]
            .map(|(network, key, number)| anchor(network, key, number));
        assert_eq!(BTreeSet::from(anchors).len(), anchors.len());
        assert_eq!(
            BeaconChain::of_genesis(&SigningKey::from_bytes(&[1; 32])).anchor().0,
            anchors[0]
        );
    }
}
