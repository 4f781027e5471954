//! Does on the part store what the engine's holder wants of its disk.

use std::sync::Weak;

use kakera_engine::keyshare::{RenewedRows, Share};
#[cfg(feature = "testkit")]
use kakera_engine::ledger::State;
use kakera_engine::names::{GroupId, ObjectId};
use kakera_engine::peer::{DiskError, DiskRequest, DiskResult, RepairedPart, StoredPart};
use kakera_engine::wire::{PartReference, RenewedShare, ShredOrder, canonical};
use tracing::warn;
use zeroize::Zeroizing;

use super::Node;
use crate::store::disk::OsDisk;
use crate::store::parts::{
    HEADER_FIELD_LENGTH_MAX, ORDER_LENGTH_MAX, Part, PartStore, PutError, ReadError,
};

/// Parts that are counted before a look whether the node is still there.
const PAGE_LEN: usize = 1000;

/// Blocks on the disk: call it from a blocking thread.
pub(super) fn perform(store: &PartStore<OsDisk>, request: DiskRequest) -> DiskResult {
    match request {
        DiskRequest::Write { part, stored, fragment, submitter_quota } => {
            match write(store, part, &stored, &fragment, Some(submitter_quota)) {
                Ok(()) => DiskResult::Written,
                Err(error) => DiskResult::Failed(error),
            }
        }
        DiskRequest::Describe(part) => match describe(store, &part) {
            Ok(stored) => DiskResult::Described(stored.map(Box::new)),
            Err(error) => DiskResult::Failed(error),
        },
        DiskRequest::Fragment(part) => match store.whole_fragment(&part) {
            Ok(fragment) => DiskResult::Fragment(fragment.map(Into::into)),
            Err(error) => DiskResult::Failed(read_error(error)),
        },
        DiskRequest::SetAside(part) => match store.set_aside(&part) {
            Ok(()) => DiskResult::Failed(DiskError::Damaged),
            Err(error) => DiskResult::Failed(DiskError::Failed(error.to_string())),
        },
        DiskRequest::List { group, slot, after, limit } => {
            DiskResult::Listed(store.objects(group, slot, after, limit))
        }
        DiskRequest::Shred { group, object, order, submitter_quota } => {
            match shred(store, (group, object), &order, Some(submitter_quota)) {
                Ok(()) => DiskResult::Erased,
                Err(error) => DiskResult::Failed(error),
            }
        }
        DiskRequest::Order(group, object) => match order(store, group, object) {
            Ok(order) => DiskResult::Order(order.map(Box::new)),
            Err(error) => DiskResult::Failed(error),
        },
        DiskRequest::Shredded(group) => {
            DiskResult::Listed(store.shredded(group).into_iter().collect())
        }
        DiskRequest::Orders(group, objects) => {
            // One that cannot be read is passed on by others.
            let order = |object| order(store, group, object).ok().flatten();
            DiskResult::Orders(objects.into_iter().filter_map(order).collect())
        }
    }
}

/// What is kept of one object in a slot.
#[cfg(feature = "testkit")]
pub struct KeptPart {
    /// Its name.
    pub part: PartReference,
    /// Descriptor and key share.
    pub stored: StoredPart,
    /// The fragment.
    pub fragment: Vec<u8>,
}

/// Everything that can be read in the folder of a node that does not run, once that node has heard of
/// `state`; for tests.
#[cfg(feature = "testkit")]
pub fn kept_parts(
    folder: &std::path::Path,
    state: Option<&State>,
) -> Result<Vec<KeptPart>, super::NodeError> {
    let (store, _) = PartStore::open(OsDisk::open(folder)?, u64::MAX)?;
    if let Some(state) = state {
        super::refresh::decide_shares(&store, state);
    }
    let mut kept = Vec::new();
    for (group, slot) in store.slots() {
        for object in store.objects(group, slot, None, usize::MAX) {
            let part = PartReference { group, slot, object };
            let stored = describe(&store, &part).ok().flatten();
            let fragment = store.whole_fragment(&part).ok().flatten();
            if let (Some(stored), Some(fragment)) = (stored, fragment) {
                kept.push(KeptPart { part, stored, fragment });
            }
        }
    }
    Ok(kept)
}

/// Whether a part is as `is_sound` wants it. One that was removed meanwhile is, and so is one that
/// the disk cannot read now: that is no rot.
pub(super) fn check(
    store: &PartStore<OsDisk>,
    part: &PartReference,
    is_sound: impl Fn(&StoredPart, &[u8]) -> bool,
) -> bool {
    let stored = match describe(store, part) {
        Ok(Some(stored)) => stored,
        Ok(None) => return true,
        Err(error) => return error != DiskError::Damaged,
    };
    match store.whole_fragment(part).map_err(read_error) {
        Ok(Some(fragment)) => is_sound(&stored, &fragment),
        Ok(None) => true,
        Err(error) => error != DiskError::Damaged,
    }
}

/// Counts what was here when the store was opened against the quotas of its submitters, part by
/// part, and ends early once the node is gone. Until a part is counted, its submitter may store
/// that much more. Reads the header of every part; blocks on the disk.
pub(super) fn attribute_all(node: &Weak<Node>) {
    let slots = node.upgrade().map_or_else(Vec::new, |node| node.store.slots());
    for (group, slot) in slots {
        let mut after = None;
        while let Some(node) = node.upgrade() {
            let page = node.store.objects(group, slot, after, PAGE_LEN);
            for &object in &page {
                attribute(&node.store, PartReference { group, slot, object });
            }
            match page.last() {
                Some(&last) if page.len() == PAGE_LEN => after = Some(last),
                _ => break,
            }
        }
    }
    let tombstones = node.upgrade().map_or_else(Vec::new, |node| node.store.tombstones());
    for (group, object) in tombstones {
        let Some(node) = node.upgrade() else { return };
        if let Ok(Some(order)) = order(&node.store, group, object) {
            let submitter = order.object.authorisation.submitter;
            node.store.attribute_order(&canonical::encode(&order), &submitter);
        }
    }
}

fn attribute(store: &PartStore<OsDisk>, part: PartReference) {
    match describe(store, &part) {
        Ok(Some(stored)) => store.attribute(&part, &stored.object.authorisation.submitter),
        Ok(None) => {}
        Err(error) => warn!(?part, ?error, "a part could not be read"),
    }
}

/// Makes a rebuilt part durable; the network admitted it before.
pub(super) fn write_repaired(
    store: &PartStore<OsDisk>,
    repaired: &RepairedPart,
) -> Result<(), DiskError> {
    let (object, share) = (repaired.object.clone(), repaired.share.clone());
    let stored = StoredPart { object, share, renewed: repaired.renewed.clone() };
    write(store, repaired.part, &stored, &repaired.fragment, None)
}

/// Follows an order: the tombstone, then every part of the object.
pub(super) fn shred(
    store: &PartStore<OsDisk>,
    object: (GroupId, ObjectId),
    order: &ShredOrder,
    submitter_quota_bytes: Option<u64>,
) -> Result<(), DiskError> {
    let submitter = &order.object.authorisation.submitter;
    let bytes = canonical::encode(order);
    store.shred(object, &bytes, submitter, submitter_quota_bytes).map_err(put_error)
}

fn order(
    store: &PartStore<OsDisk>,
    group: GroupId,
    object: ObjectId,
) -> Result<Option<ShredOrder>, DiskError> {
    let bytes = store.order(group, object).map_err(|error| DiskError::Failed(error.to_string()))?;
    Ok(bytes.and_then(|bytes| canonical::decode(&bytes, ORDER_LENGTH_MAX).ok()))
}

fn write(
    store: &PartStore<OsDisk>,
    part: PartReference,
    stored: &StoredPart,
    fragment: &[u8],
    submitter_quota_bytes: Option<u64>,
) -> Result<(), DiskError> {
    let descriptor = canonical::encode(&stored.object);
    let share = encode_share(stored.share.clone(), stored.renewed.clone());
    let part = Part {
        key: part,
        submitter: stored.object.authorisation.submitter,
        submitter_quota_bytes,
        descriptor: &descriptor,
        share: &share,
        fragment: &[fragment],
    };
    store.put(&part).map_err(put_error)
}

fn put_error(error: PutError) -> DiskError {
    match error {
        PutError::QuotaExceeded { .. }
        | PutError::SubmitterQuotaExceeded { .. }
        | PutError::DiskFull { .. } => DiskError::Full(error.to_string()),
        PutError::AlreadyThere => DiskError::Conflict,
        PutError::Shredded => DiskError::Shredded,
        other => DiskError::Failed(other.to_string()),
    }
}

pub(super) fn describe(
    store: &PartStore<OsDisk>,
    part: &PartReference,
) -> Result<Option<StoredPart>, DiskError> {
    let Some(meta) = store.meta(part).map_err(read_error)? else {
        return Ok(None);
    };
    let object = canonical::decode(&meta.descriptor, HEADER_FIELD_LENGTH_MAX);
    match (object, decode_share(&meta.share)) {
        (Ok(object), Some((share, renewed))) => Ok(Some(StoredPart { object, share, renewed })),
        // The file's checksum holds, so another program wrote it.
        _ => Err(DiskError::Failed("a part of unknown format is kept under this name".into())),
    }
}

/// The share alone as it was dealt, or with what it is checked against.
pub(super) fn encode_share(share: Share, renewed: Option<RenewedRows>) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(match renewed {
        None => canonical::encode(&share),
        Some(rows) => canonical::encode(&RenewedShare { share, rows }),
    })
}

fn decode_share(bytes: &[u8]) -> Option<(Share, Option<RenewedRows>)> {
    if let Ok(share) = canonical::decode::<Share>(bytes, HEADER_FIELD_LENGTH_MAX) {
        return Some((share, None));
    }
    let renewed = canonical::decode::<RenewedShare>(bytes, HEADER_FIELD_LENGTH_MAX).ok();
    renewed.map(|RenewedShare { share, rows }| (share, Some(rows)))
}

fn read_error(error: ReadError) -> DiskError {
    match error {
        ReadError::Damaged { .. } => DiskError::Damaged,
        other => DiskError::Failed(other.to_string()),
    }
}
