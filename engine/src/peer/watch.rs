//! A validator watches the storage nodes: who is gone, and who is back.
//!
//! It asks every node for a sign of life now and then. One that is silent it has others ask too
//! (the indirect probe of SWIM: Das, Gupta and Motivala, DSN 2002), so that a broken path between two
//! machines is not a loss. Who stays silent to all climbs the [ladder](crate::policy::suspicion) and
//! is given up by a vote; the ledger counts the votes and draws newcomers for the slots. Not more
//! than [`exclusions_max`] machines are given up at a time, nobody without a machine that could take
//! over, and nobody at all while the watcher hears hardly anyone. A lost node that answers again is
//! enrolled again, and keeps the slots that were not drawn anew; one that was given up for failing its
//! audits while it answered is not, before its operator says so.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::ledger::{Group, Node, NodeJoin, NodeLost, State};
use crate::names::NodeId;
use crate::policy::durability::read_threshold;
use crate::policy::repair::repair_delay;
use crate::policy::suspicion::{
    Accused, Ladder, LadderTimes, Standing, exclusions_max, is_blind, is_convincing, return_time,
};

/// Nodes that are asked whether they hear a silent one, each time it was silent.
const WITNESSES: usize = 3;
/// A machine that was given up and whose slots are not whole again after so many times the full
/// delay holds nobody else up any more.
const EXCLUSION_PATIENCE: u32 = 4;
/// For so many probes a vote of this watcher waits for those of others before it gives another.
const VOTE_PATIENCE: u32 = 3;

/// How a watcher watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchSettings {
    /// The ladder.
    pub times: LadderTimes,
    /// How often each node is asked; at most a third of the time until suspicion.
    pub probe_every: Duration,
}

impl Default for WatchSettings {
    /// 20 s between probes: about 20 B/s a node and validator.
    fn default() -> Self {
        Self { times: LadderTimes::default(), probe_every: Duration::from_secs(20) }
    }
}

/// What a watcher wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchAction {
    /// Ask a node for a sign of life, then call [`Watch::handle_probed`].
    Probe(NodeId),
    /// Ask a node whether it hears another, then call [`Watch::handle_testimony`] if it answers.
    Inquire {
        /// Who is asked.
        witness: NodeId,
        /// About whom.
        suspect: NodeId,
    },
    /// Put this vote on the ledger.
    GiveUp(NodeLost),
    /// Put this on the ledger: a lost node is back.
    Readmit(NodeJoin),
}

/// Watches the storage nodes.
pub struct Watch {
    settings: WatchSettings,
    groups: Vec<Arc<Group>>,
    /// The groups of each machine, by their place in `groups`.
    seats: BTreeMap<NodeId, Vec<usize>>,
    watched: BTreeMap<NodeId, Watched>,
    /// When each of them is asked next.
    probes: BTreeSet<(Duration, NodeId)>,
    /// How many of them were not given up, and which of those did not answer the last time.
    live: usize,
    silent: BTreeSet<NodeId>,
    actions: VecDeque<WatchAction>,
    /// Votes that have led to nothing yet, and when they were given.
    votes: BTreeMap<NodeId, Duration>,
    /// [`State::exclusions`], for which those votes hold.
    exclusions: Option<u64>,
    /// Who failed whose audits.
    accusations: BTreeMap<NodeId, BTreeSet<NodeId>>,
    /// Those given up for what they failed, not for silence.
    barred: BTreeSet<NodeId>,
    /// Machines given up or newly drawn whose slots are not whole, and since when.
    excluded: BTreeMap<NodeId, Duration>,
    blind_since: Option<Duration>,
    /// Where the choice of witnesses goes on.
    turn: usize,
    /// The last answers changed something that may lead to a vote.
    undecided: bool,
}

struct Watched {
    node: Node,
    ladder: Ladder,
    /// Since when it has answered every question and been accused.
    accused_since: Option<Duration>,
    next_probe: Duration,
}

impl Watch {
    /// A watcher that knows of nobody yet.
    pub fn new(settings: WatchSettings) -> Self {
        Self {
            settings,
            groups: Vec::new(),
            seats: BTreeMap::new(),
            watched: BTreeMap::new(),
            probes: BTreeSet::new(),
            live: 0,
            silent: BTreeSet::new(),
            actions: VecDeque::new(),
            votes: BTreeMap::new(),
            exclusions: None,
            accusations: BTreeMap::new(),
            barred: BTreeSet::new(),
            excluded: BTreeMap::new(),
            blind_since: None,
            turn: 0,
            undecided: false,
        }
    }

    /// The same that remembers from before whom it does not enrol again ([`Watch::barred`]).
    pub fn remembering(self, barred: BTreeSet<NodeId>) -> Self {
        Self { barred, ..self }
    }

    /// Who was given up for failing audits while it answered, and is not enrolled again by this watcher:
    /// to be kept from one run to the next.
    pub fn barred(&self) -> &BTreeSet<NodeId> {
        &self.barred
    }

    /// Takes the state of the final chain.
    pub fn handle_state(&mut self, now: Duration, state: State) {
        let nodes = state.nodes().filter(|node| node.join.roles.storage);
        let present = nodes.filter(|node| !node.retired || node.lost.is_some());
        let mut before = std::mem::take(&mut self.watched);
        let count = state.counts().storage_nodes.max(1);
        for (place, node) in present.enumerate() {
            let name = node.join.node;
            let known = before.remove(&name);
            let given_up = known.as_ref().filter(|known| node.retired && !known.node.retired);
            if given_up.is_some_and(|known| self.is_unfit(now, known)) {
                self.barred.insert(name);
            }
            let known = known.filter(|known| {
                known.node.join.generation == node.join.generation
                    && known.node.retired == node.retired
            });
            let watched = match known {
                Some(known) => Watched { node, ..known },
                None => {
                    self.votes.remove(&name);
                    self.silent.remove(&name);
                    // Spread over the time between two probes of one.
                    let delay = self.settings.probe_every * (place as u32 % count) / count;
                    let (ladder, next_probe) = (Ladder::new(now), now + delay);
                    Watched { node, ladder, accused_since: None, next_probe }
                }
            };
            self.watched.insert(name, watched);
        }
        let all = self.watched.iter();
        self.probes = all.map(|(name, watched)| (watched.next_probe, *name)).collect();
        self.live = self.watched.values().filter(|watched| !watched.node.retired).count();
        self.silent.retain(|name| self.watched.contains_key(name));
        self.votes.retain(|name, _| self.watched.contains_key(name));
        let watched = &self.watched;
        self.barred.retain(|name| watched.get(name).is_some_and(|watched| watched.node.retired));
        if state.exclusions() != self.exclusions {
            self.exclusions = state.exclusions();
            self.votes.clear();
        }
        self.accusations.retain(|name, _| self.watched.contains_key(name));
        self.groups = state.groups().map(|(_, group)| Arc::clone(group)).collect();
        self.seats.clear();
        for (place, group) in self.groups.iter().enumerate() {
            for holder in &group.holders {
                self.seats.entry(holder.node).or_default().push(place);
            }
        }
        self.note_exclusions(now);
        self.undecided = true;
    }

    /// Whether a node answered a probe.
    pub fn handle_probed(&mut self, now: Duration, node: NodeId, answered: bool) {
        // Who does not keep what it promised is as good as gone.
        let accused = answered && self.is_accused(&node);
        let answered = answered && !accused;
        let times = self.settings.times;
        let Some(watched) = self.watched.get_mut(&node) else { return };
        watched.accused_since = accused.then(|| watched.accused_since.unwrap_or(now));
        // Who answers as before changes nothing for anyone.
        if answered {
            self.undecided |= self.silent.remove(&node);
        } else if !watched.node.retired {
            self.silent.insert(node);
            self.undecided = true;
        }
        if answered {
            watched.ladder.handle_heard(now);
            let generation = watched.node.join.generation;
            let long = return_time(&times, generation);
            let is_welcome = watched.node.retired && !self.barred.contains(&node);
            if is_welcome && watched.ladder.is_steady(now, long) {
                let (join, generation) = (watched.node.join.clone(), generation + 1);
                self.actions.push_back(WatchAction::Readmit(NodeJoin { generation, ..join }));
            }
        } else {
            watched.ladder.handle_silence(now, &times);
            if accused {
                watched.ladder.handle_testimony(now, false);
            } else if !watched.node.retired {
                self.inquire(now, node);
            }
        }
        self.look_at_oneself(now);
    }

    /// Which machines failed the audits of `auditor`, as it said with its sign of life.
    pub fn handle_suspects(&mut self, auditor: NodeId, suspects: &[NodeId]) {
        if suspects.is_empty() {
            self.accusations.remove(&auditor);
        } else {
            self.accusations.insert(auditor, suspects.iter().copied().collect());
        }
    }

    /// What a witness said of a suspect.
    pub fn handle_testimony(&mut self, now: Duration, suspect: NodeId, heard: bool) {
        if let Some(watched) = self.watched.get_mut(&suspect) {
            watched.ladder.handle_testimony(now, heard);
            self.undecided = true;
        }
    }

    /// The next thing to do, if any.
    pub fn poll_action(&mut self, now: Duration) -> Option<WatchAction> {
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        if let Some(&(due, name)) = self.probes.first().filter(|(due, _)| *due <= now) {
            let next = now + self.settings.probe_every;
            self.probes.remove(&(due, name));
            self.probes.insert((next, name));
            if let Some(watched) = self.watched.get_mut(&name) {
                watched.next_probe = next;
            }
            return Some(WatchAction::Probe(name));
        }
        if std::mem::take(&mut self.undecided) {
            return self.give_up(now);
        }
        None
    }

    /// When to poll again, if nothing happens before.
    pub fn next_wake(&self) -> Option<Duration> {
        self.probes.first().map(|(due, _)| *due)
    }

    /// Where the live nodes stand.
    pub fn standings(&self, now: Duration) -> BTreeMap<NodeId, Standing> {
        let live = self.watched.iter().filter(|(_, watched)| !watched.node.retired);
        live.map(|(name, _)| (*name, self.standing(now, name))).collect()
    }

    /// Whether enough of those that share a group with it say that it failed their audits.
    fn is_accused(&self, name: &NodeId) -> bool {
        let accusers = self.accusations.iter().filter(|(_, suspects)| suspects.contains(name));
        let accusers: BTreeSet<NodeId> = accusers.map(|(auditor, _)| *auditor).collect();
        // Most are accused by nobody, and may have many groups.
        if accusers.is_empty() {
            return false;
        }
        let peers_in = |group: &Group| -> BTreeSet<NodeId> {
            group.holders.iter().map(|holder| holder.node).filter(|peer| peer != name).collect()
        };
        let count = |peers: BTreeSet<NodeId>| Accused {
            accusers: accusers.intersection(&peers).count(),
            others: peers.len(),
        };
        let by_all = count(self.groups_of(name).flat_map(peers_in).collect());
        is_convincing(by_all, self.groups_of(name).map(|group| count(peers_in(group))))
    }

    /// Whether it has failed its audits and answered for as long as makes a machine suspect: one that only
    /// slept was not there to answer.
    fn is_unfit(&self, now: Duration, watched: &Watched) -> bool {
        let long = |since| now.saturating_sub(since) >= self.settings.times.suspect_after;
        watched.accused_since.is_some_and(long)
    }

    fn inquire(&mut self, now: Duration, suspect: NodeId) {
        let times = self.settings.times;
        let alive = |name: &NodeId, watched: &Watched| {
            watched.ladder.standing(now, &times, times.lost_after) == Standing::Alive
                && !self.silent.contains(name)
                && !watched.node.retired
        };
        let others =
            self.watched.iter().filter(|(name, other)| **name != suspect && alive(name, other));
        let others: Vec<NodeId> = others.map(|(name, _)| *name).collect();
        if others.is_empty() {
            // Nobody could be asked: the silence stands by itself.
            self.handle_testimony(now, suspect, false);
        }
        for _ in 0..WITNESSES.min(others.len()) {
            let witness = others[self.turn % others.len()];
            self.turn = self.turn.wrapping_add(1);
            self.actions.push_back(WatchAction::Inquire { witness, suspect });
        }
    }

    /// While it hears hardly anyone, silences do not count.
    fn look_at_oneself(&mut self, now: Duration) {
        let heard = self.live - self.silent.len();
        match (is_blind(heard, self.live), self.blind_since) {
            (true, None) => self.blind_since = Some(now),
            (false, Some(since)) => {
                self.blind_since = None;
                let pause = now.saturating_sub(since);
                self.watched.values_mut().for_each(|watched| watched.ladder.forgive(pause));
            }
            _ => {}
        }
    }

    /// Remembers since when slots of lost machines wait, and which newcomers are still at work.
    fn note_exclusions(&mut self, now: Duration) {
        let lost = self.watched.values().filter(|watched| watched.node.retired);
        let mut open: BTreeSet<NodeId> =
            lost.filter(|lost| lost.node.slots > 0).map(|lost| lost.node.join.node).collect();
        let holders = self.groups.iter().flat_map(|group| &group.holders);
        open.extend(holders.filter(|holder| holder.is_filling()).map(|holder| holder.node));
        self.excluded.retain(|name, _| open.contains(name));
        for name in open {
            self.excluded.entry(name).or_insert(now);
        }
    }

    /// How many machines are given up and not replaced yet, this watcher's newest votes included and
    /// `name` not: who was drawn to replace another and is gone is no loss more.
    fn exclusions(&self, now: Duration, name: &NodeId) -> usize {
        let recent = |since: &Duration, patience| now.saturating_sub(*since) < patience;
        let replaced = self.settings.times.lost_after * EXCLUSION_PATIENCE;
        let voted = self.settings.probe_every * VOTE_PATIENCE;
        let others = self.excluded.iter().filter(|(excluded, _)| *excluded != name);
        let open = others.filter(|(_, since)| recent(since, replaced));
        open.count() + self.votes.values().filter(|since| recent(since, voted)).count()
    }

    /// The vote against the first of those that are lost and may be given up now.
    fn give_up(&mut self, now: Duration) -> Option<WatchAction> {
        if self.blind_since.is_some() || self.silent.is_empty() {
            return None;
        }
        let may_exclude = |name| self.exclusions(now, name) < exclusions_max(self.live);
        let mut silent = self.silent.iter().filter(|name| !self.votes.contains_key(name));
        let lost = *silent.find(|name| {
            self.standing(now, name) == Standing::Lost
                && (self.watched[name].node.slots == 0
                    || may_exclude(name) && self.is_replaceable(now, name))
        })?;
        self.votes.insert(lost, now);
        self.undecided = true;
        let generation = self.watched[&lost].node.join.generation;
        let exclusions = self.exclusions;
        Some(WatchAction::GiveUp(NodeLost { node: lost, generation, exclusions }))
    }

    /// The delay is shorter where a group has lost others already.
    fn standing(&self, now: Duration, name: &NodeId) -> Standing {
        let times = &self.settings.times;
        let Some(watched) = self.watched.get(name) else { return Standing::Lost };
        let standing = watched.ladder.standing(now, times, times.lost_after);
        if standing != Standing::Grace {
            return standing;
        }
        let delay = |group: &Group| {
            let healthy = group.holders.iter().filter(|holder| {
                let other = self.watched.get(&holder.node);
                let answers = other.is_some_and(|other| !other.node.retired)
                    && !self.silent.contains(&holder.node);
                answers && holder.node != *name && !holder.is_filling()
            });
            let needed = read_threshold(&group.code, &group.key);
            repair_delay(times.lost_after, group.code.n.into(), healthy.count(), needed)
        };
        let delays = self.groups_of(name).map(delay);
        let delay = delays.min().unwrap_or(times.lost_after);
        watched.ladder.standing(now, times, times.wait(delay))
    }

    /// Whether in all its groups there is a machine, alive and not of the group, to take over.
    fn is_replaceable(&self, now: Duration, name: &NodeId) -> bool {
        let times = &self.settings.times;
        let alive = |watched: &Watched| {
            watched.node.takes_slots()
                && watched.ladder.standing(now, times, times.lost_after) == Standing::Alive
        };
        self.groups_of(name).all(|group| {
            let mut spare = self.watched.iter().filter(|(_, watched)| alive(watched));
            spare.any(|(spare, _)| group.slot_of(spare).is_none())
        })
    }

    fn groups_of(&self, name: &NodeId) -> impl Iterator<Item = &Group> {
        self.seats.get(name).into_iter().flatten().map(|place| &*self.groups[*place])
    }
}
