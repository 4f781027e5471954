//! Machines that live, pause, die and are replaced.

use super::{Phase, Run, class};
use crate::fleet::{Repair, RepairTime};
use crate::random::Purpose;
use crate::time::{NEVER, Nanoseconds, SECOND};

impl Run<'_> {
    pub(super) fn begin_life(&mut self, node: u32) {
        let lives = &self.lives[self.fleet.kind(node).map_or(0, |kind| kind + 1)];
        let life =
            self.life(node, |cause, uniform, bound| lives[cause].span_within(uniform, bound));
        self.born[node as usize] = self.now;
        self.death[node as usize] = self.now.saturating_add(life);
        self.begin_session(node);
    }

    /// How long a machine lives from now, but no longer than to the horizon.
    pub(super) fn life(
        &self,
        node: u32,
        sooner: impl Fn(usize, f64, Nanoseconds) -> Nanoseconds,
    ) -> Nanoseconds {
        let number = self.incarnation[node as usize];
        let bound = self.fleet.horizon.saturating_sub(self.now);
        self.fleet.life(&self.source, node, number, bound, sooner)
    }

    pub(super) fn enter(&mut self, node: u32, phase: Phase) {
        if self.helped {
            self.helpers_change(node, phase);
        }
        self.phase[node as usize] = phase;
        self.since[node as usize] = self.now;
    }

    fn begin_session(&mut self, node: u32) {
        self.enter(node, Phase::Up);
        let death = self.death[node as usize];
        let pause = self.fleet.absence_of(node).map_or(NEVER, |absence| {
            absence.session.end(&self.source, self.now, node, self.pauses[node as usize])
        });
        if death <= pause {
            self.queue.schedule(node, class::DEATH, death);
        } else {
            self.queue.schedule(node, class::PAUSE, pause);
        }
    }

    pub(super) fn is_up(&self, node: u32) -> bool {
        self.phase[node as usize] == Phase::Up
    }

    pub(super) fn pause_or_return(&mut self, node: u32) {
        match self.phase[node as usize] {
            Phase::Up => self.pause(node),
            _ => self.come_back(node),
        }
    }

    fn pause(&mut self, node: u32) {
        let Some(absence) = self.fleet.absence_of(node) else { return };
        let number = self.pauses[node as usize];
        self.pauses[node as usize] += 1;
        let back = self.after(&absence.length, node, Purpose::Absence, number);
        self.enter(node, Phase::Away);
        self.back[node as usize] = back;
        self.go_offline(node);
        if self.fleet.patience.is_some() {
            return self.begin_silence(node);
        }
        self.await_notice(node, self.now.saturating_add(absence.timeout));
    }

    /// The next event of a machine that is away: its death, its return, or that it is taken for dead.
    pub(super) fn await_notice(&mut self, node: u32, noticed: Nanoseconds) {
        let (death, back) = (self.death[node as usize], self.back[node as usize]);
        if death <= back && death <= noticed {
            self.queue.schedule(node, class::DEATH, death);
        } else if back <= noticed {
            self.queue.schedule(node, class::PAUSE, back);
        } else {
            self.queue.schedule(node, class::NOTICE, noticed);
        }
    }

    /// A machine that was away, and perhaps taken for dead, is there again.
    fn come_back(&mut self, node: u32) {
        match self.phase[node as usize] {
            Phase::Queued => self.waiting.retain(|&waiting| waiting != node),
            Phase::Repairing => {
                self.tally.false_repairs += 1;
                if self.epochs.are_single() {
                    self.slots_are_filled(node);
                }
                self.free_repairer(node);
            }
            _ => {}
        }
        self.go_online(node);
        self.end_silence(node);
        self.begin_session(node);
        if self.epochs.are_single() {
            self.look_at_epochs(node);
        }
    }

    pub(super) fn die(&mut self, node: u32) {
        self.tally.deaths += 1;
        self.lose_content(node);
        self.back[node as usize] = NEVER;
        if self.repairs_together {
            return self.succeed_without_content(node);
        }
        if matches!(self.phase[node as usize], Phase::Queued | Phase::Repairing) {
            let filled = self.filled[node as usize];
            return self.queue.schedule(node, class::REPAIRED, filled);
        }
        self.enter(node, Phase::Unnoticed);
        if self.fleet.patience.is_some() {
            return self.begin_silence(node);
        }
        let number = self.incarnation[node as usize];
        let noticed = self.after(&self.fleet.detection, node, Purpose::Detection, number);
        self.queue.schedule(node, class::NOTICE, noticed);
    }

    fn lose_content(&mut self, node: u32) {
        if self.is_up(node) {
            self.go_offline(node);
        }
        if self.repairs_together {
            self.lose_shares(node);
        } else {
            self.empty_machine(node);
        }
    }

    /// Another machine takes the place.
    fn succeed(&mut self, node: u32) {
        self.incarnation[node as usize] += 1;
        let number = self.incarnation[node as usize];
        self.hostile[node as usize] =
            self.fleet.newcomer_is_hostile(&self.source, self.now, node, number);
        self.back[node as usize] = NEVER;
        self.begin_life(node);
    }

    /// It answers at once, though it has no share yet.
    fn succeed_without_content(&mut self, node: u32) {
        self.succeed(node);
        self.go_online(node);
    }

    pub(super) fn noticed(&mut self, node: u32) {
        if self.now < self.quorum_back {
            return self.await_quorum(node);
        }
        if self.repairs_together {
            self.tally.false_repairs += 1;
            self.lose_content(node);
            self.succeed_without_content(node);
            return;
        }
        self.stop_waiting_for(node);
        if self.replacing >= self.replacing_max {
            self.enter(node, Phase::Queued);
            self.waiting.push_back(node);
            self.await_return(node, NEVER);
        } else {
            self.begin_repair(node);
        }
    }

    /// Nobody can decide now that a machine is lost.
    fn await_quorum(&mut self, node: u32) {
        if self.phase[node as usize] == Phase::Away {
            return self.await_notice(node, self.quorum_back);
        }
        self.tally.repair_waited += u128::from(self.quorum_back - self.now);
        self.queue.schedule(node, class::NOTICE, self.quorum_back);
    }

    fn begin_repair(&mut self, node: u32) {
        let (Repair::Each(time) | Repair::OneByOne(time)) = &self.fleet.repair else { return };
        self.replacing += 1;
        if self.phase[node as usize] == Phase::Queued {
            self.tally.repair_waited += u128::from(self.now - self.since[node as usize]);
        }
        self.enter(node, Phase::Repairing);
        if self.epochs.are_single() {
            self.slots_change_hands(node);
        }
        let filled = match time {
            RepairTime::Law(law) => {
                self.repairs[node as usize] += 1;
                self.after(law, node, Purpose::Repair, self.repairs[node as usize])
            }
            RepairTime::BytesPerSecond(rate) => {
                let seconds = self.bytes_to_fill(node) as f64 / rate;
                self.now.saturating_add((seconds * SECOND as f64 + 0.5) as Nanoseconds)
            }
            RepairTime::Shared { .. } | RepairTime::Helped { .. } => {
                return self.begin_transfer(node);
            }
        };
        self.await_return(node, filled);
    }

    /// The next event of a machine that is taken for dead: its return or the end of its repair.
    pub(super) fn await_return(&mut self, node: u32, filled: Nanoseconds) {
        self.filled[node as usize] = filled;
        let back = self.back[node as usize];
        let death = self.death[node as usize];
        if back < filled && back < death {
            self.queue.schedule(node, class::PAUSE, back);
        } else if back != NEVER && death < filled {
            // It dies away from the network: nothing tells, but its shares are gone.
            self.queue.schedule(node, class::DEATH, death);
        } else {
            self.queue.schedule(node, class::REPAIRED, filled);
        }
    }

    pub(super) fn replaced(&mut self, node: u32) {
        self.tally.replacements += 1;
        self.tally.repair_lasted += u128::from(self.now - self.since[node as usize]);
        self.free_repairer(node);
        if self.back[node as usize] != NEVER {
            // The one that is away has lost its place, and with it its shares.
            self.tally.false_repairs += 1;
            self.lose_content(node);
        }
        self.succeed(node);
        self.fill_machine(node);
        self.end_silence(node);
        if self.epochs.are_single() {
            self.slots_are_filled(node);
            self.look_at_epochs(node);
        }
    }

    fn free_repairer(&mut self, node: u32) {
        self.replacing -= 1;
        self.end_transfer(node);
        if let Some(next) = self.waiting.pop_front() {
            self.begin_repair(next);
        }
    }
}
