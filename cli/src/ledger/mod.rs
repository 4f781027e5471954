//! `kakera ledger`: look at the chain, check it, copy it, prove what it says.

mod copy;
pub(crate) mod events;
mod export;
mod proof;

use std::fmt;
use std::io::{self, Write};

use kakera_engine::ledger::{Body, CertifiedBlock, Chain, Header};
use kakera_net::client::Client;
use serde::Serialize;

use crate::arguments::LedgerCommand;
use crate::failure::{Failure, Kind};
use crate::output::{Align, Report, write_table};
use crate::quantity::show_time;
use crate::session::{Connection, Session};

/// Runs a ledger command.
pub(crate) async fn run(session: &Session, command: &LedgerCommand) -> Result<(), Failure> {
    match command {
        LedgerCommand::Verify { folder: Some(folder), .. } => copy::verify(session, folder),
        LedgerCommand::Verify { proof: Some(file), .. } => proof::verify(session, file),
        LedgerCommand::Prove(options) => proof::prove(session, options).await,
        LedgerCommand::Export(options) => export::run(session, options).await,
        LedgerCommand::Sync { folder } => copy::sync(session, folder).await,
        LedgerCommand::Head => {
            let (connection, head) = connect(session).await?;
            finish(session, connection, &HeadReport::new(&head)).await
        }
        LedgerCommand::Verify { .. } => {
            let (connection, head) = connect(session).await?;
            verify(session, &connection.client, &head).await?;
            let (head, first) = (HeadReport::new(&head), 1);
            finish(session, connection, &VerifyReport { head, first }).await
        }
        LedgerCommand::Show { from, count } => {
            let (connection, head) = connect(session).await?;
            let last = head.height.min(from.saturating_add(*count).saturating_sub(1));
            let blocks = read_blocks(&connection.client, (*from).max(1), last).await?;
            let blocks = blocks.iter().map(BlockReport::new).collect();
            finish(session, connection, &ShowReport { blocks }).await
        }
    }
}

/// A connection, and the newest head.
async fn connect(session: &Session) -> Result<(Connection, Header), Failure> {
    let connection = session.connect()?;
    let head = connection.client.head().await?.header().clone();
    Ok((connection, head))
}

async fn finish(
    session: &Session,
    connection: Connection,
    report: &impl Report,
) -> Result<(), Failure> {
    let reported = session.output.report(report);
    connection.close().await?;
    reported
}

/// Replays the chain from the genesis and compares its end with the head that was attested.
async fn verify(session: &Session, client: &Client, head: &Header) -> Result<(), Failure> {
    let mut chain = Chain::new(session.network()?.genesis).map_err(|error| forged(&error))?;
    for block in read_blocks(client, 1, head.height).await? {
        let height = block.block.header.height;
        chain
            .apply(&block, None)
            .map_err(|error| forged(&error).during(format!("block {height}")))?;
    }
    if chain.head().header.hash() != head.hash() {
        return Err(forged(&"the chain does not lead to the head that the validator attests"));
    }
    Ok(())
}

async fn read_blocks(
    client: &Client,
    first: u64,
    last: u64,
) -> Result<Vec<CertifiedBlock>, Failure> {
    let mut blocks = Vec::new();
    let mut next = first;
    while next <= last {
        let page = client.blocks(next).await?;
        if page.is_empty() {
            return Err(forged(&"the validator attests a head whose blocks it does not have"));
        }
        next += page.len() as u64;
        blocks.extend(page);
    }
    blocks.truncate((last + 1).saturating_sub(first) as usize);
    Ok(blocks)
}

fn forged(what: &dyn fmt::Display) -> Failure {
    Failure::new(
        Kind::Integrity,
        what.to_string(),
        "keep the data folder and tell the other operators",
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Serialize)]
struct HeadReport {
    network: String,
    height: u64,
    hash: String,
    /// Unix milliseconds.
    time: u64,
    entries: u64,
    state_root: String,
    log_root: String,
    proposer: String,
}

impl HeadReport {
    fn new(header: &Header) -> Self {
        Self {
            network: header.network.to_string(),
            height: header.height,
            hash: hex(&header.hash()),
            time: header.time,
            entries: header.log_size,
            state_root: hex(&header.state_root),
            log_root: hex(&header.log_root),
            proposer: header.proposer.to_string(),
        }
    }
}

impl Report for HeadReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "network   {}", self.network)?;
        writeln!(out, "height    {}", self.height)?;
        writeln!(out, "hash      {}", self.hash)?;
        writeln!(out, "time      {} UTC", show_time(self.time / 1000))?;
        writeln!(out, "entries   {}", self.entries)?;
        writeln!(out, "state     {}", self.state_root)?;
        writeln!(out, "log       {}", self.log_root)?;
        writeln!(out, "proposer  {}", self.proposer)
    }
}

#[derive(Serialize)]
struct VerifyReport {
    #[serde(flatten)]
    head: HeadReport,
    /// The first block that was there; those before were dropped, and a snapshot of what they led to
    /// was checked instead.
    first: u64,
}

impl Report for VerifyReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let HeadReport { height, entries, network, .. } = &self.head;
        let network = &network[..16];
        if self.first == 1 {
            return writeln!(
                out,
                "All {height} blocks with {entries} entries follow from the genesis of network \
                 {network}."
            );
        }
        writeln!(
            out,
            "Blocks {} to {height} follow from what the validators of network {network} certified \
             before, and their sets from the genesis. Earlier blocks were dropped.",
            self.first
        )
    }
}

#[derive(Serialize)]
struct ShowReport {
    blocks: Vec<BlockReport>,
}

#[derive(Serialize)]
struct BlockReport {
    height: u64,
    time: u64,
    entries: Vec<EntryReport>,
}

#[derive(Serialize)]
struct EntryReport {
    kind: &'static str,
    author: String,
    sequence: u64,
    about: String,
}

impl BlockReport {
    fn new(block: &CertifiedBlock) -> Self {
        let entries = block.block.entries.iter().map(|salted| {
            let entry = &salted.entry;
            let (kind, about) = describe(&entry.body);
            EntryReport { kind, author: entry.author.to_string(), sequence: entry.sequence, about }
        });
        let header = &block.block.header;
        Self { height: header.height, time: header.time, entries: entries.collect() }
    }
}

/// The kind of an entry and what it is about, as far as everyone may know.
fn describe(body: &Body) -> (&'static str, String) {
    match body {
        Body::NodeJoin(join) => ("node joins", format!("{} at {}", join.node, join.address)),
        Body::NodeUpdate(update) => {
            ("node changes", format!("{} at {}", update.node, update.address))
        }
        Body::NodeRetire(retire) => ("node retires", retire.node.to_string()),
        Body::GroupCreate(create) => ("new group", create.code.to_string()),
        Body::SlotReassign(reassign) => {
            ("slot reassigned", format!("slot {} of group {}", reassign.slot, reassign.group))
        }
        Body::EpochAdvance(advance) => {
            ("epoch", format!("{} of group {}", advance.epoch.0, advance.group))
        }
        Body::Pointer(pointer) => ("pointer", format!("{} sealed bytes", pointer.sealed.len())),
        Body::PointerRetire(_) => ("pointer retired", String::new()),
        Body::IdentityRecord(record) => ("identity", format!("version {}", record.version)),
        Body::ValidatorChange(change) => {
            ("vote: validators", format!("{} of them", change.validators.0.len()))
        }
        Body::Upgrade(upgrade) => ("vote: upgrade", format!("version {}", upgrade.version)),
        Body::ValidatorUpdate(update) => ("validator changes", format!("at {}", update.address)),
        Body::RetentionFloor(floor) => ("vote: retention", format!("height {}", floor.height)),
        Body::NodeLost(lost) => ("vote: node lost", lost.node.to_string()),
        Body::Equivocation(proof) => {
            let guilty = proof.guilty().map(|node| node.to_string());
            ("equivocation", guilty.unwrap_or_default())
        }
        Body::SlotFilled(filled) => {
            ("slot filled", format!("slot {} of group {}", filled.slot, filled.group))
        }
        Body::WrongSymbol(proof) => ("wrong symbol", proof.helper.to_string()),
        Body::NodeDrain(drain) => ("node drain", drain.node.to_string()),
        Body::Unknown(unknown) => ("unknown", format!("kind {}", unknown.kind())),
    }
}

impl Report for ShowReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows: Vec<[String; 5]> = self
            .blocks
            .iter()
            .flat_map(|block| {
                block.entries.iter().map(|entry| {
                    [
                        block.height.to_string(),
                        show_time(block.time / 1000),
                        entry.author[..16].to_owned(),
                        entry.kind.to_owned(),
                        entry.about.clone(),
                    ]
                })
            })
            .collect();
        let headings = [
            ("block", Align::Right),
            ("time (UTC)", Align::Left),
            ("author", Align::Left),
            ("entry", Align::Left),
            ("about", Align::Left),
        ];
        write_table(out, headings, &rows)
    }
}
