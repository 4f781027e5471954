//! Requests to peers by their node id, over one QUIC endpoint (RFC 9000).
//!
//! Rules and numbers: `engine/spec/transport.md` §4–6.

mod connection_ids;
mod error;
mod inbound;
mod limits;
mod link;
mod outbound;
mod statistics;
mod throttle;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::{hkdf, hmac};
use kakera_engine::names::NodeId;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    BloomTokenLog, Connection, Endpoint, EndpointConfig, ServerConfig, TokenLog, TokioRuntime,
    ValidationTokenConfig,
};
use quinn_proto::TimeSource;
use tokio::time::{Instant, timeout};
use tracing::trace;

pub use self::error::{Refusal, RequestError};
pub use self::inbound::Incoming;
pub use self::limits::{Limits, MTU_MAX};
pub(crate) use self::statistics::Counter;
pub use self::statistics::{Refusals, Statistics};

use self::connection_ids::ConnectionIds;
use self::error::close_code;
use self::inbound::{Guests, Listener};
use self::link::{Line, OpenedHere};
use self::outbound::Dialer;
use self::statistics::Counters;
use crate::clock::unix_milliseconds;
use crate::id::Identity;
use crate::random::random_salt;
use crate::rpc::{Abort, Budget, Message, Outgoing, Receiver, Sender};
use crate::sock::CountedSocket;
use crate::tls;

/// 32 bytes that only the two ends of one connection know (RFC 8446 §7.5), the same at both: what
/// is signed over them cannot be replayed on another connection.
pub type Exporter = [u8; 32];

const EXPORTER_LABEL: &[u8] = b"EXPORTER-kakera-request";
/// How long closing waits for peers to hear of it.
const GOODBYE_PATIENCE: Duration = Duration::from_millis(250);
/// A peer that lives acknowledges a request within this time, though some packets are lost.
const SILENCE_MAX: Duration = Duration::from_secs(2);

/// One QUIC endpoint, its connections and its byte budget. Clones share them; when the last one is
/// dropped the connections are closed.
#[derive(Clone)]
pub struct Fabric {
    shared: Arc<Shared>,
    dialer: Arc<Dialer>,
}

struct Shared {
    identity: Arc<Identity>,
    endpoint: Endpoint,
    socket: Arc<CountedSocket>,
    local_address: SocketAddr,
    limits: Limits,
    budget: Budget,
    counters: Arc<Counters>,
    guests: Guests,
    opened_here: Arc<OpenedHere>,
    server: ServerConfig,
}

impl Fabric {
    /// Opens the socket at `address` (port 0: any free one). Must be called inside a tokio runtime.
    ///
    /// `admission` says whether the registry knows a node; it is asked in every accepted handshake
    /// and must not block.
    pub fn bind(
        identity: Arc<Identity>,
        address: SocketAddr,
        limits: Limits,
        admission: impl Fn(&NodeId) -> bool + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let counters = Arc::new(Counters::default());
        let counted = counters.clone();
        let server = server_config(&identity, &limits, move |id| {
            let admitted = admission(id);
            counted.not_admitted.add(u64::from(!admitted));
            admitted
        })?;
        let socket = CountedSocket::bind(address, limits.socket_buffer, limits.packets_at_once)?;
        let socket = Arc::new(socket);
        let endpoint = Endpoint::new_with_abstract_socket(
            endpoint_config(&identity, &limits)?,
            None,
            socket.clone(),
            Arc::new(TokioRuntime),
        )?;
        let opened_here = Arc::new(OpenedHere::default());
        let (id, dials) = (identity.clone(), endpoint.clone());
        let dialer = Dialer::new(id, dials, limits.clone(), opened_here.clone());
        let shared = Shared {
            local_address: endpoint.local_addr()?,
            budget: Budget::new(limits.memory),
            identity,
            endpoint,
            socket,
            limits,
            counters,
            guests: Guests::default(),
            opened_here,
            server,
        };
        Ok(Self { shared: Arc::new(shared), dialer: Arc::new(dialer) })
    }

    /// The socket's own address.
    pub fn local_address(&self) -> SocketAddr {
        self.shared.local_address
    }

    /// The node that speaks here.
    pub fn local_id(&self) -> NodeId {
        self.shared.identity.node_id()
    }

    /// The bytes that received bodies, and whatever a handler reserves, may occupy together.
    pub fn budget(&self) -> &Budget {
        &self.shared.budget
    }

    /// Sends one request to `peer` and waits for its reply, both within `deadline`.
    ///
    /// All requests to a peer share one connection, the peer's own or one that is opened at `address`
    /// when there is none. `make` gets the connection's exporter, so that the request can be signed over it.
    /// Dropping the future cancels the request at the peer.
    pub async fn request<M: Into<Outgoing>>(
        &self,
        peer: NodeId,
        address: SocketAddr,
        deadline: Duration,
        make: impl FnOnce(&Exporter) -> M,
    ) -> Result<Message, RequestError> {
        let mut used = None;
        let outcome = timeout(deadline, self.exchange(peer, address, make, &mut used)).await;
        outcome.unwrap_or_else(|_| match used {
            Some(used) if used.close_if_dead() => {
                Err(RequestError::Closed("the peer fell silent".into()))
            }
            _ => Err(RequestError::Timeout(deadline)),
        })
    }

    async fn exchange<M: Into<Outgoing>>(
        &self,
        peer: NodeId,
        address: SocketAddr,
        make: impl FnOnce(&Exporter) -> M,
        used: &mut Option<Hearing>,
    ) -> Result<Message, RequestError> {
        let Line { connection, exporter, send, receive, turn: _turn } =
            self.dialer.open(peer, address).await?;
        *used = Some(Hearing::begin(&connection));
        let mut sender = Sender::new(send, Abort::Cancelled);
        let mut receiver = Receiver::new(receive);
        let request = make(&exporter).into();
        if !request.fits() {
            return Err(RequestError::TooLong);
        }
        let counters = &self.shared.counters;
        let sent = request.encoded_len();
        sender.send(request).await?;
        counters.requests_sent.add(1);
        counters.stream_bytes_sent.add(sent);
        let (header, length) = receiver.head().await?;
        let reservation = self.shared.budget.reserve(length).await;
        let reply = Message { header, body: receiver.body(length, reservation).await? };
        let received = reply.encoded_len();
        counters.stream_bytes_received.add(received);
        trace!(
            %peer,
            stream_bytes_sent = sent,
            stream_bytes_received = received,
            connection = connection.stable_id(),
            connection_udp_bytes_sent = connection.stats().udp_tx.bytes,
            connection_udp_bytes_received = connection.stats().udp_rx.bytes,
            "asked"
        );
        Ok(reply)
    }

    /// Accepts connections and answers the requests on these and on those opened here, until the fabric
    /// is closed.
    ///
    /// Every request runs in a task of its own, which is dropped when the peer cancels the request
    /// or its connection ends; all are dropped with this future. A handler that panics fails its
    /// request only.
    pub async fn serve<H, F>(&self, handler: H)
    where
        H: Fn(Incoming) -> F + Send + Sync + 'static,
        F: Future + Send + 'static,
        F::Output: Into<Outgoing> + Send,
    {
        // Not before: nobody would answer, and first packets would pile up.
        self.shared.endpoint.set_server_config(Some(self.shared.server.clone()));
        let _accepting = Accepting(&self.shared.endpoint);
        Listener::new(self.shared.clone(), self.dialer.clone(), handler).run().await;
    }

    /// Closes the connections with these peers, in and out: what machines leave behind that are gone for
    /// good. Requests under way with them fail.
    pub fn dismiss(&self, gone: impl Fn(&NodeId) -> bool) {
        self.shared.guests.dismiss(&gone);
        self.dialer.dismiss(gone);
    }

    /// Closes every connection and waits a moment until the peers have been told. Dead peers never
    /// answer, so it is not waited for them.
    ///
    /// Requests under way end with [`RequestError::Closed`], and so do later ones.
    pub async fn close(&self) {
        self.shared.endpoint.close(close_code::SHUTDOWN, b"");
        // Too slow is no failure: the goodbyes have been sent.
        let _ = tokio::time::timeout(GOODBYE_PATIENCE, self.shared.endpoint.wait_idle()).await;
    }

    /// What was sent, received and refused so far.
    pub fn statistics(&self) -> Statistics {
        let shared = &self.shared;
        shared.counters.snapshot(shared.socket.bytes(), shared.endpoint.open_connections())
    }
}

/// What is heard on a connection from the beginning of a request on.
struct Hearing {
    connection: Connection,
    begun: Instant,
    /// Packets received before.
    heard: u64,
}

impl Hearing {
    fn begin(connection: &Connection) -> Self {
        let heard = connection.stats().udp_rx.datagrams;
        Self { connection: connection.clone(), begun: Instant::now(), heard }
    }

    /// Closes the connection if nothing was heard on it for so long that the peer must be gone, or
    /// elsewhere: the next request looks for it anew. Whether that was so.
    fn close_if_dead(&self) -> bool {
        let silent = self.connection.stats().udp_rx.datagrams == self.heard;
        let dead = silent && self.begun.elapsed() >= SILENCE_MAX;
        if dead {
            self.connection.close(close_code::UNUSED, b"");
        }
        dead
    }
}

/// Accepts first packets as long as it lives.
struct Accepting<'a>(&'a Endpoint);

impl Drop for Accepting<'_> {
    fn drop(&mut self) {
        self.0.set_server_config(None);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.endpoint.close(close_code::SHUTDOWN, b"");
    }
}

/// Keys that outlive a restart let peers of the previous run know at once that it is gone:
/// their packets carry recognisable connection ids and are answered with a stateless reset.
fn endpoint_config(identity: &Identity, limits: &Limits) -> io::Result<EndpointConfig> {
    let reset_key = identity.derive("transport stateless reset");
    let connection_ids = ConnectionIds::new(&identity.derive("transport connection id"));
    let mut config =
        EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, reset_key.as_ref())));
    config
        .cid_generator(move || Box::new(connection_ids.clone()))
        .max_udp_payload_size(limits.mtu_max.clamp(1472, MTU_MAX))
        .map_err(io::Error::other)?
        .rng_seed(Some(random_salt()));
    Ok(config)
}

fn server_config(
    identity: &Arc<Identity>,
    limits: &Limits,
    admission: impl Fn(&NodeId) -> bool + Send + Sync + 'static,
) -> io::Result<ServerConfig> {
    let tls = tls::server_config(identity, Arc::new(admission)).map_err(io::Error::other)?;
    let initial = tls::initial_suite().map_err(io::Error::other)?;
    let crypto =
        QuicServerConfig::with_initial(Arc::new(tls), initial).map_err(io::Error::other)?;
    let mut tokens = ValidationTokenConfig::default();
    tokens.log(Arc::new(token_log(UnixTime.now()))).lifetime(TOKEN_LIFETIME);
    let token_key = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&random_salt());
    let mut config = ServerConfig::new(Arc::new(crypto), Arc::new(token_key));
    config
        .transport_config(limits.inbound_transport())
        .validation_token_config(tokens)
        .time_source(Arc::new(UnixTime))
        .max_incoming(limits.handshakes)
        .incoming_buffer_size(INCOMING_LEN_MAX)
        .incoming_buffer_size_total(INCOMING_LEN_MAX * limits.handshakes as u64);
    Ok(config)
}

/// Remembers which tokens were used; they were issued at `start` or later.
fn token_log(start: SystemTime) -> BloomTokenLog {
    let log = BloomTokenLog::new_expected_items(TOKEN_LOG_LEN, TOKENS_EXPECTED);
    // It counts time from the first token on that it hears of, and would refuse all that were issued
    // before that one. Tokens are dated in whole seconds.
    let (no_token, before) = (0, start - Duration::from_secs(1));
    let _ = log.check_and_insert(no_token, before, TOKEN_LIFETIME);
    log
}

/// By which tokens are dated: the clock that everything here goes by.
struct UnixTime;

impl TimeSource for UnixTime {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(unix_milliseconds())
    }
}

/// How long a validation token is good for.
const TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Memory against reuse of validation tokens, bytes, and the uses within their lifetime that it is meant
/// for. With more of them a token is ever more often taken for a used one, which costs a Retry.
const TOKEN_LOG_LEN: usize = 64 << 10;
const TOKENS_EXPECTED: u64 = 50_000;

/// Bytes kept of a handshake that was not yet accepted; its first flight has about 2.5 KiB.
const INCOMING_LEN_MAX: u64 = 8 << 10;

fn exporter(connection: &Connection) -> Result<Exporter, RequestError> {
    let mut exporter = [0; 32];
    connection
        .export_keying_material(&mut exporter, EXPORTER_LABEL, b"")
        .map_err(|_| RequestError::Closed("no exporter".into()))?;
    Ok(exporter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_count_once_in_whatever_order() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_900);
        let issued = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let log = token_log(start);
        let is_new = |token: u128, seconds: u64| {
            log.check_and_insert(token, issued(1_800_000_000 + seconds), TOKEN_LIFETIME).is_ok()
        };
        assert!(is_new(7, 5000) && is_new(8, 3000) && is_new(9, 0));
        assert!(!is_new(7, 5000) && !is_new(8, 3000) && !is_new(9, 0));
    }
}
