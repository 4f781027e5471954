//! Medical alpha (Nihon University): writes of about 1 KB, each followed by its sync to the other
//! server, whose cost there grew with the chain.
//!
//! The servers are processes of the release program and talk QUIC on loopback; the client that
//! writes runs in this process. A write counts as synced when the other server itself answers that
//! its block is on its disk. Bytes are those of all requests that the other server made, from its
//! log.

mod figures;
mod servers;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kakera_engine::ledger::Body;
use kakera_net::client::{Client, ClientSettings, Submitted};
use kakera_net::id::Identity;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

use self::figures::{CatchUp, Figures, Write};
use self::servers::Server;
use crate::chain::read_blocks;
use crate::entries;
use crate::product::{self, LocalNetwork, workspace};
use crate::report::Report;

/// Entries that the other server misses while it is stopped. With one validator and one follower a
/// write is not final before the follower has it, so there the other server misses one at a time.
const MISSED: usize = 100;
/// Writes that are not final by then wait for the other server.
const WAITING_TIME: Duration = Duration::from_secs(1);
const POLL_PAUSE: Duration = Duration::from_micros(500);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Writes, each followed by its sync
    #[arg(long, default_value_t = 4000)]
    writes: usize,
    /// Times that the other server is stopped, written past and started
    #[arg(long, default_value_t = 20)]
    stops: usize,
    /// One validator and one follower, or so many validators
    #[arg(long, default_value_t = 1)]
    validators: u8,
    /// Where the CSV and the SVG go [default: papers/medical-alpha, with --short below target]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// 200 writes and 2 stops without goals for the times
    #[arg(long, conflicts_with_all = ["writes", "stops"])]
    short: bool,
}

pub(crate) fn run(options: &Options) -> Result<Report> {
    let (writes, stops) = if options.short { (200, 2) } else { (options.writes, options.stops) };
    let followers = u8::from(options.validators == 1);
    let network = product::ledger_network(options.validators, followers)?;
    let mut experiment = Experiment::start(network)?;
    let mut figures = Figures::default();
    experiment.write_and_sync(writes, &mut figures)?;
    let missed = if options.validators == 1 { 1 } else { MISSED };
    for _ in 0..stops {
        experiment.stop_and_catch_up(missed, &mut figures)?;
    }
    // The other direction belongs here: swap the roles of the two servers by an entry that changes
    // the validators, then write and sync, stop and catch up once more.
    experiment.read_entry_lengths(&mut figures)?;
    if options.validators == 1 {
        experiment.rebuild_validator(&mut figures)?;
    }
    experiment.network.run(&["ledger", "verify"])?;

    let published = workspace().join("papers/medical-alpha");
    let output = match &options.output {
        Some(output) => output.clone(),
        None if options.short => workspace().join("target/papers/medical-alpha"),
        None => published.clone(),
    };
    fs::create_dir_all(&output)?;
    let published = fs::read_to_string(published.join("published.csv"))?;
    fs::write(output.join("measured.csv"), figures.to_csv())?;
    fs::write(output.join("write-to-sync.svg"), figures.to_svg(&published)?)?;
    Ok(figures.report(options.short))
}

/// The servers, and a client that writes.
struct Experiment {
    runtime: Runtime,
    client: Arc<Client>,
    rng: ChaCha8Rng,
    // Both end before the network's folder is removed.
    validator: Server,
    other: Server,
    network: LocalNetwork,
}

impl Experiment {
    fn start(network: LocalNetwork) -> Result<Self> {
        let runtime = Runtime::new()?;
        let settings = ClientSettings {
            network: network.network_file()?,
            identity: Arc::new(Identity::load(&network.data().join("client.key"))?),
            seen: None,
        };
        let client = Arc::new(runtime.block_on(async { Client::new(settings) })?);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        // A validator that restarts does not know its newest block for a moment, and refuses whom
        // only that block lets in.
        runtime.block_on(client.submit(entries::pointer(client.network(), &mut rng)))?;
        let mut machines = network.running()?;
        let other = machines.pop().context("there is no second server")?;
        let validator = machines.into_iter().next().context("there is no validator")?;
        let take_over = |machine| runtime.block_on(Server::take_over(&network, machine));
        let (validator, other) = (take_over(validator)?, take_over(other)?);
        let mut experiment = Self { runtime, client, rng, validator, other, network };
        // Connections and the author's sequence number are no part of a write.
        experiment.write()?;
        Ok(experiment)
    }

    /// Writes one entry and waits until it is on the other server too.
    fn write(&mut self) -> Result<Submitted> {
        let body = entries::pointer(self.client.network(), &mut self.rng);
        self.runtime.block_on(async {
            let submitted = self.client.submit(body).await?;
            synced(&self.client, &self.other, submitted.height).await?;
            Ok(submitted)
        })
    }

    fn write_and_sync(&mut self, writes: usize, figures: &mut Figures) -> Result<()> {
        for _ in 0..writes {
            let (before, start) = (self.other.traffic(), Instant::now());
            let Submitted { index, .. } = self.write()?;
            let seconds = start.elapsed().as_secs_f64();
            let moved = self.other.traffic_after(before)? - before;
            figures.writes.push(Write { index, seconds, moved, entry_bytes: 0 });
        }
        Ok(())
    }

    /// Stops the other server, writes, starts it and waits until it has what it missed; then stops
    /// and starts the validator.
    fn stop_and_catch_up(&mut self, missed: usize, figures: &mut Figures) -> Result<()> {
        self.other.stop()?;
        let bodies: Vec<Body> =
            (0..missed).map(|_| entries::pointer(self.client.network(), &mut self.rng)).collect();
        let mut writing = self.runtime.spawn(write_all(Arc::clone(&self.client), bodies));
        let catch_up = self.runtime.block_on(async {
            // Those that cannot become final without the other server wait for it from here on.
            let written = timeout(WAITING_TIME, &mut writing).await;
            let start = Instant::now();
            self.other.start().await?;
            let places = match written {
                Ok(places) => places??,
                Err(_) => writing.await??,
            };
            let last = places.last().context("nothing was written")?;
            synced(&self.client, &self.other, last.height).await?;
            let seconds = start.elapsed().as_secs_f64();
            let indices = places.iter().map(|place| place.index).collect();
            Ok::<_, anyhow::Error>(CatchUp {
                indices,
                seconds,
                moved: self.other.traffic(),
                entry_bytes: 0,
            })
        })?;
        figures.catch_ups.push(catch_up);

        self.validator.stop()?;
        let start = Instant::now();
        self.runtime.block_on(self.validator.start())?;
        self.write()?;
        figures.validator_restarts.push(start.elapsed().as_secs_f64());
        Ok(())
    }

    /// The entries' own bytes, as they stand in the chain.
    fn read_entry_lengths(&self, figures: &mut Figures) -> Result<()> {
        let blocks = self.runtime.block_on(async {
            let height = self.client.head().await?.header().height;
            read_blocks(&self.client, 1, height).await
        })?;
        let entries = blocks.iter().flat_map(|block| &block.block.entries);
        let lengths = entries.map(|salted| salted.entry.to_bytes().len() as u64);
        figures.set_entry_lengths(&lengths.collect::<Vec<_>>());
        Ok(())
    }

    /// The validator loses its folder but for the key and is rebuilt from the follower.
    fn rebuild_validator(&mut self, figures: &mut Figures) -> Result<()> {
        self.validator.stop()?;
        figures.rebuilt = Some(self.validator.rebuild_from(&self.other)?);
        self.runtime.block_on(self.validator.start())?;
        self.write().map(drop)
    }
}

async fn write_all(client: Arc<Client>, bodies: Vec<Body>) -> Result<Vec<Submitted>> {
    let mut places = Vec::new();
    for body in bodies {
        places.push(client.submit(body).await?);
    }
    Ok(places)
}

/// Waits until the other server answers that it has the block on its disk.
async fn synced(client: &Client, other: &Server, height: u64) -> Result<()> {
    while client.node_status(other.id()).await?.height < height {
        sleep(POLL_PAUSE).await;
    }
    Ok(())
}
