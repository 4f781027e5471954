//! The records of a vault, gathered from the manifests that its pointers lead to.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use kakera_engine::ledger::Pointer;
use kakera_engine::names::GroupId;
use kakera_engine::object::{Manifest, ObjectReference, PlacedExtent, PointerBody, RecordEntry};
use kakera_engine::seal::{VaultRoot, pointer_tag};

use super::reader::Reader;
use crate::client::{Client, ClientError};

/// Pointers asked for at once, at first; doubled while there are more.
const GALLOP_START: u64 = 4;
const GALLOP_MAX: u64 = 256;

/// A record and the objects its extents count in.
#[derive(Clone, Debug)]
pub struct StoredRecord {
    /// The record.
    pub entry: RecordEntry,
    pub(super) objects: Arc<[ObjectReference]>,
}

impl StoredRecord {
    /// The groups that hold it.
    pub fn groups(&self) -> BTreeSet<GroupId> {
        let held_by = |placed: &PlacedExtent| self.objects[placed.object as usize].group;
        self.entry.extents.iter().map(held_by).collect()
    }
}

/// The newest version of every record, by name, and where the next pointer goes.
#[derive(Default)]
pub(super) struct Catalogue {
    records: BTreeMap<String, StoredRecord>,
    next_pointer: u64,
}

impl Catalogue {
    /// Reads every manifest of the vault, in the order of the pointers.
    pub(super) async fn load(client: &Client, root: &VaultRoot) -> Result<Self, ClientError> {
        let mut catalogue = Self::default();
        let mut reader = Reader::new(client, root, false);
        let mut ahead = GALLOP_START;
        loop {
            let first = catalogue.next_pointer;
            let tags: Vec<_> = (first..first + ahead)
                .map(|counter| pointer_tag(&root.pointer_signing_key(counter).verifying_key()))
                .collect();
            let found = client.pointers(&tags).await?;
            for pointers in found.iter().take_while(|pointers| !pointers.is_empty()) {
                for pointer in pointers {
                    catalogue.take(&mut reader, pointer).await?;
                }
                catalogue.next_pointer += 1;
            }
            if catalogue.next_pointer < first + ahead {
                return Ok(catalogue);
            }
            ahead = (2 * ahead).min(GALLOP_MAX);
        }
    }

    /// Where the next pointer goes.
    pub(super) fn next_pointer(&self) -> u64 {
        self.next_pointer
    }

    pub(super) fn record(&self, name: &str) -> Option<&StoredRecord> {
        self.records.get(name)
    }

    pub(super) fn records<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a StoredRecord> {
        self.records
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(name, _)| name.starts_with(prefix))
            .map(|(_, record)| record)
    }

    /// Adds what a put wrote under the next pointer.
    pub(super) fn add(&mut self, records: Vec<StoredRecord>) {
        self.next_pointer += 1;
        self.merge(records);
    }

    async fn take(
        &mut self,
        reader: &mut Reader<'_>,
        pointer: &Pointer,
    ) -> Result<(), ClientError> {
        let counter = self.next_pointer;
        let body = PointerBody::open(&reader.root().pointer_key(counter), &pointer.sealed)
            .map_err(|error| ClientError::integrity(format!("pointer {counter}: {error}")))?;
        let bytes = reader.read_manifest(counter, &body).await?;
        let manifest = Manifest::decode(&bytes)
            .map_err(|error| ClientError::integrity(format!("manifest {counter}: {error}")))?;
        self.merge(resolve(manifest, &body.objects)?);
        Ok(())
    }

    /// The higher version wins; of equal ones the later on the ledger.
    fn merge(&mut self, records: Vec<StoredRecord>) {
        for record in records {
            let newest = self
                .records
                .get(&record.entry.name)
                .is_none_or(|known| known.entry.version <= record.entry.version);
            if newest {
                self.records.insert(record.entry.name.clone(), record);
            }
        }
    }
}

/// Joins the manifest's objects with those of the pointer that leads to it.
pub(super) fn resolve(
    manifest: Manifest,
    pointer_objects: &[ObjectReference],
) -> Result<Vec<StoredRecord>, ClientError> {
    let objects: Arc<[ObjectReference]> =
        manifest.objects.iter().chain(pointer_objects).copied().collect();
    let inside = |placed: &PlacedExtent| (placed.object as usize) < objects.len();
    if !manifest.records.iter().flat_map(|record| &record.extents).all(inside) {
        return Err(ClientError::integrity("a manifest names an object that is not listed"));
    }
    Ok(manifest
        .records
        .into_iter()
        .map(|entry| StoredRecord { entry, objects: Arc::clone(&objects) })
        .collect())
}
