//! The state machine: what the entries of the chain add up to.
//!
//! The authenticated map is the whole state; nothing is kept beside it, so that the state root
//! commits to everything a decision depends on. A copy of the state costs one pointer.

use std::sync::Arc;

use minicbor::{Decode, Encode};
use thiserror::Error;

use super::entry::{Body, ENTRY_LEN_MAX, Entry};
use super::genesis::{Genesis, GroupParametersError};
use super::log::Digest32;
use super::map::{AuthenticatedMap, StateProof};
use super::registry::{Counts, Group, Identity, Node, PendingDraw, PostedPointer, StateKey};
use crate::names::{Epoch, GroupId, NetworkId, NodeId, Slot, Tag};
use crate::wire::canonical;

/// Most pointers under one tag, retired ones included.
pub const POINTERS_PER_TAG_MAX: usize = 16;
/// Most draws waiting at a time.
pub const PENDING_DRAWS_MAX: usize = 1024;
/// Most holders of a group that may leave within one epoch.
pub const VACATED_MAX: usize = 255;

/// The state after a block, or in the middle of one.
#[derive(Clone)]
pub struct State {
    pub(super) genesis: Arc<Genesis>,
    pub(super) network: NetworkId,
    pub(super) height: u64,
    map: AuthenticatedMap,
}

/// Why an entry is refused: its author is to blame. The state did not change.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EntryError {
    /// Longer than [`ENTRY_LEN_MAX`].
    #[error("the entry has {0} bytes; at most {ENTRY_LEN_MAX} are allowed")]
    TooLong(usize),
    /// The author did not sign this for this network.
    #[error("the author's signature is not valid in this network")]
    Signature,
    /// The author is no validator, operator or live machine.
    #[error("{0} is not enrolled")]
    NotEnrolled(NodeId),
    /// Sent before, or entries before it are missing.
    #[error("the entry's sequence number is {found}; the author's next is {expected}")]
    Sequence {
        /// The author's next number.
        expected: u64,
        /// The entry's.
        found: u64,
    },
    /// The author's rights do not reach so far.
    #[error("{0} may not do this")]
    NotAllowed(NodeId),
    /// A field is too long.
    #[error("the {field} has {length} bytes; at most {limit} are allowed")]
    FieldTooLong {
        /// Which.
        field: &'static str,
        /// Bytes found.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The machine is already enrolled.
    #[error("{0} is already enrolled")]
    AlreadyEnrolled(NodeId),
    /// There is no such live machine.
    #[error("there is no live machine {0}")]
    UnknownNode(NodeId),
    /// The generation counts backwards, or not on where it must.
    #[error("generation {found} where at least {least} is expected")]
    Generation {
        /// The least that is accepted.
        least: u64,
        /// The entry's.
        found: u64,
    },
    /// The codes make no group.
    #[error(transparent)]
    GroupParameters(#[from] GroupParametersError),
    /// The network is too small.
    #[error("{needed} machines are needed and {available} can be drawn")]
    TooFewNodes {
        /// Machines to be drawn.
        needed: usize,
        /// Machines that can be.
        available: usize,
    },
    /// There is no such slot, or its group has no holders yet.
    #[error("slot {slot} of group {group} has no holder")]
    UnknownSlot {
        /// The group.
        group: GroupId,
        /// The slot.
        slot: Slot,
    },
    /// The group does not exist.
    #[error("there is no group {0}")]
    UnknownGroup(GroupId),
    /// The slot is being reassigned already.
    #[error("slot {slot} of group {group} is being reassigned already")]
    AlreadyPending {
        /// The group.
        group: GroupId,
        /// The slot.
        slot: Slot,
    },
    /// More draws than a block should make are waiting.
    #[error("{PENDING_DRAWS_MAX} draws are waiting; send it again after the next block")]
    TooManyDraws,
    /// So many holders left that the shares must be refreshed before another leaves.
    #[error("{VACATED_MAX} holders of group {0} left in this epoch; its shares must be refreshed")]
    RefreshFirst(GroupId),
    /// Another epoch comes next.
    #[error("epoch {} where {} comes next", found.0, expected.0)]
    Epoch {
        /// The group's next epoch.
        expected: Epoch,
        /// The entry's.
        found: Epoch,
    },
    /// The one-time key did not sign.
    #[error("the pointer's own signature is not valid")]
    PointerSignature,
    /// The same pointer was posted before; it may be retired since.
    #[error("this pointer was posted before")]
    DuplicatePointer,
    /// The tag has all it can hold.
    #[error("tag {0} holds {POINTERS_PER_TAG_MAX} pointers already")]
    TagFull(Tag),
    /// The author's quota is used up.
    #[error("{author} holds {limit} pointers, its quota")]
    PointerQuota {
        /// The author.
        author: NodeId,
        /// Its quota.
        limit: u64,
    },
    /// There is nothing to retire.
    #[error("tag {0} holds no such pointer")]
    UnknownPointer(Tag),
    /// The identity's key did not sign.
    #[error("the identity's own signature is not valid")]
    IdentitySignature,
    /// Another version comes next.
    #[error("version {found} of an identity where {expected} comes next")]
    IdentityVersion {
        /// The next version.
        expected: u64,
        /// The entry's.
        found: u64,
    },
    /// Set changes are not certified yet.
    #[error("this version of the network cannot change its validators")]
    ValidatorChange,
}

impl State {
    /// The state before the first block.
    pub fn new(genesis: Arc<Genesis>) -> Self {
        let network = genesis.network_id();
        Self { genesis, network, height: 0, map: AuthenticatedMap::default() }
    }

    /// Enters block `height`, whose beacon decides the draws asked for in earlier blocks.
    pub fn begin_block(&mut self, height: u64, beacon: &Digest32) {
        self.height = height;
        self.decide_draws(beacon);
    }

    /// Applies one entry: all of it, or nothing if it is refused.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), EntryError> {
        let length = entry.to_bytes().len();
        if length > ENTRY_LEN_MAX {
            return Err(EntryError::TooLong(length));
        }
        let author = &entry.author;
        if !self.is_enrolled(author) {
            return Err(EntryError::NotEnrolled(*author));
        }
        let expected = self.next_sequence(author);
        if entry.sequence != expected {
            return Err(EntryError::Sequence { expected, found: entry.sequence });
        }
        if !entry.verifies(&self.network) {
            return Err(EntryError::Signature);
        }
        self.apply_body(author, &entry.body)?;
        self.write(&StateKey::Sequence(*author), &expected);
        Ok(())
    }

    /// Checks, then writes: on an error nothing was written.
    fn apply_body(&mut self, author: &NodeId, body: &Body) -> Result<(), EntryError> {
        match body {
            Body::NodeJoin(join) => self.join(author, join),
            Body::NodeUpdate(update) => self.update(author, update),
            Body::NodeRetire(retire) => self.retire(author, &retire.node),
            Body::GroupCreate(create) => self.create_group(author, create),
            Body::SlotReassign(reassign) => self.reassign(author, reassign),
            Body::EpochAdvance(advance) => self.advance_epoch(author, advance),
            Body::Pointer(pointer) => self.post(author, pointer),
            Body::PointerRetire(retire) => self.retire_pointer(author, retire),
            Body::IdentityRecord(record) => self.record_identity(author, record),
            Body::ValidatorChange(_) => Err(EntryError::ValidatorChange),
            Body::Unknown(_) => Ok(()),
        }
    }

    /// The root over the whole state.
    pub fn root(&self) -> Digest32 {
        self.map.root()
    }

    /// The canonical value under a key.
    pub fn value(&self, key: &StateKey) -> Option<&[u8]> {
        self.map.read(&key.to_bytes())
    }

    /// Proves what [`State::value`] says, be it nothing.
    pub fn prove(&self, key: &StateKey) -> StateProof {
        self.map.prove(&key.to_bytes())
    }

    /// How much there is.
    pub fn counts(&self) -> Counts {
        self.read(&StateKey::Counts).unwrap_or_default()
    }

    /// A machine, retired ones included.
    pub fn node(&self, node: &NodeId) -> Option<Node> {
        self.read(&StateKey::Node(*node))
    }

    /// All machines, retired ones included, in the order of enrolment.
    pub fn nodes(&self) -> impl Iterator<Item = Node> + '_ {
        (0..self.counts().nodes)
            .filter_map(|place| self.node(&self.read(&StateKey::NodeAt(place))?))
    }

    /// A group.
    pub fn group(&self, group: GroupId) -> Option<Group> {
        self.read(&StateKey::Group(group))
    }

    /// All groups.
    pub fn groups(&self) -> impl Iterator<Item = (GroupId, Group)> + '_ {
        (0..self.counts().groups).map(GroupId).filter_map(|id| Some((id, self.group(id)?)))
    }

    /// What was posted under a tag, in ledger order.
    pub fn pointers(&self, tag: Tag) -> Vec<PostedPointer> {
        self.read(&StateKey::PointersOf(tag)).unwrap_or_default()
    }

    /// The identity of `H("id"; handle)`.
    pub fn identity(&self, handle: [u8; 32]) -> Option<Identity> {
        self.read(&StateKey::Identity(handle))
    }

    /// The sequence number of an author's next entry.
    pub fn next_sequence(&self, author: &NodeId) -> u64 {
        self.read::<u64>(&StateKey::Sequence(*author)).unwrap_or(0) + 1
    }

    /// Whether a block without entries would decide a draw: the host then makes one.
    pub fn has_pending(&self) -> bool {
        self.pending().iter().any(|pending| self.is_placeable(pending))
    }

    pub(super) fn pending(&self) -> Vec<PendingDraw> {
        self.read(&StateKey::Pending).unwrap_or_default()
    }

    pub(super) fn is_validator(&self, author: &NodeId) -> bool {
        self.genesis.validators.contains(author)
    }

    pub(super) fn is_operator(&self, author: &NodeId) -> bool {
        self.genesis.operators.contains(author)
    }

    /// Whether it is a validator, an operator or a live machine.
    pub fn is_enrolled(&self, author: &NodeId) -> bool {
        self.is_validator(author)
            || self.is_operator(author)
            || self.node(author).is_some_and(|node| !node.retired)
    }

    /// Reads a value; each key has one type, and only [`State::write`] puts values there.
    pub(super) fn read<T>(&self, key: &StateKey) -> Option<T>
    where
        T: for<'b> Decode<'b, ()>,
    {
        let bytes = self.value(key)?;
        match minicbor::decode(bytes) {
            Ok(value) => Some(value),
            Err(error) => unreachable!("{key:?} holds what was written under it: {error}"),
        }
    }

    pub(super) fn write<T: Encode<()>>(&mut self, key: &StateKey, value: &T) {
        self.map.write(&key.to_bytes(), &canonical::encode(value));
    }
}

/// Refuses a field that is too long.
pub(super) fn check_length(
    field: &'static str,
    length: usize,
    limit: usize,
) -> Result<(), EntryError> {
    if length > limit { Err(EntryError::FieldTooLong { field, length, limit }) } else { Ok(()) }
}
