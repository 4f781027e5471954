//! Chains of blocks: replay, tampering, proofs, light clients.

use crate::ledger_network::*;
use kakera_engine::ledger::{
    BLOCK_LEN_MAX, Block, BlockError, Body, Certificate, CertifiedBlock, Commit, Entry, EntryError,
    EpochAdvance, HeadAttestation, HeadError, IdentityRecord, LightClient, LogProofError,
    NodeRetire, NodeUpdate, PointerRetire, Reveal, SlotReassign, StateKey, VerifiedEntry,
    VerifyError, pointer_tag, verify_from_genesis,
};
use kakera_engine::names::{Epoch, GroupId, Slot};
use kakera_engine::signature::node_id;
use kakera_engine::wire::canonical;

/// Machines, groups, pointers of several authors, in blocks of eight entries: 300 entries.
fn long_chain() -> Network {
    let mut network = Network::with_machines(12);
    for _ in 0..3 {
        network.seal_body(OPERATOR, create_group(5, 3));
    }
    let mut entries = Vec::new();
    for number in 0..=255u8 {
        let author = 10 + number % 12;
        let pointer = network.pointer(number / 2 + 1, &[number; 300]);
        entries.push(network.say(author, Body::Pointer(pointer)));
    }
    for number in 0..29u8 {
        let update = NodeUpdate {
            node: node_id(&key(10)),
            address: format!("192.0.2.{number}:4433"),
            quota_bytes: 1 << 31,
            generation: 1,
        };
        entries.push(network.say(10, Body::NodeUpdate(update)));
    }
    for batch in entries.chunks(8) {
        network.seal(batch.to_vec());
    }
    network
}

/// One entry of every kind, in blocks of one or two.
fn every_kind() -> Network {
    let mut network = Network::with_machines(6);
    network.seal_body(OPERATOR, create_group(5, 3));
    network.seal(vec![]);
    network.seal_body(VALIDATOR, reassign(0, 2));
    let advance = EpochAdvance { group: GroupId(0), epoch: Epoch(1), root: [8; 32] };
    network.seal_body(VALIDATOR, Body::EpochAdvance(advance));
    let pointer = network.pointer(90, b"sealed");
    let retire = PointerRetire::sign(&network.id(), &key(90), pointer.content());
    let entries =
        vec![network.say(10, Body::Pointer(pointer)), network.say(11, Body::PointerRetire(retire))];
    network.seal(entries);
    let next = key(92).verifying_key().to_bytes();
    let record = IdentityRecord::sign(&network.id(), &key(92), next, [3; 32], 1, vec![1, 2]);
    network.seal_body(10, Body::IdentityRecord(record));
    network.seal_body(10, Body::NodeRetire(NodeRetire { node: node_id(&key(10)) }));
    network
}

fn reassign(group: u32, slot: u8) -> Body {
    let (group, slot) = (GroupId(group), Slot::new(slot).unwrap());
    Body::SlotReassign(SlotReassign { group, slot })
}

fn certify(block: Block) -> CertifiedBlock {
    let certificate = Certificate::solo(&block.header, &key(VALIDATOR));
    CertifiedBlock { block, certificate }
}

#[test]
fn another_machine_replays_to_the_same_roots() {
    let network = long_chain();
    assert_eq!(network.chain.head().header.log_size, 300);
    let replayed = verify_from_genesis(genesis(), &network.blocks).unwrap();
    assert_eq!(replayed.head(), network.chain.head());
    assert_eq!(replayed.state().root(), network.chain.state().root());
    assert_eq!(long_chain().chain.head(), network.chain.head());
}

#[test]
fn a_flipped_byte_anywhere_breaks_the_chain_at_its_height() {
    let network = long_chain();
    for (place, bytes) in network.blocks.iter().enumerate() {
        let mut blocks = network.blocks.clone();
        let byte = (place * 7919) % bytes.len();
        blocks[place][byte] ^= 0x10;
        match verify_from_genesis(genesis(), &blocks) {
            Err(VerifyError::Block(broken)) => assert_eq!(broken.height, place as u64 + 1),
            other => panic!("byte {byte} of block {}: {:?}", place + 1, other.err()),
        }
    }
}

#[test]
fn every_single_byte_of_a_block_counts() {
    assert_every_byte_counts(genesis(), &every_kind().blocks);
}

#[test]
fn a_block_missing_or_out_of_order_is_named() {
    let mut blocks = every_kind().blocks;
    blocks.remove(3);
    let error = verify_from_genesis(genesis(), &blocks).err().unwrap().to_string();
    assert_eq!(error, "the chain breaks at height 4: the height does not follow the block before");
}

#[test]
fn a_header_that_misstates_its_entries_is_refused_even_if_certified() {
    let mut network = Network::with_machines(6);
    let entry = network.say(OPERATOR, create_group(5, 3));
    let good = network.propose(vec![entry]).block;
    let refusal = |change: &dyn Fn(&mut Block)| {
        let mut block = good.clone();
        change(&mut block);
        network.chain.clone().apply(&certify(block), Some(network.now)).unwrap_err()
    };
    let wrong = BlockError::Header;
    assert_eq!(refusal(&|block| block.header.state_root[0] ^= 1), wrong("state root"));
    assert_eq!(refusal(&|block| block.header.log_root[0] ^= 1), wrong("log root"));
    assert_eq!(refusal(&|block| block.header.log_size += 1), wrong("log size"));
    assert_eq!(refusal(&|block| block.header.beacon[0] ^= 1), wrong("beacon"));
    assert_eq!(refusal(&|block| block.entries.clear()), wrong("entries root"));
    let rest = wrong("validator set or retention floor");
    assert_eq!(refusal(&|block| block.header.next_validators[0] ^= 1), rest);
    assert_eq!(refusal(&|block| block.header.retention_floor = 1), rest);
    assert_eq!(refusal(&|block| block.reveal = Reveal::Nothing), BlockError::Reveal);
    let stranger = node_id(&key(50));
    assert_eq!(refusal(&|block| block.header.proposer = stranger), BlockError::Proposer(stranger));
    let now = network.now;
    let (least, most) = (now - 1000, now + 10_000);
    for time in [least - 1, most + 1] {
        assert_eq!(
            refusal(&|block| block.header.time = time),
            BlockError::Time { time, least, most }
        );
    }
}

#[test]
fn only_the_validators_certify() {
    let mut network = Network::with_machines(2);
    let block = network.propose(vec![]).block;
    let commit = |signer: u8| Commit::sign(&block.header, &key(signer));
    for signers in [vec![], vec![9], vec![VALIDATOR, VALIDATOR], vec![VALIDATOR, 9]] {
        let certificate =
            Certificate { round: None, commits: signers.into_iter().map(commit).collect() };
        let block = CertifiedBlock { block: block.clone(), certificate };
        let refusal = network.chain.clone().apply(&block, None);
        assert_eq!(refusal, Err(BlockError::Certificate));
    }
}

#[test]
fn replayed_unsigned_and_foreign_entries_are_refused() {
    let mut network = Network::with_machines(2);
    let body = Body::Pointer(network.pointer(90, b"sealed"));
    let entry = network.say(10, body.clone());
    let twice = network.propose(vec![entry.clone(), entry.clone()]);
    assert_eq!(twice.block.entries.len(), 1);
    assert_eq!(twice.refused[0].1, EntryError::Sequence { expected: 2, found: 1 });
    let refusal = |network: &mut Network, entry: Entry| network.refusal_of(&entry);

    let mut unsigned = entry.clone();
    unsigned.signature.0[40] ^= 1;
    assert_eq!(refusal(&mut network, unsigned), EntryError::Signature);
    let mut renamed = entry.clone();
    renamed.author = node_id(&key(11));
    assert_eq!(refusal(&mut network, renamed), EntryError::Signature);
    let elsewhere = kakera_engine::names::NetworkId([1; 32]);
    let foreign = Entry::sign(&elsewhere, &key(10), 1, body.clone());
    assert_eq!(refusal(&mut network, foreign), EntryError::Signature);
    let stranger = Entry::sign(&network.id(), &key(99), 1, body);
    assert_eq!(refusal(&mut network, stranger), EntryError::NotEnrolled(node_id(&key(99))));

    network.seal(vec![entry.clone()]);
    assert_eq!(refusal(&mut network, entry), EntryError::Sequence { expected: 2, found: 1 });
}

#[test]
fn a_full_block_defers_the_rest_in_order() {
    let mut network = Network::with_machines(2);
    let entries: Vec<Entry> = (0..200u8)
        .map(|number| {
            let pointer = network.pointer(number + 1, &[number; 7000]);
            network.say(10, Body::Pointer(pointer))
        })
        .collect();
    let proposal = network.propose(entries.clone());
    let included = proposal.block.entries.len();
    assert!((140..150).contains(&included), "{included}");
    assert!(canonical::encode(&proposal.block).len() <= BLOCK_LEN_MAX);
    let deferred: Vec<_> = proposal.deferred.into_iter().map(VerifiedEntry::into_entry).collect();
    assert_eq!(deferred, entries[included..]);
    network.chain.apply(&certify(proposal.block), Some(network.now)).unwrap();
    network.seal(deferred);
}

#[test]
fn a_light_client_checks_entries_and_state_against_one_header() {
    let network = long_chain();
    let chain = &network.chain;
    let mut client = LightClient::new(genesis()).unwrap();
    let nonce = [6; 32];
    let attestation =
        HeadAttestation::sign(&chain.head().header, nonce, network.now, &key(VALIDATOR));
    let head = client.accept_head(chain.head(), &[attestation], &nonce, network.now).unwrap();

    let mut index = 0;
    for bytes in &network.blocks {
        for entry in CertifiedBlock::from_bytes(bytes).unwrap().block.entries {
            let proof = chain.entry_proof(index).unwrap();
            assert!(head.verify_entry(&entry, &proof));
            let mut other = entry;
            other.salt[0] ^= 1;
            assert!(!head.verify_entry(&other, &proof));
            index += 1;
        }
    }
    assert_eq!(chain.entry_proof(index), Err(LogProofError::Beyond { index, size: index }));

    let tag = |one_time: u8| pointer_tag(&key(one_time).verifying_key().to_bytes());
    for one_time in 1..=200 {
        let asked = StateKey::PointersOf(tag(one_time));
        let (value, proof) = chain.state_proof(&asked);
        assert_eq!(value.is_some(), one_time <= 128);
        assert!(head.verify_state(&asked, value.as_deref(), &proof));
        let opposite = if value.is_some() { None } else { Some(b"\x80".as_slice()) };
        assert!(!head.verify_state(&asked, opposite, &proof));
    }
}

#[test]
fn a_light_client_refuses_old_forked_and_unattested_heads() {
    let mut network = Network::with_machines(2);
    let old = network.chain.head().clone();
    network.seal(vec![]);
    let head = network.chain.head().clone();
    let (nonce, now) = ([6; 32], network.now);
    let attest = |head: &kakera_engine::ledger::SignedHeader, signer, nonce, time| {
        [HeadAttestation::sign(&head.header, nonce, time, &key(signer))]
    };
    let mut client = LightClient::new(genesis()).unwrap();
    let origin = genesis().head();
    client.accept_head(&origin, &attest(&origin, VALIDATOR, nonce, now), &nonce, now).unwrap();
    let fresh = attest(&head, VALIDATOR, nonce, now);
    client.accept_head(&head, &fresh, &nonce, now).unwrap();

    let rollback = client.accept_head(&old, &attest(&old, VALIDATOR, nonce, now), &nonce, now);
    assert_eq!(rollback, Err(HeadError::Rollback { height: 1, seen: 2 }));
    let mut resumed = LightClient::resume(genesis(), client.seen()).unwrap();
    let again = resumed.accept_head(&old, &attest(&old, VALIDATOR, nonce, now), &nonce, now);
    assert_eq!(again, rollback);

    let later = now + 600_001;
    let stale = client.accept_head(&head, &fresh, &nonce, later);
    assert_eq!(stale, Err(HeadError::Stale { attested: now, now: later }));
    let unattested = Err(HeadError::Unattested(2));
    assert_eq!(client.accept_head(&head, &[], &nonce, now), unattested);
    assert_eq!(client.accept_head(&head, &fresh, &[7; 32], now), unattested);
    let stranger = attest(&head, 9, nonce, now);
    assert_eq!(client.accept_head(&head, &stranger, &nonce, now), unattested);
    let mut altered = fresh.clone();
    altered[0].time += 1;
    assert_eq!(client.accept_head(&head, &altered, &nonce, now), unattested);

    let mut changed = head.clone();
    changed.header.state_root[0] ^= 1;
    let uncertified = client.accept_head(&changed, &fresh, &nonce, now);
    assert_eq!(uncertified, Err(HeadError::Certificate(2)));
    changed.certificate = Certificate::solo(&changed.header, &key(VALIDATOR));
    let forked = attest(&changed, VALIDATOR, nonce, now);
    assert_eq!(client.accept_head(&changed, &forked, &nonce, now), Err(HeadError::Fork(2)));
    assert_eq!(client.seen().hash, head.header.hash());
}
