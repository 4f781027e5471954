//! A client of four validators: it believes none of them, and does without any one.

use std::time::{Duration, Instant};

use crate::machines::*;
use kakera_net::client::{Client, ClientSettings, ErrorKind};

const FOUR: [u8; 4] = [1, 2, 3, 4];

fn client(network: &Network, number: u8) -> Client {
    let settings =
        ClientSettings { network: network.file.clone(), identity: identity(number), seen: None };
    Client::new(settings).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_one_validator_may_be_gone_for_reads_and_writes() {
    let mut network = Network::of_validators(4);
    let client = client(&network, OPERATOR);
    let mut height = 0;
    for number in 0..8 {
        let submitted = client.submit(network.pointer(number)).await.unwrap();
        assert_eq!(submitted.index, number, "each once, in this order");
        height = submitted.height;
        // What this client wrote it reads, whomever it asks.
        assert!(client.head().await.unwrap().header().height >= height);
    }
    assert_eq!(client.counts().await.unwrap().nodes, 0);
    for gone in FOUR {
        network.kill_validator(gone).await;
        let begin = Instant::now();
        let head = client.head().await.unwrap();
        assert!(head.header().height >= height);
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
        let submitted = client.submit(network.pointer(100 + u64::from(gone))).await.unwrap();
        assert!(submitted.height > height);
        height = submitted.height;
        network.start_validator(gone);
        network.reaches(gone, height).await;
    }
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_four_are_enough_to_read_and_not_to_write() {
    let mut network = Network::of_validators(4);
    let client = client(&network, OPERATOR);
    let first = client.submit(network.pointer(1)).await.unwrap();
    for number in FOUR {
        network.reaches(number, first.height).await;
    }
    network.kill_validator(1).await;
    network.kill_validator(3).await;
    assert_eq!(client.head().await.unwrap().header().height, first.height);
    let error = client.submit(network.pointer(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("more than two thirds"), "{error}");
    network.start_validator(1);
    let second = client.submit(network.pointer(2)).await.unwrap();
    assert_eq!(second.index, 1, "the entry that waited is the same");
    client.close().await;
}
