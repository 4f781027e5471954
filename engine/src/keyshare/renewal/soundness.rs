//! With what probability a wrong dealing survives the check, shown with fewer checks than 16.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeSet;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::check::{Gamma, zero_check};
use super::terms::Terms;
use crate::gf;
use crate::keyshare::locate;
use crate::keyshare::message::Message;
use crate::keyshare::parameters::{KeyParameters, SECRET_LEN};
use crate::keyshare::share::Share;
use crate::keyshare::symbol::Symbol;
use crate::names::{Epoch, Slot};

const TRIALS: u32 = 10_000;

fn terms(n: u8, k: u8, d: u8) -> Terms {
    let live = Slot::all(n).collect();
    Terms::refresh(KeyParameters::new(n, k, d).unwrap(), Epoch(1), live, vec![[3; 32]]).unwrap()
}

/// A sharing of zero spoilt at one byte by `spoil`, which gets the columns of M and the byte's value.
fn spoilt(
    terms: &Terms,
    rng: &mut ChaCha8Rng,
    spoil: impl Fn(&mut Vec<Vec<Symbol>>, Symbol),
) -> Message {
    let mut message = Message::random(terms.parameters(), &Symbol::zero(), rng);
    let mut error = [0; SECRET_LEN];
    error[rng.next_u32() as usize % SECRET_LEN] = 1 + (rng.next_u32() % 255) as u8;
    spoil(message.columns_mut(), Symbol::from(error));
    message
}

/// How many of `trials` dealings by `deal` pass a check of `checks` bytes, all receivers being honest.
fn survivors(
    trials: u32,
    terms: &Terms,
    checks: usize,
    deal: impl Fn(&mut ChaCha8Rng) -> Message,
) -> u32 {
    let mut rng = ChaCha8Rng::seed_from_u64(checks as u64);
    let survives = |_: &u32| {
        let object = deal(&mut rng);
        let mask = Message::random(terms.parameters(), &Symbol::zero(), &mut rng);
        let mut beacon = [0; 32];
        rng.fill_bytes(&mut beacon);
        let gamma = Gamma::new(&beacon, &[0; 32], 1, checks);
        let value = |&slot: &Slot| {
            let rows: [Share; 2] = [object.share(slot), mask.share(slot)];
            let combined = gamma.combine(terms.parameters(), &rows);
            // Lanes beyond the checks carry the mask alone; they are not posted.
            let lanes =
                std::array::from_fn(|lane| if lane < checks { combined.expose()[lane] } else { 0 });
            (slot, Symbol::from(lanes))
        };
        let values = terms.receivers().iter().map(value).collect();
        match zero_check(terms, values) {
            Some(wrong) => {
                assert!(wrong.is_empty());
                true
            }
            None => false,
        }
    };
    (0..trials).filter(survives).count() as u32
}

/// Binomial with p = 1/256: mean 39, standard deviation 6.2; within five of them.
fn assert_one_in_256(survivors: u32) {
    assert!((8..=70).contains(&survivors), "{survivors} of {TRIALS}");
}

#[test]
fn an_honest_dealing_always_passes() {
    for terms in [terms(6, 2, 3), terms(5, 2, 2)] {
        let honest =
            |rng: &mut ChaCha8Rng| Message::random(terms.parameters(), &Symbol::zero(), rng);
        assert_eq!(survivors(1000, &terms, 16, honest), 1000);
    }
}

#[test]
fn a_secret_that_is_not_zero_passes_one_check_in_256_times() {
    for (terms, column) in [(terms(6, 2, 3), 2), (terms(5, 2, 2), 0)] {
        let cheat = |rng: &mut ChaCha8Rng| {
            spoilt(&terms, rng, |columns, error| {
                columns[0][column] = error.clone();
                columns[column][0] = error;
            })
        };
        assert_one_in_256(survivors(TRIALS, &terms, 1, cheat));
    }
}

#[test]
fn a_degree_that_is_too_high_passes_one_check_in_256_times() {
    let terms = terms(6, 2, 3);
    let cheat = |rng: &mut ChaCha8Rng| spoilt(&terms, rng, |columns, error| columns[2].push(error));
    assert_one_in_256(survivors(TRIALS, &terms, 1, cheat));
}

#[test]
fn two_checks_are_passed_by_the_square() {
    let terms = terms(6, 2, 3);
    let cheat = |rng: &mut ChaCha8Rng| {
        spoilt(&terms, rng, |columns, error| {
            columns[0][2] = error.clone();
            columns[2][0] = error.clone();
            columns[2].push(error);
        })
    };
    // 10,000 / 65,536 are expected: more than five are there once in 10^8 times.
    assert!(survivors(TRIALS, &terms, 2, cheat) <= 5);
}

/// The bound (n - k) / 2 of the design is too large for d = k + 1 (spec §9.4): here n = 7, k = 3 and
/// two receivers are corrupt with the dealer. The dealer's error vanishes at three honest receivers,
/// the corrupt two say what fits, and the other two look wrong. No combination ever shows it.
#[test]
fn as_many_faults_as_the_design_admits_hide_a_degree_that_is_too_high() {
    let terms = terms(7, 3, 4);
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for _ in 0..100 {
        let [linear, square, error] = std::array::from_fn(|_| 1 + (rng.next_u32() % 255) as u8);
        let allowed = |x: u8| gf::mul(x, linear) ^ gf::mul(gf::mul(x, x), square);
        let vanishing = |x: u8| (1..=3).fold(error, |product, zero| gf::mul(product, x ^ zero));
        let value = |slot: Slot| {
            let x = slot.point();
            let corrupt = x > 5;
            let said = allowed(x) ^ if corrupt { 0 } else { vanishing(x) };
            (slot, Symbol::from([said; SECRET_LEN]))
        };
        let mut divided: Vec<(Slot, Symbol)> = Slot::all(7).map(value).collect();
        divided.iter_mut().for_each(|(slot, said)| said.scale(gf::inv(slot.point())));
        let points: Vec<_> = divided.iter().map(|(slot, said)| (*slot, said)).collect();
        let (_, blamed) = locate::decode(&points, 2).unwrap();
        assert_eq!(blamed, BTreeSet::from([Slot::new(4).unwrap(), Slot::new(5).unwrap()]));
        assert_eq!(terms.receiver_faults_max(), 1);
        assert_eq!(zero_check(&terms, Slot::all(7).map(value).collect()), None);
    }
}
