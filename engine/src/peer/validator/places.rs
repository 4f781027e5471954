//! Where the newest final entries stand, so that a submission may be repeated.

use std::collections::{BTreeMap, VecDeque};

use super::Place;
use crate::ledger::{Digest32, Entry};

/// Entries whose place is remembered after they became final.
const PLACES_MAX: usize = 4096;

/// Where the newest final entries stand.
#[derive(Default)]
pub(super) struct Places {
    by_entry: BTreeMap<Digest32, Place>,
    oldest_first: VecDeque<Digest32>,
}

impl Places {
    pub(super) fn find(&self, entry: &Entry) -> Option<Place> {
        self.by_entry.get(&entry.id()).copied()
    }

    pub(super) fn insert(&mut self, entry: &Entry, place: Place) {
        let id = entry.id();
        self.by_entry.insert(id, place);
        self.oldest_first.push_back(id);
        if self.oldest_first.len() > PLACES_MAX
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.by_entry.remove(&oldest);
        }
    }
}
