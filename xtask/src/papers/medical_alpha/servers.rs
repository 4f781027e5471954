//! The servers of the experiment.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kakera_engine::names::NodeId;
use kakera_net::listening::ADDRESS_FILE;

use crate::papers::traffic::{Bytes, LOG_FILTER, Traffic};
use crate::process::Process;
use crate::product::{Kakera, LocalNetwork, Machine, answer};

const START_TIME_MAX: Duration = Duration::from_secs(30);
const POLL_PAUSE: Duration = Duration::from_millis(1);

/// The server that is not written to: a child of this process, which reads its log.
pub(super) struct Other {
    machine: Machine,
    program: Kakera,
    network_file: PathBuf,
    child: Child,
    traffic: Traffic,
}

impl Other {
    /// Starts a machine of the network again, as a child of this process.
    pub(super) fn take_over(network: &LocalNetwork, machine: Machine) -> Result<Self> {
        machine.process.terminate()?;
        let program = network.program_over(&machine.folder);
        let network_file = network.machines().join("network.toml");
        let (child, traffic) = run(&program, &machine, &network_file)?;
        Ok(Self { machine, program, network_file, child, traffic })
    }

    pub(super) fn id(&self) -> NodeId {
        self.machine.id
    }

    /// What the process moved since its start.
    pub(super) fn traffic(&self) -> Bytes {
        self.traffic.bytes()
    }

    /// Ends the process as its operator would.
    pub(super) fn stop(&mut self) -> Result<()> {
        Process::from_id(self.child.id()).terminate()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts a new process over the same folder.
    pub(super) fn start(&mut self) -> Result<()> {
        (self.child, self.traffic) = run(&self.program, &self.machine, &self.network_file)?;
        Ok(())
    }

    /// Waits until the process can be asked.
    pub(super) async fn wait_until_listening(&mut self) -> Result<()> {
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

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(program: &Kakera, machine: &Machine, network_file: &PathBuf) -> Result<(Child, Traffic)> {
    fs::remove_file(machine.folder.join(ADDRESS_FILE))?;
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

/// Deletes the validator's folder but for its key and has it rebuilt from the other server; the
/// seconds until it has the whole chain again, and what it moved.
pub(super) fn rebuild_validator(network: &LocalNetwork, other: &Other) -> Result<(f64, Bytes)> {
    let machines = network.running()?;
    let validator = machines.iter().find(|machine| machine.is_validator());
    let validator = validator.context("no validator runs")?;
    validator.process.terminate()?;
    let kept = network.scratch().join("identity.key");
    let key = validator.folder.join("identity.key");
    fs::rename(&key, &kept)?;
    fs::remove_dir_all(&validator.folder)?;
    fs::create_dir(&validator.folder)?;
    fs::rename(&kept, &key)?;
    let source = format!("{}@{}", other.machine.id, other.machine.address);
    let start = Instant::now();
    let output = network
        .program_over(&validator.folder)
        .command(&["--log", LOG_FILTER])
        .arg("--network")
        .arg(&other.network_file)
        .args(["validator", "init", "--recover", "--source", &source])
        .output()?;
    let seconds = start.elapsed().as_secs_f64();
    answer(&output).context("the validator was not rebuilt")?;
    network.run(&["local", "up"])?;
    Ok((seconds, Traffic::read(output.stderr.as_slice()).bytes()))
}
