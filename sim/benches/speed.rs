//! CPU seconds of the simulator on scenarios of known size, as one JSON object on standard output.
//!
//! `cargo xtask sim-speed` runs this and sets the goals beside. `--short` takes small scenarios, to
//! show that everything runs; its figures mean nothing. `--only v3` runs what begins so.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this measures, and so needs a clock and threads"
)]
#![allow(clippy::unwrap_used, reason = "a measurement may fail by panicking")]

use std::hint::black_box;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use kakera_sim::campaign::{Blocks, Campaign};
use kakera_sim::design::{Findings, Network};
use kakera_sim::exact::{Redundancy, RepairRates};
use kakera_sim::fleet::{Absence, Fleet, Repair, RepairTime, Session, Tally, Traffic, simulate};
use kakera_sim::protocol;
use kakera_sim::random::Law;
use kakera_sim::rare::{CrossingSampling, ImportanceSampling, split_loss_probability};
use kakera_sim::scenario::Scenario;
use kakera_sim::time::{DAY, HOUR, NEVER, SECOND, YEAR};
use rustix::time::{ClockId, clock_gettime};

/// As a process beside another: prints the CPU seconds of one campaign on one thread.
const ALONE: &str = "--alone";
const MEBIBYTE: u64 = 1 << 20;
const HOURS: f64 = HOUR as f64;
const DAYS: f64 = DAY as f64;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let short = arguments.iter().any(|argument| argument == "--short");
    let only = arguments.iter().position(|argument| argument == "--only");
    let only = only.and_then(|at| arguments.get(at + 1)).cloned().unwrap_or_default();
    let mut figures = Figures { short, only, figures: Vec::new() };
    if arguments.iter().any(|argument| argument == ALONE) {
        let campaign = parallel_campaign(&figures);
        println!("{}", cpu_seconds(|| run_on_threads(&campaign, 1)).0);
        return;
    }
    data_centre(&mut figures);
    small_data_centre(&mut figures);
    churn(&mut figures);
    large_networks(&mut figures);
    rare_losses(&mut figures);
    weibull_loss(&mut figures);
    parallel(&mut figures);
    full_nodes(&mut figures);
    chains(&mut figures);
    let fields: Vec<String> =
        figures.figures.iter().map(|(name, value)| format!("{name:?}: {value:e}")).collect();
    println!("{{{}}}", fields.join(", "));
}

struct Figures {
    short: bool,
    only: String,
    figures: Vec<(&'static str, f64)>,
}

impl Figures {
    fn wants(&self, name: &str) -> bool {
        name.starts_with(&self.only) || self.only.starts_with(name)
    }

    fn pick<T>(&self, full: T, short: T) -> T {
        if self.short { short } else { full }
    }

    fn add(&mut self, name: &'static str, value: f64) {
        eprintln!("{name} {value:.6}");
        self.figures.push((name, value));
    }
}

/// CPU seconds of all threads of this process so far.
fn cpu_now() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

fn cpu_seconds<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let begin = cpu_now();
    let result = black_box(work());
    (cpu_now() - begin, result)
}

/// One group on its own machines, nothing moved.
fn one_group(n: u8, k: u8, life: Law, repair: Repair) -> Fleet {
    Fleet { zones: n.into(), ..Fleet::of_one_group(n, k, life, repair, YEAR) }
}

/// The default configuration of SimEDC: 32 racks of 32 nodes, RS(9,6) over distinct racks, chunks of
/// 256 MiB, a repairer of 1 Gb/s; disks and nodes die, nodes are unreachable now and then.
fn simedc(racks: u32, nodes_per_rack: u32, groups: u32, (n, k): (u8, u8), rate: f64) -> Fleet {
    let moved = u64::from(k) * 256 * MEBIBYTE;
    Fleet {
        nodes: racks * nodes_per_rack,
        zones: racks,
        groups,
        lives: vec![
            Law::Weibull { shape: 1.12, scale: 87_600.0 * HOURS, location: 0.0 },
            Law::Exponential { mean: 91_250.0 * HOURS },
        ],
        traffic: Traffic { d: k, repair_bytes: moved, decode_bytes: moved },
        horizon: 10 * YEAR,
        ..one_group(n, k, Law::Never, Repair::OneByOne(RepairTime::BytesPerSecond(rate)))
    }
}

fn data_centre(figures: &mut Figures) {
    if !figures.wants("v1") {
        return;
    }
    let groups = figures.pick(349_524, 3_000);
    let fleet = simedc(32, 32, groups, (9, 6), 125e6);
    let iterations = figures.pick(20, 2);
    let (seconds, tally) = cpu_seconds(|| simulate(&fleet, 1, 0..iterations));
    assert_eq!(tally.replications, iterations);
    figures.add("v1_data_centre_seconds_per_iteration", seconds / iterations as f64);
    let pauses = Absence {
        session: Session::Law(Law::Exponential { mean: 2890.8 * HOURS }),
        length: Law::Exponential { mean: 0.25 * HOURS },
        timeout: NEVER,
    };
    let fleet = Fleet { absence: Some(pauses), ..fleet };
    let (seconds, _) = cpu_seconds(|| simulate(&fleet, 1, 0..iterations));
    figures.add("v1_with_transient_failures_seconds_per_iteration", seconds / iterations as f64);
}

fn small_data_centre(figures: &mut Figures) {
    if !figures.wants("v2") {
        return;
    }
    let fleet = simedc(8, 4, 500, (3, 2), MEBIBYTE as f64);
    let iterations = figures.pick(40_000, 100);
    let (seconds, tally) = cpu_seconds(|| simulate(&fleet, 1, 0..iterations));
    figures.add("v2_small_data_centre_events_per_second", tally.events as f64 / seconds);
    figures.add("v2_small_data_centre_seconds_per_iteration", seconds / iterations as f64);
}

/// (30,10) on machines that are up for 12 h and away for 6 h, and stay for 60 days.
fn peers(nodes: u32, groups: u32, horizon: u64) -> Fleet {
    let absence = Absence {
        session: Session::Law(Law::Exponential { mean: 12.0 * HOURS }),
        length: Law::Exponential { mean: 6.0 * HOURS },
        timeout: 3 * DAY,
    };
    let life = Law::Exponential { mean: 60.0 * DAYS };
    let repair = Repair::Each(RepairTime::Law(Law::Fixed(6.0 * HOURS)));
    Fleet {
        nodes,
        zones: nodes,
        groups,
        absence: Some(absence),
        detection: Law::Fixed(DAYS),
        horizon,
        ..one_group(30, 10, life, repair)
    }
}

/// CPU seconds of a run without those of its beginning, and the tally.
fn run_without_start(fleet: &Fleet) -> (f64, Tally) {
    let (start, _) = cpu_seconds(|| simulate(&Fleet { horizon: 1, ..fleet.clone() }, 1, 0..1));
    let (seconds, tally) = cpu_seconds(|| simulate(fleet, 1, 0..1));
    (seconds - start, tally)
}

fn churn(figures: &mut Figures) {
    if !figures.wants("v3") {
        return;
    }
    for (name, nodes, groups, days) in [
        ("v3_churn_1e5_objects_updates_per_second", 10_000, 100_000, 100),
        ("v3_churn_1e6_objects_updates_per_second", 100_000, 1_000_000, 6),
    ] {
        let small = figures.pick(1, 100);
        let fleet = peers(nodes / small, groups / small, days * DAY);
        let (seconds, tally) = run_without_start(&fleet);
        figures.add(name, tally.share_updates as f64 / seconds);
    }
}

fn large_networks(figures: &mut Figures) {
    if !figures.wants("v4") {
        return;
    }
    // A part of the year, and what the year would take: all days are alike.
    let part = figures.pick(20, 2000);
    let small = figures.pick(1, 100);
    let fleet = peers(100_000 / small, 1_000_000 / small, YEAR / part);
    let (start, _) = cpu_seconds(|| simulate(&Fleet { horizon: 1, ..fleet.clone() }, 1, 0..1));
    let (seconds, _) = cpu_seconds(|| simulate(&fleet, 1, 0..1));
    let year = start + (seconds - start) * part as f64;
    figures.add("v4_year_of_1e5_nodes_1e6_objects_minutes", year / 60.0);

    let before = resident_peak_bytes();
    let small = figures.pick(1, 100);
    let fleet = peers(1_000_000 / small, 10_000_000 / small, HOUR / 10);
    let (seconds, _) = cpu_seconds(|| simulate(&fleet, 1, 0..1));
    let shares = f64::from(fleet.groups) * f64::from(fleet.n);
    figures.add("v4_bytes_per_share_of_1e6_nodes_1e7_objects", resident_peak_bytes() / shares);
    figures.add("v4_start_of_1e6_nodes_1e7_objects_seconds", seconds);
    assert!(resident_peak_bytes() >= before);
}

/// The most memory that this process ever had.
fn resident_peak_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<f64>().unwrap() * 1024.0
}

fn rare_losses(figures: &mut Figures) {
    if !figures.wants("v5_mttdl") {
        return;
    }
    // Machines that live for 1000 h and are repaired in 50 h.
    let group = |n, k| Redundancy {
        n,
        k,
        failure_rate: 1e-3,
        repair: RepairRates::Each { rate: 0.02, detection_rate: f64::INFINITY },
    };
    for (name, group, half_width) in [
        ("v5_mttdl_20_10_to_1_percent_seconds", group(20, 10), 0.01),
        ("v5_mttdl_40_20_to_5_percent_seconds", group(40, 20), 0.05),
    ] {
        let chain = group.chain();
        let sampling = ImportanceSampling::new(&chain, |state| group.lost_slots(state));
        let half_width = figures.pick(half_width, 0.5);
        let (seconds, cycles) = cpu_seconds(|| {
            let mut cycles = 4000;
            loop {
                let mean = sampling.mean_time_to_loss(1, cycles, 0.95).unwrap();
                if mean.estimate.relative_half_width() <= half_width {
                    let exact = group.mean_time_to_loss().unwrap();
                    assert!((mean.estimate.value / exact - 1.0).abs() < 3.0 * half_width);
                    return cycles;
                }
                cycles *= 2;
            }
        });
        eprintln!("  {cycles} cycles");
        figures.add(name, seconds);
    }
}

/// The loss of (40,20) within 100 days, on machines whose young die most: 41.7 d in the mean.
fn weibull_loss(figures: &mut Figures) {
    if !figures.wants("v5_weibull") {
        return;
    }
    let life = Law::Weibull { shape: 0.7, scale: 790.0 * HOURS, location: 0.0 };
    let time = Law::Weibull { shape: 2.0, scale: 56.4 * HOURS, location: 0.0 };
    let fleet = Fleet {
        horizon: 100 * DAY,
        ..one_group(40, 20, life, Repair::Each(RepairTime::Law(time)))
    };
    let half_width = figures.pick(0.05, 0.5);
    let (seconds, crossings) = cpu_seconds(|| {
        let sampling = CrossingSampling::new(&fleet).unwrap();
        let drawn = (6..).map(|power| sampling.loss_probability(1, 1 << power, 0.95));
        let mut narrow = drawn.filter(|loss| loss.estimate.relative_half_width() <= half_width);
        narrow.next().unwrap()
    });
    eprintln!("  {crossings:?}");
    figures.add("v5_weibull_40_20_to_5_percent_seconds", seconds);
    // The same by splitting, which takes repairs that wait for each other too.
    let runs = figures.pick(400, 50);
    let (seconds, split) =
        cpu_seconds(|| split_loss_probability(&fleet, 1, runs, 0.95).unwrap().estimate);
    eprintln!("  {split:?}");
    assert!(split.interval[0] < crossings.estimate.interval[1]);
    assert!(crossings.estimate.interval[0] < split.interval[1]);
    // The error goes with the root of the time.
    let width = split.relative_half_width();
    figures.add(
        "v5_weibull_40_20_by_splitting_to_20_percent_seconds",
        seconds * (width / 0.2).powi(2),
    );
}

/// One campaign on one thread and on two; beside it what the machine allows: the same by two
/// processes at once, which share nothing but its cores and caches. In turn, because one machine's
/// speed may change by half within seconds.
fn parallel(figures: &mut Figures) {
    if !figures.wants("v6") {
        return;
    }
    let campaign = parallel_campaign(figures);
    let [mut one, mut two, mut apart] = [0.0; 3];
    for _ in 0..figures.pick(8, 1) {
        let (alone, blocks) = cpu_seconds(|| run_on_threads(&campaign, 1));
        let (together, others) = cpu_seconds(|| run_on_threads(&campaign, 2));
        assert!(blocks == others, "two threads give other numbers than one");
        (one, two, apart) = (one + alone, two + together, apart + of_two_processes(figures.short));
    }
    figures.add("v6_cpu_seconds_on_one_thread_over_those_on_two", one / two);
    figures.add("v6_cpu_seconds_of_one_process_over_those_of_two", one / apart);
}

fn parallel_campaign(figures: &Figures) -> Campaign {
    let fleet = simedc(8, 4, 500, (3, 2), MEBIBYTE as f64);
    Campaign { fleet, protocol: None, seed: 1, replications: figures.pick(20_000, 640) }
}

/// CPU seconds of the campaign, in the mean of two processes that each run the whole.
fn of_two_processes(short: bool) -> f64 {
    let program = std::env::current_exe().unwrap();
    let start = || {
        let mut process = Command::new(&program);
        process.arg(ALONE).args(short.then_some("--short"));
        process.stdout(Stdio::piped()).spawn().unwrap()
    };
    let seconds = [start(), start()].map(|process| {
        let output = process.wait_with_output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse::<f64>().unwrap()
    });
    seconds.iter().sum::<f64>() / 2.0
}

fn run_on_threads(campaign: &Campaign, threads: usize) -> Blocks {
    let next = AtomicU64::new(0);
    let work = || {
        let mut mine = Blocks::new();
        loop {
            match next.fetch_add(1, Ordering::Relaxed) {
                block if block < campaign.blocks() => {
                    mine.insert(block, campaign.run_block(block));
                }
                _ => return mine,
            }
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    })
}

/// A month of a hundred full nodes that live for 60 days and pause for half an hour every other day.
fn full_nodes(figures: &mut Figures) {
    if !figures.wants("v7") {
        return;
    }
    let scenario = Scenario::parse(include_str!("../scenarios/hundred-full-nodes.toml")).unwrap();
    let Campaign { fleet, protocol, seed, .. } = scenario.campaign;
    let fleet = Fleet { horizon: figures.pick(fleet.horizon, HOUR), ..fleet };
    let (seconds, tally) =
        cpu_seconds(|| protocol::simulate(&fleet, &protocol.unwrap(), seed, 0..1));
    eprintln!("  {tally:?}");
    let virtual_seconds = fleet.horizon as f64 / SECOND as f64;
    figures.add("v7_full_nodes_events_per_second", tally.events as f64 / seconds);
    figures.add("v7_hundred_full_nodes_times_real_time", virtual_seconds / seconds);
}

fn chains(figures: &mut Figures) {
    if !figures.wants("v8") {
        return;
    }
    // The slowest of all up to n = 100.
    let mut slowest: f64 = 0.0;
    for (n, k) in [(20, 10), (50, 25), (100, 10), (100, 50), (100, 90)] {
        for threshold in [0, 1, (n - k) / 2] {
            let repair = match threshold {
                0 => RepairRates::Each { rate: 1.0 / 12.0, detection_rate: f64::INFINITY },
                threshold => RepairRates::Together {
                    rate: 1.0 / 12.0,
                    threshold,
                    detection_rate: f64::INFINITY,
                },
            };
            let group = Redundancy { n, k, failure_rate: 1.0 / 4380.0, repair };
            let repeats = figures.pick(5, 1);
            let answer = || (group.loss_probability(8760.0), group.mean_time_to_loss());
            let (seconds, ()) = cpu_seconds(|| {
                for _ in 0..repeats {
                    let _ = std::hint::black_box(answer());
                }
            });
            eprintln!("  ({n},{k}) {threshold}: {:.6}", seconds / f64::from(repeats));
            slowest = slowest.max(seconds / f64::from(repeats));
        }
    }
    figures.add("v8_slowest_chain_seconds", slowest);
    let network = Network::parse(include_str!("../networks/seven-clinics.toml")).unwrap();
    let (seconds, findings) = cpu_seconds(|| network.design());
    let (Findings::Possible { candidates, .. } | Findings::Impossible { candidates, .. }) =
        findings;
    let share = 1e4 / candidates as f64;
    figures.add("v8_designer_candidates", candidates as f64);
    figures.add("v8_designer_seconds_for_1e4_candidates", seconds * share);
}
