//! A sorted map that wastes little memory and grows in small steps, for the index of parts, which grows
//! with every part that a node holds.
//!
//! Entries lie in ascending order in chunks of at most [`CHUNK_LEN_MAX`], as in a B-tree of two levels.
//! A chunk's room grows by [`STEP`] entries at a time instead of doubling, so that 64 bytes an entry cost
//! some 70, where a `BTreeMap`, with nodes of eleven that are two thirds full, takes some 110. A map of few
//! entries has room for up to two steps more.
//!
//! Looking for one entry takes time with the logarithm of their number; adding and removing one moves up
//! to a chunk, and every 32nd one up to three words for each chunk there is.

/// A full chunk becomes two of half of it.
const CHUNK_LEN_MAX: usize = 64;
/// Two neighbours that together have no more become one.
const CHUNK_LEN_MIN: usize = CHUNK_LEN_MAX / 4;
/// By how many entries a chunk's room grows.
const STEP: usize = 8;

/// A map from `K` to `V`, ascending by `K`.
pub(super) struct PackedMap<K, V> {
    /// Ascending, none empty.
    chunks: Vec<Vec<(K, V)>>,
}

impl<K, V> Default for PackedMap<K, V> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<K: Ord, V> PackedMap<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let (chunk, place) = self.find(key).ok()?;
        Some(&self.chunks[chunk][place].1)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let (chunk, place) = self.find(key).ok()?;
        Some(&mut self.chunks[chunk][place].1)
    }

    pub(super) fn contains_key(&self, key: &K) -> bool {
        self.find(key).is_ok()
    }

    /// Adds an entry, or gives a key another value.
    pub(super) fn insert(&mut self, key: K, value: V) {
        match self.find(&key) {
            Ok((chunk, place)) => self.chunks[chunk][place].1 = value,
            Err((chunk, place)) => self.add(chunk, place, (key, value)),
        }
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let (chunk, place) = self.find(key).ok()?;
        let (_, value) = self.chunks[chunk].remove(place);
        self.tighten(chunk);
        Some(value)
    }

    /// All entries in ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.after(None)
    }

    /// The entries after `key`, or all, in ascending order.
    pub(super) fn after<'a>(
        &'a self,
        key: Option<&K>,
    ) -> impl Iterator<Item = (&'a K, &'a V)> + use<'a, K, V> {
        let (chunk, place) = match key.map(|key| self.find(key)) {
            Some(Ok((chunk, place))) => (chunk, place + 1),
            Some(Err(gap)) => gap,
            None => (0, 0),
        };
        let (first, later) = match self.chunks.get(chunk) {
            Some(first) => (&first[place..], &self.chunks[chunk + 1..]),
            None => (&[][..], &[][..]),
        };
        first.iter().chain(later.iter().flatten()).map(|(key, value)| (key, value))
    }

    pub(super) fn len(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The chunk and the place in it of a key, or where it would be: in the first chunk that ends after
    /// it, or at the end of the last.
    fn find(&self, key: &K) -> Result<(usize, usize), (usize, usize)> {
        let ends_before = |chunk: &Vec<(K, V)>| chunk.last().is_some_and(|(last, _)| last < key);
        let chunk = self.chunks.partition_point(ends_before);
        let chunk = chunk.min(self.chunks.len().saturating_sub(1));
        let Some(entries) = self.chunks.get(chunk) else { return Err((0, 0)) };
        match entries.binary_search_by(|(other, _)| other.cmp(key)) {
            Ok(place) => Ok((chunk, place)),
            Err(place) => Err((chunk, place)),
        }
    }

    fn add(&mut self, mut chunk: usize, mut place: usize, entry: (K, V)) {
        if self.chunks.is_empty() {
            self.chunks.push(Vec::new());
        }
        if self.chunks[chunk].len() == CHUNK_LEN_MAX {
            let half = CHUNK_LEN_MAX / 2;
            let upper = self.chunks[chunk].split_off(half);
            self.chunks[chunk].shrink_to_fit();
            self.chunks.insert(chunk + 1, upper);
            if place > half {
                (chunk, place) = (chunk + 1, place - half);
            }
        }
        let entries = &mut self.chunks[chunk];
        if entries.len() == entries.capacity() {
            entries.reserve_exact(STEP);
        }
        entries.insert(place, entry);
    }

    /// Takes back room that a chunk no longer needs, or the whole chunk.
    fn tighten(&mut self, chunk: usize) {
        let entries = &mut self.chunks[chunk];
        if entries.is_empty() {
            self.chunks.remove(chunk);
            return;
        }
        if entries.capacity() >= entries.len() + 2 * STEP {
            entries.shrink_to(entries.len() + STEP);
        }
        self.merge_if_few(chunk);
        if chunk > 0 {
            self.merge_if_few(chunk - 1);
        }
    }

    /// Makes one of a chunk and the next.
    fn merge_if_few(&mut self, chunk: usize) {
        if let [entries, next, ..] = &mut self.chunks[chunk..]
            && entries.len() + next.len() <= CHUNK_LEN_MIN
        {
            entries.reserve_exact(next.len());
            entries.append(next);
            self.chunks.remove(chunk + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand_chacha::ChaCha8Rng;
    use rand_core::{Rng, SeedableRng};

    use super::*;

    /// Everything that can be asked, against the standard library's map.
    fn check(map: &PackedMap<u16, u32>, oracle: &BTreeMap<u16, u32>, key: u16) {
        assert_eq!(map.get(&key), oracle.get(&key));
        assert_eq!(map.contains_key(&key), oracle.contains_key(&key));
        assert_eq!((map.len(), map.is_empty()), (oracle.len(), oracle.is_empty()));
        let after = oracle.range((std::ops::Bound::Excluded(key), std::ops::Bound::Unbounded));
        assert!(map.after(Some(&key)).eq(after));
        assert!(map.iter().eq(oracle));
    }

    fn room(map: &PackedMap<u16, u32>) -> usize {
        map.chunks.iter().map(Vec::capacity).sum()
    }

    #[test]
    fn it_is_the_map_of_the_standard_library() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (mut map, mut oracle) = (PackedMap::default(), BTreeMap::new());
        // It grows, stays and shrinks to nothing.
        for (steps, adds) in [(3000, 90), (3000, 50), (6000, 10)] {
            for _ in 0..steps {
                let key = (rng.next_u32() % 2000) as u16;
                let value = rng.next_u32();
                if rng.next_u32() % 100 < adds {
                    map.insert(key, value);
                    oracle.insert(key, value);
                } else {
                    assert_eq!(map.remove(&key), oracle.remove(&key));
                }
                if let Some(value) = map.get_mut(&key) {
                    *value ^= 1;
                    oracle.entry(key).and_modify(|value| *value ^= 1);
                }
                check(&map, &oracle, key);
                assert!(map.chunks.iter().all(|chunk| !chunk.is_empty()));
            }
        }
        for key in 0..2000 {
            assert_eq!(map.remove(&key), oracle.remove(&key));
        }
        check(&map, &oracle, 7);
        assert_eq!(room(&map), 0);
    }

    #[test]
    fn it_has_little_more_room_than_entries() {
        let (mut up, mut down, mut any) =
            (PackedMap::default(), PackedMap::default(), PackedMap::default());
        for number in 0..60_000_u16 {
            up.insert(number, 0);
            down.insert(u16::MAX - number, 0);
            // Odd, so that every number comes once.
            any.insert(number.wrapping_mul(40_503), 0);
        }
        for map in [&up, &down, &any] {
            assert_eq!(map.len(), 60_000);
            assert!(room(map) <= 60_000 * 9 / 8, "{} for 60,000", room(map));
        }
        for number in 0..60_000_u16 {
            if number % 16 != 0 {
                any.remove(&number.wrapping_mul(40_503));
            }
        }
        assert_eq!(any.len(), 3750);
        assert!(room(&any) <= 3750 * 4, "{} for 3750", room(&any));
    }
}
