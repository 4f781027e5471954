//! The chain on disk: its blocks, a checkpoint that makes starting short, and the anchor that stands
//! for blocks that were dropped (`engine/spec/store.md` §6).
//!
//! Validators and their followers keep it alike. Record i of the log is the certified block of
//! height i + 1. The log proves that its bytes are those that were appended;
//! [`ChainStore::replay`] proves that they are the network's chain, [`ChainStore::load`] only that
//! the blocks after the newest checkpoint are, for those that this machine checked before.

mod checkpoint;
mod follow;
mod retention;
mod serving;

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use kakera_engine::ledger::{
    BlockError, BrokenChain, CertifiedBlock, Chain, Genesis, GenesisError,
};
use thiserror::Error;

use self::checkpoint::Checkpoint;
pub use self::checkpoint::{CHECKPOINT_LEN_MIN, Occasion};
pub use self::follow::{FOLLOW_LEN_MAX, answer_follow};
pub(crate) use self::follow::{split_blocks, split_changes, split_sent};
pub use self::serving::ChainServer;
use crate::random::random_salt;
use crate::store::block_log::{BlockLog, LogError};
use crate::store::disk::Disk;
use crate::store::snapshot_file::SnapshotFileError;

/// The log's file in a node's or validator's folder.
pub const CHAIN_FILE: &str = "chain.log";

/// A durable chain. All methods block on the disk; reading goes on beside other reading.
pub struct ChainStore<D: Disk> {
    disk: D,
    path: String,
    log: RwLock<BlockLog<D>>,
    truncated_bytes: u64,
    /// The newest checkpoint; held while one is written or blocks are dropped.
    checkpoint: Mutex<Checkpoint>,
}

/// Why a stored chain cannot be used.
#[derive(Debug, Error)]
pub enum ChainStoreError {
    /// The disk or the file is at fault.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The blocks are another network's, or were not checked by whoever appended them.
    #[error("{0}; try: move chain.log away and fetch the chain from the other machines")]
    Chain(#[from] BrokenChain),
    /// The network's parameters are at fault.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// Retention dropped the block. The caller is to blame.
    #[error(
        "the block of height {height} was dropped after the time that the network keeps blocks; \
         those from height {first} on are here"
    )]
    Dropped {
        /// The block.
        height: u64,
        /// The lowest height that is kept.
        first: u64,
    },
    /// A checkpoint or an anchor could not be written; what was there before stays.
    #[error("cannot write {path}: {error}")]
    Write {
        /// The file.
        path: String,
        /// What the disk said.
        error: io::Error,
    },
    /// The file that stands for the dropped blocks is missing, damaged or not theirs.
    #[error(
        "{path}, which stands for the blocks that were dropped: {fault}; try: restore the file, or \
         remove it with the log and fetch the chain anew"
    )]
    Anchor {
        /// The file.
        path: String,
        /// What is wrong with it.
        fault: AnchorFault,
    },
}

/// What is wrong with an anchor.
#[derive(Debug, Error)]
pub enum AnchorFault {
    /// It is not there.
    #[error("it is missing")]
    Missing,
    /// It is damaged, or not what the validators certified.
    #[error(transparent)]
    File(#[from] SnapshotFileError),
    /// It stands for another run of blocks than is missing.
    #[error("it stands for {0} blocks")]
    Height(u64),
}

impl<D: Disk> ChainStore<D> {
    /// Opens the chain in a file, or creates an empty one.
    pub fn open(disk: &D, path: &str) -> Result<Self, ChainStoreError> {
        let (log, recovery) = BlockLog::open(disk, path, random_salt())?;
        if recovery.truncated_bytes > 0 {
            tracing::warn!(bytes = recovery.truncated_bytes, "cut off an interrupted block");
        }
        let store = Self {
            disk: disk.clone(),
            path: path.to_owned(),
            log: RwLock::new(log),
            truncated_bytes: recovery.truncated_bytes,
            checkpoint: Mutex::default(),
        };
        store.finish_beginning()?;
        Ok(store)
    }

    /// Bytes at the log's end that were no whole blocks when it was opened, and were cut off: most
    /// often an append that was interrupted.
    pub fn truncated_bytes(&self) -> u64 {
        self.truncated_bytes
    }

    /// The height of the newest block; 0 if there is none.
    pub fn height(&self) -> u64 {
        self.read_log().len()
    }

    /// The lowest height whose block is kept, or will be: 1 unless blocks were dropped.
    pub fn first_height(&self) -> u64 {
        self.read_log().first() + 1
    }

    /// Verifies the blocks up to `height` from the genesis on, or from the anchor and back over the
    /// changes of the validator set, and gives the chain they make; all blocks if there are fewer.
    pub fn replay(&self, genesis: Genesis, height: u64) -> Result<Chain, ChainStoreError> {
        let mut chain = self.origin(&genesis)?;
        self.advance(&mut chain, height)?;
        Ok(chain)
    }

    /// Gives the chain that the blocks up to `height` make; all blocks if there are fewer. Verifies
    /// those after the newest checkpoint that is not above, which is believed about those before:
    /// this machine wrote it. One that is damaged is ignored.
    pub fn load(&self, genesis: Genesis, height: u64) -> Result<Chain, ChainStoreError> {
        let Some(mut chain) = self.read_checkpoint(&genesis, height) else {
            return self.replay(genesis, height);
        };
        self.advance(&mut chain, height)?;
        Ok(chain)
    }

    /// Applies the blocks after a chain's head up to `height`.
    fn advance(&self, chain: &mut Chain, height: u64) -> Result<(), ChainStoreError> {
        let height = height.min(self.height());
        while chain.head().header.height < height {
            let next = chain.head().header.height + 1;
            let left = usize::try_from(height - next + 1).unwrap_or(usize::MAX);
            for bytes in self.blocks(next, FOLLOW_LEN_MAX)?.iter().take(left) {
                let height = chain.head().header.height + 1;
                let block = decode_block(height, bytes)?;
                chain.apply(&block, None).map_err(|error| BrokenChain { height, error })?;
            }
        }
        Ok(())
    }

    /// Appends the blocks after the newest, which the caller has checked; durable on return.
    pub fn append(&self, blocks: &[CertifiedBlock]) -> Result<(), ChainStoreError> {
        let records: Vec<Vec<u8>> = blocks.iter().map(CertifiedBlock::to_bytes).collect();
        let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        Ok(self.write_log().append_batch(&records)?)
    }

    /// The block of a height; `None` beyond the newest, and for height 0.
    pub fn block(&self, height: u64) -> Result<Option<CertifiedBlock>, ChainStoreError> {
        let Some(index) = height.checked_sub(1) else { return Ok(None) };
        let bytes = self.read_log().read(index).map_err(in_heights)?;
        Ok(bytes.map(|bytes| decode_block(height, &bytes)).transpose()?)
    }

    /// The bytes of the blocks from height `from` on, as many as `max_bytes` hold, but one at least
    /// if there is one.
    pub fn blocks(&self, from: u64, max_bytes: usize) -> Result<Vec<Vec<u8>>, ChainStoreError> {
        self.read_log().read_range(from.max(1) - 1, max_bytes).map_err(in_heights)
    }

    fn read_log(&self) -> RwLockReadGuard<'_, BlockLog<D>> {
        self.log.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_log(&self) -> RwLockWriteGuard<'_, BlockLog<D>> {
        self.log.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_checkpoint(&self) -> MutexGuard<'_, Checkpoint> {
        self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file beside the log.
    fn beside(&self, extension: &str) -> String {
        let stem = self.path.strip_suffix(".log").unwrap_or(&self.path);
        format!("{stem}.{extension}")
    }
}

fn decode_block(height: u64, bytes: &[u8]) -> Result<CertifiedBlock, BrokenChain> {
    let broken = |error| BrokenChain { height, error: BlockError::Malformed(error) };
    CertifiedBlock::from_bytes(bytes).map_err(broken)
}

/// Records are counted from 0, blocks from 1.
fn in_heights(error: LogError) -> ChainStoreError {
    match error {
        LogError::Dropped { index, first } => {
            ChainStoreError::Dropped { height: index + 1, first: first + 1 }
        }
        other => other.into(),
    }
}
