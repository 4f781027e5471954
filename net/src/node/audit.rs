//! Drives the engine's [`Auditor`].

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use kakera_engine::ledger::Body;
use kakera_engine::names::{GroupId, ObjectId, Slot};
use kakera_engine::peer::{AuditAction, AuditSettings, Auditor, Loaded};
use kakera_engine::wire::PartReference;
use rand_core::Rng;
use tokio::time::Instant;
use tracing::warn;

use super::{Node, disk};
use crate::blocking::blocking;
use crate::random::system_random;

/// The ledger is looked at before every audit, and no less often than this.
const LOOK_EVERY: Duration = Duration::from_secs(60);

impl Node {
    /// Audits the other holders of this node's groups until dropped.
    pub(super) async fn audit(self: Arc<Self>, settings: AuditSettings) {
        let start = Instant::now();
        let mut auditor = Auditor::new(self.network, self.holder.id(), settings);
        loop {
            let view = self.ledger.view();
            auditor.handle_state(view.state(), view.head().header.beacon);
            while let Some(action) = auditor.poll_action(start.elapsed()) {
                match action {
                    AuditAction::Load { group, slot, after } => {
                        let node = Arc::clone(&self);
                        let loaded = blocking(move || node.load((group, slot), after)).await;
                        let mut nonce = [0; 32];
                        system_random().fill_bytes(&mut nonce);
                        auditor.handle_loaded(loaded, nonce);
                    }
                    AuditAction::Ask(ask) => {
                        let (to, timeout) = (ask.to.node, ask.timeout);
                        let answer =
                            self.exchange.ask(to, &ask.operation, ask.body, timeout, None).await;
                        auditor.handle_answer(ask.id, answer);
                        let mut suspects =
                            self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
                        *suspects = auditor.suspects();
                        drop(suspects);
                        for proof in auditor.take_evidence() {
                            warn!(node = %proof.helper, "it signed a wrong symbol");
                            let node = Arc::clone(&self);
                            self.go(async move { node.tell(Body::WrongSymbol(proof)).await });
                        }
                    }
                }
            }
            let pause = auditor
                .next_wake()
                .map_or(LOOK_EVERY, |wake| wake.saturating_sub(start.elapsed()).min(LOOK_EVERY));
            tokio::time::sleep(pause.max(Duration::from_millis(10))).await;
        }
    }

    /// What is kept of the first object of a slot after one, or of the first of all.
    fn load(&self, (group, slot): (GroupId, Slot), after: ObjectId) -> Option<Loaded> {
        let next = |after| self.store.objects(group, slot, after, 1).first().copied();
        let object = next(Some(after)).or_else(|| next(None))?;
        let reference = PartReference { group, slot, object };
        let part = disk::describe(&self.store, &reference).ok().flatten()?;
        let fragment = self.store.whole_fragment(&reference).ok().flatten()?.into();
        Some(Loaded { object, part, fragment })
    }
}
