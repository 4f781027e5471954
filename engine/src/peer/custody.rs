//! What a storage node does about its slots without being told: it rebuilds what it was newly given,
//! what it missed while it was away, and what its disk lost.
//!
//! The ledger says which slots it holds. A slot that it took from another is rebuilt at once, and
//! the ledger is told when that is done; every slot is compared with its helpers when the node
//! starts and after damage, with one that audits what is not here, and with one of them, each in its
//! turn, from time to time: what is missing somewhere spreads as in an epidemic (anti-entropy; Demers et
//! al., PODC 1987). Few slots are worked on at a time; what is not complete is tried again, later each
//! time.
//!
//! Slots that were whole are compared by visits: one other holder after the other, with each all slots
//! of whose group it is, since a connection costs more than a comparison. Neither visits nor
//! comparisons are more frequent the more slots there are: with many each comes later.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::ledger::{Group, SlotFilled, State};
use crate::names::{GroupId, NodeId, Slot};
use crate::policy::repair::{SLOTS_AT_ONCE, repair_pause};
use crate::wire::{Operation, PartReference};

/// Most slots that are compared, as nothing urges it, within one
/// [`CustodySettings::compare_every`]: one costs two short questions to another holder.
pub const COMPARISONS_MAX: u32 = 150;
/// Most holders that are visited for it in that time: each may cost a connection.
pub const VISITS_MAX: u32 = 20;

/// A slot that an auditor finds wanting is compared at most so many times in one
/// [`CustodySettings::compare_every`]: a liar may ask for what never was.
const WANTING_MAX: u32 = 10;

/// How a node looks after its slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CustodySettings {
    /// How often a slot is compared with one of its helpers, on average; less often where that takes
    /// more than [`COMPARISONS_MAX`] comparisons or [`VISITS_MAX`] visits in that time.
    pub compare_every: Duration,
    /// Between two parts that a scrub reads and checks.
    pub scrub_pause: Duration,
}

impl Default for CustodySettings {
    /// Ten minutes: what a put could not place is repaired after about that, if the helper has it whose
    /// turn it is. A part every two seconds: a million parts in 23 days.
    fn default() -> Self {
        let (compare_every, scrub_pause) = (Duration::from_secs(600), Duration::from_secs(2));
        Self { compare_every, scrub_pause }
    }
}

/// Why a slot is to be looked at soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// Something of it was lost or found damaged here.
    Damage(GroupId, Slot),
    /// The holder of the slot `auditor` audits an object that is not here: a put missed this node, or will
    /// come in a moment.
    Wanting {
        /// The group.
        group: GroupId,
        /// The own slot.
        slot: Slot,
        /// Whose holder has the object.
        auditor: Slot,
    },
}

impl Alarm {
    /// What a request means if the answer is that what it asks for is not here.
    pub fn if_not_found(operation: &Operation) -> Option<Self> {
        let (part, auditor) = match operation {
            Operation::Audit(audit) => (audit.part, audit.auditor),
            Operation::Misfit { part, auditor } => (*part, *auditor),
            _ => return None,
        };
        let PartReference { group, slot, .. } = part;
        Some(Self::Wanting { group, slot, auditor })
    }
}

/// What a node wants done for its slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CustodyAction {
    /// Repair a slot, then call [`Custody::handle_repaired`]. With a helper's slot it was whole a while
    /// ago: compare it with that helper, and repair it if there is a difference
    /// ([`RepairSlot::level_with`](super::RepairSlot::level_with)).
    Repair(GroupId, Slot, Option<Slot>),
    /// Put this on the ledger, then call [`Custody::handle_told`].
    Tell(SlotFilled),
}

/// Looks after the slots of one node.
pub struct Custody {
    own: NodeId,
    settings: CustodySettings,
    duties: BTreeMap<(GroupId, Slot), Duty>,
    telling: bool,
    /// Who is visited, or was last.
    host: NodeId,
    /// The slots that are still to be compared in this visit.
    uncompared: BTreeSet<(GroupId, Slot)>,
    /// Who was visited in this round.
    visited: BTreeSet<NodeId>,
    /// When the next visit may begin.
    visit_at: Duration,
    /// When the next slot may be compared that nothing urges.
    routine_at: Duration,
}

struct Duty {
    seats: Arc<Group>,
    /// The height at which the slot was drawn for this node.
    since: u64,
    /// The ledger waits to hear that it is whole.
    filling: bool,
    /// It was found whole since then.
    whole: bool,
    working: bool,
    /// Damaged again while it was worked on.
    again: bool,
    /// Who found it wanting, and is looked at next, soon but not at once. Visits go on meanwhile: one that
    /// always finds something wanting keeps nobody from looking at others.
    auditor: Option<Slot>,
    attempts: u32,
    /// When it was found whole the last time.
    compared: Duration,
    /// When it is repaired, if it is not left to visits.
    due: Duration,
    /// It was whole the last time and nothing urges to look again.
    routine: bool,
    tell_at: Duration,
}

impl Custody {
    /// A node without slots.
    pub fn new(own: NodeId, settings: CustodySettings) -> Self {
        Self {
            own,
            settings,
            duties: BTreeMap::new(),
            telling: false,
            host: own,
            uncompared: BTreeSet::new(),
            visited: BTreeSet::new(),
            // Nodes that start together do not make their visits together.
            visit_at: settings.compare_every * own.0[0].into() / 256,
            routine_at: Duration::ZERO,
        }
    }

    /// Takes the state of the newest block.
    pub fn handle_state(&mut self, now: Duration, state: &State) {
        let mut before = std::mem::take(&mut self.duties);
        for (group, seats) in state.groups() {
            let Some(slot) = seats.slot_of(&self.own) else { continue };
            let Some(holder) = seats.holder(slot) else { continue };
            let known = before.remove(&(group, slot)).filter(|duty| duty.since == holder.since);
            let (filling, seats) = (holder.is_filling(), Arc::clone(seats));
            let duty = match known {
                // It missed a refresh: what it has is to be looked at again, also if that is under way.
                Some(duty) if filling && !duty.filling => {
                    let again = duty.working;
                    let (whole, routine, auditor) = (false, false, None);
                    let (due, tell_at) = (now, now);
                    Duty { seats, filling, whole, again, auditor, due, routine, tell_at, ..duty }
                }
                Some(duty) => Duty { seats, filling, ..duty },
                None => Duty {
                    seats,
                    since: holder.since,
                    filling,
                    whole: false,
                    working: false,
                    again: false,
                    auditor: None,
                    attempts: 0,
                    compared: now,
                    due: now,
                    routine: false,
                    tell_at: now,
                },
            };
            self.duties.insert((group, slot), duty);
        }
    }

    /// A slot is to be looked at soon.
    pub fn handle_alarm(&mut self, now: Duration, alarm: Alarm) {
        let (Alarm::Damage(group, slot) | Alarm::Wanting { group, slot, .. }) = alarm;
        let Some(duty) = self.duties.get_mut(&(group, slot)) else { return };
        match alarm {
            Alarm::Damage(..) => {
                duty.again = duty.working;
                (duty.due, duty.routine, duty.auditor) = (now, false, None);
            }
            Alarm::Wanting { auditor, .. } => {
                if duty.routine {
                    duty.auditor.get_or_insert(auditor);
                }
            }
        }
    }

    /// A repair ended; `whole` if the slot has now all that its helpers know of.
    pub fn handle_repaired(&mut self, now: Duration, group: GroupId, slot: Slot, whole: bool) {
        let every = self.settings.compare_every;
        let Some(duty) = self.duties.get_mut(&(group, slot)) else { return };
        duty.working = false;
        let again = std::mem::take(&mut duty.again);
        duty.routine = whole && !again;
        if whole {
            (duty.whole, duty.attempts, duty.compared) = (duty.whole || !again, 0, now);
        } else {
            duty.attempts += 1;
            duty.auditor = None;
            duty.due = now + repair_pause(duty.attempts).min(every);
        }
        if again {
            duty.due = now;
        }
    }

    /// The ledger has heard what it was told, or not.
    pub fn handle_told(&mut self, now: Duration, filled: &SlotFilled, heard: bool) {
        self.telling = false;
        if let Some(duty) = self.duties.get_mut(&(filled.group, filled.slot)) {
            // The block that says so may still be on its way here.
            let pause = if heard { 10 } else { 1 };
            duty.tell_at = now + Duration::from_secs(pause);
        }
    }

    /// The next thing to do, if any.
    pub fn poll_action(&mut self, now: Duration) -> Option<CustodyAction> {
        if !self.telling {
            let untold = |duty: &Duty| duty.filling && duty.whole && duty.tell_at <= now;
            if let Some((&(group, slot), duty)) = self.duties.iter().find(|(_, duty)| untold(duty))
            {
                self.telling = true;
                return Some(CustodyAction::Tell(SlotFilled { group, slot, since: duty.since }));
            }
        }
        if self.is_busy() {
            return None;
        }
        self.poll_repair(now).or_else(|| self.poll_comparison(now))
    }

    /// When to poll again, if nothing happens before.
    pub fn next_wake(&self) -> Option<Duration> {
        let untold = self.duties.values().filter(|duty| duty.filling && duty.whole);
        let tells = untold.map(|duty| duty.tell_at).filter(|_| !self.telling);
        let idle = self.duties.values().filter(|duty| !duty.working);
        let visit_at = if self.uncompared.is_empty() { self.visit_at } else { Duration::ZERO };
        let work = idle.map(|duty| match duty.routine {
            true => self.routine_at.max(visit_at).min(duty.due_at(self.settings)),
            false => duty.due,
        });
        work.filter(|_| !self.is_busy()).chain(tells).min()
    }

    fn is_busy(&self) -> bool {
        self.duties.values().filter(|duty| duty.working).count() >= SLOTS_AT_ONCE
    }

    fn poll_repair(&mut self, now: Duration) -> Option<CustodyAction> {
        let settings = self.settings;
        let due = |duty: &Duty| !duty.working && duty.due_at(settings) <= now;
        let due = self.duties.iter_mut().filter(|(_, duty)| due(duty));
        // Those that the ledger waits for come first.
        let first =
            due.min_by_key(|(_, duty)| (!duty.filling || duty.whole, duty.due_at(settings)));
        let (&(group, slot), duty) = first?;
        duty.working = true;
        Some(CustodyAction::Repair(group, slot, duty.auditor.take()))
    }

    fn poll_comparison(&mut self, now: Duration) -> Option<CustodyAction> {
        if now < self.routine_at {
            return None;
        }
        if self.uncompared.is_empty() && now >= self.visit_at {
            self.begin_visit(now);
        }
        while let Some((group, slot)) = self.uncompared.pop_first() {
            let duty = self.duties.get_mut(&(group, slot));
            // Since the visit began it may have been damaged, or the other may have left.
            let Some(duty) = duty.filter(|duty| duty.routine && !duty.working) else { continue };
            let Some(helper) = duty.seats.slot_of(&self.host) else { continue };
            self.routine_at = now + self.settings.compare_every / COMPARISONS_MAX;
            duty.working = true;
            return Some(CustodyAction::Repair(group, slot, Some(helper)));
        }
        None
    }

    /// Chooses whom to visit: everybody once in a round, next a helper of the slot that has waited the
    /// longest.
    fn begin_visit(&mut self, now: Duration) {
        let every = self.settings.compare_every;
        let mut routine: Vec<_> = self.duties.iter().filter(|(_, duty)| duty.routine).collect();
        routine.sort_by_key(|(_, duty)| duty.compared);
        let helpers: Vec<NodeId> =
            routine.iter().flat_map(|((_, slot), duty)| helpers(&duty.seats, *slot)).collect();
        let mut next = helpers.iter().find(|helper| !self.visited.contains(helper));
        if next.is_none() {
            self.visited.clear();
            next = helpers.first();
        }
        let Some(next) = next.copied() else {
            self.visit_at = now + every;
            return;
        };
        let with_next = routine.iter().filter(|(_, duty)| duty.seats.slot_of(&next).is_some());
        self.uncompared = with_next.map(|(seat, _)| **seat).collect();
        self.visited.insert(next);
        self.host = next;
        // A round brings each slot together with each of its helpers once.
        let (slots, pairs) = (routine.len() as u32, helpers.len() as u32);
        let hosts = helpers.into_iter().collect::<BTreeSet<NodeId>>().len() as u32;
        self.visit_at = now + (every * pairs / slots / hosts).max(every / VISITS_MAX);
    }

    /// Slots held, and how many of them are not known to be whole.
    pub fn slots(&self) -> (usize, usize) {
        let wanting = self.duties.values().filter(|duty| !duty.whole).count();
        (self.duties.len(), wanting)
    }
}

impl Duty {
    /// When it is repaired, or compared with an auditor that found it wanting; visits apart.
    fn due_at(&self, settings: CustodySettings) -> Duration {
        match (self.routine, self.auditor) {
            (false, _) => self.due,
            (true, Some(_)) => self.compared + settings.compare_every / WANTING_MAX,
            (true, None) => Duration::MAX,
        }
    }
}

/// The other holders of a group, from a slot on, so that each begins with another one.
fn helpers(seats: &Group, own: Slot) -> impl Iterator<Item = NodeId> {
    let (before, from) = seats.holders.split_at(own.index().min(seats.holders.len()));
    from.iter().skip(1).chain(before).map(|holder| holder.node)
}
