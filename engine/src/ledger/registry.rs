//! What the state holds: the keys of the authenticated map and the value under each.

use minicbor::{Decode, Encode};

use super::entry::NodeJoin;
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
}

impl Node {
    /// Whether it can be given slots.
    pub fn takes_slots(&self) -> bool {
        self.join.roles.storage && !self.retired
    }

    /// Whether it may submit pointers and identity records.
    pub fn submits(&self) -> bool {
        self.join.roles.submitter && !self.retired
    }
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
}

impl Group {
    /// The holder of a slot, once drawn.
    pub fn holder(&self, slot: Slot) -> Option<&Holder> {
        self.holders.get(slot.index())
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
