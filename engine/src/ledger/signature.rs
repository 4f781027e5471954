//! Ed25519 signatures over a labelled hash (RFC 8032, checked with `verify_strict`), and the byte
//! that names this set of algorithms.

use std::fmt;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use minicbor::{Decode, Encode};

use crate::hash::hash;
use crate::names::NodeId;

/// The algorithms of every structure here: Ed25519, cSHAKE256 and SHA3-256.
///
/// Encoded as the byte 1; nothing else decodes, so a structure under later algorithms is never
/// read under these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Suite;

const SUITE: u8 = 1;

impl<C> Encode<C> for Suite {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.u8(SUITE)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Suite {
    fn decode(
        decoder: &mut minicbor::Decoder<'b>,
        _: &mut C,
    ) -> Result<Self, minicbor::decode::Error> {
        match decoder.u8()? {
            SUITE => Ok(Self),
            _ => Err(minicbor::decode::Error::message("unknown suite")),
        }
    }
}

/// An Ed25519 signature over `H(label; parts)`.
#[derive(Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Signature(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 64]);

impl Signature {
    /// Signs `H(label; parts)`.
    pub fn sign(key: &SigningKey, label: &str, parts: &[&[u8]]) -> Self {
        Self(key.sign(&hash(label, parts)).to_bytes())
    }

    /// Whether `public` signed `H(label; parts)`. A public key that is no point is nobody's.
    pub fn verifies(&self, public: &[u8; 32], label: &str, parts: &[&[u8]]) -> bool {
        VerifyingKey::from_bytes(public).is_ok_and(|key| {
            let signature = ed25519_dalek::Signature::from_bytes(&self.0);
            key.verify_strict(&hash(label, parts), &signature).is_ok()
        })
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
