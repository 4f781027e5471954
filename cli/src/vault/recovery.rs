//! The recovery kit: printed shares that open a vault without its passphrase.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use getrandom::SysRng;
use kakera_engine::identity::{Handle, KIT_WORDS, KitError, make_kit, open_kit};
use kakera_engine::seal::VaultRoot;
use rand_core::UnwrapErr;
use serde::Serialize;
use zeroize::Zeroizing;

use super::identity::{keep_handle, machine_of, report, require_handle, rewrap};
use super::unlock;
use crate::arguments::{PassphraseOptions, Profile};
use crate::failure::{Failure, Kind};
use crate::output::Report;
use crate::passphrase::prompt;
use crate::session::Session;

/// Makes and prints a kit.
pub(super) async fn make(
    session: &Session,
    shares: u8,
    threshold: u8,
    passphrase: &PassphraseOptions,
) -> Result<(), Failure> {
    let handle = require_handle(session)?;
    let connection = session.connect()?;
    let unlocked = unlock(session, &connection, passphrase).await?;
    connection.close().await?;
    let shares = make_kit(&unlocked.root, threshold, shares, &mut UnwrapErr(SysRng))?;
    session.output.report(&KitReport { handle: handle.to_string(), threshold, shares })
}

/// Opens the vault with shares of its kit and gives it a generated passphrase.
pub(super) async fn recover(
    session: &Session,
    handle: Option<&str>,
    shares: Option<&Path>,
    profile: Profile,
) -> Result<(), Failure> {
    let handle = match handle {
        Some(handle) => Handle::parse(handle)?,
        None => require_handle(session)?,
    };
    let root = match shares {
        Some(path) => {
            let text = fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
            let text = Zeroizing::new(text);
            let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
            open_kit(&lines)?
        }
        None => ask_for_shares()?,
    };
    let mut connection = session.connect()?;
    let mut opened = connection.client.recall_identity(&handle, root).await?;
    if opened.attachment.is_empty() {
        // The identity nodes have lost it: this machine takes the place of the enrolled one.
        opened.attachment =
            Zeroizing::new(session.client_identity()?.signing_key().to_bytes().to_vec());
    }
    session.change_machine(&mut connection, machine_of(&opened)?).await?;
    let made = rewrap(&connection, &opened, None, profile).await?;
    connection.close().await?;
    keep_handle(session, &handle)?;
    report(session, &handle, "was recovered", made)
}

/// Asks for shares until they are enough.
fn ask_for_shares() -> Result<VaultRoot, Failure> {
    let mut shares: Vec<Zeroizing<String>> = Vec::new();
    loop {
        let share = prompt(&format!("Share {}, {KIT_WORDS} words: ", shares.len() + 1))?;
        shares.push(share);
        let opened = open_kit(&shares.iter().map(|share| share.as_str()).collect::<Vec<_>>());
        match opened {
            Err(KitError::TooFew { .. }) => {}
            Err(error @ (KitError::Word(_) | KitError::Length(_) | KitError::Checksum)) => {
                eprintln!("{error}; once more");
                shares.pop();
            }
            opened => return Ok(opened?),
        }
    }
}

impl From<KitError> for Failure {
    fn from(error: KitError) -> Self {
        let (kind, advice) = match error {
            KitError::Numbers => (Kind::Usage, "--shares 3 --threshold 2"),
            KitError::TooFew { .. } => (Kind::BelowThreshold, "bring more shares"),
            KitError::Forged => (Kind::Integrity, "other shares of the kit"),
            KitError::Mixed => (Kind::Usage, "shares whose first two words are the same"),
            KitError::Length(_) | KitError::Word(_) | KitError::Checksum => {
                (Kind::Usage, "read the share again, word by word")
            }
            KitError::Kind => (Kind::Usage, "the shares that kakera vault recovery printed"),
        };
        Self::new(kind, error.to_string(), advice)
    }
}

#[derive(Serialize)]
struct KitReport {
    handle: String,
    threshold: u8,
    #[serde(serialize_with = "expose")]
    shares: Vec<Zeroizing<String>>,
}

fn expose<S: serde::Serializer>(
    shares: &[Zeroizing<String>],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(shares.iter().map(|share| share.as_str()))
}

impl Report for KitReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let count = self.shares.len();
        writeln!(
            out,
            "Recovery kit of {}: any {} of {count} shares open the vault",
            self.handle, self.threshold
        )?;
        writeln!(out, "without its passphrase (kakera vault recover). Keep them apart.")?;
        for (place, share) in self.shares.iter().enumerate() {
            writeln!(out, "\nShare {} of {count}", place + 1)?;
            let words: Vec<&str> = share.split(' ').collect();
            for line in words.chunks(7) {
                writeln!(out, "  {}", line.join(" "))?;
            }
        }
        Ok(())
    }
}
