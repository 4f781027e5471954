//! What a client or a small machine checks: one header with its certificate, then proofs.

use std::collections::BTreeSet;

use ed25519_dalek::SigningKey;
use minicbor::{Decode, Encode};
use thiserror::Error;

use super::block::{Header, SaltedEntry, SignedHeader};
use super::genesis::{Genesis, GenesisError};
use super::log::{Digest32, LogProof};
use super::map::StateProof;
use super::registry::StateKey;
use crate::names::{NetworkId, NodeId};
use crate::signature::{Signature, node_id};

/// Oldest attestation that a client believes, in milliseconds.
pub const HEAD_AGE_MAX_MILLIS: u64 = 10 * 60 * 1000;

/// A validator's answer to "what is your head now?".
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct HeadAttestation {
    /// The validator.
    #[n(0)]
    pub validator: NodeId,
    /// The asker's random number: this is no old answer.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub nonce: [u8; 32],
    /// The height of its head.
    #[n(2)]
    pub height: u64,
    /// The hash of its head.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub hash: Digest32,
    /// Its clock, Unix milliseconds.
    #[n(4)]
    pub time: u64,
    /// By the validator, over the network and the above.
    #[n(5)]
    pub signature: Signature,
}

impl HeadAttestation {
    /// Answers with `head` at `time`.
    pub fn sign(head: &Header, nonce: [u8; 32], time: u64, key: &SigningKey) -> Self {
        let mut attestation = Self {
            validator: node_id(key),
            nonce,
            height: head.height,
            hash: head.hash(),
            time,
            signature: Signature([0; 64]),
        };
        attestation.signature =
            attestation.over(&head.network, |parts| Signature::sign(key, "head", parts));
        attestation
    }

    /// Whether the validator answered so in `network`.
    pub fn verifies(&self, network: &NetworkId) -> bool {
        self.over(network, |parts| self.signature.verifies(&self.validator.0, "head", parts))
    }

    fn over<T>(&self, network: &NetworkId, act: impl FnOnce(&[&[u8]]) -> T) -> T {
        act(&[
            network.as_bytes(),
            &self.nonce,
            &self.height.to_be_bytes(),
            &self.hash,
            &self.time.to_be_bytes(),
        ])
    }
}

/// Why a head is not believed. Whoever sent it is to blame, unless our clock is wrong.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum HeadError {
    /// Another network's.
    #[error("the head belongs to network {0}")]
    Network(NetworkId),
    /// Not signed by more than two thirds of the validators.
    #[error("the head at height {0} has no valid certificate")]
    Certificate(u64),
    /// Too few valid attestations of this head for our nonce.
    #[error("too few validators attest that height {0} is their head now")]
    Unattested(u64),
    /// The attested time is too far from our clock.
    #[error("the head was attested at {attested} and it is {now}: more than 10 minutes apart")]
    Stale {
        /// Unix milliseconds by the validator's clock.
        attested: u64,
        /// Unix milliseconds by ours.
        now: u64,
    },
    /// Less than was seen before: an old head.
    #[error("height {height} was sent where height {seen} was seen before")]
    Rollback {
        /// Of the head sent.
        height: u64,
        /// Of the highest head seen.
        seen: u64,
    },
    /// Two certified heads of one height: the validators are at fault, with proof.
    #[error("two different certified blocks at height {0}: the validators forked the chain")]
    Fork(u64),
}

/// The highest head that a client has seen; kept between runs, so that nobody can roll it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Seen {
    /// The height.
    #[n(0)]
    pub height: u64,
    /// The hash of the header.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub hash: Digest32,
}

/// Follows the heads of one network.
#[derive(Clone, Debug)]
pub struct LightClient {
    genesis: Genesis,
    origin: Header,
    seen: Seen,
}

impl LightClient {
    /// A client that has seen only the genesis.
    pub fn new(genesis: Genesis) -> Result<Self, GenesisError> {
        genesis.check()?;
        let origin = genesis.head().header;
        let seen = Seen { height: 0, hash: origin.hash() };
        Ok(Self { genesis, origin, seen })
    }

    /// A client that has seen more.
    pub fn resume(genesis: Genesis, seen: Seen) -> Result<Self, GenesisError> {
        Ok(Self { seen, ..Self::new(genesis)? })
    }

    /// What to keep between runs.
    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// Checks a head and the attestations that it is the newest, answers to `nonce`.
    ///
    /// More than a third of the validators' power must attest it, so that one honest validator
    /// does. On an error nothing changes.
    pub fn accept_head(
        &mut self,
        head: &SignedHeader,
        attestations: &[HeadAttestation],
        nonce: &[u8; 32],
        now: u64,
    ) -> Result<VerifiedHead, HeadError> {
        let header = &head.header;
        let hash = header.hash();
        self.check_header(head)?;
        self.check_attestations(header, hash, attestations, nonce, now)?;
        if header.height < self.seen.height {
            return Err(HeadError::Rollback { height: header.height, seen: self.seen.height });
        }
        if header.height == self.seen.height && hash != self.seen.hash {
            return Err(HeadError::Fork(header.height));
        }
        self.seen = Seen { height: header.height, hash };
        Ok(VerifiedHead(header.clone()))
    }

    fn check_header(&self, head: &SignedHeader) -> Result<(), HeadError> {
        let SignedHeader { header, certificate } = head;
        if header.network != self.origin.network {
            return Err(HeadError::Network(header.network));
        }
        let genuine = if header.height == 0 {
            *header == self.origin
        } else {
            header.validators == self.origin.validators
                && certificate.certifies(header, &self.genesis.validators)
        };
        if genuine { Ok(()) } else { Err(HeadError::Certificate(header.height)) }
    }

    fn check_attestations(
        &self,
        header: &Header,
        hash: Digest32,
        attestations: &[HeadAttestation],
        nonce: &[u8; 32],
        now: u64,
    ) -> Result<(), HeadError> {
        let asked = (header.height, hash, *nonce);
        let (mut witnesses, mut stale) = (BTreeSet::new(), None);
        for attestation in attestations {
            let answered = (attestation.height, attestation.hash, attestation.nonce);
            let member = self.genesis.validators.contains(&attestation.validator);
            if answered != asked || !member || !attestation.verifies(&header.network) {
                continue;
            }
            if attestation.time.abs_diff(now) > HEAD_AGE_MAX_MILLIS {
                stale = Some(HeadError::Stale { attested: attestation.time, now });
            } else {
                witnesses.insert(attestation.validator);
            }
        }
        if self.genesis.validators.vouches(&witnesses) {
            Ok(())
        } else {
            Err(stale.unwrap_or(HeadError::Unattested(header.height)))
        }
    }
}

/// A head that a [`LightClient`] accepted: proofs are checked against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedHead(Header);

impl VerifiedHead {
    /// The header.
    pub fn header(&self) -> &Header {
        &self.0
    }

    /// Whether the state holds `value` under `key`, or nothing if `None`.
    pub fn verify_state(&self, key: &StateKey, value: Option<&[u8]>, proof: &StateProof) -> bool {
        proof.verifies(&self.0.state_root, &key.to_bytes(), value)
    }

    /// Whether the entry stands in the log, at the place the proof names.
    pub fn verify_entry(&self, entry: &SaltedEntry, proof: &LogProof) -> bool {
        proof.verifies(self.0.log_size, &self.0.log_root, entry.leaf())
    }
}
