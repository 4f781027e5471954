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

    pub(super) fn refresh(&mut self) {
        let Some(attack) = self.fleet.attack else { return };
        if self.now < self.quorum_back {
            let back = self.quorum_back;
            return self.queue.schedule(self.refresh_entity(), class::REFRESH, back);
        }
        self.exposed.fill(0);
        self.share.iter_mut().for_each(|flags| *flags &= !EXPOSED);
        self.expose_held(attack);
        if let Some(epoch) = attack.epoch {
            let next = self.now.saturating_add(epoch);
            self.queue.schedule(self.refresh_entity(), class::REFRESH, next);
        }
    }
}
