//! Machines: nodes, validators, the local network, their codes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use kakera_engine::code::CodeParameters;
use kakera_engine::names::NodeId;

use super::{Source, parse_node_id, parse_source};
use crate::quantity::{parse_size, parse_span};

#[derive(Debug, Args)]
pub(crate) struct DemoOptions {
    /// Storage nodes at the start; they decide the codes
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(3..=100))]
    pub(crate) nodes: u16,
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
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(..=1000))]
    pub(crate) nodes: u16,
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
    /// Print a line with which one machine can join; needs the operator's key
    Invite(InviteOptions),
    /// Make this machine's key, and join a network with the line that its operator sent
    Join(JoinOptions),
    /// Have a machine's slots rebuilt by others, then let it go; needs the operator's key
    Drain(DrainOptions),
    /// Take a machine without slots out of the network; needs the operator's key
    Retire(DrainOptions),
}

#[derive(Debug, Args)]
pub(crate) struct InviteOptions {
    /// What the machine shares its fate with: a site, a power line
    #[arg(long, default_value = "default")]
    pub(crate) zone: String,
    /// The most that it stores
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "1TB")]
    pub(crate) quota: u64,
    /// How long the line is good
    #[arg(long, value_name = "SPAN", value_parser = parse_span, default_value = "7d")]
    pub(crate) expires: Duration,
    #[command(flatten)]
    pub(crate) operator: OperatorKey,
}

#[derive(Debug, Args)]
pub(crate) struct JoinOptions {
    /// The line that `node invite` printed
    #[arg(value_name = "CODE")]
    pub(crate) code: String,
    /// Where this machine will listen, as others reach it
    #[arg(long)]
    pub(crate) address: SocketAddr,
    /// Look for the validators on the local network, too, where they run with `mdns = true`
    #[arg(long)]
    pub(crate) mdns: bool,
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
