//! Checkpoints shorten a start and nothing else; what retention leaves still verifies.

use crate::ledger_network::{Network, OPERATOR, create_group, genesis, join};
use crate::ledger_validators::{Consortium, FOUR, genesis_of, machine};
use kakera_engine::ledger::{
    BaseError, Body, CertifiedBlock, Chain, Genesis, HeadError, LogProofError, Snapshot,
    verify_from_genesis,
};
use kakera_engine::wire::{RefusalKind, Response};
use kakera_net::chain_store::{
    AnchorFault, CHECKPOINT_LEN_MIN, ChainStore, ChainStoreError, Occasion, answer_follow,
};
use kakera_net::store::disk::{Disk, DiskFile};
use kakera_net::store::file::{read_file, write_atomic};
use kakera_net::store::simulated::SimulatedDisk;
use kakera_net::store::snapshot_file::{SnapshotFileError, write_snapshot};

const LOG: &str = "chain.log";
const CHECKPOINT: &str = "chain.checkpoint";
const ANCHOR: &str = "chain.anchor";

type Store = ChainStore<SimulatedDisk>;

/// A chain, stored in full.
struct Stored {
    disk: SimulatedDisk,
    store: Store,
    genesis: Genesis,
    blocks: Vec<Vec<u8>>,
}

impl Stored {
    fn of(genesis: Genesis, blocks: Vec<Vec<u8>>) -> Self {
        let disk = SimulatedDisk::new();
        let store = ChainStore::open(&disk, LOG).unwrap();
        let decoded = blocks.iter().map(|bytes| CertifiedBlock::from_bytes(bytes).unwrap());
        store.append(&decoded.collect::<Vec<_>>()).unwrap();
        Self { disk, store, genesis, blocks }
    }

    /// Ten blocks of one validator.
    fn alone() -> Self {
        let mut network = Network::with_machines(12);
        network.seal_body(OPERATOR, create_group(5, 3));
        for number in 30..38 {
            network.seal_body(OPERATOR, join(number, machine(OPERATOR)));
        }
        Self::of(genesis(), network.blocks)
    }

    /// Nine blocks, of which the third and the sixth change the set.
    fn council() -> Self {
        let mut network = Consortium::with_machines(6);
        network.seal_body(FOUR[1], create_group(5, 3));
        network.change(&[201, 202, 203]);
        network.seal_body(201, join(30, machine(30)));
        network.seal(vec![]);
        network.change(&[202, 203, 204, 205]);
        (0..3).for_each(|_| network.seal(vec![]));
        Self::of(genesis_of(&FOUR), network.blocks)
    }

    /// The chain up to a height, followed from the genesis.
    fn chain(&self, height: usize) -> Chain {
        verify_from_genesis(self.genesis.clone(), &self.blocks[..height]).unwrap()
    }

    fn write_checkpoint(&self, height: usize) {
        self.store.write_checkpoint(&Snapshot::of(&self.chain(height))).unwrap();
    }

    fn reopened(&self) -> Store {
        ChainStore::open(&self.disk, LOG).unwrap()
    }

    fn load(&self, height: u64) -> Chain {
        self.reopened().load(self.genesis.clone(), height).unwrap()
    }

    fn replay(&self) -> Result<Chain, ChainStoreError> {
        self.reopened().replay(self.genesis.clone(), u64::MAX)
    }
}

/// Entries that a chain knows only by their peaks: those before the snapshot that it came from.
fn entries_archived(chain: &Chain) -> u64 {
    match chain.entry_proof(0) {
        Err(LogProofError::Archived { kept_from, .. }) => kept_from,
        _ => 0,
    }
}

#[test]
fn a_start_replays_only_what_came_after_the_checkpoint() {
    for stored in [Stored::alone(), Stored::council()] {
        let newest = stored.blocks.len();
        for height in 1..=newest {
            stored.write_checkpoint(height);
            let chain = stored.load(u64::MAX);
            assert_eq!(chain.head(), stored.chain(newest).head());
            assert_eq!(chain.state().root(), stored.chain(newest).state().root());
            assert_eq!(entries_archived(&chain), stored.chain(height).head().header.log_size);
            assert_eq!(entries_archived(&stored.replay().unwrap()), 0);
        }
        // A validator asks for the chain before the block that may be pending.
        let before = newest as u64 - 1;
        assert_eq!(entries_archived(&stored.load(before)), 0);
        stored.write_checkpoint(newest - 1);
        let chain = stored.load(before);
        assert_eq!(chain.head(), stored.chain(newest - 1).head());
        assert_eq!(entries_archived(&chain), chain.head().header.log_size);
    }
}

#[test]
fn a_damaged_checkpoint_is_ignored_whatever_byte_it_is() {
    let mut network = Network::with_machines(1);
    network.seal(vec![]);
    let stored = Stored::of(genesis(), network.blocks);
    stored.write_checkpoint(1);
    let (head, whole) = (stored.chain(2).head().clone(), checkpoint_bytes(&stored));
    assert!(entries_archived(&stored.load(u64::MAX)) > 0);
    for offset in 0..whole.len() as u64 {
        stored.disk.flip_bit(CHECKPOINT, offset).unwrap();
        let chain = stored.load(u64::MAX);
        assert_eq!((chain.head(), entries_archived(&chain)), (&head, 0), "byte {offset}");
        stored.disk.flip_bit(CHECKPOINT, offset).unwrap();
    }
    for length in (0..whole.len() as u64).rev().step_by(101) {
        stored.disk.open(CHECKPOINT).unwrap().truncate(length).unwrap();
        assert_eq!(entries_archived(&stored.load(u64::MAX)), 0);
    }
    let file = stored.disk.open(CHECKPOINT).unwrap();
    file.write_at(0, &whole).unwrap();
    assert!(entries_archived(&stored.load(u64::MAX)) > 0);
    file.write_at(whole.len() as u64, &[0]).unwrap();
    assert_eq!(entries_archived(&stored.load(u64::MAX)), 0);
}

fn checkpoint_bytes(stored: &Stored) -> Vec<u8> {
    read_file(&stored.disk, CHECKPOINT, 1 << 20).unwrap().unwrap()
}

#[test]
fn the_file_format_is_frozen() {
    let stored = Stored::alone();
    stored.write_checkpoint(7);
    stored.store.drop_below(&stored.genesis, 9).unwrap();
    let anchor = read_file(&stored.disk, ANCHOR, 1 << 20).unwrap().unwrap();
    let council = Stored::council();
    council.store.drop_below(&council.genesis, 9).unwrap();
    let changes = read_file(&council.disk, ANCHOR, 1 << 20).unwrap().unwrap();
    assert_eq!(
        [checkpoint_bytes(&stored), anchor, changes]
            .map(|bytes| blake3::hash(&bytes).to_hex()[..16].to_owned()),
        ["d5a14a33eeb8acfb", "07da79ec8de9dce0", "a111dff78b51fd22"]
    );
}

#[test]
fn a_checkpoint_of_another_chain_or_ahead_of_the_log_is_ignored() {
    let (stored, other) = (Stored::alone(), Stored::council());
    let foreign = Snapshot::of(&other.chain(3));
    stored.store.write_checkpoint(&foreign).unwrap();
    assert_eq!(entries_archived(&stored.load(u64::MAX)), 0);

    let short = Stored::of(stored.genesis.clone(), stored.blocks[..4].to_vec());
    short.store.write_checkpoint(&Snapshot::of(&stored.chain(5))).unwrap();
    let chain = short.load(u64::MAX);
    assert_eq!((chain.head(), entries_archived(&chain)), (stored.chain(4).head(), 0));
}

#[test]
fn checkpoints_write_no_more_than_the_blocks_do() {
    let mut network = Network::with_machines(2);
    let stored = Stored::of(genesis(), network.blocks.clone());
    let length = |path: &str| stored.disk.open(path).unwrap().length().unwrap();
    let (mut last, mut checkpoint, mut taken) = (0, 0, 0);
    for height in 2..=14 {
        // Half a megabyte.
        let pointers = (0..70).map(|place| {
            let pointer = network.pointer(100 + place, &[height; 7000]);
            network.say(10, Body::Pointer(pointer))
        });
        let pointers = pointers.collect();
        network.seal(pointers);
        let block = CertifiedBlock::from_bytes(network.blocks.last().unwrap()).unwrap();
        stored.store.append(&[block]).unwrap();
        let (height, since) = (height.into(), length(LOG) - last);
        let due = |occasion| stored.store.is_checkpoint_due(height, occasion);
        assert_eq!(due(Occasion::Running), since >= CHECKPOINT_LEN_MIN.max(checkpoint));
        assert_eq!(due(Occasion::Ending), since >= CHECKPOINT_LEN_MIN.max(checkpoint) / 16);
        if due(Occasion::Running) {
            stored.store.write_checkpoint(&Snapshot::of(&network.chain)).unwrap();
            (last, checkpoint, taken) = (length(LOG), length(CHECKPOINT), taken + 1);
            assert!(!due(Occasion::Running) && !due(Occasion::Ending));
            // A start knows of it as well.
            let store = stored.reopened();
            store.load(genesis(), u64::MAX).unwrap();
            assert!(!store.is_checkpoint_due(height, Occasion::Ending));
        }
    }
    assert_eq!(taken, 1);
}

#[test]
fn what_is_kept_verifies_from_the_anchor() {
    for stored in [Stored::alone(), Stored::council()] {
        let newest = stored.blocks.len() as u64;
        let whole = stored.chain(newest as usize);
        for floor in 0..=newest + 3 {
            stored.store.drop_below(&stored.genesis, floor).unwrap();
            let first = floor.clamp(1, newest);
            for store in [&stored.store, &stored.reopened()] {
                assert_eq!((store.first_height(), store.height()), (first, newest));
                assert_eq!(
                    store.blocks(first, usize::MAX).unwrap(),
                    stored.blocks[first as usize - 1..]
                );
                for height in 1..first {
                    let error = store.block(height).unwrap_err();
                    assert_eq!(
                        error.to_string(),
                        format!(
                            "the block of height {height} was dropped after the time that the network \
                             keeps blocks; those from height {first} on are here"
                        )
                    );
                }
                for chain in
                    [store.replay(stored.genesis.clone(), u64::MAX).unwrap(), stored.load(u64::MAX)]
                {
                    assert_eq!(chain.head(), whole.head());
                    assert_eq!(chain.state().root(), whole.state().root());
                }
            }
        }
    }
}

#[test]
fn blocks_that_were_dropped_are_refused_to_those_who_ask() {
    let stored = Stored::alone();
    stored.store.drop_below(&stored.genesis, 5).unwrap();
    let (response, body) = answer_follow(&stored.store, 4, None);
    assert!(body.is_empty());
    let Response::Refused(refusal) = response else { panic!("{response:?}") };
    assert_eq!(refusal.kind, RefusalKind::NotFound);
    assert!(refusal.message.contains("those from height 5 on are here"), "{}", refusal.message);
    assert!(matches!(answer_follow(&stored.store, 5, None).0, Response::Blocks { head: 10 }));
}

#[test]
fn the_chain_goes_on_after_blocks_were_dropped() {
    let whole = Stored::council();
    let stored = Stored::of(whole.genesis.clone(), whole.blocks[..6].to_vec());
    stored.store.drop_below(&stored.genesis, 5).unwrap();
    let rest = whole.blocks[6..].iter().map(|bytes| CertifiedBlock::from_bytes(bytes).unwrap());
    stored.store.append(&rest.collect::<Vec<_>>()).unwrap();
    assert_eq!(stored.replay().unwrap().head(), whole.chain(9).head());
    stored.store.drop_below(&stored.genesis, 8).unwrap();
    assert_eq!(stored.replay().unwrap().head(), whole.chain(9).head());
}

#[test]
fn without_its_anchor_a_shortened_chain_is_refused_unless_there_is_a_checkpoint() {
    let stored = Stored::council();
    stored.store.drop_below(&stored.genesis, 5).unwrap();
    let length = stored.disk.open(ANCHOR).unwrap().length().unwrap();
    for offset in 0..length {
        stored.disk.flip_bit(ANCHOR, offset).unwrap();
        assert!(matches!(stored.replay(), Err(ChainStoreError::Anchor { .. })), "byte {offset}");
        stored.disk.flip_bit(ANCHOR, offset).unwrap();
    }
    // One of the same network and height whose set changes were left out.
    let fault = |stored: &Stored| match stored.replay() {
        Err(ChainStoreError::Anchor { fault, path }) => {
            assert_eq!(path, ANCHOR);
            fault
        }
        other => panic!("{:?}", other.map(|chain| chain.head().clone())),
    };
    leave_out_set_changes(&stored.disk);
    let unproved =
        AnchorFault::File(SnapshotFileError::Base(BaseError::Head(HeadError::UnknownValidators {
            height: 4,
            known: 0,
        })));
    assert_eq!(fault(&stored).to_string(), unproved.to_string());
    write_snapshot(&stored.disk, ANCHOR, &Snapshot::of(&stored.chain(3))).unwrap();
    assert!(matches!(fault(&stored), AnchorFault::Height(3)));
    stored.disk.remove(ANCHOR).unwrap();
    assert!(matches!(fault(&stored), AnchorFault::Missing));

    stored.write_checkpoint(6);
    assert_eq!(stored.load(u64::MAX).head(), stored.chain(9).head());
}

/// Rewrites the anchor, checksum included, without its records of kind 2.
fn leave_out_set_changes(disk: &SimulatedDisk) {
    let whole = read_file(disk, ANCHOR, 1 << 20).unwrap().unwrap();
    let (mut changed, mut rest) = (whole[..12].to_vec(), &whole[12..whole.len() - 32]);
    while let [kind, a, b, c, d, ..] = *rest {
        let (record, after) = rest.split_at(5 + u32::from_le_bytes([a, b, c, d]) as usize);
        changed.extend(record.iter().filter(|_| kind != 2));
        rest = after;
    }
    changed.extend_from_slice(blake3::hash(&changed.clone()).as_bytes());
    assert!(changed.len() < whole.len());
    write_atomic(disk, ANCHOR, &changed).unwrap();
}

#[test]
fn a_disk_too_full_to_shorten_keeps_everything() {
    let stored = Stored::alone();
    let used = stored.disk.open(LOG).unwrap().length().unwrap();
    for spare in (0..6000).step_by(500) {
        stored.disk.limit_capacity(Some(used + spare));
        let dropped = stored.store.drop_below(&stored.genesis, 5);
        stored.disk.limit_capacity(None);
        if dropped.is_ok() {
            assert!(spare > 1000);
            break;
        }
        let store = stored.reopened();
        assert_eq!((store.first_height(), store.height()), (1, 10));
        assert_eq!(stored.replay().unwrap().head(), stored.chain(10).head());
    }
    assert_eq!(stored.replay().unwrap().head(), stored.chain(10).head());
}
