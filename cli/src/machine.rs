//! `kakera node`: be a machine of a network.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};

use kakera_engine::ledger::{NodeJoin, Roles};
use kakera_net::node::{self, IDENTITY_FILE, NodeSettings};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::{DrainOptions, EnrolOptions, Listening, NodeCommand};
use crate::codes::Codes;
use crate::failure::{Failure, Kind};
use crate::invitation;
use crate::operator;
use crate::output::Report;
use crate::session::{Session, make_identity};

pub(crate) const LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7400);
/// What a node stores at most unless told otherwise.
pub(crate) const QUOTA_BYTES: u64 = 1_000_000_000_000;

/// Runs a node command.
pub(crate) async fn run_node(session: &Session, command: &NodeCommand) -> Result<(), Failure> {
    match command {
        NodeCommand::Init => {
            session.make_data_folder()?;
            let node = make_identity(&session.data().join(IDENTITY_FILE))?.node_id().to_string();
            session.output.report(&InitReport { node })
        }
        NodeCommand::Run { listening, quota } => {
            let settings = NodeSettings {
                folder: session.data().to_owned(),
                listen: listen(session, listening)?,
                network: session.network()?,
                quota_bytes: quota.or(session.configuration.quota).unwrap_or(QUOTA_BYTES),
                custody: session.configuration.custody(),
                audit: session.configuration.audit(),
                refresh: session.configuration.refresh(),
                uplink: session.configuration.uplink.unwrap_or(node::UPLINK_DEFAULT),
                observe: session.configuration.observe,
                mdns: session.configuration.mdns,
            };
            let stopped = stopped()?;
            node::run(settings, stopped).await.map_err(stopped_working)
        }
        NodeCommand::Enrol(options) => enrol(session, options).await,
        NodeCommand::Drain(options) => drain(session, options).await,
        NodeCommand::Invite(options) => invitation::invite(session, options).await,
        NodeCommand::Join(options) => invitation::join(session, options).await,
        NodeCommand::Retire(options) => retire(session, options).await,
    }
}

async fn drain(session: &Session, options: &DrainOptions) -> Result<(), Failure> {
    let operator = session.operator(options.operator.operator_key.as_deref())?;
    let connection = session.connect_as(operator)?;
    let slots = operator::drain(&connection.client, options.node).await?;
    connection.close().await?;
    session.output.report(&DrainReport { node: options.node.to_string(), slots })
}

async fn retire(session: &Session, options: &DrainOptions) -> Result<(), Failure> {
    let operator = session.operator(options.operator.operator_key.as_deref())?;
    let connection = session.connect_as(operator)?;
    operator::retire(&connection.client, options.node).await?;
    connection.close().await?;
    session.output.report(&DrainReport { node: options.node.to_string(), slots: 0 })
}

async fn enrol(session: &Session, options: &EnrolOptions) -> Result<(), Failure> {
    let operator = session.operator(options.operator.operator_key.as_deref())?;
    let genesis = session.network()?.genesis;
    let codes = Codes { data: genesis.code, key: genesis.key };
    let connection = session.connect_as(operator.clone())?;
    let join = NodeJoin {
        node: options.node,
        roles: Roles { storage: !options.submitter, submitter: options.submitter },
        address: options.address.map(|address| address.to_string()).unwrap_or_default(),
        zone: options.zone.clone(),
        operator: operator.node_id(),
        quota_bytes: options.quota,
        generation: 1,
    };
    operator::enrol(&connection.client, join).await?;
    let has_group = operator::make_first_group(&connection.client, codes).await?;
    connection.close().await?;
    session.output.report(&EnrolReport {
        node: options.node.to_string(),
        has_group,
        needed: codes.data.n,
    })
}

pub(crate) fn listen(session: &Session, listening: &Listening) -> Result<SocketAddr, Failure> {
    if let Some(parent) = listening.die_with_parent {
        die_with(parent)?;
    }
    Ok(listening.listen.or(session.configuration.listen).unwrap_or(LISTEN))
}

/// Has the system kill this process when its parent ends, however that happens.
fn die_with(parent: u32) -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| {
        Failure::new(Kind::Failure, format!("cannot follow the parent: {error}"), "another kernel")
    })?;
    // The parent may have ended before the line above.
    let present = getppid().map(Pid::as_raw_nonzero);
    if present.is_some_and(|present| present.get() as u32 == parent) {
        return Ok(());
    }
    Err(Failure::new(Kind::Failure, "the parent process has ended", "start it again"))
}

/// Completes when the process is told to end.
pub(crate) fn stopped() -> Result<impl Future<Output = ()>, Failure> {
    let watch = |kind| {
        signal(kind).map_err(|error| {
            Failure::new(Kind::Failure, format!("cannot watch signals: {error}"), "start it again")
        })
    };
    let (mut terminate, mut interrupt) =
        (watch(SignalKind::terminate())?, watch(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// The errors of machines end in their own advice, where there is any.
pub(crate) fn stopped_working(error: impl std::fmt::Display) -> Failure {
    Failure::of(Kind::Failure, error, "read the log above, then start it again")
}

#[derive(Serialize)]
struct InitReport {
    node: String,
}

impl Report for InitReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "This machine's key is {}.", self.node)?;
        writeln!(
            out,
            "Put the network's network.toml into this data folder. The operator enrols it with"
        )?;
        writeln!(out, "  kakera node enrol {} --address ADDRESS:7400", self.node)
    }
}

#[derive(Serialize)]
struct DrainReport {
    node: String,
    /// Slots that others took over.
    slots: usize,
}

impl Report for DrainReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { node, slots } = self;
        writeln!(out, "{node} holds nothing any more ({slots} slots taken over); switch it off.")
    }
}

#[derive(Serialize)]
struct EnrolReport {
    node: String,
    has_group: bool,
    #[serde(skip)]
    needed: u8,
}

impl Report for EnrolReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{} is enrolled.", self.node)?;
        if !self.has_group {
            writeln!(out, "Records can be stored once {} storage nodes are.", self.needed)?;
        }
        Ok(())
    }
}
