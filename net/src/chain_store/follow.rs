//! Blocks on their way: what answers a `Follow`.

use kakera_engine::ledger::{CertifiedBlock, SentBlock, SetChange, Snapshot};
use kakera_engine::wire::{BODY_LEN_MAX, BlockForm, Refusal, RefusalKind, Response};

use super::{ChainStore, ChainStoreError, decode_block};
use crate::store::disk::Disk;

/// Most bytes of blocks in one answer.
pub const FOLLOW_LEN_MAX: usize = 4 << 20;
const _: () = assert!(FOLLOW_LEN_MAX < BODY_LEN_MAX);

/// Answers a `Follow` at once from what is stored; the body is the blocks from height `from` on,
/// compact where `known` knows their validators, if it is given.
pub fn answer_follow<D: Disk>(
    chain: &ChainStore<D>,
    from: u64,
    known: Option<&Snapshot>,
) -> (Response, Vec<u8>) {
    // Taken before the blocks: a head that is too low only makes the asker ask once more.
    let head = chain.height();
    let blocks = chain.blocks(from, FOLLOW_LEN_MAX).and_then(|blocks| match known {
        None => Ok(blocks),
        Some(known) => (from.max(1)..).zip(blocks).map(|block| to_sent(block, known)).collect(),
    });
    match blocks {
        Ok(blocks) => (Response::Blocks { head }, join(&blocks)),
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

fn to_sent((height, bytes): (u64, Vec<u8>), known: &Snapshot) -> Result<Vec<u8>, ChainStoreError> {
    let block = decode_block(height, &bytes)?;
    let validators = known.validators(&block.block.header.validators);
    Ok(SentBlock::of(block, validators).to_bytes())
}

/// Each item after its length in four bytes, big endian.
pub(super) fn join(items: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::with_capacity(items.iter().map(|item| 4 + item.len()).sum());
    for item in items {
        // A block has about 1 MiB at most.
        body.extend_from_slice(&(item.len() as u32).to_be_bytes());
        body.extend_from_slice(item);
    }
    body
}

/// The blocks of an answer to a `Follow` without form; `None` if the body is malformed.
pub(crate) fn split_blocks(body: &[u8]) -> Option<Vec<CertifiedBlock>> {
    split(body, |bytes| CertifiedBlock::from_bytes(bytes).ok())
}

/// The blocks of an answer to a `Follow` that asked for a form; `None` if the body is malformed.
pub(crate) fn split_sent(body: &[u8], form: Option<BlockForm>) -> Option<Vec<SentBlock>> {
    match form {
        Some(BlockForm::Compact) => split(body, |bytes| SentBlock::from_bytes(bytes).ok()),
        None => split(body, |bytes| {
            CertifiedBlock::from_bytes(bytes).ok().map(Box::new).map(SentBlock::Whole)
        }),
    }
}

/// The changes of an answer to a `SetChanges`; `None` if the body is malformed.
pub(crate) fn split_changes(body: &[u8]) -> Option<Vec<SetChange>> {
    split(body, |bytes| SetChange::from_bytes(bytes).ok())
}

/// The inverse of [`join`].
fn split<T>(mut body: &[u8], decode: impl Fn(&[u8]) -> Option<T>) -> Option<Vec<T>> {
    let mut items = Vec::new();
    while !body.is_empty() {
        let (length, rest) = body.split_first_chunk()?;
        let (item, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        items.push(decode(item)?);
        body = rest;
    }
    Some(items)
}
