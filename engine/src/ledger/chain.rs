//! The chain: the head, the state and the log that a run of blocks leads to.
//!
//! Followers and auditors run [`Chain::apply`]. A validator runs its halves: [`Chain::check`] before
//! it votes on what another made with [`Chain::propose`], and [`Chain::commit`] when agreement hands
//! back a [`Certificate`]. One validator under version 1 has that in [`Certificate::solo`].

use std::fmt;
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use rand_core::CryptoRng;
use thiserror::Error;

use super::beacon::{BeaconChain, Reveal};
use super::block::{
    BLOCK_ENTRIES_MAX, BLOCK_LEN_MAX, Block, CertifiedBlock, Header, SaltedEntry, SignedHeader,
};
use super::block_error::BlockError;
use super::certificate::Certificate;
use super::entry::{ENTRY_LEN_MAX, Entry};
use super::entry_error::EntryError;
use super::genesis::{Genesis, GenesisError, RULES_VERSION_MAX, ValidatorSet};
use super::light::SetChange;
use super::log::{Digest32, Log, LogProof, LogProofError, leaf_hash, root_of};
use super::map::{AuthenticatedMap, StateProof};
use super::registry::StateKey;
use super::snapshot::Snapshot;
use super::state::State;
use super::suite::Suite;
use super::verified::VerifiedEntry;
use crate::names::{NetworkId, NodeId};
use crate::signature::node_id;
use crate::wire::canonical;

/// How far a block's time may be ahead of our clock, in milliseconds.
pub const CLOCK_AHEAD_MAX_MILLIS: u64 = 10_000;
/// Room for a header, and for the salt and framing of an entry, in a block.
const BLOCK_OVERHEAD: usize = 1024;
const ENTRY_OVERHEAD: usize = 24;
/// Every so many blocks the chain remembers what it was: machines that are asked for it at the same
/// time then have the same to give.
pub const MILESTONE_BLOCKS: u64 = 16;
const MILESTONES_MAX: usize = 2;

/// An append-only chain. Blocks are stored by the caller.
#[derive(Clone)]
pub struct Chain {
    state: State,
    log: Log,
    head: SignedHeader,
    changes: Arc<Vec<SetChange>>,
    milestones: Vec<Snapshot>,
}

/// Who puts blocks together.
pub struct Proposer<'a> {
    /// Its key.
    pub key: &'a SigningKey,
    /// The chain of its active anchor, if it has one.
    pub links: Option<&'a BeaconChain>,
}

/// A block to decide on, and what did not get in.
#[derive(Debug)]
pub struct Proposal {
    /// The block.
    pub block: Block,
    /// What [`Chain::check`] would make of it.
    pub checked: CheckedBlock,
    /// Entries that break a rule, and which.
    pub refused: Vec<(VerifiedEntry, EntryError)>,
    /// Entries for which the block has no room.
    pub deferred: Vec<VerifiedEntry>,
}

/// Why a validator cannot propose.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ProposeError {
    /// The validators upgraded.
    #[error(
        "the chain follows rules of version {0} from here on and this program knows rules up to \
         version {RULES_VERSION_MAX}; try: upgrade"
    )]
    UnknownVersion(u32),
    /// The chain of reveals at hand does not lead to the registered anchor.
    #[error("the registered anchor is not of the chain at hand; try: register an anchor again")]
    Anchor,
}

/// A block that [`Chain::check`] found good, with all that [`Chain::commit`] needs.
#[derive(Clone)]
pub struct CheckedBlock {
    header: Header,
    state: State,
    leaves: Vec<Digest32>,
}

impl fmt::Debug for CheckedBlock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CheckedBlock").field("header", &self.header).finish_non_exhaustive()
    }
}

impl CheckedBlock {
    /// The block's header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The state after the block.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The leaves of its entries, in their order.
    pub(crate) fn leaves(&self) -> &[Digest32] {
        &self.leaves
    }
}

impl Chain {
    /// The chain before its first block.
    pub fn new(genesis: Genesis) -> Result<Self, GenesisError> {
        genesis.check()?;
        let head = genesis.head();
        let (state, log) = (State::new(Arc::new(genesis)), Log::default());
        Ok(Self { state, log, head, changes: Arc::default(), milestones: Vec::new() })
    }

    /// The chain after a head, whose roots the map and the log have; `changes` are those of the
    /// validator set below it.
    pub(super) fn from_parts(
        genesis: Arc<Genesis>,
        head: SignedHeader,
        map: AuthenticatedMap,
        log: Log,
        changes: Vec<SetChange>,
    ) -> Self {
        let state = State::after(genesis, head.header.height, map);
        let changes = Arc::new(changes);
        let mut chain = Self { state, log, head, changes, milestones: Vec::new() };
        chain.remember_change();
        chain.milestones.push(Snapshot::of(&chain));
        chain
    }

    /// The same chain to go on from: it costs O(log n), and proves entries from here on only.
    pub fn tip(&self) -> Self {
        Self {
            state: self.state.clone(),
            log: self.log.since(self.log.size()),
            head: self.head.clone(),
            changes: Arc::clone(&self.changes),
            milestones: self.milestones.clone(),
        }
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

    /// The log of all entries.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Forgets what proves any but the newest entries, once that is more than as many again. Costs
    /// O(`newest` + log n) then.
    pub fn forget_entries_but(&mut self, newest: u64) {
        if self.log.provable() > newest.saturating_mul(2) {
            self.log = self.log.since(self.log.size() - newest);
        }
    }

    /// Proves that entry `index`, counted over the whole chain, is under the head's log root.
    pub fn entry_proof(&self, index: u64) -> Result<LogProof, LogProofError> {
        self.log.prove(index)
    }

    /// The value under a key, if any, and the proof of that under the head's state root.
    pub fn state_proof(&self, key: &StateKey) -> (Option<Vec<u8>>, StateProof) {
        (self.state.value(key).map(<[u8]>::to_vec), self.state.prove(key))
    }

    /// Who certifies the next block.
    pub fn validators(&self) -> &ValidatorSet {
        self.state.validators()
    }

    /// The version of the rules that the next block follows.
    pub fn version(&self) -> u32 {
        self.state.version()
    }

    /// What leads a light client over the head, if the set changes with it.
    pub fn set_change(&self) -> Option<SetChange> {
        let Header { validators, next_validators, .. } = self.head.header;
        (validators != next_validators)
            .then(|| SetChange { header: self.head.clone(), validators: self.validators().clone() })
    }

    /// Every change of the validator set since the genesis, that of the head included.
    pub fn set_changes(&self) -> &Arc<Vec<SetChange>> {
        &self.changes
    }

    /// The chain as it was at the last two heights that are multiples of [`MILESTONE_BLOCKS`], or
    /// where it began, unless that was the genesis; the newest last.
    pub fn milestones(&self) -> &[Snapshot] {
        &self.milestones
    }

    /// Puts the next block together from entries in the order of arrival. `now` is Unix
    /// milliseconds; `rng` salts the leaves.
    pub fn propose(
        &self,
        entries: Vec<VerifiedEntry>,
        now: u64,
        proposer: &Proposer<'_>,
        rng: &mut impl CryptoRng,
    ) -> Result<Proposal, ProposeError> {
        let reveal = self.reveal(proposer)?;
        let previous = &self.head.header;
        let start = BlockStart {
            time: now.max(previous.time),
            proposer: node_id(proposer.key),
            beacon: reveal.next_beacon(previous),
        };
        let mut state = self.begin_block(&start, &reveal);
        let (mut included, mut refused) = (Vec::new(), Vec::new());
        let mut room = BLOCK_LEN_MAX - BLOCK_OVERHEAD;
        let mut arriving = entries.into_iter();
        while room >= ENTRY_LEN_MAX + ENTRY_OVERHEAD && included.len() < BLOCK_ENTRIES_MAX {
            let Some(entry) = arriving.next() else { break };
            match state.apply_verified(&entry) {
                Ok(()) => {
                    room -= entry.length() + ENTRY_OVERHEAD;
                    let mut salt = [0; 16];
                    rng.fill_bytes(&mut salt);
                    included.push(SaltedEntry { salt, entry: entry.into_entry() });
                }
                Err(error) => refused.push((entry, error)),
            }
        }
        let leaves: Vec<Digest32> = included.iter().map(SaltedEntry::leaf).collect();
        let header = self.successor(&state, &leaves, start);
        state.end_block();
        let block = Block { header: header.clone(), reveal, entries: included };
        let checked = CheckedBlock { header, state, leaves };
        Ok(Proposal { block, checked, refused, deferred: arriving.collect() })
    }

    /// What the proposer adds to the beacon of the next block.
    fn reveal(&self, Proposer { key, links }: &Proposer<'_>) -> Result<Reveal, ProposeError> {
        let previous = &self.head.header;
        match self.version() {
            1 => Ok(Reveal::sign(key, previous)),
            version if version > RULES_VERSION_MAX => Err(ProposeError::UnknownVersion(version)),
            _ => {
                let registered = self.state.validator(&node_id(key));
                let Some(active) = registered.active_anchor(previous.height + 1) else {
                    return Ok(Reveal::Nothing);
                };
                let link = links.and_then(|links| links.link(active.revealed, &active.anchor));
                link.map(Reveal::Link).ok_or(ProposeError::Anchor)
            }
        }
    }

    /// Appends a block. `now`, if there is a clock, bounds its time. On an error nothing changes.
    pub fn apply(&mut self, block: &CertifiedBlock, now: Option<u64>) -> Result<(), BlockError> {
        let checked = self.check_certified(block, now)?;
        self.append_certified(checked, block.certificate.clone());
        Ok(())
    }

    /// Checks all of the next block. `now`, if there is a clock, bounds its time.
    pub fn check_certified(
        &self,
        CertifiedBlock { block, certificate }: &CertifiedBlock,
        now: Option<u64>,
    ) -> Result<CheckedBlock, BlockError> {
        self.check_frame(block, now)?;
        self.check_certificate(&block.header, certificate)?;
        self.execute_block(block, |_| false)
    }

    /// Checks all of the next block but its certificate. `now` bounds its time as above; `verified`
    /// says of an entry that this machine made a [`VerifiedEntry`] of it before.
    pub fn check(
        &self,
        block: &Block,
        now: Option<u64>,
        verified: &impl Fn(&Entry) -> bool,
    ) -> Result<CheckedBlock, BlockError> {
        self.check_frame(block, now)?;
        self.execute_block(block, verified)
    }

    /// The next block from all that its header does not follow from, checked but for its
    /// certificate. `verified` as in [`Chain::check`].
    pub(super) fn complete(
        &self,
        terms: Terms,
        reveal: Reveal,
        entries: Vec<SaltedEntry>,
        now: Option<u64>,
        verified: impl Fn(&Entry) -> bool,
    ) -> Result<(Block, CheckedBlock), BlockError> {
        self.check_version()?;
        check_time(terms.time, self.head.header.time, now)?;
        self.check_proposer(&terms.proposer)?;
        let checked = self.execute(terms, &reveal, &entries, None, verified)?;
        let block = Block { header: checked.header.clone(), reveal, entries };
        check_size(&block)?;
        Ok((block, checked))
    }

    /// Appends a block that was checked against this head. On an error nothing changes.
    pub fn commit(
        &mut self,
        checked: CheckedBlock,
        certificate: Certificate,
    ) -> Result<(), BlockError> {
        self.check_link(&checked.header)?;
        self.check_certificate(&checked.header, &certificate)?;
        self.append_certified(checked, certificate);
        Ok(())
    }

    /// Appends a block that was checked against this head and is known to be certified: as
    /// [`Chain::check_certified`] or [`SentBlock::check`](super::SentBlock::check) found it.
    pub fn append_certified(&mut self, checked: CheckedBlock, certificate: Certificate) {
        debug_assert_eq!(self.check_link(&checked.header), Ok(()));
        let CheckedBlock { header, state, leaves } = checked;
        leaves.into_iter().for_each(|leaf| self.log.append(leaf));
        self.state = state;
        self.head = SignedHeader { header, certificate };
        self.remember_change();
        if self.head.header.height.is_multiple_of(MILESTONE_BLOCKS) {
            self.milestones.push(Snapshot::of(self));
            let surplus = self.milestones.len().saturating_sub(MILESTONES_MAX);
            self.milestones.drain(..surplus);
        }
    }

    fn remember_change(&mut self) {
        if let Some(change) = self.set_change() {
            Arc::make_mut(&mut self.changes).push(change);
        }
    }

    /// What is cheap to know of a block.
    fn check_frame(&self, block: &Block, now: Option<u64>) -> Result<(), BlockError> {
        let header = &block.header;
        self.check_version()?;
        self.check_link(header)?;
        check_time(header.time, self.head.header.time, now)?;
        check_size(block)?;
        self.check_proposer(&header.proposer)
    }

    fn check_version(&self) -> Result<(), BlockError> {
        match self.version() {
            version if version > RULES_VERSION_MAX => Err(BlockError::UnknownVersion(version)),
            _ => Ok(()),
        }
    }

    fn check_proposer(&self, proposer: &NodeId) -> Result<(), BlockError> {
        if self.validators().contains(proposer) {
            Ok(())
        } else {
            Err(BlockError::Proposer(*proposer))
        }
    }

    pub(super) fn check_certificate(
        &self,
        header: &Header,
        certificate: &Certificate,
    ) -> Result<(), BlockError> {
        let fits = certificate.round.is_some() == (self.version() >= 2);
        if fits && certificate.certifies(header, self.validators()) {
            Ok(())
        } else {
            Err(BlockError::Certificate)
        }
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

    fn execute_block(
        &self,
        Block { header, reveal, entries }: &Block,
        verified: impl Fn(&Entry) -> bool,
    ) -> Result<CheckedBlock, BlockError> {
        let terms = Terms { time: header.time, proposer: header.proposer };
        self.execute(terms, reveal, entries, Some(header), verified)
    }

    /// Executes the next block, whose header is `claimed`, if that is known.
    fn execute(
        &self,
        Terms { time, proposer }: Terms,
        reveal: &Reveal,
        entries: &[SaltedEntry],
        claimed: Option<&Header>,
        verified: impl Fn(&Entry) -> bool,
    ) -> Result<CheckedBlock, BlockError> {
        if !self.is_revealed(reveal, &proposer) {
            return Err(BlockError::Reveal);
        }
        let encoded: Vec<Vec<u8>> = entries.iter().map(|salted| salted.entry.to_bytes()).collect();
        let salts = entries.iter().map(|salted| &salted.salt);
        let leaves: Vec<Digest32> =
            salts.zip(&encoded).map(|(salt, bytes)| leaf_hash(&[salt, bytes])).collect();
        if claimed.is_some_and(|header| header.entries_root != root_of(&leaves)) {
            return Err(BlockError::Header("entries root"));
        }
        let start = BlockStart { time, proposer, beacon: reveal.next_beacon(&self.head.header) };
        let mut state = self.begin_block(&start, reveal);
        for (index, (salted, bytes)) in entries.iter().zip(&encoded).enumerate() {
            state
                .apply_unless_refused(&salted.entry, bytes.len(), verified(&salted.entry))
                .map_err(|error| BlockError::Entry { index, error })?;
        }
        let header = self.successor(&state, &leaves, start);
        claimed.map_or(Ok(()), |claimed| compare(claimed, &header))?;
        state.end_block();
        Ok(CheckedBlock { header, state, leaves })
    }

    fn is_revealed(&self, reveal: &Reveal, proposer: &NodeId) -> bool {
        let previous = &self.head.header;
        if self.version() < 2 {
            return reveal.is_signed_by(proposer, previous);
        }
        let active = self.state.validator(proposer).active_anchor(previous.height + 1);
        reveal.opens(active.map(|active| active.anchor).as_ref())
    }

    fn begin_block(&self, start: &BlockStart, reveal: &Reveal) -> State {
        let mut state = self.state.clone();
        let height = self.head.header.height + 1;
        state.begin_block((height, start.time), &start.proposer, reveal, &start.beacon);
        state
    }

    /// The one header that follows from the head and these inputs.
    fn successor(&self, state: &State, leaves: &[Digest32], start: BlockStart) -> Header {
        let previous = &self.head.header;
        let BlockStart { time, proposer, beacon } = start;
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
            next_validators: state.validators().hash(),
            retention_floor: state.retention_floor(),
            beacon,
        }
    }
}

/// When a block was put together, in Unix milliseconds, and by whom.
pub(super) struct Terms {
    pub(super) time: u64,
    pub(super) proposer: NodeId,
}

/// What a block starts from, besides the head.
struct BlockStart {
    time: u64,
    proposer: NodeId,
    beacon: Digest32,
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
