//! The `kakera` program, as a user runs it: one process a command, answers as JSON.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use kakera_engine::names::NodeId;
use kakera_net::network_file::NetworkFile;
use serde_json::Value;
use tempfile::TempDir;

use crate::process::Process;

/// Configures a machine to show its figures.
pub(crate) const OBSERVED: &str = "observe = '127.0.0.1:0'\n";

const PASSPHRASE: &str = "correct horse battery staple";

/// The workspace's folder.
pub(crate) fn workspace() -> &'static Path {
    match Path::new(env!("CARGO_MANIFEST_DIR")).parent() {
        Some(folder) => folder,
        None => unreachable!("xtask is a folder of the workspace"),
    }
}

/// The program, built.
pub(crate) fn build() -> Result<PathBuf> {
    build_program("kakera", &["--package", "kakera"])
}

/// The release build of a program, with the features that these packages need; with
/// `XTASK_PROFILE=dev` what `cargo test --workspace` has built, for the gate, which measures nothing.
pub(crate) fn build_program(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let is_dev = env::var("XTASK_PROFILE").is_ok_and(|profile| profile == "dev");
    let (words, folder) =
        if is_dev { (&["--workspace"][..], "debug") } else { (packages, "release") };
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(workspace()).args(["build", "--quiet", "--locked", "--bin", name]);
    if !is_dev {
        command.arg("--release");
    }
    ensure!(command.args(words).status()?.success(), "{name} does not build");
    Ok(workspace().join("target").join(folder).join(name))
}

/// The program over one data folder.
#[derive(Clone, Debug)]
pub(crate) struct Kakera {
    program: PathBuf,
    data: PathBuf,
}

impl Kakera {
    /// This program over this data folder.
    pub(crate) fn new(program: impl Into<PathBuf>, data: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), data: data.into() }
    }

    /// A command that answers as JSON, not yet started.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("--json")
            .arg("--data")
            .arg(&self.data)
            .args(arguments)
            .env("KAKERA_PASSPHRASE", PASSPHRASE)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command, and kills it if it takes longer.
    pub(crate) fn run_within(&self, time: Duration, arguments: &[&str]) -> Result<Output> {
        let mut child = self.command(arguments).spawn()?;
        let start = Instant::now();
        while child.try_wait()?.is_none() {
            if start.elapsed() > time {
                child.kill()?;
            }
            sleep(Duration::from_millis(2));
        }
        Ok(child.wait_with_output()?)
    }

    /// Runs a command that must succeed; its answer.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.command(arguments).output()?;
        answer(&output).with_context(|| format!("kakera {}", arguments.join(" ")))
    }
}

/// A network of processes on this machine with one client; stopped and removed when dropped.
pub(crate) struct LocalNetwork {
    program: PathBuf,
    folder: TempDir,
}

/// Starts validators and followers of their ledger, without a vault.
pub(crate) fn ledger_network(validators: u8, nodes: u8) -> Result<LocalNetwork> {
    let (validators, nodes) = (validators.to_string(), nodes.to_string());
    let mut options = vec!["--nodes", &nodes];
    if validators != "1" {
        options.extend(["--validators", &validators]);
    }
    LocalNetwork::up(build()?, &options)
}

/// A validator or storage node of a local network.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// `validator…`, or a storage node's number.
    pub(crate) name: String,
    /// Its key.
    pub(crate) id: NodeId,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// Its process.
    pub(crate) process: Process,
}

impl Machine {
    /// Whether it orders entries.
    pub(crate) fn is_validator(&self) -> bool {
        self.name.starts_with("validator")
    }

    /// The words of `kakera` that run it.
    pub(crate) fn run_words(&self) -> [&'static str; 2] {
        [if self.is_validator() { "validator" } else { "node" }, "run"]
    }

    fn read(status: &Value, machines: &Path) -> Option<Self> {
        let name = status["name"].as_str()?.to_owned();
        let folder = match name.parse::<u16>() {
            Ok(number) => format!("node-{number:02}"),
            Err(_) => name.clone(),
        };
        Some(Self {
            id: NodeId::from_hex(status["id"].as_str()?)?,
            address: status["address"].as_str()?.parse().ok()?,
            folder: machines.join(folder),
            process: Process::from_id(status["pid"].as_u64()?.try_into().ok()?),
            name,
        })
    }
}

impl LocalNetwork {
    /// Starts `nodes` storage nodes and a validator, and makes a vault.
    pub(crate) fn start(nodes: u8) -> Result<Self> {
        let network = Self::up(build()?, &["--nodes", &nodes.to_string()])?;
        network.create_vault()?;
        Ok(network)
    }

    /// Starts the machines of a new network; `options` are those of `local up`.
    pub(crate) fn up(program: PathBuf, options: &[&str]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("kakera-xtask-").tempdir()?;
        let network = Self { program, folder };
        network.run(&[&["local", "up"], options].concat())?;
        Ok(network)
    }

    /// Makes the client's vault, at the lowest cost of a passphrase.
    pub(crate) fn create_vault(&self) -> Result<()> {
        self.run(&["vault", "create", "--file", "--profile", "small"]).map(drop)
    }

    /// Starts all machines again with this `config.toml`.
    pub(crate) fn configure(&self, configuration: &str) -> Result<()> {
        self.run(&["local", "down"])?;
        for entry in fs::read_dir(self.machines())? {
            let folder = entry?.path();
            if folder.is_dir() {
                fs::write(folder.join("config.toml"), configuration)?;
            }
        }
        self.run(&["local", "up"]).map(drop)
    }

    /// From now on, commands and the machines that they start are of another program.
    pub(crate) fn set_program(&mut self, program: PathBuf) {
        self.program = program;
    }

    /// The folder of the machines.
    pub(crate) fn machines(&self) -> PathBuf {
        self.data().join("local")
    }

    /// A folder for files of the measurement.
    pub(crate) fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves the folder there when the network is dropped; where it is.
    pub(crate) fn keep(&mut self) -> &Path {
        self.folder.disable_cleanup(true);
        self.folder.path()
    }

    /// The client's data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The program as the client runs it.
    pub(crate) fn client(&self) -> Kakera {
        self.program_over(&self.data())
    }

    /// The program over the data folder of a machine.
    pub(crate) fn program_over(&self, data: &Path) -> Kakera {
        Kakera::new(&self.program, data)
    }

    /// What is needed to join.
    pub(crate) fn network_file(&self) -> Result<NetworkFile> {
        Ok(NetworkFile::parse(&fs::read_to_string(self.machines().join("network.toml"))?)?)
    }

    /// Runs a command of the client that must succeed; its answer.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Value> {
        self.client().run(arguments)
    }

    /// As [`Self::run`], with the data folder of another machine.
    pub(crate) fn run_over(&self, data: &Path, arguments: &[&str]) -> Result<Value> {
        self.program_over(data).run(arguments)
    }

    /// Starts a command of the client.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Result<Child> {
        Ok(self.client().command(arguments).spawn()?)
    }

    /// The running validators and storage nodes, in the order of `local status`.
    pub(crate) fn running(&self) -> Result<Vec<Machine>> {
        let status = self.run(&["local", "status"])?;
        let folder = self.machines();
        Ok(machines(&status).filter_map(|machine| Machine::read(machine, &folder)).collect())
    }

    /// The running nodes and validators.
    pub(crate) fn processes(&self) -> Result<Vec<Process>> {
        Process::all_of(self.folder.path())
    }

    /// The running storage nodes.
    pub(crate) fn nodes(&self) -> Result<Vec<Process>> {
        self.processes_that_are("node")
    }

    /// The running validators.
    pub(crate) fn validators(&self) -> Result<Vec<Process>> {
        self.processes_that_are("validator")
    }

    fn processes_that_are(&self, role: &str) -> Result<Vec<Process>> {
        let mut processes = self.processes()?;
        processes.retain(|process| {
            let line = process.command_line().unwrap_or_default();
            line.split('\0').any(|argument| argument == role)
        });
        Ok(processes)
    }
}

impl Drop for LocalNetwork {
    fn drop(&mut self) {
        let _ = self.run(&["local", "down"]);
        for process in self.processes().unwrap_or_default() {
            let _ = process.kill();
        }
    }
}

/// What a finished command answered, if it succeeded.
pub(crate) fn answer(output: &Output) -> Result<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let log = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}{}", output.status, text.trim(), log.trim());
    }
    // An answer is one line; nothing else is on standard output.
    Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
}

/// The sum of all figures of this name in an answer.
pub(crate) fn total(answer: &Value, name: &str) -> f64 {
    match answer {
        Value::Object(fields) => {
            let own = fields.get(name).and_then(Value::as_f64).unwrap_or(0.0);
            own + fields.values().map(|value| total(value, name)).sum::<f64>()
        }
        Value::Array(items) => items.iter().map(|item| total(item, name)).sum(),
        _ => 0.0,
    }
}

/// The machines in the answer of a `local` command.
pub(crate) fn machines(answer: &Value) -> impl Iterator<Item = &Value> {
    answer["processes"].as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_are_found_wherever_they_are() {
        let answer = json!({ "slots": [{ "bytes": 1 }, { "bytes": 2.5 }], "bytes": 4, "n": 9 });
        assert_eq!(total(&answer, "bytes"), 7.5);
        assert_eq!(total(&answer, "absent"), 0.0);
    }
}
