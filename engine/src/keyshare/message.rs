//! The message matrix of a dealing: whose coordinate at one place is what is shared.

use rand_core::CryptoRng;

use super::parameters::KeyParameters;
use super::share::Share;
use super::symbol::{self, Symbol};
use crate::names::Slot;

/// The symmetric message matrix M of F(x, y) = sum of M_ab x^a y^b, zero where a, b >= k.
///
/// Column b for b < k has d entries; the others have k, the rest being zero.
pub(super) struct Message {
    columns: Vec<Vec<Symbol>>,
}

impl Message {
    /// `shared` at M_0k, or at M_00 if d = k; everything else is uniform.
    pub(super) fn random(
        parameters: KeyParameters,
        shared: &Symbol,
        rng: &mut impl CryptoRng,
    ) -> Self {
        let shared_column = if parameters.has_spare() { parameters.k() } else { 0 };
        Self::fill(parameters.k(), parameters.d(), |row, column| {
            if (row, column) == (0, shared_column) { shared.clone() } else { Symbol::random(rng) }
        })
    }

    /// Takes the entries a <= b, a < k, row by row, and mirrors them.
    pub(super) fn fill(k: u8, d: u8, mut entry: impl FnMut(u8, u8) -> Symbol) -> Self {
        let mut columns: Vec<Vec<Symbol>> =
            (0..d).map(|_| Vec::with_capacity(usize::from(d))).collect();
        for a in 0..k {
            for b in a..d {
                let entry = entry(a, b);
                if a != b {
                    columns[usize::from(a)].push(entry.clone());
                }
                columns[usize::from(b)].push(entry);
            }
        }
        Self { columns }
    }

    /// psi_i M: the coefficients of f_i(y) = F(x_i, y).
    pub(super) fn share(&self, slot: Slot) -> Share {
        let columns = self.columns.iter().map(|column| symbol::evaluate(column, slot));
        Share::new(slot, columns.collect())
    }

    /// For messages that no honest dealer makes.
    #[cfg(test)]
    pub(super) fn columns_mut(&mut self) -> &mut Vec<Vec<Symbol>> {
        &mut self.columns
    }
}
