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

use anyhow::{Context, Result, bail, ensure};
use kakera_engine::ledger::{Body, NodeRetire};
use kakera_engine::names::NodeId;
use kakera_net::client::{Client, ClientSettings, Submitted};
use kakera_net::id::Identity;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

use self::figures::{CatchUp, Figures, SyncKind, Write};
use self::servers::Server;
use crate::chain::read_blocks;
use crate::entries;
use crate::product::{self, LocalNetwork, workspace};
use crate::report::Report;

/// Entries that the other server misses while it is stopped, where writes do not wait for it.
const MISSED: usize = 100;
/// Where they do, it misses one: what is not final by then waits.
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
    let two = options.validators == 1;
    let network = product::ledger_network(options.validators, u8::from(two))?;
    let mut experiment = Experiment::start(network)?;
    let (mut figures, mut swapped) = (Figures::default(), Figures::default());
    experiment.write_and_sync(writes, &mut figures)?;
    for _ in 0..stops {
        // Of two servers, a write is not final before the only follower has it.
        let missed = if two { Missed::Waiting } else { Missed::Final(MISSED) };
        experiment.stop_and_catch_up(missed, &mut figures)?;
        if !two {
            experiment.turn();
        }
    }
    if two {
        experiment.rebuild_validator(&mut figures)?;
        experiment.swap_roles()?;
        experiment.write_and_sync(writes, &mut swapped)?;
        for _ in 0..stops {
            experiment.stop_and_catch_up(Missed::Final(MISSED), &mut swapped)?;
        }
    }
    let lengths = experiment.entry_lengths()?;
    figures.set_entry_lengths(&lengths);
    swapped.set_entry_lengths(&lengths);
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
    let mut report = Report::beside("papers medical-alpha", "published");
    let kind = if two { SyncKind::OfEach } else { SyncKind::WithAgreement };
    figures.add_to(&mut report, "", kind, options.short);
    if two {
        swapped.add_to(&mut report, "swapped_", kind, options.short);
    }
    Ok(report)
}

/// Entries that are written while the other server is stopped.
enum Missed {
    /// So many become final without it.
    Final(usize),
    /// One waits for it.
    Waiting,
}

/// The servers, and a client that writes.
struct Experiment {
    runtime: Runtime,
    client: Arc<Client>,
    rng: ChaCha8Rng,
    // They end before the network's folder is removed.
    servers: Vec<Server>,
    /// Which of them is ended after the other.
    validator: usize,
    /// Which of them is synced.
    other: usize,
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
        let take_over = |machine| runtime.block_on(Server::take_over(&network, machine));
        let servers: Vec<Server> =
            network.running()?.into_iter().map(take_over).collect::<Result<_>>()?;
        ensure!(servers.len() > 1, "there is no second server");
        let other = servers.len() - 1;
        let mut experiment = Self { runtime, client, rng, servers, validator: 0, other, network };
        // Connections and the author's sequence number are no part of a write.
        experiment.write()?;
        Ok(experiment)
    }

    /// Writes one entry and waits until it is on the other server too.
    fn write(&mut self) -> Result<Submitted> {
        let body = entries::pointer(self.client.network(), &mut self.rng);
        self.runtime.block_on(async {
            let submitted = self.client.submit(body).await?;
            synced(&self.client, self.other().id(), submitted.height).await?;
            Ok(submitted)
        })
    }

    fn write_and_sync(&mut self, writes: usize, figures: &mut Figures) -> Result<()> {
        for _ in 0..writes {
            let (before, start) = (self.other().traffic(), Instant::now());
            let Submitted { index, .. } = self.write()?;
            let seconds = start.elapsed().as_secs_f64();
            let moved = self.other().traffic_after(before)? - before;
            figures.writes.push(Write { index, seconds, moved, entry_bytes: 0 });
        }
        Ok(())
    }

    /// Stops the other server, writes, starts it and waits until it has what it missed; then stops
    /// and starts the validator.
    fn stop_and_catch_up(&mut self, missed: Missed, figures: &mut Figures) -> Result<()> {
        let other = &mut self.servers[self.other];
        other.stop()?;
        let (count, patience) = match missed {
            Missed::Waiting => (1, WAITING_TIME),
            Missed::Final(count) => (count, Duration::MAX),
        };
        let bodies: Vec<Body> =
            (0..count).map(|_| entries::pointer(self.client.network(), &mut self.rng)).collect();
        let mut writing = self.runtime.spawn(write_all(Arc::clone(&self.client), bodies));
        let catch_up = self.runtime.block_on(async {
            let written = timeout(patience, &mut writing).await;
            let start = Instant::now();
            other.start().await?;
            let places = match written {
                Ok(places) => places??,
                Err(_) => writing.await??,
            };
            let last = places.last().context("nothing was written")?;
            synced(&self.client, other.id(), last.height).await?;
            let seconds = start.elapsed().as_secs_f64();
            let indices = places.iter().map(|place| place.index).collect();
            Ok::<_, anyhow::Error>(CatchUp {
                indices,
                seconds,
                moved: other.traffic(),
                entry_bytes: 0,
            })
        })?;
        figures.catch_ups.push(catch_up);

        let validator = &mut self.servers[self.validator];
        validator.stop()?;
        let start = Instant::now();
        self.runtime.block_on(validator.start())?;
        self.write()?;
        figures.validator_restarts.push(start.elapsed().as_secs_f64());
        Ok(())
    }

    /// The next server is stopped and caught up from here on.
    fn turn(&mut self) {
        self.validator = self.other;
        self.other = (self.other + 1) % self.servers.len();
    }

    /// The entries' own bytes, as they stand in the chain.
    fn entry_lengths(&self) -> Result<Vec<u64>> {
        let blocks = self.runtime.block_on(async {
            let height = self.client.head().await?.header().height;
            read_blocks(&self.client, 1, height).await
        })?;
        let entries = blocks.iter().flat_map(|block| &block.block.entries);
        Ok(entries.map(|salted| salted.entry.to_bytes().len() as u64).collect())
    }

    /// The validator loses its folder but for the key and is rebuilt from the follower.
    fn rebuild_validator(&mut self, figures: &mut Figures) -> Result<()> {
        let [validator, other] = &mut self.servers[..] else { bail!("there are more servers") };
        validator.stop()?;
        let (seconds, moved) = validator.rebuild_from(other)?;
        self.runtime.block_on(validator.start())?;
        self.write()?;
        let own = self.entry_lengths()?.iter().sum();
        figures.rebuilt = Some((seconds, moved, own));
        Ok(())
    }

    /// By entries on the chain the second server becomes the only validator, and the first one its
    /// follower. It gets a validator's key for that; its storage node is retired, so that two
    /// servers remain.
    fn swap_roles(&mut self) -> Result<()> {
        let successor = self.runtime.block_on(Server::found(&self.network, "validator-02"))?;
        let [first, node] = &mut self.servers[..] else { bail!("there are more servers") };
        let machine = format!("{}@{}", successor.id(), successor.address());
        first.run(&["validator", "add", &machine])?;
        // Now both must say so.
        let out = ["validator", "remove", &first.id().to_string()];
        first.run(&out)?;
        successor.run(&out)?;
        self.runtime.block_on(retire(&self.network, node.id()))?;
        node.stop()?;
        self.servers[1] = successor;
        (self.validator, self.other) = (1, 0);
        self.write().map(drop)
    }

    fn other(&self) -> &Server {
        &self.servers[self.other]
    }
}

async fn retire(network: &LocalNetwork, node: NodeId) -> Result<()> {
    let operator = Arc::new(Identity::load(&network.machines().join("operator.key"))?);
    let settings =
        ClientSettings { network: network.network_file()?, identity: operator, seen: None };
    Client::new(settings)?.submit(Body::NodeRetire(NodeRetire { node })).await?;
    Ok(())
}

async fn write_all(client: Arc<Client>, bodies: Vec<Body>) -> Result<Vec<Submitted>> {
    let mut places = Vec::new();
    for body in bodies {
        places.push(client.submit(body).await?);
    }
    Ok(places)
}

/// Waits until the other server answers that it has the block on its disk.
async fn synced(client: &Client, other: NodeId, height: u64) -> Result<()> {
    while client.node_status(other).await?.height < height {
        sleep(POLL_PAUSE).await;
    }
    Ok(())
}
