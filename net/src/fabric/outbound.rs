//! One connection per peer, the peer's own or one opened when first needed, and shared by all requests to
//! it. It is kept, since a handshake is more than most questions are, unless many others were used since or
//! it has carried much.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kakera_engine::names::NodeId;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint, TokenMemoryCache, TokenStore};
use tokio::time::{Instant, sleep, timeout};

use super::error::close_code;
use super::link::{Line, Link, OpenedHere};
use super::{Limits, Refusal, RequestError, connection_ids};
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

/// An attempt to connect, under way (`None`) or settled.
type Attempt = watch::Receiver<Option<Result<Link, RequestError>>>;

/// Opens connections and remembers them by peer.
pub(super) struct Dialer {
    identity: Arc<Identity>,
    endpoint: Endpoint,
    tokens: Arc<dyn TokenStore>,
    limits: Limits,
    opened_here: Arc<OpenedHere>,
    /// Attempts under way and connections that live, as far as known.
    attempts: Mutex<BTreeMap<NodeId, Kept>>,
}

struct Kept {
    address: SocketAddr,
    attempt: Attempt,
}

impl Dialer {
    pub(super) fn new(
        identity: Arc<Identity>,
        endpoint: Endpoint,
        limits: Limits,
        opened_here: Arc<OpenedHere>,
    ) -> Self {
        Self {
            identity,
            endpoint,
            tokens: Arc::new(CopiedTokens(TokenMemoryCache::new(
                TOKENS_FOR_PEERS,
                TOKENS_PER_PEER,
            ))),
            limits,
            opened_here,
            attempts: Mutex::default(),
        }
    }

    /// A fresh stream to `peer`, on the connection at hand or on a new one to `address`.
    ///
    /// A remembered connection that turns out dead, or on which the peer lets nobody ask it, is
    /// replaced once: nothing was sent on it.
    pub(super) async fn open(
        self: &Arc<Self>,
        peer: NodeId,
        address: SocketAddr,
    ) -> Result<Line, RequestError> {
        let link = self.link(peer, address).await?;
        match link.clone().open().await {
            Ok(Some(line)) => return Ok(line),
            Ok(None) => self.forget(&link),
            Err(RequestError::Closed(_) | RequestError::Restarted | RequestError::Unused) => {}
            Err(error) => return Err(error),
        }
        let line = self.link(peer, address).await?.open().await?;
        line.ok_or_else(|| RequestError::Closed("the peer only asks".into()))
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
        if let Some(kept) = attempts.get(&peer)
            && is_usable(&kept.attempt, kept.address == address)
        {
            return kept.attempt.clone();
        }
        let outcome = watch::Sender::new(None);
        let attempt = outcome.subscribe();
        attempts.insert(peer, Kept { address, attempt: attempt.clone() });
        // A task of its own: the request that started it may be cancelled, others wait for it.
        tokio::spawn(self.clone().keep_connected(peer, address, outcome));
        attempt
    }

    /// Asks its peer on this connection from now on.
    pub(super) fn adopt(&self, link: &Link) {
        self.attempts().insert(link.peer, Kept::adopted(link));
    }

    /// Asks its peer on this connection, if it is asked on none.
    pub(super) fn fall_back(&self, link: &Link) {
        self.attempts().entry(link.peer).or_insert_with(|| Kept::adopted(link));
    }

    /// Asks nobody on this connection any more.
    pub(super) fn forget(&self, link: &Link) {
        let mut attempts = self.attempts();
        if attempts.get(&link.peer).is_some_and(|kept| kept.link().is_some_and(|of| of.is(link))) {
            attempts.remove(&link.peer);
        }
    }

    /// Connects, tells those who wait, and forgets the connection when it has ended.
    async fn keep_connected(
        self: Arc<Self>,
        peer: NodeId,
        address: SocketAddr,
        outcome: watch::Sender<Option<Result<Link, RequestError>>>,
    ) {
        let connected = self.connect(peer, address).await;
        let link = connected.clone().ok();
        outcome.send(Some(connected));
        if let Some(link) = link {
            self.close_unused();
            until_closed(&link).await;
        }
        let mut attempts = self.attempts();
        if attempts.get(&peer).is_some_and(|kept| kept.attempt.is_of(&outcome)) {
            attempts.remove(&peer);
        }
    }

    /// Closes what is more than may be kept of the connections opened here on which nothing is asked.
    /// One that somebody is about to use is replaced like any that turns out dead.
    fn close_unused(&self) {
        let attempts = self.attempts();
        let links = attempts.values().filter_map(Kept::link).filter(|link| link.opened_here);
        let mut idle: Vec<(Instant, Link)> =
            links.filter_map(|link| Some((link.idle_since()?, link))).collect();
        idle.sort_by_key(|(since, _)| *since);
        let surplus = idle.len().saturating_sub(self.limits.connections_kept.max(1));
        for (_, link) in &idle[..surplus] {
            link.connection.close(close_code::UNUSED, b"");
        }
    }

    /// Closes the connections with these peers.
    pub(super) fn dismiss(&self, gone: impl Fn(&NodeId) -> bool) {
        let attempts = self.attempts();
        for (_, kept) in attempts.iter().filter(|(peer, _)| gone(peer)) {
            if let Some(link) = kept.link() {
                link.connection.close(close_code::UNUSED, b"");
            }
        }
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
            .transport_config(self.limits.outbound_transport())
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
        let link = Link::new(peer, connection, true, self.limits.streams_per_connection)?;
        if self.limits.answers {
            self.opened_here.add(link.clone());
        }
        Ok(link)
    }

    fn attempts(&self) -> MutexGuard<'_, BTreeMap<NodeId, Kept>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn adopted(link: &Link) -> Self {
        let attempt = watch::Sender::new(Some(Ok(link.clone()))).subscribe();
        Self { address: link.connection.remote_address(), attempt }
    }

    fn link(&self) -> Option<Link> {
        self.attempt.newest()?.ok()
    }
}

/// A connection opened here that has carried much is closed as soon as it is idle.
async fn until_closed(link: &Link) {
    let mut wait = BULK_LOOK_EVERY;
    loop {
        tokio::select! {
            _ = link.connection.closed() => return,
            () = sleep(wait) => {}
        }
        let stats = link.connection.stats();
        if stats.udp_rx.bytes + stats.udp_tx.bytes < BULK_BYTES_MIN {
            continue;
        }
        wait = BULK_IDLE_MAX;
        if link.idle_since().is_some_and(|since| since.elapsed() >= BULK_IDLE_MAX) {
            link.connection.close(close_code::UNUSED, b"");
        }
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
