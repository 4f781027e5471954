//! What distinguishes one linear code from another: four matrices.

use std::fmt;

use crate::gf::Matrix;
use crate::names::Slot;

/// A linear code over columns of `message_len` symbols, by its matrices.
///
/// A column of message symbols m gives slot i the `alpha` symbols G_i · m. Everything else follows
/// from the matrices, and one bulk routine serves every code and every operation. A helper of a
/// repair sends one symbol per column (beta = 1), whatever the slot that helps.
///
/// Slots given to these methods are distinct and at most n.
pub(super) trait Construction: fmt::Debug + Send + Sync {
    /// Symbols that a slot stores per column.
    fn alpha(&self) -> usize;

    /// Message symbols per column, B.
    fn message_len(&self) -> usize;

    /// alpha × B: message to the content of `slot`.
    fn generator(&self, slot: Slot) -> Matrix;

    /// B × (k · alpha): contents of k slots, one after another, to the message.
    fn decoder(&self, slots: &[Slot]) -> Matrix;

    /// 1 × alpha: content of a helper to the symbol it sends for `failed`.
    fn helper(&self, failed: Slot) -> Matrix;

    /// alpha × d: the helpers' symbols to the content of `failed`, which is not among them.
    fn repair(&self, failed: Slot, helpers: &[Slot]) -> Matrix;
}
