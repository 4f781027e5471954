//! The few file operations that the store is written against, and the operating system's.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use thiserror::Error;

/// One folder that this process alone writes.
///
/// Paths are relative, with `/` between components; an empty path is the folder itself. Nothing
/// is durable before the sync that covers it: a file's bytes and length need [`DiskFile::sync`],
/// a name that appeared or vanished needs [`Disk::sync_directory`] of the directory it is in.
/// Syncs are `track_caller`: the crash model removes them one call site at a time.
pub trait Disk: Clone + Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;

    /// Creates an empty file; `AlreadyExists` if the name is taken.
    fn create_new(&self, path: &str) -> io::Result<Self::File>;

    /// Opens a regular file for reading and writing.
    fn open(&self, path: &str) -> io::Result<Self::File>;

    /// Gives a file another name, atomically, in place of what had that name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Creates a directory; `AlreadyExists` if the name is taken.
    fn create_directory(&self, path: &str) -> io::Result<()>;

    /// What a directory holds, in no particular order.
    fn list(&self, directory: &str) -> io::Result<Vec<Entry>>;

    /// Makes the names in a directory durable.
    #[track_caller]
    fn sync_directory(&self, directory: &str) -> io::Result<()>;

    /// Makes everything in the folder durable, whichever process wrote it.
    #[track_caller]
    fn sync_all(&self) -> io::Result<()>;

    /// Bytes that can still be written.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// An open file, read and written by position.
pub trait DiskFile: Send + Sync + 'static {
    /// Writes all of `bytes` at `offset`; part of them may be written when it fails.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Fills `buffer` from `offset`; `UnexpectedEof` if the file ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Length in bytes.
    fn length(&self) -> io::Result<u64>;

    /// Cuts the file to `length` bytes.
    fn truncate(&self, length: u64) -> io::Result<()>;

    /// Makes the file's bytes and length durable.
    #[track_caller]
    fn sync(&self) -> io::Result<()>;
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, without its directory.
    pub name: String,
    /// What it names.
    pub kind: EntryKind,
}

/// What a name in a directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file of this many bytes.
    File(u64),
    /// A directory.
    Directory,
    /// Nothing the store ever makes: a link, a socket, a name that is not UTF-8.
    Other,
}

/// The components of a relative path, none of which can leave the folder.
pub(super) fn components(path: &str) -> io::Result<Vec<&str>> {
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let components: Vec<&str> = path.split('/').collect();
    let plain = |name: &&str| !matches!(*name, "" | "." | "..") && !name.contains('\0');
    if components.iter().all(plain) {
        Ok(components)
    } else {
        Err(io::Error::new(ErrorKind::InvalidInput, format!("not a plain relative path: {path}")))
    }
}

/// The directory part of a path; empty for a name in the folder itself.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// Lets `NotFound` pass as `None`.
pub(crate) fn if_found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a write failed for want of room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Why a folder could not be taken. Nothing in it was changed, but it may have been created.
#[derive(Debug, Error)]
pub enum OpenDiskError {
    /// Another process has it.
    #[error("the folder {} is in use by another process; try: stop it, or choose another folder", .0.display())]
    InUse(PathBuf),
    /// The operating system refused.
    #[error("cannot use the folder {}: {source}", folder.display())]
    Io {
        /// The folder.
        folder: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

const LOCK_NAME: &str = "lock";

/// A folder of the operating system, locked against other processes until the last clone and the
/// process are gone.
///
/// No component of a path is followed if it is a symbolic link. New files are readable by their
/// owner only.
#[derive(Clone, Debug)]
pub struct OsDisk {
    folder: Arc<Folder>,
}

#[derive(Debug)]
struct Folder {
    root: OwnedFd,
    _lock: File,
}

impl OsDisk {
    /// Takes `folder`, creating it if only its parent exists.
    pub fn open(folder: &Path) -> Result<Self, OpenDiskError> {
        let io = |source| OpenDiskError::Io { folder: folder.to_owned(), source };
        create_folder(folder).map_err(io)?;
        let lock = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(folder.join(LOCK_NAME))
            .map_err(io)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => OpenDiskError::InUse(folder.to_owned()),
            TryLockError::Error(error) => io(error),
        })?;
        let root =
            rustix::fs::open(folder, DIRECTORY, Mode::empty()).map_err(|error| io(error.into()))?;
        Ok(Self { folder: Arc::new(Folder { root, _lock: lock }) })
    }

    /// Walks to a directory without following links.
    fn directory(&self, path: &str) -> io::Result<OwnedFd> {
        let mut directory = rustix::fs::openat(&self.folder.root, ".", DIRECTORY, Mode::empty())?;
        for name in components(path)? {
            directory = rustix::fs::openat(&directory, name, DIRECTORY, Mode::empty())?;
        }
        Ok(directory)
    }

    /// The directory that a path's last component is in, and that component.
    fn place<'p>(&self, path: &'p str) -> io::Result<(OwnedFd, &'p str)> {
        match components(path)?.last() {
            Some(name) => Ok((self.directory(parent(path))?, name)),
            None => Err(io::Error::new(ErrorKind::InvalidInput, "the folder itself")),
        }
    }

    fn open_file(&self, path: &str, flags: OFlags) -> io::Result<OsFile> {
        let (directory, name) = self.place(path)?;
        let flags = flags | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(OsFile(File::from(file)))
    }
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn create_folder(folder: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => {
            let parent = match folder.parent() {
                Some(parent) if parent != Path::new("") => parent,
                _ => Path::new("."),
            };
            File::open(parent)?.sync_all()
        }
    }
}

impl Disk for OsDisk {
    type File = OsFile;

    fn create_new(&self, path: &str) -> io::Result<OsFile> {
        self.open_file(path, OFlags::CREATE | OFlags::EXCL)
    }

    fn open(&self, path: &str) -> io::Result<OsFile> {
        self.open_file(path, OFlags::empty())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from_directory, from_name) = self.place(from)?;
        let (to_directory, to_name) = self.place(to)?;
        Ok(rustix::fs::renameat(from_directory, from_name, to_directory, to_name)?)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let (directory, name) = self.place(path)?;
        Ok(rustix::fs::unlinkat(directory, name, AtFlags::empty())?)
    }

    fn create_directory(&self, path: &str) -> io::Result<()> {
        let (directory, name) = self.place(path)?;
        Ok(rustix::fs::mkdirat(directory, name, Mode::RWXU)?)
    }

    fn list(&self, directory: &str) -> io::Result<Vec<Entry>> {
        let directory = self.directory(directory)?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let status = match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(rustix::io::Errno::NOENT) => continue,
                status => status?,
            };
            let kind = match FileType::from_raw_mode(status.st_mode) {
                FileType::RegularFile if name.to_str().is_ok() => {
                    EntryKind::File(status.st_size as u64)
                }
                FileType::Directory if name.to_str().is_ok() => EntryKind::Directory,
                _ => EntryKind::Other,
            };
            entries.push(Entry { name: name.to_string_lossy().into_owned(), kind });
        }
        Ok(entries)
    }

    fn sync_directory(&self, directory: &str) -> io::Result<()> {
        File::from(self.directory(directory)?).sync_all()
    }

    #[cfg(target_os = "linux")]
    fn sync_all(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.folder.root)?)
    }

    /// Elsewhere only `sync(2)` exists, which may return before the last byte is down.
    #[cfg(not(target_os = "linux"))]
    fn sync_all(&self) -> io::Result<()> {
        rustix::fs::sync();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let status = rustix::fs::fstatvfs(&self.folder.root)?;
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }
}

/// An open file of [`OsDisk`].
#[derive(Debug)]
pub struct OsFile(File);

impl DiskFile for OsFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}
