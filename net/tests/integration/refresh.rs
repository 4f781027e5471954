//! Key shares dealt anew by nodes over real QUIC, on real folders.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::{Care, Network, eventually, open, put};
use kakera_engine::catalogue::RecordName;
use kakera_engine::code::{CodeKind, CodeParameters};
use kakera_engine::keyshare::{KeyParameters, Share, read_robust};
use kakera_engine::ledger::RULES_VERSION_MAX;
use kakera_engine::names::Slot;
use kakera_engine::object::Descriptor;
use kakera_engine::peer::{AuditSettings, CustodySettings, WatchSettings};
use kakera_engine::policy::refresh::RefreshTimes;
use kakera_engine::wire::{RenewedShare, VouchedDescriptor, canonical};
use kakera_net::client::GroupPlace;
use kakera_net::vault::{NoProgress, Vault};

/// Epochs of seconds where a network in use has months.
fn care() -> Care {
    Care {
        watch: WatchSettings::default(),
        custody: CustodySettings {
            compare_every: Duration::from_secs(2),
            scrub_pause: Duration::from_millis(100),
        },
        audit: AuditSettings { every: Duration::from_millis(500), ..AuditSettings::default() },
        refresh: RefreshTimes {
            epoch: Duration::from_secs(6),
            round: Duration::from_secs(10),
            pause: Duration::from_secs(3),
        },
        version: Some(4),
    }
}

fn codes() -> (CodeParameters, KeyParameters) {
    let code = CodeParameters { kind: CodeKind::Mbr, n: 5, k: 2, d: 3 };
    (code, KeyParameters::new(5, 2, 3).unwrap())
}

async fn read(vault: &Vault, name: &str) -> Vec<u8> {
    let mut output = Vec::new();
    let record = vault.record(&RecordName::new(name).unwrap()).unwrap();
    let stored = record.stored(record.newest()).unwrap();
    vault.get(stored, None, &mut output, &NoProgress).await.unwrap();
    output
}

async fn epoch_from(network: &Network, epoch: u64) -> u64 {
    eventually(async || {
        let now = network.group().await.epochs.epoch.0;
        if now < epoch {
            // Each look is a connection, of which an address may open so many a second.
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        (now >= epoch).then_some(now)
    })
    .await
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// The key shares of the parts' files in a node's folder, with their descriptors; those that were
/// erased are not among them.
fn dealt_shares(home: &Path) -> Vec<(Descriptor, Share)> {
    let shares = files(&home.join("parts")).into_iter().filter_map(|path| {
        let bytes = std::fs::read(path).unwrap();
        let length = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let (descriptor, share) = (length(12), length(16));
        let vouched: VouchedDescriptor =
            canonical::decode(&bytes[24..24 + descriptor], descriptor).unwrap();
        let share = &bytes[24 + descriptor..24 + descriptor + share];
        let share = canonical::decode(share, 4096).ok()?;
        Some((Descriptor::decode(&vouched.descriptor).unwrap(), share))
    });
    shares.collect()
}

/// The share of one object in the files of refreshed shares of a node's folder, if its row commits to
/// it: a record is object, check, length, share, check.
fn renewed_share(home: &Path, descriptor: &Descriptor) -> Option<Share> {
    let object = descriptor.object_id();
    files(&home.join("shares")).into_iter().find_map(|path| {
        let bytes = std::fs::read(path).ok()?;
        let at = bytes.windows(32).position(|window| window == object.as_bytes())?;
        let length = u32::from_le_bytes(bytes[at + 64..at + 68].try_into().unwrap()) as usize;
        let renewed = canonical::decode(&bytes[at + 68..at + 68 + length], 1 << 16).ok()?;
        let RenewedShare { share, rows } = renewed;
        let binding = rows.binding(descriptor.key, &descriptor.salt);
        let committed = binding.commits_to(share.slot());
        assert!(!committed || share.matches(&binding, &rows.rows[share.slot().index()]));
        committed.then_some(share)
    })
}

/// What the read parts of these shares give, checked against nothing.
fn secret_of(descriptor: &Descriptor, shares: &[Share]) -> [u8; 32] {
    let binding = descriptor.binding();
    let parts: Vec<_> = shares.iter().map(|share| share.prove_part(&binding)).collect();
    let parts: Vec<_> = parts.iter().map(|part| (part.slot(), part.part())).collect();
    *read_robust(descriptor.key, &parts).unwrap().0.expose()
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refreshed_shares_read_the_same_and_the_old_ones_are_gone_from_disk() {
    let (code, key) = codes();
    let network = Network::start_with(code, key, care()).await;
    network.group().await;
    let writer = tokio::sync::Mutex::new(open(network.client().await).await);
    let content: Vec<u8> =
        (0..100_000u32).map(|byte| (byte.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let homes: Vec<PathBuf> = (0..5).map(|node| network.home(node)).collect();
    // What is put just before a refresh may be refreshed before it is looked at.
    let (before, old) = eventually(async || {
        put(&network, &writer, "scan", &content).await;
        let old: Vec<_> = homes.iter().map(|home| dealt_shares(home)).collect();
        let before = network.group().await.epochs.epoch.0;
        old.iter().all(|shares| !shares.is_empty()).then_some((before, old))
    })
    .await;
    let (descriptor, _) = old[0][0].clone();
    let of_object = |shares: &Vec<(Descriptor, Share)>| {
        let found = shares.iter().find(|(other, _)| *other == descriptor);
        found.map(|(_, share)| share.clone())
    };
    let old_shares: Vec<Share> = old.iter().filter_map(of_object).collect();

    epoch_from(&network, before + 1).await;

    let vault = open(network.client().await).await;
    assert!(read(&vault, "scan").await == content);
    // Every node has put the new shares in place and overwritten the old ones.
    for (home, old) in homes.iter().zip(&old) {
        eventually(async || {
            let all: Vec<Vec<u8>> =
                files(home).into_iter().filter_map(|path| std::fs::read(path).ok()).collect();
            let gone = old.iter().all(|(_, share)| {
                let encoded = canonical::encode(share);
                let bytes = &encoded[encoded.len() - 64..];
                !all.iter().any(|file| contains(file, bytes))
            });
            tokio::time::sleep(Duration::from_millis(100)).await;
            gone.then_some(())
        })
        .await;
    }
    drop(vault);
    // k = 2: an old share beside a new one gives something else than two of one epoch.
    let new_shares = eventually(async || {
        let new: Vec<Share> =
            homes.iter().filter_map(|home| renewed_share(home, &descriptor)).collect();
        (new.len() == homes.len()).then_some(new)
    })
    .await;
    let secret = secret_of(&descriptor, &old_shares[..2]);
    assert_eq!(secret_of(&descriptor, &new_shares[..2]), secret);
    let other = new_shares.iter().find(|share| share.slot() != old_shares[0].slot()).unwrap();
    assert_ne!(secret_of(&descriptor, &[old_shares[0].clone(), other.clone()]), secret);

    // Epoch after epoch, with reads in between, and a node that starts again.
    let mut network = network;
    let before = network.group().await.epochs.epoch.0;
    network.restart_node(2).await;
    epoch_from(&network, before + 1).await;
    let vault = open(network.client().await).await;
    assert!(read(&vault, "scan").await == content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_joins_the_epoch_and_the_next_refresh() {
    let (code, key) = codes();
    let mut network = Network::start_with(code, key, care()).await;
    network.group().await;
    let writer = tokio::sync::Mutex::new(open(network.client().await).await);
    put(&network, &writer, "scan", b"the content").await;
    let epoch = network.group().await.epochs.epoch.0;
    epoch_from(&network, epoch + 1).await;
    network.add_node().await;
    let slot = Slot::new(3).unwrap();
    let newcomer = network.reassign(slot).await;
    eventually(async || {
        let group = network.group().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        group.filling.is_empty().then_some(())
    })
    .await;
    let epoch = network.group().await.epochs.epoch.0;
    epoch_from(&network, epoch + 1).await;
    // Whatever is read now needs the newcomer.
    let members = network.group().await.members;
    for node in &mut network.nodes {
        let needed = members.iter().any(|m| m.node == node.id && m.slot.point() > 2);
        if !needed
            || (node.id != newcomer
                && members.iter().any(|m| m.node == node.id && m.slot.point() == 5))
        {
            node.kill();
        }
    }
    let vault = open(network.client().await).await;
    assert!(read(&vault, "scan").await == b"the content");
}

/// One of five is down: the others refresh without it, and it rebuilds its share when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_missed_a_refresh_rebuilds_its_share() {
    let (code, key) = codes();
    let refresh = RefreshTimes {
        epoch: Duration::from_secs(4),
        round: Duration::from_secs(4),
        pause: Duration::from_secs(3),
    };
    let care = Care { refresh, version: Some(RULES_VERSION_MAX), ..care() };
    let mut network = Network::start_with(code, key, care).await;
    network.group().await;
    let writer = tokio::sync::Mutex::new(open(network.client().await).await);
    put(&network, &writer, "scan", b"the content").await;
    network.stop_node(1).await;
    let absent = network.nodes[1].id;
    let slot_of = |group: &GroupPlace| {
        let member = group.members.iter().find(|member| member.node == absent);
        member.map(|member| member.slot)
    };
    let group = eventually(async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let group = network.group().await;
        group.filling.iter().next().is_some().then_some(group)
    })
    .await;
    let slot = slot_of(&group).unwrap();
    assert!(group.filling.iter().eq([&slot]) && group.epochs.epoch.0 > 0);
    let vault = open(network.client().await).await;
    assert!(read(&vault, "scan").await == b"the content");
    drop(vault);

    let (descriptor, old) = dealt_shares(&network.home(1)).remove(0);
    network.start_node(1);
    eventually(async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        network.group().await.filling.is_empty().then_some(())
    })
    .await;
    // What it rebuilt is checked by all once it took part in the next refresh.
    let new = eventually(async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let share_of = |node| renewed_share(&network.home(node), &descriptor);
        (0..5).map(share_of).collect::<Option<Vec<Share>>>()
    })
    .await;
    assert!(!new.contains(&old));
    let vault = open(network.client().await).await;
    assert!(read(&vault, "scan").await == b"the content");
}
