//! `kakera vault`: the root from which an owner's every key follows, behind a handle and a
//! passphrase, or in a file.

mod agent;
mod file;
mod identity;
mod recovery;

use std::sync::Arc;

use kakera_engine::identity::Handle;
use kakera_engine::seal::{Hardening, VaultRoot};
use kakera_net::id::Identity;

use crate::arguments::{PassphraseOptions, Profile, VaultCommand};
use crate::failure::Failure;
use crate::session::{Connection, Session};

/// What opening a vault gives.
pub(crate) struct Unlocked {
    /// From which every key follows.
    pub(crate) root: VaultRoot,
    /// The machine that the operator enrolled for this vault, where it is not this one's own key.
    pub(crate) machine: Option<Arc<Identity>>,
}

/// Runs a vault command.
pub(crate) async fn run(session: &Session, command: &VaultCommand) -> Result<(), Failure> {
    match command {
        VaultCommand::Create { file: true, passphrase, profile, .. } => {
            file::create(session, &passphrase.options, *profile)
        }
        VaultCommand::Create { name, passphrase, profile, .. } => {
            identity::create(session, name, passphrase, *profile).await
        }
        VaultCommand::Open { from: None, passphrase } => match identity::handle(session)? {
            Some(handle) => identity::open(session, handle, passphrase).await,
            None => file::check(session, passphrase),
        },
        VaultCommand::Open { from: Some(from), passphrase } => match Handle::parse(from) {
            Err(_) if std::path::Path::new(from).exists() => {
                file::bring(session, from.as_ref(), passphrase)
            }
            handle => identity::open(session, handle?, passphrase).await,
        },
        VaultCommand::Passphrase { passphrase, new_file, profile } => {
            identity::change_passphrase(session, passphrase, new_file.as_deref(), *profile).await
        }
        VaultCommand::MoveToHandle { name, passphrase, profile } => {
            identity::move_to_handle(session, name, passphrase, *profile).await
        }
        VaultCommand::Recovery { shares, threshold, passphrase } => {
            recovery::make(session, *shares, *threshold, passphrase).await
        }
        VaultCommand::Recover { handle, shares, profile } => {
            recovery::recover(session, handle.as_deref(), shares.as_deref(), *profile).await
        }
        VaultCommand::Agent { minutes, passphrase } => {
            agent::run(session, *minutes, passphrase).await
        }
        VaultCommand::Lock => agent::end(session),
    }
}

/// Opens the vault of this data folder: with the agent, if one runs, else with its passphrase.
pub(crate) async fn unlock(
    session: &Session,
    connection: &Connection,
    passphrase: &PassphraseOptions,
) -> Result<Unlocked, Failure> {
    if let Some(unlocked) = agent::ask(session) {
        return Ok(unlocked);
    }
    match identity::handle(session)? {
        Some(handle) => identity::unlock(session, connection, &handle, passphrase).await,
        None => Ok(Unlocked { root: file::open_root(session, passphrase)?, machine: None }),
    }
}

impl From<Profile> for Hardening {
    fn from(profile: Profile) -> Self {
        match profile {
            Profile::Standard => Self::Standard,
            Profile::Small => Self::SmallMachine,
        }
    }
}
