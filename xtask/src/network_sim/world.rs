//! One simulated network: a queue of events on virtual time, one source of randomness.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use kakera_engine::code::CodeParameters;
use kakera_engine::hash::hash;
use kakera_engine::keyshare::{KeyParameters, Share};
use kakera_engine::ledger::{Body, SlotFilled};
use kakera_engine::names::{Epoch, GroupId, NodeId, ObjectId, Slot};
use kakera_engine::object::{ObjectBuilder, Placement};
use kakera_engine::peer::{
    Answer, Ask, AskFailure, CustodyAction, Watch, WatchAction, WatchSettings,
};
use kakera_engine::policy::durability::put_quorum;
use kakera_engine::policy::suspicion::{LadderTimes, exclusions_max};
use kakera_engine::seal::{Suite, VaultRoot};
use kakera_engine::signature::node_id;
use kakera_engine::wire::{Authorisation, PartReference, RepairProgress, VouchedDescriptor};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::chain::{Ledger, View};
use super::fault::Fault;
use super::node::{Kept, SimulatedNode, Wish};

const NODES: usize = 12;
const VALIDATORS: usize = 4;
const GROUPS: u32 = 3;
const MINUTE: Duration = Duration::from_secs(60);
/// Blocks come this long after the first entry that waits.
const BLOCK_TIME: Duration = Duration::from_secs(1);
const SCRUB_EVERY: Duration = Duration::from_secs(1800);
/// In which all must become whole again.
const CALM: Duration = Duration::from_secs(3 * 3600);
const STEPS_MAX: u64 = 5_000_000;

/// What shall happen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// How long faults happen.
    trouble: Duration,
    lost_after: Duration,
    napping: bool,
}

impl Plan {
    /// Everything goes wrong, for so long.
    pub(super) fn storm(trouble: Duration) -> Self {
        Self { trouble, lost_after: 30 * MINUTE, napping: false }
    }

    /// Every node sleeps for two minutes at some time of an hour, and one dies.
    pub(super) fn nap() -> Self {
        Self { trouble: 60 * MINUTE, lost_after: 30 * MINUTE, napping: true }
    }
}

/// What became of a network.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) broken: Vec<String>,
    pub(super) faults: BTreeMap<Fault, usize>,
    pub(super) objects: usize,
    pub(super) given_up: usize,
    pub(super) convicted: usize,
    pub(super) readmitted: usize,
    pub(super) slots_rebuilt: usize,
    pub(super) bytes_moved: u64,
    pub(super) bytes_needed: u64,
    pub(super) virtual_time: Duration,
    pub(super) trace: [u8; 32],
}

#[expect(clippy::large_enum_variant, reason = "a queue of some thousands")]
enum Event {
    PollWatch(usize),
    PollNode(usize),
    Probed { watcher: usize, node: NodeId, answered: bool },
    Testimony { watcher: usize, suspect: NodeId, heard: bool },
    Answer { node: usize, seat: (GroupId, Slot), id: u64, answer: Result<Answer, AskFailure> },
    Told { node: usize, filled: SlotFilled },
    Block,
    Put,
    Scrub(usize),
    Die(usize),
    Sleep { node: usize, lasting: Duration, fault: Fault },
    Part { nodes: u16, validator: Option<usize> },
    Heal,
    Rot(usize),
}

/// An object as its writer knows it.
struct Truth {
    group: GroupId,
    fragments: Vec<Vec<u8>>,
    shares: Vec<Share>,
    acknowledged: bool,
}

struct Watcher {
    key: SigningKey,
    watch: Watch,
    /// Said while it was cut off.
    unsaid: Vec<Body>,
}

/// A network under way.
pub(super) struct World {
    plan: Plan,
    rng: ChaCha8Rng,
    now: Duration,
    queue: BTreeMap<(Duration, u64), Event>,
    events: u64,
    ledger: Ledger,
    codes: (CodeParameters, KeyParameters),
    submitter: SigningKey,
    root: VaultRoot,
    nodes: Vec<SimulatedNode>,
    watchers: Vec<Watcher>,
    /// Nodes and the validator on the far side of a partition.
    far: (u16, Option<usize>),
    block_due: bool,
    truths: BTreeMap<ObjectId, Truth>,
    /// Lost machines and their slots that are not whole again.
    open_losses: BTreeMap<NodeId, BTreeSet<(GroupId, Slot)>>,
    trace: [u8; 32],
    outcome: Outcome,
}

impl World {
    /// One network from its founding to its end.
    pub(super) fn run(seed: u64, plan: Plan) -> Outcome {
        let mut world = Self::found(seed, plan);
        world.schedule();
        let end = plan.trouble + CALM;
        let mut steps = 0;
        while let Some(((at, _), event)) = world.queue.pop_first() {
            steps += 1;
            if at > end || !world.outcome.broken.is_empty() {
                break;
            }
            if steps > STEPS_MAX {
                world.broken("the network never comes to rest");
            }
            world.now = at;
            world.happen(event);
        }
        world.judge()
    }

    fn found(seed: u64, plan: Plan) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut key = || {
            let mut bytes = [0; 32];
            rng.fill_bytes(&mut bytes);
            SigningKey::from_bytes(&bytes)
        };
        let keys: Vec<SigningKey> = (0..NODES).map(|_| key()).collect();
        let validators: Vec<SigningKey> = (0..VALIDATORS).map(|_| key()).collect();
        let submitter = key();
        let code = "mbr(6,3,4)".parse::<CodeParameters>().expect("a code that exists");
        let codes = (code, KeyParameters::new(6, 3, 4).expect("a key code that exists"));
        let ids: Vec<NodeId> = keys.iter().map(node_id).collect();
        let founding = (codes.0, codes.1, GROUPS);
        let by = node_id(&submitter);
        let ledger = Ledger::found(validators.clone(), &ids, by, founding, &mut rng);
        let view = View::of(&ledger, 0);
        let settings = WatchSettings {
            times: LadderTimes { suspect_after: MINUTE, lost_after: plan.lost_after },
            ..WatchSettings::default()
        };
        let watcher = |key| Watcher { key, watch: Watch::new(settings), unsaid: Vec::new() };
        let network = ledger.network();
        let node = |key| SimulatedNode::new(network, key, view.clone());
        Self {
            plan,
            now: Duration::ZERO,
            queue: BTreeMap::new(),
            events: 0,
            nodes: keys.into_iter().map(node).collect(),
            watchers: validators.into_iter().map(watcher).collect(),
            ledger,
            codes,
            submitter,
            root: VaultRoot::generate(&mut rng),
            far: (0, None),
            block_due: false,
            truths: BTreeMap::new(),
            open_losses: BTreeMap::new(),
            trace: [0; 32],
            outcome: Outcome::default(),
            rng,
        }
    }

    /// Sets the course of the trouble.
    fn schedule(&mut self) {
        for watcher in 0..VALIDATORS {
            self.at(Duration::ZERO, Event::PollWatch(watcher));
        }
        for node in 0..NODES {
            self.at(Duration::ZERO, Event::PollNode(node));
            self.at(SCRUB_EVERY + MINUTE * node as u32, Event::Scrub(node));
        }
        for put in 0..12 {
            self.at(Duration::from_secs(put), Event::Put);
        }
        for watcher in &mut self.watchers {
            watcher.watch.handle_state(Duration::ZERO, self.ledger.state().clone());
        }
        if self.plan.napping {
            for node in 0..NODES {
                let at = self.moment();
                let nap = Event::Sleep { node, lasting: 2 * MINUTE, fault: Fault::Nap };
                self.at(at, nap);
            }
            let (at, dying) = (self.moment(), self.below(NODES as u64) as usize);
            self.at(at, Event::Die(dying));
            return;
        }
        let liar = self.below(NODES as u64) as usize;
        self.nodes[liar].liar = true;
        let hours = self.plan.trouble.as_secs() / 3600;
        for _ in 0..1 + hours / 2 {
            let at = self.moment();
            let node = self.below(NODES as u64) as usize;
            self.at(at, Event::Put);
            match self.below(6) {
                0 => {
                    let (nodes, cut) = (self.below(1 << NODES) as u16, self.below(8) as usize);
                    let nodes = nodes & self.below(1 << NODES) as u16;
                    let validator = (cut < VALIDATORS).then_some(cut);
                    self.at(at, Event::Part { nodes, validator });
                    let lasting = MINUTE * (1 + self.below(10) as u32);
                    self.at(at + lasting, Event::Heal);
                }
                1 => {
                    let lasting = self.plan.lost_after * 3;
                    self.at(at, Event::Sleep { node, lasting, fault: Fault::LongSleep });
                }
                2 => self.at(at, Event::Rot(node)),
                _ => {
                    let lasting = MINUTE * (1 + self.below(5) as u32);
                    self.at(at, Event::Sleep { node, lasting, fault: Fault::Nap });
                }
            }
        }
        for _ in 0..3 {
            let (at, node) = (self.moment(), self.below(NODES as u64) as usize);
            self.at(at, Event::Die(node));
            let at = self.moment();
            self.at(at, Event::Rot((node + 1) % NODES));
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::PollWatch(watcher) => self.poll_watch(watcher),
            Event::PollNode(node) => self.poll_node(node),
            Event::Probed { watcher, node, answered } => {
                self.watchers[watcher].watch.handle_probed(self.now, node, answered);
                self.poll_watch(watcher);
            }
            Event::Testimony { watcher, suspect, heard } => {
                self.watchers[watcher].watch.handle_testimony(self.now, suspect, heard);
                self.poll_watch(watcher);
            }
            Event::Answer { node, seat, id, answer } => self.hear(node, seat, id, answer),
            Event::Told { node, filled } => {
                self.nodes[node].custody.handle_told(self.now, &filled, true);
                self.poll_node(node);
            }
            Event::Block => self.make_block(),
            Event::Put => self.put(),
            Event::Scrub(node) => self.scrub(node),
            Event::Die(node) => self.die(node),
            Event::Sleep { node, lasting, fault } => self.sleep(node, lasting, fault),
            Event::Part { nodes, validator } => {
                self.count(Fault::Partition);
                self.far = (nodes, validator);
                self.note_silence();
            }
            Event::Heal => self.heal(),
            Event::Rot(node) => self.rot(node),
        }
    }

    fn poll_watch(&mut self, watcher: usize) {
        while let Some(action) = self.watchers[watcher].watch.poll_action(self.now) {
            match action {
                WatchAction::Probe(node) => {
                    let answered = self.watcher_reaches(watcher, &node) && !self.loses();
                    let at = self.now + self.delay() * if answered { 2 } else { 50 };
                    self.at(at, Event::Probed { watcher, node, answered });
                }
                WatchAction::Inquire { witness, suspect } => {
                    if !self.watcher_reaches(watcher, &witness) || self.loses() {
                        continue;
                    }
                    let heard = self.node_reaches(&witness, &suspect);
                    let at = self.now + self.delay() * 4;
                    self.at(at, Event::Testimony { watcher, suspect, heard });
                }
                WatchAction::GiveUp(lost) => self.say(watcher, Body::NodeLost(lost)),
                WatchAction::Readmit(join) => self.say(watcher, Body::NodeJoin(join)),
            }
        }
        if let Some(wake) = self.watchers[watcher].watch.next_wake() {
            let next = wake.max(self.now + Duration::from_millis(1));
            self.wake(next, Event::PollWatch(watcher));
        }
    }

    fn say(&mut self, watcher: usize, body: Body) {
        if self.far.1 == Some(watcher) {
            return self.watchers[watcher].unsaid.push(body);
        }
        let key = self.watchers[watcher].key.clone();
        self.ledger.post(&key, body);
        self.want_block();
    }

    fn want_block(&mut self) {
        if !self.block_due && self.ledger.has_work() {
            self.block_due = true;
            self.at(self.now + BLOCK_TIME, Event::Block);
        }
    }

    fn make_block(&mut self) {
        self.block_due = false;
        let before = self.ledger.state().clone();
        self.ledger.seal(self.now.as_millis() as u64, &mut self.rng);
        let root = self.ledger.state().root();
        self.mark(&root);
        self.look_at_changes(&before);
        for watcher in 0..VALIDATORS {
            if self.far.1 != Some(watcher) {
                let state = self.ledger.state().clone();
                self.watchers[watcher].watch.handle_state(self.now, state);
                self.poll_watch(watcher);
            }
        }
        for node in 0..NODES {
            self.poll_node(node);
        }
        self.want_block();
    }

    /// What the block changed of who is there, and whether it may.
    fn look_at_changes(&mut self, before: &kakera_engine::ledger::State) {
        let state = self.ledger.state().clone();
        for node in 0..NODES {
            let id = self.nodes[node].id;
            let (Some(old), Some(new)) = (before.node(&id), state.node(&id)) else { continue };
            match (old.retired, new.retired, new.lost.is_some()) {
                (false, true, true) => {
                    self.outcome.given_up += 1;
                    let seats = state
                        .groups()
                        .filter_map(|(group, seats)| seats.slot_of(&id).map(|slot| (group, slot)));
                    self.open_losses.insert(id, seats.collect());
                    if !self.was_silent(node) {
                        self.broken(&format!("node {node} was given up and not silent"));
                    }
                }
                (false, true, false) => {
                    self.outcome.convicted += 1;
                    if !self.nodes[node].liar {
                        self.broken(&format!("honest node {node} was convicted"));
                    }
                }
                (true, false, _) => self.outcome.readmitted += 1,
                _ => {}
            }
        }
        self.open_losses.retain(|id, seats| {
            seats.retain(|(group, slot)| {
                let holder = state.group(*group).and_then(|group| group.holder(*slot).copied());
                holder.is_some_and(|holder| holder.node == *id || holder.is_filling())
            });
            !seats.is_empty() && state.node(id).is_some_and(|node| node.retired)
        });
        let live = state.nodes().filter(|node| node.join.roles.storage && !node.retired).count();
        let cap = exclusions_max(live + self.open_losses.len());
        if self.open_losses.len() > cap {
            self.broken(&format!("{} machines given up at a time", self.open_losses.len()));
        }
    }

    /// Whether it has been silent for a minute, or was until a minute ago: votes and blocks take their
    /// time.
    fn was_silent(&self, node: usize) -> bool {
        let SimulatedNode { silent_since, last_silence, .. } = &self.nodes[node];
        let is = silent_since.is_some_and(|since| self.now >= since + MINUTE);
        let was = |(ended, lasted)| self.now <= ended + MINUTE && lasted >= MINUTE;
        is || last_silence.is_some_and(was)
    }

    fn poll_node(&mut self, node: usize) {
        if !self.nodes[node].is_up(self.now) {
            return;
        }
        let id = self.nodes[node].id;
        if self.is_near(node) && self.ledger.state().is_enrolled(&id) {
            let view = View::of(&self.ledger, self.unix());
            self.nodes[node].custody.handle_state(self.now, &view.state);
            self.nodes[node].view = view;
        }
        while let Some(action) = self.nodes[node].custody.poll_action(self.now) {
            match action {
                CustodyAction::Repair(group, slot) => {
                    let network = self.ledger.network();
                    self.nodes[node].begin_repair(network, group, slot);
                    self.go_on(node, (group, slot));
                }
                CustodyAction::Tell(filled) => {
                    if self.is_near(node) {
                        let key = self.nodes[node].key.clone();
                        self.ledger.post(&key, Body::SlotFilled(filled));
                        self.want_block();
                    }
                    let at = self.now + BLOCK_TIME * 2;
                    self.at(at, Event::Told { node, filled });
                }
            }
        }
        if let Some(wake) = self.nodes[node].custody.next_wake() {
            let next = wake.max(self.now + Duration::from_millis(1));
            self.wake(next, Event::PollNode(node));
        }
    }

    fn go_on(&mut self, node: usize, seat: (GroupId, Slot)) {
        let (truths, mut wrong) = (&self.truths, None);
        let check = |part: &PartReference, kept: &Kept| {
            let right = truths.get(&part.object).is_some_and(|truth| {
                truth.fragments[part.slot.index()][..] == kept.fragment[..]
                    && truth.shares[part.slot.index()] == kept.share
            });
            if !right {
                wrong = Some(format!("slot {} of {} was rebuilt wrongly", part.slot, part.object));
            }
        };
        let wishes = self.nodes[node].poll_repair(self.now, seat, check);
        if let Some(wrong) = wrong {
            self.broken(&wrong);
        }
        for wish in wishes {
            match wish {
                Wish::Ask { group, slot, ask } => self.ask(node, (group, slot), ask),
                Wish::Done { group, slot, whole, progress } => {
                    self.end_repair(node, (group, slot), whole, &progress);
                }
            }
        }
    }

    fn ask(&mut self, node: usize, seat: (GroupId, Slot), ask: Ask) {
        let (from, id) = (self.nodes[node].id, ask.id);
        let helper = self.place(&ask.to.node);
        let reached = helper.filter(|helper| self.reach(node, *helper));
        let (at, answer) = match reached {
            None => (self.now + self.delay() * 20, Err(AskFailure::Unreachable)),
            Some(_) if self.loses() => {
                self.count(Fault::Loss);
                (self.now + ask.timeout, Err(AskFailure::TimedOut))
            }
            Some(helper) => {
                let (network, unix) = (self.ledger.network(), self.unix());
                let (answer, lied) = self.nodes[helper].serve(network, from, ask, unix);
                if lied {
                    self.count(Fault::Lie);
                }
                (self.now + self.delay() * 2, answer)
            }
        };
        self.at(at, Event::Answer { node, seat, id, answer });
    }

    fn hear(
        &mut self,
        node: usize,
        seat: (GroupId, Slot),
        id: u64,
        answer: Result<Answer, AskFailure>,
    ) {
        if self.nodes[node].dead {
            return;
        }
        if !self.nodes[node].is_up(self.now) {
            // It came too late for one that slept.
            let (at, answer) = (self.nodes[node].asleep_until, Err(AskFailure::TimedOut));
            return self.at(at, Event::Answer { node, seat, id, answer });
        }
        if let Ok(answer) = &answer {
            self.mark(&answer.response.to_header());
        }
        let now = self.now;
        if let Some(machine) = self.nodes[node].repairs.get_mut(&seat) {
            machine.handle_answer(now, id, answer);
            self.go_on(node, seat);
        }
    }

    fn end_repair(
        &mut self,
        node: usize,
        seat: (GroupId, Slot),
        whole: bool,
        progress: &RepairProgress,
    ) {
        self.outcome.bytes_moved += progress.symbol_bytes + progress.witness_bytes;
        if !self.plan.napping {
            self.outcome.bytes_needed += progress.symbol_bytes_theory;
        }
        self.outcome.slots_rebuilt += usize::from(whole && progress.fragment_bytes > 0);
        for proof in self.nodes[node].end_repair(seat) {
            if self.is_near(node) {
                let key = self.nodes[node].key.clone();
                self.ledger.post(&key, Body::WrongSymbol(proof));
                self.want_block();
            }
        }
        self.nodes[node].custody.handle_repaired(self.now, seat.0, seat.1, whole);
        self.at(self.now, Event::PollNode(node));
    }

    /// Puts an object at whoever of its group can be reached.
    fn put(&mut self) {
        let group = GroupId(self.below(u64::from(GROUPS)) as u32);
        let (code, key) = self.codes;
        let built = code.build().expect("a code that exists");
        let mut bytes = vec![0; 200 + self.below(6000) as usize];
        self.rng.fill_bytes(&mut bytes);
        let epoch = self.ledger.state().group(group).map_or(Epoch(0), |group| group.epoch);
        let mut builder = ObjectBuilder::new(Suite::Aes256Gcm, &mut self.rng);
        builder.push(&self.root.catalogue(), 1, &bytes).expect("an object that is not full");
        let placement = Placement { group, epoch, code: &built, key };
        let sealed = builder.finish(&placement, &self.root, &mut self.rng).expect("an object");
        let network = self.ledger.network();
        let object = VouchedDescriptor {
            descriptor: sealed.descriptor.encode(),
            authorisation: Authorisation::sign(&network, &sealed.object_id, &self.submitter),
        };
        let mut stored = 0;
        for member in View::of(&self.ledger, 0).members(group) {
            let place = self.place(&member.node);
            let Some(node) = place.filter(|node| self.is_near(*node)) else { continue };
            let knows = self.nodes[node].view.members(group).contains(&member);
            if self.nodes[node].is_up(self.now) && knows {
                let part = PartReference { group, slot: member.slot, object: sealed.object_id };
                let (share, fragment) = (
                    sealed.shares[member.slot.index()].clone(),
                    sealed.fragments[member.slot.index()].clone().into(),
                );
                self.nodes[node]
                    .parts
                    .insert(part, Kept { object: object.clone(), share, fragment });
                stored += 1;
            }
        }
        let acknowledged = stored >= put_quorum(&code, &key);
        self.outcome.objects += usize::from(acknowledged);
        if stored < usize::from(code.n) {
            self.count(Fault::MissedPut);
        }
        let (fragments, shares) = (sealed.fragments, sealed.shares);
        self.truths.insert(sealed.object_id, Truth { group, fragments, shares, acknowledged });
    }

    fn scrub(&mut self, node: usize) {
        if self.nodes[node].is_up(self.now) {
            for (group, slot) in self.nodes[node].scrub() {
                self.nodes[node].custody.handle_damage(self.now, group, slot);
            }
            self.poll_node(node);
        }
        if !self.nodes[node].dead {
            self.at(self.now + SCRUB_EVERY, Event::Scrub(node));
        }
    }

    /// Not while its groups miss another holder, for then more would be lost than a code bears.
    fn die(&mut self, node: usize) {
        let id = self.nodes[node].id;
        if self.nodes[node].dead || self.is_endangered(&id) {
            return self.put_off(Event::Die(node));
        }
        self.count(Fault::Death);
        if self.plan.napping {
            let theory = |part: &PartReference| {
                let truth = &self.truths[&part.object];
                truth.fragments[part.slot.index()].len() as u64
            };
            self.outcome.bytes_needed += self.nodes[node].parts.keys().map(theory).sum::<u64>();
        }
        self.nodes[node].dead = true;
        self.nodes[node].parts.clear();
        self.note_silence();
    }

    fn sleep(&mut self, node: usize, lasting: Duration, fault: Fault) {
        let id = self.nodes[node].id;
        if self.nodes[node].dead {
            return;
        }
        if fault == Fault::LongSleep && self.is_endangered(&id) {
            return self.put_off(Event::Sleep { node, lasting, fault });
        }
        self.count(fault);
        let until = (self.now + lasting).max(self.nodes[node].asleep_until);
        self.nodes[node].asleep_until = until;
        self.note_silence();
        self.at(until, Event::PollNode(node));
        self.at(until, Event::Heal);
    }

    fn put_off(&mut self, event: Event) {
        let later = self.now + 10 * MINUTE;
        if later < self.plan.trouble {
            self.at(later, event);
        }
    }

    fn rot(&mut self, node: usize) {
        let count = self.nodes[node].parts.len() as u64;
        if count == 0 || self.is_endangered(&self.nodes[node].id.clone()) {
            return self.put_off(Event::Rot(node));
        }
        let chosen = self.below(count) as usize;
        if let Some(kept) = self.nodes[node].parts.values_mut().nth(chosen) {
            let mut bytes = kept.fragment.to_vec();
            if let Some(byte) = bytes.first_mut() {
                *byte ^= 1;
                kept.fragment = bytes.into();
                self.count(Fault::Rot);
            }
        }
    }

    /// Whether another holder of one of its groups is not there, or not whole.
    fn is_endangered(&self, id: &NodeId) -> bool {
        let state = self.ledger.state();
        state.groups().filter(|(_, group)| group.slot_of(id).is_some()).any(|(_, group)| {
            let missing = |holder: &&kakera_engine::ledger::Holder| {
                let up = self
                    .place(&holder.node)
                    .is_some_and(|node| self.nodes[node].is_up(self.now) && self.is_near(node));
                holder.node != *id && (!up || holder.is_filling())
            };
            group.holders.iter().filter(missing).count() >= 1
        })
    }

    fn heal(&mut self) {
        if self.far.0 != 0 || self.far.1.is_some() {
            self.far = (0, None);
        }
        self.note_silence();
        for watcher in 0..VALIDATORS {
            let state = self.ledger.state().clone();
            self.watchers[watcher].watch.handle_state(self.now, state);
            for body in std::mem::take(&mut self.watchers[watcher].unsaid) {
                self.say(watcher, body);
            }
        }
        for node in 0..NODES {
            self.poll_node(node);
        }
    }

    fn note_silence(&mut self) {
        for node in 0..NODES {
            let silent = !self.nodes[node].is_up(self.now) || !self.is_near(node);
            let before = self.nodes[node].silent_since;
            if let (Some(since), false) = (before, silent) {
                self.nodes[node].last_silence = Some((self.now, self.now - since));
            }
            self.nodes[node].silent_since = before.or(Some(self.now)).filter(|_| silent);
        }
    }

    fn judge(mut self) -> Outcome {
        self.outcome.virtual_time = self.now;
        if !self.outcome.broken.is_empty() {
            return self.outcome;
        }
        let state = self.ledger.state().clone();
        for (id, group) in state.groups() {
            for (slot, holder) in Slot::all(self.codes.0.n).zip(&group.holders) {
                let Some(node) = self.place(&holder.node) else { continue };
                if self.nodes[node].dead || holder.is_filling() {
                    self.broken(&format!("slot {slot} of group {id} did not become whole"));
                }
                let owed =
                    self.truths.iter().filter(|(_, truth)| truth.acknowledged && truth.group == id);
                let lacking = owed.filter(|(object, truth)| {
                    let part = PartReference { group: id, slot, object: **object };
                    self.nodes[node]
                        .parts
                        .get(&part)
                        .is_none_or(|kept| truth.fragments[slot.index()][..] != kept.fragment[..])
                });
                let lacking = lacking.count();
                if lacking > 0 {
                    self.broken(&format!("slot {slot} of group {id} lacks {lacking} objects"));
                }
            }
        }
        self.outcome.trace = self.trace;
        self.outcome
    }

    fn watcher_reaches(&self, watcher: usize, node: &NodeId) -> bool {
        let Some(node) = self.place(node) else { return false };
        let near = self.is_near(node) == (self.far.1 != Some(watcher));
        near && self.nodes[node].is_up(self.now)
    }

    fn node_reaches(&self, from: &NodeId, to: &NodeId) -> bool {
        let places = self.place(from).zip(self.place(to));
        places.is_some_and(|(from, to)| self.reach(from, to))
    }

    fn reach(&self, from: usize, to: usize) -> bool {
        self.is_near(from) == self.is_near(to) && self.nodes[to].is_up(self.now)
    }

    /// On the side of the ledger.
    fn is_near(&self, node: usize) -> bool {
        self.far.0 >> node & 1 == 0
    }

    fn place(&self, id: &NodeId) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == *id)
    }

    fn unix(&self) -> u64 {
        1_700_000_000_000 + self.now.as_millis() as u64
    }

    fn loses(&mut self) -> bool {
        self.now < self.plan.trouble && !self.plan.napping && self.below(100) == 0
    }

    fn delay(&mut self) -> Duration {
        Duration::from_millis(5 + self.below(60))
    }

    /// A time while there is trouble, after the first puts.
    fn moment(&mut self) -> Duration {
        let span = self.plan.trouble.as_secs() - 120;
        Duration::from_secs(60 + self.below(span))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound
    }

    fn at(&mut self, at: Duration, event: Event) {
        self.events += 1;
        self.queue.insert((at, self.events), event);
    }

    /// Not while the same waits to be polled earlier or then.
    fn wake(&mut self, at: Duration, event: Event) {
        let same = |other: &Event| match (&event, other) {
            (Event::PollWatch(one), Event::PollWatch(other)) => one == other,
            (Event::PollNode(one), Event::PollNode(other)) => one == other,
            _ => false,
        };
        let earlier = self.queue.range(..=(at, u64::MAX));
        if !earlier.into_iter().any(|(_, other)| same(other)) {
            self.at(at, event);
        }
    }

    /// What happened enters the trace, and when.
    fn mark(&mut self, what: &[u8]) {
        let at = self.now.as_nanos().to_be_bytes();
        self.trace = hash("simulated network", &[&self.trace, &at, what]);
    }

    fn count(&mut self, fault: Fault) {
        *self.outcome.faults.entry(fault).or_default() += 1;
    }

    fn broken(&mut self, what: &str) {
        self.outcome.broken.push(format!("after {:?}: {what}", self.now));
    }
}
