//! Keeping a copy of the chain: whom to get it from, and how (`engine/spec/sync.md`).
//!
//! A [`Replica`] is the copy: verified, durable, shown. [`heads`] asks who has what and ranks them,
//! [`delta`] takes the blocks that are missing, [`gather`] the chain after a checkpoint where too
//! many are missing. Nobody is believed: a source can withhold, not invent.

mod delta;
mod error;
mod gather;
mod heads;
mod replica;

use std::collections::BTreeSet;
use std::sync::Arc;

use kakera_engine::names::NodeId;
use tracing::warn;

pub(crate) use self::delta::take_blocks;
pub use self::error::SyncError;
pub use self::gather::{Gathering, gather};
pub(crate) use self::heads::{
    Heads, Source, ask_heads, ask_set_changes, attested_head, rank, without_circles,
};
pub use self::replica::Replica;
use crate::exchange::Exchange;

/// Blocks that a chain must be behind, so that a snapshot is gathered.
pub const GATHER_BLOCKS_MIN: u64 = 256;

/// How far a copy has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The newest height that is durable here.
    pub height: u64,
    /// The height that a source proved to have.
    pub target: u64,
    /// From whom it comes.
    pub source: NodeId,
}

/// Brings a copy up to the best head that a candidate proves, from one after another: the best one
/// first, the next where it fails, each beginning where the last ended. Gives the height.
///
/// Fails if nobody is left while blocks are missing; what was taken is durable, and the next call
/// goes on from there.
pub async fn catch_up(
    replica: &Arc<Replica>,
    candidates: &[NodeId],
    exchange: &Exchange,
    mut progress: impl FnMut(Progress),
) -> Result<u64, SyncError> {
    let mut failed = BTreeSet::new();
    let mut last = SyncError::NoSource;
    loop {
        let heads = ask_heads(candidates, exchange).await;
        let ranked = rank(replica, heads.asked, exchange).await;
        let Some(best) = ranked.iter().find(|source| !failed.contains(&source.node)) else {
            return Err(last);
        };
        if best.height <= replica.height() {
            return Ok(replica.height());
        }
        let taken = take_up_to(replica, best, exchange, &mut progress).await;
        if let Err(error) = taken {
            if error.is_our_own() || matches!(error, SyncError::Dropped(_)) {
                return Err(error);
            }
            warn!(source = %best.node, %error, "trying another source");
            failed.insert(best.node);
            last = error;
        }
    }
}

async fn take_up_to(
    replica: &Arc<Replica>,
    source: &Source,
    exchange: &Exchange,
    progress: &mut impl FnMut(Progress),
) -> Result<(), SyncError> {
    while replica.height() < source.height {
        let before = replica.height();
        take_blocks(replica, source.node, exchange, false).await?;
        if replica.height() == before {
            return Err(SyncError::Withheld(source.height));
        }
        let (height, target) = (replica.height(), source.height);
        progress(Progress { height, target, source: source.node });
    }
    Ok(())
}
