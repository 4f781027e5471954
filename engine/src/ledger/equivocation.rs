//! Proof that a validator said two things where it may say one.

use minicbor::{Decode, Encode};

use super::vote::{SignedProposal, SignedVote};
use crate::names::{NetworkId, NodeId};

/// Two signed statements of one validator that contradict each other. An honest validator never
/// makes them, whatever crashes; it leaves the set with the entry that shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Equivocation {
    /// Two votes of one kind in one round.
    #[n(1)]
    Votes(#[n(0)] SignedVote, #[n(1)] SignedVote),
    /// Two proposals in one round.
    #[n(2)]
    Proposals(#[n(0)] SignedProposal, #[n(1)] SignedProposal),
}

impl Equivocation {
    /// Who said both; none if they do not contradict each other.
    pub fn guilty(&self) -> Option<NodeId> {
        match self {
            Self::Votes(one, other) => {
                one.vote.contradicts(&other.vote).then_some(one.vote.validator)
            }
            Self::Proposals(one, other) => one.contradicts(other).then_some(one.validator),
        }
    }

    /// The height that both are about.
    pub fn height(&self) -> u64 {
        match self {
            Self::Votes(one, _) => one.vote.height,
            Self::Proposals(one, _) => one.height,
        }
    }

    /// Whether the validators they name signed both in `network`.
    pub fn verifies(&self, network: &NetworkId) -> bool {
        match self {
            Self::Votes(one, other) => one.verifies(network) && other.verifies(network),
            Self::Proposals(one, other) => one.verifies(network) && other.verifies(network),
        }
    }
}
