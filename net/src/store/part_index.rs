//! The names of all parts, in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Bound;

use kakera_engine::names::{GroupId, ObjectId, Slot};
use kakera_engine::wire::PartReference;

use super::disk::{Disk, Entry, EntryKind};

/// The parts that are there, and the room that they take.
#[derive(Default)]
pub(super) struct PartIndex {
    /// File lengths by object, for each slot that holds any.
    lengths: BTreeMap<(GroupId, Slot), BTreeMap<ObjectId, u64>>,
    /// Lengths of these files and of those being written.
    pub(super) used_bytes: u64,
}

/// What a walk through the directories found.
#[derive(Default)]
pub(super) struct Listing {
    pub(super) index: PartIndex,
    /// The directories of groups and slots.
    pub(super) directories: BTreeSet<String>,
    /// Names that the store never makes.
    pub(super) foreign_names: u64,
}

impl PartIndex {
    pub(super) fn contains(&self, key: &PartReference) -> bool {
        let objects = self.lengths.get(&(key.group, key.slot));
        objects.is_some_and(|objects| objects.contains_key(&key.object))
    }

    /// Adds a part whose bytes are counted already.
    pub(super) fn insert(&mut self, key: PartReference, length: u64) {
        self.lengths.entry((key.group, key.slot)).or_default().insert(key.object, length);
    }

    pub(super) fn forget(&mut self, key: &PartReference) {
        let slot = (key.group, key.slot);
        if let Some(objects) = self.lengths.get_mut(&slot) {
            self.used_bytes -= objects.remove(&key.object).unwrap_or(0);
            if objects.is_empty() {
                self.lengths.remove(&slot);
            }
        }
    }

    /// The objects of a slot in ascending order, those after `after` only.
    pub(super) fn objects(
        &self,
        slot: (GroupId, Slot),
        after: Option<ObjectId>,
    ) -> impl Iterator<Item = ObjectId> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let objects = self.lengths.get(&slot).into_iter();
        objects.flat_map(move |objects| objects.range((start, Bound::Unbounded))).map(|(id, _)| *id)
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = (GroupId, Slot)> {
        self.lengths.keys().copied()
    }

    pub(super) fn len(&self) -> u64 {
        self.lengths.values().map(|objects| objects.len() as u64).sum()
    }
}

impl Listing {
    /// Walks `root/<group>/<slot>/<object>`.
    pub(super) fn of<D: Disk>(disk: &D, root: &str) -> io::Result<Self> {
        let mut listing = Self::default();
        for (group, path) in listing.directories(disk, root, |number| Some(GroupId(number)))? {
            let slots =
                listing.directories(disk, &path, |number| Slot::new(number.try_into().ok()?))?;
            for (slot, path) in slots {
                for entry in disk.list(&path)? {
                    match object_file(&entry) {
                        Some((object, length)) => {
                            listing.index.insert(PartReference { group, slot, object }, length);
                            listing.index.used_bytes += length;
                        }
                        None => listing.foreign_names += 1,
                    }
                }
            }
        }
        Ok(listing)
    }

    /// The directories below `path` whose name is a number that `read` accepts, in the only form
    /// the store writes.
    fn directories<D: Disk, T>(
        &mut self,
        disk: &D,
        path: &str,
        read: impl Fn(u32) -> Option<T>,
    ) -> io::Result<Vec<(T, String)>> {
        let mut found = Vec::new();
        for Entry { name, kind } in disk.list(path)? {
            let number = name.parse().ok().filter(|number: &u32| number.to_string() == name);
            match number.and_then(&read).filter(|_| kind == EntryKind::Directory) {
                Some(value) => {
                    let directory = format!("{path}/{name}");
                    self.directories.insert(directory.clone());
                    found.push((value, directory));
                }
                None => self.foreign_names += 1,
            }
        }
        Ok(found)
    }
}

/// The object and length of a part's file, if it has the only name that the store writes.
fn object_file(entry: &Entry) -> Option<(ObjectId, u64)> {
    let object = ObjectId::from_hex(&entry.name)?;
    match entry.kind {
        EntryKind::File(length) if object.to_string() == entry.name => Some((object, length)),
        _ => None,
    }
}
