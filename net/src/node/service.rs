//! Serves requests: TLS and signatures, then the engine's holder, then the disk.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kakera_engine::ledger::HeadAttestation;
use kakera_engine::names::NodeId;
use kakera_engine::peer::{Alarm, Answer, DiskError, DiskRequest, DiskResult, Step};
use kakera_engine::policy::LedgerView;
use kakera_engine::wire::{
    NodeStatus, Operation, REPAIR_TOTALS_VERSION_MIN, Refusal, RefusalKind, Request, Response,
    Session, VerifiedRequest,
};
use tracing::warn;

use super::budget::Purpose;
use super::{Node, disk};
use crate::blocking::blocking;
use crate::clock::unix_milliseconds;
use crate::fabric::Incoming;

/// How long another machine may take to give a sign of life.
const SIGN_TIMEOUT: Duration = Duration::from_secs(2);

impl Node {
    /// Answers one request.
    pub(super) async fn answer(self: &Arc<Self>, incoming: Incoming) -> Answer {
        let Incoming { peer, exporter, header, body } = incoming;
        let (network, receiver) = (self.network, self.holder.id());
        let session = Session { network, author: peer, receiver, exporter };
        let now = unix_milliseconds();
        let request = match Request::verify(&header, &session, now) {
            Ok(request) => request,
            Err(error) => return refused(RefusalKind::Invalid, error.to_string()),
        };
        let purpose = Purpose::of(&request.operation);
        if purpose == Purpose::Repair && !self.budget.admit().await {
            self.tally.repairs_put_off.add(1);
            return refused(RefusalKind::Unavailable, "it helps others; try another holder");
        }
        let answer = self.perform_request(now, request, body, peer).await;
        self.budget.charge(purpose, answer.body.len());
        answer
    }

    async fn perform_request(
        self: &Arc<Self>,
        now: u64,
        request: VerifiedRequest,
        body: Bytes,
        peer: NodeId,
    ) -> Answer {
        // Hashing, coding and the disk: off the threads that move packets.
        let node = Arc::clone(self);
        let step = tokio::spawn(blocking(move || node.run(now, request, body))).await;
        match step {
            Ok(Step::Reply(answer)) => answer,
            Ok(Step::Repair(group, slot)) => {
                Answer::bare(Response::Repair(self.repair(group, slot)))
            }
            Ok(Step::Testify(suspect)) => {
                let heard = self.hears(suspect).await;
                Answer::bare(Response::Testimony { heard })
            }
            Ok(Step::Status) => {
                let mut status = self.status();
                // Nobody else needs to know, and programs of earlier versions could not read it.
                status.suspects =
                    status.suspects.filter(|_| self.ledger.view().is_validator(&peer));
                Answer::bare(Response::Status(status))
            }
            Ok(Step::Refresh(step, body)) => self.go_on(step, body).await,
            Ok(
                Step::Disk(..)
                | Step::Ledger(_)
                | Step::Deal(..)
                | Step::ListShares(..)
                | Step::Misfit(_),
            ) => {
                unreachable!("run ends with the disk's answer")
            }
            Err(panic) => {
                warn!(%panic, "a request could not be served");
                refused(RefusalKind::Unavailable, "an internal error; see the node's log")
            }
        }
    }

    /// The same, but what leaves is what `lie` makes of it.
    #[cfg(feature = "testkit")]
    pub(super) async fn answer_falsely(
        self: &Arc<Self>,
        incoming: Incoming,
        lie: &(impl Fn(&Operation, &mut Answer) + Sync),
    ) -> Answer {
        let (network, author, receiver) = (self.network, incoming.peer, self.holder.id());
        let session = Session { network, author, receiver, exporter: incoming.exporter };
        let asked = Request::verify(&incoming.header, &session, unix_milliseconds());
        let mut answer = self.answer(incoming).await;
        if let Ok(asked) = asked {
            lie(&asked.operation, &mut answer);
        }
        answer
    }

    fn run(&self, now: u64, request: VerifiedRequest, body: Bytes) -> Step {
        let view = self.ledger.view();
        let if_not_found = Alarm::if_not_found(&request.operation);
        let mut step = self.holder.handle_request(&*view, now, request, body);
        while let Step::Disk(wanted, pending) = step {
            let result = self.perform(wanted);
            step = self.holder.handle_disk(&*view, now, pending, result);
        }
        let step = match step {
            Step::Ledger(operation) => Step::Reply(self.answer_from_chain(&operation, now)),
            Step::Deal(place, dealer, rows) => Step::Reply(self.take_rows(&place, dealer, &rows)),
            Step::ListShares(group, slot) => Step::Reply(self.list_shares(group, slot)),
            Step::Misfit(part) => Step::Reply(self.lock_ill_formed().answer(&part)),
            step => step,
        };
        if let (Some(alarm), Step::Reply(answer)) = (if_not_found, &step)
            && answer.is_not_found()
        {
            let _ = self.alarms.try_send(alarm);
        }
        step
    }

    /// Asks the disk, and remembers to repair what it lost.
    fn perform(&self, wanted: DiskRequest) -> DiskResult {
        let part = match &wanted {
            DiskRequest::Describe(part)
            | DiskRequest::Fragment(part)
            | DiskRequest::SetAside(part) => Some(*part),
            DiskRequest::Write { .. }
            | DiskRequest::List { .. }
            | DiskRequest::Shred { .. }
            | DiskRequest::Order(..)
            | DiskRequest::Shredded(_)
            | DiskRequest::Orders(..) => None,
        };
        let result = disk::perform(&self.store, wanted);
        if let (Some(part), DiskResult::Failed(DiskError::Damaged)) = (part, &result) {
            self.tally.parts_damaged.add(1);
            warn!(group = %part.group, slot = %part.slot, object = %part.object, "a part is damaged");
            let _ = self.alarms.try_send(Alarm::Damage(part.group, part.slot));
        }
        result
    }

    fn answer_from_chain(&self, operation: &Operation, now: u64) -> Answer {
        let (view, server) = (self.ledger.view(), self.ledger.server());
        match operation {
            // Not a validator's word; it shows those who look for blocks what is here.
            Operation::Head { nonce } => {
                let head = Box::new(view.head().clone());
                let key = self.exchange.signing_key();
                let attestation = HeadAttestation::sign(&head.header, *nonce, now, key);
                Answer::bare(Response::Head { head, attestation })
            }
            _ => server.answer(operation, &view).unwrap_or_else(|| {
                refused(RefusalKind::Invalid, "this is a storage node; ask a validator")
            }),
        }
    }

    /// Whether another machine answers now.
    async fn hears(&self, suspect: NodeId) -> bool {
        let asked =
            self.exchange.ask(suspect, &Operation::Status, Bytes::new(), SIGN_TIMEOUT, None);
        matches!(asked.await, Ok(Answer { response: Response::Status(_), .. }))
    }

    fn status(&self) -> NodeStatus {
        let usage = self.store.usage();
        let suspects = self.suspects();
        NodeStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            objects: usage.objects,
            bytes: usage.bytes,
            quota: usage.quota_bytes,
            height: self.ledger.height(),
            suspects: (!suspects.is_empty()).then_some(suspects),
            repairs: (self.ledger.view().state().version() >= REPAIR_TOTALS_VERSION_MIN)
                .then(|| self.repair_totals()),
        }
    }
}

fn refused(kind: RefusalKind, message: impl Into<String>) -> Answer {
    Answer::bare(Response::Refused(Refusal::new(kind, message)))
}
