//! Restoring a lost share when only k slots survive and d = k + 1 would be needed.
//!
//! The k pair symbols with the lost slot leave one coefficient of its polynomial open, the highest,
//! which is its read part: by Lagrange a sum of the helpers' read parts. Each helper sends its
//! addend under pads that it shares with every other helper, made from their pair symbols; the pads
//! cancel in the sum. One round, 64 bytes a helper and a path; nobody learns more than its share
//! (`engine/spec/keyshare.md` §8).

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};
use thiserror::Error;

use super::commitment::{PeerFault, RowHash, sift};
use super::parameters::{Binding, SECRET_LEN};
use super::repair::ProvenSymbol;
use super::share::Share;
use super::symbol::{self, Symbol};
use crate::gf;
use crate::hash::kdf;
use crate::names::Slot;

/// What one of the k survivors sends. Encoded as `[proven symbol, padded part]`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DegradedHelp {
    #[n(0)]
    symbol: ProvenSymbol,
    #[n(1)]
    padded_part: Symbol,
}

/// A degraded repair that cannot be, whoever takes part.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DegradedSetupError {
    /// With d = k the k survivors are enough for an ordinary repair.
    #[error("d = k: ask the k survivors for an ordinary repair")]
    Unneeded,
    /// Not k distinct slots of the group other than the lost one, this slot among them.
    #[error("the helpers are not k slots of the group other than the lost one")]
    Helpers,
    /// The epoch's rows do not cover the symbol of this pair.
    #[error("the pair symbol with the lost slot is not committed")]
    Uncovered,
}

/// Why a share was not restored. Nothing was changed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DegradedRepairError {
    /// The caller's mistake.
    #[error(transparent)]
    Setup(#[from] DegradedSetupError),
    /// The caller's mistake: not the rows of all slots.
    #[error("{rows} rows for a group of {n}")]
    Mismatch {
        /// Rows given.
        rows: usize,
        /// Slots of the group.
        n: u8,
    },
    /// Helpers whose pair symbol is missing or false; all k are needed.
    #[error("{missing} more true symbols are needed; {} helpers lied", liars.len())]
    Missing {
        /// Helpers whose true symbol is still needed.
        missing: usize,
        /// The slots whose holders sent a false symbol.
        liars: BTreeSet<Slot>,
    },
    /// All pair symbols are true and the sum of the parts is not: a helper lied in its padded part,
    /// or the row is wrong. Who, cannot be told: to open the pads would give V away. Wait for one
    /// more survivor; d helpers repair without trusting anyone.
    #[error("a helper sent a false part, and it cannot be told which; wait for one more survivor")]
    Unattributable,
}

impl Share {
    /// What this slot sends to the holder of `failed` when exactly `helpers`, this slot among them,
    /// are to restore it. The same at every call.
    pub fn help_degraded(
        &self,
        binding: &Binding<'_>,
        failed: Slot,
        helpers: &BTreeSet<Slot>,
    ) -> Result<DegradedHelp, DegradedSetupError> {
        check_setup(binding, failed, helpers)?;
        if !helpers.contains(&self.slot()) {
            return Err(DegradedSetupError::Helpers);
        }
        let symbol = self.prove_symbol(binding, failed).ok_or(DegradedSetupError::Uncovered)?;
        let pad = |other| pad(binding, failed, helpers, self, other);
        Ok(DegradedHelp { symbol, padded_part: self.padded_part(binding, failed, helpers, pad) })
    }

    /// The Lagrange addend of this slot's read part for `failed`, under one pad for every other
    /// helper.
    pub(super) fn padded_part(
        &self,
        binding: &Binding<'_>,
        failed: Slot,
        helpers: &BTreeSet<Slot>,
        pad: impl Fn(Slot) -> Symbol,
    ) -> Symbol {
        let points: Vec<u8> = helpers.iter().map(|helper| helper.point()).collect();
        let weights = gf::lagrange(&points, failed.point());
        let mut padded = Symbol::zero();
        for (&helper, weight) in helpers.iter().zip(weights) {
            if helper == self.slot() {
                padded.add_scaled(weight, self.read_part(binding.parameters));
            } else {
                padded.add_scaled(1, &pad(helper));
            }
        }
        padded
    }
}

/// Restores the share of `failed` from what all of the k `helpers` sent.
///
/// `rows` are the rows of all n slots, checked against the root by the caller.
pub fn repair_degraded(
    binding: &Binding<'_>,
    failed: Slot,
    helpers: &BTreeSet<Slot>,
    rows: &[RowHash],
    helps: &[DegradedHelp],
) -> Result<Share, DegradedRepairError> {
    check_setup(binding, failed, helpers)?;
    let n = binding.parameters.n();
    if rows.len() != usize::from(n) {
        return Err(DegradedRepairError::Mismatch { rows: rows.len(), n });
    }
    let (helps, liars) = sift(helps.iter().filter_map(|help| {
        let slot = help.symbol.helper();
        let row = helpers.contains(&slot).then(|| &rows[slot.index()])?;
        let verdict: Result<(), PeerFault> = help.symbol.verify(binding, failed, row);
        Some(verdict.map(|()| (slot, help)))
    }));
    if helps.len() < helpers.len() {
        let missing = helpers.len() - helps.len();
        return Err(DegradedRepairError::Missing { missing, liars });
    }
    let mut part = Symbol::zero();
    helps.values().for_each(|help| part.add_scaled(1, &help.padded_part));
    let points: Vec<_> = helps.iter().map(|(&slot, help)| (slot, help.symbol.symbol())).collect();
    let share = Share::new(failed, with_highest(&points, &part));
    if share.matches(binding, &rows[failed.index()]) {
        Ok(share)
    } else {
        Err(DegradedRepairError::Unattributable)
    }
}

fn check_setup(
    binding: &Binding<'_>,
    failed: Slot,
    helpers: &BTreeSet<Slot>,
) -> Result<(), DegradedSetupError> {
    let parameters = binding.parameters;
    if !parameters.has_spare() {
        return Err(DegradedSetupError::Unneeded);
    }
    let fits = parameters.contains(failed)
        && !helpers.contains(&failed)
        && helpers.len() == usize::from(parameters.k())
        && helpers.iter().all(|&helper| parameters.contains(helper));
    if fits { Ok(()) } else { Err(DegradedSetupError::Helpers) }
}

/// `KDF(u_ij, "ks/pad"; salt, epoch, n k d, lost, helpers, min max)`: a one-time pad that only the
/// two helpers know. It serves one set of helpers and one lost slot, whoever asks how often.
fn pad(
    binding: &Binding<'_>,
    failed: Slot,
    helpers: &BTreeSet<Slot>,
    share: &Share,
    other: Slot,
) -> Symbol {
    let epoch = binding.epoch.0.to_be_bytes();
    let parameters = binding.parameters.to_bytes();
    let helpers: Vec<u8> = helpers.iter().map(|helper| helper.point()).collect();
    let pair = [share.slot().min(other).point(), share.slot().max(other).point()];
    let parts: [&[u8]; 6] = [binding.salt, &epoch, &parameters, &[failed.point()], &helpers, &pair];
    let mut pad = [0; SECRET_LEN];
    kdf(share.pair_symbol(other).expose(), "ks/pad", &parts, &mut pad);
    Symbol::from(pad)
}

/// The coefficients of the polynomial through the points whose coefficient above those that the
/// points determine is `highest`: the interpolation plus `highest` times the product of (y - x_i).
fn with_highest(points: &[(Slot, &Symbol)], highest: &Symbol) -> Vec<Symbol> {
    let mut coefficients = symbol::interpolate(points);
    coefficients.push(Symbol::zero());
    let product = points.iter().fold(vec![1], |product: Vec<u8>, (slot, _)| {
        let scaled = product.iter().map(|&c| gf::mul(c, slot.point())).chain([0]);
        std::iter::once(0).chain(product.iter().copied()).zip(scaled).map(|(a, b)| a ^ b).collect()
    });
    for (coefficient, factor) in coefficients.iter_mut().zip(product) {
        coefficient.add_scaled(factor, highest);
    }
    coefficients
}
