//! The `kakera` command: secret-sharing storage for patient files.
//!
//! Every command is a function from a [`Session`](session::Session) and its options to a report or
//! a [`Failure`](failure::Failure); only this file knows about the process.

mod arguments;
mod checks;
mod codes;
mod configuration;
mod confined;
mod demo;
mod doctor;
mod drill;
mod export;
mod failure;
mod get;
mod import;
mod invitation;
mod ledger;
mod listing;
mod local;
mod machine;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod memory;
mod operator;
mod output;
mod passphrase;
mod progress;
mod put;
mod quantity;
mod records;
mod repair;
mod session;
mod shred;
mod sim;
mod survey;
mod usage;
mod validator;
mod vault;
mod watch;

use std::process::ExitCode;

use clap::Parser;
use kakera_engine::gf;
use tokio::runtime::Builder;
use tracing_subscriber::EnvFilter;

use crate::arguments::{Arguments, Command, ImportCommand};
use crate::failure::{Failure, Kind};
use crate::session::Session;
use crate::usage::Refusal;

/// Disk requests of a storage node or validator that run at once; further ones wait.
const MACHINE_BLOCKING_THREADS: usize = 8;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refuse(error),
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.show(arguments.general.json),
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let session = Session::new(&arguments.general)?;
    start_log(arguments.general.log.as_deref().or(session.configuration.log.as_deref()))?;
    choose_kernel(arguments.general.gf.as_deref().or(session.configuration.gf.as_deref()))?;
    let runtime = runtime_for(&arguments.command).enable_all().build();
    let runtime = runtime.map_err(|error| {
        Failure::new(Kind::Failure, format!("cannot start threads: {error}"), "raise ulimit -u")
    })?;
    runtime.block_on(dispatch(&session, &arguments.command))
}

/// A machine of the network moves packets on one thread, which costs a third less CPU than handing
/// them between threads; its disk, hashing and coding run on a few blocking ones. A client is alone
/// on its machine and uses every core.
fn runtime_for(command: &Command) -> Builder {
    if !matches!(command, Command::Node(_) | Command::Validator(_)) {
        return Builder::new_multi_thread();
    }
    let mut builder = Builder::new_current_thread();
    builder.max_blocking_threads(MACHINE_BLOCKING_THREADS);
    builder
}

async fn dispatch(session: &Session, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Demo(options) => demo::run(session.output, options).await,
        Command::Local(command) => local::run(session, command).await,
        Command::Node(command) => machine::run_node(session, command).await,
        Command::Validator(command) => validator::run(session, command).await,
        Command::Vault(command) => vault::run(session, command).await,
        Command::Put(options) => put::run(session, options).await,
        Command::Get(options) => get::run(session, options).await,
        Command::Ls { prefix, passphrase } => listing::list(session, prefix, passphrase).await,
        Command::Import(ImportCommand::Ssmix2(options)) => import::ssmix2(session, options).await,
        Command::Export(options) => export::run(session, options).await,
        Command::History(options) => records::history(session, options).await,
        Command::Mv { name, to, passphrase } => {
            records::rename(session, name, to, passphrase).await
        }
        Command::Rm(options) if options.shred => shred::run(session, &options.record).await,
        Command::Rm(options) => records::delete(session, &options.record).await,
        Command::Restore { record, number } => records::restore(session, record, *number).await,
        Command::Status { watch: Some(every), .. } => watch::run(session, *every).await,
        Command::Status { name, passphrase, .. } => {
            listing::status(session, name.as_ref(), passphrase).await
        }
        Command::Doctor => doctor::run(session).await,
        Command::Events(options) => ledger::events::run(session, options).await,
        Command::Drill(options) => drill::run(session, options).await,
        Command::Repair(options) => repair::run(session, options).await,
        Command::Codes(options) => survey::run(session.output, options),
        Command::Sim(command) => sim::run(session.output, command),
        Command::Ledger(command) => ledger::run(session, command).await,
    }
}

/// Log lines go to standard error; a client is silent unless asked.
fn start_log(filter: Option<&str>) -> Result<(), Failure> {
    let filter = filter.unwrap_or("off");
    let filter = EnvFilter::try_new(filter).map_err(|_| {
        Failure::new(Kind::Usage, format!("the log filter '{filter}' is not one"), "--log info")
    })?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    Ok(())
}

/// Bulk coding takes the fastest kernel unless one is named.
fn choose_kernel(name: Option<&str>) -> Result<(), Failure> {
    let Some(name) = name else { return Ok(()) };
    gf::force(name).map_err(|error| {
        let fastest = gf::kernels().next().unwrap_or_default();
        Failure::new(Kind::Usage, error.to_string(), format!("--gf {fastest}"))
    })
}

/// Clap's answers are printed as they are. Its refusals come before any option is known, so
/// `--json` is looked for among the words.
fn refuse(error: clap::Error) -> ExitCode {
    match Refusal::of(error) {
        Refusal::Answer(answer) => {
            // Standard output may be closed; there is nobody to tell then.
            let _ = answer.print();
            ExitCode::SUCCESS
        }
        Refusal::Failure(failure) => {
            let words = std::env::args_os().skip(1).take_while(|word| word != "--");
            failure.show(words.into_iter().any(|word| word == "--json"))
        }
    }
}
