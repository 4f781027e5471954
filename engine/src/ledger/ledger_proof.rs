//! What the ledger says, for somebody who has the genesis and nothing else.

use minicbor::{Decode, Encode};
use thiserror::Error;

use super::block::{Header, SaltedEntry, SignedHeader};
use super::genesis::{Genesis, GenesisError};
use super::light::{HeadError, LightClient, SetChange};
use super::log::LogProof;
use super::map::StateProof;
use super::registry::StateKey;
use super::suite::Suite;
use crate::wire::canonical::{self, CanonicalError};

/// Longest proof, in bytes.
pub const LEDGER_PROOF_LEN_MAX: usize = 16 << 20;

/// A claim with all that shows it: the way from the genesis to a certified header, and from its
/// roots to what is claimed. That there is no newer header, it does not show.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LedgerProof {
    #[n(0)]
    suite: Suite,
    /// The changes of the validator set below the header, ascending.
    #[n(1)]
    changes: Vec<SetChange>,
    #[n(2)]
    head: SignedHeader,
    #[n(3)]
    claim: Claim,
}

/// What is claimed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Claim {
    /// The state after the header holds a value under a key, or none.
    #[n(0)]
    State {
        /// The key.
        #[n(0)]
        key: StateKey,
        /// Canonical bytes; absent when the proof is of absence.
        #[cbor(n(1), with = "minicbor::bytes")]
        value: Option<Vec<u8>>,
        /// To the state root.
        #[n(2)]
        proof: StateProof,
    },
    /// An entry stands in the chain.
    #[n(1)]
    Entry {
        /// The entry and its salt.
        #[n(0)]
        entry: Box<SaltedEntry>,
        /// To the log root.
        #[n(1)]
        proof: LogProof,
    },
}

/// Why a proof shows nothing. Whoever made it is to blame, unless the genesis is another network's.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LedgerProofError {
    /// The genesis is none.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// The validators did not certify the header, as far as the set changes tell.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The value is another, or there is none, or there is one.
    #[error("the state at height {0} does not hold what is claimed")]
    State(u64),
    /// The entry is another, or stands elsewhere.
    #[error("the entry is not where it is said to be in the log at height {0}")]
    Entry(u64),
}

impl LedgerProof {
    /// A proof against `head`; `changes` are those of the validator set below it.
    pub fn new(changes: Vec<SetChange>, head: SignedHeader, claim: Claim) -> Self {
        Self { suite: Suite, changes, head, claim }
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// Reads the canonical bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CanonicalError> {
        canonical::decode(bytes, LEDGER_PROOF_LEN_MAX)
    }

    /// The header under which it was so, and what is shown.
    pub fn verify(&self, genesis: Genesis) -> Result<(&Header, &Claim), LedgerProofError> {
        let mut light = LightClient::new(genesis)?;
        self.changes.iter().try_for_each(|change| light.follow(change))?;
        light.check_certified(&self.head)?;
        let header = &self.head.header;
        match &self.claim {
            Claim::State { key, value, proof } => {
                let value = value.as_deref();
                if !proof.verifies(&header.state_root, &key.to_bytes(), value) {
                    return Err(LedgerProofError::State(header.height));
                }
            }
            Claim::Entry { entry, proof } => {
                if !proof.verifies(header.log_size, &header.log_root, entry.leaf()) {
                    return Err(LedgerProofError::Entry(header.height));
                }
            }
        }
        Ok((header, &self.claim))
    }
}
