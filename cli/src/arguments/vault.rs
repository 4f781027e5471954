//! Vaults and their records.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use kakera_engine::catalogue::RecordName;
use kakera_engine::identity::HANDLE_NAME_DEFAULT;

use super::record_name;
use crate::quantity::{ByteRange, parse_day, parse_range};

#[derive(Debug, Subcommand)]
pub(crate) enum VaultCommand {
    /// Make a vault that opens anywhere with a handle and a passphrase
    Create {
        /// What the handle begins with: a-z, 0-9 and -
        #[arg(long, default_value = HANDLE_NAME_DEFAULT, hide_default_value = true)]
        name: String,
        /// Keep the key in a file of the data folder instead, under a passphrase of your own
        #[arg(long, conflicts_with = "name")]
        file: bool,
        #[command(flatten)]
        passphrase: NewPassphraseOptions,
        /// What one try of a passphrase costs whoever guesses
        #[arg(long, value_enum, default_value_t = Profile::Standard)]
        profile: Profile,
    },
    /// Check the passphrase; with a handle or a vault file, bring a vault to this machine
    Open {
        /// A handle, or a vault file of another machine
        #[arg(value_name = "HANDLE|FILE")]
        from: Option<String>,
        #[command(flatten)]
        passphrase: PassphraseOptions,
    },
    /// Change the passphrase
    Passphrase {
        #[command(flatten)]
        passphrase: PassphraseOptions,
        /// The first line of this file is the new passphrase; without it one is made and shown
        #[arg(long, value_name = "FILE")]
        new_file: Option<PathBuf>,
        /// What one try of a passphrase costs whoever guesses
        #[arg(long, value_enum, default_value_t = Profile::Standard)]
        profile: Profile,
    },
    /// Put the vault of a vault file behind a handle, under the same passphrase, and remove the file
    MoveToHandle {
        /// What the handle begins with: a-z, 0-9 and -
        #[arg(long, default_value = HANDLE_NAME_DEFAULT, hide_default_value = true)]
        name: String,
        #[command(flatten)]
        passphrase: PassphraseOptions,
        /// What one try of a passphrase costs whoever guesses
        #[arg(long, value_enum, default_value_t = Profile::Standard)]
        profile: Profile,
    },
    /// Print a recovery kit: shares of which some open the vault without its passphrase
    Recovery {
        /// How many shares to make, at most 16
        #[arg(long, default_value_t = 3)]
        shares: u8,
        /// How many of them open the vault
        #[arg(long, default_value_t = 2)]
        threshold: u8,
        #[command(flatten)]
        passphrase: PassphraseOptions,
    },
    /// Open a vault with shares of its recovery kit, and give it a new passphrase
    Recover {
        /// The handle [default: that of the data folder]
        handle: Option<String>,
        /// A file with one share a line [default: asked for]
        #[arg(long, value_name = "FILE")]
        shares: Option<PathBuf>,
        /// What one try of a passphrase costs whoever guesses
        #[arg(long, value_enum, default_value_t = Profile::Standard)]
        profile: Profile,
    },
    /// Keep the opened vault in memory for other commands of this data folder
    Agent {
        /// End after this time without a command
        #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=1440))]
        minutes: u32,
        #[command(flatten)]
        passphrase: PassphraseOptions,
    },
    /// End the agent
    Lock,
}

/// What Argon2id spends on one passphrase.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Profile {
    /// 256 MiB of memory
    Standard,
    /// 64 MiB of memory
    Small,
}

#[derive(Debug, Args)]
pub(crate) struct PassphraseOptions {
    /// The first line of this file is the passphrase; without it KAKERA_PASSPHRASE, then a prompt
    #[arg(long, env = "KAKERA_PASSPHRASE_FILE", value_name = "FILE", hide_env_values = true)]
    pub(crate) passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct NewPassphraseOptions {
    /// The first line of standard input is the passphrase, instead of one that is made and shown
    #[arg(long, conflicts_with = "file")]
    pub(crate) passphrase_stdin: bool,
    #[command(flatten)]
    pub(crate) options: PassphraseOptions,
}

#[derive(Debug, Args)]
pub(crate) struct PutOptions {
    /// Files and folders; a record is named by its path from the folder that holds PATH
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// Only files that match; the pattern is matched against the name of the record. `*` and `?`
    /// also match slashes [default: all]
    #[arg(long, value_name = "GLOB")]
    pub(crate) include: Vec<String>,
    /// No files that match
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
    /// Compare the contents of files, too, whose size and time are those of the vault
    #[arg(long)]
    pub(crate) thorough: bool,
    /// Until this day (UTC) no holder destroys what is stored now, whoever orders it
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = parse_day)]
    pub(crate) retain_until: Option<u64>,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseOptions,
}

/// Storages that can be imported.
#[derive(Debug, Subcommand)]
pub(crate) enum ImportCommand {
    /// An SS-MIX2 standardised storage: one compartment a patient, one record for the files of an
    /// order that replaced one another
    #[command(after_help = "\
Examples:
  kakera import ssmix2 /srv/ssmix2/1234567890
  kakera import ssmix2 /srv/ssmix2/1234567890 --watch --every 60

Files with flag 2 are earlier versions, those with flag 0 were deleted; a file that only got another flag
is not stored again. An import that was interrupted goes on where it stopped when it is repeated.")]
    Ssmix2(ImportOptions),
}

#[derive(Debug, Args)]
pub(crate) struct ImportOptions {
    /// The folder of the storage; names of records begin with its name
    #[arg(value_name = "ROOT")]
    pub(crate) root: PathBuf,
    /// Go on looking for new and renamed files until stopped
    #[arg(long)]
    pub(crate) watch: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", requires = "watch", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) every: u64,
    /// Until this day (UTC) no holder destroys what is stored now, whoever orders it
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = parse_day)]
    pub(crate) retain_until: Option<u64>,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ExportTreeOptions {
    /// The folder; made if there is none
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// Only files whose names begin so
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    pub(crate) prefix: OsString,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseOptions,
}

/// One record.
#[derive(Debug, Args)]
pub(crate) struct RecordOptions {
    /// Its name
    #[arg(value_parser = record_name())]
    pub(crate) name: RecordName,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseOptions,
}

/// A record to delete.
#[derive(Debug, Args)]
pub(crate) struct RemoveOptions {
    #[command(flatten)]
    pub(crate) record: RecordOptions,
    /// Destroy all its versions: the holders erase their shares and sign that they did
    #[arg(long)]
    pub(crate) shred: bool,
}

#[derive(Debug, Args)]
pub(crate) struct GetOptions {
    /// The record; with --all, only records whose names begin so
    #[arg(required_unless_present = "all", value_parser = record_name())]
    pub(crate) name: Option<RecordName>,
    /// This version instead of the newest
    #[arg(long, value_name = "VERSION", conflicts_with = "all")]
    pub(crate) at: Option<u64>,
    /// Write here instead of standard output; with --all, a folder
    #[arg(short, long, value_name = "FILE", required_if_eq("all", "true"))]
    pub(crate) output: Option<PathBuf>,
    /// Only the bytes from A up to, not including, B; to the end without B
    #[arg(long, value_name = "A-B", value_parser = parse_range, conflicts_with = "all")]
    pub(crate) range: Option<ByteRange>,
    /// Every record
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseOptions,
}

#[derive(Debug, Args)]
pub(crate) struct DrillOptions {
    /// Percent of the records
    #[arg(long, value_name = "PERCENT", default_value_t = 100, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) sample: u8,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseOptions,
}
