//! `import`: a storage of small files into a vault: time, what it costs the disks and the ledger,
//! one more record; then the same while the client is killed again and again; then two clients that
//! edit the same record at once.

mod edits;
pub(crate) mod storage;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kakera_engine::code::CodeParameters;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::process::{CpuTimes, Process};
use crate::product::{LocalNetwork, answer, total};
use crate::report::{Goal, Report};
use storage::{Storage, tree};

const NODES: u8 = 10;
const KILLED_FILES: usize = 400;
const FILES_A_KILL: usize = 20;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Files of the storage
    #[arg(long, default_value_t = 10_000)]
    files: usize,
    /// How often the client is killed in the middle of an import
    #[arg(long, default_value_t = 100)]
    kills: u32,
    /// How often two clients edit one record at once
    #[arg(long, default_value_t = 100)]
    edits: u32,
    /// Where every draw begins
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A tenth of it, for the gate
    #[arg(long, conflicts_with_all = ["files", "kills", "edits"])]
    short: bool,
}

pub(crate) fn run(options: &Options) -> Result<Report> {
    let Options { files, kills, edits, seed, short } = *options;
    let (files, kills, edits) = if short { (1000, 10, 10) } else { (files, kills, edits) };
    eprintln!("import: seed {seed}, {files} files, {kills} kills, {edits} double edits");
    let mut report = Report::new("import");
    measure(files, seed, &mut report)?;
    if kills > 0 {
        kill_clients(kills, seed, &mut report)?;
    }
    if edits > 0 {
        edits::run(edits, &mut report)?;
    }
    Ok(report)
}

fn measure(files: usize, seed: u64, report: &mut Report) -> Result<()> {
    let network = LocalNetwork::start(NODES)?;
    let mut storage = Storage::new(network.scratch().join("ssmix2"), seed)?;
    storage.grow(files)?;
    let (source, bytes) = tree(storage.root())?;
    report.count("files", source.len());
    report.add("file_bytes_mean", bytes as f64 / source.len() as f64);
    let processes = network.processes()?;
    let before = Disk::read(&network)?;
    let (cpu, start) = (CpuTimes::now(&processes)?, Instant::now());
    let imported = import(&network, storage.root())?;
    let seconds = start.elapsed().as_secs_f64();
    let cpu_seconds = CpuTimes::now(&processes)?.since(&cpu);
    ensure!(imported["stored"] == source.len(), "not all files were stored: {imported}");
    let used = Disk::read(&network)?;
    report.add("import_seconds", seconds).goal(Goal::AtMost(60.0));
    report.add("import_cpu_seconds_of_all_processes", cpu_seconds);
    let stored = (used.parts - before.parts) as f64 / bytes as f64;
    let code = overhead(&network)?;
    report.add("stored_bytes_per_byte", stored);
    report.add("code_bytes_per_byte", code);
    report.add("stored_per_code", stored / code).goal(Goal::AtMost(1.35));
    let ledger = 100.0 * (used.ledger - before.ledger) as f64 / bytes as f64;
    report.add("ledger_percent", ledger).goal(Goal::AtMost(1.0));
    add_one(&network, report)?;
    let start = Instant::now();
    let again = import(&network, storage.root())?;
    report.add("import_again_seconds", start.elapsed().as_secs_f64());
    report.add("stored_again", total(&again, "stored")).goal(Goal::AtMost(0.0));
    export(&network, storage.root(), "", report)
}

/// One record more, each a command of its own.
fn add_one(network: &LocalNetwork, report: &mut Report) -> Result<()> {
    let mut seconds = Vec::new();
    for number in 0..5 {
        let path = network.scratch().join(format!("one-{number}"));
        fs::write(&path, vec![b'1' + number; 1000])?;
        let start = Instant::now();
        network.run(&["put", path.to_str().context("not UTF-8")?])?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    let seconds = crate::samples::ascending(seconds);
    report.add("add_one_seconds", crate::samples::median(&seconds)).goal(Goal::AtMost(1.0));
    Ok(())
}

/// Kills the client at random moments of imports of a storage that grows meanwhile.
fn kill_clients(kills: u32, seed: u64, report: &mut Report) -> Result<()> {
    let network = LocalNetwork::start(NODES)?;
    let mut storage = Storage::new(network.scratch().join("ssmix2"), seed + 1)?;
    storage.grow(KILLED_FILES)?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut import_time = Duration::from_millis(1000);
    let (mut killed, mut finished) = (0, 0);
    let mut phases: BTreeMap<Phase, u32> = BTreeMap::new();
    while killed < kills {
        ensure!(finished < 4 * kills, "imports end before they can be killed");
        let root = storage.root().to_str().context("not UTF-8")?.to_owned();
        let before = Disk::read(&network)?;
        let start = Instant::now();
        let mut child = network.spawn(&["import", "ssmix2", &root])?;
        let delay = import_time.mul_f64(f64::from(rng.next_u32()) / f64::from(u32::MAX));
        std::thread::sleep(delay);
        if child.try_wait()?.is_none() && Process::from_id(child.id()).kill().is_ok() {
            killed += 1;
            child.wait()?;
            *phases.entry(Phase::between(&before, &Disk::read(&network)?)).or_default() += 1;
        } else {
            answer(&child.wait_with_output()?)?;
            finished += 1;
            // Later moments than those that were drawn are tried, too.
            import_time = start.elapsed().mul_f64(1.1);
        }
        if rng.next_u32() % 2 == 0 {
            storage.grow(FILES_A_KILL)?;
        }
    }
    report.add("client_kills", f64::from(killed)).goal(Goal::AtLeast(f64::from(kills)));
    for (phase, name) in Phase::NAMES {
        let count = phases.get(&phase).copied().unwrap_or(0);
        report.add(format!("kills_{name}"), f64::from(count)).goal(Goal::AtLeast(1.0));
    }
    report.add("imports_finished_meanwhile", f64::from(finished));
    import(&network, storage.root())?;
    export(&network, storage.root(), "kills_", report)
}

/// How far an import had come when it was killed, as the disks tell.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// It reads and compares, and has stored nothing.
    Nothing,
    /// It stores objects, of records and of the catalogue.
    Objects,
    /// The ledger has an entry of it: some or all records are in the catalogue.
    Ledger,
}

impl Phase {
    const NAMES: [(Self, &str); 3] = [
        (Self::Nothing, "before_the_first_object"),
        (Self::Objects, "before_the_first_ledger_entry"),
        (Self::Ledger, "after_a_ledger_entry"),
    ];

    fn between(before: &Disk, after: &Disk) -> Self {
        if after.ledger > before.ledger {
            Self::Ledger
        } else if after.parts > before.parts {
            Self::Objects
        } else {
            Self::Nothing
        }
    }
}

fn import(network: &LocalNetwork, root: &Path) -> Result<serde_json::Value> {
    network.run(&["import", "ssmix2", root.to_str().context("not UTF-8")?])
}

/// Writes the storage back and compares it. A file that was stored twice would be met a second time
/// under its name and counted as there already.
fn export(network: &LocalNetwork, root: &Path, name: &str, report: &mut Report) -> Result<()> {
    let folder = network.scratch().join("exported");
    let words = ["export", folder.to_str().context("not UTF-8")?, "--prefix", "ssmix2/"];
    let start = Instant::now();
    let exported = network.run(&words)?;
    report.add(format!("{name}export_seconds"), start.elapsed().as_secs_f64());
    let (expected, actual) = (tree(root)?.0, tree(&folder.join("ssmix2"))?.0);
    let lost = expected.iter().filter(|(path, hash)| actual.get(*path) != Some(hash)).count();
    let strange = actual.keys().filter(|path| !expected.contains_key(*path)).count();
    report.count(format!("{name}files_exported"), actual.len());
    report.count(format!("{name}files_lost"), lost + strange).goal(Goal::AtMost(0.0));
    report
        .add(format!("{name}files_doubled"), total(&exported, "unchanged"))
        .goal(Goal::AtMost(0.0));
    fs::remove_dir_all(&folder)?;
    Ok(())
}

/// Bytes that the code stores for each byte of an object.
fn overhead(network: &LocalNetwork) -> Result<f64> {
    let status = network.run(&["status"])?;
    let code: CodeParameters = status["groups"][0]["code"]
        .as_str()
        .and_then(|code| code.parse().ok())
        .context("no group says its code")?;
    let len = 1 << 20;
    let layout = code.build()?.layout(len);
    Ok(f64::from(code.n) * layout.fragment_len() as f64 / len as f64)
}

/// Bytes of files of a network.
struct Disk {
    /// Of the parts of all storage nodes.
    parts: u64,
    /// Of one copy of the chain.
    ledger: u64,
}

impl Disk {
    fn read(network: &LocalNetwork) -> Result<Self> {
        // What is still on its way to the disks of the slowest nodes.
        std::thread::sleep(Duration::from_secs(2));
        let mut disk = Self { parts: 0, ledger: 0 };
        for machine in network.running()? {
            if machine.is_validator() {
                disk.ledger = size(&machine.folder)?;
            } else {
                disk.parts += size(&machine.folder.join("parts"))?;
            }
        }
        Ok(disk)
    }
}

fn size(folder: &Path) -> Result<u64> {
    let (mut bytes, mut open) = (0, vec![folder.to_owned()]);
    while let Some(next) = open.pop() {
        // A folder that is moved meanwhile is empty.
        for entry in fs::read_dir(next).into_iter().flatten() {
            let entry = entry?;
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                open.push(entry.path());
            } else {
                bytes += metadata.len();
            }
        }
    }
    Ok(bytes)
}
