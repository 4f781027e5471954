//! What a storage node does about its slots without being told: it rebuilds what it was newly given,
//! what it missed while it was away, and what its disk lost.
//!
//! The ledger says which slots it holds. A slot that it took from another is rebuilt at once, and
//! the ledger is told when that is done; every slot is compared with its helpers when the node
//! starts and after damage, and with one of them, each in its turn, from time to time: what is
//! missing somewhere spreads as in an epidemic (anti-entropy; Demers et al., PODC 1987). Few slots are
//! worked on at a time; what is not complete is tried again, later each time. Slots that were whole
//! are compared at a pace that does not grow with their number: with more of them each comes later.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ledger::{SlotFilled, State};
use crate::names::{GroupId, NodeId, Slot};
use crate::policy::repair::{SLOTS_AT_ONCE, repair_pause};

/// Most slots that are compared, as nothing urges it, within one
/// [`CustodySettings::compare_every`]: one costs two short questions to another holder.
pub const COMPARISONS_MAX: u32 = 150;

/// How a node looks after its slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CustodySettings {
    /// How often a slot is compared with one of its helpers; with more than
    /// [`COMPARISONS_MAX`] slots, so many of them in that time.
    pub compare_every: Duration,
    /// Between two parts that a scrub reads and checks.
    pub scrub_pause: Duration,
}

impl Default for CustodySettings {
    /// Ten minutes: what a put could not place is repaired within that, if the helper has it whose turn
    /// it is. A part every two seconds: a million parts in 23 days.
    fn default() -> Self {
        let (compare_every, scrub_pause) = (Duration::from_secs(600), Duration::from_secs(2));
        Self { compare_every, scrub_pause }
    }
}

/// What a node wants done for its slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CustodyAction {
    /// Repair a slot, then call [`Custody::handle_repaired`]. With a turn it was whole a while ago:
    /// compare it with the helper whose turn it is, and repair it if there is a difference
    /// ([`RepairSlot::level_with`](super::RepairSlot::level_with)).
    Repair(GroupId, Slot, Option<u32>),
    /// Put this on the ledger, then call [`Custody::handle_told`].
    Tell(SlotFilled),
}

/// Looks after the slots of one node.
pub struct Custody {
    own: NodeId,
    settings: CustodySettings,
    duties: BTreeMap<(GroupId, Slot), Duty>,
    telling: bool,
    /// When the next slot may be compared that nothing urges.
    routine_at: Duration,
}

struct Duty {
    /// The height at which the slot was drawn for this node.
    since: u64,
    /// The ledger waits to hear that it is whole.
    filling: bool,
    /// It was found whole since then.
    whole: bool,
    working: bool,
    /// Damaged again while it was worked on.
    again: bool,
    attempts: u32,
    due: Duration,
    /// It was whole the last time and nothing urges to look again.
    routine: bool,
    /// Whose turn it is to be compared with.
    turn: u32,
    tell_at: Duration,
}

impl Duty {
    fn ready_at(&self, routine_at: Duration) -> Duration {
        if self.routine { self.due.max(routine_at) } else { self.due }
    }
}

impl Custody {
    /// A node without slots.
    pub fn new(own: NodeId, settings: CustodySettings) -> Self {
        Self { own, settings, duties: BTreeMap::new(), telling: false, routine_at: Duration::ZERO }
    }

    /// Takes the state of the newest block.
    pub fn handle_state(&mut self, now: Duration, state: &State) {
        let mut before = std::mem::take(&mut self.duties);
        for (group, seats) in state.groups() {
            let Some(slot) = seats.slot_of(&self.own) else { continue };
            let Some(holder) = seats.holder(slot) else { continue };
            let known = before.remove(&(group, slot)).filter(|duty| duty.since == holder.since);
            let filling = holder.is_filling();
            let duty = match known {
                // It missed a refresh: what it has is to be looked at again, also if that is under way.
                Some(duty) if filling && !duty.filling => {
                    let again = duty.working;
                    let (whole, routine) = (false, false);
                    Duty { filling, whole, again, due: now, routine, tell_at: now, ..duty }
                }
                Some(duty) => Duty { filling, ..duty },
                None => Duty {
                    since: holder.since,
                    filling,
                    whole: false,
                    working: false,
                    again: false,
                    attempts: 0,
                    due: now,
                    routine: false,
                    // Another one for each holder of the group.
                    turn: slot.point().into(),
                    tell_at: now,
                },
            };
            self.duties.insert((group, slot), duty);
        }
    }

    /// Something of a slot was lost or found damaged here.
    pub fn handle_damage(&mut self, now: Duration, group: GroupId, slot: Slot) {
        if let Some(duty) = self.duties.get_mut(&(group, slot)) {
            duty.again = duty.working;
            (duty.due, duty.routine) = (now, false);
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
            (duty.whole, duty.attempts) = (duty.whole || !again, 0);
            // Slots of one moment drift apart: an eighth earlier or later.
            let spread = u32::from(slot.point()).wrapping_add(group.0.wrapping_mul(37)) % 64;
            duty.due = now + every * (224 + spread) / 256;
        } else {
            duty.attempts += 1;
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
        let working = self.duties.values().filter(|duty| duty.working).count();
        if working >= SLOTS_AT_ONCE {
            return None;
        }
        // Those that the ledger waits for come first.
        let routine_at = self.routine_at;
        let due = |duty: &Duty| !duty.working && duty.ready_at(routine_at) <= now;
        let due = self.duties.iter_mut().filter(|(_, duty)| due(duty));
        let first =
            due.min_by_key(|(_, duty)| (!duty.filling || duty.whole, duty.routine, duty.due));
        let (&(group, slot), duty) = first?;
        if duty.routine {
            self.routine_at = now + self.settings.compare_every / COMPARISONS_MAX;
            duty.turn = duty.turn.wrapping_add(1);
        }
        duty.working = true;
        Some(CustodyAction::Repair(group, slot, duty.routine.then_some(duty.turn)))
    }

    /// When to poll again, if nothing happens before.
    pub fn next_wake(&self) -> Option<Duration> {
        let idle = self.duties.values().filter(|duty| !duty.working);
        let busy = self.duties.values().filter(|duty| duty.working).count() >= SLOTS_AT_ONCE;
        let repairs = idle.map(|duty| duty.ready_at(self.routine_at)).filter(|_| !busy);
        let untold = self.duties.values().filter(|duty| duty.filling && duty.whole);
        let tells = untold.map(|duty| duty.tell_at).filter(|_| !self.telling);
        repairs.chain(tells).min()
    }

    /// Slots held, and how many of them are not known to be whole.
    pub fn slots(&self) -> (usize, usize) {
        let wanting = self.duties.values().filter(|duty| !duty.whole).count();
        (self.duties.len(), wanting)
    }
}
