//! What a network agrees on before its first block. Its canonical hash is the network's name.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};
use thiserror::Error;

use super::block::{Certificate, Header, SignedHeader};
use super::log::Log;
use super::map::AuthenticatedMap;
use super::suite::Suite;
use crate::code::CodeParameters;
use crate::hash::hash;
use crate::keyshare::KeyParameters;
use crate::names::{NetworkId, NodeId};
use crate::wire::canonical;

/// Longest network name, in bytes.
pub const NETWORK_NAME_LEN_MAX: usize = 64;
/// Most validators of a network.
pub const VALIDATORS_MAX: usize = 64;
/// Most operator keys of a network.
pub const OPERATORS_MAX: usize = 256;
const POWER_MAX: u64 = u32::MAX as u64;

/// The parameters of a network.
///
/// How the file spells them is the caller's business: [`Genesis::network_id`] depends on these
/// values alone, and order and repetition cannot be expressed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Genesis {
    /// Format and algorithms.
    #[n(0)]
    pub suite: Suite,
    /// For people; 1 to [`NETWORK_NAME_LEN_MAX`] bytes.
    #[n(1)]
    pub name: String,
    /// Unix milliseconds.
    #[n(2)]
    pub created: u64,
    /// Who orders entries.
    #[n(3)]
    pub validators: ValidatorSet,
    /// Keys that enrol machines, besides the validators.
    #[n(4)]
    pub operators: BTreeSet<NodeId>,
    /// The data code of a group unless said otherwise.
    #[n(5)]
    pub code: CodeParameters,
    /// The key code of a group unless said otherwise.
    #[n(6)]
    pub key: KeyParameters,
    /// Pointers that one author may hold at a time.
    #[n(7)]
    pub pointers_per_author_max: u64,
}

/// Why a genesis is refused. Whoever wrote it is to blame.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum GenesisError {
    /// The name is empty or too long.
    #[error("the network's name has {0} bytes; it needs 1 to {NETWORK_NAME_LEN_MAX}")]
    Name(usize),
    /// No validators or too many.
    #[error("{0} validators; a network has 1 to {VALIDATORS_MAX}")]
    Validators(usize),
    /// A validator's voting power is out of range.
    #[error("validator {0} has a voting power outside 1 to {POWER_MAX}")]
    Power(NodeId),
    /// Too many operators.
    #[error("{0} operator keys; a network has at most {OPERATORS_MAX}")]
    Operators(usize),
    /// The codes cannot be used together.
    #[error(transparent)]
    Code(#[from] GroupParametersError),
}

/// Why a data code and a key code make no placement group.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum GroupParametersError {
    /// There is no such data code.
    #[error(transparent)]
    Code(#[from] crate::code::ParametersError),
    /// The codes count different slots.
    #[error("the data code has {code} slots and the key code {key}; they share their slots")]
    Slots {
        /// n of the data code.
        code: u8,
        /// n of the key code.
        key: u8,
    },
}

impl Genesis {
    /// The network's name: the hash of the canonical bytes.
    pub fn network_id(&self) -> NetworkId {
        NetworkId(hash("genesis", &[&canonical::encode(self)]))
    }

    /// Checks every limit.
    pub fn check(&self) -> Result<(), GenesisError> {
        if self.name.is_empty() || self.name.len() > NETWORK_NAME_LEN_MAX {
            return Err(GenesisError::Name(self.name.len()));
        }
        let powers = &self.validators.0;
        if powers.is_empty() || powers.len() > VALIDATORS_MAX {
            return Err(GenesisError::Validators(powers.len()));
        }
        if let Some((node, _)) = powers.iter().find(|(_, power)| !(1..=POWER_MAX).contains(*power))
        {
            return Err(GenesisError::Power(*node));
        }
        if self.operators.len() > OPERATORS_MAX {
            return Err(GenesisError::Operators(self.operators.len()));
        }
        Ok(check_group(self.code, self.key)?)
    }

    /// The head of a chain without blocks: height 0, certified by nothing but its equality.
    pub fn head(&self) -> SignedHeader {
        let network = self.network_id();
        let validators = self.validators.hash();
        let header = Header {
            suite: Suite,
            network,
            height: 0,
            previous: [0; 32],
            time: self.created,
            proposer: NodeId([0; 32]),
            entries_root: Log::default().root(),
            log_size: 0,
            log_root: Log::default().root(),
            state_root: AuthenticatedMap::default().root(),
            validators,
            next_validators: validators,
            retention_floor: 0,
            beacon: hash("beacon", &[network.as_bytes()]),
        };
        SignedHeader { header, certificate: Certificate::default() }
    }
}

/// Whether a data code and a key code can share the slots of a group.
pub(super) fn check_group(
    code: CodeParameters,
    key: KeyParameters,
) -> Result<(), GroupParametersError> {
    code.check()?;
    if code.n != key.n() {
        return Err(GroupParametersError::Slots { code: code.n, key: key.n() });
    }
    Ok(())
}

/// The validators and their voting power.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct ValidatorSet(#[n(0)] pub BTreeMap<NodeId, u64>);

impl ValidatorSet {
    /// Whether a machine is one of them.
    pub fn contains(&self, node: &NodeId) -> bool {
        self.0.contains_key(node)
    }

    /// The hash a header carries.
    pub fn hash(&self) -> [u8; 32] {
        hash("validators", &[&canonical::encode(self)])
    }

    /// Whether these distinct members hold more than two thirds of the power: enough to decide.
    pub fn decides(&self, members: &BTreeSet<NodeId>) -> bool {
        3 * self.power_of(members) > 2 * self.power()
    }

    /// Whether these distinct members hold more than one third of the power: one at least is honest.
    pub fn vouches(&self, members: &BTreeSet<NodeId>) -> bool {
        3 * self.power_of(members) > self.power()
    }

    fn power(&self) -> u128 {
        self.0.values().map(|power| u128::from(*power)).sum()
    }

    fn power_of(&self, members: &BTreeSet<NodeId>) -> u128 {
        members.iter().filter_map(|node| self.0.get(node)).map(|power| u128::from(*power)).sum()
    }
}

impl FromIterator<(NodeId, u64)> for ValidatorSet {
    fn from_iter<I: IntoIterator<Item = (NodeId, u64)>>(members: I) -> Self {
        Self(members.into_iter().collect())
    }
}
