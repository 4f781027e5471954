//! Proposals in outline, on their way here and from here.
//!
//! Memory: own proposals of two heights, and [`INCOMPLETE_MAX`] outlines of the height under way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Validator, Work};
use crate::ledger::SignedProposal;
use crate::ledger::agreement::{Message, Outline, ProposedBlock, Want};
use crate::names::NodeId;
use crate::peer::Clock;

/// The rules from which on proposals go out in outline: whoever follows them can read one.
const OUTLINES: u32 = 3;
/// So long the entries of an outline may be on their way from others before its block is asked for.
const ENTRIES_PATIENCE: Duration = Duration::from_millis(20);
/// Outlines that wait for entries.
const INCOMPLETE_MAX: usize = 8;

/// See the module.
#[derive(Default)]
pub(super) struct Outlines {
    /// Own proposals for those who lack entries, also of the height before: three of four decide
    /// while the fourth waits for its block.
    own: BTreeMap<Want, ProposedBlock>,
    /// Who was given which whole.
    given: BTreeSet<(Want, NodeId)>,
    /// Those of others, by round.
    incomplete: BTreeMap<u32, Incomplete>,
}

struct Incomplete {
    outline: Outline,
    /// When the block is asked for.
    ask_at: Duration,
}

impl Outlines {
    /// Heights up to `head` are decided.
    pub(super) fn head_moved(&mut self, head: u64) {
        self.own.retain(|place, _| place.height >= head);
        self.given.retain(|(place, _)| place.height >= head);
        self.incomplete.clear();
    }

    /// When a block is to be asked for.
    pub(super) fn next_wake(&self) -> Option<Duration> {
        self.incomplete.values().map(|incomplete| incomplete.ask_at).min()
    }
}

impl Validator {
    /// A message for all others as it leaves.
    pub(super) fn outlined(&mut self, message: Message) -> Message {
        match message {
            Message::Proposal(proposed)
                if self.chain.version() >= OUTLINES && !proposed.block.entries.is_empty() =>
            {
                let outline = Outline::of(&proposed);
                let place = place_of(&proposed.proposal);
                self.council.outlines.own.insert(place, proposed);
                Message::Outline(outline)
            }
            other => other,
        }
    }

    /// Another validator lacks entries of an own proposal.
    pub(super) fn handle_want(&mut self, from: NodeId, want: Want) {
        let Outlines { own, given, .. } = &mut self.council.outlines;
        if let Some(proposed) = own.get(&want)
            && given.insert((want, from))
        {
            let message = Message::Proposal(proposed.clone());
            self.council.work.push_back(Work::Tell(from, message));
        }
    }

    /// A proposal of the height under way, in outline.
    pub(super) fn take_outline(&mut self, outline: Outline, clock: Clock) {
        let proposal = outline.proposal;
        if !self.council.agreement.is_due(&proposal) {
            return;
        }
        if let Some(block) = self.council.agreement.block(&proposal.value) {
            let block = Arc::clone(block);
            return self.take_proposal(ProposedBlock { proposal, block }, clock);
        }
        let incomplete = &mut self.council.outlines.incomplete;
        if incomplete.len() < INCOMPLETE_MAX {
            let ask_at = clock.elapsed + ENTRIES_PATIENCE;
            incomplete.entry(proposal.round).or_insert(Incomplete { outline, ask_at });
        }
    }

    /// Puts blocks together whose entries have come, and asks for those whose have not.
    pub(super) fn complete_outlines(&mut self, clock: Clock) {
        for (round, incomplete) in std::mem::take(&mut self.council.outlines.incomplete) {
            if let Some(incomplete) = self.complete(incomplete, clock) {
                self.council.outlines.incomplete.insert(round, incomplete);
            }
        }
    }

    /// Puts one block together, or asks for it; the outline again, if it is to wait.
    fn complete(&mut self, incomplete: Incomplete, clock: Clock) -> Option<Incomplete> {
        let Incomplete { outline, ask_at } = incomplete;
        let proposal = outline.proposal;
        if self.council.agreement.knows(&proposal.value) {
            return None;
        }
        let waiting = self.waiting_by_name();
        let found = outline.find(|author, sequence| waiting.get(&(*author, sequence)).copied());
        let now = Some(clock.unix_millis);
        match found.map(|found| outline.fill(&found, &self.chain, now)) {
            Some(Some((block, checked))) => {
                self.council.checked.insert(proposal.value, checked);
                let block = Arc::new(block);
                self.take_checked(&Message::Proposal(ProposedBlock { proposal, block }), clock);
                None
            }
            None if ask_at > clock.elapsed => Some(Incomplete { outline, ask_at }),
            // Not in time, or its author said two things.
            None | Some(None) => {
                let want = Message::Want(place_of(&proposal));
                self.council.work.push_back(Work::Tell(proposal.validator, want));
                None
            }
        }
    }
}

fn place_of(proposal: &SignedProposal) -> Want {
    Want { height: proposal.height, round: proposal.round }
}
