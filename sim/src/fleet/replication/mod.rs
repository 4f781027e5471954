//! One run of a fleet.

mod attacker;
mod future;

use std::collections::VecDeque;

use super::tally::curve_point;
use super::{Fleet, Placement, Repair, RepairTime, Tally};
use crate::event::{Event, Queue};
use crate::random::{Law, Purpose, Source};
use crate::time::{NEVER, Nanoseconds, SECOND};

/// Classes of events, in the order in which they come at the same time.
mod class {
    pub(super) const REFRESH: u8 = 0;
    pub(super) const REPAIRED: u8 = 1;
    pub(super) const PAUSE: u8 = 2;
    pub(super) const NOTICE: u8 = 3;
    pub(super) const DEATH: u8 = 4;
}

/// Runs a fleet to its horizon, or until all its groups are lost, and adds to the tally.
pub fn simulate(fleet: &Fleet, seed: u64, replication: u64, tally: &mut Tally) {
    let mut run = Run::new(fleet, Source::new(seed, replication));
    while run.step() {}
    run.finish();
    tally.add(&run.tally);
}

/// What a machine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Up,
    /// Paused, with its shares.
    Away,
    /// Dead, and nobody knows.
    Unnoticed,
    /// Waits for the repairer.
    Queued,
    /// A newcomer is being filled.
    Repairing,
}

/// A share is not there.
const MISSING: u8 = 1;
/// It is known to be missing.
const KNOWN: u8 = 2;
/// The attacker has held it in this epoch.
const EXPOSED: u8 = 4;

/// A run under way. The arrays are by machine, by share or by group.
#[derive(Clone, Debug)]
pub(crate) struct Run<'a> {
    fleet: &'a Fleet,
    source: Source,
    tally: Tally,
    placement: Placement,
    queue: Queue,
    now: Nanoseconds,

    phase: Vec<Phase>,
    /// Since when it does so, and since when it lives.
    since: Vec<Nanoseconds>,
    born: Vec<Nanoseconds>,
    /// When the machine dies.
    death: Vec<Nanoseconds>,
    /// When the one that is away comes back; `NEVER` for a dead one.
    back: Vec<Nanoseconds>,
    /// When its newcomer will be filled; `NEVER` while it waits for the repairer.
    filled: Vec<Nanoseconds>,
    hostile: Vec<bool>,
    /// How many machines had the place before, how often this place paused, and how often it was
    /// repaired: the numbers of its draws.
    incarnation: Vec<u32>,
    pauses: Vec<u32>,
    repairs: Vec<u32>,
    waiting: VecDeque<u32>,
    repairer_busy: bool,

    share: Vec<u8>,
    /// Of a share, when it was lost, and how often.
    lost_at: Vec<Nanoseconds>,
    notices: Vec<u32>,

    intact: Vec<u8>,
    online: Vec<u8>,
    known: Vec<u8>,
    exposed: Vec<u8>,
    lost: Vec<bool>,
    leaked: Vec<bool>,
    unreadable_since: Vec<Nanoseconds>,
    /// How many repairs of the group began, and when the last.
    group_repairs: Vec<u32>,
    repair_began: Vec<Nanoseconds>,
    groups_left: u32,
    losses: u64,
    leaks: u64,
}

impl<'a> Run<'a> {
    /// A run that has just started.
    pub(crate) fn new(fleet: &'a Fleet, source: Source) -> Self {
        let (nodes, groups) = (fleet.nodes as usize, fleet.groups as usize);
        let shares = groups * usize::from(fleet.n);
        let together = matches!(fleet.repair, Repair::Together { .. });
        let (lazy_shares, lazy_groups) = if together { (shares, groups) } else { (0, 0) };
        let mut run = Self {
            fleet,
            source,
            tally: Tally::new(),
            placement: Placement::draw(fleet, &source),
            queue: Queue::new(nodes + lazy_shares + lazy_groups + 1),
            now: 0,
            phase: vec![Phase::Up; nodes],
            since: vec![0; nodes],
            born: vec![0; nodes],
            death: vec![NEVER; nodes],
            back: vec![NEVER; nodes],
            filled: vec![NEVER; nodes],
            hostile: vec![false; nodes],
            incarnation: vec![0; nodes],
            pauses: vec![0; nodes],
            repairs: vec![0; nodes],
            waiting: VecDeque::new(),
            repairer_busy: false,
            share: vec![0; shares],
            lost_at: vec![0; lazy_shares],
            notices: vec![0; lazy_shares],
            intact: vec![fleet.n; groups],
            online: vec![fleet.n; groups],
            known: vec![0; lazy_groups],
            exposed: vec![0; groups],
            lost: vec![false; groups],
            leaked: vec![false; groups],
            unreadable_since: vec![NEVER; groups],
            group_repairs: vec![0; lazy_groups],
            repair_began: vec![0; lazy_groups],
            groups_left: fleet.groups,
            losses: 0,
            leaks: 0,
        };
        run.start();
        run
    }

    /// Handles the next event; false if there is none before the horizon, or nothing left to lose.
    pub(crate) fn step(&mut self) -> bool {
        if self.groups_left == 0 {
            return false;
        }
        let Some(event) = self.queue.next_before(self.fleet.horizon) else { return false };
        self.now = event.time;
        self.tally.events += 1;
        self.handle(event);
        true
    }

    /// The most shares that any group misses.
    pub(crate) fn shares_missing(&self) -> u8 {
        self.fleet.n - self.intact.iter().copied().min().unwrap_or(self.fleet.n)
    }

    fn start(&mut self) {
        if let Some(attack) = self.fleet.attack {
            self.choose_hostile(attack.hostile);
            self.expose_held(attack);
            if let Some(epoch) = attack.epoch {
                self.queue.schedule(self.refresh_entity(), class::REFRESH, epoch);
            }
        }
        for node in 0..self.fleet.nodes {
            self.begin_life(node);
        }
    }

    fn finish(&mut self) {
        let horizon = self.fleet.horizon;
        for group in 0..self.lost.len() {
            if !self.lost[group] {
                self.tally.survived += u128::from(horizon);
                let since = self.unreadable_since[group].min(horizon);
                self.tally.unreadable += u128::from(horizon - since);
            }
        }
        self.tally.replications += 1;
        self.tally.groups_lost += self.losses;
        self.tally.groups_leaked += self.leaks;
        self.tally.replications_with_loss += u64::from(self.losses > 0);
        self.tally.replications_with_leak += u64::from(self.leaks > 0);
    }

    // Entities: machines, then, for repairs together, shares and groups; the refresh is the last.

    fn share_entity(&self, share: u32) -> u32 {
        self.fleet.nodes + share
    }

    fn group_entity(&self, group: u32) -> u32 {
        self.fleet.nodes + self.share.len() as u32 + group
    }

    fn refresh_entity(&self) -> u32 {
        (self.fleet.nodes as usize + self.notices.len() + self.known.len()) as u32
    }

    fn handle(&mut self, event: Event) {
        let entity = event.entity;
        let shares_begin = self.fleet.nodes;
        let groups_begin = self.share_entity(self.notices.len() as u32);
        match event.class {
            class::REFRESH => self.refresh(),
            class::DEATH => self.die(entity),
            class::PAUSE => self.pause_or_return(entity),
            class::NOTICE if entity < shares_begin => self.noticed(entity),
            class::NOTICE => self.share_noticed(entity - shares_begin),
            class::REPAIRED if entity < shares_begin => self.replaced(entity),
            _ => self.group_repaired(entity - groups_begin),
        }
    }

    // Lives and pauses.

    fn begin_life(&mut self, node: u32) {
        let life = self.life(node, Law::span);
        self.born[node as usize] = self.now;
        self.death[node as usize] = self.now.saturating_add(life);
        self.begin_session(node);
    }

    /// The first of the ends that a machine's causes of death draw.
    fn life(&self, node: u32, span: impl Fn(&Law, f64) -> Nanoseconds) -> Nanoseconds {
        let causes = self.fleet.lives.len() as u32;
        let number = self.incarnation[node as usize] * causes;
        let spans = (0..).zip(&self.fleet.lives).map(|(cause, law)| {
            span(law, self.source.draw(node, Purpose::Life, number + cause).uniform())
        });
        spans.min().unwrap_or(NEVER)
    }

    fn enter(&mut self, node: u32, phase: Phase) {
        self.phase[node as usize] = phase;
        self.since[node as usize] = self.now;
    }

    fn begin_session(&mut self, node: u32) {
        self.enter(node, Phase::Up);
        let death = self.death[node as usize];
        let pause = match &self.fleet.absence {
            None => NEVER,
            Some(absence) => {
                let number = self.pauses[node as usize];
                let draw = self.source.draw(node, Purpose::Session, number);
                self.now.saturating_add(absence.session.span(draw.uniform()))
            }
        };
        if death <= pause {
            self.queue.schedule(node, class::DEATH, death);
        } else {
            self.queue.schedule(node, class::PAUSE, pause);
        }
    }

    fn pause_or_return(&mut self, node: u32) {
        match self.phase[node as usize] {
            Phase::Up => self.pause(node),
            _ => self.come_back(node),
        }
    }

    fn pause(&mut self, node: u32) {
        let Some(absence) = &self.fleet.absence else { return };
        let draw = self.source.draw(node, Purpose::Absence, self.pauses[node as usize]);
        self.pauses[node as usize] += 1;
        let back = self.now.saturating_add(absence.length.span(draw.uniform()));
        self.enter(node, Phase::Away);
        self.back[node as usize] = back;
        for place in self.placement.range(node) {
            let share = self.placement.share(place);
            if self.share[share as usize] & MISSING == 0 {
                self.go_offline(share);
            }
        }
        let noticed = self.now.saturating_add(absence.timeout);
        let death = self.death[node as usize];
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
                self.free_repairer();
            }
            _ => {}
        }
        for place in self.placement.range(node) {
            let share = self.placement.share(place);
            if self.share[share as usize] & MISSING == 0 {
                self.go_online(share);
            }
        }
        self.begin_session(node);
    }

    fn die(&mut self, node: u32) {
        self.tally.deaths += 1;
        self.lose_shares(node);
        self.back[node as usize] = NEVER;
        if matches!(self.fleet.repair, Repair::Together { .. }) {
            return self.succeed(node);
        }
        if matches!(self.phase[node as usize], Phase::Queued | Phase::Repairing) {
            let filled = self.filled[node as usize];
            return self.queue.schedule(node, class::REPAIRED, filled);
        }
        self.enter(node, Phase::Unnoticed);
        let number = self.incarnation[node as usize];
        let draw = self.source.draw(node, Purpose::Detection, number);
        let noticed = self.now.saturating_add(self.fleet.detection.span(draw.uniform()));
        self.queue.schedule(node, class::NOTICE, noticed);
    }

    fn lose_shares(&mut self, node: u32) {
        let was_online = self.phase[node as usize] == Phase::Up;
        for place in self.placement.range(node) {
            let share = self.placement.share(place);
            if self.share[share as usize] & MISSING == 0 {
                self.lose_share(share, was_online);
            }
        }
    }

    /// Another machine takes the place.
    fn succeed(&mut self, node: u32) {
        self.incarnation[node as usize] += 1;
        self.hostile[node as usize] = self.draws_hostile(node);
        self.back[node as usize] = NEVER;
        self.begin_life(node);
    }

    // Repair of machines.

    fn noticed(&mut self, node: u32) {
        if matches!(self.fleet.repair, Repair::Together { .. }) {
            self.tally.false_repairs += 1;
            self.lose_shares(node);
            self.succeed(node);
        } else if matches!(self.fleet.repair, Repair::OneByOne(_)) && self.repairer_busy {
            self.enter(node, Phase::Queued);
            self.waiting.push_back(node);
            self.await_return(node, NEVER);
        } else {
            self.begin_repair(node);
        }
    }

    fn begin_repair(&mut self, node: u32) {
        let (Repair::Each(time) | Repair::OneByOne(time)) = &self.fleet.repair else { return };
        self.repairer_busy = true;
        self.enter(node, Phase::Repairing);
        let span = match time {
            RepairTime::Law(law) => {
                self.repairs[node as usize] += 1;
                let number = self.repairs[node as usize];
                law.span(self.source.draw(node, Purpose::Repair, number).uniform())
            }
            RepairTime::BytesPerSecond(rate) => {
                let places = self.placement.range(node);
                let bytes = |place| self.repair_bytes(self.placement.share(place));
                let bytes: u64 = places.map(bytes).sum();
                (bytes as f64 / rate * SECOND as f64).round() as Nanoseconds
            }
        };
        self.await_return(node, self.now.saturating_add(span));
    }

    /// The next event of a machine that is taken for dead: its return or the end of its repair.
    fn await_return(&mut self, node: u32, filled: Nanoseconds) {
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

    fn replaced(&mut self, node: u32) {
        self.free_repairer();
        if self.back[node as usize] != NEVER {
            // The one that is away has lost its place, and with it its shares.
            self.tally.false_repairs += 1;
            self.lose_shares(node);
        }
        self.succeed(node);
        for place in self.placement.range(node) {
            self.restore_share(self.placement.share(place));
        }
    }

    fn free_repairer(&mut self) {
        self.repairer_busy = false;
        if let Some(next) = self.waiting.pop_front() {
            self.begin_repair(next);
        }
    }

    // Repair of groups.

    fn share_noticed(&mut self, share: u32) {
        let Repair::Together { time, threshold } = &self.fleet.repair else { return };
        let group = self.group_of(share);
        self.share[share as usize] |= KNOWN;
        self.known[group] += 1;
        if self.known[group] == *threshold && !self.lost[group] {
            self.group_repairs[group] += 1;
            self.repair_began[group] = self.now;
            // Groups are numbered after machines, so that no draw is made twice.
            let entity = self.group_entity(group as u32);
            let draw = self.source.draw(entity, Purpose::Repair, self.group_repairs[group]);
            let repaired = self.now.saturating_add(time.span(draw.uniform()));
            self.queue.schedule(entity, class::REPAIRED, repaired);
        }
    }

    fn group_repaired(&mut self, group: u32) {
        let first = group * u32::from(self.fleet.n);
        for share in first..first + u32::from(self.fleet.n) {
            if self.share[share as usize] & MISSING != 0 {
                self.queue.cancel(self.share_entity(share));
                self.restore_share(share);
            }
        }
        self.known[group as usize] = 0;
    }

    // Shares and groups.

    fn group_of(&self, share: u32) -> usize {
        share as usize / usize::from(self.fleet.n)
    }

    fn lose_share(&mut self, share: u32, was_online: bool) {
        let group = self.group_of(share);
        if was_online {
            self.go_offline(share);
        }
        self.share[share as usize] |= MISSING;
        self.intact[group] -= 1;
        if self.lost[group] {
            return;
        }
        if self.intact[group] < self.fleet.k {
            self.lose_group(group);
        } else if matches!(self.fleet.repair, Repair::Together { .. }) {
            self.notices[share as usize] += 1;
            self.lost_at[share as usize] = self.now;
            let entity = self.share_entity(share);
            let draw = self.source.draw(entity, Purpose::Detection, self.notices[share as usize]);
            let noticed = self.now.saturating_add(self.fleet.detection.span(draw.uniform()));
            self.queue.schedule(entity, class::NOTICE, noticed);
        }
    }

    fn lose_group(&mut self, group: usize) {
        self.lost[group] = true;
        self.losses += 1;
        self.groups_left -= 1;
        self.tally.survived += u128::from(self.now);
        self.tally.losses[curve_point(self.now, self.fleet.horizon)] += 1;
        self.end_unreadable(group);
    }

    fn restore_share(&mut self, share: u32) {
        let group = self.group_of(share);
        self.tally.repair_bytes += u128::from(self.repair_bytes(share));
        self.tally.shares_repaired += u64::from(!self.lost[group]);
        self.share[share as usize] &= !(MISSING | KNOWN);
        self.intact[group] += 1;
        let holder = self.placement.holder(share);
        if self.phase[holder as usize] == Phase::Up {
            self.go_online(share);
        }
        if let Some(attack) = self.fleet.attack
            && self.hostile[holder as usize]
            && !self.lost[group]
        {
            self.expose(share, attack);
        }
    }

    /// What the repair of a share moves now; nothing if its group is lost.
    fn repair_bytes(&self, share: u32) -> u64 {
        let group = self.group_of(share);
        let traffic = self.fleet.traffic;
        if self.lost[group] {
            0
        } else if self.intact[group] >= traffic.d {
            traffic.repair_bytes
        } else {
            traffic.decode_bytes
        }
    }

    fn go_offline(&mut self, share: u32) {
        let group = self.group_of(share);
        self.online[group] -= 1;
        if self.online[group] + 1 == self.fleet.k && !self.lost[group] {
            self.unreadable_since[group] = self.now;
        }
    }

    fn go_online(&mut self, share: u32) {
        let group = self.group_of(share);
        self.online[group] += 1;
        if self.online[group] == self.fleet.k {
            self.end_unreadable(group);
        }
    }

    fn end_unreadable(&mut self, group: usize) {
        let since = std::mem::replace(&mut self.unreadable_since[group], NEVER);
        self.tally.unreadable += u128::from(self.now - since.min(self.now));
    }
}
