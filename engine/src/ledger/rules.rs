//! The rules of each kind of entry: who may say it, when it is refused, what it changes.

use super::entry::{
    ADDRESS_LEN_MAX, EpochAdvance, GroupCreate, IDENTITY_LEN_MAX, IdentityRecord, NodeJoin,
    NodeUpdate, SlotFilled, SlotReassign, ZONE_LEN_MAX,
};
use super::entry_error::{EntryError, check_length};
use super::genesis::check_group;
use super::pointer::{POINTER_SEALED_LEN_MAX, Pointer, PointerRetire};
use super::registry::{Group, Identity, Node, PendingDraw, PostedPointer, StateKey};
use super::state::{
    CARE, GROWTH, NUMBERED_POINTERS_VERSION_MIN, PENDING_DRAWS_MAX, POINTERS_PER_TAG_MAX, REFRESH,
    State, VACATED_MAX,
};
use crate::names::{Epoch, GroupId, NodeId};
use crate::policy::placement::{NEW_GROUPS_MAX, groups_due};
use crate::policy::repair::leak_margin;

impl State {
    pub(super) fn join(&mut self, author: &NodeId, join: &NodeJoin) -> Result<(), EntryError> {
        let answers = self.is_operator(author) && join.operator == *author;
        allow(answers || self.is_validator(author), author)?;
        self.enrol(join)
    }

    pub(super) fn enrol(&mut self, join: &NodeJoin) -> Result<(), EntryError> {
        check_length("address", join.address.len(), ADDRESS_LEN_MAX)?;
        check_length("zone", join.zone.len(), ZONE_LEN_MAX)?;
        let mut counts = self.counts();
        let slots = match self.node(&join.node) {
            None => {
                self.write(&StateKey::NodeAt(counts.nodes), &join.node);
                counts.nodes += 1;
                0
            }
            Some(before) if before.retired => {
                check_generation(before.join.generation.saturating_add(1), join.generation)?;
                before.slots
            }
            Some(_) => return Err(EntryError::AlreadyEnrolled(join.node)),
        };
        counts.storage_nodes += u32::from(join.roles.storage);
        self.write(&StateKey::Counts, &counts);
        let node = Node { join: join.clone(), slots, retired: false, lost: None, draining: None };
        self.write(&StateKey::Node(join.node), &node);
        if self.version() >= CARE && slots > 0 {
            self.keep_slots(&join.node);
        }
        if self.version() >= GROWTH && join.roles.storage {
            self.make_groups_due();
        }
        Ok(())
    }

    pub(super) fn update(
        &mut self,
        author: &NodeId,
        update: &NodeUpdate,
    ) -> Result<(), EntryError> {
        let mut node = self.node_of(author, &update.node)?;
        check_length("address", update.address.len(), ADDRESS_LEN_MAX)?;
        check_generation(node.join.generation, update.generation)?;
        node.join.address.clone_from(&update.address);
        node.join.quota_bytes = update.quota_bytes;
        node.join.generation = update.generation;
        self.write(&StateKey::Node(update.node), &node);
        Ok(())
    }

    pub(super) fn retire(&mut self, author: &NodeId, name: &NodeId) -> Result<(), EntryError> {
        let node = self.node_of(author, name)?;
        self.retire_node(node);
        Ok(())
    }

    pub(super) fn retire_node(&mut self, live: Node) {
        let mut counts = self.counts();
        counts.storage_nodes -= u32::from(live.takes_slots());
        self.write(&StateKey::Counts, &counts);
        self.write(&StateKey::Node(live.join.node), &Node { retired: true, ..live });
    }

    /// Before version 3 a kind unknown to all: skipped.
    pub(super) fn drain(&mut self, author: &NodeId, name: &NodeId) -> Result<(), EntryError> {
        if self.version() < CARE {
            return Ok(());
        }
        let node = self.node_of(author, name)?;
        let (mut pending, began) = (self.pending(), !node.is_draining());
        let before = pending.len();
        for (id, group) in self.groups() {
            let Some(slot) = group.slot_of(name) else { continue };
            let draw = PendingDraw { group: id, slot: Some(slot) };
            let bears = leak_margin(group.key.k(), group.vacated.len() + 1) >= 1;
            let room = pending.len() < PENDING_DRAWS_MAX;
            if bears && room && !pending.contains(&draw) {
                pending.push(draw);
            }
        }
        if pending.len() == before && !began {
            return Err(EntryError::NothingToDrain(*name));
        }
        if node.takes_slots() {
            let mut counts = self.counts();
            counts.storage_nodes -= 1;
            self.write(&StateKey::Counts, &counts);
        }
        self.write(&StateKey::Node(*name), &Node { draining: Some(true), ..node });
        self.write(&StateKey::Pending, &pending);
        Ok(())
    }

    pub(super) fn create_group(
        &mut self,
        author: &NodeId,
        create: &GroupCreate,
    ) -> Result<(), EntryError> {
        allow(self.is_validator(author) || self.is_operator(author), author)?;
        self.add_group(create)
    }

    pub(super) fn add_group(&mut self, create: &GroupCreate) -> Result<(), EntryError> {
        check_group(create.code, create.key)?;
        let mut counts = self.counts();
        let (needed, available) = (create.code.n.into(), counts.storage_nodes as usize);
        if available < needed {
            return Err(EntryError::TooFewNodes { needed, available });
        }
        let id = GroupId(counts.groups);
        self.ask_for_draw(PendingDraw { group: id, slot: None })?;
        counts.groups += 1;
        let group = Group {
            code: create.code,
            key: create.key,
            epoch: Epoch(0),
            root: [0; 32],
            holders: Vec::new(),
            vacated: Vec::new(),
            operator_bound_kept: true,
            refreshes: None,
        };
        self.write(&StateKey::Counts, &counts);
        self.write_group(id, group);
        Ok(())
    }

    /// Asks for the groups that there are machines for.
    pub(super) fn make_groups_due(&mut self) {
        let (code, key) = (self.genesis.code, self.genesis.key);
        let due = groups_due(self.counts().storage_nodes, code.n);
        let missing = due.saturating_sub(self.counts().groups).min(NEW_GROUPS_MAX);
        for _ in 0..missing {
            // The genesis has checked the codes. Where too many draws wait, the next machine asks again.
            if self.add_group(&GroupCreate { code, key }).is_err() {
                return;
            }
        }
    }

    pub(super) fn reassign(
        &mut self,
        author: &NodeId,
        reassign: &SlotReassign,
    ) -> Result<(), EntryError> {
        let SlotReassign { group: id, slot } = *reassign;
        let group = self.group(id).ok_or(EntryError::UnknownGroup(id))?;
        let holder = group.holder(slot).ok_or(EntryError::UnknownSlot { group: id, slot })?;
        let answers = self.node(&holder.node).is_some_and(|node| node.join.operator == *author);
        allow(answers || self.is_validator(author), author)?;
        if group.vacated.len() >= VACATED_MAX {
            return Err(EntryError::RefreshFirst(id));
        }
        let draw = PendingDraw { group: id, slot: Some(slot) };
        if self.pending().contains(&draw) {
            return Err(EntryError::AlreadyPending { group: id, slot });
        }
        if !self.is_placeable(&draw) {
            return Err(EntryError::TooFewNodes { needed: 1, available: 0 });
        }
        self.ask_for_draw(draw)
    }

    /// Before version 3 a kind unknown to all: skipped.
    pub(super) fn fill_slot(
        &mut self,
        author: &NodeId,
        filled: &SlotFilled,
    ) -> Result<(), EntryError> {
        if self.version() < CARE {
            return Ok(());
        }
        let SlotFilled { group: id, slot, since } = *filled;
        let mut group = self.group(id).cloned().ok_or(EntryError::UnknownGroup(id))?;
        let holder = group.holders.get_mut(slot.index());
        let holder = holder.ok_or(EntryError::UnknownSlot { group: id, slot })?;
        allow(holder.node == *author, author)?;
        if holder.since != since || !holder.is_filling() {
            return Err(EntryError::NotFilling { group: id, slot });
        }
        holder.filling = None;
        self.write_group(id, group);
        Ok(())
    }

    pub(super) fn advance_epoch(
        &mut self,
        author: &NodeId,
        advance: &EpochAdvance,
    ) -> Result<(), EntryError> {
        // From version 4 on the holders' word advances an epoch (`RefreshEnd`), nobody else's.
        allow(self.is_validator(author) && self.version() < REFRESH, author)?;
        let group = self.group(advance.group).cloned();
        let mut group = group.ok_or(EntryError::UnknownGroup(advance.group))?;
        let expected = Epoch(group.epoch.0 + 1);
        if advance.epoch != expected {
            return Err(EntryError::Epoch { expected, found: advance.epoch });
        }
        group.epoch = expected;
        group.root = advance.root;
        group.vacated.clear();
        self.write_group(advance.group, group);
        Ok(())
    }

    pub(super) fn post(&mut self, author: &NodeId, pointer: &Pointer) -> Result<(), EntryError> {
        allow(self.submits(author), author)?;
        check_length("pointer", pointer.sealed.len(), POINTER_SEALED_LEN_MAX)?;
        let tag = pointer.tag();
        let mut posted = self.pointers(tag);
        let replaced = self.make_way(pointer, &mut posted)?;
        let live = replaced.iter().filter(|other| other.pointer.is_some());
        let (own, others): (Vec<NodeId>, Vec<NodeId>) =
            live.map(|other| other.author).partition(|payer| payer == author);
        let held = self.pointers_by(author) - own.len() as u64;
        let limit = self.genesis.pointers_per_author_max;
        if held >= limit {
            return Err(EntryError::PointerQuota { author: *author, limit });
        }
        for payer in others {
            self.write(&StateKey::PointersBy(payer), &(self.pointers_by(&payer) - 1));
        }
        posted.push(PostedPointer {
            content: pointer.content(),
            author: *author,
            height: self.height,
            pointer: Some(pointer.clone()),
            number: pointer.number,
        });
        self.write(&StateKey::PointersOf(tag), &posted);
        self.write(&StateKey::PointersBy(*author), &(held + 1));
        Ok(())
    }

    /// Takes from under the pointer's tag, and returns, those whose place it takes.
    fn make_way(
        &self,
        pointer: &Pointer,
        posted: &mut Vec<PostedPointer>,
    ) -> Result<Vec<PostedPointer>, EntryError> {
        let numbered = self.version() >= NUMBERED_POINTERS_VERSION_MIN;
        match pointer.number {
            None if numbered => Err(EntryError::UnnumberedPointer),
            Some(_) if !numbered => Err(EntryError::NeedsVersion(NUMBERED_POINTERS_VERSION_MIN)),
            None if posted.iter().any(|other| other.content == pointer.content()) => {
                Err(EntryError::DuplicatePointer)
            }
            None if posted.len() >= POINTERS_PER_TAG_MAX => Err(EntryError::TagFull(pointer.tag())),
            None => Ok(Vec::new()),
            Some(found) => match posted.iter().filter_map(|other| other.number).max() {
                Some(newest) if found <= newest => Err(EntryError::OldPointer { newest, found }),
                _ => Ok(std::mem::take(posted)),
            },
        }
    }

    /// The content hash stays, or the number, so that the old pointer cannot be posted again by others.
    pub(super) fn retire_pointer(
        &mut self,
        author: &NodeId,
        retire: &PointerRetire,
    ) -> Result<(), EntryError> {
        allow(self.submits(author), author)?;
        let tag = retire.tag();
        let mut posted = self.pointers(tag);
        let live = |posted: &&mut PostedPointer| {
            posted.content == retire.content && posted.pointer.is_some()
        };
        let retired = posted.iter_mut().find(live).ok_or(EntryError::UnknownPointer(tag))?;
        retired.pointer = None;
        let payer = retired.author;
        self.write(&StateKey::PointersOf(tag), &posted);
        self.write(&StateKey::PointersBy(payer), &(self.pointers_by(&payer) - 1));
        Ok(())
    }

    pub(super) fn record_identity(
        &mut self,
        author: &NodeId,
        identity: &IdentityRecord,
    ) -> Result<(), EntryError> {
        allow(self.submits(author), author)?;
        check_length("identity record", identity.record.len(), IDENTITY_LEN_MAX)?;
        let before = self.identity(identity.handle);
        let expected = before.as_ref().map_or(0, |before| before.version) + 1;
        let IdentityRecord { handle, version, key, record, .. } = identity.clone();
        if version != expected {
            return Err(EntryError::IdentityVersion { expected, found: version });
        }
        // The first one proves itself: `check_signatures`.
        if before.is_some_and(|before| !identity.verifies(&self.network, &before.key)) {
            return Err(EntryError::IdentitySignature);
        }
        self.write(&StateKey::Identity(handle), &Identity { version, key, record });
        Ok(())
    }

    /// The live machine `name`, if the author is it, answers for it or is a validator.
    fn node_of(&self, author: &NodeId, name: &NodeId) -> Result<Node, EntryError> {
        let node = self.node(name).filter(|node| !node.retired);
        let node = node.ok_or(EntryError::UnknownNode(*name))?;
        let answers = author == name || node.join.operator == *author;
        allow(answers || self.is_validator(author), author)?;
        Ok(node)
    }

    /// Whether it may submit pointers and identity records.
    pub fn submits(&self, author: &NodeId) -> bool {
        self.submitter_quota(author).is_some()
    }

    /// How many bytes of parts one holder keeps for a submitter: validators and operators, who set
    /// the quotas of others, have no limit. `None` if it may not submit.
    pub fn submitter_quota(&self, author: &NodeId) -> Option<u64> {
        if self.is_validator(author) || self.is_operator(author) {
            return Some(u64::MAX);
        }
        self.node(author).filter(Node::submits).map(|node| node.join.quota_bytes)
    }

    fn pointers_by(&self, author: &NodeId) -> u64 {
        self.read(&StateKey::PointersBy(*author)).unwrap_or(0)
    }

    fn ask_for_draw(&mut self, draw: PendingDraw) -> Result<(), EntryError> {
        let mut pending = self.pending();
        if pending.len() >= PENDING_DRAWS_MAX {
            return Err(EntryError::TooManyDraws);
        }
        pending.push(draw);
        self.write(&StateKey::Pending, &pending);
        Ok(())
    }
}

pub(super) fn allow(allowed: bool, author: &NodeId) -> Result<(), EntryError> {
    if allowed { Ok(()) } else { Err(EntryError::NotAllowed(*author)) }
}

fn check_generation(least: u64, found: u64) -> Result<(), EntryError> {
    if found < least { Err(EntryError::Generation { least, found }) } else { Ok(()) }
}
