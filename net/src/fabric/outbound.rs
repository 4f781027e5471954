//! One connection per peer, opened when first needed and shared by all requests to it. It is kept, since
//! a handshake is more than most questions are, unless many others were used since or it has carried much.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kakera_engine::names::NodeId;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream, TokenMemoryCache};
use quinn::{TokenStore, TransportConfig};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use super::error::close_code;
use super::{Exporter, Limits, Refusal, RequestError, connection_ids, exporter};
use crate::id::Identity;
use crate::tls;
use crate::watch;

/// A connection that has carried so many bytes, both ways together, is not kept for long: a handshake is
/// a twentieth of them, and quinn's queues stay as long as they ever were (transport.md §4).
const BULK_BYTES_MIN: u64 = 256 << 10;
/// How long nothing is asked on it before it is closed.
const BULK_IDLE_MAX: Duration = Duration::from_secs(5);
/// From one look at how much a connection has carried to the next; most never carry much.
const BULK_LOOK_EVERY: Duration = Duration::from_secs(30);

/// Validation tokens kept for peers, so that a reconnection needs no Retry.
const TOKENS_FOR_PEERS: u32 = 256;
const TOKENS_PER_PEER: usize = 2;

/// A fresh stream to a peer.
pub(super) struct Line {
    pub(super) connection: Connection,
    pub(super) exporter: Exporter,
    pub(super) send: SendStream,
    pub(super) receive: RecvStream,
    /// Held as long as the stream is in use.
    pub(super) turn: OwnedSemaphorePermit,
}

/// An open connection, its exporter, and the streams that this side may still open: the receive
/// window has room for so many, however many the peer allows.
#[derive(Clone)]
struct Link {
    connection: Connection,
    exporter: Exporter,
    turns: Arc<Semaphore>,
}

impl Link {
    async fn open(self) -> Result<Line, RequestError> {
        let Ok(turn) = self.turns.acquire_owned().await else {
            unreachable!("the turns of a link are never closed")
        };
        let (send, receive) = self.connection.open_bi().await?;
        Ok(Line { connection: self.connection, exporter: self.exporter, send, receive, turn })
    }
}

/// An attempt to connect, under way (`None`) or settled.
type Attempt = watch::Receiver<Option<Result<Link, RequestError>>>;

/// Opens connections and remembers them by peer.
pub(super) struct Dialer {
    identity: Arc<Identity>,
    endpoint: Endpoint,
    transport: Arc<TransportConfig>,
    tokens: Arc<dyn TokenStore>,
    limits: Limits,
    /// Attempts under way and connections that live, as far as known.
    attempts: Mutex<BTreeMap<NodeId, Kept>>,
}

struct Kept {
    address: SocketAddr,
    attempt: Attempt,
    /// When something was last to be asked.
    used: Instant,
}

impl Dialer {
    pub(super) fn new(identity: Arc<Identity>, endpoint: Endpoint, limits: Limits) -> Self {
        Self {
            identity,
            endpoint,
            transport: limits.outbound_transport(),
            tokens: Arc::new(CopiedTokens(TokenMemoryCache::new(
                TOKENS_FOR_PEERS,
                TOKENS_PER_PEER,
            ))),
            limits,
            attempts: Mutex::default(),
        }
    }

    /// A fresh stream to `peer`, on the connection at hand or on a new one to `address`.
    ///
    /// A remembered connection that turns out dead is replaced once: nothing was sent on it.
    pub(super) async fn open(
        self: &Arc<Self>,
        peer: NodeId,
        address: SocketAddr,
    ) -> Result<Line, RequestError> {
        match self.link(peer, address).await?.open().await {
            Err(RequestError::Closed(_) | RequestError::Restarted) => {
                self.link(peer, address).await?.open().await
            }
            opened => opened,
        }
    }

    /// Joins the attempt or connection at hand, or starts one.
    async fn link(
        self: &Arc<Self>,
        peer: NodeId,
        address: SocketAddr,
    ) -> Result<Link, RequestError> {
        let mut attempt = self.attempt(peer, address);
        let settled = attempt.wait_for(Option::is_some).await;
        match settled {
            Ok(Some(outcome)) => outcome,
            Ok(None) | Err(_) => Err(RequestError::Closed("closed by this node".into())),
        }
    }

    fn attempt(self: &Arc<Self>, peer: NodeId, address: SocketAddr) -> Attempt {
        let mut attempts = self.attempts();
        let used = Instant::now();
        if let Some(kept) = attempts.get_mut(&peer)
            && is_usable(&kept.attempt, kept.address == address)
        {
            kept.used = used;
            return kept.attempt.clone();
        }
        let outcome = watch::Sender::new(None);
        let attempt = outcome.subscribe();
        attempts.insert(peer, Kept { address, attempt: attempt.clone(), used });
        // A task of its own: the request that started it may be cancelled, others wait for it.
        tokio::spawn(self.clone().keep_connected(peer, address, outcome));
        attempt
    }

    /// Connects, tells those who wait, and forgets the connection when it has ended.
    async fn keep_connected(
        self: Arc<Self>,
        peer: NodeId,
        address: SocketAddr,
        outcome: watch::Sender<Option<Result<Link, RequestError>>>,
    ) {
        let connected = self.connect(peer, address).await;
        let connection = connected.as_ref().ok().map(|link| link.connection.clone());
        outcome.send(Some(connected));
        if let Some(connection) = connection {
            self.close_unused();
            self.until_closed(peer, &connection).await;
        }
        let mut attempts = self.attempts();
        if attempts.get(&peer).is_some_and(|kept| kept.attempt.is_of(&outcome)) {
            attempts.remove(&peer);
        }
    }

    /// A connection that has carried much is closed here as soon as it is idle.
    async fn until_closed(&self, peer: NodeId, connection: &Connection) {
        let mut wait = BULK_LOOK_EVERY;
        loop {
            tokio::select! {
                _ = connection.closed() => return,
                () = sleep(wait) => {}
            }
            let stats = connection.stats();
            if stats.udp_rx.bytes + stats.udp_tx.bytes < BULK_BYTES_MIN {
                continue;
            }
            wait = BULK_IDLE_MAX;
            let attempts = self.attempts();
            let idle = attempts.get(&peer).is_some_and(|kept| {
                let same = |idle: Connection| idle.stable_id() == connection.stable_id();
                kept.used.elapsed() >= BULK_IDLE_MAX
                    && self.idle_connection(&kept.attempt).is_some_and(same)
            });
            if idle {
                connection.close(close_code::UNUSED, b"");
            }
        }
    }

    /// Closes what is more than may be kept of the connections on which nothing is asked. One that
    /// somebody is about to use is replaced like any that turns out dead.
    fn close_unused(&self) {
        let attempts = self.attempts();
        let idle = |kept: &Kept| Some((kept.used, self.idle_connection(&kept.attempt)?));
        let mut idle: Vec<(Instant, Connection)> = attempts.values().filter_map(idle).collect();
        idle.sort_by_key(|(used, _)| *used);
        let surplus = idle.len().saturating_sub(self.limits.connections_kept.max(1));
        for (_, connection) in &idle[..surplus] {
            connection.close(close_code::UNUSED, b"");
        }
    }

    /// Closes the connections with these peers.
    pub(super) fn dismiss(&self, gone: impl Fn(&NodeId) -> bool) {
        let attempts = self.attempts();
        for (_, kept) in attempts.iter().filter(|(peer, _)| gone(peer)) {
            if let Some(Ok(link)) = kept.attempt.newest() {
                link.connection.close(close_code::UNUSED, b"");
            }
        }
    }

    fn idle_connection(&self, attempt: &Attempt) -> Option<Connection> {
        let Some(Ok(Link { connection, turns, .. })) = attempt.newest() else { return None };
        let is_idle =
            turns.available_permits() == self.turns() && connection.close_reason().is_none();
        is_idle.then_some(connection)
    }

    /// Requests that may be under way on one connection.
    fn turns(&self) -> usize {
        self.limits.streams_per_connection.max(1) as usize
    }

    async fn connect(&self, peer: NodeId, address: SocketAddr) -> Result<Link, RequestError> {
        let unreachable = |reason: String| RequestError::Unreachable { address, reason };
        let incompatible = |error: rustls::Error| Refusal::Incompatible(error.to_string());
        let (tls, pin) = tls::client_config(&self.identity, peer).map_err(incompatible)?;
        let initial = tls::initial_suite().map_err(incompatible)?;
        let crypto = QuicClientConfig::with_initial(Arc::new(tls), initial)
            .map_err(|error| Refusal::Incompatible(error.to_string()))?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config
            .transport_config(self.transport.clone())
            .token_store(self.tokens.clone())
            .initial_dst_cid_provider(Arc::new(connection_ids::random));
        let connecting = self
            .endpoint
            .connect_with(config, address, &token_name(peer))
            .map_err(|error| unreachable(error.to_string()))?;
        let connection = match timeout(self.limits.handshake_timeout, connecting).await {
            Err(_) | Ok(Err(quinn::ConnectionError::TimedOut)) => {
                return Err(unreachable("the handshake took too long".into()));
            }
            Ok(Err(error)) => {
                return Err(match pin.found_instead() {
                    Some(found) => Refusal::WrongKey { expected: peer, found }.into(),
                    None => error.into(),
                });
            }
            Ok(Ok(connection)) => connection,
        };
        let exporter = exporter(&connection)?;
        Ok(Link { connection, exporter, turns: Arc::new(Semaphore::new(self.turns())) })
    }

    fn attempts(&self) -> MutexGuard<'_, BTreeMap<NodeId, Kept>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Live connections are good wherever the peer is said to be; attempts only at the same address.
fn is_usable(attempt: &Attempt, same_address: bool) -> bool {
    match attempt.newest() {
        None => same_address && attempt.is_open(),
        Some(Ok(link)) => link.connection.close_reason().is_none(),
        Some(Err(_)) => false,
    }
}

/// Keeps copies of tokens: one as it comes from quinn is a slice that keeps its whole packet.
struct CopiedTokens(TokenMemoryCache);

impl TokenStore for CopiedTokens {
    fn insert(&self, server_name: &str, token: Bytes) {
        self.0.insert(server_name, Bytes::copy_from_slice(&token));
    }

    fn take(&self, server_name: &str) -> Option<Bytes> {
        self.0.take(server_name)
    }
}

/// The DNS-shaped name under which quinn keeps a peer's validation tokens. It is never sent.
fn token_name(peer: NodeId) -> String {
    let hex = peer.to_string();
    let (first, second) = hex.split_at(hex.len() / 2);
    format!("{first}.{second}.kakera")
}
