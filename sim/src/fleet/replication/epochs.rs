//! When the key shares of groups are refreshed: the engine's policy on counts, where it decides.

use std::time::Duration;

use kakera_engine::policy::refresh::{
    RefreshTimes, faults_borne, is_due, lasts, leaves_out_absent,
};

use super::{Run, class};
use crate::fleet::{Attack, Fleet};
use crate::time::{NEVER, Nanoseconds};

/// Epochs of groups, by group; empty where all groups are refreshed at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Epochs {
    /// When the epoch began.
    since: Vec<Nanoseconds>,
    /// Since when its end is due and every slot has a holder with content; `NEVER` if that is not so.
    due_since: Vec<Nanoseconds>,
    /// Holders that left in it, and slots that are being filled.
    left: Vec<u8>,
    filling: Vec<u8>,
}

impl Epochs {
    pub(super) fn new(fleet: &Fleet) -> Self {
        let by_policy = fleet.patience.is_some() && times(fleet).is_some();
        let groups = if by_policy { fleet.groups as usize } else { 0 };
        Self {
            since: vec![0; groups],
            due_since: vec![NEVER; groups],
            left: vec![0; groups],
            filling: vec![0; groups],
        }
    }

    pub(super) fn clear(&mut self) {
        self.since.fill(0);
        self.due_since.fill(NEVER);
        self.left.fill(0);
        self.filling.fill(0);
    }

    /// Whether groups are refreshed one by one.
    #[inline]
    pub(super) fn are_single(&self) -> bool {
        !self.since.is_empty()
    }

    /// Of how many groups they are.
    pub(super) fn len(&self) -> usize {
        self.since.len()
    }
}

fn times(fleet: &Fleet) -> Option<RefreshTimes> {
    fleet.attack.as_ref().and_then(Attack::refresh_times)
}

impl Run<'_> {
    pub(super) fn expect_refreshes(&mut self) {
        let Some(times) = times(self.fleet) else { return };
        if !self.epochs.are_single() {
            let epoch = times.epoch.as_nanos() as Nanoseconds;
            return self.queue.schedule(self.refresh_entity(), class::REFRESH, epoch);
        }
        for group in 0..self.fleet.groups {
            self.expect_refresh(group, &times);
        }
    }

    fn expect_refresh(&mut self, group: u32, times: &RefreshTimes) {
        let since = self.epochs.since[group as usize];
        let end = since.saturating_add(lasts(times, group).as_nanos() as Nanoseconds);
        self.queue.schedule(self.group_entity(group), class::REFRESH, end);
    }

    /// A machine is given up: its slots are drawn anew, and filled.
    pub(super) fn slots_change_hands(&mut self, node: u32) {
        for place in 0..self.placement.count(node) as usize {
            let group = self.placement.group(self.placement.shares(node)[place]);
            let (left, filling) = (&mut self.epochs.left, &mut self.epochs.filling);
            left[group as usize] = left[group as usize].saturating_add(1);
            filling[group as usize] += 1;
            self.look_at_epoch(group);
        }
    }

    /// They are filled, or its former holder is back.
    pub(super) fn slots_are_filled(&mut self, node: u32) {
        for place in 0..self.placement.count(node) as usize {
            let group = self.placement.group(self.placement.shares(node)[place]) as usize;
            self.epochs.filling[group] = self.epochs.filling[group].saturating_sub(1);
        }
    }

    /// A machine answers again: whoever waited for it need not any more.
    pub(super) fn look_at_epochs(&mut self, node: u32) {
        for place in 0..self.placement.count(node) as usize {
            let group = self.placement.group(self.placement.shares(node)[place]);
            self.look_at_epoch(group);
        }
    }

    /// Refreshes a group if that is due and its holders are there, or all but few for long enough.
    pub(super) fn look_at_epoch(&mut self, group: u32) {
        let (Some(attack), Some(times)) = (self.fleet.attack, times(self.fleet)) else { return };
        let at = group as usize;
        if self.lost[at] {
            return;
        }
        if self.now < self.quorum_back {
            let back = self.quorum_back;
            return self.queue.schedule(self.group_entity(group), class::REFRESH, back);
        }
        let age = Duration::from_nanos(self.now - self.epochs.since[at]);
        let due = is_due(&times, group, attack.k_key, age, self.epochs.left[at].into());
        if !due || self.epochs.filling[at] > 0 {
            self.epochs.due_since[at] = NEVER;
            if !due {
                self.expect_refresh(group, &times);
            }
            return;
        }
        let since = self.epochs.due_since[at].min(self.now);
        self.epochs.due_since[at] = since;
        let waited = Duration::from_nanos(self.now - since);
        let absent = self.fleet.n - self.online[at];
        if absent == 0 {
            return self.refresh_group(group, attack, &times);
        }
        if !leaves_out_absent(&times, self.fleet.n, waited) {
            let round = (times.pause * self.fleet.n.into()).as_nanos() as Nanoseconds;
            let without = since.saturating_add(round);
            return self.queue.schedule(self.group_entity(group), class::REFRESH, without);
        }
        let few = faults_borne(self.fleet.n.into(), attack.k_key, attack.d_key).unwrap_or(0);
        if usize::from(absent) <= few {
            self.refresh_group(group, attack, &times);
        }
    }

    fn refresh_group(&mut self, group: u32, attack: Attack, times: &RefreshTimes) {
        let at = group as usize;
        self.epochs.since[at] = self.now;
        self.epochs.due_since[at] = NEVER;
        self.epochs.left[at] = 0;
        self.count_refresh(at);
        self.exposed[at] = 0;
        let slots = u32::from(self.fleet.n);
        for share in group * slots..(group + 1) * slots {
            self.forget_exposure(share);
            let holder = self.placement.holder(share);
            if self.hostile[holder as usize] && self.has_content(holder) {
                self.expose(share, attack);
            }
        }
        self.expect_refresh(group, times);
    }
}
