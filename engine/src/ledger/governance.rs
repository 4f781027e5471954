//! What validators decide by votes on the ledger, and what is registered of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::ballot::{Ballot, NodeLost, RetentionFloor, Upgrade, ValidatorChange, ValidatorUpdate};
use super::beacon::{ANCHOR_DELAY_BLOCKS, Reveal};
use super::entry::ADDRESS_LEN_MAX;
use super::entry_error::{EntryError, check_length};
use super::equivocation::Equivocation;
use super::evidence::{WRONG_SYMBOLS_MAX, WrongSymbol};
use super::genesis::ValidatorSet;
use super::registry::{LostNode, Node, PendingDraw, RegisteredAnchor, StateKey, Validator};
use super::rules::allow;
use super::state::{ABSENCE, CARE, EXCLUSIONS_VERSION_MIN, PENDING_DRAWS_MAX, State};
use crate::names::{GroupId, NodeId, ObjectId};

/// Most votes of one validator that wait for others; the oldest gives way to another.
pub const OPEN_VOTES_MAX: usize = 16;

/// The version that brought what is decided here.
const AGREEMENT: u32 = 2;

impl State {
    pub(super) fn change_validators(
        &mut self,
        author: &NodeId,
        change: &ValidatorChange,
    ) -> Result<(), EntryError> {
        self.require_agreement()?;
        allow(self.is_validator(author), author)?;
        if change.from != Some(self.validators().hash()) {
            return Err(EntryError::OtherValidators);
        }
        change.validators.check()?;
        if change.validators == *self.validators() {
            return Err(EntryError::SameValidators);
        }
        if self.vote(author, Ballot::new(10, change))? {
            self.replace_validators(change.validators.clone());
        }
        Ok(())
    }

    /// The one vote that version 1 has too.
    pub(super) fn upgrade(&mut self, author: &NodeId, upgrade: Upgrade) -> Result<(), EntryError> {
        allow(self.is_validator(author), author)?;
        let current = self.next_version();
        if upgrade.version <= current {
            return Err(EntryError::Version { current, found: upgrade.version });
        }
        if self.vote(author, Ballot::new(11, &upgrade))? {
            self.write(&StateKey::Version, &upgrade.version);
        }
        Ok(())
    }

    pub(super) fn update_validator(
        &mut self,
        author: &NodeId,
        update: &ValidatorUpdate,
    ) -> Result<(), EntryError> {
        self.require_agreement()?;
        check_length("address", update.address.len(), ADDRESS_LEN_MAX)?;
        let mut validator = self.validator(author);
        validator.address.clone_from(&update.address);
        if let Some(anchor) = update.anchor {
            let known = [&validator.anchor, &validator.next_anchor];
            if known.iter().any(|known| known.is_some_and(|known| known.anchor == anchor)) {
                return Err(EntryError::SameAnchor);
            }
            validator.anchor = validator.active_anchor(self.height);
            validator.anchors += 1;
            validator.next_anchor = Some(RegisteredAnchor {
                anchor,
                from: self.height + ANCHOR_DELAY_BLOCKS,
                number: validator.anchors,
                revealed: 0,
            });
        }
        self.write(&StateKey::Validator(*author), &validator);
        Ok(())
    }

    pub(super) fn raise_retention_floor(
        &mut self,
        author: &NodeId,
        floor: RetentionFloor,
    ) -> Result<(), EntryError> {
        self.require_agreement()?;
        allow(self.is_validator(author), author)?;
        let (above, most) = (self.retention_floor(), self.height);
        if floor.height <= above || floor.height > most {
            return Err(EntryError::RetentionFloor { above, most, found: floor.height });
        }
        if self.vote(author, Ballot::new(13, &floor))? {
            self.write(&StateKey::RetentionFloor, &floor.height);
        }
        Ok(())
    }

    pub(super) fn lose_node(&mut self, author: &NodeId, lost: NodeLost) -> Result<(), EntryError> {
        self.require_agreement()?;
        allow(self.is_validator(author), author)?;
        let node = self.node(&lost.node).filter(|node| !node.retired);
        let node = node.ok_or(EntryError::UnknownNode(lost.node))?;
        let generation = node.join.generation;
        if lost.generation != generation {
            return Err(EntryError::Generation { least: generation, found: lost.generation });
        }
        if lost.exclusions != self.exclusions() {
            return Err(EntryError::StaleVote);
        }
        if self.vote(author, Ballot::new(14, &lost))? {
            let lost_at = (self.version() >= CARE).then_some(self.height);
            self.exclude(Node { lost: lost_at, ..node });
        }
        Ok(())
    }

    /// Before version 3 a kind unknown to all: skipped.
    pub(super) fn convict(
        &mut self,
        author: &NodeId,
        proof: &WrongSymbol,
    ) -> Result<(), EntryError> {
        if self.version() < CARE {
            return Ok(());
        }
        let node = self.node(&proof.helper).filter(|node| !node.retired);
        let node = node.ok_or(EntryError::UnknownNode(proof.helper))?;
        allow(author != &proof.helper, author)?;
        let epochs = self.group(proof.part.group).map(|group| group.epochs()).unwrap_or_default();
        let known = self.version() >= ABSENCE || !proof.names_epoch();
        if !known || !proof.stands_under(|epoch| epochs.root(epoch)) {
            return Err(EntryError::NoConviction);
        }
        let mut objects: Vec<ObjectId> =
            self.read(&StateKey::WrongSymbols(proof.helper)).unwrap_or_default();
        if objects.contains(&proof.part.object) {
            return Err(EntryError::AlreadyConvicted(proof.helper));
        }
        objects.push(proof.part.object);
        if objects.len() >= WRONG_SYMBOLS_MAX {
            // Those it is enrolled with anew are counted anew.
            objects.clear();
            self.exclude(node);
        }
        self.write(&StateKey::WrongSymbols(proof.helper), &objects);
        Ok(())
    }

    pub(super) fn expel(
        &mut self,
        author: &NodeId,
        proof: &Equivocation,
    ) -> Result<(), EntryError> {
        self.require_agreement()?;
        allow(self.is_validator(author), author)?;
        let guilty = proof.guilty().ok_or(EntryError::NoEquivocation)?;
        if !self.is_validator(&guilty) || proof.height() < self.validator(&guilty).since {
            return Err(EntryError::StaleEquivocation(guilty));
        }
        let mut rest = self.validators().clone();
        rest.0.remove(&guilty);
        if rest.0.is_empty() {
            return Err(EntryError::LastValidator);
        }
        self.replace_validators(rest);
        Ok(())
    }

    /// What is registered of a validator, of a former or of a future one.
    pub fn validator(&self, node: &NodeId) -> Validator {
        self.read(&StateKey::Validator(*node)).unwrap_or_else(|| {
            let anchor = self.genesis.anchors.get(node).copied();
            Validator { anchor: anchor.map(RegisteredAnchor::of_genesis), ..Validator::default() }
        })
    }

    /// The lowest height whose bodies must be kept.
    pub fn retention_floor(&self) -> u64 {
        self.read(&StateKey::RetentionFloor).unwrap_or(0)
    }

    /// Records who put this block together, with what reveal, and who in the rotation did not.
    pub(super) fn take_turn(&mut self, proposer: &NodeId, reveal: &Reveal) {
        let missed = self.validators().passed_over(self.height, proposer);
        for node in missed {
            let mut validator = self.validator(&node);
            validator.missed += 1;
            self.write(&StateKey::Validator(node), &validator);
        }
        if let Reveal::Link(link) = reveal {
            let mut validator = self.validator(proposer);
            validator.reveal(self.height, *link);
            self.write(&StateKey::Validator(*proposer), &validator);
        }
    }

    /// How many times a machine was voted lost or convicted since version 8 of the rules came into
    /// force; none before.
    pub fn exclusions(&self) -> Option<u64> {
        let count = || self.read(&StateKey::Exclusions).unwrap_or(0);
        (self.version() >= EXCLUSIONS_VERSION_MIN).then(count)
    }

    fn exclude(&mut self, node: Node) {
        let mut waiting = self.lost_nodes();
        waiting.push(LostNode { node: node.join.node, next_group: GroupId(0) });
        self.retire_node(node);
        self.write(&StateKey::Lost, &waiting);
        self.ask_for_lost_slots();
        if let Some(before) = self.exclusions() {
            self.write(&StateKey::Exclusions, &(before + 1));
        }
    }

    /// Asks for draws for the slots of lost machines, as many as may wait.
    pub(super) fn ask_for_lost_slots(&mut self) {
        let mut lost = self.lost_nodes();
        if lost.is_empty() {
            return;
        }
        let (mut pending, groups) = (self.pending(), self.counts().groups);
        lost.retain_mut(|LostNode { node, next_group }| {
            while next_group.0 < groups {
                if pending.len() >= PENDING_DRAWS_MAX {
                    return true;
                }
                let group = *next_group;
                next_group.0 += 1;
                let slot = self.group(group).and_then(|seats| seats.slot_of(node));
                let draw = PendingDraw { group, slot };
                if slot.is_some() && !pending.contains(&draw) {
                    pending.push(draw);
                }
            }
            false
        });
        self.write(&StateKey::Pending, &pending);
        self.write(&StateKey::Lost, &lost);
    }

    /// A machine is back before its slots were given to others: they stay with it.
    pub(super) fn keep_slots(&mut self, node: &NodeId) {
        let mut lost = self.lost_nodes();
        lost.retain(|other| other.node != *node);
        self.write(&StateKey::Lost, &lost);
        let (mut pending, before) = (self.pending(), self.pending().len());
        pending.retain(|draw| {
            let holds = |slot| self.group(draw.group)?.holder(slot).map(|holder| holder.node);
            draw.slot.and_then(holds) != Some(*node)
        });
        if pending.len() < before {
            self.write(&StateKey::Pending, &pending);
        }
    }

    fn lost_nodes(&self) -> Vec<LostNode> {
        self.read(&StateKey::Lost).unwrap_or_default()
    }

    fn require_agreement(&self) -> Result<(), EntryError> {
        if self.version() < AGREEMENT { Err(EntryError::NeedsVersion(AGREEMENT)) } else { Ok(()) }
    }

    /// Counts a vote. True if it decides: then its content is no longer voted on.
    fn vote(&mut self, author: &NodeId, content: Ballot) -> Result<bool, EntryError> {
        let mut own = self.open_votes(author);
        if own.contains(&content) {
            return Err(EntryError::AlreadyVoted);
        }
        let present = self.validators().0.keys();
        let others = present.filter(|node| self.open_votes(node).contains(&content));
        let voters: BTreeSet<NodeId> = others.chain([author]).copied().collect();
        if self.validators().decides(&voters) {
            for voter in voters {
                let mut open = self.open_votes(&voter);
                open.retain(|other| *other != content);
                self.write(&StateKey::OpenVotes(voter), &open);
            }
            return Ok(true);
        }
        if own.len() >= OPEN_VOTES_MAX {
            own.remove(0);
        }
        own.push(content);
        self.write(&StateKey::OpenVotes(*author), &own);
        Ok(false)
    }

    fn open_votes(&self, node: &NodeId) -> Vec<Ballot> {
        self.read(&StateKey::OpenVotes(*node)).unwrap_or_default()
    }

    /// From the next block on. All votes start anew, so that none counts for a set it was not cast
    /// in, not even when an old set returns.
    fn replace_validators(&mut self, validators: ValidatorSet) {
        let before = Arc::clone(&self.validators);
        for node in before.0.keys() {
            if !self.open_votes(node).is_empty() {
                self.write(&StateKey::OpenVotes(*node), &Vec::<Ballot>::new());
            }
        }
        for node in validators.0.keys().filter(|node| !before.contains(node)) {
            let validator = Validator { since: self.height + 1, ..self.validator(node) };
            self.write(&StateKey::Validator(*node), &validator);
        }
        self.write(&StateKey::Validators, &validators);
        self.validators = Arc::new(validators);
    }
}
