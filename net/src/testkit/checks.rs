//! What the check of a block gave to the first machine that made it.
//!
//! Every machine checks every block, most of which is its signatures: of hundreds in one thread all but
//! the first would find, at that price, the same.

use std::collections::BTreeMap;

use kakera_engine::ledger::{BlockError, CertifiedBlock, Chain, CheckedBlock, SentBlock};

use super::WORLD;

/// More than anybody is behind who takes blocks one by one.
const CHECKS_MAX: usize = 256;

/// By height, then by what was checked after which head.
pub(super) type Checks = BTreeMap<(u64, [u8; 32]), (CertifiedBlock, CheckedBlock)>;

/// As [`SentBlock::append_to`].
pub(crate) fn append(
    block: SentBlock,
    chain: &mut Chain,
    now: Option<u64>,
) -> Result<CertifiedBlock, BlockError> {
    let head = &chain.head().header;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&head.hash()).update(&block.to_bytes());
    let name = (head.height + 1, hasher.finalize().into());
    let known = WORLD.with_borrow(|world| world.as_ref()?.checks.get(&name).cloned());
    let (block, checked) = match known {
        Some(known) => known,
        None => {
            let checked = block.check(chain, now)?;
            WORLD.with_borrow_mut(|world| {
                let Some(world) = world else { return };
                world.checks.insert(name, checked.clone());
                if world.checks.len() > CHECKS_MAX {
                    world.checks.pop_first();
                }
            });
            checked
        }
    };
    chain.append_certified(checked, block.certificate.clone());
    Ok(block)
}
