//! Machines that join by invitation: the rules of version 4; and what they bring: of version 5.

use std::collections::BTreeMap;

use crate::ledger_network::{OPERATOR, key};
use crate::ledger_validators::{Consortium, FOUR, genesis_of, machine};
use kakera_engine::ledger::{
    Body, EntryError, Genesis, Invitation, InvitedJoin, NodeRetire, RetentionFloor,
};
use kakera_engine::names::{GroupId, Slot};

const INVITED: u8 = 100;

fn network(version: u32) -> Consortium {
    let anchors = BTreeMap::new();
    Consortium::of(Genesis { version: Some(version), anchors, ..genesis_of(&FOUR) })
}

fn invitation(network: &Consortium, number: u8) -> Body {
    let (zone, quota_bytes, expires) = ("cellar".to_owned(), 1 << 30, network.now + 10_000);
    Body::Invitation(Invitation { key: machine(number), zone, quota_bytes, expires })
}

/// Machine `number` joins by an invitation.
fn joins(network: &Consortium, invited: u8, number: u8) -> Body {
    let address = format!("192.0.2.{number}:7400");
    let join = InvitedJoin::sign(&network.id(), &machine(invited), address, &key(number));
    Body::InvitedJoin(join)
}

#[test]
fn an_invitation_lets_one_machine_in_once() {
    let mut network = network(4);
    let invite = invitation(&network, INVITED);
    let refused = network.refusal(FOUR[0], invite.clone());
    assert_eq!(refused, EntryError::NotAllowed(machine(FOUR[0])));
    let early = joins(&network, INVITED, 10);
    assert_eq!(network.refusal(INVITED, early), EntryError::NotEnrolled(machine(INVITED)));
    network.seal_body(OPERATOR, invite.clone());
    assert_eq!(network.refusal(OPERATOR, invite), EntryError::AlreadyEnrolled(machine(INVITED)));

    let other = Body::RetentionFloor(RetentionFloor { height: 1 });
    assert_eq!(network.refusal(INVITED, other), EntryError::NotAllowed(machine(INVITED)));
    let of_another = joins(&network, INVITED + 1, 10);
    assert_eq!(network.refusal(INVITED, of_another), EntryError::Signature);
    let join = joins(&network, INVITED, 10);
    network.seal_body(INVITED, join);
    let node = network.chain.state().node(&machine(10)).unwrap().join;
    assert_eq!((node.operator, &*node.zone), (machine(OPERATOR), "cellar"));
    assert!(node.roles.storage && !node.roles.submitter);

    let again = joins(&network, INVITED, 11);
    assert_eq!(network.refusal(INVITED, again), EntryError::NotEnrolled(machine(INVITED)));
    assert!(!network.chain.state().is_enrolled(&machine(INVITED)));
}

#[test]
fn an_invitation_expires_and_a_retired_machine_comes_back_by_another() {
    let mut network = network(4);
    for invited in [INVITED, INVITED + 1, INVITED + 2] {
        let invite = invitation(&network, invited);
        network.seal_body(OPERATOR, invite);
    }
    let join = joins(&network, INVITED, 10);
    network.seal_body(INVITED, join);
    network.seal_body(10, Body::NodeRetire(NodeRetire { node: machine(10) }));
    let back = joins(&network, INVITED + 1, 10);
    network.seal_body(INVITED + 1, back);
    let node = network.chain.state().node(&machine(10)).unwrap();
    assert_eq!((node.retired, node.join.generation), (false, 2));

    network.now += 20_000;
    let late = joins(&network, INVITED + 2, 11);
    let expired = EntryError::InvitationExpired(machine(INVITED + 2));
    // The state between two blocks has the time of the last one.
    network.seal(Vec::new());
    assert_eq!(network.refusal(INVITED + 2, late), expired);
}

#[test]
fn the_first_group_is_drawn_when_enough_have_joined() {
    let mut network = network(4);
    for number in 10..15 {
        assert_eq!(network.chain.state().counts().groups, 0);
        let invite = invitation(&network, INVITED + number);
        network.seal_body(OPERATOR, invite);
        let join = joins(&network, INVITED + number, number);
        network.seal_body(INVITED + number, join);
    }
    network.seal(Vec::new());
    let group = network.chain.state().group(GroupId(0)).unwrap();
    assert!(group.holder(Slot::new(5).unwrap()).is_some());
}

#[test]
fn groups_grow_with_the_machines() {
    for (version, expected) in [(4, [1, 1, 1, 1, 1]), (5, [1, 1, 2, 3, 4])] {
        let mut network = network(version);
        let mut joined = 10;
        for (machines, groups) in [5, 6, 7, 8, 9].into_iter().zip(expected) {
            while joined < 10 + machines {
                let invite = invitation(&network, INVITED + joined);
                network.seal_body(OPERATOR, invite);
                let join = joins(&network, INVITED + joined, joined);
                network.seal_body(INVITED + joined, join);
                joined += 1;
            }
            assert_eq!(network.chain.state().counts().groups, groups, "{machines}, v{version}");
        }
        network.seal(Vec::new());
        let state = network.chain.state();
        let last = state.counts().groups - 1;
        assert!(state.group(GroupId(last)).unwrap().holder(Slot::new(5).unwrap()).is_some());
        if version == 5 {
            let slots = |number: u8| state.node(&machine(number)).unwrap().slots;
            assert_eq!((10..19).map(slots).sum::<u32>(), 20);
            assert!((10..19).all(|number| slots(number) > 0), "the newest hold slots too");
        }
    }
}

#[test]
fn earlier_rules_skip_invitations() {
    let mut network = network(3);
    let invite = invitation(&network, INVITED);
    network.seal_body(OPERATOR, invite);
    assert!(!network.chain.state().is_enrolled(&machine(INVITED)));
}
