//! Restoring a lost share from any d helpers, in one round, without V.

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};
use thiserror::Error;

use super::commitment::{PeerFault, RowHash, leads_to, pair_index, pair_leaf, sift};
use super::locate;
use super::parameters::{Binding, KeyParameters};
use super::share::Share;
use super::symbol::{self, Symbol};
use crate::names::Slot;

/// What a helper sends: its pair symbol with the failed slot and the proof that it is committed.
///
/// Encoded as `[helper, symbol, path]`; the path is the sibling hashes from the leaf up.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ProvenSymbol {
    #[n(0)]
    helper: Slot,
    #[n(1)]
    symbol: Symbol,
    #[cbor(n(2), with = "minicbor::bytes")]
    path: Vec<u8>,
}

/// Why a share was not restored. Nothing was changed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RepairError {
    /// The caller's mistake: the failed slot is not one of the group, or the rows are not all there.
    #[error("slot {failed} cannot be repaired against {rows} rows in a group of {n}")]
    Mismatch {
        /// The slot asked for.
        failed: Slot,
        /// Rows given.
        rows: usize,
        /// Slots of the group.
        n: u8,
    },
    /// Too few helpers sent their true symbol; ask others.
    #[error("{missing} more true symbols are needed; {} helpers lied", liars.len())]
    Missing {
        /// True symbols of further helpers still needed.
        missing: usize,
        /// The slots whose holders sent a false symbol.
        liars: BTreeSet<Slot>,
    },
    /// Every symbol used is committed, yet they do not give the committed share. As dealt: the
    /// writer of the object dealt inconsistently. After a renewal: two slots vouched for a false
    /// symbol, or too little is covered to tell; ask all for an unproven repair
    /// ([`repair_robust`]).
    #[error("the committed symbols do not give the committed share")]
    IllFormed,
}

/// Why a share was not restored without commitments. Nothing was changed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RobustRepairError {
    /// The lost slot, or a helper, is not in the group or is the lost slot.
    #[error("slot {0} cannot take part")]
    OutsideGroup(Slot),
    /// Two symbols of one slot.
    #[error("slot {0} appears twice")]
    Duplicate(Slot),
    /// Fewer than d symbols.
    #[error("{missing} more symbols are needed")]
    Missing {
        /// Symbols of further slots still needed.
        missing: usize,
    },
    /// More than floor((m - d) / 2) of the m symbols are wrong; ask others.
    #[error("too many of the symbols are wrong to tell which")]
    Inconsistent,
}

impl Share {
    /// What this slot sends to the holder of `failed`; `None` if that is this slot itself or none
    /// of the group, or if the rows do not cover the pair.
    pub fn prove_symbol(&self, binding: &Binding<'_>, failed: Slot) -> Option<ProvenSymbol> {
        let index = pair_index(binding.parameters, self.slot(), failed)
            .filter(|_| binding.covers(self.slot(), failed))?;
        Some(ProvenSymbol {
            helper: self.slot(),
            symbol: self.pair_symbol(failed),
            path: self.row_tree(binding).path(index),
        })
    }
}

impl Share {
    /// What this slot sends to the holder of `failed`, a slot whose row commits to too little to be
    /// repaired with proofs: a symbol without one, for [`repair_robust`]. `None` if `failed` is this
    /// slot itself or none of the group.
    pub fn unproven_symbol(&self, parameters: KeyParameters, failed: Slot) -> Option<ProvenSymbol> {
        pair_index(parameters, self.slot(), failed)?;
        let (helper, symbol) = (self.slot(), self.pair_symbol(failed));
        Some(ProvenSymbol { helper, symbol, path: Vec::new() })
    }
}

impl ProvenSymbol {
    /// The slot that says so.
    pub fn helper(&self) -> Slot {
        self.helper
    }

    /// The symbol, proven or not.
    pub fn symbol(&self) -> &Symbol {
        &self.symbol
    }

    /// Checks the symbol against the helper's committed row.
    pub fn verify(
        &self,
        binding: &Binding<'_>,
        failed: Slot,
        row: &RowHash,
    ) -> Result<(), PeerFault> {
        let count = usize::from(binding.parameters.n());
        let leaf = pair_leaf(binding, self.helper, failed, &self.symbol);
        pair_index(binding.parameters, self.helper, failed)
            .filter(|&index| leads_to(row, count, index, leaf, &self.path))
            .map(|_| ())
            .ok_or(PeerFault { slot: self.helper })
    }
}

/// Restores the share of `failed` from the symbols of at least d distinct helpers.
///
/// `rows` are the rows of all n slots, checked against the root by the caller. Every symbol is
/// verified before use, and the restored share against its own row. Returns the share and the
/// slots whose holders lied.
pub fn repair(
    binding: &Binding<'_>,
    failed: Slot,
    rows: &[RowHash],
    symbols: &[ProvenSymbol],
) -> Result<(Share, BTreeSet<Slot>), RepairError> {
    let (n, d) = (binding.parameters.n(), usize::from(binding.parameters.d()));
    let row = match rows.get(failed.index()) {
        Some(row) if rows.len() == usize::from(n) => row,
        _ => return Err(RepairError::Mismatch { failed, rows: rows.len(), n }),
    };
    let (truths, liars) = sift(symbols.iter().map(|said| {
        let row = rows.get(said.helper.index()).ok_or(PeerFault { slot: said.helper })?;
        said.verify(binding, failed, row)?;
        Ok((said.helper, &said.symbol))
    }));
    if truths.len() < d {
        return Err(RepairError::Missing { missing: d - truths.len(), liars });
    }
    let points: Vec<_> = truths.into_iter().take(d).collect();
    let share = Share::new(failed, symbol::interpolate(&points));
    if share.matches(binding, row) { Ok((share, liars)) } else { Err(RepairError::IllFormed) }
}

/// Restores the share of `failed` from the unproven symbols of m >= d distinct helpers, of which up
/// to floor((m - d) / 2) may be wrong: the symbols are a Reed-Solomon codeword. Returns the share and
/// the slots whose symbols are wrong.
///
/// For slots whose row does not cover d symbols, because they were absent from the last renewal.
pub fn repair_robust(
    parameters: KeyParameters,
    failed: Slot,
    symbols: &[(Slot, &Symbol)],
) -> Result<(Share, BTreeSet<Slot>), RobustRepairError> {
    let d = usize::from(parameters.d());
    let outside = |slot: &Slot| *slot == failed || !parameters.contains(*slot);
    if !parameters.contains(failed) {
        return Err(RobustRepairError::OutsideGroup(failed));
    }
    let mut slots = BTreeSet::new();
    for &(slot, _) in symbols {
        if outside(&slot) {
            return Err(RobustRepairError::OutsideGroup(slot));
        }
        if !slots.insert(slot) {
            return Err(RobustRepairError::Duplicate(slot));
        }
    }
    if symbols.len() < d {
        return Err(RobustRepairError::Missing { missing: d - symbols.len() });
    }
    let (coefficients, wrong) =
        locate::decode(symbols, d).ok_or(RobustRepairError::Inconsistent)?;
    Ok((Share::new(failed, coefficients), wrong))
}
