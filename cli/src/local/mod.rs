//! `kakera local`: a network of separate processes under a folder of this machine.

mod machine_folder;
mod network;
mod process;

use std::io::{self, Write};

use kakera_net::client::Client;
use serde::Serialize;
use std::sync::Arc;

use crate::arguments::{LocalCommand, MachineChoice};
use crate::codes::Codes;
use crate::failure::{Failure, Kind};
use crate::listing::ask_nodes;
use crate::output::{Align, Report, write_table};
use crate::quantity::show_size;
use crate::session::{Connection, Session};

use machine_folder::{MachineFolder, State};

pub(crate) use network::{Lifetime, LocalNetwork};

/// Runs a local command.
pub(crate) async fn run(session: &Session, command: &LocalCommand) -> Result<(), Failure> {
    let folder = session.local_folder();
    match command {
        LocalCommand::Up { validators, codes } => {
            let network = if LocalNetwork::exists(&folder) {
                LocalNetwork::open(&folder, Lifetime::Persistent)?
            } else {
                let codes_of_groups = Codes::choose(codes)?;
                session.output.narrate("Making a network …");
                LocalNetwork::create(
                    &folder,
                    *validators,
                    codes.nodes,
                    codes_of_groups,
                    Lifetime::Persistent,
                )?
            };
            let operator = network.up().await?;
            network.enrol_client(&operator, session.client_identity()?.node_id()).await?;
            report(session, &network, Some(operator)).await
        }
        LocalCommand::Down => {
            let network = LocalNetwork::open(&folder, Lifetime::Persistent)?;
            network.down()?;
            report(session, &network, None).await
        }
        LocalCommand::Status => {
            let network = LocalNetwork::open(&folder, Lifetime::Persistent)?;
            let runs = network.validators()?.iter().any(|(_, validator)| validator.is_running());
            let operator = if runs { Some(network.operator()?) } else { None };
            report(session, &network, operator).await
        }
        LocalCommand::Kill(choice) => {
            let network = LocalNetwork::open(&folder, Lifetime::Persistent)?;
            chosen(&network, choice)?.kill_for_good()?;
            report(session, &network, None).await
        }
        LocalCommand::Start(choice) => {
            let network = LocalNetwork::open(&folder, Lifetime::Persistent)?;
            let machine = chosen(&network, choice)?;
            machine.forgive()?;
            network.start_processes().await?;
            let operator = network.operator()?;
            if !choice.validator {
                network.enrol_node(&operator, &machine).await?;
            }
            network.admit(&operator).await?;
            report(session, &network, Some(operator)).await
        }
        LocalCommand::Add => {
            let network = LocalNetwork::open(&folder, Lifetime::Persistent)?;
            network.add_node()?;
            let operator = network.up().await?;
            report(session, &network, Some(operator)).await
        }
    }
}

async fn report(
    session: &Session,
    network: &LocalNetwork,
    operator: Option<Connection>,
) -> Result<(), Failure> {
    let nodes = network.nodes()?;
    let client = operator.as_ref().map(|connection| &connection.client);
    let mut processes = Vec::new();
    for (number, validator) in network.validators()? {
        processes.push(ProcessReport::of(network::validator_name(number), &validator)?);
    }
    processes.extend(node_reports(&nodes, client).await?);
    if let Some(connection) = operator {
        connection.close().await?;
    }
    session
        .output
        .report(&LocalReport { folder: network.folder().display().to_string(), processes })
}

async fn node_reports(
    nodes: &[(u16, MachineFolder)],
    client: Option<&Arc<Client>>,
) -> Result<Vec<ProcessReport>, Failure> {
    let mut reports = Vec::with_capacity(nodes.len());
    for (number, node) in nodes {
        reports.push(ProcessReport::of(number.to_string(), node)?);
    }
    let Some(client) = client else { return Ok(reports) };
    let running = nodes.iter().filter(|(_, node)| node.is_running());
    let ids = running.map(|(_, node)| node.node_id()).collect::<Result<Vec<_>, _>>()?;
    let mut figures = ids.iter().zip(ask_nodes(client, &ids).await);
    for report in reports.iter_mut().filter(|report| report.state == State::Running) {
        if let Some((_, Some(figures))) = figures.next() {
            (report.objects, report.bytes) = (Some(figures.objects), Some(figures.bytes));
        }
    }
    Ok(reports)
}

fn chosen(network: &LocalNetwork, choice: &MachineChoice) -> Result<MachineFolder, Failure> {
    let MachineChoice { number, validator } = *choice;
    if validator { network.validator(number) } else { network.node(number) }
}

/// There is no machine of this number.
fn no_machine(kind: &str, number: u16) -> Failure {
    Failure::new(Kind::NotFound, format!("there is no {kind} {number}"), "kakera local status")
}

#[derive(Serialize)]
struct LocalReport {
    folder: String,
    processes: Vec<ProcessReport>,
}

#[derive(Serialize)]
struct ProcessReport {
    name: String,
    state: State,
    pid: Option<u32>,
    address: Option<String>,
    id: String,
    objects: Option<u64>,
    bytes: Option<u64>,
}

impl ProcessReport {
    fn of(name: String, machine: &MachineFolder) -> Result<Self, Failure> {
        Ok(Self {
            name,
            state: machine.state(),
            pid: machine
                .process()
                .filter(|process| process.is_running())
                .map(|process| process.pid()),
            address: machine.address().map(|address| address.to_string()),
            id: machine.node_id()?.to_string(),
            objects: None,
            bytes: None,
        })
    }
}

impl Report for LocalReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let rows: Vec<[String; 7]> = self
            .processes
            .iter()
            .map(|process| {
                [
                    process.name.clone(),
                    process.state.to_string(),
                    or_dash(process.pid.map(|pid| pid.to_string())),
                    or_dash(process.address.clone()),
                    or_dash(process.objects.map(|objects| objects.to_string())),
                    or_dash(process.bytes.map(show_size)),
                    process.id[..16].to_owned(),
                ]
            })
            .collect();
        let headings = [
            ("process", Align::Left),
            ("", Align::Left),
            ("pid", Align::Right),
            ("address", Align::Left),
            ("objects", Align::Right),
            ("bytes", Align::Right),
            ("key", Align::Left),
        ];
        write_table(out, headings, &rows)
    }
}
