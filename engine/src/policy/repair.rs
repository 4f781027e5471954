//! How long a missing slot is waited for, how much is rebuilt at a time, and how often a slot may
//! change hands.

use std::time::Duration;

/// The least part of the full delay that is waited when one more loss makes objects unreadable.
const URGENT_SHARE: u32 = 16;

/// How long the holder of a slot may be silent before its slot is given away, in a group of `n`
/// slots of which `healthy` answer (the silent one not among them) and `needed` read an object.
///
/// The full `delay` while all others answer, less in proportion to the losses that the group has
/// left, and a sixteenth when it has none: lazy repair saves the traffic of those who come back
/// (Bhagwan et al., Total Recall, NSDI 2004), and the danger grows by powers with every loss.
pub fn repair_delay(delay: Duration, n: usize, healthy: usize, needed: usize) -> Duration {
    let spare = healthy.saturating_sub(needed);
    let all = n.saturating_sub(1).saturating_sub(needed);
    if spare >= all {
        return if all == 0 { delay / URGENT_SHARE } else { delay };
    }
    (delay * spare as u32 / all as u32).max(delay / URGENT_SHARE)
}

/// How many changes of hands a group with read threshold `k` bears in one epoch before its shares
/// must be refreshed: ⌊(k−1)/3⌋, at least one (`crypto.md` §4.8). Repair of lost slots never waits
/// for it; voluntary moves do.
pub fn churn_budget(k: u8) -> usize {
    (usize::from(k).saturating_sub(1) / 3).max(1)
}

/// How many more holders of this epoch's shares may turn out hostile before V is readable by them,
/// if all who left are: k − 1 − left; negative if they could read it.
pub fn leak_margin(k: u8, left: usize) -> i64 {
    i64::from(k) - 1 - left as i64
}

/// Bytes a second that a holder sends for repairs of others' slots, if its line sends `uplink` and
/// readers fetch `read` of it: what they leave, but at least an eighth, so that a busy network heals
/// as well.
pub fn repair_rate(uplink: u64, read: u64) -> u64 {
    uplink.saturating_sub(read).max(uplink / 8).max(1)
}

/// Slots that one machine rebuilds at a time.
pub const SLOTS_AT_ONCE: usize = 2;
/// How long until a repair that was not complete is tried again at first; then twice as long.
pub const RETRY_MIN: Duration = Duration::from_secs(2);
/// The longest pause between two attempts.
pub const RETRY_MAX: Duration = Duration::from_secs(300);

/// The pause before attempt number `attempt` (from 1, the first repetition).
pub fn repair_pause(attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    RETRY_MIN.saturating_mul(1 << doublings).min(RETRY_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DELAY: Duration = Duration::from_secs(1600);

    #[test]
    fn the_more_is_lost_the_less_is_waited() {
        let delays =
            [9, 8, 7, 6, 5, 4].map(|healthy| repair_delay(DELAY, 10, healthy, 5).as_secs());
        assert_eq!(delays, [1600, 1200, 800, 400, 100, 100]);
        assert_eq!(repair_delay(DELAY, 3, 2, 2).as_secs(), 100, "nothing to spare at all");
    }

    #[test]
    fn readers_come_first_and_repairs_never_stop() {
        let rates = [0, 200, 700, 799, 5000].map(|read| repair_rate(800, read));
        assert_eq!(rates, [800, 600, 100, 100, 100]);
        assert_eq!(repair_rate(0, 0), 1);
    }

    #[test]
    fn budgets_of_the_default_networks() {
        assert_eq!([2, 3, 5, 8, 10, 11].map(churn_budget), [1, 1, 1, 2, 3, 3]);
        assert_eq!((leak_margin(5, 0), leak_margin(5, 4), leak_margin(5, 5)), (4, 0, -1));
    }

    #[test]
    fn pauses_double_up_to_a_limit() {
        let pauses = [1, 2, 3, 8, 9, u32::MAX].map(|attempt| repair_pause(attempt).as_secs());
        assert_eq!(pauses, [2, 4, 8, 256, 300, 300]);
    }

    proptest! {
        #[test]
        fn delays_are_bounded_and_monotonic(n in 2usize..60, needed in 1usize..59, healthy in 0usize..60) {
            let needed = needed.min(n - 1);
            let healthy = healthy.min(n - 1);
            let delay = repair_delay(DELAY, n, healthy, needed);
            prop_assert!((DELAY / 16..=DELAY).contains(&delay));
            prop_assert!(delay <= repair_delay(DELAY, n, healthy + 1, needed));
        }

        /// Even all who left in an epoch within its budget, and two operators at their bound
        /// together, cannot read.
        #[test]
        fn the_budget_leaves_a_margin(k in 2u8..=255) {
            prop_assert!(leak_margin(k, churn_budget(k)) >= 0);
        }
    }
}
