//! Kakera with this process as its resident client.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use kakera_engine::catalogue::RecordName;
use kakera_engine::seal::VaultRoot;
use kakera_net::client::{Client, ClientSettings};
use kakera_net::id::Identity;
use kakera_net::vault::{NoProgress, Source, Vault};
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use super::{NODES, System, record_name};
use crate::process::{CpuTimes, Process};
use crate::product::{LocalNetwork, machines};

/// A network of processes, and a client in this one.
pub(super) struct Resident {
    network: LocalNetwork,
    runtime: Runtime,
    vault: Vault,
    /// Found once: a search of `/proc` would count as the client's own CPU time.
    processes: Vec<Process>,
    start: CpuTimes,
}

impl System for Resident {
    fn start(_: &Path) -> Result<Self> {
        let network = LocalNetwork::start(NODES)?;
        let runtime = Runtime::new()?;
        let settings = ClientSettings {
            network: network.network_file()?,
            identity: Arc::new(Identity::load(&network.data().join("client.key"))?),
            seen: None,
        };
        let root = VaultRoot::from_bytes(Zeroizing::new([1; 32]));
        let vault = runtime.block_on(async {
            let client = Arc::new(Client::new(settings)?);
            Vault::open(client, root).await
        })?;
        let processes = network.processes()?;
        let start = CpuTimes::now(&processes)?;
        Ok(Self { network, runtime, vault, processes, start })
    }

    fn put(&mut self, file: &Path) -> Result<()> {
        self.put_files(vec![file.to_owned()])
    }

    fn put_folder(&mut self, folder: &Path) -> Result<()> {
        let files = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
        self.put_files(files.collect::<Result<_>>()?)
    }

    fn get(&mut self, index: usize) -> Result<Vec<u8>> {
        let name = RecordName::new(record_name(index)).context("a record has a name")?;
        let found = self.vault.record(&name)?;
        let stored = found.stored(found.newest()).context("a record holds something")?;
        let mut record = Vec::new();
        self.runtime.block_on(self.vault.get(stored, None, &mut record, &NoProgress))?;
        Ok(record)
    }

    fn cpu_seconds(&self) -> Result<f64> {
        let now = CpuTimes::now(&self.processes)?;
        Ok(now.since_with_this(&self.start))
    }

    fn storage_processes(&self) -> Result<Vec<Process>> {
        self.network.nodes()
    }

    fn storage_folders(&self) -> Vec<PathBuf> {
        let local = self.network.machines();
        (1..=NODES).map(|number| local.join(format!("node-{number:02}"))).collect()
    }

    fn lose_node(&mut self, records: &Path) -> Result<u64> {
        self.put_folder(records)?;
        let status = self.network.run(&["local", "status"])?;
        let node = machines(&status).find(|machine| machine["name"] == "1");
        let lost = node.context("there is no node 1")?["bytes"].as_u64();
        self.network.run(&["local", "kill", "1"])?;
        self.network.run(&["local", "add"])?;
        self.processes = self.network.processes()?;
        self.start = CpuTimes::now(&self.processes)?;
        lost.context("`local status` does not say what node 1 holds")
    }

    fn repair(&mut self) -> Result<()> {
        self.network.run(&["repair"]).map(drop)
    }
}

impl Resident {
    fn put_files(&mut self, files: Vec<PathBuf>) -> Result<()> {
        let source = |path: PathBuf| {
            let name = RecordName::new(path.file_name()?.as_encoded_bytes())?;
            Some(Source::new(name, path))
        };
        let sources = files.into_iter().map(source).collect::<Option<_>>();
        let sources = sources.context("a path has no name")?;
        self.runtime.block_on(self.vault.put(sources, Arc::new(NoProgress)))?;
        Ok(())
    }
}
