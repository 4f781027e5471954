//! When a holder begins a refresh: its group is due, and it is its turn.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ledger::{Group, State};
use crate::names::{Epoch, GroupId, NodeId};
use crate::policy::refresh::{
    RefreshTimes, absent_max, attempt_now, is_due, leaves_out_absent, objects_max,
};
use crate::wire::RefreshPlace;

/// The turns of one node.
pub struct Turns {
    own: NodeId,
    times: RefreshTimes,
    /// For every group that is due: what is awaited, and since when.
    waits: BTreeMap<GroupId, Wait>,
}

#[derive(PartialEq, Eq)]
struct Wait {
    epoch: Epoch,
    /// The lowest attempt that nobody began.
    first: u32,
    since: Duration,
    /// Since when the epoch is awaited.
    due_since: Duration,
    /// When this node last began an attempt. The next time that it is its turn, the attempt may have
    /// the same number: nobody told the ledger of the first one.
    begun: Option<Duration>,
}

/// A refresh that this node should lead now.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The attempt and the own slot.
    pub place: RefreshPlace,
    /// The group as the ledger has it.
    pub group: Group,
    /// How many holders it may go on without.
    pub absent_max: usize,
}

impl Turns {
    /// A node that waits for nothing.
    pub fn new(own: NodeId, times: RefreshTimes) -> Self {
        Self { own, times, waits: BTreeMap::new() }
    }

    /// Takes the state of the newest block; `unix` in Unix milliseconds. Gives the refreshes to begin.
    pub fn handle_state(&mut self, now: Duration, unix: u64, state: &State) -> Vec<Turn> {
        let mut before = std::mem::take(&mut self.waits);
        let mut turns = Vec::new();
        for (id, group) in state.groups() {
            let Some(slot) = group.slot_of(&self.own) else { continue };
            if state.version() < VERSION_MIN || !self.is_due(id, group, unix) {
                continue;
            }
            let epoch = Epoch(group.epoch.0 + 1);
            let running = group.refreshes.as_ref().and_then(|refreshes| refreshes.running);
            let first = running.map_or(0, |running| running.attempt + 1);
            let known = before.remove(&id).filter(|wait| wait.epoch == epoch);
            let due_since = known.as_ref().map_or(now, |wait| wait.due_since);
            let new = Wait { epoch, first, since: now, due_since, begun: None };
            let mut wait = known.filter(|wait| wait.first == first).unwrap_or(new);
            // One that runs has a turn's time.
            let grace = if first == 0 { Duration::ZERO } else { self.times.pause };
            let waited = now.saturating_sub(wait.since).checked_sub(grace);
            let attempt = waited.and_then(|waited| {
                attempt_now(&self.times, (epoch, slot, group.code.n), first, waited)
            });
            let of_turn = |begun: Duration| now.saturating_sub(begun) < self.times.pause;
            if let Some(attempt) = attempt.filter(|_| !wait.begun.is_some_and(of_turn)) {
                wait.begun = Some(now);
                let place = RefreshPlace { group: id, epoch, attempt, slot };
                let waited = now.saturating_sub(wait.due_since);
                let absent_max = match leaves_out_absent(&self.times, group.code.n, waited) {
                    true if state.version() >= ABSENCE_VERSION_MIN => absent_max(group.key),
                    _ => 0,
                };
                turns.push(Turn { place, group: Group::clone(group), absent_max });
            }
            self.waits.insert(id, wait);
        }
        turns
    }

    fn is_due(&self, id: GroupId, group: &Group, unix: u64) -> bool {
        let whole = !group.holders.is_empty() && !group.holders.iter().any(|h| h.is_filling());
        let since = group.refreshes.as_ref().map_or(0, |refreshes| refreshes.since);
        let age = Duration::from_millis(unix.saturating_sub(since));
        whole
            && objects_max(group.code.n) > 0
            && is_due(&self.times, id.0, group.key.k(), age, group.vacated.len())
    }
}

/// The version of the rules that has refreshes.
const VERSION_MIN: u32 = 4;
/// The version of the rules that has refreshes without all holders.
const ABSENCE_VERSION_MIN: u32 = 6;
