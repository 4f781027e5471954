//! Refreshes of key shares: whose turn it is, what leads ask, and what must hold of the new shares.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kakera_engine::keyshare::{SECRET_LEN, Symbol, read_robust};
use kakera_engine::ledger::{Body, Group};
use kakera_engine::names::{Epoch, GroupId, ObjectId, Slot};
use kakera_engine::object::Descriptor;
use kakera_engine::peer::refresh::Lead;
use kakera_engine::peer::{Answer, Ask, AskFailure, StoredPart};
use kakera_engine::policy::refresh::is_due;
use kakera_engine::wire::{Operation, PartReference, RefreshPlace, RefreshStage};

use super::Kept;
use super::node::unix;
use super::world::{Asker, BLOCK_TIME, Change, Event, World};

/// How often holders look whether a refresh is due.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How often a dealer tries to give a receiver its rows.
const ROWS_TRIES: u32 = 2;
const ROWS_TIMEOUT: Duration = Duration::from_secs(5);

/// A refresh that a node leads.
pub(super) struct Leading {
    node: usize,
    group: GroupId,
    lead: Lead,
    /// When its next poll is due; `Duration::MAX` if none is.
    poll_at: Duration,
}

impl<E> World<E> {
    /// Lets the holders of groups that are due take their turns.
    pub(super) fn look_at_epochs(&mut self) {
        let Some(times) = self.network.refresh else { return };
        self.at(self.now + LOOK_EVERY, Event::LookAtEpochs);
        let mut holders = BTreeSet::new();
        for (id, group) in &self.groups {
            let since = group.refreshes.as_ref().map_or(0, |refreshes| refreshes.since);
            let age = Duration::from_millis(unix(self.now).saturating_sub(since));
            if is_due(&times, id.0, group.key.k(), age, group.vacated.len()) {
                holders.extend(group.holders.iter().filter_map(|holder| self.place(&holder.node)));
            }
        }
        for node in holders {
            self.take_turns(node);
        }
    }

    fn take_turns(&mut self, node: usize) {
        let Some(times) = self.network.refresh else { return };
        if !self.nodes[node].is_up(self.now) {
            return;
        }
        self.hear_of_ledger(node);
        for turn in self.nodes[node].take_turns(self.now) {
            let group = turn.place.group;
            let lead = Lead::new(self.ledger.network(), turn, times, self.now);
            self.nodes[node].leading += 1;
            let number = self.leads_begun;
            self.leads_begun += 1;
            self.leads.insert(number, Leading { node, group, lead, poll_at: Duration::MAX });
            self.go_on_leading(number);
        }
    }

    /// A poll that was asked for is due.
    pub(super) fn poll_lead(&mut self, number: u64) {
        let Some(leading) = self.leads.get_mut(&number) else { return };
        if leading.poll_at == self.now {
            leading.poll_at = Duration::MAX;
            self.go_on_leading(number);
        }
    }

    /// Everyone who leads sees the newest block.
    pub(super) fn poll_leads(&mut self) {
        let numbers: Vec<u64> = self.leads.keys().copied().collect();
        numbers.into_iter().for_each(|number| self.go_on_leading(number));
    }

    fn go_on_leading(&mut self, number: u64) {
        let Some(mut leading) = self.leads.remove(&number) else { return };
        let node = leading.node;
        if self.nodes[node].dead {
            return;
        }
        if !self.nodes[node].is_up(self.now) {
            let awake = self.nodes[node].asleep_until;
            return self.keep_leading(number, leading, awake);
        }
        self.hear_of_ledger(node);
        loop {
            if let Some(group) = self.nodes[node].view.state.group(leading.group) {
                leading.lead.handle_state(self.now, group);
            }
            let Some(entry) = leading.lead.poll_entry() else { break };
            if !self.write(node, number, entry) {
                leading.lead.handle_told(false);
            }
        }
        if leading.lead.poll_outcome().is_some() {
            self.nodes[node].leading -= 1;
            return;
        }
        let mut asks = Vec::new();
        while let Some(ask) = leading.lead.poll_ask(self.now) {
            asks.push(ask);
        }
        let wake = leading.lead.poll_timeout().max(self.now + Duration::from_millis(1));
        self.keep_leading(number, leading, wake);
        asks.into_iter().for_each(|ask| self.ask(Asker::Lead { node, number }, ask));
    }

    /// It is polled then, if not sooner.
    fn keep_leading(&mut self, number: u64, mut leading: Leading, wake: Duration) {
        if wake < leading.poll_at {
            leading.poll_at = wake;
            self.at(wake, Event::PollLead(number));
        }
        self.leads.insert(number, leading);
    }

    /// Puts an entry on the ledger, if the node is not cut off.
    fn write(&mut self, node: usize, number: u64, entry: Body) -> bool {
        if !self.is_near(node) {
            return false;
        }
        if let Body::RefreshEnd(end) = &entry {
            let (group, epoch) = (end.group, end.epoch);
            self.at(self.now + BLOCK_TIME * 2, Event::Ended { number, group, epoch });
        }
        let key = self.nodes[node].key.clone();
        self.ledger.post(&key, entry);
        self.want_block();
        true
    }

    /// The entry that ends a refresh is on the ledger, or was refused.
    pub(super) fn refresh_ended(&mut self, number: u64, group: GroupId, epoch: Epoch) {
        let taken = self.ledger.state().group(group).is_some_and(|group| group.epoch >= epoch);
        if let Some(leading) = self.leads.get_mut(&number) {
            leading.lead.handle_told(taken);
            self.go_on_leading(number);
        }
    }

    pub(super) fn lead_hears(&mut self, number: u64, id: u64, answer: Result<Answer, AskFailure>) {
        if let Some(leading) = self.leads.get_mut(&number) {
            leading.lead.handle_answer(self.now, id, answer);
            self.go_on_leading(number);
        }
    }

    /// A dealer sends its rows before it says that it dealt.
    pub(super) fn deal(&mut self, dealer: usize, operation: &Operation) {
        let Operation::Refresh(step) = operation else { return };
        if step.stage != RefreshStage::Deal {
            return;
        }
        let author = self.nodes[dealer].id;
        for (to, rows) in self.nodes[dealer].rows(&step.place) {
            let receiver = self.place(&to.node).filter(|place| self.reach(dealer, *place));
            let Some(receiver) = receiver else { continue };
            if (0..ROWS_TRIES).all(|_| self.loses()) {
                continue;
            }
            let place = RefreshPlace { slot: to.slot, ..step.place };
            let operation = Operation::Deal { place, dealer: step.place.slot };
            let (id, body, timeout) = (0, rows, ROWS_TIMEOUT);
            // Whoever does not take them complains to all.
            let _ = self.serve(receiver, author, Ask { id, to, operation, body, timeout });
        }
    }

    /// Who holds what after a block, and what must hold of the shares of groups that it moved on.
    pub(super) fn look_at_groups(&mut self) {
        if self.network.refresh.is_none() {
            return;
        }
        let state = self.ledger.state();
        let groups = state.groups().map(|(id, group)| (id, Group::clone(group)));
        let now: BTreeMap<GroupId, Group> = groups.collect();
        let before = std::mem::replace(&mut self.groups, now);
        for (id, before) in before {
            let moved = self.groups.get(&id).filter(|group| group.epoch > before.epoch).cloned();
            if let Some(group) = moved {
                self.check_shares(id, &group);
                self.changes.push(Change::Epoch(id));
            }
        }
    }

    /// The new shares that holders have put in place give every secret of the group, and none does
    /// with a share that was replaced.
    fn check_shares(&mut self, id: GroupId, group: &Group) {
        let (mut kept, mut refused, mut wrong) = (0, 0, Vec::new());
        let k = usize::from(group.key.k());
        let of_group = self.truths.iter().filter(|(_, truth)| truth.group == id);
        for (object, truth) in of_group.filter(|(_, truth)| !truth.ill_formed) {
            let (new, old) = self.parts_of(id, group, object, group.epoch);
            if new.len() < k {
                continue; // put while the refresh went on, or holders have not seen the block
            }
            match read(group, &new) == Some(truth.secret) {
                true => kept += 1,
                false => wrong.push(format!("{object} has no secret in epoch {}", group.epoch.0)),
            }
            for (slot, part) in old {
                let others = new.iter().filter(|(other, _)| *other != slot).take(k - 1).cloned();
                let mixed: Vec<Part> = others.chain([(slot, part)]).collect();
                match read(group, &mixed) == Some(truth.secret) {
                    true => wrong.push(format!("an old share of {object} is good for ever")),
                    false => refused += 1,
                }
            }
        }
        self.secrets_kept += kept;
        self.old_shares_refused += refused;
        wrong.iter().for_each(|what| self.broken(what));
    }

    /// A share that a node has rebuilt is of the newest epoch, and with others it gives the secret.
    pub(super) fn check_rebuilt(&mut self, node: usize, part: &PartReference) {
        let PartReference { group: id, slot, object } = *part;
        let Some(group) = self.ledger.state().group(id).cloned() else { return };
        let rebuilt = self.nodes[node].disk.parts.get(part).map(Kept::stored);
        let Some((part, epoch)) = rebuilt.and_then(|stored| part_of(&stored)) else { return };
        let others = self.parts_of(id, &group, &object, epoch).0;
        let others = others.into_iter().filter(|(other, _)| *other != slot);
        let k = usize::from(group.key.k());
        let parts: Vec<_> = others.take(k - 1).chain([(slot, part)]).collect();
        let truth = self.truths.get(&object);
        if truth.is_some_and(|truth| truth.ill_formed) {
            return;
        }
        if parts.len() == k && truth.map(|truth| truth.secret) != read(&group, &parts) {
            self.broken(&format!("the share of slot {slot} of {object} was rebuilt wrongly"));
        }
    }

    /// What readers get of the shares of an object from holders that have those of this epoch, and
    /// what they would have got of those that these replaced.
    fn parts_of(
        &self,
        id: GroupId,
        group: &Group,
        object: &ObjectId,
        epoch: Epoch,
    ) -> (Vec<Part>, Vec<Part>) {
        let mut parts = (Vec::new(), Vec::new());
        for (slot, holder) in Slot::all(group.code.n).zip(&group.holders) {
            let Some(node) = self.place(&holder.node) else { continue };
            let name = PartReference { group: id, slot, object: *object };
            let disk = &self.nodes[node].disk;
            let new = disk.parts.get(&name).and_then(|kept| part_of(&kept.stored()));
            if let Some((new, _)) = new.filter(|(_, of)| *of == epoch) {
                parts.0.push((slot, new));
                let old = disk.replaced.get(&name).and_then(part_of);
                parts.1.extend(old.map(|(old, _)| (slot, old)));
            }
        }
        parts
    }
}

/// What a slot gives a reader.
type Part = (Slot, Symbol);

/// What a share gives a reader, and its epoch.
fn part_of(stored: &StoredPart) -> Option<(Symbol, Epoch)> {
    let descriptor = Descriptor::decode(&stored.object.descriptor).ok()?;
    let part = stored.share.prove_part(&descriptor.binding()).part().clone();
    Some((part, stored.epoch(&descriptor)))
}

/// What the parts of k slots give.
fn read(group: &Group, parts: &[Part]) -> Option<[u8; SECRET_LEN]> {
    let said: Vec<_> = parts.iter().map(|(slot, part)| (*slot, part)).collect();
    read_robust(group.key, &said).ok().map(|(secret, _)| *secret.expose())
}
