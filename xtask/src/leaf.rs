//! `leaf`: what a storage node costs that only keeps what it has: memory and CPU time with a thousand
//! slots, and the bytes that a network of many nodes sends to look after itself.

use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use kakera_engine::ledger::{Body, GroupCreate};
use kakera_net::client::{Client, ClientSettings};
use kakera_net::id::Identity;

use crate::node_figures;
use crate::process::{CpuTimes, Process};
use crate::product::{self, LocalNetwork, OBSERVED};
use crate::records;
use crate::report::{Goal, Report};

const MIB: f64 = (1 << 20) as f64;
/// Slots a group, so that each of as many nodes has one in every group.
const SLOTS: u8 = 10;
/// Records, so that there is something to compare, to read again and to audit.
const RECORDS: u64 = 40;
const VALIDATORS: u8 = 4;
/// Connections are made and slots compared for the first time.
const SETTLING: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Groups, of each of which every node holds a slot
    #[arg(long, default_value_t = 1000)]
    groups: u32,
    /// Nodes whose traffic is measured
    #[arg(long, default_value_t = 256)]
    nodes: u16,
    /// How long each is watched
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

pub(crate) fn run(options: &Options) -> Result<Report> {
    let mut report = Report::new("leaf");
    let time = Duration::from_secs(options.seconds);
    many_slots(options.groups, time, &mut report)?;
    // The other half takes as long, and may fail.
    eprintln!("leaf: {report}");
    many_nodes(options.nodes, time, &mut report)?;
    Ok(report)
}

fn many_slots(groups: u32, time: Duration, report: &mut Report) -> Result<()> {
    let nodes = SLOTS.to_string();
    let network = LocalNetwork::up(product::build()?, &["--nodes", &nodes])?;
    let drawn = tokio::runtime::Runtime::new()?.block_on(draw(&network, groups))?;
    network.configure(OBSERVED)?;
    network.create_vault()?;
    put_records(&network)?;
    sleep(SETTLING);
    let watched = watch(&network, time)?;
    report.count("slots_a_node", drawn).goal(Goal::AtLeast(f64::from(groups)));
    report.add("node_mib_at_most", watched.memory_max / MIB).goal(Goal::AtMost(32.0));
    report.add("node_cpu_percent_of_a_core", watched.cpu_share * 100.0).goal(Goal::AtMost(1.0));
    report.add("bytes_per_second_a_node_with_many_slots", watched.bytes_per_second);
    Ok(())
}

fn many_nodes(nodes: u16, time: Duration, report: &mut Report) -> Result<()> {
    let counts = [VALIDATORS.into(), nodes].map(|count| count.to_string());
    let code = format!("mbr({SLOTS},5,7)");
    let words =
        ["--validators", &counts[0], "--nodes", &counts[1], "--code", &code, "--key-code", "5,6"];
    let network = LocalNetwork::up(product::build()?, &words)?;
    network.configure(OBSERVED)?;
    network.create_vault()?;
    put_records(&network)?;
    sleep(SETTLING);
    let watched = watch(&network, time)?;
    report.count("nodes", watched.nodes).goal(Goal::AtLeast(f64::from(nodes)));
    report.add("bytes_per_second_a_node", watched.bytes_per_second).goal(Goal::AtMost(150.0));
    report.add("cpu_percent_of_a_core_of_many_nodes", watched.cpu_share * 100.0);
    report.add("mib_at_most_of_many_nodes", watched.memory_max / MIB);
    Ok(())
}

/// Has groups drawn until there are so many; how many there are.
async fn draw(network: &LocalNetwork, groups: u32) -> Result<usize> {
    let identity = Arc::new(Identity::load(&network.machines().join("operator.key"))?);
    let file = network.network_file()?;
    let (code, key) = (file.genesis.code, file.genesis.key);
    let client = Client::new(ClientSettings { network: file, identity, seen: None })?;
    let there = client.counts().await?.groups;
    for _ in there..groups {
        client.submit(Body::GroupCreate(GroupCreate { code, key })).await?;
    }
    Ok(client.groups().await?.len())
}

fn put_records(network: &LocalNetwork) -> Result<()> {
    let folder = network.scratch().join("records");
    std::fs::create_dir(&folder)?;
    for number in 0..RECORDS {
        std::fs::write(folder.join(number.to_string()), records::content(number))?;
    }
    network.run(&["put", folder.to_str().context("not UTF-8")?]).map(drop)
}

/// What idle nodes used.
struct Watched {
    nodes: usize,
    /// Resident, of the largest.
    memory_max: f64,
    /// CPU time over wall time, of the average node.
    cpu_share: f64,
    /// Payload of UDP packets sent, of the average node.
    bytes_per_second: f64,
}

fn watch(network: &LocalNetwork, time: Duration) -> Result<Watched> {
    let machines: Vec<_> =
        network.running()?.into_iter().filter(|machine| !machine.is_validator()).collect();
    let processes: Vec<Process> = machines.iter().map(|machine| machine.process).collect();
    let sent = || -> f64 {
        let of = |machine: &product::Machine| {
            node_figures::counters(&machine.folder).get(SENT).copied().unwrap_or(0.0)
        };
        machines.iter().map(of).sum()
    };
    let (bytes, cpu) = (sent(), CpuTimes::now(&processes)?);
    sleep(time);
    let (bytes, cpu) = (sent() - bytes, CpuTimes::now(&processes)?.since(&cpu));
    let count = machines.len() as f64;
    let resident = processes.iter().filter_map(|process| process.resident_bytes());
    Ok(Watched {
        nodes: machines.len(),
        memory_max: resident.max().unwrap_or(0) as f64,
        cpu_share: cpu / count / time.as_secs_f64(),
        bytes_per_second: bytes / count / time.as_secs_f64(),
    })
}

const SENT: &str = "kakera_udp_bytes_total{direction=\"sent\"}";
