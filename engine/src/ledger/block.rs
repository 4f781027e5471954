//! Blocks: an ordered batch of entries under a header that commits to the whole chain.

use std::collections::BTreeSet;

use ed25519_dalek::SigningKey;
use minicbor::{Decode, Encode};

use super::entry::Entry;
use super::genesis::ValidatorSet;
use super::log::{Digest32, leaf_hash};
use super::suite::Suite;
use crate::hash::hash;
use crate::names::{NetworkId, NodeId};
use crate::signature::{Signature, node_id};
use crate::wire::canonical::{self, CanonicalError};

/// Longest block, in bytes.
pub const BLOCK_LEN_MAX: usize = 1 << 20;
/// Most entries of a block.
pub const BLOCK_ENTRIES_MAX: usize = 4096;
/// Longest certificate, in bytes: 64 signatures with their names.
const CERTIFICATE_LEN_MAX: usize = 8192;

/// What a block does to the chain; about 400 bytes, all a light client reads.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Header {
    /// Format and algorithms.
    #[n(0)]
    pub suite: Suite,
    /// The network.
    #[n(1)]
    pub network: NetworkId,
    /// 1 for the first block.
    #[n(2)]
    pub height: u64,
    /// The hash of the header before.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub previous: Digest32,
    /// Unix milliseconds by the proposer's clock; never less than before.
    #[n(4)]
    pub time: u64,
    /// Who put the block together.
    #[n(5)]
    pub proposer: NodeId,
    /// The RFC 6962 root over this block's leaves.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub entries_root: Digest32,
    /// Entries of the chain, this block's included.
    #[n(7)]
    pub log_size: u64,
    /// The RFC 6962 root over the leaves of all entries ever.
    #[cbor(n(8), with = "minicbor::bytes")]
    pub log_root: Digest32,
    /// The root of the state after this block.
    #[cbor(n(9), with = "minicbor::bytes")]
    pub state_root: Digest32,
    /// The hash of the set that certifies this block.
    #[cbor(n(10), with = "minicbor::bytes")]
    pub validators: Digest32,
    /// The hash of the set that certifies the next block.
    #[cbor(n(11), with = "minicbor::bytes")]
    pub next_validators: Digest32,
    /// The lowest height whose bodies are still kept.
    #[n(12)]
    pub retention_floor: u64,
    /// Public randomness: `H("beacon"; previous beacon, reveal)`.
    #[cbor(n(13), with = "minicbor::bytes")]
    pub beacon: Digest32,
}

impl Header {
    /// The hash that names the block and that its validators sign.
    pub fn hash(&self) -> Digest32 {
        hash("header", &[&canonical::encode(self)])
    }
}

/// A header with its entries.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Block {
    /// The header.
    #[n(0)]
    pub header: Header,
    /// The proposer's contribution to the beacon.
    #[n(1)]
    pub reveal: Signature,
    /// The entries, each with the salt of its leaf.
    #[n(2)]
    pub entries: Vec<SaltedEntry>,
}

/// An entry and the salt that hides it: without both, its leaf is 32 meaningless bytes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SaltedEntry {
    /// Chosen by the proposer, secret from nobody who may read the entry.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub salt: [u8; 16],
    /// The entry.
    #[n(1)]
    pub entry: Entry,
}

impl SaltedEntry {
    /// The entry's leaf: SHA3-256(0x00 ‖ salt ‖ entry).
    pub fn leaf(&self) -> Digest32 {
        leaf_hash(&[&self.salt, &self.entry.to_bytes()])
    }
}

/// The signatures that make a block final, ordered by signer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Certificate(#[n(0)] pub Vec<Commit>);

/// One validator's signature over a header.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Commit {
    /// The validator.
    #[n(0)]
    pub validator: NodeId,
    /// Over the network and the header's hash.
    #[n(1)]
    pub signature: Signature,
}

impl Commit {
    /// Signs a header. A validator signs one header a height, ever.
    pub fn sign(header: &Header, key: &SigningKey) -> Self {
        let parts: [&[u8]; 2] = [header.network.as_bytes(), &header.hash()];
        Self { validator: node_id(key), signature: Signature::sign(key, "commit", &parts) }
    }
}

impl Certificate {
    /// The certificate of a set of one.
    pub fn solo(header: &Header, key: &SigningKey) -> Self {
        Self(vec![Commit::sign(header, key)])
    }

    /// Whether more than two thirds of `validators` by power signed `header`, each once and in
    /// order, and nobody else did.
    pub fn certifies(&self, header: &Header, validators: &ValidatorSet) -> bool {
        let hash = header.hash();
        let parts: [&[u8]; 2] = [header.network.as_bytes(), &hash];
        let ordered = self.0.windows(2).all(|pair| pair[0].validator < pair[1].validator);
        let genuine = |commit: &Commit| {
            validators.contains(&commit.validator)
                && commit.signature.verifies(&commit.validator.0, "commit", &parts)
        };
        let signers: BTreeSet<NodeId> = self.0.iter().map(|commit| commit.validator).collect();
        ordered && validators.decides(&signers) && self.0.iter().all(genuine)
    }
}

/// A header that can be checked alone.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SignedHeader {
    /// The header.
    #[n(0)]
    pub header: Header,
    /// Its certificate.
    #[n(1)]
    pub certificate: Certificate,
}

impl SignedHeader {
    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// Reads the canonical bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CanonicalError> {
        canonical::decode(bytes, CERTIFICATE_LEN_MAX + 1024)
    }
}

/// A block with its certificate: what is stored and synchronised.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CertifiedBlock {
    /// The block.
    #[n(0)]
    pub block: Block,
    /// Its certificate.
    #[n(1)]
    pub certificate: Certificate,
}

impl CertifiedBlock {
    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// Reads the canonical bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CanonicalError> {
        canonical::decode(bytes, BLOCK_LEN_MAX + CERTIFICATE_LEN_MAX)
    }
}

/// The proposer's contribution to the beacon of a height.
///
/// Ed25519 signing is deterministic (RFC 8032 §5.1.6), so an honest proposer has one contribution
/// and nobody else can know it earlier. A proposer that breaks that rule can try several: see
/// `engine/spec/ledger.md` for what this bias means and what replaces it.
pub(super) fn reveal(key: &SigningKey, previous: &Header) -> Signature {
    Signature::sign(key, "reveal", &[previous.network.as_bytes(), &previous.beacon])
}

/// Whether `proposer` made this contribution to the beacon after `previous`.
pub(super) fn is_revealed_by(reveal: &Signature, proposer: &NodeId, previous: &Header) -> bool {
    let parts: [&[u8]; 2] = [previous.network.as_bytes(), &previous.beacon];
    reveal.verifies(&proposer.0, "reveal", &parts)
}

/// The beacon after `previous` with this contribution.
pub(super) fn next_beacon(previous: &Header, reveal: &Signature) -> Digest32 {
    hash("beacon", &[&previous.beacon, &reveal.0])
}
