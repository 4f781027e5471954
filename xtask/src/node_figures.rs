//! What the nodes show of themselves all the while: bytes of repairs, and memory.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::process::Process;
use crate::report::{Goal, Report};

/// Of useful bytes of repairs, how many more than the code's theory.
const EXCESS_MAX: f64 = 1.05;
/// Growth of a node's memory in MiB an hour.
const GROWTH_MAX: f64 = 1.0;
const LOOK_EVERY: Duration = Duration::from_secs(2);
const MIB: f64 = (1 << 20) as f64;
/// Of the last half of the time, how much a process must have been seen for to tell a slope.
const SEEN_MIN: f64 = 0.9;
/// Two-sided 95 % of a normal distribution.
const DEVIATIONS: f64 = 1.96;

/// A thread that looks at all nodes again and again.
pub(crate) struct Figures {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

/// The memory of a process, in MiB.
struct Memory {
    /// Since the start.
    hours: f64,
    /// Pages of its program, which all processes share and the system can drop, among them.
    resident: f64,
    /// Without these.
    own: f64,
}

/// What was seen of every process of a node.
#[derive(Default)]
pub(crate) struct Seen {
    /// The newest counters by their names.
    counters: BTreeMap<u32, BTreeMap<String, f64>>,
    memory: BTreeMap<u32, Vec<Memory>>,
    hours: f64,
}

impl Figures {
    pub(crate) fn watch(machines: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut seen, start) = (Seen::default(), Instant::now());
            while !stopped.load(Ordering::Relaxed) {
                seen.hours = start.elapsed().as_secs_f64() / 3600.0;
                seen.look(&machines);
                sleep(LOOK_EVERY);
            }
            seen
        });
        Self { stop, thread }
    }

    pub(crate) fn stop(self) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().ok().context("the reader of figures panicked")
    }
}

impl Seen {
    /// What does not answer now, because it is paused or has ended, has answered before.
    fn look(&mut self, machines: &Path) {
        for entry in fs::read_dir(machines).into_iter().flatten().flatten() {
            let folder = entry.path();
            let Some(id) = process_of_node(&folder) else { continue };
            self.counters.entry(id).or_default().extend(counters(&folder));
            self.memory.entry(id).or_default().extend(memory(Process::from_id(id), self.hours));
        }
    }

    fn total(&self, name: &str) -> f64 {
        self.counters.values().filter_map(|counters| counters.get(name)).sum()
    }

    /// Bytes of repairs, useful and wasted, and what was found and made good; names begin with `prefix`.
    pub(crate) fn add_repairs_to(&self, prefix: &str, report: &mut Report) {
        let bytes =
            |kind: &str| self.total(&format!("kakera_repair_bytes_total{{kind=\"{kind}\"}}"));
        let name = |what: &str| format!("{prefix}{what}");
        let (useful, theory) = (bytes("symbols_useful"), bytes("symbols_useful_in_theory"));
        report.add(name("parts_found_damaged"), self.total("kakera_parts_damaged_total"));
        report
            .add(name("objects_repaired"), self.total("kakera_objects_repaired_total"))
            .goal(Goal::AtLeast(1.0));
        report.add(name("attempts_failed"), self.total("kakera_objects_not_repaired_total"));
        report.add(name("repair_mb_in_theory"), theory / 1e6);
        report.add(name("repair_mb_as_reed_solomon"), bytes("reed_solomon_in_theory") / 1e6);
        report.add(name("repair_per_theory"), useful / theory).goal(Goal::AtMost(EXCESS_MAX));
        for waste in ["replaced", "refused", "failed"] {
            let wasted = bytes(&format!("symbols_{waste}"));
            report.add(name(&format!("mb_of_symbols_{waste}")), wasted / 1e6);
        }
        report.add(name("mb_of_whole_fragments"), bytes("whole_fragments") / 1e6);
    }

    /// How the memory of a node grows, over the last half of the time.
    pub(crate) fn add_memory_to(&self, is_long: bool, report: &mut Report) {
        let growth = Growth::of(&self.memory, self.hours, |memory| memory.resident);
        let figure = report.add("node_mib_per_hour", growth.mean);
        if is_long {
            figure.goal(Goal::AtMost(GROWTH_MAX));
        }
        report.add("node_mib_per_hour_plus_minus", growth.plus_minus);
        let own = Growth::of(&self.memory, self.hours, |memory| memory.own);
        report.add("node_own_mib_per_hour", own.mean);
        report.add("node_own_mib_per_hour_plus_minus", own.plus_minus);
        report.count("nodes_that_ran_the_last_half", growth.nodes);
        let last = || self.memory.values().filter_map(|samples| samples.last());
        let most = |of: fn(&Memory) -> f64| last().map(of).fold(0.0, f64::max);
        report.add("node_mib_at_most", most(|memory| memory.resident));
        report.add("node_own_mib_at_most", most(|memory| memory.own));
    }
}

fn memory(process: Process, hours: f64) -> Option<Memory> {
    let mib = |bytes: u64| bytes as f64 / MIB;
    let resident = mib(process.resident_bytes()?);
    Some(Memory { hours, resident, own: mib(process.own_bytes()?) })
}

/// MiB an hour, over the processes that were seen for most of the last half of the time.
struct Growth {
    mean: f64,
    /// Half of the interval that holds the mean of all such processes with 95 %.
    plus_minus: f64,
    nodes: usize,
}

impl Growth {
    fn of(seen: &BTreeMap<u32, Vec<Memory>>, hours: f64, size: fn(&Memory) -> f64) -> Self {
        let half = hours / 2.0;
        let late = seen.values().map(|samples| {
            let late = samples.iter().filter(|memory| memory.hours >= half);
            late.map(|memory| (memory.hours, size(memory))).collect::<Vec<_>>()
        });
        let slopes: Vec<f64> =
            late.filter_map(|samples| slope(&samples, half * SEEN_MIN)).collect();
        let count = slopes.len() as f64;
        let mean = slopes.iter().sum::<f64>() / count;
        let variance =
            slopes.iter().map(|slope| (slope - mean).powi(2)).sum::<f64>() / (count - 1.0);
        Self { mean, plus_minus: DEVIATIONS * (variance / count).sqrt(), nodes: slopes.len() }
    }
}

/// Least squares, if the samples span so much.
fn slope(samples: &[(f64, f64)], span_min: f64) -> Option<f64> {
    let (first, last) = (samples.first()?, samples.last()?);
    if last.0 - first.0 < span_min {
        return None;
    }
    let count = samples.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (time, size) = (mean(|sample| sample.0), mean(|sample| sample.1));
    let together = samples.iter().map(|sample| (sample.0 - time) * (sample.1 - size)).sum::<f64>();
    let alone = samples.iter().map(|sample| (sample.0 - time).powi(2)).sum::<f64>();
    Some(together / alone)
}

/// Of an honest node: a liar shows no figures.
fn process_of_node(folder: &Path) -> Option<u32> {
    let is_node = folder.file_name()?.to_str()?.starts_with("node-");
    let pid = fs::read_to_string(folder.join("pid")).ok().filter(|_| is_node)?;
    let id = pid.split_whitespace().next()?.parse().ok()?;
    let line = Process::from_id(id).command_line()?;
    (!line.contains("lying-node")).then_some(id)
}

/// The counters that the machine of this folder shows now; none if it does not answer.
pub(crate) fn counters(folder: &Path) -> BTreeMap<String, f64> {
    let text = metrics(folder).unwrap_or_default();
    text.lines().filter_map(counter).collect()
}

/// What the machine of this folder shows of itself.
pub(crate) fn metrics(folder: &Path) -> Option<String> {
    let address = fs::read_to_string(folder.join("observed")).ok()?.trim().parse().ok()?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok()?;
    stream.set_read_timeout(Some(Duration::from_millis(500))).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

fn counter(line: &str) -> Option<(String, f64)> {
    let (name, value) = line.rsplit_once(' ')?;
    name.contains("_total").then_some((name.to_owned(), value.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_that_of_a_line() {
        let line: Vec<(f64, f64)> =
            (0..10).map(|x| (f64::from(x), 3.0 * f64::from(x) + 1.0)).collect();
        assert!((slope(&line, 9.0).unwrap() - 3.0).abs() < 1e-9);
        assert_eq!(slope(&line, 9.5), None);
        assert_eq!(slope(&[], 0.0), None);
    }
}
