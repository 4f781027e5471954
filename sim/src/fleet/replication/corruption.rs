//! Shares that decay where nobody looks.

use super::together::MISSING;
use super::{Run, class};
use crate::random::Purpose;
use crate::time::Nanoseconds;

impl Run<'_> {
    pub(super) fn expect_corruption(&mut self) {
        for node in 0..self.corruptions.len() as u32 {
            self.expect_corruption_of(node);
        }
    }

    /// Shares decay on their own, so those of a machine at a rate that is their number's.
    fn expect_corruption_of(&mut self, node: u32) {
        let Some(corruption) = &self.fleet.corruption else { return };
        let shares = self.placement.count(node);
        if shares == 0 {
            return;
        }
        let number = self.corruptions[node as usize];
        let draw = self.source.draw(node, Purpose::Corruption, number);
        let span = -draw.uniform().ln() * corruption.share_mean / f64::from(shares);
        let decays = self.now.saturating_add(span as Nanoseconds);
        self.queue.schedule(self.corruption_entity(node), class::CORRUPTION, decays);
    }

    /// One of a machine's shares decays, if it is there.
    pub(super) fn corrupt(&mut self, node: u32) {
        let fleet = self.fleet;
        let Some(corruption) = &fleet.corruption else { return };
        let number = self.corruptions[node as usize];
        let draw = self.source.draw(node, Purpose::Corruption, number);
        let place = draw.second_uniform() * f64::from(self.placement.count(node));
        let share = self.placement.shares(node)[place as usize];
        if self.has_content(node) && self.share[share as usize] & MISSING == 0 {
            self.tally.shares_corrupted += 1;
            if self.is_up(node) && !self.is_out(node) {
                self.share_goes_offline(self.placement.group(share) as usize);
            }
            self.miss_share(share, &corruption.found);
        }
        self.corruptions[node as usize] += 1;
        self.expect_corruption_of(node);
    }

    /// The machine of a share is gone; true if the share was before.
    pub(super) fn forget_corruption(&mut self, share: u32) -> bool {
        let missing = self.share[share as usize] & MISSING != 0;
        if missing {
            self.share[share as usize] &= !MISSING;
            self.queue.cancel(self.share_entity(share));
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use crate::estimate::Estimate;
    use crate::exact::{Redundancy, RepairRates};
    use crate::fleet::tests::{hours, small_fleet};
    use crate::fleet::{Corruption, Fleet, Repair, simulate};
    use crate::random::Law;
    use crate::time::HOUR;

    fn decaying(share_hours: f64, found: Law) -> Fleet {
        let corruption = Corruption { share_mean: share_hours * HOUR as f64, found };
        Fleet { lives: vec![], corruption: Some(corruption), ..small_fleet() }
    }

    /// On machines that never die, a share that decays and is found is one that fails and is
    /// repaired.
    #[test]
    fn losses_by_decay_are_those_of_the_chain() {
        let together = Repair::Together { time: hours(10.0), threshold: 2 };
        for (repair, rates) in [
            (small_fleet().repair, RepairRates::Each { rate: 0.1, detection_rate: f64::INFINITY }),
            (together, RepairRates::Together { rate: 0.1, threshold: 2, detection_rate: 0.1 }),
        ] {
            let fleet = Fleet { repair, ..decaying(100.0, hours(10.0)) };
            let tally = simulate(&fleet, 1, 0..1500);
            let chain = Redundancy { n: 6, k: 3, failure_rate: 0.01, repair: rates };
            let estimate = Estimate::of_probability(tally.groups_lost, 1500, 0.999);
            assert!(estimate.holds(chain.loss_probability(2000.0)), "{estimate:?}");
        }
    }

    /// Each share is sound, then unseen: a renewal process, of many groups with many shares a machine.
    #[test]
    fn decay_and_audits_follow_each_other() {
        let found = Law::Uniform { longest: 10.0 * HOUR as f64 };
        let fleet = Fleet { nodes: 12, groups: 8, k: 1, ..decaying(95.0, found) };
        let tally = simulate(&fleet, 1, 0..100);
        // 48 shares, a decay every 95 + 5 hours; the first begin sound, which adds half of one less.
        let expected = 100.0 * 48.0 * 2000.0 / 100.0;
        let ratio = tally.shares_corrupted as f64 / expected;
        assert!((0.97..1.03).contains(&ratio), "{ratio}");
        assert_eq!(tally.groups_lost, 0);
    }

    /// A machine takes its decayed shares along, and its newcomer has sound ones.
    #[test]
    fn decay_and_deaths_count_no_share_twice() {
        for repair in [small_fleet().repair, Repair::Together { time: hours(10.0), threshold: 1 }] {
            let lives = small_fleet().lives;
            let fleet = Fleet { nodes: 9, groups: 5, lives, repair, ..decaying(50.0, hours(5.0)) };
            let tally = simulate(&fleet, 1, 0..200);
            assert!(tally.shares_corrupted > 1000 && tally.deaths > 1000, "{tally:?}");
            assert!(tally.groups_lost > 0 && tally.groups_lost <= 1000);
        }
    }
}
