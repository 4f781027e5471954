//! When the key shares of a group are dealt anew.

use std::time::Duration;

use super::repair::churn_budget;
use crate::hash::hash;
use crate::keyshare::KeyParameters;
use crate::names::{Epoch, Slot};

/// The times of refreshing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshTimes {
    /// The length of an epoch.
    pub epoch: Duration,
    /// How long one of the rounds of a refresh is open at most.
    pub round: Duration,
    /// Between two attempts where the first led to nothing.
    pub pause: Duration,
}

impl Default for RefreshTimes {
    /// A month, and rounds that machines over slow links can keep.
    fn default() -> Self {
        Self {
            epoch: Duration::from_secs(30 * 24 * 3600),
            round: Duration::from_secs(60),
            pause: Duration::from_secs(600),
        }
    }
}

/// Whether a group's shares are due: the epoch is over, or so many holders left in it that another
/// would come too close to the read threshold `k` (`crypto.md` §4.8 a).
///
/// `age` is that of the epoch. Groups of one age are spread over a quarter of the epoch by `group`,
/// any number that names the group, so that they are not all due at once.
pub fn is_due(times: &RefreshTimes, group: u32, k: u8, age: Duration, left: usize) -> bool {
    left >= churn_budget(k) || age >= lasts(times, group)
}

/// How long an epoch of a group lasts that nobody leaves.
pub fn lasts(times: &RefreshTimes, group: u32) -> Duration {
    times.epoch - spread(times, group)
}

/// Up to a quarter of an epoch.
fn spread(times: &RefreshTimes, group: u32) -> Duration {
    let digest = hash("refresh", &[&group.to_be_bytes()]);
    let part = u32::from(u16::from_be_bytes([digest[0], digest[1]]));
    times.epoch / 4 * part / (1 << 16)
}

/// Most slots of a group that can be refreshed: all their signatures must fit into one entry.
const SLOTS_MAX: u8 = 64;
/// Most objects of one batch.
const OBJECTS_MAX: usize = 1024;
/// Most bytes that all holders together post about their new shares: they travel as one body.
const LEAVES_LEN_MAX: usize = 7 << 20;
/// Bytes of a commitment to one pair symbol.
const LEAF_LEN: usize = 32;

/// Most objects of one batch of a group of `n` slots, 0 if it cannot be refreshed: every slot posts
/// a leaf for every other slot and object.
pub fn objects_max(n: u8) -> usize {
    if n > SLOTS_MAX {
        return 0;
    }
    let n = usize::from(n);
    (LEAVES_LEN_MAX / (n * n.saturating_sub(1) * LEAF_LEN).max(1)).min(OBJECTS_MAX)
}

/// Whose turn an attempt is: the holders of the slots 1 to `n` take turns.
pub fn leader(epoch: Epoch, attempt: u32, n: u8) -> Option<Slot> {
    let turn = epoch.0.wrapping_add(attempt.into()).checked_rem(n.into())?;
    Slot::all(n).nth(turn as usize)
}

/// The number of the attempt that a holder of `slot` may begin now, if it is its turn: `first` is
/// the lowest free number and `waited` the time since it is free. Each turn lasts `times.pause`.
pub fn attempt_now(
    times: &RefreshTimes,
    (epoch, slot, n): (Epoch, Slot, u8),
    first: u32,
    waited: Duration,
) -> Option<u32> {
    let turns = waited.as_millis() / times.pause.as_millis().max(1);
    let attempt = first.saturating_add((turns % u128::from(n.max(1))) as u32);
    (leader(epoch, attempt, n) == Some(slot)).then_some(attempt)
}

/// Whether a batch of `listed` objects that is not full leaves out too many of the `eligible` ones
/// that a holder has: an eighth of them, and a few that are just being put, may be missing at others.
pub fn leaves_out_too_many(listed: usize, eligible: usize) -> bool {
    eligible.saturating_sub(listed) > eligible / 8 + 16
}

/// How many holders a refresh with this key code may go on without: as many as may be faulty or
/// missing when all the others are honest (`keyshare.md` §9.1).
pub fn absent_max(key: KeyParameters) -> usize {
    faults_borne(key.n().into(), key.k(), key.d()).unwrap_or(0)
}

/// Whether a refresh that has been due for `waited` goes on without holders that do not take part:
/// when each of the `n` had its turn in vain.
pub fn leaves_out_absent(times: &RefreshTimes, n: u8, waited: Duration) -> bool {
    waited >= times.pause * n.into()
}

/// How many of `live` holders a refresh of a key code with `k` and `d` can bear faulty, and whether
/// it can be at all: d + 1 must be live (`keyshare.md` §9).
pub fn faults_borne(live: usize, k: u8, d: u8) -> Option<usize> {
    let above = live.checked_sub(usize::from(d))?;
    (above >= 1).then_some((above / 2).min(usize::from(k).saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_ends_by_time_or_by_churn() {
        let times = RefreshTimes { epoch: Duration::from_secs(1000), ..RefreshTimes::default() };
        let due = |group, age, left| is_due(&times, group, 5, Duration::from_secs(age), left);
        assert!((0..100).all(|group| !due(group, 749, 0) && due(group, 1000, 0)));
        let halfway = (0..1000).filter(|group| due(*group, 875, 0)).count();
        assert!((400..600).contains(&halfway), "{halfway} of 1000 groups");
        assert!(due(1, 0, 1), "k = 5 bears one change of hands");
    }

    #[test]
    fn few_faults_are_borne() {
        assert_eq!(
            [5, 6, 7, 8, 10].map(|live| faults_borne(live, 5, 6)),
            [None, None, Some(0), Some(1), Some(2)]
        );
        assert_eq!(faults_borne(40, 3, 4), Some(2), "fewer than k");
    }
}
