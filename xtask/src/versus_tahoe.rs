//! `versus-tahoe`: the same work for Kakera and for Tahoe-LAFS, on the same machine in the same
//! run: ten storage nodes, 3-of-10 there, mbr(10,5,7) here, one resident client each.
//!
//! CPU seconds are those of all processes of a system. A Kakera put is durable on its quorum of
//! holders and final on the ledger; Tahoe-LAFS does not sync its files.

mod kakera;
mod tahoe;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::process::Process;
use crate::product;
use crate::report::{Goal, Report};
use crate::samples::{median, percentile};

const NODES: u8 = 10;
const MIB: usize = 1 << 20;
const MB: f64 = 1e6;
const NAMESPACE_VARIABLE: &str = "KAKERA_XTASK_NAMESPACE";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Records of 1 KiB
    #[arg(long, default_value_t = 200)]
    small: usize,
    /// Records of 100 MiB
    #[arg(long, default_value_t = 3)]
    large: usize,
    /// Records of 1 MiB whose shares on one node are lost and repaired
    #[arg(long, default_value_t = 50)]
    repaired: usize,
}

/// What both can do.
trait System: Sized {
    /// Starts ten storage nodes and a client, all in `folder`.
    fn start(folder: &Path) -> Result<Self>;
    /// Stores the file as one record.
    fn put(&mut self, file: &Path) -> Result<()>;
    /// Stores a folder of records, as its users would.
    fn put_folder(&mut self, folder: &Path) -> Result<()>;
    /// The record that was put `index`th, from 0.
    fn get(&mut self, index: usize) -> Result<Vec<u8>>;
    /// CPU seconds of every process so far, the client's included.
    fn cpu_seconds(&self) -> Result<f64>;
    /// The processes of the storage nodes.
    fn storage_processes(&self) -> Result<Vec<Process>>;
    /// Where the storage nodes keep their data.
    fn storage_folders(&self) -> Vec<PathBuf>;
    /// Stores these records, then loses all of one node; gives the bytes lost.
    fn lose_node(&mut self, records: &Path) -> Result<u64>;
    /// Brings the redundancy back.
    fn repair(&mut self) -> Result<()>;
}

/// The figures of one system.
struct Figures {
    idle_mib: f64,
    small: Series,
    large: Series,
    folder_disk_ratio: f64,
    repair_wire_ratio: f64,
    repair_cpu_seconds_per_mb: f64,
}

/// Puts and gets of records of one size, one after another.
struct Series {
    /// Ascending seconds.
    puts: Vec<f64>,
    gets: Vec<f64>,
    put_cpu_seconds: f64,
    get_cpu_seconds: f64,
    bytes: f64,
}

pub(crate) fn run(options: &Options) -> Result<Report> {
    product::build()?;
    tahoe::install()?;
    enter_namespace()?;
    eprintln!("versus-tahoe: Kakera");
    let ours = measure::<kakera::Resident>(options)?;
    eprintln!("versus-tahoe: Tahoe-LAFS");
    let theirs = measure::<tahoe::Grid>(options)?;
    Ok(compare(&ours, &theirs))
}

/// The table of goals (performance.md §7).
fn compare(ours: &Figures, theirs: &Figures) -> Report {
    use Goal::{AtLeast, AtMost, TimesBetter};
    type Of = fn(&Figures) -> f64;
    let rows: [(&str, Of, Option<Goal>); 13] = [
        ("100mib_put_mb_per_second", |all| rate(all, &all.large.puts), Some(AtLeast(150.0))),
        ("100mib_put_cpu_seconds_per_mb", |all| all.large.put_cpu_per_mb(), Some(TimesBetter(8.0))),
        ("100mib_get_mb_per_second", |all| rate(all, &all.large.gets), None),
        ("100mib_get_cpu_seconds_per_mb", |all| all.large.get_cpu_per_mb(), Some(TimesBetter(8.0))),
        ("1kib_put_p50_ms", |all| median(&all.small.puts) * 1e3, Some(AtMost(10.0))),
        ("1kib_put_cpu_seconds", |all| all.small.put_cpu_each(), Some(TimesBetter(30.0))),
        ("1kib_get_p50_ms", |all| median(&all.small.gets) * 1e3, Some(AtMost(5.0))),
        ("1kib_get_p99_ms", |all| percentile(&all.small.gets, 99.0) * 1e3, None),
        ("1kib_get_cpu_seconds", |all| all.small.get_cpu_each(), Some(TimesBetter(30.0))),
        ("1kib_folder_disk_bytes_per_byte", |all| all.folder_disk_ratio, Some(AtMost(4.0))),
        ("repair_wire_bytes_per_lost_byte", |all| all.repair_wire_ratio, Some(AtMost(1.05))),
        (
            "repair_cpu_seconds_per_lost_mb",
            |all| all.repair_cpu_seconds_per_mb,
            Some(TimesBetter(50.0)),
        ),
        ("idle_node_mib", |all| all.idle_mib, Some(AtMost(32.0))),
    ];
    let mut report = Report::beside("versus-tahoe", "tahoe");
    for (name, of, goal) in rows {
        let figure = report.add(name, of(ours)).peer(of(theirs));
        if name.ends_with("_per_second") {
            figure.more_is_better();
        }
        if let Some(goal) = goal {
            figure.goal(goal);
        }
    }
    report
}

fn measure<S: System>(options: &Options) -> Result<Figures> {
    let scratch = tempfile::Builder::new().prefix("kakera-xtask-").tempdir()?;
    let folder = scratch.path().join("system");
    fs::create_dir(&folder)?;
    let mut system = S::start(&folder)?;
    sleep(Duration::from_secs(3));
    let idle = system.storage_processes()?.into_iter().filter_map(Process::resident_bytes).max();
    let idle_mib = idle.context("no storage node runs")? as f64 / MIB as f64;
    let mut records = Records { folder: scratch.path().to_owned(), done: 0 };
    let small = series(&mut system, &mut records, options.small, 1 << 10)?;
    let large = series(&mut system, &mut records, options.large, 100 * MIB)?;

    let packed = records.make_folder("small", options.small * 5, 1 << 10)?;
    let before = disk_bytes(&system.storage_folders())?;
    system.put_folder(&packed)?;
    sleep(Duration::from_secs(2));
    let grown = disk_bytes(&system.storage_folders())?.saturating_sub(before);
    let folder_disk_ratio = grown as f64 / (options.small * 5 * (1 << 10)) as f64;

    let repaired = records.make_folder("repaired", options.repaired, MIB)?;
    let lost = system.lose_node(&repaired)? as f64;
    ensure!(lost > 0.0, "nothing was lost");
    let (cpu, wire) = (system.cpu_seconds()?, loopback_bytes()?);
    system.repair()?;
    let repair_wire_ratio = (loopback_bytes()? - wire) as f64 / lost;
    let repair_cpu_seconds_per_mb = (system.cpu_seconds()? - cpu) / (lost / MB);
    Ok(Figures {
        idle_mib,
        small,
        large,
        folder_disk_ratio,
        repair_wire_ratio,
        repair_cpu_seconds_per_mb,
    })
}

fn series<S: System>(
    system: &mut S,
    records: &mut Records,
    count: usize,
    length: usize,
) -> Result<Series> {
    let first = records.done;
    let (mut puts, mut gets) = (Vec::new(), Vec::new());
    let (mut put_cpu_seconds, mut get_cpu_seconds) = (0.0, 0.0);
    for _ in 0..count {
        let file = records.make(length)?;
        let (cpu, start) = (system.cpu_seconds()?, Instant::now());
        system.put(&file)?;
        puts.push(start.elapsed().as_secs_f64());
        put_cpu_seconds += system.cpu_seconds()? - cpu;
        fs::remove_file(file)?;
    }
    // What holders beyond the quorum still do belongs to the puts.
    let cpu = system.cpu_seconds()?;
    sleep(Duration::from_secs(1));
    put_cpu_seconds += system.cpu_seconds()? - cpu;
    for index in first..records.done {
        let (cpu, start) = (system.cpu_seconds()?, Instant::now());
        let read = system.get(index)?;
        gets.push(start.elapsed().as_secs_f64());
        get_cpu_seconds += system.cpu_seconds()? - cpu;
        ensure!(read == content(index, length), "record {index} came back changed");
    }
    eprintln!("  {count} records of {length} bytes put and read back");
    puts.sort_by(f64::total_cmp);
    gets.sort_by(f64::total_cmp);
    let bytes = (count * length) as f64;
    Ok(Series { puts, gets, put_cpu_seconds, get_cpu_seconds, bytes })
}

impl Series {
    fn put_cpu_per_mb(&self) -> f64 {
        self.put_cpu_seconds / (self.bytes / MB)
    }

    fn get_cpu_per_mb(&self) -> f64 {
        self.get_cpu_seconds / (self.bytes / MB)
    }

    fn put_cpu_each(&self) -> f64 {
        self.put_cpu_seconds / self.puts.len() as f64
    }

    fn get_cpu_each(&self) -> f64 {
        self.get_cpu_seconds / self.gets.len() as f64
    }
}

fn rate(all: &Figures, seconds: &[f64]) -> f64 {
    all.large.bytes / MB / seconds.iter().sum::<f64>()
}

/// Files of incompressible bytes, each with another content.
struct Records {
    folder: PathBuf,
    done: usize,
}

impl Records {
    fn make(&mut self, length: usize) -> Result<PathBuf> {
        let path = self.folder.join(record_name(self.done));
        fs::write(&path, content(self.done, length))?;
        self.done += 1;
        Ok(path)
    }

    fn make_folder(&self, name: &str, count: usize, length: usize) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        fs::create_dir(&folder)?;
        for index in 0..count {
            fs::write(folder.join(record_name(index)), content(usize::MAX - index, length))?;
        }
        Ok(folder)
    }
}

/// The name of the record that is put `index`th.
fn record_name(index: usize) -> String {
    format!("record-{index}")
}

fn content(index: usize, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    ChaCha8Rng::seed_from_u64(index as u64).fill_bytes(&mut bytes);
    bytes
}

/// Bytes of disk that the folders take, as `du` counts.
fn disk_bytes(folders: &[PathBuf]) -> Result<u64> {
    let mut total = 0;
    let mut pending = folders.to_vec();
    while let Some(path) = pending.pop() {
        // A file that vanishes meanwhile takes nothing.
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        total += metadata.blocks() * 512;
        if metadata.is_dir() {
            for entry in fs::read_dir(&path)? {
                pending.push(entry?.path());
            }
        }
    }
    Ok(total)
}

/// Bytes that crossed the loopback interface.
fn loopback_bytes() -> Result<u64> {
    let table = fs::read_to_string("/proc/net/dev")?;
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix("lo:"));
    let received = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    received.context("/proc/net/dev has no loopback interface")
}

/// Runs this command again in a network namespace of its own, so that nobody else's traffic is on
/// its loopback interface.
fn enter_namespace() -> Result<()> {
    if std::env::var_os(NAMESPACE_VARIABLE).is_some() {
        return Ok(());
    }
    let possible = Command::new("unshare").args(["--net", "true"]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        eprintln!("no network namespace: bytes on the wire include what others send on loopback");
        return Ok(());
    }
    let error = Command::new("unshare")
        .args(["--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(NAMESPACE_VARIABLE, "1")
        .exec();
    bail!("cannot run in a network namespace: {error}")
}
