//! Whom a reader asks first, and when it asks more.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::names::NodeId;

/// Fragments up to this size are asked of two more holders than needed: the bytes cost less than
/// waiting for a slow holder (`network.md` §3).
pub const EAGER_FRAGMENT_LEN_MAX: u64 = 64 * 1024;
const EAGER_EXTRA: usize = 2;
const HEDGE_MIN: Duration = Duration::from_millis(100);
const HEDGE_MAX: Duration = Duration::from_secs(3);

/// How many holders to ask at once for `threshold` answers of about `answer_len` bytes.
pub fn initial_asks(threshold: usize, answer_len: u64) -> usize {
    threshold + if answer_len <= EAGER_FRAGMENT_LEN_MAX { EAGER_EXTRA } else { 0 }
}

/// What a reader remembers of the answer times of its peers: 40 bytes a peer.
#[derive(Debug, Default)]
pub struct LatencyBook {
    peers: BTreeMap<NodeId, Estimate>,
}

/// Smoothed answer time and deviation, as RFC 6298 §2 keeps them for round trips.
#[derive(Clone, Copy, Debug)]
struct Estimate {
    mean: Duration,
    deviation: Duration,
    failed: bool,
}

impl LatencyBook {
    /// An answer of `node` took `elapsed`.
    pub fn record(&mut self, node: NodeId, elapsed: Duration) {
        let estimate = self.peers.entry(node).or_insert(Estimate {
            mean: elapsed,
            deviation: elapsed / 2,
            failed: false,
        });
        estimate.deviation = (estimate.deviation * 3 + estimate.mean.abs_diff(elapsed)) / 4;
        estimate.mean = (estimate.mean * 7 + elapsed) / 8;
        estimate.failed = false;
    }

    /// `node` did not answer: it is asked last until it answers again.
    pub fn record_failure(&mut self, node: NodeId) {
        self.peers
            .entry(node)
            .or_insert(Estimate { mean: HEDGE_MAX, deviation: Duration::ZERO, failed: true })
            .failed = true;
    }

    /// The order in which to ask: fastest first, unknown ones before those that failed, ties by
    /// the given order.
    pub fn order<T>(&self, candidates: &mut [T], node: impl Fn(&T) -> NodeId) {
        candidates.sort_by_key(|candidate| match self.peers.get(&node(candidate)) {
            Some(estimate) => (estimate.failed, estimate.mean),
            None => (false, self.typical()),
        });
    }

    /// Moves those that failed last to the end and keeps the order otherwise.
    pub fn order_failed_last<T>(&self, candidates: &mut [T], node: impl Fn(&T) -> NodeId) {
        candidates
            .sort_by_key(|candidate| self.peers.get(&node(candidate)).is_some_and(|e| e.failed));
    }

    /// How long to wait for the peers asked before asking one more: about the 95th percentile of
    /// the slowest of them (mean plus twice the deviation), within 100 ms to 3 s.
    pub fn hedge_delay<'a>(&self, asked: impl Iterator<Item = &'a NodeId>) -> Duration {
        asked
            .filter_map(|node| self.peers.get(node))
            .map(|estimate| estimate.mean + 2 * estimate.deviation)
            .max()
            .unwrap_or(HEDGE_MIN * 5)
            .clamp(HEDGE_MIN, HEDGE_MAX)
    }

    fn typical(&self) -> Duration {
        let alive = self.peers.values().filter(|estimate| !estimate.failed);
        let (sum, count) =
            alive.fold((Duration::ZERO, 0), |(sum, count), e| (sum + e.mean, count + 1));
        sum.checked_div(count).unwrap_or(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(byte: u8) -> NodeId {
        NodeId([byte; 32])
    }

    #[test]
    fn asks_the_fast_first_and_the_failed_last() {
        let mut book = LatencyBook::default();
        book.record(node(1), Duration::from_millis(90));
        book.record(node(2), Duration::from_millis(10));
        book.record_failure(node(3));
        let mut order = [3, 1, 4, 2];
        book.order(&mut order, |&byte| node(byte));
        assert_eq!(order, [2, 4, 1, 3]);
        book.record(node(3), Duration::from_millis(1));
        book.order(&mut order, |&byte| node(byte));
        assert_eq!(order.last(), Some(&3), "one good answer does not erase a slow past");
    }

    #[test]
    fn hedges_after_the_slow_tail_of_those_asked() {
        let mut book = LatencyBook::default();
        assert_eq!(book.hedge_delay([node(1)].iter()), Duration::from_millis(500));
        for _ in 0..50 {
            book.record(node(1), Duration::from_millis(400));
        }
        let delay = book.hedge_delay([node(1), node(9)].iter());
        assert!(delay >= Duration::from_millis(400) && delay < Duration::from_millis(500));
    }

    #[test]
    fn small_answers_are_asked_of_two_more() {
        assert_eq!(initial_asks(5, 1024), 7);
        assert_eq!(initial_asks(5, 1 << 20), 5);
    }
}
