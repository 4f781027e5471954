//! `flood`: what users notice of an attack. Forged handshakes from unknown sources, then a member that
//! asks without pause; meanwhile a client reads, and the nodes' memory is watched.
//!
//! The attackers' threads give way to everybody else's: they stand for other machines.

mod forged;
mod member;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kakera_engine::catalogue::RecordName;
use kakera_engine::seal::VaultRoot;
use kakera_net::client::{Client, ClientSettings};
use kakera_net::id::Identity;
use kakera_net::vault::{NoProgress, Source, Vault};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use crate::process::Process;
use crate::product::{LocalNetwork, build};
use crate::report::{Goal, Report};
use crate::samples::{ascending, median, percentile};

const NODES: u8 = 10;
const RECORDS: usize = 20;
const RECORD_LEN: usize = 64 << 10;
/// Forged handshakes a second.
const FORGED_RATE: f64 = 10_000.0;
/// Of the 99th percentile under attack, over that without.
const SLOWER_MAX: f64 = 3.0;
/// What an attack may make of a node's memory.
const GROWTH_MAX_MIB: f64 = 64.0;
const MIB: f64 = (1 << 20) as f64;
/// The lowest priority.
const NICE: i32 = 19;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Seconds without an attack, and under each
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

/// What an attack is told and tells.
#[derive(Default)]
struct Attack {
    stop: AtomicBool,
    sent: AtomicU64,
}

pub(crate) fn run(options: &Options) -> Result<Report> {
    let network = LocalNetwork::up(build()?, &["--nodes", &NODES.to_string()])?;
    let phase = Duration::from_secs(options.seconds);
    let mut user = User::new(&network)?;
    let mut report = Report::new("flood");
    // Connections and caches.
    user.read_for(Duration::from_secs(2))?;
    let quiet = user.read_for(phase)?;
    report.count("gets_quiet", quiet.len()).goal(Goal::AtLeast(100.0));
    report.add("get_p50_ms_quiet", median(&quiet));
    let calm = percentile(&quiet, 99.0);
    report.add("get_p99_ms_quiet", calm);

    let packets = user.runtime.block_on(forged::make_packets())?;
    report.count("forged_packets_that_differ", packets.len());
    let targets: Vec<_> = network.running()?.iter().map(|machine| machine.address).collect();
    let forging = |attack: &Attack| forged::send(&packets, &targets, FORGED_RATE, attack);
    let rate = user.under("forged", phase, calm, forging, &network, &mut report)?;
    // What the kernel took; the attack's own pace is not to be the reason for a good figure.
    report.add("forged_per_second", rate).goal(Goal::AtLeast(0.95 * FORGED_RATE));

    let attacker = member::Member::enrol(&network)?;
    let flooding = |attack: &Attack| attacker.flood(attack);
    let rate = user.under("member", phase, calm, flooding, &network, &mut report)?;
    report.add("member_requests_per_second", rate).goal(Goal::AtLeast(1.0));
    Ok(report)
}

/// A client that reads one record after the other.
struct User {
    runtime: Runtime,
    vault: Vault,
    rng: ChaCha8Rng,
}

impl User {
    fn new(network: &LocalNetwork) -> Result<Self> {
        let runtime = Runtime::new()?;
        let settings = ClientSettings {
            network: network.network_file()?,
            identity: Arc::new(Identity::load(&network.data().join("client.key"))?),
            seen: None,
        };
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut sources = Vec::new();
        for number in 0..RECORDS {
            let path: PathBuf = network.scratch().join(number.to_string());
            let mut bytes = vec![0; RECORD_LEN];
            rng.fill_bytes(&mut bytes);
            fs::write(&path, bytes)?;
            sources.push(Source::new(name_of(number)?, path));
        }
        let root = VaultRoot::from_bytes(Zeroizing::new([1; 32]));
        let vault = runtime.block_on(async {
            let client = Arc::new(Client::new(settings)?);
            let mut vault = Vault::open(client, root).await?;
            vault.put(sources, Arc::new(NoProgress)).await?;
            anyhow::Ok(vault)
        })?;
        Ok(Self { runtime, vault, rng })
    }

    /// How long each read took, in milliseconds, ascending.
    fn read_for(&mut self, time: Duration) -> Result<Vec<f64>> {
        let (start, mut took) = (Instant::now(), Vec::new());
        while start.elapsed() < time {
            let begun = Instant::now();
            let name = name_of(self.rng.next_u64() as usize % RECORDS)?;
            let found = self.vault.record(&name)?;
            let stored = found.stored(found.newest()).context("a record holds something")?;
            let mut record = Vec::with_capacity(RECORD_LEN);
            self.runtime.block_on(self.vault.get(stored, None, &mut record, &NoProgress))?;
            took.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        Ok(ascending(took))
    }

    /// Reads while an attack goes on; how much of it there was a second.
    fn under(
        &mut self,
        name: &str,
        time: Duration,
        calm: f64,
        attack: impl Fn(&Attack) -> Result<()> + Sync,
        network: &LocalNetwork,
        report: &mut Report,
    ) -> Result<f64> {
        let nodes = network.nodes()?;
        let before: Vec<u64> = nodes.iter().filter_map(|node| node.resident_bytes()).collect();
        nodes.iter().try_for_each(|node| node.reset_peak())?;
        let state = Attack::default();
        let start = Instant::now();
        let took = std::thread::scope(|scope| {
            let attacking = scope.spawn(|| attack(&state));
            let took = self.read_for(time);
            state.stop.store(true, Ordering::Relaxed);
            attacking.join().ok().context("the attack panicked")??;
            took
        })?;
        let rate = state.sent.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
        report.count(format!("{name}_gets"), took.len()).goal(Goal::AtLeast(100.0));
        report.add(format!("{name}_get_p50_ms"), median(&took));
        report.add(format!("{name}_get_p99_ms"), percentile(&took, 99.0));
        report
            .add(format!("{name}_get_p99_times"), percentile(&took, 99.0) / calm)
            .goal(Goal::AtMost(SLOWER_MAX));
        let peaks = nodes.iter().filter_map(|node: &Process| node.peak_bytes());
        let growth = peaks.zip(before).map(|(peak, idle)| peak.saturating_sub(idle)).max();
        report
            .add(format!("{name}_node_growth_mib"), growth.unwrap_or(0) as f64 / MIB)
            .goal(Goal::AtMost(GROWTH_MAX_MIB));
        Ok(rate)
    }
}

fn name_of(number: usize) -> Result<RecordName> {
    RecordName::new(format!("record-{number}")).context("a record has a name")
}

/// Lets everybody else's threads run before this one.
fn give_way() -> Result<()> {
    Ok(rustix::process::setpriority_process(None, NICE)?)
}
