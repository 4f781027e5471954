//! Named commands for those who build Kakera: `cargo xtask` lists them.
//!
//! Every command measures something and gives a [`report::Report`], printed as a table or, with
//! `--json`, as one JSON object of the same figures. A missed goal is a failure.

mod chain;
mod coding_rates;
mod compare;
mod constant_time;
mod crash;
mod entries;
mod flood;
mod footprint;
mod fuzz;
mod import;
mod instructions;
mod leaf;
mod ledger_crash;
mod ledger_load;
mod ledger_sim;
mod ledger_start;
mod load;
mod network_sim;
mod node_figures;
mod owner;
mod papers;
mod passphrases;
mod process;
mod product;
mod records;
mod report;
mod restore;
mod samples;
mod sim_coverage;
mod sim_speed;
mod soak;
mod upgrade;
mod versus_tahoe;
mod wire_sim;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Named commands for those who build Kakera
#[derive(Parser)]
#[command(name = "cargo xtask", arg_required_else_help = true, disable_help_subcommand = true)]
struct Arguments {
    /// Print one JSON object on standard output
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Products that the coding kernels do in a second, against those that the simulator reckons with
    CodingRates(coding_rates::Options),
    /// Codes, key sharing and sealing beside their rivals, in one run on one thread
    Compare(compare::Options),
    /// Time operations on fixed and random secrets; no difference may show
    ConstantTime(constant_time::Options),
    /// Kill nodes and cut the power of a simulated disk; nothing acknowledged may be lost
    Crash(crash::Options),
    /// Forged handshakes and a member that never stops asking: what other users notice
    Flood(flood::Options),
    /// Memory of every process and CPU time a megabyte, for a put, a get and a repair
    Footprint(footprint::Options),
    /// Run libFuzzer on every decoder
    Fuzz(fuzz::Options),
    /// Import a storage of small files: time, bytes on disks and ledger; kill the client; edit at once
    Import(import::Options),
    /// Instructions of the coding kernels, against recorded counts
    Instructions(instructions::Options),
    /// Memory, CPU time and traffic of storage nodes that only keep what they have
    Leaf(leaf::Options),
    /// Kill, pause and miss validators, and cut their power; nothing acknowledged may be lost
    LedgerCrash(ledger_crash::Options),
    /// Many clients post to the ledger at once; rates, and what every validator's chain then holds
    LedgerLoad(ledger_load::Options),
    /// Validators on virtual time under faults and a traitor; never a fork, nothing acknowledged lost
    LedgerSim(ledger_sim::Options),
    /// Time a machine takes to have its kept chain in memory, with and without a checkpoint
    LedgerStart(ledger_start::Options),
    /// Storage nodes on virtual time that die, sleep, lie and rot; nobody helps and nothing is lost
    NetworkSim(network_sim::Options),
    /// Run a published experiment again, beside its published figures
    #[command(subcommand)]
    Papers(papers::Paper),
    /// A thousand wrong passphrases against identity nodes whose clock is put forward
    Passphrases(passphrases::Options),
    /// Replace a third of the nodes, then restore everything on a fresh machine; search every node
    Restore(restore::Options),
    /// Whether the simulator's intervals hold the exact answer as often as they say
    SimCoverage(sim_coverage::Options),
    /// CPU seconds of the simulator on scenarios of known size
    SimSpeed(sim_speed::Options),
    /// Run a node that lies, for `soak`
    #[command(hide = true)]
    LyingNode(soak::LyingOptions),
    /// Kill, pause, replace and fill machines of a network with liars under load; nothing may be lost
    Soak(soak::Options),
    /// Replace the program of a running network machine by machine, under load
    Upgrade(upgrade::Options),
    /// Side by side with a Tahoe-LAFS grid on this machine
    VersusTahoe(versus_tahoe::Options),
    /// Networks of real nodes on virtual time over a simulated wire, in a storm; nothing may be lost
    WireSim(wire_sim::Options),
}

fn main() -> anyhow::Result<ExitCode> {
    let Arguments { json, command } = Arguments::parse();
    let report = match command {
        Command::Compare(options) => compare::run(&options),
        Command::ConstantTime(options) => constant_time::run(&options),
        Command::Crash(options) => crash::run(&options),
        Command::Flood(options) => flood::run(&options),
        Command::Footprint(options) => footprint::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Import(options) => import::run(&options),
        Command::CodingRates(options) => coding_rates::run(&options),
        Command::Instructions(options) => instructions::run(&options),
        Command::Leaf(options) => leaf::run(&options),
        Command::LedgerCrash(options) => ledger_crash::run(&options),
        Command::LedgerLoad(options) => ledger_load::run(&options),
        Command::LedgerSim(options) => ledger_sim::run(&options),
        Command::LedgerStart(options) => ledger_start::run(&options),
        Command::NetworkSim(options) => network_sim::run(&options),
        Command::Papers(paper) => papers::run(&paper),
        Command::Passphrases(options) => passphrases::run(&options),
        Command::Restore(options) => restore::run(&options),
        Command::SimCoverage(options) => sim_coverage::run(&options),
        Command::SimSpeed(options) => sim_speed::run(&options),
        Command::LyingNode(options) => {
            return soak::lie(&options).map(|()| ExitCode::SUCCESS);
        }
        Command::Soak(options) => soak::run(&options),
        Command::Upgrade(options) => upgrade::run(&options),
        Command::VersusTahoe(options) => versus_tahoe::run(&options),
        Command::WireSim(options) => wire_sim::run(&options),
    }?;
    if json {
        println!("{}", report.to_json());
    } else {
        print!("{report}");
    }
    Ok(if report.goals_missed().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
