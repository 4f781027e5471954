//! Reading the ledger's blocks.

use anyhow::{Result, ensure};
use kakera_engine::ledger::CertifiedBlock;
use kakera_net::client::Client;

/// The blocks from one height to another, as the client's validators tell them.
pub(crate) async fn read_blocks(
    client: &Client,
    from: u64,
    to: u64,
) -> Result<Vec<CertifiedBlock>> {
    let mut blocks = Vec::new();
    let mut next = from;
    while next <= to {
        let page = client.blocks(next).await?;
        ensure!(!page.is_empty(), "the chain ends before height {next} of {to}");
        next += page.len() as u64;
        blocks.extend(page);
    }
    blocks.truncate((to + 1).saturating_sub(from) as usize);
    Ok(blocks)
}
