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
/// Growth of what a node keeps in memory, MiB an hour.
const GROWTH_MAX: f64 = 1.0;
const LOOK_EVERY: Duration = Duration::from_secs(2);
const MIB: f64 = (1 << 20) as f64;
/// Shorter spans of samples are left out.
const SEEN_HOURS_MIN: f64 = 1.0 / 60.0;
/// Two-sided 95 % of a normal distribution.
const DEVIATIONS: f64 = 1.96;

/// A thread that looks at all nodes again and again.
pub(crate) struct Figures {
    start: Instant,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

/// The memory of a process, in MiB.
#[derive(Clone, Copy)]
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
}

impl Figures {
    pub(crate) fn watch(machines: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (start, stopped) = (Instant::now(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !stopped.load(Ordering::Relaxed) {
                seen.look(&machines, hours_since(start));
                sleep(LOOK_EVERY);
            }
            seen
        });
        Self { start, stop, thread }
    }

    /// How long it has been looking.
    pub(crate) fn hours(&self) -> f64 {
        hours_since(self.start)
    }

    pub(crate) fn stop(self) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().ok().context("the reader of figures panicked")
    }
}

impl Seen {
    /// What does not answer now, because it is paused or has ended, has answered before.
    fn look(&mut self, machines: &Path, hours: f64) {
        for entry in fs::read_dir(machines).into_iter().flatten().flatten() {
            let folder = entry.path();
            let Some(id) = process_of_node(&folder) else { continue };
            self.counters.entry(id).or_default().extend(counters(&folder));
            self.memory.entry(id).or_default().extend(memory(Process::from_id(id), hours));
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

    /// How the memory of a node grows, over the last half of the first `hours`: what it keeps, and what
    /// it uses, the work under way included. The work comes and goes by chance, and there is the more of
    /// it the more is stored; its memory is bounded by the most that was seen.
    pub(crate) fn add_memory_to(&self, hours: f64, is_long: bool, report: &mut Report) {
        let kept: BTreeMap<u32, Vec<Memory>> =
            self.memory.iter().map(|(id, samples)| (*id, kept(samples, hours))).collect();
        let growth = Growth::of(&kept, hours, |memory| memory.resident);
        let figure = report.add("node_mib_per_hour", growth.mean);
        if is_long {
            figure.goal(Goal::AtMost(GROWTH_MAX));
        }
        report.add("node_mib_per_hour_plus_minus", growth.plus_minus);
        let own = Growth::of(&kept, hours, |memory| memory.own);
        report.add("node_own_mib_per_hour", own.mean);
        report.add("node_own_mib_per_hour_plus_minus", own.plus_minus);
        let used = Growth::of(&self.memory, hours, |memory| memory.resident);
        report.add("node_mib_per_hour_with_work", used.mean);
        report.add("node_mib_per_hour_with_work_plus_minus", used.plus_minus);
        report.count("nodes_that_ran_the_last_half", growth.nodes);
        let most =
            |of: fn(&Memory) -> f64| self.memory.values().flatten().map(of).fold(0.0, f64::max);
        report.add("node_mib_at_most", most(|memory| memory.resident));
        report.add("node_own_mib_at_most", most(|memory| memory.own));
    }
}

fn hours_since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() / 3600.0
}

fn memory(process: Process, hours: f64) -> Option<Memory> {
    let mib = |bytes: u64| bytes as f64 / MIB;
    let resident = mib(process.resident_bytes()?);
    Some(Memory { hours, resident, own: mib(process.own_bytes()?) })
}

/// What a process keeps between one piece of work and the next: the least of each whole minute.
fn kept(samples: &[Memory], hours: f64) -> Vec<Memory> {
    let minute = |memory: &Memory| (60.0 * memory.hours) as u64;
    let whole = samples.iter().filter(|memory| minute(memory) < (60.0 * hours) as u64);
    let mut least = BTreeMap::new();
    for memory in whole {
        let kept: &mut Memory = least.entry(minute(memory)).or_insert(*memory);
        if memory.own < kept.own {
            *kept = *memory;
        }
    }
    least.into_values().collect()
}

/// MiB an hour in the last half of the time: one slope, by least squares, of all processes together,
/// each with a level of its own. A process that began in between is looked at as late as those that
/// were there from the start, half the time after it began: before, it meets its peers, each with a
/// connection, and gets its slots.
struct Growth {
    mean: f64,
    /// Half of the interval that holds the slope with 95 %, by how the processes differ.
    plus_minus: f64,
    nodes: usize,
}

/// What one process says of the slope: sums over its samples, by their distances from their means.
struct Moments {
    time_by_size: f64,
    time_by_time: f64,
}

impl Growth {
    fn of(seen: &BTreeMap<u32, Vec<Memory>>, hours: f64, size: fn(&Memory) -> f64) -> Self {
        let half = hours / 2.0;
        let moments: Vec<Moments> = seen
            .values()
            .filter_map(|samples| {
                let since = samples.first()?.hours + half;
                let late = samples.iter().filter(|memory| (since..=hours).contains(&memory.hours));
                Moments::of(&late.map(|memory| (memory.hours, size(memory))).collect::<Vec<_>>())
            })
            .collect();
        let time_by_time: f64 = moments.iter().map(|of| of.time_by_time).sum();
        let mean = moments.iter().map(|of| of.time_by_size).sum::<f64>() / time_by_time;
        let count = moments.len() as f64;
        // A process's samples depend on each other: it counts as one (cluster-robust; Liang and Zeger
        // 1986).
        let deviations =
            moments.iter().map(|of| (of.time_by_size - mean * of.time_by_time).powi(2));
        let variance = deviations.sum::<f64>() * count / (count - 1.0) / time_by_time.powi(2);
        Self { mean, plus_minus: DEVIATIONS * variance.sqrt(), nodes: moments.len() }
    }
}

impl Moments {
    /// Of times and sizes; a minute says nothing.
    fn of(samples: &[(f64, f64)]) -> Option<Self> {
        let (first, last) = (samples.first()?, samples.last()?);
        if last.0 - first.0 < SEEN_HOURS_MIN {
            return None;
        }
        let count = samples.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / count;
        let (time, size) = (mean(|sample| sample.0), mean(|sample| sample.1));
        let sum = |of: &dyn Fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>();
        Some(Self {
            time_by_size: sum(&|sample| (sample.0 - time) * (sample.1 - size)),
            time_by_time: sum(&|sample| (sample.0 - time).powi(2)),
        })
    }
}

/// Of an honest node: a liar shows no figures.
fn process_of_node(folder: &Path) -> Option<u32> {
    let is_node = folder.file_name()?.to_str()?.starts_with("node-");
    let pid = fs::read_to_string(folder.join("pid")).ok().filter(|_| is_node)?;
    let id = pid.split_whitespace().next()?.parse().ok()?;
    // The process may have ended, and another have its number.
    let line = Process::from_id(id).command_line()?;
    (line.contains(folder.to_str()?) && !line.contains("lying-node")).then_some(id)
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

    fn process(from: f64, size: impl Fn(f64) -> f64) -> Vec<Memory> {
        let times = (0..).map(|step| from + f64::from(step) / 360.0);
        let memory = |hours| Memory { hours, resident: size(hours), own: 0.0 };
        times.take_while(|hours| *hours <= 0.5).map(memory).collect()
    }

    #[test]
    fn what_comes_and_goes_is_not_kept() {
        // Looked at every two seconds for ten minutes and a half: work of 2 MiB in eight seconds of ten,
        // ever more of it, on what grows by 3 MiB an hour.
        let memory = |step: u32| {
            let hours = f64::from(step) / 1800.0;
            let work = if step.is_multiple_of(5) { 0.0 } else { 2.0 + 10.0 * hours };
            Memory { hours, resident: 0.0, own: 5.0 + 3.0 * hours + work }
        };
        let kept = kept(&(0..315).map(memory).collect::<Vec<_>>(), 10.5 / 60.0);
        assert_eq!(kept.len(), 10, "half a minute says less than a whole one");
        assert!(kept.iter().all(|memory| (memory.own - 5.0 - 3.0 * memory.hours).abs() < 1e-9));
    }

    #[test]
    fn growth_is_the_slope_of_all_processes_after_their_start() {
        let old = process(0.0, |hours| 20.0 + 3.0 * hours);
        // Half an hour of which it lives the last 18 minutes, the first fifteen of them steep.
        let young = process(0.2, |hours| if hours < 0.44 { 90.0 * hours } else { 1.0 + hours });
        let late = process(0.3, |hours| 1000.0 * hours);
        let alone = Growth::of(&BTreeMap::from([(1, old)]), 0.5, |memory| memory.resident);
        assert!((alone.mean - 3.0).abs() < 1e-9 && alone.nodes == 1);
        let old = process(0.0, |hours| 20.0 + 3.0 * hours);
        let seen = BTreeMap::from([(1, old), (2, young), (3, late)]);
        let growth = Growth::of(&seen, 0.5, |memory| memory.resident);
        assert!(growth.mean > 2.0 && growth.mean < 3.0 && growth.nodes == 2, "{}", growth.mean);
        assert!(growth.plus_minus > 0.0 && growth.plus_minus < 2.0, "{}", growth.plus_minus);
    }
}
