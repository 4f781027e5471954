//! A calendar queue (Brown, "Calendar queues: a fast O(1) priority queue implementation for the
//! simulation event set problem", CACM 31 (1988)) whose days are linked through the entities.

use super::Event;
use crate::time::{NEVER, Nanoseconds};

const NONE: u32 = u32::MAX;
/// Events that a day should have: fewer cost empty days, more cost sorting.
const EVENTS_PER_DAY: u64 = 3;

/// The days of a year are lists of entities whose events fall on that day of any year. The events of
/// today and before are sorted.
#[derive(Clone, Debug)]
pub(super) struct Calendar {
    /// Of an entity's event; `NEVER` without one.
    time: Vec<Nanoseconds>,
    class: Vec<u8>,
    /// Neighbours in the list of a day.
    next: Vec<u32>,
    previous: Vec<u32>,
    /// The first entity of every day; a power of two many.
    days: Vec<u32>,
    /// A day is 2^shift nanoseconds.
    shift: u32,
    today: u64,
    /// Keys of what comes until the end of today, the next one last.
    agenda: Vec<u128>,
    pending: usize,
    /// Events taken since the length of a day was last thought about, and when that was.
    taken: u64,
    begun: Nanoseconds,
}

impl Calendar {
    pub(super) fn new(entities: usize) -> Self {
        Self {
            time: vec![NEVER; entities],
            class: vec![0; entities],
            next: vec![NONE; entities],
            previous: vec![NONE; entities],
            days: vec![NONE; (entities / EVENTS_PER_DAY as usize).next_power_of_two()],
            shift: 0,
            today: 0,
            agenda: Vec::new(),
            pending: 0,
            taken: 0,
            begun: NEVER,
        }
    }

    pub(super) fn schedule(&mut self, event: Event) {
        self.cancel(event.entity);
        let entity = event.entity as usize;
        (self.time[entity], self.class[entity]) = (event.time, event.class);
        self.pending += 1;
        self.enter(event.entity);
    }

    pub(super) fn cancel(&mut self, entity: u32) {
        let time = std::mem::replace(&mut self.time[entity as usize], NEVER);
        if time == NEVER {
            return;
        }
        self.pending -= 1;
        if time >> self.shift <= self.today {
            let key = Event { time, class: self.class[entity as usize], entity }.key();
            if let Ok(place) = self.agenda.binary_search_by(|other| key.cmp(other)) {
                self.agenda.remove(place);
            }
            return;
        }
        let (previous, next) = (self.previous[entity as usize], self.next[entity as usize]);
        match previous {
            NONE => {
                let day = self.day(time);
                self.days[day] = next;
            }
            previous => self.next[previous as usize] = next,
        }
        if next != NONE {
            self.previous[next as usize] = previous;
        }
    }

    pub(super) fn next_before(&mut self, end: Nanoseconds) -> Option<Event> {
        if self.pending == 0 {
            return None;
        }
        if self.begun == NEVER || self.taken > 4 * self.time.len() as u64 {
            self.choose_days();
        }
        while self.agenda.is_empty() {
            self.next_day();
        }
        let event = Event::of_key(*self.agenda.last()?);
        if event.time >= end {
            return None;
        }
        self.agenda.pop();
        self.time[event.entity as usize] = NEVER;
        self.pending -= 1;
        self.taken += 1;
        Some(event)
    }

    pub(super) fn clear(&mut self) {
        self.time.fill(NEVER);
        self.days.fill(NONE);
        self.agenda.clear();
        (self.today, self.pending, self.taken, self.begun) = (0, 0, 0, NEVER);
    }

    fn day(&self, time: Nanoseconds) -> usize {
        (time >> self.shift) as usize & (self.days.len() - 1)
    }

    /// Puts an entity's event where it belongs.
    fn enter(&mut self, entity: u32) {
        let time = self.time[entity as usize];
        if time >> self.shift <= self.today {
            let key = Event { time, class: self.class[entity as usize], entity }.key();
            let place = self.agenda.partition_point(|other| *other > key);
            return self.agenda.insert(place, key);
        }
        let day = self.day(time);
        let next = std::mem::replace(&mut self.days[day], entity);
        (self.next[entity as usize], self.previous[entity as usize]) = (next, NONE);
        if next != NONE {
            self.previous[next as usize] = entity;
        }
    }

    /// Turns the page, or, if a whole year is empty, to the day of the next event.
    fn next_day(&mut self) {
        let year = self.days.len() as u64;
        for _ in 0..year {
            self.today += 1;
            if self.begin_day() {
                return;
            }
        }
        let times = self.time.iter().filter(|&&time| time != NEVER);
        if let Some(next) = times.min() {
            self.today = next >> self.shift;
            self.begin_day();
        }
    }

    /// Moves the events of today from their list to the agenda; false if there are none.
    fn begin_day(&mut self) -> bool {
        let day = self.today as usize & (self.days.len() - 1);
        let mut entity = self.days[day];
        let mut kept = NONE;
        while entity != NONE {
            let next = self.next[entity as usize];
            let time = self.time[entity as usize];
            if time >> self.shift == self.today {
                let class = self.class[entity as usize];
                self.agenda.push(Event { time, class, entity }.key());
            } else {
                self.previous[entity as usize] = kept;
                match kept {
                    NONE => self.days[day] = entity,
                    kept => self.next[kept as usize] = entity,
                }
                kept = entity;
            }
            entity = next;
        }
        match kept {
            NONE => self.days[day] = NONE,
            kept => self.next[kept as usize] = NONE,
        }
        self.agenda.sort_unstable_by(|a, b| b.cmp(a));
        !self.agenda.is_empty()
    }

    /// Chooses the length of a day, from the events taken since the last time or, at first, from the
    /// nearer half of what is pending, and enters everything anew.
    fn choose_days(&mut self) {
        let mut times: Vec<_> = self.time.iter().copied().filter(|&time| time != NEVER).collect();
        let now = times.iter().copied().min().unwrap_or(0);
        let (span, events) = if self.begun == NEVER {
            let middle = times.len() / 2;
            (*times.select_nth_unstable(middle).1 - now, middle as u64 + 1)
        } else {
            (now - self.begun, self.taken)
        };
        (self.begun, self.taken) = (now, 0);
        self.shift = (span.saturating_mul(EVENTS_PER_DAY) / events).max(1).ilog2();
        self.today = now >> self.shift;
        self.days.fill(NONE);
        self.agenda.clear();
        for entity in 0..self.time.len() as u32 {
            if self.time[entity as usize] != NEVER {
                self.enter(entity);
            }
        }
    }
}
