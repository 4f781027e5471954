//! What Malachite's core is told of this ledger: its heights, validators, values and votes.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use arc_malachitebft_core_types as malachite;
use malachite::{NilOrVal, Round, SignedMessage, VoteType};

use crate::ledger::block::Block;
use crate::ledger::genesis::ValidatorSet;
use crate::ledger::log::Digest32;
use crate::ledger::vote::{Vote, VoteKind};
use crate::names::NodeId;
use crate::signature::Signature;

/// The types that Malachite's core is generic over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Context;

impl malachite::Context for Context {
    type Address = Address;
    type Height = Height;
    type ProposalPart = NoPart;
    type Proposal = Proposal;
    type Validator = Member;
    type ValidatorSet = Members;
    type Timeouts = malachite::LinearTimeouts;
    type Value = Value;
    type Vote = CoreVote;
    type Extension = ();
    type SigningScheme = Ed25519;

    fn select_proposer<'a>(
        &self,
        members: &'a Members,
        height: Height,
        round: Round,
    ) -> &'a Member {
        let proposer = members.set.proposer(height.0, round.as_u32().unwrap_or(0));
        match members.find(&proposer) {
            Some(member) => member,
            None => unreachable!("a set's proposer is one of the set"),
        }
    }

    fn new_proposal(
        &self,
        height: Height,
        round: Round,
        value: Value,
        pol_round: Round,
        proposer: Address,
    ) -> Proposal {
        Proposal { height, round, pol_round, value, proposer }
    }

    fn new_prevote(
        &self,
        height: Height,
        round: Round,
        value: NilOrVal<Id>,
        validator: Address,
    ) -> CoreVote {
        CoreVote { kind: VoteType::Prevote, height, round, value, validator }
    }

    fn new_precommit(
        &self,
        height: Height,
        round: Round,
        value: NilOrVal<Id>,
        validator: Address,
    ) -> CoreVote {
        CoreVote { kind: VoteType::Precommit, height, round, value, validator }
    }
}

/// A validator's name, which is its public key too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address(pub(super) NodeId);

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl malachite::Address for Address {}

/// The height of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Height(pub(super) u64);

impl fmt::Display for Height {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl malachite::Height for Height {
    const ZERO: Self = Self(0);
    const INITIAL: Self = Self(1);

    fn increment_by(&self, heights: u64) -> Self {
        Self(self.0 + heights)
    }

    fn decrement_by(&self, heights: u64) -> Option<Self> {
        self.0.checked_sub(heights).map(Self)
    }

    fn as_u64(&self) -> u64 {
        self.0
    }
}

/// The hash of a block's header.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id(pub(super) Digest32);

impl fmt::Debug for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

/// A block to decide on. Two are the same if their headers are, which commit to the rest.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) id: Id,
    pub(super) block: Arc<Block>,
}

impl Value {
    pub(super) fn new(block: Arc<Block>) -> Self {
        Self { id: Id(block.header.hash()), block }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Value {}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.id.cmp(&other.id)
    }
}

impl malachite::Value for Value {
    type Id = Id;

    fn id(&self) -> Id {
        self.id
    }
}

/// Proposals travel whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoPart {}

impl malachite::ProposalPart<Context> for NoPart {
    fn is_first(&self) -> bool {
        match *self {}
    }

    fn is_last(&self) -> bool {
        match *self {}
    }
}

/// A block put forward in a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proposal {
    pub(super) height: Height,
    pub(super) round: Round,
    pub(super) pol_round: Round,
    pub(super) value: Value,
    pub(super) proposer: Address,
}

impl malachite::Proposal<Context> for Proposal {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &Value {
        &self.value
    }

    fn take_value(self) -> Value {
        self.value
    }

    fn pol_round(&self) -> Round {
        self.pol_round
    }

    fn validator_address(&self) -> &Address {
        &self.proposer
    }
}

/// A vote as the core sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CoreVote {
    pub(super) kind: VoteType,
    pub(super) height: Height,
    pub(super) round: Round,
    pub(super) value: NilOrVal<Id>,
    pub(super) validator: Address,
}

impl malachite::Vote<Context> for CoreVote {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &NilOrVal<Id> {
        &self.value
    }

    fn take_value(self) -> NilOrVal<Id> {
        self.value
    }

    fn vote_type(&self) -> VoteType {
        self.kind
    }

    fn validator_address(&self) -> &Address {
        &self.validator
    }

    fn extension(&self) -> Option<&malachite::SignedExtension<Context>> {
        None
    }

    fn take_extension(&mut self) -> Option<malachite::SignedExtension<Context>> {
        None
    }

    fn extend(self, _: malachite::SignedExtension<Context>) -> Self {
        self
    }
}

impl From<&Vote> for CoreVote {
    fn from(vote: &Vote) -> Self {
        Self {
            kind: match vote.kind {
                VoteKind::Prevote => VoteType::Prevote,
                VoteKind::Precommit => VoteType::Precommit,
            },
            height: Height(vote.height),
            round: Round::new(vote.round),
            value: vote.value.map_or(NilOrVal::Nil, |value| NilOrVal::Val(Id(value))),
            validator: Address(vote.validator),
        }
    }
}

impl CoreVote {
    /// The vote as it is signed.
    pub(super) fn to_vote(&self) -> Vote {
        Vote {
            kind: match self.kind {
                VoteType::Prevote => VoteKind::Prevote,
                VoteType::Precommit => VoteKind::Precommit,
            },
            height: self.height.0,
            round: round_number(self.round),
            value: match self.value {
                NilOrVal::Nil => None,
                NilOrVal::Val(Id(value)) => Some(value),
            },
            validator: self.validator.0,
        }
    }
}

/// The number of a round that exists.
pub(super) fn round_number(round: Round) -> u32 {
    round.as_u32().unwrap_or(0)
}

/// A validator of the set that decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    address: Address,
    power: u64,
}

impl malachite::Validator<Context> for Member {
    fn address(&self) -> &Address {
        &self.address
    }

    fn public_key(&self) -> &NodeId {
        &self.address.0
    }

    fn voting_power(&self) -> u64 {
        self.power
    }
}

/// The set that decides, in the order of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Members {
    set: Arc<ValidatorSet>,
    members: Arc<[Member]>,
}

impl Members {
    pub(super) fn new(set: &ValidatorSet) -> Self {
        let member = |(id, power): (&NodeId, &u64)| Member { address: Address(*id), power: *power };
        Self { set: Arc::new(set.clone()), members: set.0.iter().map(member).collect() }
    }

    pub(super) fn set(&self) -> &ValidatorSet {
        &self.set
    }

    fn find(&self, validator: &NodeId) -> Option<&Member> {
        let place = self.members.binary_search_by(|member| member.address.0.cmp(validator)).ok()?;
        self.members.get(place)
    }
}

impl malachite::ValidatorSet<Context> for Members {
    fn count(&self) -> usize {
        self.members.len()
    }

    fn total_voting_power(&self) -> u64 {
        self.members.iter().map(|member| member.power).sum()
    }

    fn get_by_address(&self, address: &Address) -> Option<&Member> {
        self.find(&address.0)
    }

    fn get_by_index(&self, index: usize) -> Option<&Member> {
        self.members.get(index)
    }
}

/// RFC 8032 under the ledger's labels; the host signs and verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ed25519;

impl malachite::SigningScheme for Ed25519 {
    type DecodingError = Infallible;
    type Signature = Signature;
    type PublicKey = NodeId;
    type PrivateKey = ();

    // The core never encodes or decodes anything; messages and log records are the host's.
    fn decode_signature(_: &[u8]) -> Result<Signature, Infallible> {
        unreachable!("the core decodes no signature")
    }

    fn encode_signature(signature: &Signature) -> Vec<u8> {
        signature.0.to_vec()
    }

    fn decode_public_key(_: &[u8]) -> Result<NodeId, Infallible> {
        unreachable!("the core decodes no key")
    }

    fn encode_public_key(key: &NodeId) -> Vec<u8> {
        key.0.to_vec()
    }
}

/// A message of the core with its signature.
pub(super) type Signed<T> = SignedMessage<Context, T>;
