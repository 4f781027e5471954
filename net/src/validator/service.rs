//! Serves requests and writes blocks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kakera_engine::ledger::{Entry, FollowAck, HeadAttestation, StateKey};
use kakera_engine::names::{NetworkId, NodeId};
use kakera_engine::peer::{Answer, Place, SubmitError, Validator};
use kakera_engine::policy;
use kakera_engine::wire::{
    BODY_LEN_MAX, NodeStatus, Operation, ProvenValue, Refusal, RefusalKind, Request, Response,
    Session, VerifiedRequest, canonical,
};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use tracing::error;

use super::ValidatorError;
use crate::blocking::blocking;
use crate::chain_store::{ChainServer, ChainStore};
use crate::chain_view::ChainView;
use crate::clock::unix_milliseconds;
use crate::fabric::Incoming;
use crate::id::Identity;
use crate::network_file::NetworkFile;
use crate::random::system_random;
use crate::rpc::Message;
use crate::store::disk::OsDisk;

/// How long a `Follow` waits for a block at most.
const FOLLOW_WAIT: Duration = Duration::from_secs(20);
/// An answer leaves this long before the asker stops waiting, or a quarter of its patience before.
const ANSWER_MARGIN_MAX: Duration = Duration::from_secs(1);
/// Most values proved by one request.
const PROVE_KEYS_MAX: usize = 1024;

const NOT_CONFIRMED: &str = "not enough storage nodes have confirmed the entry; it may still become \
     final; try again with the same entry, and see that two storage nodes run";

pub(super) struct Service {
    id: NodeId,
    network: NetworkId,
    identity: Arc<Identity>,
    server: ChainServer<OsDisk>,
    desk: Mutex<Desk>,
    /// There may be a block to make.
    work: Notify,
    durable: watch::Sender<u64>,
    /// The final chain.
    view: watch::Sender<Arc<ChainView>>,
    /// Reads wait until this height is final: it may have been shown before a restart.
    shown_before: u64,
}

/// The machine and who waits for it.
struct Desk {
    machine: Validator,
    next_ticket: u64,
    submitters: BTreeMap<u64, oneshot::Sender<Result<Place, SubmitError>>>,
}

impl Service {
    pub(super) fn new(
        identity: Arc<Identity>,
        network: NetworkFile,
        store: Arc<ChainStore<OsDisk>>,
        machine: Validator,
    ) -> Arc<Self> {
        let network_id = network.network_id();
        let view = ChainView::new(machine.chain(), Arc::new(network.addresses), u64::MAX);
        let durable = machine.durable_height();
        Arc::new(Self {
            id: identity.node_id(),
            network: network_id,
            identity,
            server: ChainServer::new(store),
            desk: Mutex::new(Desk { machine, next_ticket: 0, submitters: BTreeMap::new() }),
            work: Notify::new(),
            durable: watch::Sender::new(durable),
            view: watch::Sender::new(Arc::new(view)),
            shown_before: durable,
        })
    }

    /// The final chain; attested, since this validator is who attests it.
    pub(super) fn view(&self) -> Arc<ChainView> {
        Arc::clone(&self.view.borrow())
    }

    /// The final chain, whenever there is a new one.
    pub(super) fn views(&self) -> watch::Receiver<Arc<ChainView>> {
        self.view.subscribe()
    }

    pub(super) fn durable_height(&self) -> u64 {
        *self.durable.borrow()
    }

    /// Makes blocks and syncs them, until the disk fails or a block brings other validators.
    pub(super) async fn write(self: Arc<Self>) -> ValidatorError {
        loop {
            let service = Arc::clone(&self);
            if let Err(error) = blocking(move || service.write_blocks()).await {
                return error;
            }
            self.work.notified().await;
        }
    }

    fn write_blocks(&self) -> Result<(), ValidatorError> {
        loop {
            if !self.at_desk(|machine| machine.decides_alone()) {
                return Err(ValidatorError::NotAlone);
            }
            let now = unix_milliseconds();
            let block = self.at_desk(|machine| machine.poll_block(now, &mut system_random()));
            let Some(block) = block else { return Ok(()) };
            self.server.store().append(std::slice::from_ref(&block))?;
            self.at_desk(Validator::handle_durable);
            self.durable.send_replace(block.block.header.height);
        }
    }

    /// Lets the machine act and tells everyone what came of it.
    fn at_desk<T>(&self, act: impl FnOnce(&mut Validator) -> T) -> T {
        let mut desk = self.lock_desk();
        let result = act(&mut desk.machine);
        let head = desk.machine.chain().head().header.height;
        self.view.send_if_modified(|view| {
            let moved = view.height() != head;
            if moved {
                *view = Arc::new(view.at(desk.machine.chain()));
            }
            moved
        });
        while let Some((ticket, outcome)) = desk.machine.poll_outcome() {
            if let Some(submitter) = desk.submitters.remove(&ticket) {
                // Fails if the submitter no longer waits.
                let _ = submitter.send(outcome);
            }
        }
        result
    }

    fn lock_desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers one request.
    pub(super) async fn serve(self: Arc<Self>, incoming: Incoming) -> Message {
        let answer = match self.answer(incoming).await {
            Ok(answer) => answer,
            Err(refusal) => Answer::bare(Response::Refused(refusal)),
        };
        Message { header: answer.response.to_header().into(), body: answer.body }
    }

    async fn answer(self: &Arc<Self>, incoming: Incoming) -> Result<Answer, Refusal> {
        let Incoming { peer, exporter, header, .. } = incoming;
        let (network, receiver) = (self.network, self.id);
        let session = Session { network, author: peer, receiver, exporter };
        let now = unix_milliseconds();
        let request = Request::verify(&header, &session, now)
            .map_err(|error| Refusal::new(RefusalKind::Invalid, error.to_string()))?;
        policy::authorise(&request, &*self.view(), &self.id, None, now)?;
        let VerifiedRequest { author, deadline, operation, .. } = request;
        let until = answer_time(deadline.saturating_sub(now));
        match operation {
            Operation::Submit(entry) => self.submit(*entry, until).await,
            Operation::Head { nonce } => Ok(self.head(nonce, self.read(until).await?)),
            Operation::Prove(keys) => prove(&keys, &*self.read(until).await?),
            Operation::Follow { from, acknowledged, form } => {
                if let Some(ack) = acknowledged {
                    self.acknowledge(author, ack).await?;
                }
                self.wait_for_block(from, until).await;
                self.answer_from_chain(Operation::Follow { from, acknowledged: None, form }).await
            }
            Operation::Status => Ok(Answer::bare(Response::Status(self.status()))),
            other => self.answer_from_chain(other).await,
        }
    }

    async fn answer_from_chain(self: &Arc<Self>, operation: Operation) -> Result<Answer, Refusal> {
        let service = Arc::clone(self);
        let answer = blocking(move || service.server.answer(&operation, &service.view())).await;
        answer.ok_or_else(|| {
            let message = "this is a validator; ask the storage nodes of the group";
            Refusal::new(RefusalKind::Invalid, message)
        })
    }

    async fn submit(self: &Arc<Self>, entry: Entry, until: Instant) -> Result<Answer, Refusal> {
        let (sender, outcome) = oneshot::channel();
        let service = Arc::clone(self);
        // Signatures and the state: off the threads that move packets.
        blocking(move || {
            let ticket = {
                let mut desk = service.lock_desk();
                desk.next_ticket += 1;
                let ticket = desk.next_ticket;
                desk.submitters.insert(ticket, sender);
                ticket
            };
            service.at_desk(|machine| machine.handle_submit(ticket, entry));
            service.work.notify_one();
        })
        .await;
        match timeout_at(until, outcome).await {
            Ok(Ok(Ok(Place { height, index }))) => {
                Ok(Answer::bare(Response::Submitted { height, index }))
            }
            Ok(Ok(Err(refusal))) => Err(refusal_of(&refusal)),
            Ok(Err(_)) | Err(_) => Err(Refusal::new(RefusalKind::Unavailable, NOT_CONFIRMED)),
        }
    }

    /// The final chain, once it shows all that was shown before a restart.
    async fn read(&self, until: Instant) -> Result<Arc<ChainView>, Refusal> {
        let mut view = self.view.subscribe();
        let caught_up = view.wait_for(|view| view.height() >= self.shown_before);
        match timeout_at(until, caught_up).await {
            Ok(Ok(view)) => Ok(Arc::clone(&view)),
            _ => Err(Refusal::new(
                RefusalKind::Unavailable,
                "the validator restarted and not enough storage nodes have confirmed its newest \
                 block; try again, and see that two storage nodes run",
            )),
        }
    }

    fn head(&self, nonce: [u8; 32], view: Arc<ChainView>) -> Answer {
        let head = Box::new(view.head().clone());
        let (now, key) = (unix_milliseconds(), self.identity.signing_key());
        let attestation = HeadAttestation::sign(&head.header, nonce, now, key);
        Answer::bare(Response::Head { head, attestation })
    }

    async fn acknowledge(self: &Arc<Self>, author: NodeId, ack: FollowAck) -> Result<(), Refusal> {
        let service = Arc::clone(self);
        blocking(move || {
            let counted = service.at_desk(|machine| machine.handle_ack(author, &ack));
            service.work.notify_one();
            counted
        })
        .await
        .map_err(|refused| {
            error!("{refused}");
            Refusal::new(RefusalKind::Invalid, refused.to_string())
        })
    }

    /// Waits until the block of a height is durable, pending or not: followers make it final.
    async fn wait_for_block(&self, height: u64, until: Instant) {
        let mut durable = self.durable.subscribe();
        let until = until.min(Instant::now() + FOLLOW_WAIT);
        // An answer without blocks is what ends a wait in vain.
        let _ = timeout_at(until, durable.wait_for(|newest| *newest >= height)).await;
    }

    fn status(&self) -> NodeStatus {
        NodeStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            objects: 0,
            bytes: 0,
            quota: 0,
            height: self.durable_height(),
        }
    }
}

/// When an answer must leave so that it arrives while the asker waits.
fn answer_time(patience_millis: u64) -> Instant {
    let patience = Duration::from_millis(patience_millis);
    Instant::now() + patience - ANSWER_MARGIN_MAX.min(patience / 4)
}

fn prove(keys: &[StateKey], view: &ChainView) -> Result<Answer, Refusal> {
    let too_much =
        || Err(Refusal::new(RefusalKind::Invalid, "too much for one answer; ask for less"));
    if keys.len() > PROVE_KEYS_MAX {
        return too_much();
    }
    let (mut proven, mut length) = (Vec::with_capacity(keys.len()), 0);
    for key in keys {
        let value = view.state().value(key).map(<[u8]>::to_vec);
        length += value.as_ref().map_or(0, Vec::len);
        if length > BODY_LEN_MAX {
            return too_much();
        }
        proven.push(ProvenValue { value, proof: view.state().prove(key) });
    }
    let body = Bytes::from(canonical::encode(&proven));
    if body.len() > BODY_LEN_MAX {
        return too_much();
    }
    Ok(Answer { response: Response::Proven { height: view.height() }, body })
}

fn refusal_of(error: &SubmitError) -> Refusal {
    let kind = match error {
        SubmitError::Entry(_) | SubmitError::SequenceTaken(_) => RefusalKind::Invalid,
        SubmitError::Full | SubmitError::AuthorFull | SubmitError::Propose(_) => {
            RefusalKind::Unavailable
        }
    };
    Refusal::new(kind, error.to_string())
}
