//! Client processes: the same program with a data folder of its own.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use kakera_engine::names::NodeId;
use serde_json::Value;
use tokio::process::Command;
use zeroize::Zeroizing;

use crate::failure::{Failure, Kind};
use crate::output::Output;
use crate::passphrase::PASSPHRASE_VARIABLE;
use crate::session::Session;

/// A machine at which the owner sits.
pub(super) struct ClientMachine {
    data: PathBuf,
    network_file: PathBuf,
    /// What the owner types.
    passphrase: Option<Zeroizing<String>>,
}

impl ClientMachine {
    /// A machine with this data folder.
    pub(super) fn new(data: PathBuf, network_file: PathBuf) -> Self {
        Self { data, network_file, passphrase: None }
    }

    /// The key that it is known by; made at the first use.
    pub(super) fn id(&self, output: Output) -> Result<NodeId, Failure> {
        let session = Session::over(self.data.clone(), self.network_file.clone(), output);
        Ok(session.client_identity()?.node_id())
    }

    /// Makes a vault; its handle, and the passphrase that is told once. The owner types it from here
    /// on.
    pub(super) async fn create_vault(&mut self) -> Result<(String, Zeroizing<String>), Failure> {
        let words = ["vault", "create", "--name", "demo", "--profile", "small"];
        let (vault, _) = self.run(&words).await?;
        let text = |key: &str| {
            let text = vault[key].as_str().map(str::to_owned);
            text.ok_or_else(|| {
                let message = format!("a client process did not tell its {key}");
                Failure::new(Kind::Integrity, message, "report this: it must not happen")
            })
        };
        let (handle, passphrase) = (text("handle")?, Zeroizing::new(text("passphrase")?));
        self.passphrase = Some(passphrase.clone());
        Ok((handle, passphrase))
    }

    /// Brings a vault to this machine by its handle and its passphrase.
    pub(super) async fn open_vault(
        &mut self,
        handle: &str,
        passphrase: Zeroizing<String>,
    ) -> Result<(), Failure> {
        self.passphrase = Some(passphrase);
        self.run(&["vault", "open", handle]).await.map(drop)
    }

    /// Runs `kakera --json` with these arguments; gives its JSON object and how long it took.
    pub(super) async fn run<A: AsRef<OsStr>>(
        &self,
        arguments: &[A],
    ) -> Result<(Value, Duration), Failure> {
        let failure = |error| Failure::file(&self.data, &error);
        let begun = Instant::now();
        let mut command = Command::new(std::env::current_exe().map_err(failure)?);
        command.env_remove(PASSPHRASE_VARIABLE);
        if let Some(passphrase) = &self.passphrase {
            command.env(PASSPHRASE_VARIABLE, passphrase.as_str());
        }
        let output = command
            .arg("--json")
            .arg("--data")
            .arg(&self.data)
            .arg("--network")
            .arg(&self.network_file)
            .args(arguments)
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
