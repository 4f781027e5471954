//! A network that looks after itself: machines die, and nobody has to do anything.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{Care, Network, eventually, open, put};
use kakera_engine::catalogue::RecordName;
use kakera_engine::code::{CodeKind, CodeParameters};
use kakera_engine::keyshare::KeyParameters;
use kakera_engine::names::NodeId;
use kakera_engine::peer::{AuditSettings, CustodySettings, WatchSettings};
use kakera_engine::policy::refresh::RefreshTimes;
use kakera_engine::policy::suspicion::LadderTimes;
use kakera_net::client::GroupPlace;
use kakera_net::vault::{NoProgress, Source, Vault};

fn codes() -> (CodeParameters, KeyParameters) {
    let code = CodeParameters { kind: CodeKind::Mbr, n: 5, k: 2, d: 3 };
    (code, KeyParameters::new(5, 2, 3).unwrap())
}

/// Times of seconds where a network in use has hours.
fn hasty() -> Care {
    let times =
        LadderTimes { suspect_after: Duration::from_secs(3), lost_after: Duration::from_secs(6) };
    Care {
        watch: WatchSettings { times, probe_every: Duration::from_millis(500) },
        custody: CustodySettings {
            compare_every: Duration::from_secs(5),
            scrub_pause: Duration::from_secs(1),
        },
        audit: AuditSettings { every: Duration::from_secs(2), deadline: Duration::from_secs(10) },
        refresh: RefreshTimes::default(),
        version: Some(3),
    }
}

fn record_name(name: &str) -> RecordName {
    RecordName::new(name).unwrap()
}

async fn read(vault: &Vault, name: &str) -> Vec<u8> {
    let mut output = Vec::new();
    let record = vault.record(&record_name(name)).unwrap();
    let stored = record.stored(record.newest()).unwrap();
    vault.get(stored, None, &mut output, &NoProgress).await.unwrap();
    output
}

/// Waits until none of these holds a slot and all slots are whole.
async fn whole_without(network: &Network, gone: &[NodeId]) {
    eventually(async || {
        let group = network.group().await;
        let held = group.members.iter().any(|member| gone.contains(&member.node));
        let whole = (!held && group.filling.is_empty()).then_some(());
        if whole.is_none() {
            // Each look is a connection, of which an address may open so many a second.
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        whole
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_machines_are_replaced_and_rebuilt_by_nobody_s_hand() {
    let (code, key) = codes();
    let mut network = Network::start_with(code, key, hasty()).await;
    network.group().await;
    let content: Vec<u8> =
        (0..300_000u32).map(|byte| (byte.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let writer = tokio::sync::Mutex::new(open(network.client().await).await);
    put(&network, &writer, "scan", &content).await;
    let founders: Vec<NodeId> = network.nodes.iter().map(|node| node.id).collect();
    network.add_node().await;
    network.add_node().await;

    // One after the other, more in all than may be missing at a time.
    for lost in 0..2 {
        network.nodes[lost].kill();
        whole_without(&network, &founders[..=lost]).await;
    }
    for lost in 2..5 {
        network.nodes[lost].kill();
    }
    // Only newcomers are left: what is read is what they rebuilt.
    let vault = open(network.client().await).await;
    assert!(read(&vault, "scan").await == content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_was_away_gets_what_it_missed() {
    let (code, key) = codes();
    let patient = Care { watch: WatchSettings::default(), ..hasty() };
    let mut network = Network::start_with(code, key, patient).await;
    let members = network.group().await.members;
    let writer = tokio::sync::Mutex::new(open(network.client().await).await);
    put(&network, &writer, "before", b"here").await;
    network.stop_node(4).await;
    // n = 5, d = 3: four receipts are enough.
    put(&network, &writer, "missed", b"not here").await;
    network.start_node(4);
    let client = network.client().await;
    let away = network.nodes[4].id;
    assert!(members.iter().any(|member| member.node == away));
    eventually(async || {
        let objects = client.node_status(away).await.ok()?.objects;
        let others = client.node_status(network.nodes[0].id).await.ok()?.objects;
        (objects == others && objects > 1).then_some(())
    })
    .await;
    let still = network.group().await.members;
    assert_eq!(still, members, "nobody was given up for an absence of a moment");
}

/// n = 5, so that ten machines hold five groups; four receipts are needed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_goes_to_the_groups_that_can_take_it() {
    let (code, key) = codes();
    let patient = Care { watch: WatchSettings::default(), version: Some(5), ..hasty() };
    let mut network = Network::start_with(code, key, patient).await;
    for _ in 0..5 {
        network.add_node().await;
    }
    let client = network.client().await;
    let groups = eventually(async || {
        let groups = client.groups().await.ok()?;
        (groups.len() == 5).then_some(groups)
    })
    .await;
    let held = |group: &GroupPlace, node: usize| {
        let id = network.nodes[node].id;
        usize::from(group.members.iter().any(|member| member.node == id))
    };
    // Two machines that stop some groups and not others.
    let pairs = (0..10).flat_map(|one| (one + 1..10).map(move |other| [one, other]));
    let stopped = |pair: &[usize; 2]| {
        groups.iter().filter(|group| held(group, pair[0]) + held(group, pair[1]) == 2).count()
    };
    let pair = pairs.filter(|pair| stopped(pair) <= 2).max_by_key(stopped).unwrap();
    assert!(stopped(&pair) > 0, "{groups:?}");
    for node in pair {
        network.nodes[node].kill();
    }
    let mut vault = open(network.client().await).await;
    for number in 0..12u8 {
        let path = network.folder.path().join("source");
        std::fs::write(&path, [number; 1000]).unwrap();
        let source = Source::new(record_name(&number.to_string()), path);
        let summary = vault.put(vec![source], Arc::new(NoProgress)).await.unwrap();
        assert_eq!(summary.records, 1);
    }
    for number in 0..12u8 {
        assert_eq!(read(&vault, &number.to_string()).await, [number; 1000]);
    }
}
