//! Destruction of objects: the owner's order, which every machine can check alone, and the holders'
//! word that they followed it.

use ed25519_dalek::SigningKey;
use minicbor::{Decode, Encode};

use super::request::{PartReference, VouchedDescriptor};
use super::response::{InventorySummary, receipt_parts};
use crate::names::{Epoch, GroupId, NetworkId, NodeId, ObjectId, Slot};
use crate::object::Descriptor;
use crate::signature::{Signature, node_id};

/// The most orders that a page of them holds; with the longest descriptors 4.6 MB.
pub const ORDERS_LIMIT_MAX: usize = 256;
const ORDER_LABEL: &str = "shred";
const RECEIPT_LABEL: &str = "shredded";

/// The owner's order to destroy every part of an object. It proves itself: the descriptor hashes to
/// the object's id and names the key that signs the order. Said again, to whomever, it means the
/// same; it cannot be taken back. What is kept of it is the object's tombstone.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ShredOrder {
    /// What is destroyed, vouched for by the submitter that asks.
    #[n(0)]
    pub object: VouchedDescriptor,
    #[n(1)]
    signature: Signature,
}

impl ShredOrder {
    /// Signs with the object's write key.
    pub fn sign(
        network: &NetworkId,
        object: VouchedDescriptor,
        object_id: &ObjectId,
        write_key: &SigningKey,
    ) -> Self {
        let parts = [network.as_bytes(), object_id.as_bytes()];
        Self { object, signature: Signature::sign(write_key, ORDER_LABEL, &parts) }
    }

    /// The object and its descriptor, if the order is its owner's and vouched for.
    pub fn verify(&self, network: &NetworkId) -> Option<(ObjectId, Descriptor)> {
        let (object, descriptor) = self.object.verify(network)?;
        let parts = [network.as_bytes(), object.as_bytes()];
        let holds = self.signature.verifies(&descriptor.write_key, ORDER_LABEL, &parts);
        holds.then_some((object, descriptor))
    }
}

/// A request to destroy.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Shred {
    /// The slot that the receiver holds, or left in this epoch of the group.
    #[n(0)]
    pub slot: Slot,
    /// What to destroy.
    #[n(1)]
    pub order: ShredOrder,
}

/// A request for the orders of a group that another holder keeps.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Orders {
    /// The group.
    #[n(0)]
    pub group: GroupId,
    /// The slot of which the asker is the holder.
    #[n(1)]
    pub slot: Slot,
    /// Of all objects whose orders the asker has: nothing is sent if the receiver has the same.
    #[n(2)]
    pub known: InventorySummary,
    /// Orders of objects after this one.
    #[n(3)]
    pub after: Option<ObjectId>,
}

/// A page of orders.
#[derive(Debug, Default, Encode, Decode)]
pub struct OrdersPage {
    /// At most [`ORDERS_LIMIT_MAX`], ascending by object.
    #[n(0)]
    pub orders: Vec<ShredOrder>,
    /// The last object that was looked at, where more follow.
    #[n(1)]
    pub more_after: Option<ObjectId>,
}

/// A holder's signed word that it has destroyed whatever it had of an object, in whatever slot, and
/// will take nothing of it again.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DestructionReceipt {
    /// The part of the slot that it was asked for.
    #[n(0)]
    pub part: PartReference,
    /// The epoch of the group, as the holder knows it when it signs.
    #[n(1)]
    pub epoch: Epoch,
    /// Who attests.
    #[n(2)]
    pub holder: NodeId,
    #[n(3)]
    signature: Signature,
}

impl DestructionReceipt {
    /// Signs; call only after the order is durable and the parts are erased.
    pub fn sign(
        network: &NetworkId,
        part: PartReference,
        epoch: Epoch,
        holder: &SigningKey,
    ) -> Self {
        let id = node_id(holder);
        let parts = receipt_parts(network, &part, epoch, &id);
        let signature = Signature::sign(holder, RECEIPT_LABEL, &parts.each_ref().map(|p| &p[..]));
        Self { part, epoch, holder: id, signature }
    }

    /// Whether the holder's signature holds.
    pub fn verify(&self, network: &NetworkId) -> bool {
        let parts = receipt_parts(network, &self.part, self.epoch, &self.holder);
        let parts = parts.each_ref().map(|part| &part[..]);
        self.signature.verifies(&self.holder.0, RECEIPT_LABEL, &parts)
    }
}
