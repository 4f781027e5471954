//! The network: one queue of events on virtual time, one source of randomness.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use kakera_engine::code::CodeParameters;
use kakera_engine::hash::hash;
use kakera_engine::keyshare::KeyParameters;
use kakera_engine::ledger::agreement::{Message, Pace};
use kakera_engine::ledger::{
    BeaconChain, CertifiedBlock, Entry, Genesis, RULES_VERSION_MAX, Suite, ValidatorSet,
};
use kakera_engine::names::{NetworkId, NodeId};
use kakera_engine::peer::{Clock, Work};
use kakera_engine::signature::node_id;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::fault::Fault;
use super::machine::Machine;
use super::traitor::distort;
use crate::entries;

const VALIDATORS: usize = 4;
const AUTHORS: usize = 3;
/// While faults happen, and then the time in which all must be well.
const TROUBLE: Duration = Duration::from_secs(10);
const CALM: Duration = Duration::from_secs(30);
const STEPS_MAX: u64 = 400_000;
const CREATED: u64 = 1_700_000_000_000;

/// What became of a network.
pub(super) struct Outcome {
    pub(super) broken: Vec<String>,
    pub(super) faults: BTreeMap<Fault, usize>,
    pub(super) height: u64,
    pub(super) acknowledged: usize,
    pub(super) later_rounds: usize,
    /// Blocks that came in outline and were asked for.
    pub(super) wanted: usize,
    pub(super) expelled: bool,
    pub(super) trace: [u8; 32],
}

/// Something that happens at a moment.
enum Event {
    Deliver { to: usize, from: usize, message: Box<Message> },
    Share { to: usize, entry: Box<Entry> },
    Blocks { to: usize, from: usize, life: u32, blocks: Vec<CertifiedBlock>, head: u64 },
    Height { to: usize, from: usize, height: u64 },
    Wake { machine: usize, life: u32 },
    Beat { machine: usize },
    Post { author: usize },
    Crash { machine: usize },
    Start { machine: usize },
    Partition { sides: u8 },
}

/// A network under way.
pub(super) struct Network {
    rng: ChaCha8Rng,
    genesis: Genesis,
    network: NetworkId,
    machines: Vec<Machine>,
    traitor: Option<usize>,
    now: Duration,
    queue: BTreeMap<(Duration, u64), Event>,
    events: u64,
    /// Bit i is the side of machine i; equal sides reach each other.
    sides: u8,
    authors: Vec<Author>,
    outcome: Outcome,
}

struct Author {
    key: SigningKey,
    sequence: u64,
    /// The entry under way.
    posting: Option<Entry>,
}

impl Network {
    /// One network from its founding to its end.
    pub(super) fn run(seed: u64) -> Outcome {
        Self::found(seed, false).live()
    }

    /// The same with machines that lose their voting logs when they crash, which must show.
    pub(super) fn run_forgetful(seed: u64) -> Outcome {
        Self::found(seed, true).live()
    }

    fn live(mut self) -> Outcome {
        let network = &mut self;
        let mut steps = 0;
        while let Some(((at, _), event)) = network.queue.pop_first() {
            network.now = at;
            steps += 1;
            if steps > STEPS_MAX {
                network.broken("the network never comes to rest");
            }
            if at > TROUBLE + CALM || !network.outcome.broken.is_empty() {
                break;
            }
            network.happen(event);
        }
        self.judge()
    }

    fn found(seed: u64, forgetful: bool) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut key = || {
            let mut bytes = [0; 32];
            rng.fill_bytes(&mut bytes);
            SigningKey::from_bytes(&bytes)
        };
        let keys: Vec<SigningKey> = (0..VALIDATORS).map(|_| key()).collect();
        let authors: Vec<SigningKey> = (0..AUTHORS).map(|_| key()).collect();
        let validators: ValidatorSet = keys.iter().map(|key| (node_id(key), 1)).collect();
        // Making a beacon chain takes as long as a second of a network: some have them.
        let with_anchors = seed.is_multiple_of(4);
        let anchored = keys.iter().filter(|_| with_anchors);
        let anchors =
            anchored.map(|key| (node_id(key), BeaconChain::of_genesis(key).anchor())).collect();
        let genesis = Genesis {
            suite: Suite,
            name: "simulated".into(),
            created: CREATED,
            validators,
            operators: authors.iter().map(node_id).collect(),
            code: "mbr(5,3,4)".parse::<CodeParameters>().expect("a code that exists"),
            key: KeyParameters::new(5, 3, 4).expect("a key code that exists"),
            pointers_per_author_max: 1000,
            // Proposals leave whole under the one, in outline under the other.
            version: Some(if seed.is_multiple_of(3) { 2 } else { RULES_VERSION_MAX }),
            anchors,
        };
        let traitor = (rng.next_u32() % 2 == 0).then(|| rng.next_u32() as usize % VALIDATORS);
        let machines = keys
            .into_iter()
            .map(|key| Machine::new(key, i64::from(rng.next_u32() % 8000) - 4000, forgetful))
            .collect();
        let author = |key| Author { key, sequence: 1, posting: None };
        let mut network = Self {
            network: genesis.network_id(),
            genesis,
            machines,
            traitor,
            now: Duration::ZERO,
            queue: BTreeMap::new(),
            events: 0,
            sides: 0,
            authors: authors.into_iter().map(author).collect(),
            outcome: Outcome {
                broken: Vec::new(),
                faults: BTreeMap::new(),
                height: 0,
                acknowledged: 0,
                later_rounds: 0,
                wanted: 0,
                expelled: false,
                trace: [0; 32],
            },
            rng,
        };
        network.plan();
        network
    }

    /// Sets the course of the trouble.
    fn plan(&mut self) {
        for machine in 0..VALIDATORS {
            self.at(Duration::ZERO, Event::Start { machine });
            self.at(Duration::from_millis(100), Event::Beat { machine });
        }
        for author in 0..AUTHORS {
            self.at(Duration::from_millis(50), Event::Post { author });
        }
        self.outcome.faults.insert(Fault::Skew, VALIDATORS);
        for _ in 0..self.below(6) {
            let machine = self.below(VALIDATORS as u64) as usize;
            let at = self.moment();
            self.at(at, Event::Crash { machine });
            let down = Duration::from_millis(50 + self.below(4000));
            self.at((at + down).min(TROUBLE), Event::Start { machine });
        }
        for _ in 0..self.below(3) {
            let at = self.moment();
            let sides = self.below(16) as u8;
            self.at(at, Event::Partition { sides });
            let lasting = Duration::from_millis(200 + self.below(5000));
            self.at((at + lasting).min(TROUBLE), Event::Partition { sides: 0 });
        }
    }

    fn happen(&mut self, event: Event) {
        self.mark(&event);
        match event {
            Event::Start { machine } => self.start(machine),
            Event::Crash { machine } => self.crash(machine),
            Event::Partition { sides } => {
                self.sides = sides;
                if sides != 0 {
                    self.count(Fault::Partition);
                }
            }
            Event::Deliver { to, from, message } => {
                let (from, clock) = (self.id(from), self.clock(to));
                if let Some(validator) = &mut self.machines[to].validator {
                    validator.handle_message(from, *message, clock);
                }
                self.work(to);
            }
            Event::Share { to, entry } => {
                let clock = self.clock(to);
                if let Some(validator) = &mut self.machines[to].validator {
                    validator.handle_shared(*entry, clock);
                }
                self.work(to);
            }
            Event::Height { to, from, height } => self.hear_height(to, from, height),
            Event::Blocks { to, from, life, blocks, head } => {
                self.catch_up(to, life, blocks);
                self.hear_height(to, from, head);
            }
            Event::Wake { machine, life } => {
                if self.machines[machine].life == life {
                    self.machines[machine].wake = None;
                    let clock = self.clock(machine);
                    if let Some(validator) = &mut self.machines[machine].validator {
                        validator.handle_time(clock);
                    }
                    self.work(machine);
                }
            }
            Event::Beat { machine } => self.beat(machine),
            Event::Post { author } => self.post(author),
        }
    }

    fn start(&mut self, machine: usize) {
        if self.machines[machine].validator.is_some() {
            return;
        }
        let clock = self.clock(machine);
        let started = self.machines[machine].start(&self.genesis, Pace::default(), clock);
        if let Err(error) = started {
            self.broken(&format!("machine {machine}: {error}"));
        }
        self.work(machine);
    }

    fn crash(&mut self, machine: usize) {
        if self.machines[machine].validator.is_none() {
            return;
        }
        self.count(Fault::Crash);
        if self.machines[machine].crash(&mut self.rng) {
            self.count(Fault::TornLog);
        }
    }

    /// Does what a validator wants done, until it wants nothing, or crashes in the middle of it.
    fn work(&mut self, machine: usize) {
        loop {
            let clock = self.clock(machine);
            let Some(validator) = &mut self.machines[machine].validator else { return };
            if let Some(fault) = validator.fault() {
                let fault = fault.to_string();
                return self.broken(&format!("machine {machine} stopped voting: {fault}"));
            }
            let Some(work) = validator.poll_work(clock, &mut self.rng) else { break };
            if self.troubled() && self.below(400) == 0 {
                self.at(self.now, Event::Crash { machine });
                let down = Duration::from_millis(20 + self.below(2000));
                self.at(self.now + down, Event::Start { machine });
                // What is in hand is lost with the process.
                if self.below(2) == 0 {
                    return self.crash(machine);
                }
            }
            match work {
                Work::Record(record) => self.machines[machine].write(record),
                Work::Send(message) => {
                    self.machines[machine].sync();
                    (0..VALIDATORS).for_each(|to| self.tell(machine, to, &message));
                }
                Work::Tell(peer, message) => {
                    self.machines[machine].sync();
                    self.outcome.wanted += usize::from(matches!(message, Message::Want(_)));
                    let key = |to: &usize| node_id(&self.machines[*to].key);
                    if let Some(to) = (0..VALIDATORS).find(|to| key(to) == peer) {
                        self.tell(machine, to, &message);
                    }
                }
                Work::Share(entry) => {
                    for to in (0..VALIDATORS).filter(|to| *to != machine) {
                        let entry = entry.clone();
                        self.send(machine, to, Event::Share { to, entry });
                    }
                }
                Work::Block(block) => {
                    self.machines[machine].store(*block);
                    if let Some(validator) = &mut self.machines[machine].validator {
                        validator.handle_durable();
                    }
                }
            }
        }
        self.answer(machine);
        let clock = self.clock(machine);
        let Some(validator) = &mut self.machines[machine].validator else { return };
        let wake = validator.next_wake().map(|wake| wake.max(self.now));
        if let Some(wake) = wake.filter(|wake| self.machines[machine].wake != Some(*wake)) {
            self.machines[machine].wake = Some(wake);
            let life = self.machines[machine].life;
            self.at(wake, Event::Wake { machine, life });
        }
        self.fetch(machine, clock);
    }

    /// Tells authors what became of their entries.
    fn answer(&mut self, machine: usize) {
        let Some(validator) = &mut self.machines[machine].validator else { return };
        let mut accepted = Vec::new();
        while let Some((ticket, outcome)) = validator.poll_outcome() {
            if outcome.is_ok() {
                accepted.push(ticket as usize);
            }
        }
        for ticket in accepted {
            let (author, sequence) = (ticket % AUTHORS, (ticket / AUTHORS) as u64);
            let author = &mut self.authors[author];
            if author.sequence == sequence && Some(machine) != self.traitor {
                author.posting = None;
                author.sequence += 1;
                self.outcome.acknowledged += 1;
            }
        }
    }

    /// Asks for the blocks that are missing.
    fn fetch(&mut self, machine: usize, clock: Clock) {
        let Some(validator) = &mut self.machines[machine].validator else { return };
        let Some((from, height)) = validator.poll_behind(clock) else { return };
        let Some(source) = (0..VALIDATORS).find(|other| self.id(*other) == from) else { return };
        if self.machines[source].validator.is_none() || !self.reaches(machine, source) {
            return;
        }
        let stored = &self.machines[source].blocks;
        let blocks: Vec<_> = stored.iter().skip(height as usize - 1).take(20).cloned().collect();
        let (life, head) = (self.machines[machine].life, stored.len() as u64);
        self.send(source, machine, Event::Blocks { to: machine, from: source, life, blocks, head });
    }

    fn hear_height(&mut self, to: usize, from: usize, height: u64) {
        let (from, clock) = (self.id(from), self.clock(to));
        if let Some(validator) = &mut self.machines[to].validator {
            validator.handle_height(from, height, clock);
        }
        self.work(to);
    }

    fn catch_up(&mut self, to: usize, life: u32, blocks: Vec<CertifiedBlock>) {
        for block in blocks {
            let clock = self.clock(to);
            if self.machines[to].life != life {
                return;
            }
            let Some(validator) = &mut self.machines[to].validator else { return };
            let chain = validator.chain();
            if block.block.header.height <= chain.head().header.height {
                continue;
            }
            let checked = match chain.check_certified(&block, None) {
                Ok(checked) => checked,
                Err(error) => {
                    return self
                        .broken(&format!("machine {to} refuses a certified block: {error}"));
                }
            };
            self.machines[to].store(block.clone());
            if let Some(validator) = &mut self.machines[to].validator {
                validator.handle_stored(block, checked, clock);
            }
            self.work(to);
        }
    }

    /// Now and then a validator tells the others how far it is.
    fn beat(&mut self, machine: usize) {
        if self.machines[machine].validator.is_some() {
            let mut height = self.machines[machine].blocks.len() as u64;
            if self.traitor == Some(machine) && self.below(2) == 0 {
                self.count(Fault::FalseHeight);
                height = u64::MAX;
            }
            for to in (0..VALIDATORS).filter(|to| *to != machine) {
                self.send(machine, to, Event::Height { to, from: machine, height });
            }
        }
        self.work(machine);
        self.at(self.now + Duration::from_millis(500), Event::Beat { machine });
    }

    /// An author posts its next entry, or the same again, to two validators.
    fn post(&mut self, author: usize) {
        if self.authors[author].posting.is_none() && self.now < TROUBLE + CALM / 6 {
            let version = self.genesis.rules_version();
            let body = entries::pointer_under(version, &self.network, &mut self.rng);
            let Author { key, sequence, .. } = &self.authors[author];
            let entry = Entry::sign(&self.network, key, *sequence, body);
            self.authors[author].posting = Some(entry);
        }
        if let Some(entry) = self.authors[author].posting.clone() {
            let first = self.below(VALIDATORS as u64) as usize;
            let ticket = entry.sequence * AUTHORS as u64 + author as u64;
            for machine in [first, (first + 1) % VALIDATORS] {
                if let Some(validator) = &mut self.machines[machine].validator {
                    validator.handle_submit(ticket, entry.clone());
                }
                self.work(machine);
            }
        }
        let pause = Duration::from_millis(200 + self.below(1000));
        self.at(self.now + pause, Event::Post { author });
    }

    /// Sends a message to another validator, or what a traitor makes of it.
    fn tell(&mut self, from: usize, to: usize, message: &Message) {
        if to == from {
            return;
        }
        let mut told = Some(message.clone());
        if self.traitor == Some(from) && self.troubled() {
            let key = &self.machines[from].key;
            let fault;
            (told, fault) = distort(message, &self.network, key, &mut self.rng);
            fault.into_iter().for_each(|fault| self.count(fault));
            self.send_garbage(message);
        }
        if let Some(message) = told {
            self.send(from, to, Event::Deliver { to, from, message: Box::new(message) });
        }
    }

    /// Damaged bytes are refused where they are decoded: whatever still decodes is delivered.
    fn send_garbage(&mut self, message: &Message) {
        if self.below(20) != 0 {
            return;
        }
        let mut bytes = message.to_bytes();
        let place = self.below(bytes.len() as u64) as usize;
        bytes[place] ^= 1 << self.below(8);
        self.count(Fault::Garbage);
        if let (Ok(message), Some(from)) = (Message::from_bytes(&bytes), self.traitor) {
            let to = (from + 1) % VALIDATORS;
            self.send(from, to, Event::Deliver { to, from, message: Box::new(message) });
        }
    }

    /// Lets something reach another machine, perhaps, sooner or later, once or twice.
    fn send(&mut self, from: usize, to: usize, event: Event) {
        if !self.reaches(from, to) {
            return;
        }
        let mut delay = Duration::from_micros(200 + self.below(3000));
        if self.troubled() {
            match self.below(40) {
                0 | 1 => return self.count(Fault::Lost),
                2 | 3 => {
                    self.count(Fault::Late);
                    delay += Duration::from_millis(self.below(1500));
                }
                _ => {}
            }
        }
        if self.troubled()
            && self.below(30) == 0
            && let Event::Deliver { to, from, message } = &event
        {
            self.count(Fault::Doubled);
            let again = Event::Deliver { to: *to, from: *from, message: message.clone() };
            self.at(self.now + delay * 2, again);
        }
        self.at(self.now + delay, event);
    }

    fn reaches(&self, from: usize, to: usize) -> bool {
        (self.sides >> from & 1) == (self.sides >> to & 1)
    }

    fn troubled(&self) -> bool {
        self.now < TROUBLE
    }

    /// Compares the chains of the honest, and with what was acknowledged.
    fn judge(mut self) -> Outcome {
        let honest: Vec<usize> =
            (0..VALIDATORS).filter(|machine| Some(*machine) != self.traitor).collect();
        let longest = honest.iter().copied().max_by_key(|at| self.machines[*at].blocks.len());
        let chain = longest.map(|at| self.machines[at].blocks.clone()).unwrap_or_default();
        for at in &honest {
            let blocks = &self.machines[*at].blocks;
            let alike = blocks.iter().zip(&chain).all(|(one, other)| one.block == other.block);
            let held = blocks.len();
            if !alike {
                self.broken("the chain is forked");
            }
            if held + 1 < chain.len() {
                self.broken(&format!("machine {at} has {held} of {} blocks", chain.len()));
            }
        }
        let entries = || chain.iter().flat_map(|block| &block.block.entries);
        let mut places: BTreeSet<(NodeId, u64)> = BTreeSet::new();
        if !entries().all(|salted| places.insert((salted.entry.author, salted.entry.sequence))) {
            self.broken("an entry stands in the chain twice");
        }
        for place in 0..AUTHORS {
            let Author { key, sequence, posting } = &self.authors[place];
            let lost = (1..*sequence).any(|one| !places.contains(&(node_id(key), one)));
            let stuck = posting.is_some();
            if lost {
                self.broken("an acknowledged entry is not in the chain");
            }
            if stuck {
                self.broken(&format!("author {place} waits although the faults have stopped"));
            }
        }
        self.outcome.height = chain.len() as u64;
        self.outcome.later_rounds =
            chain.iter().filter(|block| block.certificate.round > Some(0)).count();
        let mut loyal = self.genesis.validators.clone();
        if let Some(traitor) = self.traitor {
            loyal.0.remove(&self.id(traitor));
        }
        let set = chain.last().map(|last| last.block.header.next_validators);
        self.outcome.expelled = set.is_some_and(|set| set != self.genesis.validators.hash());
        if self.outcome.expelled && set != Some(loyal.hash()) {
            self.broken("an honest validator was expelled");
        }
        self.outcome
    }

    fn clock(&self, machine: usize) -> Clock {
        let unix = CREATED + 1_000_000 + self.now.as_millis() as u64;
        let unix_millis = unix.saturating_add_signed(self.machines[machine].skew);
        Clock { elapsed: self.now, unix_millis }
    }

    fn id(&self, machine: usize) -> NodeId {
        node_id(&self.machines[machine].key)
    }

    fn at(&mut self, at: Duration, event: Event) {
        self.events += 1;
        self.queue.insert((at, self.events), event);
    }

    fn moment(&mut self) -> Duration {
        Duration::from_millis(self.below(TROUBLE.as_millis() as u64))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound
    }

    fn count(&mut self, fault: Fault) {
        *self.outcome.faults.entry(fault).or_default() += 1;
    }

    fn broken(&mut self, promise: &str) {
        self.outcome.broken.push(format!("at {:?}: {promise}", self.now));
    }

    /// The trace: a hash over everything that happens, in order.
    fn mark(&mut self, event: &Event) {
        let what = match event {
            Event::Deliver { to, from, message } => {
                format!("deliver {from} {to} {:?}", hash("message", &[&message.to_bytes()]))
            }
            Event::Share { to, entry } => format!("share {to} {}", entry.sequence),
            Event::Blocks { to, from, blocks, .. } => {
                format!("blocks {from} {to} {}", blocks.len())
            }
            Event::Height { to, from, height } => format!("height {from} {to} {height}"),
            Event::Wake { machine, life } => format!("wake {machine} {life}"),
            Event::Beat { machine } => format!("beat {machine}"),
            Event::Post { author } => format!("post {author}"),
            Event::Crash { machine } => format!("crash {machine}"),
            Event::Start { machine } => format!("start {machine}"),
            Event::Partition { sides } => format!("partition {sides}"),
        };
        let time = (self.now.as_nanos() as u64).to_be_bytes();
        self.outcome.trace = hash("trace", &[&self.outcome.trace, &time, what.as_bytes()]);
    }
}
