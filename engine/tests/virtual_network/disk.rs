//! A disk in memory that can be full or rot.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kakera_engine::keyshare::Share;
use kakera_engine::names::{GroupId, ObjectId, Slot};
use kakera_engine::peer::{DiskError, DiskRequest, DiskResult, StoredPart};
use kakera_engine::wire::{PartReference, VouchedDescriptor};

#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) parts: BTreeMap<PartReference, Kept>,
    pub(crate) full: bool,
    /// How often something did not fit.
    pub(crate) refused: u64,
    pub(crate) set_aside: Vec<PartReference>,
}

#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) object: VouchedDescriptor,
    pub(crate) share: Share,
    pub(crate) fragment: Bytes,
}

impl Disk {
    pub(crate) fn keep(&mut self, part: PartReference, stored: StoredPart, fragment: Bytes) {
        let StoredPart { object, share } = stored;
        self.parts.insert(part, Kept { object, share, fragment });
    }

    pub(crate) fn objects(&self, group: GroupId, slot: Slot) -> BTreeSet<ObjectId> {
        let of_slot = |part: &&PartReference| (part.group, part.slot) == (group, slot);
        self.parts.keys().filter(of_slot).map(|part| part.object).collect()
    }

    /// Changes a byte of the fragment.
    pub(crate) fn rot(&mut self, part: PartReference) {
        let kept = self.parts.get_mut(&part).unwrap();
        let mut bytes = kept.fragment.to_vec();
        bytes[7] ^= 1;
        kept.fragment = bytes.into();
    }

    pub(crate) fn perform(&mut self, request: DiskRequest) -> DiskResult {
        match request {
            DiskRequest::Write { .. } if self.full => {
                self.refused += 1;
                DiskResult::Failed(DiskError::Full("the disk is full".into()))
            }
            DiskRequest::Write { part, stored, fragment, submitter_quota } => {
                let bytes = |kept: &Kept| kept.fragment.len() as u64;
                let used: u64 = self.parts.values().map(bytes).sum();
                if used + fragment.len() as u64 > submitter_quota {
                    self.refused += 1;
                    return DiskResult::Failed(DiskError::Full("the submitter's quota".into()));
                }
                let other = |kept: &Kept| kept.fragment != fragment || kept.share != stored.share;
                if self.parts.get(&part).is_some_and(other) {
                    return DiskResult::Failed(DiskError::Conflict);
                }
                self.keep(part, *stored, fragment);
                DiskResult::Written
            }
            DiskRequest::Describe(part) => {
                DiskResult::Described(self.parts.get(&part).map(|kept| {
                    let Kept { object, share, .. } = kept.clone();
                    Box::new(StoredPart { object, share })
                }))
            }
            DiskRequest::Fragment(part) => {
                DiskResult::Fragment(self.parts.get(&part).map(|kept| kept.fragment.clone()))
            }
            DiskRequest::SetAside(part) => {
                self.parts.remove(&part);
                self.set_aside.push(part);
                DiskResult::Failed(DiskError::Damaged)
            }
            DiskRequest::List { group, slot, after, limit } => {
                let objects = self.objects(group, slot).into_iter();
                DiskResult::Listed(objects.filter(|id| Some(*id) > after).take(limit).collect())
            }
        }
    }
}
