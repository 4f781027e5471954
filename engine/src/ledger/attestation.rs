//! A validator's word on what its head is now.

use ed25519_dalek::SigningKey;
use minicbor::{Decode, Encode};

use super::block::Header;
use super::log::Digest32;
use crate::names::{NetworkId, NodeId};
use crate::signature::{Signature, node_id};

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
