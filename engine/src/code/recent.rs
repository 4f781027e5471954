//! What was made before, kept for the next time.
//!
//! To repair a slot is to repair thousands of objects with one set of helpers, and inverting a
//! matrix and gathering its rows into passes takes longer than coding a small object.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// At most `MAX` values by their keys, the latest used last. The one that was not used for longest
/// goes first.
#[derive(Debug)]
pub(super) struct Recent<K, V, const MAX: usize>(Mutex<VecDeque<(K, V)>>);

impl<K: PartialEq, V: Clone, const MAX: usize> Recent<K, V, MAX> {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }

    /// The value of this key, made by `make` unless it is kept.
    pub(super) fn or_make(&self, key: K, make: impl FnOnce() -> V) -> V {
        if let Some(value) = self.find(&key) {
            return value;
        }
        // Not under the lock: two threads may make the same, none waits for another's.
        let value = make();
        let mut kept = self.lock();
        if kept.len() == MAX {
            kept.pop_front();
        }
        kept.push_back((key, value.clone()));
        value
    }

    /// The value, if it is kept; it becomes the latest used.
    fn find(&self, key: &K) -> Option<V> {
        let mut kept = self.lock();
        let place = kept.iter().position(|(other, _)| other == key)?;
        let entry = kept.remove(place)?;
        let value = entry.1.clone();
        kept.push_back(entry);
        Some(value)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(K, V)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_used_are_kept() {
        let recent = Recent::<u8, u8, 3>::new();
        let is_kept = |key: u8| {
            let mut made = false;
            let value = recent.or_make(key, || {
                made = true;
                key + 100
            });
            assert_eq!(value, key + 100);
            !made
        };
        assert_eq!([1, 2, 3].map(is_kept), [false; 3]);
        assert!(is_kept(1));
        assert!(!is_kept(4));
        assert_eq!([1, 3, 4].map(is_kept), [true; 3]);
        assert!(!is_kept(2));
        assert!(!is_kept(1));
    }
}
