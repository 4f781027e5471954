//! What the repairs of one node found out about writers.

use std::collections::{BTreeMap, BTreeSet};

use super::RepairSlot;
use crate::names::{Epoch, GroupId, ObjectId, Slot};

/// Objects that the repairs of a node found ill-formed: their writers stored parts that do not fit
/// together. A repair that is told of them ([`RepairSlot::without`]) does not try
/// again before the next epoch of the group, which may have made their shares fit. Memory: 32 bytes
/// an object and slot.
#[derive(Debug, Default)]
pub struct IllFormed(BTreeMap<(GroupId, Slot), (Epoch, BTreeSet<ObjectId>)>);

impl IllFormed {
    /// Those of a slot in an epoch.
    pub fn of(&self, group: GroupId, slot: Slot, epoch: Epoch) -> BTreeSet<ObjectId> {
        let found = self.0.get(&(group, slot)).filter(|(of, _)| *of == epoch);
        found.map(|(_, objects)| objects.clone()).unwrap_or_default()
    }

    /// Takes what a repair has found.
    pub fn learn(&mut self, repair: &RepairSlot) {
        let (group, slot, found_in, objects) = repair.ill_formed();
        if objects.is_empty() {
            return;
        }
        let (epoch, known) = self.0.entry((group, slot)).or_default();
        if *epoch != found_in {
            (*epoch, *known) = (found_in, BTreeSet::new());
        }
        known.extend(objects);
    }
}
