//! Proposals in outline: entries are named, not repeated, since every validator was given them when
//! they came in. An outline costs some 30 bytes an entry instead of the entry.

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};

use super::message::ProposedBlock;
use crate::ledger::beacon::Reveal;
use crate::ledger::block::{Block, SaltedEntry};
use crate::ledger::chain::{Chain, CheckedBlock, Terms};
use crate::ledger::entry::Entry;
use crate::ledger::verified::VerifiedEntry;
use crate::ledger::vote::SignedProposal;
use crate::names::NodeId;

/// A proposal whose block is to be put together by whoever has the chain before it and the entries.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Outline {
    /// What the proposer of the round signed.
    #[n(0)]
    pub proposal: SignedProposal,
    /// The block's time, in Unix milliseconds.
    #[n(1)]
    pub time: u64,
    /// Who made the block; not always the proposer of the round.
    #[n(2)]
    maker: NodeId,
    #[n(3)]
    reveal: Reveal,
    /// Ascending.
    #[n(4)]
    authors: Vec<NodeId>,
    /// In the block's order.
    #[n(5)]
    entries: Vec<NamedEntry>,
}

/// An entry by its name: an author says one thing under each sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
struct NamedEntry {
    /// The salt of its leaf.
    #[cbor(n(0), with = "minicbor::bytes")]
    salt: [u8; 16],
    /// Its author's place among the outline's.
    #[n(1)]
    author: u16,
    #[n(2)]
    sequence: u64,
}

/// Asks for the whole block of a proposal that came in outline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Want {
    /// The height.
    #[n(0)]
    pub height: u64,
    /// The round.
    #[n(1)]
    pub round: u32,
}

impl Outline {
    /// The short form of a proposal.
    pub fn of(ProposedBlock { proposal, block }: &ProposedBlock) -> Self {
        let authors: BTreeSet<NodeId> =
            block.entries.iter().map(|salted| salted.entry.author).collect();
        let authors = Vec::from_iter(authors);
        let named = |SaltedEntry { salt, entry }: &SaltedEntry| NamedEntry {
            salt: *salt,
            // A block has fewer entries than this number can count.
            author: authors.partition_point(|author| *author < entry.author) as u16,
            sequence: entry.sequence,
        };
        Self {
            proposal: *proposal,
            time: block.header.time,
            maker: block.header.proposer,
            reveal: block.reveal,
            entries: block.entries.iter().map(named).collect(),
            authors,
        }
    }

    /// Whether there are entries in the block.
    pub fn has_entries(&self) -> bool {
        !self.entries.is_empty()
    }

    /// The entries, if `find` has all of them. What it has under a name may be another entry than
    /// the block's: [`Outline::fill`] tells.
    pub fn find<'a>(
        &self,
        find: impl Fn(&NodeId, u64) -> Option<&'a VerifiedEntry>,
    ) -> Option<Vec<&'a VerifiedEntry>> {
        let named = |name: &NamedEntry| {
            let author = self.authors.get(usize::from(name.author))?;
            find(author, name.sequence)
        };
        self.entries.iter().map(named).collect()
    }

    /// The block that the proposal names, after the head of `chain`, with these entries; checked but
    /// for its certificate. None if it is not good, or not of these entries. `now`, if there is a
    /// clock, bounds its time.
    pub fn fill(
        &self,
        found: &[&VerifiedEntry],
        chain: &Chain,
        now: Option<u64>,
    ) -> Option<(Block, CheckedBlock)> {
        let salted = |(name, entry): (&NamedEntry, &&VerifiedEntry)| SaltedEntry {
            salt: name.salt,
            entry: Entry::clone(entry.entry()),
        };
        let entries = self.entries.iter().zip(found).map(salted).collect();
        let terms = Terms { time: self.time, proposer: self.maker };
        let (block, checked) = chain.complete(terms, self.reveal, entries, now, |_| true).ok()?;
        (block.header.hash() == self.proposal.value).then_some((block, checked))
    }
}
