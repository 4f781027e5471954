//! What the ledger says of refreshes: the rules of versions 4 and 6.

use std::collections::BTreeMap;

use crate::ledger_network::{create_group, join, key};
use crate::ledger_validators::{Consortium, FOUR, genesis_of, machine};
use kakera_engine::ledger::{
    Body, EntryError, EpochAdvance, Genesis, Group, GroupCreate, RefreshBegin, RefreshEnd,
    RefreshSeal, RefreshStatement, SlotReassign,
};
use kakera_engine::names::{Epoch, GroupId, Slot};
use kakera_engine::policy::refresh::{leader, objects_max};
use kakera_engine::signature::Signature;

const GROUP: GroupId = GroupId(0);
const FIRST: u8 = 10;

/// Seven machines of which five hold the slots of a group.
fn network(version: u32) -> Consortium {
    network_of(version, 5)
}

/// Two more machines than a group has slots.
fn network_of(version: u32, slots: u8) -> Consortium {
    let anchors = BTreeMap::new();
    let Body::GroupCreate(create) = create_group(slots, 3) else { unreachable!() };
    let GroupCreate { code, key } = create;
    let genesis = Genesis { version: Some(version), anchors, code, key, ..genesis_of(&FOUR) };
    let mut network = Consortium::of(genesis);
    let joins = (FIRST..FIRST + slots + 2)
        .map(|number| network.say(FOUR[0], join(number, machine(number))))
        .collect();
    network.seal(joins);
    network.seal_body(FOUR[0], Body::GroupCreate(create));
    network.seal(Vec::new());
    network
}

fn group(network: &Consortium) -> Group {
    network.chain.state().group(GROUP).unwrap().clone()
}

/// The numbers of the holders, in slot order.
fn holders(network: &Consortium) -> Vec<u8> {
    let number = |node| (FIRST..).find(|number| machine(*number) == node).unwrap();
    group(network).holders.iter().map(|holder| number(holder.node)).collect()
}

fn leads(network: &Consortium, epoch: u64, attempt: u32) -> u8 {
    holders(network)[leader(Epoch(epoch), attempt, group(network).code.n).unwrap().index()]
}

fn begin(epoch: u64, attempt: u32, objects: u32) -> Body {
    let (group, epoch, list) = (GROUP, Epoch(epoch), [1; 32]);
    Body::RefreshBegin(RefreshBegin { group, epoch, attempt, objects, list })
}

fn seal(epoch: u64, attempt: u32) -> Body {
    let (group, epoch, transcript) = (GROUP, Epoch(epoch), [2; 32]);
    Body::RefreshSeal(RefreshSeal { group, epoch, attempt, transcript })
}

/// Signed by these machines, for these slots.
fn end(network: &Consortium, epoch: u64, attempt: u32, root: Option<[u8; 32]>, by: &[u8]) -> Body {
    let (id, group, epoch) = (network.id(), GROUP, Epoch(epoch));
    let statement = RefreshStatement { network: &id, group, epoch, attempt, root };
    let signatures: Vec<Signature> =
        by.iter().map(|number| statement.sign(&key(*number))).collect();
    Body::RefreshEnd(RefreshEnd { group, epoch, attempt, root, signatures, absent: None })
}

const ROOT: Option<[u8; 32]> = Some([3; 32]);

#[test]
fn an_epoch_ends_with_the_word_of_all_holders() {
    let mut network = network(4);
    let (lead, all) = (leads(&network, 1, 0), holders(&network));
    let drawn = group(&network).refreshes.unwrap();
    assert!(drawn.since > 0 && drawn.cycle == Epoch(1));

    let no = |attempt| EntryError::NoRefresh { group: GROUP, attempt };
    assert_eq!(network.refusal(lead, seal(1, 0)), no(0));
    let other = leads(&network, 1, 1);
    assert_eq!(network.refusal(other, begin(1, 0, 7)), EntryError::NotAllowed(machine(other)));
    let wrong = EntryError::Epoch { expected: Epoch(1), found: Epoch(2) };
    let of_two = leads(&network, 2, 0);
    assert_eq!(network.refusal(of_two, begin(2, 0, 7)), wrong);
    let many = objects_max(5) as u32 + 1;
    assert_eq!(network.refusal(lead, begin(1, 0, many)), no(0));
    network.seal_body(lead, begin(1, 0, 7));

    let early = end(&network, 1, 0, ROOT, &all);
    assert_eq!(network.refusal(lead, early), no(0), "before the beacon");
    network.seal_body(lead, seal(1, 0));
    assert_eq!(group(&network).refreshes.unwrap().running.unwrap().beacon, None);
    assert!(network.chain.state().has_pending(), "a block without entries brings the beacon");
    network.seal(Vec::new());
    let beacon = network.chain.head().header.beacon;
    assert_eq!(group(&network).refreshes.unwrap().running.unwrap().beacon, Some(beacon));
    assert!(!network.chain.state().has_pending());
    assert_eq!(network.refusal(lead, seal(1, 0)), no(0), "it is sealed");

    let few = end(&network, 1, 0, ROOT, &all[..4]);
    assert_eq!(network.refusal(lead, few), no(0));
    let mut swapped = all.clone();
    swapped.swap(0, 1);
    let swapped = end(&network, 1, 0, ROOT, &swapped);
    assert_eq!(network.refusal(lead, swapped), no(0));
    let none = end(&network, 1, 0, None, &all);
    assert_eq!(network.refusal(lead, none), no(0), "there are objects");
    let ended = end(&network, 1, 0, ROOT, &all);
    assert_eq!(network.refusal(other, ended.clone()), EntryError::NotAllowed(machine(other)));
    network.seal_body(lead, ended.clone());
    let now = group(&network);
    assert_eq!((now.epoch, now.epochs().root(Epoch(1))), (Epoch(1), ROOT.as_ref()));
    let refreshes = now.refreshes.unwrap();
    assert_eq!((refreshes.running, refreshes.cycle), (None, Epoch(2)));
    assert!(refreshes.since > drawn.since);
    let over = EntryError::Epoch { expected: Epoch(2), found: Epoch(1) };
    assert_eq!(network.refusal(lead, ended), over);
}

#[test]
fn turns_pass_on_and_numbers_last() {
    let mut network = network(4);
    let no = |attempt| EntryError::NoRefresh { group: GROUP, attempt };
    assert_eq!(network.refusal(leads(&network, 1, 5), begin(1, 5, 0)), no(5), "a round ahead");
    let third = leads(&network, 1, 3);
    network.seal_body(third, begin(1, 3, 0));
    let second = leads(&network, 1, 2);
    assert_eq!(network.refusal(second, begin(1, 2, 0)), no(2), "behind");
    let all = holders(&network);
    let ended = end(&network, 1, 3, None, &all);
    let next = leads(&network, 1, 4);
    network.seal_body(next, begin(1, 4, 0));
    assert_eq!(network.refusal(third, ended), no(3), "another attempt took its place");
    // A batch without objects needs no beacon.
    let ended = end(&network, 1, 4, None, &all);
    network.seal_body(next, ended);
    let now = group(&network);
    assert_eq!((now.epoch, now.epochs().roots.len()), (Epoch(1), 0));
}

#[test]
fn a_full_batch_does_not_end_the_cycle() {
    let mut network = network(4);
    let reassign = Body::SlotReassign(SlotReassign { group: GROUP, slot: Slot::new(1).unwrap() });
    network.seal_body(FOUR[0], reassign);
    network.seal(Vec::new());
    assert_eq!(group(&network).vacated.len(), 1);
    let mut refresh = |epoch: u64, objects: u32| {
        let (lead, all) = (leads(&network, epoch, 0), holders(&network));
        network.seal_body(lead, begin(epoch, 0, objects));
        network.seal_body(lead, seal(epoch, 0));
        network.seal(Vec::new());
        let ended = end(&network, epoch, 0, ROOT, &all);
        network.seal_body(lead, ended);
        group(&network)
    };
    let full = refresh(1, objects_max(5) as u32);
    assert_eq!((full.vacated.len(), full.refreshes.unwrap().cycle), (1, Epoch(1)));
    let rest = refresh(2, 3);
    assert_eq!((rest.vacated.len(), rest.refreshes.unwrap().cycle), (0, Epoch(3)));
}

#[test]
fn a_validator_alone_advances_no_epoch_any_more() {
    let advance = |epoch| {
        Body::EpochAdvance(EpochAdvance { group: GROUP, epoch: Epoch(epoch), root: [7; 32] })
    };
    let mut old = network(3);
    old.seal_body(FOUR[0], advance(1));
    assert_eq!(group(&old).epoch, Epoch(1));
    // A kind unknown to the programs of these rules is skipped.
    let lead = leads(&old, 2, 0);
    old.seal_body(lead, begin(2, 0, 1));
    assert_eq!(group(&old).refreshes, None);
    let mut new = network(4);
    let refused = EntryError::NotAllowed(machine(FOUR[0]));
    assert_eq!(new.refusal(FOUR[0], advance(1)), refused);
}

/// With (8, 3, 4) two may be absent; they have to rebuild what belongs in their slots.
#[test]
fn few_may_be_absent_from_version_6_on() {
    for version in [5, 6] {
        let mut network = network_of(version, 8);
        let (lead, all) = (leads(&network, 1, 0), holders(&network));
        network.seal_body(lead, begin(1, 0, 7));
        network.seal_body(lead, seal(1, 0));
        network.seal(Vec::new());
        let end_without = |network: &Consortium, absent: &[usize]| {
            let present = (0..8).filter(|index| !absent.contains(index));
            let by: Vec<u8> = present.map(|index| all[index]).collect();
            let Body::RefreshEnd(end) = end(network, 1, 0, ROOT, &by) else { unreachable!() };
            let slots = absent.iter().map(|index| Slot::all(8).nth(*index).unwrap());
            Body::RefreshEnd(RefreshEnd { absent: Some(slots.collect()), ..end })
        };
        let no = EntryError::NoRefresh { group: GROUP, attempt: 0 };
        let mut bad = vec![end_without(&network, &[]), end_without(&network, &[1, 4, 6])];
        bad.push(end_without(&network, &[4, 1]));
        let Body::RefreshEnd(mut unsigned) = end_without(&network, &[1, 4]) else { unreachable!() };
        unsigned.absent = Slot::all(8).nth(1).map(|slot| vec![slot]);
        bad.push(Body::RefreshEnd(unsigned));
        for body in bad {
            assert_eq!(network.refusal(lead, body), no);
        }
        let ended = end_without(&network, &[1, 4]);
        if version == 5 {
            assert_eq!(network.refusal(lead, ended), no);
            continue;
        }
        network.seal_body(lead, ended);
        let now = group(&network);
        let filling = (0..8).filter(|index| now.holders[*index].is_filling());
        assert_eq!((now.epoch, filling.collect::<Vec<_>>()), (Epoch(1), vec![1, 4]));
    }
}
