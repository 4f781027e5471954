//! Systematic Reed-Solomon (Reed, Solomon 1960) by interpolation.
//!
//! A column is the polynomial of degree below k that takes the message symbols at the points
//! 0..k; slot i stores its value at the point i - 1. This is the code of `reed-solomon-erasure`.

use super::CodeParameters;
use super::construction::Matrices;
use crate::gf::{Matrix, lagrange};
use crate::names::Slot;

#[derive(Debug)]
pub(super) struct Rs {
    k: usize,
}

impl Rs {
    pub(super) fn new(parameters: CodeParameters) -> Self {
        Self { k: parameters.k.into() }
    }

    fn systematic(&self) -> Vec<Slot> {
        Slot::all(self.k as u8).collect()
    }
}

impl Matrices for Rs {
    fn alpha(&self) -> usize {
        1
    }

    fn message_len(&self) -> usize {
        self.k
    }

    fn generator(&self, slot: Slot) -> Matrix {
        interpolation(&self.systematic(), &[slot])
    }

    fn decoders(&self, slots: &[Slot]) -> Vec<Vec<Matrix>> {
        vec![vec![interpolation(slots, &self.systematic())]]
    }

    fn helper(&self, _: Slot) -> Matrix {
        Matrix::identity(1)
    }

    fn repair(&self, failed: Slot, helpers: &[Slot]) -> Matrix {
        interpolation(helpers, &[failed])
    }
}

/// Contents of the k slots `from` to the contents of the slots `to`.
fn interpolation(from: &[Slot], to: &[Slot]) -> Matrix {
    let points: Vec<u8> = from.iter().copied().map(point).collect();
    Matrix::from_rows(points.len(), to.iter().map(|&slot| lagrange(&points, point(slot))))
}

fn point(slot: Slot) -> u8 {
    slot.point() - 1
}
