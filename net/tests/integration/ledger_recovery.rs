//! A validator's folder is lost and rebuilt from its storage nodes; liars are named.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::machines::*;
use bytes::Bytes;
use kakera_engine::ledger::{Certificate, CertifiedBlock};
use kakera_engine::names::NodeId;
use kakera_engine::wire::{Operation, Request, Response, Session};
use kakera_net::chain_store::{CHAIN_FILE, ChainStore, answer_follow};
use kakera_net::clock::unix_milliseconds;
use kakera_net::exchange::Exchange;
use kakera_net::fabric::{Fabric, Incoming, Limits};
use kakera_net::id::Identity;
use kakera_net::node::FollowedLedger;
use kakera_net::rpc::Message;
use kakera_net::store::disk::OsDisk;
use kakera_net::validator::{RecoverError, Recovered, ValidatorError, recover};

/// Three storage nodes and a few entries; then the validator's folder is gone, its key is not.
async fn lose_the_folder(entries: u64) -> (Network, u64) {
    let mut network = Network::new(3).await;
    for number in 0..entries {
        let body = network.pointer(number);
        network.submit(OPERATOR, 4 + number, body, PATIENCE).await.unwrap();
    }
    let height = network.head().await.header.height;
    for number in 0..3 {
        network.reaches(STORAGE + number, height).await;
    }
    network.kill_validator(VALIDATOR).await;
    let folder = network.validator_folder(VALIDATOR);
    std::fs::remove_file(folder.join("chain.log")).unwrap();
    (network, height)
}

fn sources(network: &Network, numbers: &[u8]) -> Vec<(NodeId, SocketAddr)> {
    let book = network.book.0.lock().unwrap();
    numbers.iter().map(|number| (id(*number), book[&id(*number)])).collect()
}

async fn recover_from(network: &Network, numbers: &[u8]) -> Result<Recovered, RecoverError> {
    recover(network.validator_settings(VALIDATOR), sources(network, numbers)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_folder_is_rebuilt_and_the_chain_goes_on() {
    let (mut network, height) = lose_the_folder(10).await;
    let one = recover_from(&network, &[STORAGE]).await;
    let Err(RecoverError::TooFewSources { answered: 1, needed: 2, silent, .. }) = one else {
        panic!("{one:?}");
    };
    assert_eq!(silent.len(), 2);
    let recovered = recover_from(&network, &[STORAGE, STORAGE + 1]).await.unwrap();
    assert_eq!((recovered.height, recovered.sources.len()), (height, 2));
    assert_eq!(recovered.silent, [id(STORAGE + 2)]);
    let again = recover_from(&network, &[STORAGE, STORAGE + 1]).await;
    assert!(matches!(again, Err(RecoverError::ChainExists)));

    network.start_validator(VALIDATOR);
    let body = network.pointer(999);
    let (next, _) = network.submit(OPERATOR, 14, body, PATIENCE).await.unwrap();
    assert_eq!(next, height + 1);
    network.reaches(STORAGE + 2, next).await;
    network.kill_validator(VALIDATOR).await;
    let (chain, _) = network.stored_chain(&network.validator_folder(VALIDATOR));
    network.stop_node(STORAGE + 2).await;
    let (followed, _) = network.stored_chain(&network.node_folder(STORAGE + 2));
    assert_eq!(chain.head(), followed.head());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pending_block_that_one_follower_has_is_adopted() {
    let mut network = Network::new(2).await;
    network.stop_node(STORAGE + 1).await;
    let body = network.pointer(1);
    network.submit(OPERATOR, 3, body.clone(), Duration::from_secs(1)).await.unwrap_err();
    network.reaches(STORAGE, 3).await;
    network.kill_validator(VALIDATOR).await;
    let (before, _) = network.stored_chain(&network.validator_folder(VALIDATOR));
    std::fs::remove_file(network.validator_folder(VALIDATOR).join("chain.log")).unwrap();
    network.start_node(STORAGE + 1);
    network.reaches(STORAGE + 1, 2).await;

    // The shorter first: the longer is adopted all the same.
    let recovered = recover_from(&network, &[STORAGE + 1, STORAGE]).await.unwrap();
    assert_eq!(recovered.height, 3);
    network.start_validator(VALIDATOR);
    let (height, _) = network.submit(OPERATOR, 3, body, PATIENCE).await.unwrap();
    assert_eq!(height, 3);
    network.kill_validator(VALIDATOR).await;
    let (after, _) = network.stored_chain(&network.validator_folder(VALIDATOR));
    assert_eq!(after.head(), before.head());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_key_a_validator_is_told_what_it_can_do() {
    let (network, _) = lose_the_folder(1).await;
    std::fs::remove_file(network.validator_folder(VALIDATOR).join("identity.key")).unwrap();
    let error = recover_from(&network, &[STORAGE]).await.unwrap_err();
    assert!(matches!(error, RecoverError::Validator(ValidatorError::NoIdentity(_))));
    assert!(error.to_string().contains("backup"), "{error}");
}

/// Serves a chain after `tamper` changed its blocks.
async fn lying_source(
    network: &Network,
    number: u8,
    folder: &Path,
    tamper: impl Fn(&mut CertifiedBlock) + Send + Sync + 'static,
) -> Fabric {
    let (_, honest) = network.stored_chain(folder);
    let folder = network.root.path().join("liar");
    let store = ChainStore::open(&OsDisk::open(&folder).unwrap(), CHAIN_FILE).unwrap();
    for height in 1..=honest.height() {
        let mut block = honest.block(height).unwrap().unwrap();
        tamper(&mut block);
        store.append(&[block]).unwrap();
    }
    let limits = Limits::default().on_loopback();
    let fabric = Fabric::bind(identity(number), loopback(), limits, |_| true).unwrap();
    network.book.0.lock().unwrap().insert(id(number), fabric.local_address());
    let (serving, store) = (fabric.clone(), Arc::new(store));
    let network = network.file.network_id();
    tokio::spawn(async move {
        let handler = move |incoming: Incoming| {
            let Incoming { peer: author, exporter, .. } = incoming;
            let session = Session { network, author, receiver: id(number), exporter };
            let request = Request::verify(&incoming.header, &session, unix_milliseconds()).unwrap();
            let Operation::Follow { from, .. } = request.operation else { panic!() };
            let (response, body): (Response, Vec<u8>) = answer_follow(&store, from, None);
            async move { Message { header: response.to_header().into(), body: Bytes::from(body) } }
        };
        serving.serve(handler).await;
    });
    fabric
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_tampers_is_named_and_its_blocks_refused() {
    let (mut network, height) = lose_the_folder(6).await;
    network.stop_node(STORAGE).await;
    let liar = lying_source(&network, STORAGE, &network.node_folder(STORAGE), |block| {
        // The certificate covers the header only; the entries are changed.
        if block.block.header.height == 5 {
            block.block.entries[0].salt[0] ^= 1;
        }
    })
    .await;
    let all = [STORAGE, STORAGE + 1, STORAGE + 2];
    let recovered = recover_from(&network, &all).await.unwrap();
    assert_eq!((recovered.height, recovered.sources.len()), (height, 2));
    assert_eq!(recovered.faults.len(), 1);
    assert_eq!(recovered.faults[0].node, id(STORAGE));
    assert!(recovered.faults[0].reason.contains("block 5"), "{:?}", recovered.faults);
    liar.close().await;
    let (chain, _) = network.stored_chain(&network.validator_folder(VALIDATOR));
    assert_eq!(chain.head().header.height, height);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forger_without_the_validators_key_convinces_nobody() {
    let (mut network, _) = lose_the_folder(3).await;
    network.stop_node(STORAGE).await;
    let _liar = lying_source(&network, STORAGE, &network.node_folder(STORAGE), |block| {
        let stranger: &Identity = &identity(66);
        block.block.header.time += 1;
        block.certificate = Certificate::solo(&block.block.header, stranger.signing_key());
    })
    .await;
    let error = recover_from(&network, &[STORAGE]).await.unwrap_err();
    let RecoverError::TooFewSources { faults, height: 0, .. } = &error else { panic!("{error}") };
    assert!(faults[0].reason.contains("certificate"), "{faults:?}");
    assert!(!network.validator_folder(VALIDATOR).join("chain.log").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_keeps_nothing_of_a_tampered_block_and_names_who_sent_it() {
    let mut network = Network::new(0).await;
    for number in 0..5 {
        let body = network.pointer(number);
        network.submit(OPERATOR, 1 + number, body, PATIENCE).await.unwrap();
    }
    network.kill_validator(VALIDATOR).await;
    let liar = lying_source(&network, VALIDATOR, &network.validator_folder(VALIDATOR), |block| {
        if block.block.header.height == 4 {
            block.block.entries[0].salt[0] ^= 1;
        }
    })
    .await;
    let mut file = network.file.clone();
    file.addresses.insert(id(VALIDATOR), liar.local_address());
    let disk = OsDisk::open(&network.root.path().join("follower")).unwrap();
    let ledger = Arc::new(FollowedLedger::open(&disk, file.clone()).unwrap());
    let follower = identity(OPERATOR);
    let limits = Limits::default().on_loopback();
    let fabric = Fabric::bind(follower.clone(), loopback(), limits, |_| false).unwrap();
    let exchange = Exchange::new(fabric, file.network_id(), follower, ledger.clone());
    let following = tokio::spawn(ledger.clone().follow(exchange));
    let mut told = None;
    for _ in 0..1000 {
        told = ledger.last_failure();
        if told.as_ref().is_some_and(|told| told.contains("block 4")) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let told = told.unwrap();
    assert!(told.contains(&id(VALIDATOR).to_string()) && told.contains("entries root"), "{told}");
    assert_eq!(ledger.height(), 3, "the good blocks before it are kept");
    following.abort();
}
