//! Retention: blocks below the floor that the network agreed on are dropped. In their place stays the
//! anchor: the chain after the last of them, and the headers with certificates over which the
//! validator set came there from the genesis. From it on everything can be verified as before.
//!
//! The anchor is durable before a block is dropped, so at every moment the log begins with the block
//! after the anchor's or an earlier one.

use kakera_engine::ledger::{Chain, Genesis, LightClient, SetChange, Snapshot};

use super::{AnchorFault, ChainStore, ChainStoreError, FOLLOW_LEN_MAX};
use crate::random::random_salt;
use crate::store::block_log::LogCopy;
use crate::store::disk::Disk;
use crate::store::snapshot_file::{SnapshotFile, write_snapshot};

const EXTENSION: &str = "anchor";

impl<D: Disk> ChainStore<D> {
    /// Drops the blocks below height `floor`, but never the newest one; durable on return.
    ///
    /// Verifies what is dropped once more, and writes what stays into a new file: space for that
    /// must be free. Others read and append meanwhile. On an error nothing is lost.
    pub fn drop_below(&self, genesis: &Genesis, floor: u64) -> Result<(), ChainStoreError> {
        let _alone = self.lock_checkpoint();
        let last = floor.min(self.height()).saturating_sub(1);
        if last < self.first_height() {
            return Ok(());
        }
        let (mut chain, mut changes) = self.origin(genesis)?;
        self.advance(&mut chain, last, |chain| changes.extend(chain.set_change()))?;
        let path = self.beside(EXTENSION);
        write_snapshot(&self.disk, &path, &Snapshot::of(&chain), &changes)
            .map_err(|error| ChainStoreError::Write { path, error })?;
        self.shorten(last)
    }

    /// Drops the records before `first`, of which there is one that stays.
    fn shorten(&self, first: u64) -> Result<(), ChainStoreError> {
        let mut copy = LogCopy::begin(&self.disk, &self.path, random_salt(), first)?;
        loop {
            let blocks = self.blocks(copy.next() + 1, FOLLOW_LEN_MAX)?;
            if blocks.is_empty() {
                break;
            }
            copy.add(&blocks)?;
        }
        // Most of it while others still append.
        copy.sync()?;
        let mut log = self.write_log();
        copy.add(&log.read_range(copy.next(), usize::MAX)?)?;
        copy.sync()?;
        Ok(log.replace(&self.disk, copy)?)
    }

    /// The chain from which the kept blocks are verified, and the changes of the validator set
    /// before its head.
    pub(super) fn origin(
        &self,
        genesis: &Genesis,
    ) -> Result<(Chain, Vec<SetChange>), ChainStoreError> {
        if self.first_height() == 1 {
            return Ok((Chain::new(genesis.clone())?, Vec::new()));
        }
        let (path, client) = (self.beside(EXTENSION), LightClient::new(genesis.clone())?);
        let read = self.read_anchor(&path, client, genesis);
        read.map_err(|fault| ChainStoreError::Anchor { path, fault })
    }

    /// Checks that the anchor stands for all blocks that are missing, and that it was certified by
    /// the set to which its changes lead from the genesis.
    fn read_anchor(
        &self,
        path: &str,
        mut client: LightClient,
        genesis: &Genesis,
    ) -> Result<(Chain, Vec<SetChange>), AnchorFault> {
        let file = SnapshotFile::open(&self.disk, path)?.ok_or(AnchorFault::Missing)?;
        let changes = file.changes().to_vec();
        changes.iter().try_for_each(|change| client.follow(change))?;
        client.check_certified(file.base().head())?;
        let height = file.base().head().header.height;
        if height + 1 < self.first_height() || height > self.height() {
            return Err(AnchorFault::Height(height));
        }
        Ok((file.read(genesis.clone())?, changes))
    }
}
