//! A disk in memory that can be full or rot.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kakera_engine::keyshare::Share;
use kakera_engine::names::{GroupId, ObjectId, Slot};
use kakera_engine::peer::{DiskError, DiskRequest, DiskResult, StoredPart, is_sound};
use kakera_engine::wire::{PartReference, VouchedDescriptor};

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
}

/// What is kept of a part.
#[derive(Clone)]
pub struct Kept {
    /// The descriptor and who vouched for it.
    pub object: VouchedDescriptor,
    /// The key share.
    pub share: Share,
    /// The fragment.
    pub fragment: Bytes,
}

impl Disk {
    /// Keeps a part, whatever was there before.
    pub fn keep(&mut self, part: PartReference, stored: StoredPart, fragment: Bytes) {
        let StoredPart { object, share } = stored;
        self.parts.insert(part, Kept { object, share, fragment });
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
    pub fn next_of_slot(
        &self,
        group: GroupId,
        slot: Slot,
        after: ObjectId,
    ) -> Option<(ObjectId, StoredPart)> {
        let next = self.of_slot(group, slot, Some(after)).next();
        let object = next.or_else(|| self.of_slot(group, slot, None).next())?;
        let Kept { object: vouched, share, .. } =
            self.parts.get(&PartReference { group, slot, object })?.clone();
        Some((object, StoredPart { object: vouched, share }))
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
            let stored = StoredPart { object: kept.object.clone(), share: kept.share.clone() };
            !is_sound(part, &stored, &kept.fragment)
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
                DiskResult::Listed(self.of_slot(group, slot, after).take(limit).collect())
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
        self.keep(part, stored, fragment);
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
