//! Finding wrong symbols by Reed-Solomon decoding.
//!
//! A word is its codeword plus an error, and the syndromes of a codeword are zero: so syndromes
//! depend on the error alone, never on V. What is secret therefore meets constant-time arithmetic
//! only; the search for the error may branch and look tables up.

use std::collections::BTreeSet;

use super::parameters::SECRET_LEN;
use super::symbol::{self, Symbol};
use crate::gf;
use crate::names::Slot;

/// The coefficients of the polynomial of degree below `dimension` through all of at least
/// `dimension` distinct points but a few, and the slots of those few; `None` if more than half of
/// the points above `dimension` are wrong.
pub(super) fn decode(
    points: &[(Slot, &Symbol)],
    dimension: usize,
) -> Option<(Vec<Symbol>, BTreeSet<Slot>)> {
    let redundancy = points.len().checked_sub(dimension)?;
    let wrong = locate_errors(points, redundancy);
    if wrong.len() > redundancy / 2 {
        return None;
    }
    let right: Vec<_> = points.iter().copied().filter(|(slot, _)| !wrong.contains(slot)).collect();
    let coefficients = through_all(&right, dimension)?;
    Some((coefficients, wrong))
}

/// The `dimension` coefficients of the polynomial through all of at least as many distinct points;
/// `None` if its degree is not below `dimension`.
pub(super) fn through_all(points: &[(Slot, &Symbol)], dimension: usize) -> Option<Vec<Symbol>> {
    let mut coefficients = symbol::interpolate(points);
    let fits = coefficients.iter().skip(dimension).all(Symbol::is_zero);
    coefficients.truncate(dimension);
    fits.then_some(coefficients)
}

/// The slots whose values are not on the one polynomial that the others are on, given that at most
/// `redundancy` / 2 are wrong; an arbitrary set if more are.
///
/// `redundancy` is the number of points above those that determine the polynomial; the points are
/// distinct.
fn locate_errors(points: &[(Slot, &Symbol)], redundancy: usize) -> BTreeSet<Slot> {
    let slots: Vec<Slot> = points.iter().map(|&(slot, _)| slot).collect();
    locate(&slots, &syndromes(points, redundancy))
}

/// The slots of which few whose errors would have these syndromes.
fn locate(slots: &[Slot], syndromes: &[Symbol]) -> BTreeSet<Slot> {
    let mut wrong = BTreeSet::new();
    for place in 0..SECRET_LEN {
        let locator = shortest_recurrence(&sequence(syndromes, place));
        let roots = slots.iter().filter(|slot| value_at(&locator, gf::inv(slot.point())) == 0);
        wrong.extend(roots);
    }
    wrong
}

/// The slots of `slots` whose errors have these syndromes; `None` if more than half as many as
/// there are syndromes would be needed.
pub(super) fn explain_syndromes(slots: &[Slot], syndromes: &[Symbol]) -> Option<BTreeSet<Slot>> {
    let wrong = locate(slots, syndromes);
    // Product of (1 - x_i z): sums of the geometric sequences x_i^j satisfy its recurrence.
    let recurrence = wrong.iter().fold(vec![1], |product: Vec<u8>, slot| {
        let shifted = std::iter::once(0).chain(product.iter().map(|&c| gf::mul(c, slot.point())));
        shifted.zip(product.iter().copied().chain([0])).map(|(a, b)| a ^ b).collect()
    });
    let satisfies = |sequence: Vec<u8>| {
        let discrepancy = |window: &[u8]| {
            let products = window.iter().rev().zip(&recurrence);
            products.fold(0, |sum, (&value, &coefficient)| sum ^ gf::mul(value, coefficient))
        };
        sequence.windows(recurrence.len()).all(|window| discrepancy(window) == 0)
    };
    let fits = wrong.len() <= syndromes.len() / 2
        && (0..SECRET_LEN).all(|place| satisfies(sequence(syndromes, place)));
    fits.then_some(wrong)
}

fn sequence(syndromes: &[Symbol], place: usize) -> Vec<u8> {
    syndromes.iter().map(|syndrome| syndrome.expose()[place]).collect()
}

/// S_j = sum of w_i x_i^j y_i with w_i = 1 / product over l != i of (x_i - x_l): zero on every
/// polynomial of degree below m - `redundancy`, because such a sum is a divided difference.
pub(super) fn syndromes(points: &[(Slot, &Symbol)], redundancy: usize) -> Vec<Symbol> {
    let mut syndromes: Vec<Symbol> = (0..redundancy).map(|_| Symbol::zero()).collect();
    for &(slot, value) in points {
        let others = points.iter().filter(|(other, _)| *other != slot);
        let product =
            others.fold(1, |product, (other, _)| gf::mul(product, slot.point() ^ other.point()));
        let mut weight = gf::inv(product);
        for syndrome in &mut syndromes {
            syndrome.add_scaled(weight, value);
            weight = gf::mul(weight, slot.point());
        }
    }
    syndromes
}

/// The connection polynomial of the shortest linear recurrence of `sequence` (Massey 1969): for
/// syndromes of few enough errors at points x_i, the product of (1 - x_i z), lowest first.
fn shortest_recurrence(sequence: &[u8]) -> Vec<u8> {
    let (mut current, mut previous) = (vec![1], vec![1]);
    let (mut length, mut shift, mut previous_discrepancy) = (0, 1, 1);
    for position in 0..sequence.len() {
        let recent = sequence[..=position].iter().rev();
        let discrepancy = current
            .iter()
            .take(length + 1)
            .zip(recent)
            .fold(0, |sum, (&coefficient, &value)| sum ^ gf::mul(coefficient, value));
        if discrepancy == 0 {
            shift += 1;
            continue;
        }
        let factor = gf::div(discrepancy, previous_discrepancy);
        let mut next: Vec<u8> = current.clone();
        next.resize(current.len().max(previous.len() + shift), 0);
        for (coefficient, &correction) in next[shift..].iter_mut().zip(&previous) {
            *coefficient ^= gf::mul(factor, correction);
        }
        if 2 * length <= position {
            length = position + 1 - length;
            (previous, previous_discrepancy, shift) = (current, discrepancy, 1);
        } else {
            shift += 1;
        }
        current = next;
    }
    current
}

fn value_at(coefficients: &[u8], point: u8) -> u8 {
    coefficients.iter().rev().fold(0, |value, &coefficient| gf::mul(value, point) ^ coefficient)
}
