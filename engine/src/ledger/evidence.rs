//! Proof that a helper lied, good for everybody: a pair symbol that it signed and that its committed
//! row does not admit. It discloses nothing, since the value shown is the wrong one (`crypto.md` §4.4).

use minicbor::{Decode, Encode};

use crate::keyshare::ProvenSymbol;
use crate::names::{NetworkId, NodeId, Slot};
use crate::object::Descriptor;
use crate::signature::Signature;
use crate::wire::{PartReference, SymbolStatement};

/// Wrong symbols of as many different objects exclude a machine: one may be a glitch.
pub const WRONG_SYMBOLS_MAX: usize = 3;

/// A wrong symbol, signed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct WrongSymbol {
    /// Who signed.
    #[n(0)]
    pub helper: NodeId,
    /// The part that it spoke of. The object's id fixes the descriptor, and that the rows: nobody can
    /// frame a helper with other commitments.
    #[n(1)]
    pub part: PartReference,
    /// The slot that was to be repaired.
    #[n(2)]
    pub lost: Slot,
    /// What it said of the key share.
    #[n(3)]
    pub key_symbol: ProvenSymbol,
    /// BLAKE3 of what it said of the fragment.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub fragment_symbols: [u8; 32],
    /// Its signature over all of it.
    #[n(5)]
    pub signature: Signature,
    /// Canonical bytes of the object's descriptor.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub descriptor: Vec<u8>,
}

impl WrongSymbol {
    /// Whether the helper really signed it in `network`, and it is wrong.
    pub fn convicts(&self, network: &NetworkId) -> bool {
        let Ok(descriptor) = Descriptor::decode(&self.descriptor) else { return false };
        let Some(row) = descriptor.rows.get(self.part.slot.index()) else { return false };
        let of_object = descriptor.object_id() == self.part.object
            && descriptor.group == self.part.group
            && self.lost != self.part.slot
            && descriptor.rows.get(self.lost.index()).is_some();
        let signed = SymbolStatement::verify_digest(
            network,
            (&self.part, self.lost),
            &self.key_symbol,
            &self.fragment_symbols,
            (&self.helper, &self.signature),
        );
        let wrong = self.key_symbol.helper() != self.part.slot
            || self.key_symbol.verify(&descriptor.binding(), self.lost, row).is_err();
        of_object && signed && wrong
    }
}
