//! The formats of the ledger, frozen: a changed hash here is a new version of the network.

use crate::ledger_network::*;
use crate::ledger_validators::{Consortium, FOUR, genesis_of};
use kakera_engine::hash::hash;
use kakera_engine::ledger::{
    BeaconChain, Body, CertifiedBlock, Entry, EpochAdvance, Equivocation, Genesis, HeadAttestation,
    IdentityRecord, NodeLost, NodeRetire, NodeUpdate, PointerRetire, RetentionFloor, Reveal,
    SetChange, SignedHeader, SignedProposal, SlotReassign, Upgrade, ValidatorChange, ValidatorSet,
    ValidatorUpdate, Vote, VoteKind, pointer_tag,
};
use kakera_engine::names::{Epoch, GroupId, NetworkId, Slot};
use kakera_engine::signature::{Signature, node_id};
use kakera_engine::wire::canonical::{self, CanonicalError};
use proptest::prelude::*;

fn digest(bytes: &[u8]) -> String {
    hash("frozen", &[bytes])[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bodies(network: &Network) -> Vec<Body> {
    let id = network.id();
    let (group, slot) = (GroupId(300), Slot::new(7).unwrap());
    let pointer = network.pointer(90, b"sealed");
    let retire = PointerRetire::sign(&id, &key(90), pointer.content());
    let validators = ValidatorSet::from_iter([(node_id(&key(3)), 9), (node_id(&key(2)), 70_000)]);
    let node = node_id(&key(10));
    vec![
        join(10, node_id(&key(OPERATOR))),
        Body::NodeUpdate(NodeUpdate { node, address: "a".into(), quota_bytes: 5, generation: 2 }),
        Body::NodeRetire(NodeRetire { node }),
        create_group(5, 3),
        Body::SlotReassign(SlotReassign { group, slot }),
        Body::EpochAdvance(EpochAdvance { group, epoch: Epoch(4), root: [8; 32] }),
        Body::Pointer(pointer),
        Body::PointerRetire(retire),
        Body::IdentityRecord(IdentityRecord::sign(&id, &key(9), [4; 32], [3; 32], 1, vec![1])),
        Body::ValidatorChange(ValidatorChange { validators, from: None }),
    ]
}

#[test]
fn every_kind_of_entry_is_frozen_and_read_back() {
    let network = Network::new();
    let mut digests = Vec::new();
    for (place, body) in bodies(&network).into_iter().enumerate() {
        assert_eq!(body.kind(), place as u16 + 1);
        let entry = Entry::sign(&network.id(), &key(VALIDATOR), 24, body);
        let bytes = entry.to_bytes();
        let read = Entry::from_bytes(&bytes).unwrap();
        assert_eq!(read, entry);
        assert!(read.verifies(&network.id()));
        digests.push(digest(&bytes));
    }
    assert_eq!(
        digests,
        [
            "37777f224debf157",
            "8a3518ed0fa4fe55",
            "ae5f2dd9207fdcaf",
            "c754c6379a0331ec",
            "067e6abe6ac7f1be",
            "165b1778f47067c2",
            "62f97f908fccf09f",
            "fddceb84b35336c1",
            "9ea136172fc8fd10",
            "fbd6b90f2d4df44f",
        ]
    );
}

#[test]
fn genesis_head_blocks_and_attestations_are_frozen() {
    let mut network = Network::with_machines(6);
    network.seal_body(OPERATOR, create_group(5, 3));
    network.seal(vec![]);
    let head = network.chain.head();
    let attestation = HeadAttestation::sign(&head.header, [6; 32], START, &key(VALIDATOR));
    assert_eq!(
        [
            digest(network.id().as_bytes()),
            digest(&genesis().head().header.hash()),
            digest(&head.to_bytes()),
            digest(&head.header.state_root),
            digest(&network.blocks[0]),
            digest(&canonical::encode(&attestation)),
            pointer_tag(&[1; 32]).to_string(),
        ],
        [
            "56c1df6ac90ee17d",
            "db5dc3892d8421cc",
            "79cfff7be1ac57a2",
            "03ba63cf0a677b71",
            "4f9f3390980ecae3",
            "1460e070a5c0c3aa",
            "78fbc472b99b9c1fc85b76b64cb3c199",
        ]
    );
    assert_eq!(SignedHeader::from_bytes(&head.to_bytes()).as_ref(), Ok(head));
}

/// The kinds 10 to 15 as version 2 has them.
fn bodies_of_version_2(id: &NetworkId) -> Vec<Body> {
    let vote = |value| {
        let (kind, validator) = (VoteKind::Precommit, node_id(&key(3)));
        Vote { kind, height: 70, round: 2, value, validator }.sign(id, &key(3))
    };
    let validators = ValidatorSet::from_iter([(node_id(&key(3)), 9)]);
    let anchor = BeaconChain::new(id, &key(3), 1).anchor();
    vec![
        Body::ValidatorChange(ValidatorChange { validators, from: Some([8; 32]) }),
        Body::Upgrade(Upgrade { version: 2 }),
        Body::ValidatorUpdate(ValidatorUpdate { address: "a".into(), anchor: Some(anchor) }),
        Body::RetentionFloor(RetentionFloor { height: 900 }),
        Body::NodeLost(NodeLost { node: node_id(&key(10)), generation: 3, exclusions: None }),
        Body::Equivocation(Equivocation::Votes(vote(None), vote(Some([4; 32])))),
    ]
}

#[test]
fn what_version_2_adds_is_frozen_and_read_back() {
    let id = Network::new().id();
    let mut digests = Vec::new();
    for (body, kind) in bodies_of_version_2(&id).into_iter().zip(10..) {
        assert_eq!(body.kind(), kind);
        let entry = Entry::sign(&id, &key(VALIDATOR), 24, body);
        let bytes = entry.to_bytes();
        assert_eq!(Entry::from_bytes(&bytes), Ok(entry));
        digests.push(digest(&bytes));
    }
    let mut network = Consortium::four();
    network.change(&[201, 202, 203]);
    let change = &network.changes[0];
    assert_eq!(SetChange::from_bytes(&change.to_bytes()).as_ref(), Ok(change));
    let proposals = [None, Some(0)]
        .map(|pol_round| SignedProposal::sign(&id, 70, 2, pol_round, [4; 32], &key(3)));
    digests.extend([
        digest(&canonical::encode(&proposals[0])),
        digest(&canonical::encode(&proposals[1])),
        digest(network.id().as_bytes()),
        digest(&genesis_of(&FOUR).anchors[&node_id(&key(201))].0),
        digest(&change.to_bytes()),
        digest(&network.blocks[0]),
        digest(&change.header.header.beacon),
        digest(&change.header.header.state_root),
    ]);
    assert_eq!(
        digests,
        [
            "4515f5cc64bb9c58",
            "0be3dac3f5459c71",
            "16be994d1db88d4c",
            "c29be4d76fafaeab",
            "d9118a87800a0c8a",
            "9374197e84ed93b8",
            "a1a7e9b25a798672",
            "5cf66f6f45384c42",
            "152d1d4d6b6e8727",
            "85deaa1045d8e31c",
            "d4bf8e4efb178051",
            "01559ec3183959aa",
            "6dea5a9e184de134",
            "e031a43b72c543b5",
        ]
    );
}

#[test]
fn a_genesis_of_version_2_is_read_back_and_one_of_version_1_has_no_new_field() {
    let read = |bytes: &[u8]| canonical::decode::<Genesis>(bytes, 8192);
    let bytes = canonical::encode(&genesis_of(&FOUR));
    assert_eq!(read(&bytes), Ok(genesis_of(&FOUR)));
    let without = Genesis { anchors: [].into(), ..genesis_of(&FOUR) };
    assert_eq!(canonical::encode(&without)[0], 0x89);
    assert_eq!(read(&canonical::encode(&without)), Ok(without));
    let old = canonical::encode(&genesis());
    assert_eq!(old[0], 0x88);
    // the same genesis with its new fields written out
    let mut long = old.clone();
    long[0] = 0x8a;
    long.extend([0xf6, 0xa0]);
    assert_eq!(read(&long), Err(CanonicalError::NotCanonical));
}

#[test]
fn a_reveal_has_one_of_three_lengths() {
    for length in 0..=80 {
        let bytes = canonical::encode(&minicbor::bytes::ByteVec::from(vec![7; length]));
        let read = canonical::decode::<Reveal>(&bytes, 100);
        assert_eq!(read.is_ok(), [0, 32, 64].contains(&length), "{length}");
    }
}

#[test]
fn the_network_id_depends_on_content_and_not_on_order() {
    let pair = |first: u8, second: u8| {
        let mut genesis = genesis();
        genesis.validators =
            ValidatorSet::from_iter([first, second].map(|number| (node_id(&key(number)), 1)));
        genesis.network_id()
    };
    assert_eq!(pair(3, 4), pair(4, 3));
    assert_ne!(pair(3, 4), pair(3, 5));
    let bytes = canonical::encode(&genesis());
    assert_eq!(canonical::decode(&bytes, 8192), Ok(genesis()));
}

/// `[1, author, sequence, [kind, payload], signature]` signed as any entry is.
fn entry_of_kind(network: &NetworkId, kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = minicbor::Encoder::new(Vec::new());
    body.array(2).unwrap().u16(kind).unwrap().bytes(payload).unwrap();
    let mut unsigned = vec![0x84, 1];
    unsigned.extend(canonical::encode(&node_id(&key(VALIDATOR))));
    unsigned.push(1);
    unsigned.extend(body.into_writer());
    let parts: [&[u8]; 2] = [network.as_bytes(), &unsigned];
    let signature = Signature::sign(&key(VALIDATOR), "entry", &parts);
    unsigned[0] = 0x85;
    unsigned.extend(canonical::encode(&signature));
    unsigned
}

#[test]
fn unknown_kinds_are_kept_and_skipped() {
    let mut network = Network::new();
    let bytes = entry_of_kind(&network.id(), 500, b"of a later version");
    let entry = Entry::from_bytes(&bytes).unwrap();
    assert_eq!(entry.to_bytes(), bytes);
    let Body::Unknown(body) = &entry.body else { panic!("{:?}", entry.body) };
    assert_eq!((body.kind(), body.payload()), (500, b"of a later version".as_slice()));
    network.seal(vec![entry.clone()]);
    let stored = CertifiedBlock::from_bytes(&network.blocks[0]).unwrap();
    assert_eq!(stored.block.entries[0].entry, entry);
    assert_eq!(network.chain.state().next_sequence(&node_id(&key(VALIDATOR))), 2);
}

#[test]
fn a_known_kind_must_hold_its_structure_canonically() {
    let id = Network::new().id();
    let refused = |payload: &[u8]| Entry::from_bytes(&entry_of_kind(&id, 3, payload));
    let good = canonical::encode(&NodeRetire { node: node_id(&key(9)) });
    assert!(refused(&good).is_ok());
    assert!(matches!(refused(b"\x80"), Err(CanonicalError::Malformed(_))));
    let mut trailing = good.clone();
    trailing.push(0);
    assert!(matches!(refused(&trailing), Err(CanonicalError::Malformed(_))));
    let mut long_length = good.clone();
    // the byte string's length in two bytes instead of one
    long_length.splice(1..3, [0x59, 0, 32]);
    assert!(matches!(refused(&long_length), Err(CanonicalError::Malformed(_))));
    let mut later_suite = entry_of_kind(&id, 3, &good);
    later_suite[1] = 2;
    assert!(matches!(Entry::from_bytes(&later_suite), Err(CanonicalError::Malformed(_))));
    let long = entry_of_kind(&id, 500, &[0; 8192]);
    assert!(matches!(Entry::from_bytes(&long), Err(CanonicalError::TooLong { .. })));
}

proptest! {
    #[test]
    fn reading_is_total(mut bytes in prop::collection::vec(any::<u8>(), 0..300), cut in any::<prop::sample::Index>()) {
        let _ = Entry::from_bytes(&bytes);
        let _ = CertifiedBlock::from_bytes(&bytes);
        let _ = SignedHeader::from_bytes(&bytes);
        let network = Network::with_machines(1);
        let good = &network.blocks[0];
        let cut = cut.index(good.len());
        bytes.splice(0..0, good[..cut].iter().copied());
        let _ = CertifiedBlock::from_bytes(&bytes);
    }
}
