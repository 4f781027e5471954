//! Four validators whose machines lose power, checked by what they said and what they promised.
//!
//! The [`Writer`], the [`Desk`] and everything under them are those of the process; only the network
//! and the time are drawn. Disks stop at a drawn operation or before a drawn sync, in the middle of
//! whatever is written or opened; then the power is cut, or only the process killed. Checked is
//! that no validator ever says two things where it may say one, that no two of them have different
//! blocks at a height, that none comes back with less than it showed, and that in the end, without
//! faults, all have the same chain and in it all that was acknowledged, once, where it was said.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use kakera_engine::code::{CodeKind, CodeParameters};
use kakera_engine::keyshare::KeyParameters;
use kakera_engine::ledger::agreement::{Message, Outline, ProposedBlock};
use kakera_engine::ledger::{Body, Digest32, Entry, Genesis, Pointer, Suite, Vote, VoteKind};
use kakera_engine::names::NodeId;
use kakera_engine::peer::Clock;
use kakera_engine::signature::node_id;
use kakera_engine::wire::{BlockForm, Remark};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use tokio::sync::oneshot;

use super::desk::{Desk, Outcome};
use super::voting_log::VotingLog;
use super::writer::Writer;
use super::{ValidatorError, open_chain, open_voting_log};
use crate::chain_store::{ChainStore, answer_follow, split_sent};
use crate::chain_view::ChainView;
use crate::store::simulated::{Faults, SimulatedDisk, SyncSite};

const VALIDATORS: usize = 4;
const AUTHORS: usize = 3;
/// Power cuts and kills of one network, then it must come to rest.
const CRASHES: u64 = 25;
const STEPS_OF_TROUBLE: u32 = 200_000;
const STEPS_TO_REST: u32 = 20_000;
const CREATED: u64 = 1_700_000_000_000;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Seed of the first network; each further one has the next.
    pub first_seed: u64,
    /// Networks are run until there were at least as many power cuts.
    pub cuts: u64,
    /// A line whose syncs do nothing.
    pub ignored_site: Option<SyncSite>,
}

/// What a run found. It ends at the first violation.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Power cuts.
    pub cuts: u64,
    /// Kills of the process that left the page cache.
    pub kills: u64,
    /// Faults that the cuts really caused.
    pub faults: Faults,
    /// Votes and proposals that left.
    pub said: u64,
    /// Entries acknowledged.
    pub acknowledged: u64,
    /// Blocks final.
    pub blocks: u64,
    /// Syncs by the line that called them.
    pub sync_sites: BTreeMap<SyncSite, u64>,
    /// The first broken promise: seed, and what was wrong.
    pub violation: Option<String>,
}

/// Runs networks until there were enough power cuts, or a promise was broken.
pub fn run(plan: &Plan) -> Figures {
    let mut figures = Figures::default();
    let mut seed = plan.first_seed;
    while figures.cuts < plan.cuts && figures.violation.is_none() {
        let mut world = World::found(seed, plan.ignored_site);
        let lived = world.live();
        figures.violation = lived.err().map(|what| format!("seed {seed}: {what}"));
        world.add_to(&mut figures);
        seed += 1;
    }
    figures
}

struct World {
    rng: ChaCha8Rng,
    genesis: Genesis,
    machines: Vec<Machine>,
    letters: Vec<Letter>,
    now: Duration,
    /// Whether disks stop and messages are lost.
    troubled: bool,
    said: BTreeMap<Place, Option<Digest32>>,
    /// Block hashes by height, whoever had them.
    blocks: BTreeMap<u64, Digest32>,
    authors: Vec<Author>,
    acknowledged: Vec<(Entry, u64)>,
    cuts: u64,
    kills: u64,
    faults: Faults,
}

/// Where a validator may say one thing. A proposal has no kind.
type Place = (NodeId, u64, u32, Option<u8>);

struct Letter {
    to: usize,
    from: usize,
    remark: Remark,
}

struct Author {
    key: SigningKey,
    sequence: u64,
    posting: Option<Entry>,
}

struct Machine {
    key: SigningKey,
    disk: SimulatedDisk,
    process: Option<Process>,
    armed: bool,
    /// The highest height that it showed.
    shown: u64,
}

struct Process {
    desk: Desk,
    writer: Writer<SimulatedDisk>,
    store: Arc<ChainStore<SimulatedDisk>>,
    waiting: Vec<(usize, Entry, oneshot::Receiver<Outcome>)>,
}

impl World {
    fn found(seed: u64, ignored_site: Option<SyncSite>) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut key = || {
            let mut bytes = [0; 32];
            rng.fill_bytes(&mut bytes);
            SigningKey::from_bytes(&bytes)
        };
        let keys: Vec<SigningKey> = (0..VALIDATORS).map(|_| key()).collect();
        let authors: Vec<SigningKey> = (0..AUTHORS).map(|_| key()).collect();
        let genesis = Genesis {
            suite: Suite,
            name: "crashes".into(),
            created: CREATED,
            validators: keys.iter().map(|key| (node_id(key), 1)).collect(),
            operators: authors.iter().map(node_id).collect(),
            code: CodeParameters { kind: CodeKind::Mbr, n: 3, k: 2, d: 2 },
            key: match KeyParameters::new(3, 2, 2) {
                Ok(key) => key,
                Err(error) => unreachable!("a key code that exists: {error}"),
            },
            pointers_per_author_max: 1_000_000,
            version: Some(3),
            anchors: BTreeMap::new(),
        };
        let machine = |key| {
            let disk = SimulatedDisk::new();
            if let Err(error) = VotingLog::create(&disk) {
                unreachable!("an empty disk without faults: {error}");
            }
            if let Some(site) = ignored_site {
                disk.ignore_syncs_of(site);
            }
            Machine { key, disk, process: None, armed: false, shown: 0 }
        };
        let author = |key| Author { key, sequence: 1, posting: None };
        Self {
            rng,
            genesis,
            machines: keys.into_iter().map(machine).collect(),
            letters: Vec::new(),
            now: Duration::ZERO,
            troubled: true,
            said: BTreeMap::new(),
            blocks: BTreeMap::new(),
            authors: authors.into_iter().map(author).collect(),
            acknowledged: Vec::new(),
            cuts: 0,
            kills: 0,
            faults: Faults::default(),
        }
    }

    fn live(&mut self) -> Result<(), String> {
        let mut steps = 0;
        while self.cuts + self.kills < CRASHES {
            self.step()?;
            steps += 1;
            if steps > STEPS_OF_TROUBLE {
                return Err(format!("nothing happens any more: {}", self.describe()));
            }
        }
        self.troubled = false;
        self.machines.iter().for_each(|machine| machine.disk.restart());
        for _ in 0..STEPS_TO_REST {
            self.step()?;
            if self.is_at_rest() {
                return self.judge();
            }
        }
        Err(format!("the network never comes to rest: {}", self.describe()))
    }

    fn describe(&self) -> String {
        let machine = |machine: &Machine| {
            machine.process.as_ref().map_or("down".to_owned(), |process| {
                let (height, waits) = (process.desk.view().height(), process.waiting.len());
                let fault = process.desk.act(|machine| machine.fault().cloned());
                format!("at {height}, {waits} wait, {fault:?}")
            })
        };
        let machines: Vec<String> = self.machines.iter().map(machine).collect();
        let posting = self.authors.iter().filter(|author| author.posting.is_some()).count();
        format!("{machines:?}, {posting} to post, {} letters", self.letters.len())
    }

    /// One machine does something.
    fn step(&mut self) -> Result<(), String> {
        let passed = self.below(30);
        self.now += Duration::from_millis(passed);
        let number = self.below(VALIDATORS as u64) as usize;
        if self.machines[number].process.is_none() {
            let starts = !self.troubled || self.below(20) == 0;
            return if starts { self.start(number) } else { Ok(()) };
        }
        self.arm(number);
        self.hear(number);
        self.post(number);
        self.work(number)?;
        self.catch_up(number)?;
        self.collect(number)
    }

    /// Decides where the disk will stop.
    fn arm(&mut self, number: usize) {
        if !self.troubled || self.machines[number].armed || self.below(20) != 0 {
            return;
        }
        if self.below(2) == 0 {
            let operations = self.below(60);
            self.machines[number].disk.stop_after(operations);
        } else {
            let syncs = self.below(12);
            self.machines[number].disk.stop_before_sync(syncs);
        }
        self.machines[number].armed = true;
    }

    fn start(&mut self, number: usize) -> Result<(), String> {
        match self.open(number) {
            Ok(process) => {
                let height = process.desk.view().height();
                let machine = &mut self.machines[number];
                if height < machine.shown {
                    return Err(format!(
                        "machine {number} showed height {} and has {height}",
                        machine.shown
                    ));
                }
                machine.process = Some(process);
                Ok(())
            }
            Err(error) => self.crash(number, &error),
        }
    }

    fn open(&self, number: usize) -> Result<Process, ValidatorError> {
        let Machine { key, disk, .. } = &self.machines[number];
        let (store, mut machine) = open_chain(disk, &self.genesis, key)?;
        let voting_log = open_voting_log(disk, &mut machine, self.clock())?;
        let view = ChainView::new(machine.chain(), Arc::default(), u64::MAX);
        let store = Arc::new(store);
        let writer = Writer::new(Arc::clone(&store), voting_log);
        Ok(Process { desk: Desk::new(machine, view), writer, store, waiting: Vec::new() })
    }

    /// The machine stops, unless its disk is not to blame.
    fn crash(&mut self, number: usize, error: &ValidatorError) -> Result<(), String> {
        let machine = &mut self.machines[number];
        if !machine.disk.is_off() {
            return Err(format!("machine {number}: {error}"));
        }
        if let Some(process) = machine.process.take() {
            for (author, entry, _) in process.waiting {
                // It is posted again somewhere.
                self.authors[author].posting = Some(entry);
            }
        }
        machine.armed = false;
        if self.rng.next_u32().is_multiple_of(4) {
            machine.disk.restart();
            self.kills += 1;
        } else {
            let faults = machine.disk.power_cut(&mut self.rng);
            self.faults.merge(&faults);
            self.cuts += 1;
        }
        Ok(())
    }

    /// Takes some of what others said, in any order.
    fn hear(&mut self, number: usize) {
        let clock = self.clock();
        for _ in 0..8 {
            let for_it = |letter: &Letter| letter.to == number;
            let waiting = self.letters.iter().filter(|letter| for_it(letter)).count();
            if waiting == 0 {
                return;
            }
            let chosen = self.below(waiting as u64) as usize;
            let place = self.letters.iter().enumerate().filter(|(_, letter)| for_it(letter));
            let Some(place) = place.map(|(place, _)| place).nth(chosen) else { return };
            let Letter { from, remark, .. } = self.letters.swap_remove(place);
            let lost = self.troubled && self.below(20) == 0;
            let from = node_id(&self.machines[from].key);
            if let Some(Process { desk, .. }) = &self.machines[number].process
                && !lost
            {
                desk.act(|machine| match remark {
                    Remark::Message(message) => machine.handle_message(from, *message, clock),
                    Remark::Entry(entry) => machine.handle_shared(*entry, clock),
                });
            }
        }
    }

    /// An author posts its next entry, or the one that nobody acknowledged.
    fn post(&mut self, number: usize) {
        let chosen = self.below(AUTHORS as u64) as usize;
        let drawn = self.rng.next_u64();
        let author = &mut self.authors[chosen];
        let waits = self.machines.iter().filter_map(|machine| machine.process.as_ref());
        let mut waits = waits.flat_map(|process| &process.waiting);
        if waits.any(|(author, ..)| *author == chosen) {
            return;
        }
        let entry = match author.posting.take() {
            Some(entry) => entry,
            None if self.troubled => {
                let mut seed = [7; 32];
                seed[..8].copy_from_slice(&drawn.to_be_bytes());
                let network = self.genesis.network_id();
                let own = SigningKey::from_bytes(&seed);
                let body = Body::Pointer(Pointer::sign(&network, &own, vec![1; 300]));
                Entry::sign(&network, &author.key, author.sequence, body)
            }
            None => return,
        };
        if let Some(process) = &mut self.machines[number].process {
            let (sender, outcome) = oneshot::channel();
            process.desk.submit(entry.clone(), sender);
            process.waiting.push((chosen, entry, outcome));
        }
    }

    fn work(&mut self, number: usize) -> Result<(), String> {
        let (clock, mut told) = (self.clock(), Vec::new());
        let Some(Process { desk, writer, .. }) = &mut self.machines[number].process else {
            return Ok(());
        };
        let worked = writer.work(desk, clock, &mut self.rng, |peer, remark| {
            told.push((peer, remark));
        });
        // What was told before the disk stopped has left.
        for (peer, remark) in told {
            self.check_said(number, &remark)?;
            let hears = |to: &usize| {
                let id = node_id(&self.machines[*to].key);
                *to != number && peer.is_none_or(|peer| peer == id)
            };
            let hearers: Vec<usize> = (0..VALIDATORS).filter(hears).collect();
            for to in hearers {
                self.letters.push(Letter { to, from: number, remark: remark.clone() });
            }
        }
        match worked {
            Ok(()) => self.check_head(number),
            Err(error) => self.crash(number, &error),
        }
    }

    fn check_said(&mut self, number: usize, remark: &Remark) -> Result<(), String> {
        let Remark::Message(message) = remark else { return Ok(()) };
        let own = node_id(&self.machines[number].key);
        let (place, value) = match &**message {
            Message::Vote(signed) if signed.vote.validator == own => {
                let Vote { kind, height, round, value, .. } = signed.vote;
                ((own, height, round, Some(u8::from(kind == VoteKind::Prevote))), value)
            }
            Message::Proposal(ProposedBlock { proposal, .. })
            | Message::Outline(Outline { proposal, .. })
                if proposal.validator == own =>
            {
                ((own, proposal.height, proposal.round, None), Some(proposal.value))
            }
            _ => return Ok(()),
        };
        match self.said.insert(place, value) {
            Some(before) if before != value => {
                Err(format!("{number} contradicts itself: {place:?}"))
            }
            _ => Ok(()),
        }
    }

    fn check_head(&mut self, number: usize) -> Result<(), String> {
        let Some(process) = &self.machines[number].process else { return Ok(()) };
        let view = process.desk.view();
        let header = &view.head().header;
        let (height, hash) = (header.height, header.hash());
        self.machines[number].shown = self.machines[number].shown.max(height);
        if *self.blocks.entry(height).or_insert(hash) == hash {
            Ok(())
        } else {
            Err(format!("machine {number} has another block at height {height}"))
        }
    }

    /// Asks who is ahead, as machines do that hear of it.
    fn catch_up(&mut self, number: usize) -> Result<(), String> {
        let clock = self.clock();
        let other = self.below(VALIDATORS as u64) as usize;
        let other_id = node_id(&self.machines[other].key);
        let Some(height) = self.machines[other].process.as_ref().map(|it| it.desk.view().height())
        else {
            return Ok(());
        };
        let Some(Process { desk, .. }) = &self.machines[number].process else { return Ok(()) };
        desk.act(|machine| machine.handle_height(other_id, height, clock));
        let Some((source, from)) = desk.act(|machine| machine.poll_behind(clock)) else {
            return Ok(());
        };
        let source = self.machines.iter().find(|machine| node_id(&machine.key) == source);
        let Some(source) = source.and_then(|source| source.process.as_ref()) else {
            return Ok(());
        };
        let form = Some(BlockForm::Compact);
        let view = source.desk.view();
        let (_, body) = answer_follow(&source.store, from, Some(view.snapshot()));
        let blocks = split_sent(&body, form).ok_or("the answer to Follow is malformed")?;
        let Some(Process { desk, writer, .. }) = &mut self.machines[number].process else {
            return Ok(());
        };
        match writer.catch_up(desk, clock, from, blocks) {
            Ok(()) => self.check_head(number),
            Err(error) => self.crash(number, &error),
        }
    }

    /// What became of the entries that were posted to a machine.
    fn collect(&mut self, number: usize) -> Result<(), String> {
        let Some(Process { desk, waiting, .. }) = &mut self.machines[number].process else {
            return Ok(());
        };
        for (chosen, entry, mut outcome) in std::mem::take(waiting) {
            let author = &mut self.authors[chosen];
            match outcome.try_recv() {
                Ok(Ok(place)) => {
                    self.acknowledged.push((entry, place.index));
                    author.sequence += 1;
                }
                Err(oneshot::error::TryRecvError::Empty) => waiting.push((chosen, entry, outcome)),
                Err(oneshot::error::TryRecvError::Closed) => author.posting = Some(entry),
                Ok(Err(refusal)) => {
                    if !refusal.to_string().contains("sequence number") {
                        return Err(format!("an entry is refused: {refusal}"));
                    }
                    let next = desk.view().state().next_sequence(&entry.author);
                    if entry.sequence < next {
                        // Final long ago, and its acknowledgement lost with a machine.
                        author.sequence = next;
                    } else {
                        author.posting = Some(entry);
                    }
                }
            }
        }
        Ok(())
    }

    fn is_at_rest(&self) -> bool {
        let running = self.machines.iter().filter_map(|machine| machine.process.as_ref());
        let views: Vec<_> = running.clone().map(|process| process.desk.view()).collect();
        let heads: BTreeSet<Digest32> =
            views.iter().map(|view| view.head().header.hash()).collect();
        views.len() == VALIDATORS
            && heads.len() == 1
            && running.clone().all(|process| process.waiting.is_empty())
            && self.authors.iter().all(|author| author.posting.is_none())
    }

    /// All that was acknowledged stands where it was said to stand, on every machine.
    fn judge(&self) -> Result<(), String> {
        for (number, machine) in self.machines.iter().enumerate() {
            let store = ChainStore::open(&machine.disk, crate::chain_store::CHAIN_FILE)
                .map_err(|error| error.to_string())?;
            store.replay(self.genesis.clone(), u64::MAX).map_err(|error| error.to_string())?;
            let mut entries = Vec::new();
            for height in 1..=store.height() {
                let block = store.block(height).map_err(|error| error.to_string())?;
                let block = block.ok_or("a block is missing")?.block;
                entries.extend(block.entries.into_iter().map(|salted| salted.entry));
            }
            for (entry, index) in &self.acknowledged {
                let count = entries.iter().filter(|other| *other == entry).count();
                if entries.get(*index as usize) != Some(entry) || count != 1 {
                    return Err(format!(
                        "machine {number}: an acknowledged entry is not at {index}"
                    ));
                }
            }
        }
        Ok(())
    }

    fn add_to(&self, figures: &mut Figures) {
        figures.cuts += self.cuts;
        figures.kills += self.kills;
        figures.faults.merge(&self.faults);
        figures.said += self.said.len() as u64;
        figures.acknowledged += self.acknowledged.len() as u64;
        figures.blocks += self.blocks.len() as u64;
        for machine in &self.machines {
            for (site, count) in machine.disk.sync_sites() {
                *figures.sync_sites.entry(site).or_default() += count;
            }
        }
    }

    fn clock(&self) -> Clock {
        Clock { elapsed: self.now, unix_millis: CREATED + self.now.as_millis() as u64 }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound
    }
}
