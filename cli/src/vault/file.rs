//! A vault in a file: the root sealed under a passphrase, for use without identity nodes.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use getrandom::SysRng;
use kakera_engine::seal::{
    HardeningError, VaultFileError, VaultRoot, open_vault_file, seal_vault_file,
};
use rand_core::UnwrapErr;
use serde::Serialize;

use super::identity::HANDLE_FILE;
use crate::arguments::{PassphraseOptions, Profile};
use crate::failure::{Failure, Kind};
use crate::local::LocalNetwork;
use crate::output::Report;
use crate::session::{Session, replace_file};

const VAULT_FILE: &str = "vault.key";

/// Checks the passphrase of this data folder's vault file.
pub(super) fn check(session: &Session, passphrase: &PassphraseOptions) -> Result<(), Failure> {
    open_root(session, passphrase)?;
    report(session, "opens")
}

/// Whether this data folder has a vault file.
pub(super) fn exists(session: &Session) -> bool {
    session.data().join(VAULT_FILE).exists()
}

/// Removes the vault file, whose root is safe elsewhere.
pub(super) fn remove(session: &Session) -> Result<(), Failure> {
    let path = session.data().join(VAULT_FILE);
    fs::remove_file(&path).map_err(|error| Failure::file(&path, &error))
}

/// The root of this data folder's vault file.
pub(super) fn open_root(
    session: &Session,
    passphrase: &PassphraseOptions,
) -> Result<VaultRoot, Failure> {
    let file = read(session)?;
    open(&file, &session.passphrase(passphrase).read()?)
}

/// The root of this data folder's vault file, whose passphrase is known.
pub(super) fn open_root_with(session: &Session, passphrase: &str) -> Result<VaultRoot, Failure> {
    open(&read(session)?, passphrase)
}

fn read(session: &Session) -> Result<Vec<u8>, Failure> {
    let path = session.data().join(VAULT_FILE);
    fs::read(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::new(
            Kind::NotFound,
            format!("there is no vault in {}", session.data().display()),
            "kakera vault create, or kakera vault open HANDLE",
        ),
        _ => Failure::file(&path, &error),
    })
}

/// Makes a vault file.
pub(super) fn create(
    session: &Session,
    passphrase: &PassphraseOptions,
    profile: Profile,
) -> Result<(), Failure> {
    let path = vacant_path(session)?;
    let passphrase = session.passphrase(passphrase).read_new()?;
    let random = &mut UnwrapErr(SysRng);
    let root = VaultRoot::generate(random);
    let file = seal_vault_file(&root, &passphrase, profile.into(), random).map_err(failure)?;
    replace_file(&path, &file)?;
    report(session, "was made")
}

/// Brings a vault file here from another machine.
pub(super) fn bring(
    session: &Session,
    from: &Path,
    passphrase: &PassphraseOptions,
) -> Result<(), Failure> {
    let path = vacant_path(session)?;
    let file = fs::read(from).map_err(|error| Failure::file(from, &error))?;
    open(&file, &session.passphrase(passphrase).read()?)?;
    replace_file(&path, &file)?;
    report(session, "was brought here")
}

fn open(file: &[u8], passphrase: &str) -> Result<VaultRoot, Failure> {
    open_vault_file(file, passphrase).map_err(failure)
}

fn vacant_path(session: &Session) -> Result<PathBuf, Failure> {
    require_no_vault(session)?;
    Ok(session.data().join(VAULT_FILE))
}

/// Refuses a data folder that has a vault, in a file or under a handle.
pub(super) fn require_no_vault(session: &Session) -> Result<(), Failure> {
    session.make_data_folder()?;
    for name in [VAULT_FILE, HANDLE_FILE] {
        let path = session.data().join(name);
        if path.exists() {
            return Err(Failure::new(
                Kind::Usage,
                format!("there is a vault already: {}", path.display()),
                "--data DIR for a second one",
            ));
        }
    }
    Ok(())
}

fn failure(error: VaultFileError) -> Failure {
    let (kind, advice) = match error {
        VaultFileError::NotAVaultFile => (Kind::Usage, "check the path"),
        VaultFileError::Version(_) | VaultFileError::Hardening(_) => {
            (Kind::Usage, "a newer version of kakera")
        }
        VaultFileError::Damaged => (Kind::Integrity, "a copy of the vault file"),
        VaultFileError::WrongPassphrase => (Kind::Denied, "type it again"),
        VaultFileError::Passphrase(HardeningError::PassphraseLength) => {
            (Kind::Usage, "another passphrase")
        }
        VaultFileError::Passphrase(HardeningError::Memory(_)) => {
            (Kind::Failure, "free some memory, or --profile small")
        }
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
