//! Who is refused, and what the disks of too few nodes say.

use crate::virtual_network::{GROUP, VirtualNetwork, Written, code, key, slot};
use bytes::Bytes;
use ed25519_dalek::SigningKey;
use kakera_engine::code::CodeKind;
use kakera_engine::keyshare::{self, KeyParameters, ReadError};
use kakera_engine::names::{NetworkId, ObjectId};
use kakera_engine::policy::VIEW_AGE_MAX_MS;
use kakera_engine::signature::node_id;
use kakera_engine::wire::{
    Inventory, Operation, RefusalKind, Request, RequestError, Response, Session, Store, Symbols,
    VouchedDescriptor,
};

fn network() -> VirtualNetwork {
    let key = KeyParameters::new(5, 3, 4).unwrap();
    VirtualNetwork::new(1, (code(CodeKind::Mbr, 5, 3, 4), key))
}

fn refusal(response: Response) -> RefusalKind {
    match response {
        Response::Refused(refusal) => refusal.kind,
        other => panic!("not refused: {other:?}"),
    }
}

fn store(written: &Written, point: u8) -> (Operation, Bytes) {
    let index = slot(point).index();
    let object = VouchedDescriptor {
        descriptor: written.sealed.descriptor.encode(),
        authorisation: written.authorisation.clone(),
    };
    let share = written.sealed.shares[index].clone();
    let body = written.sealed.fragments[index].clone().into();
    (Operation::Store(Box::new(Store { object, share })), body)
}

/// What the newcomer of slot 1 asks of slot 2.
fn repair_questions(network: &VirtualNetwork, object: ObjectId) -> [Operation; 3] {
    let part = network.part(2, object);
    let (group, lost) = (GROUP, slot(1));
    [
        Operation::Inventory(Inventory { group, slot: part.slot, lost, after: None, limit: 10 }),
        Operation::Symbols(Symbols { part, lost, describe: true }),
        Operation::Witness { part, lost },
    ]
}

#[test]
fn a_helper_answers_the_current_holder_only() {
    let mut network = network();
    let object = network.stored(100).sealed.object_id;
    let holder = network.at(1).key.clone();
    let another = network.at(3).key.clone();
    for asker in [another, network.client(), key(99)] {
        for question in repair_questions(&network, object) {
            assert_eq!(refusal(network.ask(&asker, 2, question)), RefusalKind::Denied);
        }
    }
    for question in repair_questions(&network, object) {
        assert!(!matches!(network.ask(&holder, 2, question), Response::Refused(_)));
    }
    network.reassign(1);
    for question in repair_questions(&network, object) {
        assert_eq!(refusal(network.ask(&holder, 2, question)), RefusalKind::Denied);
    }
}

#[test]
fn a_read_needs_the_read_key() {
    let mut network = network();
    let written = network.stored(100);
    let right = std::mem::replace(
        &mut network.root,
        kakera_engine::seal::VaultRoot::from_bytes(zeroize::Zeroizing::new([1; 32])),
    );
    let error = network.get(&written, None).0.err().unwrap();
    assert!(error.to_string().contains("the object's read key must sign"), "{error}");
    network.root = right;
    assert!(network.get(&written, None).0.is_ok());
}

#[test]
fn a_stale_view_refuses_stores_and_repairs_and_serves_reads() {
    let mut network = network();
    let written = network.stored(100);
    let object = written.sealed.object_id;
    let holder = network.at(1).key.clone();
    network.now += std::time::Duration::from_millis(VIEW_AGE_MAX_MS + 1);
    for question in repair_questions(&network, object) {
        assert_eq!(refusal(network.ask(&holder, 2, question)), RefusalKind::Unavailable);
    }
    let (question, body) = store(&written, 1);
    let response = network.ask_with_body(&network.client(), 1, question, body);
    assert_eq!(refusal(response), RefusalKind::Unavailable);
    assert!(network.get(&written, None).0.is_ok());
    network.view.attested_at = network.unix();
    assert!(!matches!(
        network.ask(&holder, 2, repair_questions(&network, object).into_iter().nth(1).unwrap()),
        Response::Refused(_)
    ));
}

#[test]
fn a_store_must_be_vouched_for_fit_and_be_whole() {
    let mut network = network();
    let written = network.write(100);
    let client = network.client();
    let (question, body) = store(&written, 1);
    let try_store = |network: &mut VirtualNetwork, asker: &SigningKey, question, body| {
        refusal(network.ask_with_body(asker, 1, question, body))
    };
    // by another than the submitter, and by nobody
    let other = network.at(2).key.clone();
    for asker in [other, key(99)] {
        let (question, body) = store(&written, 1);
        assert_eq!(try_store(&mut network, &asker, question, body), RefusalKind::Denied);
    }
    // another slot's part
    let (other_slot, other_body) = store(&written, 2);
    assert_eq!(try_store(&mut network, &client, other_slot, other_body), RefusalKind::Denied);
    // a fragment of another slot, a cut one
    for body in [written.sealed.fragments[1].clone().into(), body.slice(1..)] {
        let (question, _) = store(&written, 1);
        assert_eq!(try_store(&mut network, &client, question, body), RefusalKind::Invalid);
    }
    // a signature for another object
    let mut forged = network.write(100);
    forged.authorisation = written.authorisation.clone();
    let (forged, forged_body) = store(&forged, 1);
    assert_eq!(try_store(&mut network, &client, forged, forged_body), RefusalKind::Invalid);
    assert!(network.at(1).disk.parts.is_empty());
    let response = network.ask_with_body(&client, 1, question, body);
    assert!(matches!(response, Response::Stored(_)));
}

#[test]
fn a_request_is_good_once_here_and_now() {
    const NOW: u64 = 1_000_000;
    let (author, receiver) = (node_id(&key(1)), node_id(&key(2)));
    let session = Session { network: NetworkId([3; 32]), author, receiver, exporter: [4; 32] };
    let capability = key(5);
    let encode =
        |deadline| Request::encode(&Operation::Status, &session, deadline, Some(&capability));
    let good = encode(NOW + 1000);
    let request = Request::verify(&good, &session, NOW).unwrap();
    assert_eq!(request.author, author);
    assert_eq!(request.capability, Some(node_id(&key(5)).0));

    let other = Session { network: NetworkId([9; 32]), ..session };
    let error = Request::verify(&good, &other, NOW).err();
    assert_eq!(error, Some(RequestError::OtherNetwork(session.network)));
    for elsewhere in [
        Session { author: node_id(&key(9)), ..session },
        Session { receiver: node_id(&key(9)), ..session },
        Session { exporter: [9; 32], ..session },
    ] {
        let error = Request::verify(&good, &elsewhere, NOW).err();
        assert_eq!(error, Some(RequestError::Capability));
    }
    for (deadline, fits) in [
        (NOW - 1, false),
        (NOW, true),
        (NOW + 120_000, true),
        (NOW + 120_001, false),
        (u64::MAX, false),
    ] {
        let outcome = Request::verify(&encode(deadline), &session, NOW);
        assert_eq!(outcome.err(), (!fits).then_some(RequestError::Deadline), "{deadline}");
    }
    // another key or a later deadline under this signature
    let replace = |from: &[u8], to: &[u8]| {
        let at = good.windows(from.len()).position(|window| window == from).unwrap();
        let mut forged = good.clone();
        forged[at..at + from.len()].copy_from_slice(to);
        forged
    };
    for forged in [
        replace(&node_id(&key(5)).0, &node_id(&key(9)).0),
        replace(&(NOW as u32 + 1000).to_be_bytes(), &(NOW as u32 + 1001).to_be_bytes()),
    ] {
        let error = Request::verify(&forged, &session, NOW).err();
        assert_eq!(error, Some(RequestError::Capability));
    }
}

/// Everything that k_key - 1 nodes have on their disks does not give V: their read parts are one
/// short, and with a guessed k-th part every V is possible, each by exactly one guess. The proof
/// for all they can compute is in `spec/keyshare.md` §5, the exhaustive count in `keyshare`'s tests.
#[test]
fn the_disks_below_the_key_threshold_do_not_give_the_key() {
    let mut network = network();
    let written = network.stored(1000);
    let descriptor = &written.sealed.descriptor;
    let binding = descriptor.binding();
    let kept: Vec<_> = (1..=2)
        .map(|point| {
            let part = network.part(point, written.sealed.object_id);
            network.at(point).disk.parts[&part].clone()
        })
        .collect();
    let parts: Vec<_> = kept.iter().map(|kept| kept.share.prove_part(&binding)).collect();
    let error = keyshare::read(&binding, &descriptor.rows, &parts).err();
    assert_eq!(error, Some(ReadError::Missing { missing: 1, liars: Default::default() }));

    let mut first_bytes = std::collections::BTreeSet::new();
    for guess in 0..=255 {
        let guess = keyshare::Symbol::from([guess; 32]);
        let mut points: Vec<_> = parts.iter().map(|part| (part.slot(), part.part())).collect();
        points.push((slot(3), &guess));
        let (secret, _) = keyshare::read_robust(descriptor.key, &points).unwrap();
        first_bytes.insert(secret.expose()[0]);
    }
    assert_eq!(first_bytes.len(), 256, "every value of the first byte of V is possible");
    // nor is it there in clear
    for kept in kept {
        let stored = minicbor::to_vec(&kept.share).unwrap();
        for bytes in [&stored[..], &kept.object.descriptor, &kept.fragment] {
            assert!(bytes.windows(32).all(|window| window != written.secret));
        }
    }
}
