//! Rebuilds what this node should hold, one slot at a time each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use kakera_engine::ledger::Body;
use kakera_engine::names::{GroupId, ObjectId, Slot};
use kakera_engine::peer::{DiskError, GatherOrders, RepairAction, RepairSlot};
use kakera_engine::policy::LedgerView;
use kakera_engine::wire::{RepairProgress, ShredOrder};
use tracing::{info, warn};

use super::{Node, disk};
use crate::blocking::blocking;
use crate::clock::unix_milliseconds;
use crate::exchange::Asking;

/// The progress of the repairs started since the node runs, one a slot.
pub(super) type Repairs = Mutex<BTreeMap<(GroupId, Slot), Arc<Mutex<RepairProgress>>>>;

impl Node {
    /// Starts the repair of a slot, unless it runs, and tells how far it has come. A finished
    /// repair is told once more, so that who waits for it sees the end; the next call starts anew.
    pub(super) fn repair(self: &Arc<Self>, group: GroupId, slot: Slot) -> RepairProgress {
        let mut repairs = self.repairs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(progress) = repairs.get(&(group, slot)) {
            let progress = progress.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if progress.finished {
                repairs.remove(&(group, slot));
            }
            return progress;
        }
        let progress = Arc::new(Mutex::new(RepairProgress::default()));
        repairs.insert((group, slot), Arc::clone(&progress));
        let node = Arc::clone(self);
        self.go(async move { node.run_repair(group, slot, None, &progress).await });
        RepairProgress::default()
    }

    /// Repairs a slot because this node finds it due; whether it is whole then. With a `helper` it is
    /// compared with that one, and repaired if there is a difference. One that somebody asked for is
    /// waited for by who asked, and found whole the next time.
    pub(super) async fn repair_by_itself(
        self: &Arc<Self>,
        group: GroupId,
        slot: Slot,
        helper: Option<Slot>,
    ) -> bool {
        let progress = Arc::new(Mutex::new(RepairProgress::default()));
        {
            let mut repairs = self.repairs.lock().unwrap_or_else(PoisonError::into_inner);
            let running = |progress: &Arc<Mutex<RepairProgress>>| {
                !progress.lock().unwrap_or_else(PoisonError::into_inner).finished
            };
            if repairs.get(&(group, slot)).is_some_and(running) {
                return false;
            }
            repairs.entry((group, slot)).or_insert_with(|| Arc::clone(&progress));
        }
        let whole = self.run_repair(group, slot, helper, &progress).await;
        let mut repairs = self.repairs.lock().unwrap_or_else(PoisonError::into_inner);
        let told = progress.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // What did nothing is no news to who asks later, and what failed is tried again.
        if told.fragment_bytes == 0 || !whole {
            repairs.retain(|_, other| !Arc::ptr_eq(other, &progress));
        }
        whole
    }

    async fn run_repair(
        self: &Arc<Self>,
        group: GroupId,
        slot: Slot,
        helper: Option<Slot>,
        progress: &Mutex<RepairProgress>,
    ) -> bool {
        let publish = |latest: RepairProgress| {
            *progress.lock().unwrap_or_else(PoisonError::into_inner) = latest;
        };
        self.learn_destroyed(group, slot, helper).await;
        let view = self.ledger.view();
        let Some(codes) = view.group_codes(group) else {
            publish(RepairProgress { finished: true, ..RepairProgress::default() });
            return false;
        };
        let members = view.members(group);
        let held = self.held(group, slot);
        let mut machine = RepairSlot::new(self.network, group, slot, codes, &members, held);
        machine.leave_out(self.store.shredded(group));
        if let Some(helper) = helper {
            machine = machine.level_with(helper);
        }
        if let Some(seats) = view.state().group(group).cloned() {
            machine = machine.in_epochs(seats.epochs());
            let node = Arc::clone(self);
            machine.renew(blocking(move || node.stale_shares(&seats, group, slot)).await);
        }
        let mut asking = Asking::new(self.exchange.clone(), None);
        while !machine.is_finished() {
            while let Some(action) = machine.poll_action(asking.now()) {
                match action {
                    RepairAction::Ask(ask) => asking.send(ask),
                    RepairAction::Store(part) => {
                        let node = Arc::clone(self);
                        let (stored, part) =
                            blocking(move || (disk::write_repaired(&node.store, &part), part))
                                .await;
                        machine.handle_stored(&part, stored);
                    }
                    RepairAction::Renew(parts) => {
                        let node = Arc::clone(self);
                        let renewed = blocking(move || node.renew_shares((group, slot), parts));
                        machine.handle_renewed(renewed.await);
                    }
                }
            }
            if machine.is_finished() {
                break;
            }
            if let Some((id, answer)) = asking.next(None).await {
                machine.handle_answer(asking.now(), id, answer);
            }
            publish(machine.progress());
        }
        for fault in machine.faults() {
            warn!(node = %fault.member.node, slot = %fault.member.slot, what = %fault.kind,
                "a helper answered wrongly");
        }
        for proof in machine.evidence().iter().cloned() {
            let node = Arc::clone(self);
            self.go(async move { node.tell(Body::WrongSymbol(proof)).await });
        }
        let done = machine.progress();
        self.tally.add_repair(&done, &machine.symbol_use());
        let (held, failed, moved) = (done.objects_held, done.objects_failed, done.symbol_bytes);
        if failed > 0 {
            let why = done.last_failure.as_deref().unwrap_or_default();
            warn!(%group, %slot, held, failed, moved, why, "slot not whole");
        } else if done.fragment_bytes > 0 {
            info!(%group, %slot, held, moved, "slot repaired");
        }
        publish(done);
        machine.is_whole()
    }

    /// Destroys what the owners had destroyed while this node was away, as the other holders tell, or
    /// one `helper`.
    async fn learn_destroyed(self: &Arc<Self>, group: GroupId, slot: Slot, helper: Option<Slot>) {
        let members = self.ledger.view().members(group);
        let known = self.store.shredded(group);
        let now = unix_milliseconds();
        let mut machine = GatherOrders::new(self.network, group, slot, &members, known, now);
        if let Some(helper) = helper {
            machine = machine.level_with(helper);
        }
        let mut asking = Asking::new(self.exchange.clone(), None);
        loop {
            while let Some(ask) = machine.poll_ask() {
                asking.send(ask);
            }
            while let Some((object, order)) = machine.poll_order() {
                let node = Arc::clone(self);
                let done = blocking(move || node.follow(group, object, &order)).await;
                match done {
                    Ok(()) => info!(%group, %slot, %object, "destroyed at its owner's order"),
                    Err(error) => warn!(%group, %slot, %object, ?error, "cannot destroy it"),
                }
            }
            if machine.is_finished() {
                return;
            }
            if let Some((id, answer)) = asking.next(None).await {
                machine.handle_answer(id, answer);
            }
        }
    }

    /// Follows an order that another holder passed on. Of what is not here only a submitter's may
    /// take up room.
    fn follow(
        &self,
        group: GroupId,
        object: ObjectId,
        order: &ShredOrder,
    ) -> Result<(), DiskError> {
        let submitter = &order.object.authorisation.submitter;
        let quota = self.ledger.view().submitter_quota(submitter).unwrap_or(0);
        disk::shred(&self.store, (group, object), order, Some(quota))
    }

    fn held(&self, group: GroupId, slot: Slot) -> BTreeSet<ObjectId> {
        self.store.objects(group, slot, None, usize::MAX).into_iter().collect()
    }
}
