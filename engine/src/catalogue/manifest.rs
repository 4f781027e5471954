//! Manifests of vaults that have no catalogue yet, as versions.

use super::{
    Catalogue, CatalogueError, Content, Piece, RecordName, SealedAs, Stored, Version, VersionKey,
};
use crate::object::{Manifest, ObjectReference, RecordEntry};

const NANOSECONDS: u64 = 1_000_000_000;

impl Catalogue {
    /// Adds the records of a manifest that pointer number `put` leads to, whose objects are
    /// `pointer_objects`. Manifests come in the order of the ledger; there, a record was found by
    /// its name, and two machines could give a version the same number: both are kept. Tells which
    /// versions were added.
    pub fn fold(
        &mut self,
        put: u64,
        manifest: Manifest,
        pointer_objects: &[ObjectReference],
    ) -> Result<Vec<VersionKey>, CatalogueError> {
        let Manifest { mut objects, records, .. } = manifest;
        objects.extend_from_slice(pointer_objects);
        let mut added = Vec::with_capacity(records.len());
        for entry in records {
            let version = self.version_of(put, entry, &objects)?;
            added.push(version.key());
            self.extend([version]);
        }
        Ok(added)
    }

    fn version_of(
        &self,
        put: u64,
        entry: RecordEntry,
        objects: &[ObjectReference],
    ) -> Result<Version, CatalogueError> {
        let piece = |placed: crate::object::PlacedExtent| {
            let object = objects.get(placed.object as usize).copied();
            object.map(|object| Piece { object, extent: placed.extent })
        };
        let pieces: Option<Vec<Piece>> = entry.extents.into_iter().map(piece).collect();
        let name = RecordName::new(entry.name).ok_or(CatalogueError::Name)?;
        let known = self.named(&name);
        let record = known.map_or(entry.record_id, |record| record.id());
        let number = entry.version.max(known.map_or(0, |record| record.newest().number) + 1);
        let stored = Stored {
            compartment: entry.compartment,
            sealed: SealedAs { record: entry.record_id, number: entry.version },
            len: entry.len,
            modified: entry.modified.saturating_mul(NANOSECONDS),
            hash: entry.content_hash,
            pieces: pieces.ok_or(CatalogueError::Object)?,
            about: None,
            retain_until: None,
        };
        Ok(Version {
            record,
            number,
            based_on: entry.version.saturating_sub(1).min(number - 1),
            name,
            put,
            recorded: entry.modified,
            content: Content::Stored(Box::new(stored)),
        })
    }
}
