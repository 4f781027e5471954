//! Key shares that took the place of those in the parts' files: one file a refresh of a slot.
//!
//! New shares are first kept beside the old ones, in a file that nobody reads from. When the ledger
//! has decided, a rename makes them the ones that are read, all at once; then the old ones are
//! overwritten. A record says by itself whether it is there, so that a power cut between any two of
//! these steps leaves every object with exactly one share to read.

use std::collections::BTreeMap;
use std::io;

use kakera_engine::names::{GroupId, ObjectId};
use kakera_engine::wire::PartReference;
use zeroize::Zeroizing;

use super::super::disk::{Disk, DiskFile, EntryKind, if_found};
use super::super::part_file::{FileError, StoredHeader};
use super::super::share_batch::{
    self, BatchName, RecordPlace, RecordState, ShareRecord, ShortCheck, StoredRecord,
};
use super::{INCOMING, PartStore, locked, part_path};

pub(super) const SHARES: &str = "shares";

impl<D: Disk> PartStore<D> {
    /// Makes new shares durable beside those that are read; all their parts are here, or the batch
    /// is refused.
    pub fn keep_shares(
        &self,
        name: &BatchName,
        root: &[u8; 32],
        records: &[ShareRecord],
    ) -> io::Result<()> {
        let _batches = locked(&self.batches);
        let mut descriptor_checks = Vec::with_capacity(records.len());
        for record in records {
            let key = share_batch::part(name, record.object);
            if self.is_shredded(key.group, key.object) {
                return Err(io::ErrorKind::NotFound.into());
            }
            let stored = self.open_part(&key).map_err(file_error)?;
            let (_, header) = stored.ok_or(io::ErrorKind::NotFound)?;
            descriptor_checks.push(header.descriptor_check);
        }
        let bytes = share_batch::encode(name, root, records, &descriptor_checks);
        let number = self.next_temporary();
        let temporary = format!("{INCOMING}/{number}");
        let file = self.disk.create_new(&temporary)?;
        file.write_at(0, &bytes)?;
        file.sync()?;
        self.disk.rename(&temporary, &undecided_path(name))?;
        self.disk.sync_directory(SHARES)?;
        locked(&self.state).undecided.insert(*name, *root);
        Ok(())
    }

    /// The batches that the ledger has not decided, as far as this store was told, with their roots.
    pub fn undecided_shares(&self) -> Vec<(BatchName, [u8; 32])> {
        let state = locked(&self.state);
        state.undecided.iter().map(|(name, root)| (*name, *root)).collect()
    }

    /// Makes a batch the shares that are read, and erases those before; both durable on return. It may
    /// take the place of a used one of the same epoch, of whose objects it has all that are kept.
    pub fn use_shares(&self, name: &BatchName) -> io::Result<()> {
        let _batches = locked(&self.batches);
        let mut replaced = None;
        if self.disk.open(&undecided_path(name)).is_ok() {
            replaced = if_found(self.disk.open(&used_path(name)))?;
            self.disk.rename(&undecided_path(name), &used_path(name))?;
        }
        self.disk.sync_directory(SHARES)?;
        self.read_from(name)?;
        // It has no name any more, and its bytes would stay on the medium.
        if let Some(file) = replaced
            && let Some(batch) = share_batch::read(&file)?
        {
            batch.erase(&file, |_| true)?;
        }
        locked(&self.state).undecided.remove(name);
        Ok(())
    }

    /// Erases a batch that never will be used; durable on return.
    pub fn drop_shares(&self, name: &BatchName) -> io::Result<()> {
        let _batches = locked(&self.batches);
        self.erase_undecided(name, |_| true)?;
        if_found(self.disk.remove(&undecided_path(name)))?;
        self.disk.sync_directory(SHARES)?;
        locked(&self.state).undecided.remove(name);
        Ok(())
    }

    /// Finds the batches after the parts; finishes what a power cut interrupted.
    pub(super) fn open_shares(&self) -> io::Result<()> {
        let (mut used, mut undecided) = (Vec::new(), Vec::new());
        for entry in self.disk.list(SHARES)? {
            if !matches!(entry.kind, EntryKind::File(_)) {
                continue;
            }
            let file = self.disk.open(&format!("{SHARES}/{}", entry.name))?;
            let Some(batch) = share_batch::read(&file)? else { continue };
            let path = format!("{SHARES}/{}", entry.name);
            if path == undecided_path(&batch.name) {
                undecided.push((batch.name, batch.root));
            } else if path == used_path(&batch.name) {
                used.push(batch.name);
            }
        }
        // A power cut can leave both names of a rename, where they are one file.
        let (stale, undecided): (Vec<_>, Vec<_>) =
            undecided.into_iter().partition(|(name, _)| used.contains(name));
        for (name, _) in stale {
            self.disk.remove(&undecided_path(&name))?;
        }
        locked(&self.state).undecided = undecided.into_iter().collect();
        // Ascending by epoch: each takes the place of those before.
        used.sort_unstable();
        used.iter().try_for_each(|name| self.read_from(name))
    }

    /// The share that took the place of the one in the part's file; `Some(None)` if it is damaged.
    pub(super) fn renewed_share(
        &self,
        key: &PartReference,
    ) -> io::Result<Option<Option<Zeroizing<Vec<u8>>>>> {
        loop {
            let Some(place) = self.record(key) else { return Ok(None) };
            let name = batch_of(key, &place);
            let path = used_path(&name);
            let share = match if_found(self.disk.open(&path))? {
                Some(file) => place.read(&file, &name, &key.object)?,
                None => None,
            };
            // It may have been erased just now because a newer one is there.
            if share.is_some() || self.record(key) == Some(place) {
                return Ok(Some(share));
            }
        }
    }

    /// What a part's file is checked against instead of its checksum, if its share was replaced.
    pub(super) fn replaced_check(&self, key: &PartReference) -> Option<ShortCheck> {
        self.record(key).map(|place| place.descriptor_check)
    }

    /// Forgets a part that is gone, or about to be written anew, and erases the share that replaced
    /// its own.
    pub(super) fn forget(&self, key: &PartReference) -> io::Result<()> {
        let Some(place) = locked(&self.state).index.forget(key) else { return Ok(()) };
        let path = used_path(&batch_of(key, &place));
        if let Some(file) = if_found(self.disk.open(&path))? {
            place.erase(&file)?;
            file.sync()?;
        }
        Ok(())
    }

    /// Erases the shares of destroyed objects in batches that the ledger has not decided, those that
    /// are being kept included; durable on return.
    pub(super) fn erase_shredded(&self, objects: &[(GroupId, ObjectId)]) -> io::Result<()> {
        let _batches = locked(&self.batches);
        for (name, _) in self.undecided_shares() {
            self.erase_undecided(&name, |object| objects.contains(&(name.group, *object)))?;
        }
        Ok(())
    }

    fn erase_undecided(
        &self,
        name: &BatchName,
        is_one: impl Fn(&ObjectId) -> bool,
    ) -> io::Result<()> {
        let Some(file) = if_found(self.disk.open(&undecided_path(name)))? else { return Ok(()) };
        match share_batch::read(&file)? {
            Some(batch) => batch.erase(&file, is_one),
            None => Ok(()),
        }
    }

    pub(super) fn record(&self, key: &PartReference) -> Option<RecordPlace> {
        locked(&self.state).index.renewed(key)
    }

    /// Has the records of a used batch read from now on, and erases what they replace.
    fn read_from(&self, name: &BatchName) -> io::Result<()> {
        let path = used_path(name);
        let file = self.disk.open(&path)?;
        let Some(batch) = share_batch::read(&file)? else { return Ok(()) };
        let mut replaced: Vec<(ObjectId, Option<RecordPlace>)> = Vec::new();
        let mut orphans = false;
        for StoredRecord { object, place, state: found } in &batch.records {
            let key = share_batch::part(name, *object);
            if *found == RecordState::Intact
                && let Some(before) = locked(&self.state).index.renew(&key, *place)
            {
                // A file of the same epoch is the one that this took the place of.
                replaced.push((*object, before.filter(|before| before.epoch != place.epoch)));
            } else if *found != RecordState::Erased {
                // Its part was removed: the share goes after it, and what was left of it.
                place.erase(&file)?;
                orphans = true;
            }
        }
        if orphans {
            // Before the part can come again with another share.
            file.sync()?;
        }
        if batch.erased {
            return Ok(());
        }
        let mut older: BTreeMap<u64, Vec<RecordPlace>> = BTreeMap::new();
        for (object, before) in replaced {
            match before {
                Some(place) => older.entry(place.epoch).or_default().push(place),
                None => self.erase_in_part(&share_batch::part(name, object))?,
            }
        }
        for (epoch, places) in &older {
            let file = self.disk.open(&used_path(&BatchName { epoch: *epoch, ..*name }))?;
            places.iter().try_for_each(|place| place.erase(&file))?;
        }
        // One sync for all of them. The note that it is done only saves doing it again.
        self.disk.sync_all()?;
        share_batch::mark_erased(&file)?;
        older
            .keys()
            .try_for_each(|epoch| self.remove_if_empty(&BatchName { epoch: *epoch, ..*name }))
    }

    fn erase_in_part(&self, key: &PartReference) -> io::Result<()> {
        let _turn = self.take_turn(*key);
        let Some(file) = if_found(self.disk.open(&part_path(key)))? else { return Ok(()) };
        match StoredHeader::erase_share(&file) {
            Ok(()) | Err(FileError::Damaged(_) | FileError::UnknownVersion(_)) => Ok(()),
            Err(FileError::Io(error)) => Err(error),
        }
    }

    fn remove_if_empty(&self, name: &BatchName) -> io::Result<()> {
        if locked(&self.state).index.uses_batch((name.group, name.slot), name.epoch) {
            return Ok(());
        }
        // If it comes back, it is empty still.
        if_found(self.disk.remove(&used_path(name)))?;
        Ok(())
    }
}

fn batch_of(key: &PartReference, place: &RecordPlace) -> BatchName {
    // A used batch is named by its epoch alone.
    BatchName { group: key.group, slot: key.slot, epoch: place.epoch, attempt: 0 }
}

fn used_path(name: &BatchName) -> String {
    format!("{SHARES}/{}-{}-{}", name.group, name.slot, name.epoch)
}

fn undecided_path(name: &BatchName) -> String {
    format!("{}-{}", used_path(name), name.attempt)
}

fn file_error(error: FileError) -> io::Error {
    match error {
        FileError::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use kakera_engine::names::{NodeId, Slot};

    use super::super::Part;
    use super::*;
    use crate::store::simulated::SimulatedDisk;

    const SUBMITTER: NodeId = NodeId([1; 32]);

    fn key(object: u8) -> PartReference {
        let slot = Slot::all(9).nth(1).unwrap();
        PartReference { group: GroupId(1), slot, object: ObjectId([object; 32]) }
    }

    fn renew(store: &PartStore<SimulatedDisk>, objects: &[u8], share: u8) {
        let PartReference { group, slot, .. } = key(1);
        let name = BatchName { group, slot, epoch: 5, attempt: u32::MAX };
        let record = |object: &u8| ShareRecord {
            object: key(*object).object,
            share: Zeroizing::new(vec![share ^ object; 200]),
        };
        let records: Vec<ShareRecord> = objects.iter().map(record).collect();
        store.keep_shares(&name, &[9; 32], &records).unwrap();
        store.use_shares(&name).unwrap();
    }

    /// Shares that are rebuilt in two goes are of one epoch and so in one file.
    #[test]
    fn a_batch_takes_the_place_of_one_of_its_epoch() {
        let disk = SimulatedDisk::new();
        let (store, _) = PartStore::open(disk.clone(), u64::MAX).unwrap();
        for object in 1..=3 {
            let share = [0xd0 + object; 200];
            let part = Part {
                key: key(object),
                submitter: SUBMITTER,
                submitter_quota_bytes: None,
                descriptor: &[object; 100],
                share: &share,
                fragment: &[&[object; 3000]],
            };
            store.put(&part).unwrap();
        }
        renew(&store, &[1], 0x40);
        let places = disk.named_places();
        renew(&store, &[1, 2, 3], 0x80);
        for store in [&store, &PartStore::open(disk.clone(), u64::MAX).unwrap().0] {
            for object in 1..=3 {
                let meta = store.meta(&key(object)).unwrap().unwrap();
                assert_eq!(*meta.share, vec![0x80 ^ object; 200], "object {object}");
            }
        }
        for place in places.union(&disk.named_places()) {
            let medium = disk.medium_at(*place);
            let has = |byte: u8| medium.windows(16).any(|window| window == [byte; 16]);
            assert!(!has(0x40 ^ 1) && !has(0xd1) && !has(0xd2) && !has(0xd3));
        }
    }
}
