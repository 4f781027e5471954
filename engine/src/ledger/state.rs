//! The state machine: what the entries of the chain add up to.
//!
//! The authenticated map is the whole state, so that the state root commits to everything a decision
//! depends on; what is kept beside it is decoded from it. A copy of the state costs some pointers.

use std::sync::Arc;

use minicbor::{Decode, Encode};

use super::beacon::Reveal;
use super::entry::{Body, Entry};
use super::entry_error::EntryError;
use super::genesis::{Genesis, ValidatorSet};
use super::log::Digest32;
use super::map::{AuthenticatedMap, StateProof};
use super::registry::{Counts, Group, Identity, Node, PendingDraw, PostedPointer, StateKey};
use super::verified::{VerifiedEntry, check_entry_length, check_signatures};
use crate::names::{GroupId, NetworkId, NodeId, Tag};
use crate::wire::canonical;

/// Most pointers without a number under one tag, retired ones included.
pub const POINTERS_PER_TAG_MAX: usize = 16;
/// Most draws waiting at a time.
pub const PENDING_DRAWS_MAX: usize = 1024;
/// The version of the rules that brought what the network needs to look after itself.
pub(super) const CARE: u32 = 3;
/// The version of the rules that brought refreshes by the holders.
pub(super) const REFRESH: u32 = 4;
/// The version of the rules that made the groups grow with the machines.
pub(super) const GROWTH: u32 = 5;
/// The version of the rules by which a refresh may go on without some holders, and that convicts of
/// wrong symbols of renewed shares.
pub(super) const ABSENCE: u32 = 6;
/// The version of the rules that counts exclusions, so that votes of a loss know of those before it.
pub const EXCLUSIONS_VERSION_MIN: u32 = 8;
/// The version of the rules from which on pointers are numbered, and each takes the place of the one
/// before it.
pub const NUMBERED_POINTERS_VERSION_MIN: u32 = 9;
/// Most holders of a group that may leave within one epoch.
pub const VACATED_MAX: usize = 255;

/// The state after a block, or in the middle of one.
#[derive(Clone)]
pub struct State {
    pub(super) genesis: Arc<Genesis>,
    pub(super) network: NetworkId,
    pub(super) height: u64,
    /// The time of the block that is entered, Unix milliseconds; 0 if none is.
    pub(super) time: u64,
    /// The rules of the block that is entered, or of the next if none is.
    version: u32,
    /// What [`StateKey::Validators`] holds: every entry asks for it.
    pub(super) validators: Arc<ValidatorSet>,
    /// What [`StateKey::Group`] holds, by number: every machine looks at all of them after every block.
    groups: Arc<Vec<Arc<Group>>>,
    map: AuthenticatedMap,
}

impl State {
    /// The state before the first block.
    pub fn new(genesis: Arc<Genesis>) -> Self {
        Self::after(genesis, 0, AuthenticatedMap::default())
    }

    /// The state after block `height`, which the map is all of.
    pub(super) fn after(genesis: Arc<Genesis>, height: u64, map: AuthenticatedMap) -> Self {
        let (network, version) = (genesis.network_id(), genesis.rules_version());
        let validators = Arc::new(genesis.validators.clone());
        let groups = Arc::default();
        let mut state =
            Self { genesis, network, height, time: 0, version, validators, groups, map };
        let all = (0..state.counts().groups).map(GroupId).map(StateKey::Group);
        state.groups = Arc::new(all.filter_map(|key| state.read(&key)).map(Arc::new).collect());
        state.version = state.next_version();
        if let Some(changed) = state.read(&StateKey::Validators) {
            state.validators = Arc::new(changed);
        }
        state
    }

    /// Enters block `height` of `time`, whose beacon decides the draws asked for in earlier blocks.
    pub fn begin_block(
        &mut self,
        (height, time): (u64, u64),
        proposer: &NodeId,
        reveal: &Reveal,
        beacon: &Digest32,
    ) {
        (self.height, self.time) = (height, time);
        if self.version >= 2 {
            self.take_turn(proposer, reveal);
        }
        self.decide_draws(beacon);
        if self.version >= 2 {
            self.ask_for_lost_slots();
        }
        self.give_beacon(beacon);
    }

    /// Leaves a block: an upgrade in it holds from here on.
    pub fn end_block(&mut self) {
        self.version = self.next_version();
    }

    /// Applies one entry: all of it, or nothing if it is refused.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), EntryError> {
        self.apply_unless_refused(entry, entry.to_bytes().len(), false)
    }

    /// Applies one entry without checking again the signatures that were checked.
    pub fn apply_verified(&mut self, entry: &VerifiedEntry) -> Result<(), EntryError> {
        self.apply_unless_refused(entry.entry(), entry.length(), true)
    }

    /// Whether the author may say something, and this now: what is cheap to know before the
    /// signature is checked.
    pub fn check_author(&self, entry: &Entry) -> Result<(), EntryError> {
        if !self.is_enrolled(&entry.author) {
            return Err(EntryError::NotEnrolled(entry.author));
        }
        let expected = self.next_sequence(&entry.author);
        if entry.sequence != expected {
            return Err(EntryError::Sequence { expected, found: entry.sequence });
        }
        Ok(())
    }

    pub(super) fn apply_unless_refused(
        &mut self,
        entry: &Entry,
        length: usize,
        verified: bool,
    ) -> Result<(), EntryError> {
        check_entry_length(length)?;
        self.check_author(entry)?;
        if !verified {
            check_signatures(&self.network, entry)?;
        }
        // The key of an invitation is good for one thing.
        if !self.is_member(&entry.author) && !matches!(entry.body, Body::InvitedJoin(_)) {
            return Err(EntryError::NotAllowed(entry.author));
        }
        self.apply_body(&entry.author, &entry.body)?;
        self.write(&StateKey::Sequence(entry.author), &entry.sequence);
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
            Body::ValidatorChange(change) => self.change_validators(author, change),
            Body::Upgrade(upgrade) => self.upgrade(author, *upgrade),
            Body::ValidatorUpdate(update) => self.update_validator(author, update),
            Body::RetentionFloor(floor) => self.raise_retention_floor(author, *floor),
            Body::NodeLost(lost) => self.lose_node(author, *lost),
            Body::Equivocation(proof) => self.expel(author, proof),
            Body::SlotFilled(filled) => self.fill_slot(author, filled),
            Body::WrongSymbol(proof) => self.convict(author, proof),
            Body::NodeDrain(drain) => self.drain(author, &drain.node),
            Body::RefreshBegin(begin) => self.begin_refresh(author, begin),
            Body::RefreshSeal(seal) => self.seal_refresh(author, seal),
            Body::RefreshEnd(end) => self.end_refresh(author, end),
            Body::Invitation(invitation) => self.invite(author, invitation),
            Body::InvitedJoin(join) => self.join_invited(author, join),
            Body::Unknown(_) => Ok(()),
        }
    }

    /// The root over the whole state.
    pub fn root(&self) -> Digest32 {
        self.map.root()
    }

    /// All of it.
    pub(super) fn map(&self) -> &AuthenticatedMap {
        &self.map
    }

    /// The canonical value under a key.
    pub fn value(&self, key: &StateKey) -> Option<&[u8]> {
        self.map.read(&key.to_bytes())
    }

    /// Proves what [`State::value`] says, be it nothing.
    pub fn prove(&self, key: &StateKey) -> StateProof {
        self.map.prove(&key.to_bytes())
    }

    /// The version of the rules that the next entry is judged by.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The version of the rules that the next block follows.
    pub fn next_version(&self) -> u32 {
        self.read(&StateKey::Version).unwrap_or_else(|| self.genesis.rules_version())
    }

    /// Who certifies the next block.
    pub fn validators(&self) -> &ValidatorSet {
        &self.validators
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
    pub fn group(&self, group: GroupId) -> Option<&Group> {
        self.groups.get(group.0 as usize).map(|group| &**group)
    }

    /// All groups.
    pub fn groups(&self) -> impl Iterator<Item = (GroupId, &Arc<Group>)> + '_ {
        (0..).map(GroupId).zip(&*self.groups)
    }

    /// What was posted under a tag, in ledger order; of numbered pointers the newest.
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

    /// Whether a block without entries would decide a draw or give a refresh its beacon: the host
    /// then makes one.
    pub fn has_pending(&self) -> bool {
        !self.sealed().is_empty() || self.pending().iter().any(|pending| self.is_placeable(pending))
    }

    pub(super) fn pending(&self) -> Vec<PendingDraw> {
        self.read(&StateKey::Pending).unwrap_or_default()
    }

    pub(super) fn is_validator(&self, author: &NodeId) -> bool {
        self.validators.contains(author)
    }

    pub(super) fn is_operator(&self, author: &NodeId) -> bool {
        self.genesis.operators.contains(author)
    }

    /// Whether it is a validator, an operator, a live machine, or the key of an invitation that
    /// nobody used.
    pub fn is_enrolled(&self, author: &NodeId) -> bool {
        self.is_member(author)
            || self.invited(author).is_some_and(|invited| invited.used_by.is_none())
    }

    /// Whether it is a validator, an operator or a live machine.
    pub(super) fn is_member(&self, author: &NodeId) -> bool {
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

    /// Writes a group, the next one if there is none of this number.
    pub(super) fn write_group(&mut self, id: GroupId, group: Group) {
        self.write(&StateKey::Group(id), &group);
        let groups = Arc::make_mut(&mut self.groups);
        match groups.get_mut(id.0 as usize) {
            Some(place) => *place = Arc::new(group),
            None => groups.push(Arc::new(group)),
        }
    }
}
