//! `kakera vault`: the sealed root from which an owner's every key follows.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use getrandom::SysRng;
use kakera_engine::seal::{Hardening, VaultFileError, VaultRoot, open_vault_file, seal_vault_file};
use rand_core::UnwrapErr;
use serde::Serialize;

use crate::arguments::{PassphraseOptions, Profile, VaultCommand};
use crate::failure::{Failure, Kind};
use crate::local::LocalNetwork;
use crate::output::Report;
use crate::session::{Session, replace_file};

const VAULT_FILE: &str = "vault.key";

/// Runs a vault command.
pub(crate) fn run(session: &Session, command: &VaultCommand) -> Result<(), Failure> {
    match command {
        VaultCommand::Create { passphrase, profile } => create(session, passphrase, *profile),
        VaultCommand::Open { file: None, passphrase } => {
            open_root(session, passphrase)?;
            report(session, "opens")
        }
        VaultCommand::Open { file: Some(file), passphrase } => bring(session, file, passphrase),
    }
}

/// The root of this data folder's vault.
pub(crate) fn open_root(
    session: &Session,
    passphrase: &PassphraseOptions,
) -> Result<VaultRoot, Failure> {
    let path = session.data().join(VAULT_FILE);
    let file = fs::read(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::new(
            Kind::NotFound,
            format!("there is no vault in {}", session.data().display()),
            "kakera vault create, or kakera vault open FILE with a vault file of another machine",
        ),
        _ => Failure::file(&path, &error),
    })?;
    open(&file, session, passphrase)
}

fn create(
    session: &Session,
    passphrase: &PassphraseOptions,
    profile: Profile,
) -> Result<(), Failure> {
    let path = vacant_path(session)?;
    let hardening = match profile {
        Profile::Standard => Hardening::Standard,
        Profile::Small => Hardening::SmallMachine,
    };
    let passphrase = session.passphrase(passphrase).read_new()?;
    let random = &mut UnwrapErr(SysRng);
    let root = VaultRoot::generate(random);
    let file = seal_vault_file(&root, &passphrase, hardening, random).map_err(failure)?;
    replace_file(&path, &file)?;
    report(session, "was made")
}

fn bring(session: &Session, from: &Path, passphrase: &PassphraseOptions) -> Result<(), Failure> {
    let path = vacant_path(session)?;
    let file = fs::read(from).map_err(|error| Failure::file(from, &error))?;
    open(&file, session, passphrase)?;
    replace_file(&path, &file)?;
    report(session, "was brought here")
}

fn open(
    file: &[u8],
    session: &Session,
    passphrase: &PassphraseOptions,
) -> Result<VaultRoot, Failure> {
    open_vault_file(file, &session.passphrase(passphrase).read()?).map_err(failure)
}

fn vacant_path(session: &Session) -> Result<PathBuf, Failure> {
    session.make_data_folder()?;
    let path = session.data().join(VAULT_FILE);
    if path.exists() {
        return Err(Failure::new(
            Kind::Usage,
            format!("there is a vault already: {}", path.display()),
            "--data DIR for a second one",
        ));
    }
    Ok(path)
}

fn failure(error: VaultFileError) -> Failure {
    let (kind, advice) = match error {
        VaultFileError::NotAVaultFile => (Kind::Usage, "check the path"),
        VaultFileError::Version(_) | VaultFileError::Hardening(_) => {
            (Kind::Usage, "a newer version of kakera")
        }
        VaultFileError::Damaged => (Kind::Integrity, "a copy of the vault file"),
        VaultFileError::WrongPassphrase => (Kind::Denied, "type it again"),
        VaultFileError::PassphraseLength => (Kind::Usage, "another passphrase"),
        VaultFileError::Memory(_) => (Kind::Failure, "free some memory, or --profile small"),
    };
    Failure::new(kind, error.to_string(), advice)
}

#[derive(Serialize)]
struct VaultReport {
    vault: PathBuf,
    client: String,
    #[serde(skip)]
    what: &'static str,
    /// A local network enrols its owner by itself.
    #[serde(skip)]
    enrols_itself: bool,
}

impl Report for VaultReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "The vault {} {}.", self.vault.display(), self.what)?;
        if self.enrols_itself {
            return Ok(());
        }
        writeln!(out, "This machine's key is {}; the operator enrols it with", self.client)?;
        writeln!(out, "  kakera node enrol --submitter {}", self.client)
    }
}

fn report(session: &Session, what: &'static str) -> Result<(), Failure> {
    let client = session.client_identity()?.node_id().to_string();
    let vault = session.data().join(VAULT_FILE);
    let enrols_itself = LocalNetwork::exists(&session.local_folder());
    session.output.report(&VaultReport { vault, client, what, enrols_itself })
}
