//! What validators decide by votes on the ledger, and equivocation.

use crate::ledger_network::{Network, OPERATOR, VALIDATOR, create_group, join, key};
use crate::ledger_validators::*;
use kakera_engine::ledger::{
    Body, CertifiedBlock, EntryError, Equivocation, Genesis, NodeJoin, NodeLost, NodeUpdate,
    OPEN_VOTES_MAX, PENDING_DRAWS_MAX, RetentionFloor, SignedProposal, StateKey, ValidatorChange,
    ValidatorSetError, ValidatorUpdate, Vote, VoteKind, verify_from_genesis,
};
use kakera_engine::names::{Epoch, GroupId, NetworkId};

fn floor(height: u64) -> Body {
    Body::RetentionFloor(RetentionFloor { height })
}

fn lost(number: u8) -> Body {
    Body::NodeLost(NodeLost { node: machine(number), generation: 1, exclusions: None })
}

fn votes(network: &NetworkId, number: u8, height: u64, values: [Option<[u8; 32]>; 2]) -> Body {
    let signed = values.map(|value| {
        let kind = VoteKind::Precommit;
        let vote = Vote { kind, height, round: 0, value, validator: machine(number) };
        vote.sign(network, &key(number))
    });
    Body::Equivocation(Equivocation::Votes(signed[0], signed[1]))
}

#[test]
fn version_1_refuses_what_needs_agreement() {
    let mut network = Network::with_machines(1);
    let id = network.id();
    let change = ValidatorChange { validators: set(&FOUR), from: None };
    for body in [
        Body::ValidatorChange(change),
        Body::ValidatorUpdate(ValidatorUpdate { address: String::new(), anchor: None }),
        floor(1),
        lost(10),
        votes(&id, VALIDATOR, 1, [None, Some([1; 32])]),
    ] {
        assert_eq!(network.refusal(VALIDATOR, body), EntryError::NeedsVersion(2));
    }
}

#[test]
fn three_of_four_replace_the_one_that_is_down() {
    let mut network = Consortium::four();
    network.down.insert(FOUR[3]);
    let next = [201, 202, 203, 205];
    let change = network.change_to(set(&next));
    network.vote(&FOUR[..2], &change);
    assert_eq!(*network.chain.validators(), set(&FOUR));
    assert_eq!(network.chain.set_change(), None);
    network.seal_body(FOUR[2], change.clone());
    assert_eq!(*network.chain.validators(), set(&next));
    let header = &network.chain.head().header;
    assert_eq!(header.validators, set(&FOUR).hash());
    assert_eq!(header.next_validators, set(&next).hash());
    assert_eq!(network.changes[0].validators, set(&next));
    assert_eq!(network.chain.state().validator(&machine(205)).since, header.height + 1);
    for _ in 0..4 {
        network.seal(vec![]);
    }
    let proposers: Vec<_> = network.blocks[network.blocks.len() - 4..]
        .iter()
        .map(|bytes| CertifiedBlock::from_bytes(bytes).unwrap().block.header.proposer)
        .collect();
    assert!(proposers.contains(&machine(205)) && !proposers.contains(&machine(204)));
    assert_eq!(network.refusal(FOUR[0], change), EntryError::OtherValidators);
    let by_former = network.change_to(set(&FOUR));
    assert_eq!(network.refusal(FOUR[3], by_former), EntryError::NotEnrolled(machine(204)));
    let replayed = verify_from_genesis(genesis_of(&FOUR), &network.blocks).unwrap();
    assert_eq!(replayed.head(), network.chain.head());
}

#[test]
fn a_set_is_changed_by_its_own_members_to_one_that_can_be() {
    let mut network = Consortium::with_machines(1);
    let other = network.change_to(set(&[201]));
    assert_eq!(network.refusal(10, other.clone()), EntryError::NotAllowed(machine(10)));
    let unnamed = ValidatorChange { validators: set(&[201]), from: None };
    let unnamed = network.refusal(FOUR[0], Body::ValidatorChange(unnamed));
    assert_eq!(unnamed, EntryError::OtherValidators);
    let none = network.change_to(set(&[]));
    let error = EntryError::ValidatorSet(ValidatorSetError::Count(0));
    assert_eq!(network.refusal(FOUR[0], none), error);
    let powerless = network.change_to([(machine(201), 0)].into_iter().collect());
    let error = EntryError::ValidatorSet(ValidatorSetError::Power(machine(201)));
    assert_eq!(network.refusal(FOUR[0], powerless), error);
    let same = network.change_to(set(&FOUR));
    assert_eq!(network.refusal(FOUR[0], same), EntryError::SameValidators);
    network.seal_body(FOUR[0], other.clone());
    assert_eq!(network.refusal(FOUR[0], other), EntryError::AlreadyVoted);
}

#[test]
fn power_decides_and_not_heads() {
    let powers = [(201, 5), (202, 1), (203, 1)].map(|(number, power)| (machine(number), power));
    let genesis = kakera_engine::ledger::Genesis {
        validators: powers.into_iter().collect(),
        ..genesis_of(&[201, 202, 203])
    };
    let mut network = Consortium::of(genesis);
    network.seal(vec![]);
    network.vote(&[202, 203], &floor(1));
    assert_eq!(network.chain.state().retention_floor(), 0);
    network.seal_body(201, floor(2));
    assert_eq!(network.chain.state().retention_floor(), 2);
}

#[test]
fn votes_of_a_set_do_not_count_in_another_not_even_when_it_returns() {
    let mut network = Consortium::four();
    let grown = network.change_to(set(&[201, 202, 203, 204, 205]));
    network.vote(&FOUR[..2], &grown);
    network.seal_body(FOUR[0], upgrade(3));
    network.change(&[201, 202, 203]);
    network.change(&FOUR);
    assert_eq!(*network.chain.validators(), set(&FOUR));
    network.vote(&FOUR[2..], &grown);
    assert_eq!(*network.chain.validators(), set(&FOUR));
    network.seal_body(FOUR[0], grown);
    assert_eq!(network.chain.validators().0.len(), 5);
    network.vote(&FOUR[1..3], &upgrade(3));
    assert_eq!(network.chain.version(), 2);
}

#[test]
fn the_oldest_open_vote_gives_way() {
    let mut network = Consortium::four();
    let own = FOUR[0];
    for version in 3..4 + OPEN_VOTES_MAX as u32 {
        network.seal_body(own, upgrade(version));
    }
    let refused = network.refusal(own, upgrade(4));
    assert_eq!(refused, EntryError::AlreadyVoted);
    let kept = network.chain.state().value(&StateKey::OpenVotes(machine(own))).unwrap();
    assert!(kept.len() <= 2 + 34 * OPEN_VOTES_MAX, "{}", kept.len());
    network.vote(&FOUR[1..3], &upgrade(3));
    assert_eq!(network.chain.version(), 2);
    network.vote(&FOUR[1..3], &upgrade(4));
    assert_eq!(network.chain.version(), 4);
}

#[test]
fn the_retention_floor_rises_by_two_thirds_up_to_the_head() {
    let mut network = Consortium::with_machines(1);
    network.seal(vec![]);
    let refusal = |above, most, found| EntryError::RetentionFloor { above, most, found };
    assert_eq!(network.refusal(FOUR[0], floor(3)), refusal(0, 2, 3));
    assert_eq!(network.refusal(10, floor(1)), EntryError::NotAllowed(machine(10)));
    network.vote(&FOUR[..2], &floor(2));
    assert_eq!(network.chain.head().header.retention_floor, 0);
    network.seal_body(FOUR[2], floor(2));
    assert_eq!(network.chain.head().header.retention_floor, 2);
    assert_eq!(network.refusal(FOUR[3], floor(2)), refusal(2, 4, 2));
    network.seal(vec![]);
    assert_eq!(network.chain.head().header.retention_floor, 2);
}

#[test]
fn a_lost_machine_leaves_all_its_slots() {
    let mut network = Consortium::with_machines(6);
    for _ in 0..3 {
        network.seal_body(OPERATOR, create_group(5, 3));
    }
    network.seal(vec![]);
    let gone = (10..16).max_by_key(|number| slots(&network, *number)).unwrap();
    let held = slots(&network, gone);
    assert!(held >= 3, "15 slots on 6 machines");
    assert_eq!(network.refusal(gone, lost(gone)), EntryError::NotAllowed(machine(gone)));
    assert_eq!(network.refusal(FOUR[0], lost(99)), EntryError::UnknownNode(machine(99)));
    network.vote(&FOUR[..2], &lost(gone));
    assert!(!network.chain.state().node(&machine(gone)).unwrap().retired);
    network.seal_body(FOUR[2], lost(gone));
    assert!(network.chain.state().node(&machine(gone)).unwrap().retired);
    assert_eq!(network.refusal(FOUR[3], lost(gone)), EntryError::UnknownNode(machine(gone)));
    assert!(network.chain.state().has_pending());
    network.seal(vec![]);
    assert_eq!(slots(&network, gone), 0);
    for (_, group) in network.chain.state().groups() {
        assert_eq!((group.holders.len(), group.slot_of(&machine(gone))), (5, None));
    }
}

fn slots(network: &Consortium, number: u8) -> u32 {
    network.chain.state().node(&machine(number)).unwrap().slots
}

#[test]
fn a_vote_for_a_loss_is_void_once_the_machine_came_back() {
    let mut network = Consortium::with_machines(5);
    network.vote(&FOUR[..2], &lost(10));
    let node = machine(10);
    let back = NodeUpdate { node, address: "a".into(), quota_bytes: 1, generation: 2 };
    network.seal_body(10, Body::NodeUpdate(back));
    let stale = EntryError::Generation { least: 2, found: 1 };
    assert_eq!(network.refusal(FOUR[2], lost(10)), stale);
    network.seal_body(FOUR[2], Body::NodeLost(NodeLost { node, generation: 2, exclusions: None }));
    assert!(!network.chain.state().node(&node).unwrap().retired);
}

#[test]
fn of_two_losses_that_are_voted_on_at_once_only_one_takes_effect() {
    let mut network = Consortium::of(Genesis { version: Some(8), ..genesis_of(&FOUR) });
    let joins = (10..17).map(|number| network.say(FOUR[0], join(number, machine(number))));
    let joins = joins.collect();
    network.seal(joins);
    let lost = |number, exclusions| {
        Body::NodeLost(NodeLost { node: machine(number), generation: 1, exclusions })
    };
    let is_lost = |network: &Consortium, number| {
        network.chain.state().node(&machine(number)).unwrap().lost.is_some()
    };
    for stale in [None, Some(1)] {
        assert_eq!(network.refusal(FOUR[0], lost(10, stale)), EntryError::StaleVote);
    }
    network.vote(&FOUR[..2], &lost(10, Some(0)));
    network.vote(&FOUR[..2], &lost(11, Some(0)));
    network.seal_body(FOUR[2], lost(10, Some(0)));
    assert!(is_lost(&network, 10));
    assert_eq!(network.chain.state().exclusions(), Some(1));
    assert_eq!(network.refusal(FOUR[3], lost(11, Some(0))), EntryError::StaleVote);

    // What was voted before the first loss counts no more for the second.
    network.seal_body(FOUR[3], lost(11, Some(1)));
    assert!(!is_lost(&network, 11));
    network.vote(&FOUR[..2], &lost(11, Some(1)));
    assert!(is_lost(&network, 11));
}

#[test]
fn slots_for_which_no_draw_is_free_follow_later() {
    let mut network = Consortium::with_machines(4);
    let groups = PENDING_DRAWS_MAX + 40;
    for batch in [PENDING_DRAWS_MAX, groups - PENDING_DRAWS_MAX, 0] {
        let create = |_| network.say(OPERATOR, create_group(4, 2));
        let entries = (0..batch).map(create).collect();
        network.seal(entries);
    }
    assert_eq!(slots(&network, 10), groups as u32);
    network.seal_body(FOUR[0], join(20, machine(20)));
    network.vote(&FOUR[..3], &lost(10));
    assert_eq!(network.refusal(OPERATOR, create_group(4, 2)), EntryError::TooManyDraws);
    network.seal(vec![]);
    assert_eq!(slots(&network, 10), 40);
    assert!(network.chain.state().has_pending());
    network.seal(vec![]);
    assert_eq!((slots(&network, 10), slots(&network, 20)), (0, groups as u32));
    assert!(!network.chain.state().has_pending());
    let group = network.chain.state().group(GroupId(groups as u32 - 1)).unwrap();
    assert_eq!((group.vacated.len(), group.epoch), (1, Epoch(0)));
}

#[test]
fn who_says_two_things_leaves_the_set() {
    let mut network = Consortium::with_machines(1);
    let id = network.id();
    let guilty = FOUR[1];
    let proof = votes(&id, guilty, 1, [Some([1; 32]), Some([2; 32])]);
    assert_eq!(network.refusal(10, proof.clone()), EntryError::NotAllowed(machine(10)));
    let same = votes(&id, guilty, 1, [Some([1; 32]); 2]);
    assert_eq!(network.refusal(FOUR[0], same), EntryError::NoEquivocation);
    let elsewhere = votes(&NetworkId([1; 32]), guilty, 1, [Some([1; 32]), None]);
    assert_eq!(network.refusal(FOUR[0], elsewhere), EntryError::EquivocationSignature);
    let stranger = votes(&id, 99, 1, [Some([1; 32]), None]);
    assert_eq!(network.refusal(FOUR[0], stranger), EntryError::StaleEquivocation(machine(99)));

    network.seal_body(FOUR[0], proof.clone());
    assert_eq!(*network.chain.validators(), set(&[201, 203, 204]));
    assert_eq!(network.changes.len(), 1);
    let again = network.refusal(FOUR[0], proof.clone());
    assert_eq!(again, EntryError::StaleEquivocation(machine(guilty)));
    network.seal(vec![]);

    // once readmitted, the old proof does not count again, a new one does
    network.change(&FOUR);
    assert_eq!(network.refusal(FOUR[0], proof), EntryError::StaleEquivocation(machine(guilty)));
    let height = network.chain.head().header.height + 1;
    network.seal_body(FOUR[0], votes(&id, guilty, height, [None, Some([2; 32])]));
    assert_eq!(*network.chain.validators(), set(&[201, 203, 204]));
}

#[test]
fn two_proposals_in_one_round_are_an_equivocation_and_in_two_are_not() {
    let mut network = Consortium::four();
    let id = network.id();
    let proposal =
        |round, value: u8| SignedProposal::sign(&id, 5, round, None, [value; 32], &key(FOUR[2]));
    let proof = |one, other| Body::Equivocation(Equivocation::Proposals(one, other));
    let honest = proof(proposal(0, 1), proposal(1, 2));
    assert_eq!(network.refusal(FOUR[0], honest), EntryError::NoEquivocation);
    network.seal_body(FOUR[2], proof(proposal(0, 1), proposal(0, 2)));
    assert_eq!(*network.chain.validators(), set(&[201, 202, 204]));
}

#[test]
fn the_only_validator_stays() {
    let mut network = Consortium::of(genesis_of(&[201]));
    let proof = votes(&network.id(), 201, 1, [None, Some([1; 32])]);
    assert_eq!(network.refusal(201, proof), EntryError::LastValidator);
}

#[test]
fn a_machine_registers_before_it_becomes_a_validator() {
    let mut network = Consortium::four();
    let address = || "192.0.2.9:4433".to_string();
    let update = Body::ValidatorUpdate(ValidatorUpdate {
        address: address(),
        anchor: Some(links(&network.id(), 205, 1).anchor()),
    });
    assert_eq!(network.refusal(205, update.clone()), EntryError::NotEnrolled(machine(205)));
    let Body::NodeJoin(machine_of) = join(205, machine(205)) else { unreachable!() };
    let roles = kakera_engine::ledger::Roles::default();
    network.seal_body(FOUR[0], Body::NodeJoin(NodeJoin { roles, ..machine_of }));
    network.seal_body(205, update);
    network.change(&[201, 202, 203, 204, 205]);
    let registered = network.chain.state().validator(&machine(205));
    assert_eq!((registered.address, registered.anchors), (address(), 1));
    assert_eq!(registered.since, network.chain.head().header.height + 1);
    for _ in 0..5 {
        network.seal(vec![]);
    }
}
