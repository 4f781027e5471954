//! The chain after a checkpoint, from several machines at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kakera_engine::ledger::{Chain, ChunkError, Genesis, Prefix, SnapshotAssembly, SnapshotBase};
use kakera_engine::names::NodeId;
use kakera_engine::wire::{Operation, Response};
use tokio::task::JoinSet;
use tracing::{debug, error, info};

use super::heads::ask_set_changes;
use super::{Replica, SyncError};
use crate::blocking::blocking;
use crate::exchange::Exchange;

/// Questions that one source is asked at a time: the next is on its way while a chunk is checked.
const QUESTIONS_MAX: usize = 4;
/// How long to wait for a base or a chunk.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A snapshot that is being gathered. What is here stays when all sources fail, so that it can go on
/// with others.
pub(crate) struct Gathering {
    height: u64,
    assembly: Arc<Mutex<SnapshotAssembly>>,
    /// Who is asked.
    sources: BTreeSet<NodeId>,
}

/// What a machine offers.
type Offer = (NodeId, SnapshotBase);

/// The chain after a snapshot that is at least `least` blocks ahead of the chain kept here; `None` if
/// nobody offers one.
///
/// An interrupted gathering is left in `interrupted`, where the next call finds it. Those who send
/// something false are put among the `faulty`, with the reason, and asked no more.
pub(crate) async fn gather(
    replica: &Replica,
    least: u64,
    nodes: &[NodeId],
    interrupted: &mut Option<Gathering>,
    faulty: &mut BTreeMap<NodeId, String>,
    exchange: &Exchange,
) -> Result<Option<Chain>, SyncError> {
    let mut gathering = match interrupted.take() {
        Some(gathering) => gathering,
        None => {
            let mut offers = offers(replica, least, nodes, exchange).await;
            offers.retain(|(node, _)| !faulty.contains_key(node));
            if offers.is_empty() {
                return Ok(None);
            }
            Gathering::begin(&replica.network().genesis, offers, faulty, exchange).await?
        }
    };
    match gathering.run(nodes, faulty, exchange).await {
        Ok(()) => Ok(gathering.finish()),
        // Nobody has this snapshot any more.
        Err(error @ SyncError::Dropped(_)) => Err(error),
        Err(error) => {
            *interrupted = Some(gathering);
            Err(error)
        }
    }
}

/// The bases of snapshots that are at least `least` blocks ahead of the chain kept here, the highest
/// first; not verified.
async fn offers(
    replica: &Replica,
    least: u64,
    nodes: &[NodeId],
    exchange: &Exchange,
) -> Vec<Offer> {
    let mut questions = JoinSet::new();
    for node in nodes.iter().copied() {
        let exchange = exchange.clone();
        questions.spawn(async move { (node, ask_base(node, &exchange).await) });
    }
    let (least, mut offers) = (replica.height() + least, Vec::new());
    while let Some(answer) = questions.join_next().await {
        match answer {
            Ok((node, Ok(base))) if base.head().header.height >= least => offers.push((node, base)),
            Ok((node, Ok(_))) => debug!(%node, "its snapshot is too near"),
            Ok((node, Err(error))) => debug!(%node, %error, "no snapshot"),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
    offers.sort_by_key(|(_, base)| std::cmp::Reverse(base.head().header.height));
    offers
}

async fn ask_base(node: NodeId, exchange: &Exchange) -> Result<SnapshotBase, SyncError> {
    let answer = exchange.ask(node, &Operation::Snapshot, Bytes::new(), TIMEOUT, None).await?;
    match answer.response {
        Response::Snapshot(base) => Ok(*base),
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
            let Some((node, chunk)) = questions.next().await else { return Err(last) };
            let taken = match chunk {
                Ok(chunk) => self.take(node, chunk).await,
                Err(error) => Err(error),
            };
            if let Err(error) = taken {
                match &error {
                    SyncError::Chunk(refused) if refused.error != ChunkError::Overlap => {
                        error!(source = %node, %error, "a false chunk of a snapshot");
                        faulty.insert(node, refused.error.to_string());
                    }
                    _ => debug!(source = %node, %error, "gathering goes on without it"),
                }
                self.sources.remove(&node);
                self.lock().handle_silence(&node);
                last = error;
            } else if questions.under_way(&node) == 0 {
                // It may have sent what it was not asked for.
                self.lock().handle_silence(&node);
            }
        }
        Ok(())
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

fn lock(assembly: &Mutex<SnapshotAssembly>) -> MutexGuard<'_, SnapshotAssembly> {
    assembly.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Questions for chunks under way. Dropping them cancels them.
struct Questions {
    height: u64,
    exchange: Exchange,
    tasks: JoinSet<(NodeId, Result<Bytes, SyncError>)>,
    under_way: BTreeMap<NodeId, usize>,
}

impl Questions {
    fn new(height: u64, exchange: &Exchange) -> Self {
        let (tasks, under_way) = (JoinSet::new(), BTreeMap::new());
        Self { height, exchange: exchange.clone(), tasks, under_way }
    }

    fn under_way(&self, node: &NodeId) -> usize {
        self.under_way.get(node).copied().unwrap_or(0)
    }

    fn ask(&mut self, node: NodeId, within: Prefix) {
        *self.under_way.entry(node).or_default() += 1;
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

    /// The next answer; `None` if nothing is under way.
    async fn next(&mut self) -> Option<(NodeId, Result<Bytes, SyncError>)> {
        match self.tasks.join_next().await? {
            Ok((node, chunk)) => {
                self.under_way.entry(node).and_modify(|count| *count -= 1);
                Some((node, chunk))
            }
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}
