//! Who is given up, and when: the engine's policy on counts.

use std::time::Duration;

use kakera_engine::policy::repair::repair_delay;
use kakera_engine::policy::suspicion::{LadderTimes, exclusions_max};

use super::{Phase, Run};
use crate::fleet::{Fleet, Repair};
use crate::time::{NEVER, Nanoseconds};

/// How many machines may be replaced at a time.
pub(super) fn replacing_max(fleet: &Fleet) -> usize {
    match fleet.repair {
        Repair::OneByOne(_) => 1,
        _ if fleet.patience.is_some() => exclusions_max(fleet.nodes as usize),
        _ => usize::MAX,
    }
}

impl Run<'_> {
    /// A machine that does not answer is waited for; one that pauses and then dies, since it paused.
    pub(super) fn begin_silence(&mut self, node: u32) {
        let since = &mut self.silent_since[node as usize];
        if *since == NEVER {
            *since = self.now;
            self.awaited.push(node);
        }
        self.hurry();
    }

    /// It answers, or another in its place.
    pub(super) fn end_silence(&mut self, node: u32) {
        if self.fleet.patience.is_some() {
            self.stop_waiting_for(node);
            self.silent_since[node as usize] = NEVER;
            self.hurry();
        }
    }

    /// It is given up, or need not be.
    pub(super) fn stop_waiting_for(&mut self, node: u32) {
        self.awaited.retain(|&awaited| awaited != node);
    }

    /// Every silence ends, or changes how long the others of its groups are waited for.
    fn hurry(&mut self) {
        let Some(patience) = self.fleet.patience else { return };
        for place in 0..self.awaited.len() {
            let node = self.awaited[place];
            let begun = self.silent_since[node as usize];
            let noticed = begun.saturating_add(self.delay(node, patience)).max(self.now);
            match self.phase[node as usize] {
                Phase::Away => self.await_notice(node, noticed),
                _ => self.queue.schedule(node, super::class::NOTICE, noticed),
            }
        }
    }

    /// The shortest delay of all its groups.
    fn delay(&self, node: u32, patience: Nanoseconds) -> Nanoseconds {
        let (n, needed) = (self.fleet.n.into(), self.fleet.k.into());
        let patience = Duration::from_nanos(patience);
        let times = LadderTimes { lost_after: patience, ..LadderTimes::default() };
        let of_group = |share: &u32| {
            let group = self.placement.group(*share) as usize;
            repair_delay(patience, n, self.online[group].into(), needed)
        };
        let delays = self.placement.shares(node).iter().map(of_group);
        times.wait(delays.min().unwrap_or(patience)).as_nanos() as Nanoseconds
    }
}
