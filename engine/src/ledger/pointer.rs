//! Pointers: sealed ledger entries under keys of their own, by which an owner finds objects.
//!
//! The key is derived from the vault root and a counter, so only the owner can post under its tag
//! and nobody can link two tags. Network, group and object stand inside the sealed body.
//!
//! From version 9 of the rules on pointers are numbered, and a tag holds the one with the highest number
//! only: what the ledger's state keeps of an owner does not grow with what it writes.

use ed25519_dalek::SigningKey;
use minicbor::{Decode, Encode};

use crate::hash::hash;
use crate::names::{NetworkId, Tag};
use crate::signature::Signature;

/// Longest sealed body of a pointer, in bytes.
pub const POINTER_SEALED_LEN_MAX: usize = 7168;

/// A sealed body under a key that signs nothing but pointers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Pointer {
    /// The Ed25519 public key pk_c.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub key: [u8; 32],
    /// The body, sealed and padded by the owner; at most [`POINTER_SEALED_LEN_MAX`] bytes.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub sealed: Vec<u8>,
    /// By `key`, over the network, the number if there is one, and the body.
    #[n(2)]
    pub signature: Signature,
    /// It takes the place of those under its tag with lower numbers; none before version 9 of the rules.
    #[n(3)]
    pub number: Option<u64>,
}

impl Pointer {
    /// A pointer under the one-time `key`, valid in one network, that stands beside others:
    /// for rules before version 9.
    pub fn sign(network: &NetworkId, key: &SigningKey, sealed: Vec<u8>) -> Self {
        let signature = Signature::sign(key, "pointer", &[network.as_bytes(), &sealed]);
        Self { key: key.verifying_key().to_bytes(), sealed, signature, number: None }
    }

    /// A pointer under `key`, valid in one network, in place of those with lower numbers.
    pub fn sign_numbered(
        network: &NetworkId,
        key: &SigningKey,
        number: u64,
        sealed: Vec<u8>,
    ) -> Self {
        let said = [network.as_bytes(), &number.to_be_bytes()[..], &sealed];
        let signature = Signature::sign(key, "numbered pointer", &said);
        Self { key: key.verifying_key().to_bytes(), sealed, signature, number: Some(number) }
    }

    /// Whether the owner of the key made this pointer for `network`.
    pub fn verifies(&self, network: &NetworkId) -> bool {
        let (network, sealed) = (network.as_bytes(), &self.sealed);
        match self.number {
            None => self.signature.verifies(&self.key, "pointer", &[network, sealed]),
            Some(number) => {
                let said = [network, &number.to_be_bytes()[..], sealed];
                self.signature.verifies(&self.key, "numbered pointer", &said)
            }
        }
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

/// Takes one pointer back. Its hash and number stay, so that nobody can post the old pointer again.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PointerRetire {
    /// The key of the pointer.
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

    /// Whether the owner of the key retires it in `network`.
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
