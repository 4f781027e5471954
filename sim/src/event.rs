//! The queue of what comes next.

use crate::time::{NEVER, Nanoseconds};

/// Children of a node of the heap: four share a cache line.
const ARITY: usize = 4;
const ABSENT: u32 = u32::MAX;

/// At most one pending event for each entity, in an indexed heap (Johnson 1975).
///
/// An event is replaced in place, so that stale ones cannot exist. Events come in the order of time,
/// then class, then entity. Since an entity has one event only, this order is total.
#[derive(Clone, Debug)]
pub struct Queue {
    heap: Vec<Event>,
    /// Where the event of an entity stands in the heap.
    position: Vec<u32>,
}

/// Something that happens to an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    /// When.
    pub time: Nanoseconds,
    /// Which of the things that happen at the same time comes first: the least.
    pub class: u8,
    /// To whom.
    pub entity: u32,
}

impl Queue {
    /// No events yet, for entities 0 to `entities` - 1.
    pub fn new(entities: usize) -> Self {
        Self { heap: Vec::with_capacity(entities), position: vec![ABSENT; entities] }
    }

    /// Makes this the entity's only event. At [`NEVER`] it has none.
    pub fn schedule(&mut self, entity: u32, class: u8, time: Nanoseconds) {
        if time == NEVER {
            return self.cancel(entity);
        }
        let event = Event { time, class, entity };
        match self.position[entity as usize] {
            ABSENT => {
                self.heap.push(event);
                self.rise(self.heap.len() - 1);
            }
            position => self.replace(position as usize, event),
        }
    }

    /// The entity has no event any more.
    pub fn cancel(&mut self, entity: u32) {
        let position = self.position[entity as usize];
        if position == ABSENT {
            return;
        }
        self.position[entity as usize] = ABSENT;
        let Some(last) = self.heap.pop() else { return };
        if last.entity != entity {
            self.replace(position as usize, last);
        }
    }

    /// Takes the next event, if it comes before `end`.
    pub fn next_before(&mut self, end: Nanoseconds) -> Option<Event> {
        let event = *self.heap.first().filter(|event| event.time < end)?;
        self.cancel(event.entity);
        Some(event)
    }

    fn replace(&mut self, position: usize, event: Event) {
        self.heap[position] = event;
        if self.rise(position) == position {
            self.sink(position);
        }
    }

    /// Moves an event up to its place, which is returned.
    fn rise(&mut self, mut position: usize) -> usize {
        let event = self.heap[position];
        while position > 0 {
            let parent = (position - 1) / ARITY;
            if self.heap[parent] <= event {
                break;
            }
            self.put(position, self.heap[parent]);
            position = parent;
        }
        self.put(position, event);
        position
    }

    fn sink(&mut self, mut position: usize) {
        let event = self.heap[position];
        loop {
            let first = position * ARITY + 1;
            let children = first..(first + ARITY).min(self.heap.len());
            let Some(least) = children.min_by_key(|&child| self.heap[child]) else { break };
            if event <= self.heap[least] {
                break;
            }
            self.put(position, self.heap[least]);
            position = least;
        }
        self.put(position, event);
    }

    fn put(&mut self, position: usize, event: Event) {
        self.heap[position] = event;
        self.position[event.entity as usize] = position as u32;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ties_go_by_class_then_entity() {
        let mut queue = Queue::new(4);
        queue.schedule(3, 0, 5);
        queue.schedule(0, 1, 5);
        queue.schedule(2, 0, 5);
        queue.schedule(1, 7, 4);
        let order: Vec<u32> =
            std::iter::from_fn(|| queue.next_before(NEVER)).map(|event| event.entity).collect();
        assert_eq!(order, [1, 2, 3, 0]);
        queue.schedule(0, 0, 9);
        assert_eq!(queue.next_before(9), None);
        assert!(queue.next_before(10).is_some());
    }

    proptest! {
        /// Against a sorted map with one entry an entity.
        #[test]
        fn behaves_as_a_sorted_map(steps in prop::collection::vec((0u8..4, 0u32..20, 0u64..50), 0..300)) {
            let mut queue = Queue::new(20);
            let mut oracle: BTreeMap<u32, Event> = BTreeMap::new();
            for (action, entity, time) in steps {
                match action {
                    0 | 1 => {
                        queue.schedule(entity, action, time);
                        oracle.insert(entity, Event { time, class: action, entity });
                    }
                    2 => {
                        queue.schedule(entity, 0, NEVER);
                        oracle.remove(&entity);
                    }
                    _ => {
                        let next = oracle.values().min().copied();
                        prop_assert_eq!(queue.next_before(NEVER), next);
                        next.and_then(|event| oracle.remove(&event.entity));
                    }
                }
            }
        }
    }
}
