//! Chains under rules of version 2: certificates, turns, the beacon, and the way there.

use crate::ledger_network::{
    Network, OPERATOR, VALIDATOR, assert_every_byte_counts, create_group, genesis, join, key,
};
use crate::ledger_validators::*;
use kakera_engine::ledger::{
    ANCHOR_DELAY_BLOCKS, Anchor, Block, BlockError, Body, Certificate, CertifiedBlock, Commit,
    Entry, EntryError, Genesis, GenesisError, Pointer, Proposal, ProposeError, Proposer,
    RULES_VERSION_MAX, RetentionFloor, Reveal, SaltedEntry, SignedProposal, Upgrade,
    ValidatorUpdate, VerifyError, Vote, VoteKind, root_of, verify_from_genesis,
};
use kakera_engine::names::{GroupId, NetworkId, NodeId};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// Machines, a group, a vote that passes, a pointer, an empty block.
fn consortium() -> Consortium {
    let mut network = Consortium::with_machines(6);
    network.seal_body(OPERATOR, create_group(5, 3));
    network.vote(&FOUR[..3], &Body::RetentionFloor(RetentionFloor { height: 1 }));
    let pointer = Pointer::sign(&network.id(), &key(90), vec![1; 64]);
    network.seal_body(10, Body::Pointer(pointer));
    network.seal(vec![]);
    network
}

fn register(anchor: Option<Anchor>) -> Body {
    Body::ValidatorUpdate(ValidatorUpdate { address: "192.0.2.1:4433".into(), anchor })
}

#[test]
fn followers_replay_what_validators_commit() {
    let network = consortium();
    let replayed = verify_from_genesis(genesis_of(&FOUR), &network.blocks).unwrap();
    assert_eq!(replayed.head(), network.chain.head());
    assert_eq!(replayed.version(), 2);
    assert_eq!(replayed.head().header.retention_floor, 1);
    assert_eq!(replayed.state().group(GroupId(0)).unwrap().holders.len(), 5);
}

#[test]
fn every_single_byte_of_a_block_counts() {
    assert_every_byte_counts(genesis_of(&FOUR), &consortium().blocks);
}

#[test]
fn a_flipped_byte_breaks_the_chain_at_its_height() {
    let network = consortium();
    for place in 0..network.blocks.len() {
        for step in 0..8 {
            let mut blocks = network.blocks.clone();
            let byte = (place * 7919 + step * 104_729) % blocks[place].len();
            blocks[place][byte] ^= 1 << step;
            match verify_from_genesis(genesis_of(&FOUR), &blocks) {
                Err(VerifyError::Block(broken)) => assert_eq!(broken.height, place as u64 + 1),
                other => panic!("byte {byte} of block {}: {:?}", place + 1, other.err()),
            }
        }
    }
}

#[test]
fn a_certificate_is_the_precommits_of_one_round_by_two_thirds() {
    let mut network = Consortium::four();
    let Proposal { block, .. } = network.propose(vec![]);
    let header = block.header.clone();
    let refusal = |certificate: Certificate| {
        let block = CertifiedBlock { block: block.clone(), certificate };
        assert_eq!(CertifiedBlock::from_bytes(&block.to_bytes()).as_ref(), Ok(&block));
        network.chain.clone().apply(&block, None)
    };
    for round in [0, 7, u32::MAX] {
        assert_eq!(refusal(certificate(&header, round, &FOUR[1..])), Ok(()));
    }
    let wrong = Err(BlockError::Certificate);
    let votes = |number: u8| precommit(&header, 0, number);
    assert_eq!(refusal(certificate(&header, 0, &FOUR[..2])), wrong);
    assert_eq!(refusal(certificate(&header, 0, &[201, 202, 9])), wrong);
    assert_eq!(refusal(certificate(&header, 0, &[201, 202, 203, 9])), wrong);
    assert_eq!(refusal(certificate(&header, 0, &[201, 202, 202])), wrong);
    let mut other_round = certificate(&header, 0, &FOUR);
    other_round.round = Some(1);
    assert_eq!(refusal(other_round), wrong);
    let mut unordered = certificate(&header, 0, &FOUR);
    unordered.commits.swap(0, 1);
    assert_eq!(refusal(unordered), wrong);
    let prevote = Vote { kind: VoteKind::Prevote, ..votes(203).vote };
    let mixed = vec![votes(201), votes(202), prevote.sign(&network.id(), &key(203))];
    assert_eq!(refusal(Certificate::of_precommits(0, mixed)), wrong);
    let commits = FOUR.map(|number| Commit::sign(&header, &key(number)));
    let mut of_version_1 = Certificate { round: None, commits: commits.to_vec() };
    of_version_1.commits.sort_by_key(|commit| commit.validator);
    assert!(of_version_1.certifies(&header, network.chain.validators()));
    assert_eq!(refusal(of_version_1), wrong);
}

#[test]
fn version_1_takes_no_certificate_of_a_round() {
    let mut network = Network::with_machines(2);
    let block = network.propose(vec![]).block;
    let certificate = certificate(&block.header, 0, &[VALIDATOR]);
    assert!(certificate.certifies(&block.header, network.chain.validators()));
    let refusal = network.chain.apply(&CertifiedBlock { block, certificate }, None);
    assert_eq!(refusal, Err(BlockError::Certificate));
}

#[test]
fn a_checked_block_is_committed_on_its_own_head_only() {
    let mut network = Consortium::four();
    let Proposal { block, .. } = network.propose(vec![]);
    let good = certificate(&block.header, 0, &FOUR);
    let checked = network.chain.check(&block, Some(network.now), &|_| false).unwrap();
    assert_eq!(checked.state().root(), block.header.state_root);
    let few = certificate(&block.header, 0, &FOUR[..2]);
    let before = network.chain.head().clone();
    assert_eq!(network.chain.commit(checked.clone(), few), Err(BlockError::Certificate));
    assert_eq!(*network.chain.head(), before);
    network.chain.commit(checked.clone(), good.clone()).unwrap();
    assert_eq!(network.chain.head().header, *checked.header());
    let again = network.chain.commit(checked, good);
    assert_eq!(again, Err(BlockError::Unlinked("height")));
}

#[test]
fn signatures_that_were_checked_before_are_not_checked_again() {
    let mut network = Consortium::four();
    let entry = network.say(FOUR[0], join(10, machine(10)));
    let mut block = network.propose(vec![entry]).block;
    let entry = &mut block.entries[0].entry;
    entry.signature.0[40] ^= 1;
    let damaged = entry.clone();
    // The header of the same block with the damaged entry: only the signature tells them apart.
    let leaves: Vec<_> = block.entries.iter().map(SaltedEntry::leaf).collect();
    block.header.entries_root = root_of(&leaves);
    block.header.log_root = block.header.entries_root;
    let check = |known: Option<&Entry>| {
        let outcome = network.chain.check(&block, None, &|asked| Some(asked) == known);
        outcome.map(|checked| checked.header().height)
    };
    assert_eq!(check(Some(&damaged)), Ok(1));
    let unsigned = Err(BlockError::Entry { index: 0, error: EntryError::Signature });
    assert_eq!(check(None), unsigned);
    let another = Entry { sequence: 2, ..damaged };
    assert_eq!(check(Some(&another)), unsigned);
}

#[test]
fn proposers_take_turns_and_those_passed_over_are_counted() {
    let mut network = Consortium::four();
    let names: Vec<NodeId> = network.chain.validators().0.keys().copied().collect();
    for (height, round) in [(0u64, 0u32), (1, 0), (1, 3), (6, 2), (u64::MAX, u32::MAX)] {
        let place = (u128::from(height) + u128::from(round)) % 4;
        assert_eq!(network.chain.validators().proposer(height, round), names[place as usize]);
    }
    for _ in 0..8 {
        network.seal(vec![]);
    }
    let missed = |network: &Consortium| {
        FOUR.map(|number| network.chain.state().validator(&machine(number)).missed)
    };
    assert_eq!(missed(&network), [0; 4]);
    network.down.insert(FOUR[1]);
    for _ in 0..8 {
        network.seal(vec![]);
    }
    assert_eq!(missed(&network), [0, 2, 0, 0]);
    let replayed = verify_from_genesis(genesis_of(&FOUR), &network.blocks).unwrap();
    assert_eq!(replayed.head(), network.chain.head());
}

#[test]
fn each_proposer_reveals_the_link_before_its_anchor() {
    let mut network = Consortium::four();
    for height in 1..=6u64 {
        network.seal(vec![]);
        let Block { header, reveal, .. } =
            CertifiedBlock::from_bytes(network.blocks.last().unwrap()).unwrap().block;
        let Reveal::Link(link) = reveal else { panic!("{reveal:?}") };
        let active = network.chain.state().validator(&header.proposer).anchor.unwrap();
        assert_eq!((active.anchor.0, u64::from(active.revealed)), (link, height.div_ceil(4)));
    }
    let good = network.propose(vec![]).block;
    let later = network.propose_by(network.up()[0], vec![]).block.reveal;
    for reveal in [Reveal::Nothing, Reveal::Link([7; 32]), later] {
        let block = Block { reveal, ..good.clone() };
        if reveal != good.reveal {
            let refusal = network.chain.check(&block, None, &|_| false).err();
            assert_eq!(refusal, Some(BlockError::Reveal));
        }
    }
    let (_, number) = network.turn();
    let key = key(number);
    let proposer = Proposer { key: &key, links: None };
    let mut rng = ChaCha20Rng::from_seed([0; 32]);
    let without = network.chain.propose(vec![], network.now, &proposer, &mut rng);
    assert_eq!(without.err(), Some(ProposeError::Anchor));
}

#[test]
fn a_new_anchor_is_used_64_blocks_later() {
    let one = &FOUR[..1];
    let mut network = Consortium::of(Genesis { anchors: [].into(), ..genesis_of(one) });
    network.seal(vec![]);
    let anchor = links(&network.id(), FOUR[0], 1).anchor();
    network.seal_body(FOUR[0], register(Some(anchor)));
    assert_eq!(network.refusal(FOUR[0], register(Some(anchor))), EntryError::SameAnchor);
    let reveal = |network: &Consortium, height: u64| {
        CertifiedBlock::from_bytes(&network.blocks[height as usize - 1]).unwrap().block.reveal
    };
    for _ in 3..=ANCHOR_DELAY_BLOCKS + 3 {
        network.seal(vec![]);
    }
    for height in 1..ANCHOR_DELAY_BLOCKS + 2 {
        assert_eq!(reveal(&network, height), Reveal::Nothing);
    }
    for height in [ANCHOR_DELAY_BLOCKS + 2, ANCHOR_DELAY_BLOCKS + 3] {
        assert!(matches!(reveal(&network, height), Reveal::Link(_)));
    }
    // the old anchor is used until the next one is
    let second = links(&network.id(), FOUR[0], 2).anchor();
    network.seal_body(FOUR[0], register(Some(second)));
    network.seal_body(FOUR[0], register(None));
    let registered = network.chain.state().validator(&machine(FOUR[0]));
    assert_eq!((registered.anchors, registered.address.as_str()), (2, "192.0.2.1:4433"));
    let next = registered.next_anchor.unwrap();
    assert_eq!((next.anchor, next.number), (second, 2));
    assert_eq!(registered.active_anchor(next.from - 1).unwrap().number, 1);
    assert_eq!(registered.active_anchor(next.from).unwrap().number, 2);
    for _ in 0..ANCHOR_DELAY_BLOCKS {
        network.seal(vec![]);
    }
    let registered = network.chain.state().validator(&machine(FOUR[0]));
    assert_eq!((registered.anchor.unwrap().number, registered.next_anchor), (2, None));
    let long = Body::ValidatorUpdate(ValidatorUpdate { address: "a".repeat(129), anchor: None });
    let refusal = EntryError::FieldTooLong { field: "address", length: 129, limit: 128 };
    assert_eq!(network.refusal(FOUR[0], long), refusal);
}

#[test]
fn a_chain_of_version_1_goes_on_under_version_2() {
    let mut old = Network::with_machines(6);
    assert_eq!(old.refusal(VALIDATOR, register(None)), EntryError::NeedsVersion(2));
    let by_machine = old.refusal(10, upgrade(2));
    assert_eq!(by_machine, EntryError::NotAllowed(machine(10)));
    let current = EntryError::Version { current: 1, found: 1 };
    assert_eq!(old.refusal(VALIDATOR, upgrade(1)), current);
    // what follows in the same block still follows the old rules
    let entries = vec![old.say(VALIDATOR, upgrade(2)), old.say(VALIDATOR, create_group(5, 3))];
    old.seal(entries);
    assert_eq!(old.chain.version(), 2);
    let mut network = Consortium::on(old.chain.clone(), old.now);
    for body in [register(None), join(20, machine(20))] {
        let entry = old.say(VALIDATOR, body);
        network.seal(vec![entry]);
    }
    assert_eq!(network.chain.state().group(GroupId(0)).unwrap().holders.len(), 5);
    let of_version_1 = old.propose(vec![]).block;
    let solo = Certificate::solo(&of_version_1.header, &key(VALIDATOR));
    let refusal = old.chain.apply(&CertifiedBlock { block: of_version_1, certificate: solo }, None);
    assert_eq!(refusal, Err(BlockError::Certificate));
    let blocks = old.blocks.iter().chain(&network.blocks);
    let replayed = verify_from_genesis(genesis(), blocks).unwrap();
    assert_eq!(replayed.head(), network.chain.head());
}

#[test]
fn an_upgrade_beyond_this_program_stops_it_with_advice() {
    let mut network = Consortium::four();
    let beyond = RULES_VERSION_MAX + 1;
    network.vote(&FOUR[..2], &upgrade(beyond));
    assert_eq!(network.chain.version(), 2);
    let block = network.propose(vec![]).block;
    network.seal_body(FOUR[3], Body::Upgrade(Upgrade { version: beyond }));
    assert_eq!(network.chain.version(), beyond);
    let refusal = network.chain.check(&block, None, &|_| false).err();
    assert_eq!(refusal, Some(BlockError::UnknownVersion(beyond)));
    let advice = refusal.unwrap().to_string();
    let known = format!("this program knows rules up to version {RULES_VERSION_MAX}; try: upgrade");
    assert!(advice.ends_with(&known), "{advice}");
    let key = key(FOUR[0]);
    let proposer = Proposer { key: &key, links: None };
    let mut rng = ChaCha20Rng::from_seed([0; 32]);
    let proposal = network.chain.propose(vec![], network.now, &proposer, &mut rng);
    assert_eq!(proposal.err(), Some(ProposeError::UnknownVersion(beyond)));
}

#[test]
fn a_genesis_names_known_versions_and_anchors_of_validators() {
    let refusal = |change: fn(&mut Genesis)| {
        let mut genesis = genesis_of(&FOUR);
        change(&mut genesis);
        genesis.check().unwrap_err()
    };
    assert_eq!(refusal(|genesis| genesis.version = Some(1)), GenesisError::Version(1));
    let beyond = RULES_VERSION_MAX + 1;
    assert_eq!(
        refusal(|genesis| genesis.version = Some(RULES_VERSION_MAX + 1)),
        GenesisError::Version(beyond)
    );
    let first = *genesis_of(&FOUR).anchors.keys().next().unwrap();
    assert_eq!(refusal(|genesis| genesis.version = None), GenesisError::Anchor(first));
    let stranger = refusal(|genesis| {
        genesis.validators.0.remove(&machine(202));
    });
    assert_eq!(stranger, GenesisError::Anchor(machine(202)));
}

#[test]
fn votes_and_proposals_bind_all_they_say() {
    let network = Consortium::four().id();
    let vote = precommit(&genesis_of(&FOUR).head().header, 4, 201);
    let changed = |change: fn(&mut Vote)| {
        let mut other = vote;
        change(&mut other.vote);
        other.verifies(&network)
    };
    assert!(changed(|_| ()));
    let (height, round, value) = (0u64.to_be_bytes(), 4u64.to_be_bytes(), vote.vote.value.unwrap());
    let parts: [&[u8]; 5] = [network.as_bytes(), &[2], &height, &round, &value];
    assert!(vote.signature.verifies(&machine(201).0, "vote", &parts));
    assert!(!changed(|vote| vote.kind = VoteKind::Prevote));
    assert!(!changed(|vote| vote.height += 1));
    assert!(!changed(|vote| vote.round += 1));
    assert!(!changed(|vote| vote.value = None));
    assert!(!changed(|vote| vote.value = Some([9; 32])));
    assert!(!changed(|vote| vote.validator = machine(202)));
    assert!(!vote.verifies(&NetworkId([1; 32])));
    let proposal = SignedProposal::sign(&network, 5, 1, Some(0), [8; 32], &key(201));
    let changed = |change: fn(&mut SignedProposal)| {
        let mut other = proposal;
        change(&mut other);
        other.verifies(&network)
    };
    assert!(changed(|_| ()));
    let [height, round] = [5u64, 1].map(u64::to_be_bytes);
    let parts: [&[u8]; 5] = [network.as_bytes(), &height, &round, &[0; 8], &[8; 32]];
    assert!(proposal.signature.verifies(&machine(201).0, "proposal", &parts));
    let first = SignedProposal::sign(&network, 5, 1, None, [8; 32], &key(201));
    let parts: [&[u8]; 5] = [network.as_bytes(), &height, &round, &[0xff; 8], &[8; 32]];
    assert!(first.signature.verifies(&machine(201).0, "proposal", &parts));
    assert!(!changed(|proposal| proposal.height += 1));
    assert!(!changed(|proposal| proposal.round += 1));
    assert!(!changed(|proposal| proposal.pol_round = None));
    assert!(!changed(|proposal| proposal.value[0] ^= 1));
    assert!(!changed(|proposal| proposal.validator = machine(202)));
}
