//! A vault behind a handle: nothing of it is at rest on this machine but the handle itself.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use getrandom::SysRng;
use kakera_engine::identity::{Handle, HandleError, generate_passphrase};
use kakera_engine::seal::VaultRoot;
use kakera_net::client::{ClientError, NewPassphrase, OpenedIdentity};
use kakera_net::id::Identity;
use rand_core::UnwrapErr;
use serde::Serialize;
use zeroize::Zeroizing;

use super::{Unlocked, file};
use crate::arguments::{NewPassphraseOptions, PassphraseOptions, Profile};
use crate::failure::{Failure, Kind};
use crate::output::Report;
use crate::passphrase::{Passphrase, read_file, read_standard_input, require_strong};
use crate::session::{Connection, Session, replace_file};

/// The file with the handle, which is no secret.
pub(super) const HANDLE_FILE: &str = "handle";

/// The handle of this data folder's vault.
pub(super) fn handle(session: &Session) -> Result<Option<Handle>, Failure> {
    let path = session.data().join(HANDLE_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(
            Handle::parse(&text).map_err(|error| Failure::from(error).during(path.display()))?,
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::file(&path, &error)),
    }
}

/// Makes an identity and its vault.
pub(super) async fn create(
    session: &Session,
    name: &str,
    passphrase: &NewPassphraseOptions,
    profile: Profile,
) -> Result<(), Failure> {
    file::require_no_vault(session)?;
    let root = VaultRoot::generate(&mut UnwrapErr(SysRng));
    let given = if passphrase.passphrase_stdin {
        Some(read_standard_input()?)
    } else {
        session.passphrase(&passphrase.options).read_quietly()?
    };
    register(session, name, &root, given, profile).await
}

/// Registers the root of a vault file under a handle and removes the file.
pub(super) async fn move_to_handle(
    session: &Session,
    name: &str,
    passphrase: &PassphraseOptions,
    profile: Profile,
) -> Result<(), Failure> {
    if let Some(handle) = handle(session)? {
        let message = format!("the vault has a handle already: {handle}");
        return Err(Failure::new(Kind::Usage, message, "kakera vault open"));
    }
    let given = session.passphrase(passphrase).read()?;
    let root = file::open_root_with(session, &given)?;
    register(session, name, &root, Some(given), profile).await?;
    file::remove(session)
}

/// Makes an identity of the root; with a generated passphrase if none is given.
async fn register(
    session: &Session,
    name: &str,
    root: &VaultRoot,
    given: Option<Passphrase>,
    profile: Profile,
) -> Result<(), Failure> {
    let connection = session.connect()?;
    let random = &mut UnwrapErr(SysRng);
    let handle = Handle::generate(name, connection.client.network(), random)?;
    let machine = session.client_identity()?;
    let (new, made) = new_passphrase(given, profile)?;
    let seed = machine.signing_key().to_bytes();
    let created = connection.client.create_identity(&handle, root, &seed, new).await;
    created.map_err(|error| not_enrolled(error, &machine))?;
    if connection.client.validators().0.len() == 1 {
        session.output.narrate(
            "This network has one validator: whoever has its disk can guess the passphrase, each \
             guess at the cost of one run of Argon2id.",
        );
    }
    connection.close().await?;
    keep_handle(session, &handle)?;
    report(session, &handle, "was made", made)
}

/// Checks handle and passphrase, and makes the vault that of this data folder.
pub(super) async fn open(
    session: &Session,
    handle: Handle,
    passphrase: &PassphraseOptions,
) -> Result<(), Failure> {
    if self::handle(session)?.is_none_or(|own| own != handle) {
        file::require_no_vault(session)?;
    }
    let mut connection = session.connect()?;
    let unlocked = unlock(session, &connection, &handle, passphrase).await?;
    if let Some(machine) = unlocked.machine {
        session.change_machine(&mut connection, machine).await?;
    }
    connection.client.head().await?;
    connection.close().await?;
    keep_handle(session, &handle)?;
    report(session, &handle, "opens", None)
}

/// Opens the identity with its passphrase.
pub(super) async fn unlock(
    session: &Session,
    connection: &Connection,
    handle: &Handle,
    passphrase: &PassphraseOptions,
) -> Result<Unlocked, Failure> {
    let opened = open_identity(session, connection, handle, passphrase).await?;
    let machine = machine_of(&opened)?;
    Ok(Unlocked { root: opened.root, machine: Some(machine) })
}

/// Wraps the root under another passphrase.
pub(super) async fn change_passphrase(
    session: &Session,
    passphrase: &PassphraseOptions,
    new_file: Option<&Path>,
    profile: Profile,
) -> Result<(), Failure> {
    let handle = require_handle(session)?;
    let mut connection = session.connect()?;
    let opened = open_identity(session, &connection, &handle, passphrase).await?;
    session.change_machine(&mut connection, machine_of(&opened)?).await?;
    let given = new_file.map(read_file).transpose()?;
    let made = rewrap(&connection, &opened, given, profile).await?;
    connection.close().await?;
    report(session, &handle, "has another passphrase", made)
}

/// Gives an opened identity another passphrase; a generated one, which is given back, if none is
/// given.
pub(super) async fn rewrap(
    connection: &Connection,
    opened: &OpenedIdentity,
    given: Option<Passphrase>,
    profile: Profile,
) -> Result<Option<Passphrase>, Failure> {
    let (new, made) = new_passphrase(given, profile)?;
    connection.client.rewrap_identity(opened, new).await?;
    Ok(made)
}

/// The handle of this data folder's vault, which must have one.
pub(super) fn require_handle(session: &Session) -> Result<Handle, Failure> {
    handle(session)?.ok_or_else(|| {
        let (message, advice) = if file::exists(session) {
            ("the vault of this data folder has no handle", "kakera vault move-to-handle")
        } else {
            ("there is no vault in this data folder", "kakera vault open HANDLE")
        };
        Failure::new(Kind::NotFound, message, advice)
    })
}

/// Makes the handle that of this data folder.
pub(super) fn keep_handle(session: &Session, handle: &Handle) -> Result<(), Failure> {
    session.make_data_folder()?;
    replace_file(&session.data().join(HANDLE_FILE), format!("{handle}\n").as_bytes())
}

/// Says what became of the vault, with a generated passphrase, which is shown once.
pub(super) fn report(
    session: &Session,
    handle: &Handle,
    what: &'static str,
    passphrase: Option<Passphrase>,
) -> Result<(), Failure> {
    session.output.report(&IdentityReport { handle: handle.to_string(), passphrase, what })
}

/// The key of the machine that the operator enrolled for the vault.
pub(super) fn machine_of(opened: &OpenedIdentity) -> Result<Arc<Identity>, Failure> {
    let seed = <[u8; 32]>::try_from(&opened.attachment[..]).map(Zeroizing::new).map_err(|_| {
        let message = "the identity was made by a newer program";
        Failure::new(Kind::Usage, message, "a newer version of kakera")
    })?;
    Ok(Arc::new(Identity::from_seed(&seed)))
}

async fn open_identity(
    session: &Session,
    connection: &Connection,
    handle: &Handle,
    passphrase: &PassphraseOptions,
) -> Result<OpenedIdentity, Failure> {
    let passphrase = session.passphrase(passphrase).read()?;
    let opened = connection.client.open_identity(handle, passphrase).await?;
    for liar in &opened.liars {
        session.output.narrate(&format!("The identity node {liar} answered with something false."));
    }
    Ok(opened)
}

/// The passphrase to wrap with, and once more if it was made here.
fn new_passphrase(
    given: Option<Passphrase>,
    profile: Profile,
) -> Result<(NewPassphrase, Option<Passphrase>), Failure> {
    let hardening = profile.into();
    match given {
        Some(passphrase) => {
            require_strong(&passphrase)?;
            Ok((NewPassphrase { passphrase, hardening }, None))
        }
        None => {
            let passphrase = generate_passphrase(&mut UnwrapErr(SysRng));
            let made = Some(passphrase.clone());
            Ok((NewPassphrase { passphrase, hardening }, made))
        }
    }
}

fn not_enrolled(error: ClientError, machine: &Identity) -> Failure {
    let mut failure = Failure::from(error);
    if failure.kind == Kind::Denied {
        failure.advice = format!("kakera node enrol --submitter {}, then again", machine.node_id());
    }
    failure
}

impl From<HandleError> for Failure {
    fn from(error: HandleError) -> Self {
        let advice = match error {
            HandleError::OtherNetwork => "--network FILE with the network file of that network",
            HandleError::Name => "--name sato",
            HandleError::Form | HandleError::Checksum => "type it again",
        };
        Self::new(Kind::Usage, error.to_string(), advice)
    }
}

#[derive(Serialize)]
struct IdentityReport {
    handle: String,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "expose")]
    passphrase: Option<Passphrase>,
    #[serde(skip)]
    what: &'static str,
}

fn expose<S: serde::Serializer>(
    passphrase: &Option<Passphrase>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(passphrase.as_ref().map_or("", |passphrase| passphrase.as_str()))
}

impl Report for IdentityReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "The vault {} {}.", self.handle, self.what)?;
        if let Some(passphrase) = &self.passphrase {
            writeln!(out, "\n  {}\n", **passphrase)?;
            writeln!(
                out,
                "This is its passphrase. Write it down with the handle: it is shown once,"
            )?;
            writeln!(
                out,
                "and without it only a recovery kit opens the vault: kakera vault recovery"
            )?;
        }
        Ok(())
    }
}
