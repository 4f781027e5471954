//! What peers that break the protocol can and cannot do, over real QUIC on loopback.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::fabrics::{DEADLINE, anywhere, echo_server, fabric, identity};
use bytes::Bytes;
use kakera_net::fabric::{Fabric, Limits, Refusal, Refusals, RequestError};
use kakera_net::rpc::{Abort, BODY_LEN_MAX, HEADER_LEN_MAX};
use kakera_net::tls;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, ConnectionError, Endpoint, ReadError, ReadToEndError, VarInt};
use tokio::sync::{Semaphore, mpsc};

const MALFORMED: VarInt = VarInt::from_u32(1);
const TOO_SLOW: VarInt = VarInt::from_u32(2);
const BUSY: VarInt = VarInt::from_u32(3);

/// A server whose handlers hold their requests until the gate lets them go.
fn gated_server(limits: Limits) -> (Fabric, Arc<Semaphore>, mpsc::Receiver<u8>) {
    let (server, gate) = (fabric(2, limits), Arc::new(Semaphore::new(0)));
    let (arrived, arrivals) = mpsc::channel(1024);
    let (serving, waiting) = (server.clone(), gate.clone());
    tokio::spawn(async move {
        serving
            .serve(move |request| {
                arrived.try_send(request.peer.0[0]).unwrap();
                let waiting = waiting.clone();
                async move {
                    waiting.acquire().await.unwrap().forget();
                    (vec![], request.body.slice(..1))
                }
            })
            .await;
    });
    (server, gate, arrivals)
}

/// A peer with a valid key that writes what it likes.
async fn raw_connection(byte: u8, server: &Fabric) -> (Endpoint, Connection) {
    let (config, _) = tls::client_config(&identity(byte), server.local_id()).unwrap();
    let crypto =
        QuicClientConfig::with_initial(Arc::new(config), tls::initial_suite().unwrap()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let endpoint = Endpoint::client(anywhere()).unwrap();
    let connecting = endpoint.connect_with(config, server.local_address(), "kakera").unwrap();
    let connection = connecting.await.unwrap();
    (endpoint, connection)
}

/// Sends `bytes` as a request, ends the stream if asked to, and returns what comes back.
async fn raw_request(
    connection: &Connection,
    bytes: &[u8],
    finish: bool,
) -> Result<Vec<u8>, VarInt> {
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    // Fails if the peer stops the stream early; the reply tells why.
    let _ = send.write_all(bytes).await;
    if finish {
        let _ = send.finish();
    }
    match receive.read_to_end(BODY_LEN_MAX + HEADER_LEN_MAX + 8).await {
        Ok(bytes) => Ok(bytes),
        Err(ReadToEndError::Read(ReadError::Reset(code))) => Err(code),
        Err(other) => panic!("{other}"),
    }
}

fn frame(header: &[u8], body: &[u8]) -> Vec<u8> {
    let (header_len, body_len) = (header.len() as u32, body.len() as u32);
    [&header_len.to_be_bytes()[..], header, &body_len.to_be_bytes()[..], body].concat()
}

#[tokio::test]
async fn malformed_requests_are_refused_and_the_connection_goes_on() {
    let server = echo_server(Limits::default());
    let (_endpoint, connection) = raw_connection(1, &server).await;
    let good = frame(b"header", b"body");
    let mut long_body = frame(b"h", b"");
    long_body[5..].copy_from_slice(&(BODY_LEN_MAX as u32 + 1).to_be_bytes());
    let mut bad = vec![
        ("a header one byte too long", (HEADER_LEN_MAX as u32 + 1).to_be_bytes().to_vec()),
        ("the longest declared header", vec![0xff; 4]),
        ("a body one byte too long", long_body),
        ("the longest declared body", [&[0; 4][..], &[0xff; 4]].concat()),
        ("a byte after the body", [&good[..], &[0]].concat()),
    ];
    for end in 0..good.len() {
        bad.push(("a message cut short", good[..end].to_vec()));
    }
    for (what, bytes) in &bad {
        assert_eq!(raw_request(&connection, bytes, true).await, Err(MALFORMED), "{what}");
    }
    assert_eq!(raw_request(&connection, &good, true).await, Ok(good));
    let statistics = server.statistics();
    assert_eq!(statistics.refused.malformed, bad.len() as u64);
    assert_eq!(statistics.requests_served, 1);
}

#[tokio::test]
async fn a_declared_length_above_the_limit_is_refused_before_anything_follows() {
    let server = echo_server(Limits::default());
    let (_endpoint, connection) = raw_connection(1, &server).await;
    let refused = [&[0; 4][..], &(BODY_LEN_MAX as u32 + 1).to_be_bytes()].concat();
    // The stream stays open: only the declaration can be the reason.
    assert_eq!(raw_request(&connection, &refused, false).await, Err(MALFORMED));
    let everything = server.budget().reserve(BODY_LEN_MAX);
    tokio::time::timeout(DEADLINE, everything).await.unwrap();
}

#[tokio::test]
async fn a_slow_peer_is_cut_off() {
    let limits = Limits {
        patience: Duration::from_millis(200),
        rate_min: 8 << 20,
        memory: BODY_LEN_MAX,
        ..Limits::default()
    };
    let server = echo_server(limits);
    let (_endpoint, connection) = raw_connection(1, &server).await;
    let whole = frame(b"header", &[0; 1000]);
    for end in [1, 4, 9, 13, 14, 500, whole.len()] {
        let start = Instant::now();
        // Even a complete message is too slow without its end.
        assert_eq!(raw_request(&connection, &whole[..end], false).await, Err(TOO_SLOW), "{end}");
        assert!(start.elapsed() >= Duration::from_millis(150));
    }
    assert_eq!(server.statistics().refused.too_slow, 7);
    // What they held is free again.
    let longest = frame(b"", &vec![1; BODY_LEN_MAX]);
    assert_eq!(raw_request(&connection, &longest, true).await, Ok(longest));
}

#[tokio::test]
async fn a_reader_that_never_reads_is_cut_off() {
    let limits =
        Limits { patience: Duration::from_millis(200), rate_min: 64 << 20, ..Limits::default() };
    let server = fabric(2, limits);
    let serving = server.clone();
    tokio::spawn(async move {
        serving.serve(|_| async { (vec![], Bytes::from(vec![0; BODY_LEN_MAX])) }).await;
    });
    let (_endpoint, connection) = raw_connection(1, &server).await;
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&frame(b"", b"")).await.unwrap();
    send.finish().unwrap();
    let reset = receive.received_reset();
    let code = tokio::time::timeout(DEADLINE, reset).await.unwrap().unwrap();
    assert_eq!(code, Some(TOO_SLOW));
}

#[tokio::test]
async fn bodies_wait_for_the_budget_and_give_up_in_time() {
    let limits = Limits { patience: Duration::from_secs(1), ..Limits::default() };
    let (server, gate, mut arrivals) = gated_server(Limits { memory: BODY_LEN_MAX, ..limits });
    let (_endpoint, connection) = raw_connection(1, &server).await;
    let longest = frame(b"", &vec![9; BODY_LEN_MAX]);
    let first = raw_request(&connection, &longest, true);
    let second = raw_request(&connection, &longest, true);
    let (first, second) = tokio::join!(first, async {
        arrivals.recv().await.unwrap();
        // The first handler holds the whole budget.
        let second = second.await;
        gate.add_permits(1);
        second
    });
    assert_eq!((first, second), (Ok(frame(b"", &[9])), Err(BUSY)));
    assert_eq!(server.statistics().refused.busy, 1);
    // Its bytes are free again: the third gets its turn.
    gate.add_permits(1);
    assert_eq!(raw_request(&connection, &longest, true).await, Ok(frame(b"", &[9])));
}

#[tokio::test]
async fn one_peer_cannot_take_the_memory_of_all() {
    let limits = Limits { memory: 2 * BODY_LEN_MAX, ..Limits::default() };
    let (server, gate, mut arrivals) = gated_server(limits);
    let longest = frame(b"", &vec![9; BODY_LEN_MAX]);
    let mut greedy = tokio::task::JoinSet::new();
    let (_endpoint, connection) = raw_connection(1, &server).await;
    for _ in 0..3 {
        let (connection, longest) = (connection.clone(), longest.clone());
        greedy.spawn(async move { raw_request(&connection, &longest, true).await });
    }
    let greedy_id = identity(1).node_id().0[0];
    assert_eq!(arrivals.recv().await, Some(greedy_id));
    let (_endpoint, modest) = raw_connection(3, &server).await;
    let reply = tokio::spawn(async move { raw_request(&modest, &longest, true).await });
    // Two of the greedy three are still waiting for their own share.
    assert_eq!(arrivals.recv().await, Some(identity(3).node_id().0[0]));
    gate.add_permits(4);
    assert_eq!(reply.await.unwrap(), Ok(frame(b"", &[9])));
    for reply in greedy.join_all().await {
        assert_eq!(reply, Ok(frame(b"", &[9])));
    }
}

#[tokio::test]
async fn streams_that_wait_for_memory_do_not_starve_those_that_have_it() {
    let limits = Limits { memory: BODY_LEN_MAX, ..Limits::default() };
    let server = echo_server(limits.clone());
    let client = fabric(1, Limits::client());
    let mut requests = tokio::task::JoinSet::new();
    for index in 0..limits.streams_per_connection as u8 {
        let (client, server) = (client.clone(), server.clone());
        requests.spawn(async move {
            let body = Bytes::from(vec![index; BODY_LEN_MAX / 2]);
            let make = |_: &_| (vec![], body.clone());
            let peer = (server.local_id(), server.local_address());
            let reply = client.request(peer.0, peer.1, DEADLINE, make).await;
            assert_eq!(reply.unwrap().body, body);
        });
    }
    requests.join_all().await;
    assert_eq!(server.statistics().refused.busy, 0);
}

#[tokio::test]
async fn a_further_connection_of_a_peer_closes_its_oldest() {
    let server = echo_server(Limits::default());
    let mut connections = Vec::new();
    for _ in 0..3 {
        connections.push(raw_connection(1, &server).await);
    }
    let good = frame(b"header", b"body");
    for (_, connection) in &connections {
        assert_eq!(raw_request(connection, &good, true).await, Ok(good.clone()));
    }
    let (_endpoint, fourth) = raw_connection(1, &server).await;
    assert_eq!(raw_request(&fourth, &good, true).await, Ok(good.clone()));
    assert!(matches!(connections[0].1.closed().await, ConnectionError::ApplicationClosed(_)));
    for (_, connection) in &connections[1..] {
        assert_eq!(raw_request(connection, &good, true).await, Ok(good.clone()));
    }
    assert_eq!(server.statistics().refused.surplus, 1);
}

#[tokio::test]
async fn where_half_of_all_connections_are_taken_a_peer_has_one() {
    let server = echo_server(Limits { connections: 4, ..Limits::default() });
    let good = frame(b"header", b"body");
    let mut connections = Vec::new();
    for byte in [1, 1, 3] {
        connections.push(raw_connection(byte, &server).await);
        let (_, newest) = connections.last().unwrap();
        assert_eq!(raw_request(newest, &good, true).await, Ok(good.clone()));
    }
    assert_eq!(server.statistics().refused.surplus, 0);
    let (_endpoint, third) = raw_connection(1, &server).await;
    assert_eq!(raw_request(&third, &good, true).await, Ok(good.clone()));
    for (_, old) in &connections[..2] {
        assert!(matches!(old.closed().await, ConnectionError::ApplicationClosed(_)));
    }
    assert_eq!(raw_request(&connections[2].1, &good, true).await, Ok(good.clone()));
    assert_eq!(server.statistics().refused.surplus, 2);
}

#[tokio::test]
async fn a_peer_has_no_more_streams_than_allowed() {
    let limits = Limits { streams_per_connection: 2, ..Limits::default() };
    let (server, gate, mut arrivals) = gated_server(limits);
    let (_endpoint, connection) = raw_connection(1, &server).await;
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let connection = connection.clone();
        requests.spawn(async move { raw_request(&connection, &frame(b"", b"x"), true).await });
    }
    arrivals.recv().await.unwrap();
    arrivals.recv().await.unwrap();
    // The third can only arrive once one of the two is answered.
    let third = tokio::time::timeout(Duration::from_millis(100), arrivals.recv()).await;
    assert!(third.is_err(), "a third stream was opened");
    gate.add_permits(3);
    assert_eq!(requests.join_all().await, vec![Ok(frame(b"", b"x")); 3]);
    let one_way = tokio::time::timeout(Duration::from_millis(50), connection.open_uni()).await;
    assert!(one_way.is_err(), "a unidirectional stream was opened");
}

#[tokio::test]
async fn a_peer_that_uses_its_first_streams_gets_all() {
    let (server, gate, mut arrivals) = gated_server(Limits::default());
    let (_endpoint, connection) = raw_connection(1, &server).await;
    let mut streams = Vec::new();
    let opened = async |streams: &mut Vec<_>| loop {
        match tokio::time::timeout(Duration::from_millis(200), connection.open_bi()).await {
            Ok(stream) => streams.push(stream.unwrap()),
            Err(_) => return streams.len(),
        }
    };
    // Nothing was sent on them: the server knows of none.
    assert_eq!(opened(&mut streams).await, 8);
    for (send, _) in &mut streams {
        send.write_all(&frame(b"", b"x")).await.unwrap();
        send.finish().unwrap();
        arrivals.recv().await.unwrap();
    }
    assert_eq!(opened(&mut streams).await, Limits::default().streams_per_connection as usize);
    gate.add_permits(8);
    for (_, receive) in &mut streams[..8] {
        assert_eq!(receive.read_to_end(9).await.unwrap(), frame(b"", b"x"));
    }
}

#[tokio::test]
async fn handshakes_above_the_rate_of_a_network_are_refused() {
    let limits = Limits { handshake_burst: 2, handshake_rate: 1, ..Limits::default() };
    let server = echo_server(limits);
    let mut refusals = 0;
    for byte in [1, 3, 4, 5] {
        let client = fabric(byte, Limits::default());
        let make = |_: &_| (vec![], Bytes::new());
        match client.request(server.local_id(), server.local_address(), DEADLINE, make).await {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error, RequestError::Refused(Refusal::Crowded));
                refusals += 1;
            }
        }
    }
    assert!(refusals >= 1, "four handshakes within one second");
    assert_eq!(server.statistics().refused.throttled, refusals);
}

#[tokio::test]
async fn connections_above_the_limit_are_refused() {
    let server = echo_server(Limits { connections: 1, ..Limits::default() });
    let (first, second) = (fabric(1, Limits::default()), fabric(3, Limits::default()));
    let peer = (server.local_id(), server.local_address());
    let make = |_: &_| (vec![], Bytes::new());
    first.request(peer.0, peer.1, DEADLINE, make).await.unwrap();
    let refused = second.request(peer.0, peer.1, DEADLINE, make).await;
    assert_eq!(refused, Err(Refusal::Crowded.into()));
    first.close().await;
    let start = Instant::now();
    while server.statistics().connections > 0 && start.elapsed() < DEADLINE {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    second.request(peer.0, peer.1, DEADLINE, make).await.unwrap();
}

#[tokio::test]
async fn packets_that_are_no_handshake_cost_nothing() {
    let server = echo_server(Limits::default());
    let socket = tokio::net::UdpSocket::bind(anywhere()).await.unwrap();
    // Long headers of QUIC 1 Initials with noise behind them, and plain noise.
    let mut initial = vec![0x5a; 1200];
    initial[..7].copy_from_slice(&[0xc0, 0, 0, 0, 1, 8, 0]);
    for packet in [&initial[..], &[0; 1200], &[0x40; 40], &[]] {
        socket.send_to(packet, server.local_address()).await.unwrap();
    }
    let client = fabric(1, Limits::default());
    let make = |_: &_| (vec![], Bytes::new());
    client.request(server.local_id(), server.local_address(), DEADLINE, make).await.unwrap();
    let statistics = server.statistics();
    assert_eq!(statistics.connections, 1);
    let retried = statistics.refused.retried;
    assert_eq!(statistics.refused, Refusals { retried, ..Refusals::default() });
}

/// A server with a valid key that answers every request with `reply`.
fn lying_server(reply: Vec<u8>) -> (Endpoint, SocketAddr) {
    let config = tls::server_config(&identity(2), Arc::new(|_: &_| true)).unwrap();
    let crypto =
        QuicServerConfig::with_initial(Arc::new(config), tls::initial_suite().unwrap()).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let endpoint = Endpoint::server(config, anywhere()).unwrap();
    let address = endpoint.local_addr().unwrap();
    let accepting = endpoint.clone();
    tokio::spawn(async move {
        let connection = accepting.accept().await.unwrap().await.unwrap();
        let (mut send, mut receive) = connection.accept_bi().await.unwrap();
        receive.read_to_end(BODY_LEN_MAX).await.unwrap();
        send.write_all(&reply).await.unwrap();
        send.finish().unwrap();
        connection.closed().await;
    });
    (endpoint, address)
}

#[tokio::test]
async fn malformed_replies_are_the_peers_fault() {
    let good = frame(b"header", b"body");
    let replies = [
        Vec::new(),
        vec![0xff; 4],
        [&[0; 4][..], &[0xff; 4]].concat(),
        good[..good.len() - 1].to_vec(),
        [&good[..], &[0]].concat(),
    ];
    for reply in replies {
        let (_endpoint, address) = lying_server(reply);
        let client = fabric(1, Limits::default());
        let make = |_: &_| (vec![], Bytes::new());
        let reply = client.request(identity(2).node_id(), address, DEADLINE, make).await;
        assert!(matches!(reply, Err(RequestError::PeerMisbehaved(_))), "{reply:?}");
    }
}

#[tokio::test]
async fn the_reason_of_an_abort_reaches_the_asker() {
    let limits =
        Limits { memory: BODY_LEN_MAX, patience: Duration::from_millis(100), ..Limits::default() };
    let server = echo_server(limits);
    let _everything = server.budget().reserve(BODY_LEN_MAX).await;
    let client = fabric(1, Limits::default());
    let make = |_: &_| (vec![], Bytes::from(vec![0; BODY_LEN_MAX]));
    let reply = client.request(server.local_id(), server.local_address(), DEADLINE, make).await;
    assert_eq!(reply, Err(RequestError::Aborted(Abort::Busy)));
}
