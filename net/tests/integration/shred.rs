//! A record that its owner has destroyed, over real QUIC and on real disks.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{Care, Network, eventually};
use kakera_engine::catalogue::{Content, RecordName};
use kakera_engine::code::{CodeKind, CodeParameters};
use kakera_engine::keyshare::KeyParameters;
use kakera_engine::names::RecordId;
use kakera_engine::peer::CustodySettings;
use kakera_engine::seal::VaultRoot;
use kakera_net::client::{Client, ErrorKind};
use kakera_net::vault::{Edit, NoProgress, Source, Vault};
use zeroize::Zeroizing;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn name(text: &str) -> RecordName {
    RecordName::new(text).unwrap()
}

/// A put needs 4 holders, a destruction all but one of them.
async fn network(n: u8) -> Network {
    let code = CodeParameters { kind: CodeKind::Mbr, n, k: 3, d: 3 };
    let custody =
        CustodySettings { compare_every: Duration::from_secs(2), ..CustodySettings::default() };
    let care = Care { custody, version: Some(4), ..Care::default() };
    Network::start_with(code, KeyParameters::new(n, 2, 3).unwrap(), care).await
}

/// Opens the vault, once enough holders listen again.
async fn open(client: &Arc<Client>) -> Vault {
    eventually(async || {
        let root = VaultRoot::from_bytes(Zeroizing::new([7; 32]));
        Vault::open(Arc::clone(client), root).await.ok()
    })
    .await
}

/// Puts records that lie in one object, each with its own bytes.
async fn put(network: &Network, vault: &mut Vault, retain_until: Option<u64>) {
    let source = |text: &str| {
        let path = network.folder.path().join(format!("source-{text}"));
        std::fs::write(&path, text.repeat(2000)).unwrap();
        Source { retain_until, ..Source::new(name(text), path) }
    };
    let sources = NAMES.map(source).into();
    vault.put(sources, Arc::new(NoProgress)).await.unwrap();
}

async fn read(vault: &Vault, text: &str) -> String {
    let record = vault.record(&name(text)).unwrap();
    let mut bytes = Vec::new();
    vault
        .get(record.stored(record.newest()).unwrap(), None, &mut bytes, &NoProgress)
        .await
        .unwrap();
    String::from_utf8(bytes).unwrap()
}

fn id(vault: &Vault, text: &str) -> RecordId {
    vault.catalogue().named(&name(text)).unwrap().id()
}

/// The parts and tombstones of all nodes.
fn files(network: &Network, folder: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for node in 0..network.nodes.len() {
        let mut open = vec![network.folder.path().join(format!("node-{node}")).join(folder)];
        while let Some(next) = open.pop() {
            for entry in std::fs::read_dir(&next).into_iter().flatten().flatten() {
                match entry.file_type().unwrap().is_dir() {
                    true => open.push(entry.path()),
                    false => {
                        let name = entry.file_name().into_string().unwrap();
                        found.insert(format!("{node} {name}"));
                    }
                }
            }
        }
    }
    found
}

fn any_holds(network: &Network, piece: &[u8]) -> bool {
    fn holds(path: &Path, piece: &[u8]) -> bool {
        if path.is_dir() {
            return std::fs::read_dir(path)
                .into_iter()
                .flatten()
                .flatten()
                .any(|entry| holds(&entry.path(), piece));
        }
        std::fs::read(path).is_ok_and(|bytes| bytes.windows(piece.len()).any(|at| at == piece))
    }
    (0..network.nodes.len())
        .any(|node| holds(&network.folder.path().join(format!("node-{node}")), piece))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_is_destroyed_its_neighbours_stay_and_who_was_away_follows() {
    let mut network = network(7).await;
    let client = Arc::new(network.client().await);
    let mut vault = open(&client).await;
    put(&network, &mut vault, None).await;
    let record = id(&vault, "b");
    // A version of before, and one that repeats it.
    let b = vault.record(&name("b")).unwrap().newest().clone();
    let rename = Edit::Repeat { record, number: b.number, name: name("was b") };
    vault.edit(vec![rename], Arc::new(NoProgress)).await.unwrap();
    let doomed = b.stored().unwrap().pieces[0].object;
    let part = doomed.object_id.to_string();
    let of_doomed =
        |found: BTreeSet<String>| found.into_iter().filter(|name| name.contains(&part)).count();
    assert_eq!(of_doomed(files(&network, "parts")), 7);
    // What a thief of a disk would want: the last bytes of a share, its Shamir share.
    let stolen = std::fs::read(first_part(&network, 0, &part)).unwrap();
    let descriptor = u32::from_le_bytes(stolen[12..16].try_into().unwrap()) as usize;
    let share = u32::from_le_bytes(stolen[16..20].try_into().unwrap()) as usize;
    let share = &stolen[24 + descriptor..24 + descriptor + share];
    let share = &share[share.len() - 32..];
    assert!(any_holds(&network, share));

    for away in [5, 6] {
        network.stop_node(away).await;
    }
    let shredded = vault.shred(record, Arc::new(NoProgress)).await.unwrap();
    let report = &shredded.objects[0].report;
    assert_eq!((report.needed, report.slots.len(), report.missing.len()), (6, 5, 2));
    assert!(!shredded.is_enough() && shredded.moved >= 3);
    assert!(!any_holds(&network, share));

    // They come back with their parts, hear of it from the others, and nobody repairs it.
    for back in [5, 6] {
        network.start_node(back);
    }
    let gone = async || (of_doomed(files(&network, "parts")) == 0).then_some(());
    eventually(gone).await;
    eventually(async || (of_doomed(files(&network, "shredded")) == 7).then_some(())).await;

    // Another machine of the vault goes on with it.
    let another = Arc::new(network.client().await);
    let mut vault = open(&another).await;
    let again = eventually(async || {
        let mut vault = open(&another).await;
        let again = vault.shred(record, Arc::new(NoProgress)).await.ok()?;
        (again.objects[0].report.slots.len() == 7).then_some(again)
    })
    .await;
    assert_eq!((again.height, again.is_enough()), (None, true));
    for text in ["a", "c", "d"] {
        assert_eq!(read(&vault, text).await, text.repeat(2000));
    }
    assert_eq!(vault.record(&name("was b")).unwrap_err().kind(), ErrorKind::NotFound);
    let versions = vault.catalogue().record(record).unwrap().versions().to_vec();
    let contents: Vec<_> = versions.iter().map(|version| &version.content).collect();
    assert!(matches!(contents[..], [Content::Shredded(_), Content::SameAs(1), Content::Deleted]));
    // The name is free again.
    put(&network, &mut vault, None).await;
    assert_eq!(read(&vault, "b").await, "b".repeat(2000));
    assert_ne!(id(&vault, "b"), record);
}

fn first_part(network: &Network, node: usize, part: &str) -> std::path::PathBuf {
    let group = network.folder.path().join(format!("node-{node}/parts/0"));
    let slot = std::fs::read_dir(group).unwrap().next().unwrap().unwrap();
    slot.path().join(part)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holders_keep_what_is_retained_whatever_the_client_says() {
    let network = network(5).await;
    let client = Arc::new(network.client().await);
    let mut vault = open(&client).await;
    let now = kakera_net::clock::unix_milliseconds() / 1000;
    put(&network, &mut vault, Some(now + 3600)).await;
    let record = id(&vault, "a");
    let error = vault.shred(record, Arc::new(NoProgress)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert_eq!(read(&vault, "a").await, "a".repeat(2000));
    // The catalogue does not lie with what is retained, and every copy of it has its own date.
    put(&network, &mut vault, Some(now)).await;
    let shredded = vault.shred(id(&vault, "c"), Arc::new(NoProgress)).await;
    assert_eq!(shredded.unwrap_err().kind(), ErrorKind::Denied, "an earlier version is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_machines_destroy_neighbours_at_once() {
    let network = network(5).await;
    let clients = [Arc::new(network.client().await), Arc::new(network.client().await)];
    let mut left = open(&clients[0]).await;
    put(&network, &mut left, None).await;
    let mut right = open(&clients[1]).await;
    let (a, b) = (id(&left, "a"), id(&left, "b"));
    let (first, second) =
        tokio::join!(left.shred(a, Arc::new(NoProgress)), right.shred(b, Arc::new(NoProgress)));
    assert!(first.unwrap().is_enough() && second.unwrap().is_enough());
    let vault = open(&clients[0]).await;
    for text in ["c", "d"] {
        assert_eq!(read(&vault, text).await, text.repeat(2000));
    }
    assert_eq!(vault.catalogue().list(b"").count(), 2);
}
