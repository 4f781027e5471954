//! `ledger-crash`: four validators lose power, are killed, paused and missed; nothing acknowledged is
//! lost, nothing forks, and it goes on by itself.
//!
//! Power cuts run on the simulated disks of `kakera_net::validator::crash_model`; the rest are real
//! processes with clients that post all the time.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kakera_net::store::simulated::Fault;
use kakera_net::validator::crash_model::{self, Plan};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::ledger_load::chains;
use crate::ledger_load::clients::{Clients, Posted};
use crate::product::{self, LocalNetwork, Machine};
use crate::report::{Goal, Report};
use crate::samples::{ascending, percentile};

const VALIDATORS: u8 = 4;
const CLIENTS: u8 = 4;
/// `EX_TEMPFAIL` of sysexits.h.
const TRY_AGAIN: i32 = 75;
/// Longest time in which a validator that comes back has what it missed.
const CATCH_UP_MAX: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Kills of a validator at random points, under load
    #[arg(long, default_value_t = 100)]
    kills: u32,
    /// Power cuts of simulated disks
    #[arg(long, default_value_t = 1000)]
    cuts: u64,
    /// How long a validator is paused
    #[arg(long, default_value_t = 60)]
    pause_seconds: u64,
    /// Where every draw begins
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Ten kills, a hundred power cuts, a pause of five seconds
    #[arg(long, conflicts_with_all = ["kills", "cuts", "pause_seconds"])]
    short: bool,
}

pub(crate) fn run(options: &Options) -> Result<Report> {
    let (kills, cuts, pause) = match options.short {
        true => (10, 100, 5),
        false => (options.kills, options.cuts, options.pause_seconds),
    };
    eprintln!("ledger-crash: seed {}, {kills} kills, {cuts} power cuts", options.seed);
    let mut report = Report::new("ledger-crash");
    power_cuts(cuts, options.seed, &mut report);
    let mut run = Run::start(options.seed)?;
    run.kill_at_random_points(kills, &mut report)?;
    run.pause_one(Duration::from_secs(pause), &mut report)?;
    run.lose_one_for_good(&mut report)?;
    run.lose_two(&mut report)?;
    run.judge(&mut report)?;
    Ok(report)
}

fn power_cuts(cuts: u64, first_seed: u64, report: &mut Report) {
    let figures = crash_model::run(&Plan { first_seed, cuts, ignored_site: None });
    let faults = Fault::ALL.iter().map(|fault| figures.faults.count(*fault)).sum::<u64>();
    if let Some(violation) = &figures.violation {
        eprintln!("{violation}");
    }
    report.add("power_cuts", figures.cuts as f64).goal(Goal::AtLeast(cuts as f64));
    report.add("power_cut_kills", figures.kills as f64);
    report.add("power_cut_faults", faults as f64).goal(Goal::AtLeast(1.0));
    report.add("power_cut_blocks", figures.blocks as f64).goal(Goal::AtLeast(1.0));
    report.add("power_cut_acknowledged", figures.acknowledged as f64).goal(Goal::AtLeast(1.0));
    let violations = usize::from(figures.violation.is_some());
    report.count("power_cut_violations", violations).goal(Goal::AtMost(0.0));
}

/// Four validators, and clients that post.
struct Run {
    runtime: Runtime,
    clients: Clients,
    height: u64,
    rng: ChaCha8Rng,
    posted: Vec<Posted>,
    network: LocalNetwork,
}

impl Run {
    fn start(seed: u64) -> Result<Self> {
        let network = product::ledger_network(VALIDATORS, 0)?;
        let runtime = Runtime::new()?;
        let clients = runtime.block_on(Clients::enrol(&network, CLIENTS))?;
        let height = runtime.block_on(clients.height())?;
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Ok(Self { runtime, clients, height, rng, posted: Vec::new(), network })
    }

    /// Posts until the work given has ended.
    fn under_load<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let (end, ended) = watch::channel(false);
        let posting = self.runtime.spawn(self.clients.post_until(ended));
        let done = work(self);
        end.send_replace(true);
        self.posted.extend(self.runtime.block_on(posting)?);
        done
    }

    fn kill_at_random_points(&mut self, kills: u32, report: &mut Report) -> Result<()> {
        let before = self.posted.len();
        self.under_load(|run| {
            for _ in 0..kills {
                std::thread::sleep(Duration::from_millis(run.below(300)));
                let victim = run.draw_validator()?;
                victim.process.kill()?;
                run.network.run(&["local", "up"])?;
            }
            Ok(())
        })?;
        report.count("kills", kills as usize).goal(Goal::AtLeast(f64::from(kills)));
        self.add_load("kills", before, report);
        Ok(())
    }

    fn pause_one(&mut self, pause: Duration, report: &mut Report) -> Result<()> {
        let before = self.posted.len();
        let caught_up = self.under_load(|run| {
            let validator = run.draw_validator()?;
            validator.process.pause()?;
            std::thread::sleep(pause);
            validator.process.resume()?;
            run.seconds_to_catch_up(&validator)
        })?;
        report.add("pause_seconds", pause.as_secs_f64());
        let goal = Goal::AtMost(CATCH_UP_MAX.as_secs_f64());
        report.add("pause_seconds_to_catch_up", caught_up).goal(goal);
        self.add_load("pause", before, report);
        Ok(())
    }

    /// Kills one, writes past it, and only then starts it again, to compare its chain.
    fn lose_one_for_good(&mut self, report: &mut Report) -> Result<()> {
        let before = self.posted.len();
        let victim = self.draw_validator()?;
        victim.process.kill()?;
        self.under_load(|_| {
            std::thread::sleep(Duration::from_secs(5));
            Ok(())
        })?;
        self.add_load("one_gone", before, report);
        self.network.run(&["local", "up"])?;
        let seconds = self.seconds_to_catch_up(&victim)?;
        report.add("one_gone_seconds_to_catch_up", seconds).goal(Goal::AtMost(30.0));
        Ok(())
    }

    /// With two of four gone nothing is written, and that is said; reading goes on; when they come
    /// back it goes on by itself.
    fn lose_two(&mut self, report: &mut Report) -> Result<()> {
        let machines = self.network.running()?;
        for machine in machines.iter().take(2) {
            machine.process.kill()?;
        }
        let stranger = "ab".repeat(32);
        let enrol = self.network.spawn(&["node", "enrol", &stranger, "--submitter"])?;
        let output = enrol.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        let clear = output.status.code() == Some(TRY_AGAIN) && said.contains("two thirds");
        if !clear {
            eprintln!("exit {:?}: {said}", output.status.code());
        }
        report.count("two_gone_write_says_try_again", usize::from(clear)).goal(Goal::AtLeast(1.0));
        let read = self.network.run(&["ledger", "head"]);
        report.count("two_gone_reads", usize::from(read.is_ok())).goal(Goal::AtLeast(1.0));
        self.network.run(&["local", "up"])?;
        let before = self.posted.len();
        self.under_load(|_| {
            std::thread::sleep(Duration::from_secs(3));
            Ok(())
        })?;
        self.add_load("two_back", before, report);
        Ok(())
    }

    /// Everything that was posted, against the chains of all four.
    fn judge(&mut self, report: &mut Report) -> Result<()> {
        self.network.run(&["ledger", "verify"])?;
        for validator in self.network.running()? {
            self.seconds_to_catch_up(&validator)?;
        }
        let posted = std::mem::take(&mut self.posted);
        // What the operator wrote when two were gone may have become final when they came back.
        let check = chains::check(&self.network, self.height, &posted, 1, report);
        self.runtime.block_on(check)
    }

    fn add_load(&self, when: &str, before: usize, report: &mut Report) {
        let posted = &self.posted[before..];
        let milliseconds = ascending(posted.iter().filter_map(Posted::milliseconds));
        let refused = posted.len() - milliseconds.len();
        let acknowledged = format!("{when}_acknowledged");
        report.count(acknowledged, milliseconds.len()).goal(Goal::AtLeast(1.0));
        report.count(format!("{when}_refused"), refused);
        report.add(format!("{when}_p99_ms"), percentile(&milliseconds, 99.0));
        report.add(format!("{when}_slowest_ms"), percentile(&milliseconds, 100.0));
    }

    /// Until a validator is where the others were when this began.
    fn seconds_to_catch_up(&self, validator: &Machine) -> Result<f64> {
        let start = Instant::now();
        let height = self.runtime.block_on(self.clients.height())?;
        while self.runtime.block_on(self.clients.height_of(validator.id)).unwrap_or(0) < height {
            ensure!(start.elapsed() < CATCH_UP_MAX, "{} does not catch up", validator.name);
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(start.elapsed().as_secs_f64())
    }

    fn draw_validator(&mut self) -> Result<Machine> {
        let mut machines = self.network.running()?;
        ensure!(machines.len() == usize::from(VALIDATORS), "only {} run", machines.len());
        let chosen = self.below(machines.len() as u64) as usize;
        Ok(machines.swap_remove(chosen))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound
    }
}
