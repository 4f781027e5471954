//! `kakera sim run`: blocks on threads.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;

use kakera_sim::campaign::Stop;
use kakera_sim::part::{Part, merge};
use kakera_sim::scenario::Scenario;

use crate::failure::{Failure, Kind};
use crate::output::Output;
use crate::progress;
use crate::sim::parts::{Folder, Shard};
use crate::sim::{RunOptions, answer, read_scenario};

/// Runs the blocks of a scenario or a shard of them, and reports when all are there.
pub(super) fn run(output: Output, options: &RunOptions) -> Result<(), Failure> {
    let scenario = read_scenario(&options.scenario.path)?;
    let threads = options.threads.map_or_else(cores, usize::from);
    refuse_too_large(&scenario, threads)?;
    let folder = options.parts.as_deref().map(|path| Folder::open(path, &scenario)).transpose()?;
    let shard = options.shard.unwrap_or(Shard { index: 0, of: 1 });
    let wanted: Vec<u64> = scenario.campaign.shard(shard.index, shard.of).collect();
    let mut parts = Vec::new();
    let bar = progress::objects(output, "simulating");
    bar.set_length(wanted.len() as u64);
    // A shard sees too little to stop.
    let batch = if scenario.stop.is_some() && shard.of == 1 { Stop::BATCH } else { u64::MAX };
    for batch in wanted.chunks(usize::try_from(batch).unwrap_or(usize::MAX)) {
        run_batch(&scenario, batch, threads, folder.as_ref(), &mut parts, || bar.inc(1))?;
        if shard.of == 1 && merge(&scenario, parts.iter().cloned()).is_ok() {
            break;
        }
    }
    bar.finish_and_clear();
    if shard.of > 1 {
        let count = parts.len();
        output.narrate(&format!("shard {}/{}: {count} blocks are kept", shard.index, shard.of));
        return Ok(());
    }
    let blocks =
        merge(&scenario, parts).map_err(|error| Failure::of(Kind::Integrity, error, ""))?;
    answer::simulated(output, &options.scenario, &scenario, &blocks, &options.form)
}

/// Loads what was kept of some blocks, and runs and keeps the rest.
fn run_batch(
    scenario: &Scenario,
    blocks: &[u64],
    threads: usize,
    folder: Option<&Folder>,
    parts: &mut Vec<Part>,
    done: impl Fn(),
) -> Result<(), Failure> {
    let mut missing = Vec::new();
    for &block in blocks {
        match folder.map(|folder| folder.load(block)).transpose()?.flatten() {
            Some(part) => {
                parts.push(part);
                done();
            }
            None => missing.push(block),
        }
    }
    each_block(scenario, &missing, threads, |part| {
        done();
        if let Some(folder) = folder {
            folder.keep(&part)?;
        }
        parts.push(part);
        Ok(())
    })
}

/// Runs blocks on threads and hands over what is done, in whatever order.
fn each_block(
    scenario: &Scenario,
    blocks: &[u64],
    threads: usize,
    mut done: impl FnMut(Part) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let next = AtomicUsize::new(0);
    let (sender, receiver) = sync_channel(threads);
    thread::scope(|scope| {
        for _ in 0..threads.min(blocks.len()) {
            let (next, sender) = (&next, sender.clone());
            scope.spawn(move || {
                while let Some(&block) = blocks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // Nobody listens after a failure to keep a part.
                    if sender.send(Part::run(scenario, block)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        // Ends the threads early on a failure, since the receiver goes with this closure.
        let receiver = receiver;
        receiver.iter().try_for_each(&mut done)
    })
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// A run that needs more memory than is free is not begun.
pub(super) fn refuse_too_large(scenario: &Scenario, threads: usize) -> Result<(), Failure> {
    let needed = scenario.campaign.memory_bytes().saturating_mul(threads as u64);
    match available_memory() {
        Some(available) if needed > available => {
            let gigabytes = |bytes: u64| bytes as f64 / 1e9;
            Err(Failure::new(
                Kind::Usage,
                format!(
                    "{threads} threads need {:.1} GB of memory, and {:.1} GB are free",
                    gigabytes(needed),
                    gigabytes(available)
                ),
                "fewer --threads, or fewer objects.groups",
            ))
        }
        _ => Ok(()),
    }
}

/// Bytes that can be had without swapping, where the system tells.
fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
