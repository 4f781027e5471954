//! Reading: any k read parts give V, every lie is named, and parts are Shamir shares to others.

use std::collections::BTreeSet;

use crate::key_shares::{binding, dealt_secret, group, slot};
use blahaj::Sharks;
use kakera_engine::keyshare::{
    Binding, Dealt, KeyParameters, PeerFault, ProvenPart, ReadError, RobustReadError, Symbol, read,
    read_robust,
};
use kakera_engine::names::{Epoch, Slot};
use kakera_engine::wire::canonical::{decode, encode};
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

fn parts(binding: &Binding<'_>, dealt: &Dealt, points: &[u8]) -> Vec<ProvenPart> {
    points.iter().map(|&point| dealt.shares[slot(point).index()].prove_part(binding)).collect()
}

fn unproven(parts: &[ProvenPart]) -> Vec<(Slot, &Symbol)> {
    parts.iter().map(|part| (part.slot(), part.part())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_k_or_more_parts_give_the_secret((k, d, order) in group(), seed: u8) {
        let binding = binding(order.len() as u8, k, d);
        let (secret, dealt) = dealt_secret(&binding, seed);
        for count in usize::from(k)..=order.len() {
            let parts = parts(&binding, &dealt, &order[..count]);
            let (found, liars) = read(&binding, &dealt.rows, &parts).unwrap();
            prop_assert_eq!(found.expose(), secret.expose());
            prop_assert!(liars.is_empty());
        }
        let few = parts(&binding, &dealt, &order[1..usize::from(k)]);
        prop_assert_eq!(
            read(&binding, &dealt.rows, &few).unwrap_err(),
            ReadError::Missing { missing: 1, liars: BTreeSet::new() }
        );
    }

    #[test]
    fn blahaj_recovers_the_secret_from_our_parts((k, d, order) in group(), seed: u8) {
        let binding = binding(order.len() as u8, k, d);
        let (secret, dealt) = dealt_secret(&binding, seed);
        let shares: Vec<blahaj::Share> = parts(&binding, &dealt, &order[..usize::from(k)])
            .iter()
            .map(|part| [&[part.slot().point()], part.part().expose().as_slice()].concat())
            .map(|bytes| blahaj::Share::try_from(bytes.as_slice()).unwrap())
            .collect();
        prop_assert_eq!(Sharks(k).recover(&shares).unwrap(), secret.expose());
    }

    #[test]
    fn we_recover_a_secret_that_blahaj_split((k, d, order) in group(), secret: [u8; 32]) {
        let mut rng = ChaCha20Rng::from_seed(secret);
        let dealer = Sharks(k).dealer_rng(&secret, &mut rng);
        let parts: Vec<(Slot, Symbol)> = dealer
            .take(order.len())
            .map(|share| Vec::from(&share))
            .map(|bytes| (slot(bytes[0]), Symbol::from(<[u8; 32]>::try_from(&bytes[1..]).unwrap())))
            .collect();
        let parameters = KeyParameters::new(order.len() as u8, k, d).unwrap();
        let chosen: Vec<(Slot, &Symbol)> = order[..usize::from(k)]
            .iter()
            .map(|&point| (parts[slot(point).index()].0, &parts[slot(point).index()].1))
            .collect();
        let (found, _) = read_robust(parameters, &chosen).unwrap();
        prop_assert_eq!(found.expose(), &secret);
    }

    #[test]
    fn robust_reading_corrects_half_the_redundancy(
        (k, d, order) in group(),
        errors in prop::collection::vec(prop::collection::btree_map(0usize..32, 1u8.., 1..32), 11),
        excess in 0usize..2,
    ) {
        let binding = binding(order.len() as u8, k, d);
        let (secret, dealt) = dealt_secret(&binding, 1);
        let mut parts: Vec<(Slot, Symbol)> = parts(&binding, &dealt, &order)
            .iter()
            .map(|part| (part.slot(), part.part().clone()))
            .collect();
        let redundancy = order.len() - usize::from(k);
        let count = redundancy / 2 + excess;
        for ((_, part), error) in parts.iter_mut().zip(&errors[..count]) {
            let mut bytes = *part.expose();
            error.iter().for_each(|(&place, &difference)| bytes[place] ^= difference);
            *part = Symbol::from(bytes);
        }
        let parts: Vec<(Slot, &Symbol)> = parts.iter().map(|(slot, part)| (*slot, part)).collect();
        let wrong: BTreeSet<Slot> = order[..count].iter().copied().map(slot).collect();
        match read_robust(binding.parameters, &parts) {
            Ok((found, named)) if excess == 0 => {
                prop_assert_eq!(found.expose(), secret.expose());
                prop_assert_eq!(named, wrong);
            }
            Err(error) => {
                prop_assert_eq!(excess, 1);
                prop_assert_eq!(error, RobustReadError::Inconsistent);
            }
            // Beyond the radius another codeword may be nearer: never one that accuses too many,
            // and with no redundancy nothing can be noticed.
            Ok((_, named)) => prop_assert!(named.len() <= redundancy / 2 && named != wrong),
        }
    }
}

#[test]
fn one_part_above_k_notices_an_error_without_finding_it() {
    let binding = binding(10, 5, 6);
    let (_, dealt) = dealt_secret(&binding, 2);
    let parts = parts(&binding, &dealt, &[1, 3, 5, 7, 8, 9]);
    for place in 0..32 {
        let mut parts = unproven(&parts);
        let mut bytes = *parts[2].1.expose();
        bytes[place] ^= 0x40;
        let wrong = Symbol::from(bytes);
        parts[2].1 = &wrong;
        assert_eq!(
            read_robust(binding.parameters, &parts).unwrap_err(),
            RobustReadError::Inconsistent
        );
    }
}

#[test]
fn robust_reading_refuses_duplicates_strangers_and_too_few() {
    let binding = binding(5, 3, 4);
    let (_, dealt) = dealt_secret(&binding, 3);
    let parts = parts(&binding, &dealt, &[1, 2, 2, 4]);
    let parts = unproven(&parts);
    let robust = |parts: &[(Slot, &Symbol)]| read_robust(binding.parameters, parts).unwrap_err();
    assert_eq!(robust(&parts), RobustReadError::Duplicate(slot(2)));
    assert_eq!(robust(&parts[..2]), RobustReadError::Missing { missing: 1 });
    assert_eq!(robust(&[]), RobustReadError::Missing { missing: 3 });
    let stranger = [parts[0], parts[1], parts[3], (slot(6), parts[3].1)];
    assert_eq!(robust(&stranger), RobustReadError::OutsideGroup(slot(6)));
}

#[test]
fn every_flipped_bit_is_refused_and_the_slot_named() {
    for (n, k, d) in [(5, 3, 4), (6, 3, 3)] {
        let binding = binding(n, k, d);
        let (_, dealt) = dealt_secret(&binding, 4);
        let parts = parts(&binding, &dealt, &[1, 2, 3]);
        let bytes = encode(&parts[1]);
        let mut tried = 0;
        for bit in 0..8 * bytes.len() {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let Ok(lie) = decode::<ProvenPart>(&bytes, bytes.len()) else { continue };
            tried += 1;
            let claimed = lie.slot();
            let lies = [parts[0].clone(), lie, parts[2].clone()];
            assert_eq!(
                read(&binding, &dealt.rows, &lies).unwrap_err(),
                ReadError::Missing { missing: 1, liars: BTreeSet::from([claimed]) }
            );
        }
        assert!(tried >= 8 * 64, "{tried}");
    }
}

#[test]
fn a_part_is_bound_to_slot_object_and_epoch() {
    let binding = binding(5, 3, 4);
    let (_, dealt) = dealt_secret(&binding, 5);
    let part = dealt.shares[0].prove_part(&binding);
    let row = &dealt.rows[0];
    let refused = Err(PeerFault { slot: slot(1) });
    assert_eq!(part.verify(&binding, row), Ok(()));
    assert_eq!(part.verify(&binding, &dealt.rows[1]), refused);
    assert_eq!(part.verify(&Binding { epoch: Epoch(2), ..binding }, row), refused);
    assert_eq!(part.verify(&Binding { salt: &[1; 32], ..binding }, row), refused);
}

#[test]
fn liars_are_named_and_do_not_matter_if_enough_tell_the_truth() {
    let binding = binding(5, 3, 4);
    let (secret, dealt) = dealt_secret(&binding, 6);
    let other = crate::key_shares::dealt(&binding, 7);
    let mut parts = parts(&binding, &dealt, &[1, 2, 3, 4, 4]);
    parts[1] = other.shares[1].prove_part(&binding);
    let (found, liars) = read(&binding, &dealt.rows, &parts).unwrap();
    assert_eq!(found.expose(), secret.expose());
    assert_eq!(liars, BTreeSet::from([slot(2)]));
}

#[test]
fn a_repeated_part_counts_once() {
    let binding = binding(5, 3, 4);
    let (_, dealt) = dealt_secret(&binding, 8);
    assert_eq!(
        read(&binding, &dealt.rows, &parts(&binding, &dealt, &[1, 2, 2])).unwrap_err(),
        ReadError::Missing { missing: 1, liars: BTreeSet::new() }
    );
    assert_eq!(
        read(&binding, &dealt.rows[1..], &parts(&binding, &dealt, &[1, 2, 3])).unwrap_err(),
        ReadError::Mismatch { rows: 4, n: 5 }
    );
}

#[test]
fn an_ill_formed_sharing_is_the_writers_fault() {
    let binding = binding(5, 3, 4);
    let (honest, other) = (dealt_secret(&binding, 9).1, dealt_secret(&binding, 10).1);
    let mut parts = parts(&binding, &honest, &[1, 2, 3, 4]);
    let mut rows = honest.rows;
    rows[3] = other.rows[3];
    parts[3] = other.shares[3].prove_part(&binding);
    assert_eq!(read(&binding, &rows, &parts).unwrap_err(), ReadError::IllFormed);
}
