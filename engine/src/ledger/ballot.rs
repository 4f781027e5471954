//! What validators decide together. Each of these entries by a validator is its vote for exactly
//! that content; it takes effect with the vote that makes them more than two thirds of the power.

use minicbor::{Decode, Encode};

use super::beacon::Anchor;
use super::entry::Body;
use super::genesis::ValidatorSet;
use super::log::Digest32;
use super::optional_digest;
use crate::hash::hash;
use crate::names::NodeId;
use crate::wire::canonical;

/// Names what is voted on: `H("ballot"; kind, content)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Ballot(#[cbor(n(0), with = "minicbor::bytes")] Digest32);

impl Ballot {
    /// What an entry is a vote for; `None` if it is no vote.
    pub fn of(body: &Body) -> Option<Self> {
        let kind = body.kind();
        match body {
            Body::ValidatorChange(change) => Some(Self::new(kind, change)),
            Body::Upgrade(upgrade) => Some(Self::new(kind, upgrade)),
            Body::RetentionFloor(floor) => Some(Self::new(kind, floor)),
            Body::NodeLost(lost) => Some(Self::new(kind, lost)),
            _ => None,
        }
    }

    pub(super) fn new(kind: u16, content: &impl Encode<()>) -> Self {
        Self(hash("ballot", &[&kind.to_be_bytes(), &canonical::encode(content)]))
    }
}

/// Another validator set.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ValidatorChange {
    /// The set, from the next block on.
    #[n(0)]
    pub validators: ValidatorSet,
    /// [`ValidatorSet::hash`] of the set that it replaces: once another holds, this vote is void.
    #[cbor(n(1), with = "optional_digest", has_nil)]
    pub from: Option<Digest32>,
}

/// The rules of another version, from the next block on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Upgrade {
    /// Larger than the version that holds.
    #[n(0)]
    pub version: u32,
}

/// Bodies of blocks below a height need no longer be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RetentionFloor {
    /// Above the floor that holds, and not above the head.
    #[n(0)]
    pub height: u64,
}

/// A machine is lost: it is retired, and all its slots are drawn anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NodeLost {
    /// The machine.
    #[n(0)]
    pub node: NodeId,
    /// Its generation: once it came back with another, this vote is void.
    #[n(1)]
    pub generation: u64,
    /// [`State::exclusions`](super::State::exclusions) as the voter knows it: once there are more,
    /// this vote is void, so that no two machines are given up without those who decide on the second
    /// knowing of the first. None before version 8 of the rules.
    #[n(2)]
    pub exclusions: Option<u64>,
}

/// What a validator, or one to be, says of itself. No vote: it takes effect at once.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ValidatorUpdate {
    /// Where it answers other validators; at most [`ADDRESS_LEN_MAX`](super::ADDRESS_LEN_MAX) bytes.
    #[n(0)]
    pub address: String,
    /// A new anchor, used [`ANCHOR_DELAY_BLOCKS`](super::ANCHOR_DELAY_BLOCKS) later; none keeps what
    /// is registered.
    #[n(1)]
    pub anchor: Option<Anchor>,
}
