//! One virtual network: a queue of events on virtual time, one source of randomness.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use kakera_engine::keyshare::{SECRET_LEN, Share};
use kakera_engine::ledger::{Body, Group, SlotFilled};
use kakera_engine::names::{Epoch, GroupId, NodeId, ObjectId};
use kakera_engine::peer::{Watch, WatchAction, WatchSettings};
use kakera_engine::policy::suspicion::LadderTimes;
use kakera_engine::seal::VaultRoot;
use kakera_engine::signature::node_id;
use kakera_engine::wire::RepairProgress;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::epochs::Leading;
use super::ledger::{Ledger, View};
use super::node::{Node, Reply, Seat, unix};
use super::puts::Put;
use super::queue::Queue;
use super::{Fault, Network};

pub(super) const MINUTE: Duration = Duration::from_secs(60);
/// Blocks come this long after the first entry that waits.
pub(super) const BLOCK_TIME: Duration = Duration::from_secs(1);

/// What befalls a network, and what is thought of it.
pub(super) trait Course: Sized {
    /// What it schedules.
    type Event;

    /// Schedules the first events.
    fn begin(&mut self, world: &mut World<Self::Event>);

    /// Something that it scheduled is due.
    fn happen(&mut self, world: &mut World<Self::Event>, event: Self::Event);

    /// Something changed.
    fn note(&mut self, world: &mut World<Self::Event>, change: Change);

    /// Whether nothing that comes could matter.
    fn is_over(&self, world: &World<Self::Event>) -> bool;
}

/// What a course is told.
pub(super) enum Change {
    /// Validators gave a node up.
    GivenUp(usize),
    /// A node was proved a liar.
    Convicted(usize),
    /// A node that was given up is back.
    Readmitted,
    /// There is a new block.
    Block,
    /// A node answers, or not any more.
    Reach(usize),
    /// A put ended.
    Put,
    /// The ledger moved a group on to another epoch.
    Epoch(GroupId),
    /// A node's repair of a slot ended.
    Repaired { node: usize, seat: Seat, whole: bool, progress: RepairProgress },
}

pub(super) enum Event<E> {
    PollWatch(usize),
    PollNode(usize),
    Probed { watcher: usize, node: NodeId, answered: bool },
    Testimony { watcher: usize, suspect: NodeId, heard: bool },
    Answer(Box<Arrival>),
    PollPut(u64),
    Told { node: usize, filled: SlotFilled },
    LookAtEpochs,
    PollLead(u64),
    Ended { number: u64, group: GroupId, epoch: Epoch },
    Block,
    Scrub(usize),
    Wake(usize),
    Heal,
    Course(E),
}

/// An answer on its way.
pub(super) struct Arrival {
    pub(super) asker: Asker,
    pub(super) id: u64,
    pub(super) reply: Reply,
}

/// Who asked.
#[derive(Clone, Copy)]
pub(super) enum Asker {
    Repair { node: usize, seat: Seat },
    Audit(usize),
    Lead { node: usize, number: u64 },
    Put(u64),
}

/// An object as its writer knows it.
pub(super) struct Truth {
    pub(super) group: GroupId,
    pub(super) fragments: Vec<Vec<u8>>,
    pub(super) shares: Vec<Share>,
    /// What any k of them give.
    pub(super) secret: [u8; SECRET_LEN],
    pub(super) acknowledged: bool,
    /// Its parts do not fit together: the shares give no secret, or the fragments no object.
    pub(super) ill_formed: bool,
}

pub(super) struct Watcher {
    pub(super) watch: Watch,
    /// Said while it was cut off.
    pub(super) unsaid: Vec<Body>,
    poll_at: Duration,
}

/// Nodes and the validator on the far side of a partition.
#[derive(Default)]
pub(super) struct FarSide {
    pub(super) nodes: BTreeSet<usize>,
    pub(super) validator: Option<usize>,
}

/// A network under way.
pub(super) struct World<E> {
    pub(super) network: Network,
    pub(super) now: Duration,
    pub(super) rng: ChaCha8Rng,
    queue: Queue<Event<E>>,
    pub(super) ledger: Ledger,
    pub(super) nodes: Vec<Node>,
    places: BTreeMap<NodeId, usize>,
    pub(super) watchers: Vec<Watcher>,
    pub(super) submitter: SigningKey,
    pub(super) root: VaultRoot,
    pub(super) puts: BTreeMap<u64, Put>,
    pub(super) puts_begun: u64,
    /// Refreshes that nodes lead.
    pub(super) leads: BTreeMap<u64, Leading>,
    pub(super) leads_begun: u64,
    /// As the newest block has them; not kept where nothing is refreshed.
    pub(super) groups: BTreeMap<GroupId, Group>,
    /// Secrets that were found to be what they were after a refresh, and old shares that gave none with
    /// new ones.
    pub(super) secrets_kept: usize,
    pub(super) old_shares_refused: usize,
    pub(super) far: FarSide,
    block_due: bool,
    pub(super) truths: BTreeMap<ObjectId, Truth>,
    pub(super) changes: Vec<Change>,
    pub(super) faults: BTreeMap<Fault, usize>,
    /// Promises that were broken.
    pub(super) broken: Vec<String>,
    pub(super) events: u64,
    trace: blake3::Hasher,
}

impl<E> World<E> {
    /// Founds a network.
    pub(super) fn found(network: Network, seed: [u8; 32]) -> Self {
        let mut rng = ChaCha8Rng::from_seed(seed);
        let mut keys =
            |count: u32| -> Vec<SigningKey> { (0..count).map(|_| draw_key(&mut rng)).collect() };
        let (machines, validators) = (keys(network.nodes), keys(network.validators));
        let submitter = draw_key(&mut rng);
        let zones = (0..network.nodes).map(|place| place % network.zones);
        let members = machines.iter().map(node_id).zip(zones);
        let ledger = Ledger::found(validators, members, node_id(&submitter), &network, &mut rng);
        let settings = WatchSettings {
            times: LadderTimes { suspect_after: MINUTE, lost_after: network.lost_after },
            ..WatchSettings::default()
        };
        let watcher =
            |_| Watcher { watch: Watch::new(settings), unsaid: Vec::new(), poll_at: Duration::MAX };
        let mut world = Self {
            network,
            now: Duration::ZERO,
            queue: Queue::new(),
            nodes: Vec::new(),
            places: BTreeMap::new(),
            watchers: (0..network.validators).map(watcher).collect(),
            ledger,
            submitter,
            root: VaultRoot::generate(&mut rng),
            puts: BTreeMap::new(),
            puts_begun: 0,
            leads: BTreeMap::new(),
            leads_begun: 0,
            groups: BTreeMap::new(),
            secrets_kept: 0,
            old_shares_refused: 0,
            far: FarSide::default(),
            block_due: false,
            truths: BTreeMap::new(),
            changes: Vec::new(),
            faults: BTreeMap::new(),
            broken: Vec::new(),
            events: 0,
            trace: blake3::Hasher::new(),
            rng,
        };
        machines.into_iter().for_each(|key| world.install(key));
        for watcher in 0..world.watchers.len() {
            let state = world.ledger.state().clone();
            world.watchers[watcher].watch.handle_state(Duration::ZERO, state);
            world.wake_watch(watcher, Duration::ZERO);
        }
        world.look_at_groups();
        world.look_at_epochs();
        world
    }

    /// Goes through events until `end`, or until the course or a broken promise ends it.
    pub(super) fn run<C: Course<Event = E>>(&mut self, course: &mut C, end: Duration) {
        course.begin(self);
        while self.broken.is_empty() && !course.is_over(self) {
            let Some((at, event)) = self.queue.next() else { break };
            if at >= end {
                break;
            }
            self.now = at;
            self.events += 1;
            self.mark(&(at.as_nanos() as u64).to_be_bytes());
            match event {
                Event::Course(event) => course.happen(self, event),
                event => self.happen(event),
            }
            while !self.changes.is_empty() {
                for change in std::mem::take(&mut self.changes) {
                    course.note(self, change);
                }
            }
        }
        self.now = self.now.max(end);
    }

    /// Of everything that happened, and when.
    pub(super) fn trace(&self) -> [u8; 32] {
        self.trace.finalize().into()
    }

    fn happen(&mut self, event: Event<E>) {
        match event {
            Event::PollWatch(watcher) => {
                if self.watchers[watcher].poll_at == self.now {
                    self.watchers[watcher].poll_at = Duration::MAX;
                    self.poll_watch(watcher);
                }
            }
            Event::PollNode(node) => {
                if self.nodes[node].poll_at == self.now {
                    self.nodes[node].poll_at = Duration::MAX;
                    self.poll_node(node);
                }
            }
            Event::Probed { watcher, node, answered } => self.probed(watcher, node, answered),
            Event::Testimony { watcher, suspect, heard } => {
                self.watchers[watcher].watch.handle_testimony(self.now, suspect, heard);
                self.poll_watch(watcher);
            }
            Event::Answer(arrival) => self.arrive(*arrival),
            Event::PollPut(put) => self.poll_put(put),
            Event::Told { node, filled } => {
                self.nodes[node].custody.handle_told(self.now, &filled, true);
                self.poll_node(node);
            }
            Event::LookAtEpochs => self.look_at_epochs(),
            Event::PollLead(number) => self.poll_lead(number),
            Event::Ended { number, group, epoch } => self.refresh_ended(number, group, epoch),
            Event::Block => self.make_block(),
            Event::Scrub(node) => self.scrub(node),
            Event::Wake(node) => self.wake(node),
            Event::Heal => self.heal(),
            Event::Course(_) => unreachable!("the course's own"),
        }
    }

    /// A new machine with nothing on it, which the next block enrols.
    pub(super) fn enrol(&mut self, zone: u32) -> usize {
        let key = draw_key(&mut self.rng);
        self.ledger.enrol(node_id(&key), zone);
        self.install(key);
        self.want_block();
        self.nodes.len() - 1
    }

    fn install(&mut self, key: SigningKey) {
        let view = View::of(&self.ledger, unix(self.now));
        let node = self.nodes.len();
        self.nodes.push(Node::new(self.ledger.network(), key, view, self.network.refresh));
        self.places.insert(self.nodes[node].id, node);
        self.wake_node(node, self.now);
        // Not all at the same time.
        let place = node as u32 % self.network.nodes;
        let every = self.network.scrub_every;
        self.at(self.now + every + every * place / self.network.nodes, Event::Scrub(node));
    }

    pub(super) fn poll_watch(&mut self, watcher: usize) {
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
            self.wake_watch(watcher, wake.max(self.now + Duration::from_millis(1)));
        }
    }

    /// With a sign of life a node says who failed its audits.
    fn probed(&mut self, watcher: usize, node: NodeId, answered: bool) {
        let place = self.place(&node).filter(|_| answered);
        let watch = &mut self.watchers[watcher].watch;
        if let Some(place) = place {
            watch.handle_suspects(node, &self.nodes[place].auditor.suspects());
        }
        watch.handle_probed(self.now, node, answered);
        self.poll_watch(watcher);
    }

    pub(super) fn say(&mut self, watcher: usize, body: Body) {
        if self.far.validator == Some(watcher) {
            return self.watchers[watcher].unsaid.push(body);
        }
        let key = self.ledger.validators()[watcher].clone();
        self.ledger.post(&key, body);
        self.want_block();
    }

    pub(super) fn want_block(&mut self) {
        if !self.block_due && self.ledger.has_work() {
            self.block_due = true;
            self.at(self.now + BLOCK_TIME, Event::Block);
        }
    }

    fn make_block(&mut self) {
        self.block_due = false;
        self.ledger.seal(self.now.as_millis() as u64, &mut self.rng);
        let root = self.ledger.state().root();
        self.mark(&root);
        self.look_at_nodes();
        for watcher in 0..self.watchers.len() {
            if self.far.validator != Some(watcher) {
                let state = self.ledger.state().clone();
                self.watchers[watcher].watch.handle_state(self.now, state);
                self.poll_watch(watcher);
            }
        }
        for node in 0..self.nodes.len() {
            self.poll_node(node);
        }
        self.look_at_groups();
        self.poll_leads();
        self.want_block();
    }

    /// Who came and went with the newest block.
    fn look_at_nodes(&mut self) {
        let state = self.ledger.state();
        for (place, node) in self.nodes.iter_mut().enumerate() {
            if node.dead && node.retired {
                continue;
            }
            let Some(now) = state.node(&node.id) else { continue };
            let before = std::mem::replace(&mut node.retired, now.retired);
            self.changes.extend(match (before, now.retired, now.lost.is_some()) {
                (false, true, true) => Some(Change::GivenUp(place)),
                (false, true, false) => Some(Change::Convicted(place)),
                (true, false, _) => Some(Change::Readmitted),
                _ => None,
            });
        }
        self.changes.push(Change::Block);
    }

    fn watcher_reaches(&self, watcher: usize, node: &NodeId) -> bool {
        let Some(node) = self.place(node) else { return false };
        let near = self.is_near(node) == (self.far.validator != Some(watcher));
        near && self.nodes[node].is_up(self.now)
    }

    fn node_reaches(&self, from: &NodeId, to: &NodeId) -> bool {
        let places = self.place(from).zip(self.place(to));
        places.is_some_and(|(from, to)| self.reach(from, to))
    }

    pub(super) fn reach(&self, from: usize, to: usize) -> bool {
        self.is_near(from) == self.is_near(to) && self.nodes[to].is_up(self.now)
    }

    /// On the side of the ledger.
    pub(super) fn is_near(&self, node: usize) -> bool {
        !self.far.nodes.contains(&node)
    }

    pub(super) fn place(&self, id: &NodeId) -> Option<usize> {
        self.places.get(id).copied()
    }

    pub(super) fn loses(&mut self) -> bool {
        self.network.loss_percent > 0 && self.below(100) < self.network.loss_percent
    }

    pub(super) fn delay(&mut self) -> Duration {
        Duration::from_millis(5 + self.below(60))
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound
    }

    pub(super) fn at(&mut self, at: Duration, event: Event<E>) {
        self.queue.schedule(at, event);
    }

    /// Not while an earlier poll waits; a later one is passed over when it comes.
    pub(super) fn wake_node(&mut self, node: usize, at: Duration) {
        if at < self.nodes[node].poll_at {
            self.nodes[node].poll_at = at;
            self.at(at, Event::PollNode(node));
        }
    }

    fn wake_watch(&mut self, watcher: usize, at: Duration) {
        if at < self.watchers[watcher].poll_at {
            self.watchers[watcher].poll_at = at;
            self.at(at, Event::PollWatch(watcher));
        }
    }

    /// What happened enters the trace.
    pub(super) fn mark(&mut self, what: &[u8]) {
        self.trace.update(what);
    }

    pub(super) fn count(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    pub(super) fn broken(&mut self, what: &str) {
        self.broken.push(format!("after {:?}: {what}", self.now));
    }
}

fn draw_key(rng: &mut ChaCha8Rng) -> SigningKey {
    let mut bytes = [0; 32];
    rng.fill_bytes(&mut bytes);
    SigningKey::from_bytes(&bytes)
}
