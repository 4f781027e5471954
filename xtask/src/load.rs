//! A writer and a reader that go on whatever happens to the network, each a process a command as a
//! user runs it. The writer runs the first of two programs, the reader both in turn: what a program
//! that knows catalogues writes into a vault, one that does not refuses to read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::product::{Kakera, answer};
use crate::records::{content, holds, listed_names};
use crate::report::{Goal, Report};
use crate::samples::{ascending, median};

/// How long a step may keep the load from succeeding.
const STEP_TIME_MAX: Duration = Duration::from_secs(60);
/// A command that takes longer is told, with when it began.
const COMMAND_TIME_TOLD: Duration = Duration::from_secs(10);
/// A command that takes longer hangs, and is killed.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(120);

/// Both, running.
pub(crate) struct Load {
    shared: Arc<Shared>,
    threads: [JoinHandle<Result<()>>; 2],
    start: Instant,
}

/// What they did.
pub(crate) struct Outcome {
    /// Seeds by name of all records that were acknowledged, before and during the load.
    pub(crate) acknowledged: BTreeMap<String, u64>,
    /// Those whose puts failed: they may be there or not, but not in part.
    pub(crate) refused: BTreeMap<String, u64>,
    pub(crate) puts: Series,
    pub(crate) gets: Series,
    /// Reads that succeeded and gave something else than what was stored.
    pub(crate) changed: usize,
    pub(crate) start: Instant,
    pub(crate) end: Instant,
}

/// Commands of one kind.
#[derive(Default)]
pub(crate) struct Series {
    /// When one ended well, and how long it had taken.
    pub(crate) successes: Vec<(Instant, Duration)>,
    pub(crate) failures: Vec<String>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    acknowledged: BTreeMap<String, u64>,
    refused: BTreeMap<String, u64>,
    puts: Series,
    gets: Series,
    changed: usize,
}

impl Load {
    /// Starts with records that are there already; `programs` share one data folder, and their
    /// files go to `scratch`.
    pub(crate) fn start(
        programs: [Kakera; 2],
        scratch: PathBuf,
        acknowledged: BTreeMap<String, u64>,
        seed: u64,
    ) -> Self {
        let progress = Progress { acknowledged, ..Progress::default() };
        let shared = Arc::new(Shared { progress: Mutex::new(progress), ..Shared::default() });
        let user = |number| User {
            programs: programs.clone(),
            scratch: scratch.clone(),
            rng: ChaCha8Rng::seed_from_u64(seed.wrapping_add(number)),
            shared: Arc::clone(&shared),
        };
        let (mut writer, mut reader) = (user(1), user(2));
        let threads = [
            std::thread::spawn(move || writer.repeat(User::put)),
            std::thread::spawn(move || reader.repeat(User::get)),
        ];
        Self { shared, threads, start: Instant::now() }
    }

    /// Waits until a put and a get have succeeded that began after this call.
    pub(crate) fn wait_for_success(&self) -> Result<()> {
        let done =
            |progress: &Progress| [progress.puts.successes.len(), progress.gets.successes.len()];
        let before = done(&self.shared.lock());
        let start = Instant::now();
        loop {
            let progress = self.shared.lock();
            // One that was under way may end first.
            if done(&progress).iter().zip(before).all(|(now, before)| *now >= before + 2) {
                return Ok(());
            }
            let failures = [&progress.puts.failures, &progress.gets.failures];
            let last = failures.map(|failures| failures.last().cloned().unwrap_or_default());
            drop(progress);
            if start.elapsed() > STEP_TIME_MAX || self.threads.iter().any(JoinHandle::is_finished) {
                bail!("puts and gets do not succeed any more: {}", last.join("; "));
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// Lets both finish their last command.
    pub(crate) fn stop(self) -> Result<Outcome> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().ok().context("the load panicked")??;
        }
        let end = Instant::now();
        let Progress { acknowledged, refused, puts, gets, changed } =
            std::mem::take(&mut *self.shared.lock());
        Ok(Outcome { acknowledged, refused, puts, gets, changed, start: self.start, end })
    }
}

impl Outcome {
    /// Adds how long commands took and how many were refused.
    pub(crate) fn add_to(&self, report: &mut Report) {
        let Self { puts, gets, changed, start, end, .. } = self;
        let kinds: [(&str, &Series); 2] = [("put", puts), ("get", gets)];
        for (name, series) in kinds {
            let seconds = ascending(series.successes.iter().map(|(_, took)| took.as_secs_f64()));
            report.count(format!("{name}s_during"), seconds.len()).goal(Goal::AtLeast(1.0));
            report.add(format!("{name}_p50_seconds"), median(&seconds));
            let gap = series.longest_gap(*start, *end);
            let longest = report.add(format!("longest_seconds_without_{name}"), gap);
            longest.goal(Goal::AtMost(STEP_TIME_MAX.as_secs_f64()));
            report.count(format!("{name}s_refused"), series.failures.len());
            for failure in &series.failures {
                eprintln!("a {name} was refused: {failure}");
            }
            for (ended, took) in &series.successes {
                if *took > COMMAND_TIME_TOLD {
                    let begun = ended.saturating_duration_since(*start).saturating_sub(*took);
                    eprintln!("a {name} took {took:.1?}, {begun:.0?} after the start");
                }
            }
        }
        report.count("gets_changed", *changed).goal(Goal::AtMost(0.0));
    }

    /// Reads everything with a fresh process and compares every byte.
    pub(crate) fn check_records(
        &self,
        program: &Kakera,
        name: &str,
        scratch: &Path,
        report: &mut Report,
    ) -> Result<()> {
        let listed = listed_names(&program.run(&["ls"])?);
        let restored = tempfile::tempdir_in(scratch)?;
        let output = restored.path().to_str().context("not UTF-8")?;
        program.run(&["get", "--all", "--output", output])?;
        let identical = |(name, seed): &(&String, &u64)| holds(&restored.path().join(name), **seed);
        let good = self.acknowledged.iter().filter(identical).count();
        let shown = self.refused.iter().filter(|(name, _)| listed.contains(name));
        let halves = shown.filter(|record| !identical(record)).count();
        let all = self.acknowledged.len();
        report
            .count(format!("{name}_program_reads_identical"), good)
            .goal(Goal::AtLeast(all as f64));
        report.count(format!("{name}_program_reads_halves"), halves).goal(Goal::AtMost(0.0));
        Ok(())
    }
}

impl Series {
    /// The longest time without a success between two moments, in seconds.
    pub(crate) fn longest_gap(&self, start: Instant, end: Instant) -> f64 {
        let moments = self.successes.iter().map(|(moment, _)| *moment).chain([end]);
        let mut last = start;
        let gaps = moments.map(|moment| {
            let gap = moment.saturating_duration_since(last);
            last = moment;
            gap.as_secs_f64()
        });
        gaps.fold(0.0, f64::max)
    }

    fn add(&mut self, begun: Instant, done: Result<()>) {
        match done {
            Ok(()) => self.successes.push((Instant::now(), begun.elapsed())),
            Err(error) => self.failures.push(format!("{error:#}")),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the two.
struct User {
    programs: [Kakera; 2],
    scratch: PathBuf,
    rng: ChaCha8Rng,
    shared: Arc<Shared>,
}

impl User {
    fn repeat(&mut self, act: impl Fn(&mut Self, usize) -> Result<()>) -> Result<()> {
        let mut number = 0;
        while !self.shared.stop.load(Ordering::Relaxed) {
            act(self, number)?;
            number += 1;
        }
        Ok(())
    }

    /// Puts a new record.
    fn put(&mut self, number: usize) -> Result<()> {
        let (name, seed) = (format!("load-{number}"), self.rng.next_u64());
        let path = self.scratch.join(&name);
        fs::write(&path, content(seed))?;
        let begun = Instant::now();
        let done = self.run(0, &["put", path.to_str().context("not UTF-8")?])?;
        fs::remove_file(path)?;
        let mut progress = self.shared.lock();
        let records = if done.is_ok() { &mut progress.acknowledged } else { &mut progress.refused };
        records.insert(name, seed);
        progress.puts.add(begun, done);
        Ok(())
    }

    /// Gets any record that was acknowledged and compares it.
    fn get(&mut self, number: usize) -> Result<()> {
        let (name, seed) = {
            let acknowledged = &self.shared.lock().acknowledged;
            let place = self.rng.next_u64() as usize % acknowledged.len();
            let (name, seed) = acknowledged.iter().nth(place).context("there is no record")?;
            (name.clone(), *seed)
        };
        let path = self.scratch.join("read");
        let output = path.to_str().context("not UTF-8")?;
        let begun = Instant::now();
        let done = self.run(number, &["get", &name, "--output", output])?;
        let same = done.is_err() || holds(&path, seed);
        let mut progress = self.shared.lock();
        progress.changed += usize::from(!same);
        progress.gets.add(begun, done);
        Ok(())
    }

    fn run(&self, number: usize, arguments: &[&str]) -> Result<Result<()>> {
        let program = &self.programs[number % self.programs.len()];
        Ok(answer(&program.run_within(COMMAND_TIME_MAX, arguments)?).map(drop))
    }
}
