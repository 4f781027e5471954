//! A disk in memory that can be full or rot.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kakera_engine::keyshare::Share;
use kakera_engine::names::{GroupId, ObjectId, Slot};
use kakera_engine::peer::{DiskError, DiskRequest, DiskResult, StoredPart};
use kakera_engine::wire::{PartReference, ShredOrder, VouchedDescriptor};

#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) parts: BTreeMap<PartReference, Kept>,
    pub(crate) full: bool,
    /// How often something did not fit.
    pub(crate) refused: u64,
    pub(crate) set_aside: Vec<PartReference>,
    pub(crate) orders: BTreeMap<(GroupId, ObjectId), ShredOrder>,
    /// Stops between the tombstone and the erasure of the next order.
    pub(crate) stops_after_order: bool,
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

    /// The objects of a group that were destroyed.
    pub(crate) fn shredded(&self, group: GroupId) -> BTreeSet<ObjectId> {
        self.orders.keys().filter(|(of, _)| *of == group).map(|(_, object)| *object).collect()
    }

    /// Makes the order durable, then erases; opening the disk again erases what is left.
    pub(crate) fn shred(&mut self, group: GroupId, object: ObjectId, order: ShredOrder) -> bool {
        self.orders.insert((group, object), order);
        if std::mem::take(&mut self.stops_after_order) {
            return false;
        }
        self.reopen();
        true
    }

    pub(crate) fn reopen(&mut self) {
        let orders = &self.orders;
        self.parts.retain(|part, _| !orders.contains_key(&(part.group, part.object)));
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
            DiskRequest::Write { part, .. }
                if self.orders.contains_key(&(part.group, part.object)) =>
            {
                DiskResult::Failed(DiskError::Shredded)
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
            DiskRequest::Shred { group, object, order, .. } => {
                match self.shred(group, object, *order) {
                    true => DiskResult::Erased,
                    false => DiskResult::Failed(DiskError::Failed("the power went".into())),
                }
            }
            DiskRequest::Order(group, object) => {
                DiskResult::Order(self.orders.get(&(group, object)).cloned().map(Box::new))
            }
            DiskRequest::Shredded(group) => {
                DiskResult::Listed(self.shredded(group).into_iter().collect())
            }
            DiskRequest::Orders(group, objects) => {
                let order = |object: &ObjectId| self.orders.get(&(group, *object)).cloned();
                DiskResult::Orders(objects.iter().filter_map(order).collect())
            }
        }
    }
}
