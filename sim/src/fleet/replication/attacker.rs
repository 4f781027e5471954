//! Who is hostile, and what has been seen.

use super::{EXPOSED, MISSING, Run, class};
use crate::fleet::tally::curve_point;
use crate::fleet::{Attack, Hostile};
use crate::random::Purpose;

impl Run<'_> {
    pub(super) fn choose_hostile(&mut self, hostile: Hostile) {
        match hostile {
            Hostile::Each(_) => {
                for node in 0..self.fleet.nodes {
                    self.hostile[node as usize] = self.draws_hostile(node);
                }
            }
            Hostile::Exactly(count) => {
                // Selection sampling (Knuth, volume 2, §3.4.2, algorithm S).
                let mut left = u64::from(count);
                for node in 0..self.fleet.nodes {
                    let others = u64::from(self.fleet.nodes - node);
                    let draw = self.source.draw(node, Purpose::Allegiance, 0);
                    let chosen = draw.below(others) < left;
                    self.hostile[node as usize] = chosen;
                    left -= u64::from(chosen);
                }
            }
        }
    }

    pub(super) fn draws_hostile(&self, node: u32) -> bool {
        let Some(attack) = self.fleet.attack else { return false };
        let share = attack.hostile.of_newcomers(self.fleet.nodes);
        let number = self.incarnation[node as usize];
        self.source.draw(node, Purpose::Allegiance, number).uniform() < share
    }

    pub(super) fn expose(&mut self, share: u32, attack: Attack) {
        let group = self.group_of(share);
        if self.share[share as usize] & EXPOSED != 0 {
            return;
        }
        self.share[share as usize] |= EXPOSED;
        self.exposed[group] += 1;
        if self.exposed[group] == attack.k_key && !self.leaked[group] {
            self.leaked[group] = true;
            self.leaks += 1;
            self.tally.leaks[curve_point(self.now, self.fleet.horizon)] += 1;
        }
    }

    pub(super) fn expose_held(&mut self, attack: Attack) {
        for share in 0..self.share.len() as u32 {
            let holder = self.placement.holder(share) as usize;
            let held = self.share[share as usize] & MISSING == 0;
            if held && self.hostile[holder] && !self.lost[self.group_of(share)] {
                self.expose(share, attack);
            }
        }
    }

    pub(super) fn refresh(&mut self) {
        let Some(attack) = self.fleet.attack else { return };
        self.exposed.fill(0);
        self.share.iter_mut().for_each(|flags| *flags &= !EXPOSED);
        self.expose_held(attack);
        if let Some(epoch) = attack.epoch {
            let next = self.now.saturating_add(epoch);
            self.queue.schedule(self.refresh_entity(), class::REFRESH, next);
        }
    }
}
