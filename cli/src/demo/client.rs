//! Client processes: the same program with a data folder of its own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::process::Command;

use crate::failure::{Failure, Kind};
use crate::passphrase::PASSPHRASE_VARIABLE;

const PASSPHRASE: &str = "nothing secret is kept in a demonstration";

/// A machine that owns a vault.
pub(super) struct ClientMachine {
    data: PathBuf,
    network_file: PathBuf,
}

impl ClientMachine {
    /// A machine with this data folder.
    pub(super) fn new(data: PathBuf, network_file: PathBuf) -> Self {
        Self { data, network_file }
    }

    /// Its data folder.
    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// Runs `kakera --json` with these arguments; gives its JSON object and how long it took.
    pub(super) async fn run<A: AsRef<OsStr>>(
        &self,
        arguments: &[A],
    ) -> Result<(Value, Duration), Failure> {
        let failure = |error| Failure::file(&self.data, &error);
        let begun = Instant::now();
        let output = Command::new(std::env::current_exe().map_err(failure)?)
            .arg("--json")
            .arg("--data")
            .arg(&self.data)
            .arg("--network")
            .arg(&self.network_file)
            .args(arguments)
            .env(PASSPHRASE_VARIABLE, PASSPHRASE)
            .env_remove("KAKERA_PASSPHRASE_FILE")
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(failure)?;
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        match Kind::of_exit_code(output.status.code()) {
            None => Ok((answer, begun.elapsed())),
            Some(kind) => Err(said_no(kind, &answer)),
        }
    }
}

fn said_no(kind: Kind, answer: &Value) -> Failure {
    let text =
        |key: &str, otherwise: &str| answer["error"][key].as_str().unwrap_or(otherwise).to_owned();
    Failure::new(
        kind,
        text("message", "a client process ended without a word"),
        text("try", "kakera demo"),
    )
}
