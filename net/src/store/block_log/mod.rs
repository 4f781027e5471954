//! The chain's blocks: records that are only ever appended, and dropped from the first on
//! (`engine/spec/store.md` §3).

mod copy;
mod format;

use std::io;

use thiserror::Error;

pub use self::copy::LogCopy;
use self::format::{FRAME_LENGTH, Frame, Preamble, SALT_LENGTH};
use super::disk::{Disk, DiskFile, if_found, is_full, parent};
use super::file::{temporary, write_atomic};

/// Longest record, bytes.
pub const RECORD_LENGTH_MAX: usize = 16 * 1024 * 1024;

const SCAN_WINDOW: usize = 64 * 1024;

/// Why a log could not be opened, read or appended to.
#[derive(Debug, Error)]
pub enum LogError {
    /// Bytes that were once durable have changed. The file was not touched.
    #[error(
        "{path} is damaged at byte {offset}: record {index} does not match its checksum; try: restore the file, or remove it and fetch the chain from other nodes"
    )]
    Damaged {
        /// The file.
        path: String,
        /// Where the record's frame begins, bytes.
        offset: u64,
        /// The record, counted from 0: the block's height in a log that begins with height 0.
        index: u64,
    },
    /// The file's first bytes are not those of a log. The file was not touched.
    #[error(
        "{0} does not begin as a block log; try: restore the file, or remove it and fetch the chain from other nodes"
    )]
    NotALog(String),
    /// A program newer than this one wrote the file. It was not touched.
    #[error("{path} has format version {version}, which this program does not know; try: upgrade")]
    UnknownVersion {
        /// The file.
        path: String,
        /// Its version.
        version: u32,
    },
    /// The record was dropped on purpose. The caller is to blame.
    #[error("record {index} was dropped; the log begins with record {first}")]
    Dropped {
        /// The record.
        index: u64,
        /// The first that is kept.
        first: u64,
    },
    /// The caller is to blame; nothing was changed.
    #[error("a record of {0} bytes where at most {RECORD_LENGTH_MAX} are allowed")]
    TooLong(usize),
    /// There is no room; nothing was appended.
    #[error("the disk is full: the blocks need {needed} bytes; try: free some space")]
    DiskFull {
        /// Bytes of the records and their frames.
        needed: u64,
    },
    /// An earlier append failed so that the file's end is unknown.
    #[error("an earlier write failed; try: restart the node, which repairs the log's end")]
    Broken,
    /// The disk failed.
    #[error("cannot use the log: {0}")]
    Io(#[from] io::Error),
}

/// What opening a log found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogRecovery {
    /// Bytes of an append that a power cut interrupted, cut off.
    pub truncated_bytes: u64,
}

/// An append-only file of records.
pub struct BlockLog<D: Disk> {
    path: String,
    file: D::File,
    key: [u8; 32],
    /// Index of the first record that is kept.
    first: u64,
    /// Where the frame of each record that is kept begins.
    offsets: Vec<u64>,
    end: u64,
    broken: bool,
}

impl<D: Disk> BlockLog<D> {
    /// Opens the log at `path`, or creates it with `salt`, 32 random bytes.
    ///
    /// Reads and verifies every record. The end of an append that a power cut interrupted is cut
    /// off; any other damage is an error. Every record counted afterwards is durable.
    pub fn open(
        disk: &D,
        path: &str,
        salt: [u8; SALT_LENGTH],
    ) -> Result<(Self, LogRecovery), LogError> {
        if if_found(disk.open(path))?.is_none() {
            write_atomic(disk, path, &Preamble { salt, first: 0 }.encode())?;
        }
        let file = disk.open(path)?;
        let preamble = Preamble::read(&file, path)?;
        let mut log = Self::empty(file, path, &preamble);
        let length = log.file.length()?;
        while let Some(record) = log.record_at(log.end, log.len(), length)? {
            log.offsets.push(log.end);
            log.end += (FRAME_LENGTH + record.len()) as u64;
        }
        if log.end < length {
            if log.later_append_follows(length)? {
                return Err(log.damaged(log.len(), log.end));
            }
            log.file.truncate(log.end)?;
        }
        // What a killed process wrote may be in the page cache only.
        log.file.sync()?;
        disk.sync_directory(parent(path))?;
        let truncated_bytes = length - log.end;
        Ok((log, LogRecovery { truncated_bytes }))
    }

    fn empty(file: D::File, path: &str, preamble: &Preamble) -> Self {
        Self {
            path: path.to_owned(),
            file,
            key: preamble.key(),
            first: preamble.first,
            offsets: Vec::new(),
            end: preamble.length() as u64,
            broken: false,
        }
    }

    /// Number of records appended so far, dropped ones included: the index of the next.
    pub fn len(&self) -> u64 {
        self.first + self.offsets.len() as u64
    }

    /// Whether no record was ever appended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Index of the first record that was not dropped.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Bytes of the file up to record `index`; all if there is no such record, none if it was
    /// dropped.
    pub fn bytes_before(&self, index: u64) -> u64 {
        let Some(place) = index.checked_sub(self.first) else { return 0 };
        let offset = usize::try_from(place).ok().and_then(|place| self.offsets.get(place));
        offset.copied().unwrap_or(self.end)
    }

    /// Appends a record; it is durable on return.
    pub fn append(&mut self, record: &[u8]) -> Result<(), LogError> {
        self.append_batch(&[record])
    }

    /// Appends records with one sync; they are durable on return. After a power cut before that,
    /// the first few of them may be there.
    pub fn append_batch(&mut self, records: &[&[u8]]) -> Result<(), LogError> {
        if self.broken {
            return Err(LogError::Broken);
        }
        let (bytes, offsets) = self.encode(records, |_| self.len())?;
        if let Err(error) = self.file.write_at(self.end, &bytes) {
            self.broken = self.file.truncate(self.end).is_err();
            let needed = bytes.len() as u64;
            return Err(if is_full(&error) { LogError::DiskFull { needed } } else { error.into() });
        }
        if let Err(error) = self.file.sync() {
            // A second sync could succeed although the first one's pages are lost.
            self.broken = true;
            let _ = self.file.truncate(self.end);
            return Err(error.into());
        }
        self.offsets.extend(offsets);
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Record `index`, counted from 0; `None` beyond the last.
    pub fn read(&self, index: u64) -> Result<Option<Vec<u8>>, LogError> {
        if index < self.first {
            return Err(LogError::Dropped { index, first: self.first });
        }
        if index >= self.len() {
            return Ok(None);
        }
        let offset = self.bytes_before(index);
        match self.record_at(offset, index, self.end)? {
            Some(record) => Ok(Some(record)),
            None => Err(self.damaged(index, offset)),
        }
    }

    /// Records from `from` on, as many as `max_bytes` hold, but one at least if there is one.
    pub fn read_range(&self, from: u64, max_bytes: usize) -> Result<Vec<Vec<u8>>, LogError> {
        if from < self.first {
            return Err(LogError::Dropped { index: from, first: self.first });
        }
        let mut records: Vec<Vec<u8>> = Vec::new();
        let mut total = 0;
        for index in from..self.len() {
            total += self.record_length(index);
            if total > max_bytes as u64 && !records.is_empty() {
                break;
            }
            records.extend(self.read(index)?);
        }
        Ok(records)
    }

    fn record_length(&self, index: u64) -> u64 {
        self.bytes_before(index + 1) - self.bytes_before(index) - FRAME_LENGTH as u64
    }

    /// The frames of records, and where each will begin; `first_of` says of an index which record
    /// was the first of the same append.
    fn encode(
        &self,
        records: &[&[u8]],
        first_of: impl Fn(u64) -> u64,
    ) -> Result<(Vec<u8>, Vec<u64>), LogError> {
        let length: usize = records.iter().map(|record| FRAME_LENGTH + record.len()).sum();
        let mut bytes = Vec::with_capacity(length);
        let mut offsets = Vec::with_capacity(records.len());
        for (index, record) in (self.len()..).zip(records) {
            if record.len() > RECORD_LENGTH_MAX {
                return Err(LogError::TooLong(record.len()));
            }
            offsets.push(self.end + bytes.len() as u64);
            let check = blake3::keyed_hash(&self.key, record);
            let length = record.len() as u32;
            let frame = Frame { length, index, first: first_of(index), check };
            bytes.extend_from_slice(&frame.encode(&self.key));
            bytes.extend_from_slice(record);
        }
        Ok((bytes, offsets))
    }

    /// Puts a copy that has all later records of this log in its place: the old or the new file is
    /// there at every moment, and the new one is durable on return.
    pub fn replace(&mut self, disk: &D, copy: LogCopy<D>) -> Result<(), LogError> {
        disk.rename(&temporary(&self.path), &self.path)?;
        // Unless the sync succeeds, a power cut may bring the old file back.
        self.broken = true;
        disk.sync_directory(parent(&self.path))?;
        *self = copy.into_log();
        Ok(())
    }

    /// The record whose frame begins at `offset`, if it is intact and ends by `end`.
    fn record_at(&self, offset: u64, index: u64, end: u64) -> Result<Option<Vec<u8>>, LogError> {
        let mut header = [0; FRAME_LENGTH];
        let begin = offset + FRAME_LENGTH as u64;
        if begin > end {
            return Ok(None);
        }
        self.file.read_at(offset, &mut header)?;
        let Some(frame) = Frame::decode(&self.key, &header) else {
            return Ok(None);
        };
        if frame.index != index || u64::from(frame.length) > end - begin {
            return Ok(None);
        }
        let mut record = vec![0; frame.length as usize];
        self.file.read_at(begin, &mut record)?;
        let intact = blake3::keyed_hash(&self.key, &record) == frame.check;
        Ok(intact.then_some(record))
    }

    /// Whether a frame of a later append than the one that wrote the bytes at `self.end` follows.
    ///
    /// An append begins only when all before it are durable, so such a frame proves that what
    /// stands at `self.end` was once durable: damage, not an interrupted append.
    fn later_append_follows(&self, length: u64) -> Result<bool, LogError> {
        let mut window = vec![0; SCAN_WINDOW];
        let mut offset = self.end + 1;
        while length.saturating_sub(offset) >= FRAME_LENGTH as u64 {
            let filled = (length - offset).min(SCAN_WINDOW as u64) as usize;
            self.file.read_at(offset, &mut window[..filled])?;
            let headers = window[..filled].windows(FRAME_LENGTH);
            offset += headers.len() as u64;
            if headers
                .filter_map(|bytes| self.plausible_frame(bytes))
                .any(|frame| frame.first > self.len())
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A frame that may follow the last intact one. The tag is computed only where the cheap
    /// bounds hold, so that a scan is a pass over the bytes.
    fn plausible_frame(&self, bytes: &[u8]) -> Option<Frame> {
        let header: &[u8; FRAME_LENGTH] = bytes.try_into().ok()?;
        let frame = Frame::read(header);
        let plausible = frame.length as usize <= RECORD_LENGTH_MAX
            && frame.first <= frame.index
            && frame.index >= self.len();
        if plausible { Frame::decode(&self.key, header) } else { None }
    }

    fn damaged(&self, index: u64, offset: u64) -> LogError {
        LogError::Damaged { path: self.path.clone(), offset, index }
    }
}
