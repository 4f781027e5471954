//! A log without its first records, made beside the one it will replace.

use super::format::{Preamble, SALT_LENGTH};
use super::{BlockLog, LogError};
use crate::store::disk::{Disk, DiskFile, if_found, is_full};
use crate::store::file::temporary;

/// A copy of a log's later records, to be completed and put in its place by [`BlockLog::replace`].
pub struct LogCopy<D: Disk> {
    log: BlockLog<D>,
}

impl<D: Disk> LogCopy<D> {
    /// An empty copy of the log at `path` that will begin with record `first`. `salt` is 32 random
    /// bytes.
    pub fn begin(
        disk: &D,
        path: &str,
        salt: [u8; SALT_LENGTH],
        first: u64,
    ) -> Result<Self, LogError> {
        let preamble = Preamble { salt, first };
        let beside = temporary(path);
        if_found(disk.remove(&beside))?;
        let file = disk.create_new(&beside)?;
        file.write_at(0, &preamble.encode())?;
        Ok(Self { log: BlockLog::empty(file, path, &preamble) })
    }

    /// Index of the next record.
    pub fn next(&self) -> u64 {
        self.log.len()
    }

    /// Adds the next records. Nothing is durable before [`LogCopy::sync`].
    ///
    /// Each counts as an append of its own: all are durable before the copy is used, so that damage
    /// can be told from an interrupted append.
    pub fn add(&mut self, records: &[Vec<u8>]) -> Result<(), LogError> {
        let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        let (bytes, offsets) = self.log.encode(&records, |index| index)?;
        let needed = bytes.len() as u64;
        self.log.file.write_at(self.log.end, &bytes).map_err(|error| {
            if is_full(&error) { LogError::DiskFull { needed } } else { error.into() }
        })?;
        self.log.offsets.extend(offsets);
        self.log.end += needed;
        Ok(())
    }

    /// Makes the copy durable as far as it goes.
    pub fn sync(&self) -> Result<(), LogError> {
        Ok(self.log.file.sync()?)
    }

    pub(super) fn into_log(self) -> BlockLog<D> {
        self.log
    }
}
