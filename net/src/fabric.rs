//! Requests to peers by their node id, over QUIC.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use kakera_engine::names::NodeId;
use thiserror::Error;

use crate::id::Identity;
use crate::rpc::{Message, Outgoing};

/// 32 bytes that only the two ends of one connection know (RFC 8446 §7.5).
pub type Exporter = [u8; 32];

/// Bounds on what peers may cost.
#[derive(Clone, Debug, Default)]
pub struct Limits {}

/// One QUIC endpoint and its connections; cheap to clone.
#[derive(Clone)]
pub struct Fabric {}

/// A request that arrived.
pub struct Incoming {
    /// Who asks, proven by TLS.
    pub peer: NodeId,
    /// This connection's exporter.
    pub exporter: Exporter,
    /// At most 64 KiB.
    pub header: Bytes,
    /// At most 8 MiB.
    pub body: Bytes,
}

/// Counters since `bind`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Statistics {}

/// Why there is no reply.
#[derive(Clone, Debug, Error)]
pub enum RequestError {
    /// The deadline passed.
    #[error("no reply before the deadline")]
    Timeout,
}

impl Fabric {
    /// Opens the socket. Refuses unadmitted peers.
    pub fn bind(
        _identity: Arc<Identity>,
        _address: SocketAddr,
        _limits: Limits,
        _admission: impl Fn(&NodeId) -> bool + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        unimplemented!()
    }
    /// Where peers reach this endpoint.
    pub fn local_address(&self) -> SocketAddr {
        unimplemented!()
    }
    /// Who this endpoint is.
    pub fn local_id(&self) -> NodeId {
        unimplemented!()
    }
    /// Sends one request and waits for its reply.
    pub async fn request<M: Into<Outgoing>>(
        &self,
        _peer: NodeId,
        _address: SocketAddr,
        _deadline: Duration,
        _make: impl FnOnce(&Exporter) -> M,
    ) -> Result<Message, RequestError> {
        unimplemented!()
    }
    /// Answers requests until the fabric is closed.
    pub async fn serve<H, F>(&self, _handler: H)
    where
        H: Fn(Incoming) -> F + Send + Sync + 'static,
        F: Future + Send + 'static,
        F::Output: Into<Outgoing>,
    {
        unimplemented!()
    }
    /// Closes every connection and waits for the goodbyes to leave.
    pub async fn close(&self) {
        unimplemented!()
    }
    /// What was sent, received and refused so far.
    pub fn statistics(&self) -> Statistics {
        unimplemented!()
    }
}
