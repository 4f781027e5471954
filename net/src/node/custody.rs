//! Drives the engine's [`Custody`]: repairs what this node should hold, and tells the ledger.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kakera_engine::ledger::{Body, Entry, SlotFilled};
use kakera_engine::names::{GroupId, Slot};
use kakera_engine::peer::{Alarm, Custody, CustodyAction, CustodySettings};
use kakera_engine::wire::{Operation, Response};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::warn;

use super::Node;
use crate::clock::sleep_for;

/// The ledger's state is looked at no more often than this, however fast blocks come.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often connections are looked for whose peers are out of the registry.
const DISMISS_EVERY: Duration = Duration::from_secs(60);
/// How long an entry may take to become final.
const TELL_TIMEOUT: Duration = Duration::from_secs(20);
/// Alarms that wait; more of one slot say nothing new.
pub(super) const ALARMS_WAITING_MAX: usize = 64;

/// What ended.
enum Done {
    Repaired { group: GroupId, slot: Slot, whole: bool },
    Told { filled: SlotFilled, heard: bool },
}

impl Node {
    /// Looks after the slots until dropped.
    pub(super) async fn keep_slots(
        self: Arc<Self>,
        settings: CustodySettings,
        mut alarms: mpsc::Receiver<Alarm>,
    ) {
        let start = Instant::now();
        let mut custody = Custody::new(self.holder.id(), settings);
        let mut views = self.ledger.views();
        let mut work = JoinSet::new();
        let mut looked_at = None;
        let mut dismissed = start;
        loop {
            let view = views.take_newest();
            let height = view.head().header.height;
            // Once a block: it takes time in proportion to the groups of the network.
            if looked_at != Some(height) {
                custody.handle_state(start.elapsed(), view.state());
                looked_at = Some(height);
            }
            if dismissed.elapsed() >= DISMISS_EVERY {
                dismissed = Instant::now();
                let retired = |peer: &_| view.state().node(peer).is_some_and(|node| node.retired);
                self.exchange.fabric().dismiss(retired);
            }
            while let Some(action) = custody.poll_action(start.elapsed()) {
                let node = Arc::clone(&self);
                match action {
                    CustodyAction::Repair(group, slot, helper) => work.spawn(async move {
                        let whole = node.repair_by_itself(group, slot, helper).await;
                        Done::Repaired { group, slot, whole }
                    }),
                    CustodyAction::Tell(filled) => work.spawn(async move {
                        let heard = node.tell(Body::SlotFilled(filled)).await;
                        Done::Told { filled, heard }
                    }),
                };
            }
            let wake = custody.next_wake().map(|wake| wake.saturating_sub(start.elapsed()));
            let looked = Instant::now();
            tokio::select! {
                biased;
                Some(done) = work.join_next() => match done {
                    Ok(Done::Repaired { group, slot, whole }) => {
                        custody.handle_repaired(start.elapsed(), group, slot, whole);
                    }
                    Ok(Done::Told { filled, heard }) => {
                        custody.handle_told(start.elapsed(), &filled, heard);
                    }
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                },
                Some(alarm) = alarms.recv() => custody.handle_alarm(start.elapsed(), alarm),
                Ok(()) = views.changed() => tokio::time::sleep_until(looked + LOOK_EVERY).await,
                () = sleep_for(wake) => {}
            }
        }
    }

    /// Puts something on the ledger through any validator; whether it is final.
    pub(super) async fn tell(&self, body: Body) -> bool {
        // One at a time: entries of one author are numbered.
        let mut told = self.told.lock().await;
        let view = self.ledger.view();
        let (id, key) = (self.holder.id(), self.exchange.signing_key());
        let sequence = view.state().next_sequence(&id).max(*told + 1);
        let entry = Entry::sign(&self.network, key, sequence, body);
        for validator in view.state().validators().0.keys() {
            let operation = Operation::Submit(Box::new(entry.clone()));
            let asked =
                self.exchange.ask(*validator, &operation, Bytes::new(), TELL_TIMEOUT, None).await;
            match asked.map(|answer| answer.response) {
                Ok(Response::Submitted { .. }) => {
                    *told = sequence;
                    return true;
                }
                Ok(Response::Refused(refusal)) => warn!(%validator, "{}", refusal.message),
                Ok(_) => warn!(%validator, "its answer does not fit the question"),
                Err(failure) => warn!(%validator, %failure, "it did not take the entry"),
            }
        }
        *told = 0;
        false
    }
}
