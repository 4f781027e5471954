//! Blocks: an ordered batch of entries under a header that commits to the whole chain.

use minicbor::{Decode, Encode};

use super::beacon::Reveal;
use super::certificate::{CERTIFICATE_LEN_MAX, Certificate};
use super::entry::Entry;
use super::log::{Digest32, leaf_hash};
use super::suite::Suite;
use crate::hash::hash;
use crate::names::{NetworkId, NodeId};
use crate::wire::canonical::{self, CanonicalError};

/// Longest block, in bytes.
pub const BLOCK_LEN_MAX: usize = 1 << 20;
/// Most entries of a block.
pub const BLOCK_ENTRIES_MAX: usize = 4096;

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
    pub reveal: Reveal,
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
