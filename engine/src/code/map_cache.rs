//! Linear maps that were made ready once.
//!
//! To repair a slot is to repair thousands of objects with one set of helpers, and inverting a
//! matrix and gathering its rows into passes takes longer than coding a small object.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::construction::GroupMap;
use crate::names::Slot;

/// Maps that are kept; the one that was not used for longest goes first. A slot under repair uses
/// one, and one for each set of holders that answers reads.
const MAPS_MAX: usize = 16;

/// What a map does. The order of the slots is that of its inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MapKey {
    /// The message to the content of all slots.
    Encode,
    /// The message to the content of one slot.
    EncodeSlot(Slot),
    /// The contents of these slots to the message.
    Decode(Vec<Slot>),
    /// Any helper's content to its symbol for this slot.
    Help(Slot),
    /// The symbols of these helpers to the content of the lost slot.
    Repair(Slot, Vec<Slot>),
    /// The contents of these slots to the content of the lost slot.
    Rebuild(Slot, Vec<Slot>),
}

/// The last [`MAPS_MAX`] maps of one code, the latest used last.
#[derive(Debug, Default)]
pub(super) struct MapCache(Mutex<VecDeque<(MapKey, Arc<dyn GroupMap>)>>);

impl MapCache {
    /// The map of this key, made ready by `prepare` unless it is kept.
    pub(super) fn map(
        &self,
        key: MapKey,
        prepare: impl FnOnce() -> Box<dyn GroupMap>,
    ) -> Arc<dyn GroupMap> {
        if let Some(map) = self.take(&key) {
            return map;
        }
        // Not under the lock: two threads may prepare the same, none waits for another's.
        let map: Arc<dyn GroupMap> = Arc::from(prepare());
        let mut maps = self.lock();
        if maps.len() == MAPS_MAX {
            maps.pop_front();
        }
        maps.push_back((key, Arc::clone(&map)));
        map
    }

    /// The map, if it is kept; it becomes the latest used.
    fn take(&self, key: &MapKey) -> Option<Arc<dyn GroupMap>> {
        let mut maps = self.lock();
        let place = maps.iter().position(|(kept, _)| kept == key)?;
        let entry = maps.remove(place)?;
        let map = Arc::clone(&entry.1);
        maps.push_back(entry);
        Some(map)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(MapKey, Arc<dyn GroupMap>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gf::{Combination, Matrix};

    #[test]
    fn the_latest_used_maps_are_kept() {
        let cache = MapCache::default();
        let slot = |point| Slot::new(point).unwrap();
        let map = |key: MapKey, kept: bool| {
            let mut prepared = false;
            cache.map(key, || {
                prepared = true;
                Box::new(Combination::new(&Matrix::identity(1)))
            });
            assert_eq!(kept, !prepared);
        };
        let slots: Vec<Slot> = (1..=MAPS_MAX as u8).map(slot).collect();
        for &slot in &slots {
            map(MapKey::Help(slot), false);
        }
        map(MapKey::Help(slots[0]), true);
        map(MapKey::EncodeSlot(slots[0]), false);
        map(MapKey::Help(slots[0]), true);
        map(MapKey::Help(slots[1]), false);
        map(MapKey::Decode(vec![slots[0], slots[1]]), false);
        map(MapKey::Decode(vec![slots[1], slots[0]]), false);
    }
}
