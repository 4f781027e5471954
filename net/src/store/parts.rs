//! Parts: what a node holds of each object, one file each, and the key shares that were refreshed.

mod shares;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use kakera_engine::names::{GroupId, NodeId, ObjectId, Slot};
use kakera_engine::wire::PartReference;
use thiserror::Error;
use zeroize::Zeroizing;

use self::shares::SHARES;
use super::disk::{Disk, DiskFile, Entry, EntryKind, if_found, is_full, parent};
use super::file::write_atomic;
use super::part_file::{EncodedHeader, FileError, StoredHeader};
use super::part_index::{Listing, PartIndex};
use super::tombstone::{self, SHREDDED, Tombstones};

pub use super::part_file::{FRAGMENT_LENGTH_MAX, HEADER_FIELD_LENGTH_MAX, TooLong};
pub use super::share_batch::{BatchName, ShareRecord};
pub use super::tombstone::ORDER_LENGTH_MAX;

const PARTS: &str = "parts";
const INCOMING: &str = "incoming";
const DAMAGED: &str = "damaged";

/// A part to be stored.
pub struct Part<'a> {
    /// Its name.
    pub key: PartReference,
    /// Who submitted it.
    pub submitter: NodeId,
    /// The most bytes that may be kept here for that submitter; `None` for no limit.
    pub submitter_quota_bytes: Option<u64>,
    /// The object's descriptor, which commits to the fragment's BLAKE3 root.
    pub descriptor: &'a [u8],
    /// The key share, secret.
    pub share: &'a [u8],
    /// The fragment's bytes in consecutive pieces, already verified against the descriptor.
    pub fragment: &'a [&'a [u8]],
}

/// A stored part without its fragment.
pub struct Meta {
    /// The object's descriptor.
    pub descriptor: Vec<u8>,
    /// The key share, secret.
    pub share: Zeroizing<Vec<u8>>,
    /// The fragment's length in bytes.
    pub fragment_length: u64,
}

/// What opening a store found and cleared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Unfinished puts removed.
    pub removed_temporaries: u64,
    /// Names under `parts/` that the store never makes; left alone.
    pub foreign_names: u64,
}

/// What a store holds. Damaged parts moved aside do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Parts.
    pub objects: u64,
    /// The length of their files and of those being written.
    pub bytes: u64,
    /// The most that `bytes` may become.
    pub quota_bytes: u64,
}

/// Why a part was not stored. The part is absent, or as it was before.
#[derive(Debug, Error)]
pub enum PutError {
    /// The store may not grow by that much.
    #[error(
        "the quota is used up: the part needs {needed} bytes, {available} are left; try: raise the quota"
    )]
    QuotaExceeded {
        /// Bytes of the part's file.
        needed: u64,
        /// Bytes left of the quota.
        available: u64,
    },
    /// The store may not keep that much for the submitter.
    #[error(
        "the submitter's quota on this node is used up: the part needs {needed} bytes, {available} are left; try: let the operator raise it"
    )]
    SubmitterQuotaExceeded {
        /// Bytes of the part's file.
        needed: u64,
        /// Bytes left of the submitter's quota.
        available: u64,
    },
    /// The file system may not grow by that much.
    #[error(
        "the disk is full: the part needs {needed} bytes, {free} are free; try: free some space"
    )]
    DiskFull {
        /// Bytes of the part's file.
        needed: u64,
        /// Bytes free on the file system.
        free: u64,
    },
    /// A different part is stored under this key. It stays.
    #[error("a different part is already stored under this name")]
    AlreadyThere,
    /// Its owner had the object destroyed.
    #[error("the object was destroyed at its owner's order")]
    Shredded,
    /// Another version of this program wrote what is stored under this key. It stays.
    #[error(
        "the part already stored has format version {0}, which this program does not know; try: the version of the program that wrote it"
    )]
    UnknownVersion(u32),
    /// The caller is to blame.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// The disk failed.
    #[error("cannot store the part: {0}")]
    Io(#[from] io::Error),
}

/// Why a part could not be read. Nothing was changed except where it says so.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file is not what was written. It was moved to `damaged/`; the part is now absent.
    #[error("the stored part of {object} is damaged: {reason}; it was moved aside and needs repair", object = .key.object)]
    Damaged {
        /// The part.
        key: PartReference,
        /// What is wrong with its file.
        reason: &'static str,
    },
    /// Another version of this program wrote the part.
    #[error(
        "the stored part has format version {0}, which this program does not know; try: the version of the program that wrote it"
    )]
    UnknownVersion(u32),
    /// The caller asked for bytes beyond the fragment.
    #[error("bytes {start}..{end} of a fragment of {length} bytes")]
    OutOfRange {
        /// First byte asked for.
        start: u64,
        /// One past the last byte asked for.
        end: u64,
        /// Bytes in the fragment.
        length: u64,
    },
    /// The disk failed.
    #[error("cannot read the part: {0}")]
    Io(#[from] io::Error),
}

/// The parts on one disk, with an index of their names in memory.
///
/// Every method may be called from many threads. Changes to one part wait for each other; changes
/// to different parts run side by side.
pub struct PartStore<D> {
    disk: D,
    quota_bytes: u64,
    state: Mutex<State>,
    /// Signalled whenever a key leaves `State::busy`.
    turn_over: Condvar,
    /// Held while a tombstone is made.
    shredding: Mutex<()>,
    /// Held while a batch of refreshed shares is kept, decided, or purged of destroyed objects.
    batches: Mutex<()>,
    /// Directories under `parts/` known to be durable.
    directories: Mutex<BTreeSet<String>>,
    next_temporary: AtomicU64,
}

struct State {
    index: PartIndex,
    /// Batches of refreshed shares that the ledger has not decided, with their roots.
    undecided: BTreeMap<BatchName, [u8; 32]>,
    /// Parts that someone is changing.
    busy: BTreeSet<PartReference>,
    tombstones: Tombstones,
}

impl<D: Disk> PartStore<D> {
    /// Opens the store on `disk`, which may be empty, with at most `quota_bytes` of files.
    ///
    /// Reads names and lengths only; [`attribute`](Self::attribute) what the quotas of submitters
    /// shall count. Everything listed is durable afterwards, also what a killed
    /// process left in the page cache.
    pub fn open(disk: D, quota_bytes: u64) -> io::Result<(Self, Recovery)> {
        for directory in [PARTS, INCOMING, DAMAGED, SHARES, SHREDDED] {
            create_directory(&disk, directory)?;
        }
        let unfinished = overwrite_unfinished(&disk)?;
        disk.sync_all()?;
        // One that comes back is overwritten already.
        unfinished.iter().try_for_each(|path| disk.remove(path))?;
        let removed_temporaries = unfinished.len() as u64;
        let mut recovery = Recovery { removed_temporaries, ..Recovery::default() };
        let Listing { mut index, directories, foreign_names } = Listing::of(&disk, PARTS)?;
        recovery.foreign_names = foreign_names;
        let tombstones = Tombstones::list(&disk)?;
        index.found_tombstones(tombstones.bytes());
        let shredded: Vec<(GroupId, ObjectId)> = tombstones.keys().collect();
        let store = Self {
            disk,
            quota_bytes,
            state: Mutex::new(State {
                index,
                undecided: BTreeMap::new(),
                busy: BTreeSet::new(),
                tombstones,
            }),
            turn_over: Condvar::new(),
            shredding: Mutex::new(()),
            batches: Mutex::new(()),
            directories: Mutex::new(directories),
            next_temporary: AtomicU64::new(0),
        };
        store.open_shares()?;
        // What a crash kept from being erased after its tombstone was made.
        store.erase_all(&shredded)?;
        Ok((store, recovery))
    }

    /// Stores a part; it is durable on return. The same part again is no error.
    ///
    /// The fragment must have been verified against the descriptor. A damaged part under the same
    /// key is moved aside and replaced.
    pub fn put(&self, part: &Part<'_>) -> Result<(), PutError> {
        let header = EncodedHeader::new(part)?;
        let needed = u64::from(header.file_length);
        let _turn = self.take_turn(part.key);
        if self.is_shredded(part.key.group, part.key.object) {
            return Err(PutError::Shredded);
        }
        if self.contains(&part.key) && self.stored_equals(part, &header)? {
            return Ok(());
        }
        self.reserve(&part.submitter, part.submitter_quota_bytes, needed)?;
        let written = self.write(part, &header);
        let mut state = locked(&self.state);
        match written {
            Ok(()) => {
                state.index.insert(part.key, &part.submitter, header.file_length);
                Ok(())
            }
            Err(error) => {
                state.index.release(&part.submitter, needed);
                Err(if is_full(&error) {
                    PutError::DiskFull { needed, free: self.disk.free_bytes().unwrap_or(0) }
                } else {
                    PutError::Io(error)
                })
            }
        }
    }

    /// A part's descriptor and share, verified against their checksum; `None` if it is not here.
    pub fn meta(&self, key: &PartReference) -> Result<Option<Meta>, ReadError> {
        loop {
            let place = self.record(key);
            let renewed = self.renewed_share(key)?;
            if matches!(renewed, Some(None)) {
                self.set_aside(key)?;
                let reason = "its refreshed key share does not match its checksum";
                return Err(ReadError::Damaged { key: *key, reason });
            }
            let meta = self.read(key, |_, stored| {
                let StoredHeader { descriptor, share, fragment_length, .. } = stored;
                let share = renewed.flatten().unwrap_or(share);
                Ok(Meta { descriptor, share, fragment_length })
            });
            // Else its share was replaced between the two looks.
            if self.record(key) == place {
                return meta;
            }
        }
    }

    /// Bytes `range` of a part's fragment; `None` if it is not here.
    ///
    /// The bytes are as the disk returned them. The caller verifies them against the BLAKE3 groups
    /// under the descriptor's root, and calls [`set_aside`](Self::set_aside) if they do not match.
    pub fn fragment(
        &self,
        key: &PartReference,
        range: Range<u64>,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let Range { start, end } = range;
        self.read(key, |file, stored| {
            let length = stored.fragment_length;
            if start > end || end > length {
                return Err(ReadError::OutOfRange { start, end, length });
            }
            Ok(stored.read_fragment(file, start..end)?)
        })
    }

    /// The whole fragment of a part, as [`fragment`](Self::fragment).
    pub fn whole_fragment(&self, key: &PartReference) -> Result<Option<Vec<u8>>, ReadError> {
        self.read(key, |file, stored| {
            let length = stored.fragment_length;
            Ok(stored.read_fragment(file, 0..length)?)
        })
    }

    /// Whether the part is here, by the index alone.
    pub fn contains(&self, key: &PartReference) -> bool {
        locked(&self.state).index.contains(key)
    }

    /// Counts a part that was there when the store was opened against its submitter's quota.
    pub fn attribute(&self, key: &PartReference, submitter: &NodeId) {
        locked(&self.state).index.attribute(key, submitter);
    }

    /// The objects held for a slot in ascending order, at most `limit`, those after `after` only.
    pub fn objects(
        &self,
        group: GroupId,
        slot: Slot,
        after: Option<ObjectId>,
        limit: usize,
    ) -> Vec<ObjectId> {
        locked(&self.state).index.objects((group, slot), after).take(limit).collect()
    }

    /// The slots that hold any part, in ascending order.
    pub fn slots(&self) -> Vec<(GroupId, Slot)> {
        locked(&self.state).index.slots().collect()
    }

    /// How much is held.
    pub fn usage(&self) -> Usage {
        let state = locked(&self.state);
        Usage {
            objects: state.index.len(),
            bytes: state.index.used_bytes(),
            quota_bytes: self.quota_bytes,
        }
    }

    /// Removes a part, and a damaged one of that name that was moved aside; durable on return.
    ///
    /// To remove what is not here is no error. Everything before the fragment, which is ciphertext,
    /// is overwritten first; yet a medium or file system that never writes in place may keep the
    /// bytes: what must be unreadable after theft has to be encrypted below the file system.
    pub fn remove(&self, key: &PartReference) -> io::Result<()> {
        let _turn = self.take_turn(*key);
        let damaged = damaged_path(key);
        self.overwrite(&damaged, key)?;
        if if_found(self.disk.remove(&damaged))?.is_some() {
            self.disk.sync_directory(DAMAGED)?;
        }
        let path = part_path(key);
        self.overwrite(&path, key)?;
        if_found(self.disk.remove(&path))?;
        if_found(self.disk.sync_directory(parent(&path)))?;
        // After it: a part that came back without its share would pass for damaged.
        self.forget(key)
    }

    /// Destroys an object for ever: its tombstone, with the `order`, is durable before any part of
    /// it is removed, and from then on no part of it is taken. All is done on return; after an error
    /// or a crash the next call, or the next opening, finishes it.
    ///
    /// The tombstone counts against the quota of `submitter`, which may refuse it where nothing of
    /// the object is here.
    pub fn shred(
        &self,
        (group, object): (GroupId, ObjectId),
        order: &[u8],
        submitter: &NodeId,
        submitter_quota_bytes: Option<u64>,
    ) -> Result<(), PutError> {
        {
            let _shredding = locked(&self.shredding);
            if !self.is_shredded(group, object) {
                self.bury((group, object), order, (submitter, submitter_quota_bytes))?;
            }
        }
        Ok(self.erase_all(&[(group, object)])?)
    }

    /// Whether the object was destroyed.
    pub fn is_shredded(&self, group: GroupId, object: ObjectId) -> bool {
        locked(&self.state).tombstones.contains(group, object)
    }

    /// The objects of a group that were destroyed, ascending.
    pub fn shredded(&self, group: GroupId) -> BTreeSet<ObjectId> {
        locked(&self.state).tombstones.of(group).collect()
    }

    /// Every object that was destroyed.
    pub fn tombstones(&self) -> Vec<(GroupId, ObjectId)> {
        locked(&self.state).tombstones.keys().collect()
    }

    /// The order by which an object was destroyed; `None` if it was not, or the order cannot be read
    /// any more.
    pub fn order(&self, group: GroupId, object: ObjectId) -> io::Result<Option<Vec<u8>>> {
        if self.is_shredded(group, object) {
            return tombstone::read(&self.disk, group, object);
        }
        Ok(None)
    }

    /// Counts a tombstone that was there when the store was opened against its submitter's quota.
    pub fn attribute_order(&self, order: &[u8], submitter: &NodeId) {
        let length = tombstone::encode(order).len() as u64;
        locked(&self.state).index.charge(submitter, length);
    }

    /// Moves a part that the caller found damaged to `damaged/`, so that it can be repaired.
    pub fn set_aside(&self, key: &PartReference) -> io::Result<()> {
        let _turn = self.take_turn(*key);
        self.move_aside(key)
    }

    /// Runs `read` on the part's file. What seems damaged is read again while no one else changes
    /// the part, and then moved aside.
    fn read<T>(
        &self,
        key: &PartReference,
        read: impl FnOnce(&D::File, StoredHeader) -> Result<T, ReadError>,
    ) -> Result<Option<T>, ReadError> {
        if !self.contains(key) {
            return Ok(None);
        }
        let mut opened = self.open_part(key);
        if matches!(opened, Err(FileError::Damaged(_))) {
            let _turn = self.take_turn(*key);
            opened = self.open_part(key);
            if matches!(opened, Err(FileError::Damaged(_))) {
                self.move_aside(key)?;
            }
        }
        match opened {
            Ok(None) => Ok(None),
            Ok(Some((file, stored))) => read(&file, stored).map(Some),
            Err(FileError::Damaged(reason)) => Err(ReadError::Damaged { key: *key, reason }),
            Err(FileError::UnknownVersion(version)) => Err(ReadError::UnknownVersion(version)),
            Err(FileError::Io(error)) => Err(ReadError::Io(error)),
        }
    }

    fn open_part(&self, key: &PartReference) -> Result<Option<(D::File, StoredHeader)>, FileError> {
        let Some(file) = if_found(self.disk.open(&part_path(key)))? else {
            return Ok(None);
        };
        let stored = StoredHeader::read(&file, key, self.replaced_check(key))?;
        Ok(Some((file, stored)))
    }

    /// Whether this very part is stored; a damaged one makes way. Needs the key's turn.
    fn stored_equals(&self, part: &Part<'_>, header: &EncodedHeader) -> Result<bool, PutError> {
        match self.open_part(&part.key) {
            // Its share was refreshed since: the same object all the same.
            Ok(Some((_, stored))) if self.replaced_check(&part.key).is_some() => {
                match stored.descriptor == part.descriptor {
                    true => Ok(true),
                    false => Err(PutError::AlreadyThere),
                }
            }
            Ok(Some((file, stored))) => match header.is_stored_in(&stored, &file, part.fragment)? {
                true => Ok(true),
                false => Err(PutError::AlreadyThere),
            },
            Ok(None) | Err(FileError::Damaged(_)) => {
                self.move_aside(&part.key)?;
                Ok(false)
            }
            Err(FileError::UnknownVersion(version)) => Err(PutError::UnknownVersion(version)),
            Err(FileError::Io(error)) => Err(PutError::Io(error)),
        }
    }

    fn bury(
        &self,
        (group, object): (GroupId, ObjectId),
        order: &[u8],
        (submitter, quota_bytes): (&NodeId, Option<u64>),
    ) -> Result<(), PutError> {
        let bytes = tombstone::encode(order);
        let needed = bytes.len() as u64;
        if locked(&self.state).index.parts_of(group, object).is_empty() {
            self.reserve(submitter, quota_bytes, needed)?;
        } else {
            locked(&self.state).index.reserve(submitter, needed);
        }
        let written = write_atomic(&self.disk, &tombstone::path(group, object), &bytes);
        let mut state = locked(&self.state);
        if written.is_ok() {
            state.tombstones.insert(group, object, needed);
        } else {
            state.index.release(submitter, needed);
        }
        Ok(written?)
    }

    /// Removes all parts of objects that have tombstones, those being written included: who takes
    /// the turn later finds the tombstone. Then their shares in undecided refreshes.
    fn erase_all(&self, objects: &[(GroupId, ObjectId)]) -> io::Result<()> {
        let is_one = |key: &PartReference| objects.contains(&(key.group, key.object));
        let mut keys: BTreeSet<PartReference> = {
            let state = locked(&self.state);
            let held = objects.iter().flat_map(|(group, id)| state.index.parts_of(*group, *id));
            held.chain(state.busy.iter().copied().filter(is_one)).collect()
        };
        let damaged = self.disk.list(DAMAGED)?;
        keys.extend(damaged.iter().filter_map(damaged_key).filter(is_one));
        keys.iter().try_for_each(|key| self.remove(key))?;
        self.erase_shredded(objects)
    }

    /// Overwrites everything before a part's fragment, all of it where that cannot be told.
    fn overwrite(&self, path: &str, key: &PartReference) -> io::Result<()> {
        let Some(file) = if_found(self.disk.open(path))? else { return Ok(()) };
        let length = match StoredHeader::read(&file, key, self.replaced_check(key)) {
            Ok(stored) => stored.fragment_offset,
            Err(FileError::Damaged(_) | FileError::UnknownVersion(_)) => file.length()?,
            Err(FileError::Io(error)) => return Err(error),
        };
        file.write_at(0, &vec![0; length as usize])?;
        file.sync()
    }

    /// Needs no sync: a part that a power cut puts back is found damaged again.
    fn move_aside(&self, key: &PartReference) -> io::Result<()> {
        if_found(self.disk.rename(&part_path(key), &damaged_path(key)))?;
        self.forget(key)
    }

    fn reserve(
        &self,
        submitter: &NodeId,
        submitter_quota_bytes: Option<u64>,
        needed: u64,
    ) -> Result<(), PutError> {
        let mut state = locked(&self.state);
        let available = self.quota_bytes.saturating_sub(state.index.used_bytes());
        if needed > available {
            return Err(PutError::QuotaExceeded { needed, available });
        }
        let used = state.index.used_by(submitter);
        let available = submitter_quota_bytes.map(|quota| quota.saturating_sub(used));
        match available.filter(|&available| needed > available) {
            Some(available) => Err(PutError::SubmitterQuotaExceeded { needed, available }),
            None => {
                state.index.reserve(submitter, needed);
                Ok(())
            }
        }
    }

    fn write(&self, part: &Part<'_>, header: &EncodedHeader) -> io::Result<()> {
        let path = part_path(&part.key);
        let directory = parent(&path);
        self.create_durable_directory(directory)?;
        let number = self.next_temporary();
        let temporary = format!("{INCOMING}/{number}");
        let written = self.write_file(&temporary, header, part.fragment);
        if let Err(error) = written.and_then(|()| self.disk.rename(&temporary, &path)) {
            // What stays is removed when the store is opened again.
            let _ = self.disk.remove(&temporary);
            return Err(error);
        }
        let synced = self.disk.sync_directory(directory);
        if synced.is_err() {
            // Not acknowledged, not indexed: it should not be there either.
            let _ = self.disk.remove(&path);
        }
        synced
    }

    fn write_file(&self, path: &str, header: &EncodedHeader, fragment: &[&[u8]]) -> io::Result<()> {
        let file = self.disk.create_new(path)?;
        file.write_at(0, &header.bytes)?;
        let mut offset = header.bytes.len() as u64;
        for piece in fragment {
            file.write_at(offset, piece)?;
            offset += piece.len() as u64;
        }
        file.sync()
    }

    /// Creates a directory below `parts/`, and those above it, and makes their names durable.
    ///
    /// The lock is held meanwhile, so that no put relies on a name that another has not synced.
    fn create_durable_directory(&self, path: &str) -> io::Result<()> {
        let mut durable = locked(&self.directories);
        let ends = path.match_indices('/').map(|(end, _)| end).skip(1).chain([path.len()]);
        for directory in ends.map(|end| &path[..end]) {
            if !durable.contains(directory) {
                create_directory(&self.disk, directory)?;
                self.disk.sync_directory(parent(directory))?;
                durable.insert(directory.to_owned());
            }
        }
        Ok(())
    }

    fn next_temporary(&self) -> u64 {
        self.next_temporary.fetch_add(1, Ordering::Relaxed)
    }

    /// Waits until no one else changes this part.
    fn take_turn(&self, key: PartReference) -> Turn<'_> {
        let mut state = locked(&self.state);
        while !state.busy.insert(key) {
            state = self.turn_over.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Turn { state: &self.state, turn_over: &self.turn_over, key }
    }
}

/// The right to change one part.
struct Turn<'s> {
    state: &'s Mutex<State>,
    turn_over: &'s Condvar,
    key: PartReference,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        locked(self.state).busy.remove(&self.key);
        self.turn_over.notify_all();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn part_path(key: &PartReference) -> String {
    format!("{PARTS}/{}/{}/{}", key.group, key.slot, key.object)
}

fn damaged_path(key: &PartReference) -> String {
    format!("{DAMAGED}/{}-{}-{}", key.group, key.slot, key.object)
}

/// The part that a damaged file was.
fn damaged_key(entry: &Entry) -> Option<PartReference> {
    let mut words = entry.name.split('-');
    let group = GroupId(words.next()?.parse().ok()?);
    let slot = Slot::new(words.next()?.parse().ok()?)?;
    let object = ObjectId::from_hex(words.next()?)?;
    Some(PartReference { group, slot, object })
}

/// Overwrites what a crash kept from being finished, for it may have shares; not synced.
fn overwrite_unfinished<D: Disk>(disk: &D) -> io::Result<Vec<String>> {
    let mut paths = Vec::new();
    for entry in disk.list(INCOMING)? {
        if let EntryKind::File(length) = entry.kind {
            let path = format!("{INCOMING}/{}", entry.name);
            disk.open(&path)?.write_at(0, &vec![0; length as usize])?;
            paths.push(path);
        }
    }
    Ok(paths)
}

/// Creates a directory unless it is there.
fn create_directory<D: Disk>(disk: &D, path: &str) -> io::Result<()> {
    match disk.create_directory(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}
