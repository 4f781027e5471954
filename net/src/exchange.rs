//! Asks peers what the engine's machines want asked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use kakera_engine::names::{NetworkId, NodeId};
use kakera_engine::peer::{Answer, Ask, AskFailure};
use kakera_engine::wire::{Operation, Request, Response, Session};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::clock::unix_milliseconds;
use crate::fabric::{Fabric, Refusal as FabricRefusal, RequestError};
use crate::id::Identity;
use crate::neighbours::Neighbours;
use crate::rpc::Message;

/// Where a node listens, as far as the asker knows.
pub trait AddressBook: Send + Sync {
    /// `None` for a node that is not enrolled or gave no address.
    fn address(&self, node: &NodeId) -> Option<SocketAddr>;
}

/// Addresses that are given and do not change.
impl AddressBook for BTreeMap<NodeId, SocketAddr> {
    fn address(&self, node: &NodeId) -> Option<SocketAddr> {
        self.get(node).copied()
    }
}

/// Sends requests under one identity.
#[derive(Clone)]
pub struct Exchange {
    fabric: Fabric,
    network: NetworkId,
    identity: Arc<Identity>,
    addresses: Arc<dyn AddressBook>,
    neighbours: Option<Arc<Neighbours>>,
}

impl Exchange {
    /// An exchange over `fabric`, which must be bound under the same identity.
    pub fn new(
        fabric: Fabric,
        network: NetworkId,
        identity: Arc<Identity>,
        addresses: Arc<dyn AddressBook>,
    ) -> Self {
        Self { fabric, network, identity, addresses, neighbours: None }
    }

    /// Asks machines on the same local network where they say that they are, first.
    pub fn with_neighbours(self, neighbours: Option<Arc<Neighbours>>) -> Self {
        Self { neighbours, ..self }
    }

    /// Who asks.
    pub fn id(&self) -> NodeId {
        self.identity.node_id()
    }

    /// The network.
    pub(crate) fn network(&self) -> NetworkId {
        self.network
    }

    /// The key that it is known by.
    pub(crate) fn signing_key(&self) -> &SigningKey {
        self.identity.signing_key()
    }

    /// The transport underneath.
    pub fn fabric(&self) -> &Fabric {
        &self.fabric
    }

    /// Asks `receiver` one question; `capability` signs it if given.
    pub async fn ask(
        &self,
        receiver: NodeId,
        operation: &Operation,
        body: Bytes,
        timeout: Duration,
        capability: Option<&SigningKey>,
    ) -> Result<Answer, AskFailure> {
        let end = Instant::now() + timeout;
        let ask_once = async |address| {
            let timeout = end.saturating_duration_since(Instant::now());
            let deadline = unix_milliseconds() + timeout.as_millis() as u64;
            let write = |exporter: &_| {
                let (network, author) = (self.network, self.identity.node_id());
                let session = Session { network, author, receiver, exporter: *exporter };
                (Request::encode(operation, &session, deadline, capability), body.clone())
            };
            self.fabric.request(receiver, address, timeout, write).await
        };
        // Connections outlast restarts of the peer, and it may close one at any time. Whatever is asked
        // may be asked twice.
        let ask_at = async |address| match ask_once(address).await {
            Err(RequestError::Restarted | RequestError::Unused) => ask_once(address).await,
            outcome => outcome,
        };
        if let Some(neighbours) = &self.neighbours
            && let Some(address) = neighbours.address(&receiver)
        {
            let outcome = ask_at(address).await;
            if outcome.as_ref().is_err_and(is_in_doubt) {
                neighbours.doubt(&receiver, address);
            }
            // What was sent may have been done: it is not said again.
            if !outcome.as_ref().is_err_and(was_unsaid) {
                return answer(outcome);
            }
        }
        let address = self.addresses.address(&receiver).ok_or(AskFailure::Unreachable)?;
        answer(ask_at(address).await)
    }
}

fn answer(outcome: Result<Message, RequestError>) -> Result<Answer, AskFailure> {
    let message = outcome.map_err(ask_failure)?;
    let response = Response::from_header(&message.header)
        .map_err(|error| AskFailure::Misbehaved(error.to_string()))?;
    Ok(Answer { response, body: message.body })
}

/// Whether no connection to the peer came about, so that nothing was sent.
fn was_unsaid(error: &RequestError) -> bool {
    matches!(
        error,
        RequestError::Unreachable { .. } | RequestError::Refused(FabricRefusal::WrongKey { .. })
    )
}

/// Whether the peer may be elsewhere.
fn is_in_doubt(error: &RequestError) -> bool {
    was_unsaid(error) || matches!(error, RequestError::Timeout(_) | RequestError::Closed(_))
}

fn ask_failure(error: RequestError) -> AskFailure {
    match error {
        RequestError::Timeout(_) => AskFailure::TimedOut,
        RequestError::Unreachable { .. }
        | RequestError::Closed(_)
        | RequestError::Restarted
        | RequestError::Unused => AskFailure::Unreachable,
        RequestError::Refused(FabricRefusal::NotAdmitted) => AskFailure::NotAdmitted,
        // It is busy; another attempt may succeed.
        RequestError::Refused(FabricRefusal::Crowded) => AskFailure::Unreachable,
        other => AskFailure::Misbehaved(other.to_string()),
    }
}

/// The questions of one machine under way. Dropping it cancels them.
pub struct Asking {
    exchange: Exchange,
    capability: Option<Arc<SigningKey>>,
    tasks: JoinSet<(u64, Result<Answer, AskFailure>)>,
    start: Instant,
}

impl Asking {
    /// Questions over `exchange`, all signed by `capability` if given.
    pub fn new(exchange: Exchange, capability: Option<Arc<SigningKey>>) -> Self {
        Self { exchange, capability, tasks: JoinSet::new(), start: Instant::now() }
    }

    /// The machine's time: since this was made.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Sends a question.
    pub fn send(&mut self, ask: Ask) {
        let exchange = self.exchange.clone();
        let capability = self.capability.clone();
        self.tasks.spawn(async move {
            let Ask { id, to, operation, body, timeout } = ask;
            let capability = capability.as_deref();
            (id, exchange.ask(to.node, &operation, body, timeout, capability).await)
        });
    }

    /// The next answer; `None` when the machine should be polled again at `wake`, its time.
    pub async fn next(
        &mut self,
        wake: Option<Duration>,
    ) -> Option<(u64, Result<Answer, AskFailure>)> {
        let (start, idle) = (self.start, self.tasks.is_empty());
        let sleep = async {
            match wake {
                Some(wake) => tokio::time::sleep(wake.saturating_sub(start.elapsed())).await,
                None if idle => {}
                None => std::future::pending().await,
            }
        };
        let answer = async {
            match self.tasks.join_next().await {
                Some(Ok(answer)) => answer,
                // Only a panic in a question's task ends it without an answer.
                Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            answer = answer => Some(answer),
            () = sleep => None,
        }
    }
}
