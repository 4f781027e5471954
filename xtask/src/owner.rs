//! Who knows the handle and the passphrase of a vault.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::product::{self, LocalNetwork};

const PASSPHRASE: &str = "KAKERA_PASSPHRASE";

/// The owner of a vault with a handle, who keeps nothing of it on any machine.
pub(crate) struct Owner {
    /// What the vault is known by.
    pub(crate) handle: String,
    /// What the program made up.
    pub(crate) passphrase: String,
}

impl Owner {
    /// Makes a vault in the network's data folder, with a passphrase that the program makes.
    pub(crate) fn new(network: &LocalNetwork, name: &str) -> Result<Self> {
        let words = ["vault", "create", "--name", name, "--profile", "small"];
        let output = network.client().command(&words).env_remove(PASSPHRASE).output()?;
        let made = product::answer(&output)?;
        let text = |key: &str| made[key].as_str().map(str::to_owned);
        let handle = text("handle").context("the vault has no handle")?;
        let passphrase = text("passphrase").context("no passphrase was made")?;
        Ok(Self { handle, passphrase })
    }

    /// A command over a data folder, not yet started.
    pub(crate) fn command(
        &self,
        network: &LocalNetwork,
        data: &Path,
        words: &[&str],
    ) -> Result<Command> {
        let network_file = network.machines().join("network.toml");
        let network_file = network_file.to_str().context("not UTF-8")?;
        let words = [&["--network", network_file], words].concat();
        let mut command = network.program_over(data).command(&words);
        command.env(PASSPHRASE, &self.passphrase);
        Ok(command)
    }

    /// Runs a command over a data folder; its answer and the seconds that it took.
    pub(crate) fn run(
        &self,
        network: &LocalNetwork,
        data: &Path,
        words: &[&str],
    ) -> Result<(Value, f64)> {
        let start = Instant::now();
        let output = self.command(network, data, words)?.output()?;
        let answer = product::answer(&output).with_context(|| words.join(" "))?;
        Ok((answer, start.elapsed().as_secs_f64()))
    }
}
