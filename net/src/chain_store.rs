//! The chain's blocks on disk: record i of the log is the certified block of height i + 1.
//!
//! Validators and their followers keep it alike. The log proves that its bytes are those that were
//! appended; [`ChainStore::replay`] proves that they are the network's chain.

use std::sync::{PoisonError, RwLock};

use kakera_engine::ledger::{
    BlockError, BrokenChain, CertifiedBlock, Chain, Genesis, GenesisError,
};
use kakera_engine::wire::{BODY_LEN_MAX, Refusal, RefusalKind, Response};
use rand_core::Rng;
use thiserror::Error;

use crate::random::system_random;
use crate::store::block_log::{BlockLog, LogError};
use crate::store::disk::Disk;

/// The log's file in a node's or validator's folder.
pub const CHAIN_FILE: &str = "chain.log";
/// Most bytes of blocks in one answer.
pub const FOLLOW_LEN_MAX: usize = 4 << 20;
const _: () = assert!(FOLLOW_LEN_MAX < BODY_LEN_MAX);

/// A durable chain. All methods block on the disk; reading goes on beside other reading.
pub struct ChainStore<D: Disk> {
    log: RwLock<BlockLog<D>>,
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
}

impl<D: Disk> ChainStore<D> {
    /// Opens the chain in a file, or creates an empty one.
    pub fn open(disk: &D, path: &str) -> Result<Self, ChainStoreError> {
        let mut salt = [0; 32];
        system_random().fill_bytes(&mut salt);
        let (log, recovery) = BlockLog::open(disk, path, salt)?;
        if recovery.truncated_bytes > 0 {
            tracing::warn!(bytes = recovery.truncated_bytes, "cut off an interrupted block");
        }
        Ok(Self { log: RwLock::new(log) })
    }

    /// The height of the newest block; 0 if there is none.
    pub fn height(&self) -> u64 {
        self.log.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Verifies the first `height` blocks from the genesis on and gives the chain they make; all
    /// blocks if there are fewer.
    pub fn replay(&self, genesis: Genesis, height: u64) -> Result<Chain, ChainStoreError> {
        let mut chain = Chain::new(genesis)?;
        let height = height.min(self.height());
        while chain.head().header.height < height {
            let next = chain.head().header.height + 1;
            let left = usize::try_from(height - next + 1).unwrap_or(usize::MAX);
            for bytes in self.blocks(next, FOLLOW_LEN_MAX)?.iter().take(left) {
                let height = chain.head().header.height + 1;
                let broken = |error| BrokenChain { height, error };
                let block = CertifiedBlock::from_bytes(bytes);
                let block = block.map_err(|error| broken(BlockError::from(error)))?;
                chain.apply(&block, None).map_err(broken)?;
            }
        }
        Ok(chain)
    }

    /// Appends the blocks after the newest, which the caller has checked; durable on return.
    pub fn append(&self, blocks: &[CertifiedBlock]) -> Result<(), ChainStoreError> {
        let records: Vec<Vec<u8>> = blocks.iter().map(CertifiedBlock::to_bytes).collect();
        let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        let mut log = self.log.write().unwrap_or_else(PoisonError::into_inner);
        Ok(log.append_batch(&records)?)
    }

    /// The block of a height; `None` beyond the newest, and for height 0.
    pub fn block(&self, height: u64) -> Result<Option<CertifiedBlock>, ChainStoreError> {
        let Some(index) = height.checked_sub(1) else { return Ok(None) };
        let bytes = self.log.read().unwrap_or_else(PoisonError::into_inner).read(index)?;
        let broken = |error| BrokenChain { height, error: BlockError::Malformed(error) };
        Ok(bytes.map(|bytes| CertifiedBlock::from_bytes(&bytes).map_err(broken)).transpose()?)
    }

    /// The bytes of the blocks from height `from` on, as many as `max_bytes` hold, but one at least
    /// if there is one.
    pub fn blocks(&self, from: u64, max_bytes: usize) -> Result<Vec<Vec<u8>>, ChainStoreError> {
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner);
        Ok(log.read_range(from.max(1) - 1, max_bytes)?)
    }
}

/// Answers a `Follow` at once from what is stored; the body is the blocks from height `from` on.
pub fn answer_follow<D: Disk>(chain: &ChainStore<D>, from: u64) -> (Response, Vec<u8>) {
    // Taken before the blocks: a head that is too low only makes the asker ask once more.
    let head = chain.height();
    match chain.blocks(from, FOLLOW_LEN_MAX) {
        Ok(blocks) => (Response::Blocks { head }, join_blocks(&blocks)),
        Err(error) => {
            tracing::error!(%error, "cannot read the chain");
            let refusal = Refusal::new(RefusalKind::Damaged, "the chain kept here is damaged");
            (Response::Refused(refusal), Vec::new())
        }
    }
}

/// Each block after its length in four bytes, big endian.
fn join_blocks(blocks: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::with_capacity(blocks.iter().map(|block| 4 + block.len()).sum());
    for block in blocks {
        // A block has about 1 MiB at most.
        body.extend_from_slice(&(block.len() as u32).to_be_bytes());
        body.extend_from_slice(block);
    }
    body
}

/// The inverse of the body of [`answer_follow`]; `None` if it is malformed.
pub(crate) fn split_blocks(mut body: &[u8]) -> Option<Vec<CertifiedBlock>> {
    let mut blocks = Vec::new();
    while !body.is_empty() {
        let (length, rest) = body.split_first_chunk()?;
        let (block, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        blocks.push(CertifiedBlock::from_bytes(block).ok()?);
        body = rest;
    }
    Some(blocks)
}
