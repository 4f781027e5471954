//! What validators tell each other, and its translation to and from the core's types.

use std::sync::Arc;

use arc_malachitebft_core_types as malachite;
use malachite::Round;
use minicbor::{Decode, Encode};

use super::context::{
    Address, Context, CoreVote, Height, Id, Proposal, Signed, Value, round_number,
};
use super::outline::{Outline, Want};
use crate::ledger::block::{BLOCK_LEN_MAX, Block};
use crate::ledger::certificate::Commit;
use crate::ledger::log::Digest32;
use crate::ledger::vote::{SignedProposal, SignedVote};
use crate::wire::canonical::{self, CanonicalError};

/// Longest message, in bytes: a block, or two votes of each of 64 validators, with their framing.
pub const MESSAGE_LEN_MAX: usize = BLOCK_LEN_MAX + 4096;
/// Most signatures in a certificate of a message: one of each validator, or a prevote and a
/// precommit.
const SIGNATURES_MAX: usize = 128;

/// A message between validators. Everything in it proves who said it, but for a [`Want`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Message {
    /// A block is put forward.
    #[n(0)]
    Proposal(#[n(0)] ProposedBlock),
    /// A vote.
    #[n(1)]
    Vote(#[n(0)] SignedVote),
    /// More than two thirds prevoted for one block: others may catch up on it.
    #[n(2)]
    Polka(#[n(0)] Polka),
    /// The votes that lead to a later round.
    #[n(3)]
    Round(#[n(0)] RoundVotes),
    /// A block is put forward, in outline; from rules version 3 on.
    #[n(4)]
    Outline(#[n(0)] Outline),
    /// A block that came in outline is asked for, of its proposer.
    #[n(5)]
    Want(#[n(0)] Want),
}

/// A proposal with the block that it names.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ProposedBlock {
    /// What the proposer of the round signed.
    #[n(0)]
    pub proposal: SignedProposal,
    /// The block, not always of the proposer's own making.
    #[cbor(n(1), with = "shared_block")]
    pub block: Arc<Block>,
}

/// Prevotes of more than two thirds for one block.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Polka {
    /// The height.
    #[n(0)]
    pub height: u64,
    /// The round.
    #[n(1)]
    pub round: u32,
    /// The hash of the block's header.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub value: Digest32,
    /// The signatures of the prevotes.
    #[n(3)]
    pub signatures: Vec<Commit>,
}

/// Votes of one round that justify entering it, or the next.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RoundVotes {
    /// The height.
    #[n(0)]
    pub height: u64,
    /// The round of the votes.
    #[n(1)]
    pub round: u32,
    /// Votes of more than one third that are in the round already; else precommits of more than
    /// two thirds that end it.
    #[n(2)]
    pub skip: bool,
    /// The votes.
    #[n(3)]
    pub votes: Vec<SignedVote>,
}

impl Message {
    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// Reads the canonical bytes, at most [`MESSAGE_LEN_MAX`] of them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CanonicalError> {
        canonical::decode(bytes, MESSAGE_LEN_MAX)
    }

    /// The height it is about.
    pub fn height(&self) -> u64 {
        match self {
            Self::Proposal(proposed) => proposed.proposal.height,
            Self::Vote(vote) => vote.vote.height,
            Self::Polka(polka) => polka.height,
            Self::Round(round) => round.height,
            Self::Outline(outline) => outline.proposal.height,
            Self::Want(want) => want.height,
        }
    }
}

impl ProposedBlock {
    /// Whether the proposal names this block.
    pub fn is_consistent(&self) -> bool {
        let header = &self.block.header;
        header.height == self.proposal.height && header.hash() == self.proposal.value
    }

    /// The core's form of a consistent one.
    pub(super) fn to_core(&self) -> Signed<Proposal> {
        let SignedProposal { height, round, pol_round, value, validator, signature } =
            self.proposal;
        let proposal = Proposal {
            height: Height(height),
            round: Round::new(round),
            pol_round: Round::from(pol_round),
            value: Value { id: Id(value), block: Arc::clone(&self.block) },
            proposer: Address(validator),
        };
        Signed::new(proposal, signature)
    }

    pub(super) fn from_core(signed: &Signed<Proposal>) -> Self {
        let proposal = proposal_from_core(signed);
        Self { proposal, block: Arc::clone(&signed.message.value.block) }
    }
}

/// What the proposer signed, without the block.
pub(super) fn proposal_from_core(signed: &Signed<Proposal>) -> SignedProposal {
    let Proposal { height, round, pol_round, value, proposer } = &signed.message;
    SignedProposal {
        height: height.0,
        round: round_number(*round),
        pol_round: pol_round.as_u32(),
        value: value.id.0,
        validator: proposer.0,
        signature: signed.signature,
    }
}

/// The core's form of a vote.
pub(super) fn vote_to_core(signed: &SignedVote) -> Signed<CoreVote> {
    Signed::new(CoreVote::from(&signed.vote), signed.signature)
}

/// A vote as the core made it.
pub(super) fn vote_from_core(signed: &Signed<CoreVote>) -> SignedVote {
    SignedVote { vote: signed.message.to_vote(), signature: signed.signature }
}

impl Polka {
    /// The core's form; none if there are more signatures than validators may be.
    pub(super) fn to_core(&self) -> Option<malachite::PolkaCertificate<Context>> {
        (self.signatures.len() <= SIGNATURES_MAX).then(|| malachite::PolkaCertificate {
            height: Height(self.height),
            round: Round::new(self.round),
            value_id: Id(self.value),
            polka_signatures: self
                .signatures
                .iter()
                .map(|one| malachite::PolkaSignature::new(Address(one.validator), one.signature))
                .collect(),
        })
    }

    pub(super) fn from_core(certificate: &malachite::PolkaCertificate<Context>) -> Self {
        Self {
            height: certificate.height.0,
            round: round_number(certificate.round),
            value: certificate.value_id.0,
            signatures: certificate
                .polka_signatures
                .iter()
                .map(|one| Commit { validator: one.address.0, signature: one.signature })
                .collect(),
        }
    }
}

impl RoundVotes {
    /// The core's form; none if there are too many votes, or votes of other rounds.
    pub(super) fn to_core(&self) -> Option<malachite::RoundCertificate<Context>> {
        let here =
            |vote: &SignedVote| (vote.vote.height, vote.vote.round) == (self.height, self.round);
        if self.votes.len() > SIGNATURES_MAX || !self.votes.iter().all(here) {
            return None;
        }
        let cert_type = if self.skip {
            malachite::RoundCertificateType::Skip
        } else {
            malachite::RoundCertificateType::Precommit
        };
        Some(malachite::RoundCertificate::new_from_votes(
            Height(self.height),
            Round::new(self.round),
            cert_type,
            self.votes.iter().map(vote_to_core).collect(),
        ))
    }

    pub(super) fn from_core(certificate: &malachite::RoundCertificate<Context>) -> Self {
        Self {
            height: certificate.height.0,
            round: round_number(certificate.round),
            skip: certificate.cert_type == malachite::RoundCertificateType::Skip,
            votes: certificate.votes(&Context).map(|vote| vote_from_core(&vote)).collect(),
        }
    }
}

/// A block that several own is encoded as the block.
pub(super) mod shared_block {
    use std::sync::Arc;

    use minicbor::encode::{Error, Write};
    use minicbor::{Decode, Decoder, Encode, Encoder};

    use crate::ledger::block::Block;

    pub(in super::super) fn encode<C, W: Write>(
        block: &Arc<Block>,
        encoder: &mut Encoder<W>,
        context: &mut C,
    ) -> Result<(), Error<W::Error>> {
        block.as_ref().encode(encoder, context)
    }

    pub(in super::super) fn decode<C>(
        decoder: &mut Decoder<'_>,
        context: &mut C,
    ) -> Result<Arc<Block>, minicbor::decode::Error> {
        Block::decode(decoder, context).map(Arc::new)
    }
}
