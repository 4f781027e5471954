//! The rules of each kind of entry, and the draws.

use std::collections::BTreeSet;

use crate::ledger_network::*;
use kakera_engine::ledger::{
    Body, EntryError, EpochAdvance, Genesis, GroupCreate, GroupParametersError, IdentityRecord,
    NodeJoin, NodeRetire, NodeUpdate, PointerRetire, Roles, SlotReassign, ValidatorChange,
    ValidatorSet,
};
use kakera_engine::names::{Epoch, GroupId, NodeId, Slot};
use kakera_engine::signature::node_id;

fn machine(number: u8) -> NodeId {
    node_id(&key(number))
}

fn slot(point: u8) -> Slot {
    Slot::new(point).unwrap()
}

fn reassign(group: u32, point: u8) -> Body {
    Body::SlotReassign(SlotReassign { group: GroupId(group), slot: slot(point) })
}

fn retire(number: u8) -> Body {
    Body::NodeRetire(NodeRetire { node: machine(number) })
}

fn changed_join(number: u8, change: impl FnOnce(&mut NodeJoin)) -> Body {
    let Body::NodeJoin(mut body) = join(number, machine(OPERATOR)) else { unreachable!() };
    change(&mut body);
    Body::NodeJoin(body)
}

#[test]
fn machines_are_enrolled_by_their_operator_or_a_validator() {
    let mut network = Network::new();
    network.seal_body(OPERATOR, join(10, machine(OPERATOR)));
    network.seal_body(VALIDATOR, join(11, machine(77)));
    let foreign = network.refusal(OPERATOR, join(12, machine(77)));
    assert_eq!(foreign, EntryError::NotAllowed(machine(OPERATOR)));
    let by_machine = network.refusal(10, join(12, machine(10)));
    assert_eq!(by_machine, EntryError::NotAllowed(machine(10)));
    let twice = network.refusal(VALIDATOR, join(10, machine(OPERATOR)));
    assert_eq!(twice, EntryError::AlreadyEnrolled(machine(10)));
    let long = network.refusal(OPERATOR, changed_join(12, |join| join.address = "a".repeat(129)));
    assert_eq!(long, EntryError::FieldTooLong { field: "address", length: 129, limit: 128 });
    let long = network.refusal(OPERATOR, changed_join(12, |join| join.zone = "z".repeat(33)));
    assert_eq!(long, EntryError::FieldTooLong { field: "zone", length: 33, limit: 32 });
    let counts = network.chain.state().counts();
    assert_eq!((counts.nodes, counts.storage_nodes), (2, 2));
    let names: Vec<_> = network.chain.state().nodes().map(|node| node.join.node).collect();
    assert_eq!(names, [machine(10), machine(11)]);
}

#[test]
fn machines_change_and_leave_and_come_back() {
    let mut network = Network::with_machines(3);
    let update = |generation| {
        Body::NodeUpdate(NodeUpdate {
            node: machine(10),
            address: "198.51.100.1:1".into(),
            quota_bytes: 7,
            generation,
        })
    };
    network.seal_body(10, update(3));
    assert_eq!(network.chain.state().node(&machine(10)).unwrap().join.quota_bytes, 7);
    assert_eq!(network.refusal(10, update(2)), EntryError::Generation { least: 3, found: 2 });
    assert_eq!(network.refusal(11, update(3)), EntryError::NotAllowed(machine(11)));
    assert_eq!(network.refusal(11, retire(10)), EntryError::NotAllowed(machine(11)));
    network.seal_body(10, retire(10));
    assert_eq!(network.refusal(10, update(4)), EntryError::NotEnrolled(machine(10)));
    assert_eq!(network.refusal(VALIDATOR, retire(10)), EntryError::UnknownNode(machine(10)));
    assert_eq!(network.chain.state().counts().storage_nodes, 2);
    let early = network.refusal(VALIDATOR, changed_join(10, |join| join.generation = 3));
    assert_eq!(early, EntryError::Generation { least: 4, found: 3 });
    network.seal_body(VALIDATOR, changed_join(10, |join| join.generation = 4));
    let counts = network.chain.state().counts();
    assert_eq!((counts.nodes, counts.storage_nodes), (3, 3));
}

#[test]
fn a_group_is_drawn_in_the_next_block_from_its_beacon() {
    let mut network = Network::with_machines(8);
    assert!(!network.chain.state().has_pending());
    network.seal_body(OPERATOR, create_group(5, 3));
    assert!(network.chain.state().has_pending());
    assert!(network.chain.state().group(GroupId(0)).unwrap().holders.is_empty());
    assert_eq!(network.refusal(VALIDATOR, reassign(1, 1)), EntryError::UnknownGroup(GroupId(1)));
    network.seal(vec![]);
    assert!(!network.chain.state().has_pending());
    let group = network.chain.state().group(GroupId(0)).unwrap();
    let holders: BTreeSet<_> = group.holders.iter().map(|holder| holder.node).collect();
    assert_eq!((group.holders.len(), holders.len()), (5, 5));
    assert!(group.holders.iter().all(|holder| holder.since == 3));
    assert!(group.operator_bound_kept);
    let slots: u32 = network.chain.state().nodes().map(|node| node.slots).sum();
    assert_eq!(slots, 5);
    assert_eq!(group.slot_of(&group.holders[4].node), Some(slot(5)));
}

#[test]
fn a_group_needs_machines_rights_and_matching_codes() {
    let mut network = Network::with_machines(4);
    let few = EntryError::TooFewNodes { needed: 5, available: 4 };
    assert_eq!(network.refusal(OPERATOR, create_group(5, 3)), few);
    assert_eq!(network.refusal(10, create_group(4, 2)), EntryError::NotAllowed(machine(10)));
    let uneven = Body::GroupCreate(GroupCreate { code: code(4), key: key_code(5, 2) });
    let slots = GroupParametersError::Slots { code: 4, key: 5 };
    assert_eq!(network.refusal(OPERATOR, uneven), EntryError::GroupParameters(slots));
    let mut none = code(4);
    none.d = 4;
    let none = Body::GroupCreate(GroupCreate { code: none, key: key_code(4, 2) });
    let refusal = network.refusal(OPERATOR, none);
    assert!(matches!(refusal, EntryError::GroupParameters(GroupParametersError::Code(_))));
}

#[test]
fn a_draw_waits_for_machines_without_asking_for_blocks() {
    let mut network = Network::with_machines(4);
    let entries =
        vec![network.say(OPERATOR, create_group(4, 2)), network.say(VALIDATOR, retire(10))];
    network.seal(entries);
    assert!(!network.chain.state().has_pending());
    network.seal(vec![]);
    assert!(network.chain.state().group(GroupId(0)).unwrap().holders.is_empty());
    network.seal_body(OPERATOR, join(20, machine(OPERATOR)));
    assert!(network.chain.state().has_pending());
    network.seal(vec![]);
    assert_eq!(network.chain.state().group(GroupId(0)).unwrap().holders.len(), 4);
}

#[test]
fn a_slot_goes_to_a_newcomer_and_its_history_stays_for_the_epoch() {
    let mut network = Network::with_machines(7);
    network.seal_body(OPERATOR, create_group(5, 3));
    network.seal(vec![]);
    let before = network.chain.state().group(GroupId(0)).unwrap().clone();
    let lost = before.holders[1].node;
    network.seal_body(VALIDATOR, reassign(0, 2));
    // the draws of earlier blocks come first, so one slot is pending twice only within a block
    let twice =
        vec![network.say(VALIDATOR, reassign(0, 3)), network.say(VALIDATOR, reassign(0, 3))];
    let pending = EntryError::AlreadyPending { group: GroupId(0), slot: slot(3) };
    assert_eq!(network.propose(twice.clone()).refused[0].1, pending);
    assert_eq!(network.chain.state().group(GroupId(0)).unwrap().holders[1].node, lost);
    network.seal(vec![twice[0].clone()]);
    network.seal(vec![]);
    let after = network.chain.state().group(GroupId(0)).unwrap();
    assert_ne!(after.holders[1].node, lost);
    assert_eq!(after.vacated.len(), 2);
    assert_eq!((after.vacated[0].slot, after.vacated[0].node), (slot(2), lost));
    assert_eq!(after.vacated[0].until, after.holders[1].since);
    let slots: u32 = network.chain.state().nodes().map(|node| node.slots).sum();
    assert_eq!(slots, 5);
    let distinct: BTreeSet<_> = after.holders.iter().map(|holder| holder.node).collect();
    assert_eq!(distinct.len(), 5);
}

#[test]
fn slots_are_reassigned_by_those_who_answer_for_the_holder() {
    let mut network = Network::with_machines(5);
    network.seal_body(OPERATOR, create_group(5, 3));
    network.seal(vec![]);
    let none_left = EntryError::TooFewNodes { needed: 1, available: 0 };
    assert_eq!(network.refusal(VALIDATOR, reassign(0, 1)), none_left);
    network.seal_body(VALIDATOR, join(20, machine(20)));
    assert_eq!(
        network.refusal(OPERATOR, reassign(0, 1)),
        EntryError::NotAllowed(machine(OPERATOR))
    );
    let unknown = EntryError::UnknownSlot { group: GroupId(0), slot: slot(6) };
    assert_eq!(network.refusal(VALIDATOR, reassign(0, 6)), unknown);
    let holder = network.chain.state().group(GroupId(0)).unwrap().holders[0].node;
    let own = (10..15).find(|number| machine(*number) == holder).unwrap();
    network.seal_body(own, reassign(0, 1));
    network.seal(vec![]);
    let group = network.chain.state().group(GroupId(0)).unwrap();
    assert_eq!(group.holders[0].node, machine(20));
    assert!(group.operator_bound_kept);
}

#[test]
fn one_operator_has_no_more_slots_than_its_bound_or_the_group_says_so() {
    let mut network = Network::new();
    let joins = (10..20)
        .map(|number| network.say(VALIDATOR, join(number, machine(100 + number % 4))))
        .collect();
    network.seal(joins);
    network.seal_body(VALIDATOR, create_group(8, 5));
    network.seal_body(VALIDATOR, create_group(9, 5));
    network.seal(vec![]);
    let state = network.chain.state();
    let most = |group: u32| {
        let group = state.group(GroupId(group)).unwrap();
        let operator = |holder: &NodeId| state.node(holder).unwrap().join.operator;
        (100..104)
            .map(|of| {
                let of = machine(of);
                group.holders.iter().filter(|holder| operator(&holder.node) == of).count()
            })
            .max()
    };
    assert_eq!(most(0), Some(2));
    assert!(state.group(GroupId(0)).unwrap().operator_bound_kept);
    assert_eq!(most(1), Some(3));
    assert!(!state.group(GroupId(1)).unwrap().operator_bound_kept);
}

#[test]
fn who_left_in_this_epoch_still_counts_for_its_operator() {
    let mut network = Network::with_machines(6);
    network.seal_body(OPERATOR, create_group(5, 3));
    network.seal(vec![]);
    for _ in 0..2 {
        network.seal_body(VALIDATOR, reassign(0, 1));
        network.seal(vec![]);
    }
    let group = network.chain.state().group(GroupId(0)).unwrap();
    assert_eq!(group.vacated[0].node, group.holders[0].node);
    assert!(!group.operator_bound_kept);
}

#[test]
fn epochs_advance_one_by_one_and_forget_who_left() {
    let mut network = Network::with_machines(7);
    network.seal_body(OPERATOR, create_group(5, 3));
    network.seal_body(VALIDATOR, reassign(0, 1));
    network.seal(vec![]);
    let advance = |epoch| {
        Body::EpochAdvance(EpochAdvance { group: GroupId(0), epoch: Epoch(epoch), root: [8; 32] })
    };
    let skip = EntryError::Epoch { expected: Epoch(1), found: Epoch(2) };
    assert_eq!(network.refusal(VALIDATOR, advance(2)), skip);
    assert_eq!(skip.to_string(), "epoch 2 where 1 comes next");
    assert_eq!(network.refusal(10, advance(1)), EntryError::NotAllowed(machine(10)));
    assert_eq!(network.chain.state().group(GroupId(0)).unwrap().vacated.len(), 1);
    network.seal_body(VALIDATOR, advance(1));
    let group = network.chain.state().group(GroupId(0)).unwrap();
    assert_eq!((group.epoch, group.root), (Epoch(1), [8; 32]));
    assert!(group.vacated.is_empty());
}

#[test]
fn a_tag_keeps_sixteen_pointers_in_ledger_order() {
    let mut network = Network::with_machines(2);
    let pointers: Vec<_> = (0..17u8).map(|number| network.pointer(90, &[number])).collect();
    for (number, pointer) in pointers[..16].iter().enumerate() {
        network.seal_body(10 + number as u8 % 2, Body::Pointer(pointer.clone()));
    }
    let tag = pointers[0].tag();
    let posted = network.chain.state().pointers(tag);
    let held: Vec<_> = posted.iter().map(|posted| posted.pointer.clone().unwrap()).collect();
    assert_eq!(held, pointers[..16]);
    let duplicate = network.refusal(11, Body::Pointer(pointers[0].clone()));
    assert_eq!(duplicate, EntryError::DuplicatePointer);
    let full = network.refusal(10, Body::Pointer(pointers[16].clone()));
    assert_eq!(full, EntryError::TagFull(tag));
}

#[test]
fn only_the_owner_posts_and_retires_and_nobody_posts_again() {
    let mut network = Network::with_machines(2);
    let pointer = network.pointer(90, b"sealed");
    let mut forged = pointer.clone();
    forged.sealed[0] ^= 1;
    assert_eq!(network.refusal(10, Body::Pointer(forged)), EntryError::PointerSignature);
    let long = network.pointer(90, &[0; 7169]);
    let long = network.refusal(10, Body::Pointer(long));
    assert_eq!(long, EntryError::FieldTooLong { field: "pointer", length: 7169, limit: 7168 });
    network.seal_body(10, Body::Pointer(pointer.clone()));

    let mut stolen = PointerRetire::sign(&network.id(), &key(91), pointer.content());
    stolen.key = pointer.key;
    assert_eq!(network.refusal(11, Body::PointerRetire(stolen)), EntryError::PointerSignature);
    let retire = PointerRetire::sign(&network.id(), &key(90), pointer.content());
    network.seal_body(11, Body::PointerRetire(retire.clone()));
    let unknown = EntryError::UnknownPointer(pointer.tag());
    assert_eq!(network.refusal(11, Body::PointerRetire(retire)), unknown);
    assert_eq!(network.chain.state().pointers(pointer.tag())[0].pointer, None);
    assert_eq!(network.refusal(11, Body::Pointer(pointer)), EntryError::DuplicatePointer);
}

#[test]
fn pointers_count_against_their_author_until_retired() {
    let mut network = Network::of(Genesis { pointers_per_author_max: 2, ..genesis() });
    let mute = changed_join(11, |join| join.roles = Roles { storage: true, submitter: false });
    network.seal_body(OPERATOR, join(10, machine(OPERATOR)));
    network.seal_body(OPERATOR, mute);
    let pointers = [91, 92, 93].map(|number| network.pointer(number, b"sealed"));
    network.seal_body(10, Body::Pointer(pointers[0].clone()));
    network.seal_body(10, Body::Pointer(pointers[1].clone()));
    let third = Body::Pointer(pointers[2].clone());
    let quota = EntryError::PointerQuota { author: machine(10), limit: 2 };
    assert_eq!(network.refusal(10, third.clone()), quota);
    assert_eq!(network.refusal(11, third.clone()), EntryError::NotAllowed(machine(11)));
    let retire = PointerRetire::sign(&network.id(), &key(91), pointers[0].content());
    network.seal_body(OPERATOR, Body::PointerRetire(retire));
    network.seal_body(10, third);
}

#[test]
fn an_identity_is_continued_by_its_own_key() {
    let mut network = Network::with_machines(2);
    let handle = [3; 32];
    let public = |number: u8| key(number).verifying_key().to_bytes();
    let record = |signer: u8, next: u8, version: u64| {
        let (signer, next) = (key(signer), public(next));
        let id = kakera_engine::ledger::Genesis::network_id(&genesis());
        Body::IdentityRecord(IdentityRecord::sign(&id, &signer, next, handle, version, vec![1]))
    };
    assert_eq!(network.refusal(10, record(90, 91, 1)), EntryError::IdentitySignature);
    network.seal_body(10, record(90, 90, 1));
    let again = EntryError::IdentityVersion { expected: 2, found: 1 };
    assert_eq!(network.refusal(10, record(90, 90, 1)), again);
    assert_eq!(network.refusal(10, record(91, 91, 2)), EntryError::IdentitySignature);
    network.seal_body(10, record(90, 91, 2));
    network.seal_body(11, record(91, 91, 3));
    assert_eq!(network.chain.state().identity(handle).unwrap().key, public(91));
}

#[test]
fn validators_do_not_change_yet() {
    let mut network = Network::new();
    let validators = ValidatorSet::from_iter([(machine(9), 1)]);
    let change = Body::ValidatorChange(ValidatorChange { validators, from: None });
    assert_eq!(network.refusal(VALIDATOR, change), EntryError::NeedsVersion(2));
}

#[test]
fn a_refused_entry_changes_nothing() {
    let mut network = Network::with_machines(5);
    let root = network.chain.state().root();
    let mut state = network.chain.state().clone();
    for body in [create_group(7, 3), reassign(0, 1), retire(99), join(10, machine(10))] {
        let entry = network.say(VALIDATOR, body);
        assert!(state.apply(&entry).is_err());
        assert_eq!(state.root(), root);
    }
}
