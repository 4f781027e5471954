//! What the state holds: the keys of the authenticated map and the value under each.

use minicbor::{Decode, Encode};

use super::beacon::{Anchor, BEACON_LINKS};
use super::entry::NodeJoin;
use super::log::Digest32;
use super::optional_digest;
use super::pointer::Pointer;
use crate::code::CodeParameters;
use crate::keyshare::KeyParameters;
use crate::names::{Epoch, GroupId, NodeId, Slot, Tag};
use crate::wire::canonical;

/// A key of the state; its canonical encoding is the key of the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum StateKey {
    /// [`Counts`].
    #[n(0)]
    Counts,
    /// [`Node`].
    #[n(1)]
    Node(#[n(0)] NodeId),
    /// The [`NodeId`] of the machine that was enrolled as this one, from 0: with
    /// [`StateKey::Counts`] the registry can be read, and proved, in full.
    #[n(2)]
    NodeAt(#[n(0)] u32),
    /// [`Group`]; groups are numbered from 0.
    #[n(3)]
    Group(#[n(0)] GroupId),
    /// Draws to be made: a list of [`PendingDraw`].
    #[n(4)]
    Pending,
    /// The sequence number of the last entry of an author, a `u64`.
    #[n(5)]
    Sequence(#[n(0)] NodeId),
    /// Live pointers posted by an author, a `u64`.
    #[n(6)]
    PointersBy(#[n(0)] NodeId),
    /// A list of [`PostedPointer`], in ledger order.
    #[n(7)]
    PointersOf(#[n(0)] Tag),
    /// [`Identity`] of a hashed handle.
    #[n(8)]
    Identity(#[cbor(n(0), with = "minicbor::bytes")] [u8; 32]),
    /// The version of the rules that the next block follows, a `u32`; absent: the genesis'.
    #[n(9)]
    Version,
    /// The [`ValidatorSet`](super::ValidatorSet) of the next block; absent: the genesis'.
    #[n(10)]
    Validators,
    /// [`Validator`]; absent: what the genesis says.
    #[n(11)]
    Validator(#[n(0)] NodeId),
    /// What a validator voted for and is not decided: a list of `H("ballot"; kind, content)`.
    #[n(12)]
    OpenVotes(#[n(0)] NodeId),
    /// The lowest height whose bodies must be kept, a `u64`.
    #[n(13)]
    RetentionFloor,
    /// Lost machines whose slots are not all asked for: a list of [`LostNode`].
    #[n(14)]
    Lost,
    /// Of which objects a machine signed wrong symbols: a list of [`ObjectId`](crate::names::ObjectId).
    #[n(15)]
    WrongSymbols(#[n(0)] NodeId),
    /// Groups whose refresh waits for the beacon of the next block: a list of [`GroupId`].
    #[n(16)]
    Sealed,
    /// [`Invited`], by the invitation's key.
    #[n(17)]
    Invited(#[n(0)] NodeId),
    /// How many times a machine was voted lost or convicted, a `u64`; from version 8 of the rules on.
    #[n(18)]
    Exclusions,
}

impl StateKey {
    /// The key of the authenticated map.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::encode(self)
    }
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Counts {
    /// Machines ever enrolled.
    #[n(0)]
    pub nodes: u32,
    /// Machines that can be given slots.
    #[n(1)]
    pub storage_nodes: u32,
    /// Groups.
    #[n(2)]
    pub groups: u32,
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Node {
    /// What it said of itself when it joined, with later updates.
    #[n(0)]
    pub join: NodeJoin,
    /// Slots it holds.
    #[n(1)]
    pub slots: u32,
    /// It is gone.
    #[n(2)]
    pub retired: bool,
    /// The height at which the validators found it lost, if that is why it is gone; from version 3
    /// of the rules on.
    #[n(3)]
    pub lost: Option<u64>,
    /// It is to leave and takes no new slots; from version 3 of the rules on.
    #[n(4)]
    pub draining: Option<bool>,
}

impl Node {
    /// Whether it can be given slots.
    pub fn takes_slots(&self) -> bool {
        self.join.roles.storage && !self.retired && !self.is_draining()
    }

    /// Whether it is to leave.
    pub fn is_draining(&self) -> bool {
        self.draining == Some(true)
    }

    /// Whether it may submit pointers and identity records.
    pub fn submits(&self) -> bool {
        self.join.roles.submitter && !self.retired
    }
}

/// An invitation.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Invited {
    /// Who invited, and answers for the machine.
    #[n(0)]
    pub operator: NodeId,
    /// The machine's zone.
    #[n(1)]
    pub zone: String,
    /// Bytes that it is to offer.
    #[n(2)]
    pub quota_bytes: u64,
    /// Until when, Unix milliseconds.
    #[n(3)]
    pub expires: u64,
    /// The machine that joined by it.
    #[n(4)]
    pub used_by: Option<NodeId>,
}

/// What is registered of a validator, of a former or of a future one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Validator {
    /// Where it answers other validators; empty: where the network file says.
    #[n(0)]
    pub address: String,
    /// The anchor in use.
    #[n(1)]
    pub anchor: Option<RegisteredAnchor>,
    /// The anchor that takes its place.
    #[n(2)]
    pub next_anchor: Option<RegisteredAnchor>,
    /// Anchors registered so far, without that of the genesis.
    #[n(3)]
    pub anchors: u32,
    /// Turns that passed without a block of it, its reveal withheld with the block.
    #[n(4)]
    pub missed: u64,
    /// The height of the first block that the set with it certifies, since it last joined the set.
    #[n(5)]
    pub since: u64,
}

impl Validator {
    /// The anchor that a reveal in block `height` opens; none if there is none or it is used up.
    pub fn active_anchor(&self, height: u64) -> Option<RegisteredAnchor> {
        let next = self.next_anchor.filter(|next| next.from <= height);
        next.or(self.anchor).filter(|anchor| anchor.revealed < BEACON_LINKS)
    }

    /// Block `height` reveals the link before the active anchor.
    pub(super) fn reveal(&mut self, height: u64, link: Digest32) {
        self.anchor = self.active_anchor(height).map(|active| RegisteredAnchor {
            anchor: Anchor(link),
            revealed: active.revealed + 1,
            ..active
        });
        self.next_anchor = self.next_anchor.filter(|next| next.from > height);
    }
}

/// An anchor with its place in the validator's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RegisteredAnchor {
    /// The anchor.
    #[n(0)]
    pub anchor: Anchor,
    /// The first height at which it is used.
    #[n(1)]
    pub from: u64,
    /// Which chain of the validator it is of: 0 in the genesis, then counted by registration.
    #[n(2)]
    pub number: u32,
    /// Links of that chain revealed so far.
    #[n(3)]
    pub revealed: u32,
}

impl RegisteredAnchor {
    pub(super) fn of_genesis(anchor: Anchor) -> Self {
        Self { anchor, from: 0, number: 0, revealed: 0 }
    }
}

/// A lost machine whose slots are not all asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LostNode {
    /// The machine.
    #[n(0)]
    pub node: NodeId,
    /// The first group that was not looked at.
    #[n(1)]
    pub next_group: GroupId,
}

/// A placement group.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Group {
    /// The data code.
    #[n(0)]
    pub code: CodeParameters,
    /// The key code.
    #[n(1)]
    pub key: KeyParameters,
    /// Refreshes so far.
    #[n(2)]
    pub epoch: Epoch,
    /// The commitment of the last refresh; zeros before the first.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub root: [u8; 32],
    /// The holders of the slots 1 to n; empty until they are drawn.
    #[n(4)]
    pub holders: Vec<Holder>,
    /// Those who left in this epoch: they know shares that are still good.
    #[n(5)]
    pub vacated: Vec<Vacated>,
    /// False if an operator has, or had in this epoch, more slots than
    /// [`crate::policy::placement::operator_slots_max`], the network being too small.
    #[n(6)]
    pub operator_bound_kept: bool,
    /// Its refreshes; none before the first block after its draw under version 4 of the rules.
    #[n(7)]
    pub refreshes: Option<Refreshes>,
}

/// What is known of a group's refreshes. A group with more objects than one batch takes is refreshed
/// in several batches, each of which is an epoch; together they are a cycle.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Refreshes {
    /// When the last cycle ended, or when the group was drawn; Unix milliseconds.
    #[n(0)]
    pub since: u64,
    /// The first epoch of the present cycle, or of the one that comes: shares of earlier epochs are
    /// refreshed in it.
    #[n(1)]
    pub cycle: Epoch,
    /// The roots of the newest epochs, at most [`EPOCH_ROOTS_MAX`], ascending.
    #[n(2)]
    pub roots: Vec<EpochRoot>,
    /// The attempt that is under way.
    #[n(3)]
    pub running: Option<RunningRefresh>,
}

/// Roots that a group's state keeps: an object that was left out of as many batches in a row can no
/// longer be read from commitments.
pub const EPOCH_ROOTS_MAX: usize = 16;

impl Refreshes {
    /// Of a group that was drawn at `time`, Unix milliseconds, or found without any then.
    pub(super) fn new(epoch: Epoch, time: u64) -> Self {
        Self { since: time, cycle: Epoch(epoch.0 + 1), roots: Vec::new(), running: None }
    }
}

/// The epochs of a group, as far as they matter to whoever checks its key shares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupEpochs {
    /// The newest.
    pub epoch: Epoch,
    /// The roots of the newest, ascending.
    pub roots: Vec<EpochRoot>,
}

impl GroupEpochs {
    /// The root of an epoch, if it is among the newest.
    pub fn root(&self, epoch: Epoch) -> Option<&[u8; 32]> {
        self.roots.iter().find(|root| root.epoch == epoch).map(|root| &root.root)
    }
}

/// The commitment to all shares that one refresh renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct EpochRoot {
    /// The epoch.
    #[n(0)]
    pub epoch: Epoch,
    /// The root over the rows of all objects of its batch.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub root: [u8; 32],
}

/// A refresh under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RunningRefresh {
    /// Attempts at this epoch are numbered from 0; whose turn each is, the number says.
    #[n(0)]
    pub attempt: u32,
    /// Objects of the batch.
    #[n(1)]
    pub objects: u32,
    /// What the list of these objects hashes to.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub list: [u8; 32],
    /// All that was dealt, once it is fixed.
    #[cbor(n(3), with = "optional_digest", has_nil)]
    pub transcript: Option<[u8; 32]>,
    /// The beacon of the block after the one that fixed it.
    #[cbor(n(4), with = "optional_digest", has_nil)]
    pub beacon: Option<[u8; 32]>,
}

impl Group {
    /// The holder of a slot, once drawn.
    pub fn holder(&self, slot: Slot) -> Option<&Holder> {
        self.holders.get(slot.index())
    }

    /// What shares of which epoch are checked against.
    pub fn epochs(&self) -> GroupEpochs {
        let roots = self.refreshes.as_ref().map(|refreshes| refreshes.roots.clone());
        GroupEpochs { epoch: self.epoch, roots: roots.unwrap_or_default() }
    }

    /// The slot that a machine holds.
    pub fn slot_of(&self, node: &NodeId) -> Option<Slot> {
        let mut seats = Slot::all(self.code.n).zip(&self.holders);
        seats.find(|(_, holder)| holder.node == *node).map(|(slot, _)| slot)
    }
}

/// Who has a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Holder {
    /// The machine.
    #[n(0)]
    pub node: NodeId,
    /// The height at which it was drawn.
    #[n(1)]
    pub since: u64,
    /// It took the slot from another and has not said yet that it rebuilt what belongs there; from
    /// version 3 of the rules on.
    #[n(2)]
    pub filling: Option<bool>,
}

impl Holder {
    /// Whether it is still rebuilding what belongs in the slot.
    pub fn is_filling(&self) -> bool {
        self.filling == Some(true)
    }
}

/// Who had a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Vacated {
    /// The slot.
    #[n(0)]
    pub slot: Slot,
    /// The machine.
    #[n(1)]
    pub node: NodeId,
    /// The height at which its successor was drawn.
    #[n(2)]
    pub until: u64,
}

/// A draw that the next beacon decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PendingDraw {
    /// The group.
    #[n(0)]
    pub group: GroupId,
    /// The slot to be given to a newcomer; all slots of a new group if none.
    #[n(1)]
    pub slot: Option<Slot>,
}

/// A pointer under its tag.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PostedPointer {
    /// [`Pointer::content`].
    #[cbor(n(0), with = "minicbor::bytes")]
    pub content: [u8; 32],
    /// Whose quota it counts against.
    #[n(1)]
    pub author: NodeId,
    /// The height at which it was posted.
    #[n(2)]
    pub height: u64,
    /// The pointer; none once it is retired.
    #[n(3)]
    pub pointer: Option<Pointer>,
    /// [`Pointer::number`], also once it is retired.
    #[n(4)]
    pub number: Option<u64>,
}

/// What is public of an identity.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Identity {
    /// The version of the record.
    #[n(0)]
    pub version: u64,
    /// The key that signs the next version.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub key: [u8; 32],
    /// Public keys, derivation profile and envelope version.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub record: Vec<u8>,
}
