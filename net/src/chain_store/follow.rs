//! Blocks on their way: what answers a `Follow`.

use kakera_engine::ledger::CertifiedBlock;
use kakera_engine::wire::{BODY_LEN_MAX, Refusal, RefusalKind, Response};

use super::{ChainStore, ChainStoreError};
use crate::store::disk::Disk;

/// Most bytes of blocks in one answer.
pub const FOLLOW_LEN_MAX: usize = 4 << 20;
const _: () = assert!(FOLLOW_LEN_MAX < BODY_LEN_MAX);

/// Answers a `Follow` at once from what is stored; the body is the blocks from height `from` on.
pub fn answer_follow<D: Disk>(chain: &ChainStore<D>, from: u64) -> (Response, Vec<u8>) {
    // Taken before the blocks: a head that is too low only makes the asker ask once more.
    let head = chain.height();
    match chain.blocks(from, FOLLOW_LEN_MAX) {
        Ok(blocks) => (Response::Blocks { head }, join_blocks(&blocks)),
        Err(error @ ChainStoreError::Dropped { .. }) => {
            (Response::Refused(Refusal::new(RefusalKind::NotFound, error.to_string())), Vec::new())
        }
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
