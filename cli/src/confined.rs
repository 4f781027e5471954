//! Writing below a folder and nowhere else.
//!
//! Names of records are chosen by whoever may write to the vault, and a folder may hold links that
//! lead out of it. So every part of a path is opened from the part before it, and never through a
//! link (openat(2) with `O_NOFOLLOW`).

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use kakera_engine::catalogue::RecordName;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};

use crate::failure::{Failure, Kind};

/// A folder below which records become files.
pub(crate) struct Confined {
    folder: OwnedFd,
    path: PathBuf,
}

/// A file that appears under its name once it is whole, or not at all.
pub(crate) struct NewFile {
    folder: OwnedFd,
    /// Removed when dropped.
    temporary: Option<String>,
    out: BufWriter<File>,
    name: Vec<u8>,
    path: PathBuf,
}

impl Confined {
    /// The folder at `path`, made if there is none. `path` itself may lead through links: the user
    /// named it.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let opened = fs::create_dir_all(path).and_then(|()| {
            let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
            Ok(rustix::fs::open(path, flags, Mode::empty())?)
        });
        let folder = opened.map_err(|error| Failure::file(path, &error))?;
        Ok(Self { folder, path: path.to_owned() })
    }

    /// The path of a record below this folder, for messages.
    pub(crate) fn path_of(&self, name: &RecordName) -> PathBuf {
        self.path.join(OsStr::from_bytes(name.as_bytes()))
    }

    /// The file that stands under the name of a record, if it is one.
    pub(crate) fn existing(&self, name: &RecordName) -> Result<Option<File>, Failure> {
        let (folder, last) = self.folder_of(name)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match rustix::fs::openat(&folder, OsStr::from_bytes(&last), flags, Mode::empty()) {
            Ok(file) => Ok(Some(File::from(file))),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(Failure::file(&self.path_of(name), &error.into())),
        }
    }

    /// A new file that will have the name of a record; its folders are made.
    pub(crate) fn create(&self, name: &RecordName) -> Result<NewFile, Failure> {
        let path = self.path_of(name);
        let (folder, name) = self.folder_of(name)?;
        let (temporary, file) =
            create_temporary(folder.as_fd()).map_err(|error| Failure::file(&path, &error))?;
        let out = BufWriter::with_capacity(1 << 16, file);
        Ok(NewFile { folder, temporary: Some(temporary), out, name, path })
    }

    /// The folder of a record, made if there is none, and the last part of its name.
    fn folder_of(&self, name: &RecordName) -> Result<(OwnedFd, Vec<u8>), Failure> {
        let parts = name.path_below().ok_or_else(|| {
            Failure::new(
                Kind::Denied,
                format!("the record '{name}' would be written outside the folder"),
                "kakera get NAME -o FILE",
            )
        })?;
        let mut parts: Vec<&[u8]> = parts.collect();
        let last = parts.pop().unwrap_or_default().to_vec();
        let opened = (|| {
            let mut folder = self.folder.try_clone()?;
            for part in parts {
                folder = open_or_make(folder.as_fd(), OsStr::from_bytes(part))?;
            }
            Ok(folder)
        })();
        let folder = opened.map_err(|error: io::Error| {
            let through_a_link = error.raw_os_error().is_some_and(|code| {
                code == rustix::io::Errno::LOOP.raw_os_error()
                    || code == rustix::io::Errno::NOTDIR.raw_os_error()
            });
            if through_a_link {
                let path = self.path_of(name);
                let message = format!("{}: a part of it is no folder", path.display());
                return Failure::new(Kind::Denied, message, "an empty folder");
            }
            Failure::file(&self.path_of(name), &error)
        })?;
        Ok((folder, last))
    }
}

impl NewFile {
    /// Gives the file its name, in the place of another file where `replace`.
    pub(crate) fn finish(mut self, modified: u64, replace: bool) -> Result<(), Failure> {
        self.put_in_place(modified, replace).map_err(|error| {
            if error.kind() == io::ErrorKind::AlreadyExists {
                let message = format!("{}: there is another file", self.path.display());
                return Failure::new(Kind::Usage, message, "an empty folder");
            }
            Failure::file(&self.path, &error)
        })
    }

    fn put_in_place(&mut self, modified: u64, replace: bool) -> io::Result<()> {
        self.out.flush()?;
        if modified > 0 {
            let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(modified);
            self.out.get_ref().set_modified(time)?;
        }
        let Some(temporary) = &self.temporary else { return Ok(()) };
        let name = OsStr::from_bytes(&self.name);
        let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        rustix::fs::renameat_with(&self.folder, temporary.as_str(), &self.folder, name, flags)?;
        self.temporary = None;
        Ok(())
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            // It is only in the way.
            let _ = rustix::fs::unlinkat(&self.folder, temporary.as_str(), AtFlags::empty());
        }
    }
}

fn open_or_make(folder: BorrowedFd<'_>, part: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(folder, part, flags, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => {
            match rustix::fs::mkdirat(folder, part, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            Ok(rustix::fs::openat(folder, part, flags, Mode::empty())?)
        }
        opened => Ok(opened?),
    }
}

fn create_temporary(folder: BorrowedFd<'_>) -> io::Result<(String, File)> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for attempt in 0..u32::MAX {
        let name = format!(".kakera-{}-{attempt}", std::process::id());
        match rustix::fs::openat(folder, name.as_str(), flags, Mode::from_raw_mode(0o666)) {
            Ok(file) => return Ok((name, File::from(file))),
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(bytes: &[u8]) -> RecordName {
        RecordName::new(bytes).unwrap()
    }

    fn write(folder: &Confined, name: &RecordName, replace: bool) -> Result<(), Failure> {
        let mut file = folder.create(name)?;
        file.write_all(b"content").unwrap();
        file.finish(1_800_000_000_000_000_000, replace)
    }

    #[test]
    fn nothing_is_written_outside_the_folder() {
        let outer = tempfile::tempdir().unwrap();
        let outside = outer.path().join("outside");
        fs::create_dir(&outside).unwrap();
        let inner = outer.path().join("inner");
        let folder = Confined::open(&inner).unwrap();
        std::os::unix::fs::symlink(&outside, inner.join("link")).unwrap();
        std::os::unix::fs::symlink(outside.join("target"), inner.join("file")).unwrap();
        let odd: [&[u8]; 8] =
            [b"..", b".", b"../x", b"a/../../x", b"/etc/x", b"a//b", b"link/x", b"link/a/b"];
        for bytes in odd {
            let refused = write(&folder, &name(bytes), true).unwrap_err();
            assert_eq!(refused.kind, Kind::Denied, "{:?}", bytes.escape_ascii().to_string());
        }
        // A link in the place of a file is replaced or refused, never followed.
        assert_eq!(write(&folder, &name(b"file"), false).unwrap_err().kind, Kind::Usage);
        write(&folder, &name(b"file"), true).unwrap();
        assert!(!inner.join("file").is_symlink());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }

    #[test]
    fn any_other_name_is_written_as_it_is() {
        let outer = tempfile::tempdir().unwrap();
        let folder = Confined::open(outer.path()).unwrap();
        let long = [&[b'x'; 250][..]; 16].join(&b'/');
        for bytes in [&b"a/\xff\n"[..], b"a/A", b"a/a", b"..b", &long] {
            write(&folder, &name(bytes), false).unwrap();
            let file = folder.existing(&name(bytes)).unwrap().unwrap();
            let metadata = file.metadata().unwrap();
            let modified = metadata.modified().unwrap().duration_since(SystemTime::UNIX_EPOCH);
            assert_eq!((metadata.len(), modified.unwrap().as_secs()), (7, 1_800_000_000));
            assert_eq!(write(&folder, &name(bytes), false).unwrap_err().kind, Kind::Usage);
        }
        // The file system refuses a part of more than 255 bytes.
        assert!(write(&folder, &name(&[b'x'; 4096]), true).is_err());
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let outer = tempfile::tempdir().unwrap();
        let folder = Confined::open(outer.path()).unwrap();
        let mut file = folder.create(&name(b"record")).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 0);
        assert!(folder.existing(&name(b"record")).unwrap().is_none());
    }
}
