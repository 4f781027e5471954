//! Owners who put records and read them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};
use kakera_engine::catalogue::RecordName;
use kakera_engine::names::{GroupId, ObjectId};
use kakera_engine::seal::VaultRoot;
use kakera_net::client::Client;
use kakera_net::testkit::network::{Network, eventually};
use kakera_net::vault::{NoProgress, Source, Vault};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use tempfile::TempDir;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;
use zeroize::Zeroizing;

use crate::report::{Goal, Report};

/// Nodes for each owner: so many owners that all groups come to hold something, since each chooses
/// from eight.
const NODES_PER_OWNER: usize = 10;
const OWNERS_MIN: usize = 4;
const FIRST_RECORDS: usize = 8;
const RECORD_LEN_MAX: u64 = 20_000;
/// Between two things that an owner does, at least and at most.
const PAUSE_SECONDS: [u64; 2] = [5, 25];

/// What became of records.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcome {
    acknowledged: usize,
    puts_failed: usize,
    reads: usize,
    reads_failed: usize,
    identical: usize,
    lost: usize,
    wrong: usize,
}

impl Outcome {
    pub(super) fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.puts_failed += other.puts_failed;
        self.reads += other.reads;
        self.reads_failed += other.reads_failed;
        self.identical += other.identical;
        self.lost += other.lost;
        self.wrong += other.wrong;
    }

    pub(super) fn add_to(&self, report: &mut Report) {
        let acknowledged = self.acknowledged;
        report.count("records_acknowledged", acknowledged).goal(Goal::AtLeast(1.0));
        report.count("puts_failed_in_trouble", self.puts_failed);
        report.count("reads_in_trouble", self.reads).goal(Goal::AtLeast(1.0));
        report.count("reads_failed_in_trouble", self.reads_failed);
        report.count("records_identical", self.identical).goal(Goal::AtLeast(acknowledged as f64));
        report.count("records_lost", self.lost).goal(Goal::AtMost(0.0));
        report.count("records_wrong", self.wrong).goal(Goal::AtMost(0.0));
    }
}

/// All owners.
pub(super) struct Load {
    owners: Vec<Owner>,
    tasks: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
    objects: BTreeSet<(GroupId, ObjectId)>,
    _sources: TempDir,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    ready: AtomicUsize,
    outcome: Mutex<Outcome>,
}

impl Shared {
    fn note(&self, note: impl FnOnce(&mut Outcome)) {
        note(&mut self.outcome.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[derive(Clone)]
struct Owner {
    client: Arc<Client>,
    root: [u8; 32],
    source: PathBuf,
    /// Those whose put was acknowledged; the number is that of the record's name and content.
    records: Arc<Mutex<Vec<u64>>>,
}

impl Load {
    /// Owners begin to put their first records.
    pub(super) async fn start(seed: u64, network: &mut Network) -> Result<Self> {
        let sources = tempfile::tempdir()?;
        let shared = Arc::new(Shared::default());
        let (mut owners, mut tasks) = (Vec::new(), Vec::new());
        let count = (network.nodes().len() / NODES_PER_OWNER).max(OWNERS_MIN);
        for number in 0..count {
            let mut root = [number as u8; 32];
            root[..8].copy_from_slice(&seed.to_be_bytes());
            let owner = Owner {
                client: Arc::new(network.client().await),
                root,
                source: sources.path().join(number.to_string()),
                records: Arc::default(),
            };
            let random = ChaCha8Rng::seed_from_u64(seed * 1000 + number as u64);
            tasks.push(spawn_local(owner.clone().live(random, Arc::clone(&shared))));
            owners.push(owner);
        }
        Ok(Self { owners, tasks, shared, objects: BTreeSet::new(), _sources: sources })
    }

    /// Waits until each owner has put its first records.
    pub(super) async fn wait_for_first_records(&self) {
        let count = self.owners.len();
        let ready = async || (self.shared.ready.load(Ordering::Relaxed) == count).then_some(());
        eventually(ready).await;
    }

    /// Waits until the owners have done what they are at.
    pub(super) async fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for task in self.tasks.drain(..) {
            if let Err(panic) = task.await {
                std::panic::resume_unwind(panic.into_panic());
            }
        }
    }

    /// The groups that hold acknowledged records.
    pub(super) async fn groups(&mut self, network: &mut Network) -> BTreeSet<GroupId> {
        for owner in &self.owners {
            let (client, vault) = owner.open_anew(network).await;
            self.objects.extend(objects(&vault));
            client.close().await;
        }
        self.objects.iter().map(|(group, _)| *group).collect()
    }

    /// Opens every vault anew and reads all that was acknowledged; what is not as it should be.
    pub(super) async fn check_records(&mut self, network: &mut Network) -> Vec<String> {
        let mut broken = Vec::new();
        for owner in &self.owners {
            let (client, vault) = owner.open_anew(network).await;
            for number in owner.numbers() {
                let mut read = read(&vault, number).await;
                for _ in 0..3 {
                    if read.is_err() {
                        sleep(Duration::from_secs(5)).await;
                        read = self::read(&vault, number).await;
                    }
                }
                match read {
                    Ok(bytes) if bytes == content(number) => {
                        self.shared.note(|outcome| outcome.identical += 1);
                    }
                    Ok(_) => {
                        self.shared.note(|outcome| outcome.wrong += 1);
                        broken.push(format!("record {number:x} reads otherwise than it was put"));
                    }
                    Err(error) => {
                        self.shared.note(|outcome| outcome.lost += 1);
                        broken.push(format!("record {number:x} cannot be read: {error}"));
                    }
                }
            }
            self.objects.extend(objects(&vault));
            client.close().await;
        }
        broken
    }

    /// The objects that all acknowledged records lie in.
    pub(super) fn objects(&self) -> BTreeSet<(GroupId, ObjectId)> {
        self.objects.clone()
    }

    pub(super) fn outcome(&self) -> Outcome {
        *self.shared.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Owner {
    async fn live(self, mut random: ChaCha8Rng, shared: Arc<Shared>) {
        let mut vault = eventually(async || {
            Vault::open(Arc::clone(&self.client), self.vault_root()).await.ok()
        })
        .await;
        while self.numbers().len() < FIRST_RECORDS {
            if !self.put(&mut vault, random.next_u64(), &shared).await {
                sleep(Duration::from_secs(1)).await;
            }
        }
        shared.ready.fetch_add(1, Ordering::Relaxed);
        loop {
            let [least, most] = PAUSE_SECONDS;
            for _ in 0..least + random.next_u64() % (most - least) {
                if shared.stop.load(Ordering::Relaxed) {
                    return;
                }
                sleep(Duration::from_secs(1)).await;
            }
            if random.next_u32().is_multiple_of(3) {
                self.put(&mut vault, random.next_u64(), &shared).await;
                continue;
            }
            let numbers = self.numbers();
            let number = numbers[random.next_u64() as usize % numbers.len()];
            let read = read(&vault, number).await;
            shared.note(|outcome| {
                outcome.reads += 1;
                match read {
                    Ok(bytes) if bytes == content(number) => {}
                    Ok(_) => outcome.wrong += 1,
                    Err(_) => outcome.reads_failed += 1,
                }
            });
        }
    }

    /// Puts a record; whether that was acknowledged.
    async fn put(&self, vault: &mut Vault, number: u64, shared: &Shared) -> bool {
        let source = source(&self.source, number).expect("a file in a temporary folder");
        self.client.forget_groups();
        let put = vault.put(vec![source], Arc::new(NoProgress)).await;
        if put.is_ok() {
            self.records.lock().unwrap_or_else(PoisonError::into_inner).push(number);
        }
        shared.note(|outcome| match put {
            Ok(_) => outcome.acknowledged += 1,
            Err(_) => outcome.puts_failed += 1,
        });
        put.is_ok()
    }

    /// Its vault on a machine that has nothing of it.
    async fn open_anew(&self, network: &mut Network) -> (Arc<Client>, Vault) {
        let client = Arc::new(network.client().await);
        let vault = eventually(async || {
            // A node may not have heard of the client yet.
            client.forget_groups();
            Vault::open(Arc::clone(&client), self.vault_root()).await.ok()
        })
        .await;
        (client, vault)
    }

    fn numbers(&self) -> Vec<u64> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn vault_root(&self) -> VaultRoot {
        VaultRoot::from_bytes(Zeroizing::new(self.root))
    }
}

/// The objects that its records lie in.
fn objects(vault: &Vault) -> BTreeSet<(GroupId, ObjectId)> {
    let records = vault.catalogue().records();
    let versions = records.flat_map(|record| record.versions());
    let objects = versions.flat_map(|version| version.objects());
    objects.map(|object| (object.group, object.object_id)).collect()
}

async fn read(vault: &Vault, number: u64) -> Result<Vec<u8>> {
    let record = vault.record(&name(number))?;
    let mut bytes = Vec::new();
    let stored = record.stored(record.newest()).context("it was destroyed")?;
    vault.get(stored, None, &mut bytes, &NoProgress).await?;
    Ok(bytes)
}

fn source(path: &Path, number: u64) -> std::io::Result<Source> {
    std::fs::write(path, content(number))?;
    // What is stored says when its file was modified: the same in every run.
    std::fs::File::options().write(true).open(path)?.set_modified(UNIX_EPOCH)?;
    Ok(Source::new(name(number), path.to_owned()))
}

fn name(number: u64) -> RecordName {
    RecordName::new(format!("{number:016x}")).expect("a name without bad bytes")
}

fn content(number: u64) -> Vec<u8> {
    let mut random = ChaCha8Rng::seed_from_u64(number);
    let mut bytes = vec![0; (random.next_u64() % RECORD_LEN_MAX) as usize];
    random.fill_bytes(&mut bytes);
    bytes
}
