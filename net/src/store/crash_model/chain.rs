//! The promises of the stored chain with its checkpoint and its anchor.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::LazyLock;

use ed25519_dalek::SigningKey;
use kakera_engine::code::{CodeKind, CodeParameters};
use kakera_engine::keyshare::KeyParameters;
use kakera_engine::ledger::{
    Body, Certificate, CertifiedBlock, Chain, Entry, Genesis, NodeJoin, Proposer, Roles, Snapshot,
    Suite, ValidatorSet, VerifiedEntry,
};
use kakera_engine::names::NodeId;
use kakera_engine::signature::node_id;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use super::{below, unless_off};
use crate::chain_store::ChainStore;
use crate::store::simulated::SimulatedDisk;

/// Blocks of a chain; then the next chain begins.
const HEIGHT_MAX: u64 = 12;

type Store = ChainStore<SimulatedDisk>;

pub(super) struct Model {
    /// Number of the chain.
    number: u32,
    /// What may be the newest height: what was acknowledged or shown, up to an append under way.
    newest: RangeInclusive<u64>,
    /// What may be the lowest height that is kept.
    first: RangeInclusive<u64>,
    /// The height after which a new beginning is under way.
    beginning: Option<u64>,
    openings: u64,
}

impl Model {
    pub(super) fn new() -> Self {
        Self { number: 0, newest: 0..=0, first: 1..=1, beginning: None, openings: 0 }
    }

    fn path(&self, extension: &str) -> String {
        format!("chain-{}.{extension}", self.number)
    }

    /// What the opened store says of itself.
    fn check(&mut self, store: &Store, disk: &SimulatedDisk) -> Result<bool, String> {
        let (newest, first) = (store.height(), store.first_height());
        let begun = self.beginning.take();
        if let Some(height) = begun.filter(|height| (newest, first) == (*height, height + 1)) {
            (self.newest, self.first) = (height..=height, first..=first);
        }
        if !self.newest.contains(&newest) {
            return Err(format!("height {newest} where {:?} are possible", self.newest));
        }
        if !self.first.contains(&first) {
            return Err(format!("blocks from {first} on where {:?} are possible", self.first));
        }
        (self.newest, self.first) = (newest..=newest, first..=first);
        let Some(blocks) = unless_off(disk, "read", store.blocks(first, usize::MAX))? else {
            return Ok(false);
        };
        let expected = &prepared().blocks[first as usize - 1..newest as usize];
        if !blocks.iter().eq(expected.iter().map(|(bytes, _)| bytes)) {
            return Err("a block is not what was appended".to_owned());
        }
        self.openings += 1;
        let genesis = prepared().genesis.clone();
        let chain = if self.openings.is_multiple_of(2) {
            unless_off(disk, "replay", store.replay(genesis, u64::MAX))?
        } else {
            unless_off(disk, "load", store.load(genesis, u64::MAX))?
        };
        let Some(chain) = chain else { return Ok(false) };
        if chain.head() != prepared().snapshots[newest as usize].base().head() {
            return Err("another head than the newest block's".to_owned());
        }
        Ok(true)
    }

    fn append(
        &mut self,
        store: &Store,
        disk: &SimulatedDisk,
        rng: &mut ChaCha8Rng,
    ) -> Result<(), String> {
        let from = *self.newest.end();
        let to = (from + 1 + u64::from(below(rng, 3))).min(HEIGHT_MAX);
        let blocks = &prepared().blocks[from as usize..to as usize];
        let blocks: Vec<CertifiedBlock> = blocks.iter().map(|(_, block)| block.clone()).collect();
        self.newest = from..=to;
        if unless_off(disk, "append", store.append(&blocks))?.is_some() {
            self.newest = to..=to;
        }
        Ok(())
    }

    fn begin_after(
        &mut self,
        store: &Store,
        disk: &SimulatedDisk,
        rng: &mut ChaCha8Rng,
    ) -> Result<(), String> {
        let height = (*self.newest.end() + 1 + u64::from(below(rng, 3))).min(HEIGHT_MAX);
        self.beginning = Some(height);
        let begun = store.begin_after(&prepared().snapshots[height as usize]);
        if unless_off(disk, "begin after a snapshot", begun)?.is_some() {
            self.beginning = None;
            (self.newest, self.first) = (height..=height, height + 1..=height + 1);
        }
        Ok(())
    }

    fn drop_blocks(
        &mut self,
        store: &Store,
        disk: &SimulatedDisk,
        rng: &mut ChaCha8Rng,
    ) -> Result<(), String> {
        let newest = *self.newest.end();
        let floor = u64::from(below(rng, newest as u32 + 2));
        let from = *self.first.end();
        let to = from.max(floor.min(newest));
        self.first = from..=to;
        let dropped = store.drop_below(&prepared().genesis, floor);
        if unless_off(disk, "drop", dropped)?.is_some() {
            self.first = to..=to;
        }
        Ok(())
    }
}

impl super::Model for Model {
    type Store = Store;

    fn open(&mut self, disk: &SimulatedDisk) -> Result<Option<Store>, String> {
        let opened = ChainStore::open(disk, &self.path("log"));
        let Some(store) = unless_off(disk, "open", opened)? else { return Ok(None) };
        Ok(self.check(&store, disk)?.then_some(store))
    }

    fn step(
        &mut self,
        store: &mut Store,
        disk: &SimulatedDisk,
        rng: &mut ChaCha8Rng,
    ) -> Result<(), String> {
        let newest = *self.newest.end();
        match below(rng, 9) {
            0..=3 if newest < HEIGHT_MAX => self.append(store, disk, rng),
            0..=3 => {
                *self = Self { number: self.number + 1, openings: self.openings, ..Self::new() };
                if let Some(next) = self.open(disk)? {
                    *store = next;
                }
                Ok(())
            }
            4 | 5 => {
                let height = below(rng, newest as u32 + 1) as usize;
                let written = store.write_checkpoint(&prepared().snapshots[height]);
                unless_off(disk, "write a checkpoint", written).map(drop)
            }
            6 => self.drop_blocks(store, disk, rng),
            7 if newest < HEIGHT_MAX => self.begin_after(store, disk, rng),
            _ => {
                // Fails if there is none.
                let _ = disk.flip_bit(&self.path("checkpoint"), below(rng, 2000).into());
                Ok(())
            }
        }
    }
}

/// A chain whose parts are appended again and again.
struct Prepared {
    genesis: Genesis,
    blocks: Vec<(Vec<u8>, CertifiedBlock)>,
    /// By height, from 0.
    snapshots: Vec<Snapshot>,
}

fn prepared() -> &'static Prepared {
    static PREPARED: LazyLock<Prepared> = LazyLock::new(|| match Prepared::new() {
        Ok(prepared) => prepared,
        Err(error) => unreachable!("our own chain: {error}"),
    });
    &PREPARED
}

impl Prepared {
    fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let key = SigningKey::from_bytes(&[1; 32]);
        let genesis = Genesis {
            suite: Suite,
            name: "crashes".to_owned(),
            created: 0,
            validators: ValidatorSet::from_iter([(node_id(&key), 1)]),
            operators: BTreeSet::new(),
            code: CodeParameters { kind: CodeKind::Mbr, n: 3, k: 2, d: 2 },
            key: KeyParameters::new(3, 2, 2)?,
            pointers_per_author_max: 1,
            version: None,
            anchors: BTreeMap::new(),
        };
        let mut chain = Chain::new(genesis.clone())?;
        let (mut blocks, mut snapshots) = (Vec::new(), vec![Snapshot::of(&chain)]);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for height in 1..=HEIGHT_MAX {
            let entry = Entry::sign(&chain.network(), &key, height, join(height));
            let entry = VerifiedEntry::new(&chain.network(), entry)?;
            let proposer = Proposer { key: &key, links: None };
            let block = chain.propose(vec![entry], height, &proposer, &mut rng)?.block;
            let certificate = Certificate::solo(&block.header, &key);
            let block = CertifiedBlock { block, certificate };
            chain.apply(&block, None)?;
            blocks.push((block.to_bytes(), block));
            snapshots.push(Snapshot::of(&chain));
        }
        Ok(Self { genesis, blocks, snapshots })
    }
}

fn join(number: u64) -> Body {
    Body::NodeJoin(NodeJoin {
        node: NodeId([number as u8; 32]),
        roles: Roles { storage: true, submitter: true },
        address: String::new(),
        zone: String::new(),
        operator: NodeId([1; 32]),
        quota_bytes: 1,
        generation: 1,
    })
}
