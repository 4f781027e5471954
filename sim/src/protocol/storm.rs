//! A course in which everything goes wrong, and what must hold all the same.
//!
//! Objects that were stored stay readable, what is rebuilt is what was dealt, few machines are given
//! up at a time and none that is there; when the trouble is over, every slot becomes whole again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kakera_engine::code::{Code, CodeParameters};
use kakera_engine::keyshare::KeyParameters;
use kakera_engine::ledger::{Holder, State};
use kakera_engine::names::{GroupId, NodeId, Slot};
use kakera_engine::peer::refresh::Shares;
use kakera_engine::policy::refresh::RefreshTimes;
use kakera_engine::policy::suspicion::exclusions_max;
use kakera_engine::wire::{PartReference, RepairProgress};

use super::node::{Node, Seat, unix};
use super::world::{Change, Course, Event, FarSide, MINUTE, World};
use super::{Fault, Lie, Network};

const NODES: u32 = 12;
const VALIDATORS: u32 = 4;
const GROUPS: u32 = 3;
const PUTS: u64 = 12;
/// Objects of which one slot's part does not fit the others: a writer lied.
const ILL_FORMED_ANYWHERE: u64 = 6;
/// More of them, all at one slot's cost: if its holder were blamed, it would be by all, and often.
const ILL_FORMED_AIMED: u64 = 18;
/// In which all must become whole again.
const CALM: Duration = Duration::from_secs(3 * 3600);
const REFRESH: RefreshTimes = RefreshTimes {
    epoch: Duration::from_secs(2 * 3600),
    round: MINUTE,
    pause: Duration::from_secs(300),
};
const EVENTS_MAX: u64 = 5_000_000;

/// What shall happen.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How long faults happen.
    trouble: Duration,
    lost_after: Duration,
    napping: bool,
    refreshing: bool,
}

impl Plan {
    /// Everything goes wrong, for so long.
    pub fn storm(trouble: Duration) -> Self {
        Self { trouble, lost_after: 30 * MINUTE, napping: false, refreshing: false }
    }

    /// The same while key shares are refreshed every two hours, and the liar keeps those that it is to
    /// erase.
    pub fn refreshing(trouble: Duration) -> Self {
        Self { refreshing: true, ..Self::storm(trouble) }
    }

    /// Every node sleeps for two minutes at some time of an hour, and one dies.
    pub fn nap() -> Self {
        Self { trouble: 60 * MINUTE, lost_after: 30 * MINUTE, napping: true, refreshing: false }
    }
}

/// What became of a network.
#[derive(Default)]
pub struct Outcome {
    /// Promises that were broken; empty if all is well.
    pub broken: Vec<String>,
    /// How often each fault happened.
    pub faults: BTreeMap<Fault, usize>,
    /// Objects whose put succeeded.
    pub objects: usize,
    /// Machines given up.
    pub given_up: usize,
    /// Liars excluded.
    pub convicted: usize,
    /// Machines that were given up and came back.
    pub readmitted: usize,
    /// Slots rebuilt, at least in part.
    pub slots_rebuilt: usize,
    /// Times that the ledger moved a group on to another epoch.
    pub epochs: usize,
    /// Secrets that were found after a refresh to be what they were.
    pub secrets_kept: usize,
    /// Shares of earlier epochs that gave no secret with those of a newer one.
    pub old_shares_refused: usize,
    /// Bytes that repairs moved.
    pub bytes_moved: u64,
    /// Bytes that the code's theory says they take.
    pub bytes_needed: u64,
    /// From the founding to the end.
    pub virtual_time: Duration,
    /// A hash of all that happened.
    pub trace: [u8; 32],
}

/// One network from its founding to its end.
pub fn run(seed: u64, plan: Plan) -> Outcome {
    let code: CodeParameters = "mbr(6,3,4)".parse().expect("a code that exists");
    let network = Network {
        nodes: NODES,
        zones: 4,
        validators: VALIDATORS,
        groups: GROUPS,
        code,
        key: KeyParameters::new(6, 3, 4).expect("a key code that exists"),
        objects_per_group: 0,
        object_bytes: 0,
        lost_after: plan.lost_after,
        scrub_every: 30 * MINUTE,
        refresh: plan.refreshing.then_some(REFRESH),
        loss_percent: u64::from(!plan.napping),
        bytes_per_second: None,
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let mut world = World::found(network, bytes);
    let code = code.build().expect("a code that exists");
    let mut storm = Storm { plan, code, open_losses: BTreeMap::new(), outcome: Outcome::default() };
    world.run(&mut storm, plan.trouble + CALM);
    storm.judge(world)
}

struct Storm {
    plan: Plan,
    code: Code,
    /// Lost machines and their slots that are not whole again.
    open_losses: BTreeMap<NodeId, BTreeSet<Seat>>,
    outcome: Outcome,
}

enum Trouble {
    Put,
    PutIllFormed(Seat),
    Die(usize),
    Sleep { node: usize, lasting: Duration, fault: Fault },
    Part { nodes: u64, validator: Option<usize> },
    Rot(usize),
    Calm,
}

impl Course for Storm {
    type Event = Trouble;

    fn begin(&mut self, world: &mut World<Trouble>) {
        for put in 0..PUTS {
            world.at(Duration::from_secs(put), Event::Course(Trouble::Put));
        }
        world.at(self.plan.trouble, Event::Course(Trouble::Calm));
        if self.plan.napping { self.schedule_naps(world) } else { self.schedule_storm(world) }
    }

    fn happen(&mut self, world: &mut World<Trouble>, trouble: Trouble) {
        match trouble {
            Trouble::Put => {
                let (group, length) = any_object(world);
                world.put(&self.code, group, length);
            }
            Trouble::PutIllFormed(seat) => {
                let (_, length) = any_object(world);
                world.put_ill_formed(&self.code, seat, length);
            }
            Trouble::Die(node) => self.die(world, node),
            Trouble::Sleep { node, lasting, fault } => self.sleep(world, node, lasting, fault),
            Trouble::Part { nodes, validator } => {
                let nodes = (0..NODES as usize).filter(|node| nodes >> node & 1 == 1).collect();
                world.part(FarSide { nodes, validator });
            }
            Trouble::Rot(node) => self.rot(world, node),
            Trouble::Calm => world.network.loss_percent = 0,
        }
    }

    fn note(&mut self, world: &mut World<Trouble>, change: Change) {
        match change {
            Change::GivenUp(node) => self.note_given_up(world, node),
            Change::Convicted(node) => {
                self.outcome.convicted += 1;
                if world.nodes[node].lie.is_none() {
                    world.broken(&format!("honest node {node} was convicted"));
                }
            }
            Change::Readmitted => self.outcome.readmitted += 1,
            Change::Block => self.look_at_losses(world),
            Change::Repaired { whole, progress, .. } => self.note_repair(whole, &progress),
            Change::Epoch(_) => self.outcome.epochs += 1,
            Change::Reach(_) | Change::Put => {}
        }
    }

    fn is_over(&self, world: &World<Trouble>) -> bool {
        world.events > EVENTS_MAX
    }
}

impl Storm {
    fn schedule_naps(&mut self, world: &mut World<Trouble>) {
        for node in 0..NODES as usize {
            let at = self.moment(world);
            let nap = Trouble::Sleep { node, lasting: 2 * MINUTE, fault: Fault::Nap };
            world.at(at, Event::Course(nap));
        }
        let (at, dying) = (self.moment(world), any_node(world));
        world.at(at, Event::Course(Trouble::Die(dying)));
    }

    fn schedule_storm(&mut self, world: &mut World<Trouble>) {
        let liar = any_node(world);
        let lie = if self.plan.refreshing { Lie::OldShare } else { Lie::KeySymbol };
        world.nodes[liar].lie = Some(lie);
        let hours = self.plan.trouble.as_secs() / 3600;
        for _ in 0..1 + hours / 2 {
            let at = self.moment(world);
            world.at(at, Event::Course(Trouble::Put));
            let trouble = self.any_trouble(world, at);
            world.at(at, Event::Course(trouble));
        }
        let aim = any_seat(world);
        for number in 0..ILL_FORMED_ANYWHERE + ILL_FORMED_AIMED {
            let seat = if number < ILL_FORMED_ANYWHERE { any_seat(world) } else { aim };
            let at = self.moment(world);
            world.at(at, Event::Course(Trouble::PutIllFormed(seat)));
        }
        for _ in 0..3 {
            let (at, node) = (self.moment(world), any_node(world));
            world.at(at, Event::Course(Trouble::Die(node)));
            let (at, node) = (self.moment(world), (node + 1) % NODES as usize);
            world.at(at, Event::Course(Trouble::Rot(node)));
        }
    }

    fn any_trouble(&self, world: &mut World<Trouble>, at: Duration) -> Trouble {
        let node = any_node(world);
        match world.below(6) {
            0 => {
                let (nodes, cut) = (world.below(1 << NODES), world.below(8) as usize);
                let nodes = nodes & world.below(1 << NODES);
                let validator = (cut < VALIDATORS as usize).then_some(cut);
                let lasting = MINUTE * (1 + world.below(10) as u32);
                world.at(at + lasting, Event::Heal);
                Trouble::Part { nodes, validator }
            }
            1 => {
                let lasting = self.plan.lost_after * 3;
                Trouble::Sleep { node, lasting, fault: Fault::LongSleep }
            }
            2 => Trouble::Rot(node),
            _ => {
                let lasting = MINUTE * (1 + world.below(5) as u32);
                Trouble::Sleep { node, lasting, fault: Fault::Nap }
            }
        }
    }

    /// A time while there is trouble, after the first puts.
    fn moment(&self, world: &mut World<Trouble>) -> Duration {
        let span = self.plan.trouble.as_secs() - 120;
        Duration::from_secs(60 + world.below(span))
    }

    /// Not while its groups miss another holder, for then more would be lost than a code bears.
    fn die(&mut self, world: &mut World<Trouble>, node: usize) {
        if world.nodes[node].dead || is_endangered(world, node) {
            return self.put_off(world, Trouble::Die(node));
        }
        if self.plan.napping {
            let theory = |part: &PartReference| {
                let truth = &world.truths[&part.object];
                truth.fragments[part.slot.index()].len() as u64
            };
            let lost = world.nodes[node].disk.parts.keys().map(theory);
            self.outcome.bytes_needed += lost.sum::<u64>();
        }
        world.kill(node);
    }

    fn sleep(&mut self, world: &mut World<Trouble>, node: usize, lasting: Duration, fault: Fault) {
        if world.nodes[node].dead {
            return;
        }
        if fault == Fault::LongSleep && is_endangered(world, node) {
            return self.put_off(world, Trouble::Sleep { node, lasting, fault });
        }
        world.count(fault);
        world.put_to_sleep(node, world.now + lasting);
    }

    fn rot(&mut self, world: &mut World<Trouble>, node: usize) {
        let count = world.nodes[node].disk.parts.len() as u64;
        if count == 0 || is_endangered(world, node) {
            return self.put_off(world, Trouble::Rot(node));
        }
        let chosen = world.below(count) as usize;
        let part = world.nodes[node].disk.parts.keys().nth(chosen).copied();
        if part.is_some_and(|part| world.nodes[node].disk.rot(&part)) {
            world.count(Fault::Rot);
        }
    }

    fn put_off(&self, world: &mut World<Trouble>, trouble: Trouble) {
        let later = world.now + 10 * MINUTE;
        if later < self.plan.trouble {
            world.at(later, Event::Course(trouble));
        }
    }

    fn note_given_up(&mut self, world: &mut World<Trouble>, node: usize) {
        self.outcome.given_up += 1;
        let id = world.nodes[node].id;
        let state = world.ledger.state();
        let seats: BTreeSet<Seat> = state
            .groups()
            .filter_map(|(group, seats)| seats.slot_of(&id).map(|slot| (group, slot)))
            .collect();
        // What it was drawn for is its own loss now, and that of who had it before no more.
        self.open_losses.values_mut().for_each(|open| open.retain(|seat| !seats.contains(seat)));
        self.open_losses.retain(|_, open| !open.is_empty());
        self.open_losses.insert(id, seats);
        // Whose rehearsals fail is suspected by its peers, before the ledger has enough to convict it.
        let liar = world.nodes[node].lie.is_some();
        if !liar && !was_silent(&world.nodes[node], world.now) {
            world.broken(&format!("node {node} was given up, not silent and no liar"));
        }
    }

    fn note_repair(&mut self, whole: bool, progress: &RepairProgress) {
        self.outcome.bytes_moved += progress.symbol_bytes + progress.witness_bytes;
        if !self.plan.napping {
            self.outcome.bytes_needed += progress.symbol_bytes_theory;
        }
        self.outcome.slots_rebuilt += usize::from(whole && progress.fragment_bytes > 0);
    }

    /// Whether not too many are given up at a time.
    fn look_at_losses(&mut self, world: &mut World<Trouble>) {
        let state = world.ledger.state().clone();
        self.open_losses.retain(|id, seats| {
            seats.retain(|(group, slot)| {
                let holder = state.group(*group).and_then(|group| group.holder(*slot).copied());
                holder.is_some_and(|holder| holder.node == *id || holder.is_filling())
            });
            !seats.is_empty() && state.node(id).is_some_and(|node| node.retired)
        });
        let live = state.nodes().filter(|node| node.join.roles.storage && !node.retired).count();
        let open = self.open_losses.len();
        if open > exclusions_max(live + open) {
            world.broken(&format!("{open} machines given up at a time"));
        }
    }

    fn judge(mut self, mut world: World<Trouble>) -> Outcome {
        if world.events > EVENTS_MAX {
            world.broken("the network never comes to rest");
        }
        if world.broken.is_empty() {
            let state = world.ledger.state().clone();
            self.look_for_gaps(&mut world, &state);
        }
        let objects = world.truths.values().filter(|truth| truth.acknowledged && !truth.ill_formed);
        self.outcome.objects = objects.count();
        self.outcome.secrets_kept = world.secrets_kept;
        self.outcome.old_shares_refused = world.old_shares_refused;
        self.outcome.virtual_time = world.now;
        self.outcome.trace = world.trace();
        self.outcome.faults = world.faults;
        self.outcome.broken = world.broken;
        self.outcome
    }

    /// Every slot must be whole at a live machine, its shares of the newest epoch.
    fn look_for_gaps(&self, world: &mut World<Trouble>, state: &State) {
        for (id, group) in state.groups() {
            let refreshed = group.refreshes.as_ref().map_or(0, |refreshes| refreshes.since);
            if self.plan.refreshing && refreshed < unix(self.plan.trouble) {
                world.broken(&format!("group {id} was not refreshed after the trouble"));
            }
            for (slot, holder) in Slot::all(group.code.n).zip(&group.holders) {
                let Some(node) = world.place(&holder.node) else { continue };
                if world.nodes[node].dead || holder.is_filling() {
                    world.broken(&format!("slot {slot} of group {id} did not become whole"));
                }
                let owed = world
                    .truths
                    .iter()
                    .filter(|(_, truth)| truth.acknowledged && !truth.ill_formed)
                    .filter(|(_, truth)| truth.group == id);
                let lacking = owed.filter(|(object, truth)| {
                    let part = PartReference { group: id, slot, object: **object };
                    let kept = world.nodes[node].disk.parts.get(&part);
                    kept.is_none_or(|kept| truth.fragments[slot.index()][..] != kept.fragment[..])
                });
                let lacking = lacking.count();
                if lacking > 0 {
                    world.broken(&format!("slot {slot} of group {id} lacks {lacking} objects"));
                }
                let listed = world.nodes[node].disk.list(id, slot);
                let old = listed.iter().filter(|share| {
                    let truth = &world.truths[&share.object];
                    let owed = truth.acknowledged && !truth.ill_formed;
                    self.plan.refreshing && owed && share.epoch < group.epoch
                });
                let old = old.count();
                if old > 0 {
                    world.broken(&format!("slot {slot} of group {id} has {old} old shares"));
                }
            }
        }
    }
}

/// A group and the length of a record.
fn any_object(world: &mut World<Trouble>) -> (GroupId, usize) {
    let group = GroupId(world.below(u64::from(GROUPS)) as u32);
    (group, 200 + world.below(6000) as usize)
}

fn any_seat(world: &mut World<Trouble>) -> Seat {
    let (group, _) = any_object(world);
    let slots: Vec<Slot> = Slot::all(world.network.code.n).collect();
    (group, slots[world.below(slots.len() as u64) as usize])
}

fn any_node(world: &mut World<Trouble>) -> usize {
    world.below(u64::from(NODES)) as usize
}

/// Whether another holder of one of its groups is not there, or not whole.
fn is_endangered(world: &World<Trouble>, node: usize) -> bool {
    let id = world.nodes[node].id;
    let state = world.ledger.state();
    state.groups().filter(|(_, group)| group.slot_of(&id).is_some()).any(|(_, group)| {
        let is_missing = |holder: &Holder| {
            let up = world
                .place(&holder.node)
                .is_some_and(|node| world.nodes[node].is_up(world.now) && world.is_near(node));
            holder.node != id && (!up || holder.is_filling())
        };
        group.holders.iter().any(is_missing)
    })
}

/// Whether it has been silent for a minute, or was until a minute ago: votes and blocks take their
/// time.
fn was_silent(node: &Node, now: Duration) -> bool {
    let is = node.silent_since.is_some_and(|since| now >= since + MINUTE);
    let was = |(ended, lasted)| now <= ended + MINUTE && lasted >= MINUTE;
    is || node.last_silence.is_some_and(was)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_look_after_themselves_and_repeat_exactly() {
        let plan = Plan::storm(Duration::from_secs(2 * 3600));
        let outcomes = [1, 2].map(|seed| run(seed, plan));
        for (seed, outcome) in outcomes.iter().enumerate() {
            assert!(outcome.broken.is_empty(), "seed {seed}: {:?}", outcome.broken);
            assert!(outcome.objects > 0 && outcome.slots_rebuilt > 0, "seed {seed} did nothing");
        }
        assert_eq!(run(1, plan).trace, outcomes[0].trace);
        assert_ne!(outcomes[0].trace, outcomes[1].trace);
    }

    #[test]
    fn shares_of_earlier_epochs_are_good_for_nothing() {
        let outcome = run(1, Plan::refreshing(Duration::from_secs(5 * 3600)));
        assert!(outcome.broken.is_empty(), "{:?}", outcome.broken);
        assert!(outcome.epochs > 3 && outcome.secrets_kept > 0 && outcome.old_shares_refused > 0);
        assert!(outcome.faults.get(&Fault::OldShare).is_some_and(|told| *told > 0));
    }
}
