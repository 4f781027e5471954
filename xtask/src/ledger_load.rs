//! `ledger-load`: many clients post at once; how fast entries become final, what that costs, and
//! whether every validator's chain then holds just these entries. Then nobody posts, and nothing may
//! be written.
//!
//! Validators and followers are processes of their own; the clients run in this one.

pub(crate) mod chains;
pub(crate) mod clients;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use self::clients::{Clients, Posted};
use crate::process::{CpuTimes, Process};
use crate::product::{self, LocalNetwork, Machine};
use crate::report::{Goal, Report};
use crate::samples::{ascending, median, percentile};

/// What a machine writes once it has nothing else to do, a checkpoint, is written by then.
const SETTLING_TIME: Duration = Duration::from_secs(3);
const IDLE_TIME: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Validators, each a process
    #[arg(long, default_value_t = 4)]
    validators: u8,
    /// Storage nodes that follow them
    #[arg(long, default_value_t = 0)]
    nodes: u8,
    /// Clients that post at once, each one entry after the other: the more, the more entries there
    /// are to a block, and the cheaper each is
    #[arg(long, default_value_t = 128)]
    clients: u8,
    /// How long they post
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Five seconds, and no goals for the rates
    #[arg(long, conflicts_with = "seconds")]
    short: bool,
}

pub(crate) fn run(options: &Options) -> Result<Report> {
    let time = Duration::from_secs(if options.short { 5 } else { options.seconds });
    let network = product::ledger_network(options.validators, options.nodes)?;
    let runtime = Runtime::new()?;
    let clients = runtime.block_on(Clients::enrol(&network, options.clients))?;
    let height = runtime.block_on(clients.height())?;

    let costs = Costs::start(&network)?;
    let start = Instant::now();
    let posted = runtime.block_on(async {
        let (end, ended) = watch::channel(false);
        let posting = tokio::spawn(clients.post_until(ended));
        tokio::time::sleep(time).await;
        end.send_replace(true);
        posting.await
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let mut report = Report::new("ledger-load");
    add_rates(&mut report, &posted, seconds, options);
    costs.add_to(&mut report, &posted)?;
    std::thread::sleep(SETTLING_TIME);
    let before = Written::now(&network, &runtime, &clients)?;
    std::thread::sleep(IDLE_TIME);
    before.add_more(&mut report, &Written::now(&network, &runtime, &clients)?);

    // The program, from the genesis on; what follows relies on its headers.
    network.run(&["ledger", "verify"])?;
    runtime.block_on(chains::check(&network, height, &posted, 0, &mut report))?;
    Ok(report)
}

fn add_rates(report: &mut Report, posted: &[Posted], seconds: f64, options: &Options) {
    let milliseconds = ascending(posted.iter().filter_map(Posted::milliseconds));
    let refused = posted.len() - milliseconds.len();
    report.count("entries_acknowledged", milliseconds.len()).goal(Goal::AtLeast(1.0));
    report.count("entries_refused", refused).goal(Goal::AtMost(0.0));
    let alone = options.validators == 1 && options.clients == 1;
    let rate = report.add("entries_per_second", milliseconds.len() as f64 / seconds);
    if !options.short && !alone {
        rate.goal(Goal::AtLeast(1000.0));
    }
    let middle = report.add("p50_ms", median(&milliseconds));
    if !options.short && alone {
        middle.goal(Goal::AtMost(10.0));
    }
    let slowest = report.add("p99_ms", percentile(&milliseconds, 99.0));
    if !options.short {
        slowest.goal(Goal::AtMost(1000.0));
    }
}

/// What a network has written so far.
struct Written {
    height: u64,
    /// By all its machines, to disks.
    bytes: u64,
}

impl Written {
    fn now(network: &LocalNetwork, runtime: &Runtime, clients: &Clients) -> Result<Self> {
        let height = runtime.block_on(clients.height())?;
        let machines = network.running()?;
        let bytes = machines.iter().map(|machine| machine.process.disk_bytes_written());
        let bytes = bytes.sum::<Option<u64>>().context("a machine has ended")?;
        Ok(Self { height, bytes })
    }

    fn add_more(&self, report: &mut Report, later: &Self) {
        let blocks = (later.height - self.height) as usize;
        report.count("blocks_while_idle", blocks).goal(Goal::AtMost(0.0));
        let bytes = (later.bytes - self.bytes) as usize;
        report.count("bytes_written_while_idle", bytes).goal(Goal::AtMost(0.0));
    }
}

/// CPU time by kind of machine.
struct Costs {
    kinds: [(&'static str, CpuTimes, Vec<Process>); 2],
    clients: CpuTimes,
}

impl Costs {
    fn start(network: &LocalNetwork) -> Result<Self> {
        let (validators, nodes): (Vec<Machine>, Vec<Machine>) =
            network.running()?.into_iter().partition(Machine::is_validator);
        let kind = |name, machines: Vec<Machine>| {
            let processes: Vec<Process> = machines.iter().map(|machine| machine.process).collect();
            Ok::<_, anyhow::Error>((name, CpuTimes::now(&processes)?, processes))
        };
        let kinds = [kind("validator", validators)?, kind("node", nodes)?];
        Ok(Self { kinds, clients: CpuTimes::now(&[])? })
    }

    fn add_to(&self, report: &mut Report, posted: &[Posted]) -> Result<()> {
        let mut add = |name: &str, seconds: f64| {
            report.add(format!("{name}_cpu_seconds"), seconds);
            let each = seconds * 1e3 / posted.len() as f64;
            report.add(format!("{name}_cpu_ms_per_entry"), each);
        };
        add("client", CpuTimes::now(&[])?.since_with_this(&self.clients));
        for (name, before, processes) in &self.kinds {
            if !processes.is_empty() {
                add(name, CpuTimes::now(processes)?.since(before));
            }
        }
        Ok(())
    }
}
