//! Replay of a stored chain, for whoever trusts nothing but the genesis.

use thiserror::Error;

use super::block::CertifiedBlock;
use super::block_error::BlockError;
use super::chain::Chain;
use super::genesis::{Genesis, GenesisError};

/// Replays stored blocks from the first and says where they break.
pub fn verify_from_genesis<B: AsRef<[u8]>>(
    genesis: Genesis,
    blocks: impl IntoIterator<Item = B>,
) -> Result<Chain, VerifyError> {
    let mut chain = Chain::new(genesis)?;
    for bytes in blocks {
        let height = chain.head().header.height + 1;
        let broken = |error| BrokenChain { height, error };
        let block =
            CertifiedBlock::from_bytes(bytes.as_ref()).map_err(|error| broken(error.into()))?;
        chain.apply(&block, None).map_err(broken)?;
    }
    Ok(chain)
}

/// Why a stored chain does not verify.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum VerifyError {
    /// The genesis is at fault.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// A block is at fault.
    #[error(transparent)]
    Block(#[from] BrokenChain),
}

/// Where a stored chain breaks, and why.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the chain breaks at height {height}: {error}")]
pub struct BrokenChain {
    /// The height at which the broken block stands.
    pub height: u64,
    /// What is wrong with it.
    pub error: BlockError,
}
