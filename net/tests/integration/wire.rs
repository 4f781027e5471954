//! A whole network on virtual time, over a simulated wire.

use std::sync::Arc;
use std::time::Duration;

use kakera_engine::catalogue::RecordName;
use kakera_engine::keyshare::KeyParameters;
use kakera_engine::ledger::RULES_VERSION_MAX;
use kakera_engine::peer::{AuditSettings, CustodySettings, WatchSettings};
use kakera_engine::policy::refresh::RefreshTimes;
use kakera_engine::policy::suspicion::LadderTimes;
use kakera_engine::seal::VaultRoot;
use kakera_net::testkit::network::{Network, Plan, eventually};
use kakera_net::testkit::{self, Traffic, Weather, simulate};
use kakera_net::vault::{NoProgress, Source, Vault};
use tempfile::TempDir;
use tokio::time::sleep;
use zeroize::Zeroizing;

const NODES: usize = 8;
/// Of a validator, each before anybody can have connected to it: packets of every stage of a handshake
/// come to a process that has no keys for them.
const RESTARTS: usize = 20;
const WITHIN_HANDSHAKES: Duration = Duration::from_millis(60);

/// Seconds where a network in use has minutes and hours.
fn plan() -> Plan {
    Plan {
        validators: 4,
        code: "mbr(5,2,3)".parse().unwrap(),
        key: KeyParameters::new(5, 2, 3).unwrap(),
        version: RULES_VERSION_MAX,
        nodes_max: NODES,
        watch: WatchSettings {
            times: LadderTimes {
                suspect_after: Duration::from_secs(5),
                lost_after: Duration::from_secs(15),
            },
            probe_every: Duration::from_secs(1),
        },
        custody: CustodySettings {
            compare_every: Duration::from_secs(20),
            scrub_pause: Duration::from_millis(500),
        },
        audit: AuditSettings { every: Duration::from_secs(5), ..AuditSettings::default() },
        refresh: RefreshTimes {
            epoch: Duration::from_secs(40),
            round: Duration::from_secs(5),
            pause: Duration::from_secs(6),
        },
    }
}

/// Puts a record, lets machines crash, one of them over and over, and cuts some off, takes a holder away for
/// good, waits until all is whole again, and reads.
fn course(seed: u64) -> ([u8; 32], Traffic) {
    let folder = TempDir::new().unwrap();
    simulate(seed, Weather::default(), async |wire| {
        let mut network = Network::found(&wire, folder.path(), plan());
        network.add_nodes(NODES).await;
        let client = Arc::new(network.client().await);
        let group = eventually(async || client.groups().await.ok()?.pop()).await;
        let root = || VaultRoot::from_bytes(Zeroizing::new([7; 32]));
        let mut vault =
            eventually(async || Vault::open(Arc::clone(&client), root()).await.ok()).await;
        let source = folder.path().join("source");
        let name = RecordName::new("scan").unwrap();
        let content: Vec<u8> = (0..50_000u32).map(|place| (place * place) as u8).collect();
        std::fs::write(&source, &content).unwrap();
        // What is stored says when its file was modified.
        let file = std::fs::File::options().write(true).open(&source).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        let put = vault.put(vec![Source::new(name.clone(), source)], Arc::new(NoProgress)).await;
        put.unwrap();

        let back = network.nodes().iter().position(|node| node.id == group.members[1].node);
        network.crash_node(back.unwrap()).await;
        network.crash_validator(0).await;
        sleep(Duration::from_secs(3)).await;
        network.start_node(back.unwrap());
        network.start_validator(0);
        sleep(Duration::from_secs(5)).await;
        for _ in 0..RESTARTS {
            network.crash_validator(1).await;
            network.start_validator(1);
            sleep(WITHIN_HANDSHAKES).await;
        }
        sleep(Duration::from_secs(5)).await;
        wire.part(network.nodes()[..2].iter().map(|node| node.address.ip()).collect());
        sleep(Duration::from_secs(5)).await;
        wire.heal();

        let gone =
            network.nodes().iter().position(|node| node.id == group.members[0].node).unwrap();
        network.crash_node(gone).await;
        let id = network.nodes()[gone].id;
        eventually(async || {
            client.forget_groups();
            let groups = client.groups().await.ok()?;
            let rebuilt = groups.iter().all(|group| {
                group.filling.is_empty() && group.members.iter().all(|member| member.node != id)
            });
            rebuilt.then_some(())
        })
        .await;
        let vault = eventually(async || Vault::open(Arc::clone(&client), root()).await.ok()).await;
        let record = vault.record(&name).unwrap();
        let mut read = Vec::new();
        let stored = record.stored(record.newest()).unwrap();
        vault.get(stored, None, &mut read, &NoProgress).await.unwrap();
        assert!(read == content);
        network.stop().await;
        (wire.trace(), wire.traffic())
    })
}

#[test]
fn a_simulated_network_repairs_itself_and_does_exactly_the_same_again() {
    let (trace, traffic) = course(1);
    assert!(
        traffic.too_long > 0 && traffic.lost > 0 && traffic.overtaken > 0 && traffic.unheard > 0,
        "{traffic:?}"
    );
    assert_eq!(course(1), (trace, traffic));
    assert_ne!(course(2).0, trace);
}

/// Machines whose chains are level follow each other as gladly as validators: none may wait in a circle
/// while the chain grows.
#[test]
fn everybody_hears_of_a_block_soon_whoever_stops() {
    const HEARD_WITHIN: Duration = Duration::from_secs(6);
    let folder = TempDir::new().unwrap();
    simulate(3, Weather::default(), async |wire| {
        let mut network = Network::found(&wire, folder.path(), plan());
        network.add_nodes(NODES).await;
        for round in 0..3 * NODES {
            network.crash_node(round % NODES).await;
            network.start_node(round % NODES);
            // Another submitter, whom an entry enrols.
            let client = network.client().await;
            let height = client.head().await.unwrap().header().height;
            sleep(HEARD_WITHIN).await;
            for node in network.nodes() {
                let heard = client.node_status(node.id).await.unwrap().height;
                assert!(heard >= height, "round {round}: {} has {heard} of {height}", node.id);
            }
            client.close().await;
        }
        network.stop().await;
    });
}

/// With the settings that machines have unless told otherwise, long after their start.
#[test]
fn idle_machines_open_hardly_any_connections_and_send_little() {
    const MACHINES: usize = 24;
    const TIME: Duration = Duration::from_secs(1200);
    const BYTES_A_SECOND_MAX: u64 = 100;
    let folder = TempDir::new().unwrap();
    let plan = Plan {
        code: "mbr(10,5,7)".parse().unwrap(),
        key: KeyParameters::new(10, 5, 6).unwrap(),
        nodes_max: MACHINES,
        watch: WatchSettings::default(),
        custody: CustodySettings::default(),
        audit: AuditSettings::default(),
        refresh: RefreshTimes::default(),
        ..plan()
    };
    simulate(4, Weather::default(), async |wire| {
        let mut network = Network::found(&wire, folder.path(), plan);
        network.add_nodes(MACHINES).await;
        // Who starts beside others that are level may follow those in place of a validator.
        for number in 0..MACHINES {
            network.crash_node(number).await;
        }
        (0..MACHINES).for_each(|number| network.start_node(number));
        // They have compared their slots, and met all with whom they share a group.
        sleep(Duration::from_secs(300)).await;
        let connections = || testkit::counts().get("connections").copied().unwrap_or(0);
        let sent = || {
            let nodes = network.nodes().iter();
            nodes.map(|node| wire.sent_by(node.address.ip())).sum::<u64>()
        };
        let (before, sent_before) = (connections(), sent());
        sleep(TIME).await;
        // One that has carried much by now ends, and is opened again with the next question.
        let opened = connections() - before;
        assert!(opened <= before / 100, "{opened} connections were opened beside {before}");
        let rate = (sent() - sent_before) / MACHINES as u64 / TIME.as_secs();
        assert!((1..=BYTES_A_SECOND_MAX).contains(&rate), "{rate} bytes a second and node");
        network.stop().await;
    });
}
