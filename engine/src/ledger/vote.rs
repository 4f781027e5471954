//! Votes of validators on one block, and proposals: what agreement signs.

use ed25519_dalek::SigningKey;
use minicbor::{Decode, Encode};

use super::log::Digest32;
use crate::names::{NetworkId, NodeId};
use crate::signature::{Signature, node_id};

const VOTE_LABEL: &str = "vote";
const PROPOSAL_LABEL: &str = "proposal";

/// The two votes of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum VoteKind {
    /// The proposal is acceptable.
    #[n(1)]
    Prevote,
    /// More than two thirds found it acceptable: decide on it.
    #[n(2)]
    Precommit,
}

/// What a validator thinks of a round.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Vote {
    /// Which vote.
    #[n(0)]
    pub kind: VoteKind,
    /// The height.
    #[n(1)]
    pub height: u64,
    /// The round.
    #[n(2)]
    pub round: u32,
    /// The hash of the header voted for; none for "not in this round".
    #[cbor(n(3), with = "minicbor::bytes")]
    pub value: Option<Digest32>,
    /// Who votes.
    #[n(4)]
    pub validator: NodeId,
}

/// A vote and its signature.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SignedVote {
    /// The vote.
    #[n(0)]
    pub vote: Vote,
    /// By the validator.
    #[n(1)]
    pub signature: Signature,
}

impl Vote {
    /// Signs the vote with its validator's key.
    pub fn sign(self, network: &NetworkId, key: &SigningKey) -> SignedVote {
        let signature = self.over(network, |parts| Signature::sign(key, VOTE_LABEL, parts));
        SignedVote { vote: self, signature }
    }

    fn over<T>(&self, network: &NetworkId, act: impl FnOnce(&[&[u8]]) -> T) -> T {
        let value: &[u8] = self.value.as_ref().map_or(&[], |value| value);
        act(&[
            network.as_bytes(),
            &[self.kind as u8 + 1],
            &self.height.to_be_bytes(),
            &u64::from(self.round).to_be_bytes(),
            value,
        ])
    }
}

impl SignedVote {
    /// Whether the validator voted so in `network`.
    pub fn verifies(&self, network: &NetworkId) -> bool {
        let validator = &self.vote.validator.0;
        self.vote.over(network, |parts| self.signature.verifies(validator, VOTE_LABEL, parts))
    }
}

/// A proposer's signature over the header that it puts forward in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct ProposalSignature(#[n(0)] pub Signature);

impl ProposalSignature {
    /// Signs for a height, round, earlier round of a polka, and header hash.
    pub fn sign(
        network: &NetworkId,
        key: &SigningKey,
        height: u64,
        round: u32,
        pol_round: Option<u32>,
        value: &Digest32,
    ) -> Self {
        let parts = proposal_parts(height, round, pol_round);
        Self(Signature::sign(
            key,
            PROPOSAL_LABEL,
            &[network.as_bytes(), &parts[0], &parts[1], &parts[2], value],
        ))
    }

    /// Whether `proposer` signed so.
    pub fn verifies(
        &self,
        network: &NetworkId,
        proposer: &NodeId,
        height: u64,
        round: u32,
        pol_round: Option<u32>,
        value: &Digest32,
    ) -> bool {
        let parts = proposal_parts(height, round, pol_round);
        self.0.verifies(
            &proposer.0,
            PROPOSAL_LABEL,
            &[network.as_bytes(), &parts[0], &parts[1], &parts[2], value],
        )
    }
}

fn proposal_parts(height: u64, round: u32, pol_round: Option<u32>) -> [[u8; 8]; 3] {
    let pol_round = pol_round.map_or(-1, i64::from);
    [height.to_be_bytes(), u64::from(round).to_be_bytes(), pol_round.to_be_bytes()]
}
