//! One small file a handle, replaced as a whole: `identities/ab/abcd….id`.

use std::io::{self, ErrorKind};
use std::sync::{Mutex, PoisonError};

use kakera_engine::identity::{KEPT_LEN_MAX, Kept};
use kakera_engine::wire::{Refusal, RefusalKind};
use tracing::error;
use zeroize::Zeroizing;

use crate::store::disk::{Disk, EntryKind, if_found};
use crate::store::file::{read_file, write_atomic};

const FOLDER: &str = "identities";
const ENDING: &str = ".id";
/// Handles that are changed at a time, at most.
const LOCKS: usize = 64;

/// The identities on a disk. Memory does not grow with them.
pub(in super::super) struct IdentityStore<D> {
    disk: D,
    locks: [Mutex<()>; LOCKS],
}

impl<D: Disk> IdentityStore<D> {
    /// Opens the store, which may be empty.
    pub(in super::super) fn open(disk: D) -> io::Result<Self> {
        make_directory(&disk, FOLDER, "")?;
        Ok(Self { disk, locks: std::array::from_fn(|_| Mutex::default()) })
    }

    /// What is kept for a handle.
    pub(super) fn read(&self, handle: [u8; 32]) -> Result<Option<Kept>, Refusal> {
        let bytes = read_file(&self.disk, &path(&handle), KEPT_LEN_MAX).map(|bytes| {
            // The file's directory may not exist either.
            bytes.map(Zeroizing::new)
        });
        match bytes {
            Ok(None) => Ok(None),
            Ok(Some(bytes)) => Kept::from_bytes(&bytes).map(Some).map_err(|error| {
                error!(%error, file = path(&handle), "an identity cannot be read");
                Refusal::new(RefusalKind::Damaged, "what is kept for this identity is damaged")
            }),
            Err(error) => Err(disk_failed(&error)),
        }
    }

    /// Replaces what is kept for a handle by what `change` makes of it, `None` to remove it; durable
    /// on return. On an error nothing changed.
    pub(super) fn update<T>(
        &self,
        handle: [u8; 32],
        change: impl FnOnce(Option<Kept>) -> Result<(Option<Kept>, T), Refusal>,
    ) -> Result<T, Refusal> {
        let lock = &self.locks[usize::from(handle[0]) % LOCKS];
        let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.read(handle)?;
        let bytes_before = before.as_ref().map(Kept::to_bytes);
        let (after, result) = change(before)?;
        let bytes = after.as_ref().map(Kept::to_bytes);
        if bytes != bytes_before {
            let written = match &bytes {
                Some(bytes) => self.write(&handle, bytes),
                None => self.remove(&handle),
            };
            written.map_err(|error| disk_failed(&error))?;
        }
        Ok(result)
    }

    /// The next handles in their order after one, at most `limit`, and whether there are more.
    pub(super) fn handles(
        &self,
        after: Option<[u8; 32]>,
        limit: usize,
    ) -> Result<(Vec<[u8; 32]>, bool), Refusal> {
        let mut handles = Vec::new();
        let first = after.map_or(0, |after| after[0]);
        for start in first..=u8::MAX {
            let listed = if_found(self.disk.list(&directory(start)));
            for entry in listed.map_err(|error| disk_failed(&error))?.unwrap_or_default() {
                let is_file = matches!(entry.kind, EntryKind::File(_));
                let handle = entry.name.strip_suffix(ENDING).and_then(read_hex);
                handles.extend(handle.filter(|handle| is_file && Some(*handle) > after));
            }
            if handles.len() > limit {
                break;
            }
        }
        handles.sort_unstable();
        let more = handles.len() > limit;
        handles.truncate(limit);
        Ok((handles, more))
    }

    fn write(&self, handle: &[u8; 32], bytes: &[u8]) -> io::Result<()> {
        make_directory(&self.disk, &directory(handle[0]), FOLDER)?;
        write_atomic(&self.disk, &path(handle), bytes)
    }

    fn remove(&self, handle: &[u8; 32]) -> io::Result<()> {
        if_found(self.disk.remove(&path(handle)))?;
        self.disk.sync_directory(&directory(handle[0]))
    }
}

fn make_directory<D: Disk>(disk: &D, path: &str, parent: &str) -> io::Result<()> {
    match disk.create_directory(path) {
        Ok(()) => disk.sync_directory(parent),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn directory(first: u8) -> String {
    format!("{FOLDER}/{first:02x}")
}

fn path(handle: &[u8; 32]) -> String {
    let name: String = handle.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}/{name}{ENDING}", directory(handle[0]))
}

fn read_hex(name: &str) -> Option<[u8; 32]> {
    kakera_engine::names::ObjectId::from_hex(name).map(|id| id.0)
}

fn disk_failed(error: &io::Error) -> Refusal {
    error!(%error, "the identities cannot be used");
    Refusal::new(RefusalKind::Unavailable, "this identity node's disk failed; ask another one")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;
    use crate::store::disk::OsDisk;

    fn store(folder: &tempfile::TempDir) -> IdentityStore<OsDisk> {
        IdentityStore::open(OsDisk::open(folder.path()).unwrap()).unwrap()
    }

    #[test]
    fn handles_are_listed_in_their_order_page_by_page() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let mut handles: Vec<[u8; 32]> =
            (0u8..40).map(|number| [number.wrapping_mul(37); 32]).collect();
        handles.sort_unstable();
        for handle in handles.iter().rev() {
            store.write(handle, b"anything").unwrap();
        }
        let (mut read, mut after) = (Vec::new(), None);
        loop {
            let (page, more) = store.handles(after, 7).unwrap();
            assert!(page.len() <= 7 && (more || read.len() + page.len() == handles.len()));
            read.extend(page);
            after = read.last().copied();
            if !more {
                break;
            }
        }
        assert_eq!(read, handles);
        store.remove(&handles[0]).unwrap();
        assert_eq!(store.handles(None, 1).unwrap(), (vec![handles[1]], true));
    }

    #[test]
    fn what_cannot_be_read_is_damage_and_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        assert!(store.read([1; 32]).unwrap().is_none());
        store.write(&[1; 32], b"no identity").unwrap();
        let refusal = store.update([1; 32], |_| Ok((None, ()))).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Damaged);
        assert_eq!(store.handles(None, 9).unwrap().0, [[1; 32]]);
    }
}
