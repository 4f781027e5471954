//! Compact blocks: what a machine that has the chain before a block cannot compute of it.
//!
//! The header follows from the head, the entries and a few numbers; validators are named by their
//! place in the set. Whoever executes the block gets the header, and the signatures in the
//! certificate hold for no other. A block of one entry costs some 130 bytes more than the entry
//! instead of 600: `engine/spec/snapshot.md` §3.

use minicbor::{Decode, Encode};

use super::beacon::Reveal;
use super::block::{BLOCK_LEN_MAX, CertifiedBlock, SaltedEntry};
use super::block_error::BlockError;
use super::certificate::{CERTIFICATE_LEN_MAX, Certificate, Commit};
use super::chain::{Chain, CheckedBlock, Terms};
use super::genesis::{VALIDATORS_MAX, ValidatorSet};
use crate::names::NodeId;
use crate::signature::Signature;
use crate::wire::canonical::{self, CanonicalError};

/// What says which form a block has.
const TAG_LEN: usize = 3;
const _: () = assert!(VALIDATORS_MAX <= u64::BITS as usize, "signers are the bits of a number");

/// A block as one machine sends it to another.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum SentBlock {
    /// As it is stored.
    #[n(0)]
    Whole(#[n(0)] Box<CertifiedBlock>),
    /// For whoever has the chain before it.
    #[n(1)]
    Compact(#[n(0)] CompactBlock),
}

impl SentBlock {
    /// Compact, if the sender knows the validators that certified the block.
    pub fn of(block: CertifiedBlock, validators: Option<&ValidatorSet>) -> Self {
        match validators.and_then(|validators| CompactBlock::of(&block, validators)) {
            Some(compact) => Self::Compact(compact),
            None => Self::Whole(Box::new(block)),
        }
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// Reads the canonical bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CanonicalError> {
        canonical::decode(bytes, BLOCK_LEN_MAX + CERTIFICATE_LEN_MAX + TAG_LEN)
    }

    /// Checks all of the block, appends it to `chain` and gives it as it is to be stored. `now`, if
    /// there is a clock, bounds its time. On an error nothing changes.
    pub fn append_to(
        self,
        chain: &mut Chain,
        now: Option<u64>,
    ) -> Result<CertifiedBlock, BlockError> {
        let (block, checked) = self.check(chain, now)?;
        chain.append_certified(checked, block.certificate.clone());
        Ok(block)
    }

    /// Checks all of the block after the head of `chain`: as it is to be stored, and for
    /// [`Chain::append_certified`].
    pub fn check(
        self,
        chain: &Chain,
        now: Option<u64>,
    ) -> Result<(CertifiedBlock, CheckedBlock), BlockError> {
        match self {
            Self::Whole(block) => {
                let checked = chain.check_certified(&block, now)?;
                Ok((*block, checked))
            }
            Self::Compact(compact) => {
                let (block, checked) = compact.restore(chain, now)?;
                chain.check_certificate(&block.block.header, &block.certificate)?;
                Ok((block, checked))
            }
        }
    }
}

/// A block and its certificate, to be completed by whoever has the chain before it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CompactBlock {
    /// The header's.
    #[n(0)]
    time: u64,
    /// The proposer's place in the set, from 0 and ascending by name.
    #[n(1)]
    proposer: u8,
    #[n(2)]
    reveal: Reveal,
    #[n(3)]
    entries: Vec<SaltedEntry>,
    /// The certificate's; none in version 1.
    #[n(4)]
    round: Option<u32>,
    /// Bit i is set if the validator with place i signed.
    #[n(5)]
    signers: u64,
    /// Theirs, in the order of their places, one after the other.
    #[cbor(n(6), with = "minicbor::bytes")]
    signatures: Vec<u8>,
}

impl CompactBlock {
    /// The short form of a block that `validators` certified; `None` if they did not: others made or
    /// signed it, or the signatures are not in order.
    pub fn of(
        CertifiedBlock { block, certificate }: &CertifiedBlock,
        validators: &ValidatorSet,
    ) -> Option<Self> {
        let place_of = |node: &NodeId| validators.0.keys().position(|member| member == node);
        let mut signers = 0;
        for commit in &certificate.commits {
            let bit = 1 << place_of(&commit.validator)?;
            // Ascending, each once: else completing the block would give another certificate.
            (signers < bit).then(|| signers |= bit)?;
        }
        let signatures = certificate.commits.iter().flat_map(|commit| commit.signature.0);
        Some(Self {
            time: block.header.time,
            proposer: place_of(&block.header.proposer)?.try_into().ok()?,
            reveal: block.reveal,
            entries: block.entries.clone(),
            round: certificate.round,
            signers,
            signatures: signatures.collect(),
        })
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// Reads the canonical bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CanonicalError> {
        canonical::decode(bytes, BLOCK_LEN_MAX + CERTIFICATE_LEN_MAX)
    }

    /// The whole block after the head of `chain`, executed once, for [`Chain::commit`]: **only that
    /// tells whether the certificate is good**. `now`, if there is a clock, bounds its time.
    pub fn restore(
        self,
        chain: &Chain,
        now: Option<u64>,
    ) -> Result<(CertifiedBlock, CheckedBlock), BlockError> {
        let validators = chain.validators();
        let certificate = self.certificate(validators)?;
        let proposer = validators.0.keys().nth(self.proposer.into());
        let terms = Terms { time: self.time, proposer: *proposer.ok_or(BlockError::Numbers)? };
        let (block, checked) = chain.complete(terms, self.reveal, self.entries, now, |_| false)?;
        Ok((CertifiedBlock { block, certificate }, checked))
    }

    fn certificate(&self, validators: &ValidatorSet) -> Result<Certificate, BlockError> {
        let signed = |(place, _): &(usize, &NodeId)| self.signers >> place & 1 == 1;
        let names: Vec<&NodeId> =
            validators.0.keys().enumerate().filter(signed).map(|(_, name)| name).collect();
        let (signatures, rest) = self.signatures.as_chunks::<{ Signature::LEN }>();
        let complete = names.len() == self.signers.count_ones() as usize;
        if !complete || names.len() != signatures.len() || !rest.is_empty() {
            return Err(BlockError::Numbers);
        }
        let commit = |(name, signature): (&NodeId, &[u8; Signature::LEN])| Commit {
            validator: *name,
            signature: Signature(*signature),
        };
        let commits = names.into_iter().zip(signatures).map(commit).collect();
        Ok(Certificate { round: self.round, commits })
    }
}
