//! A disk in memory that can be full or rot.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kakera_engine::keyshare::{RenewedRows, Share};
use kakera_engine::ledger::State;
use kakera_engine::names::{GroupId, ObjectId, Slot};
use kakera_engine::object::Descriptor;
use kakera_engine::peer::refresh::{Fate, OldShare, RenewedBatch, Shares};
use kakera_engine::peer::{DiskError, DiskRequest, DiskResult, StoredPart};
use kakera_engine::wire::{
    ListedShare, PartReference, RefreshPlace, ShredOrder, VouchedDescriptor,
};

#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) parts: BTreeMap<PartReference, Kept>,
    pub(crate) full: bool,
    /// How often something did not fit.
    pub(crate) refused: u64,
    pub(crate) set_aside: Vec<PartReference>,
    /// Shares of refreshes that the ledger has not decided.
    pub(crate) undecided: BTreeMap<RefreshPlace, RenewedBatch>,
    /// Changed by [`Shares::keep`], which has the disk behind a shared reference.
    kept: RefCell<Vec<(RefreshPlace, RenewedBatch)>>,
    pub(crate) orders: BTreeMap<(GroupId, ObjectId), ShredOrder>,
    /// Stops between the tombstone and the erasure of the next order.
    pub(crate) stops_after_order: bool,
}

#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) object: VouchedDescriptor,
    pub(crate) share: Share,
    pub(crate) renewed: Option<RenewedRows>,
    pub(crate) fragment: Bytes,
}

impl Kept {
    fn stored(&self) -> StoredPart {
        let Self { object, share, renewed, .. } = self.clone();
        StoredPart { object, share, renewed }
    }
}

impl Shares for Disk {
    fn list(&self, group: GroupId, slot: Slot) -> Vec<ListedShare> {
        let of_slot =
            |(part, _): &(&PartReference, &Kept)| (part.group, part.slot) == (group, slot);
        let listed = self.parts.iter().filter(of_slot).map(|(part, kept)| {
            let descriptor = Descriptor::decode(&kept.object.descriptor).unwrap();
            ListedShare { object: part.object, epoch: kept.stored().epoch(&descriptor) }
        });
        listed.collect()
    }

    fn load(&self, part: &PartReference) -> Option<OldShare> {
        let stored = self.parts.get(part)?.stored();
        let descriptor = Descriptor::decode(&stored.object.descriptor).ok()?;
        let (object, salt) = (part.object, descriptor.salt);
        stored.has_true_share(&descriptor).then_some(OldShare { object, salt, share: stored.share })
    }

    fn keep(&self, place: &RefreshPlace, batch: &RenewedBatch) -> Result<(), String> {
        let RenewedBatch { root, shares } = batch;
        let batch = RenewedBatch { root: *root, shares: shares.clone() };
        self.kept.borrow_mut().push((*place, batch));
        Ok(())
    }
}

impl Disk {
    /// Acts on what the ledger says of refreshes: new shares take the place of old ones, or go.
    pub(crate) fn settle(&mut self, state: &State) {
        self.undecided.extend(self.kept.get_mut().drain(..));
        for (place, batch) in std::mem::take(&mut self.undecided) {
            match Fate::of(&place, &batch.root, &state.group(place.group).unwrap()) {
                Fate::Open => drop(self.undecided.insert(place, batch)),
                Fate::Void => {}
                Fate::Used => {
                    for (object, share, rows) in batch.shares {
                        let part = PartReference { group: place.group, slot: place.slot, object };
                        let kept = self.parts.get_mut(&part).unwrap();
                        (kept.share, kept.renewed) = (share, Some(rows));
                    }
                }
            }
        }
    }

    pub(crate) fn keep(&mut self, part: PartReference, stored: StoredPart, fragment: Bytes) {
        let StoredPart { object, share, renewed } = stored;
        self.parts.insert(part, Kept { object, share, renewed, fragment });
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
                DiskResult::Described(self.parts.get(&part).map(|kept| Box::new(kept.stored())))
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
