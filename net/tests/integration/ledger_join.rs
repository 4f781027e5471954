//! Machines with empty folders join a long chain of four validators over real QUIC.

use crate::ledger_validators::Consortium;
use crate::machines::{Network, OPERATOR, PATIENCE, STORAGE, id, identity, submit};
use kakera_engine::ledger::{
    Body, CertifiedBlock, Entry, MILESTONE_BLOCKS, NodeJoin, Roles, StateKey,
};
use kakera_net::chain_store::{CHAIN_FILE, ChainStore};
use kakera_net::client::{Client, ClientSettings};
use kakera_net::listening;
use kakera_net::store::disk::OsDisk;

/// Those of the genesis, and one that they voted in.
const FOUNDERS: [u8; 3] = [1, 2, 3];
const FOUR: [u8; 4] = [1, 2, 3, 4];
/// A validator that is not of the set.
const NEWCOMER: u8 = 5;
const HEIGHT: u64 = 290;

/// Four validators with the same long chain, in which a storage node and a newcomer are enrolled.
fn with_long_chain() -> Network {
    let network = Network::found(&FOUNDERS);
    network.make_validator(4);
    let mut chain = Consortium::of(network.file.genesis.clone());
    for (number, storage) in [(STORAGE, true), (NEWCOMER, false), (4, false)] {
        let address = listening::free_address().unwrap();
        network.book.0.lock().unwrap().insert(id(number), address);
        let join = NodeJoin {
            node: id(number),
            roles: Roles { storage, submitter: true },
            address: address.to_string(),
            zone: "north".into(),
            operator: id(OPERATOR),
            quota_bytes: 1 << 20,
            generation: 1,
        };
        chain.seal_body(OPERATOR, Body::NodeJoin(join));
    }
    chain.change(&FOUR);
    while chain.chain.head().header.height < HEIGHT {
        chain.seal(vec![]);
    }
    let blocks: Vec<CertifiedBlock> =
        chain.blocks.iter().map(|bytes| CertifiedBlock::from_bytes(bytes).unwrap()).collect();
    for number in FOUR {
        let disk = OsDisk::open(&network.validator_folder(number)).unwrap();
        ChainStore::open(&disk, CHAIN_FILE).unwrap().append(&blocks).unwrap();
    }
    network
}

/// The lowest height whose block is kept in a folder whose process does not run; the chain there
/// verifies.
fn first_height(network: &Network, folder: &std::path::Path) -> u64 {
    network.stored_chain(folder).1.first_height()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storage_node_a_newcomer_and_one_that_lost_its_chain_begin_with_a_snapshot() {
    let mut network = with_long_chain();
    FOUR.iter().for_each(|number| network.start_validator(*number));
    let folder = network.node_folder(STORAGE);
    std::fs::create_dir(&folder).unwrap();
    identity(STORAGE).store(&folder.join("identity.key")).unwrap();
    network.start_node(STORAGE);
    network.make_validator(NEWCOMER);
    network.start_validator(NEWCOMER);
    network.reaches(STORAGE, HEIGHT).await;
    network.reaches(NEWCOMER, HEIGHT).await;

    // A validator that lost its folder but for its key follows and does not vote.
    network.kill_validator(4).await;
    let lost = network.validator_folder(4);
    for file in ["chain.log", "votes.log"] {
        std::fs::remove_file(lost.join(file)).unwrap();
    }
    network.start_validator(4);
    network.reaches(4, HEIGHT).await;

    // A client that knows only the genesis follows the change of the validators.
    let settings =
        ClientSettings { network: network.file.clone(), identity: identity(OPERATOR), seen: None };
    let client = Client::new(settings).unwrap();
    assert!(client.head().await.unwrap().header().height >= HEIGHT);
    let seen = Some(client.seen());
    let proof = client.prove_value(StateKey::Validators).await.unwrap();
    assert!(proof.verify(network.file.genesis.clone()).is_ok());
    client.close().await;
    let settings =
        ClientSettings { network: network.file.clone(), identity: identity(OPERATOR), seen };
    let client = Client::new(settings).unwrap();
    assert!(client.head().await.unwrap().header().height >= HEIGHT);
    client.close().await;

    // All go on by what is new.
    let exchange = network.exchange(OPERATOR);
    let body = network.pointer(1);
    let key = identity(OPERATOR);
    let entry = Entry::sign(&network.file.network_id(), key.signing_key(), 4, body);
    let (height, _) = submit(&exchange, 2, entry, PATIENCE).await.unwrap();
    assert!(height > HEIGHT);
    for number in [STORAGE, NEWCOMER, 4] {
        network.reaches(number, height).await;
    }
    network.stop_node(STORAGE).await;
    network.kill_validator(NEWCOMER).await;
    network.kill_validator(4).await;
    let milestone = HEIGHT / MILESTONE_BLOCKS * MILESTONE_BLOCKS;
    for folder in [folder, network.validator_folder(NEWCOMER), lost] {
        assert_eq!(first_height(&network, &folder), milestone + 1, "{}", folder.display());
    }
}
