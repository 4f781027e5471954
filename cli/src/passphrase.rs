//! Where a passphrase comes from: a file, the environment, or the person at the terminal.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::failure::{Failure, Kind};

/// The environment variable that holds a passphrase. Never an argument: those are seen by others.
pub(crate) const PASSPHRASE_VARIABLE: &str = "KAKERA_PASSPHRASE";

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

    fn read_quietly(&self) -> Result<Option<Passphrase>, Failure> {
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
fn read_file(path: &Path) -> Result<Passphrase, Failure> {
    let mut line = Zeroizing::new(String::with_capacity(1 << 12));
    File::open(path)
        .and_then(|file| BufReader::new(file).read_line(&mut line))
        .map_err(|error| Failure::file(path, &error))?;
    let len = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(len);
    Ok(line)
}

fn prompt(question: &str) -> Result<Passphrase, Failure> {
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
