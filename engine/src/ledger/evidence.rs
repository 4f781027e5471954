//! Proof that a helper lied, good for everybody: a pair symbol that it signed and that its committed
//! row does not admit. It discloses nothing, since the value shown is the wrong one (`crypto.md` §4.4).

use minicbor::{Decode, Encode};

use crate::keyshare::{ProvenSymbol, RenewedRows};
use crate::names::{Epoch, NetworkId, NodeId, Slot};
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
    /// The epoch it spoke of, if it was asked as one that knows of refreshes; rules version 6.
    #[n(7)]
    pub epoch: Option<Epoch>,
    /// The rows of that epoch, if the share was renewed; the ledger has the root they stand under.
    #[n(8)]
    pub renewed: Option<Box<RenewedRows>>,
}

impl WrongSymbol {
    /// Whether it is of an epoch: as earlier rules did not know it.
    pub fn names_epoch(&self) -> bool {
        self.epoch.is_some() || self.renewed.is_some()
    }

    /// Whether the helper really signed it in `network`, and it is wrong. Of renewed rows it is left
    /// to be checked that they [stand under the root](Self::stands_under) of their epoch.
    pub fn convicts(&self, network: &NetworkId) -> bool {
        let Ok(descriptor) = Descriptor::decode(&self.descriptor) else { return false };
        let (binding, rows) = descriptor.commitments(self.renewed.as_deref());
        let Some(row) = rows.get(self.part.slot.index()) else { return false };
        let of_object = descriptor.object_id() == self.part.object
            && descriptor.group == self.part.group
            && self.lost != self.part.slot
            && rows.get(self.lost.index()).is_some()
            // Of a pair that a refresh left uncommitted nobody can tell what is right.
            && binding.covers(self.part.slot, self.lost)
            && self.epoch.is_none_or(|epoch| epoch == binding.epoch);
        let statement = SymbolStatement {
            network,
            part: &self.part,
            lost: self.lost,
            key_symbol: &self.key_symbol,
            fragment_symbols: self.fragment_symbols,
            epoch: self.epoch,
        };
        let wrong = self.key_symbol.helper() != self.part.slot
            || self.key_symbol.verify(&binding, self.lost, row).is_err();
        of_object && statement.verify(&self.helper, &self.signature) && wrong
    }

    /// Whether its renewed rows, if it has any, are the object's under the root that `root` tells of
    /// their epoch.
    pub(super) fn stands_under<'a>(&self, root: impl Fn(Epoch) -> Option<&'a [u8; 32]>) -> bool {
        let Some(rows) = &self.renewed else { return true };
        let (Ok(descriptor), Some(root)) = (Descriptor::decode(&self.descriptor), root(rows.epoch))
        else {
            return false;
        };
        rows.stand_under(root, &self.part.object, descriptor.key, &descriptor.salt)
    }
}
