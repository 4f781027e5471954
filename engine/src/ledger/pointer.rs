//! Pointers: sealed ledger entries under one-time keys, by which an owner finds objects.
//!
//! The key is derived from the vault root and a counter, so only the owner can post under its tag
//! and nobody can link two tags. Network, group and object stand inside the sealed body.

use ed25519_dalek::SigningKey;
use minicbor::{Decode, Encode};

use crate::hash::hash;
use crate::names::{NetworkId, Tag};
use crate::signature::Signature;

/// Longest sealed body of a pointer, in bytes.
pub const POINTER_SEALED_LEN_MAX: usize = 7168;

/// A sealed body under a one-time key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Pointer {
    /// The one-time Ed25519 public key pk_c.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub key: [u8; 32],
    /// The body, sealed and padded by the owner; at most [`POINTER_SEALED_LEN_MAX`] bytes.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub sealed: Vec<u8>,
    /// By `key`, over the network and the body.
    #[n(2)]
    pub signature: Signature,
}

impl Pointer {
    /// A pointer under the one-time `key`, valid in one network.
    pub fn sign(network: &NetworkId, key: &SigningKey, sealed: Vec<u8>) -> Self {
        let signature = Signature::sign(key, "pointer", &[network.as_bytes(), &sealed]);
        Self { key: key.verifying_key().to_bytes(), sealed, signature }
    }

    /// Whether the owner of the one-time key made this pointer for `network`.
    pub fn verifies(&self, network: &NetworkId) -> bool {
        self.signature.verifies(&self.key, "pointer", &[network.as_bytes(), &self.sealed])
    }

    /// The name under which the pointer stands.
    pub fn tag(&self) -> Tag {
        pointer_tag(&self.key)
    }

    /// What a [`PointerRetire`] names: the hash of the sealed body.
    pub fn content(&self) -> [u8; 32] {
        hash("pointer content", &[&self.sealed])
    }
}

/// Takes one pointer back. Its hash stays, so that nobody can post the old pointer again.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PointerRetire {
    /// The one-time key of the pointer.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub key: [u8; 32],
    /// [`Pointer::content`] of the pointer.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub content: [u8; 32],
    /// By `key`, over the network and the content hash.
    #[n(2)]
    pub signature: Signature,
}

impl PointerRetire {
    /// Retires the pointer of `key` with this content hash.
    pub fn sign(network: &NetworkId, key: &SigningKey, content: [u8; 32]) -> Self {
        let signature = Signature::sign(key, "pointer retire", &[network.as_bytes(), &content]);
        Self { key: key.verifying_key().to_bytes(), content, signature }
    }

    /// Whether the owner of the one-time key retires it in `network`.
    pub fn verifies(&self, network: &NetworkId) -> bool {
        self.signature.verifies(&self.key, "pointer retire", &[network.as_bytes(), &self.content])
    }

    /// The name under which the pointer stands.
    pub fn tag(&self) -> Tag {
        pointer_tag(&self.key)
    }
}

/// `H("tag"; pk_c)[..16]` (crypto.md §6.3).
pub fn pointer_tag(key: &[u8; 32]) -> Tag {
    let mut tag = [0; 16];
    tag.copy_from_slice(&hash("tag", &[key])[..16]);
    Tag(tag)
}
