//! What validators sign to agree on a block: votes and proposals of one height and round.
//!
//! A precommit's signature is also the commit of a [`Certificate`](super::Certificate), so that
//! agreement leaves nothing else to be signed. Two of them that contradict each other are an
//! [`Equivocation`](super::Equivocation).

use ed25519_dalek::SigningKey;
use minicbor::{Decode, Encode};

use super::log::Digest32;
use super::optional_digest;
use crate::names::{NetworkId, NodeId};
use crate::signature::{Signature, node_id};

/// Which of the two votes of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum VoteKind {
    /// "I would accept this."
    #[n(1)]
    Prevote = 1,
    /// "I saw that > 2/3 would": with > 2/3 of these the block is final.
    #[n(2)]
    Precommit = 2,
}

/// A validator's vote in one round of one height.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Vote {
    /// Which vote.
    #[n(0)]
    pub kind: VoteKind,
    /// The height of the block to be decided.
    #[n(1)]
    pub height: u64,
    /// From 0.
    #[n(2)]
    pub round: u32,
    /// The hash of the header voted for; none to let the round pass.
    #[cbor(n(3), with = "optional_digest", has_nil)]
    pub value: Option<Digest32>,
    /// Who votes.
    #[n(4)]
    pub validator: NodeId,
}

/// A vote with its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SignedVote {
    /// The vote.
    #[n(0)]
    pub vote: Vote,
    /// By the validator, over the network and the vote.
    #[n(1)]
    pub signature: Signature,
}

impl Vote {
    /// Signs the vote with its validator's key.
    pub fn sign(self, network: &NetworkId, key: &SigningKey) -> SignedVote {
        let signature = self.over(network, |parts| Signature::sign(key, "vote", parts));
        SignedVote { vote: self, signature }
    }

    /// Whether both are votes of one validator, in one place, for different values.
    pub fn contradicts(&self, other: &Self) -> bool {
        Self { value: None, ..*self } == Self { value: None, ..*other } && self.value != other.value
    }

    fn over<T>(&self, network: &NetworkId, act: impl FnOnce(&[&[u8]]) -> T) -> T {
        let value = self.value.as_ref().map_or(&[][..], |hash| hash);
        act(&[
            network.as_bytes(),
            &[self.kind as u8],
            &self.height.to_be_bytes(),
            &u64::from(self.round).to_be_bytes(),
            value,
        ])
    }
}

impl SignedVote {
    /// Whether the validator voted so in `network`.
    pub fn verifies(&self, network: &NetworkId) -> bool {
        let public = &self.vote.validator.0;
        self.vote.over(network, |parts| self.signature.verifies(public, "vote", parts))
    }
}

/// A validator's proposal of a block in one round of one height.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SignedProposal {
    /// The height of the block.
    #[n(0)]
    pub height: u64,
    /// From 0.
    #[n(1)]
    pub round: u32,
    /// The earlier round in which > 2/3 prevoted this value; none if it is new.
    #[n(2)]
    pub pol_round: Option<u32>,
    /// The hash of the proposed header.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub value: Digest32,
    /// Who proposes: not who put the block together, if it was proposed before.
    #[n(4)]
    pub validator: NodeId,
    /// By the validator, over the network and the above.
    #[n(5)]
    pub signature: Signature,
}

impl SignedProposal {
    /// Proposes the header with hash `value`.
    pub fn sign(
        network: &NetworkId,
        height: u64,
        round: u32,
        pol_round: Option<u32>,
        value: Digest32,
        key: &SigningKey,
    ) -> Self {
        let validator = node_id(key);
        let signature = Signature([0; 64]);
        let mut proposal = Self { height, round, pol_round, value, validator, signature };
        proposal.signature =
            proposal.over(network, |parts| Signature::sign(key, "proposal", parts));
        proposal
    }

    /// Whether the validator proposed so in `network`.
    pub fn verifies(&self, network: &NetworkId) -> bool {
        let public = &self.validator.0;
        self.over(network, |parts| self.signature.verifies(public, "proposal", parts))
    }

    /// Whether both are proposals of one validator, in one round, for different things.
    pub fn contradicts(&self, other: &Self) -> bool {
        let place = |proposal: &Self| (proposal.validator, proposal.height, proposal.round);
        let content = |proposal: &Self| (proposal.value, proposal.pol_round);
        place(self) == place(other) && content(self) != content(other)
    }

    fn over<T>(&self, network: &NetworkId, act: impl FnOnce(&[&[u8]]) -> T) -> T {
        act(&[
            network.as_bytes(),
            &self.height.to_be_bytes(),
            &u64::from(self.round).to_be_bytes(),
            &self.pol_round.map_or(-1, i64::from).to_be_bytes(),
            &self.value,
        ])
    }
}
