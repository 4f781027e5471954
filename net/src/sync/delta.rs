//! The blocks that are missing, from one source.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kakera_engine::ledger::FollowAck;
use kakera_engine::names::NodeId;
use kakera_engine::wire::{BlockForm, Operation, Response};

use super::{Replica, SyncError};
use crate::blocking::blocking;
use crate::chain_store::split_sent;
use crate::exchange::Exchange;

/// How long a poll lasts at most; also how long the silent death of a source goes unnoticed.
const POLL_TIMEOUT: Duration = Duration::from_secs(8);

/// Asks `source` for the blocks after ours and takes them; a validator answers when there is one or
/// after a while without any. `acknowledge` tells it what is durable here. Gives the height that
/// the source had when it answered.
///
/// From rules version 2 on blocks come compact. One that is wrong is asked for once more as a whole:
/// only its own header shows whether the sender lies or the chain is forked.
pub(crate) async fn take_blocks(
    replica: &Arc<Replica>,
    source: NodeId,
    exchange: &Exchange,
    acknowledge: bool,
) -> Result<u64, SyncError> {
    let form = (replica.view().state().version() >= 2).then_some(BlockForm::Compact);
    match take(replica, source, exchange, acknowledge, form).await {
        Err(SyncError::Block { .. }) if form.is_some() => {
            take(replica, source, exchange, false, None).await
        }
        taken => taken,
    }
}

async fn take(
    replica: &Arc<Replica>,
    source: NodeId,
    exchange: &Exchange,
    acknowledge: bool,
    form: Option<BlockForm>,
) -> Result<u64, SyncError> {
    let view = replica.view();
    let head = &view.head().header;
    let acknowledged = (acknowledge && head.height > 0).then(|| FollowAck::of(head));
    let operation = Operation::Follow { from: head.height + 1, acknowledged, form };
    let answer = exchange.ask(source, &operation, Bytes::new(), POLL_TIMEOUT, None).await?;
    let Response::Blocks { head } = answer.response else {
        return Err(SyncError::of_other(answer.response));
    };
    if answer.body.is_empty() {
        return Ok(head);
    }
    let replica = Arc::clone(replica);
    blocking(move || {
        let blocks = split_sent(&answer.body, form);
        replica.append(blocks.ok_or(SyncError::Unfitting)?)
    })
    .await?;
    Ok(head)
}
