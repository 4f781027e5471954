//! Finding wrong read parts by Reed-Solomon decoding.
//!
//! A word is its codeword plus an error, and the syndromes of a codeword are zero: so syndromes
//! depend on the error alone, never on V. Secret bytes therefore meet constant-time arithmetic
//! only; the search for the error may branch and look tables up.

use std::collections::BTreeSet;

use super::parameters::SECRET_LEN;
use super::symbol::Symbol;
use crate::gf;
use crate::names::Slot;

/// The slots whose values are not on the one polynomial that the others are on, given that at most
/// `redundancy` / 2 are wrong; an arbitrary set if more are.
///
/// `redundancy` is the number of points above those that determine the polynomial; the points are
/// distinct.
pub(super) fn locate_errors(points: &[(Slot, &Symbol)], redundancy: usize) -> BTreeSet<Slot> {
    let syndromes = syndromes(points, redundancy);
    let mut wrong = BTreeSet::new();
    for place in 0..SECRET_LEN {
        let sequence: Vec<u8> = syndromes.iter().map(|syndrome| syndrome.expose()[place]).collect();
        let locator = shortest_recurrence(&sequence);
        let slots = points.iter().map(|&(slot, _)| slot);
        wrong.extend(slots.filter(|slot| value_at(&locator, gf::inv(slot.point())) == 0));
    }
    wrong
}

/// S_j = sum of w_i x_i^j y_i with w_i = 1 / product over l != i of (x_i - x_l): zero on every
/// polynomial of degree below m - `redundancy`, because such a sum is a divided difference.
fn syndromes(points: &[(Slot, &Symbol)], redundancy: usize) -> Vec<Symbol> {
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
