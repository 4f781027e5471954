//! The bytes of one part's file (`engine/spec/store.md` §2).

use std::io;
use std::ops::Range;

use kakera_engine::wire::PartReference;
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use super::disk::DiskFile;
use super::parts::Part;
use super::share_batch::ShortCheck;

const MAGIC: [u8; 8] = *b"KKRAPART";
const VERSION: u32 = 2;
const VERSION_PLACE: Range<usize> = 8..12;
const FIXED_LENGTH: usize = 24;
const CHECK_LENGTH: usize = 32;
const CHECK_CONTEXT: &str = "kakera/1 store part header";
const DESCRIPTOR_CONTEXT: &str = "kakera/1 store part descriptor";

/// Longest descriptor and longest share, bytes each.
pub const HEADER_FIELD_LENGTH_MAX: usize = 64 * 1024;
/// Longest fragment, bytes.
pub const FRAGMENT_LENGTH_MAX: usize = 16 * 1024 * 1024;

/// A part that no file can hold. The caller is to blame; nothing was changed.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a {field} of {length} bytes where at most {limit} are allowed")]
pub struct TooLong {
    /// Which field.
    pub field: &'static str,
    /// Its length.
    pub length: usize,
    /// The longest allowed.
    pub limit: usize,
}

/// Why a part's file could not be read as one.
#[derive(Debug, Error)]
pub(super) enum FileError {
    #[error("damaged: {0}")]
    Damaged(&'static str),
    #[error("version {0}")]
    UnknownVersion(u32),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Everything before the fragment, as it is written.
pub(super) struct EncodedHeader {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    check: blake3::Hash,
    /// Of the fragment too.
    pub(super) file_length: u32,
}

/// Everything before the fragment, as it was read and found intact.
pub(super) struct StoredHeader {
    pub(super) descriptor: Vec<u8>,
    pub(super) share: Zeroizing<Vec<u8>>,
    /// Of all but the share: what a share that replaced it is kept with.
    pub(super) descriptor_check: [u8; 32],
    check: blake3::Hash,
    pub(super) fragment_offset: u64,
    pub(super) fragment_length: u64,
}

impl EncodedHeader {
    pub(super) fn new(part: &Part<'_>) -> Result<Self, TooLong> {
        let fragment_length = part.fragment.iter().map(|piece| piece.len()).sum();
        let lengths = [
            limited("descriptor", part.descriptor.len(), HEADER_FIELD_LENGTH_MAX)?,
            limited("share", part.share.len(), HEADER_FIELD_LENGTH_MAX)?,
            limited("fragment", fragment_length, FRAGMENT_LENGTH_MAX)?,
        ];
        let mut fixed = [0; FIXED_LENGTH];
        fixed[..8].copy_from_slice(&MAGIC);
        fixed[VERSION_PLACE].copy_from_slice(&VERSION.to_le_bytes());
        for (place, length) in fixed[12..].chunks_exact_mut(4).zip(lengths) {
            place.copy_from_slice(&length.to_le_bytes());
        }
        let check = check(&part.key, &fixed, part.descriptor, part.share);
        // Its full capacity at once: a buffer that grows leaves copies of the share behind.
        let capacity = FIXED_LENGTH + part.descriptor.len() + part.share.len() + CHECK_LENGTH;
        let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
        for field in [&fixed, part.descriptor, part.share, check.as_bytes()] {
            bytes.extend_from_slice(field);
        }
        let file_length = bytes.len() as u32 + lengths[2];
        Ok(Self { bytes, check, file_length })
    }

    /// Whether `file` holds this very header and these fragment bytes.
    pub(super) fn is_stored_in(
        &self,
        stored: &StoredHeader,
        file: &impl DiskFile,
        fragment: &[&[u8]],
    ) -> io::Result<bool> {
        if stored.check != self.check {
            return Ok(false);
        }
        let mut offset = 0;
        for piece in fragment {
            let end = offset + piece.len() as u64;
            if stored.read_fragment(file, offset..end)? != *piece {
                return Ok(false);
            }
            offset = end;
        }
        Ok(true)
    }
}

impl StoredHeader {
    /// With `replaced`, the share here was replaced and may be erased: the check of the descriptor
    /// that the new share was kept with takes the place of the file's own.
    pub(super) fn read(
        file: &impl DiskFile,
        key: &PartReference,
        replaced: Option<ShortCheck>,
    ) -> Result<Self, FileError> {
        if file.length()? < FIXED_LENGTH as u64 {
            return Err(FileError::Damaged("shorter than its header"));
        }
        let mut fixed = [0; FIXED_LENGTH];
        file.read_at(0, &mut fixed)?;
        let version = version(&fixed)?;
        if version == VERSION {
            return Self::read_after(&fixed, file, key, replaced);
        }
        // A bit of the version may have changed, which is damage and is repaired; what a later program
        // wrote is left to it.
        fixed[VERSION_PLACE].copy_from_slice(&VERSION.to_le_bytes());
        match Self::read_after(&fixed, file, key, replaced) {
            Ok(_) => Err(FileError::Damaged("its version does not match its checksum")),
            Err(FileError::Io(error)) => Err(FileError::Io(error)),
            Err(_) => Err(FileError::UnknownVersion(version)),
        }
    }

    fn read_after(
        fixed: &[u8; FIXED_LENGTH],
        file: &impl DiskFile,
        key: &PartReference,
        replaced: Option<ShortCheck>,
    ) -> Result<Self, FileError> {
        let file_length = file.length()?;
        let [descriptor_length, share_length, fragment_length] = lengths(fixed)?;
        let fields_length = descriptor_length + share_length;
        let fragment_offset = (FIXED_LENGTH + fields_length + CHECK_LENGTH) as u64;
        if file_length != fragment_offset + fragment_length as u64 {
            return Err(FileError::Damaged("not as long as its header says"));
        }
        let mut fields = Zeroizing::new(vec![0; fields_length + CHECK_LENGTH]);
        file.read_at(FIXED_LENGTH as u64, &mut fields)?;
        let (descriptor, rest) = fields.split_at(descriptor_length);
        let (share, stored_check) = rest.split_at(share_length);
        let check = check(key, fixed, descriptor, share);
        let descriptor_check = descriptor_check(key, fixed, descriptor);
        let intact = match replaced {
            None => check == *stored_check,
            Some(replaced) => descriptor_check.starts_with(&replaced),
        };
        if !intact {
            return Err(FileError::Damaged("its header does not match its checksum"));
        }
        Ok(Self {
            descriptor: descriptor.to_vec(),
            share: Zeroizing::new(share.to_vec()),
            descriptor_check,
            check,
            fragment_offset,
            fragment_length: fragment_length as u64,
        })
    }

    /// Overwrites the share and the checksum over it; not synced.
    pub(super) fn erase_share(file: &impl DiskFile) -> Result<(), FileError> {
        let mut fixed = [0; FIXED_LENGTH];
        file.read_at(0, &mut fixed)?;
        let version = version(&fixed)?;
        if version != VERSION {
            return Err(FileError::UnknownVersion(version));
        }
        let [descriptor_length, share_length, _] = lengths(&fixed)?;
        let offset = (FIXED_LENGTH + descriptor_length) as u64;
        Ok(file.write_at(offset, &vec![0; share_length + CHECK_LENGTH])?)
    }

    /// The fragment's bytes of `range`, which must lie within it.
    pub(super) fn read_fragment(
        &self,
        file: &impl DiskFile,
        range: Range<u64>,
    ) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        file.read_at(self.fragment_offset + range.start, &mut bytes)?;
        Ok(bytes)
    }
}

fn limited(field: &'static str, length: usize, limit: usize) -> Result<u32, TooLong> {
    match u32::try_from(length) {
        Ok(short) if length <= limit => Ok(short),
        _ => Err(TooLong { field, length, limit }),
    }
}

fn word(fixed: &[u8; FIXED_LENGTH], at: usize) -> u32 {
    u32::from_le_bytes([0, 1, 2, 3].map(|index| fixed[at + index]))
}

/// The version of the format.
fn version(fixed: &[u8; FIXED_LENGTH]) -> Result<u32, FileError> {
    if fixed[..8] != MAGIC {
        return Err(FileError::Damaged("does not begin as a part"));
    }
    Ok(word(fixed, VERSION_PLACE.start))
}

/// The lengths of descriptor, share and fragment; all within their limits.
fn lengths(fixed: &[u8; FIXED_LENGTH]) -> Result<[usize; 3], FileError> {
    let lengths = [12, 16, 20].map(|at| word(fixed, at) as usize);
    let limits = [HEADER_FIELD_LENGTH_MAX, HEADER_FIELD_LENGTH_MAX, FRAGMENT_LENGTH_MAX];
    if lengths.iter().zip(limits).any(|(length, limit)| *length > limit) {
        return Err(FileError::Damaged("a length beyond its limit"));
    }
    Ok(lengths)
}

/// Covers the key too: a file under another part's name is damage. Compared in constant time.
fn check(key: &PartReference, fixed: &[u8], descriptor: &[u8], share: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key(CHECK_CONTEXT);
    hasher.update(&key.group.0.to_le_bytes());
    hasher.update(&[key.slot.point()]);
    hasher.update(key.object.as_bytes());
    hasher.update(fixed);
    hasher.update(descriptor);
    hasher.update(share);
    let check = hasher.finalize();
    // The block buffer holds the share's last bytes.
    hasher.zeroize();
    check
}

/// The same of everything before the fragment but the share.
fn descriptor_check(key: &PartReference, fixed: &[u8], descriptor: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(DESCRIPTOR_CONTEXT);
    hasher.update(&key.group.0.to_le_bytes());
    hasher.update(&[key.slot.point()]);
    hasher.update(key.object.as_bytes());
    hasher.update(fixed);
    hasher.update(descriptor);
    *hasher.finalize().as_bytes()
}
