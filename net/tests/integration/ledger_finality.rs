//! Entries become final over real QUIC, with followers that come and go.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::machines::*;
use kakera_engine::ledger::{Entry, StateKey};
use kakera_engine::wire::{Operation, ProvenValue, RefusalKind, Response, canonical};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_becomes_final_with_any_number_of_followers() {
    for followers in 0..=3u8 {
        let mut network = Network::new(followers).await;
        let body = network.pointer(1);
        let before = network.head().await.header.log_size;
        let sequence = u64::from(followers) + 1;
        let (height, index) = network.submit(OPERATOR, sequence, body, PATIENCE).await.unwrap();
        assert_eq!(index, before, "{followers}");
        let head = network.head().await.header;
        assert_eq!((head.height, head.log_size), (height, index + 1));
        let keys = vec![StateKey::Sequence(id(OPERATOR)), StateKey::Node(id(77))];
        let answer = network.ask(VALIDATOR, Operation::Prove(keys.clone())).await;
        assert!(matches!(answer.response, Response::Proven { height: at } if at == height));
        let proven: Vec<ProvenValue> = canonical::decode(&answer.body, 1 << 20).unwrap();
        for (key, proven) in keys.iter().zip(&proven) {
            let (key, value) = (key.to_bytes(), proven.value.as_deref());
            assert!(proven.proof.verifies(&head.state_root, &key, value));
        }
        assert_eq!(proven[0].value, Some(canonical::encode(&sequence)));
        assert_eq!(proven[1].value, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_followers_nothing_is_final_until_they_come_back() {
    let mut network = Network::new(2).await;
    let before = network.head().await.header.height;
    network.stop_node(STORAGE).await;
    network.stop_node(STORAGE + 1).await;
    let body = network.pointer(1);
    let patience = Duration::from_secs(2);
    let refusal = network.submit(OPERATOR, 3, body.clone(), patience).await.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Unavailable);
    assert!(refusal.message.contains("may still become final"), "{}", refusal.message);
    assert_eq!(network.head().await.header.height, before, "not shown to readers");
    network.start_node(STORAGE);
    let refusal = network.submit(OPERATOR, 3, body.clone(), patience).await.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Unavailable, "one of two is not enough");
    network.start_node(STORAGE + 1);
    let (height, _) = network.submit(OPERATOR, 3, body, PATIENCE).await.unwrap();
    assert_eq!(height, before + 1);
    let head = network.head().await.header;
    assert_eq!((head.height, head.log_size), (before + 1, 3), "submitted thrice, included once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_validator_offers_its_pending_block_again() {
    let mut network = Network::new(2).await;
    network.stop_node(STORAGE).await;
    network.stop_node(STORAGE + 1).await;
    let body = network.pointer(1);
    network.submit(OPERATOR, 3, body, Duration::from_secs(1)).await.unwrap_err();
    network.kill_validator(VALIDATOR).await;
    let (chain, _) = network.stored_chain(&network.validator_folder(VALIDATOR));
    let pending = chain.head().header.clone();
    network.start_validator(VALIDATOR);
    let other = network.pointer(2);
    let refusal = network.submit(OPERATOR, 4, other.clone(), Duration::from_secs(1)).await;
    assert_eq!(refusal.unwrap_err().kind, RefusalKind::Unavailable);
    network.start_node(STORAGE);
    network.start_node(STORAGE + 1);
    let (height, index) = network.submit(OPERATOR, 4, other, PATIENCE).await.unwrap();
    assert_eq!((height, index), (pending.height + 1, pending.log_size));
    network.kill_validator(VALIDATOR).await;
    let (_, store) = network.stored_chain(&network.validator_folder(VALIDATOR));
    let kept = store.block(pending.height).unwrap().unwrap();
    assert_eq!(kept.block.header, pending, "the same block, not another one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_was_away_catches_up() {
    let mut network = Network::new(3).await;
    network.stop_node(STORAGE + 2).await;
    for number in 0..20 {
        let body = network.pointer(number);
        network.submit(OPERATOR, 4 + number, body, PATIENCE).await.unwrap();
    }
    let height = network.head().await.header.height;
    network.start_node(STORAGE + 2);
    network.reaches(STORAGE + 2, height).await;
    network.stop_node(STORAGE + 2).await;
    let head = network.head().await;
    let (chain, _) = network.stored_chain(&network.node_folder(STORAGE + 2));
    assert_eq!(chain.head(), &head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_submitters_at_once_each_entry_once() {
    const EACH: u64 = 20;
    let mut network = Network::new(2).await;
    let mut submitters = JoinSet::new();
    for number in 0..16u8 {
        let author = OPERATOR + 1 + number;
        let (exchange, file) = (network.exchange(author), network.file.clone());
        submitters.spawn(async move {
            let mut places = Vec::new();
            for sequence in 1..=EACH {
                let body = pointer(&file, u64::from(number) << 32 | sequence);
                let key = identity(author);
                let entry = Entry::sign(&file.network_id(), key.signing_key(), sequence, body);
                let place = submit(&exchange, VALIDATOR, entry.clone(), PATIENCE).await.unwrap();
                places.push((entry, place));
            }
            places
        });
    }
    let places = submitters.join_all().await.concat();
    network.kill_validator(VALIDATOR).await;
    let (chain, store) = network.stored_chain(&network.validator_folder(VALIDATOR));
    assert_eq!(chain.head().header.log_size, 2 + 16 * EACH);
    assert!(chain.head().header.height < 2 + 16 * EACH, "entries share blocks");
    let (mut standing, mut index) = (Vec::new(), 0);
    for height in 1..=chain.head().header.height {
        for salted in store.block(height).unwrap().unwrap().block.entries {
            standing.push((salted.entry, (height, index)));
            index += 1;
        }
    }
    for told in &places {
        assert!(standing.contains(told), "{told:?}");
    }
    let distinct: BTreeSet<u64> = places.iter().map(|(_, (_, index))| *index).collect();
    assert_eq!(distinct.len() as u64, 16 * EACH);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_submit_with_two_followers_takes_milliseconds() {
    let mut network = Network::new(2).await;
    let mut times = Vec::new();
    for number in 0..100 {
        let body = network.pointer(number);
        let begin = Instant::now();
        network.submit(OPERATOR, 3 + number, body, PATIENCE).await.unwrap();
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    println!("submit to final, 2 followers: p50 {:?}, p95 {:?}", times[50], times[95]);
    assert!(times[50] < Duration::from_millis(500), "{:?}", times[50]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_and_bad_entries_are_refused_with_a_reason() {
    let mut network = Network::new(0).await;
    let body = network.pointer(1);
    let refusal = network.submit(OPERATOR, 9, body.clone(), PATIENCE).await.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Invalid);
    assert!(refusal.message.contains("next is 1"), "{}", refusal.message);
    let exchange = network.exchange(77);
    // Heads are for everybody: whoever opens an identity needs one.
    let patience = Duration::from_secs(5);
    let stranger =
        exchange.ask(id(VALIDATOR), &Operation::Status, Default::default(), patience, None);
    assert!(matches!(stranger.await.unwrap().response, Response::Refused(refusal)
        if refusal.kind == RefusalKind::Denied));
    let keys = vec![StateKey::Counts; 1025];
    let answer = network.ask(VALIDATOR, Operation::Prove(keys)).await;
    assert!(matches!(answer.response, Response::Refused(refusal)
        if refusal.kind == RefusalKind::Invalid));
}
