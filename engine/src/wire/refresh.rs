//! What holders of a group say to each other in a refresh (`engine/spec/refresh.md`).

use ed25519_dalek::SigningKey;
use minicbor::{Decode, Encode};

use crate::hash::hash;
use crate::names::{Epoch, GroupId, NetworkId, NodeId, ObjectId, Slot};
use crate::signature::Signature;

/// Most bytes of one [`ListedShare`].
pub const LISTED_SHARE_LEN_MAX: usize = 48;

/// An object and the epoch of its key shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct ListedShare {
    /// The object.
    #[n(0)]
    pub object: ObjectId,
    /// The epoch in which its shares were dealt or last refreshed.
    #[n(1)]
    pub epoch: Epoch,
}

/// What the canonical bytes of a batch's list, ascending by object, hash to.
pub fn list_digest(list: &[u8]) -> [u8; 32] {
    hash("refresh list", &[list])
}

/// One attempt to refresh a group, and one of its slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct RefreshPlace {
    /// The group.
    #[n(0)]
    pub group: GroupId,
    /// The epoch that comes.
    #[n(1)]
    pub epoch: Epoch,
    /// The attempt.
    #[n(2)]
    pub attempt: u32,
    /// The slot.
    #[n(3)]
    pub slot: Slot,
}

/// A holder's request to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RefreshStep {
    /// The refresh, and the receiver's slot.
    #[n(0)]
    pub place: RefreshPlace,
    /// What is wanted.
    #[n(1)]
    pub stage: RefreshStage,
}

/// The stages of a refresh, named by what is wanted of each holder; the body of the request is what
/// all posted in the stage before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum RefreshStage {
    /// Take part: the body is the list of the batch.
    #[n(0)]
    Begin,
    /// Deal, if it is a dealer, then post the digests. No body.
    #[n(1)]
    Deal,
    /// Post complaints against dealers.
    #[n(2)]
    Complain,
    /// Post answers to them.
    #[n(3)]
    Answer,
    /// Post check values, once the ledger has the beacon.
    #[n(4)]
    Check,
    /// Post commitments to the new shares.
    #[n(5)]
    Vouch,
    /// Make the new shares durable and sign for them.
    #[n(6)]
    Sign,
}

/// What a holder posts, for all to see.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SignedPost {
    /// Its slot.
    #[n(0)]
    pub slot: Slot,
    /// The canonical bytes of the post.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub post: Vec<u8>,
    #[n(2)]
    signature: Signature,
}

impl SignedPost {
    /// Signs a post for one stage of an attempt in which `transcript` went before.
    pub fn sign(
        network: &NetworkId,
        step: &RefreshStep,
        transcript: &[u8; 32],
        post: Vec<u8>,
        key: &SigningKey,
    ) -> Self {
        let place = place(step);
        let parts: [&[u8]; 4] = [network.as_bytes(), &place, transcript, &post];
        let signature = Signature::sign(key, "refresh post", &parts);
        Self { slot: step.place.slot, post, signature }
    }

    /// Whether `holder` posted this in that place; `step` names this post's slot.
    pub fn verify(
        &self,
        network: &NetworkId,
        step: &RefreshStep,
        transcript: &[u8; 32],
        holder: &NodeId,
    ) -> bool {
        let place = place(step);
        let parts: [&[u8]; 4] = [network.as_bytes(), &place, transcript, &self.post];
        self.signature.verifies(&holder.0, "refresh post", &parts)
    }
}

/// A holder's word that its new shares are durable: the answer to [`RefreshStage::Sign`], and to
/// [`RefreshStage::Begin`] of a batch without objects.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RefreshWord {
    /// The root of the new shares; none if the batch has no objects.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub root: Option<[u8; 32]>,
    /// Of the [`RefreshStatement`](crate::ledger::RefreshStatement).
    #[n(1)]
    pub signature: Signature,
}

fn place(step: &RefreshStep) -> [u8; 18] {
    let RefreshStep { place: RefreshPlace { group, epoch, attempt, slot }, stage } = step;
    let mut bytes = [0; 18];
    bytes[..4].copy_from_slice(&group.0.to_be_bytes());
    bytes[4..12].copy_from_slice(&epoch.0.to_be_bytes());
    bytes[12..16].copy_from_slice(&attempt.to_be_bytes());
    (bytes[16], bytes[17]) = (slot.point(), *stage as u8);
    bytes
}
