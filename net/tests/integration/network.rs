//! Put, get, repair over real QUIC, with machines that die.

use std::path::Path;
use std::sync::Arc;

use crate::support::{Care, Network, eventually};
use kakera_engine::catalogue::{RecordName, Stored};
use kakera_engine::code::{CodeKind, CodeParameters};
use kakera_engine::keyshare::KeyParameters;
use kakera_engine::ledger::{NUMBERED_POINTERS_VERSION_MIN, RULES_VERSION_MAX};
use kakera_engine::names::{GroupId, NodeId, Slot};
use kakera_engine::seal::{POINTERS_PER_SPAN, VaultRoot, pointer_tag};
use kakera_engine::wire::RepairProgress;
use kakera_net::client::{Client, ClientError, ErrorKind};
use kakera_net::vault::{Edit, NoProgress, Source, Vault};
use zeroize::Zeroizing;

const ROOT: [u8; 32] = [7; 32];

fn mbr() -> (CodeParameters, KeyParameters) {
    let code = CodeParameters { kind: CodeKind::Mbr, n: 5, k: 3, d: 3 };
    (code, KeyParameters::new(5, 2, 3).unwrap())
}

/// Deterministic bytes that do not repeat.
fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut output = vec![0; length];
    blake3::Hasher::new_keyed(&[seed as u8; 32]).finalize_xof().fill(&mut output);
    output
}

/// Writes files and names them as sources.
fn sources(folder: &Path, files: &[(&str, Vec<u8>)]) -> Vec<Source> {
    files
        .iter()
        .enumerate()
        .map(|(number, (name, content))| {
            let path = folder.join(format!("source-{number}"));
            std::fs::write(&path, content).unwrap();
            Source::new(record_name(name), path)
        })
        .collect()
}

async fn open(client: Arc<Client>) -> Vault {
    Vault::open(client, VaultRoot::from_bytes(Zeroizing::new(ROOT))).await.unwrap()
}

fn record_name(name: &str) -> RecordName {
    RecordName::new(name).unwrap()
}

fn newest<'a>(vault: &'a Vault, name: &str) -> &'a Stored {
    let record = vault.record(&record_name(name)).unwrap();
    record.stored(record.newest()).unwrap()
}

async fn read_stored(vault: &Vault, stored: &Stored) -> Vec<u8> {
    let mut output = Vec::new();
    vault.get(stored, None, &mut output, &NoProgress).await.unwrap();
    output
}

async fn read(vault: &Vault, name: &str) -> Vec<u8> {
    read_stored(vault, newest(vault, name)).await
}

async fn repair(network: &Network, holder: NodeId, slot: Slot) -> RepairProgress {
    let client = network.client().await;
    // Refused until the newcomer has seen the block that made it the holder.
    eventually(async || {
        let progress = client.repair(holder, GroupId(0), slot).await.ok()?;
        progress.finished.then_some(progress)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_survive_the_machines_they_were_put_on() {
    let (code, key) = mbr();
    let mut network = Network::start(code, key).await;
    let files = [
        ("charts/1.hl7", bytes(1100, 1)),
        ("charts/2.hl7", bytes(900, 2)),
        ("empty", Vec::new()),
        ("scan.dcm", bytes(9 << 20, 3)),
    ];
    let writer = Arc::new(network.client().await);
    let mut vault = open(Arc::clone(&writer)).await;
    let sources = sources(network.folder.path(), &files);
    let summary = vault.put(sources, Arc::new(NoProgress)).await.unwrap();
    assert_eq!((summary.records, summary.bytes), (4, 2000 + (9 << 20)));
    assert_eq!(summary.objects, summary.objects_complete);

    // Two slots are lost for good and rebuilt by newcomers, without the writer.
    for lost in [0, 3] {
        network.nodes[lost].kill();
    }
    let gone: Vec<NodeId> = [0, 3].iter().map(|lost| network.nodes[*lost].id).collect();
    for node in &gone {
        network.retire(*node).await;
    }
    network.add_node().await;
    network.add_node().await;
    for member in network.group().await.members {
        if gone.contains(&member.node) {
            let newcomer = network.reassign(member.slot).await;
            let progress = repair(&network, newcomer, member.slot).await;
            assert_eq!(progress.objects_failed, 0, "{progress:?}");
            assert_eq!(progress.objects_held, summary.objects);
            assert_eq!(progress.symbol_bytes, progress.symbol_bytes_theory);
            assert!(progress.liars.is_empty());
        }
    }

    // n - k others die; a fresh client reads everything.
    for lost in [1, 2] {
        network.nodes[lost].kill();
    }
    let reader = Arc::new(network.client().await);
    let vault = open(Arc::clone(&reader)).await;
    assert_eq!(vault.catalogue().list(b"charts/").count(), 2);
    for (name, content) in &files {
        assert!(read(&vault, name).await == *content, "{name} differs");
    }
    let mut part = Vec::new();
    let scan = newest(&vault, "scan.dcm");
    vault.get(scan, Some(5_000_000..5_000_100), &mut part, &NoProgress).await.unwrap();
    assert_eq!(part, files[3].1[5_000_000..5_000_100]);

    // One more, and nothing can be read: the error says how many are missing.
    network.nodes[4].kill();
    let error = vault.get(scan, None, &mut Vec::new(), &NoProgress).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BelowThreshold, "{error}");
    assert!(error.to_string().contains("2 of the 3 holders needed"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_below_its_quorum_changes_nothing() {
    let (code, key) = mbr();
    let mut network = Network::start(code, key).await;
    network.group().await;
    let client = Arc::new(network.client().await);
    let mut vault = open(Arc::clone(&client)).await;
    for lost in [0, 1] {
        network.nodes[lost].kill();
    }
    let files = sources(network.folder.path(), &[("a", bytes(100, 1))]);
    let error = vault.put(files, Arc::new(NoProgress)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BelowThreshold, "{error}");
    assert_eq!(vault.catalogue().list(b"").count(), 0);
    assert_eq!(open(client).await.catalogue().list(b"").count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_put_of_a_name_is_its_next_version() {
    let (code, key) = mbr();
    let network = Network::start(code, key).await;
    network.group().await;
    let client = Arc::new(network.client().await);
    let mut vault = open(Arc::clone(&client)).await;
    for version in 1..=6 {
        let files = sources(network.folder.path(), &[("chart", bytes(100, version))]);
        vault.put(files, Arc::new(NoProgress)).await.unwrap();
    }
    let reopened = open(client).await;
    let record = reopened.record(&record_name("chart")).unwrap();
    assert_eq!(record.newest().number, 6);
    for version in record.versions() {
        let stored = record.stored(version).unwrap();
        assert_eq!(read_stored(&reopened, stored).await, bytes(100, version.number));
    }
    assert_eq!(reopened.record(&record_name("other")).unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_renamed_deleted_and_restored_without_being_stored_again() {
    let (code, key) = mbr();
    let network = Network::start(code, key).await;
    network.group().await;
    let client = Arc::new(network.client().await);
    let mut vault = open(Arc::clone(&client)).await;
    let progress = || Arc::new(NoProgress);
    let scan = bytes(3 << 20, 1);
    vault.put(sources(network.folder.path(), &[("scan", scan.clone())]), progress()).await.unwrap();
    let record = vault.record(&record_name("scan")).unwrap().id();
    let rename = Edit::Repeat { record, number: 1, name: record_name("2026/scan") };
    let renamed = vault.edit(vec![rename], progress()).await.unwrap();
    assert!(renamed.stored_bytes < 100_000, "{renamed:?}");
    vault.edit(vec![Edit::Delete { record }], progress()).await.unwrap();
    let mut vault = open(Arc::clone(&client)).await;
    let gone = vault.record(&record_name("2026/scan")).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    let restore = Edit::Repeat { record, number: 2, name: record_name("2026/scan") };
    vault.edit(vec![restore], progress()).await.unwrap();
    let vault = open(client).await;
    assert_eq!(read(&vault, "2026/scan").await, scan);
    assert_eq!(vault.record(&record_name("2026/scan")).unwrap().newest().number, 4);
    assert!(vault.record(&record_name("scan")).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_machines_write_at_once_is_all_there_in_the_order_of_the_ledger() {
    two_machines_write_at_once(NUMBERED_POINTERS_VERSION_MIN - 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_machines_write_at_once_is_all_there_where_pointers_are_numbered() {
    two_machines_write_at_once(RULES_VERSION_MAX).await;
}

/// Two machines open the vault, and both write before they look again.
async fn two_machines_write_at_once(version: u32) {
    let (code, key) = mbr();
    let care = Care { version: Some(version), ..Care::default() };
    let network = Network::start_with(code, key, care).await;
    network.group().await;
    let (left, right) = (Arc::new(network.client().await), Arc::new(network.client().await));
    let mut left = open(left).await;
    let mut right = open(right).await;
    let folders = [network.folder.path().join("l"), network.folder.path().join("r")];
    for folder in &folders {
        std::fs::create_dir(folder).unwrap();
    }
    for round in 0..4 {
        let of = |seed: u64| vec![("chart", bytes(100, seed)), ("other", bytes(50, seed))];
        let of_left = sources(&folders[0], &of(2 * round));
        let of_right = sources(&folders[1], &of(2 * round + 1));
        let (first, second) = tokio::join!(
            left.put(of_left, Arc::new(NoProgress)),
            right.put(of_right, Arc::new(NoProgress))
        );
        assert_ne!(first.unwrap().height, second.unwrap().height);
    }
    let vault = open(Arc::new(network.client().await)).await;
    for name in ["chart", "other"] {
        let record = vault.record(&record_name(name)).unwrap();
        assert_eq!(record.versions().len(), 8);
        assert!(record.versions().is_sorted_by(|earlier, later| earlier.put < later.put));
        let len = if name == "chart" { 100 } else { 50 };
        let mut contents = Vec::new();
        for version in record.versions() {
            contents.push(read_stored(&vault, record.stored(version).unwrap()).await);
        }
        contents.sort();
        let mut expected: Vec<_> = (0..8).map(|seed| bytes(len, seed)).collect();
        expected.sort();
        assert!(contents == expected);
    }
    // What was decided on an older state and says nothing new is refused.
    let record = right.record(&record_name("chart")).unwrap().id();
    left.refresh().await.unwrap();
    left.put(sources(&folders[0], &[("chart", bytes(9, 9))]), Arc::new(NoProgress)).await.unwrap();
    let refused = right.edit(vec![Edit::Delete { record }], Arc::new(NoProgress)).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unavailable);
}

/// Three machines know the vault as it was under the older rules.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vault_goes_on_where_pointers_become_numbered_and_the_ledger_keeps_one_of_each_span() {
    let (code, key) = mbr();
    let version = Some(NUMBERED_POINTERS_VERSION_MIN - 1);
    let network = Network::start_with(code, key, Care { version, ..Care::default() }).await;
    network.group().await;
    let client = Arc::new(network.client().await);
    let mut vaults = Vec::new();
    for _ in 0..3 {
        vaults.push(open(Arc::clone(&client)).await);
    }
    let put = async |vault: &mut Vault, number: u64| {
        let file = [("chart", bytes(20, number))];
        vault.put(sources(network.folder.path(), &file), Arc::new(NoProgress)).await.unwrap();
    };
    for number in 0..2 {
        put(&mut vaults[0], number).await;
    }
    network.upgrade(NUMBERED_POINTERS_VERSION_MIN).await;
    // The second knows no pointer, the others two, all of the older rules.
    vaults[2].refresh().await.unwrap();
    for number in 2..5 {
        put(&mut vaults[number as usize % 3], number).await;
    }
    // A put costs the ledger nothing that stays.
    let last = 2 * POINTERS_PER_SPAN + 1;
    for number in 5..=last {
        put(&mut vaults[0], number).await;
    }
    let root = VaultRoot::from_bytes(Zeroizing::new(ROOT));
    let tags: Vec<_> = (0..4).map(|span| tag_of_span(&root, span)).collect();
    let posted = client.posted_pointers(&tags).await.unwrap();
    let numbers: Vec<Vec<_>> =
        posted.iter().map(|posted| posted.iter().map(|posted| posted.number).collect()).collect();
    let full = vec![Some(POINTERS_PER_SPAN - 1)];
    assert_eq!(numbers, [full.clone(), full, vec![Some(1)], vec![]]);
    // Another machine, and one that saw nothing of it all.
    for vault in [&mut open(Arc::clone(&client)).await, &mut vaults[1]] {
        vault.refresh().await.unwrap();
        assert_eq!(vault.pointers(), last + 1);
        let record = vault.record(&record_name("chart")).unwrap();
        assert_eq!(record.versions().len() as u64, last + 1);
        for number in [0, 2, 3, 4, last] {
            let version = &record.versions()[number as usize];
            let stored = record.stored(version).unwrap();
            assert_eq!(read_stored(vault, stored).await, bytes(20, number));
        }
    }
}

fn tag_of_span(root: &VaultRoot, span: u64) -> kakera_engine::names::Tag {
    pointer_tag(&root.span_signing_key(span).verifying_key())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_submitter_is_held_to_its_quota_by_nodes_that_restarted_too() {
    let (code, key) = mbr();
    let mut network = Network::start(code, key).await;
    network.group().await;
    let modest = Arc::new(network.client_with_quota(100_000).await);
    let mut vault = open(Arc::clone(&modest)).await;
    let folder = network.folder.path().to_owned();
    let mut put = async |name: &str| {
        let files = sources(&folder, &[(name, bytes(150_000, 1))]);
        vault.put(files, Arc::new(NoProgress)).await
    };
    let refused = |error: ClientError| {
        assert_eq!(error.kind(), ErrorKind::BelowThreshold, "{error}");
        assert!(error.to_string().contains("the submitter's quota on this node"), "{error}");
    };
    put("first").await.unwrap();
    refused(put("second").await.unwrap_err());

    for number in 0..usize::from(code.n) {
        network.restart_node(number).await;
    }
    // What is there is counted in the background, so one more put may pass, but not two.
    if put("second").await.is_ok() {
        refused(put("third").await.unwrap_err());
    }
}
