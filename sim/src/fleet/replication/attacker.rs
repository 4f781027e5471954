//! Who is hostile, and what has been seen.

use super::together::{EXPOSED, MISSING};
use super::{Phase, Run, class};
use crate::fleet::Attack;
use crate::time::NEVER;

impl Run<'_> {
    /// A hostile machine has got a share. Those of lost groups give nothing.
    pub(super) fn expose(&mut self, share: u32, attack: Attack) {
        let group = self.placement.group(share) as usize;
        if self.lost[group] || self.share[share as usize] & EXPOSED != 0 {
            return;
        }
        self.share[share as usize] |= EXPOSED;
        self.exposed[group] += 1;
        if self.exposed[group] == attack.k_key && !self.leaked[group] {
            self.leaked[group] = true;
            self.leaks += 1;
            self.tally.count_leak(self.now, self.fleet.horizon);
        }
    }

    pub(super) fn expose_held(&mut self, attack: Attack) {
        for node in 0..self.fleet.nodes {
            if self.hostile[node as usize] && self.has_content(node) {
                for place in 0..self.placement.count(node) as usize {
                    let share = self.placement.shares(node)[place];
                    if self.share[share as usize] & MISSING == 0 {
                        self.expose(share, attack);
                    }
                }
            }
        }
    }

    /// Whether a machine refuses what it holds: its shares count for nothing, as if it were empty and
    /// silent.
    #[inline]
    pub(super) fn withholds(&self, node: u32) -> bool {
        self.withholding && self.hostile[node as usize]
    }

    pub(super) fn withhold_at_start(&mut self) {
        for node in 0..self.fleet.nodes {
            if self.withholds(node) {
                self.stop_answering(node);
                self.stop_helping(node);
            }
        }
    }

    /// Whether a machine has what it is meant to hold. Where groups are repaired together, its shares
    /// tell.
    pub(super) fn has_content(&self, node: u32) -> bool {
        match self.phase[node as usize] {
            Phase::Up | Phase::Away => true,
            Phase::Unnoticed => false,
            // Taken for dead, and perhaps only away.
            Phase::Queued | Phase::Repairing => self.back[node as usize] != NEVER,
        }
    }

    /// What was seen of a share is worth nothing any more.
    pub(super) fn forget_exposure(&mut self, share: u32) {
        self.share[share as usize] &= !EXPOSED;
    }

    pub(super) fn count_refresh(&mut self, group: usize) {
        self.tally.refreshes += u64::from(!self.lost[group] && !self.leaked[group]);
    }

    /// All groups at once.
    pub(super) fn refresh(&mut self) {
        let Some(attack) = self.fleet.attack else { return };
        if self.now < self.quorum_back {
            let back = self.quorum_back;
            return self.queue.schedule(self.refresh_entity(), class::REFRESH, back);
        }
        (0..self.lost.len()).for_each(|group| self.count_refresh(group));
        self.exposed.fill(0);
        self.share.iter_mut().for_each(|flags| *flags &= !EXPOSED);
        self.expose_held(attack);
        if let Some(epoch) = attack.epoch {
            let next = self.now.saturating_add(epoch);
            self.queue.schedule(self.refresh_entity(), class::REFRESH, next);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::estimate::Estimate;
    use crate::exact::{Binomial, Chain, CountLaw};
    use crate::fleet::tests::{hours, small_fleet};
    use crate::fleet::{Absence, Attack, Fleet, Hostile, Repair, RepairTime, Session, simulate};
    use crate::random::Law;
    use crate::time::{HOUR, NEVER};

    const SHARE: f64 = 0.2;

    fn withholding(lives: Vec<Law>) -> Fleet {
        let hostile = Hostile::Each(SHARE);
        let attack =
            Attack { hostile, k_key: 4, d_key: 5, epoch: None, growth: 0.0, withholds: true };
        let repair = Repair::Each(RepairTime::Law(Law::Fixed(0.0)));
        let detection = Law::Fixed(0.0);
        Fleet {
            n: 6,
            k: 3,
            nodes: 6,
            attack: Some(attack),
            repair,
            detection,
            lives,
            ..small_fleet()
        }
    }

    /// Of machines that never die, the group is lost from the start on, or never.
    #[test]
    fn what_is_withheld_is_lost_as_the_closed_form() {
        let tally = simulate(&withholding(vec![]), 1, 0..20_000);
        let expected = Binomial { n: 6, p: SHARE }.at_least(4);
        let estimate = Estimate::of_probability(tally.groups_lost, 20_000, 0.999);
        assert!(estimate.holds(expected), "{expected} {estimate:?}");
        assert_eq!((tally.false_repairs, tally.shares_repaired), (0, 0));
    }

    /// Honest machines die and are replaced at once, some by hostile ones, until those that are left
    /// are too few when another dies.
    #[test]
    fn withheld_shares_add_up_as_the_chain() {
        let horizon = 200.0;
        let rate = 1.0 / 100.0;
        let (n, k) = (6, 3);
        let from = |start: usize| {
            // The chain starts in state 0: it and the start have changed places.
            let state = |hostile: usize| match hostile {
                0 => start,
                other if other == start => 0,
                other => other,
            };
            let mut chain = Chain::new(n - k + 1);
            for hostile in 0..=n - k {
                let honest = (n - hostile) as f64 * rate;
                if n - hostile == k {
                    chain.add(state(hostile), chain.loss(), honest);
                } else {
                    chain.add(state(hostile), state(hostile + 1), honest * SHARE);
                }
                if hostile > 0 {
                    let leaves = hostile as f64 * rate * (1.0 - SHARE);
                    chain.add(state(hostile), state(hostile - 1), leaves);
                }
            }
            chain.loss_probability(horizon)
        };
        let at_start = Binomial { n: 6, p: SHARE };
        let later: f64 = (0..=n - k).map(|i| at_start.probability(i as u64) * from(i)).sum();
        let expected = at_start.at_least(4) + later;
        let fleet = Fleet { horizon: 200 * HOUR, ..withholding(vec![hours(100.0)]) };
        let estimate =
            Estimate::of_probability(simulate(&fleet, 1, 0..20_000).groups_lost, 20_000, 0.999);
        assert!(estimate.holds(expected) && later > 0.05, "{expected} {estimate:?}");
    }

    /// Honest machines are up half the time: a group can be read while three of them are.
    #[test]
    fn withheld_shares_answer_no_reader() {
        let session = Session::Law(hours(5.0));
        let absence = Absence { session, length: hours(5.0), timeout: NEVER };
        let horizon = 4000 * HOUR;
        let fleet = Fleet { absence: Some(absence), k: 2, horizon, ..withholding(vec![]) };
        let tally = simulate(&fleet, 1, 0..400);
        let unreadable = tally.unreadable as f64 / tally.survived as f64;
        let hostile = Binomial { n: 6, p: SHARE };
        let read = |honest: u64| Binomial { n: honest, p: 0.5 }.at_least(2);
        let alive: f64 = (0..=4).map(|i| hostile.probability(i)).sum();
        let expected: f64 =
            (0..=4).map(|i| hostile.probability(i) / alive * (1.0 - read(6 - i))).sum();
        assert!((unreadable / expected - 1.0).abs() < 0.05, "{unreadable} is not {expected}");
    }
}
