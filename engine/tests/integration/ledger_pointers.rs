//! Numbered pointers: each takes the place of the one before it under its tag.

use crate::ledger_network::{join, key};
use crate::ledger_validators::*;
use kakera_engine::hash::hash;
use kakera_engine::ledger::{
    Body, Entry, EntryError, Genesis, Pointer, PointerRetire, pointer_tag,
};
use kakera_engine::names::NodeId;

/// With machines 10 and 11.
fn network() -> Consortium {
    let genesis = Genesis { pointers_per_author_max: 2, version: Some(9), ..genesis_of(&FOUR) };
    let mut network = Consortium::of(genesis);
    let joins = [10, 11].map(|number| network.say(FOUR[0], join(number, machine(number))));
    network.seal(joins.to_vec());
    network
}

fn numbered(network: &Consortium, owner: u8, number: u64, sealed: &[u8]) -> Pointer {
    Pointer::sign_numbered(&network.id(), &key(owner), number, sealed.to_vec())
}

fn body(network: &Consortium, owner: u8, number: u64, sealed: &[u8]) -> Body {
    Body::Pointer(numbered(network, owner, number, sealed))
}

/// Author, number and sealed body of each pointer under the owner's tag.
fn posted(network: &Consortium, owner: u8) -> Vec<(NodeId, Option<u64>, Option<Vec<u8>>)> {
    let tag = pointer_tag(&key(owner).verifying_key().to_bytes());
    let posted = network.chain.state().pointers(tag).into_iter();
    posted.map(|one| (one.author, one.number, one.pointer.map(|it| it.sealed))).collect()
}

#[test]
fn a_tag_keeps_the_newest() {
    let mut network = network();
    for (author, number, sealed) in [(10, 0, b"a"), (10, 1, b"b"), (11, 5, b"c")] {
        let body = body(&network, 90, number, sealed);
        network.seal_body(author, body);
        let expected = (machine(author), Some(number), Some(sealed.to_vec()));
        assert_eq!(posted(&network, 90), [expected]);
    }
    for found in [4, 5] {
        let body = body(&network, 90, found, b"d");
        assert_eq!(network.refusal(10, body), EntryError::OldPointer { newest: 5, found });
    }
}

#[test]
fn nobody_posts_one_without_a_number_or_with_another() {
    let mut network = network();
    let single = Pointer::sign(&network.id(), &key(90), b"a".to_vec());
    assert_eq!(network.refusal(10, Body::Pointer(single)), EntryError::UnnumberedPointer);
    let raised = Pointer { number: Some(1), ..numbered(&network, 90, 0, b"a") };
    assert_eq!(network.refusal(10, Body::Pointer(raised)), EntryError::PointerSignature);

    let mut network = Consortium::of(Genesis { version: Some(8), ..genesis_of(&FOUR) });
    let early = body(&network, 90, 0, b"a");
    assert_eq!(network.refusal(FOUR[0], early), EntryError::NeedsVersion(9));
}

#[test]
fn each_author_pays_for_what_stands() {
    let mut network = network();
    let quota = EntryError::PointerQuota { author: machine(10), limit: 2 };
    for (author, owner, number) in [(10, 90, 0), (10, 90, 1), (10, 91, 0), (10, 91, 7)] {
        let body = body(&network, owner, number, b"a");
        network.seal_body(author, body);
    }
    let third = body(&network, 92, 0, b"a");
    assert_eq!(network.refusal(10, third.clone()), quota);
    // Who takes another's place pays instead of it.
    let taken = body(&network, 91, 8, b"b");
    network.seal_body(11, taken);
    network.seal_body(10, third);
    let fourth = body(&network, 91, 9, b"c");
    assert_eq!(network.refusal(10, fourth), quota);
}

#[test]
fn a_retired_pointer_is_not_posted_again_and_a_later_one_takes_its_place() {
    let mut network = network();
    let pointer = numbered(&network, 90, 3, b"a");
    network.seal_body(10, Body::Pointer(pointer.clone()));
    let retire = PointerRetire::sign(&network.id(), &key(90), pointer.content());
    network.seal_body(11, Body::PointerRetire(retire));
    assert_eq!(posted(&network, 90), [(machine(10), Some(3), None)]);
    let old = EntryError::OldPointer { newest: 3, found: 3 };
    assert_eq!(network.refusal(10, Body::Pointer(pointer)), old);
    let next = body(&network, 90, 4, b"b");
    network.seal_body(10, next);
    let quota = EntryError::PointerQuota { author: machine(10), limit: 2 };
    let second = body(&network, 91, 0, b"c");
    network.seal_body(10, second);
    let third = body(&network, 92, 0, b"d");
    assert_eq!(network.refusal(10, third), quota);
}

#[test]
fn a_numbered_pointer_is_frozen_and_read_back() {
    let mut network = network();
    let body = body(&network, 90, 300, b"sealed");
    let entry = Entry::sign(&network.id(), &key(10), 1, body.clone());
    assert_eq!(Entry::from_bytes(&entry.to_bytes()), Ok(entry.clone()));
    network.seal_body(10, body);
    let root = network.chain.head().header.state_root;
    let digest = |bytes: &[u8]| {
        let digest = hash("frozen", &[bytes]);
        digest[..8].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    assert_eq!(
        [digest(&entry.to_bytes()), digest(&root)],
        ["afb25a5684261793", "6f8a66504f91a2ed"]
    );
}
