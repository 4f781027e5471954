//! Tombstones: the orders by which objects were destroyed, one small file each
//! (`engine/spec/store.md` §2a). That a file has the name of a tombstone is enough to refuse the
//! object for ever; what is in it lets the order be passed on.

use std::collections::BTreeMap;
use std::io;

use kakera_engine::names::{GroupId, ObjectId};

use super::disk::{Disk, DiskFile, Entry, EntryKind, if_found};

/// Where tombstones are.
pub(super) const SHREDDED: &str = "shredded";
const MAGIC: [u8; 8] = *b"KKRASHRD";
const VERSION: u32 = 1;
const HEADER_LENGTH: usize = 12;
/// Longest order, bytes.
pub const ORDER_LENGTH_MAX: usize = 64 * 1024;

/// The objects that were destroyed, by group, and the lengths of their tombstones.
#[derive(Default)]
pub(super) struct Tombstones(BTreeMap<(GroupId, ObjectId), u64>);

impl Tombstones {
    pub(super) fn list<D: Disk>(disk: &D) -> io::Result<Self> {
        let entries = disk.list(SHREDDED)?;
        Ok(Self(entries.iter().filter_map(tombstone).collect()))
    }

    pub(super) fn contains(&self, group: GroupId, object: ObjectId) -> bool {
        self.0.contains_key(&(group, object))
    }

    pub(super) fn insert(&mut self, group: GroupId, object: ObjectId, length: u64) {
        self.0.insert((group, object), length);
    }

    /// The objects of a group, ascending.
    pub(super) fn of(&self, group: GroupId) -> impl Iterator<Item = ObjectId> {
        let first = (group, ObjectId([0; 32]));
        self.0.range(first..).take_while(move |((of, _), _)| *of == group).map(|((_, id), _)| *id)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = (GroupId, ObjectId)> {
        self.0.keys().copied()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.values().sum()
    }
}

pub(super) fn path(group: GroupId, object: ObjectId) -> String {
    format!("{SHREDDED}/{group}-{object}")
}

/// The contents of a tombstone.
pub(super) fn encode(order: &[u8]) -> Vec<u8> {
    [&MAGIC[..], &VERSION.to_le_bytes(), order].concat()
}

/// The order in a tombstone; `None` where it cannot be read any more.
pub(super) fn read<D: Disk>(
    disk: &D,
    group: GroupId,
    object: ObjectId,
) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = if_found(disk.open(&path(group, object)))? else { return Ok(None) };
    let length = file.length()?;
    if length > (HEADER_LENGTH + ORDER_LENGTH_MAX) as u64 {
        return Ok(None);
    }
    let mut bytes = vec![0; length as usize];
    file.read_at(0, &mut bytes)?;
    let header = [&MAGIC[..], &VERSION.to_le_bytes()].concat();
    Ok(bytes.strip_prefix(&header[..]).map(<[u8]>::to_vec))
}

/// What a file stands for, if it has the only name that the store writes.
fn tombstone(entry: &Entry) -> Option<((GroupId, ObjectId), u64)> {
    let EntryKind::File(length) = entry.kind else { return None };
    let (group, object) = entry.name.split_once('-')?;
    let (group, object) = (GroupId(group.parse().ok()?), ObjectId::from_hex(object)?);
    (path(group, object) == format!("{SHREDDED}/{}", entry.name))
        .then_some(((group, object), length))
}
