//! A validator: orders entries, alone or with others, and tells its submitters what became of them.
//!
//! At any time there is the *final* chain and at most one *pending* block after it: signed, perhaps
//! durable here, perhaps on some followers, not yet on enough of them. A pending block is never
//! replaced. Before it is durable it leaves this machine for nobody, so a crash forgets a block that
//! nobody has seen; once durable it stays pending after a restart. Hence there is never a second
//! block at a height, and what was called final is on as many disks as
//! [`final_height`] asks for. Rules: `engine/spec/validator.md`.
//!
//! A validator whose power decides alone makes blocks with [`Validator::poll_block`] and calls them
//! final when storage nodes have them too. Several decide by [agreement](crate::ledger::agreement),
//! see [`Validator::poll_work`]; a block is final then as soon as it is durable here, since those
//! who decided on it remember it.

mod council;
mod outlines;
mod places;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ed25519_dalek::SigningKey;
use rand_core::CryptoRng;
use thiserror::Error;

use crate::ledger::{
    BlockError, Body, Certificate, CertifiedBlock, Chain, CheckedBlock, Digest32, Entry,
    EntryError, FollowAck, Header, Inclusion, Node, ProposeError, Proposer, State, VerifiedEntry,
    Vote, VoteKind, final_height,
};
use crate::names::NodeId;
use crate::signature::node_id;
use council::Council;
pub use council::{Clock, Work};
use places::Places;

/// Most entries that wait for a block.
pub const WAITING_MAX: usize = 4096;
/// Most entries of one author that wait for a block.
pub const WAITING_PER_AUTHOR_MAX: usize = 256;
/// Most submissions of one entry that wait for its outcome.
const TICKETS_PER_ENTRY_MAX: usize = 16;

/// Orders entries. See the module for its promise.
pub struct Validator {
    key: SigningKey,
    id: NodeId,
    chain: Chain,
    pending: Option<Pending>,
    waiting: VecDeque<VerifiedEntry>,
    /// The state after everything pending and waiting: what the next entry is checked against.
    ahead: State,
    /// The header after whose state `ahead` was computed.
    ahead_of: Digest32,
    /// Storage nodes of the final state, without those that are about to be retired.
    followers: BTreeSet<NodeId>,
    /// Who has the pending block on its disk.
    acknowledged: BTreeMap<NodeId, u64>,
    tickets: BTreeMap<(NodeId, u64), Vec<u64>>,
    places: Places,
    outcomes: VecDeque<(u64, Result<Place, SubmitError>)>,
    council: Council,
}

struct Pending {
    block: CertifiedBlock,
    checked: CheckedBlock,
    hash: Digest32,
    durable: bool,
}

/// Where a final entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The block.
    pub height: u64,
    /// Its place in the log of all entries, from 0.
    pub index: u64,
    /// The salt of its leaf.
    pub salt: [u8; 16],
}

/// Why an entry does not become final. Unless said otherwise the submitter is to blame.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SubmitError {
    /// It breaks a rule.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// Another entry of this author has this sequence number and waits already.
    #[error("another entry with sequence number {0} is on its way; sign this one with the next")]
    SequenceTaken(u64),
    /// Nobody is to blame: many entries wait.
    #[error("{WAITING_MAX} entries wait already; try again")]
    Full,
    /// The author has many entries waiting.
    #[error("{WAITING_PER_AUTHOR_MAX} entries of this author wait already; try again")]
    AuthorFull,
    /// The validator's program or its anchor is to blame.
    #[error(transparent)]
    Propose(#[from] ProposeError),
}

/// Why an acknowledgement does not count. Unless said otherwise the follower is to blame.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AckError {
    /// It has a block that this validator has not: one of the two lost or invented something.
    #[error(
        "{follower} has the chain up to height {height}, this validator only to {own}; \
         if this validator's folder was restored from a backup, recover it from the storage nodes"
    )]
    Ahead {
        /// Who says so.
        follower: NodeId,
        /// The height it says.
        height: u64,
        /// Ours.
        own: u64,
    },
    /// It has another block at this height.
    #[error("{follower} has another block at height {height}: the chain is forked")]
    Fork {
        /// Who says so.
        follower: NodeId,
        /// The height.
        height: u64,
    },
}

/// Why there can be no such validator. Nothing was changed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SetupError {
    /// Its signature alone decides nothing, and the chain's rules know no agreement.
    #[error("{0} does not decide alone, and version 1 of the rules knows no agreement")]
    NotAlone(NodeId),
    /// The pending block does not follow the final chain.
    #[error("the pending block: {0}")]
    Pending(#[from] BlockError),
}

impl Validator {
    /// A validator with a final chain and a durable block after it that may not be final. One that
    /// is not of the set only listens, until it is.
    pub fn new(
        key: SigningKey,
        chain: Chain,
        pending: Option<CertifiedBlock>,
    ) -> Result<Self, SetupError> {
        let id = node_id(&key);
        let validators = chain.validators();
        let member = validators.contains(&id);
        if chain.version() == 1 && member && !validators.decides(&BTreeSet::from([id])) {
            return Err(SetupError::NotAlone(id));
        }
        let pending = pending.map(|block| Pending::stored(&chain, block)).transpose()?;
        let mut validator = Self {
            council: Council::new(&chain, &key),
            key,
            id,
            ahead: chain.state().clone(),
            ahead_of: chain.head().header.hash(),
            chain,
            pending,
            waiting: VecDeque::new(),
            followers: BTreeSet::new(),
            acknowledged: BTreeMap::new(),
            tickets: BTreeMap::new(),
            places: Places::default(),
            outcomes: VecDeque::new(),
        };
        validator.look_ahead();
        validator.settle();
        Ok(validator)
    }

    /// The final chain: all that may be shown to readers.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Proves against the final head that an entry stands at its place. `None` if it is not one of
    /// the newest thousands, of this run of the program.
    pub fn inclusion(&self, place: &Place) -> Option<Inclusion> {
        let proof = self.chain.entry_proof(place.index).ok()?;
        Some(Inclusion { head: self.chain.head().clone(), salt: place.salt, proof })
    }

    /// Whether a machine is enrolled once everything that is on its way is final.
    pub fn expects(&self, machine: &NodeId) -> bool {
        self.ahead.is_enrolled(machine)
    }

    /// How many entries wait for a block.
    pub fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    /// The newest durable height: final, or one more.
    pub fn durable_height(&self) -> u64 {
        let durable = self.pending.as_ref().is_some_and(|pending| pending.durable);
        self.chain.head().header.height + u64::from(durable)
    }

    /// Takes an entry; [`Validator::poll_outcome`] tells under `ticket` what became of it.
    ///
    /// An entry that waits, is pending or became final recently may be submitted again: it gets
    /// the same outcome.
    pub fn handle_submit(&mut self, ticket: u64, entry: Entry) {
        let known = (entry.author, entry.sequence);
        if let Some(place) = self.places.find(&entry) {
            return self.outcomes.push_back((ticket, Ok(place)));
        }
        match self.admit(entry.clone()) {
            Ok(()) => self.share(entry),
            Err(refusal) => return self.outcomes.push_back((ticket, Err(refusal))),
        }
        let tickets = self.tickets.entry(known).or_default();
        if tickets.len() < TICKETS_PER_ENTRY_MAX {
            tickets.push(ticket);
        } else {
            self.outcomes.push_back((ticket, Err(SubmitError::Full)));
        }
        self.settle();
    }

    /// Whether this validator's signature decides: then [`Validator::poll_block`] makes blocks.
    pub fn decides_alone(&self) -> bool {
        self.chain.validators().decides(&BTreeSet::from([self.id]))
    }

    /// A new block of a validator that decides alone, to be made durable before anything else
    /// happens to it. `now` is Unix milliseconds; `rng` salts the leaves.
    ///
    /// None while a block is pending, or when there is nothing to order.
    pub fn poll_block(&mut self, now: u64, rng: &mut impl CryptoRng) -> Option<CertifiedBlock> {
        let draws = self.chain.state().has_pending();
        if self.pending.is_some() || (self.waiting.is_empty() && !draws) || !self.decides_alone() {
            return None;
        }
        let waiting = self.waiting.drain(..).collect();
        let proposer = Proposer { key: &self.key, links: self.council.links() };
        let proposal = match self.chain.propose(waiting, now, &proposer, rng) {
            Ok(proposal) => proposal,
            Err(error) => {
                self.refuse_waiting(&error.into());
                return None;
            }
        };
        self.waiting = proposal.deferred.into();
        let (block, checked) = (proposal.block, proposal.checked);
        if draws || !block.entries.is_empty() {
            let certificate = self.certify(&block.header);
            let block = CertifiedBlock { block, certificate };
            self.pending = Some(Pending::new(block, checked, false));
        }
        if !proposal.refused.is_empty() {
            for (refused, error) in proposal.refused {
                let Entry { author, sequence, .. } = *refused.entry();
                self.answer(&(author, sequence), Err(error.into()));
            }
            self.look_ahead();
        }
        self.pending.as_ref().map(|pending| pending.block.clone())
    }

    /// The block of [`Validator::poll_block`] is durable: followers may have it.
    pub fn handle_durable(&mut self) {
        if let Some(pending) = &mut self.pending {
            pending.durable = true;
        }
        self.settle();
    }

    /// A follower's word that it has the chain up to a height on its disk.
    ///
    /// Others than the storage nodes of the final state may say so too; it does not count.
    pub fn handle_ack(&mut self, follower: NodeId, ack: &FollowAck) -> Result<(), AckError> {
        let height = ack.height;
        // The word of its durability here may still be on its way to us.
        let own = self.chain.head().header.height + u64::from(self.pending.is_some());
        if height > own {
            return Err(AckError::Ahead { follower, height, own });
        }
        let head = &self.chain.head().header;
        let ours = match &self.pending {
            Some(pending) if height > head.height => pending.hash,
            _ if height == head.height => head.hash(),
            // Of older blocks only their successors matter.
            _ => return Ok(()),
        };
        if ack.hash != ours {
            return Err(AckError::Fork { follower, height });
        }
        if self.followers.contains(&follower) {
            self.acknowledged.insert(follower, height);
            self.settle();
        }
        Ok(())
    }

    /// What became of a submission.
    pub fn poll_outcome(&mut self) -> Option<(u64, Result<Place, SubmitError>)> {
        self.outcomes.pop_front()
    }

    /// Puts an entry in the queue, unless it is there or in the pending block already.
    fn admit(&mut self, entry: Entry) -> Result<(), SubmitError> {
        let known = (entry.author, entry.sequence);
        if self.tickets.contains_key(&known) || entry.sequence < self.ahead.next_sequence(&known.0)
        {
            let pending = self.pending.iter().flat_map(|pending| &pending.block.block.entries);
            let waiting = self.waiting.iter().map(VerifiedEntry::entry);
            let mut under_way = pending.map(|salted| &salted.entry).chain(waiting);
            return match under_way.find(|other| (other.author, other.sequence) == known) {
                Some(same) if *same == entry => Ok(()),
                Some(_) => Err(SubmitError::SequenceTaken(entry.sequence)),
                None => {
                    Err(self.ahead.clone().apply(&entry).map_or_else(SubmitError::from, |()| {
                        SubmitError::SequenceTaken(entry.sequence)
                    }))
                }
            };
        }
        if self.waiting.len() >= WAITING_MAX {
            return Err(SubmitError::Full);
        }
        let by_author = |other: &&VerifiedEntry| other.entry().author == entry.author;
        if self.waiting.iter().filter(by_author).count() >= WAITING_PER_AUTHOR_MAX {
            return Err(SubmitError::AuthorFull);
        }
        self.ahead.check_author(&entry)?;
        let entry = VerifiedEntry::new(&self.chain.network(), entry)?;
        self.ahead.apply_verified(&entry)?;
        discount(&mut self.followers, entry.entry());
        self.waiting.push_back(entry);
        Ok(())
    }

    /// Makes the pending block final if it is on enough disks.
    fn settle(&mut self) {
        let own = self.durable_height();
        if self.decides_alone() && final_height(own, &self.followers, &self.acknowledged) < own {
            return;
        }
        let Some(pending) = self.pending.take_if(|pending| pending.durable) else { return };
        let first = self.chain.head().header.log_size;
        let Pending { block: CertifiedBlock { block, certificate }, checked, .. } = pending;
        let leaves = checked.leaves().to_vec();
        // Checked when the block came, or made of votes that were.
        self.chain.append_certified(checked, certificate);
        self.chain.forget_entries_but(places::PLACES_MAX as u64);
        self.acknowledged.clear();
        self.council.head_moved(&self.chain, block.entries.len(), &self.key);
        for ((index, salted), leaf) in (first..).zip(&block.entries).zip(leaves) {
            let place = Place { height: own, index, salt: salted.salt };
            self.places.insert(&salted.entry, place, leaf);
            self.answer(&(salted.entry.author, salted.entry.sequence), Ok(place));
        }
        // With others it was done when the block became pending.
        if self.decides_alone() || self.ahead_of != self.chain.head().header.hash() {
            self.look_ahead();
        }
    }

    /// Computes anew what the next entry is checked against and whose word counts. Entries that
    /// wait and no longer fit are refused.
    fn look_ahead(&mut self) {
        let state = self.chain.state();
        // Only then is anybody's word waited for, and enumerating machines costs as many reads.
        self.followers = match self.decides_alone() {
            true => state.nodes().filter(Node::takes_slots).map(|node| node.join.node).collect(),
            false => BTreeSet::new(),
        };
        let mut ahead = state.clone();
        self.ahead_of = self.chain.head().header.hash();
        if let Some(Pending { block, checked, hash, .. }) = &self.pending {
            ahead = checked.state().clone();
            self.ahead_of = *hash;
            let entries = block.block.entries.iter();
            entries.for_each(|salted| discount(&mut self.followers, &salted.entry));
        }
        for entry in std::mem::take(&mut self.waiting) {
            let Entry { author, sequence, .. } = *entry.entry();
            match ahead.apply_verified(&entry) {
                Ok(()) => {
                    discount(&mut self.followers, entry.entry());
                    self.waiting.push_back(entry);
                }
                // In the pending block, which will answer.
                Err(_) if self.is_pending(&entry) => {}
                Err(error) => self.answer(&(author, sequence), Err(error.into())),
            }
        }
        self.ahead = ahead;
    }

    fn is_pending(&self, entry: &VerifiedEntry) -> bool {
        let pending = self.pending.iter().flat_map(|pending| &pending.block.block.entries);
        pending.map(|salted| &salted.entry).any(|other| other == entry.entry())
    }

    /// The certificate of the only validator.
    fn certify(&self, header: &Header) -> Certificate {
        if self.chain.version() == 1 {
            return Certificate::solo(header, &self.key);
        }
        let vote = Vote {
            kind: VoteKind::Precommit,
            height: header.height,
            round: 0,
            value: Some(header.hash()),
            validator: self.id,
        };
        Certificate::of_precommits(0, vec![vote.sign(&header.network, &self.key)])
    }

    /// Nothing that waits can be ordered.
    fn refuse_waiting(&mut self, error: &SubmitError) {
        for (_, tickets) in std::mem::take(&mut self.tickets) {
            self.outcomes.extend(tickets.into_iter().map(|ticket| (ticket, Err(error.clone()))));
        }
        self.look_ahead();
    }

    fn answer(&mut self, entry: &(NodeId, u64), outcome: Result<Place, SubmitError>) {
        let tickets = self.tickets.remove(entry).unwrap_or_default();
        self.outcomes.extend(tickets.into_iter().map(|ticket| (ticket, outcome.clone())));
    }
}

/// A follower that someone entitled declares gone is not waited for: else its loss would stop the
/// very entry that retires it.
fn discount(followers: &mut BTreeSet<NodeId>, entry: &Entry) {
    match &entry.body {
        Body::NodeRetire(retire) => _ = followers.remove(&retire.node),
        Body::NodeLost(lost) => _ = followers.remove(&lost.node),
        _ => {}
    }
}

impl Pending {
    fn new(block: CertifiedBlock, checked: CheckedBlock, durable: bool) -> Self {
        Self { hash: block.block.header.hash(), block, checked, durable }
    }

    /// A block that was stored after the head of `chain`.
    fn stored(chain: &Chain, block: CertifiedBlock) -> Result<Self, BlockError> {
        let checked = chain.check_certified(&block, None)?;
        Ok(Self::new(block, checked, true))
    }
}
