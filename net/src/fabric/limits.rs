//! What a peer may cost, and how much is in flight.

use std::sync::Arc;
use std::time::Duration;

use quinn::{IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};

/// Largest UDP payload of a packet. quinn hands the kernel up to ten packets at a time (GSO), which together
/// must fit one datagram of 65,507 bytes: with larger packets whole batches vanish silently.
pub const MTU_MAX: u16 = 6550;

/// The discovery of a path's MTU ends where it could gain fewer bytes than this: on most connections
/// little is ever sent, and every size that the path does not take costs three probes.
const MTU_GAIN_MIN: u16 = 64;
/// It begins again after this long. What a path takes seldom changes, and a path that takes less than was
/// tried costs several probes each time: with quinn's ten minutes they were half of what an idle node sent.
const MTU_DISCOVERY_INTERVAL: Duration = Duration::from_secs(6 * 3600);

/// Streams that a peer may have open on a connection until it has used as many within a second. For each
/// that may be open quinn keeps what the longest request in its place needed, also if one is open at a
/// time: a kibibyte or two where requests carry parts.
pub(super) const STREAMS_AT_FIRST: u32 = 8;

/// Bounds on what peers may cost and on what is in flight. `default()` is for a small node.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes that received bodies may occupy together; at least one longest body counts.
    pub memory: usize,
    /// Bytes of `memory` that requests of one peer may occupy; at least one longest body counts.
    pub memory_per_peer: usize,
    /// Open connections, in and out, above which new ones are refused.
    pub connections: usize,
    /// Connections with one peer on which it may ask; a further one closes the oldest.
    pub connections_per_peer: usize,
    /// Requests of one connection under way at a time, in either role; further ones wait. A peer gets
    /// so many streams once it uses eight within a second.
    pub streams_per_connection: u32,
    /// Accepted handshakes in progress above which new ones are refused.
    pub handshakes: usize,
    /// Handshakes a second that one /24 (IPv4) or /48 (IPv6) may start, once its burst is used.
    pub handshake_rate: u32,
    /// Handshakes that one /24 or /48 may start at once.
    pub handshake_burst: u32,
    /// A handshake that takes longer, in or out, is given up.
    pub handshake_timeout: Duration,
    /// Time a peer has to send a request's header, and this node to find memory for its body.
    pub patience: Duration,
    /// Bytes a second at which a peer must send a body or take a reply, after `patience`.
    pub rate_min: u32,
    /// A connection without traffic for this long is dropped; the shorter time of its two ends counts.
    pub idle_timeout: Duration,
    /// Connections opened from here that are kept while nothing is asked on them, at least one; of
    /// more the one that was not used for the longest is closed.
    pub connections_kept: usize,
    /// Whether peers may ask on connections opened here: the fabric serves soon after it was bound.
    pub answers: bool,
    /// Interval of keep-alives on connections that this endpoint opens; none by default.
    pub keep_alive: Option<Duration>,
    /// Bytes a peer may send on one stream ahead of the reader. A connection may hold this times
    /// `streams_per_connection`, for requests and for replies.
    pub stream_window: u32,
    /// Unacknowledged bytes kept per connection.
    pub send_window: u32,
    /// UDP payload of the first packets, 1200 to `mtu_max`.
    pub mtu_initial: u16,
    /// Largest UDP payload that path MTU discovery tries, at most [`MTU_MAX`]; 1452 fits Ethernet
    /// under IPv6.
    pub mtu_max: u16,
    /// Packets that the kernel is handed at a time (GSO), 1 to 10. Each connection keeps a buffer for so
    /// many.
    pub packets_at_once: usize,
    /// Kernel buffer of the socket, bytes each way, as far as the kernel allows.
    pub socket_buffer: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 32 << 20,
            memory_per_peer: 8 << 20,
            connections: 1024,
            connections_per_peer: 3,
            streams_per_connection: 32,
            handshakes: 128,
            handshake_rate: 32,
            handshake_burst: 256,
            handshake_timeout: Duration::from_secs(5),
            patience: Duration::from_secs(10),
            rate_min: 64 << 10,
            idle_timeout: Duration::from_secs(2 * 3600),
            connections_kept: 128,
            answers: true,
            keep_alive: None,
            stream_window: 256 << 10,
            send_window: 1 << 20,
            mtu_initial: 1200,
            mtu_max: 1452,
            packets_at_once: 4,
            socket_buffer: 2 << 20,
        }
    }
}

impl Limits {
    /// For a client that reads and writes through many nodes at once: wider windows, larger batches. It
    /// comes and goes, perhaps without a word.
    pub fn client() -> Self {
        Self {
            stream_window: 1 << 20,
            send_window: 4 << 20,
            idle_timeout: Duration::from_secs(30),
            connections_kept: 1024,
            answers: false,
            packets_at_once: 10,
            ..Self::default()
        }
    }

    /// For a validator, which asks every storage node over and over and is asked by each.
    pub fn validator() -> Self {
        Self { connections: 4096, connections_kept: 4096, ..Self::default() }
    }

    /// Packets of the largest size from the first on, for nodes on one machine. They need no discovery,
    /// whose probes are more than many connections ever carry.
    pub fn on_loopback(self) -> Self {
        Self { mtu_initial: self.mtu_max, ..self }
    }

    /// How long a body of `length` bytes may take.
    pub(super) fn time_for(&self, length: u64) -> Duration {
        self.patience + Duration::from_secs(length) / self.rate_min.max(1)
    }

    /// QUIC parameters of connections that this endpoint opens; a peer may open streams where this
    /// one answers.
    pub(super) fn outbound_transport(&self) -> Arc<TransportConfig> {
        let streams = if self.answers { self.streams_at_first() } else { 0 };
        let mut transport = self.transport(streams);
        transport.keep_alive_interval(self.keep_alive);
        Arc::new(transport)
    }

    /// QUIC parameters of accepted connections.
    pub(super) fn inbound_transport(&self) -> Arc<TransportConfig> {
        Arc::new(self.transport(self.streams_at_first()))
    }

    fn streams_at_first(&self) -> u32 {
        self.streams_per_connection.min(STREAMS_AT_FIRST)
    }

    /// Room for every stream, of either side, to wait with a full window, and a quarter more.
    ///
    /// With less, streams that wait for the byte budget could use up the credit of those that hold
    /// it. The rest is more than the eighth that quinn keeps back before it grants credit again.
    fn connection_window(&self) -> VarInt {
        let streams = 2 * u64::from(self.streams_per_connection.max(1));
        let waiting = u64::from(self.stream_window) * streams;
        let window = waiting + waiting / 4;
        VarInt::try_from(window).unwrap_or(VarInt::MAX)
    }

    fn transport(&self, streams: u32) -> TransportConfig {
        let mut discovery = MtuDiscoveryConfig::default();
        discovery
            .upper_bound(self.mtu_max.min(MTU_MAX))
            .minimum_change(MTU_GAIN_MIN)
            .interval(MTU_DISCOVERY_INTERVAL);
        let idle_timeout = IdleTimeout::try_from(self.idle_timeout).ok();
        let mut transport = TransportConfig::default();
        transport
            .max_concurrent_bidi_streams(VarInt::from_u32(streams))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .datagram_receive_buffer_size(None)
            .max_idle_timeout(idle_timeout)
            .stream_receive_window(VarInt::from_u32(self.stream_window))
            .receive_window(self.connection_window())
            .send_window(u64::from(self.send_window))
            .initial_mtu(self.mtu_initial.min(MTU_MAX))
            .mtu_discovery_config(Some(discovery));
        transport
    }
}
