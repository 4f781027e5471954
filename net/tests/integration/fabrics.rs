//! Ends of connections on loopback, and one that answers every request with itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kakera_net::fabric::{Fabric, Incoming, Limits};
use kakera_net::id::Identity;
use kakera_net::rpc::Message;
use zeroize::Zeroizing;

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) fn identity(byte: u8) -> Arc<Identity> {
    Arc::new(Identity::from_seed(&Zeroizing::new([byte; 32])))
}

pub(crate) fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub(crate) fn fabric(byte: u8, limits: Limits) -> Fabric {
    Fabric::bind(identity(byte), anywhere(), limits, |_| true).unwrap()
}

pub(crate) async fn echo(request: Incoming) -> Message {
    Message { header: request.header, body: request.body }
}

/// Node 2, answering every request with itself.
pub(crate) fn echo_server(limits: Limits) -> Fabric {
    let server = fabric(2, limits);
    let serving = server.clone();
    tokio::spawn(async move { serving.serve(echo).await });
    server
}
