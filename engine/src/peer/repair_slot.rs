//! Filling a slot: the union of the helpers' inventories, one object after the other.
//!
//! Every helper's inventory is read, because any single one may be incomplete or lie; an object that
//! nobody has is ignored, names the helper that listed it and ends its inventory, so that nobody can
//! keep a newcomer busy by listing for ever. Who was whole a while ago looks at one helper first, and
//! is done if it has the same ([`RepairSlot::level_with`]). Where there is no room for a part, no other is
//! asked for. A few objects are rebuilt at once. Memory: 32 bytes an object of the slot, a page of every
//! inventory, and d times the symbols of a fragment an object under way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::holder::disk_refusal;
use super::{
    Answer, Ask, AskFailure, DiskError, Fault, FaultKind, Member, Rebuilt, RenewedPart,
    RepairError, RepairObject, RepairedPart,
};
use crate::code::CodeParameters;
use crate::keyshare::KeyParameters;
use crate::ledger::{Group, GroupEpochs, WrongSymbol};
use crate::names::{Epoch, GroupId, NetworkId, ObjectId, Slot};
use crate::policy::durability;
use crate::policy::reading::LatencyBook;
use crate::wire::{
    Inventory, InventoryPage, InventorySummary, MisfitProof, Operation, RepairProgress, Response,
    canonical, presentable,
};

const INVENTORY_TIMEOUT: Duration = Duration::from_secs(10);
const INVENTORY_PAGE: u16 = 1000;
const PAGE_LEN_MAX: usize = 40 * INVENTORY_PAGE as usize;
/// Objects under way at once: with 4 MiB objects about 5 MiB of symbols each.
const OBJECTS_AT_ONCE: usize = 3;
/// Wrong symbols that are remembered; each has a descriptor.
const EVIDENCE_MAX: usize = 32;

/// What the machine wants done.
#[derive(Debug)]
pub enum RepairAction {
    /// Ask a helper.
    Ask(Ask),
    /// Make a rebuilt part durable, then call [`RepairSlot::handle_stored`].
    Store(RepairedPart),
    /// Put these shares in the place of those that are kept, then call
    /// [`RepairSlot::handle_renewed`].
    Renew(Vec<RenewedPart>),
}

/// The repair of a slot.
pub struct RepairSlot {
    network: NetworkId,
    group: GroupId,
    slot: Slot,
    codes: (CodeParameters, KeyParameters),
    epochs: GroupEpochs,
    filling: BTreeSet<Slot>,
    helpers: Vec<Member>,
    latencies: LatencyBook,
    listings: Vec<Listing>,
    /// Listed and not held yet, each with the listing that has it.
    waiting: BTreeMap<ObjectId, usize>,
    /// Held here, with shares of these epochs, and perhaps others have newer ones.
    stale: BTreeMap<ObjectId, Epoch>,
    /// Held here, failed, or under way.
    settled: BTreeSet<ObjectId>,
    under_way: BTreeMap<ObjectId, UnderWay>,
    asked: BTreeMap<u64, Question>,
    next_id: u64,
    rebuilt: Vec<RepairedPart>,
    /// Kept together until all of a slot's are there: a file has all of an epoch, at most as many as
    /// batches have objects.
    renewed: Vec<RenewedPart>,
    /// Of what was held at the start, and of what is known to be ill-formed.
    own: InventorySummary,
    storing: usize,
    /// There was no room for a part: what else is rebuilt would be thrown away.
    full: bool,
    /// Helpers whose inventories were read to the end.
    listed: usize,
    /// One helper's inventory was enough, and equal.
    level: bool,
    /// Objects that nobody can rebuild.
    hopeless: u64,
    /// Those of them whose writers stored parts that do not fit together, with proofs where there are any.
    ill_formed: BTreeMap<ObjectId, Option<MisfitProof>>,
    progress: RepairProgress,
    symbol_use: SymbolUse,
    faults: Vec<Fault>,
    evidence: Vec<WrongSymbol>,
}

/// What became of the helper symbols that repairs received, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SymbolUse {
    /// Parts were rebuilt from them and are stored.
    pub useful: u64,
    /// What the code's theory says for these parts: d·β each.
    pub useful_in_theory: u64,
    /// Whole fragments were needed in their place: helpers lied, or were fewer than d.
    pub replaced: u64,
    /// The answer was refused, or of an epoch that was over, and the part was rebuilt without it.
    pub refused: u64,
    /// The part was not rebuilt, or could not be stored.
    pub failed: u64,
}

impl SymbolUse {
    /// Adds what became of those of another repair.
    pub fn add(&mut self, other: &Self) {
        self.useful += other.useful;
        self.useful_in_theory += other.useful_in_theory;
        self.replaced += other.replaced;
        self.refused += other.refused;
        self.failed += other.failed;
    }
}

/// How far the inventory of one helper has been read.
struct Listing {
    member: Member,
    after: Option<ObjectId>,
    state: ListingState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ListingState {
    /// Perhaps another helper's says enough.
    Spare,
    /// Perhaps it has exactly what is held here.
    Unknown,
    Due,
    Asked,
    Ended,
}

struct UnderWay {
    machine: RepairObject,
    /// Whose inventory has it; none of what is held here and stale.
    listing: Option<usize>,
}

struct Question {
    asked_at: Duration,
    of: QuestionOf,
    member: Member,
}

enum QuestionOf {
    Summary(usize),
    Listing(usize),
    Object { object: ObjectId, id: u64 },
}

impl RepairSlot {
    /// Fills `slot` of `group` from the other `members`. `held` are the objects already here.
    pub fn new(
        network: NetworkId,
        group: GroupId,
        slot: Slot,
        codes: (CodeParameters, KeyParameters),
        members: &[Member],
        held: BTreeSet<ObjectId>,
    ) -> Self {
        let helpers: Vec<Member> =
            members.iter().copied().filter(|member| member.slot != slot).collect();
        let listings = helpers
            .iter()
            .map(|&member| Listing {
                member,
                after: None,
                state: if held.is_empty() { ListingState::Due } else { ListingState::Unknown },
            })
            .collect();
        let own = InventorySummary::of(&held);
        let progress =
            RepairProgress { objects_held: held.len() as u64, ..RepairProgress::default() };
        Self {
            network,
            group,
            slot,
            codes,
            epochs: GroupEpochs::default(),
            filling: BTreeSet::new(),
            helpers,
            latencies: LatencyBook::default(),
            listings,
            waiting: BTreeMap::new(),
            stale: BTreeMap::new(),
            settled: held,
            under_way: BTreeMap::new(),
            asked: BTreeMap::new(),
            next_id: 0,
            rebuilt: Vec::new(),
            renewed: Vec::new(),
            own,
            storing: 0,
            full: false,
            listed: 0,
            level: false,
            hopeless: 0,
            ill_formed: BTreeMap::new(),
            progress,
            symbol_use: SymbolUse::default(),
            faults: Vec::new(),
            evidence: Vec::new(),
        }
    }

    /// The same in a group as the ledger has it: its epochs, and who rebuilds a slot as well.
    pub fn in_group(self, group: &Group) -> Self {
        let slots = Slot::all(group.code.n).zip(&group.holders);
        let filling = slots.filter(|(_, holder)| holder.is_filling()).map(|(slot, _)| slot);
        Self { epochs: group.epochs(), filling: filling.collect(), ..self }
    }

    /// The same without objects that were found ill-formed before. Helpers that have them beside what is
    /// held here have nothing else.
    pub fn without(mut self, ill_formed: BTreeSet<ObjectId>) -> Self {
        self.settled.extend(ill_formed);
        self.own = InventorySummary::of(&self.settled);
        self
    }

    /// The same for a slot that was whole a while ago: `helper` is asked first, the next if it does not
    /// answer, and the others only if it has something else.
    pub fn level_with(mut self, helper: Slot) -> Self {
        let is_first = |listing: &Listing| listing.member.slot == helper;
        let first = self.listings.iter().position(is_first).unwrap_or(0);
        self.listings.rotate_left(first);
        self.listings.iter_mut().for_each(|listing| listing.state = ListingState::Spare);
        self.change_spare(1, ListingState::Unknown);
        self
    }

    /// Objects that are held, and whose shares may be of an epoch that is over: this holder did not
    /// take part in a refresh.
    pub fn renew(&mut self, stale: BTreeMap<ObjectId, Epoch>) {
        self.stale = stale;
    }

    /// Objects that are not to be rebuilt: their owner had them destroyed.
    pub fn leave_out(&mut self, shredded: impl IntoIterator<Item = ObjectId>) {
        self.settled.extend(shredded);
    }

    /// How far it has come.
    pub fn progress(&self) -> RepairProgress {
        RepairProgress { finished: self.is_finished(), ..self.progress.clone() }
    }

    /// What became of the symbols received, those of objects under way left out.
    pub fn symbol_use(&self) -> SymbolUse {
        self.symbol_use
    }

    /// Whether nothing more will happen.
    pub fn is_finished(&self) -> bool {
        let all_listed = self.listings.iter().all(|listing| listing.state == ListingState::Ended);
        (self.full || all_listed && self.waiting.is_empty())
            && self.stale.is_empty()
            && self.renewed.is_empty()
            && self.under_way.is_empty()
            && self.rebuilt.is_empty()
            && self.storing == 0
    }

    /// Whether the slot now has every object that a put called stored, as far as enough helpers
    /// know, or the one that it is level with. Objects that nobody can rebuild, ill-formed or never
    /// put at enough holders, are not waited for.
    pub fn is_whole(&self) -> bool {
        let needed = durability::listings_needed(&self.codes.0, &self.codes.1, 1);
        let open = self.progress.objects_failed - self.hopeless;
        self.is_finished() && open == 0 && (self.level || self.listed >= needed)
    }

    /// The slot, the epoch of its group, and what was found ill-formed in it.
    pub(super) fn ill_formed(
        &self,
    ) -> (GroupId, Slot, Epoch, &BTreeMap<ObjectId, Option<MisfitProof>>) {
        (self.group, self.slot, self.epochs.epoch, &self.ill_formed)
    }

    /// Helpers whose answers proved wrong.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// What convicts helpers of wrong symbols before everybody, of some objects.
    pub fn evidence(&self) -> &[WrongSymbol] {
        &self.evidence
    }

    /// The next thing to do, if any.
    pub fn poll_action(&mut self, now: Duration) -> Option<RepairAction> {
        if let Some(part) = self.rebuilt.pop() {
            self.storing += 1;
            return Some(RepairAction::Store(part));
        }
        if let Some(ask) = self.poll_listing(now).or_else(|| self.poll_object(now)) {
            return Some(RepairAction::Ask(ask));
        }
        let all_renewed = self.stale.is_empty() && self.under_way.is_empty();
        if all_renewed && !self.renewed.is_empty() {
            self.storing += 1;
            return Some(RepairAction::Renew(std::mem::take(&mut self.renewed)));
        }
        None
    }

    /// Takes the answer to a question.
    pub fn handle_answer(&mut self, now: Duration, id: u64, answer: Result<Answer, AskFailure>) {
        let Some(question) = self.asked.remove(&id) else {
            return;
        };
        match &answer {
            Ok(_) => {
                self.latencies.record(question.member.node, now.saturating_sub(question.asked_at))
            }
            Err(_) => self.latencies.record_failure(question.member.node),
        }
        match question.of {
            QuestionOf::Summary(index) => self.take_summary(index, answer),
            QuestionOf::Listing(index) => self.take_page(index, answer),
            QuestionOf::Object { object, id } => {
                if let Some(UnderWay { machine, .. }) = self.under_way.get_mut(&object) {
                    machine.handle_answer(id, answer);
                }
                self.settle(object);
            }
        }
    }

    /// A rebuilt part was made durable, or why it was not.
    pub fn handle_stored(&mut self, part: &RepairedPart, result: Result<(), DiskError>) {
        self.storing -= 1;
        match result {
            Ok(()) => {
                self.progress.objects_held += 1;
                self.progress.fragment_bytes += part.fragment.len() as u64;
                self.progress.symbol_bytes_theory += part.symbol_bytes_theory;
                if part.symbol_bytes > 0 {
                    self.symbol_use.useful += part.symbol_bytes;
                    self.symbol_use.useful_in_theory += part.symbol_bytes_theory;
                }
                self.progress.reed_solomon_bytes += part.reed_solomon_bytes;
            }
            Err(error) => {
                self.symbol_use.failed += part.symbol_bytes;
                self.full |= matches!(error, DiskError::Full(_));
                self.fail(&disk_refusal(error).message);
            }
        }
    }

    /// Newer shares were made durable, or why they were not.
    pub fn handle_renewed(&mut self, result: Result<(), String>) {
        self.storing -= 1;
        if let Err(message) = result {
            self.fail(&message);
        }
    }

    /// Pages are asked for as the objects listed before run out.
    fn poll_listing(&mut self, now: Duration) -> Option<Ask> {
        if self.full || self.waiting.len() >= OBJECTS_AT_ONCE {
            return None;
        }
        let index = self.listings.iter().position(|listing| {
            matches!(listing.state, ListingState::Unknown | ListingState::Due)
        })?;
        let listing = &mut self.listings[index];
        let before = std::mem::replace(&mut listing.state, ListingState::Asked);
        if before == ListingState::Unknown {
            let (group, slot, lost) = (self.group, listing.member.slot, self.slot);
            let ask = Ask {
                id: self.next_id,
                to: listing.member,
                operation: Operation::Summary { group, slot, lost },
                body: Bytes::new(),
                timeout: INVENTORY_TIMEOUT,
            };
            self.remember(now, ask.to, QuestionOf::Summary(index));
            return Some(ask);
        }
        let inventory = Inventory {
            group: self.group,
            slot: listing.member.slot,
            lost: self.slot,
            after: listing.after,
            limit: INVENTORY_PAGE,
        };
        let ask = Ask {
            id: self.next_id,
            to: listing.member,
            operation: Operation::Inventory(inventory),
            body: Bytes::new(),
            timeout: INVENTORY_TIMEOUT,
        };
        self.remember(now, ask.to, QuestionOf::Listing(index));
        Some(ask)
    }

    fn poll_object(&mut self, now: Duration) -> Option<Ask> {
        while self.under_way.len() + self.storing < OBJECTS_AT_ONCE {
            let next = if self.full { None } else { self.waiting.pop_first() };
            let (object, under_way) = if let Some((object, listing)) = next {
                self.settled.insert(object);
                (object, UnderWay { machine: self.start(object), listing: Some(listing) })
            } else if let Some((object, epoch)) = self.stale.pop_first() {
                let machine = self.start(object).newer_than(epoch);
                (object, UnderWay { machine, listing: None })
            } else {
                break;
            };
            self.under_way.insert(object, under_way);
            self.settle(object);
        }
        let (object, mut ask) = self
            .under_way
            .iter_mut()
            .find_map(|(object, on)| Some((*object, on.machine.poll_ask()?)))?;
        let of = QuestionOf::Object { object, id: ask.id };
        ask.id = self.next_id;
        self.remember(now, ask.to, of);
        Some(ask)
    }

    fn remember(&mut self, now: Duration, member: Member, of: QuestionOf) {
        self.asked.insert(self.next_id, Question { asked_at: now, of, member });
        self.next_id += 1;
    }

    /// The helpers' load is spread: each object starts at another helper, but those that failed
    /// come last.
    fn start(&self, object: ObjectId) -> RepairObject {
        let mut helpers = self.helpers.clone();
        if !helpers.is_empty() {
            let start = (self.settled.len() + self.stale.len()) % helpers.len();
            helpers.rotate_left(start);
        }
        self.latencies.order_failed_last(&mut helpers, |member| member.node);
        RepairObject::new(self.network, self.group, object, self.slot, self.codes, helpers)
            .in_epochs(self.epochs.clone())
            .beside(self.filling.clone())
    }

    /// Equal inventories need not be read; one that is not told is.
    fn take_summary(&mut self, index: usize, answer: Result<Answer, AskFailure>) {
        let own = self.own;
        let listing = &mut self.listings[index];
        if listing.state == ListingState::Ended {
            return; // it made up an object meanwhile
        }
        match answer {
            Ok(Answer { response: Response::Summary(summary), .. }) if summary == own => {
                listing.state = ListingState::Ended;
                self.listed += 1;
                self.level = self.change_spare(usize::MAX, ListingState::Ended);
            }
            Ok(_) => {
                listing.state = ListingState::Due;
                self.change_spare(usize::MAX, ListingState::Unknown);
            }
            Err(failure) => {
                self.take_page(index, Err(failure));
                self.change_spare(1, ListingState::Unknown);
            }
        }
    }

    /// Changes so many of the spare listings; whether there are any.
    fn change_spare(&mut self, most: usize, state: ListingState) -> bool {
        let listings = self.listings.iter_mut();
        let spare = listings.filter(|listing| listing.state == ListingState::Spare).take(most);
        spare.map(|listing| listing.state = state).count() > 0
    }

    fn take_page(&mut self, index: usize, answer: Result<Answer, AskFailure>) {
        let listing = &mut self.listings[index];
        if listing.state == ListingState::Ended {
            return; // it made up an object meanwhile
        }
        let member = listing.member;
        listing.state = ListingState::Ended;
        let failure = match answer {
            Ok(Answer { response: Response::Inventory, body }) => {
                self.progress.header_bytes += body.len() as u64;
                let Some(page) = read_page(&body, listing.after) else {
                    return self.blame(Fault { member, kind: FaultKind::Inventory });
                };
                match (page.more, page.objects.last()) {
                    (true, Some(last)) => {
                        listing.after = Some(*last);
                        listing.state = ListingState::Due;
                    }
                    _ => self.listed += 1,
                }
                return self.take_objects(index, page.objects);
            }
            Ok(Answer { response: Response::Refused(refusal), .. }) => refusal.message,
            Err(failure) => failure.to_string(),
            Ok(_) => return self.blame(Fault { member, kind: FaultKind::Unfitting }),
        };
        let slot = member.slot;
        let message = format!("slot {slot} did not list its objects: {failure}");
        self.progress.last_failure = Some(presentable(&message));
    }

    fn take_objects(&mut self, listing: usize, objects: Vec<ObjectId>) {
        for object in objects {
            if !self.settled.contains(&object) && !self.waiting.contains_key(&object) {
                self.waiting.insert(object, listing);
                self.progress.objects_found += 1;
            }
        }
    }

    /// Takes the outcome of an object's machine, if it has one.
    fn settle(&mut self, object: ObjectId) {
        let Some(UnderWay { machine, listing }) = self.under_way.get_mut(&object) else {
            return;
        };
        let Some(outcome) = machine.poll_outcome() else {
            return;
        };
        let (traffic, faults, listing) = (machine.traffic(), machine.faults().to_vec(), *listing);
        let misfit = machine.misfit().cloned();
        let room = EVIDENCE_MAX.saturating_sub(self.evidence.len());
        self.evidence.extend(machine.evidence().iter().take(room).cloned());
        self.under_way.remove(&object);
        self.progress.symbol_bytes += traffic.symbol_bytes;
        self.progress.key_bytes += traffic.key_bytes;
        self.progress.header_bytes += traffic.header_bytes;
        self.progress.witness_bytes += traffic.witness_bytes;
        faults.into_iter().for_each(|fault| self.blame(fault));
        match outcome {
            Ok(Rebuilt::Part(part)) => {
                let left_over = traffic.symbol_bytes - part.symbol_bytes;
                match part.symbol_bytes {
                    0 => self.symbol_use.replaced += left_over,
                    _ => self.symbol_use.refused += left_over,
                }
                self.rebuilt.push(part);
            }
            Ok(Rebuilt::Share(part)) => self.renewed.push(part),
            Err(RepairError::Current) => {}
            Err(error) if let (RepairError::Unproven, Some(listing)) = (&error, listing) => {
                // Whoever listed it made it up.
                self.progress.objects_found -= 1;
                let Listing { member, state, .. } = &mut self.listings[listing];
                *state = ListingState::Ended;
                let fault = Fault { member: *member, kind: FaultKind::Inventory };
                self.blame(fault);
            }
            Err(error) => {
                let hopeless =
                    matches!(error, RepairError::Incomplete { .. } | RepairError::IllFormed);
                self.hopeless += u64::from(hopeless);
                if error == RepairError::IllFormed {
                    self.ill_formed.insert(object, misfit);
                }
                self.symbol_use.failed += traffic.symbol_bytes;
                self.fail(&error.to_string());
            }
        }
    }

    fn blame(&mut self, fault: Fault) {
        if !self.progress.liars.contains(&fault.member.node) {
            self.progress.liars.push(fault.member.node);
        }
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    fn fail(&mut self, message: &str) {
        self.progress.objects_failed += 1;
        self.progress.last_failure = Some(presentable(message));
    }
}

/// The page, if it is one: not longer than asked and ascending beyond `after`.
fn read_page(body: &[u8], after: Option<ObjectId>) -> Option<InventoryPage> {
    let page: InventoryPage = canonical::decode(body, PAGE_LEN_MAX).ok()?;
    let ascends = page.objects.first().is_none_or(|first| Some(*first) > after)
        && page.objects.is_sorted_by(|a, b| a < b);
    (ascends && page.objects.len() <= usize::from(INVENTORY_PAGE)).then_some(page)
}
