//! A chain of two blocks with an entry of every kind that a young network has.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::LazyLock;

use kakera_engine::code::{CodeKind, CodeParameters};
use kakera_engine::keyshare::KeyParameters;
use kakera_engine::ledger::{
    Block, Body, Certificate, CertifiedBlock, Chain, CompactBlock, Entry, EpochAdvance, Genesis,
    GroupCreate, IdentityRecord, NodeJoin, NodeRetire, NodeUpdate, Pointer, PointerRetire,
    Proposer, Roles, SlotFilled, SlotReassign, StateKey, Suite, ValidatorChange, ValidatorSet,
    VerifiedEntry,
};
use kakera_engine::names::{Epoch, GroupId, NetworkId, Slot};
use kakera_engine::signature::node_id;
use kakera_engine::wire::canonical;
use kakera_net::network_file::NetworkFile;

use super::{NOW, rng, signing_key};

const VALIDATOR: u8 = 1;
const OPERATOR: u8 = 2;
const MACHINES: std::ops::Range<u8> = 10..14;

pub(super) fn code() -> CodeParameters {
    CodeParameters { kind: CodeKind::Mbr, n: 3, k: 2, d: 2 }
}

pub(super) fn key_code() -> KeyParameters {
    match KeyParameters::new(3, 2, 2) {
        Ok(parameters) => parameters,
        Err(error) => unreachable!("constants: {error}"),
    }
}

pub(crate) fn genesis() -> &'static Genesis {
    static GENESIS: LazyLock<Genesis> = LazyLock::new(|| Genesis {
        suite: Suite,
        name: "samples".to_owned(),
        created: NOW - 1000,
        validators: ValidatorSet::from_iter([(node_id(&signing_key(VALIDATOR)), 1)]),
        operators: BTreeSet::from([node_id(&signing_key(OPERATOR))]),
        code: code(),
        key: key_code(),
        pointers_per_author_max: 1000,
        version: None,
        anchors: BTreeMap::new(),
    });
    &GENESIS
}

pub(crate) fn network() -> NetworkId {
    static NETWORK: LazyLock<NetworkId> = LazyLock::new(|| genesis().network_id());
    *NETWORK
}

pub(crate) fn chain_before_blocks() -> Chain {
    static CHAIN: LazyLock<Chain> = LazyLock::new(|| match Chain::new(genesis().clone()) {
        Ok(chain) => chain,
        Err(error) => unreachable!("the sample genesis is valid: {error}"),
    });
    CHAIN.clone()
}

pub(crate) fn geneses() -> Vec<Vec<u8>> {
    let mut geneses = super::agreement::geneses();
    geneses.push(canonical::encode(genesis()));
    geneses
}

pub(crate) fn network_files() -> Vec<Vec<u8>> {
    let genesis = genesis().clone();
    let address = SocketAddr::from(([127, 0, 0, 1], 7400));
    let addresses = genesis.validators.0.keys().map(|validator| (*validator, address)).collect();
    vec![NetworkFile { genesis, addresses }.to_text().into_bytes()]
}

pub(crate) fn entries() -> Vec<Vec<u8>> {
    let mut entries = super::agreement::entries();
    entries.extend(first_entries().iter().chain(&other_entries()).map(Entry::to_bytes));
    entries
}

pub(crate) fn blocks() -> Vec<Vec<u8>> {
    let (_, blocks) = chain();
    let mut encoded = super::agreement::blocks();
    encoded.extend(blocks.iter().map(CertifiedBlock::to_bytes));
    encoded
}

pub(crate) fn compact_blocks() -> Vec<Vec<u8>> {
    let (_, blocks) = chain();
    let own = blocks.iter().filter_map(|block| CompactBlock::of(block, &genesis().validators));
    own.chain(super::agreement::compact_block()).map(|block| block.to_bytes()).collect()
}

pub(crate) fn signed_headers() -> Vec<Vec<u8>> {
    let (chain, _) = chain();
    let mut headers = super::agreement::signed_headers();
    headers.extend([genesis().head().to_bytes(), chain.head().to_bytes()]);
    headers
}

pub(crate) fn state_proofs() -> Vec<Vec<u8>> {
    let (chain, _) = chain();
    let absent = StateKey::Group(GroupId(77));
    [StateKey::Counts, StateKey::Pending, absent]
        .iter()
        .map(|key| canonical::encode(&chain.state_proof(key).1))
        .collect()
}

pub(crate) fn log_proofs() -> Vec<Vec<u8>> {
    let (chain, _) = chain();
    (0..3)
        .filter_map(|index| chain.entry_proof(index).ok())
        .map(|p| canonical::encode(&p))
        .collect()
}

/// The chain after its blocks, and the blocks.
pub(super) fn chain() -> (Chain, Vec<CertifiedBlock>) {
    let key = signing_key(VALIDATOR);
    let mut chain = chain_before_blocks();
    let mut blocks = Vec::new();
    for entries in [first_entries(), Vec::new()] {
        let verified = entries.into_iter().map(|entry| VerifiedEntry::new(&network(), entry));
        let entries = verified.collect::<Result<_, _>>();
        let proposer = Proposer { key: &key, links: None };
        let proposal = entries.map(|entries| chain.propose(entries, NOW, &proposer, &mut rng()));
        let Ok(Ok(proposal)) = proposal else { unreachable!("our own entries: {proposal:?}") };
        assert!(proposal.refused.is_empty(), "{:?}", proposal.refused);
        let Block { header, .. } = &proposal.block;
        let certificate = Certificate::solo(header, &key);
        let block = CertifiedBlock { block: proposal.block, certificate };
        if let Err(error) = chain.apply(&block, Some(NOW)) {
            unreachable!("our own block: {error}");
        }
        blocks.push(block);
    }
    (chain, blocks)
}

/// Machines join and form a group, and an owner posts a pointer.
pub(super) fn first_entries() -> Vec<Entry> {
    let (network, operator) = (network(), signing_key(OPERATOR));
    let joins = MACHINES.map(|number| {
        Body::NodeJoin(NodeJoin {
            node: node_id(&signing_key(number)),
            roles: Roles { storage: true, submitter: true },
            address: format!("127.0.0.1:{}", 4000 + u16::from(number)),
            zone: format!("zone {number}"),
            operator: node_id(&operator),
            quota_bytes: 1 << 40,
            generation: 1,
        })
    });
    let group = Body::GroupCreate(GroupCreate { code: code(), key: key_code() });
    let mut entries: Vec<Entry> = joins
        .chain([group])
        .zip(1..)
        .map(|(body, sequence)| Entry::sign(&network, &operator, sequence, body))
        .collect();
    let pointer = Pointer::sign(&network, &signing_key(20), vec![7; 600]);
    let submitter = signing_key(MACHINES.start);
    entries.push(Entry::sign(&network, &submitter, 1, Body::Pointer(pointer)));
    entries
}

/// One entry of each remaining kind.
fn other_entries() -> Vec<Entry> {
    let (network, key) = (network(), signing_key(VALIDATOR));
    let node = node_id(&signing_key(MACHINES.start));
    let (group, owner) = (GroupId(0), signing_key(20));
    let address = "[::1]:4433".to_owned();
    let next = owner.verifying_key().to_bytes();
    let bodies = [
        Body::NodeUpdate(NodeUpdate { node, address, quota_bytes: 1, generation: 2 }),
        Body::NodeRetire(NodeRetire { node }),
        Body::SlotReassign(SlotReassign { group, slot: slot() }),
        Body::SlotFilled(SlotFilled { group, slot: slot(), since: 7 }),
        Body::EpochAdvance(EpochAdvance { group, epoch: Epoch(1), root: [3; 32] }),
        Body::Pointer(Pointer::sign_numbered(&network, &owner, 300, vec![8; 100])),
        Body::PointerRetire(PointerRetire::sign(&network, &owner, [4; 32])),
        Body::IdentityRecord(IdentityRecord::sign(
            &network,
            &owner,
            next,
            [5; 32],
            1,
            vec![6; 100],
        )),
        Body::ValidatorChange(ValidatorChange {
            validators: genesis().validators.clone(),
            from: None,
        }),
    ];
    bodies.into_iter().map(|body| Entry::sign(&network, &key, 9, body)).collect()
}

fn slot() -> Slot {
    match Slot::new(2) {
        Some(slot) => slot,
        None => unreachable!("2 is a slot"),
    }
}
