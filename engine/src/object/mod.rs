//! Objects: what is stored. One or more sealed record streams, padded, coded and described.
//!
//! Writing: an [`ObjectBuilder`] seals pieces of records into one buffer, each piece an [`Extent`],
//! and finishes as a [`SealedObject`]: fragments and key shares for the n holders and a public
//! [`Descriptor`] whose hash is the object's name. The owner's [`Manifest`] says which extents make
//! up which record; it is sealed like a record, and a [`PointerBody`] on the ledger leads to it.
//! Reading goes the other way: pointer, manifest, [`ExtentReader`]. Formats: `engine/spec/object.md`.

mod descriptor;
mod extent;
mod group_tree;
mod manifest;
mod pack;
mod pointer;

use minicbor::{Decode, Encode};
use thiserror::Error;

use crate::names::{GroupId, ObjectId};
use crate::wire::canonical::CanonicalError;

pub use descriptor::{DESCRIPTOR_LEN_MAX, Descriptor, DescriptorVersion};
pub use extent::{Extent, ExtentReader};
pub use group_tree::{FragmentRoot, GROUPS_MAX, GroupHashes};
pub use manifest::{MANIFEST_LEN_MAX, Manifest, NAME_LEN_MAX, RecordEntry};
pub use pack::{ObjectBuilder, PackError, Placement, SealedObject};
pub use pointer::{OpenPointerError, PointerBody, PointerVersion};

/// The most coded bytes, padding included, that one object carries.
///
/// A message of the network is a header and a part of one object, so this bounds every message and
/// every buffer, whatever the size of a record.
pub const OBJECT_LEN_MAX: u64 = 4 * 1024 * 1024;

/// Where an object is, and what its owner needs to ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct ObjectReference {
    /// The placement group.
    #[n(0)]
    pub group: GroupId,
    /// The hash of the descriptor.
    #[n(1)]
    pub object_id: ObjectId,
    /// The object's salt, of which the owner derives the read key before any descriptor is known.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub salt: [u8; 32],
}

/// An extent and the object it lies in.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PlacedExtent {
    /// A place in the list of objects, see [`Manifest::object`].
    #[n(0)]
    pub object: u32,
    /// The place in the object.
    #[n(1)]
    pub extent: Extent,
}

/// The one version of the formats of this module; others are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum FormatVersion {
    /// `engine/spec/object.md`.
    #[n(1)]
    V1,
}

/// Why bytes are not what they should be. Who sent them is to blame.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FormatError {
    /// Not a canonical encoding.
    #[error(transparent)]
    Encoding(#[from] CanonicalError),
    /// An encoding of values that do not fit together.
    #[error("inconsistent: {0}")]
    Inconsistent(&'static str),
}

/// `Err(Inconsistent(rule))` unless the rule holds.
pub(crate) fn require(holds: bool, rule: &'static str) -> Result<(), FormatError> {
    if holds { Ok(()) } else { Err(FormatError::Inconsistent(rule)) }
}
