//! Small files that are replaced as a whole: settings, keys, a vote that must not be forgotten.

use std::io::{self, ErrorKind};

use super::disk::{Disk, DiskFile, if_found, parent};

/// Where a file is written before it takes the place of the one at `path`.
pub(super) fn temporary(path: &str) -> String {
    format!("{path}.new")
}

/// Replaces the file at `path` by `bytes`: the old or the new contents are there at every moment,
/// and the new ones are durable on return.
///
/// The file's directory must exist. Two calls for one path must not overlap.
pub fn write_atomic<D: Disk>(disk: &D, path: &str, bytes: &[u8]) -> io::Result<()> {
    write_atomic_with(disk, path, |file| file.write_at(0, bytes))
}

/// The same for contents that `write` puts into an empty file piece by piece.
pub(super) fn write_atomic_with<D: Disk>(
    disk: &D,
    path: &str,
    write: impl FnOnce(&D::File) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = temporary(path);
    if_found(disk.remove(&temporary))?;
    let written = disk.create_new(&temporary).and_then(|file| {
        write(&file)?;
        file.sync()
    });
    if let Err(error) = written.and_then(|()| disk.rename(&temporary, path)) {
        // A temporary that stays is removed by the next call.
        let _ = disk.remove(&temporary);
        return Err(error);
    }
    disk.sync_directory(parent(path))
}

/// Reads a file that [`write_atomic`] wrote, of at most `limit` bytes; `None` if there is none.
///
/// What it returns is durable: a process killed inside `write_atomic` leaves new contents that
/// only the page cache knows, and whoever acts on them must not see the old ones after a power
/// cut. So the directory is synced here once more.
pub fn read_file<D: Disk>(disk: &D, path: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = if_found(disk.open(path))? else {
        return Ok(None);
    };
    disk.sync_directory(parent(path))?;
    let length = file.length()?;
    if length > limit as u64 {
        let message = format!("{path} has {length} bytes where at most {limit} are allowed");
        return Err(io::Error::new(ErrorKind::InvalidData, message));
    }
    let mut bytes = vec![0; length as usize];
    file.read_at(0, &mut bytes)?;
    Ok(Some(bytes))
}
