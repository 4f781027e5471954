//! `ledger-start`: how long a machine that kept its chain needs until it has it in memory, by
//! executing all of it and from its checkpoint; how long a new storage node needs until it has the
//! chain of running validators, over QUIC; and what retention makes of the files.
//!
//! The chain is made in this process, in blocks as busy validators make them.

mod join;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use ed25519_dalek::SigningKey;
use kakera_engine::code::{CodeKind, CodeParameters};
use kakera_engine::keyshare::KeyParameters;
use kakera_engine::ledger::{
    BeaconChain, Certificate, CertifiedBlock, Chain, Entry, Genesis, Header, Proposer, Snapshot,
    SnapshotAssembly, Suite, VerifiedEntry, Vote, VoteKind,
};
use kakera_engine::names::NodeId;
use kakera_engine::signature::node_id;
use kakera_net::chain_store::{CHAIN_FILE, ChainStore};
use kakera_net::store::disk::OsDisk;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use crate::entries;
use crate::report::{Goal, Report};
use crate::samples::{ascending, median};

/// Seeds of the validators' keys.
const VALIDATORS: [u8; 4] = [1, 2, 3, 4];
/// Of the rules.
const VERSION: u32 = 2;
/// Starts of each kind; the median counts.
const STARTS: usize = 3;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Entries of the chain, of one kilobyte each
    #[arg(long, default_value_t = 100_000)]
    entries: u64,
    /// Entries of one block
    #[arg(long, default_value_t = 100)]
    per_block: u64,
    /// Where every draw begins
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(options: &Options) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let chain = Stored::make(options, folder.path())?;
    let mut report = Report::new("ledger-start");
    report.count("blocks", chain.newest.height() as usize);
    report.add("log_megabytes", chain.megabytes("chain.log")?);

    let replayed = chain.start_seconds(|store, genesis| Ok(store.replay(genesis, u64::MAX)?))?;
    report.add("start_by_replay_seconds", replayed);
    let start = Instant::now();
    ChainStore::open(&chain.disk, CHAIN_FILE)?.write_checkpoint(&chain.before_newest)?;
    report.add("write_checkpoint_seconds", start.elapsed().as_secs_f64());
    report.add("checkpoint_megabytes", chain.megabytes("chain.checkpoint")?);
    let loaded = chain.start_seconds(|store, genesis| Ok(store.load(genesis, u64::MAX)?))?;
    report.add("start_from_checkpoint_seconds", loaded).goal(Goal::AtMost(5.0));
    report.add("times_faster", replayed / loaded).goal(Goal::AtLeast(5.0));

    let start = Instant::now();
    let (requests, bytes) = chain.gather()?;
    report.add("gather_snapshot_seconds", start.elapsed().as_secs_f64()).goal(Goal::AtMost(5.0));
    report.count("gather_snapshot_requests", requests);
    report.add("gather_snapshot_megabytes", bytes as f64 / 1e6);

    let joined = join::measure(&chain)?;
    report.add("join_over_quic_seconds", joined.seconds).goal(Goal::AtMost(5.0));
    report.add("join_over_quic_megabytes", joined.megabytes);
    report.count("join_over_quic_blocks_after_snapshot", joined.blocks);

    let floor = chain.newest.height() * 9 / 10;
    let start = Instant::now();
    ChainStore::open(&chain.disk, CHAIN_FILE)?.drop_below(&chain.genesis, floor)?;
    report.add("drop_nine_tenths_seconds", start.elapsed().as_secs_f64());
    report.add("shortened_log_megabytes", chain.megabytes("chain.log")?);
    report.add("anchor_megabytes", chain.megabytes("chain.anchor")?);
    let kept = chain.start_seconds(|store, genesis| Ok(store.replay(genesis, u64::MAX)?))?;
    report.add("start_from_anchor_seconds", kept);
    Ok(report)
}

/// A chain in a folder.
struct Stored {
    disk: OsDisk,
    genesis: Genesis,
    folder: PathBuf,
    newest: Snapshot,
    before_newest: Snapshot,
}

impl Stored {
    fn make(options: &Options, folder: &Path) -> Result<Self> {
        let disk = OsDisk::open(folder)?;
        let store = ChainStore::open(&disk, CHAIN_FILE)?;
        let keys = VALIDATORS.map(|number| SigningKey::from_bytes(&[number; 32]));
        let links = keys.each_ref().map(BeaconChain::of_genesis);
        let genesis = genesis_of(&keys, &links)?;
        let mut chain = Chain::new(genesis.clone())?;
        let mut before_newest = Snapshot::of(&chain);
        let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
        let mut sequence = 0;
        while sequence < options.entries {
            let (network, count) =
                (chain.network(), options.per_block.min(options.entries - sequence));
            let batch = (0..count).map(|place| {
                let body = match sequence + place {
                    0 => join::enrolment(),
                    _ => entries::pointer_under(VERSION, &network, &mut rng),
                };
                let entry = Entry::sign(&network, &keys[0], sequence + place + 1, body);
                VerifiedEntry::new(&network, entry)
            });
            let batch = batch.collect::<Result<Vec<_>, _>>()?;
            let height = chain.head().header.height + 1;
            let turn = chain.validators().proposer(height, 0);
            let proposer = keys.iter().zip(&links).find(|(key, _)| node_id(key) == turn);
            let (key, links) = proposer.context("the proposer is one of ours")?;
            let proposer = Proposer { key, links: Some(links) };
            let now = chain.head().header.time + 1000;
            let proposal = chain.propose(batch, now, &proposer, &mut rng)?;
            ensure!(proposal.refused.is_empty(), "an entry was refused");
            ensure!(proposal.deferred.is_empty(), "a block has no room for {count} entries");
            let certificate = certify(&proposal.block.header, &keys);
            let checked = chain.check(&proposal.block, None, &|_| true)?;
            before_newest = Snapshot::of(&chain);
            chain.commit(checked, certificate.clone())?;
            store.append(&[CertifiedBlock { block: proposal.block, certificate }])?;
            sequence += count;
        }
        let newest = Snapshot::of(&chain);
        Ok(Self { disk, genesis, folder: folder.to_owned(), newest, before_newest })
    }

    fn megabytes(&self, file: &str) -> Result<f64> {
        let path = self.folder.join(file);
        let length = path.metadata().with_context(|| format!("no {}", path.display()))?.len();
        Ok(length as f64 / 1e6)
    }

    /// Gets the chain as a new machine does from three others, but for the network: how many chunks
    /// that takes, and how many bytes they have.
    fn gather(&self) -> Result<(usize, usize)> {
        let mut assembly =
            SnapshotAssembly::new(self.genesis.clone(), self.newest.base().clone(), Vec::new())?;
        let sources = [1, 2, 3].map(|number| NodeId([number; 32]));
        let (mut requests, mut bytes) = (0, self.newest.base().to_bytes().len());
        for source in sources.into_iter().cycle() {
            if assembly.is_complete() {
                break;
            }
            let within = assembly.poll_request(source).context("nothing to ask for")?;
            let chunk = self.newest.chunk(&within).context("no such subtree")?.to_bytes();
            assembly.handle_chunk(source, &chunk)?;
            (requests, bytes) = (requests + 1, bytes + chunk.len());
        }
        let chain = assembly.finish().context("not complete")?;
        ensure!(chain.head() == self.newest.base().head(), "another chain was gathered");
        Ok((requests, bytes))
    }

    /// Opens the store and gets the chain in one way or another, several times.
    fn start_seconds(
        &self,
        get: impl Fn(&ChainStore<OsDisk>, Genesis) -> Result<Chain>,
    ) -> Result<f64> {
        let one = || -> Result<f64> {
            let start = Instant::now();
            let store = ChainStore::open(&self.disk, CHAIN_FILE)?;
            let chain = get(&store, self.genesis.clone())?;
            let seconds = start.elapsed().as_secs_f64();
            ensure!(chain.head() == self.newest.base().head(), "another chain was read");
            Ok(seconds)
        };
        let seconds = (0..STARTS).map(|_| one()).collect::<Result<Vec<f64>>>()?;
        Ok(median(&ascending(seconds)))
    }
}

/// All of them agree, in the first round.
fn certify(header: &Header, keys: &[SigningKey]) -> Certificate {
    let precommit = |key: &SigningKey| {
        let (kind, value) = (VoteKind::Precommit, Some(header.hash()));
        let validator = node_id(key);
        let vote = Vote { kind, height: header.height, round: 0, value, validator };
        vote.sign(&header.network, key)
    };
    Certificate::of_precommits(0, keys.iter().map(precommit).collect())
}

fn genesis_of(keys: &[SigningKey], links: &[BeaconChain]) -> Result<Genesis> {
    let anchors = keys.iter().zip(links).map(|(key, links)| (node_id(key), links.anchor()));
    Ok(Genesis {
        suite: Suite,
        name: "ledger-start".to_owned(),
        created: 0,
        validators: keys.iter().map(|key| (node_id(key), 1)).collect(),
        operators: BTreeSet::new(),
        code: CodeParameters { kind: CodeKind::Mbr, n: 5, k: 2, d: 3 },
        key: KeyParameters::new(5, 3, 4)?,
        pointers_per_author_max: u64::MAX,
        version: Some(VERSION),
        anchors: anchors.collect(),
    })
}
