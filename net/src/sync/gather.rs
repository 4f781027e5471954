//! The chain after a checkpoint, from several machines at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kakera_engine::ledger::{Chain, ChunkError, Genesis, Prefix, SnapshotAssembly, SnapshotBase};
use kakera_engine::names::NodeId;
use kakera_engine::wire::{Operation, Response};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, error, info};

use super::heads::{ask_all, ask_heads, ask_set_changes, speaks_new_forms};
use super::{Replica, SyncError};
use crate::blocking::blocking;
use crate::exchange::Exchange;

/// Questions that one source is asked at a time: the next is on its way while a chunk is checked.
const QUESTIONS_MAX: usize = 4;
/// How long a source may be silent before others are asked for what it was asked for.
const STALL: Duration = Duration::from_secs(3);
/// How long a machine without a chain waits for a head that shows which requests it may send.
const FORMS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to wait for a base or a chunk.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A snapshot that is being gathered. What is here stays when all sources fail, so that it can go on
/// with others.
pub struct Gathering {
    height: u64,
    assembly: Arc<Mutex<SnapshotAssembly>>,
    /// Who is asked.
    sources: BTreeSet<NodeId>,
}

/// What a machine offers.
type Offer = (NodeId, SnapshotBase);

/// The chain after a snapshot that is at least `least` blocks ahead of the chain kept here; `None` if
/// nobody offers one. Nobody is asked who may not know the question, which came with rules version 2.
///
/// An interrupted gathering is left in `interrupted`, where the next call finds it. Those who send
/// something false are put among the `faulty`, with the reason, and asked no more.
pub async fn gather(
    replica: &Replica,
    least: u64,
    nodes: &[NodeId],
    interrupted: &mut Option<Gathering>,
    faulty: &mut BTreeMap<NodeId, String>,
    exchange: &Exchange,
) -> Result<Option<Chain>, SyncError> {
    if replica.view().state().version() < 2 && !know_new_forms(nodes, exchange).await {
        return Ok(None);
    }
    let mut offers = ask_all(nodes, |node| {
        let exchange = exchange.clone();
        async move { ask_base(node, &exchange).await }
    })
    .await;
    offers.retain(|(node, _)| !faulty.contains_key(node));
    let sources: Vec<NodeId> = offers.iter().map(|(node, _)| *node).collect();
    let mut gathering = match interrupted.take() {
        Some(gathering) => gathering,
        None => {
            let height = |(_, base): &Offer| base.head().header.height;
            let least = replica.height() + least;
            offers.retain(|offer| height(offer) >= least);
            if offers.is_empty() {
                return Ok(None);
            }
            offers.sort_by_key(|offer| std::cmp::Reverse(height(offer)));
            Gathering::begin(&replica.network().genesis, offers, faulty, exchange).await?
        }
    };
    match gathering.run(&sources, faulty, exchange).await {
        Ok(()) => Ok(gathering.finish()),
        // Nobody has this snapshot any more.
        Err(error @ SyncError::Dropped(_)) => Err(error),
        Err(error) => {
            *interrupted = Some(gathering);
            Err(error)
        }
    }
}

/// Whether one of these machines follows rules of version 2 or newer.
async fn know_new_forms(nodes: &[NodeId], exchange: &Exchange) -> bool {
    let asked = timeout(FORMS_TIMEOUT, ask_heads(nodes, exchange)).await;
    asked.is_ok_and(|heads| heads.asked.iter().any(|asked| speaks_new_forms(&asked.head)))
}

async fn ask_base(node: NodeId, exchange: &Exchange) -> Result<Offer, SyncError> {
    let answer = exchange.ask(node, &Operation::Snapshot, Bytes::new(), TIMEOUT, None).await?;
    match answer.response {
        Response::Snapshot(base) => Ok((node, *base)),
        other => Err(SyncError::of_other(other)),
    }
}

impl Gathering {
    /// Begins with the highest base that is good: one whose head is certified by the set to which
    /// the sender's set changes lead from the genesis. Those who sent others are put among the
    /// `faulty`.
    async fn begin(
        genesis: &Genesis,
        offers: Vec<Offer>,
        faulty: &mut BTreeMap<NodeId, String>,
        exchange: &Exchange,
    ) -> Result<Self, SyncError> {
        let mut last = SyncError::NoSource;
        for (node, base) in offers {
            let below = base.head().header.height;
            let changes = match ask_set_changes(node, 0, below, exchange).await {
                Ok(changes) => changes,
                Err(error) => {
                    last = error;
                    continue;
                }
            };
            match SnapshotAssembly::new(genesis.clone(), base, changes) {
                Ok(assembly) => {
                    let assembly = Arc::new(Mutex::new(assembly));
                    return Ok(Self { height: below, assembly, sources: BTreeSet::new() });
                }
                Err(refused) => {
                    error!(source = %node, error = %refused, "a false snapshot");
                    faulty.insert(node, refused.to_string());
                    last = refused.into();
                }
            }
        }
        Err(last)
    }

    /// Gathers what is missing from all of `sources` at once and gives the chain. Those who send
    /// something wrong are put among the `faulty` and asked no more; those who do not answer, or
    /// have another snapshot, are left out. If nobody is left, this can be called again.
    async fn run(
        &mut self,
        sources: &[NodeId],
        faulty: &mut BTreeMap<NodeId, String>,
        exchange: &Exchange,
    ) -> Result<(), SyncError> {
        self.sources.iter().for_each(|node| self.lock().handle_silence(node));
        self.sources = sources.iter().filter(|node| !faulty.contains_key(node)).copied().collect();
        info!(height = self.height, sources = self.sources.len(), "gathering a snapshot");
        let mut questions = Questions::new(self.height, exchange);
        let mut last = SyncError::NoSource;
        while !self.lock().is_complete() {
            self.ask_all(&mut questions);
            match questions.next(self.sources.len() > 1).await {
                Next::Nothing => return Err(last),
                Next::Stalled(node) => {
                    debug!(source = %node, "asking others for what it does not send");
                    self.leave_out(&node);
                }
                Next::Answer(node, chunk) => {
                    let taken = match chunk {
                        Ok(chunk) => self.take(node, chunk).await,
                        Err(error) => Err(error),
                    };
                    if let Err(error) = taken {
                        blame(node, &error, faulty);
                        self.leave_out(&node);
                        last = error;
                    } else if questions.under_way(&node) == 0 {
                        // It may have sent what it was not asked for.
                        self.lock().handle_silence(&node);
                    }
                }
            }
        }
        Ok(())
    }

    fn leave_out(&mut self, node: &NodeId) {
        self.sources.remove(node);
        self.lock().handle_silence(node);
    }

    /// The chain; all of it is here.
    fn finish(self) -> Option<Chain> {
        let assembly = Arc::into_inner(self.assembly)?;
        assembly.into_inner().unwrap_or_else(PoisonError::into_inner).finish()
    }

    fn ask_all(&mut self, questions: &mut Questions) {
        loop {
            let mut asked = false;
            for node in &self.sources {
                if questions.under_way(node) < QUESTIONS_MAX
                    && let Some(within) = self.lock().poll_request(*node)
                {
                    questions.ask(*node, within);
                    asked = true;
                }
            }
            if !asked {
                return;
            }
        }
    }

    /// Checks a chunk, which takes a while, off the threads that move packets.
    async fn take(&self, node: NodeId, chunk: Bytes) -> Result<(), SyncError> {
        let assembly = Arc::clone(&self.assembly);
        let taken = blocking(move || lock(&assembly).handle_chunk(node, &chunk)).await;
        Ok(taken?)
    }

    fn lock(&self) -> MutexGuard<'_, SnapshotAssembly> {
        lock(&self.assembly)
    }
}

fn blame(node: NodeId, error: &SyncError, faulty: &mut BTreeMap<NodeId, String>) {
    match error {
        SyncError::Chunk(refused) if refused.error != ChunkError::Overlap => {
            error!(source = %node, %error, "a false chunk of a snapshot");
            faulty.insert(node, refused.error.to_string());
        }
        _ => debug!(source = %node, %error, "gathering goes on without it"),
    }
}

fn lock(assembly: &Mutex<SnapshotAssembly>) -> MutexGuard<'_, SnapshotAssembly> {
    assembly.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Questions for chunks under way. Dropping them cancels them.
struct Questions {
    height: u64,
    exchange: Exchange,
    tasks: JoinSet<(NodeId, Result<Bytes, SyncError>)>,
    under_way: BTreeMap<NodeId, UnderWay>,
}

struct UnderWay {
    count: usize,
    /// When the last answer came, or the first question left.
    since: Instant,
}

enum Next {
    Answer(NodeId, Result<Bytes, SyncError>),
    /// This source has not answered for a while.
    Stalled(NodeId),
    /// Nothing is under way.
    Nothing,
}

impl Questions {
    fn new(height: u64, exchange: &Exchange) -> Self {
        let (tasks, under_way) = (JoinSet::new(), BTreeMap::new());
        Self { height, exchange: exchange.clone(), tasks, under_way }
    }

    fn under_way(&self, node: &NodeId) -> usize {
        self.under_way.get(node).map_or(0, |under_way| under_way.count)
    }

    fn ask(&mut self, node: NodeId, within: Prefix) {
        let new = || UnderWay { count: 0, since: Instant::now() };
        self.under_way.entry(node).or_insert_with(new).count += 1;
        let (height, exchange) = (self.height, self.exchange.clone());
        self.tasks.spawn(async move {
            let operation = Operation::SnapshotChunk { height, within };
            let asked = exchange.ask(node, &operation, Bytes::new(), TIMEOUT, None).await;
            let chunk = match asked {
                Ok(answer) if matches!(answer.response, Response::SnapshotChunk) => Ok(answer.body),
                Ok(answer) => Err(SyncError::of_other(answer.response)),
                Err(failure) => Err(failure.into()),
            };
            (node, chunk)
        });
    }

    /// What happens next; that somebody stalls only where there are others.
    async fn next(&mut self, others: bool) -> Next {
        let oldest = self.under_way.iter().min_by_key(|(_, under_way)| under_way.since);
        let stalling = oldest.filter(|_| others).map(|(node, oldest)| (*node, oldest.since));
        let answer = self.tasks.join_next();
        let answer = match stalling {
            None => answer.await,
            Some((node, since)) => match timeout_at(since + STALL, answer).await {
                Ok(answer) => answer,
                Err(_) => {
                    self.under_way.remove(&node);
                    return Next::Stalled(node);
                }
            },
        };
        match answer {
            None => Next::Nothing,
            Some(Ok((node, chunk))) => {
                if let Some(under_way) = self.under_way.get_mut(&node) {
                    (under_way.count, under_way.since) = (under_way.count - 1, Instant::now());
                    if under_way.count == 0 {
                        self.under_way.remove(&node);
                    }
                }
                Next::Answer(node, chunk)
            }
            Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}
