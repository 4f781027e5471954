//! Light clients across changes of the validator set, and what a proof costs.

use crate::ledger_validators::*;
use ed25519_dalek::SigningKey;
use kakera_engine::ledger::{
    Body, Certificate, Genesis, HeadError, LightClient, Pointer, Seen, SetChange, SignedHeader,
    StateKey,
};
use kakera_engine::wire::canonical;

const NONCE: [u8; 32] = [6; 32];

/// Each set shares two of four members with the one before, the last none with the first.
const SETS: [[u8; 4]; 6] = [
    FOUR,
    [203, 204, 205, 206],
    [205, 206, 207, 208],
    [207, 208, 209, 210],
    [209, 210, 211, 212],
    [211, 212, 213, 214],
];

fn five_changes() -> Consortium {
    let mut network = Consortium::four();
    for numbers in &SETS[1..] {
        network.seal(vec![]);
        network.change(numbers);
    }
    network.seal(vec![]);
    network
}

fn client() -> LightClient {
    LightClient::new(genesis_of(&FOUR)).unwrap()
}

fn accept(client: &mut LightClient, network: &Consortium) -> Result<(), HeadError> {
    let attestations = network.attest(NONCE, &network.up()[..2]);
    let head = network.chain.head();
    client.accept_head(head, &attestations, &NONCE, network.now).map(|_| ())
}

#[test]
fn a_client_follows_five_changes_and_keeps_what_it_knows() {
    let network = five_changes();
    assert_eq!(network.changes.len(), 5);
    let mut client = client();
    let head = &network.chain.head().header;
    let unknown = Err(HeadError::UnknownValidators { height: head.height, known: 0 });
    assert_eq!(accept(&mut client, &network), unknown);
    for change in &network.changes {
        let change = SetChange::from_bytes(&change.to_bytes()).unwrap();
        client.follow(&change).unwrap();
        let kept: Seen = canonical::decode(&canonical::encode(&client.seen()), 8192).unwrap();
        client = LightClient::resume(genesis_of(&FOUR), kept).unwrap();
    }
    assert_eq!(*client.validators(), set(&SETS[5]));
    accept(&mut client, &network).unwrap();
    assert_eq!(client.seen().hash, head.hash());
}

#[test]
fn a_head_that_changes_the_set_is_attested_by_the_old_or_the_new_one() {
    let mut network = Consortium::four();
    let attest_old = |network: &Consortium| network.attest(NONCE, &FOUR[..2]);
    network.change(&[205, 206, 207, 208]);
    let head = network.chain.head().clone();
    let mut client = client();
    client.accept_head(&head, &attest_old(&network), &NONCE, network.now).unwrap();
    client.follow(&network.changes[0]).unwrap();
    let unattested = Err(HeadError::Unattested(head.header.height));
    let by_old = client.accept_head(&head, &attest_old(&network), &NONCE, network.now);
    assert_eq!(by_old.map(|_| ()), unattested);
    accept(&mut client, &network).unwrap();
}

#[test]
fn a_client_skips_where_enough_of_those_it_knows_signed() {
    let network = five_changes();
    let first_of = |place: usize| {
        let header = |head: &&SignedHeader| head.header.validators == set(&SETS[place]).hash();
        network.heads.iter().find(header).unwrap().clone()
    };
    let mut client = client();
    let far = first_of(2);
    let unvouched = HeadError::Unvouched { height: far.header.height, known: 0 };
    assert_eq!(client.skip_to(&far, &set(&SETS[2])), Err(unvouched));
    let near = first_of(1);
    let wrong = HeadError::WrongValidators(near.header.height);
    assert_eq!(client.skip_to(&near, &set(&SETS[2])), Err(wrong));
    // one of four known is not more than a third
    let mut few = near.clone();
    few.certificate = certificate(&near.header, 0, &[204, 205, 206]);
    let unvouched = HeadError::Unvouched { height: near.header.height, known: 0 };
    assert_eq!(client.skip_to(&few, &set(&SETS[1])), Err(unvouched));
    let mut forged = near.clone();
    forged.header.state_root[0] ^= 1;
    let uncertified = HeadError::Certificate(near.header.height);
    assert_eq!(client.skip_to(&forged, &set(&SETS[1])), Err(uncertified));
    let mut own = forged;
    own.certificate = certificate(&own.header, 0, &[203, 204]);
    assert_eq!(
        client.skip_to(&own, &set(&SETS[1])),
        Err(HeadError::Certificate(own.header.height))
    );
    for (place, numbers) in SETS.iter().enumerate().skip(1) {
        client.skip_to(&first_of(place), &set(numbers)).unwrap();
    }
    accept(&mut client, &network).unwrap();
    let rollback = HeadError::Rollback {
        height: near.header.height,
        seen: network.chain.head().header.height,
    };
    assert_eq!(client.skip_to(&near, &set(&SETS[1])), Err(rollback));
}

#[test]
fn changes_forged_left_out_reordered_or_old_are_refused() {
    let network = five_changes();
    let changes = &network.changes;
    let refusal = |known: usize, change: &SetChange| {
        let mut client = client();
        changes[..known].iter().for_each(|change| client.follow(change).unwrap());
        let before = client.seen();
        let error = client.follow(change).unwrap_err();
        assert_eq!(client.seen(), before);
        error
    };
    let height = |place: usize| changes[place].header.header.height;
    let unknown = |height, known| HeadError::UnknownValidators { height, known };
    assert_eq!(refusal(0, &changes[1]), unknown(height(1), 0));
    assert_eq!(refusal(1, &changes[2]), unknown(height(2), height(0)));
    let rollback = HeadError::Rollback { height: height(0), seen: height(1) };
    assert_eq!(refusal(2, &changes[0]), rollback);
    assert_eq!(refusal(1, &changes[0]), unknown(height(0), height(0)));

    let forged = |change: &dyn Fn(&mut SetChange)| {
        let mut forged = changes[0].clone();
        change(&mut forged);
        refusal(0, &forged)
    };
    let wrong = HeadError::WrongValidators(height(0));
    assert_eq!(forged(&|change| change.validators = set(&SETS[2])), wrong);
    let uncertified = HeadError::Certificate(height(0));
    let other = set(&[99]);
    assert_eq!(
        forged(&|change| {
            change.header.header.next_validators = other.hash();
            change.validators = other.clone();
        }),
        uncertified
    );
    assert_eq!(forged(&|change| change.header.certificate = Certificate::default()), uncertified);
    assert_eq!(
        forged(&|change| {
            change.header.certificate.commits.pop();
            change.header.certificate.commits.pop();
        }),
        uncertified
    );
    let elsewhere = kakera_engine::names::NetworkId([1; 32]);
    let foreign = forged(&|change| change.header.header.network = elsewhere);
    assert_eq!(foreign, HeadError::Network(elsewhere));

    let bytes = changes[0].to_bytes();
    for cut in 0..bytes.len() {
        assert!(SetChange::from_bytes(&bytes[..cut]).is_err());
    }
}

#[test]
fn two_certified_changes_at_one_height_are_a_fork() {
    let network = five_changes();
    let mut client = client();
    let first = &network.changes[0];
    let at = first.header.header.clone();
    client.accept_head(&first.header, &attest(&first.header), &NONCE, network.now).unwrap();
    let mut other = first.clone();
    other.header.header.state_root[0] ^= 1;
    other.header.certificate = certificate(&other.header.header, 0, &FOUR);
    assert_eq!(client.follow(&other), Err(HeadError::Fork(at.height)));
    client.follow(first).unwrap();
    // to go where one is does not lead back to the old set
    client.skip_to(&first.header, &set(&FOUR)).unwrap();
    assert_eq!(*client.validators(), set(&SETS[1]));

    fn attest(head: &SignedHeader) -> Vec<kakera_engine::ledger::HeadAttestation> {
        let time = head.header.time;
        let sign = |number: &u8| {
            let key = crate::ledger_network::key(*number);
            kakera_engine::ledger::HeadAttestation::sign(&head.header, NONCE, time, &key)
        };
        FOUR[..2].iter().map(sign).collect()
    }
}

#[test]
fn one_of_four_attests_nothing() {
    let mut network = Consortium::four();
    network.seal(vec![]);
    let mut client = client();
    let head = network.chain.head();
    let one = network.attest(NONCE, &FOUR[..1]);
    let unattested = client.accept_head(head, &one, &NONCE, network.now);
    assert_eq!(unattested, Err(HeadError::Unattested(1)));
    accept(&mut client, &network).unwrap();
}

#[test]
fn what_version_1_kept_is_read_and_written_as_it_was() {
    let mut old = vec![0x82, 0x18, 0x2a, 0x58, 0x20];
    old.extend([7; 32]);
    let seen: Seen = canonical::decode(&old, 100).unwrap();
    assert_eq!(seen, Seen { height: 42, hash: [7; 32], validators: None });
    assert_eq!(canonical::encode(&seen), old);
}

#[test]
fn a_pointer_among_ten_thousand_is_proved_in_20_kilobytes() {
    let one_time = |number: u16| {
        let mut seed = [3; 32];
        seed[..2].copy_from_slice(&number.to_be_bytes());
        SigningKey::from_bytes(&seed)
    };
    let genesis = Genesis { pointers_per_author_max: 10_000, ..genesis_of(&FOUR) };
    let mut network = Consortium::of(genesis.clone());
    let id = network.id();
    let sealed = vec![1; 7168];
    for batch in 0..5 {
        let entries = (0..2000)
            .map(|place| {
                let number = batch * 2000 + place;
                let sealed = if number == 4321 { sealed.clone() } else { vec![0; 16] };
                let pointer = Pointer::sign(&id, &one_time(number), sealed);
                network.say(FOUR[0], Body::Pointer(pointer))
            })
            .collect();
        network.seal(entries);
    }
    let head = network.chain.head();
    let attestations = network.attest(NONCE, &FOUR[..2]);
    let asked = StateKey::PointersOf(Pointer::sign(&id, &one_time(4321), sealed).tag());
    let (value, proof) = network.chain.state_proof(&asked);
    let value = value.unwrap();
    let mut client = LightClient::new(genesis).unwrap();
    let verified = client.accept_head(head, &attestations, &NONCE, network.now).unwrap();
    assert!(verified.verify_state(&asked, Some(&value), &proof));
    let sent = head.to_bytes().len()
        + canonical::encode(&attestations).len()
        + value.len()
        + canonical::encode(&proof).len();
    assert!(sent <= 20 * 1024, "{sent} bytes");
    // the longest pointer is most of it
    assert!(sent - value.len() <= 2048, "{} bytes", sent - value.len());
}
