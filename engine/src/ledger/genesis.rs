//! What a network agrees on before its first block. Its canonical hash is the network's name.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};
use thiserror::Error;

use super::beacon::Anchor;
use super::block::{Header, SignedHeader};
use super::certificate::Certificate;
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
    /// The version of the rules that the first block follows; none is 1, whose bytes have no such
    /// field.
    #[n(8)]
    pub version: Option<u32>,
    /// Anchors of validators, used from the first block on; no field if there are none.
    #[cbor(n(9), with = "anchors", has_nil)]
    pub anchors: BTreeMap<NodeId, Anchor>,
}

/// The newest version of the rules that this program knows.
pub const RULES_VERSION_MAX: u32 = 10;

/// Why a genesis is refused. Whoever wrote it is to blame.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum GenesisError {
    /// The name is empty or too long.
    #[error("the network's name has {0} bytes; it needs 1 to {NETWORK_NAME_LEN_MAX}")]
    Name(usize),
    /// The validators make no set.
    #[error(transparent)]
    Validators(#[from] ValidatorSetError),
    /// Rules that this program does not know, or version 1 in so many words.
    #[error(
        "rules of version {0}; a network names one from 2 to {RULES_VERSION_MAX}, or none for \
         version 1"
    )]
    Version(u32),
    /// An anchor of somebody who does not need it.
    #[error("an anchor of {0}, which is no validator of a network with rules of version 2")]
    Anchor(NodeId),
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

    /// The version of the rules that the first block follows.
    pub fn rules_version(&self) -> u32 {
        self.version.unwrap_or(1)
    }

    /// Checks every limit.
    pub fn check(&self) -> Result<(), GenesisError> {
        if self.name.is_empty() || self.name.len() > NETWORK_NAME_LEN_MAX {
            return Err(GenesisError::Name(self.name.len()));
        }
        self.validators.check()?;
        if let Some(version) = self.version
            && !(2..=RULES_VERSION_MAX).contains(&version)
        {
            return Err(GenesisError::Version(version));
        }
        let anchored = |node: &NodeId| self.rules_version() >= 2 && self.validators.contains(node);
        if let Some(node) = self.anchors.keys().find(|node| !anchored(node)) {
            return Err(GenesisError::Anchor(*node));
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

/// CBOR of anchors, absent if there are none.
mod anchors {
    use std::collections::BTreeMap;

    use minicbor::encode::Write;
    use minicbor::{Decode, Decoder, Encode, Encoder};

    use super::Anchor;
    use crate::names::NodeId;

    type Anchors = BTreeMap<NodeId, Anchor>;

    pub(super) fn encode<C, W: Write>(
        anchors: &Anchors,
        encoder: &mut Encoder<W>,
        context: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        anchors.encode(encoder, context)
    }

    pub(super) fn decode<C>(
        decoder: &mut Decoder<'_>,
        context: &mut C,
    ) -> Result<Anchors, minicbor::decode::Error> {
        Anchors::decode(decoder, context)
    }

    pub(super) fn nil() -> Option<Anchors> {
        Some(Anchors::new())
    }

    pub(super) fn is_nil(anchors: &Anchors) -> bool {
        anchors.is_empty()
    }
}

/// Why there can be no such validator set.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ValidatorSetError {
    /// None or too many.
    #[error("{0} validators; a network has 1 to {VALIDATORS_MAX}")]
    Count(usize),
    /// A voting power is out of range.
    #[error("validator {0} has a voting power outside 1 to {POWER_MAX}")]
    Power(NodeId),
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

    /// Checks every limit.
    pub fn check(&self) -> Result<(), ValidatorSetError> {
        if self.0.is_empty() || self.0.len() > VALIDATORS_MAX {
            return Err(ValidatorSetError::Count(self.0.len()));
        }
        match self.0.iter().find(|(_, power)| !(1..=POWER_MAX).contains(*power)) {
            Some((node, _)) => Err(ValidatorSetError::Power(*node)),
            None => Ok(()),
        }
    }

    /// Whose turn it is to propose: ascending by name, one further with each height and round.
    /// The set is not empty.
    pub fn proposer(&self, height: u64, round: u32) -> NodeId {
        match self.rotation(height).nth(round as usize % self.0.len().max(1)) {
            Some(node) => node,
            None => unreachable!("a set that was checked is not empty"),
        }
    }

    /// Those whose turn came before that of `proposer`, who put the block together.
    pub(super) fn passed_over(&self, height: u64, proposer: &NodeId) -> Vec<NodeId> {
        self.rotation(height).take_while(|node| node != proposer).collect()
    }

    /// Each once, beginning with the proposer of round 0.
    fn rotation(&self, height: u64) -> impl Iterator<Item = NodeId> + '_ {
        let count = self.0.len();
        let first = height.checked_rem(count as u64).unwrap_or(0) as usize;
        self.0.keys().cycle().skip(first).take(count).copied()
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
