//! Rebuilds what this node should hold, one slot at a time each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kakera_engine::ledger::Body;
use kakera_engine::names::{GroupId, ObjectId, Slot};
use kakera_engine::peer::{DiskError, GatherOrders, IllFormed, RepairAction, RepairSlot};
use kakera_engine::policy::LedgerView;
use kakera_engine::wire::{RepairProgress, ShredOrder};
use tokio::sync::watch;
use tracing::{info, warn};

use super::{Node, disk};
use crate::blocking::blocking;
use crate::clock::unix_milliseconds;
use crate::exchange::Asking;

/// The progress of the repairs started since the node runs, one a slot.
pub(super) type Repairs = Mutex<RepairOf>;
type RepairOf = BTreeMap<(GroupId, Slot), watch::Receiver<RepairProgress>>;

impl Node {
    /// Starts the repair of a slot, unless it runs, and tells how far it has come. A finished
    /// repair is told once more, so that who waits for it sees the end; the next call starts anew.
    pub(super) fn repair(self: &Arc<Self>, group: GroupId, slot: Slot) -> RepairProgress {
        let mut repairs = self.lock_repairs();
        if let Some(progress) = repairs.get(&(group, slot)) {
            let progress = progress.borrow().clone();
            if progress.finished {
                repairs.remove(&(group, slot));
            }
            return progress;
        }
        let (publish, progress) = watch::channel(RepairProgress::default());
        repairs.insert((group, slot), progress);
        let node = Arc::clone(self);
        self.go(async move { node.run_repair(group, slot, None, &publish).await });
        RepairProgress::default()
    }

    /// Repairs a slot because this node finds it due; whether it is whole then. With a `helper` it is
    /// compared with that one, and repaired if there is a difference. One that somebody asked for ends
    /// first; what it left is found whole.
    pub(super) async fn repair_by_itself(
        self: &Arc<Self>,
        group: GroupId,
        slot: Slot,
        helper: Option<Slot>,
    ) -> bool {
        let (publish, progress) = watch::channel(RepairProgress::default());
        loop {
            let running = {
                let mut repairs = self.lock_repairs();
                let other = repairs.get(&(group, slot));
                let running = other.filter(|other| !other.borrow().finished).cloned();
                if running.is_none() {
                    repairs.entry((group, slot)).or_insert_with(|| progress.clone());
                }
                running
            };
            let Some(mut running) = running else { break };
            if running.wait_for(|progress| progress.finished).await.is_err() {
                self.forget_repair(&running);
            }
        }
        let whole = self.run_repair(group, slot, helper, &publish).await;
        // What did nothing is no news to who asks later, and what failed is tried again.
        if progress.borrow().fragment_bytes == 0 || !whole {
            self.forget_repair(&progress);
        }
        whole
    }

    fn forget_repair(&self, repair: &watch::Receiver<RepairProgress>) {
        self.lock_repairs().retain(|_, other| !other.same_channel(repair));
    }

    pub(super) fn lock_repairs(&self) -> MutexGuard<'_, RepairOf> {
        self.repairs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run_repair(
        self: &Arc<Self>,
        group: GroupId,
        slot: Slot,
        helper: Option<Slot>,
        progress: &watch::Sender<RepairProgress>,
    ) -> bool {
        self.learn_destroyed(group, slot, helper).await;
        let view = self.ledger.view();
        let Some(seats) = view.state().group(group).cloned() else {
            progress.send_replace(RepairProgress { finished: true, ..RepairProgress::default() });
            return false;
        };
        let (codes, members) = ((seats.code, seats.key), view.members(group));
        let held = self.held(group, slot);
        let mut machine = RepairSlot::new(self.network, group, slot, codes, &members, held)
            .in_group(&seats)
            .without(self.lock_ill_formed().of(group, slot, seats.epoch));
        machine.leave_out(self.store.shredded(group));
        if let Some(helper) = helper {
            machine = machine.level_with(helper);
        }
        let node = Arc::clone(self);
        machine.renew(blocking(move || node.stale_shares(&seats, group, slot)).await);
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
            progress.send_replace(machine.progress());
        }
        for fault in machine.faults() {
            warn!(node = %fault.member.node, slot = %fault.member.slot, what = %fault.kind,
                "a helper answered wrongly");
        }
        for proof in machine.evidence().iter().cloned() {
            let node = Arc::clone(self);
            self.go(async move { node.tell(Body::WrongSymbol(proof)).await });
        }
        self.lock_ill_formed().learn(&machine);
        let done = machine.progress();
        self.tally.add_repair(&done, &machine.symbol_use());
        let (held, failed, moved) = (done.objects_held, done.objects_failed, done.symbol_bytes);
        if failed > 0 {
            let why = done.last_failure.as_deref().unwrap_or_default();
            warn!(%group, %slot, held, failed, moved, why, "slot not whole");
        } else if done.fragment_bytes > 0 {
            info!(%group, %slot, held, moved, "slot repaired");
        }
        progress.send_replace(done);
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

    pub(super) fn lock_ill_formed(&self) -> MutexGuard<'_, IllFormed> {
        self.ill_formed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self, group: GroupId, slot: Slot) -> BTreeSet<ObjectId> {
        self.store.objects(group, slot, None, usize::MAX).into_iter().collect()
    }
}
