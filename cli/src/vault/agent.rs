//! The agent: a process that keeps an opened vault in memory for the commands of one data folder,
//! and forgets it when none has come for a while. It answers at a socket that only its user can
//! reach.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kakera_engine::seal::VaultRoot;
use kakera_net::id::Identity;
use rustix::process::{DumpableBehavior, getuid, set_dumpable_behavior};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use zeroize::Zeroizing;

use super::{Unlocked, unlock};
use crate::arguments::PassphraseOptions;
use crate::failure::{Failure, Kind};
use crate::output::Report;
use crate::session::Session;

const SOCKET: &str = "agent.sock";
/// What a command says: give the keys, or end.
const KEYS: u8 = 1;
const END: u8 = 2;
/// The root, then the machine's seed.
const ANSWER_LEN: usize = 64;
const PATIENCE: Duration = Duration::from_secs(2);

/// Opens the vault and keeps it until no command has come for `minutes`.
pub(super) async fn run(
    session: &Session,
    minutes: u32,
    passphrase: &PassphraseOptions,
) -> Result<(), Failure> {
    session.make_data_folder()?;
    let path = socket(session);
    let folder =
        fs::metadata(session.data()).map_err(|error| Failure::file(session.data(), &error))?;
    if folder.mode() & 0o077 != 0 {
        let message = format!("others may look into {}", session.data().display());
        let advice = format!("chmod 700 {}", session.data().display());
        return Err(Failure::new(Kind::Denied, message, advice));
    }
    if ask(session).is_some() {
        return Err(Failure::new(Kind::Usage, "an agent runs already", "kakera vault lock"));
    }
    // Neither a debugger nor a core dump of this user gets at the keys.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| Failure::file(&path, &error.into()))?;
    let connection = session.connect()?;
    let Unlocked { root, machine } = unlock(session, &connection, passphrase).await?;
    let machine = match machine {
        Some(machine) => machine,
        None => session.client_identity()?,
    };
    connection.close().await?;
    let mut keys = Zeroizing::new([0; ANSWER_LEN]);
    keys[..32].copy_from_slice(root.expose());
    keys[32..].copy_from_slice(machine.signing_key().as_bytes());
    drop((root, machine));
    let failure = |error: io::Error| Failure::file(&path, &error);
    // What a killed agent left behind.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failure(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(failure)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failure)?;
    session.output.report(&AgentReport { minutes })?;
    let served = serve(&listener, &keys, Duration::from_secs(60 * u64::from(minutes))).await;
    fs::remove_file(&path).and(served).map_err(failure)
}

/// The vault of a running agent.
pub(super) fn ask(session: &Session) -> Option<Unlocked> {
    let mut stream = connect(session)?;
    stream.write_all(&[KEYS]).ok()?;
    let mut keys = Zeroizing::new([0; ANSWER_LEN]);
    stream.read_exact(keys.as_mut()).ok()?;
    let (mut root, mut seed) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
    root.copy_from_slice(&keys[..32]);
    seed.copy_from_slice(&keys[32..]);
    let machine = Some(Arc::new(Identity::from_seed(&seed)));
    Some(Unlocked { root: VaultRoot::from_bytes(root), machine })
}

/// Ends the agent, if one runs.
pub(super) fn end(session: &Session) -> Result<(), Failure> {
    let ended = connect(session).map(|mut stream| stream.write_all(&[END]));
    match ended {
        Some(Ok(())) => session.output.report(&AgentReport { minutes: 0 }),
        _ => Err(Failure::new(
            Kind::NotFound,
            "no agent runs for this data folder",
            "kakera vault agent",
        )),
    }
}

/// A connection to the agent, if the socket is this user's own.
fn connect(session: &Session) -> Option<UnixStream> {
    let path = socket(session);
    let metadata = fs::symlink_metadata(&path).ok()?;
    let own = metadata.file_type().is_socket() && metadata.uid() == getuid().as_raw();
    let stream = own.then(|| UnixStream::connect(&path).ok()).flatten()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    Some(stream)
}

fn socket(session: &Session) -> PathBuf {
    session.data().join(SOCKET)
}

async fn serve(listener: &UnixListener, keys: &[u8; ANSWER_LEN], idle: Duration) -> io::Result<()> {
    while let Ok(accepted) = tokio::time::timeout(idle, listener.accept()).await {
        let (mut stream, _) = accepted?;
        let talk = async {
            match stream.read_u8().await? {
                KEYS => stream.write_all(keys).await.map(|()| false),
                other => Ok(other == END),
            }
        };
        // A command that says nothing, or goes away, is none of the agent's business.
        if matches!(tokio::time::timeout(PATIENCE, talk).await, Ok(Ok(true))) {
            break;
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct AgentReport {
    minutes: u32,
}

impl Report for AgentReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        match self.minutes {
            0 => writeln!(out, "The agent has forgotten the vault."),
            minutes => writeln!(
                out,
                "The vault stays open until {minutes} minutes pass without a command."
            ),
        }
    }
}
