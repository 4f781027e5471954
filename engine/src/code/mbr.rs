//! Product-matrix minimum-bandwidth regenerating code (Rashmi, Shah, Kumar 2011, §IV), systematic.
//!
//! The message fills a symmetric d × d matrix M = [[S, T], [T^t, 0]], S of size k × k. Slot i
//! stores psi_i · M, where psi_i is the Vandermonde row of its point, (1, x, …, x^(d-1)),
//! multiplied from the right by [[P, -P·D], [0, I]] with [P^-1 | D] the Vandermonde rows of the
//! first k slots (Theorem 1 there). So psi_1 … psi_k are unit vectors and the first k slots store
//! rows of M, and any d rows, and any k rows cut to k entries, stay independent.

use super::CodeParameters;
use super::construction::Matrices;
use crate::gf::{Matrix, lagrange, mul, pow};
use crate::names::Slot;

#[derive(Debug)]
pub(super) struct Mbr {
    k: usize,
    d: usize,
    /// The points of the first k slots.
    systematic: Vec<u8>,
}

impl Mbr {
    pub(super) fn new(parameters: CodeParameters) -> Self {
        let systematic = Slot::all(parameters.k).map(Slot::point).collect();
        Self { k: parameters.k.into(), d: parameters.d.into(), systematic }
    }

    /// psi of the slot: d entries.
    fn row(&self, slot: Slot) -> Vec<u8> {
        let mut row = lagrange(&self.systematic, slot.point());
        for exponent in self.k..self.d {
            let interpolated = row
                .iter()
                .zip(&self.systematic)
                .fold(0, |sum, (&entry, &point)| sum ^ mul(entry, pow(point, exponent)));
            row.push(pow(slot.point(), exponent) ^ interpolated);
        }
        row
    }

    fn rows(&self, slots: &[Slot]) -> Matrix {
        Matrix::from_rows(self.d, slots.iter().map(|&slot| self.row(slot)))
    }

    /// Which message symbol stands in M at these coordinates; `None` for the zero block.
    ///
    /// The message fills the first k rows from the diagonal on, row after row.
    fn symbol(&self, row: usize, column: usize) -> Option<usize> {
        let (low, high) = (row.min(column), row.max(column));
        (low < self.k).then(|| low * self.d + high - low * (low + 1) / 2)
    }
}

impl Matrices for Mbr {
    fn alpha(&self) -> usize {
        self.d
    }

    fn message_len(&self) -> usize {
        self.k * self.d - self.k * (self.k - 1) / 2
    }

    fn generator(&self, slot: Slot) -> Matrix {
        let mut generator = Matrix::zero(self.d, self.message_len());
        for (row, entry) in self.row(slot).into_iter().enumerate() {
            for column in 0..self.d {
                if let Some(symbol) = self.symbol(row, column) {
                    generator[(column, symbol)] = entry;
                }
            }
        }
        generator
    }

    /// Theorem 2 there, in closed form: of the received Phi·S + Delta·T^t and Phi·T, the second
    /// gives T = Phi^-1 (Phi·T), and then S = Phi^-1 (Phi·S + Delta·T^t) - (Phi^-1·Delta) T^t.
    fn decoders(&self, slots: &[Slot]) -> Vec<Vec<Matrix>> {
        let points: Vec<u8> = slots.iter().map(|slot| slot.point()).collect();
        let inverse =
            Matrix::from_rows(self.k, self.systematic.iter().map(|&at| lagrange(&points, at)));
        let delta = slots.iter().map(|&slot| self.row(slot).split_off(self.k));
        let correction = inverse.mul(&Matrix::from_rows(self.d - self.k, delta));
        let (contents, extra) = (self.k * self.d, self.d - self.k);
        let mut t = Matrix::zero(self.k * extra, contents);
        let mut message = Matrix::zero(self.message_len(), contents + t.rows());
        for row in 0..self.k {
            for column in row..self.k {
                let Some(symbol) = self.symbol(row, column) else { continue };
                // S is symmetric; the row of a slot at hand is there to be copied.
                let at_hand = points.contains(&self.systematic[column]);
                let (row, column) = if at_hand { (column, row) } else { (row, column) };
                for place in 0..self.k {
                    message[(symbol, place * self.d + column)] = inverse[(row, place)];
                }
                let t_row = contents + column * extra;
                message.row_mut(symbol)[t_row..][..extra].copy_from_slice(correction.row(row));
            }
            for column in self.k..self.d {
                let Some(symbol) = self.symbol(row, column) else { continue };
                let t_symbol = row * extra + column - self.k;
                for place in 0..self.k {
                    t[(t_symbol, place * self.d + column)] = inverse[(row, place)];
                }
                message[(symbol, contents + t_symbol)] = 1;
            }
        }
        vec![vec![t, message]]
    }

    fn helper(&self, failed: Slot) -> Matrix {
        self.rows(&[failed])
    }

    /// The helpers' rows times M·psi_f^t are their symbols, and M is symmetric.
    fn repair(&self, _: Slot, helpers: &[Slot]) -> Matrix {
        match self.rows(helpers).inverse() {
            Some(inverse) => inverse,
            None => unreachable!("any d rows of distinct slots are independent"),
        }
    }
}
