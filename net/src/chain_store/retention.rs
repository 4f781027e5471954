//! Retention: blocks below the floor that the network agreed on are dropped. In their place stays the
//! anchor: the chain after the last of them, and the headers with certificates over which the
//! validator set came there from the genesis. From it on everything can be verified as before.
//!
//! The anchor is durable before a block is dropped, so at every moment the log begins with the block
//! after the anchor's or an earlier one. A chain that begins with a snapshot that was gathered from
//! others is kept in the same way: the anchor, and a log that begins after it.

use kakera_engine::ledger::{Chain, Genesis, Snapshot};

use super::{AnchorFault, ChainStore, ChainStoreError, FOLLOW_LEN_MAX};
use crate::random::random_salt;
use crate::store::block_log::{LogCopy, LogError};
use crate::store::disk::Disk;
use crate::store::snapshot_file::{SnapshotFile, SnapshotFileError, write_snapshot};

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
        let mut chain = self.origin(genesis)?;
        self.advance(&mut chain, last)?;
        self.write_anchor(&Snapshot::of(&chain))?;
        self.shorten(last)
    }

    /// Begins anew after a snapshot above the newest block, in place of all that is kept; durable on
    /// return. Whoever calls has verified it from the genesis on.
    ///
    /// After a power cut there is the one or the other, from the moment on that the anchor is durable
    /// the new beginning.
    pub fn begin_after(&self, snapshot: &Snapshot) -> Result<(), ChainStoreError> {
        let mut checkpoint = self.lock_checkpoint();
        if snapshot.height() <= self.height() {
            let fault = AnchorFault::Height(snapshot.height());
            return Err(ChainStoreError::Anchor { path: self.beside(EXTENSION), fault });
        }
        self.write_anchor(snapshot)?;
        *checkpoint = Default::default();
        self.empty_log(snapshot.height())
    }

    /// What [`ChainStore::begin_after`] left to do when it was interrupted.
    pub(super) fn finish_beginning(&self) -> Result<(), ChainStoreError> {
        let path = self.beside(EXTENSION);
        let file = match SnapshotFile::open(&self.disk, &path) {
            Ok(Some(file)) => file,
            Err(SnapshotFileError::Io(error)) => return Err(LogError::from(error).into()),
            // One that is damaged is judged when it is needed.
            Ok(None) | Err(_) => return Ok(()),
        };
        let height = file.base().head().header.height;
        if height > self.height() && file.is_intact().map_err(LogError::from)? {
            tracing::warn!(height, "finishing to begin after a snapshot");
            // The anchor's name is durable: opening the log beside it has synced the directory.
            self.empty_log(height)?;
        }
        Ok(())
    }

    fn write_anchor(&self, snapshot: &Snapshot) -> Result<(), ChainStoreError> {
        let path = self.beside(EXTENSION);
        write_snapshot(&self.disk, &path, snapshot)
            .map(drop)
            .map_err(|error| ChainStoreError::Write { path, error })
    }

    /// Replaces the log by one without records that begins after block `height`.
    fn empty_log(&self, height: u64) -> Result<(), ChainStoreError> {
        let copy = LogCopy::begin(&self.disk, &self.path, random_salt(), height)?;
        copy.sync()?;
        Ok(self.write_log().replace(&self.disk, copy)?)
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

    /// The chain from which the kept blocks are verified.
    pub(super) fn origin(&self, genesis: &Genesis) -> Result<Chain, ChainStoreError> {
        if self.first_height() == 1 {
            return Ok(Chain::new(genesis.clone())?);
        }
        let path = self.beside(EXTENSION);
        self.read_anchor(&path, genesis).map_err(|fault| ChainStoreError::Anchor { path, fault })
    }

    /// Checks that the anchor stands for all blocks that are missing, and that it was certified by
    /// the set to which its changes lead from the genesis.
    fn read_anchor(&self, path: &str, genesis: &Genesis) -> Result<Chain, AnchorFault> {
        let file = SnapshotFile::open(&self.disk, path)?.ok_or(AnchorFault::Missing)?;
        let height = file.base().head().header.height;
        if height + 1 < self.first_height() || height > self.height() {
            return Err(AnchorFault::Height(height));
        }
        Ok(file.read(genesis.clone())?)
    }
}
