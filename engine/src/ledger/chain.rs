//! The chain: the head, the state and the log that a run of blocks leads to.
//!
//! The validator, its followers and an auditor run the same [`Chain::apply`]. Agreement between
//! several validators stands between [`Chain::propose`] and it: whatever decides on a proposal hands
//! back a [`Certificate`](super::Certificate), and with one validator
//! [`Certificate::solo`](super::Certificate::solo) is all of that.

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use rand_core::CryptoRng;
use thiserror::Error;

use super::block::{
    BLOCK_ENTRIES_MAX, BLOCK_LEN_MAX, Block, CertifiedBlock, Header, SaltedEntry, SignedHeader,
    is_revealed_by, next_beacon, reveal,
};
use super::entry::{ENTRY_LEN_MAX, Entry};
use super::genesis::{Genesis, GenesisError};
use super::log::{Digest32, Log, LogProof, root_of};
use super::map::StateProof;
use super::registry::StateKey;
use super::state::{EntryError, State};
use super::suite::Suite;
use crate::names::{NetworkId, NodeId};
use crate::signature::node_id;
use crate::wire::canonical::{self, CanonicalError};

/// How far a block's time may be ahead of our clock, in milliseconds.
pub const CLOCK_AHEAD_MAX_MILLIS: u64 = 10_000;
/// Room for a header, and for the salt and framing of an entry, in a block.
const BLOCK_OVERHEAD: usize = 1024;
const ENTRY_OVERHEAD: usize = 24;

/// An append-only chain. Blocks are stored by the caller.
#[derive(Clone)]
pub struct Chain {
    state: State,
    log: Log,
    head: SignedHeader,
}

/// A block to decide on, and what did not get in.
#[derive(Debug)]
pub struct Proposal {
    /// The block.
    pub block: Block,
    /// Entries that break a rule, and which.
    pub refused: Vec<(Entry, EntryError)>,
    /// Entries for which the block has no room.
    pub deferred: Vec<Entry>,
}

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

/// Where a stored chain breaks, and why.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the chain breaks at height {height}: {error}")]
pub struct BrokenChain {
    /// The height at which the broken block stands.
    pub height: u64,
    /// What is wrong with it.
    pub error: BlockError,
}

impl Chain {
    /// The chain before its first block.
    pub fn new(genesis: Genesis) -> Result<Self, GenesisError> {
        genesis.check()?;
        let head = genesis.head();
        Ok(Self { state: State::new(Arc::new(genesis)), log: Log::default(), head })
    }

    /// The newest block's header and certificate; the genesis head at height 0.
    pub fn head(&self) -> &SignedHeader {
        &self.head
    }

    /// The state after the head.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The network's parameters.
    pub fn genesis(&self) -> &Genesis {
        &self.state.genesis
    }

    /// The network's name.
    pub fn network(&self) -> NetworkId {
        self.state.network
    }

    /// Proves that entry `index`, counted over the whole chain, is under the head's log root.
    pub fn entry_proof(&self, index: u64) -> Option<LogProof> {
        self.log.prove(index)
    }

    /// The value under a key, if any, and the proof of that under the head's state root.
    pub fn state_proof(&self, key: &StateKey) -> (Option<Vec<u8>>, StateProof) {
        (self.state.value(key).map(<[u8]>::to_vec), self.state.prove(key))
    }

    /// Puts the next block together from entries in the order of arrival. `now` is Unix
    /// milliseconds; `rng` salts the leaves.
    pub fn propose(
        &self,
        entries: Vec<Entry>,
        now: u64,
        key: &SigningKey,
        rng: &mut impl CryptoRng,
    ) -> Proposal {
        let reveal = reveal(key, &self.head.header);
        let beacon = next_beacon(&self.head.header, &reveal);
        let mut state = self.state.clone();
        state.begin_block(self.head.header.height + 1, &beacon);
        let (mut included, mut refused) = (Vec::new(), Vec::new());
        let mut room = BLOCK_LEN_MAX - BLOCK_OVERHEAD;
        let mut arriving = entries.into_iter();
        while room >= ENTRY_LEN_MAX + ENTRY_OVERHEAD && included.len() < BLOCK_ENTRIES_MAX {
            let Some(entry) = arriving.next() else { break };
            match state.apply(&entry) {
                Ok(()) => {
                    room -= entry.to_bytes().len() + ENTRY_OVERHEAD;
                    let mut salt = [0; 16];
                    rng.fill_bytes(&mut salt);
                    included.push(SaltedEntry { salt, entry });
                }
                Err(error) => refused.push((entry, error)),
            }
        }
        let leaves: Vec<Digest32> = included.iter().map(SaltedEntry::leaf).collect();
        let time = now.max(self.head.header.time);
        let header = self.successor(&state, &leaves, time, node_id(key), beacon);
        let block = Block { header, reveal, entries: included };
        Proposal { block, refused, deferred: arriving.collect() }
    }

    /// Appends a block. `now`, if there is a clock, bounds its time. On an error nothing changes.
    pub fn apply(
        &mut self,
        CertifiedBlock { block, certificate }: &CertifiedBlock,
        now: Option<u64>,
    ) -> Result<(), BlockError> {
        let Block { header, reveal, entries } = block;
        self.check_link(header)?;
        check_time(header.time, self.head.header.time, now)?;
        check_size(block)?;
        let validators = &self.genesis().validators;
        if !validators.contains(&header.proposer) {
            return Err(BlockError::Proposer(header.proposer));
        }
        if !certificate.certifies(header, validators) {
            return Err(BlockError::Certificate);
        }
        if !is_revealed_by(reveal, &header.proposer, &self.head.header) {
            return Err(BlockError::Reveal);
        }
        let beacon = next_beacon(&self.head.header, reveal);
        let leaves: Vec<Digest32> = entries.iter().map(SaltedEntry::leaf).collect();
        if root_of(&leaves) != header.entries_root {
            return Err(BlockError::Header("entries root"));
        }
        let state = self.execute(header.height, &beacon, entries)?;
        let expected = self.successor(&state, &leaves, header.time, header.proposer, beacon);
        compare(header, &expected)?;
        leaves.into_iter().for_each(|leaf| self.log.append(leaf));
        self.state = state;
        self.head = SignedHeader { header: header.clone(), certificate: certificate.clone() };
        Ok(())
    }

    fn check_link(&self, header: &Header) -> Result<(), BlockError> {
        let head = &self.head.header;
        if header.network != head.network {
            Err(BlockError::Unlinked("network"))
        } else if header.height != head.height + 1 {
            Err(BlockError::Unlinked("height"))
        } else if header.previous != head.hash() {
            Err(BlockError::Unlinked("previous hash"))
        } else {
            Ok(())
        }
    }

    fn execute(
        &self,
        height: u64,
        beacon: &Digest32,
        entries: &[SaltedEntry],
    ) -> Result<State, BlockError> {
        let mut state = self.state.clone();
        state.begin_block(height, beacon);
        for (index, salted) in entries.iter().enumerate() {
            state.apply(&salted.entry).map_err(|error| BlockError::Entry { index, error })?;
        }
        Ok(state)
    }

    /// The one header that follows from the head and these inputs.
    fn successor(
        &self,
        state: &State,
        leaves: &[Digest32],
        time: u64,
        proposer: NodeId,
        beacon: Digest32,
    ) -> Header {
        let previous = &self.head.header;
        Header {
            suite: Suite,
            network: previous.network,
            height: previous.height + 1,
            previous: previous.hash(),
            time,
            proposer,
            entries_root: root_of(leaves),
            log_size: previous.log_size + leaves.len() as u64,
            log_root: self.log.root_with(leaves),
            state_root: state.root(),
            validators: previous.next_validators,
            next_validators: previous.next_validators,
            retention_floor: previous.retention_floor,
            beacon,
        }
    }
}

/// Replays stored blocks from the first and says where they break.
pub fn verify_from_genesis<B: AsRef<[u8]>>(
    genesis: Genesis,
    blocks: impl IntoIterator<Item = B>,
) -> Result<Chain, VerifyError> {
    let mut chain = Chain::new(genesis)?;
    for bytes in blocks {
        let height = chain.head.header.height + 1;
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

fn check_time(time: u64, least: u64, now: Option<u64>) -> Result<(), BlockError> {
    let most = now.map_or(u64::MAX, |now| now.saturating_add(CLOCK_AHEAD_MAX_MILLIS));
    if (least..=most).contains(&time) {
        Ok(())
    } else {
        Err(BlockError::Time { time, least, most })
    }
}

fn check_size(block: &Block) -> Result<(), BlockError> {
    let (length, entries) = (canonical::encode(block).len(), block.entries.len());
    if length > BLOCK_LEN_MAX || entries > BLOCK_ENTRIES_MAX {
        Err(BlockError::TooLarge { length, entries })
    } else {
        Ok(())
    }
}

fn compare(header: &Header, expected: &Header) -> Result<(), BlockError> {
    let fields = [
        ("log size", header.log_size == expected.log_size),
        ("log root", header.log_root == expected.log_root),
        ("state root", header.state_root == expected.state_root),
        ("beacon", header.beacon == expected.beacon),
        ("validator set or retention floor", header == expected),
    ];
    let wrong = fields.into_iter().find(|(_, same)| !same);
    wrong.map_or(Ok(()), |(field, _)| Err(BlockError::Header(field)))
}
