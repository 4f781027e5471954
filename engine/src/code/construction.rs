//! What distinguishes one linear code from another: five maps.

use std::fmt;

use super::chain::{Chain, product};
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
    fn apply(&self, width: usize, sources: &[&[u8]], targets: &mut [&mut [u8]], _: &mut Vec<u8>) {
        let inputs: Vec<&[u8]> =
            sources.iter().flat_map(|source| source.chunks_exact(width)).collect();
        let mut outputs: Vec<&mut [u8]> =
            targets.iter_mut().flat_map(|target| target.chunks_exact_mut(width)).collect();
        Combination::apply(self, &inputs, &mut outputs);
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

    /// Contents of k slots, one after another, to the B message symbols, as a chain of matrices:
    /// the columns of each are the k · alpha symbols, then the rows of all before it.
    fn decoder(&self, slots: &[Slot]) -> Vec<Matrix>;

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
        let chain = Matrices::decoder(self, slots);
        let (whole, steps) = (Combination::new(&product(&chain)), Chain::new(&chain));
        if steps.products() < whole.products() { Box::new(steps) } else { Box::new(whole) }
    }

    fn helper(&self, failed: Slot) -> Box<dyn GroupMap> {
        ready(&Matrices::helper(self, failed))
    }

    fn repairer(&self, failed: Slot, helpers: &[Slot]) -> Box<dyn GroupMap> {
        ready(&self.repair(failed, helpers))
    }

    fn rebuilder(&self, failed: Slot, slots: &[Slot]) -> Box<dyn GroupMap> {
        ready(&self.generator(failed).mul(&product(&Matrices::decoder(self, slots))))
    }
}

fn ready(matrix: &Matrix) -> Box<dyn GroupMap> {
    Box::new(Combination::new(matrix))
}
