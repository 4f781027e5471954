//! A chain after one block in a file (`engine/spec/store.md` §5).
//!
//! The records are those that machines send each other; what is read is worth no more than what is
//! received, and is checked in the same way.

use std::io;

use kakera_engine::ledger::{
    BaseError, CHUNK_LEN_MAX, Chain, ChunkError, Genesis, SetChange, Snapshot, SnapshotAssembly,
    SnapshotBase,
};
use kakera_engine::wire::canonical::CanonicalError;
use thiserror::Error;

use super::disk::{Disk, DiskFile, if_found};
use super::file::write_atomic_with;

const MAGIC: [u8; 8] = *b"KKRASNAP";
const VERSION: u32 = 1;
const PREAMBLE_LENGTH: usize = MAGIC.len() + 4;
/// Kind and length of a record.
const FRAME_LENGTH: usize = 1 + 4;
const CHECK_LENGTH: usize = 32;
/// Longest record: a chunk.
const RECORD_LENGTH_MAX: usize = CHUNK_LEN_MAX;

const KIND_END: u8 = 0;
const KIND_BASE: u8 = 1;
const KIND_SET_CHANGE: u8 = 2;
const KIND_CHUNK: u8 = 3;

/// Why a snapshot file cannot be used. It was not touched.
#[derive(Debug, Error)]
pub enum SnapshotFileError {
    /// Not all of one, or bytes have changed.
    #[error("{0} is damaged")]
    Damaged(String),
    /// A program newer than this one wrote the file.
    #[error("{path} has format version {version}, which this program does not know; try: upgrade")]
    UnknownVersion {
        /// The file.
        path: String,
        /// Its version.
        version: u32,
    },
    /// A record is not what its kind says.
    #[error("a record of the file: {0}")]
    Record(#[from] CanonicalError),
    /// Another network's, or its log is wrong.
    #[error(transparent)]
    Base(#[from] BaseError),
    /// Some of the state is wrong.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// The disk failed.
    #[error("cannot use the file: {0}")]
    Io(#[from] io::Error),
}

/// Writes a snapshot in place of the file at `path`, atomically; durable on return. Gives the file's
/// length.
pub fn write_snapshot<D: Disk>(disk: &D, path: &str, snapshot: &Snapshot) -> io::Result<u64> {
    let mut length = 0;
    write_atomic_with(disk, path, |file| {
        let mut writer = Writer { file, hasher: blake3::Hasher::new(), end: 0 };
        writer.write(&MAGIC)?;
        writer.write(&VERSION.to_le_bytes())?;
        writer.record(KIND_BASE, &snapshot.base().to_bytes())?;
        for change in snapshot.set_changes() {
            writer.record(KIND_SET_CHANGE, &change.to_bytes())?;
        }
        for chunk in snapshot.chunks() {
            writer.record(KIND_CHUNK, &chunk.to_bytes())?;
        }
        writer.record(KIND_END, &[])?;
        let check = writer.hasher.finalize();
        writer.write(check.as_bytes())?;
        length = writer.end;
        Ok(())
    })?;
    Ok(length)
}

struct Writer<'a, F> {
    file: &'a F,
    hasher: blake3::Hasher,
    end: u64,
}

impl<F: DiskFile> Writer<'_, F> {
    fn record(&mut self, kind: u8, record: &[u8]) -> io::Result<()> {
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&(record.len() as u32).to_le_bytes());
        bytes.extend_from_slice(record);
        self.write(&bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(self.end, bytes)?;
        self.hasher.update(bytes);
        self.end += bytes.len() as u64;
        Ok(())
    }
}

/// A snapshot file, read up to its state.
pub struct SnapshotFile<D: Disk> {
    reader: Reader<D>,
    base: SnapshotBase,
    changes: Vec<SetChange>,
    first_chunk: Option<Vec<u8>>,
}

impl<D: Disk> SnapshotFile<D> {
    /// Opens the file at `path`; `None` if there is none.
    pub fn open(disk: &D, path: &str) -> Result<Option<Self>, SnapshotFileError> {
        let Some(file) = if_found(disk.open(path))? else { return Ok(None) };
        let mut reader = Reader::begin(file, path)?;
        let Some((KIND_BASE, base)) = reader.record()? else { return Err(reader.damaged()) };
        let base = SnapshotBase::from_bytes(&base)?;
        let (mut changes, mut record) = (Vec::new(), reader.record()?);
        while let Some((KIND_SET_CHANGE, change)) = record {
            changes.push(SetChange::from_bytes(&change)?);
            record = reader.record()?;
        }
        let first_chunk = match record {
            Some((KIND_CHUNK, chunk)) => Some(chunk),
            Some(_) => return Err(reader.damaged()),
            None => None,
        };
        Ok(Some(Self { reader, base, changes, first_chunk }))
    }

    /// What the snapshot begins with; not checked yet.
    pub fn base(&self) -> &SnapshotBase {
        &self.base
    }

    /// Bytes.
    pub fn length(&self) -> u64 {
        self.reader.length
    }

    /// Reads the rest of the file and says whether it is as it was written.
    pub fn is_intact(mut self) -> io::Result<bool> {
        loop {
            match self.reader.record() {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(true),
                Err(SnapshotFileError::Io(error)) => return Err(error),
                Err(_) => return Ok(false),
            }
        }
    }

    /// Reads the state and gives the chain after the head, everything checked from the genesis on:
    /// the changes of the validator set, the head's certificate, every chunk.
    pub fn read(self, genesis: Genesis) -> Result<Chain, SnapshotFileError> {
        let Self { mut reader, base, changes, first_chunk } = self;
        let mut assembly = SnapshotAssembly::new(genesis, base, changes)?;
        let mut chunk = first_chunk;
        while let Some(bytes) = chunk {
            assembly.add(&bytes)?;
            chunk = match reader.record()? {
                Some((KIND_CHUNK, bytes)) => Some(bytes),
                Some(_) => return Err(reader.damaged()),
                None => None,
            };
        }
        assembly.finish().ok_or_else(|| reader.damaged())
    }
}

struct Reader<D: Disk> {
    path: String,
    file: D::File,
    length: u64,
    hasher: blake3::Hasher,
    offset: u64,
}

impl<D: Disk> Reader<D> {
    fn begin(file: D::File, path: &str) -> Result<Self, SnapshotFileError> {
        let length = file.length()?;
        let hasher = blake3::Hasher::new();
        let mut reader = Self { path: path.to_owned(), file, length, hasher, offset: 0 };
        let preamble: [u8; PREAMBLE_LENGTH] = reader.read()?;
        let [magic @ .., a, b, c, d] = preamble;
        if magic != MAGIC {
            return Err(reader.damaged());
        }
        match u32::from_le_bytes([a, b, c, d]) {
            VERSION => Ok(reader),
            version => Err(SnapshotFileError::UnknownVersion { path: reader.path, version }),
        }
    }

    /// The kind and the bytes of the next record; `None` after the last, once the checksum over all
    /// of them was found right and nothing follows.
    fn record(&mut self) -> Result<Option<(u8, Vec<u8>)>, SnapshotFileError> {
        let [kind, length @ ..]: [u8; FRAME_LENGTH] = self.read()?;
        let length = u32::from_le_bytes(length) as usize;
        if length > RECORD_LENGTH_MAX {
            return Err(self.damaged());
        }
        if kind != KIND_END {
            let mut record = vec![0; length];
            self.read_into(&mut record)?;
            return Ok(Some((kind, record)));
        }
        let expected = self.hasher.finalize();
        let check: [u8; CHECK_LENGTH] = self.read()?;
        if length == 0 && expected == check && self.offset == self.length {
            Ok(None)
        } else {
            Err(self.damaged())
        }
    }

    fn read<const N: usize>(&mut self) -> Result<[u8; N], SnapshotFileError> {
        let mut bytes = [0; N];
        self.read_into(&mut bytes)?;
        Ok(bytes)
    }

    fn read_into(&mut self, bytes: &mut [u8]) -> Result<(), SnapshotFileError> {
        if self.length - self.offset < bytes.len() as u64 {
            return Err(self.damaged());
        }
        self.file.read_at(self.offset, bytes)?;
        self.hasher.update(bytes);
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn damaged(&self) -> SnapshotFileError {
        SnapshotFileError::Damaged(self.path.clone())
    }
}
