//! The bytes of a log: a preamble, then a frame before each record (`engine/spec/store.md` §3).

use super::super::disk::DiskFile;
use super::{LogError, RECORD_LENGTH_MAX};

pub(super) const SALT_LENGTH: usize = 32;
/// Length, index, first index of the append, checksum of the record, tag of all these.
pub(super) const FRAME_LENGTH: usize = 4 + 8 + 8 + 32 + TAG_LENGTH;

const MAGIC: [u8; 8] = *b"KKRALOG\0";
/// Of a log that begins with record 0.
const VERSION_WHOLE: u32 = 1;
/// Of a log that begins with another, whose index follows the salt.
const VERSION_SHORTENED: u32 = 2;
const TAG_LENGTH: usize = 16;
const CHECK_LENGTH: usize = 32;
const CONTEXT: &str = "kakera/1 store block log";

/// What a log's file begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Preamble {
    pub(super) salt: [u8; SALT_LENGTH],
    /// Index of the first record.
    pub(super) first: u64,
}

impl Preamble {
    pub(super) fn length(&self) -> usize {
        MAGIC.len() + 4 + SALT_LENGTH + if self.first == 0 { 0 } else { 8 } + CHECK_LENGTH
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let version = if self.first == 0 { VERSION_WHOLE } else { VERSION_SHORTENED };
        let mut bytes = [&MAGIC[..], &version.to_le_bytes(), &self.salt].concat();
        if version == VERSION_SHORTENED {
            bytes.extend_from_slice(&self.first.to_le_bytes());
        }
        let check = blake3::hash(&bytes);
        bytes.extend_from_slice(check.as_bytes());
        bytes
    }

    pub(super) fn read(file: &impl DiskFile, path: &str) -> Result<Self, LogError> {
        let not_a_log = || LogError::NotALog(path.to_owned());
        let mut bytes = [0; MAGIC.len() + 4 + SALT_LENGTH + 8 + CHECK_LENGTH];
        let length = usize::try_from(file.length()?).unwrap_or(usize::MAX).min(bytes.len());
        file.read_at(0, &mut bytes[..length])?;
        if length < bytes.len() - 8 || bytes[..8] != MAGIC {
            return Err(not_a_log());
        }
        let first = match u32::from_le_bytes(array(&bytes, 8)) {
            VERSION_WHOLE => 0,
            VERSION_SHORTENED => u64::from_le_bytes(array(&bytes, 12 + SALT_LENGTH)),
            version => {
                return Err(LogError::UnknownVersion { path: path.to_owned(), version });
            }
        };
        let preamble = Self { salt: array(&bytes, 12), first };
        // So that no count of records overflows.
        if first > u64::MAX / 2 {
            return Err(not_a_log());
        }
        if bytes[..length].starts_with(&preamble.encode()) {
            Ok(preamble)
        } else {
            Err(not_a_log())
        }
    }

    /// The key of the log's checksums.
    pub(super) fn key(&self) -> [u8; 32] {
        blake3::derive_key(CONTEXT, &self.salt)
    }
}

/// What stands before each record.
pub(super) struct Frame {
    pub(super) length: u32,
    pub(super) index: u64,
    /// Index of the first record of the append this one was part of.
    pub(super) first: u64,
    pub(super) check: blake3::Hash,
}

impl Frame {
    pub(super) fn encode(&self, key: &[u8; 32]) -> [u8; FRAME_LENGTH] {
        let mut bytes = [0; FRAME_LENGTH];
        bytes[..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.index.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.first.to_le_bytes());
        bytes[20..52].copy_from_slice(self.check.as_bytes());
        let tag = tag(key, &bytes);
        bytes[52..].copy_from_slice(&tag);
        bytes
    }

    /// `None` unless the tag is right and the length within its limit.
    pub(super) fn decode(key: &[u8; 32], bytes: &[u8; FRAME_LENGTH]) -> Option<Self> {
        let frame = Self::read(bytes);
        let ours = bytes[52..] == tag(key, bytes) && frame.length as usize <= RECORD_LENGTH_MAX;
        ours.then_some(frame)
    }

    pub(super) fn read(bytes: &[u8; FRAME_LENGTH]) -> Self {
        Self {
            length: u32::from_le_bytes(array(bytes, 0)),
            index: u64::from_le_bytes(array(bytes, 4)),
            first: u64::from_le_bytes(array(bytes, 12)),
            check: blake3::Hash::from_bytes(array(bytes, 20)),
        }
    }
}

fn tag(key: &[u8; 32], frame: &[u8; FRAME_LENGTH]) -> [u8; TAG_LENGTH] {
    array(blake3::keyed_hash(key, &frame[..52]).as_bytes(), 0)
}

/// The `N` bytes at `at`, which lie within `bytes`.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|index| bytes[at + index])
}
