//! One run of a fleet.

mod attacker;
mod corruption;
mod epochs;
mod future;
mod groups;
mod machines;
mod outages;
mod patience;
mod together;
mod transfers;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use epochs::Epochs;
use groups::Absentees;
use patience::replacing_max;
use transfers::Transfers;

use super::{Fleet, Placement, Received, Repair, Tally};
use crate::event::{Event, Queue};
use crate::random::{Law, Purpose, Source, TabledLaw};
use crate::time::{NEVER, Nanoseconds};

/// Classes of events, in the order in which they come at the same time.
mod class {
    pub(super) const REFRESH: u8 = 0;
    pub(super) const REPAIRED: u8 = 1;
    pub(super) const PAUSE: u8 = 2;
    pub(super) const OUTAGE: u8 = 3;
    pub(super) const NOTICE: u8 = 4;
    pub(super) const DEATH: u8 = 5;
    pub(super) const CORRUPTION: u8 = 6;
    pub(super) const MASS_LOSS: u8 = 7;
}

/// Runs a fleet, once for each number, to its horizon or until all its groups are lost.
pub fn simulate(fleet: &Fleet, seed: u64, replications: Range<u64>) -> Tally {
    let mut numbers = replications.map(|replication| Source::new(seed, replication));
    let Some(first) = numbers.next() else { return Tally::new() };
    let mut run = Run::new(fleet, first);
    loop {
        while run.step() {}
        run.finish();
        match numbers.next() {
            Some(source) => run.restart(source),
            None => return run.tally,
        }
    }
}

fn tabled_lives(fleet: &Fleet) -> Arc<[Vec<TabledLaw>]> {
    let of_kinds = fleet.kinds.iter().map(|kind| &kind.lives);
    let tables = |lives: &Vec<Law>| lives.iter().map(TabledLaw::new).collect();
    std::iter::once(&fleet.lives).chain(of_kinds).map(tables).collect()
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

/// A run under way. The arrays are by machine, by share or by group.
#[derive(Clone, Debug)]
pub(crate) struct Run<'a> {
    fleet: &'a Fleet,
    source: Source,
    /// Of the machines of each kind, those of none first.
    lives: Arc<[Vec<TabledLaw>]>,
    tally: Tally,
    placement: Placement,
    queue: Queue,
    now: Nanoseconds,
    repairs_together: bool,
    /// Whether shares go missing that their machines do not.
    shares_go_singly: bool,
    /// Whether hostile machines withhold what they hold.
    withholding: bool,
    /// Whether helpers share their uplinks.
    helped: bool,

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
    /// What they got of repairs.
    received: Vec<Received>,
    waiting: VecDeque<u32>,
    /// Machines that are replaced now, and the most at a time.
    replacing: usize,
    replacing_max: usize,
    /// Since when machines do not answer, and those of them that are not given up; not kept unless
    /// there is a patience.
    silent_since: Vec<Nanoseconds>,
    awaited: Vec<u32>,
    /// Machines without content, and machines that do not answer.
    empty: Absentees,
    silent: Absentees,
    /// What is on its way to newcomers.
    transfers: Transfers,
    /// How many of a machine's shares have decayed.
    corruptions: Vec<u32>,
    /// When the ledger has its quorum again, now or the last time, and how often it lost it.
    quorum_back: Nanoseconds,
    quorum_losses: u32,
    /// Of zones: whether it is out, and how often it was.
    out: Vec<bool>,
    outages: Vec<u32>,

    /// Flags of shares; none of fleets that need none.
    share: Vec<u8>,
    /// Of a share, when it was lost, and how often.
    lost_at: Vec<Nanoseconds>,
    notices: Vec<u32>,

    /// Shares that exist, those on uncounted machines of `empty` among them.
    intact: Vec<u8>,
    /// Shares that answer, likewise with `silent`; not kept unless machines pause.
    online: Vec<u8>,
    known: Vec<u8>,
    exposed: Vec<u8>,
    epochs: Epochs,
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
        let if_so = |condition: bool, length: usize| if condition { length } else { 0 };
        let zones = if_so(fleet.outages.is_some(), fleet.zones as usize);
        let patient = fleet.patience.is_some();
        let pausing = fleet.pauses() || fleet.outages.is_some() || patient;
        let attacked = fleet.attack.is_some();
        let decaying = if_so(fleet.corruption.is_some(), nodes);
        let singly = together || decaying > 0;
        let mut run = Self {
            fleet,
            source,
            lives: tabled_lives(fleet),
            tally: Tally::new(),
            placement: Placement::draw(fleet, &source),
            queue: Queue::new(
                nodes
                    + if_so(singly, shares)
                    + if_so(together, groups)
                    + Epochs::new(fleet).len()
                    + 3
                    + zones
                    + decaying,
            ),
            now: 0,
            repairs_together: together,
            shares_go_singly: singly,
            withholding: fleet.attack.is_some_and(|attack| attack.withholds),
            helped: transfers::are_helped(fleet),
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
            received: vec![Received::default(); nodes],
            waiting: VecDeque::new(),
            replacing: 0,
            replacing_max: replacing_max(fleet),
            silent_since: vec![NEVER; if_so(fleet.patience.is_some(), nodes)],
            awaited: Vec::new(),
            empty: Absentees::default(),
            silent: Absentees::default(),
            transfers: Transfers::new(fleet),
            corruptions: vec![0; decaying],
            quorum_back: 0,
            quorum_losses: 0,
            out: vec![false; zones],
            outages: vec![0; zones],
            share: vec![0; if_so(singly || attacked, shares)],
            lost_at: vec![0; if_so(singly, shares)],
            notices: vec![0; if_so(singly, shares)],
            intact: vec![fleet.n; groups],
            online: vec![fleet.n; if_so(pausing, groups)],
            known: vec![0; if_so(together, groups)],
            exposed: vec![0; if_so(attacked, groups)],
            epochs: Epochs::new(fleet),
            lost: vec![false; groups],
            leaked: vec![false; if_so(attacked, groups)],
            unreadable_since: vec![NEVER; if_so(pausing, groups)],
            group_repairs: vec![0; if_so(together, groups)],
            repair_began: vec![0; if_so(together, groups)],
            groups_left: fleet.groups,
            losses: 0,
            leaks: 0,
        };
        run.start();
        run
    }

    /// Starts another run of the same fleet in the same memory. The tally goes on.
    pub(crate) fn restart(&mut self, source: Source) {
        self.source = source;
        self.placement.draw_again(self.fleet, &source);
        self.queue.clear();
        self.now = 0;
        for numbers in
            [&mut self.incarnation, &mut self.pauses, &mut self.repairs, &mut self.outages]
        {
            numbers.fill(0);
        }
        self.received.fill(Received::default());
        self.out.fill(false);
        self.back.fill(NEVER);
        self.waiting.clear();
        self.transfers.clear();
        (self.quorum_back, self.quorum_losses) = (0, 0);
        self.corruptions.fill(0);
        self.replacing = 0;
        self.silent_since.fill(NEVER);
        self.awaited.clear();
        self.share.fill(0);
        self.notices.fill(0);
        self.group_repairs.fill(0);
        self.intact.fill(self.fleet.n);
        self.online.fill(self.fleet.n);
        self.known.fill(0);
        self.exposed.fill(0);
        self.epochs.clear();
        self.lost.fill(false);
        self.leaked.fill(false);
        self.unreadable_since.fill(NEVER);
        self.groups_left = self.fleet.groups;
        (self.losses, self.leaks) = (0, 0);
        self.start();
    }

    /// Handles the next event; false if there is none before the horizon, or nothing left to lose.
    #[inline]
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

    /// The most shares that any group misses, of a fleet with one group.
    pub(crate) fn shares_missing(&self) -> u8 {
        self.fleet.n - self.intact.iter().copied().min().unwrap_or(self.fleet.n)
    }

    fn start(&mut self) {
        let [empty, silent] = self.slack();
        self.empty.clear(empty);
        self.silent.clear(silent);
        if self.shares_go_singly || self.fleet.patience.is_some() {
            self.placement.index();
        }
        if let Some(attack) = self.fleet.attack {
            self.placement.index();
            self.hostile = attack.hostile.at_start(self.fleet.nodes, &self.source);
            self.expose_held(attack);
            self.withhold_at_start();
            self.expect_refreshes();
        }
        for node in 0..self.fleet.nodes {
            self.begin_life(node);
        }
        self.count_helpers();
        self.expect_outages();
        self.expect_quorum_loss();
        self.expect_corruption();
    }

    fn finish(&mut self) {
        let horizon = self.fleet.horizon;
        self.tally.survived += u128::from(self.groups_left) * u128::from(horizon);
        let pausing = self.lost.iter().zip(&self.unreadable_since);
        for (_, &since) in pausing.filter(|&(&lost, &since)| !lost && since < horizon) {
            self.tally.count_unreadable(horizon - since);
        }
        for received in &mut self.received {
            received.end(&mut self.tally);
        }
        self.tally.end_run(self.losses, self.leaks);
    }

    // Entities: machines, then, where shares go singly, shares, and groups that are repaired together or
    // refreshed by themselves; then the refresh of all, the mass loss, the quorum and zones; then
    // machines again, for their decaying shares.

    fn share_entity(&self, share: u32) -> u32 {
        self.fleet.nodes + share
    }

    fn group_entity(&self, group: u32) -> u32 {
        self.fleet.nodes + self.notices.len() as u32 + group
    }

    fn refresh_entity(&self) -> u32 {
        let groups = self.known.len() + self.epochs.len();
        (self.fleet.nodes as usize + self.notices.len() + groups) as u32
    }

    fn mass_loss_entity(&self) -> u32 {
        self.refresh_entity() + 1
    }

    fn zone_entity(&self, zone: u32) -> u32 {
        self.refresh_entity() + 3 + zone
    }

    fn quorum_entity(&self) -> u32 {
        self.refresh_entity() + 2
    }

    fn corruption_entity(&self, node: u32) -> u32 {
        self.zone_entity(self.out.len() as u32) + node
    }

    fn handle(&mut self, event: Event) {
        let entity = event.entity;
        let shares_begin = self.fleet.nodes;
        match event.class {
            class::REFRESH if entity == self.refresh_entity() => self.refresh(),
            class::REFRESH => self.look_at_epoch(entity - self.group_entity(0)),
            class::DEATH => self.die(entity),
            class::PAUSE => self.pause_or_return(entity),
            class::OUTAGE if entity == self.quorum_entity() => self.lose_quorum(),
            class::OUTAGE => self.outage_begins_or_ends(entity - self.zone_entity(0)),
            class::MASS_LOSS => self.lose_many(),
            class::CORRUPTION => self.corrupt(entity - self.corruption_entity(0)),
            class::NOTICE if entity < shares_begin => self.noticed(entity),
            class::NOTICE => self.share_noticed(entity - shares_begin),
            class::REPAIRED if entity < shares_begin => self.replaced(entity),
            _ => self.group_repaired(entity - self.group_entity(0)),
        }
    }

    /// When something ends that follows a law and begins now.
    #[inline]
    fn after(&self, law: &Law, entity: u32, purpose: Purpose, number: u32) -> Nanoseconds {
        self.now.saturating_add(law.draw(&self.source, entity, purpose, number))
    }
}
