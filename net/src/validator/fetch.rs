//! Catching up: blocks from a validator that has more of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use kakera_engine::ledger::SentBlock;
use kakera_engine::names::NodeId;
use kakera_engine::wire::{BlockForm, Operation, Response};

use super::service::Service;
use crate::chain_store::split_sent;
use crate::exchange::Exchange;

/// How long an answer may take; a validator that only follows waits so long for a new block.
const PATIENCE: Duration = Duration::from_secs(8);
/// After a question in vain of a validator that only follows.
const PAUSE: Duration = Duration::from_millis(500);

/// Blocks from a source, from a height on, and how many it says that there are.
pub(super) struct Fetched {
    pub(super) source: NodeId,
    pub(super) head: u64,
    pub(super) from: u64,
    pub(super) blocks: Vec<SentBlock>,
}

impl Service {
    /// Whom to ask for blocks now, if anybody, and from which height on.
    pub(super) fn poll_fetch(&self) -> Option<(NodeId, u64)> {
        let clock = self.desk.clock();
        if let Some(question) = self.desk.act(|machine| machine.poll_behind(clock)) {
            return Some(question);
        }
        let view = self.desk.view();
        if view.state().validators().contains(&self.id) {
            return None;
        }
        // Not of the set: nobody tells it that there is more.
        let sources = view.state().validators();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % sources.0.len();
        let source = sources.0.keys().nth(turn)?;
        Some((*source, self.durable_height() + 1))
    }

    /// Asks for blocks, from rules version 2 on for compact ones. `None` if there is no answer of use.
    pub(super) async fn fetch(
        self: Arc<Self>,
        exchange: Exchange,
        (source, from): (NodeId, u64),
    ) -> Option<Fetched> {
        let form = (self.desk.view().state().version() >= 2).then_some(BlockForm::Compact);
        let operation = Operation::Follow { from, acknowledged: None, form };
        let answer = exchange.ask(source, &operation, Bytes::new(), PATIENCE, None).await;
        let fetched = answer.ok().and_then(|answer| match answer.response {
            Response::Blocks { head } => {
                Some(Fetched { source, head, from, blocks: split_sent(&answer.body, form)? })
            }
            _ => None,
        });
        if fetched.is_none() {
            tokio::time::sleep(PAUSE).await;
        }
        fetched
    }
}
