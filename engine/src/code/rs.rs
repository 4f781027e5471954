//! Systematic Reed-Solomon (Reed, Solomon 1960) by interpolation.
//!
//! A column is the polynomial of degree below k that takes the message symbols at the points
//! 0..k; slot i stores its value at the point i - 1. This is the code of `reed-solomon-erasure`.

use super::CodeParameters;
use super::construction::{Construction, GroupMap};
use crate::gf::{Combination, Matrix};
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

impl Construction for Rs {
    fn alpha(&self) -> usize {
        1
    }

    fn beta(&self) -> usize {
        1
    }

    fn message_len(&self) -> usize {
        self.k
    }

    fn encoder(&self, slots: &[Slot]) -> Box<dyn GroupMap> {
        interpolation(&self.systematic(), slots)
    }

    fn decoder(&self, slots: &[Slot]) -> Box<dyn GroupMap> {
        interpolation(slots, &self.systematic())
    }

    fn helper(&self, _: Slot) -> Box<dyn GroupMap> {
        Box::new(Combination::new(&Matrix::identity(1)))
    }

    fn repairer(&self, failed: Slot, helpers: &[Slot]) -> Box<dyn GroupMap> {
        interpolation(helpers, &[failed])
    }

    fn rebuilder(&self, failed: Slot, slots: &[Slot]) -> Box<dyn GroupMap> {
        interpolation(slots, &[failed])
    }
}

/// Contents of the k slots `from` to the contents of the slots `to`.
fn interpolation(from: &[Slot], to: &[Slot]) -> Box<dyn GroupMap> {
    let points = |slots: &[Slot]| slots.iter().map(|slot| slot.point() - 1).collect::<Vec<u8>>();
    Box::new(Combination::interpolation(&points(from), &points(to)))
}
