//! The catalogue in memory: every version of every record.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use thiserror::Error;

use super::{Content, RecordName, Segment, Stored, Version, VersionKey};
use crate::names::RecordId;

/// Every record of a vault. About 400 bytes a version.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    /// Ascending by number.
    records: BTreeMap<RecordId, Vec<Version>>,
    /// The newest name of every record, deleted ones included.
    names: BTreeSet<(RecordName, RecordId)>,
    labels: BTreeMap<u32, String>,
}

/// The segments do not fit together: the owner's software wrote them so.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CatalogueError {
    /// Two segments tell the same version differently.
    #[error("two segments tell version {0} of a record differently")]
    Contradiction(u64),
    /// A version refers to one that is not there.
    #[error("version {0} of a record repeats one that is not there")]
    Dangling(u64),
    /// An old manifest holds what is no name.
    #[error("an old manifest holds a record without a proper name")]
    Name,
    /// An old manifest refers to an object that it does not list.
    #[error("an old manifest names an object that is not listed")]
    Object,
}

/// A record: its versions, of which there is at least one.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    versions: &'a [Version],
}

impl<'a> Record<'a> {
    /// All versions, ascending.
    pub fn versions(&self) -> &'a [Version] {
        self.versions
    }

    /// The newest version.
    pub fn newest(&self) -> &'a Version {
        self.versions.last().unwrap_or_else(|| unreachable!("a record has a version"))
    }

    /// What names the record.
    pub fn id(&self) -> RecordId {
        self.newest().record
    }

    /// The version with this number.
    pub fn version(&self, number: u64) -> Option<&'a Version> {
        let place = self.versions.binary_search_by_key(&number, |version| version.number).ok()?;
        self.versions.get(place)
    }

    /// Until when, in Unix seconds, some version has to be kept; `None` if no date was given.
    pub fn retained_until(&self) -> Option<u64> {
        let stored = self.versions.iter().filter_map(|version| version.stored());
        stored.filter_map(|stored| stored.retain_until).max()
    }

    /// The version that brought the bytes that `version` holds; `None` if it is a deletion, or the
    /// bytes were destroyed.
    pub fn source(&self, version: &'a Version) -> Option<&'a Version> {
        let mut version = version;
        loop {
            match &version.content {
                Content::Stored(_) => return Some(version),
                // Always earlier, so this ends.
                Content::SameAs(number) => version = self.version(*number)?,
                Content::Deleted | Content::Shredded(_) => return None,
            }
        }
    }

    /// Whether a version repeats another one that is not there, or that deletes the record.
    fn dangles(&self, version: &Version) -> bool {
        let Content::SameAs(number) = version.content else { return false };
        self.version(number).is_none_or(|other| other.is_deletion() || self.dangles(other))
    }

    /// Whether the bytes that a version held were destroyed.
    pub fn is_shredded(&self, version: &Version) -> bool {
        match &version.content {
            Content::Shredded(_) => true,
            // Always earlier, so this ends.
            Content::SameAs(number) => {
                self.version(*number).is_some_and(|other| self.is_shredded(other))
            }
            Content::Stored(_) | Content::Deleted => false,
        }
    }

    /// The bytes that a version holds; `None` if it is a deletion or they were destroyed.
    pub fn stored(&self, version: &'a Version) -> Option<&'a Stored> {
        self.source(version)?.stored()
    }

    /// Versions that no later one was based on, the newest left out: they were written on another
    /// machine at the same time as a later one, by someone who had not seen them.
    pub fn unseen(&self) -> Vec<u64> {
        let mut seen = self.newest().based_on;
        let mut unseen = Vec::new();
        for version in self.versions.iter().rev().skip(1) {
            if version.number > seen {
                unseen.push(version.number);
            }
            seen = seen.max(version.based_on);
        }
        unseen.reverse();
        unseen
    }
}

impl Catalogue {
    /// The catalogue that these segments make up, in any order.
    pub fn of(segments: impl IntoIterator<Item = Segment>) -> Result<Self, CatalogueError> {
        let mut catalogue = Self::default();
        for Segment { labels, versions } in segments {
            catalogue.labels.extend(labels);
            for version in versions {
                catalogue.records.entry(version.record).or_default().push(version);
            }
        }
        for versions in catalogue.records.values_mut() {
            versions.sort_by_key(|version| version.number);
            versions.dedup();
            if let Some(pair) = versions.windows(2).find(|pair| pair[0].number == pair[1].number) {
                return Err(CatalogueError::Contradiction(pair[0].number));
            }
            let record = Record { versions };
            if let Some(dangling) = versions.iter().find(|version| record.dangles(version)) {
                return Err(CatalogueError::Dangling(dangling.number));
            }
        }
        let newest = |(id, versions): (&RecordId, &Vec<Version>)| {
            versions.last().map(|newest| (newest.name.clone(), *id))
        };
        catalogue.names = catalogue.records.iter().filter_map(newest).collect();
        Ok(catalogue)
    }

    /// Adds versions that follow those that are here, and labels of their compartments.
    pub fn extend(&mut self, versions: impl IntoIterator<Item = Version>) {
        for version in versions {
            let known = self.records.entry(version.record).or_default();
            if let Some(newest) = known.last() {
                self.names.remove(&(newest.name.clone(), version.record));
            }
            self.names.insert((version.name.clone(), version.record));
            known.push(version);
        }
    }

    /// Tells a version that is here in another way: its bytes lie elsewhere, or were destroyed. The
    /// segment that told it before has to be written again.
    pub fn retell(&mut self, key: VersionKey, content: Content) {
        let versions = self.records.get_mut(&key.record).into_iter().flatten();
        if let Some(version) = versions.into_iter().find(|version| version.number == key.number) {
            version.content = content;
        }
    }

    /// Names a compartment.
    pub fn label(&mut self, compartment: u32, label: String) {
        self.labels.insert(compartment, label);
    }

    /// The labels of compartments, by number.
    pub fn labels(&self) -> &BTreeMap<u32, String> {
        &self.labels
    }

    /// How many records there are, deleted ones included.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The record with this id.
    pub fn record(&self, id: RecordId) -> Option<Record<'_>> {
        self.records.get(&id).map(|versions| Record { versions })
    }

    /// Every record, deleted ones included.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.records.values().map(|versions| Record { versions })
    }

    /// The record that has this name now. Where several do, one that is not deleted, then the one
    /// that was last changed.
    pub fn named(&self, name: &RecordName) -> Option<Record<'_>> {
        let from = (name.clone(), RecordId([0; 16]));
        self.names
            .range(from..)
            .take_while(|(of, _)| of == name)
            .filter_map(|(_, id)| self.record(*id))
            .max_by_key(|record| (!record.newest().is_deletion(), record.newest().put))
    }

    /// Every record that has or once had this name.
    pub fn ever_named<'a>(&'a self, name: &'a RecordName) -> impl Iterator<Item = Record<'a>> {
        self.records().filter(|record| record.versions.iter().any(|version| version.name == *name))
    }

    /// The records that are not deleted and whose names begin with `prefix`, by name.
    pub fn list<'a>(&'a self, prefix: &'a [u8]) -> impl Iterator<Item = Record<'a>> {
        let from = RecordName::new(prefix).map(|name| (name, RecordId([0; 16])));
        let from = from.map_or(Bound::Unbounded, Bound::Included);
        self.names
            .range((from, Bound::Unbounded))
            .take_while(move |(name, _)| name.as_bytes().starts_with(prefix))
            .filter_map(|(_, id)| self.record(*id))
            .filter(|record| !record.newest().is_deletion())
    }

    /// The version with this key.
    pub fn version(&self, key: VersionKey) -> Option<&Version> {
        self.record(key.record)?.version(key.number)
    }
}
