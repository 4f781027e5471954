//! The ledger.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use kakera_engine::names::{NodeId, Tag};

use super::parse_node_id;

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

#[derive(Debug, Args)]
pub(crate) struct EventOptions {
    /// How many of the newest events to show
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) last: usize,
    /// Go on with those to come, until interrupted
    #[arg(short, long)]
    pub(crate) follow: bool,
}

fn parse_tag(text: &str) -> Result<Tag, String> {
    Tag::from_hex(text).ok_or_else(|| format!("'{text}' is not a tag of 32 hexadecimal digits"))
}
