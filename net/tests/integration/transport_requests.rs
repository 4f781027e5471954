//! Requests between fabrics over real QUIC on the loopback interface.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::fabrics::{DEADLINE, anywhere, echo, echo_server, fabric, identity};
use bytes::Bytes;
use kakera_engine::names::{NetworkId, NodeId};
use kakera_engine::wire::{Operation, Response};
use kakera_net::exchange::Exchange;
use kakera_net::fabric::{Fabric, Limits, Refusal, RequestError};
use kakera_net::rpc::{Abort, BODY_LEN_MAX, HEADER_LEN_MAX, Message};
use kakera_net::testkit::{Weather, simulate};
use tokio::join;
use tokio::sync::mpsc;

async fn ask(client: &Fabric, server: &Fabric, body: Bytes) -> Result<Message, RequestError> {
    let make = |_: &_| (b"header".to_vec(), body);
    client.request(server.local_id(), server.local_address(), DEADLINE, make).await
}

#[tokio::test]
async fn a_request_and_its_reply_pass_unchanged() {
    let server = echo_server(Limits::default());
    let client = fabric(1, Limits::client());
    for (header, body) in [(0, 0), (1, 1), (HEADER_LEN_MAX, 0), (0, 100_000), (9, BODY_LEN_MAX)] {
        let (header, body) = (vec![7; header], Bytes::from(vec![8; body]));
        let make = |_: &_| (header.clone(), body.clone());
        let reply = client.request(server.local_id(), server.local_address(), DEADLINE, make);
        assert_eq!(reply.await.unwrap(), Message { header: header.into(), body });
    }
    let statistics = server.statistics();
    assert_eq!(statistics.requests_served, 5);
    assert_eq!(statistics.connections, 1);
    assert_eq!(statistics.stream_bytes_received, statistics.stream_bytes_sent);
    let payload = 5 * 8 + 1 + HEADER_LEN_MAX + 9 + 1 + 100_000 + BODY_LEN_MAX;
    assert_eq!(statistics.stream_bytes_sent, payload as u64);
    assert!(statistics.udp_bytes_received > statistics.stream_bytes_received);
    assert!(statistics.refused.retried > 0, "an unproven address has to be proven");
}

#[tokio::test]
async fn slices_of_a_body_arrive_as_one() {
    let server = echo_server(Limits::default());
    let client = fabric(1, Limits::default());
    let slices = vec![Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(b"two")];
    let make = |_: &_| (vec![], slices);
    let reply = client.request(server.local_id(), server.local_address(), DEADLINE, make).await;
    assert_eq!(reply.unwrap().body, "onetwo");
}

#[tokio::test]
async fn both_ends_know_the_peer_and_the_same_exporter() {
    let server = fabric(2, Limits::default());
    let (seen, mut requests) = mpsc::channel(64);
    let serving = server.clone();
    tokio::spawn(async move {
        serving
            .serve(move |request| {
                seen.try_send((request.peer, request.exporter, request.header.clone())).unwrap();
                echo(request)
            })
            .await;
    });
    let mut exporters = Vec::new();
    for byte in [1, 3] {
        let client = fabric(byte, Limits::default());
        let make = |exporter: &[u8; 32]| (exporter.to_vec(), Bytes::new());
        let reply = client.request(server.local_id(), server.local_address(), DEADLINE, make);
        let sent = reply.await.unwrap().header;
        let (peer, exporter, header) = requests.recv().await.unwrap();
        assert_eq!(peer, client.local_id());
        assert_eq!((&exporter[..], &header), (&sent[..], &sent));
        exporters.push(exporter);
    }
    assert_ne!(exporters[0], exporters[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_requests_of_a_mebibyte_share_one_connection() {
    let server = echo_server(Limits::default().on_loopback());
    let client = fabric(1, Limits::client().on_loopback());
    let mut requests = tokio::task::JoinSet::new();
    for index in 0..100u8 {
        let (client, server) = (client.clone(), server.clone());
        requests.spawn(async move {
            let body = Bytes::from(vec![index; 1 << 20]);
            assert_eq!(ask(&client, &server, body.clone()).await.unwrap().body, body);
        });
    }
    requests.join_all().await;
    assert_eq!(server.statistics().requests_served, 100);
    assert_eq!(server.statistics().connections, 1);
}

#[tokio::test]
async fn another_node_at_the_address_is_refused_and_named() {
    let server = echo_server(Limits::default());
    let client = fabric(1, Limits::default());
    let (expected, found) = (identity(3).node_id(), server.local_id());
    let make = |_: &_| -> (Vec<u8>, Bytes) { panic!("nothing may be said to a stranger") };
    let error = client.request(expected, server.local_address(), DEADLINE, make).await;
    let error = error.unwrap_err();
    assert_eq!(error, Refusal::WrongKey { expected, found }.into());
    assert_eq!(error.to_string(), format!("expected node {expected} but found node {found}"));
    assert_eq!(server.statistics().requests_served, 0);
}

#[tokio::test]
async fn a_node_outside_the_registry_is_refused() {
    let admitted = identity(1).node_id();
    let admission = move |id: &NodeId| *id == admitted;
    let server = Fabric::bind(identity(2), anywhere(), Limits::default(), admission).unwrap();
    let serving = server.clone();
    tokio::spawn(async move { serving.serve(echo).await });
    ask(&fabric(1, Limits::default()), &server, Bytes::new()).await.unwrap();
    let error = ask(&fabric(3, Limits::default()), &server, Bytes::new()).await.unwrap_err();
    assert_eq!(error, Refusal::NotAdmitted.into());
    assert_eq!(server.statistics().refused.not_admitted, 1);
    assert_eq!(server.statistics().requests_served, 1);
}

#[tokio::test]
async fn an_oversize_request_is_not_sent() {
    let server = echo_server(Limits::default());
    let client = fabric(1, Limits::default());
    for (header, body) in [(HEADER_LEN_MAX + 1, 0), (0, BODY_LEN_MAX + 1)] {
        let make = |_: &_| (vec![0; header], Bytes::from(vec![0; body]));
        let reply = client.request(server.local_id(), server.local_address(), DEADLINE, make);
        assert_eq!(reply.await, Err(RequestError::TooLong));
    }
    assert_eq!(client.statistics().stream_bytes_sent, 0);
}

#[tokio::test]
async fn nobody_at_the_address_fails_all_waiters_with_one_handshake() {
    let limits = Limits { handshake_timeout: Duration::from_millis(300), ..Limits::default() };
    let client = fabric(1, limits);
    // Bound but silent: it never serves.
    let silent = fabric(2, Limits::default());
    let start = Instant::now();
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (client, silent) = (client.clone(), silent.clone());
        requests.spawn(async move {
            assert!(matches!(
                ask(&client, &silent, Bytes::new()).await,
                Err(RequestError::Unreachable { address, .. }) if address == silent.local_address()
            ));
        });
    }
    requests.join_all().await;
    assert!(start.elapsed() < Duration::from_secs(3), "the waiters queued up");
    let one_handshake = 4 * 2 * 1452;
    assert!(client.statistics().udp_bytes_sent <= one_handshake, "a herd of handshakes");
}

#[tokio::test]
async fn a_peer_that_restarts_is_found_again() {
    let client = fabric(1, Limits::default());
    let first = echo_server(Limits::default());
    let address = first.local_address();
    ask(&client, &first, Bytes::new()).await.unwrap();
    first.close().await;
    drop(first);
    for _ in 0..3 {
        let server = rebind(2, address).await;
        let serving = server.clone();
        let task = tokio::spawn(async move { serving.serve(echo).await });
        ask(&client, &server, Bytes::new()).await.unwrap();
        server.close().await;
        task.await.unwrap();
    }
}

/// The socket of a closed endpoint goes when its driver task is polled for the last time.
async fn rebind(byte: u8, address: SocketAddr) -> Fabric {
    let start = Instant::now();
    loop {
        match Fabric::bind(identity(byte), address, Limits::default(), |_| true) {
            Ok(fabric) => return fabric,
            Err(error) if start.elapsed() > DEADLINE => panic!("{error}"),
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

/// A server in a runtime of its own, which can be killed without a goodbye.
fn doomed_server() -> (tokio::runtime::Runtime, Fabric, mpsc::Receiver<()>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (arrived, arrivals) = mpsc::channel(64);
    let server = {
        let _inside = runtime.enter();
        fabric(2, Limits::default())
    };
    let serving = server.clone();
    runtime.spawn(async move {
        serving
            .serve(move |request| {
                let arrived = arrived.clone();
                async move {
                    arrived.try_send(()).unwrap();
                    if request.body == "never answer" {
                        std::future::pending::<()>().await;
                    }
                    echo(request).await
                }
            })
            .await;
    });
    (runtime, server, arrivals)
}

#[tokio::test]
async fn a_killed_peer_costs_one_deadline_and_its_successor_is_found() {
    let (runtime, server, mut arrivals) = doomed_server();
    let client = fabric(1, Limits::default());
    let (peer, address) = (server.local_id(), server.local_address());
    // Connected, so that the deadline is that of the answer alone.
    ask(&client, &server, Bytes::new()).await.unwrap();
    arrivals.recv().await.unwrap();
    // Too short for the silence to prove anything.
    let deadline = Duration::from_secs(1);
    let request = {
        let client = client.clone();
        let make = |_: &_| (vec![], Bytes::from_static(b"never answer"));
        tokio::spawn(async move { client.request(peer, address, deadline, make).await })
    };
    arrivals.recv().await.unwrap();
    runtime.shutdown_background();
    drop(server);
    assert_eq!(request.await.unwrap(), Err(RequestError::Timeout(deadline)));
    // The successor has the keys of the dead, so it can tell at once that the connection is gone.
    let successor = rebind(2, address).await;
    let serving = successor.clone();
    tokio::spawn(async move { serving.serve(echo).await });
    let start = Instant::now();
    let error = ask(&client, &successor, Bytes::new()).await.unwrap_err();
    assert_eq!(error, RequestError::Restarted);
    ask(&client, &successor, Bytes::new()).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_peer_that_closes_in_mid_request_is_noticed_at_once() {
    let (runtime, server, mut arrivals) = doomed_server();
    let client = fabric(1, Limits::default());
    let asking = (client.clone(), server.clone());
    let request = tokio::spawn(async move {
        ask(&asking.0, &asking.1, Bytes::from_static(b"never answer")).await
    });
    arrivals.recv().await.unwrap();
    server.close().await;
    assert_eq!(request.await.unwrap(), Err(RequestError::Closed("the peer shuts down".into())));
    runtime.shutdown_background();
}

#[tokio::test]
async fn dropping_a_request_drops_its_handler() {
    struct Dropped(mpsc::Sender<&'static str>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.try_send("dropped").unwrap();
        }
    }
    let server = fabric(2, Limits::default());
    let (events, mut seen) = mpsc::channel(64);
    let serving = server.clone();
    tokio::spawn(async move {
        serving
            .serve(move |_| {
                let dropped = Dropped(events.clone());
                async move {
                    dropped.0.try_send("started").unwrap();
                    std::future::pending::<Message>().await
                }
            })
            .await;
    });
    let client = fabric(1, Limits::default());
    {
        let request = ask(&client, &server, Bytes::new());
        tokio::select! {
            _ = request => panic!("there is no reply"),
            event = seen.recv() => assert_eq!(event, Some("started")),
        }
    }
    assert_eq!(seen.recv().await, Some("dropped"));
}

#[tokio::test]
async fn a_handler_that_panics_fails_its_request_only() {
    let server = fabric(2, Limits::default());
    let serving = server.clone();
    tokio::spawn(async move {
        serving
            .serve(|request| async {
                assert!(request.body != "panic", "as asked");
                echo(request).await
            })
            .await;
    });
    let client = fabric(1, Limits::default());
    let error = ask(&client, &server, Bytes::from_static(b"panic")).await.unwrap_err();
    assert_eq!(error, RequestError::Aborted(Abort::Failed));
    ask(&client, &server, Bytes::new()).await.unwrap();
    assert_eq!(server.statistics().connections, 1);
}

#[tokio::test]
async fn a_closed_fabric_asks_and_serves_no_more() {
    let handled = Arc::new(AtomicUsize::new(0));
    let server = fabric(2, Limits::default());
    let (serving, counter) = (server.clone(), handled.clone());
    let task = tokio::spawn(async move {
        serving
            .serve(move |request| {
                counter.fetch_add(1, Ordering::Relaxed);
                echo(request)
            })
            .await;
    });
    let client = fabric(1, Limits::default());
    ask(&client, &server, Bytes::new()).await.unwrap();
    client.close().await;
    assert!(ask(&client, &server, Bytes::new()).await.is_err());
    server.close().await;
    task.await.unwrap();
    assert_eq!(handled.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_idle_connection_ends_and_the_next_request_opens_another() {
    let limits = Limits { idle_timeout: Duration::from_millis(200), ..Limits::default() };
    let server = echo_server(Limits::default());
    let client = fabric(1, limits);
    ask(&client, &server, Bytes::new()).await.unwrap();
    let start = Instant::now();
    while client.statistics().connections > 0 || server.statistics().connections > 0 {
        assert!(start.elapsed() < DEADLINE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ask(&client, &server, Bytes::new()).await.unwrap();
}

/// In a simulation: a server of this number, answering every request with itself.
fn simulated_server(number: u8, address: SocketAddr) -> Fabric {
    let server = Fabric::bind(identity(number), address, Limits::default(), |_| true).unwrap();
    let serving = server.clone();
    tokio::spawn(async move { serving.serve(echo).await });
    server
}

fn simulated_address(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 4433))
}

#[test]
fn machines_ask_each_other_on_one_connection() {
    simulate(1, Weather::default(), async |_| {
        let servers = [1, 2].map(|number| simulated_server(number, simulated_address(number)));
        let [one, two] = &servers;
        for body in [vec![7; 100], vec![8; 1 << 20]].map(Bytes::from) {
            assert_eq!(ask(one, two, body.clone()).await.unwrap().body, body);
            assert_eq!(ask(two, one, body.clone()).await.unwrap().body, body);
        }
        for server in &servers {
            let statistics = server.statistics();
            assert_eq!((statistics.connections, statistics.requests_served), (1, 2));
        }
        // Who opened it closes it once it has carried much; then the other opens one.
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(servers.each_ref().map(|server| server.statistics().connections), [0, 0]);
        ask(two, one, Bytes::new()).await.unwrap();
        ask(one, two, Bytes::new()).await.unwrap();
        assert_eq!(kakera_net::testkit::counts()["connections"], 2);
    });
}

#[test]
fn of_two_connections_opened_to_each_other_at_once_both_machines_keep_the_same() {
    for seed in 0..10 {
        simulate(seed, Weather::default(), async |_| {
            let servers = [1, 2].map(|number| simulated_server(number, simulated_address(number)));
            let [one, two] = &servers;
            let ask_each_other = async || {
                let nothing = Bytes::new();
                let (there, back) = join!(ask(one, two, nothing.clone()), ask(two, one, nothing));
                there.and(back).unwrap();
            };
            let open = || servers.each_ref().map(|server| server.statistics().connections);
            ask_each_other().await;
            assert_eq!(open(), [2, 2]);
            // The other one ends, once nothing was asked on it for a while.
            tokio::time::sleep(Duration::from_secs(20)).await;
            ask_each_other().await;
            tokio::time::sleep(Duration::from_secs(20)).await;
            assert_eq!(open(), [1, 1]);
            ask_each_other().await;
            assert_eq!(kakera_net::testkit::counts()["connections"], 2);
        });
    }
}

#[test]
fn a_machine_that_is_elsewhere_at_once_is_asked_on_its_new_connection() {
    // Once the smaller key opened the connection that is lost, once the greater.
    for [stays, moves] in [[1, 2], [2, 1]] {
        simulate(1, Weather::default(), async |wire| {
            let staying = simulated_server(stays, simulated_address(stays));
            let before = simulated_server(moves, simulated_address(moves));
            ask(&staying, &before, Bytes::new()).await.unwrap();
            wire.unplug(before.local_address());
            let after = simulated_server(moves, simulated_address(3));
            ask(&after, &staying, Bytes::new()).await.unwrap();
            let make = |_: &_| (vec![], Bytes::new());
            let (id, address) = (after.local_id(), after.local_address());
            // Who still takes the lost one for the one that both keep finds out by the deadline.
            let found = staying.request(id, address, Duration::from_secs(5), make).await;
            if found.is_err() {
                assert_eq!(found, Err(RequestError::Closed("the peer fell silent".into())));
                tokio::time::sleep(Duration::from_millis(1)).await;
                ask(&staying, &after, Bytes::new()).await.unwrap();
            }
            ask(&after, &staying, Bytes::new()).await.unwrap();
            assert_eq!(kakera_net::testkit::counts()["connections"], 2);
        });
    }
}

#[test]
fn a_peer_that_only_asks_is_asked_where_it_answers() {
    simulate(1, Weather::default(), async |_| {
        let server = simulated_server(2, simulated_address(2));
        // It answers elsewhere: a client under a machine's key, or a machine of a program from before.
        let asking =
            Fabric::bind(identity(1), simulated_address(3), Limits::client(), |_| true).unwrap();
        ask(&asking, &server, Bytes::new()).await.unwrap();
        let answering = simulated_server(1, simulated_address(1));
        ask(&server, &answering, Bytes::new()).await.unwrap();
        assert_eq!(answering.statistics().requests_served, 1);
        let nobody = simulated_address(4);
        answering.close().await;
        ask(&asking, &server, Bytes::new()).await.unwrap();
        let make = |_: &_| (vec![], Bytes::new());
        let error = server.request(identity(1).node_id(), nobody, DEADLINE, make).await;
        assert!(matches!(error, Err(RequestError::Unreachable { .. })), "{error:?}");
    });
}

#[test]
fn a_peer_that_moved_without_a_word_is_found_after_one_deadline() {
    const DEADLINE: Duration = Duration::from_secs(5);
    simulate(1, Weather::default(), async |wire| {
        let client =
            Fabric::bind(identity(1), simulated_address(1), Limits::default(), |_| true).unwrap();
        let ask = async |address| {
            let make = |_: &_| (vec![], Bytes::new());
            client.request(identity(2).node_id(), address, DEADLINE, make).await
        };
        let [old, new] = [2, 3].map(simulated_address);
        let _before = simulated_server(2, old);
        ask(old).await.unwrap();
        // Long after the last word the connection is still there.
        tokio::time::sleep(Duration::from_secs(3600)).await;
        ask(old).await.unwrap();
        assert_eq!(kakera_net::testkit::counts()["connections"], 1);
        wire.unplug(old);
        let _after = simulated_server(2, new);
        assert_eq!(ask(new).await, Err(RequestError::Closed("the peer fell silent".into())));
        ask(new).await.unwrap();
    });
}

#[test]
fn of_the_connections_on_which_nothing_is_asked_those_used_last_are_kept() {
    simulate(1, Weather::default(), async |_| {
        let limits = Limits { connections_kept: 2, ..Limits::default() };
        let client = Fabric::bind(identity(1), simulated_address(1), limits, |_| true).unwrap();
        let servers = [2, 3, 4].map(|number| simulated_server(number, simulated_address(number)));
        for place in [0, 1, 0, 2] {
            ask(&client, &servers[place], Bytes::new()).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(client.statistics().connections, 2);
        let connections = servers.each_ref().map(|server| server.statistics().connections);
        assert_eq!(connections, [1, 0, 1]);
        ask(&client, &servers[1], Bytes::new()).await.unwrap();
    });
}

#[test]
fn a_connection_that_carried_much_is_kept_only_while_it_is_used() {
    simulate(1, Weather::default(), async |_| {
        let client =
            Fabric::bind(identity(1), simulated_address(1), Limits::default(), |_| true).unwrap();
        let [much, little] =
            [2, 3].map(|number| simulated_server(number, simulated_address(number)));
        for _ in 0..8 {
            ask(&client, &much, Bytes::from(vec![1; 100_000])).await.unwrap();
            ask(&client, &little, Bytes::new()).await.unwrap();
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        let connections = || [&much, &little].map(|server| server.statistics().connections);
        assert_eq!(connections(), [1, 1]);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(connections(), [0, 1]);
        ask(&client, &much, Bytes::new()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(connections(), [1, 1]);
    });
}

#[test]
fn replies_are_not_kept_for_who_is_gone() {
    simulate(1, Weather::default(), async |wire| {
        let server = simulated_server(2, simulated_address(2));
        let client = |number: u8| {
            let address = simulated_address(number);
            Fabric::bind(identity(number), address, Limits::default(), |_| true).unwrap()
        };
        let (gone, other) = (client(1), client(3));
        for fabric in [&gone, &other] {
            ask(fabric, &server, Bytes::new()).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(server.statistics().connections, 2);
        // The request arrives, and its sender's line breaks before the reply does.
        let asked = ask(&gone, &server, Bytes::new());
        let served = server.statistics().requests_served;
        let broken = async {
            while server.statistics().requests_served == served {
                tokio::time::sleep(Duration::from_micros(100)).await;
            }
            wire.unplug(simulated_address(1));
        };
        tokio::select! {
            biased;
            () = broken => {}
            _ = asked => unreachable!("a line takes a millisecond at least"),
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(server.statistics().connections, 1);
        ask(&other, &server, Bytes::new()).await.unwrap();
    });
}

#[test]
fn what_a_machine_leaves_behind_is_closed() {
    simulate(1, Weather::default(), async |_| {
        let client = |number: u8, place: u8| {
            let address = simulated_address(place);
            Fabric::bind(identity(number), address, Limits::default(), |_| true).unwrap()
        };
        let server = simulated_server(2, simulated_address(2));
        let connections = || server.statistics().connections;
        let (before, other) = (client(1, 1), client(3, 3));
        for fabric in [&before, &other] {
            ask(fabric, &server, Bytes::new()).await.unwrap();
        }
        // Its next run, elsewhere: nobody uses the connection of the first any more.
        let after = client(1, 4);
        ask(&after, &server, Bytes::new()).await.unwrap();
        assert_eq!(connections(), 3);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!((connections(), server.statistics().refused.surplus), (2, 1));
        assert_eq!(after.statistics().connections, 1);
        // If the first lives all the same it is none the worse.
        ask(&before, &server, Bytes::new()).await.unwrap();

        let gone = |peer: &NodeId| *peer == other.local_id();
        server.dismiss(gone);
        other.dismiss(|peer| *peer == server.local_id());
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!((other.statistics().connections, connections()), (0, 1));
    });
}

#[test]
fn a_question_to_a_machine_that_restarted_is_asked_once_more() {
    let serve = |address| {
        let server = Fabric::bind(identity(2), address, Limits::default(), |_| true).unwrap();
        let header: Bytes = Response::RowsTaken.to_header().into();
        tokio::spawn(async move {
            let answer = move |_| {
                let header = header.clone();
                async { Message { header, body: Bytes::new() } }
            };
            server.serve(answer).await
        })
    };
    simulate(1, Weather::default(), async |wire| {
        let fabric =
            Fabric::bind(identity(1), simulated_address(1), Limits::default(), |_| true).unwrap();
        let (server, address) = (identity(2).node_id(), simulated_address(2));
        let addresses = Arc::new(BTreeMap::from([(server, address)]));
        let exchange = Exchange::new(fabric, NetworkId([0; 32]), identity(1), addresses);
        for _ in 0..3 {
            let serving = serve(address);
            let asked = exchange.ask(server, &Operation::Status, Bytes::new(), DEADLINE, None);
            assert!(matches!(asked.await.unwrap().response, Response::RowsTaken));
            wire.unplug(address);
            serving.abort();
        }
    });
}
