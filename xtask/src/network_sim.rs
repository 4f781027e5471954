//! Storage nodes and the validators that watch them, on virtual time and over the real ledger: nodes
//! die, sleep, are cut off, lie and rot while objects are put, and nobody does anything about it
//! ([`storm`]).
//!
//! Each seed is one network. Objects that were stored must stay readable, what is rebuilt must be
//! what was dealt, and few machines at a time may be given up; when the faults stop, every slot must
//! become whole again. In every other network key shares are refreshed every two hours, and the liar
//! offers the old ones: every secret must be given by the new shares, and none by any with an old
//! one among them, nor may a share be rebuilt from one. In all of them a writer stores objects whose
//! parts do not fit together, most of them at the cost of one slot: no holder may be excluded for
//! them, every slot must become whole, every other object be refreshed in the end, and repairs not
//! try them again and again. A second kind of run, the *nap*, has every node sleep for two minutes at
//! some time of an hour: nobody may be given up, and hardly more be moved than the machines that
//! really die need. The same seed gives the same trace.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Args;
use kakera_sim::protocol::Fault;
use kakera_sim::protocol::storm::{self, Outcome, Plan};

use crate::report::{Goal, Report};

/// What `cargo xtask network-sim` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Networks to simulate, each with its own seed
    #[arg(long, default_value_t = 500)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// 8 networks of some hours
    #[arg(long)]
    short: bool,
}

/// Simulates every seed; the first that breaks a promise is named.
pub(crate) fn run(options: &Options) -> anyhow::Result<Report> {
    let (count, hours) = match options.short {
        true => (options.seeds.min(8), 4),
        false => (options.seeds, 24),
    };
    let plan = |seed: u64| match seed.is_multiple_of(2) {
        true => Plan::refreshing(Duration::from_secs(hours * 3600)),
        false => Plan::storm(Duration::from_secs(hours * 3600)),
    };
    let start = Instant::now();
    let mut sum = Sum::default();
    for seed in options.first..options.first + count {
        sum.add(seed, &storm::run(seed, plan(seed)))?;
        if seed.is_multiple_of(20) || options.short && seed == options.first {
            let again = storm::run(seed, plan(seed));
            ensure!(again.trace == sum.last_trace, "seed {seed} gives two different traces");
            sum.repeated += 1;
        }
    }
    let mut naps = Sum::default();
    for seed in options.first..options.first + count.div_ceil(4) {
        naps.add(seed, &storm::run(seed, Plan::nap()))?;
    }
    Ok(sum.report(count, &naps, start.elapsed().as_secs_f64()))
}

#[derive(Default)]
struct Sum {
    faults: BTreeMap<Fault, usize>,
    objects: usize,
    given_up: usize,
    convicted: usize,
    readmitted: usize,
    slots_rebuilt: usize,
    epochs: usize,
    secrets_kept: usize,
    old_shares_refused: usize,
    bytes_moved: u64,
    bytes_needed: u64,
    hours: f64,
    repeated: usize,
    last_trace: [u8; 32],
}

impl Sum {
    fn add(&mut self, seed: u64, outcome: &Outcome) -> anyhow::Result<()> {
        ensure!(outcome.broken.is_empty(), "seed {seed}: {}", outcome.broken.join("; "));
        for (fault, count) in &outcome.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        self.objects += outcome.objects;
        self.given_up += outcome.given_up;
        self.convicted += outcome.convicted;
        self.readmitted += outcome.readmitted;
        self.slots_rebuilt += outcome.slots_rebuilt;
        self.epochs += outcome.epochs;
        self.secrets_kept += outcome.secrets_kept;
        self.old_shares_refused += outcome.old_shares_refused;
        self.bytes_moved += outcome.bytes_moved;
        self.bytes_needed += outcome.bytes_needed;
        self.hours += outcome.virtual_time.as_secs_f64() / 3600.0;
        self.last_trace = outcome.trace;
        Ok(())
    }

    fn report(&self, seeds: u64, naps: &Self, seconds: f64) -> Report {
        let mut report = Report::new("network-sim");
        report.count("seeds", seeds as usize);
        report.count("seeds_run_twice_alike", self.repeated).goal(Goal::AtLeast(1.0));
        report.add("virtual_hours", self.hours);
        report.count("objects_stored", self.objects).goal(Goal::AtLeast(1.0));
        report.count("machines_given_up", self.given_up).goal(Goal::AtLeast(1.0));
        report.count("liars_excluded", self.convicted).goal(Goal::AtLeast(1.0));
        report.count("machines_readmitted", self.readmitted).goal(Goal::AtLeast(1.0));
        report.count("slots_rebuilt", self.slots_rebuilt).goal(Goal::AtLeast(1.0));
        report.count("epochs", self.epochs).goal(Goal::AtLeast(1.0));
        report.count("secrets_kept_by_refreshes", self.secrets_kept).goal(Goal::AtLeast(1.0));
        let refused = self.old_shares_refused;
        report.count("old_epoch_shares_refused", refused).goal(Goal::AtLeast(1.0));
        report.add("repair_bytes", self.bytes_moved as f64);
        // Each slot that is filled tries each ill-formed object once an epoch; again and again, it is 10
        // to 25.
        let ratio = self.bytes_moved as f64 / self.bytes_needed as f64;
        report.add("repair_bytes_to_theory", ratio).goal(Goal::AtMost(6.0));
        for fault in Fault::ALL {
            let fired = self.faults.get(&fault).copied().unwrap_or(0);
            // A fault that never fires proves nothing.
            report.count(format!("fault_{}", fault.name()), fired).goal(Goal::AtLeast(1.0));
        }
        let naps_taken = naps.faults.get(&Fault::Nap).copied().unwrap_or(0);
        report.count("nap_machines_asleep", naps_taken).goal(Goal::AtLeast(1.0));
        let dead = naps.faults.get(&Fault::Death).copied().unwrap_or(0);
        report.count("nap_machines_dead", dead).goal(Goal::AtLeast(1.0));
        let wrongly = naps.given_up.saturating_sub(dead);
        report.count("nap_sleepers_given_up", wrongly).goal(Goal::AtMost(0.0));
        let ratio = naps.bytes_moved as f64 / naps.bytes_needed as f64;
        report.add("nap_repair_bytes_to_theory", ratio).goal(Goal::AtMost(2.0));
        report.count("promises_broken", 0).goal(Goal::AtMost(0.0));
        report.add("seconds", seconds);
        report
    }
}
