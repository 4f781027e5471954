//! The formats of messages: frozen by hashes, and closed to everything else.

use crate::virtual_network::{VirtualNetwork, code, key, slot};
use kakera_engine::code::{CodeKind, CodeParameters};
use kakera_engine::hash::hash;
use kakera_engine::keyshare::{Coverage, KeyParameters, RenewedRows};
use kakera_engine::ledger::{
    Body, Chain, Entry, GroupCreate, HeadAttestation, Inclusion, Log, Prefix, SaltedEntry,
    Snapshot, StateKey, Upgrade,
};
use kakera_engine::names::{Epoch, GroupId, NetworkId, ObjectId};
use kakera_engine::object::GroupHashes;
use kakera_engine::signature::{Signature, node_id};
use kakera_engine::wire::canonical::{self, CanonicalError};
use kakera_engine::wire::{
    Authorisation, BlockForm, DestructionReceipt, GroupRange, HEADER_LEN_MAX, Inventory,
    InventoryPage, InventorySummary, MisfitProof, NodeStatus, Operation, Orders, OrdersPage,
    PartReference, Read, Receipt, RefreshPlace, RefreshStage, RefreshStep, Refusal, RefusalKind,
    RenewedShare, RepairProgress, RepairTotals, Request, RequestError, Response, Session, Shred,
    ShredOrder, Store, Symbols, TEXT_LEN_MAX, VouchedDescriptor, WIRE_VERSION,
};
use minicbor::{Decode, Encode};
use proptest::prelude::*;

const NETWORK: NetworkId = NetworkId([3; 32]);
const NOW: u64 = 1_000_000;

fn part() -> PartReference {
    PartReference { group: GroupId(7), slot: slot(2), object: ObjectId([8; 32]) }
}

fn session() -> Session {
    let (author, receiver) = (node_id(&key(1)), node_id(&key(2)));
    Session { network: NETWORK, author, receiver, exporter: [4; 32] }
}

/// An object's descriptor, shares and submitter's word: the same in every run.
fn stored() -> (VouchedDescriptor, kakera_engine::keyshare::Share, kakera_engine::object::Descriptor)
{
    let codes: (CodeParameters, KeyParameters) =
        (code(CodeKind::Mbr, 3, 2, 2), KeyParameters::new(3, 2, 2).unwrap());
    let written = VirtualNetwork::new(1, codes).write(100);
    let object = VouchedDescriptor {
        descriptor: written.sealed.descriptor.encode(),
        authorisation: Authorisation::sign(&NETWORK, &written.sealed.object_id, &key(1)),
    };
    (object, written.sealed.shares[0].clone(), written.sealed.descriptor)
}

fn place() -> RefreshPlace {
    RefreshPlace { group: GroupId(7), epoch: Epoch(3), attempt: 1, slot: slot(2) }
}

fn order() -> ShredOrder {
    let (object, _, descriptor) = stored();
    ShredOrder::sign(&NETWORK, object, &descriptor.object_id(), &key(3))
}

fn operations() -> Vec<(&'static str, Operation)> {
    let (object, share, _) = stored();
    let groups = Some(GroupRange { first: 1, count: 2 });
    let body = Body::GroupCreate(GroupCreate {
        code: code(CodeKind::Mbr, 3, 2, 2),
        key: KeyParameters::new(3, 2, 2).unwrap(),
    });
    let entry = Entry::sign(&NETWORK, &key(1), 1, body);
    let after = Some(ObjectId([9; 32]));
    let posted = entry.clone();
    vec![
        ("store", Operation::Store(Box::new(Store { object, share }))),
        ("read", Operation::Read(Read { part: part(), groups, descriptor: true, key_part: false })),
        (
            "inventory",
            Operation::Inventory(Inventory {
                group: GroupId(7),
                slot: slot(2),
                lost: slot(1),
                after,
                limit: 1000,
            }),
        ),
        ("symbols", Operation::Symbols(Symbols { part: part(), lost: slot(1), describe: true })),
        ("witness", Operation::Witness { part: part(), lost: slot(1) }),
        ("misfit", Operation::Misfit { part: part(), auditor: slot(1) }),
        ("repair", Operation::Repair { group: GroupId(7), slot: slot(1) }),
        ("status", Operation::Status),
        ("submit", Operation::Submit(Box::new(entry))),
        ("head", Operation::Head { nonce: [6; 32] }),
        ("prove", Operation::Prove(vec![StateKey::Counts, StateKey::Group(GroupId(7))])),
        ("follow", Operation::Follow { from: 5, acknowledged: None, form: None }),
        (
            "follow compact",
            Operation::Follow { from: 5, acknowledged: None, form: Some(BlockForm::Compact) },
        ),
        ("set changes", Operation::SetChanges { after: 5 }),
        ("snapshot", Operation::Snapshot),
        ("snapshot chunk", Operation::SnapshotChunk { height: 5, within: Prefix::ROOT }),
        ("confer", Operation::Confer { head: 5 }),
        ("consult", Operation::Consult { keys: vec![StateKey::Counts], from: 5, nonce: [6; 32] }),
        ("post", Operation::Post(Box::new(posted))),
        (
            "renewed symbols",
            Operation::RenewedSymbols(Symbols { part: part(), lost: slot(1), describe: true }),
        ),
        (
            "pair symbols",
            Operation::PairSymbols(Symbols { part: part(), lost: slot(1), describe: true }),
        ),
        ("list shares", Operation::ListShares { group: GroupId(7), slot: slot(1) }),
        ("refresh", Operation::Refresh(RefreshStep { place: place(), stage: RefreshStage::Check })),
        ("deal", Operation::Deal { place: place(), dealer: slot(1) }),
        ("shred", Operation::Shred(Box::new(Shred { slot: slot(2), order: order() }))),
        (
            "orders",
            Operation::Orders(Orders {
                group: GroupId(7),
                slot: slot(2),
                known: InventorySummary::of(&[ObjectId([1; 32])]),
                after,
            }),
        ),
    ]
}

fn responses() -> Vec<(&'static str, Response)> {
    let (object, share, descriptor) = stored();
    let binding = descriptor.binding();
    let codes = (descriptor.code, descriptor.key);
    let genesis = VirtualNetwork::new(1, codes).genesis();
    let head = genesis.head();
    let snapshot = Snapshot::of(&Chain::new(genesis).unwrap()).base().clone();
    let attestation = HeadAttestation::sign(&head.header, [6; 32], NOW, &key(1));
    let body = Body::Upgrade(Upgrade { version: 2 });
    let entry = SaltedEntry { salt: [5; 16], entry: Entry::sign(&NETWORK, &key(1), 1, body) };
    let mut log = Log::default();
    log.append(entry.leaf());
    let inclusion = Inclusion { head: head.clone(), salt: [5; 16], proof: log.prove(0).unwrap() };
    let consulted =
        Response::Consulted { head: Box::new(head.clone()), attestation: attestation.clone() };
    let progress = RepairProgress {
        finished: true,
        objects_found: 1,
        liars: vec![node_id(&key(9))],
        last_failure: Some("no".into()),
        ..RepairProgress::default()
    };
    let status = NodeStatus {
        version: "0.1.0".into(),
        objects: 1,
        bytes: 2,
        quota: 3,
        height: 4,
        suspects: None,
        repairs: None,
    };
    let totals = RepairTotals {
        running: 1,
        fragment_bytes: 2,
        symbol_bytes: 3,
        symbol_bytes_theory: 4,
        reed_solomon_bytes: 5,
        witness_bytes: 6,
    };
    let told = NodeStatus { repairs: Some(totals), ..status.clone() };
    let of = (descriptor.key, Epoch(3));
    let objects = [(descriptor.object_id(), descriptor.salt)];
    let covered = (descriptor.rows.clone(), Coverage::default());
    let (_, mut rows) = RenewedRows::batch(of, &objects, vec![Some(covered)]);
    let rows = rows.remove(0).unwrap();
    let renewed_read = Response::Read {
        descriptor: None,
        key_part: None,
        hashes: None,
        renewed: Some(Box::new(RenewedShare { share: share.clone(), rows: rows.clone() })),
    };
    let renewed_symbols = Response::RenewedSymbols {
        key_symbol: share.prove_symbol(&binding, slot(2)).unwrap(),
        epoch: Epoch(3),
        signature: Signature::sign(&key(2), "symbols", &[]),
        object: Some(object.clone()),
        rows: Some(Box::new(rows)),
    };
    vec![
        ("refused", Response::Refused(Refusal::new(RefusalKind::Damaged, "it is damaged"))),
        ("stored", Response::Stored(Receipt::sign(&NETWORK, part(), Epoch(0), &key(2)))),
        (
            "read",
            Response::Read {
                descriptor: Some(object.descriptor.clone()),
                key_part: Some(share.prove_part(&binding)),
                hashes: Some(GroupHashes::of(&[1; 40_000])),
                renewed: None,
            },
        ),
        ("inventory", Response::Inventory),
        (
            "symbols",
            Response::Symbols {
                key_symbol: share.prove_symbol(&binding, slot(2)).unwrap(),
                signature: Signature::sign(&key(2), "symbols", &[]),
                object: Some(object),
            },
        ),
        ("witness", Response::Witness),
        ("misfit", Response::Misfit),
        ("repair", Response::Repair(progress)),
        ("status", Response::Status(status)),
        ("status with repairs", Response::Status(told)),
        ("submitted", Response::Submitted { height: 1, index: 2 }),
        ("head", Response::Head { head: Box::new(head), attestation }),
        ("proven", Response::Proven { height: 9 }),
        ("blocks", Response::Blocks { head: 9 }),
        ("set changes", Response::SetChanges { more: true }),
        ("snapshot", Response::Snapshot(Box::new(snapshot))),
        ("snapshot chunk", Response::SnapshotChunk),
        ("conferred", Response::Conferred { head: 9 }),
        ("consulted", consulted),
        ("posted", Response::Posted { height: 9, inclusion: Box::new(inclusion) }),
        ("renewed read", renewed_read),
        ("renewed symbols", renewed_symbols),
        ("shares", Response::Shares),
        ("refreshed", Response::Refreshed),
        ("rows taken", Response::RowsTaken),
        (
            "shredded",
            Response::Shredded(DestructionReceipt::sign(&NETWORK, part(), Epoch(3), &key(2))),
        ),
        ("orders", Response::Orders),
    ]
}

fn digest(bytes: &[u8]) -> String {
    hash("test", &[bytes])[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn assert_frozen(found: Vec<(&str, String)>, frozen: &[(&str, &str)]) {
    let found: Vec<(&str, &str)> = found.iter().map(|(name, hash)| (*name, &hash[..])).collect();
    assert!(found == frozen, "a format changed; if it was meant, bump its version:\n{found:#?}");
}

#[test]
fn operations_are_frozen() {
    let found = operations().into_iter().map(|(name, operation)| {
        let bytes = canonical::encode(&operation);
        let again: Operation = canonical::decode(&bytes, HEADER_LEN_MAX).unwrap();
        assert_eq!(canonical::encode(&again), bytes);
        (name, digest(&bytes))
    });
    assert_frozen(found.collect(), &OPERATIONS);
}

#[test]
fn responses_are_frozen() {
    let found = responses().into_iter().map(|(name, response)| {
        let bytes = response.to_header();
        assert_eq!(Response::from_header(&bytes).unwrap().to_header(), bytes);
        (name, digest(&bytes))
    });
    assert_frozen(found.collect(), &RESPONSES);
}

#[test]
fn requests_and_pages_are_frozen() {
    let capability = key(5);
    let encode = |capability| Request::encode(&Operation::Status, &session(), NOW, capability);
    let page = InventoryPage { objects: vec![ObjectId([1; 32]), ObjectId([2; 32])], more: true };
    let orders = OrdersPage { orders: vec![order()], more_after: Some(ObjectId([2; 32])) };
    let (_, share, descriptor) = stored();
    let symbol = share.prove_symbol(&descriptor.binding(), slot(2)).unwrap();
    let of_share = MisfitProof::Share(vec![symbol]);
    let of_fragment = MisfitProof::Fragment(vec![slot(1), slot(3)]);
    for proof in [&of_share, &of_fragment] {
        assert_closed::<MisfitProof>(&canonical::encode(proof));
    }
    let found = vec![
        ("request", digest(&encode(None))),
        ("request with capability", digest(&encode(Some(&capability)))),
        ("inventory page", digest(&canonical::encode(&page))),
        ("orders page", digest(&canonical::encode(&orders))),
        ("misfit of a share", digest(&canonical::encode(&of_share))),
        ("misfit of a fragment", digest(&canonical::encode(&of_fragment))),
    ];
    assert_frozen(found, &OTHERS);
}

/// A decoder is total: it accepts the encoding of a value and nothing else.
fn assert_closed<T: Encode<()> + for<'b> Decode<'b, ()>>(bytes: &[u8]) {
    for cut in 0..bytes.len() {
        assert!(canonical::decode::<T>(&bytes[..cut], HEADER_LEN_MAX).is_err());
    }
    let longer = [bytes, &[0]].concat();
    let error = canonical::decode::<T>(&longer, HEADER_LEN_MAX).err();
    assert_eq!(error, Some(CanonicalError::Trailing(1)));
    let (length, limit) = (bytes.len(), bytes.len() - 1);
    let error = canonical::decode::<T>(bytes, limit).err();
    assert_eq!(error, Some(CanonicalError::TooLong { length, limit }));
    for place in 0..bytes.len() {
        for bit in 0..8 {
            let mut other = bytes.to_vec();
            other[place] ^= 1 << bit;
            if let Ok(value) = canonical::decode::<T>(&other, HEADER_LEN_MAX) {
                assert_eq!(canonical::encode(&value), other, "one value, one encoding");
            }
        }
    }
}

#[test]
fn every_message_has_one_encoding() {
    for (_, operation) in operations() {
        assert_closed::<Operation>(&canonical::encode(&operation));
    }
    for (_, response) in responses() {
        assert_closed::<Response>(&response.to_header());
    }
}

#[test]
fn forms_that_are_not_canonical_are_refused() {
    assert_eq!(canonical::encode(&Operation::Status), [0x82, 0x06, 0x80]);
    // as an indefinite array, with a long integer, with a field too many
    for other in
        [&[0x9f, 0x06, 0x80, 0xff][..], &[0x82, 0x18, 0x06, 0x80], &[0x82, 0x06, 0x81, 0xf6]]
    {
        assert!(canonical::decode::<Operation>(other, 99).is_err(), "{other:x?}");
    }
    // an operation and a response that do not exist
    for unknown in [&[0x82, 0x0b, 0x80][..], &[0x82, 0x18, 0x63, 0x80]] {
        assert!(matches!(
            canonical::decode::<Operation>(unknown, 99),
            Err(CanonicalError::Malformed(_))
        ));
    }
    assert!(Response::from_header(&[0x82, 0x0c, 0x80]).is_err());
}

#[test]
fn unknown_versions_are_told() {
    let mut request = Request::encode(&Operation::Status, &session(), NOW, None);
    assert_eq!(request[1], WIRE_VERSION, "the version is the first field");
    request[1] = WIRE_VERSION + 1;
    let error = Request::verify(&request, &session(), NOW).err();
    assert_eq!(error, Some(RequestError::UnknownVersion(WIRE_VERSION + 1)));
}

/// Builds requests as `spec/wire.md` says, by another way than `Request::encode`.
fn request(operation: &[u8]) -> Vec<u8> {
    let Session { network, author, receiver, exporter } = session();
    let deadline = NOW.to_be_bytes();
    let parts = [&network.0[..], &receiver.0, &exporter, &author.0, &deadline, operation];
    let signature = Signature::sign(&key(5), "request", &parts);
    let capability = (node_id(&key(5)), signature);
    let operation = minicbor::bytes::ByteVec::from(operation.to_vec());
    minicbor::to_vec((WIRE_VERSION, network, NOW, operation, capability)).unwrap()
}

#[test]
fn a_capability_does_not_excuse_a_malformed_operation() {
    let good = request(&canonical::encode(&Operation::Status));
    assert!(Request::verify(&good, &session(), NOW).is_ok());
    for operation in [&[][..], &[0x82, 0x0b, 0x80], &[0x82, 0x06, 0x80, 0x00]] {
        let error = Request::verify(&request(operation), &session(), NOW).err();
        assert!(matches!(error, Some(RequestError::Malformed(_))), "{operation:x?}: {error:?}");
    }
    let too_long = vec![0; HEADER_LEN_MAX + 1];
    let error = Request::verify(&too_long, &session(), NOW).err();
    let expected = CanonicalError::TooLong { length: HEADER_LEN_MAX + 1, limit: HEADER_LEN_MAX };
    assert_eq!(error, Some(RequestError::Malformed(expected)));
}

#[test]
fn texts_of_peers_are_short_and_harmless() {
    let refused = |message: String| {
        Response::from_header(
            &Response::Refused(Refusal { kind: RefusalKind::Full, message }).to_header(),
        )
    };
    assert!(refused("満杯".into()).is_ok());
    assert!(refused("a".repeat(TEXT_LEN_MAX)).is_ok());
    assert!(matches!(refused("a".repeat(TEXT_LEN_MAX + 1)), Err(CanonicalError::TooLong { .. })));
    for control in ["\u{1b}[2J", "a\nb", "\u{9b}"] {
        assert!(matches!(refused(control.into()), Err(CanonicalError::Malformed(_))));
    }
    let made = Refusal::new(RefusalKind::Full, "満\n".repeat(400));
    assert!(made.message.len() <= TEXT_LEN_MAX && made.message.starts_with("満 満"));
}

#[test]
fn nothing_secret_is_printed() {
    let (_, share, descriptor) = stored();
    let symbol = share.pair_symbol(slot(2));
    let secrets: Vec<String> =
        [*symbol.expose(), *share.prove_part(&descriptor.binding()).part().expose()]
            .iter()
            .map(|bytes| format!("{}, {}, {}", bytes[0], bytes[1], bytes[2]))
            .collect();
    for text in operations()
        .iter()
        .map(|(_, operation)| format!("{operation:?}"))
        .chain(responses().iter().map(|(_, response)| format!("{response:?}")))
    {
        assert!(secrets.iter().all(|secret| !text.contains(secret.as_str())), "{text}");
    }
    assert!(format!("{:?}", operations()[0].1).contains("Symbol(secret)"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Request::verify(&bytes, &session(), NOW);
        let _ = Response::from_header(&bytes);
        let _ = canonical::decode::<Operation>(&bytes, HEADER_LEN_MAX);
        let _ = canonical::decode::<InventoryPage>(&bytes, HEADER_LEN_MAX);
    }

    /// Lengths of 2^64 - 1, deep nesting: refused without the memory they ask for.
    #[test]
    fn declared_lengths_are_not_believed(
        major in 2u8..6,
        length in any::<u64>(),
        depth in 1usize..20_000,
    ) {
        let mut bytes = vec![0x82, 0x09];
        bytes.push(major << 5 | 27);
        bytes.extend(length.max(1 << 20).to_be_bytes());
        prop_assert!(canonical::decode::<Operation>(&bytes, HEADER_LEN_MAX).is_err());
        prop_assert!(canonical::decode::<InventoryPage>(&bytes[2..], HEADER_LEN_MAX).is_err());
        prop_assert!(Response::from_header(&vec![0x81; depth]).is_err());
    }
}

const OPERATIONS: [(&str, &str); 26] = [
    ("store", "eb64f44aa7fe911b"),
    ("read", "6b46126729974da9"),
    ("inventory", "345604b3ea67908a"),
    ("symbols", "9e2ca785ef3eb579"),
    ("witness", "1cb4ea595a0fe50f"),
    ("misfit", "3aa2df0f53a71c7d"),
    ("repair", "751df2ea9f0788a0"),
    ("status", "d33a498f3ed7dcc5"),
    ("submit", "ca1fffb426dfa39c"),
    ("head", "a5cf20be81ed64e7"),
    ("prove", "fe45c89383a3b4cc"),
    ("follow", "53711f356a743f6c"),
    ("follow compact", "8038c5d369c90944"),
    ("set changes", "92ca65d33bb53a96"),
    ("snapshot", "547874885d0026bb"),
    ("snapshot chunk", "ff9f82e435186257"),
    ("confer", "c809e765c215abf6"),
    ("consult", "d97240bc5d493380"),
    ("post", "6f156ff8f4ce2405"),
    ("renewed symbols", "fef355526ec7c49e"),
    ("pair symbols", "56906db1eb09fdfe"),
    ("list shares", "ae48445cb7333131"),
    ("refresh", "17cf11c69f050a98"),
    ("deal", "e0133883cc1c168a"),
    ("shred", "670d205654cf3a53"),
    ("orders", "d2b13cf30e7ec91e"),
];
const RESPONSES: [(&str, &str); 27] = [
    ("refused", "d7304560ef79fcbb"),
    ("stored", "a500c57e7cc0847b"),
    ("read", "889375ea49170e1c"),
    ("inventory", "7c970f716833426d"),
    ("symbols", "5302cdaf0d31c054"),
    ("witness", "3ab9603e00f125b1"),
    ("misfit", "13de71187f488ab9"),
    ("repair", "6fa77b1a60da4200"),
    ("status", "2060958d24ffc2ff"),
    ("status with repairs", "1ba58ba782681f42"),
    ("submitted", "06eed06e72db89af"),
    ("head", "351ad2ca04d63fe3"),
    ("proven", "e006a42127cd53f1"),
    ("blocks", "b4b1f031944dac02"),
    ("set changes", "ce3eaa340e38df4c"),
    ("snapshot", "0fe7d030fd75534e"),
    ("snapshot chunk", "30ac821e2e60acff"),
    ("conferred", "3c3bc14c4b980354"),
    ("consulted", "c493c6e4607b242d"),
    ("posted", "3a308f73cf46e39b"),
    ("renewed read", "a0a798df899a7ac9"),
    ("renewed symbols", "f5f9964524a4deb7"),
    ("shares", "d79eaa9ed3c9a078"),
    ("refreshed", "f06d2a1ac3c8cfd2"),
    ("rows taken", "dd421077f2a8975d"),
    ("shredded", "166fe6eb0625fc1c"),
    ("orders", "c1e50455580fc131"),
];
const OTHERS: [(&str, &str); 6] = [
    ("request", "ef5c14881cc140d5"),
    ("request with capability", "3dcee578574c85e3"),
    ("inventory page", "982b408903763f71"),
    ("orders page", "08fa896d0d264699"),
    ("misfit of a share", "c0cea2cac91318c4"),
    ("misfit of a fragment", "52265533421c7af5"),
];
