//! Where a passphrase comes from: a file, the environment, or the person at the terminal.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::failure::{Failure, Kind};

/// The environment variable that holds a passphrase. Never an argument: those are seen by others.
pub(crate) const PASSPHRASE_VARIABLE: &str = "KAKERA_PASSPHRASE";

/// What a passphrase of one's own must take to be guessed, as zxcvbn estimates (Wheeler, "zxcvbn:
/// Low-Budget Password Strength Estimation", USENIX Security 2016). It counts against who has the
/// shares of enough identity nodes; others have some twenty guesses a day.
const STRENGTH_BITS_MIN: f64 = 50.0;

/// A passphrase. Wiped when dropped.
pub(crate) type Passphrase = Zeroizing<String>;

/// Where to look before asking.
#[derive(Debug)]
pub(crate) struct PassphraseSource {
    /// From the command line or its environment variable.
    pub(crate) file: Option<PathBuf>,
    /// From `config.toml`.
    pub(crate) configured_file: Option<PathBuf>,
}

impl PassphraseSource {
    /// The passphrase of an existing vault.
    pub(crate) fn read(&self) -> Result<Passphrase, Failure> {
        match self.read_quietly()? {
            Some(passphrase) => Ok(passphrase),
            None => prompt("Passphrase: "),
        }
    }

    /// A new passphrase, asked for twice.
    pub(crate) fn read_new(&self) -> Result<Passphrase, Failure> {
        if let Some(passphrase) = self.read_quietly()? {
            return Ok(passphrase);
        }
        let passphrase = prompt("New passphrase: ")?;
        if *prompt("Again: ")? == *passphrase {
            Ok(passphrase)
        } else {
            Err(Failure::new(Kind::Usage, "the two passphrases differ", "type it again"))
        }
    }

    /// From a file, the environment or the configuration, without asking.
    pub(crate) fn read_quietly(&self) -> Result<Option<Passphrase>, Failure> {
        if let Some(file) = &self.file {
            return read_file(file).map(Some);
        }
        match std::env::var(PASSPHRASE_VARIABLE) {
            Ok(passphrase) => return Ok(Some(Zeroizing::new(passphrase))),
            Err(std::env::VarError::NotPresent) => {}
            Err(std::env::VarError::NotUnicode(_)) => {
                let message = format!("{PASSPHRASE_VARIABLE} is not UTF-8");
                return Err(Failure::new(Kind::Usage, message, "set it again"));
            }
        }
        self.configured_file.as_deref().map(read_file).transpose()
    }
}

/// The first line, without its end.
pub(crate) fn read_file(path: &Path) -> Result<Passphrase, Failure> {
    File::open(path)
        .and_then(|file| first_line(BufReader::new(file)))
        .map_err(|error| Failure::file(path, &error))
}

/// The first line of standard input.
pub(crate) fn read_standard_input() -> Result<Passphrase, Failure> {
    first_line(std::io::stdin().lock()).map_err(|error| {
        Failure::new(Kind::Usage, format!("standard input: {error}"), "echo PASSPHRASE | kakera …")
    })
}

fn first_line(mut from: impl BufRead) -> std::io::Result<Passphrase> {
    let mut line = Zeroizing::new(String::with_capacity(1 << 12));
    from.read_line(&mut line)?;
    let len = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(len);
    Ok(line)
}

/// Refuses a passphrase that a guesser would find, with the reason.
pub(crate) fn require_strong(passphrase: &str) -> Result<(), Failure> {
    let estimate = zxcvbn::zxcvbn(passphrase, &[]);
    let bits = estimate.guesses_log10() * std::f64::consts::LOG2_10;
    if bits >= STRENGTH_BITS_MIN {
        return Ok(());
    }
    let feedback = estimate.feedback();
    let reason =
        feedback.and_then(|feedback| feedback.warning()).map(|warning| warning.to_string());
    let reason = reason.unwrap_or_else(|| "Longer ones take more guesses.".to_owned());
    let message = format!(
        "the passphrase is too weak, some 2^{bits:.0} guesses where 2^{STRENGTH_BITS_MIN} are wanted: {}",
        reason.trim_end_matches('.')
    );
    Err(Failure::new(Kind::Usage, message, "kakera vault create without one makes a good one"))
}

pub(crate) fn prompt(question: &str) -> Result<Passphrase, Failure> {
    rpassword::prompt_password(question).map(Zeroizing::new).map_err(|error| {
        Failure::new(
            Kind::Usage,
            format!("no terminal to ask for a passphrase: {error}"),
            format!("--passphrase-file FILE, or set {PASSPHRASE_VARIABLE}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_passphrases_are_refused_with_the_reason() {
        for weak in ["", "letmein", "correct horse", "Tr0ub4dour&3", "aaaaaaaaaaaaaaaaaaaaaaaaaaaa"]
        {
            let failure = require_strong(weak).unwrap_err();
            assert!(
                failure.kind == Kind::Usage && !failure.message.contains(" 2^50 are wanted: .")
            );
            assert!(weak.is_empty() || !failure.message.contains(weak));
        }
        assert!(require_strong("unglazed pumice stroller mauve").is_ok());
    }

    #[test]
    fn a_file_gives_its_first_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passphrase");
        for (content, passphrase) in [("a b \r\nc", "a b "), ("x", "x"), ("", "")] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(*read_file(&path).unwrap(), passphrase);
        }
        assert_eq!(read_file(&folder.path().join("none")).unwrap_err().kind, Kind::NotFound);
    }
}
