//! A helper's word on a pair symbol, and what it is worth.

use crate::keyshare::{ProvenSymbol, RenewedRows};
use crate::ledger::WrongSymbol;
use crate::names::{Epoch, NetworkId, NodeId, Slot};
use crate::object::Descriptor;
use crate::signature::Signature;
use crate::wire::{PartReference, Response, SymbolStatement};

/// A helper's pair symbol as it came.
pub(super) struct HelpedSymbol {
    pub(super) key_symbol: ProvenSymbol,
    /// Of the share; none if the helper was asked as one that knows of no refresh.
    pub(super) epoch: Option<Epoch>,
    pub(super) signature: Signature,
}

/// Whom a symbol was asked of, and for whom.
pub(super) struct Helped<'a> {
    pub(super) network: &'a NetworkId,
    pub(super) helper: &'a NodeId,
    pub(super) part: PartReference,
    pub(super) lost: Slot,
}

/// Why a pair symbol is not used.
pub(super) enum NoSymbol {
    /// The helper did not sign what it sent.
    Signature,
    /// It is of another epoch than the commitments at hand, or of a pair that these leave out: nobody's
    /// fault.
    Useless,
    /// It is wrong, and this proves it to everybody.
    Wrong(Box<WrongSymbol>),
}

impl HelpedSymbol {
    /// What a response to `Symbols` or `RenewedSymbols` says of the key share, if it is one.
    pub(super) fn of(response: Response) -> Option<Self> {
        match response {
            Response::Symbols { key_symbol, signature, .. } => {
                Some(Self { key_symbol, epoch: None, signature })
            }
            Response::RenewedSymbols { key_symbol, epoch, signature, .. } => {
                Some(Self { key_symbol, epoch: Some(epoch), signature })
            }
            _ => None,
        }
    }

    /// Checks it, sent with these symbols of the fragment, against the object's commitments. One for a
    /// slot whose share they do not commit to passes without a proof.
    pub(super) fn check(
        &self,
        asked: &Helped<'_>,
        descriptor: &Descriptor,
        renewed: Option<&RenewedRows>,
        fragment_symbols: &[u8],
    ) -> Result<(), NoSymbol> {
        let (part, lost) = (asked.part, asked.lost);
        let fragment_symbols = *blake3::hash(fragment_symbols).as_bytes();
        let statement = SymbolStatement {
            network: asked.network,
            part: &part,
            lost,
            key_symbol: &self.key_symbol,
            fragment_symbols,
            epoch: self.epoch,
        };
        if !statement.verify(asked.helper, &self.signature) {
            return Err(NoSymbol::Signature);
        }
        let (binding, rows) = descriptor.commitments(renewed);
        if self.epoch.is_some_and(|epoch| epoch != binding.epoch) {
            return Err(NoSymbol::Useless);
        }
        let of_helper = self.key_symbol.helper() == part.slot;
        if !binding.commits_to(lost) {
            return if of_helper { Ok(()) } else { Err(NoSymbol::Signature) };
        }
        if !binding.covers(part.slot, lost) {
            return Err(NoSymbol::Useless);
        }
        let proven = rows
            .get(part.slot.index())
            .is_some_and(|row| of_helper && self.key_symbol.verify(&binding, lost, row).is_ok());
        if proven {
            return Ok(());
        }
        Err(NoSymbol::Wrong(Box::new(WrongSymbol {
            helper: *asked.helper,
            part,
            lost,
            key_symbol: self.key_symbol.clone(),
            fragment_symbols,
            signature: self.signature,
            descriptor: descriptor.encode(),
            epoch: self.epoch,
            renewed: renewed.cloned().map(Box::new),
        })))
    }
}
