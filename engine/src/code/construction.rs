//! What distinguishes one linear code from another: five maps.

use std::fmt;

use crate::gf::{Combination, Matrix};
use crate::names::Slot;

/// A linear code over columns of `message_len` symbols, by its maps.
///
/// A column of message symbols m gives slot i its *content*, `alpha` symbols G_i · m. A helper of a
/// repair sends `beta` symbols per column, whatever the slot that helps.
///
/// Slots given to these methods are distinct and at most n.
pub(super) trait Construction: fmt::Debug + Send + Sync {
    /// Symbols that a slot stores per column.
    fn alpha(&self) -> usize;

    /// Symbols that a helper sends per column.
    fn beta(&self) -> usize;

    /// Message symbols per column, B.
    fn message_len(&self) -> usize;

    /// The message to the contents of `slots`.
    fn encoder(&self, slots: &[Slot]) -> Box<dyn GroupMap>;

    /// The contents of k slots to the message.
    fn decoder(&self, slots: &[Slot]) -> Box<dyn GroupMap>;

    /// The content of a helper to the symbols it sends for `failed`.
    fn helper(&self, failed: Slot) -> Box<dyn GroupMap>;

    /// The symbols of d helpers to the content of `failed`, which is not among them.
    fn repairer(&self, failed: Slot, helpers: &[Slot]) -> Box<dyn GroupMap>;

    /// The contents of k slots to the content of `failed`, which is not among them.
    fn rebuilder(&self, failed: Slot, slots: &[Slot]) -> Box<dyn GroupMap>;
}

/// A linear map of the bytes of one group, ready for bulk work.
///
/// Strips are `width` bytes, one per column, and lie one after another in every source and target.
pub(super) trait GroupMap: fmt::Debug + Send + Sync {
    /// Overwrites the strips of `targets` with the map of those of `sources`.
    ///
    /// `workspace` holds intermediate strips; its bytes mean nothing before or after. Keep it for
    /// the next group.
    fn apply(
        &self,
        width: usize,
        sources: &[&[u8]],
        targets: &mut [&mut [u8]],
        workspace: &mut Vec<u8>,
    );

    /// Products in the field per column; copies are none.
    fn products(&self) -> usize;
}

impl GroupMap for Combination {
    fn apply(
        &self,
        width: usize,
        sources: &[&[u8]],
        targets: &mut [&mut [u8]],
        workspace: &mut Vec<u8>,
    ) {
        Combination::apply(self, width, sources, targets, workspace);
    }

    fn products(&self) -> usize {
        Combination::products(self)
    }
}

/// A code whose maps are small enough to be written down as matrices, and whose helpers send one
/// symbol per column.
pub(super) trait Matrices: fmt::Debug + Send + Sync {
    /// Symbols that a slot stores per column.
    fn alpha(&self) -> usize;

    /// Message symbols per column, B.
    fn message_len(&self) -> usize;

    /// alpha × B: message to the content of `slot`.
    fn generator(&self, slot: Slot) -> Matrix;

    /// Contents of k slots, one after another, to the B message symbols, as chains of matrices that
    /// all give the same, at least one: the columns of each matrix are the k · alpha symbols, then the
    /// rows of all before it.
    fn decoders(&self, slots: &[Slot]) -> Vec<Vec<Matrix>>;

    /// 1 × alpha: content of a helper to the symbol it sends for `failed`.
    fn helper(&self, failed: Slot) -> Matrix;

    /// alpha × d: the helpers' symbols to the content of `failed`, which is not among them.
    fn repair(&self, failed: Slot, helpers: &[Slot]) -> Matrix;
}

impl<M: Matrices> Construction for M {
    fn alpha(&self) -> usize {
        Matrices::alpha(self)
    }

    fn beta(&self) -> usize {
        1
    }

    fn message_len(&self) -> usize {
        Matrices::message_len(self)
    }

    fn encoder(&self, slots: &[Slot]) -> Box<dyn GroupMap> {
        let generators: Vec<Matrix> = slots.iter().map(|&slot| self.generator(slot)).collect();
        let rows = generators.iter().flat_map(|matrix| (0..matrix.rows()).map(|r| matrix.row(r)));
        ready(&Matrix::from_rows(Matrices::message_len(self), rows))
    }

    fn decoder(&self, slots: &[Slot]) -> Box<dyn GroupMap> {
        let chains = self.decoders(slots);
        let whole = vec![product(&chains[0])];
        let combinations = chains.iter().chain([&whole]).map(|chain| Combination::chain(chain));
        match combinations.min_by_key(Combination::cost) {
            Some(cheapest) => Box::new(cheapest),
            None => unreachable!("the whole matrix is one of them"),
        }
    }

    fn helper(&self, failed: Slot) -> Box<dyn GroupMap> {
        ready(&Matrices::helper(self, failed))
    }

    fn repairer(&self, failed: Slot, helpers: &[Slot]) -> Box<dyn GroupMap> {
        ready(&self.repair(failed, helpers))
    }

    fn rebuilder(&self, failed: Slot, slots: &[Slot]) -> Box<dyn GroupMap> {
        ready(&self.generator(failed).mul(&product(&self.decoders(slots)[0])))
    }
}

fn ready(matrix: &Matrix) -> Box<dyn GroupMap> {
    Box::new(Combination::new(matrix))
}

/// The one matrix that a chain is equal to.
pub(super) fn product(matrices: &[Matrix]) -> Matrix {
    let inputs = matrices.first().map_or(0, Matrix::columns);
    let mut known = Matrix::identity(inputs);
    for (place, matrix) in matrices.iter().enumerate() {
        let rows = matrix.mul(&known);
        if place + 1 == matrices.len() {
            return rows;
        }
        known = known.above(&rows);
    }
    known
}
