//! The bytes of a file of refreshed key shares (`engine/spec/store.md` §2a).

use std::io;
use std::num::NonZeroU32;

use kakera_engine::names::{GroupId, ObjectId, Slot};
use kakera_engine::wire::PartReference;
use zeroize::{Zeroize, Zeroizing};

use super::disk::DiskFile;

const MAGIC: [u8; 8] = *b"KKRASHRS";
const VERSION: u32 = 1;
/// Magic, version, whether what it replaces is erased, group, slot, epoch, attempt, root, count.
const FIXED_LENGTH: usize = 8 + 4 + 4 + 4 + 4 + 8 + 4 + 32 + 4;
const ERASED_OFFSET: u64 = 12;
const CHECK_LENGTH: usize = 32;
/// Object, check of the part's descriptor, length.
const RECORD_FIXED_LENGTH: usize = 32 + 32 + 4;
const HEADER_CONTEXT: &str = "kakera/1 store share batch";
const RECORD_CONTEXT: &str = "kakera/1 store share record";
/// The longest file that is read; a place in it is a `u32`.
const LENGTH_MAX: u64 = 1 << 30;

/// Which refresh a batch is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchName {
    /// The group.
    pub group: GroupId,
    /// The slot.
    pub slot: Slot,
    /// The epoch.
    pub epoch: u64,
    /// The attempt that led to it.
    pub attempt: u32,
}

/// One object's share in a batch.
pub struct ShareRecord {
    /// The object.
    pub object: ObjectId,
    /// The share with what it is checked against, secret.
    pub share: Zeroizing<Vec<u8>>,
}

/// Where a record is in its file. One is in memory for each part, hence its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordPlace {
    pub(super) epoch: u64,
    /// Of the share's first byte; a header and the record's own first fields are before it.
    offset: NonZeroU32,
    length: u32,
    /// Of the descriptor in the part's file, whose own checksum covers the share it had before.
    pub(super) descriptor_check: ShortCheck,
}

/// The first bytes of a check: enough to notice damage, which is all that a part's descriptor needs;
/// what it says is signed.
pub(super) type ShortCheck = [u8; 8];

/// A batch as it was read.
pub(super) struct StoredBatch {
    pub(super) name: BatchName,
    pub(super) root: [u8; 32],
    pub(super) erased: bool,
    pub(super) records: Vec<StoredRecord>,
}

/// A record as it was read.
pub(super) struct StoredRecord {
    pub(super) object: ObjectId,
    pub(super) place: RecordPlace,
    pub(super) state: RecordState,
}

/// What was found at a record's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordState {
    Intact,
    Erased,
    /// Damaged, or what an interrupted erasure left: it may have most of a share.
    Torn,
}

/// The bytes of a batch. `descriptor_checks` are those of the records' parts, in their order.
pub(super) fn encode(
    name: &BatchName,
    root: &[u8; 32],
    records: &[ShareRecord],
    descriptor_checks: &[[u8; 32]],
) -> Zeroizing<Vec<u8>> {
    let record_length = |r: &ShareRecord| RECORD_FIXED_LENGTH + r.share.len() + CHECK_LENGTH;
    let capacity = FIXED_LENGTH + CHECK_LENGTH + records.iter().map(record_length).sum::<usize>();
    // Its full capacity at once: a buffer that grows leaves copies of the shares behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&name.group.0.to_le_bytes());
    bytes.extend_from_slice(&u32::from(name.slot.point()).to_le_bytes());
    bytes.extend_from_slice(&name.epoch.to_le_bytes());
    bytes.extend_from_slice(&name.attempt.to_le_bytes());
    bytes.extend_from_slice(root);
    bytes.extend_from_slice(&(records.len() as u32).to_le_bytes());
    let check = header_check(&bytes);
    bytes.extend_from_slice(&check);
    for (record, descriptor_check) in records.iter().zip(descriptor_checks) {
        let check = record_check(name, &record.object, descriptor_check, &record.share);
        bytes.extend_from_slice(record.object.as_bytes());
        bytes.extend_from_slice(descriptor_check);
        bytes.extend_from_slice(&(record.share.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&record.share);
        bytes.extend_from_slice(check.as_bytes());
    }
    bytes
}

/// Reads a batch; `None` if it is not one of this version, whole and with an intact head.
pub(super) fn read(file: &impl DiskFile) -> io::Result<Option<StoredBatch>> {
    let length = file.length()?;
    if !((FIXED_LENGTH + CHECK_LENGTH) as u64..=LENGTH_MAX).contains(&length) {
        return Ok(None);
    }
    let mut bytes = Zeroizing::new(vec![0; length as usize]);
    file.read_at(0, &mut bytes)?;
    Ok(parse(&bytes))
}

fn parse(bytes: &[u8]) -> Option<StoredBatch> {
    let (fixed, rest) = bytes.split_at_checked(FIXED_LENGTH)?;
    let (check, mut rest) = rest.split_at_checked(CHECK_LENGTH)?;
    let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|index| fixed[at + index]));
    if fixed[..8] != MAGIC || word(8) != VERSION || header_check(fixed) != *check {
        return None;
    }
    let epoch = u64::from(word(24)) | u64::from(word(28)) << 32;
    let slot = Slot::new(u8::try_from(word(20)).ok()?)?;
    let name = BatchName { group: GroupId(word(16)), slot, epoch, attempt: word(32) };
    let root = fixed[36..68].try_into().ok()?;
    let mut records = Vec::new();
    for _ in 0..word(68) {
        let offset = NonZeroU32::new((bytes.len() - rest.len() + RECORD_FIXED_LENGTH) as u32)?;
        let (object, after) = rest.split_first_chunk::<32>()?;
        let (descriptor_check, after) = after.split_first_chunk::<32>()?;
        let (length, after) = after.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length);
        let (share, after) = after.split_at_checked(length as usize)?;
        let (check, after) = after.split_first_chunk::<CHECK_LENGTH>()?;
        rest = after;
        let object = ObjectId(*object);
        let state = if record_check(&name, &object, descriptor_check, share) == *check {
            RecordState::Intact
        } else if share.iter().chain(check).all(|byte| *byte == 0) {
            RecordState::Erased
        } else {
            RecordState::Torn
        };
        let descriptor_check = *descriptor_check.first_chunk()?;
        let place = RecordPlace { epoch, offset, length, descriptor_check };
        records.push(StoredRecord { object, place, state });
    }
    rest.is_empty().then(|| StoredBatch { name, root, erased: word(12) != 0, records })
}

impl StoredBatch {
    /// Overwrites the shares of the objects that `is_one` names; durable on return.
    pub(super) fn erase(
        &self,
        file: &impl DiskFile,
        is_one: impl Fn(&ObjectId) -> bool,
    ) -> io::Result<()> {
        let mut records = self.records.iter().filter(|record| is_one(&record.object)).peekable();
        if records.peek().is_none() {
            return Ok(());
        }
        records.try_for_each(|record| record.place.erase(file))?;
        file.sync()
    }
}

impl RecordPlace {
    /// The share; `None` if it is erased or damaged.
    pub(super) fn read(
        &self,
        file: &impl DiskFile,
        name: &BatchName,
        object: &ObjectId,
    ) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        let mut bytes =
            Zeroizing::new(vec![0; RECORD_FIXED_LENGTH + self.length as usize + CHECK_LENGTH]);
        file.read_at(u64::from(self.offset.get()) - RECORD_FIXED_LENGTH as u64, &mut bytes)?;
        let (fixed, rest) = bytes.split_at(RECORD_FIXED_LENGTH);
        let (share, check) = rest.split_at(self.length as usize);
        let descriptor_check = fixed[32..64].try_into().expect("32 bytes");
        let intact = record_check(name, object, descriptor_check, share) == *check;
        Ok(intact.then(|| Zeroizing::new(share.to_vec())))
    }

    /// Overwrites the share; not synced.
    pub(super) fn erase(&self, file: &impl DiskFile) -> io::Result<()> {
        let offset = u64::from(self.offset.get());
        file.write_at(offset, &vec![0; self.length as usize + CHECK_LENGTH])
    }
}

/// Notes that everything that the batch replaces is erased; not synced.
pub(super) fn mark_erased(file: &impl DiskFile) -> io::Result<()> {
    file.write_at(ERASED_OFFSET, &1u32.to_le_bytes())
}

/// Covers all but the note that changes.
fn header_check(fixed: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(HEADER_CONTEXT);
    hasher.update(&fixed[..12]);
    hasher.update(&fixed[16..FIXED_LENGTH]);
    *hasher.finalize().as_bytes()
}

/// Compared in constant time.
fn record_check(
    name: &BatchName,
    object: &ObjectId,
    descriptor_check: &[u8; 32],
    share: &[u8],
) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key(RECORD_CONTEXT);
    hasher.update(&name.group.0.to_le_bytes());
    hasher.update(&[name.slot.point()]);
    hasher.update(&name.epoch.to_le_bytes());
    hasher.update(object.as_bytes());
    hasher.update(descriptor_check);
    hasher.update(share);
    let check = hasher.finalize();
    // The block buffer holds the share's last bytes.
    hasher.zeroize();
    check
}

/// A part of the batch.
pub(super) fn part(name: &BatchName, object: ObjectId) -> PartReference {
    PartReference { group: name.group, slot: name.slot, object }
}
