//! Talking to the other validators: a queue and a task for each of them.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kakera_engine::names::NodeId;
use kakera_engine::wire::{Operation, Refusal, RefusalKind, Remark, Response};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tracing::{info, warn};

use super::service::Service;
use crate::exchange::Exchange;

/// Bytes of remarks sent at once, and kept for a validator that does not answer; the oldest give
/// way. What agreement needs is said again.
const BATCH_LEN_MAX: usize = 4 << 20;
const QUEUE_LEN_MAX: usize = 16 << 20;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a validator that has nothing to say tells its height.
const BEAT: Duration = Duration::from_secs(2);
/// Between attempts to reach one that does not answer, doubling.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What is on its way to the other validators.
#[derive(Default)]
pub(super) struct Peers(Mutex<BTreeMap<NodeId, Arc<Line>>>);

/// What waits for one validator.
#[derive(Default)]
struct Line {
    waiting: Mutex<Waiting>,
    filled: Notify,
    /// The other one speaks: it is worth another attempt.
    heard: Notify,
}

#[derive(Default)]
struct Waiting {
    remarks: VecDeque<Bytes>,
    length: usize,
}

impl Peers {
    /// Tells one other validator, or every one.
    pub(super) fn tell(&self, peer: Option<NodeId>, remark: &Remark) {
        let remark = Bytes::from(remark.to_bytes());
        let lines = self.lock();
        match peer {
            Some(peer) => lines.get(&peer).into_iter().for_each(|line| line.push(remark.clone())),
            None => lines.values().for_each(|line| line.push(remark.clone())),
        }
    }

    /// Another validator speaks, so it can be reached.
    pub(super) fn hear(&self, peer: &NodeId) {
        if let Some(line) = self.lock().get(peer) {
            line.heard.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Arc<Line>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn push(&self, remark: Bytes) {
        let mut waiting = self.lock();
        waiting.length += remark.len();
        waiting.remarks.push_back(remark);
        while waiting.length > QUEUE_LEN_MAX
            && let Some(oldest) = waiting.remarks.pop_front()
        {
            waiting.length -= oldest.len();
        }
        drop(waiting);
        self.filled.notify_one();
    }

    /// The oldest remarks, as many as fit.
    fn take(&self) -> Vec<Bytes> {
        let (mut waiting, mut taken, mut length) = (self.lock(), Vec::new(), 0);
        while let Some(next) = waiting.remarks.front()
            && (taken.is_empty() || length + next.len() <= BATCH_LEN_MAX)
            && let Some(next) = waiting.remarks.pop_front()
        {
            length += next.len();
            waiting.length -= next.len();
            taken.push(next);
        }
        taken
    }

    /// Waits until there is something to say.
    async fn fill(&self) {
        // A notice may be of what was taken since.
        while self.lock().remarks.is_empty() {
            self.filled.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service {
    /// Talks to whoever is of the validator set beside this one, as long as it lives.
    pub(super) async fn converse(self: Arc<Self>, exchange: Exchange) -> Infallible {
        let (mut tasks, mut talking) = (JoinSet::new(), BTreeMap::<NodeId, AbortHandle>::new());
        let mut views = self.desk.views();
        loop {
            let others = self.others(&views.take_newest());
            talking.retain(|peer, task| {
                let stays = others.contains(peer);
                if !stays {
                    task.abort();
                    self.peers.lock().remove(peer);
                }
                stays
            });
            for peer in others {
                talking.entry(peer).or_insert_with(|| {
                    let line = Arc::<Line>::default();
                    self.peers.lock().insert(peer, Arc::clone(&line));
                    tasks.spawn(Arc::clone(&self).talk_to(peer, line, exchange.clone()))
                });
            }
            // The sender is our own.
            let _ = views.changed().await;
        }
    }

    async fn talk_to(self: Arc<Self>, peer: NodeId, line: Arc<Line>, exchange: Exchange) {
        let (mut pause, mut reached) = (PAUSE_MIN, true);
        loop {
            let remarks = line.take();
            match self.confer_with(peer, &remarks, &exchange).await {
                Ok(head) => {
                    if !reached {
                        info!(%peer, "the other validator answers again");
                    }
                    (pause, reached) = (PAUSE_MIN, true);
                    self.hear_height(peer, head);
                    let _ = timeout(BEAT, line.fill()).await;
                }
                Err(why) => {
                    if reached {
                        warn!(%peer, %why, "another validator does not answer");
                    }
                    reached = false;
                    let _ = timeout(pause, line.heard.notified()).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// Says what there is to say, and gives the other's height.
    async fn confer_with(
        &self,
        peer: NodeId,
        remarks: &[Bytes],
        exchange: &Exchange,
    ) -> Result<u64, String> {
        let ask = async |operation: &Operation, body| {
            let answer = exchange.ask(peer, operation, body, PATIENCE, None).await;
            answer.map(|answer| answer.response).map_err(|failure| failure.to_string())
        };
        let head = self.desk.view().height();
        let body = Bytes::from(Remark::list(remarks));
        match ask(&Operation::Confer { head }, body).await? {
            Response::Conferred { head } => Ok(head),
            Response::Refused(Refusal { kind: RefusalKind::Denied, message }) => {
                // One of the two has not heard of a change of the validators.
                if let Response::Status(status) = ask(&Operation::Status, Bytes::new()).await? {
                    self.hear_height(peer, status.height);
                }
                Err(message)
            }
            Response::Refused(refusal) => Err(refusal.message),
            _ => Err("its answer does not fit the question".into()),
        }
    }
}
