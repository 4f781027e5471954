//! Why a command did not do what it was asked: a kind with its exit code, what was wrong, and what
//! to do about it.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;

use crate::output::write_json;

/// Failures sorted by what the caller can do. The exit code is part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Anything that has no kind of its own.
    Failure,
    /// The command or the configuration is wrong.
    Usage,
    /// There is no such record, vault, node or file.
    NotFound,
    /// Too few holders answer.
    BelowThreshold,
    /// Something is not what was stored.
    Integrity,
    /// Not allowed: wrong passphrase, or not enrolled.
    Denied,
    /// It may work later, unchanged.
    TryAgain,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Failure,
        Self::Usage,
        Self::NotFound,
        Self::BelowThreshold,
        Self::Integrity,
        Self::Denied,
        Self::TryAgain,
    ];

    /// 75 is `EX_TEMPFAIL` of sysexits.h.
    pub(crate) const fn exit_code(self) -> u8 {
        match self {
            Self::Failure => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::BelowThreshold => 4,
            Self::Integrity => 5,
            Self::Denied => 6,
            Self::TryAgain => 75,
        }
    }

    /// The kind of a `kakera` process that ended with this code; `None` for success.
    pub(crate) fn of_exit_code(code: Option<i32>) -> Option<Self> {
        if code == Some(0) {
            return None;
        }
        let same = |kind: &Self| code == Some(i32::from(kind.exit_code()));
        Some(Self::ALL.into_iter().find(same).unwrap_or(Self::Failure))
    }
}

/// A failure as the user sees it.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    /// Decides the exit code.
    pub(crate) kind: Kind,
    /// What was wrong, in plain words, without a full stop.
    pub(crate) message: String,
    /// What to do, mostly a command.
    #[serde(rename = "try")]
    pub(crate) advice: String,
    /// The exit code of what needs no words.
    #[serde(skip)]
    quiet: Option<u8>,
}

impl Failure {
    /// A failure that says what was wrong and what to do.
    pub(crate) fn new(kind: Kind, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { kind, message: message.into(), advice: advice.into(), quiet: None }
    }

    /// The failure of a lower layer, whose messages may end in their own advice.
    pub(crate) fn of(kind: Kind, error: impl fmt::Display, advice: impl Into<String>) -> Self {
        let message = error.to_string();
        match message.rsplit_once("; try: ") {
            Some((message, advice)) => Self::new(kind, message, advice),
            None => Self::new(kind, message, advice),
        }
    }

    /// The file system refused something at `path`.
    pub(crate) fn file(path: &Path, error: &io::Error) -> Self {
        let message = format!("{}: {error}", path.display());
        match error.kind() {
            io::ErrorKind::NotFound => Self::new(Kind::NotFound, message, "check the path"),
            io::ErrorKind::PermissionDenied => {
                Self::new(Kind::Denied, message, format!("ls -ld {}", path.display()))
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::new(Kind::Failure, message, "free some space and repeat the command")
            }
            _ => Self::new(Kind::Failure, message, "check the disk and the path"),
        }
    }

    /// What a report has shown already.
    pub(crate) fn shown(self) -> Self {
        Self { quiet: Some(self.kind.exit_code()), ..self }
    }

    /// Standard output refused the result. A reader that went away is nobody's fault.
    pub(crate) fn standard_output(error: &io::Error) -> Self {
        Self {
            quiet: (error.kind() == io::ErrorKind::BrokenPipe).then_some(0),
            ..Self::new(
                Kind::Failure,
                format!("standard output: {error}"),
                "check where the output goes",
            )
        }
    }

    /// Puts what was being done before the message.
    pub(crate) fn during(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Shows the failure: one JSON object on standard output with `--json`, else two lines on
    /// standard error.
    pub(crate) fn show(&self, json: bool) -> ExitCode {
        if let Some(code) = self.quiet {
            return ExitCode::from(code);
        }
        if json {
            // Nothing can be done any more about an output that refuses it.
            let _ = write_json(&json!({ "error": self }));
        } else {
            eprintln!("error: {}\ntry: {}", self.message, self.advice);
        }
        ExitCode::from(self.kind.exit_code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_the_documentation() {
        let codes = Kind::ALL.map(Kind::exit_code);
        assert_eq!(codes, [1, 2, 3, 4, 5, 6, 75]);
    }

    #[test]
    fn a_child_process_hands_its_kind_on() {
        assert_eq!(Kind::of_exit_code(Some(0)), None);
        assert_eq!(Kind::of_exit_code(Some(4)), Some(Kind::BelowThreshold));
        assert_eq!(Kind::of_exit_code(Some(101)), Some(Kind::Failure));
        assert_eq!(Kind::of_exit_code(None), Some(Kind::Failure));
    }
}
