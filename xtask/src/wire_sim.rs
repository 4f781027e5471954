//! `wire-sim`: whole networks of the real `net` crate in one thread, on virtual time, with real QUIC and
//! TLS over a simulated wire ([`kakera_net::testkit`]). Machines crash, stay away, die and are replaced,
//! are cut off, rot and lie, a writer has stored parts that do not fit together, the wire delays, loses and
//! drops, and records are put and read all the while.
//!
//! Each seed is one network. What was acknowledged reads bit-identical in the end, every slot is whole
//! again and holds what encoding gives, under a key share of its group's epoch; who lies is given up,
//! nobody else is but who was away for long enough, and never more at a time than the policy allows. The
//! first seed is run twice, and must give the same datagrams to the last byte.

mod course;
mod judge;
mod load;
mod misfits;
mod storm;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Args;
use kakera_net::testkit::Traffic;

use self::storm::Fault;
use crate::report::{Goal, Report};

/// What `cargo xtask wire-sim` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Networks to simulate, each with its own seed
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// The first seed, which is run twice
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Storage nodes of each
    #[arg(long, default_value_t = 200)]
    nodes: usize,
    /// Virtual minutes of trouble
    #[arg(long, default_value_t = 1)]
    minutes: u64,
    /// One network of 24 nodes, and two minutes
    #[arg(long, conflicts_with_all = ["seeds", "nodes", "minutes"])]
    short: bool,
}

/// What came of one network.
#[derive(Default)]
pub(super) struct Outcome {
    /// Promises that were broken; empty if all is well.
    broken: Vec<String>,
    trace: [u8; 32],
    trace_by_second: Vec<(u64, [u8; 32])>,
    virtual_time: Duration,
    traffic: Traffic,
    counts: BTreeMap<&'static str, u64>,
    faults: BTreeMap<Fault, usize>,
    load: load::Outcome,
    /// Ill-formed objects that were acknowledged.
    ill_formed: usize,
    judged: judge::Judged,
}

/// Simulates every seed.
pub(crate) fn run(options: &Options) -> anyhow::Result<Report> {
    let (seeds, nodes, minutes) = match options.short {
        true => (1, 24, 2),
        false => (options.seeds, options.nodes, options.minutes),
    };
    let trouble = Duration::from_secs(60 * minutes);
    let start = Instant::now();
    let mut sum = Sum::default();
    for seed in options.first..options.first + seeds {
        let begun = Instant::now();
        let outcome = course::run(seed, nodes, trouble)?;
        eprintln!(
            "wire-sim: seed {seed}: {:.0} virtual minutes in {:.1} s, trace {}",
            outcome.virtual_time.as_secs_f64() / 60.0,
            begun.elapsed().as_secs_f64(),
            outcome.trace[..8].iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        );
        for broken in &outcome.broken {
            eprintln!("wire-sim: seed {seed}: {broken}");
        }
        if seed == options.first {
            let again = course::run(seed, nodes, trouble)?;
            sum.repeated += usize::from(again.trace == outcome.trace);
            if let Some(second) = parting(&outcome, &again) {
                eprintln!(
                    "wire-sim: seed {seed}: the second run parts ways before second {second}"
                );
            }
        }
        sum.add(&outcome);
    }
    Ok(sum.report(seeds as usize, nodes, start.elapsed().as_secs_f64()))
}

/// The first second before which two runs were not alike.
fn parting(one: &Outcome, other: &Outcome) -> Option<u64> {
    let mut both = one.trace_by_second.iter().zip(&other.trace_by_second);
    both.find(|(one, other)| one != other).map(|((second, _), _)| *second)
}

#[derive(Default)]
struct Sum {
    repeated: usize,
    broken: usize,
    minutes: f64,
    counts: BTreeMap<&'static str, u64>,
    traffic: Traffic,
    faults: BTreeMap<Fault, usize>,
    load: load::Outcome,
    ill_formed: usize,
    judged: judge::Judged,
}

impl Sum {
    fn add(&mut self, outcome: &Outcome) {
        self.broken += outcome.broken.len();
        self.minutes += outcome.virtual_time.as_secs_f64() / 60.0;
        for (what, count) in &outcome.counts {
            *self.counts.entry(what).or_default() += count;
        }
        for (fault, count) in &outcome.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        let (sum, one) = (&mut self.traffic, &outcome.traffic);
        sum.datagrams += one.datagrams;
        sum.bytes += one.bytes;
        sum.lost += one.lost;
        sum.queue_full += one.queue_full;
        sum.too_long += one.too_long;
        sum.parted += one.parted;
        sum.unheard += one.unheard;
        sum.overtaken += one.overtaken;
        self.load.add(&outcome.load);
        self.ill_formed += outcome.ill_formed;
        self.judged.add(&outcome.judged);
    }

    fn report(&self, seeds: usize, nodes: usize, seconds: f64) -> Report {
        let mut report = Report::new("wire-sim");
        report.count("seeds", seeds);
        report.count("seeds_run_twice_alike", self.repeated).goal(Goal::AtLeast(1.0));
        report.count("storage_nodes", nodes);
        report.add("virtual_minutes", self.minutes);
        let counted = |what| self.counts.get(what).copied().unwrap_or(0) as f64;
        report.add("connections", counted("connections"));
        let traffic = &self.traffic;
        report.add("datagrams", traffic.datagrams as f64);
        report.add("bytes", traffic.bytes as f64);
        // A fault that never fires proves nothing.
        for (what, count) in [
            ("lost", traffic.lost),
            ("queue_full", traffic.queue_full),
            ("too_long", traffic.too_long),
            ("parted", traffic.parted),
            ("unheard", traffic.unheard),
            ("overtaken", traffic.overtaken),
        ] {
            report.add(format!("datagrams_{what}"), count as f64).goal(Goal::AtLeast(1.0));
        }
        for fault in Fault::ALL {
            let fired = self.faults.get(&fault).copied().unwrap_or(0);
            report.count(format!("fault_{}", fault.name()), fired).goal(Goal::AtLeast(1.0));
        }
        report.count("ill_formed_objects", self.ill_formed).goal(Goal::AtLeast(1.0));
        self.load.add_to(&mut report);
        self.judged.add_to(&mut report);
        report.add("repair_bytes", counted("repair_bytes")).goal(Goal::AtLeast(1.0));
        report.add("repair_bytes_in_theory", counted("repair_bytes_in_theory"));
        report.add("fragment_bytes_to_find_liars", counted("witness_bytes"));
        report.count("promises_broken", self.broken).goal(Goal::AtMost(0.0));
        report.add("seconds", seconds);
        report
    }
}
