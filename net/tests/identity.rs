//! Identities over real QUIC: a handle and a passphrase open from a machine that nobody enrolled.
#![allow(clippy::unwrap_used, missing_docs)]

mod ledger_network;

use std::time::{Duration, Instant};

use kakera_engine::identity::{Handle, Login, generate_passphrase};
use kakera_engine::seal::{Hardening, VaultRoot};
use kakera_engine::wire::{Operation, RefusalKind, Response};
use kakera_net::client::{
    Client, ClientError, ClientSettings, ErrorKind, NewPassphrase, OpenedIdentity,
};
use ledger_network::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use zeroize::Zeroizing;

const FOUR: [u8; 4] = [1, 2, 3, 4];
/// Machines that nobody enrolled.
const STRANGER: u8 = 200;
const GUESSER: u8 = 201;
const PASSPHRASE: &str = "unglazed pumice stroller mauve";

fn client(network: &Network, number: u8) -> Client {
    let settings =
        ClientSettings { network: network.file.clone(), identity: identity(number), seen: None };
    Client::new(settings).unwrap()
}

fn new(passphrase: &str) -> NewPassphrase {
    let passphrase = Zeroizing::new(passphrase.to_owned());
    NewPassphrase { passphrase, hardening: Hardening::SmallMachine }
}

fn root() -> VaultRoot {
    VaultRoot::from_bytes(Zeroizing::new([0x42; 32]))
}

/// An identity of which the operator's machine is the owner.
async fn create(network: &Network) -> Handle {
    let owner = client(network, OPERATOR);
    let mut random = ChaCha20Rng::seed_from_u64(1);
    let handle = Handle::generate("sato", owner.network(), &mut random).unwrap();
    owner.create_identity(&handle, &root(), &[7; 32], new(PASSPHRASE)).await.unwrap();
    owner.close().await;
    handle
}

async fn open(
    network: &Network,
    machine: u8,
    handle: &Handle,
    passphrase: &str,
) -> Result<OpenedIdentity, ClientError> {
    let client = client(network, machine);
    let opened = client.open_identity(handle, Zeroizing::new(passphrase.to_owned())).await;
    client.close().await;
    opened
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_opens_with_the_passphrase_and_any_validator_may_be_gone() {
    let mut network = Network::of_validators(4);
    let handle = create(&network).await;
    network.kill_validator(2).await;
    let opened = open(&network, STRANGER, &handle, PASSPHRASE).await.unwrap();
    assert_eq!(opened.root.expose(), root().expose());
    assert_eq!(opened.attachment[..], [7; 32]);
    assert!(opened.liars.is_empty());
    let wrong = open(&network, STRANGER, &handle, "another one").await.err().unwrap();
    assert_eq!(
        (wrong.kind(), wrong.to_string()),
        (ErrorKind::Denied, "the passphrase is wrong".into())
    );
    // Two of four are too few, which is not the passphrase's fault.
    network.kill_validator(3).await;
    let lost = open(&network, STRANGER, &handle, PASSPHRASE).await.err().unwrap();
    assert!(matches!(lost.kind(), ErrorKind::BelowThreshold | ErrorKind::Unavailable), "{lost}");
    // A stranger gets nothing else.
    let exchange = network.exchange(STRANGER);
    for operation in [Operation::Status, Operation::Snapshot, Operation::Identities { after: None }]
    {
        match retry(&exchange, id(1), &operation, PATIENCE).await.response {
            Response::Refused(refusal) => assert_eq!(refusal.kind, RefusalKind::Denied),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_are_counted_across_restarts_and_the_owner_keeps_a_way_in() {
    let mut network = Network::of_validators(4);
    let handle = create(&network).await;
    open(&network, STRANGER, &handle, PASSPHRASE).await.unwrap();
    let hash = handle.hash(&network.file.network_id());
    let mut random = ChaCha20Rng::seed_from_u64(2);
    let exchange = network.exchange(GUESSER);
    let mut guess = async |validator: u8| -> bool {
        let login = Login::new(&hash, &generate_passphrase(&mut random), &mut random).unwrap();
        let operation = Operation::Evaluate { handle: hash, blinded: Box::new(*login.blinded()) };
        match retry(&exchange, id(validator), &operation, PATIENCE).await.response {
            Response::Evaluated(_) => true,
            Response::LockedOut { .. } => false,
            other => panic!("{other:?}"),
        }
    };
    for _ in 0..8 {
        assert!(guess(1).await);
    }
    network.kill_validator(1).await;
    network.start_validator(1);
    for validator in FOUR {
        let mut granted = if validator == 1 { 8 } else { 0 };
        while guess(validator).await {
            granted += 1;
        }
        assert_eq!(granted, 15, "20 * 3 / 4 tries a window, killed or not");
    }
    let locked = open(&network, GUESSER, &handle, PASSPHRASE).await.err().unwrap();
    assert_eq!(locked.kind(), ErrorKind::Unavailable);
    assert!(locked.to_string().contains("too many tries"), "{locked}");
    // The machine that opened before has tries of its own; the root needs none.
    open(&network, STRANGER, &handle, PASSPHRASE).await.unwrap();
    let client = client(&network, GUESSER);
    let recalled = client.recall_identity(&handle, root()).await.unwrap();
    assert_eq!(recalled.attachment[..], [7; 32]);
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_passphrase_opens_and_the_old_one_does_not() {
    let network = Network::of_validators(4);
    let handle = create(&network).await;
    let owner = client(&network, OPERATOR);
    let opened = owner.open_identity(&handle, new(PASSPHRASE).passphrase).await.unwrap();
    owner.rewrap_identity(&opened, new("antics gravel mauve dandelion")).await.unwrap();
    owner.close().await;
    let old = open(&network, STRANGER, &handle, PASSPHRASE).await.err().unwrap();
    assert_eq!(old.kind(), ErrorKind::Denied);
    let opened = open(&network, STRANGER, &handle, "antics gravel mauve dandelion").await.unwrap();
    assert_eq!(opened.registered.version, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_follow_the_validators() {
    let mut network = Network::of_validators(4);
    let handle = create(&network).await;
    let hash = handle.hash(&network.file.network_id());
    // The owner's record was the operator's first entry.
    network.enrol_validator(5, 2).await;
    network.start_validator(5);
    let changed = network.change_validators(&FOUR, &[2, 3, 4, 5]).await;
    network.reaches(5, changed).await;
    let file = |network: &Network, number: u8| {
        let name: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        network.validator_folder(number).join(format!("identities/{}/{name}.id", &name[..2]))
    };
    // The new one has a share, and who left has forgotten its own.
    let begin = Instant::now();
    while !file(&network, 5).exists() || file(&network, 1).exists() {
        assert!(begin.elapsed() < PATIENCE, "not shared again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    network.kill_validator(1).await;
    network.kill_validator(2).await;
    let opened = open(&network, STRANGER, &handle, PASSPHRASE).await.unwrap();
    assert_eq!(opened.root.expose(), root().expose());
}
