//! Why a copy of the chain does not go on for the moment.

use kakera_engine::ledger::{BaseError, BlockError, GenesisError, HeadError, RefusedChunk};
use kakera_engine::peer::AskFailure;
use kakera_engine::wire::{Refusal, RefusalKind, Response};
use thiserror::Error;

use crate::chain_store::ChainStoreError;

/// Why the copy does not go on. Unless said otherwise the source is to blame; the chain kept here is
/// unchanged but for the good blocks that came before.
#[derive(Debug, Error)]
pub enum SyncError {
    /// No answer.
    #[error("{0}")]
    Ask(#[from] AskFailure),
    /// It said no.
    #[error("it refused: {} ({:?})", .0.message, .0.kind)]
    Refused(Refusal),
    /// It no longer has the next block, which nobody need keep; a snapshot is the way on.
    #[error("it refused: {0}")]
    Dropped(String),
    /// It answered something else.
    #[error("its answer does not fit the question")]
    Unfitting,
    /// A block is wrong.
    #[error("block {height}: {error}")]
    Block {
        /// Its height.
        height: u64,
        /// What is wrong.
        error: BlockError,
    },
    /// The validators are to blame, or our disk.
    #[error(
        "it certified a second block at height {0}: THE CHAIN IS FORKED; keep both machines' files and call the operator"
    )]
    Fork(u64),
    /// It proved to have this height and does not send the blocks.
    #[error("it proved to have height {0} and does not send the blocks")]
    Withheld(u64),
    /// Its head is not to be believed.
    #[error("{0}")]
    Head(#[from] HeadError),
    /// Its snapshot is not to be believed.
    #[error("its snapshot: {0}")]
    Base(#[from] BaseError),
    /// A chunk of its snapshot is wrong.
    #[error("{0}")]
    Chunk(#[from] RefusedChunk),
    /// Nobody is to blame: there is nobody to ask.
    #[error("no machine that can be reached has more of the chain")]
    NoSource,
    /// Our network file.
    #[error("our own network file: {0}")]
    Genesis(#[from] GenesisError),
    /// Our disk.
    #[error("our own disk: {0}")]
    Store(#[from] ChainStoreError),
}

impl SyncError {
    /// Whether another source would change nothing.
    pub fn is_our_own(&self) -> bool {
        matches!(self, Self::Genesis(_) | Self::Store(_))
    }

    /// Whether somebody must look at it.
    pub fn is_grave(&self) -> bool {
        self.is_our_own() || matches!(self, Self::Block { .. } | Self::Fork(_) | Self::Chunk(_))
    }

    /// The failure of an answer that is not the one that was asked for.
    pub(super) fn of_other(response: Response) -> Self {
        match response {
            Response::Refused(refusal) if refusal.kind == RefusalKind::NotFound => {
                Self::Dropped(refusal.message)
            }
            Response::Refused(refusal) => Self::Refused(refusal),
            _ => Self::Unfitting,
        }
    }
}
