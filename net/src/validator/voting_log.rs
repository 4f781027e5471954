//! What a validator among others may have said, so that it never says anything else
//! (`engine/spec/agreement.md` §3).

use std::io;

use kakera_engine::ledger::agreement::Record;
use kakera_engine::wire::canonical::CanonicalError;
use thiserror::Error;

use crate::random::random_salt;
use crate::store::block_log::{BlockLog, LogCopy, LogError};
use crate::store::disk::{Disk, if_found};

/// The log's file in a validator's folder.
pub const VOTING_LOG_FILE: &str = "votes.log";
/// Bytes after which records that have done their work are dropped.
const LENGTH_MAX: u64 = 8 << 20;

/// Why a voting log cannot be used.
#[derive(Debug, Error)]
pub enum VotingLogError {
    /// What was recorded is not there any more.
    #[error(
        "{VOTING_LOG_FILE} is damaged ({0}), so this validator could contradict what it said; try: \
         move the file away. The validator then follows the others and votes no more; have it \
         replaced by one with a new key"
    )]
    Damaged(String),
    /// A program newer than this one wrote the file.
    #[error(
        "{VOTING_LOG_FILE} has format version {0}, which this program does not know; try: upgrade"
    )]
    UnknownVersion(u32),
    /// Nothing more was recorded, and nothing more was said.
    #[error("cannot write {VOTING_LOG_FILE}: {0}")]
    Write(#[source] LogError),
    /// The disk failed.
    #[error("cannot use {VOTING_LOG_FILE}: {0}")]
    Io(#[from] io::Error),
}

/// The voting log. Its length does not grow with the chain's.
pub(super) struct VotingLog<D: Disk> {
    disk: D,
    log: BlockLog<D>,
}

impl<D: Disk> VotingLog<D> {
    /// Whether there is one.
    pub(super) fn exists(disk: &D) -> Result<bool, VotingLogError> {
        Ok(if_found(disk.open(VOTING_LOG_FILE))?.is_some())
    }

    /// Opens the log and gives what is in it; `None` if there is none, so that nobody knows what
    /// this validator said.
    pub(super) fn open(disk: &D) -> Result<Option<(Self, Vec<Record>)>, VotingLogError> {
        if !Self::exists(disk)? {
            return Ok(None);
        }
        let voting_log = Self::create(disk)?;
        let log = &voting_log.log;
        let bytes = log.read_range(log.first(), usize::MAX).map_err(unusable)?;
        let records: Result<Vec<Record>, CanonicalError> =
            bytes.iter().map(|bytes| Record::from_bytes(bytes)).collect();
        let records = records.map_err(|error| VotingLogError::Damaged(error.to_string()))?;
        Ok(Some((voting_log, records)))
    }

    /// Creates the log of a validator that never voted. Keeps one that is there.
    pub(super) fn create(disk: &D) -> Result<Self, VotingLogError> {
        let (log, _) = BlockLog::open(disk, VOTING_LOG_FILE, random_salt()).map_err(unusable)?;
        Ok(Self { disk: disk.clone(), log })
    }

    /// Records what must be remembered; durable on return.
    pub(super) fn append(&mut self, records: &[Record]) -> Result<(), VotingLogError> {
        let records: Vec<Vec<u8>> = records.iter().map(Record::to_bytes).collect();
        let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        self.log.append_batch(&records).map_err(VotingLogError::Write)
    }

    /// Every height that was recorded has its block on the disk: the records have done their work.
    pub(super) fn handle_settled(&mut self) -> Result<(), VotingLogError> {
        if self.log.bytes_before(self.log.len()) < LENGTH_MAX {
            return Ok(());
        }
        let next = self.log.len();
        LogCopy::begin(&self.disk, VOTING_LOG_FILE, random_salt(), next)
            .and_then(|copy| {
                copy.sync()?;
                self.log.replace(&self.disk, copy)
            })
            .map_err(VotingLogError::Write)
    }
}

fn unusable(error: LogError) -> VotingLogError {
    match error {
        LogError::UnknownVersion { version, .. } => VotingLogError::UnknownVersion(version),
        LogError::Io(error) => VotingLogError::Io(error),
        other => VotingLogError::Damaged(other.to_string()),
    }
}
