//! Figures of processes from `/proc` (proc(5)).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// A process of somebody else's making.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Process(u32);

/// CPU seconds by process, at one moment.
///
/// A process that ends takes its figures along; ended children of this process are counted apart.
#[derive(Clone, Debug)]
pub(crate) struct CpuTimes {
    running: BTreeMap<Process, f64>,
    ended_children: f64,
    this: f64,
}

impl Process {
    /// A process by its number.
    pub(crate) fn from_id(id: u32) -> Self {
        Self(id)
    }

    /// Running processes whose command lines name a path in `folder`, besides this one.
    pub(crate) fn all_of(folder: &Path) -> Result<Vec<Self>> {
        let needle = folder.to_str().context("the folder's path is not UTF-8")?;
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            let process = Self(id);
            let names_folder = |line: &String| line.split('\0').any(|part| part.contains(needle));
            if id != std::process::id() && process.command_line().as_ref().is_some_and(names_folder)
            {
                found.push(process);
            }
        }
        found.sort();
        Ok(found)
    }

    /// The arguments, separated by NUL; `None` if it has ended.
    pub(crate) fn command_line(self) -> Option<String> {
        let bytes = fs::read(self.file("cmdline")).ok()?;
        (!bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The program that it runs; `None` if it has ended.
    pub(crate) fn program(self) -> Option<PathBuf> {
        fs::read_link(self.file("exe")).ok()
    }

    /// Kills it as `kill -9` does and waits until it is gone.
    pub(crate) fn kill(self) -> Result<()> {
        self.end(Signal::KILL)
    }

    /// Asks it to end and waits until it is gone.
    pub(crate) fn terminate(self) -> Result<()> {
        self.end(Signal::TERM)
    }

    /// Stops it in the middle of whatever it does, until [`Self::resume`].
    pub(crate) fn pause(self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub(crate) fn resume(self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(self, signal: Signal) -> Result<()> {
        let id = Pid::from_raw(self.0.try_into()?).context("process 0")?;
        Ok(kill_process(id, signal)?)
    }

    fn end(self, signal: Signal) -> Result<()> {
        self.signal(signal)?;
        let start = Instant::now();
        while self.is_running() {
            anyhow::ensure!(
                start.elapsed() < Duration::from_secs(10),
                "process {} does not end",
                self.0
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Whether there is more of it than what its parent has not waited for. A process that ends
    /// loses its command line and its memory some time before, and its first thread may be gone
    /// while another still holds its files.
    fn is_running(self) -> bool {
        fs::read_to_string(self.file("stat")).is_ok_and(|stat| is_running_by(&stat))
    }

    /// Resident memory now, in bytes.
    pub(crate) fn resident_bytes(self) -> Option<u64> {
        self.status_kib("VmRSS:").map(|kib| kib * 1024)
    }

    /// Resident memory now without pages of files, in bytes.
    pub(crate) fn own_bytes(self) -> Option<u64> {
        self.status_kib("RssAnon:").map(|kib| kib * 1024)
    }

    /// The most memory that was resident since the start or [`Self::reset_peak`], in bytes.
    pub(crate) fn peak_bytes(self) -> Option<u64> {
        self.status_kib("VmHWM:").map(|kib| kib * 1024)
    }

    /// Forgets the peak.
    pub(crate) fn reset_peak(self) -> Result<()> {
        fs::write(self.file("clear_refs"), "5").context("cannot reset the peak memory")
    }

    /// Bytes read and written by system calls on files and pipes.
    pub(crate) fn file_bytes(self) -> Option<u64> {
        let text = fs::read_to_string(self.file("io")).ok()?;
        Some(field(&text, "rchar:")? + field(&text, "wchar:")?)
    }

    /// Bytes that it had written to disks.
    pub(crate) fn disk_bytes_written(self) -> Option<u64> {
        field(&fs::read_to_string(self.file("io")).ok()?, "write_bytes:")
    }

    fn cpu_seconds(self) -> Option<f64> {
        Some(stat_times(&fs::read_to_string(self.file("stat")).ok()?)?.0)
    }

    fn status_kib(self, name: &str) -> Option<u64> {
        field(&fs::read_to_string(self.file("status")).ok()?, name)
    }

    fn file(self, name: &str) -> String {
        format!("/proc/{}/{name}", self.0)
    }
}

impl CpuTimes {
    /// The times of `processes`, of this process and of its ended children.
    pub(crate) fn now(processes: &[Process]) -> Result<Self> {
        let stat = fs::read_to_string("/proc/self/stat")?;
        let (this, ended_children) = stat_times(&stat).context("/proc/self/stat")?;
        let running =
            processes.iter().filter_map(|process| Some((*process, process.cpu_seconds()?)));
        Ok(Self { running: running.collect(), ended_children, this })
    }

    /// Seconds used since `earlier` by the processes that run at both moments and by children that
    /// ended between them.
    pub(crate) fn since(&self, earlier: &Self) -> f64 {
        let running = self.running.iter().map(|(process, seconds)| {
            seconds - earlier.running.get(process).copied().unwrap_or(0.0)
        });
        running.sum::<f64>() + self.ended_children - earlier.ended_children
    }

    /// Seconds of the running processes since their starts.
    pub(crate) fn running_total(&self) -> f64 {
        self.running.values().sum()
    }

    /// As [`Self::since`], and what this process used itself.
    pub(crate) fn since_with_this(&self, earlier: &Self) -> f64 {
        self.since(earlier) + self.this - earlier.this
    }
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The fields of a `stat` file from the state on. The process's name before may hold anything, so
/// they are counted from its closing parenthesis.
fn stat_fields(stat: &str) -> Vec<&str> {
    stat.rsplit_once(')').map_or_else(Vec::new, |(_, fields)| fields.split_whitespace().collect())
}

/// What a `stat` file says of [`Process::is_running`].
fn is_running_by(stat: &str) -> bool {
    match &stat_fields(stat)[..] {
        [] => false,
        ["Z" | "X", rest @ ..] => rest.get(16).is_some_and(|&threads| threads != "1"),
        _ => true,
    }
}

/// Own and ended children's seconds of a `stat` file.
fn stat_times(stat: &str) -> Option<(f64, f64)> {
    let fields = stat_fields(stat);
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    let second = rustix::param::clock_ticks_per_second() as f64;
    Some(((ticks(11)? + ticks(12)?) / second, (ticks(13)? + ticks(14)?) / second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_whatever_the_name() {
        let stat = "7 (a) b (c) S 1 1 1 0 -1 0 0 0 0 0 100 50 300 0 20 0 1 0";
        let second = rustix::param::clock_ticks_per_second() as f64;
        assert_eq!(stat_times(stat), Some((150.0 / second, 300.0 / second)));
        assert_eq!(stat_times("7 (a S 1"), None);
    }

    #[test]
    fn what_is_killed_is_gone_when_that_returns() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::from_id(child.id());
        assert!(process.is_running());
        process.kill().unwrap();
        assert!(!process.is_running(), "although nobody has waited for it");
        child.wait().unwrap();
    }

    /// As a thread does that the kernel keeps at work, on a disk for one.
    #[test]
    fn it_runs_until_its_last_thread_has_ended() {
        let stat = |state: &str, threads: u8| {
            let fields = format!("{state} 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 {threads} 0 100");
            is_running_by(&format!("7 (kakera) {fields}"))
        };
        assert!(stat("S", 1) && stat("Z", 2) && !stat("Z", 1) && !stat("X", 1));
    }

    #[test]
    fn this_process_has_figures() {
        let this = Process::from_id(std::process::id());
        assert!(this.resident_bytes().unwrap() > 100_000);
        assert!(this.peak_bytes().unwrap() >= this.resident_bytes().unwrap() / 2);
        assert!(this.command_line().is_some() && this.is_running());
        assert!(this.file_bytes().is_some());
    }
}
