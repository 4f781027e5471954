//! Follows the ledger: takes blocks from whoever has them, checks and keeps every one, and tells a
//! validator that decides alone so, which is what makes entries final (`engine/spec/validator.md`,
//! `engine/spec/sync.md`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kakera_engine::ledger::{HeadError, Node, ValidatorSet};
use kakera_engine::names::NodeId;
use rand_core::Rng;
use tokio::time::{Instant, timeout};
use tracing::{error, info, warn};

use crate::blocking::blocking;
use crate::chain_store::{ChainServer, ChainStoreError};
use crate::chain_view::ChainView;
use crate::exchange::{AddressBook, Exchange};
use crate::network_file::NetworkFile;
use crate::random::system_random;
use crate::store::disk::OsDisk;
use crate::sync::{
    GATHER_BLOCKS_MIN, Gathering, Heads, Replica, SyncError, ask_heads, attested_head, gather,
    rank, take_blocks, without_circles,
};
use crate::upkeep::Upkeep;
use crate::watch;

/// A tenth of the age at which a view proves nothing any more.
const ATTESTATION_INTERVAL: Duration = Duration::from_secs(60);
/// A follower of several validators asks no more often than this for what came since: a busy network
/// makes many blocks a second, and each of its machines would ask for every one of them.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// How often a follower of several validators looks whether others have more than its source sends.
const COURSE_INTERVAL: Duration = Duration::from_secs(20);
/// How long an attested head may take to arrive.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(8);
/// How long a source that failed comes after all others.
const SHUNNED_FOR: Duration = Duration::from_secs(30);
/// Storage nodes that are asked for blocks besides the validators.
const STORAGE_NODES_MAX: usize = 3;
/// Between attempts, doubling from the least to the most, each shortened by up to a half at random.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// The ledger as this node follows it. Readers get the newest [`ChainView`] and never wait for the
/// disk.
pub struct FollowedLedger {
    replica: Arc<Replica>,
    last_failure: Mutex<Option<String>>,
}

/// Where a follower stands between its attempts.
struct Course {
    pause: Duration,
    /// Who failed, and when that is forgotten.
    shunned: BTreeMap<NodeId, Instant>,
    /// Who sent false snapshots, and what was false.
    faulty: BTreeMap<NodeId, String>,
    /// Kept over an interruption.
    gathering: Option<Gathering>,
    /// The next block is dropped wherever it was looked for.
    dropped: bool,
}

impl FollowedLedger {
    /// Opens the chain kept in the folder and verifies what came after its checkpoint.
    pub fn open(disk: &OsDisk, network: NetworkFile) -> Result<Self, ChainStoreError> {
        let replica = Arc::new(Replica::open(disk, network)?);
        Ok(Self { replica, last_failure: Mutex::default() })
    }

    /// Writes checkpoints and drops what need not be kept, until it is told to end.
    pub(super) fn start_upkeep(&self) -> Upkeep {
        let genesis = self.replica.network().genesis.clone();
        Upkeep::start(Arc::clone(self.replica.store()), genesis, self.replica.views())
    }

    /// The newest view. What it shows is durable here.
    pub fn view(&self) -> Arc<ChainView> {
        self.replica.view()
    }

    /// The newest view, whenever there is another.
    pub(super) fn views(&self) -> watch::Receiver<Arc<ChainView>> {
        self.replica.views()
    }

    /// The newest height.
    pub fn height(&self) -> u64 {
        self.replica.height()
    }

    /// Why the last attempt to follow failed; `None` while following goes well.
    pub fn last_failure(&self) -> Option<String> {
        self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives others what is kept here.
    pub fn server(&self) -> &ChainServer<OsDisk> {
        self.replica.server()
    }

    /// Follows until dropped: one source as long as it answers well, then the next.
    pub async fn follow(self: Arc<Self>, exchange: Exchange) {
        let mut course = Course {
            pause: PAUSE_MIN,
            shunned: BTreeMap::new(),
            faulty: BTreeMap::new(),
            gathering: None,
            dropped: false,
        };
        loop {
            if let Err(failure) = self.catch_up_by_snapshot(&mut course, &exchange).await {
                self.tell(&format!("gathering a snapshot: {failure}"), &failure);
            }
            match self.choose(&course, &exchange).await {
                Some((source, leads)) => {
                    let followed = self.follow_one((source, leads), &exchange, &mut course);
                    let Err(failure) = followed.await else { continue };
                    course.dropped = matches!(failure, SyncError::Dropped(_));
                    course.shunned.insert(source, Instant::now() + SHUNNED_FOR);
                    self.tell(&format!("{source}: {failure}"), &failure);
                }
                None => self.tell("no validator can be reached", &SyncError::NoSource),
            }
            let shortened = system_random().next_u32() % 500;
            tokio::time::sleep(course.pause * (1000 - shortened) / 1000).await;
            course.pause = (course.pause * 2).min(PAUSE_MAX);
        }
    }

    fn tell(&self, told: &str, failure: &SyncError) {
        if failure.is_grave() {
            error!("{told}");
        } else {
            warn!("{told}");
        }
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(told.to_owned());
    }

    /// Whom to follow. A validator that decides alone is followed whatever it says: it says nothing
    /// before its followers have confirmed its newest block. Of several, and of storage nodes that
    /// follow them, the one with the best proved head, or the nearest of those; and whether it may be
    /// followed without being ahead. Validators may, since they answer when there is a block and need
    /// not be asked over and over; where none of them answers, storage nodes with a smaller id, so that
    /// no circle of followers comes about, in which all wait for each other.
    async fn choose(&self, course: &Course, exchange: &Exchange) -> Option<(NodeId, bool)> {
        let candidates = self.candidates(exchange);
        let (now, shunned) = (Instant::now(), &course.shunned);
        let forgiven = |node: &&NodeId| shunned.get(node).is_none_or(|until| *until <= now);
        let first = |nodes: &[NodeId]| {
            let first = nodes.iter().find(forgiven);
            first.or_else(|| nodes.iter().min_by_key(|node| shunned.get(node))).copied()
        };
        if self.sole_validator().is_some() {
            return Some((first(&candidates)?, true));
        }
        let heads = ask_heads(&candidates, exchange).await;
        let ranked = rank(&self.replica, heads.asked, exchange).await;
        let view = self.view();
        let decides = |node: NodeId| view.state().validators().contains(&node);
        let reached = ranked.iter().any(|source| decides(source.node));
        let leads = |source| decides(source) || !reached && source < exchange.id();
        let ranked = without_circles(ranked, self.height(), leads);
        let ranked: Vec<NodeId> = ranked.iter().map(|source| source.node).collect();
        let chosen = first(&ranked)?;
        Some((chosen, leads(chosen)))
    }

    /// The validator that decides alone on the next block, or did on the newest: then it waits for
    /// its followers' acknowledgements.
    fn sole_validator(&self) -> Option<NodeId> {
        let view = self.view();
        let of_newest = view.snapshot().validators(&view.head().header.validators);
        let sets = [of_newest, Some(view.state().validators())];
        let alone = sets.into_iter().flatten().find(|set| set.0.len() == 1)?;
        alone.0.keys().next().copied()
    }

    /// Who may have blocks: the deciders and, where several decide, some storage nodes.
    fn candidates(&self, exchange: &Exchange) -> Vec<NodeId> {
        let mut candidates = self.deciders(exchange);
        if self.sole_validator().is_none() {
            let view = self.view();
            let may_be_asked = |node: &Node| {
                let id = &node.join.node;
                node.takes_slots() && *id != exchange.id() && !candidates.contains(id)
            };
            let storage = view.state().nodes().filter(may_be_asked);
            let mut storage: Vec<NodeId> = storage.map(|node| node.join.node).collect();
            while storage.len() > STORAGE_NODES_MAX {
                let place = system_random().next_u32() as usize % storage.len();
                storage.swap_remove(place);
            }
            candidates.extend(storage);
        }
        candidates
    }

    /// One that decides alone, the validators of the next block, and those of the network file.
    fn deciders(&self, exchange: &Exchange) -> Vec<NodeId> {
        let view = self.view();
        let mut deciders = Vec::from_iter(self.sole_validator());
        let of_state = view.state().validators().0.keys();
        for decider in of_state.chain(self.replica.network().addresses.keys()) {
            if !deciders.contains(decider) {
                deciders.push(*decider);
            }
        }
        deciders.retain(|node| *node != exchange.id() && view.address(node).is_some());
        deciders
    }

    /// Gathers a snapshot and goes on from it, if there is no chain here, or blocks are missing that
    /// nobody keeps, and others are far ahead.
    async fn catch_up_by_snapshot(
        &self,
        course: &mut Course,
        exchange: &Exchange,
    ) -> Result<(), SyncError> {
        if self.height() > 0 && !course.dropped {
            return Ok(());
        }
        let candidates = self.candidates(exchange);
        let least = if course.dropped { 1 } else { GATHER_BLOCKS_MIN };
        let Course { gathering, faulty, .. } = course;
        let Some(chain) =
            gather(&self.replica, least, &candidates, gathering, faulty, exchange).await?
        else {
            return Ok(());
        };
        let height = chain.head().header.height;
        let replica = Arc::clone(&self.replica);
        blocking(move || replica.begin_after(chain)).await?;
        course.dropped = false;
        info!(height, "the chain begins after a snapshot");
        Ok(())
    }

    /// Follows one source until it fails, or others are to be looked at.
    async fn follow_one(
        &self,
        (source, leads): (NodeId, bool),
        exchange: &Exchange,
        course: &mut Course,
    ) -> Result<(), SyncError> {
        let sole = self.sole_validator();
        let alone = sole.is_some();
        let polling = async {
            while self.sole_validator() == sole {
                let (asked, ours) = (Instant::now(), self.height());
                let head =
                    take_blocks(&self.replica, source, exchange, sole == Some(source)).await?;
                course.pause = PAUSE_MIN;
                *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
                // One that decides alone waits for its followers, and who is behind waits for nothing.
                if !alone && self.height() >= head {
                    if !leads {
                        // It was chosen because it proved to have more.
                        let has_sent = self.height() > ours;
                        return has_sent.then_some(()).ok_or(SyncError::Withheld(head));
                    }
                    tokio::time::sleep_until(asked + POLL_INTERVAL).await;
                }
            }
            Ok(())
        };
        // Beside the polls: a validator that restarted attests nothing before they let it.
        tokio::select! {
            biased;
            ended = polling => ended,
            ended = self.keep_attested(source, exchange), if alone => ended,
            ended = self.keep_course(exchange), if !alone => ended,
        }
    }

    /// Lets the validator attest its head from time to time, until it attests another chain.
    async fn keep_attested(&self, validator: NodeId, exchange: &Exchange) -> Result<(), SyncError> {
        loop {
            let heads = ask_heads(&[validator], exchange).await;
            // If it is gone, the polls tell.
            let pause = match heads.asked.is_empty() || !self.attest(&heads).await? {
                true => PAUSE_MIN,
                false => ATTESTATION_INTERVAL,
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Lets validators attest their head from time to time, until somebody proved to have more than the
    /// source sends.
    async fn keep_course(&self, exchange: &Exchange) -> Result<(), SyncError> {
        let (mut height, mut proved) = (0, 0);
        // Each node begins with other validators.
        let mut look = usize::from(exchange.id().0[0]);
        loop {
            let heads = self.ask_witnesses(look, exchange).await?;
            self.attest(&heads).await?;
            if self.height() < proved && self.height() == height {
                return Err(SyncError::Withheld(proved));
            }
            height = self.height();
            let ranked = rank(&self.replica, heads.asked, exchange).await;
            proved = ranked.iter().map(|source| source.height).max().unwrap_or(0);
            look = look.wrapping_add(1);
            tokio::time::sleep(COURSE_INTERVAL).await;
        }
    }

    /// Heads of so many validators that one of them is honest, of others with each look; of all
    /// deciders if those attest nothing, and of storage nodes where no validator answers.
    async fn ask_witnesses(&self, look: usize, exchange: &Exchange) -> Result<Heads, SyncError> {
        let deciders = self.deciders(exchange);
        let view = self.view();
        let some = witnesses(view.state().validators(), &deciders, look);
        let heads = ask_heads(&some, exchange).await;
        if attested_head(&self.replica.light_client()?, &heads).is_ok() {
            return Ok(heads);
        }
        let heads = ask_heads(&deciders, exchange).await;
        if !heads.asked.is_empty() {
            return Ok(heads);
        }
        Ok(ask_heads(&self.candidates(exchange), exchange).await)
    }

    /// Shows the chain as attested, if enough validators say of a head that arrives here that it is
    /// the newest. Whether that was so.
    async fn attest(&self, heads: &Heads) -> Result<bool, SyncError> {
        let (head, time) = match attested_head(&self.replica.light_client()?, heads) {
            Ok(attested) => attested,
            // The set may change before the head; or some validators are one block further.
            Err(HeadError::UnknownValidators { .. } | HeadError::Unattested(_)) => {
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        };
        let mut views = self.replica.views();
        let arrival = views.wait_for(|view| view.height() >= head.height);
        if timeout(ARRIVAL_TIMEOUT, arrival).await.is_err() {
            return Ok(false);
        }
        self.replica.check_head(head).await?;
        self.replica.publish(|view| view.attested(time));
        Ok(true)
    }
}

/// Validators that can be reached and have more than a third of the power together, the first of them
/// another one with each look.
fn witnesses(set: &ValidatorSet, reachable: &[NodeId], look: usize) -> Vec<NodeId> {
    let validators: Vec<NodeId> =
        set.0.keys().filter(|validator| reachable.contains(validator)).copied().collect();
    let first = look.checked_rem(validators.len()).unwrap_or(0);
    let (mut chosen, mut some) = (Vec::new(), BTreeSet::new());
    for validator in validators[first..].iter().chain(&validators[..first]) {
        if set.vouches(&some) {
            break;
        }
        some.insert(*validator);
        chosen.push(*validator);
    }
    chosen
}

impl AddressBook for FollowedLedger {
    fn address(&self, node: &NodeId) -> Option<SocketAddr> {
        self.view().address(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_the_witnesses_is_honest_and_all_have_their_turn() {
        let node = |number| NodeId([number; 32]);
        let numbers = |nodes: Vec<NodeId>| nodes.iter().map(|node| node.0[0]).collect::<Vec<_>>();
        let set = ValidatorSet((0..4).map(|number| (node(number), 1)).collect());
        let all: Vec<NodeId> = (0..5).rev().map(node).collect();
        let looks = |reachable: &[NodeId]| -> Vec<Vec<u8>> {
            (3..7).map(|look| numbers(witnesses(&set, reachable, look))).collect()
        };
        assert_eq!(looks(&all), [[3, 0], [0, 1], [1, 2], [2, 3]]);
        assert_eq!(looks(&[node(2)]), [[2], [2], [2], [2]]);
        assert!(witnesses(&set, &[], 3).is_empty());
        let heavy = ValidatorSet([(node(0), 2), (node(1), 7), (node(2), 1)].into());
        assert_eq!(numbers(witnesses(&heavy, &all, 1)), [1]);
        assert_eq!(numbers(witnesses(&heavy, &all, 2)), [2, 0, 1]);
    }
}
