//! What every holder of an object keeps beside its part, and what the object is named by.

use ed25519_dalek::VerifyingKey;
use minicbor::{Decode, Encode};

use super::{FormatError, FragmentRoot, OBJECT_LEN_MAX, require};
use crate::code::CodeParameters;
use crate::hash::hash;
use crate::keyshare::{Binding, KeyParameters, RenewedRows, RowHash};
use crate::names::{Epoch, GroupId, ObjectId, Slot};
use crate::seal::{Suite, padme};
use crate::wire::canonical;

/// The longest encoding: 255 roots and rows of 34 bytes each, and less than 265 bytes of the rest.
pub const DESCRIPTOR_LEN_MAX: usize = 2 * 255 * 34 + 265;

/// The public description of an object: enough to check, repair, audit and address every part of
/// it, and nothing about what is in it. Never on the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Descriptor {
    /// The format.
    #[n(0)]
    pub version: DescriptorVersion,
    /// The cipher of every stream.
    #[n(1)]
    pub suite: Suite,
    /// The placement group whose slots hold the parts.
    #[n(2)]
    pub group: GroupId,
    /// The code of the fragments.
    #[n(3)]
    pub code: CodeParameters,
    /// Bytes before coding, padding included: a permitted length of [`padme`] up to
    /// [`OBJECT_LEN_MAX`].
    #[n(4)]
    pub coded_len: u64,
    /// Random; enters every key of the object.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub salt: [u8; 32],
    /// The root of every fragment, in slot order.
    #[n(6)]
    pub fragment_roots: Vec<FragmentRoot>,
    /// The sharing of `V`.
    #[n(7)]
    pub key: KeyParameters,
    /// The commitment to every slot's key share, in slot order.
    #[n(8)]
    pub rows: Vec<RowHash>,
    /// The epoch that `V` was dealt in.
    #[n(9)]
    pub epoch: Epoch,
    /// Ed25519: signs reads.
    #[cbor(n(10), with = "minicbor::bytes")]
    pub read_key: [u8; 32],
    /// Ed25519: signs the order to destroy the object.
    #[cbor(n(11), with = "minicbor::bytes")]
    pub write_key: [u8; 32],
    /// Unix seconds until which no holder destroys its part; with version 2 only.
    #[n(12)]
    pub retain_until: Option<u64>,
}

/// The versions of descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum DescriptorVersion {
    /// Of an object that its owner may have destroyed at any time.
    #[n(1)]
    V1,
    /// Of an object that must be kept until a date; programs before version 4 of the rules do not
    /// know it.
    #[n(2)]
    V2,
}

impl Descriptor {
    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// Reads and checks a descriptor. Whether it is the right one, its [`Self::object_id`] tells.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let descriptor: Self = canonical::decode(bytes, DESCRIPTOR_LEN_MAX)?;
        descriptor.check()?;
        Ok(descriptor)
    }

    /// The object's name.
    pub fn object_id(&self) -> ObjectId {
        ObjectId(hash("object", &[&self.encode()]))
    }

    /// What the commitments of the key shares bind, in the epoch that `V` was dealt in.
    pub fn binding(&self) -> Binding<'_> {
        Binding { parameters: self.key, salt: &self.salt, epoch: self.epoch, coverage: None }
    }

    /// What key shares are checked against, what the rows bind and the rows in slot order: the rows
    /// of the dealing, or those of the last refresh.
    pub fn commitments<'a>(
        &'a self,
        renewed: Option<&'a RenewedRows>,
    ) -> (Binding<'a>, &'a [RowHash]) {
        match renewed {
            Some(renewed) => (renewed.binding(self.key, &self.salt), &renewed.rows),
            None => (self.binding(), &self.rows),
        }
    }

    /// Whether these bytes are the fragment of a slot: whether its root is of them.
    pub fn is_fragment(&self, slot: Slot, bytes: &[u8]) -> bool {
        self.fragment_roots.get(slot.index()) == Some(&FragmentRoot::of(bytes))
    }

    /// Whether its holders may destroy it at `now`, Unix seconds.
    pub fn may_be_destroyed(&self, now: u64) -> bool {
        self.retain_until.is_none_or(|until| until <= now)
    }

    fn check(&self) -> Result<(), FormatError> {
        let n = self.code.n;
        let retained = self.version == DescriptorVersion::V2;
        require(self.retain_until.is_some() == retained, "a date in the wrong version")?;
        require(self.code.check().is_ok(), "there is no such code")?;
        require(self.key.n() == n, "the key and the data have different numbers of slots")?;
        require(self.fragment_roots.len() == usize::from(n), "not one fragment root a slot")?;
        require(self.rows.len() == usize::from(n), "not one key share row a slot")?;
        require(self.coded_len <= OBJECT_LEN_MAX, "the object is too long")?;
        require(padme(self.coded_len) == self.coded_len, "the object is not padded")?;
        require(is_verifying_key(&self.read_key), "the read key is not a public key")?;
        require(is_verifying_key(&self.write_key), "the write key is not a public key")
    }
}

/// A point of small order would accept anyone's signature.
fn is_verifying_key(bytes: &[u8; 32]) -> bool {
    VerifyingKey::from_bytes(bytes).is_ok_and(|key| !key.is_weak())
}
