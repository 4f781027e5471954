//! Accepting connections, and answering the requests on them and on those opened here.
//!
//! A first packet passes, in this order: Retry, the bucket of its network, the number of
//! handshakes and connections, the handshake with the registry's check, the connections of its
//! node. Then every stream is a task that the peer can hold only as long as it makes progress.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kakera_engine::names::NodeId;
use quinn::{Connection, RecvStream, SendStream, VarInt};
use rustls::pki_types::CertificateDer;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::error::close_code;
use super::limits::STREAMS_AT_FIRST;
use super::link::Link;
use super::outbound::Dialer;
use super::throttle::Throttle;
use super::{Exporter, Shared};
use crate::rpc::{Abort, Budget, Fault, Message, Outgoing, Receiver, Sender};
use crate::tls;

/// A connection on which nothing was asked for this long is closed if both sides ask on another, or if no
/// packet came since the last request: who lives acknowledges the reply, which would otherwise be kept
/// until the idle timeout.
const ABANDONED_AFTER: Duration = Duration::from_secs(30);

/// Two machines that connect to each other within this time did so at once: neither has lost a connection.
const AT_ONCE: Duration = Duration::from_secs(10);

/// A peer that uses the streams that it is granted at first within this time is granted all.
const DEMAND_TIME: Duration = Duration::from_secs(1);

/// A request that arrived.
#[derive(Debug)]
pub struct Incoming {
    /// Who asks, proven by TLS.
    pub peer: NodeId,
    /// The connection's exporter, to which the request's capability is bound.
    pub exporter: Exporter,
    /// At most 64 KiB, unparsed.
    pub header: Bytes,
    /// At most 8 MiB; counts against the byte budget until its last slice is dropped.
    pub body: Bytes,
}

/// The accepting side of one `serve`.
pub(super) struct Listener<H> {
    shared: Arc<Shared>,
    dialer: Arc<Dialer>,
    handler: H,
    handshakes: Arc<Semaphore>,
    throttle: Mutex<Throttle>,
}

/// The peers with connections on which they may ask.
#[derive(Default)]
pub(super) struct Guests(Mutex<BTreeMap<NodeId, Guest>>);

struct Guest {
    memory: Budget,
    /// Both sides ask on the last; those before it are surplus.
    connections: VecDeque<Arrival>,
}

/// A connection on which its peer may ask.
struct Arrival {
    link: Link,
    since: Instant,
    /// Told once both sides ask on another.
    superseded: Arc<Notify>,
}

impl Arrival {
    /// Whether both sides ask on this one and not on the `newer`, as both see it: of two that they opened
    /// to each other at once on the one of the smaller key, else on the newer.
    fn outlasts(&self, newer: &Link, here: NodeId) -> bool {
        let at_once = self.since.elapsed() < AT_ONCE && self.link.opened_here != newer.opened_here;
        let opened_by_smaller = self.link.opened_here == (here < newer.peer);
        at_once && opened_by_smaller && !self.link.only_asks()
    }
}

/// How many streams a peer has opened within a second.
struct Demand {
    since: Instant,
    streams: usize,
}

impl Demand {
    fn none() -> Self {
        Self { since: Instant::now(), streams: 0 }
    }

    /// Counts one more, beside those that are `open`; whether the peer needs more than it is granted at
    /// first.
    fn uses_all_of_the_first(&mut self, open: usize) -> bool {
        if self.since.elapsed() > DEMAND_TIME {
            *self = Self::none();
        }
        self.streams += 1;
        self.streams.max(open + 1) == STREAMS_AT_FIRST as usize
    }
}

impl Guests {
    /// Closes the connections of these peers.
    pub(super) fn dismiss(&self, gone: impl Fn(&NodeId) -> bool) {
        let guests = self.lock();
        let gone = guests.iter().filter(|(peer, _)| gone(peer));
        for arrival in gone.flat_map(|(_, guest)| &guest.connections) {
            arrival.link.connection.close(close_code::UNUSED, b"");
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Guest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<H, F> Listener<H>
where
    H: Fn(Incoming) -> F + Send + Sync + 'static,
    F: Future + Send + 'static,
    F::Output: Into<Outgoing> + Send,
{
    pub(super) fn new(shared: Arc<Shared>, dialer: Arc<Dialer>, handler: H) -> Arc<Self> {
        let limits = &shared.limits;
        Arc::new(Self {
            handshakes: Arc::new(Semaphore::new(limits.handshakes)),
            throttle: Mutex::new(Throttle::new(limits.handshake_rate, limits.handshake_burst)),
            handler,
            dialer,
            shared,
        })
    }

    /// Accepts until the endpoint is closed; dropping it drops every handler.
    pub(super) async fn run(self: Arc<Self>) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                Some(_) = connections.join_next() => {}
                link = self.shared.opened_here.next() => {
                    connections.spawn(self.clone().converse(link));
                }
                incoming = self.shared.endpoint.accept() => match incoming {
                    None => return,
                    Some(incoming) => if let Some((incoming, permit)) = self.screen(incoming) {
                        connections.spawn(self.clone().receive(incoming, permit));
                    },
                },
            }
        }
    }

    /// The checks that cost less than a handshake.
    fn screen(&self, incoming: quinn::Incoming) -> Option<(quinn::Incoming, OwnedSemaphorePermit)> {
        let counters = &self.shared.counters;
        if !incoming.remote_address_validated() && incoming.may_retry() {
            counters.retried.add(1);
            // Fails only where a retry is not allowed, which was asked before.
            let _ = incoming.retry();
            return None;
        }
        let address = incoming.remote_address().ip();
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        if !throttle.admit(address, Instant::now()) {
            counters.throttled.add(1);
            incoming.refuse();
            return None;
        }
        let full = self.shared.endpoint.open_connections() >= self.shared.limits.connections;
        match self.handshakes.clone().try_acquire_owned() {
            Ok(permit) if !full => Some((incoming, permit)),
            _ => {
                counters.crowded.add(1);
                incoming.refuse();
                None
            }
        }
    }

    /// An accepted connection, from its handshake to its end.
    async fn receive(self: Arc<Self>, incoming: quinn::Incoming, permit: OwnedSemaphorePermit) {
        let handshake = timeout(self.shared.limits.handshake_timeout, incoming.into_future());
        let Ok(Ok(connection)) = handshake.await else {
            return self.shared.counters.handshake_failed.add(1);
        };
        drop(permit);
        let streams = self.shared.limits.streams_per_connection;
        let link = peer_of(&connection).map(|peer| Link::new(peer, connection, false, streams));
        let Some(Ok(link)) = link else {
            return self.shared.counters.handshake_failed.add(1);
        };
        #[cfg(feature = "testkit")]
        crate::testkit::count("connections", 1);
        self.converse(link).await;
    }

    /// Answers on a connection to its end, and asks its peer on it.
    async fn converse(self: Arc<Self>, link: Link) {
        let Link { peer, connection, exporter, .. } = &link;
        let (peer, exporter) = (*peer, *exporter);
        let (memory, superseded) = self.welcome(&link);
        let (mut is_superseded, mut is_heard) = (false, true);
        let packets = || connection.stats().udp_rx.datagrams;
        let mut packets_before = 0;
        let (mut streams, mut demand) = (JoinSet::new(), Demand::none());
        loop {
            tokio::select! {
                biased;
                Some(_) = streams.join_next() => {}
                stream = connection.accept_bi() => match stream {
                    Ok((send, receive)) => {
                        (is_heard, packets_before) = (false, packets());
                        if demand.uses_all_of_the_first(streams.len()) {
                            let most = VarInt::from_u32(self.shared.limits.streams_per_connection);
                            connection.set_max_concurrent_bi_streams(most);
                        }
                        let (listener, memory, using) = (self.clone(), memory.clone(), link.begin());
                        streams.spawn(async move {
                            let _using = using;
                            listener.answer(peer, exporter, memory, send, receive).await;
                        });
                    }
                    Err(_) => break,
                },
                () = superseded.notified() => is_superseded = true,
                () = sleep(ABANDONED_AFTER), if streams.is_empty() && (is_superseded || !is_heard) => {
                    is_heard = packets() > packets_before;
                    is_superseded = !self.is_preferred(&link);
                    if link.idle_since().is_none() {
                        continue;
                    }
                    if is_superseded {
                        self.shared.counters.surplus.add(1);
                        connection.close(close_code::SURPLUS, b"");
                    } else if !is_heard {
                        connection.close(close_code::UNUSED, b"");
                    }
                }
            }
        }
        self.see_off(&link);
    }

    /// Adds a connection to its peer's, who is asked on it from now on unless one outlasts it; above the
    /// limit the first goes, so that a peer that restarts often is never locked out by its own dead
    /// connections, and where half of all connections are taken all but one, so that many that restarted
    /// lock nobody out.
    fn welcome(&self, link: &Link) -> (Budget, Arc<Notify>) {
        let limits = &self.shared.limits;
        let most = match self.shared.endpoint.open_connections() > limits.connections / 2 {
            true => 1,
            false => limits.connections_per_peer.max(1),
        };
        let superseded = Arc::new(Notify::new());
        let mut guests = self.shared.guests.lock();
        let guest = guests.entry(link.peer).or_insert_with(|| Guest {
            memory: self.shared.budget.part(limits.memory_per_peer),
            connections: VecDeque::new(),
        });
        let arrival = Arrival {
            link: link.clone(),
            since: Instant::now(),
            superseded: Arc::clone(&superseded),
        };
        let here = self.shared.identity.node_id();
        let connections = &mut guest.connections;
        let place = connections.iter().position(|other| other.outlasts(link, here));
        connections.insert(place.unwrap_or(connections.len()), arrival);
        let surplus = connections.len() - 1;
        connections.iter().take(surplus).for_each(|other| other.superseded.notify_one());
        if place.is_none() {
            self.dialer.adopt(link);
        }
        while connections.len() > most {
            if let Some(first) = connections.pop_front() {
                self.shared.counters.surplus.add(1);
                first.link.connection.close(close_code::SURPLUS, b"");
            }
        }
        (guest.memory.clone(), superseded)
    }

    /// Whether both sides ask on this connection, of those between them.
    fn is_preferred(&self, link: &Link) -> bool {
        let guests = self.shared.guests.lock();
        let last = guests.get(&link.peer).and_then(|guest| guest.connections.back());
        last.is_some_and(|last| last.link.is(link))
    }

    /// Removes a connection that has ended; its peer is asked on another that there is.
    fn see_off(&self, link: &Link) {
        self.dialer.forget(link);
        let mut guests = self.shared.guests.lock();
        let Some(guest) = guests.get_mut(&link.peer) else { return };
        guest.connections.retain(|kept| !kept.link.is(link));
        let mut others = guest.connections.iter().rev().map(|kept| &kept.link);
        if let Some(other) = others.find(|other| !other.only_asks()) {
            self.dialer.fall_back(other);
        }
        if guest.connections.is_empty() {
            guests.remove(&link.peer);
        }
    }

    /// One request and its reply.
    async fn answer(
        &self,
        peer: NodeId,
        exporter: Exporter,
        memory: Budget,
        send: SendStream,
        receive: RecvStream,
    ) {
        let sender = Sender::new(send, Abort::Failed);
        let mut receiver = Receiver::new(receive);
        let request = match self.read(&mut receiver, &memory).await {
            Ok(request) => request,
            Err(Some(reason)) => {
                receiver.abort(reason);
                return sender.abort(reason);
            }
            Err(None) => return,
        };
        let counters = &self.shared.counters;
        counters.requests_served.add(1);
        counters.stream_bytes_received.add(request.encoded_len());
        let Message { header, body } = request;
        let reply = tokio::select! {
            biased;
            () = sender.unwanted() => return,
            reply = (self.handler)(Incoming { peer, exporter, header, body }) => reply.into(),
        };
        self.reply(sender, reply).await;
    }

    /// Reads a request in bounded time and memory; `Err(None)` if the peer gave up.
    async fn read(
        &self,
        receiver: &mut Receiver,
        memory: &Budget,
    ) -> Result<Message, Option<Abort>> {
        let patience = self.shared.limits.patience;
        let (header, length) = self.in_time(patience, receiver.head()).await?;
        let Ok(reservation) = timeout(patience, memory.reserve(length)).await else {
            self.shared.counters.busy.add(1);
            return Err(Some(Abort::Busy));
        };
        let time = self.shared.limits.time_for(length as u64);
        let body = self.in_time(time, receiver.body(length, reservation)).await?;
        Ok(Message { header, body })
    }

    async fn reply(&self, mut sender: Sender, reply: Outgoing) {
        let length = reply.encoded_len();
        if !reply.fits() {
            tracing::error!(length, "a handler's reply is longer than the protocol allows");
            return sender.abort(Abort::Failed);
        }
        match self.in_time(self.shared.limits.time_for(length), sender.send(reply)).await {
            Ok(()) => self.shared.counters.stream_bytes_sent.add(length),
            Err(Some(reason)) => sender.abort(reason),
            Err(None) => {}
        }
    }

    /// Counts and names what the peer did wrong; `Err(None)` if it only gave up.
    async fn in_time<T>(
        &self,
        time: Duration,
        step: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Option<Abort>> {
        match timeout(time, step).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Fault::Malformed(_))) => {
                self.shared.counters.malformed.add(1);
                Err(Some(Abort::Malformed))
            }
            Ok(Err(Fault::Aborted(_) | Fault::Lost(_))) => Err(None),
            Err(_) => {
                self.shared.counters.too_slow.add(1);
                Err(Some(Abort::TooSlow))
            }
        }
    }
}

/// The key that the peer proved to hold in its handshake.
fn peer_of(connection: &Connection) -> Option<NodeId> {
    let shown = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    tls::node_id(shown.first()?)
}
