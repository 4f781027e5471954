//! What happens to the machines.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use kakera_engine::ledger::{Group, Holder};
use kakera_engine::names::{GroupId, NodeId, Slot};
use kakera_engine::peer::Answer;
use kakera_engine::wire::Operation;
use kakera_net::clock::unix_milliseconds;
use kakera_net::node::FollowedLedger;
use kakera_net::testkit::Wire;
use kakera_net::testkit::network::{Lie, Machine, Network};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use tokio::time::{Instant, sleep};

use super::course::LOST_AFTER;
use crate::soak::{Deceit, Liar};

/// From one blow to the next.
const EVERY: Duration = Duration::from_secs(5);
/// Holders of a group that may be missing, the next victim included: so many that d of n are left.
const MISSING_MAX: usize = 3;
/// Parts whose bytes are changed at a time.
const ROTTEN_PARTS: usize = 3;
/// Who is back for less than this may not be heard: a validator asks every two seconds, and waits five
/// for an answer.
const HEARD_MS: u64 = 7000;
/// How often a machine is drawn that is to lie, until one has something to lie about.
const LIAR_DRAWS_MAX: usize = 20;

/// What befalls machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// A node's process ends, and starts again on its folder before it is lost.
    Crash,
    /// The same, but after it is lost.
    Absence,
    /// A node is gone for good; an empty one joins.
    Death,
    /// A validator's process ends, and starts again.
    ValidatorCrash,
    /// A tenth of the nodes and perhaps a validator are cut off, for less than it takes to be lost.
    Partition,
    /// A quarter of the nodes is cut off for longer.
    LongPartition,
    /// Bits of a node's disk change.
    Rot,
    /// It signs wrong pair symbols for newcomers.
    LieAboutSymbols,
    /// It sends wrong fragments.
    LieAboutFragments,
    /// It acknowledges parts and does not have them.
    LieAboutStorage,
    /// It helps with key shares that a refresh has replaced.
    LieWithOldShares,
}

impl Fault {
    pub(super) const ALL: [Self; 11] = [
        Self::Crash,
        Self::Absence,
        Self::Death,
        Self::ValidatorCrash,
        Self::Partition,
        Self::LongPartition,
        Self::Rot,
        Self::LieAboutSymbols,
        Self::LieAboutFragments,
        Self::LieAboutStorage,
        Self::LieWithOldShares,
    ];
    /// Those that strike again and again.
    const BLOWS: [Self; 7] = [
        Self::Crash,
        Self::Absence,
        Self::Death,
        Self::ValidatorCrash,
        Self::Partition,
        Self::Rot,
        Self::LongPartition,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Absence => "absence",
            Self::Death => "death",
            Self::ValidatorCrash => "validator_crash",
            Self::Partition => "partition",
            Self::LongPartition => "long_partition",
            Self::Rot => "rot",
            Self::LieAboutSymbols => "lie_about_symbols",
            Self::LieAboutFragments => "lie_about_fragments",
            Self::LieAboutStorage => "lie_about_storage",
            Self::LieWithOldShares => "lie_with_old_shares",
        }
    }

    fn of(deceit: Deceit) -> Self {
        match deceit {
            Deceit::Symbols => Self::LieAboutSymbols,
            Deceit::Fragments => Self::LieAboutFragments,
            Deceit::Storage => Self::LieAboutStorage,
            Deceit::OldShares => Self::LieWithOldShares,
        }
    }
}

/// What is to be undone later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Relief {
    Node(usize),
    Validator(usize),
    Heal,
}

/// A storm over a network.
pub(super) struct Storm {
    wire: Wire,
    ledger: Arc<FollowedLedger>,
    /// Groups that hold something: nobody can lie in the others, nor be found out.
    used: BTreeSet<GroupId>,
    random: ChaCha8Rng,
    faults: BTreeMap<Fault, usize>,
    reliefs: BTreeSet<(Instant, Relief)>,
    far_side: BTreeSet<NodeId>,
    dead: BTreeSet<NodeId>,
    liars: BTreeMap<NodeId, (Arc<Liar>, Arc<Told>)>,
    /// Who cannot be reached until then, and since when, Unix milliseconds.
    absent: BTreeMap<(Relief, NodeId), u64>,
    /// When nodes could not be reached, from and until, Unix milliseconds.
    absences: BTreeMap<NodeId, Vec<[u64; 2]>>,
}

/// How often a liar's answer was another than the true one.
type Told = AtomicUsize;

impl Storm {
    pub(super) fn new(
        seed: u64,
        wire: Wire,
        ledger: Arc<FollowedLedger>,
        used: BTreeSet<GroupId>,
    ) -> Self {
        Self {
            wire,
            ledger,
            used,
            random: ChaCha8Rng::seed_from_u64(seed ^ 0x5707),
            faults: BTreeMap::new(),
            reliefs: BTreeSet::new(),
            far_side: BTreeSet::new(),
            dead: BTreeSet::new(),
            liars: BTreeMap::new(),
            absent: BTreeMap::new(),
            absences: BTreeMap::new(),
        }
    }

    /// Makes some holders of slots lie, all of whose groups are used and whose lies can convict them:
    /// one of each kind, and one more for each hundred nodes.
    pub(super) async fn plant_liars(&mut self, network: &mut Network) -> Result<()> {
        let count = Deceit::ALL.len() * (1 + network.nodes().len() / 100);
        for deceit in Deceit::ALL.into_iter().cycle().take(count) {
            self.plant(deceit, network).await?;
        }
        Ok(())
    }

    async fn plant(&mut self, deceit: Deceit, network: &mut Network) -> Result<()> {
        for _ in 0..LIAR_DRAWS_MAX {
            let Some(victim) = self.draw_witnessed(network) else { return Ok(()) };
            network.crash_node(victim).await;
            let Machine { id, folder, .. } = &network.nodes()[victim];
            let liar = Arc::new(Liar::new(deceit, network.file().network_id(), folder)?);
            if !liar.is_provable() {
                network.start_node(victim);
                continue;
            }
            let told = Arc::new(Told::new(0));
            self.liars.insert(*id, (Arc::clone(&liar), Arc::clone(&told)));
            network.start_lying(victim, lie_of(liar, told));
            *self.faults.entry(Fault::of(deceit)).or_default() += 1;
            return Ok(());
        }
        Ok(())
    }

    /// Strikes for so long; in the end all machines run that are not gone for good.
    pub(super) async fn rage(&mut self, network: &mut Network, duration: Duration) {
        let (begun, mut number) = (Instant::now(), 0);
        let mut next = begun;
        while begun.elapsed() < duration {
            self.relieve(network, Instant::now());
            if next <= Instant::now() {
                // Each kind once before chance decides, so that short storms have all.
                let blow = match Fault::BLOWS.get(number) {
                    Some(blow) => *blow,
                    None => Fault::BLOWS[self.below(Fault::BLOWS.len() - 1)],
                };
                if self.strike(network, blow).await {
                    number += 1;
                    *self.faults.entry(blow).or_default() += 1;
                }
                next = Instant::now() + EVERY;
            }
            sleep(Duration::from_millis(500)).await;
        }
        while let Some((next, _)) = self.reliefs.first().copied() {
            tokio::time::sleep_until(next).await;
            self.relieve(network, Instant::now());
        }
    }

    pub(super) fn faults(&self) -> &BTreeMap<Fault, usize> {
        &self.faults
    }

    /// Who lies, and how often it did.
    pub(super) fn liars(&self) -> impl Iterator<Item = (&NodeId, Deceit, usize)> {
        let told = |told: &Told| told.load(Ordering::Relaxed);
        self.liars.iter().map(move |(id, (liar, count))| (id, liar.deceit(), told(count)))
    }

    /// For how long a node could not be heard at most, in a stretch that touches this span of Unix
    /// milliseconds.
    pub(super) fn absence(&self, node: &NodeId, span: [u64; 2]) -> Duration {
        let mut absences: Vec<[u64; 2]> =
            self.absences.get(node).into_iter().flatten().copied().collect();
        absences.sort_unstable();
        absences.dedup_by(|[from, until], before| {
            let same = *from < before[1].saturating_add(HEARD_MS);
            if same {
                before[1] = before[1].max(*until);
            }
            same
        });
        let touching = absences.iter().filter(|[from, until]| *from < span[1] && *until > span[0]);
        let longest = touching.map(|[from, until]| (*until).min(span[1]) - from).max();
        Duration::from_millis(longest.unwrap_or(0))
    }

    /// Whether every slot is whole, at a machine that runs and does not lie about it.
    pub(super) fn is_whole(&self, network: &Network) -> bool {
        self.gaps(network).is_empty()
    }

    /// The slots of which that is not so, and why.
    pub(super) fn gaps(&self, network: &Network) -> Vec<String> {
        let view = self.ledger.view();
        let running = running(network);
        let why = |group, slot, holder: &Holder| {
            let liar = self.liars.get(&holder.node).map(|(liar, _)| liar);
            if !running.contains(&holder.node) {
                Some("does not run".to_owned())
            } else if holder.is_filling() {
                Some("has not rebuilt it".to_owned())
            } else {
                let lying =
                    liar.filter(|liar| self.used.contains(&group) && liar.lies_about(group, slot));
                lying.map(|liar| format!("lies about {:?}", liar.deceit()))
            }
        };
        let of_group = |(id, group): (GroupId, &Arc<Group>)| {
            let slots = Slot::all(group.code.n).zip(&group.holders);
            let gap = |(slot, holder): (Slot, &Holder)| {
                let (why, node) = (why(id, slot, holder)?, holder.node);
                Some(format!("slot {slot} of group {id} did not become whole: {node} {why}"))
            };
            slots.filter_map(gap).collect::<Vec<_>>()
        };
        view.state().groups().flat_map(of_group).collect()
    }

    async fn strike(&mut self, network: &mut Network, blow: Fault) -> bool {
        match blow {
            Fault::Crash => {
                let Some(victim) = self.draw_node(network) else { return false };
                let lasting = Duration::from_millis(500 + self.below(8000) as u64);
                self.take_away(network, victim, lasting).await;
            }
            Fault::Absence => {
                let Some(victim) = self.draw_node(network) else { return false };
                self.take_away(network, victim, LOST_AFTER * 2).await;
            }
            Fault::Death => {
                let Some(victim) = self.draw_node(network) else { return false };
                let id = network.nodes()[victim].id;
                self.dead.insert(id);
                self.absences.entry(id).or_default().push([unix_milliseconds(), u64::MAX]);
                network.crash_node(victim).await;
                network.add_nodes(1).await;
            }
            Fault::ValidatorCrash => {
                if network.validators().iter().any(|validator| !validator.is_running()) {
                    return false;
                }
                let victim = self.below(network.validators().len());
                let lasting = Duration::from_millis(1000 + self.below(10_000) as u64);
                network.crash_validator(victim).await;
                self.reliefs.insert((Instant::now() + lasting, Relief::Validator(victim)));
            }
            Fault::Partition => return self.part(network, 10, LOST_AFTER * 2 / 5),
            Fault::LongPartition => return self.part(network, 4, LOST_AFTER * 2),
            Fault::Rot => return self.rot(network),
            Fault::LieAboutSymbols
            | Fault::LieAboutFragments
            | Fault::LieAboutStorage
            | Fault::LieWithOldShares => return false,
        }
        true
    }

    async fn take_away(&mut self, network: &mut Network, victim: usize, lasting: Duration) {
        let id = network.nodes()[victim].id;
        self.absent.insert((Relief::Node(victim), id), unix_milliseconds());
        network.crash_node(victim).await;
        self.reliefs.insert((Instant::now() + lasting, Relief::Node(victim)));
    }

    /// Cuts one of so many nodes off, and one of the validators where all of them run.
    fn part(&mut self, network: &Network, of: usize, lasting: Duration) -> bool {
        if !self.far_side.is_empty() {
            return false;
        }
        let count = network.nodes().len().div_ceil(of);
        let mut addresses: BTreeSet<IpAddr> = BTreeSet::new();
        let from = unix_milliseconds();
        for _ in 0..count {
            let machine = &network.nodes()[self.below(network.nodes().len())];
            if self.far_side.insert(machine.id) {
                addresses.insert(machine.address.ip());
                self.absent.insert((Relief::Heal, machine.id), from);
            }
        }
        if network.validators().iter().all(Machine::is_running) && self.below(2) == 0 {
            let validator = self.below(network.validators().len());
            addresses.insert(network.validators()[validator].address.ip());
        }
        self.wire.part(addresses);
        self.reliefs.insert((Instant::now() + lasting, Relief::Heal));
        true
    }

    fn relieve(&mut self, network: &mut Network, now: Instant) {
        while let Some((at, relief)) = self.reliefs.first().copied()
            && at <= now
        {
            self.reliefs.pop_first();
            let until = unix_milliseconds();
            for ((_, id), from) in self.absent.extract_if(.., |(of, _), _| *of == relief) {
                self.absences.entry(id).or_default().push([from, until]);
            }
            match relief {
                Relief::Node(number) => network.start_node(number),
                Relief::Validator(number) => network.start_validator(number),
                Relief::Heal => {
                    self.far_side.clear();
                    self.wire.heal();
                }
            }
        }
    }

    /// Changes a bit of a few parts.
    fn rot(&mut self, network: &Network) -> bool {
        let Some(victim) = self.draw_node(network) else { return false };
        let mut parts = Vec::new();
        collect_files(&network.nodes()[victim].folder.join("parts"), &mut parts);
        parts.sort();
        let mut changed = 0;
        for _ in 0..ROTTEN_PARTS.min(parts.len()) {
            let path = parts.swap_remove(self.below(parts.len()));
            let Ok(mut bytes) = fs::read(&path) else { continue };
            if !bytes.is_empty() {
                let place = self.below(bytes.len());
                bytes[place] ^= 1 << self.below(8);
                changed += usize::from(fs::write(&path, bytes).is_ok());
            }
        }
        changed > 0
    }

    /// A node that runs, does not lie, and whose groups bear that it is missing.
    fn draw_node(&mut self, network: &Network) -> Option<usize> {
        let eligible = self.eligible(network);
        self.draw(&eligible)
    }

    /// One of those, with nothing but slots of groups that are used.
    fn draw_witnessed(&mut self, network: &Network) -> Option<usize> {
        let view = self.ledger.view();
        let unused = view.state().groups().filter(|(id, _)| !self.used.contains(id));
        let unwitnessed: BTreeSet<NodeId> =
            unused.flat_map(|(_, group)| group.holders.iter().map(|holder| holder.node)).collect();
        let mut eligible = self.eligible(network);
        eligible.retain(|number| !unwitnessed.contains(&network.nodes()[*number].id));
        self.draw(&eligible)
    }

    fn draw(&mut self, eligible: &[usize]) -> Option<usize> {
        (!eligible.is_empty()).then(|| eligible[self.below(eligible.len())])
    }

    fn eligible(&self, network: &Network) -> Vec<usize> {
        let view = self.ledger.view();
        let reachable = self.reachable(network);
        let missing = |holder: &&Holder| {
            holder.is_filling()
                || !reachable.contains(&holder.node)
                || self.liars.contains_key(&holder.node)
        };
        let mut endangered: BTreeSet<NodeId> = BTreeSet::new();
        let mut holding: BTreeSet<NodeId> = BTreeSet::new();
        for (_, group) in view.state().groups() {
            let holders = group.holders.iter().map(|holder| holder.node);
            holding.extend(holders.clone());
            if group.holders.iter().filter(missing).count() >= MISSING_MAX {
                endangered.extend(holders);
            }
        }
        let numbered = network.nodes().iter().enumerate();
        numbered
            .filter(|(_, node)| {
                reachable.contains(&node.id)
                    && holding.contains(&node.id)
                    && !endangered.contains(&node.id)
                    && !self.liars.contains_key(&node.id)
            })
            .map(|(number, _)| number)
            .collect()
    }

    fn reachable(&self, network: &Network) -> BTreeSet<NodeId> {
        let mut reachable = running(network);
        reachable.retain(|id| !self.far_side.contains(id));
        reachable
    }

    fn below(&mut self, end: usize) -> usize {
        (self.random.next_u64() % end as u64) as usize
    }
}

fn running(network: &Network) -> BTreeSet<NodeId> {
    network.nodes().iter().filter(|node| node.is_running()).map(|node| node.id).collect()
}

fn lie_of(liar: Arc<Liar>, told: Arc<Told>) -> Lie {
    Arc::new(move |operation: &Operation, answer: &mut Answer| {
        let before = (answer.response.to_header(), answer.body.clone());
        liar.falsify(operation, answer);
        let lied = before != (answer.response.to_header(), answer.body.clone());
        told.fetch_add(lied.into(), Ordering::Relaxed);
    })
}

fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { collect_files(&path, files) } else { files.push(path) }
    }
}
