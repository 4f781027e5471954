//! Where the newest final entries stand, so that a submission may be repeated.

use std::collections::{BTreeMap, VecDeque};

use super::Place;
use crate::ledger::{Digest32, Entry, SaltedEntry};
use crate::names::NodeId;

/// Entries whose place is remembered after they became final.
pub(super) const PLACES_MAX: usize = 4096;

/// Author and sequence number.
type Name = (NodeId, u64);

/// Where the newest final entries stand.
#[derive(Default)]
pub(super) struct Places {
    by_name: BTreeMap<Name, (Place, Digest32)>,
    oldest_first: VecDeque<Name>,
}

impl Places {
    /// The place of this very entry.
    pub(super) fn find(&self, entry: &Entry) -> Option<Place> {
        let (place, leaf) = self.by_name.get(&(entry.author, entry.sequence))?;
        let same = SaltedEntry { salt: place.salt, entry: entry.clone() }.leaf() == *leaf;
        same.then_some(*place)
    }

    pub(super) fn insert(&mut self, entry: &Entry, place: Place, leaf: Digest32) {
        let name = (entry.author, entry.sequence);
        self.by_name.insert(name, (place, leaf));
        self.oldest_first.push_back(name);
        if self.oldest_first.len() > PLACES_MAX
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.by_name.remove(&oldest);
        }
    }
}
