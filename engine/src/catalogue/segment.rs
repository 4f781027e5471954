//! Segments: sealed runs of versions, of which the catalogue is put together.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use super::table::ObjectTable;
use super::{ABOUT_LEN_MAX, About, Content, RecordName, SealedAs, Stored, Version};
use crate::names::RecordId;
use crate::object::{FormatError, ObjectReference, PlacedExtent, require};
use crate::seal::Compartment;
use crate::wire::canonical;

/// The longest encoding, in bytes: about 300 000 small records.
pub const SEGMENT_LEN_MAX: usize = 64 * 1024 * 1024;

/// The longest label of a compartment, in bytes.
pub const LABEL_LEN_MAX: usize = 64;

/// Versions, ascending by name, record and number, and the labels of their compartments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// The labels of compartments that a version here was sealed for, by number.
    pub labels: BTreeMap<u32, String>,
    /// The versions.
    pub versions: Vec<Version>,
}

#[derive(Debug, PartialEq, Encode, Decode)]
struct Encoded {
    #[n(0)]
    version: SegmentVersion,
    #[n(1)]
    objects: Vec<ObjectReference>,
    #[n(2)]
    labels: Vec<Label>,
    #[n(3)]
    entries: Vec<Entry>,
}

/// The second for what programs before version 4 of the rules do not know: destroyed bytes and dates
/// of retention.
#[derive(Clone, Copy, Debug, PartialEq, Encode, Decode)]
#[cbor(index_only)]
enum SegmentVersion {
    #[n(1)]
    V1,
    #[n(2)]
    V2,
}

#[derive(Debug, PartialEq, Encode, Decode)]
struct Label {
    #[n(0)]
    compartment: u32,
    #[n(1)]
    label: String,
}

#[derive(Debug, PartialEq, Encode, Decode)]
struct Entry {
    /// Bytes that the name shares with the one before.
    #[n(0)]
    shared: u16,
    #[cbor(n(1), with = "minicbor::bytes")]
    rest: Vec<u8>,
    #[n(2)]
    record: RecordId,
    #[n(3)]
    number: u64,
    #[n(4)]
    based_on: u64,
    #[n(5)]
    put: u64,
    #[n(6)]
    recorded: u64,
    #[n(7)]
    content: EncodedContent,
}

#[derive(Debug, PartialEq, Encode, Decode)]
enum EncodedContent {
    #[n(0)]
    Stored(#[n(0)] EncodedStored),
    #[n(1)]
    SameAs(#[n(0)] u64),
    #[n(2)]
    Deleted,
    /// Numbers of objects, strictly ascending.
    #[n(3)]
    Shredded(#[n(0)] Vec<u32>),
}

#[derive(Debug, PartialEq, Encode, Decode)]
struct EncodedStored {
    #[n(0)]
    compartment: Compartment,
    #[n(1)]
    len: u64,
    #[n(2)]
    modified: u64,
    #[cbor(n(3), with = "minicbor::bytes")]
    hash: [u8; 32],
    #[n(4)]
    pieces: Vec<PlacedExtent>,
    /// Absent where they are the version's own.
    #[n(5)]
    sealed: Option<SealedAs>,
    #[n(6)]
    about: Option<About>,
    #[n(7)]
    retain_until: Option<u64>,
}

impl Segment {
    /// A segment of these versions, which need not be sorted; of the labels it takes those that
    /// belong to them.
    pub fn new(mut versions: Vec<Version>, labels: &BTreeMap<u32, String>) -> Self {
        versions.sort_by(|left, right| order(left).cmp(&order(right)));
        let label = |version: &Version| {
            let number = version.stored()?.compartment.number;
            Some((number, labels.get(&number)?.clone()))
        };
        Self { labels: versions.iter().filter_map(label).collect(), versions }
    }

    /// The canonical encoding, as it stands in a stream whose first byte lies in the object `here`.
    pub fn encode(&self, here: &ObjectReference) -> Vec<u8> {
        canonical::encode(&Encoded::of(self, here))
    }

    /// Reads and checks a segment from a stream whose first byte lies in the object `here`.
    pub fn decode(bytes: &[u8], here: &ObjectReference) -> Result<Self, FormatError> {
        let encoded: Encoded = canonical::decode(bytes, SEGMENT_LEN_MAX)?;
        let Encoded { objects, labels, entries, .. } = encoded;
        let table = ObjectTable::read(objects, here);
        let mut versions = Vec::with_capacity(entries.len().min(bytes.len() / 32));
        let mut name = Vec::new();
        for entry in entries {
            require(usize::from(entry.shared) <= name.len(), "a name shares more than there is")?;
            name.truncate(entry.shared.into());
            name.extend_from_slice(&entry.rest);
            versions.push(entry.version(&name, &table)?);
        }
        let labels = labels.into_iter().map(|Label { compartment, label }| (compartment, label));
        let segment = Self { labels: labels.collect(), versions };
        segment.check()?;
        // One segment has one encoding, tables and shared parts included.
        require(segment.encode(here) == bytes, "a segment is written in another way than it is")?;
        Ok(segment)
    }

    fn version(&self) -> SegmentVersion {
        let is_new = |version: &Version| match &version.content {
            Content::Shredded(_) => true,
            Content::Stored(stored) => stored.retain_until.is_some(),
            Content::SameAs(_) | Content::Deleted => false,
        };
        if self.versions.iter().any(is_new) { SegmentVersion::V2 } else { SegmentVersion::V1 }
    }

    fn check(&self) -> Result<(), FormatError> {
        let sorted = self.versions.is_sorted_by(|left, right| order(left) < order(right));
        require(sorted, "the versions are not sorted")?;
        let short = self.labels.values().all(|label| label.len() <= LABEL_LEN_MAX);
        require(short, "the label of a compartment is too long")?;
        let used: std::collections::BTreeSet<u32> = self
            .versions
            .iter()
            .filter_map(|version| Some(version.stored()?.compartment.number))
            .collect();
        require(self.labels.keys().all(|number| used.contains(number)), "a label of nothing")?;
        self.versions.iter().try_for_each(check_version)
    }
}

fn order(version: &Version) -> (&RecordName, RecordId, u64) {
    (&version.name, version.record, version.number)
}

fn check_version(version: &Version) -> Result<(), FormatError> {
    require(version.number > version.based_on, "a version is based on a later one")?;
    match &version.content {
        Content::SameAs(earlier) => {
            require(*earlier < version.number, "a version is the same as a later one")
        }
        Content::Deleted => Ok(()),
        Content::Shredded(objects) => {
            require(objects.is_sorted_by(|left, right| left < right), "the objects are not sorted")
        }
        Content::Stored(stored) => {
            let len = stored.pieces.iter().map(|piece| u64::from(piece.extent.plain_len)).sum();
            require(stored.len == len, "the extents do not add up to the record")?;
            let short = |About { patient, date, kind }: &About| {
                [patient, date, kind].iter().all(|part| part.len() <= ABOUT_LEN_MAX)
            };
            require(stored.about.as_ref().is_none_or(short), "a file says too much of itself")
        }
    }
}

impl Encoded {
    fn of(segment: &Segment, here: &ObjectReference) -> Self {
        let table = ObjectTable::of(segment.versions.iter().flat_map(Version::objects), here);
        let mut before: &[u8] = &[];
        let entries = segment
            .versions
            .iter()
            .map(|version| {
                let entry = Entry::of(version, before, &table);
                before = version.name.as_bytes();
                entry
            })
            .collect();
        let label = |(compartment, label): (&u32, &String)| Label {
            compartment: *compartment,
            label: label.clone(),
        };
        Self {
            version: segment.version(),
            objects: table.objects().to_vec(),
            labels: segment.labels.iter().map(label).collect(),
            entries,
        }
    }
}

impl Entry {
    fn of(version: &Version, before: &[u8], table: &ObjectTable<'_>) -> Self {
        let name = version.name.as_bytes();
        let shared = name.iter().zip(before).take_while(|(left, right)| left == right).count();
        let content = match &version.content {
            Content::SameAs(number) => EncodedContent::SameAs(*number),
            Content::Deleted => EncodedContent::Deleted,
            Content::Shredded(objects) => EncodedContent::Shredded(
                objects.iter().map(|object| table.number(object)).collect(),
            ),
            Content::Stored(stored) => EncodedContent::Stored(EncodedStored {
                compartment: stored.compartment,
                len: stored.len,
                modified: stored.modified,
                hash: stored.hash,
                pieces: table.place(&stored.pieces),
                sealed: Some(stored.sealed).filter(|sealed| *sealed != own(version)),
                about: stored.about.clone(),
                retain_until: stored.retain_until,
            }),
        };
        Self {
            shared: shared as u16,
            rest: name[shared..].to_vec(),
            record: version.record,
            number: version.number,
            based_on: version.based_on,
            put: version.put,
            recorded: version.recorded,
            content,
        }
    }

    fn version(self, name: &[u8], table: &ObjectTable<'_>) -> Result<Version, FormatError> {
        let Self { record, number, based_on, put, recorded, content, .. } = self;
        let name = RecordName::new(name)
            .ok_or(FormatError::Inconsistent("a record's name is too long or empty"))?;
        let content = match content {
            EncodedContent::SameAs(number) => Content::SameAs(number),
            EncodedContent::Deleted => Content::Deleted,
            EncodedContent::Shredded(objects) => {
                let objects = objects.into_iter().map(|number| table.object(number));
                Content::Shredded(objects.collect::<Result<_, _>>()?)
            }
            EncodedContent::Stored(stored) => Content::Stored(Box::new(Stored {
                compartment: stored.compartment,
                sealed: stored.sealed.unwrap_or(SealedAs { record, number }),
                len: stored.len,
                modified: stored.modified,
                hash: stored.hash,
                pieces: table.resolve(stored.pieces)?,
                about: stored.about,
                retain_until: stored.retain_until,
            })),
        };
        Ok(Version { record, number, based_on, name, put, recorded, content })
    }
}

fn own(version: &Version) -> SealedAs {
    SealedAs { record: version.record, number: version.number }
}
