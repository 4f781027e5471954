//! Machines that find each other by real multicast on the loopback interface.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kakera_engine::names::{NetworkId, NodeId};
use kakera_engine::peer::{Answer, AskFailure};
use kakera_engine::wire::{Operation, Response};
use kakera_net::exchange::Exchange;
use kakera_net::fabric::{Fabric, Limits};
use kakera_net::id::Identity;
use kakera_net::neighbours::Neighbours;
use kakera_net::rpc::Message;
use zeroize::Zeroizing;

use crate::support::eventually;

const NETWORK: NetworkId = NetworkId([7; 32]);

fn fabric(byte: u8) -> Fabric {
    let identity = Arc::new(Identity::from_seed(&Zeroizing::new([byte; 32])));
    let limits = Limits { handshake_timeout: Duration::from_millis(500), ..Limits::default() };
    Fabric::bind(identity, anywhere(), limits, |_| true).unwrap()
}

fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A machine that answers everything.
fn machine(byte: u8) -> Fabric {
    let machine = fabric(byte);
    let serving = machine.clone();
    tokio::spawn(async move {
        let answer = |_| async {
            Message { header: Response::Inventory.to_header().into(), body: Bytes::new() }
        };
        serving.serve(answer).await;
    });
    machine
}

/// Whom machine 1 asks for `node`, which is registered at `registered`.
async fn ask(
    neighbours: Option<&Arc<Neighbours>>,
    node: NodeId,
    registered: SocketAddr,
) -> Result<Answer, AskFailure> {
    let identity = Arc::new(Identity::from_seed(&Zeroizing::new([1; 32])));
    let book = Arc::new(BTreeMap::from([(node, registered)]));
    let exchange = Exchange::new(fabric(1), NETWORK, identity, book)
        .with_neighbours(neighbours.map(Arc::clone));
    exchange.ask(node, &Operation::Status, Bytes::new(), Duration::from_secs(20), None).await
}

/// A port for the multicast of one test.
fn multicast_port() -> u16 {
    UdpSocket::bind(anywhere()).unwrap().local_addr().unwrap().port()
}

/// One who says that `node` listens at `address`, and one who has heard it.
async fn announce(node: &NodeId, address: SocketAddr) -> [Arc<Neighbours>; 2] {
    let port = multicast_port();
    let announcer = Neighbours::look_on_loopback(NETWORK, port).unwrap();
    announcer.announce(node, address).unwrap();
    let seeker = Neighbours::look_on_loopback(NETWORK, port).unwrap();
    assert_eq!(eventually(async || seeker.address(node)).await, address);
    [announcer, seeker]
}

#[tokio::test]
async fn a_machine_that_moved_is_found_where_it_announces_itself() {
    let (machine, silent) = (machine(2), UdpSocket::bind(anywhere()).unwrap());
    let (node, registered) = (machine.local_id(), silent.local_addr().unwrap());
    assert_eq!(ask(None, node, registered).await.unwrap_err(), AskFailure::Unreachable);

    let [own, seeker] = announce(&node, machine.local_address()).await;
    ask(Some(&seeker), node, registered).await.unwrap();

    // It says goodbye when it ends.
    drop(own);
    eventually(async || seeker.address(&node).is_none().then_some(())).await;
    assert_eq!(ask(Some(&seeker), node, registered).await.unwrap_err(), AskFailure::Unreachable);
}

#[tokio::test]
async fn a_false_announcement_leads_astray_once_only() {
    let (machine, other) = (machine(2), machine(3));
    let node = machine.local_id();
    let [_liar, seeker] = announce(&node, other.local_address()).await;
    ask(Some(&seeker), node, machine.local_address()).await.unwrap();
    assert_eq!(other.statistics().requests_served, 0);
    assert_eq!(seeker.address(&node), None);
}

#[tokio::test]
async fn machines_of_other_networks_are_not_heard() {
    let [stranger, member] = [2, 3].map(|byte| fabric(byte).local_id());
    let port = multicast_port();
    let strange = Neighbours::look_on_loopback(NetworkId([8; 32]), port).unwrap();
    strange.announce(&stranger, "127.0.0.1:7400".parse().unwrap()).unwrap();
    let near = Neighbours::look_on_loopback(NetworkId([8; 32]), port).unwrap();
    eventually(async || near.address(&stranger)).await;

    let own = Neighbours::look_on_loopback(NETWORK, port).unwrap();
    own.announce(&member, "127.0.0.1:7401".parse().unwrap()).unwrap();
    let seeker = Neighbours::look_on_loopback(NETWORK, port).unwrap();
    eventually(async || seeker.address(&member)).await;
    assert_eq!(seeker.address(&stranger), None);
}
