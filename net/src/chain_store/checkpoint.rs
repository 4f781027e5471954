//! Checkpoints: the chain after a block in a file, so that a start need not replay what came before.
//!
//! A checkpoint is a cache. The log is the truth, and says with the header of the same height
//! whether a checkpoint is its own.

use kakera_engine::ledger::{Chain, Genesis, Snapshot};
use thiserror::Error;

use super::{ChainStore, ChainStoreError};
use crate::store::disk::Disk;
use crate::store::snapshot_file::{SnapshotFile, SnapshotFileError, write_snapshot};

/// Bytes of blocks after a checkpoint that are worth another one, at least.
pub const CHECKPOINT_LEN_MIN: u64 = 4 << 20;
/// At a clean end a checkpoint is taken for so many times less.
const ENDING_DIVISOR: u64 = 16;
const EXTENSION: &str = "checkpoint";

/// When somebody asks whether a checkpoint should be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// The chain grows.
    Running,
    /// The process ends; the next one starts sooner for it.
    Ending,
}

/// The newest checkpoint; all zeros if there is none that can be used.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Checkpoint {
    height: u64,
    length: u64,
}

/// Why a checkpoint is ignored.
#[derive(Debug, Error)]
enum Ignored {
    #[error(transparent)]
    File(#[from] SnapshotFileError),
    #[error("it is of height {0}, which is not in the log")]
    NotInLog(u64),
    #[error("it is of another chain than the log")]
    OtherChain,
}

impl<D: Disk> ChainStore<D> {
    /// Whether a checkpoint of `height` should be written: not before the blocks since the last one
    /// have as many bytes as that has, so that checkpoints write no more than the blocks do.
    pub fn is_checkpoint_due(&self, height: u64, occasion: Occasion) -> bool {
        let last = *self.lock_checkpoint();
        let log = self.read_log();
        let since = log.bytes_before(height).saturating_sub(log.bytes_before(last.height));
        let enough = last.length.max(CHECKPOINT_LEN_MIN);
        match occasion {
            Occasion::Running => since >= enough,
            Occasion::Ending => since >= enough / ENDING_DIVISOR,
        }
    }

    /// Writes a checkpoint in place of the last one; durable on return. Its block is in the log.
    pub fn write_checkpoint(&self, snapshot: &Snapshot) -> Result<(), ChainStoreError> {
        let mut last = self.lock_checkpoint();
        let path = self.beside(EXTENSION);
        let length = write_snapshot(&self.disk, &path, snapshot)
            .map_err(|error| ChainStoreError::Write { path, error })?;
        *last = Checkpoint { height: snapshot.height(), length };
        Ok(())
    }

    /// The chain of the checkpoint, unless there is none that is good and not above `height`.
    pub(super) fn read_checkpoint(&self, genesis: &Genesis, height: u64) -> Option<Chain> {
        let path = self.beside(EXTENSION);
        let file = SnapshotFile::open(&self.disk, &path).map_err(Ignored::from);
        let read = file.transpose()?.and_then(|file| self.check_checkpoint(file, genesis, height));
        let warn = |reason: &Ignored| {
            tracing::warn!(%path, %reason, "ignoring a checkpoint; the start takes longer");
        };
        read.inspect_err(warn).ok()
    }

    fn check_checkpoint(
        &self,
        file: SnapshotFile<D>,
        genesis: &Genesis,
        height: u64,
    ) -> Result<Chain, Ignored> {
        let (head, length) = (file.base().head(), file.length());
        let at = head.header.height;
        let block = if at <= height { self.block(at).ok().flatten() } else { None };
        let Some(block) = block else { return Err(Ignored::NotInLog(at)) };
        if block.block.header != head.header || block.certificate != head.certificate {
            return Err(Ignored::OtherChain);
        }
        let chain = file.read(genesis.clone())?;
        *self.lock_checkpoint() = Checkpoint { height: at, length };
        Ok(chain)
    }
}
