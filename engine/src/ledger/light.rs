//! What a client or a small machine checks: one header with its certificate, then proofs.
//!
//! A client knows one validator set, that of the newest header it believes or the one that this
//! header names as the next. A head of that set it believes at once; to a head of another it comes
//! by [`LightClient::skip_to`], or over every change between by [`LightClient::follow`].

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};
use thiserror::Error;

use super::attestation::HeadAttestation;
use super::block::{Header, SaltedEntry, SignedHeader};
use super::certificate::CERTIFICATE_LEN_MAX;
use super::entry::Entry;
use super::genesis::{Genesis, GenesisError, ValidatorSet};
use super::log::{Digest32, LogProof};
use super::map::StateProof;
use super::registry::StateKey;
use crate::names::NetworkId;
use crate::wire::canonical::{self, CanonicalError};

/// Oldest attestation that a client believes, in milliseconds.
pub const HEAD_AGE_MAX_MILLIS: u64 = 10 * 60 * 1000;

/// Why a head is not believed. Whoever sent it is to blame, unless our clock is wrong.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum HeadError {
    /// Another network's.
    #[error("the head belongs to network {0}")]
    Network(NetworkId),
    /// Not signed by more than two thirds of the validators.
    #[error("the head at height {0} has no valid certificate")]
    Certificate(u64),
    /// Certified by a set that is not known here: the sender may be right.
    #[error(
        "the validators of height {height} are not those known since height {known}; \
         try: ask for the changes between"
    )]
    UnknownValidators {
        /// Of the header sent.
        height: u64,
        /// Of the newest header believed.
        known: u64,
    },
    /// At most a third of the known validators' power signed: they do not vouch for a new set.
    #[error(
        "too few of the validators known since height {known} signed height {height}; \
         try: ask for the changes between"
    )]
    Unvouched {
        /// Of the header sent.
        height: u64,
        /// Of the newest header believed.
        known: u64,
    },
    /// The validator set sent with a header is not the one that it names.
    #[error("the validator set sent with height {0} is not the one that it names")]
    WrongValidators(u64),
    /// Too few valid attestations for our nonce that there is no higher head.
    #[error("too few validators attest that height {0} is the newest now")]
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
    /// The proof that an entry is in the log does not hold.
    #[error("the entry is not where it is said to be in the log at height {0}")]
    NotIncluded(u64),
    /// Two certified heads of one height: the validators are at fault, with proof.
    #[error("two different certified blocks at height {0}: the validators forked the chain")]
    Fork(u64),
}

/// A header with which the validator set changes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SetChange {
    /// Certified by the set before.
    #[n(0)]
    pub header: SignedHeader,
    /// The set that the header names as the next.
    #[n(1)]
    pub validators: ValidatorSet,
}

impl SetChange {
    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// Reads the canonical bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CanonicalError> {
        canonical::decode(bytes, 2 * CERTIFICATE_LEN_MAX)
    }
}

/// The proof that an entry is in the chain.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Inclusion {
    /// A head at or above the entry's block.
    #[n(0)]
    pub head: SignedHeader,
    /// The salt of the entry's leaf.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub salt: [u8; 16],
    /// From the leaf to the log root of the head.
    #[n(2)]
    pub proof: LogProof,
}

/// The newest header that a client believes; kept between runs, so that nobody can roll it back.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Seen {
    /// The height.
    #[n(0)]
    pub height: u64,
    /// The hash of the header.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub hash: Digest32,
    /// The validator set known with it; none for that of the genesis.
    #[n(2)]
    pub validators: Option<ValidatorSet>,
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
        let seen = Seen { height: 0, hash: origin.hash(), validators: None };
        Ok(Self { genesis, origin, seen })
    }

    /// A client that has seen more.
    pub fn resume(genesis: Genesis, seen: Seen) -> Result<Self, GenesisError> {
        Ok(Self { seen, ..Self::new(genesis)? })
    }

    /// What to keep between runs.
    pub fn seen(&self) -> Seen {
        self.seen.clone()
    }

    /// The validator set that is known: whose heads and whose attestations are believed.
    pub fn validators(&self) -> &ValidatorSet {
        self.seen.validators.as_ref().unwrap_or(&self.genesis.validators)
    }

    /// Checks a head of the known set and the attestations that there was no newer one, answers to
    /// `nonce`.
    ///
    /// More than a third of the validators' power must attest it or a lower one, so that one honest
    /// validator did not know a higher. On an error nothing changes.
    pub fn accept_head(
        &mut self,
        head: &SignedHeader,
        attestations: &[HeadAttestation],
        nonce: &[u8; 32],
        now: u64,
    ) -> Result<VerifiedHead, HeadError> {
        let (header, hash) = (&head.header, head.header.hash());
        // What is seen was certified, and may since have led to the set that is known.
        if (header.height, hash) != (self.seen.height, self.seen.hash) {
            self.check_certified(head)?;
        }
        self.check_attestations(header, hash, attestations, nonce, now)?;
        self.check_fork(header.height, hash)?;
        self.seen = Seen { height: header.height, hash, validators: self.seen.validators.take() };
        Ok(VerifiedHead(header.clone()))
    }

    /// Goes over the next change of the validator set. On an error nothing changes.
    pub fn follow(&mut self, change: &SetChange) -> Result<(), HeadError> {
        let SetChange { header: signed, validators } = change;
        let (header, hash) = (&signed.header, signed.header.hash());
        self.check_certified(signed)?;
        self.check_fork(header.height, hash)?;
        if header.next_validators != validators.hash() {
            return Err(HeadError::WrongValidators(header.height));
        }
        self.seen = Seen { height: header.height, hash, validators: Some(validators.clone()) };
        Ok(())
    }

    /// Goes to a header of another set, `validators`, past all changes between: more than a third of
    /// the known power signed it, so that one honest known validator did (Braithwaite et al.,
    /// "A Tendermint Light Client", 2020). On an error nothing changes.
    pub fn skip_to(
        &mut self,
        head: &SignedHeader,
        validators: &ValidatorSet,
    ) -> Result<(), HeadError> {
        let SignedHeader { header, certificate } = head;
        let (height, hash) = (header.height, header.hash());
        self.check_place(header)?;
        if header.validators != validators.hash() {
            return Err(HeadError::WrongValidators(height));
        }
        if !self.validators().vouches(&certificate.signers()) {
            return Err(HeadError::Unvouched { height, known: self.seen.height });
        }
        if !certificate.certifies(header, validators) {
            return Err(HeadError::Certificate(height));
        }
        self.check_fork(height, hash)?;
        // What is seen may have led on to the set after it.
        if height > self.seen.height {
            self.seen = Seen { height, hash, validators: Some(validators.clone()) };
        }
        Ok(())
    }

    /// Checks that an entry is in the chain: in the log of a head that the known set certified, be
    /// it the newest or not. Gives its place in the log.
    pub fn check_inclusion(&self, entry: &Entry, inclusion: &Inclusion) -> Result<u64, HeadError> {
        let Inclusion { head: SignedHeader { header, certificate }, salt, proof } = inclusion;
        let height = header.height;
        if header.network != self.origin.network {
            return Err(HeadError::Network(header.network));
        }
        if header.validators != self.validators().hash() {
            return Err(HeadError::UnknownValidators { height, known: self.seen.height });
        }
        if header.hash() != self.seen.hash && !certificate.certifies(header, self.validators()) {
            return Err(HeadError::Certificate(height));
        }
        let leaf = SaltedEntry { salt: *salt, entry: entry.clone() }.leaf();
        if proof.verifies(header.log_size, &header.log_root, leaf) {
            Ok(proof.index)
        } else {
            Err(HeadError::NotIncluded(height))
        }
    }

    /// Checks that the known set certified a header not below the newest one believed; whether it is
    /// the newest head, that does not tell.
    pub fn check_certified(&self, head: &SignedHeader) -> Result<(), HeadError> {
        let SignedHeader { header, certificate } = head;
        self.check_place(header)?;
        let (height, known) = (header.height, self.seen.height);
        if header.validators != self.validators().hash() {
            return Err(HeadError::UnknownValidators { height, known });
        }
        let genuine = match height {
            0 => *header == self.origin,
            _ => certificate.certifies(header, self.validators()),
        };
        if genuine { Ok(()) } else { Err(HeadError::Certificate(height)) }
    }

    fn check_place(&self, header: &Header) -> Result<(), HeadError> {
        let (height, seen) = (header.height, self.seen.height);
        if header.network != self.origin.network {
            Err(HeadError::Network(header.network))
        } else if height < seen {
            Err(HeadError::Rollback { height, seen })
        } else {
            Ok(())
        }
    }

    /// Blames the validators, once the header is known to be theirs.
    fn check_fork(&self, height: u64, hash: Digest32) -> Result<(), HeadError> {
        let forked = height == self.seen.height && hash != self.seen.hash;
        if forked { Err(HeadError::Fork(height)) } else { Ok(()) }
    }

    fn check_attestations(
        &self,
        header: &Header,
        hash: Digest32,
        attestations: &[HeadAttestation],
        nonce: &[u8; 32],
        now: u64,
    ) -> Result<(), HeadError> {
        let (mut witnesses, mut stale) = (BTreeSet::new(), None);
        for attestation in attestations {
            let answered = attestation.nonce == *nonce
                && (attestation.height < header.height
                    || attestation.height == header.height && attestation.hash == hash);
            let member = self.validators().contains(&attestation.validator);
            if !answered || !member || !attestation.verifies(&header.network) {
                continue;
            }
            if attestation.time.abs_diff(now) > HEAD_AGE_MAX_MILLIS {
                stale = Some(HeadError::Stale { attested: attestation.time, now });
            } else {
                witnesses.insert(attestation.validator);
            }
        }
        if self.validators().vouches(&witnesses) {
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
