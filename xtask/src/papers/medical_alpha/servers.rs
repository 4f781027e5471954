//! The servers of the experiment, as children of this process.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kakera_engine::names::NodeId;
use kakera_net::listening::ADDRESS_FILE;
use kakera_net::node::IDENTITY_FILE;

use crate::papers::traffic::{Bytes, LOG_FILTER, Traffic};
use crate::process::Process;
use crate::product::{Kakera, LocalNetwork, Machine, answer};

const START_TIME_MAX: Duration = Duration::from_secs(30);
const LOG_TIME_MAX: Duration = Duration::from_secs(5);
const POLL_PAUSE: Duration = Duration::from_millis(1);

/// A machine of the network whose log this process reads.
pub(super) struct Server {
    machine: Machine,
    program: Kakera,
    network_file: PathBuf,
    child: Child,
    traffic: Traffic,
}

impl Server {
    /// Ends a machine's process and starts another one.
    pub(super) async fn take_over(network: &LocalNetwork, machine: Machine) -> Result<Self> {
        machine.process.terminate()?;
        let program = network.program_over(&machine.folder);
        let network_file = network.machines().join("network.toml");
        let (child, traffic) = run(&program, &machine, &network_file)?;
        let mut server = Self { machine, program, network_file, child, traffic };
        server.wait_until_listening().await?;
        Ok(server)
    }

    /// Starts a validator that is not of the set yet, with a new key.
    pub(super) async fn found(network: &LocalNetwork, name: &str) -> Result<Self> {
        let folder = network.machines().join(name);
        let made = network.run_over(&folder, &["validator", "init", "--join"])?;
        let id = made["validator"].as_str().and_then(NodeId::from_hex).context("it has no key")?;
        // A free one: nobody else is told it before it listens there.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let process = Process::from_id(std::process::id());
        let machine = Machine { name: name.into(), id, address, folder, process };
        let program = network.program_over(&machine.folder);
        let network_file = network.machines().join("network.toml");
        let (child, traffic) = run(&program, &machine, &network_file)?;
        let mut server = Self { machine, program, network_file, child, traffic };
        server.wait_until_listening().await?;
        Ok(server)
    }

    pub(super) fn id(&self) -> NodeId {
        self.machine.id
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.machine.address
    }

    /// Runs a command over the server's folder.
    pub(super) fn run(&self, words: &[&str]) -> Result<()> {
        let network_file = self.network_file.to_str().context("the folder's name is not UTF-8")?;
        self.program.run(&[&["--network", network_file], words].concat()).map(drop)
    }

    /// What the process moved since its start.
    pub(super) fn traffic(&self) -> Bytes {
        self.traffic.bytes()
    }

    /// What the process moved, once its log tells of more than `before`. The process has written
    /// that line already; it only has to be read here.
    pub(super) fn traffic_after(&self, before: Bytes) -> Result<Bytes> {
        let start = Instant::now();
        while self.traffic() == before {
            ensure!(
                start.elapsed() < LOG_TIME_MAX,
                "the log of {} stands still",
                self.machine.name
            );
            std::thread::sleep(POLL_PAUSE);
        }
        Ok(self.traffic())
    }

    /// Ends the process as its operator would.
    pub(super) fn stop(&mut self) -> Result<()> {
        Process::from_id(self.child.id()).terminate()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts a new process over the same folder and waits until it can be asked.
    pub(super) async fn start(&mut self) -> Result<()> {
        (self.child, self.traffic) = run(&self.program, &self.machine, &self.network_file)?;
        self.wait_until_listening().await
    }

    /// Deletes the folder of a validator that was stopped, but for its key, and has its chain
    /// rebuilt from another server; the seconds that takes and the bytes moved.
    pub(super) fn rebuild_from(&self, source: &Self) -> Result<(f64, Bytes)> {
        let folder = &self.machine.folder;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else if entry.file_name() != IDENTITY_FILE {
                fs::remove_file(entry.path())?;
            }
        }
        let source = format!("{}@{}", source.machine.id, source.machine.address);
        let start = Instant::now();
        let output = self
            .program
            .command(&["--log", LOG_FILTER])
            .arg("--network")
            .arg(&self.network_file)
            .args(["validator", "init", "--recover", "--source", &source])
            .output()?;
        let seconds = start.elapsed().as_secs_f64();
        answer(&output).context("the validator was not rebuilt")?;
        Ok((seconds, Traffic::read(output.stderr.as_slice()).bytes()))
    }

    async fn wait_until_listening(&mut self) -> Result<()> {
        let start = Instant::now();
        while !self.machine.folder.join(ADDRESS_FILE).exists() {
            ensure!(
                start.elapsed() < START_TIME_MAX && self.child.try_wait()?.is_none(),
                "{} does not start",
                self.machine.name
            );
            tokio::time::sleep(POLL_PAUSE).await;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(program: &Kakera, machine: &Machine, network_file: &Path) -> Result<(Child, Traffic)> {
    // It is written again once the process listens.
    let address = machine.folder.join(ADDRESS_FILE);
    if address.exists() {
        fs::remove_file(address)?;
    }
    let mut child = program
        .command(&["--log", LOG_FILTER])
        .arg("--network")
        .arg(network_file)
        .args(machine.run_words())
        .args(["--listen", &machine.address.to_string()])
        .stdout(Stdio::null())
        .spawn()?;
    let log = child.stderr.take().context("the log is not piped")?;
    Ok((child, Traffic::follow(log)))
}
