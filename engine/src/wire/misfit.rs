//! What shows that a writer is to blame for a part that is not there: the body of an answer to `Misfit`.

use minicbor::{Decode, Encode};

use crate::keyshare::ProvenSymbol;
use crate::names::Slot;

/// Why a slot's part of an object cannot be rebuilt: the parts that its writer stored do not fit together.
#[derive(Clone, Debug, Encode, Decode)]
pub enum MisfitProof {
    /// The symbols of d helpers for the slot. All stand under rows of the descriptor, and the share that they
    /// give does not stand under the slot's own: for an object that was written right nobody has such.
    #[n(0)]
    Share(#[n(0)] Vec<ProvenSymbol>),
    /// k slots whose fragments, each of its own root, give another fragment for the slot than its root is of.
    #[n(1)]
    Fragment(#[n(0)] Vec<Slot>),
}

impl MisfitProof {
    /// How many slots it names.
    pub fn slots(&self) -> usize {
        match self {
            Self::Share(symbols) => symbols.len(),
            Self::Fragment(slots) => slots.len(),
        }
    }
}
