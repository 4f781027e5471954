//! `footprint`: memory of every process, and CPU seconds a megabyte of all processes together.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::process::{CpuTimes, Process};
use crate::product::{LocalNetwork, answer, total};
use crate::report::{Goal, Report};

const MIB: f64 = (1 << 20) as f64;
const NODES: u8 = 10;
const SAMPLE_INTERVAL: Duration = Duration::from_millis(5);
/// A client that has read or written so much of files is past the key derivation.
const DATA_FLOWS_BYTES: u64 = 4 << 20;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Size of the record in MiB
    #[arg(long, default_value_t = 1024)]
    mebibytes: u32,
}

pub(crate) fn run(options: &Options) -> Result<Report> {
    let network = LocalNetwork::start(NODES)?;
    let source = network.scratch().join("source");
    let restored = network.scratch().join("restored");
    write_random(&source, u64::from(options.mebibytes) << 20)?;
    sleep(Duration::from_secs(3));
    let megabytes = f64::from(options.mebibytes) * MIB / 1e6;
    let mut report = Report::new("footprint");
    idle(&network, &mut report)?;
    let text = |path: &Path| path.to_str().map(str::to_owned).context("not UTF-8");
    let (from, to) = (text(&source)?, text(&restored)?);
    transfer("put", &network, &["put", &from], megabytes, &mut report)?;
    transfer("get", &network, &["get", "source", "--output", &to], megabytes, &mut report)?;
    let identical = same_content(&source, &restored)?;
    report.add("restored_identical", f64::from(u8::from(identical))).goal(Goal::AtLeast(1.0));
    std::fs::remove_file(&restored)?;
    repair(&network, &mut report)?;
    Ok(report)
}

fn idle(network: &LocalNetwork, report: &mut Report) -> Result<()> {
    let resident = network.nodes()?.into_iter().filter_map(Process::resident_bytes).max();
    let node = resident.context("no node runs")? as f64 / MIB;
    report.add("node_idle_mib", node).goal(Goal::AtMost(32.0));
    let validator = network.validators()?.into_iter().filter_map(Process::resident_bytes).max();
    report.add("validator_idle_mib", validator.unwrap_or(0) as f64 / MIB);
    Ok(())
}

/// Runs one command on the whole record and measures every process.
fn transfer(
    name: &str,
    network: &LocalNetwork,
    arguments: &[&str],
    megabytes: f64,
    report: &mut Report,
) -> Result<()> {
    let nodes = network.nodes()?;
    let before: Vec<u64> = nodes.iter().filter_map(|node| node.resident_bytes()).collect();
    nodes.iter().try_for_each(|node| node.reset_peak())?;
    let all = network.processes()?;
    let (cpu, start) = (CpuTimes::now(&all)?, Instant::now());
    let mut child = network.spawn(arguments)?;
    let client = ClientMemory::watch(&mut child)?;
    answer(&child.wait_with_output()?).with_context(|| arguments.join(" "))?;
    let seconds = start.elapsed().as_secs_f64();
    let cpu_seconds = CpuTimes::now(&all)?.since(&cpu);
    let growth = nodes
        .iter()
        .zip(before)
        .filter_map(|(node, idle)| Some(node.peak_bytes()?.saturating_sub(idle)));
    report.add(format!("{name}_mb_per_second"), megabytes / seconds);
    report
        .add(format!("{name}_cpu_seconds_per_mb"), cpu_seconds / megabytes)
        .goal(Goal::AtMost(0.009));
    report
        .add(format!("{name}_client_peak_above_idle_mib"), client.above_idle as f64 / MIB)
        .goal(Goal::AtMost(64.0));
    report.add(format!("{name}_client_key_derivation_mib"), client.key_derivation as f64 / MIB);
    report
        .add(format!("{name}_node_peak_above_idle_mib"), growth.max().unwrap_or(0) as f64 / MIB)
        .goal(Goal::AtMost(64.0));
    Ok(())
}

/// One node is lost for good, an empty one joins and rebuilds its slots.
fn repair(network: &LocalNetwork, report: &mut Report) -> Result<()> {
    network.run(&["local", "kill", "1"])?;
    network.run(&["local", "add"])?;
    let nodes = network.nodes()?;
    let before: Vec<u64> = nodes.iter().filter_map(|node| node.resident_bytes()).collect();
    nodes.iter().try_for_each(|node| node.reset_peak())?;
    let all = network.processes()?;
    let (cpu, start) = (CpuTimes::now(&all)?, Instant::now());
    let outcome = network.run(&["repair"])?;
    let seconds = start.elapsed().as_secs_f64();
    let cpu_seconds = CpuTimes::now(&all)?.since(&cpu);
    let growth = nodes
        .iter()
        .zip(before)
        .filter_map(|(node, idle)| Some(node.peak_bytes()?.saturating_sub(idle)));
    let rebuilt = total(&outcome, "fragment_bytes") / 1e6;
    report.add("repair_rebuilt_mb", rebuilt).goal(Goal::AtLeast(1.0));
    report.add("repair_mb_per_second", rebuilt / seconds);
    report.add("repair_cpu_seconds_per_mb", cpu_seconds / rebuilt);
    report
        .add("repair_node_peak_above_idle_mib", growth.max().unwrap_or(0) as f64 / MIB)
        .goal(Goal::AtMost(64.0));
    Ok(())
}

/// Memory of a client in its two phases.
struct ClientMemory {
    /// Peak before data flows: the passphrase's key derivation.
    key_derivation: u64,
    /// Peak while data flows, above the least that was resident between the end of the key
    /// derivation and the first data: buffers count from their first byte.
    above_idle: u64,
}

impl ClientMemory {
    /// Samples until the client ends. The kernel keeps the peak between samples.
    fn watch(child: &mut Child) -> Result<Self> {
        let process = Process::from_id(child.id());
        let mut memory = Self { key_derivation: 0, above_idle: 0 };
        let (mut idle, mut least) = (None, u64::MAX);
        while child.try_wait()?.is_none() {
            if let (Some(peak), Some(resident)) = (process.peak_bytes(), process.resident_bytes()) {
                match idle {
                    None if process.file_bytes().is_some_and(|bytes| bytes < DATA_FLOWS_BYTES) => {
                        if peak > memory.key_derivation {
                            (memory.key_derivation, least) = (peak, u64::MAX);
                        }
                        least = least.min(resident);
                    }
                    None => {
                        idle = Some(least.min(resident));
                        process.reset_peak()?;
                    }
                    Some(idle) => {
                        memory.above_idle = memory.above_idle.max(peak.saturating_sub(idle))
                    }
                }
            }
            sleep(SAMPLE_INTERVAL);
        }
        Ok(memory)
    }
}

fn write_random(path: &Path, length: u64) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let mut rng = ChaCha8Rng::seed_from_u64(length);
    let mut block = vec![0; 1 << 20];
    for _ in 0..length / block.len() as u64 {
        rng.fill_bytes(&mut block);
        file.write_all(&block)?;
    }
    Ok(file.into_inner()?.sync_all()?)
}

fn same_content(left: &Path, right: &Path) -> Result<bool> {
    let open = |path| File::open(path).map(|file| BufReader::with_capacity(1 << 20, file));
    let (mut left, mut right) = (open(left)?.bytes(), open(right)?.bytes());
    loop {
        match (left.next().transpose()?, right.next().transpose()?) {
            (None, None) => return Ok(true),
            (one, other) if one == other => {}
            _ => return Ok(false),
        }
    }
}
