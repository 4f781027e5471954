//! What comes next, in the order of time, and of being scheduled at the same time.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

pub(super) struct Queue<E> {
    waiting: BinaryHeap<Reverse<Scheduled<E>>>,
    scheduled: u64,
}

struct Scheduled<E> {
    at: Duration,
    number: u64,
    event: E,
}

impl<E> Queue<E> {
    pub(super) fn new() -> Self {
        Self { waiting: BinaryHeap::new(), scheduled: 0 }
    }

    pub(super) fn schedule(&mut self, at: Duration, event: E) {
        self.scheduled += 1;
        self.waiting.push(Reverse(Scheduled { at, number: self.scheduled, event }));
    }

    pub(super) fn next(&mut self) -> Option<(Duration, E)> {
        self.waiting.pop().map(|Reverse(Scheduled { at, event, .. })| (at, event))
    }
}

impl<E> Scheduled<E> {
    fn key(&self) -> (Duration, u64) {
        (self.at, self.number)
    }
}

impl<E> PartialEq for Scheduled<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<E> Eq for Scheduled<E> {}

impl<E> PartialOrd for Scheduled<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Scheduled<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}
