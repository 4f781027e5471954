//! A disk in memory that can be full or rot.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kakera_engine::keyshare::{RenewedRows, Share};
use kakera_engine::ledger::State;
use kakera_engine::names::{GroupId, ObjectId, Slot};
use kakera_engine::object::Descriptor;
use kakera_engine::peer::refresh::{Fate, OldShare, RenewedBatch, Shares};
use kakera_engine::peer::{
    DiskError, DiskRequest, DiskResult, Loaded, RenewedPart, StoredPart, is_sound,
};
use kakera_engine::wire::{
    ListedShare, PartReference, RefreshPlace, ShredOrder, VouchedDescriptor,
};

/// What a node keeps.
#[derive(Default)]
pub struct Disk {
    /// The parts by their names.
    pub parts: BTreeMap<PartReference, Kept>,
    /// Nothing more is written.
    pub full: bool,
    /// How often something did not fit.
    pub refused: u64,
    /// Parts that were found damaged, since somebody last looked.
    pub set_aside: Vec<PartReference>,
    /// Shares of refreshes that the ledger has not decided.
    pub undecided: BTreeMap<RefreshPlace, RenewedBatch>,
    /// Changed by [`Shares::keep`], which has the disk behind a shared reference.
    kept: RefCell<Vec<(RefreshPlace, RenewedBatch)>>,
    /// What owners had destroyed.
    pub orders: BTreeMap<(GroupId, ObjectId), ShredOrder>,
    /// Shares that newer ones replaced. A node erases them; who lies has kept them.
    pub replaced: BTreeMap<PartReference, StoredPart>,
    /// Stops between the tombstone and the erasure of the next order.
    pub stops_after_order: bool,
}

/// What is kept of a part.
#[derive(Clone)]
pub struct Kept {
    /// The descriptor and who vouched for it.
    pub object: VouchedDescriptor,
    /// The key share.
    pub share: Share,
    /// What the share is checked against, if it was refreshed.
    pub renewed: Option<RenewedRows>,
    /// The fragment.
    pub fragment: Bytes,
}

impl Kept {
    /// What is kept beside the fragment.
    pub fn stored(&self) -> StoredPart {
        let Self { object, share, renewed, .. } = self.clone();
        StoredPart { object, share, renewed }
    }
}

impl Shares for Disk {
    fn list(&self, group: GroupId, slot: Slot) -> Vec<ListedShare> {
        let listed = self.of_slot(group, slot, None).filter_map(|object| {
            let stored = self.parts.get(&PartReference { group, slot, object })?.stored();
            let descriptor = Descriptor::decode(&stored.object.descriptor).ok()?;
            Some(ListedShare { object, epoch: stored.epoch(&descriptor) })
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
    pub fn settle(&mut self, state: &State) {
        self.undecided.extend(self.kept.get_mut().drain(..));
        for (place, batch) in std::mem::take(&mut self.undecided) {
            let Some(group) = state.group(place.group) else { continue };
            match Fate::of(&place, &batch.root, group) {
                Fate::Open => drop(self.undecided.insert(place, batch)),
                Fate::Void => {}
                Fate::Used => {
                    // What is not there was destroyed since it was kept.
                    let shares = batch.shares.into_iter();
                    let renewed =
                        shares.map(|(object, share, rows)| RenewedPart { object, share, rows });
                    self.renew(place.group, place.slot, renewed.collect());
                }
            }
        }
    }

    /// Puts newer shares in the place of those that are kept.
    pub fn renew(&mut self, group: GroupId, slot: Slot, parts: Vec<RenewedPart>) {
        for RenewedPart { object, share, rows } in parts {
            let part = PartReference { group, slot, object };
            if let Some(kept) = self.parts.get_mut(&part) {
                self.replaced.insert(part, kept.stored());
                (kept.share, kept.renewed) = (share, Some(rows));
            }
        }
    }

    /// Keeps a part, whatever was there before.
    pub fn keep_part(&mut self, part: PartReference, stored: StoredPart, fragment: Bytes) {
        let StoredPart { object, share, renewed } = stored;
        self.parts.insert(part, Kept { object, share, renewed, fragment });
    }

    /// The objects of a group that were destroyed.
    pub fn shredded(&self, group: GroupId) -> BTreeSet<ObjectId> {
        self.orders.keys().filter(|(of, _)| *of == group).map(|(_, object)| *object).collect()
    }

    /// Makes the order durable, then erases; false if it stopped between, and opening the disk again
    /// erases what is left.
    pub fn shred(&mut self, group: GroupId, object: ObjectId, order: ShredOrder) -> bool {
        self.orders.insert((group, object), order);
        if std::mem::take(&mut self.stops_after_order) {
            return false;
        }
        self.reopen();
        true
    }

    /// Erases what was destroyed.
    pub fn reopen(&mut self) {
        let orders = &self.orders;
        self.parts.retain(|part, _| !orders.contains_key(&(part.group, part.object)));
    }

    /// The objects of a slot, ascending.
    pub fn objects(&self, group: GroupId, slot: Slot) -> BTreeSet<ObjectId> {
        self.of_slot(group, slot, None).collect()
    }

    /// How many objects of a slot are kept.
    pub fn count(&self, group: GroupId, slot: Slot) -> usize {
        self.of_slot(group, slot, None).count()
    }

    /// What is kept of the first object of a slot after one, or of the first of all.
    pub fn next_of_slot(&self, group: GroupId, slot: Slot, after: ObjectId) -> Option<Loaded> {
        let next = self.of_slot(group, slot, Some(after)).next();
        let object = next.or_else(|| self.of_slot(group, slot, None).next())?;
        let kept = self.parts.get(&PartReference { group, slot, object })?;
        Some(Loaded { object, part: kept.stored(), fragment: kept.fragment.clone() })
    }

    /// Changes a byte of a fragment; false if there is none to change.
    pub fn rot(&mut self, part: &PartReference) -> bool {
        let Some(kept) = self.parts.get_mut(part) else { return false };
        let mut bytes = kept.fragment.to_vec();
        let Some(byte) = bytes.get_mut(7) else { return false };
        *byte ^= 1;
        kept.fragment = bytes.into();
        true
    }

    /// Removes what rotted; the slots that lost something.
    pub fn scrub(&mut self) -> BTreeSet<(GroupId, Slot)> {
        let is_rotten = |(part, kept): &(&PartReference, &Kept)| {
            !is_sound(part, &kept.stored(), &kept.fragment)
        };
        let rotten: Vec<PartReference> =
            self.parts.iter().filter(is_rotten).map(|(part, _)| *part).collect();
        rotten.iter().for_each(|part| drop(self.parts.remove(part)));
        rotten.iter().map(|part| (part.group, part.slot)).collect()
    }

    /// Does what the holder wants.
    pub fn perform(&mut self, request: DiskRequest) -> DiskResult {
        match request {
            DiskRequest::Write { part, stored, fragment, submitter_quota } => {
                self.write(part, *stored, fragment, submitter_quota)
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
                DiskResult::Listed(self.of_slot(group, slot, after).take(limit).collect())
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

    fn write(
        &mut self,
        part: PartReference,
        stored: StoredPart,
        fragment: Bytes,
        submitter_quota: u64,
    ) -> DiskResult {
        if self.orders.contains_key(&(part.group, part.object)) {
            return DiskResult::Failed(DiskError::Shredded);
        }
        let used: u64 = self.parts.values().map(|kept| kept.fragment.len() as u64).sum();
        let full = match () {
            () if self.full => Some("the disk is full"),
            () if used + fragment.len() as u64 > submitter_quota => Some("the submitter's quota"),
            () => None,
        };
        if let Some(what) = full {
            self.refused += 1;
            return DiskResult::Failed(DiskError::Full(what.into()));
        }
        let other = |kept: &Kept| kept.fragment != fragment || kept.share != stored.share;
        if self.parts.get(&part).is_some_and(other) {
            return DiskResult::Failed(DiskError::Conflict);
        }
        self.keep_part(part, stored, fragment);
        DiskResult::Written
    }

    fn of_slot(
        &self,
        group: GroupId,
        slot: Slot,
        after: Option<ObjectId>,
    ) -> impl Iterator<Item = ObjectId> {
        let named = |byte| PartReference { group, slot, object: ObjectId([byte; 32]) };
        let begin = after.map_or(named(0), |object| PartReference { group, slot, object });
        let of_slot = self.parts.range(begin..=named(255)).map(|(part, _)| part.object);
        of_slot.filter(move |object| Some(*object) != after)
    }
}
