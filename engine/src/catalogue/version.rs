//! Versions of records: what the catalogue is a log of.

use minicbor::{Decode, Encode};

use super::RecordName;
use crate::names::RecordId;
use crate::object::{Extent, ObjectReference};
use crate::seal::Compartment;

/// One version of one record. A version is never changed; a later one follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The record.
    pub record: RecordId,
    /// 1 for the first version of the record, then one more each.
    pub number: u64,
    /// The newest version that its writer had seen, 0 for none. Less than `number - 1`: versions
    /// between the two came from other machines at the same time.
    pub based_on: u64,
    /// The record's name from here on.
    pub name: RecordName,
    /// The number of the pointer that made it final: the ledger's order.
    pub put: u64,
    /// The writer's clock, Unix seconds.
    pub recorded: u64,
    /// What the record holds from here on.
    pub content: Content,
}

/// What a version says of its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// New bytes.
    Stored(Box<Stored>),
    /// The bytes of the earlier version with this number, under another name perhaps.
    SameAs(u64),
    /// The record is deleted.
    Deleted,
    /// Bytes that the owner had destroyed, and the objects that they lay in, by which the order is
    /// given again to whoever has not followed it.
    Shredded(Vec<ObjectReference>),
}

/// Bytes, and where they lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// What they are granted with.
    pub compartment: Compartment,
    /// The record and version that entered their keys. They differ from those of the version where
    /// another machine's version came first.
    pub sealed: SealedAs,
    /// How many bytes.
    pub len: u64,
    /// When the file was modified, Unix nanoseconds.
    pub modified: u64,
    /// BLAKE3 of the bytes.
    pub hash: [u8; 32],
    /// The pieces in order; none if there are no bytes.
    pub pieces: Vec<Piece>,
    /// What the file is about, where it says so and its name does not.
    pub about: Option<About>,
    /// Unix seconds until which the holders keep the bytes.
    pub retain_until: Option<u64>,
}

/// What enters the keys of a version's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SealedAs {
    /// The record.
    #[n(0)]
    pub record: RecordId,
    /// The version.
    #[n(1)]
    pub number: u64,
}

/// An extent and the object that it lies in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The object.
    pub object: ObjectReference,
    /// The place in the object.
    pub extent: Extent,
}

/// What a clinical file says of itself, each up to [`ABOUT_LEN_MAX`] bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct About {
    /// The patient's number.
    #[n(0)]
    pub patient: String,
    /// The date of the visit or study, `YYYYMMDD`.
    #[n(1)]
    pub date: String,
    /// The kind: an SS-MIX2 data type, an HL7 message type, a DICOM modality.
    #[n(2)]
    pub kind: String,
}

/// The longest part of an [`About`], in bytes.
pub const ABOUT_LEN_MAX: usize = 64;

impl Version {
    /// What names it.
    pub fn key(&self) -> VersionKey {
        VersionKey { record: self.record, number: self.number }
    }

    /// Its bytes, if it brought any.
    pub fn stored(&self) -> Option<&Stored> {
        match &self.content {
            Content::Stored(stored) => Some(stored),
            Content::SameAs(_) | Content::Deleted | Content::Shredded(_) => None,
        }
    }

    /// The objects in which the bytes lie or lay that it brought.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectReference> {
        let stored = self.stored().into_iter();
        let shredded: &[ObjectReference] = match &self.content {
            Content::Shredded(objects) => objects,
            _ => &[],
        };
        stored.flat_map(|stored| stored.pieces.iter().map(|piece| &piece.object)).chain(shredded)
    }

    /// Whether it deletes the record.
    pub fn is_deletion(&self) -> bool {
        self.content == Content::Deleted
    }
}

/// A version's record and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VersionKey {
    /// The record.
    pub record: RecordId,
    /// The version's number.
    pub number: u64,
}
