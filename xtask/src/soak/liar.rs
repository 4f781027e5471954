//! Nodes that lie: the product's node in a process of this program, whose answers are falsified.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use ed25519_dalek::SigningKey;
use kakera_engine::ledger::WRONG_SYMBOLS_MAX;
use kakera_engine::names::{GroupId, NetworkId, ObjectId, Slot};
use kakera_engine::peer::{Answer, AuditSettings, CustodySettings};
use kakera_engine::policy::refresh::RefreshTimes;
use kakera_engine::wire::{Operation, Refusal, RefusalKind, Response};
use kakera_net::id::Identity;
use kakera_net::network_file::NetworkFile;
use kakera_net::node::{self, IDENTITY_FILE, NodeSettings, kept_parts};
use kakera_sim::protocol::{Disk, Lie};

use crate::product::{LocalNetwork, Machine};

/// How long a liar may take to listen.
const START_TIME_MAX: Duration = Duration::from_secs(30);

/// What a node lies about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Deceit {
    /// It signs wrong pair symbols for newcomers.
    Symbols,
    /// It sends wrong fragments to readers, newcomers and auditors.
    Fragments,
    /// It acknowledges parts and does not have them.
    Storage,
    /// It keeps the key shares that it has when it begins to lie, and helps with them after a refresh.
    OldShares,
}

#[derive(clap::Args)]
pub(crate) struct LyingOptions {
    /// The node's folder
    #[arg(long)]
    data: PathBuf,
    /// The network file
    #[arg(long)]
    network: PathBuf,
    /// What it lies about
    #[arg(long)]
    deceit: Deceit,
}

impl Deceit {
    /// Those that a node can begin with.
    pub(crate) const FROM_THE_START: [Self; 3] = [Self::Symbols, Self::Fragments, Self::Storage];
    pub(crate) const ALL: [Self; 4] =
        [Self::Symbols, Self::Fragments, Self::Storage, Self::OldShares];

    fn word(self) -> &'static str {
        match self {
            Self::Symbols => "symbols",
            Self::Fragments => "fragments",
            Self::Storage => "storage",
            Self::OldShares => "old-shares",
        }
    }
}

/// A node that lies, as far as its answers go.
pub(crate) struct Liar {
    deceit: Deceit,
    network: NetworkId,
    key: SigningKey,
    /// What it should have erased.
    disk: Mutex<Disk>,
}

impl Liar {
    /// One over a node's folder, in which no node runs.
    pub(crate) fn new(deceit: Deceit, network: NetworkId, folder: &Path) -> Result<Self> {
        let key = Identity::load(&folder.join(IDENTITY_FILE))?.signing_key().clone();
        let mut disk = Disk::default();
        if deceit == Deceit::OldShares {
            let kept = kept_parts(folder, None)?.into_iter();
            disk.replaced = kept.map(|kept| (kept.part, kept.stored)).collect();
        }
        Ok(Self { deceit, network, key, disk: Mutex::new(disk) })
    }

    /// Whether it may lie about a slot: of old shares it has only those that it kept.
    pub(crate) fn lies_about(&self, group: GroupId, slot: Slot) -> bool {
        let disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = disk.replaced.keys();
        self.deceit != Deceit::OldShares
            || kept.any(|part| (part.group, part.slot) == (group, slot))
    }

    /// Whether what it will sign can convict it: of old shares, it takes some of different objects
    /// (`engine/spec/ledger.md` §11).
    pub(crate) fn is_provable(&self) -> bool {
        let disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        let objects: BTreeSet<ObjectId> = disk.replaced.keys().map(|part| part.object).collect();
        self.deceit != Deceit::OldShares || objects.len() >= WRONG_SYMBOLS_MAX
    }

    /// What it lies about.
    pub(crate) fn deceit(&self) -> Deceit {
        self.deceit
    }

    /// Makes an answer what the liar says instead.
    pub(crate) fn falsify(&self, operation: &Operation, answer: &mut Answer) {
        let disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tell = |lie: Lie| lie.tell(&self.network, &self.key, &disk, operation, answer);
        match self.deceit {
            Deceit::Symbols => drop(tell(Lie::KeySymbol)),
            Deceit::OldShares => drop(tell(Lie::OldShare)),
            Deceit::Fragments => {
                tell(Lie::Fragment);
                tell(Lie::FragmentSymbols);
                if matches!(operation, Operation::Audit(_) | Operation::Witness { .. }) {
                    answer.body = changed(&answer.body);
                }
            }
            Deceit::Storage => {
                tell(Lie::Excuse);
                if matches!(
                    operation,
                    Operation::Read(_)
                        | Operation::Symbols(_)
                        | Operation::RenewedSymbols(_)
                        | Operation::PairSymbols(_)
                        | Operation::Degraded(_)
                        | Operation::Witness { .. }
                        | Operation::Audit(_)
                ) {
                    let refusal = Refusal::new(RefusalKind::NotFound, "no such part");
                    *answer = Answer::bare(Response::Refused(refusal));
                }
            }
        }
    }
}

fn changed(body: &Bytes) -> Bytes {
    let mut bytes = body.to_vec();
    if let Some(first) = bytes.first_mut() {
        *first ^= 1;
    }
    bytes.into()
}

/// Runs a lying node until the process is killed.
pub(crate) fn lie(options: &LyingOptions) -> Result<()> {
    let LyingOptions { data, network, deceit } = options;
    let network = NetworkFile::parse(&fs::read_to_string(network)?)?;
    let liar = Liar::new(*deceit, network.network_id(), data)?;
    let settings = NodeSettings {
        custody: CustodySettings {
            compare_every: Duration::from_secs(30),
            ..CustodySettings::default()
        },
        audit: AuditSettings { every: Duration::from_secs(3), ..AuditSettings::default() },
        refresh: RefreshTimes {
            epoch: Duration::from_secs(180),
            pause: Duration::from_secs(11),
            ..RefreshTimes::default()
        },
        ..NodeSettings::new(data.clone(), (Ipv4Addr::LOCALHOST, 0).into(), network, 1 << 40)
    };
    let falsify = move |operation: &Operation, answer: &mut Answer| liar.falsify(operation, answer);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    Ok(runtime.block_on(node::run_lying(settings, falsify, std::future::pending()))?)
}

/// Ends a machine's process and starts one that lies over the same folder. For `kakera local` it is
/// that machine's process.
pub(super) fn replace_by_liar(
    network: &LocalNetwork,
    machine: &Machine,
    deceit: Deceit,
) -> Result<()> {
    machine.process.terminate()?;
    let folder = &machine.folder;
    let _ = fs::remove_file(folder.join("address"));
    let log = fs::OpenOptions::new().append(true).open(folder.join("log"))?;
    let child = Command::new(std::env::current_exe()?)
        .args(["lying-node", "--deceit", deceit.word(), "--data"])
        .arg(folder)
        .arg("--network")
        .arg(network.machines().join("network.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("a lying node")?;
    fs::write(folder.join("pid"), pid_file(child.id())?)?;
    eprintln!("soak: node {} ({}) lies about {}", machine.name, machine.id, deceit.word());
    let start = Instant::now();
    while !folder.join("address").exists() {
        if start.elapsed() > START_TIME_MAX {
            bail!("the lying node {} does not listen; see {}", machine.name, folder.display());
        }
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// As `kakera local` writes it: number, start in ticks, boot.
fn pid_file(id: u32) -> Result<String> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let started = fields.split_whitespace().nth(19).context("no start time")?;
    let boot = fs::read_to_string(Path::new("/proc/sys/kernel/random/boot_id"))?;
    Ok(format!("{id} {started} {boot}"))
}
