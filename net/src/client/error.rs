//! Failures of a client, sorted by what the user can do.

use std::fmt;
use std::io;
use std::path::Path;

use kakera_engine::identity::LoginError;
use kakera_engine::ledger::HeadError;
use kakera_engine::names::NodeId;
use kakera_engine::peer::{AskFailure, GetError, PutError};
use kakera_engine::wire::{Refusal, RefusalKind};
use thiserror::Error;

/// Why a client's operation failed. Whether anything changed is said by the operation.
#[derive(Debug, Error)]
pub struct ClientError {
    kind: ErrorKind,
    message: String,
    advice: &'static str,
    passing: bool,
}

/// What kind of failure; each has an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The call cannot mean anything.
    Usage,
    /// No such record, group or node.
    NotFound,
    /// Too few holders answer.
    BelowThreshold,
    /// Something was changed or forged.
    Integrity,
    /// Not allowed.
    Denied,
    /// Not now.
    Unavailable,
    /// Anything else.
    Other,
}

impl fmt::Display for ClientError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl ClientError {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What to try.
    pub fn advice(&self) -> &'static str {
        self.advice
    }

    /// Whether the same call may succeed at once.
    pub(super) fn is_passing(&self) -> bool {
        self.passing
    }

    fn new(kind: ErrorKind, message: impl Into<String>, advice: &'static str) -> Self {
        let passing = kind == ErrorKind::Unavailable;
        Self { kind, message: message.into(), advice, passing }
    }

    pub(super) fn too_few_validators(answered: usize, needed: usize) -> Self {
        Self::new(
            ErrorKind::Unavailable,
            format!(
                "{answered} validators answer and {needed} must agree on what the newest head is"
            ),
            "bring validators back, then try again",
        )
    }

    /// What is wrong with the head that validators gave.
    pub(super) fn head(error: &HeadError) -> Self {
        // Validators are not all equally far.
        let passing = matches!(error, HeadError::Unattested(_) | HeadError::Rollback { .. });
        Self { passing, ..Self::integrity(format!("the ledger's head: {error}")) }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message, "correct the call; --help shows examples")
    }

    pub(crate) fn integrity(message: impl Into<String>) -> Self {
        Self::new(
            ErrorKind::Integrity,
            message,
            "keep the data folder and report this: a peer or this program is at fault",
        )
    }

    pub(crate) fn no_record() -> Self {
        Self::new(ErrorKind::NotFound, "there is no such record", "kakera ls lists the records")
    }

    pub(crate) fn retained(until: u64) -> Self {
        Self::new(
            ErrorKind::Denied,
            format!("it must be kept until {until} (Unix seconds)"),
            "kakera rm hides it; it can be destroyed after that date",
        )
    }

    pub(crate) fn no_retention(version: u32) -> Self {
        Self::new(
            ErrorKind::Usage,
            format!("the network follows version {version} of the rules, which knows no retention"),
            "let the validators vote for version 4 once all machines run this program",
        )
    }

    /// Another machine of the same vault was first.
    pub(crate) fn overtaken(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message, "see kakera history, then decide again")
    }

    pub(crate) fn name_taken(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message, "another name, or kakera rm the other record first")
    }

    pub(crate) fn not_registered(what: impl fmt::Display) -> Self {
        Self::new(
            ErrorKind::NotFound,
            format!("{what} is not registered on the ledger"),
            "kakera status shows the network",
        )
    }

    pub(super) fn no_identity() -> Self {
        Self::new(
            ErrorKind::NotFound,
            "there is no identity under this handle in this network",
            "check the handle and the network file",
        )
    }

    pub(super) fn locked_out(minutes: u64) -> Self {
        Self::new(
            ErrorKind::Unavailable,
            format!(
                "too many tries for this handle; the next one is possible in {minutes} minutes"
            ),
            "wait, use a machine that opened the vault before, or kakera vault recover",
        )
    }

    pub(super) fn identity_nodes(right: usize, needed: usize) -> Self {
        Self::new(
            ErrorKind::BelowThreshold,
            format!("{right} of the {needed} identity nodes that are needed answered rightly"),
            "bring validators back, then try again; a recovery kit opens without them",
        )
    }

    pub(super) fn login(error: &LoginError, answered: usize, liars: &[NodeId]) -> Self {
        match error {
            LoginError::WrongPassphrase => {
                Self::new(ErrorKind::Denied, error.to_string(), "type it again; tries are counted")
            }
            LoginError::TooFew { .. } if !liars.is_empty() => Self::integrity(format!(
                "{error}; {} of {answered} answered with something false: {liars:?}",
                liars.len()
            )),
            LoginError::TooFew { right, needed } => Self::identity_nodes(*right, *needed),
            LoginError::Hardening(error) => {
                Self::new(ErrorKind::Other, error.to_string(), "free some memory")
            }
        }
    }

    pub(crate) fn no_groups() -> Self {
        Self::new(
            ErrorKind::Unavailable,
            "the network has no placement group with members yet",
            "add storage nodes: a group of n slots needs n of them",
        )
    }

    pub(crate) fn cancelled() -> Self {
        Self::new(ErrorKind::Other, "the put was given up", "run it again")
    }

    pub(crate) fn socket(error: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Other, format!("cannot open a socket: {error}"), "check the network")
    }

    pub(crate) fn output(error: io::Error) -> Self {
        Self::new(
            ErrorKind::Other,
            format!("cannot write the output: {error}"),
            "check the free space and the permissions of the output",
        )
    }

    /// The name of a file is a secret, but it is the user's own and goes to the user's terminal.
    pub(crate) fn source_file(path: &Path, error: io::Error) -> Self {
        Self::new(
            ErrorKind::Usage,
            format!("cannot read {}: {error}", path.display()),
            "check that the file exists and may be read",
        )
    }

    pub(crate) fn peer(node: &NodeId, failure: &AskFailure) -> Self {
        match failure {
            AskFailure::Misbehaved(what) => Self::integrity(format!("node {node:?}: {what}")),
            AskFailure::NotAdmitted => Self::new(
                ErrorKind::Denied,
                format!("node {node:?}: {failure}"),
                "have the operator enrol this machine: kakera node enrol",
            ),
            _ => Self::new(
                ErrorKind::Unavailable,
                format!("node {node:?}: {failure}"),
                "check that it runs and can be reached, then try again",
            ),
        }
    }

    pub(crate) fn refused(refusal: Refusal) -> Self {
        let (kind, advice) = match refusal.kind {
            RefusalKind::Invalid => {
                (ErrorKind::Other, "check that all programs are of one version")
            }
            RefusalKind::Denied => (ErrorKind::Denied, "ask the network's operator"),
            RefusalKind::NotFound => (ErrorKind::NotFound, "kakera status shows the network"),
            RefusalKind::Full => (ErrorKind::Unavailable, "add nodes or raise quotas"),
            RefusalKind::Unavailable => (ErrorKind::Unavailable, "try again in a moment"),
            RefusalKind::Damaged => (ErrorKind::Integrity, "run kakera repair"),
        };
        Self::new(kind, refusal.message, advice)
    }

    pub(super) fn moving() -> Self {
        Self::new(
            ErrorKind::Unavailable,
            "the ledger moves too fast to read it consistently",
            "try again in a moment",
        )
    }

    pub(crate) fn unfitting(node: &NodeId) -> Self {
        Self::integrity(format!("node {node:?} answered another question"))
    }
}

impl From<GetError> for ClientError {
    fn from(error: GetError) -> Self {
        let message = error.to_string();
        match error {
            GetError::BelowThreshold { wrong: true, .. } => Self::integrity(message),
            GetError::BelowThreshold { .. } => Self::new(
                ErrorKind::BelowThreshold,
                message,
                "bring holders back, then try again; kakera status shows which are missing",
            ),
            GetError::StaleEpochs => {
                Self::new(ErrorKind::Unavailable, message, "try again in a moment")
            }
            GetError::IllFormed | GetError::UnexpectedCodes => Self::integrity(message),
        }
    }
}

impl From<PutError> for ClientError {
    fn from(error: PutError) -> Self {
        let advice = if error.full {
            "add nodes or raise their quotas"
        } else {
            "bring holders back, then put again; nothing was changed"
        };
        Self::new(ErrorKind::BelowThreshold, error.to_string(), advice)
    }
}
