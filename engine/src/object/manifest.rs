//! The owner's list of records.

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};

use super::{FormatError, FormatVersion, ObjectReference, PlacedExtent, PointerBody, require};
use crate::names::RecordId;
use crate::seal::Compartment;
use crate::wire::canonical;

/// The longest encoding, in bytes: about 100 000 records, or extents of 1 TiB.
pub const MANIFEST_LEN_MAX: usize = 16 * 1024 * 1024;

/// The longest name of a record, in bytes of UTF-8.
pub const NAME_LEN_MAX: usize = 1024;

/// The records of a vault and where they lie. Secret: sealed as version c of the record of
/// [`crate::seal::VaultRoot::catalogue`], c being the number of the pointer that leads to it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Manifest {
    /// The format.
    #[n(0)]
    pub version: FormatVersion,
    /// The objects that the extents lie in, except those that also hold the manifest itself: no
    /// object can contain its own name, so those are named by the pointer.
    #[n(1)]
    pub objects: Vec<ObjectReference>,
    /// Sorted by name; no name twice.
    #[n(2)]
    pub records: Vec<RecordEntry>,
}

/// One version of one record.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RecordEntry {
    /// The owner's name for it, 1 to [`NAME_LEN_MAX`] bytes.
    #[n(0)]
    pub name: String,
    /// What it is granted with.
    #[n(1)]
    pub compartment: Compartment,
    /// Random, the same for all versions.
    #[n(2)]
    pub record_id: RecordId,
    /// Which version this is; enters its key.
    #[n(3)]
    pub version: u64,
    /// Bytes of the record.
    #[n(4)]
    pub len: u64,
    /// Seconds since 1970-01-01T00:00:00Z.
    #[n(5)]
    pub modified: u64,
    /// BLAKE3 of the plaintext.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub content_hash: [u8; 32],
    /// The pieces of the record, in order; none if it is empty.
    #[n(7)]
    pub extents: Vec<PlacedExtent>,
}

impl Manifest {
    /// A manifest of `records`, which need not be sorted.
    pub fn new(
        objects: Vec<ObjectReference>,
        mut records: Vec<RecordEntry>,
    ) -> Result<Self, FormatError> {
        records.sort_by(|left, right| left.name.cmp(&right.name));
        let manifest = Self { version: FormatVersion::V1, objects, records };
        manifest.check()?;
        Ok(manifest)
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// Reads and checks a manifest.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let manifest: Self = canonical::decode(bytes, MANIFEST_LEN_MAX)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The record of this name.
    pub fn record(&self, name: &str) -> Option<&RecordEntry> {
        let place = self.records.binary_search_by(|entry| entry.name.as_str().cmp(name)).ok()?;
        self.records.get(place)
    }

    /// The object that number `index` stands for: the manifest's objects come first, then those of
    /// `pointer`, which leads to this manifest. `None` if the owner wrote a number too large.
    pub fn object<'a>(
        &'a self,
        index: u32,
        pointer: &'a PointerBody,
    ) -> Option<&'a ObjectReference> {
        self.objects.iter().chain(&pointer.objects).nth(index as usize)
    }

    fn check(&self) -> Result<(), FormatError> {
        let distinct: BTreeSet<_> = self.objects.iter().map(|object| object.object_id).collect();
        require(distinct.len() == self.objects.len(), "an object is listed twice")?;
        let sorted = self.records.is_sorted_by(|left, right| left.name < right.name);
        require(sorted, "the records are not sorted by name")?;
        self.records.iter().try_for_each(RecordEntry::check)
    }
}

impl RecordEntry {
    fn check(&self) -> Result<(), FormatError> {
        require(
            (1..=NAME_LEN_MAX).contains(&self.name.len()),
            "a record's name is too long or empty",
        )?;
        self.extents.iter().try_for_each(|placed| placed.extent.check())?;
        let len: u64 = self.extents.iter().map(|placed| u64::from(placed.extent.plain_len)).sum();
        require(len == self.len, "the extents do not add up to the record")
    }
}
