//! The command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use kakera_engine::catalogue::{NAME_LEN_MAX, RecordName};
use kakera_engine::code::CodeParameters;
use kakera_engine::identity::HANDLE_NAME_DEFAULT;
use kakera_engine::names::{NodeId, Tag};

use crate::quantity::{ByteRange, parse_range, parse_size};
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
    /// Delete a record; its versions stay and can be restored
    #[command(after_help = "\
Examples:
  kakera rm letter.pdf
  kakera restore letter.pdf 1          take it back")]
    Rm(RecordOptions),
    /// Make what an old version of a record holds its newest version
    #[command(after_help = "\
Examples:
  kakera history letter.pdf
  kakera restore letter.pdf 2")]
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
  kakera status charts/0001.hl7")]
    Status {
        /// One record instead of all
        #[arg(value_parser = record_name())]
        name: Option<RecordName>,
        #[command(flatten)]
        passphrase: PassphraseOptions,
    },
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

#[derive(Debug, Args)]
pub(crate) struct DemoOptions {
    /// Storage nodes at the start; they decide the codes
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u8).range(3..=100))]
    pub(crate) nodes: u8,
    /// Store this folder instead of a made-up one
    #[arg(long, value_name = "DIR")]
    pub(crate) files: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LocalCommand {
    /// Start what is not running; make the network if there is none
    Up {
        /// Validators; four bear one that fails
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
        validators: u8,
        #[command(flatten)]
        codes: CodeOptions,
    },
    /// Stop every process; the data stays
    Down,
    /// Show every process
    Status,
    /// Kill a machine for good, as one that burns down; its data stays, should you want it back
    Kill(MachineChoice),
    /// Bring a killed or stopped machine back
    Start(MachineChoice),
    /// Add an empty node
    Add,
}

#[derive(Debug, Args)]
pub(crate) struct MachineChoice {
    /// The node's number
    #[arg(value_name = "I")]
    pub(crate) number: u16,
    /// The number is a validator's
    #[arg(long)]
    pub(crate) validator: bool,
}

/// How large a network is, and the codes of its groups.
#[derive(Clone, Debug, Args)]
pub(crate) struct CodeOptions {
    /// Storage nodes to be expected; they decide the codes unless these are given. Records need 3
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u8).range(..=100))]
    pub(crate) nodes: u8,
    /// The data code, as in mbr(10,5,7)
    #[arg(long, value_name = "CODE", requires = "key_code")]
    pub(crate) code: Option<CodeParameters>,
    /// The key code: read threshold and helpers, as in 5,6
    #[arg(long, value_name = "K,D", requires = "code", value_parser = parse_key_code)]
    pub(crate) key_code: Option<KeyCode>,
}

/// k and d of a key code; it shares its n with the data code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyCode {
    pub(crate) k: u8,
    pub(crate) d: u8,
}

fn parse_key_code(text: &str) -> Result<KeyCode, String> {
    let parsed = text
        .split_once(',')
        .and_then(|(k, d)| Some(KeyCode { k: k.parse().ok()?, d: d.parse().ok()? }));
    parsed.ok_or_else(|| format!("'{text}' is not K,D such as 5,6"))
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Make this machine's key
    Init,
    /// Store parts for others until stopped
    Run {
        #[command(flatten)]
        listening: Listening,
        /// The most to store [default: 1TB]
        #[arg(long, env = "KAKERA_QUOTA", value_name = "SIZE", value_parser = parse_size, hide_env_values = true)]
        quota: Option<u64>,
    },
    /// Let a machine into the network; needs the operator's key
    Enrol(EnrolOptions),
    /// Have a machine's slots rebuilt by others, then let it go; needs the operator's key
    Drain(DrainOptions),
}

#[derive(Debug, Args)]
pub(crate) struct DrainOptions {
    /// The machine's key
    #[arg(value_name = "ID", value_parser = parse_node_id)]
    pub(crate) node: NodeId,
    #[command(flatten)]
    pub(crate) operator: OperatorKey,
}

#[derive(Debug, Args)]
pub(crate) struct EnrolOptions {
    /// The machine's key, as `node init` or `vault create` printed it
    #[arg(value_name = "ID", value_parser = parse_node_id)]
    pub(crate) node: NodeId,
    /// Where it listens
    #[arg(long, required_unless_present = "submitter")]
    pub(crate) address: Option<SocketAddr>,
    /// It stores nothing and owns a vault: a client
    #[arg(long)]
    pub(crate) submitter: bool,
    /// What it shares its fate with: a site, a power line
    #[arg(long, default_value = "default")]
    pub(crate) zone: String,
    /// The most it stores or, for a submitter, the most that any one node stores for it
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "1TB")]
    pub(crate) quota: u64,
    #[command(flatten)]
    pub(crate) operator: OperatorKey,
}

#[derive(Debug, Args)]
pub(crate) struct OperatorKey {
    /// The operator's key [default: operator.key in the data folder, then that of `local`]
    #[arg(long, value_name = "FILE")]
    pub(crate) operator_key: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ValidatorCommand {
    /// Found a network with this machine as a validator, make the key of another, or rebuild one
    Init {
        /// Where others reach it
        #[arg(long, required_unless_present_any = ["recover", "join"])]
        address: Option<SocketAddr>,
        /// The network's name
        #[arg(long, default_value = "kakera")]
        name: String,
        #[command(flatten)]
        codes: CodeOptions,
        /// Another validator of the new network; its key comes from `init --join`. Four bear one
        /// that fails
        #[arg(long, value_name = "ID@ADDRESS", value_parser = parse_source)]
        with: Vec<Source>,
        /// Only make this machine's key, for a network that others found or run
        #[arg(long, conflicts_with_all = ["address", "name", "code", "nodes", "with"])]
        join: bool,
        /// Rebuild the chain of this machine's key from the nodes that follow it, where it decides
        /// alone
        #[arg(long, requires = "sources", conflicts_with_all = ["address", "name", "code", "nodes", "with", "join"])]
        recover: bool,
        /// A storage node that followed the chain; name as many as there are
        #[arg(long = "source", value_name = "ID@ADDRESS", requires = "recover", value_parser = parse_source)]
        sources: Vec<Source>,
    },
    /// Order entries until stopped
    Run {
        #[command(flatten)]
        listening: Listening,
    },
    /// Vote to let another validator in; it is in when more than two thirds have voted so
    Add {
        /// Its key and where it listens
        #[arg(value_name = "ID@ADDRESS", value_parser = parse_source)]
        validator: Source,
        /// How much its vote counts beside the others'
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
        power: u64,
    },
    /// Vote to put a validator out; it is out when more than two thirds have voted so
    Remove {
        /// Its key
        #[arg(value_name = "ID", value_parser = parse_node_id)]
        validator: NodeId,
    },
    /// Vote for the newest rules of the ledger that this program knows, once all machines run it
    Upgrade,
    /// Vote that old bodies of blocks need not be kept; proofs and the state stay
    Retain {
        /// Bodies below this block may be dropped
        #[arg(value_name = "HEIGHT")]
        height: u64,
    },
    /// Vote that a storage node is lost; its slots are drawn anew when more than two thirds have
    /// voted so
    Lost {
        /// Its key
        #[arg(value_name = "ID", value_parser = parse_node_id)]
        node: NodeId,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Listening {
    /// Where to listen [default: 0.0.0.0:7400]
    #[arg(long, env = "KAKERA_LISTEN", value_name = "ADDRESS", hide_env_values = true)]
    pub(crate) listen: Option<SocketAddr>,
    /// Die with the process of this number, which must be the parent
    #[arg(long, value_name = "PID", hide = true)]
    pub(crate) die_with_parent: Option<u32>,
}

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

/// Names are taken as they are, byte for byte.
fn record_name() -> impl TypedValueParser<Value = RecordName> {
    OsStringValueParser::new().try_map(|text| {
        RecordName::new(text.into_vec())
            .ok_or_else(|| format!("a name has 1 to {NAME_LEN_MAX} bytes, none of them zero"))
    })
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

#[derive(Debug, Args)]
pub(crate) struct RepairOptions {
    /// A node that is gone for good: its slots go to others first; needs the operator's key
    #[arg(long, value_name = "ID", value_parser = parse_node_id)]
    pub(crate) lost: Vec<NodeId>,
    #[command(flatten)]
    pub(crate) operator: OperatorKey,
}

/// The sizes of the codes to compare.
#[derive(Debug, Args)]
pub(crate) struct SurveyOptions {
    /// Slots, one fragment each
    #[arg(long, value_parser = clap::value_parser!(u8).range(2..=100))]
    pub(crate) n: u8,
    /// Fragments that give an object back
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=99))]
    pub(crate) k: u8,
    /// Helpers of a repair [default: those that suit each kind]
    #[arg(long)]
    pub(crate) d: Option<u8>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// Show the newest final block's header
    Head,
    /// Check every block from the genesis on; or a copy, or a proof, without the network
    #[command(after_help = "\
Examples:
  kakera ledger verify                      the chain that the validators have
  kakera ledger verify --folder audit/      the copy of kakera ledger sync; says where it breaks
  kakera ledger verify --proof node.proof   a file of kakera ledger prove")]
    Verify {
        /// Check the copy in this folder
        #[arg(long, value_name = "DIR")]
        folder: Option<PathBuf>,
        /// Check this proof
        #[arg(long, value_name = "FILE", conflicts_with = "folder")]
        proof: Option<PathBuf>,
    },
    /// Show what the entries say, as far as it is not sealed
    Show {
        /// The first block
        #[arg(long, value_name = "HEIGHT", default_value_t = 1)]
        from: u64,
        /// How many blocks at most
        #[arg(long, value_name = "N", default_value_t = 100)]
        count: u64,
    },
    /// Keep a verified copy of the whole chain in a folder; goes on where it stopped
    #[command(after_help = "\
Examples:
  kakera ledger sync audit/
  kakera ledger sync audit/ --json

Every block is checked before it is kept. Blocks come from the validators and the storage nodes, from
the next one where one fails.")]
    Sync {
        /// The folder; made if there is none
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Write a proof of what the ledger says, to be checked without the network
    #[command(after_help = "\
Examples:
  kakera ledger prove --machine ID -o machine.proof
  kakera ledger prove --pointers TAG -o pointers.proof
  kakera ledger prove --entry 17 --folder audit/ -o entry.proof
  kakera ledger verify --proof entry.proof

The file holds the way from the genesis to a certified header, and from there to what is proved; a
machine that is not enrolled, or a tag without pointers, is proved to be absent.")]
    Prove(ProveOptions),
    /// Write blocks or entries as JSON lines, one each; what is sealed stays sealed
    #[command(after_help = "\
Examples:
  kakera ledger export > entries.jsonl
  kakera ledger export --blocks --from 100 --count 50
  kakera ledger export --folder audit/ -o entries.jsonl")]
    Export(ExportOptions),
}

#[derive(Debug, Args)]
pub(crate) struct ProveOptions {
    #[command(flatten)]
    pub(crate) claim: ClaimOptions,
    /// From the copy in this folder instead of the network
    #[arg(long, value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
    /// Where to write the proof
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

/// What is to be proved.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ClaimOptions {
    /// The entry with this number, from 0; needs a copy of the chain
    #[arg(long, value_name = "N", requires = "folder")]
    pub(crate) entry: Option<u64>,
    /// The pointers under a tag of 32 hexadecimal digits
    #[arg(long, value_name = "TAG", value_parser = parse_tag)]
    pub(crate) pointers: Option<Tag>,
    /// What the registry says of a machine
    #[arg(long, value_name = "ID", value_parser = parse_node_id)]
    pub(crate) machine: Option<NodeId>,
    /// The members of a placement group
    #[arg(long, value_name = "N")]
    pub(crate) group: Option<u32>,
    /// The validators of the next block, if they ever changed
    #[arg(long)]
    pub(crate) validators: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExportOptions {
    /// Blocks instead of entries
    #[arg(long)]
    pub(crate) blocks: bool,
    /// The first block
    #[arg(long, value_name = "HEIGHT", default_value_t = 1)]
    pub(crate) from: u64,
    /// How many blocks at most [default: all]
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// From the copy in this folder instead of the network
    #[arg(long, value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
    /// Write here instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

fn parse_tag(text: &str) -> Result<Tag, String> {
    Tag::from_hex(text).ok_or_else(|| format!("'{text}' is not a tag of 32 hexadecimal digits"))
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_tree_is_sound() {
        Arguments::command().debug_assert();
    }
}
