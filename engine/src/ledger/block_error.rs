//! Why blocks are refused.

use thiserror::Error;

use super::block::{BLOCK_ENTRIES_MAX, BLOCK_LEN_MAX};
use super::entry_error::EntryError;
use super::genesis::RULES_VERSION_MAX;
use crate::names::NodeId;
use crate::wire::canonical::CanonicalError;

/// Why a block is no next block. Whoever made or changed it is to blame; the chain is unchanged.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BlockError {
    /// The bytes are no block.
    #[error("no block: {0}")]
    Malformed(#[from] CanonicalError),
    /// Longer than [`BLOCK_LEN_MAX`] or more than [`BLOCK_ENTRIES_MAX`] entries.
    #[error("{length} bytes and {entries} entries; {BLOCK_LEN_MAX} and {BLOCK_ENTRIES_MAX} fit")]
    TooLarge {
        /// Bytes.
        length: usize,
        /// Entries.
        entries: usize,
    },
    /// The block follows rules that this program does not know: the validators upgraded.
    #[error(
        "the chain follows rules of version {0} from here on and this program knows rules up to \
         version {RULES_VERSION_MAX}; try: upgrade"
    )]
    UnknownVersion(u32),
    /// It does not follow our head.
    #[error("the {0} does not follow the block before")]
    Unlinked(&'static str),
    /// The time is before that of the block before, or too far ahead of our clock.
    #[error("the time {time} is not between {least} and {most}")]
    Time {
        /// The block's.
        time: u64,
        /// The time of the block before.
        least: u64,
        /// The latest that is believed.
        most: u64,
    },
    /// The proposer is no validator.
    #[error("{0} is no validator")]
    Proposer(NodeId),
    /// Too few validators signed, or somebody else did.
    #[error("the certificate is not valid")]
    Certificate,
    /// The proposer's contribution to the beacon is not its own.
    #[error("the contribution to the beacon is not the proposer's")]
    Reveal,
    /// An entry breaks a rule.
    #[error("entry {index}: {error}")]
    Entry {
        /// Its place in the block.
        index: usize,
        /// The rule.
        error: EntryError,
    },
    /// The header does not say what the entries lead to.
    #[error("the {0} in the header is not what the entries lead to")]
    Header(&'static str),
}
