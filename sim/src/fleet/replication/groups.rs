//! What machines mean for the groups whose shares they hold.

use super::Run;
use super::together::MISSING;
use crate::fleet::Repair;
use crate::time::{NEVER, Nanoseconds};

/// Machines that do without something, their content or their network, where machines are repaired
/// one by one.
///
/// A group has at most one share on each. So up to a slack their number alone tells that no group has
/// come to harm, and their shares need not be counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Absentees {
    count: u32,
    /// Those of them whose shares are not counted; at most `slack`.
    uncounted: Vec<u32>,
    /// Shares that any group can miss without consequence.
    pub(super) slack: u32,
}

impl Absentees {
    /// One more; true if now all must be counted that were not.
    fn join(&mut self, node: u32) -> bool {
        self.count += 1;
        self.uncounted.push(node);
        self.count > self.slack
    }

    /// One less; true if its shares were counted.
    fn leave(&mut self, node: u32) -> bool {
        self.count -= 1;
        match self.uncounted.iter().position(|&other| other == node) {
            Some(place) => {
                self.uncounted.swap_remove(place);
                false
            }
            None => true,
        }
    }

    pub(super) fn clear(&mut self, slack: u32) {
        (self.count, self.slack) = (0, slack);
        self.uncounted.clear();
    }
}

impl Run<'_> {
    /// How many empty machines and how many silent ones harm no group: none is lost, every repair
    /// finds its helpers, all can be read.
    pub(super) fn slack(&self) -> [u32; 2] {
        let fleet = self.fleet;
        let spare = |needed: u8| u32::from(fleet.n.saturating_sub(needed));
        match fleet.repair {
            Repair::Together { .. } => [0, 0],
            // Counting costs nothing, and splitting reads the count.
            _ if fleet.groups == 1 || fleet.patience.is_some() => [0, 0],
            _ if fleet.corruption.is_some() => [0, 0],
            _ => [spare(fleet.k.max(fleet.traffic.d)), spare(fleet.k)],
        }
    }

    /// A machine's content is gone. What was withheld had counted for nothing.
    pub(super) fn empty_machine(&mut self, node: u32) {
        if !self.withholds(node) {
            self.stop_helping(node);
        }
    }

    /// A machine's content counts no more.
    pub(super) fn stop_helping(&mut self, node: u32) {
        if self.empty.join(node) {
            self.placement.index();
            while let Some(node) = self.empty.uncounted.pop() {
                self.count_out(node);
            }
        }
    }

    fn count_out(&mut self, node: u32) {
        self.tally.share_updates += u64::from(self.placement.count(node));
        let (divider, k) = (self.placement.divider(), self.fleet.k);
        for place in 0..self.placement.count(node) as usize {
            let share = self.placement.shares(node)[place];
            if self.shares_go_singly && self.forget_corruption(share) {
                continue;
            }
            let group = divider.divide(share) as usize;
            self.intact[group] -= 1;
            if self.intact[group] < k && !self.lost[group] {
                self.lose_group(group);
            }
        }
    }

    /// A newcomer has the content.
    pub(super) fn fill_machine(&mut self, node: u32) {
        let shares = u64::from(self.placement.count(node));
        self.receive(node, self.bytes_to_fill(node));
        let mut repaired = shares;
        if !self.withholds(node) && self.empty.leave(node) {
            self.tally.share_updates += shares;
            let divider = self.placement.divider();
            for &share in self.placement.shares(node) {
                let group = divider.divide(share) as usize;
                self.intact[group] += 1;
                repaired -= u64::from(self.lost[group]);
            }
        }
        self.count_repairs(repaired);
        self.go_online(node);
        if let Some(attack) = self.fleet.attack
            && self.hostile[node as usize]
        {
            for place in 0..self.placement.count(node) as usize {
                self.expose(self.placement.shares(node)[place], attack);
            }
        }
    }

    /// The machine of a place gets bytes of a repair.
    pub(super) fn receive(&mut self, node: u32, bytes: u64) {
        self.received[node as usize].add(bytes, self.now, &mut self.tally);
    }

    pub(super) fn count_repairs(&mut self, shares: u64) {
        self.tally.count_repairs(self.now, self.fleet.horizon, shares);
    }

    /// What the repair of a machine moves now.
    pub(super) fn bytes_to_fill(&self, node: u32) -> u64 {
        if self.losses == 0 && self.empty.count <= self.empty.slack {
            return u64::from(self.placement.count(node)) * self.fleet.traffic.repair_bytes;
        }
        let shares = self.placement.shares(node);
        shares.iter().map(|&share| self.repair_bytes(self.placement.group(share) as usize)).sum()
    }

    /// What the repair of a share of a group moves now; nothing if the group is lost.
    pub(super) fn repair_bytes(&self, group: usize) -> u64 {
        let traffic = self.fleet.traffic;
        if self.lost[group] { 0 } else { traffic.of_a_share(self.intact[group]) }
    }

    pub(super) fn lose_group(&mut self, group: usize) {
        self.lost[group] = true;
        self.losses += 1;
        self.groups_left -= 1;
        // From here on not every group is to be repaired, which only counting tells.
        self.empty.slack = 0;
        self.tally.survived += u128::from(self.now);
        self.tally.count_loss(self.now, self.fleet.horizon);
        self.end_unreadable(group);
    }

    // Whether shares answer is counted only where machines or zones pause: else a share answers as long as it
    // exists, and a group that cannot be read is lost.

    /// A machine stops to answer.
    pub(super) fn go_offline(&mut self, node: u32) {
        if !self.is_out(node) && !self.withholds(node) {
            self.stop_answering(node);
        }
    }

    pub(super) fn stop_answering(&mut self, node: u32) {
        if !self.online.is_empty() && self.silent.join(node) {
            self.placement.index();
            while let Some(node) = self.silent.uncounted.pop() {
                self.count_offline(node);
            }
        }
    }

    fn count_offline(&mut self, node: u32) {
        self.tally.share_updates += u64::from(self.placement.count(node));
        let Self { placement, share: flags, online, lost, unreadable_since, now, .. } = self;
        let (divider, k) = (placement.divider(), self.fleet.k);
        let mut offline = |share: u32| {
            let group = divider.divide(share) as usize;
            online[group] -= 1;
            if online[group] + 1 == k && !lost[group] {
                unreadable_since[group] = *now;
            }
        };
        let shares = placement.shares(node).iter().copied();
        if self.shares_go_singly {
            shares.filter(|&share| flags[share as usize] & MISSING == 0).for_each(offline);
        } else {
            shares.for_each(&mut offline);
        }
    }

    /// A machine answers again, or for the first time.
    pub(super) fn go_online(&mut self, node: u32) {
        let never = self.online.is_empty() || self.is_out(node) || self.withholds(node);
        if never || !self.silent.leave(node) {
            return;
        }
        self.tally.share_updates += u64::from(self.placement.count(node));
        let Self { placement, share: flags, online, unreadable_since, now, tally, .. } = self;
        let (divider, k) = (placement.divider(), self.fleet.k);
        let mut online = |share: u32| {
            let group = divider.divide(share) as usize;
            online[group] += 1;
            if online[group] == k {
                tally.count_unreadable(unreadable(&mut unreadable_since[group], *now));
            }
        };
        let shares = placement.shares(node).iter().copied();
        if self.shares_go_singly {
            shares.filter(|&share| flags[share as usize] & MISSING == 0).for_each(online);
        } else {
            shares.for_each(&mut online);
        }
    }

    /// One share of a machine that is up is none any more.
    pub(super) fn share_goes_offline(&mut self, group: usize) {
        let Some(online) = self.online.get_mut(group) else { return };
        *online -= 1;
        if *online + 1 == self.fleet.k && !self.lost[group] {
            self.unreadable_since[group] = self.now;
        }
    }

    /// One share of a machine that is up answers for the first time.
    pub(super) fn share_goes_online(&mut self, group: usize) {
        if self.online.is_empty() {
            return;
        }
        self.online[group] += 1;
        if self.online[group] == self.fleet.k {
            self.end_unreadable(group);
        }
    }

    fn end_unreadable(&mut self, group: usize) {
        if let Some(since) = self.unreadable_since.get_mut(group) {
            self.tally.count_unreadable(unreadable(since, self.now));
        }
    }
}

/// How long a group could not be read until now; forgets it.
fn unreadable(since: &mut Nanoseconds, now: Nanoseconds) -> Nanoseconds {
    let since = std::mem::replace(since, NEVER);
    now - since.min(now)
}
