//! Certificates: the signatures that make a block final.

use std::collections::BTreeSet;

use ed25519_dalek::SigningKey;
use minicbor::{Decode, Decoder, Encode, Encoder};

use super::block::Header;
use super::genesis::ValidatorSet;
use super::vote::{SignedVote, Vote, VoteKind};
use crate::names::NodeId;
use crate::signature::{Signature, node_id};

/// Longest certificate, in bytes: 64 signatures with their names.
pub(super) const CERTIFICATE_LEN_MAX: usize = 8192;

/// The signatures that make a block final, ordered by signer.
///
/// Encoded as `[commit…]` without a round and as `[round, [commit…]]` with one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// The round whose precommits these are; none in version 1, which has no rounds.
    pub round: Option<u32>,
    /// Ascending by validator.
    pub commits: Vec<Commit>,
}

/// One validator's signature over a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Commit {
    /// The validator.
    #[n(0)]
    pub validator: NodeId,
    /// Over the network and the header's hash in version 1, that of the precommit from version 2 on.
    #[n(1)]
    pub signature: Signature,
}

impl Commit {
    /// Signs a header under version 1. A validator signs one header a height, ever.
    pub fn sign(header: &Header, key: &SigningKey) -> Self {
        let parts: [&[u8]; 2] = [header.network.as_bytes(), &header.hash()];
        Self { validator: node_id(key), signature: Signature::sign(key, "commit", &parts) }
    }
}

impl Certificate {
    /// The certificate of a set of one under version 1.
    pub fn solo(header: &Header, key: &SigningKey) -> Self {
        Self { round: None, commits: vec![Commit::sign(header, key)] }
    }

    /// The certificate that the precommits of one round for one header make, in any order.
    pub fn of_precommits(round: u32, precommits: Vec<SignedVote>) -> Self {
        let commit =
            |SignedVote { vote, signature }| Commit { validator: vote.validator, signature };
        Self::of_round(round, precommits.into_iter().map(commit))
    }

    /// The same of what is left of the precommits.
    pub(super) fn of_round(round: u32, commits: impl IntoIterator<Item = Commit>) -> Self {
        let mut commits: Vec<Commit> = commits.into_iter().collect();
        commits.sort_unstable_by_key(|commit| commit.validator);
        Self { round: Some(round), commits }
    }

    /// Who signed, if the certificate is valid.
    pub fn signers(&self) -> BTreeSet<NodeId> {
        self.commits.iter().map(|commit| commit.validator).collect()
    }

    /// Whether more than two thirds of `validators` by power signed `header`, each once and in
    /// order, and nobody else did.
    pub fn certifies(&self, header: &Header, validators: &ValidatorSet) -> bool {
        let ordered = self.commits.windows(2).all(|pair| pair[0].validator < pair[1].validator);
        let members = self.commits.iter().all(|commit| validators.contains(&commit.validator));
        ordered && members && validators.decides(&self.signers()) && self.is_genuine(header)
    }

    fn is_genuine(&self, header: &Header) -> bool {
        let hash = header.hash();
        let parts: [&[u8]; 2] = [header.network.as_bytes(), &hash];
        self.commits.iter().all(|Commit { validator, signature }| match self.round {
            None => signature.verifies(&validator.0, "commit", &parts),
            Some(round) => {
                let vote = Vote {
                    kind: VoteKind::Precommit,
                    height: header.height,
                    round,
                    value: Some(hash),
                    validator: *validator,
                };
                SignedVote { vote, signature: *signature }.verifies(&header.network)
            }
        })
    }
}

impl<C> Encode<C> for Certificate {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut Encoder<W>,
        context: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        if let Some(round) = self.round {
            encoder.array(2)?.u32(round)?;
        }
        self.commits.encode(encoder, context)
    }
}

impl<'b, C> Decode<'b, C> for Certificate {
    fn decode(decoder: &mut Decoder<'b>, context: &mut C) -> Result<Self, minicbor::decode::Error> {
        let mut ahead = decoder.probe();
        let round = match (ahead.array()?, ahead.u32()) {
            (Some(2), Ok(round)) => Some(round),
            _ => None,
        };
        if round.is_some() {
            decoder.array()?;
            decoder.u32()?;
        }
        Ok(Self { round, commits: Vec::decode(decoder, context)? })
    }
}
