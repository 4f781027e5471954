//! Identities over real QUIC: a handle and a passphrase open from a machine that nobody enrolled.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::machines::*;
use kakera_engine::identity::{
    Handle, Kept, Login, LoginError, NodeAnswer, Registered, WINDOW_MS_MIN, generate_passphrase,
};
use kakera_engine::seal::{Hardening, VaultRoot};
use kakera_engine::wire::{Operation, RefusalKind, Response};
use kakera_net::client::{
    Client, ClientError, ClientSettings, ErrorKind, NewPassphrase, OpenedIdentity,
};
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
    let mut network = Network::found(&FOUR);
    let clock = Arc::new(AtomicU64::new(1_800_000_000_000));
    let time = Arc::clone(&clock);
    network.tries_clock = Arc::new(move || time.load(Ordering::Relaxed));
    FOUR.iter().for_each(|number| network.start_validator(*number));
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
    // Who used up one window waits two hours after the next.
    let mut granted_after_hours = async |hours: u64| {
        clock.fetch_add(hours * WINDOW_MS_MIN, Ordering::Relaxed);
        let mut granted = 0;
        while guess(1).await {
            granted += 1;
        }
        granted
    };
    assert_eq!(granted_after_hours(1).await, 15);
    assert_eq!(granted_after_hours(1).await, 0);
    assert_eq!(granted_after_hours(1).await, 15);
    let client = client(&network, GUESSER);
    let recalled = client.recall_identity(&handle, root()).await.unwrap();
    assert_eq!(recalled.attachment[..], [7; 32]);
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disks_of_fewer_than_t_identity_nodes_allow_no_guess() {
    let mut network = Network::of_validators(4);
    let handle = create(&network).await;
    let opened = open(&network, STRANGER, &handle, PASSPHRASE).await.unwrap();
    for validator in FOUR {
        network.kill_validator(validator).await;
    }
    let thief = Thief { network: &network, registered: opened.registered };
    // What the thief does is right: with the disks of three it opens the vault, and tells a wrong
    // passphrase.
    assert_eq!(thief.guess(&[1, 2, 4], PASSPHRASE, 3).unwrap().expose(), root().expose());
    let wrong = thief.guess(&[1, 2, 4], "another one", 3);
    assert_eq!(wrong.err(), Some(LoginError::WrongPassphrase));
    // With those of two the right passphrase looks like every other, whatever is made of the shares.
    for disks in [[1, 2], [1, 3], [1, 4], [2, 3], [2, 4], [3, 4]] {
        for threshold in 1..=3 {
            for passphrase in [PASSPHRASE, "another one"] {
                let guess = thief.guess(&disks, passphrase, threshold).err();
                assert!(matches!(guess, Some(LoginError::TooFew { .. })), "{disks:?}: {guess:?}");
            }
        }
    }
    for validator in FOUR {
        let folder = network.validator_folder(validator);
        assert_eq!(files_with(&folder, root().expose()), Vec::<PathBuf>::new());
        assert_eq!(files_with(&folder, PASSPHRASE.as_bytes()), Vec::<PathBuf>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_missed_a_deposit_gets_a_share_from_the_others() {
    let mut network = Network::of_validators(4);
    network.kill_validator(4).await;
    let handle = create(&network).await;
    let hash = handle.hash(&network.file.network_id());
    let sharings = |network: &Network, validator: u8| {
        let file = std::fs::read(identity_file(network, &hash, validator)).unwrap_or_default();
        Kept::from_bytes(&file).map_or(0, |kept| kept.sharings().count())
    };
    assert_eq!([1, 2, 3, 4].map(|validator| sharings(&network, validator)), [1, 1, 1, 0]);
    network.start_validator(4);
    let begin = Instant::now();
    while sharings(&network, 4) == 0 {
        assert!(begin.elapsed() < PATIENCE, "nobody dealt");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The others look when they start.
    for validator in [1, 2] {
        network.kill_validator(validator).await;
        network.start_validator(validator);
        while sharings(&network, validator) < 2 {
            assert!(begin.elapsed() < 2 * PATIENCE, "validator {validator} does not follow");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    // Without the third one the owner's sharing has two shares, which are too few.
    network.kill_validator(3).await;
    let opened = open(&network, STRANGER, &handle, PASSPHRASE).await.unwrap();
    assert_eq!(opened.root.expose(), root().expose());
}

/// Who has the ledger, and stole identity nodes' disks.
struct Thief<'a> {
    network: &'a Network,
    registered: Registered,
}

impl Thief<'_> {
    /// Tries a passphrase with what these nodes keep, as if so many shares were enough.
    fn guess(
        &self,
        disks: &[u8],
        passphrase: &str,
        threshold: u8,
    ) -> Result<VaultRoot, LoginError> {
        let mut random = ChaCha20Rng::seed_from_u64(3);
        let login = Login::new(&self.registered.handle, passphrase, &mut random).unwrap();
        let mut answer = |disk: &u8| {
            let file = std::fs::read(identity_file(self.network, &self.registered.handle, *disk));
            let kept = Kept::from_bytes(&file.unwrap()).unwrap();
            let mut shares = kept.evaluate(login.blinded(), &mut random);
            shares.iter_mut().for_each(|share| share.threshold = threshold);
            (id(*disk), NodeAnswer { wrapping: kept.wrapping().clone(), shares })
        };
        let answers = disks.iter().map(&mut answer).collect();
        login.open(&self.network.file.network_id(), &self.registered, &answers).root
    }
}

fn identity_file(network: &Network, handle: &[u8; 32], validator: u8) -> PathBuf {
    let name: String = handle.iter().map(|byte| format!("{byte:02x}")).collect();
    network.validator_folder(validator).join(format!("identities/{}/{name}.id", &name[..2]))
}

/// The files below a folder that have these bytes.
fn files_with(folder: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, bytes));
        } else if std::fs::read(&path).unwrap().windows(bytes.len()).any(|window| window == bytes) {
            found.push(path);
        }
    }
    found
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
    let file = |network: &Network, number| identity_file(network, &hash, number);
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
