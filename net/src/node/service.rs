//! Serves requests: TLS and signatures, then the engine's holder, then the disk.

use std::sync::Arc;

use bytes::Bytes;
use kakera_engine::ledger::HeadAttestation;
use kakera_engine::peer::{Answer, Step};
use kakera_engine::wire::{
    NodeStatus, Operation, Refusal, RefusalKind, Request, Response, Session,
};
use tracing::warn;

use super::{Node, disk};
use crate::clock::unix_milliseconds;
use crate::fabric::Incoming;
use crate::rpc::Message;

impl Node {
    /// Answers one request.
    pub(super) async fn serve(self: Arc<Self>, incoming: Incoming) -> Message {
        let answer = self.answer(incoming).await;
        Message { header: answer.response.to_header().into(), body: answer.body }
    }

    async fn answer(self: &Arc<Self>, incoming: Incoming) -> Answer {
        let Incoming { peer, exporter, header, body } = incoming;
        let (network, receiver) = (self.network, self.holder.id());
        let session = Session { network, author: peer, receiver, exporter };
        let now = unix_milliseconds();
        let request = match Request::verify(&header, &session, now) {
            Ok(request) => request,
            Err(error) => return refused(RefusalKind::Invalid, error.to_string()),
        };
        // Hashing, coding and the disk: off the threads that move packets.
        let node = Arc::clone(self);
        let step = tokio::task::spawn_blocking(move || node.run(now, request, body)).await;
        match step {
            Ok(Step::Reply(answer)) => answer,
            Ok(Step::Repair(group, slot)) => {
                Answer::bare(Response::Repair(self.repair(group, slot)))
            }
            Ok(Step::Status) => Answer::bare(Response::Status(self.status())),
            Ok(Step::Disk(..) | Step::Ledger(_)) => unreachable!("run ends with the disk's answer"),
            Err(panic) => {
                warn!(%panic, "a request could not be served");
                refused(RefusalKind::Unavailable, "an internal error; see the node's log")
            }
        }
    }

    fn run(&self, now: u64, request: kakera_engine::wire::VerifiedRequest, body: Bytes) -> Step {
        let view = self.ledger.view();
        let mut step = self.holder.handle_request(&*view, now, request, body);
        while let Step::Disk(wanted, pending) = step {
            let result = disk::perform(&self.store, wanted);
            step = self.holder.handle_disk(&*view, now, pending, result);
        }
        if let Step::Ledger(operation) = step {
            step = Step::Reply(self.answer_from_chain(&operation, now));
        }
        step
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

    fn status(&self) -> NodeStatus {
        let usage = self.store.usage();
        NodeStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            objects: usage.objects,
            bytes: usage.bytes,
            quota: usage.quota_bytes,
            height: self.ledger.height(),
        }
    }
}

fn refused(kind: RefusalKind, message: impl Into<String>) -> Answer {
    Answer::bare(Response::Refused(Refusal::new(kind, message)))
}
