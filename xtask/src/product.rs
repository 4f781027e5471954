//! The `kakera` program, as a user runs it: one process a command, answers as JSON.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::Process;

const PASSPHRASE: &str = "correct horse battery staple";

/// The workspace's folder.
pub(crate) fn workspace() -> &'static Path {
    match Path::new(env!("CARGO_MANIFEST_DIR")).parent() {
        Some(folder) => folder,
        None => unreachable!("xtask is a folder of the workspace"),
    }
}

/// The release build of the program.
pub(crate) fn build() -> Result<PathBuf> {
    let status = Command::new(env!("CARGO"))
        .current_dir(workspace())
        .args(["build", "--quiet", "--locked", "--release", "--package", "kakera"])
        .status()?;
    ensure!(status.success(), "kakera does not build");
    Ok(workspace().join("target/release/kakera"))
}

/// A network of processes on this machine with one client; stopped and removed when dropped.
pub(crate) struct LocalNetwork {
    program: PathBuf,
    folder: TempDir,
}

impl LocalNetwork {
    /// Starts `nodes` storage nodes and a validator, and makes a vault.
    pub(crate) fn start(nodes: u8) -> Result<Self> {
        let program = build()?;
        let folder = tempfile::Builder::new().prefix("kakera-xtask-").tempdir()?;
        let network = Self { program, folder };
        network.run(&["local", "up", "--nodes", &nodes.to_string()])?;
        network.run(&["vault", "create", "--profile", "small"])?;
        Ok(network)
    }

    /// The folder of the machines.
    pub(crate) fn machines(&self) -> PathBuf {
        self.data().join("local")
    }

    /// A folder for files of the measurement.
    pub(crate) fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// The client's data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, data: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("--json")
            .arg("--data")
            .arg(data)
            .args(arguments)
            .env("KAKERA_PASSPHRASE", PASSPHRASE)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command that must succeed; its answer.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Value> {
        self.run_over(&self.data(), arguments)
    }

    /// As [`Self::run`], with the data folder of another machine.
    pub(crate) fn run_over(&self, data: &Path, arguments: &[&str]) -> Result<Value> {
        let output = self.command(data, arguments).output()?;
        answer(&output).with_context(|| format!("kakera {}", arguments.join(" ")))
    }

    /// Starts a command.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Result<Child> {
        Ok(self.command(&self.data(), arguments).spawn()?)
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
