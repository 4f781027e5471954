//! The folder of one process: its key, its pid file, its log, the address it told.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use kakera_engine::names::NodeId;
use kakera_net::listening::ADDRESS_FILE;
use kakera_net::node::IDENTITY_FILE;
use rustix::process::Signal;
use serde::Serialize;

use super::network::Lifetime;
use super::process::Process;
use crate::configuration::CONFIG_FILE;
use crate::failure::{Failure, Kind};
use crate::session::{load_identity, make_identity, make_private_folder, replace_file};

const KILLED_FILE: &str = "killed";
const LOG_FILE: &str = "log";
const PID_FILE: &str = "pid";
/// How long a process may take to end by itself.
const END_TIME: Duration = Duration::from_secs(5);
const LOG_LINES_SHOWN: usize = 3;

/// What a process of a local network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Validator,
    Node,
}

/// Whether a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Running,
    Stopped,
    /// Killed for good by `kakera local kill`.
    Killed,
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Killed => "killed",
        })
    }
}

/// A folder with all that one process owns.
#[derive(Clone, Debug)]
pub(crate) struct MachineFolder {
    path: PathBuf,
    role: Role,
}

impl MachineFolder {
    /// The folder at `path`.
    pub(crate) fn new(path: PathBuf, role: Role) -> Self {
        Self { path, role }
    }

    /// Makes the folder with a fresh key.
    pub(crate) fn create(&self) -> Result<(), Failure> {
        make_private_folder(&self.path)?;
        make_identity(&self.path.join(IDENTITY_FILE)).map(drop)
    }

    /// Takes over another folder's `config.toml`, if it has one.
    pub(crate) fn configure_as(&self, other: &Self) -> Result<(), Failure> {
        match fs::copy(other.path.join(CONFIG_FILE), self.path.join(CONFIG_FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Failure::file(&self.path, &error))
            }
            _ => Ok(()),
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The machine's key.
    pub(crate) fn node_id(&self) -> Result<NodeId, Failure> {
        let identity = load_identity(&self.path.join(IDENTITY_FILE), "kakera local up")?;
        Ok(identity.node_id())
    }

    /// The process that was started last.
    pub(crate) fn process(&self) -> Option<Process> {
        Process::load(&self.path.join(PID_FILE))
    }

    /// Whether the process runs.
    pub(crate) fn is_running(&self) -> bool {
        self.process().is_some_and(|process| process.is_running())
    }

    /// Whether the process runs, and if not, why.
    pub(crate) fn state(&self) -> State {
        if self.is_running() {
            State::Running
        } else if self.path.join(KILLED_FILE).exists() {
            State::Killed
        } else {
            State::Stopped
        }
    }

    /// Where the process listens, or listened last.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        fs::read_to_string(self.path.join(ADDRESS_FILE)).ok()?.trim().parse().ok()
    }

    /// Starts the process; it is told to listen on `listen`.
    pub(crate) fn start(
        &self,
        network_file: &Path,
        listen: SocketAddr,
        lifetime: Lifetime,
    ) -> Result<(), Failure> {
        let failure = |error| Failure::file(&self.path, &error);
        // It tells its address again once it listens; the port comes from `listen`.
        remove_if_there(&self.path.join(ADDRESS_FILE)).map_err(failure)?;
        let log = OpenOptions::new().create(true).append(true).open(self.path.join(LOG_FILE));
        let mut command = Command::new(std::env::current_exe().map_err(failure)?);
        // Neither a passphrase nor settings meant for the client.
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_ours(name)) {
            command.env_remove(name);
        }
        command
            .arg("--data")
            .arg(&self.path)
            .arg("--network")
            .arg(network_file)
            .args(["--log", "info"])
            .args(match self.role {
                Role::Validator => ["validator", "run"],
                Role::Node => ["node", "run"],
            })
            .args(["--listen", &listen.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.map_err(failure)?);
        match lifetime {
            // Its own group: the terminal's ctrl-C is not for it.
            Lifetime::Persistent => command.process_group(0),
            Lifetime::WithParent => command
                .args(["--die-with-parent", &std::process::id().to_string()])
                .process_group(0),
        };
        let child = command.spawn().map_err(failure)?;
        let process = Process::running(child.id()).map_err(|_| self.did_not_start())?;
        replace_file(&self.path.join(PID_FILE), process.to_text().as_bytes())
    }

    /// The process ended at once, or did not come to listen: the end of its log says why.
    pub(crate) fn did_not_start(&self) -> Failure {
        let log_path = self.path.join(LOG_FILE);
        let log = fs::read_to_string(&log_path).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(LOG_LINES_SHOWN).collect();
        let end = lines.into_iter().rev().collect::<Vec<_>>().join("; ");
        Failure::new(
            Kind::Failure,
            format!("{} did not start: {end}", self.path.display()),
            format!("read {}", log_path.display()),
        )
    }

    /// Asks the process to end, which [`MachineFolder::end`] waits for.
    pub(crate) fn ask_to_end(&self) -> Result<(), Failure> {
        self.signal(Signal::TERM)
    }

    /// Waits until the process has ended; kills it if that takes too long.
    pub(crate) fn end(&self) -> Result<(), Failure> {
        if self.process().is_some_and(|process| !process.wait(END_TIME)) {
            self.kill()?;
        }
        Ok(())
    }

    /// Kills the process as a loss of power would, and waits until it is gone.
    pub(crate) fn kill(&self) -> Result<(), Failure> {
        self.signal(Signal::KILL)?;
        if self.process().is_some_and(|process| !process.wait(END_TIME)) {
            let message = format!("the process of {} does not end", self.path.display());
            return Err(Failure::new(Kind::TryAgain, message, "repeat the command"));
        }
        Ok(())
    }

    /// Kills the process and keeps it from being started with the others.
    pub(crate) fn kill_for_good(&self) -> Result<(), Failure> {
        replace_file(&self.path.join(KILLED_FILE), b"")?;
        self.kill()
    }

    /// Lets it be started again.
    pub(crate) fn forgive(&self) -> Result<(), Failure> {
        let path = self.path.join(KILLED_FILE);
        remove_if_there(&path).map_err(|error| Failure::file(&path, &error))
    }

    fn signal(&self, signal: Signal) -> Result<(), Failure> {
        self.process()
            .map_or(Ok(()), |process| process.signal(signal))
            .map_err(|error| Failure::file(&self.path, &error))
    }
}

fn is_ours(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"KAKERA_")
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
