//! Repair of whole groups: every share is known to be missing on its own.

use super::{Run, class};
use crate::fleet::Repair;
use crate::random::{Law, Purpose};

// Flags of a share.

/// It is not there.
pub(super) const MISSING: u8 = 1;
/// It is known to be missing.
pub(super) const KNOWN: u8 = 2;
/// The attacker has held it in this epoch.
pub(super) const EXPOSED: u8 = 4;

impl Run<'_> {
    /// A machine loses those of its shares that are there.
    pub(super) fn lose_shares(&mut self, node: u32) {
        for place in 0..self.placement.count(node) as usize {
            let share = self.placement.shares(node)[place];
            if self.share[share as usize] & MISSING == 0 {
                self.lose_share(share);
            }
        }
    }

    fn lose_share(&mut self, share: u32) {
        let fleet = self.fleet;
        self.miss_share(share, &fleet.detection);
    }

    /// A share is gone, which is known after a span by a law.
    pub(super) fn miss_share(&mut self, share: u32, notice: &Law) {
        let group = self.placement.group(share) as usize;
        self.share[share as usize] |= MISSING;
        self.intact[group] -= 1;
        if self.lost[group] {
            return;
        }
        if self.intact[group] < self.fleet.k {
            return self.lose_group(group);
        }
        self.notices[share as usize] += 1;
        self.lost_at[share as usize] = self.now;
        let (entity, number) = (self.share_entity(share), self.notices[share as usize]);
        let noticed = self.after(notice, entity, Purpose::Detection, number);
        self.queue.schedule(entity, class::NOTICE, noticed);
    }

    pub(super) fn share_noticed(&mut self, share: u32) {
        let Repair::Together { time, threshold } = &self.fleet.repair else {
            return self.restore_share(share);
        };
        if self.now < self.quorum_back {
            return self.queue.schedule(self.share_entity(share), class::NOTICE, self.quorum_back);
        }
        let group = self.placement.group(share) as usize;
        self.share[share as usize] |= KNOWN;
        self.known[group] += 1;
        if self.known[group] == *threshold && !self.lost[group] {
            self.group_repairs[group] += 1;
            self.repair_began[group] = self.now;
            // Groups are numbered after machines, so that no draw is made twice.
            let (entity, number) = (self.group_entity(group as u32), self.group_repairs[group]);
            let repaired = self.after(time, entity, Purpose::Repair, number);
            self.queue.schedule(entity, class::REPAIRED, repaired);
        }
    }

    pub(super) fn group_repaired(&mut self, group: u32) {
        let first = group * u32::from(self.fleet.n);
        for share in first..first + u32::from(self.fleet.n) {
            if self.share[share as usize] & MISSING != 0 {
                self.queue.cancel(self.share_entity(share));
                self.restore_share(share);
            }
        }
        self.known[group as usize] = 0;
    }

    fn restore_share(&mut self, share: u32) {
        let group = self.placement.group(share) as usize;
        self.receive(self.placement.holder(share), self.repair_bytes(group));
        self.count_repairs(u64::from(!self.lost[group]));
        self.share[share as usize] &= !(MISSING | KNOWN);
        self.intact[group] += 1;
        let holder = self.placement.holder(share);
        if self.is_up(holder) && !self.is_out(holder) {
            self.share_goes_online(group);
        }
        if let Some(attack) = self.fleet.attack
            && self.hostile[holder as usize]
        {
            self.expose(share, attack);
        }
    }
}
