//! What the fabric counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// Totals since [`bind`](super::Fabric::bind), and the connections open now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// UDP payload bytes sent.
    pub udp_bytes_sent: u64,
    /// UDP payload bytes received.
    pub udp_bytes_received: u64,
    /// Bytes of complete requests and replies handed to streams.
    pub stream_bytes_sent: u64,
    /// Bytes of complete requests and replies read from streams.
    pub stream_bytes_received: u64,
    /// Connections open now, in and out.
    pub connections: usize,
    /// Requests sent whole.
    pub requests_sent: u64,
    /// Requests received whole and given to the handler.
    pub requests_served: u64,
    /// What was turned away.
    pub refused: Refusals,
}

/// What an endpoint turned away, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// First packets from unproven addresses, answered with a Retry.
    pub retried: u64,
    /// Handshakes above the rate of their network.
    pub throttled: u64,
    /// Handshakes while too many connections or handshakes were open.
    pub crowded: u64,
    /// Keys that the registry does not know.
    pub not_admitted: u64,
    /// Handshakes that failed, as those of keys not known, or were not completed in time.
    pub handshake_failed: u64,
    /// Connections closed because there were further ones with their peer.
    pub surplus: u64,
    /// Requests that broke the format or a length limit.
    pub malformed: u64,
    /// Requests that came, or replies that were taken, too slowly.
    pub too_slow: u64,
    /// Requests for whose body no memory became free in time.
    pub busy: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) stream_bytes_sent: Counter,
    pub(super) stream_bytes_received: Counter,
    pub(super) requests_sent: Counter,
    pub(super) requests_served: Counter,
    pub(super) retried: Counter,
    pub(super) throttled: Counter,
    pub(super) crowded: Counter,
    pub(super) not_admitted: Counter,
    pub(super) handshake_failed: Counter,
    pub(super) surplus: Counter,
    pub(super) malformed: Counter,
    pub(super) too_slow: Counter,
    pub(super) busy: Counter,
}

impl Counters {
    pub(super) fn snapshot(&self, udp_bytes: (u64, u64), connections: usize) -> Statistics {
        Statistics {
            udp_bytes_sent: udp_bytes.0,
            udp_bytes_received: udp_bytes.1,
            stream_bytes_sent: self.stream_bytes_sent.value(),
            stream_bytes_received: self.stream_bytes_received.value(),
            connections,
            requests_sent: self.requests_sent.value(),
            requests_served: self.requests_served.value(),
            refused: Refusals {
                retried: self.retried.value(),
                throttled: self.throttled.value(),
                crowded: self.crowded.value(),
                not_admitted: self.not_admitted.value(),
                handshake_failed: self.handshake_failed.value(),
                surplus: self.surplus.value(),
                malformed: self.malformed.value(),
                too_slow: self.too_slow.value(),
                busy: self.busy.value(),
            },
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
