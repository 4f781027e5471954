//! Blocks or entries as JSON lines, for auditors.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use kakera_engine::ledger::CertifiedBlock;
use kakera_net::chain_store::FOLLOW_LEN_MAX;
use serde::Serialize;

use super::copy::{open, store_failure};
use super::{connect, describe, hex, read_blocks};
use crate::arguments::ExportOptions;
use crate::failure::{Failure, Kind};
use crate::output::Report;
use crate::session::Session;

/// Blocks that are asked for at a time.
const BLOCKS_AT_ONCE: u64 = 256;

/// Writes the lines.
pub(super) async fn run(session: &Session, options: &ExportOptions) -> Result<(), Failure> {
    let mut lines = Lines::to(options.output.as_deref(), options.blocks)?;
    let from = options.from.max(1);
    let until = from.saturating_add(options.count.unwrap_or(u64::MAX));
    match &options.folder {
        Some(folder) => lines.add_copy(session, folder, from, until)?,
        None => lines.add_fetched(session, from, until).await?,
    }
    let count = lines.finish()?;
    match &options.output {
        Some(path) => {
            let file = path.display().to_string();
            session.output.report(&ExportReport { lines: count, file })
        }
        None => Ok(()),
    }
}

struct Lines<'a> {
    out: Box<dyn Write + 'a>,
    path: Option<&'a Path>,
    blocks: bool,
    count: u64,
}

impl<'a> Lines<'a> {
    fn to(path: Option<&'a Path>, blocks: bool) -> Result<Self, Failure> {
        let out: Box<dyn Write> = match path {
            Some(path) => {
                let file = File::create(path).map_err(|error| Failure::file(path, &error))?;
                Box::new(BufWriter::new(file))
            }
            None => Box::new(BufWriter::new(io::stdout().lock())),
        };
        Ok(Self { out, path, blocks, count: 0 })
    }

    /// What a copy holds, once it was checked.
    fn add_copy(
        &mut self,
        session: &Session,
        folder: &Path,
        from: u64,
        until: u64,
    ) -> Result<(), Failure> {
        let store = open(folder)?;
        store.load(session.network()?.genesis, u64::MAX).map_err(store_failure)?;
        let mut next = from.max(store.first_height());
        loop {
            let page = store.blocks(next, FOLLOW_LEN_MAX).map_err(store_failure)?;
            if page.is_empty() || next >= until {
                return Ok(());
            }
            for bytes in page {
                let block = CertifiedBlock::from_bytes(&bytes).map_err(|error| {
                    let message = format!("block {next}: {error}");
                    Failure::new(Kind::Integrity, message, "kakera ledger verify --folder DIR")
                })?;
                if next < until {
                    self.add(&block)?;
                }
                next += 1;
            }
        }
    }

    async fn add_fetched(
        &mut self,
        session: &Session,
        from: u64,
        until: u64,
    ) -> Result<(), Failure> {
        let (connection, head) = connect(session).await?;
        let (mut next, end) = (from, until.min(head.height + 1));
        while next < end {
            let last = (next + BLOCKS_AT_ONCE).min(end) - 1;
            for block in read_blocks(&connection.client, next, last).await? {
                self.add(&block)?;
            }
            next = last + 1;
        }
        connection.close().await
    }

    fn add(&mut self, block: &CertifiedBlock) -> Result<(), Failure> {
        if self.blocks {
            return self.write(&BlockLine::of(block));
        }
        let header = &block.block.header;
        let first = header.log_size - block.block.entries.len() as u64;
        (first..).zip(&block.block.entries).try_for_each(|(index, salted)| {
            let entry = &salted.entry;
            let (kind, about) = describe(&entry.body);
            self.write(&EntryLine {
                index,
                height: header.height,
                time: header.time,
                kind,
                author: entry.author.to_string(),
                sequence: entry.sequence,
                about,
                bytes: hex(&entry.to_bytes()),
                salt: hex(&salted.salt),
                leaf: hex(&salted.leaf()),
            })
        })
    }

    fn write(&mut self, line: &impl Serialize) -> Result<(), Failure> {
        let written = serde_json::to_writer(&mut self.out, line)
            .map_err(io::Error::from)
            .and_then(|()| writeln!(self.out));
        self.count += 1;
        written.map_err(|error| self.failure(&error))
    }

    fn finish(mut self) -> Result<u64, Failure> {
        self.out.flush().map_err(|error| self.failure(&error))?;
        Ok(self.count)
    }

    fn failure(&self, error: &io::Error) -> Failure {
        match self.path {
            Some(path) => Failure::file(path, error),
            None => Failure::standard_output(error),
        }
    }
}

#[derive(Serialize)]
struct BlockLine {
    height: u64,
    hash: String,
    previous: String,
    /// Unix milliseconds.
    time: u64,
    proposer: String,
    entries: usize,
    log_size: u64,
    log_root: String,
    state_root: String,
    validators: String,
    next_validators: String,
    round: Option<u32>,
    signers: Vec<String>,
}

impl BlockLine {
    fn of(CertifiedBlock { block, certificate }: &CertifiedBlock) -> Self {
        let header = &block.header;
        let signers = certificate.commits.iter().map(|commit| commit.validator.to_string());
        Self {
            height: header.height,
            hash: hex(&header.hash()),
            previous: hex(&header.previous),
            time: header.time,
            proposer: header.proposer.to_string(),
            entries: block.entries.len(),
            log_size: header.log_size,
            log_root: hex(&header.log_root),
            state_root: hex(&header.state_root),
            validators: hex(&header.validators),
            next_validators: hex(&header.next_validators),
            round: certificate.round,
            signers: signers.collect(),
        }
    }
}

#[derive(Serialize)]
struct EntryLine {
    index: u64,
    height: u64,
    /// Unix milliseconds, the block's.
    time: u64,
    kind: &'static str,
    author: String,
    sequence: u64,
    about: String,
    /// The signed entry, canonical CBOR.
    bytes: String,
    salt: String,
    leaf: String,
}

#[derive(Serialize)]
struct ExportReport {
    lines: u64,
    file: String,
}

impl Report for ExportReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{} lines in {}.", self.lines, self.file)
    }
}
