//! Objects that their owner has destroyed, on the virtual network: everywhere, for ever, by nobody
//! else, and not before their time.

use std::time::Duration;

use crate::virtual_network::{GROUP, VirtualNetwork, Written, code, key, slot};
use kakera_engine::code::{CodeKind, CodeParameters};
use kakera_engine::keyshare::KeyParameters;
use kakera_engine::wire::{
    Operation, OrdersPage, Read, RefusalKind, Response, Shred, ShredOrder, Store,
    VouchedDescriptor, canonical,
};

/// n - k_key + 1 = 6 of 10.
fn mbr() -> (CodeParameters, KeyParameters) {
    (code(CodeKind::Mbr, 10, 5, 7), KeyParameters::new(10, 5, 6).unwrap())
}

fn small() -> (CodeParameters, KeyParameters) {
    (code(CodeKind::Mbr, 5, 3, 4), KeyParameters::new(5, 3, 4).unwrap())
}

fn refusal(response: Response) -> RefusalKind {
    match response {
        Response::Refused(refusal) => refusal.kind,
        other => panic!("not refused: {other:?}"),
    }
}

fn holds(network: &mut VirtualNetwork, point: u8, written: &Written) -> bool {
    let part = network.part(point, written.sealed.object_id);
    network.at(point).disk.parts.contains_key(&part)
}

fn replay(network: &mut VirtualNetwork, point: u8, written: &Written) -> Response {
    let index = slot(point).index();
    let object = VouchedDescriptor {
        descriptor: written.sealed.descriptor.encode(),
        authorisation: written.authorisation.clone(),
    };
    let store = Store { object, share: written.sealed.shares[index].clone() };
    let body = written.sealed.fragments[index].clone().into();
    network.ask_with_body(&network.client(), point, Operation::Store(Box::new(store)), body)
}

#[test]
fn all_holders_destroy_it_and_sign_again_whenever_they_are_asked() {
    let mut network = VirtualNetwork::new(1, mbr());
    let (written, other) = (network.stored(20_000), network.stored(20_000));
    for _ in 0..2 {
        let report = network.shred(&written);
        assert_eq!((report.needed, report.slots.len(), report.receipts.len()), (6, 10, 10));
        assert!(report.is_enough() && report.missing.is_empty());
        assert!(report.receipts.iter().all(|receipt| receipt.verify(&network.id())));
        assert!((1..=10).all(|point| !holds(&mut network, point, &written)));
    }
    let error = network.get(&written, None).0.err().unwrap().to_string();
    assert!(error.contains("destroyed at its owner's order"), "{error}");
    assert!(network.get(&other, None).0.is_ok());
    // Neither a replay of the put nor a repair brings it back.
    for point in 1..=10 {
        assert_eq!(refusal(replay(&mut network, point, &written)), RefusalKind::NotFound);
    }
    network.at(1).disk.parts.clear();
    let repaired = network.repair(1);
    assert!(repaired.whole && repaired.progress.objects_held == 1);
    assert!(holds(&mut network, 1, &other) && !holds(&mut network, 1, &written));
}

#[test]
fn holders_that_were_away_hear_of_it_and_bring_nothing_back() {
    let mut network = VirtualNetwork::new(2, mbr());
    let written = network.stored(20_000);
    network.down(6..=10);
    let report = network.shred(&written);
    assert_eq!((report.needed, report.slots.len(), report.is_enough()), (6, 5, false));
    let missing: Vec<u8> = report.missing.iter().map(|(member, _)| member.slot.point()).collect();
    assert_eq!(missing, [6, 7, 8, 9, 10]);
    assert!(report.missing.iter().all(|(_, why)| why == "unreachable"));
    // They come back with their parts, and one that followed lost its disk with the tombstone.
    (6..=10).for_each(|point| network.at(point).up = true);
    network.at(1).disk.parts.clear();
    network.at(1).disk.orders.clear();
    assert!((6..=10).all(|point| holds(&mut network, point, &written)));
    for point in [1, 6, 7, 8, 9, 10] {
        assert_eq!(network.gather(point), 1);
        assert_eq!(network.gather(point), 0, "what is known is not sent again");
        assert!(!holds(&mut network, point, &written));
        let repaired = network.repair(point);
        assert!(repaired.whole && repaired.parts.is_empty() && repaired.faults.is_empty());
    }
    let report = network.shred(&written);
    assert_eq!((report.slots.len(), report.missing.len()), (10, 0));
}

#[test]
fn lost_answers_and_a_crash_after_the_tombstone_do_no_harm() {
    let mut network = VirtualNetwork::new(9, small());
    let written = network.stored(20_000);
    network.plan.loss_percent = 30;
    network.at(2).disk.stops_after_order = true;
    let report = network.shred(&written);
    assert!(report.is_enough(), "{report:?}");
    assert!(network.fired("loss") > 0);
    network.plan.loss_percent = 0;

    // The power goes between the tombstone and the erasure; the next start finishes it.
    let written = network.stored(20_000);
    network.at(3).disk.stops_after_order = true;
    let question = network.shred_question(&written, 3);
    let client = network.client();
    assert_eq!(refusal(network.ask(&client, 3, question)), RefusalKind::Unavailable);
    assert!(holds(&mut network, 3, &written));
    network.at(3).disk.reopen();
    assert!(!holds(&mut network, 3, &written));
    assert_eq!(refusal(replay(&mut network, 3, &written)), RefusalKind::NotFound);
    // The others hear of it from this one alone.
    assert_eq!(network.gather(4), 1);
    assert!(!holds(&mut network, 4, &written));
}

#[test]
fn nobody_but_the_owner_has_it_destroyed() {
    let mut network = VirtualNetwork::new(4, small());
    let written = network.stored(100);
    let object = written.sealed.object_id;
    let (client, holder) = (network.client(), network.at(1).key.clone());
    let vouched = network.order(&written).object;
    // Signed by whoever has the read key, for another network, for another object.
    let other = network.write(100);
    let read_key = network.root.read_key(&written.sealed.descriptor.salt);
    let write_key = network.root.write_key(&written.sealed.descriptor.salt);
    let foreign = kakera_engine::names::NetworkId([9; 32]);
    let false_orders = [
        ShredOrder::sign(&network.id(), vouched.clone(), &object, &read_key),
        ShredOrder::sign(&foreign, vouched.clone(), &object, &write_key),
        ShredOrder::sign(&network.id(), vouched, &other.sealed.object_id, &write_key),
    ];
    for order in false_orders {
        let question = Operation::Shred(Box::new(Shred { slot: slot(1), order }));
        assert_eq!(refusal(network.ask(&client, 1, question)), RefusalKind::Denied);
    }
    // The order of the owner, brought by another than the submitter that vouches for it.
    for asker in [&holder, &key(99)] {
        let question = network.shred_question(&written, 1);
        assert_eq!(refusal(network.ask(asker, 1, question)), RefusalKind::Denied);
    }
    // A slot that the receiver does not hold.
    let question = network.shred_question(&written, 2);
    assert_eq!(refusal(network.ask(&client, 1, question)), RefusalKind::Denied);
    assert!((1..=5).all(|point| holds(&mut network, point, &written)));
    assert!(network.get(&written, None).0.is_ok());
    // Orders are passed on among the holders only.
    network.shred(&written);
    assert!(matches!(network.ask(&holder, 2, network.orders_question(1)), Response::Orders));
    for asker in [client, key(99)] {
        let question = network.orders_question(1);
        assert_eq!(refusal(network.ask(&asker, 2, question)), RefusalKind::Denied);
    }
}

#[test]
fn of_a_destroyed_object_only_the_description_is_left_and_only_for_readers() {
    let mut network = VirtualNetwork::new(5, small());
    let written = network.stored(100);
    network.shred(&written);
    let part = network.part(1, written.sealed.object_id);
    let question = Operation::Read(Read::description(part));
    // Asked without the read key.
    assert_eq!(refusal(network.ask(&network.client(), 1, question)), RefusalKind::Denied);
}

#[test]
fn it_is_kept_until_its_date_whoever_passes_the_order_on() {
    let mut network = VirtualNetwork::new(6, small());
    let date = network.unix() / 1000 + 3600;
    network.retain_until = Some(date);
    let written = network.stored(100);
    let report = network.shred(&written);
    assert_eq!((report.slots.len(), report.missing.len()), (0, 5));
    let text = format!("must be kept until {date}");
    assert!(report.missing.iter().all(|(_, why)| why.contains(&text)), "{report:?}");
    // A holder whose clock is ahead destroys it; the others do not believe it.
    let order = network.order(&written);
    network.at(1).disk.shred(GROUP, written.sealed.object_id, order);
    assert_eq!(network.gather(2), 0);
    assert!(holds(&mut network, 2, &written));
    network.now += Duration::from_secs(3600);
    network.view.attested_at = network.unix();
    assert_eq!(network.gather(2), 1);
    assert!(network.shred(&written).is_enough());
}

#[test]
fn who_left_a_slot_is_asked_too() {
    let mut network = VirtualNetwork::new(7, small());
    let written = network.stored(100);
    let left = network.members()[0].node;
    network.reassign(1);
    network.repair(1);
    assert!(holds(&mut network, 1, &written));
    network.nodes.get_mut(&left).unwrap().up = false;
    let report = network.shred(&written);
    // The slot does not count while one who knows its share has not signed.
    assert_eq!((report.slots.len(), report.receipts.len()), (4, 5));
    assert_eq!(report.missing[0].0.node, left);
    network.nodes.get_mut(&left).unwrap().up = true;
    let report = network.shred(&written);
    assert_eq!((report.slots.len(), report.receipts.len()), (5, 6));
    assert!(network.nodes[&left].disk.parts.is_empty());
}

#[test]
fn many_orders_come_in_pages() {
    let mut network = VirtualNetwork::new(8, small());
    let written = network.write(10);
    // The page does not look at what it passes on.
    for number in 0..300_u16 {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&number.to_be_bytes());
        let order = network.order(&written);
        network.at(2).disk.orders.insert((GROUP, kakera_engine::names::ObjectId(id)), order);
    }
    let holder = network.at(1).key.clone();
    let question = network.orders_question(1);
    let to = network.members()[1];
    let ask = kakera_engine::peer::Ask {
        id: 0,
        to,
        operation: question,
        body: bytes::Bytes::new(),
        timeout: Duration::from_secs(1),
    };
    let answer = network.send_now(&holder, ask).unwrap();
    let page: OrdersPage = canonical::decode(&answer.body, usize::MAX).unwrap();
    assert_eq!(page.orders.len(), 256);
    assert!(page.more_after.is_some());
    // One object, however often it is listed.
    assert_eq!(network.gather(1), 1);
}
