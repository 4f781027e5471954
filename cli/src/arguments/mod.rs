//! The command line.

mod ledger;
mod machines;
mod vault;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use kakera_engine::catalogue::{NAME_LEN_MAX, RecordName};
use kakera_engine::names::NodeId;

pub(crate) use self::ledger::*;
pub(crate) use self::machines::*;
pub(crate) use self::vault::*;
use crate::quantity::parse_span;
use crate::sim::SimCommand;

/// Secret-sharing storage for patient files on small, unreliable, partly untrusted machines.
#[derive(Debug, Parser)]
#[command(name = "kakera", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "\
Examples:
  kakera demo                          the guided tour, on a temporary network
  kakera local up                      a network of ten nodes on this machine
  kakera vault create                  the key from which everything else follows
  kakera put charts/                   store a folder
  kakera get charts/0001.hl7 -o a.hl7  read a record back

Exit codes: 0 done, 1 failure, 2 usage, 3 not found, 4 too few holders, 5 integrity, 6 denied,
75 try again later. Settings come from flags, then the environment, then config.toml in the data
folder.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) general: General,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct General {
    /// The data folder [default: ~/.kakera]
    #[arg(long, global = true, env = "KAKERA_DATA", value_name = "DIR", hide_env_values = true)]
    pub(crate) data: Option<PathBuf>,
    /// The network file [default: network.toml in the data folder, then that of `local`]
    #[arg(
        long,
        global = true,
        env = "KAKERA_NETWORK",
        value_name = "FILE",
        hide_env_values = true
    )]
    pub(crate) network: Option<PathBuf>,
    /// Print one JSON object on standard output, errors too
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Log lines on standard error, as in `info` or `kakera_net=debug`
    #[arg(long, global = true, env = "KAKERA_LOG", value_name = "FILTER", hide_env_values = true)]
    pub(crate) log: Option<String>,
    /// The instructions to code with, as in `avx2` or `portable` [default: the fastest]
    #[arg(long, global = true, env = "KAKERA_GF", value_name = "KERNEL", hide_env_values = true)]
    pub(crate) gf: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show on a temporary network how a folder survives the loss of machines
    #[command(after_help = "\
Examples:
  kakera demo
  kakera demo --nodes 25
  kakera demo --files ~/charts --json")]
    Demo(DemoOptions),
    /// Run a persistent network of separate processes on this machine
    #[command(
        subcommand,
        after_help = "\
Examples:
  kakera local up --nodes 10
  kakera local up --validators 4
  kakera local kill 3
  kakera local add
  kakera repair"
    )]
    Local(LocalCommand),
    /// Be a storage node, or enrol one
    #[command(
        subcommand,
        after_help = "\
Examples:
  kakera node init                     on the new machine: make its key
  kakera node enrol ID --address 192.0.2.7:7400    where the operator's key is
  kakera node run --listen 0.0.0.0:7400            on the new machine
  kakera node invite                   where the operator's key is: prints a line
  kakera node join CODE --address 192.0.2.7:7400   on the new machine, instead of the first two
  kakera node drain ID                             before it is switched off for good"
    )]
    Node(NodeCommand),
    /// Be a validator
    #[command(
        subcommand,
        after_help = "\
Examples:
  kakera validator init --address 192.0.2.1:7400 --nodes 10
  kakera validator run
  kakera validator init --join         make the key of one more validator
  kakera validator add ID@192.0.2.2:7400           vote to let it in
  kakera validator init --recover      rebuild a lost validator from the nodes"
    )]
    Validator(ValidatorCommand),
    /// Make or open the vault that owns your records
    #[command(
        subcommand,
        after_help = "\
Examples:
  kakera vault create --name sato      a handle, and a passphrase that is shown once
  kakera vault open sato.k7m3-9q2x-h4tw-0bzd    on any machine
  kakera vault agent --minutes 30 &    asks once, for the commands of half an hour
  kakera vault recovery --shares 3 --threshold 2
  kakera vault create --file           the key in a file, without identity nodes"
    )]
    Vault(VaultCommand),
    /// Store files and folders
    #[command(after_help = "\
Examples:
  kakera put letter.pdf                the record 'letter.pdf'
  kakera put ~/charts                  records 'charts/…', one a file
  kakera put a.dcm b.dcm --json
  kakera put ~/charts --include '*.hl7' --exclude 'drafts/**'

A file that is in the vault already, with the same size and time or the same contents, is not stored
again; so a put that was interrupted goes on where it stopped when it is repeated. A changed file
becomes the next version of its record.")]
    Put(PutOptions),
    /// Read records back
    #[command(after_help = "\
Examples:
  kakera get charts/0001.hl7 -o 0001.hl7
  kakera get scan.dcm --range 0-132 | xxd    bytes 0 to 131
  kakera get letter.pdf --at 2 -o old.pdf    an earlier version
  kakera get --all -o restored/")]
    Get(GetOptions),
    /// List records
    #[command(after_help = "\
Examples:
  kakera ls
  kakera ls charts/2026/")]
    Ls {
        /// Only records whose names begin so
        #[arg(default_value = "", hide_default_value = true)]
        prefix: OsString,
        #[command(flatten)]
        passphrase: PassphraseOptions,
    },
    /// Take a clinical storage into the vault
    #[command(
        subcommand,
        after_help = "\
Examples:
  kakera import ssmix2 /srv/ssmix2/1234567890
  kakera import ssmix2 /srv/ssmix2/1234567890 --watch"
    )]
    Import(ImportCommand),
    /// Write records back as files
    #[command(after_help = "\
Examples:
  kakera export restored/
  kakera export restored/ --prefix 1234567890/

Files are bit-identical, with their times. Of an SS-MIX2 storage, replaced and deleted files are written
too, under their last names. Files that are there already and the same are left; others are never
overwritten, and nothing is written outside the folder, whatever a record is called.")]
    Export(ExportTreeOptions),
    /// Show every version of a record, in the ledger's order
    #[command(after_help = "\
Examples:
  kakera history letter.pdf
  kakera history letter.pdf --json

Versions of all records that have or once had the name. Versions that two machines wrote at the same
time are both there; the later one on the ledger says which it had not seen.")]
    History(RecordOptions),
    /// Give a record another name; nothing is stored again
    #[command(after_help = "\
Examples:
  kakera mv letter.pdf 2026/letter.pdf")]
    Mv {
        /// Its name now
        #[arg(value_parser = record_name())]
        name: RecordName,
        /// Its name from now on
        #[arg(value_parser = record_name())]
        to: RecordName,
        #[command(flatten)]
        passphrase: PassphraseOptions,
    },
    /// Delete a record; its versions stay and can be restored, unless they are destroyed
    #[command(after_help = "\
Examples:
  kakera rm letter.pdf
  kakera restore letter.pdf 1          take it back
  kakera rm --shred letter.pdf         destroy all its versions, for ever

To destroy a record, its holders erase their shares of it and sign that they did. With the receipts of
all but a few of them, it can be read again only if one of those who signed has lied. Where too few
answer, the same command goes on later; holders that were away learn it from the others as well.")]
    Rm(RemoveOptions),
    /// Make what an old version of a record holds its newest version
    #[command(after_help = "\
Examples:
  kakera restore letter.pdf 2          the numbers are those of kakera history letter.pdf")]
    Restore {
        #[command(flatten)]
        record: RecordOptions,
        /// The version, as `history` numbers it
        #[arg(value_name = "VERSION")]
        number: u64,
    },
    /// Show how many losses the records, or one record, can take
    #[command(after_help = "\
Examples:
  kakera status
  kakera status charts/0001.hl7
  kakera status --watch                all groups together, every two seconds
  kakera status --watch=1m --json      an object a line")]
    Status {
        /// One record instead of all
        #[arg(value_parser = record_name(), conflicts_with = "watch")]
        name: Option<RecordName>,
        /// Show the health of all groups together every so often, until interrupted
        #[arg(long, value_name = "SPAN", value_parser = parse_span, num_args = 0..=1,
              require_equals = true, default_missing_value = "2s")]
        watch: Option<Duration>,
        #[command(flatten)]
        passphrase: PassphraseOptions,
    },
    /// Look this machine or client over, and say what to do about each finding
    #[command(after_help = "\
Examples:
  kakera doctor                        this user's client
  kakera doctor --data /var/lib/kakera a node or validator

It changes nothing. Exit code 1 if a check failed; warnings are none.")]
    Doctor,
    /// Tell what happened to the network's machines, groups and validators
    #[command(after_help = "\
Examples:
  kakera events                        the newest twenty
  kakera events --last 0 --follow      from now on
  kakera events --last 1000 --json     one JSON object a line")]
    Events(EventOptions),
    /// Prove that everything, or a sample of it, can be restored now; writes nothing
    #[command(after_help = "\
Examples:
  kakera drill
  kakera drill --sample 10             a tenth, those first whose last drill is the longest ago

Every record of the sample is read as a restore would read it, checked and thrown away, and every holder
of its objects is asked for its parts. What was checked when is kept in the data folder; a machine
without it has never checked anything.")]
    Drill(DrillOptions),
    /// Rebuild what lost nodes held
    #[command(after_help = "\
Examples:
  kakera repair                        fill every slot that misses something
  kakera repair --lost ID              first give that node's slots to others

In a network of `kakera local`, nodes killed with `kakera local kill` are taken as lost.")]
    Repair(RepairOptions),
    /// Compare the codes for n slots of which any k give an object back
    #[command(after_help = "\
Examples:
  kakera codes --n 20 --k 8            every kind, with the helpers that suit it
  kakera codes --n 14 --k 10 --d 13    with 13 helpers
  kakera codes --n 10 --k 5 --json

A name of the first column goes into kakera local up --code NAME --key-code K,D. It needs no
network and changes nothing.")]
    Codes(SurveyOptions),
    /// Tell durability and leak risk before anything is deployed
    #[command(
        subcommand,
        after_help = "\
Examples:
  kakera sim explain clinics.toml      what a scenario means
  kakera sim calc clinics.toml         the exact answer, where there is one
  kakera sim run clinics.toml          the same and more by simulation
  kakera sim validate                  published numbers beside ours

It needs no network. Only run --parts writes anything."
    )]
    Sim(SimCommand),
    /// Look at the ledger and check it
    #[command(
        subcommand,
        after_help = "\
Examples:
  kakera ledger head
  kakera ledger verify
  kakera ledger show --from 1 --count 20
  kakera ledger sync audit/             keep a verified copy of the whole chain
  kakera ledger verify --folder audit/  check that copy again, without the network
  kakera ledger prove --machine ID -o machine.proof
  kakera ledger verify --proof machine.proof
  kakera ledger export --folder audit/ -o entries.jsonl"
    )]
    Ledger(LedgerCommand),
}

/// A machine and where it listens.
pub(crate) type Source = (NodeId, SocketAddr);

fn parse_source(text: &str) -> Result<Source, String> {
    let parsed = text
        .split_once('@')
        .and_then(|(id, address)| Some((NodeId::from_hex(id)?, address.parse().ok()?)));
    parsed.ok_or_else(|| format!("'{text}' is not a machine's key and address, ID@192.0.2.7:7400"))
}

fn parse_node_id(text: &str) -> Result<NodeId, String> {
    NodeId::from_hex(text)
        .ok_or_else(|| format!("'{text}' is not a machine's key of 64 hexadecimal digits"))
}

/// Names are taken as they are, byte for byte.
fn record_name() -> impl TypedValueParser<Value = RecordName> {
    OsStringValueParser::new().try_map(|text| {
        RecordName::new(text.into_vec())
            .ok_or_else(|| format!("a name has 1 to {NAME_LEN_MAX} bytes, none of them zero"))
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_tree_is_sound() {
        Arguments::command().debug_assert();
    }
}
