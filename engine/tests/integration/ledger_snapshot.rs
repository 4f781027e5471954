//! A chain from a snapshot is the chain that was followed from the genesis.

use crate::ledger_network::{Network, OPERATOR, create_group, genesis, join, key};
use crate::ledger_validators::{Consortium, FOUR, genesis_of, machine};
use kakera_engine::hash::hash;
use kakera_engine::ledger::{
    BaseError, Body, CHUNK_LEN_MAX, CertifiedBlock, Chain, Genesis, LogProofError,
    MILESTONE_BLOCKS, Prefix, Snapshot, SnapshotAssembly, SnapshotBase, StateKey, pointer_tag,
};
use kakera_engine::names::{GroupId, NodeId};
use kakera_engine::wire::canonical;

const SOURCE: NodeId = NodeId([1; 32]);

/// Over the bytes that are sent, both ways through their formats.
fn restored(genesis: Genesis, snapshot: &Snapshot) -> Chain {
    let base = SnapshotBase::from_bytes(&snapshot.base().to_bytes()).unwrap();
    assert_eq!(&base, snapshot.base());
    let changes = snapshot.set_changes().to_vec();
    let mut assembly = SnapshotAssembly::new(genesis, base, changes).unwrap();
    while let Some(within) = assembly.poll_request(SOURCE) {
        let within: Prefix = canonical::decode(&canonical::encode(&within), 64).unwrap();
        let chunk = snapshot.chunk(&within).unwrap().to_bytes();
        assert!(chunk.len() <= CHUNK_LEN_MAX);
        assembly.handle_chunk(SOURCE, &chunk).unwrap();
    }
    assembly.finish().unwrap()
}

/// A chain from a snapshot at every height takes all later blocks, and then says what `whole` says.
fn assert_goes_on_alike(genesis: &Genesis, whole: &Chain, blocks: &[Vec<u8>], keys: &[StateKey]) {
    let mut followed = Chain::new(genesis.clone()).unwrap();
    for height in 0..=blocks.len() {
        let mut chain = restored(genesis.clone(), &Snapshot::of(&followed));
        assert_eq!(chain.head(), followed.head());
        assert_eq!(chain.version(), followed.version());
        assert_eq!(chain.validators(), followed.validators());
        let kept_from = chain.head().header.log_size;
        for bytes in &blocks[height..] {
            chain.apply(&CertifiedBlock::from_bytes(bytes).unwrap(), None).unwrap();
        }
        assert_eq!(chain.head(), whole.head());
        for key in keys {
            assert_eq!(chain.state_proof(key), whole.state_proof(key));
        }
        for index in 0..whole.head().header.log_size {
            let expected = if index < kept_from {
                Err(LogProofError::Archived { index, kept_from })
            } else {
                whole.entry_proof(index)
            };
            assert_eq!(chain.entry_proof(index), expected);
        }
        if let Some(next) = blocks.get(height) {
            followed.apply(&CertifiedBlock::from_bytes(next).unwrap(), None).unwrap();
        }
    }
}

fn network() -> Network {
    let mut network = Network::with_machines(12);
    network.seal_body(OPERATOR, create_group(5, 3));
    network.seal(vec![]);
    for number in 1..=16 {
        let pointers = [number, 100 + number].map(|one_time| {
            let pointer = network.pointer(one_time, &[number; 300]);
            network.say(10 + number % 12, Body::Pointer(pointer))
        });
        network.seal(pointers.to_vec());
    }
    network
}

#[test]
fn a_chain_of_one_validator_goes_on_from_a_snapshot_at_any_height() {
    let network = network();
    let tag = |one_time: u8| pointer_tag(&key(one_time).verifying_key().to_bytes());
    let keys = [
        StateKey::Counts,
        StateKey::Group(GroupId(0)),
        StateKey::Group(GroupId(1)),
        StateKey::Sequence(machine(11)),
        StateKey::PointersOf(tag(3)),
        StateKey::PointersOf(tag(200)),
    ];
    assert_goes_on_alike(&genesis(), &network.chain, &network.blocks, &keys);
}

#[test]
fn a_chain_of_four_goes_on_over_upgrades_of_its_set() {
    let mut network = Consortium::with_machines(6);
    network.seal_body(FOUR[1], create_group(5, 3));
    network.change(&[201, 202, 203]);
    network.seal_body(201, join(30, machine(30)));
    network.change(&[202, 203, 204, 205]);
    network.seal(vec![]);
    let keys = [StateKey::Validators, StateKey::Validator(machine(202)), StateKey::Version];
    assert_goes_on_alike(&genesis_of(&FOUR), &network.chain, &network.blocks, &keys);
}

#[test]
fn set_changes_left_out_reordered_or_forged_are_refused() {
    let mut network = Consortium::with_machines(6);
    network.change(&[201, 202, 203]);
    network.seal(vec![]);
    network.change(&[202, 203, 204, 205]);
    network.seal(vec![]);
    let snapshot = Snapshot::of(&network.chain);
    let (changes, base) = (snapshot.set_changes().to_vec(), snapshot.base());
    assert_eq!(changes.len(), 2);
    let new = |changes| SnapshotAssembly::new(genesis_of(&FOUR), base.clone(), changes).err();
    assert_eq!(new(changes.clone()), None);
    let mut forged = changes.clone();
    forged[1].validators = forged[0].validators.clone();
    let swapped = vec![changes[1].clone(), changes[0].clone()];
    for wrong in [vec![], changes[..1].to_vec(), changes[1..].to_vec(), swapped, forged] {
        assert!(matches!(new(wrong), Some(BaseError::Head(_))));
    }
    let mut unsigned = base.clone().to_bytes();
    let place = unsigned.len() - 40;
    unsigned[place] ^= 1;
    let unsigned = SnapshotBase::from_bytes(&unsigned).unwrap();
    assert!(SnapshotAssembly::new(genesis_of(&FOUR), unsigned, changes).is_err());
}

#[test]
fn a_chain_knows_every_set_that_it_had_and_what_it_was_at_its_milestones() {
    let mut network = Consortium::with_machines(6);
    let mut sets = vec![network.chain.validators().clone()];
    for members in [&[201, 202, 203][..], &[202, 203, 204, 205]] {
        network.change(members);
        sets.push(network.chain.validators().clone());
        // The change of the head itself is not below it.
        let snapshot = Snapshot::of(&network.chain);
        assert_eq!(snapshot.set_changes().len() + 1, network.chain.set_changes().len());
        let known = sets.iter().map(|set| snapshot.validators(&set.hash()));
        assert!(known.eq(sets.iter().map(Some)));
        assert_eq!(snapshot.validators(&[7; 32]), None);
        assert_eq!(
            restored(genesis_of(&FOUR), &snapshot).set_changes(),
            network.chain.set_changes()
        );
    }
    while network.chain.head().header.height < 3 * MILESTONE_BLOCKS + 1 {
        network.seal(vec![]);
        let height = network.chain.head().header.height;
        let newest = height / MILESTONE_BLOCKS;
        let expected = (newest.saturating_sub(1).max(1)..=newest).map(|n| n * MILESTONE_BLOCKS);
        let milestones = network.chain.milestones();
        assert!(milestones.iter().map(Snapshot::height).eq(expected), "{height}");
    }
    let milestone = &network.chain.milestones()[0];
    let chain = restored(genesis_of(&FOUR), milestone);
    assert_eq!(chain.head(), milestone.base().head());
    assert_eq!(chain.milestones()[0].height(), milestone.height());
}

fn digest(bytes: &[u8]) -> String {
    hash("frozen", &[bytes])[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_formats_are_frozen() {
    let snapshot = Snapshot::of(&network().chain);
    let whole: Vec<_> = snapshot.chunks().collect();
    // 0x82: two fields; 1: bits; then a place that begins with a one
    let right = [&[0x82, 1, 0x58, 32, 0x80][..], &[0; 31]].concat();
    let right = snapshot.chunk(&canonical::decode(&right, 64).unwrap()).unwrap();
    assert_eq!(whole.len(), 1);
    assert_eq!(
        [&snapshot.base().to_bytes(), &whole[0].to_bytes(), &right.to_bytes()].map(|b| digest(b)),
        ["1c42f94703998b2d", "c902d3f78c9c74e1", "a895847076b5ed3a"]
    );
}
