//! An indexed heap with four children a node (Johnson, "Priority queues with update and finding
//! minimum spanning trees", 1975).

use super::Event;
use crate::time::Nanoseconds;

/// Four keys share a cache line.
const ARITY: usize = 4;
const ABSENT: u32 = u32::MAX;

#[derive(Clone, Debug)]
pub(super) struct Heap {
    /// Keys of events, a parent below its children.
    keys: Vec<u128>,
    /// Where the event of an entity stands among the keys.
    position: Vec<u32>,
    /// Whose event was taken last. It stays until the next is asked for: mostly the entity gets
    /// another event meanwhile, which then only sinks to its place.
    taken: Option<u32>,
}

impl Heap {
    pub(super) fn new(entities: usize) -> Self {
        Self { keys: Vec::with_capacity(entities), position: vec![ABSENT; entities], taken: None }
    }

    #[inline]
    pub(super) fn schedule(&mut self, event: Event) {
        if self.taken == Some(event.entity) {
            self.taken = None;
        }
        match self.position[event.entity as usize] {
            ABSENT => {
                self.keys.push(event.key());
                self.rise(self.keys.len() - 1, event.key());
            }
            position => self.replace(position as usize, event.key()),
        }
    }

    pub(super) fn cancel(&mut self, entity: u32) {
        if self.taken == Some(entity) {
            self.taken = None;
        }
        let position = std::mem::replace(&mut self.position[entity as usize], ABSENT);
        if position == ABSENT {
            return;
        }
        let Some(last) = self.keys.pop() else { return };
        if last as u32 != entity {
            self.replace(position as usize, last);
        }
    }

    #[inline]
    pub(super) fn next_before(&mut self, end: Nanoseconds) -> Option<Event> {
        if let Some(taken) = self.taken {
            self.cancel(taken);
        }
        let event = self.keys.first().map(|&key| Event::of_key(key))?;
        if event.time >= end {
            return None;
        }
        self.taken = Some(event.entity);
        Some(event)
    }

    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.position.fill(ABSENT);
        self.taken = None;
    }

    fn replace(&mut self, position: usize, key: u128) {
        if self.rise(position, key) == position {
            self.sink(position, key);
        }
    }

    /// Moves a key up from a free position to its place, which is returned.
    fn rise(&mut self, mut position: usize, key: u128) -> usize {
        while position > 0 {
            let parent = (position - 1) / ARITY;
            if self.keys[parent] <= key {
                break;
            }
            self.put(position, self.keys[parent]);
            position = parent;
        }
        self.put(position, key);
        position
    }

    fn sink(&mut self, mut position: usize, key: u128) {
        loop {
            let first = position * ARITY + 1;
            let Some(children) = self.keys.get(first..) else { break };
            let child = match children.first_chunk() {
                Some(children) => least_of_all(children),
                None => (0..children.len()).min_by_key(|&child| children[child]).unwrap_or(0),
            };
            let Some(&least) = children.get(child) else { break };
            if key <= least {
                break;
            }
            self.put(position, least);
            position = first + child;
        }
        self.put(position, key);
    }

    fn put(&mut self, position: usize, key: u128) {
        self.keys[position] = key;
        // The low half of a key's low word is the entity.
        self.position[key as u32 as usize] = position as u32;
    }
}

/// Which key is the least, without a branch that is hard to foresee.
fn least_of_all(keys: &[u128; ARITY]) -> usize {
    let front = usize::from(keys[1] < keys[0]);
    let back = 2 + usize::from(keys[3] < keys[2]);
    if keys[back] < keys[front] { back } else { front }
}
