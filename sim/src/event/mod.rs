//! The queue of what comes next.

mod calendar;
mod heap;

use calendar::Calendar;
use heap::Heap;

use crate::time::{NEVER, Nanoseconds};

/// Entities from which a calendar is faster than a heap, whose levels then lie in distant caches.
const CALENDAR_ENTITIES: usize = 100_000;

/// At most one pending event for each entity: a new one takes the place of the old one, so that
/// stale events cannot exist. Nothing is allocated for an event.
///
/// Events come in the order of time, then class, then entity. Since an entity has one event only,
/// this order is total, and the same for both kinds of queue.
#[derive(Clone, Debug)]
pub struct Queue(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Heap(Heap),
    Calendar(Calendar),
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
        Self(if entities < CALENDAR_ENTITIES {
            Kind::Heap(Heap::new(entities))
        } else {
            Kind::Calendar(Calendar::new(entities))
        })
    }

    /// Makes this the entity's only event. At [`NEVER`] it has none.
    #[inline]
    pub fn schedule(&mut self, entity: u32, class: u8, time: Nanoseconds) {
        if time == NEVER {
            return self.cancel(entity);
        }
        let event = Event { time, class, entity };
        match &mut self.0 {
            Kind::Heap(heap) => heap.schedule(event),
            Kind::Calendar(calendar) => calendar.schedule(event),
        }
    }

    /// The entity has no event any more.
    pub fn cancel(&mut self, entity: u32) {
        match &mut self.0 {
            Kind::Heap(heap) => heap.cancel(entity),
            Kind::Calendar(calendar) => calendar.cancel(entity),
        }
    }

    /// Takes the next event, if it comes before `end`.
    #[inline]
    pub fn next_before(&mut self, end: Nanoseconds) -> Option<Event> {
        match &mut self.0 {
            Kind::Heap(heap) => heap.next_before(end),
            Kind::Calendar(calendar) => calendar.next_before(end),
        }
    }

    /// Removes all events.
    pub fn clear(&mut self) {
        match &mut self.0 {
            Kind::Heap(heap) => heap.clear(),
            Kind::Calendar(calendar) => calendar.clear(),
        }
    }
}

impl Event {
    /// A number that is ordered as events are: time, class and entity, from the highest bit down.
    fn key(self) -> u128 {
        u128::from(self.time) << 64 | u128::from(self.class) << 32 | u128::from(self.entity)
    }

    fn of_key(key: u128) -> Self {
        Self { time: (key >> 64) as u64, class: (key >> 32) as u8, entity: key as u32 }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn both(entities: usize) -> [Queue; 2] {
        [Queue(Kind::Heap(Heap::new(entities))), Queue(Kind::Calendar(Calendar::new(entities)))]
    }

    #[test]
    fn ties_go_by_class_then_entity() {
        for mut queue in both(4) {
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
            queue.schedule(0, 0, 12);
            queue.clear();
            assert_eq!(queue.next_before(NEVER), None);
        }
    }

    #[test]
    fn many_entities_get_a_calendar() {
        assert!(matches!(Queue::new(CALENDAR_ENTITIES - 1).0, Kind::Heap(_)));
        assert!(matches!(Queue::new(CALENDAR_ENTITIES).0, Kind::Calendar(_)));
    }

    /// A long run with gaps of very different lengths, which makes the calendar change its days.
    #[test]
    fn heap_and_calendar_give_one_order() {
        let [mut heap, mut calendar] = both(500);
        let mut state = 1u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state >> 33
        };
        let mut now = 0;
        for step in 0..40_000u64 {
            let entity = (random() % 500) as u32;
            let gap = random() % [50, 1_000_000, 3_000_000_000][(step / 8000 % 3) as usize];
            let class = (random() % 5) as u8;
            for queue in [&mut heap, &mut calendar] {
                queue.schedule(entity, class, now + gap);
            }
            if step % 3 > 0 {
                let next = heap.next_before(NEVER);
                assert_eq!(calendar.next_before(NEVER), next);
                now = next.map_or(now, |event| event.time);
            }
        }
    }

    proptest! {
        /// Against a sorted map with one entry an entity. Time never runs backwards in a simulation.
        #[test]
        fn behaves_as_a_sorted_map(steps in prop::collection::vec((0u8..4, 0u32..20, 0u64..50), 0..300)) {
            for mut queue in both(20) {
                let mut oracle: BTreeMap<u32, Event> = BTreeMap::new();
                let mut now = 0;
                for &(action, entity, span) in &steps {
                    let time = now + span;
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
                            now = next.map_or(now, |event| event.time);
                        }
                    }
                }
            }
        }
    }
}
