//! Serves requests and writes blocks.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kakera_engine::hash::derive_key;
use kakera_engine::ledger::{
    BeaconChain, Entry, EntryError, FollowAck, HeadAttestation, SignedHeader, StateKey,
};
use kakera_engine::names::{NetworkId, NodeId};
use kakera_engine::peer::{Answer, Place, SubmitError, Validator};
use kakera_engine::policy::{self, LedgerView};
use kakera_engine::wire::{
    BODY_LEN_MAX, NodeStatus, Operation, ProvenValue, Refusal, RefusalKind, Remark, Request,
    Response, Session, VerifiedRequest, canonical,
};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::error;

use super::ValidatorError;
use super::desk::Desk;
use super::fetch::Fetched;
use super::identities::{Asker, Identities, IdentityStore};
use super::peers::Peers;
use super::voting_log::VotingLog;
use super::writer::Writer;
use crate::blocking::blocking;
use crate::chain_store::{ChainServer, ChainStore};
use crate::chain_view::ChainView;
use crate::clock::{UnixClock, sleep_for, unix_milliseconds};
use crate::exchange::Exchange;
use crate::fabric::Incoming;
use crate::id::Identity;
use crate::network_file::NetworkFile;
use crate::random::system_random;
use crate::rpc::Message;
use crate::store::disk::OsDisk;
use crate::watch;

/// How long a `Follow` waits for a block at most.
const FOLLOW_WAIT: Duration = Duration::from_secs(20);
/// An answer leaves this long before the asker stops waiting, or a quarter of its patience before.
const ANSWER_MARGIN_MAX: Duration = Duration::from_secs(1);
/// Most values proved by one request.
const PROVE_KEYS_MAX: usize = 1024;

const NOT_CONFIRMED: &str = "not enough storage nodes have confirmed the entry; it may still become \
     final; try again with the same entry, and see that two storage nodes run";
const NOT_SHOWN: &str = "the validator restarted and not enough storage nodes have confirmed its newest \
     block; try again, and see that two storage nodes run";
const NOT_ENROLLED_YET: &str = "the entry that lets you in is not final yet; try again in a moment";
const NOT_A_MEMBER: &str =
    "this validator is not of the set, or does not know of it yet; ask another one";
const NOT_AGREED: &str = "the validators have not agreed on the entry, which takes more than two thirds of \
     them; it may still become final; try again with the same entry, and see that they run";

pub(super) struct Service {
    pub(super) id: NodeId,
    network: NetworkId,
    identity: Arc<Identity>,
    server: ChainServer<OsDisk>,
    pub(super) desk: Desk,
    writer: Mutex<Writer<OsDisk>>,
    pub(super) peers: Peers,
    pub(super) identities: Identities<OsDisk>,
    /// Which source a validator that only follows asks next.
    pub(super) turn: AtomicUsize,
    durable: watch::Receiver<u64>,
    /// Reads wait until this height is final: it may have been shown before a restart.
    pub(super) shown_before: u64,
}

impl Service {
    pub(super) fn new(
        identity: Arc<Identity>,
        network: NetworkFile,
        store: Arc<ChainStore<OsDisk>>,
        voting_log: Option<VotingLog<OsDisk>>,
        (identities, tries_clock): (IdentityStore<OsDisk>, UnixClock),
        machine: Validator,
    ) -> Arc<Self> {
        let network_id = network.network_id();
        let view = ChainView::new(machine.chain(), Arc::new(network.addresses), u64::MAX);
        let shown_before = machine.durable_height();
        let writer = Writer::new(Arc::clone(&store), voting_log);
        let secret = derive_key(identity.signing_key().as_bytes(), "identity/dealer", &[]);
        let identities =
            Identities::new(identities, tries_clock, network_id, identity.node_id(), secret);
        Arc::new(Self {
            id: identity.node_id(),
            network: network_id,
            identity,
            server: ChainServer::new(store),
            desk: Desk::new(machine, view),
            durable: writer.durable(),
            writer: Mutex::new(writer),
            peers: Peers::default(),
            identities,
            turn: AtomicUsize::new(0),
            shown_before,
        })
    }

    pub(super) fn durable_height(&self) -> u64 {
        self.durable.newest()
    }

    /// The other validators, if this one is of the set too.
    pub(super) fn others(&self, view: &ChainView) -> BTreeSet<NodeId> {
        let mut others: BTreeSet<NodeId> = view.state().validators().0.keys().copied().collect();
        if others.remove(&self.id) { others } else { BTreeSet::new() }
    }

    /// Another validator says how long its chain is.
    pub(super) fn hear_height(&self, from: NodeId, height: u64) {
        let clock = self.desk.clock();
        self.desk.act(|machine| machine.handle_height(from, height, clock));
        self.desk.notify_writer();
    }

    /// Writes and speaks until the disk fails.
    pub(super) async fn write(self: Arc<Self>, exchange: Exchange) -> ValidatorError {
        let mut fetching = JoinSet::new();
        let mut fetched = None;
        loop {
            let service = Arc::clone(&self);
            if let Err(error) = blocking(move || service.work(fetched)).await {
                return error;
            }
            fetched = None;
            if fetching.is_empty()
                && let Some(question) = self.poll_fetch()
            {
                fetching.spawn(Arc::clone(&self).fetch(exchange.clone(), question));
            }
            let wake = self.next_wake(fetching.is_empty());
            tokio::select! {
                biased;
                Some(answer) = fetching.join_next() => fetched = answer.ok().flatten(),
                () = self.desk.writer_notified() => {}
                () = sleep_for(wake) => {}
            }
        }
    }

    /// Everything that there is to do now, and to say.
    fn work(&self, fetched: Option<Fetched>) -> Result<(), ValidatorError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let (desk, clock) = (&self.desk, self.desk.clock());
        if let Some(Fetched { source, head, from, blocks }) = fetched {
            writer.catch_up(desk, clock, from, blocks)?;
            desk.act(|machine| machine.handle_height(source, head, clock));
        }
        self.renew_anchor();
        writer.work(desk, clock, &mut system_random(), |peer, remark| {
            self.peers.tell(peer, &remark);
        })
    }

    /// The beacon needs links of each validator; computing them takes some milliseconds.
    fn renew_anchor(&self) {
        if let Some(number) = self.desk.act(|machine| machine.wants_anchor()) {
            let links = BeaconChain::new(&self.network, self.identity.signing_key(), number);
            self.desk.act(|machine| machine.register_anchor(links.anchor()));
        }
    }

    /// How long until the machine wants to be woken.
    fn next_wake(&self, may_fetch: bool) -> Option<Duration> {
        let (wake, fetch) = self.desk.act(|machine| (machine.next_wake(), machine.next_fetch()));
        let next = wake.into_iter().chain(fetch.filter(|_| may_fetch)).min();
        next.map(|moment| self.desk.until(moment))
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
        let Incoming { peer, exporter, header, body, .. } = incoming;
        let (network, receiver) = (self.network, self.id);
        let session = Session { network, author: peer, receiver, exporter };
        let now = unix_milliseconds();
        let request = Request::verify(&header, &session, now)
            .map_err(|error| Refusal::new(RefusalKind::Invalid, error.to_string()))?;
        policy::authorise(&request, &*self.desk.view(), &self.id, None, now)
            .map_err(|refusal| self.perhaps_later(&peer, refusal))?;
        let VerifiedRequest { author, deadline, operation, capability } = request;
        let until = answer_time(deadline.saturating_sub(now));
        match operation {
            Operation::Submit(entry) => {
                let Place { height, index, .. } = self.submit(*entry, until).await?;
                Ok(Answer::bare(Response::Submitted { height, index }))
            }
            Operation::Post(entry) => self.post(*entry, until).await,
            Operation::Consult { keys, from, nonce } => {
                let view = self.read(from, until).await?;
                let body = prove(&keys, &view)?;
                let (head, attestation) = self.attest(nonce, &view);
                Ok(Answer { response: Response::Consulted { head, attestation }, body })
            }
            Operation::Head { nonce } => {
                let (head, attestation) = self.attest(nonce, &*self.read(0, until).await?);
                Ok(Answer::bare(Response::Head { head, attestation }))
            }
            Operation::Prove(keys) => {
                let view = self.read(0, until).await?;
                let (response, body) =
                    (Response::Proven { height: view.height() }, prove(&keys, &view)?);
                Ok(Answer { response, body })
            }
            Operation::Follow { from, acknowledged, form } => {
                if let Some(ack) = acknowledged {
                    self.acknowledge(author, ack).await?;
                }
                self.wait_for_block(from, until).await;
                self.answer_from_chain(Operation::Follow { from, acknowledged: None, form }).await
            }
            Operation::Confer { head } => self.listen(author, head, body).await,
            Operation::Status => Ok(Answer::bare(Response::Status(self.status()))),
            operation @ (Operation::Deposit(_)
            | Operation::Evaluate { .. }
            | Operation::Confirm { .. }
            | Operation::Recall { .. }
            | Operation::Identities { .. }
            | Operation::DealAgain(_)) => {
                let asker = Asker { machine: author, prover: capability };
                self.answer_for_identity(operation, asker).await
            }
            other => self.answer_from_chain(other).await,
        }
    }

    /// Who is enrolled by an entry that is not final yet may come again.
    fn perhaps_later(&self, peer: &NodeId, refusal: Refusal) -> Refusal {
        let stranger = !self.desk.view().is_enrolled(peer);
        if stranger && self.desk.act(|machine| machine.expects(peer)) {
            return Refusal::new(RefusalKind::Unavailable, NOT_ENROLLED_YET);
        }
        refusal
    }

    async fn answer_from_chain(self: &Arc<Self>, operation: Operation) -> Result<Answer, Refusal> {
        let service = Arc::clone(self);
        let answer =
            blocking(move || service.server.answer(&operation, &service.desk.view())).await;
        answer.ok_or_else(|| {
            let message = "this is a validator; ask the storage nodes of the group";
            Refusal::new(RefusalKind::Invalid, message)
        })
    }

    async fn answer_for_identity(
        self: &Arc<Self>,
        operation: Operation,
        asker: Asker,
    ) -> Result<Answer, Refusal> {
        let service = Arc::clone(self);
        blocking(move || service.identities.answer(operation, &asker, &service.desk.view())).await
    }

    async fn submit(self: &Arc<Self>, entry: Entry, until: Instant) -> Result<Place, Refusal> {
        if !self.desk.view().is_validator(&self.id) {
            return Err(Refusal::new(RefusalKind::Unavailable, NOT_A_MEMBER));
        }
        let (sender, outcome) = oneshot::channel();
        let service = Arc::clone(self);
        // Signatures and the state: off the threads that move packets.
        blocking(move || service.desk.submit(entry, sender)).await;
        match timeout_at(until, outcome).await {
            Ok(Ok(Ok(place))) => Ok(place),
            Ok(Ok(Err(refusal))) => Err(refusal_of(&refusal)),
            Ok(Err(_)) | Err(_) => {
                let alone = self.desk.act(|machine| machine.decides_alone());
                let message = if alone { NOT_CONFIRMED } else { NOT_AGREED };
                Err(Refusal::new(RefusalKind::Unavailable, message))
            }
        }
    }

    async fn post(self: &Arc<Self>, entry: Entry, until: Instant) -> Result<Answer, Refusal> {
        let place = self.submit(entry, until).await?;
        let inclusion = self.desk.act(|machine| machine.inclusion(&place));
        let gone = || Refusal::new(RefusalKind::Unavailable, "the entry is final; ask for it");
        let (height, inclusion) = (place.height, Box::new(inclusion.ok_or_else(gone)?));
        Ok(Answer::bare(Response::Posted { height, inclusion }))
    }

    /// Takes what another validator says.
    async fn listen(
        self: &Arc<Self>,
        from: NodeId,
        head: u64,
        body: Bytes,
    ) -> Result<Answer, Refusal> {
        self.peers.hear(&from);
        let remarks = Remark::read_list(&body)
            .map_err(|error| Refusal::new(RefusalKind::Invalid, error.to_string()))?;
        let service = Arc::clone(self);
        blocking(move || {
            let clock = service.desk.clock();
            for remark in remarks {
                service.desk.act(|machine| match remark {
                    Remark::Message(message) => machine.handle_message(from, *message, clock),
                    Remark::Entry(entry) => machine.handle_shared(*entry, clock),
                });
            }
            service.hear_height(from, head);
        })
        .await;
        Ok(Answer::bare(Response::Conferred { head: self.desk.view().height() }))
    }

    /// The final chain, once it has a height and shows all that was shown before a restart.
    async fn read(&self, from: u64, until: Instant) -> Result<Arc<ChainView>, Refusal> {
        let mut view = self.desk.views();
        let least = from.max(self.shown_before);
        let caught_up = view.wait_for(|view| view.height() >= least);
        match timeout_at(until, caught_up).await {
            Ok(Ok(view)) => Ok(Arc::clone(&view)),
            _ if self.desk.view().height() < self.shown_before => {
                Err(Refusal::new(RefusalKind::Unavailable, NOT_SHOWN))
            }
            _ => {
                let message = format!("this validator has not come to height {from}; ask another");
                Err(Refusal::new(RefusalKind::Unavailable, message))
            }
        }
    }

    /// The head of a view, and the word that it is the newest.
    fn attest(&self, nonce: [u8; 32], view: &ChainView) -> (Box<SignedHeader>, HeadAttestation) {
        let head = Box::new(view.head().clone());
        let (now, key) = (unix_milliseconds(), self.identity.signing_key());
        let attestation = HeadAttestation::sign(&head.header, nonce, now, key);
        (head, attestation)
    }

    async fn acknowledge(self: &Arc<Self>, author: NodeId, ack: FollowAck) -> Result<(), Refusal> {
        let service = Arc::clone(self);
        blocking(move || {
            let counted = service.desk.act(|machine| machine.handle_ack(author, &ack));
            service.desk.notify_writer();
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
        let mut durable = self.durable.clone();
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
            suspects: None,
            repairs: None,
        }
    }
}

/// When an answer must leave so that it arrives while the asker waits.
fn answer_time(patience_millis: u64) -> Instant {
    let patience = Duration::from_millis(patience_millis);
    Instant::now() + patience - ANSWER_MARGIN_MAX.min(patience / 4)
}

/// The list of values with their proofs.
fn prove(keys: &[StateKey], view: &ChainView) -> Result<Bytes, Refusal> {
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
    Ok(body)
}

fn refusal_of(error: &SubmitError) -> Refusal {
    let kind = match error {
        // Another pointer came first, or is about to: its author may read it soon and go on from there.
        SubmitError::Entry(EntryError::OldPointer { .. }) => RefusalKind::Unavailable,
        SubmitError::Entry(_) | SubmitError::SequenceTaken(_) => RefusalKind::Invalid,
        SubmitError::Full | SubmitError::AuthorFull | SubmitError::Propose(_) => {
            RefusalKind::Unavailable
        }
    };
    Refusal::new(kind, error.to_string())
}
