//! Ed25519 signatures over a labelled hash (RFC 8032), without keys of small order and without a
//! second signature made from a first.
//!
//! The equation is checked without the cofactor, on the bytes of R, with S below the group order:
//! together with the refusal of small-order keys that is strong unforgeability and binding
//! (Chalkias, Garillot, Nikolaenko, "Taming the many EdDSAs", SSR 2020, §4). `verify_strict` would
//! also decompress R to see that it is not of small order, which excludes nothing more and costs a
//! fifth of a verification.

use std::fmt;

use ed25519_dalek::{Signer, SigningKey, Verifier, VerifyingKey};
use minicbor::{Decode, Encode};

use crate::hash::hash;
use crate::names::NodeId;

/// An Ed25519 signature over `H(label; parts)`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct Signature(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 64]);

impl Signature {
    /// Bytes.
    pub const LEN: usize = 64;

    /// Signs `H(label; parts)`.
    pub fn sign(key: &SigningKey, label: &str, parts: &[&[u8]]) -> Self {
        Self(key.sign(&hash(label, parts)).to_bytes())
    }

    /// Whether `public` signed `H(label; parts)`. A public key that is no point is nobody's.
    pub fn verifies(&self, public: &[u8; 32], label: &str, parts: &[&[u8]]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&self.0);
        VerifyingKey::from_bytes(public)
            .is_ok_and(|key| !key.is_weak() && key.verify(&hash(label, parts), &signature).is_ok())
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// The name of the machine that holds `key`.
pub fn node_id(key: &SigningKey) -> NodeId {
    NodeId(key.verifying_key().to_bytes())
}
