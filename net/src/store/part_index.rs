//! The names of all parts, in memory: whose quota each counts against, and where its share is.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::num::NonZeroU32;

use kakera_engine::names::{GroupId, NodeId, ObjectId, Slot};
use kakera_engine::wire::PartReference;

use super::disk::{Disk, Entry, EntryKind};
use super::packed_map::PackedMap;
use super::share_batch::RecordPlace;

/// The parts that are there, and the room that they take.
#[derive(Default)]
pub(super) struct PartIndex {
    /// By object, for each slot that holds any.
    parts: BTreeMap<(GroupId, Slot), PackedMap<ObjectId, Held>>,
    /// Lengths of their files and of those being written.
    used_bytes: u64,
    /// The same for each submitter; few, so that a part needs a number only.
    accounts: Vec<(NodeId, u64)>,
}

/// A part that is there.
struct Held {
    length: u32,
    /// `None` until the part was read since the store opened.
    account: Option<AccountNumber>,
    /// Of the share that took the place of the one in its file.
    renewed: Option<RecordPlace>,
}

// With the object's name all that is in memory of a part (`engine/spec/store.md` §8).
const _: () = assert!(size_of::<(ObjectId, Held)>() == 64);

/// A place in [`PartIndex::accounts`], counted from one.
#[derive(Clone, Copy)]
struct AccountNumber(NonZeroU32);

impl AccountNumber {
    fn place(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl Held {
    fn new(length: u32, account: Option<AccountNumber>) -> Self {
        Self { length, account, renewed: None }
    }
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
        self.held(key).is_some()
    }

    fn held(&self, key: &PartReference) -> Option<&Held> {
        self.parts.get(&(key.group, key.slot))?.get(&key.object)
    }

    fn held_mut(&mut self, key: &PartReference) -> Option<&mut Held> {
        self.parts.get_mut(&(key.group, key.slot))?.get_mut(&key.object)
    }

    /// Where the share is that took the place of the one in the part's file.
    pub(super) fn renewed(&self, key: &PartReference) -> Option<RecordPlace> {
        self.held(key)?.renewed
    }

    /// Notes where the share of a part is from now on, and tells where it was before; `None` if there
    /// is no such part.
    pub(super) fn renew(
        &mut self,
        key: &PartReference,
        place: RecordPlace,
    ) -> Option<Option<RecordPlace>> {
        Some(self.held_mut(key)?.renewed.replace(place))
    }

    /// Whether any share of a slot is in the batch of this epoch.
    pub(super) fn uses_batch(&self, slot: (GroupId, Slot), epoch: u64) -> bool {
        let mut parts = self.parts.get(&slot).into_iter().flat_map(PackedMap::iter);
        parts.any(|(_, held)| held.renewed.is_some_and(|place| place.epoch == epoch))
    }

    /// Bytes of all parts and of those being written.
    pub(super) fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// Bytes of these that a submitter answers for, as far as known.
    pub(super) fn used_by(&self, submitter: &NodeId) -> u64 {
        let account = self.accounts.iter().find(|(owner, _)| owner == submitter);
        account.map_or(0, |(_, bytes)| *bytes)
    }

    /// Counts tombstones that were there when the store was opened.
    pub(super) fn found_tombstones(&mut self, bytes: u64) {
        self.used_bytes += bytes;
    }

    /// Counts bytes that are in [`Self::used_bytes`] already against a submitter.
    pub(super) fn charge(&mut self, submitter: &NodeId, bytes: u64) {
        *self.account(submitter).1 += bytes;
    }

    /// Counts a file that is about to be written.
    pub(super) fn reserve(&mut self, submitter: &NodeId, length: u64) {
        self.used_bytes += length;
        *self.account(submitter).1 += length;
    }

    /// Takes back what was reserved.
    pub(super) fn release(&mut self, submitter: &NodeId, length: u64) {
        self.used_bytes -= length;
        *self.account(submitter).1 -= length;
    }

    /// Adds a part whose bytes are reserved already.
    pub(super) fn insert(&mut self, key: PartReference, submitter: &NodeId, length: u32) {
        let account = Some(self.account(submitter).0);
        let objects = self.parts.entry((key.group, key.slot)).or_default();
        objects.insert(key.object, Held::new(length, account));
    }

    /// Adds a part that was there when the store was opened.
    fn found(&mut self, slot: (GroupId, Slot), object: ObjectId, length: u32) {
        self.used_bytes += u64::from(length);
        self.parts.entry(slot).or_default().insert(object, Held::new(length, None));
    }

    /// Counts a part against its submitter, unless it is already.
    pub(super) fn attribute(&mut self, key: &PartReference, submitter: &NodeId) {
        let account = self.account(submitter).0;
        if let Some(held) = self.held_mut(key)
            && held.account.is_none()
        {
            held.account = Some(account);
            let length = held.length;
            self.accounts[account.place()].1 += u64::from(length);
        }
    }

    /// Forgets a part; tells where the share is that took the place of the one in its file.
    pub(super) fn forget(&mut self, key: &PartReference) -> Option<RecordPlace> {
        let slot = (key.group, key.slot);
        let objects = self.parts.get_mut(&slot)?;
        let held = objects.remove(&key.object);
        if objects.is_empty() {
            self.parts.remove(&slot);
        }
        let Held { length, account, renewed } = held?;
        self.used_bytes -= u64::from(length);
        if let Some(account) = account {
            self.accounts[account.place()].1 -= u64::from(length);
        }
        renewed
    }

    /// A submitter's number among the accounts, and its bytes.
    fn account(&mut self, submitter: &NodeId) -> (AccountNumber, &mut u64) {
        let known = self.accounts.iter().position(|(owner, _)| owner == submitter);
        let place = known.unwrap_or_else(|| {
            self.accounts.push((*submitter, 0));
            self.accounts.len() - 1
        });
        let number = NonZeroU32::MIN.saturating_add(place as u32);
        (AccountNumber(number), &mut self.accounts[place].1)
    }

    /// The objects of a slot in ascending order, those after `after` only.
    pub(super) fn objects(
        &self,
        slot: (GroupId, Slot),
        after: Option<ObjectId>,
    ) -> impl Iterator<Item = ObjectId> {
        let objects = self.parts.get(&slot).into_iter();
        objects.flat_map(move |objects| objects.after(after.as_ref())).map(|(id, _)| *id)
    }

    /// The parts of an object, in whatever slot.
    pub(super) fn parts_of(&self, group: GroupId, object: ObjectId) -> Vec<PartReference> {
        let slots = self
            .parts
            .iter()
            .filter(|((of, _), parts)| *of == group && parts.contains_key(&object));
        slots
            .map(|((group, slot), _)| PartReference { group: *group, slot: *slot, object })
            .collect()
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = (GroupId, Slot)> {
        self.parts.keys().copied()
    }

    pub(super) fn len(&self) -> u64 {
        self.parts.values().map(|objects| objects.len() as u64).sum()
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
                            listing.index.found((group, slot), object, length);
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

/// The object and length of a part's file, if it has the only name that the store writes and is no
/// longer than 4 GiB, of which the store writes none.
fn object_file(entry: &Entry) -> Option<(ObjectId, u32)> {
    let object = ObjectId::from_hex(&entry.name)?;
    match entry.kind {
        EntryKind::File(length) if object.to_string() == entry.name => {
            Some((object, length.try_into().ok()?))
        }
        _ => None,
    }
}
