//! Recovering V from the read parts of k slots.
//!
//! A read part is an ordinary Shamir share of V of threshold k at the point of its slot.

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};
use thiserror::Error;

use super::commitment::{PeerFault, RowHash, leads_to, part_index, part_leaf, sift};
use super::deal::Secret;
use super::locate;
use super::parameters::{Binding, KeyParameters};
use super::share::Share;
use super::symbol::Symbol;
use crate::names::Slot;

/// What a slot sends to a reader: its read part and the proof that it is committed.
///
/// Encoded as `[slot, part, path]`; the path is the sibling hashes from the leaf up.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ProvenPart {
    #[n(0)]
    slot: Slot,
    #[n(1)]
    part: Symbol,
    #[cbor(n(2), with = "minicbor::bytes")]
    path: Vec<u8>,
}

/// Why V was not read. Nothing was changed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ReadError {
    /// The caller's mistake: not the rows of all slots.
    #[error("{rows} rows for a group of {n}")]
    Mismatch {
        /// Rows given.
        rows: usize,
        /// Slots of the group.
        n: u8,
    },
    /// After a renewal no row covers read parts; read whole shares with [`read_shares`].
    #[error("read parts are not committed after a renewal; ask for whole shares")]
    Uncovered,
    /// Too few slots sent their true part; ask others.
    #[error("{missing} more true parts are needed; {} slots lied", liars.len())]
    Missing {
        /// True parts of further slots still needed.
        missing: usize,
        /// The slots whose holders sent a false part.
        liars: BTreeSet<Slot>,
    },
    /// Every part is committed, yet more than k of them contradict each other: the writer of the
    /// object dealt inconsistently. No holder is to blame.
    #[error("the writer dealt an ill-formed sharing")]
    IllFormed,
}

/// Why V was not read without commitments. Nothing was changed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RobustReadError {
    /// A part of a slot that the group does not have.
    #[error("slot {0} is not in the group")]
    OutsideGroup(Slot),
    /// Two parts of one slot.
    #[error("slot {0} appears twice")]
    Duplicate(Slot),
    /// Fewer than k parts.
    #[error("{missing} more parts are needed")]
    Missing {
        /// Parts of further slots still needed.
        missing: usize,
    },
    /// More than floor((m - k) / 2) of the m parts are wrong; ask others.
    #[error("too many of the parts are wrong to tell which")]
    Inconsistent,
}

impl Share {
    /// What this slot sends to a reader.
    pub fn prove_part(&self, binding: &Binding<'_>) -> ProvenPart {
        ProvenPart {
            slot: self.slot(),
            part: self.read_part(binding.parameters).clone(),
            path: self.row_tree(binding).path(part_index(binding.parameters)),
        }
    }
}

impl ProvenPart {
    /// The slot that says so.
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// The Shamir share of V, not yet verified.
    pub fn part(&self) -> &Symbol {
        &self.part
    }

    /// Checks the part against the committed row of its slot.
    pub fn verify(&self, binding: &Binding<'_>, row: &RowHash) -> Result<(), PeerFault> {
        let parameters = binding.parameters;
        let leaf = part_leaf(binding, self.slot, usize::from(parameters.d()), &self.part);
        let count = usize::from(parameters.n());
        if leads_to(row, count, part_index(parameters), leaf, &self.path) {
            Ok(())
        } else {
            Err(PeerFault { slot: self.slot })
        }
    }
}

/// Recovers V from the parts of at least k distinct slots, each verified before use.
///
/// `rows` are the rows of all n slots, checked against the root by the caller. Returns V and the
/// slots whose holders lied.
pub fn read(
    binding: &Binding<'_>,
    rows: &[RowHash],
    parts: &[ProvenPart],
) -> Result<(Secret, BTreeSet<Slot>), ReadError> {
    let (n, k) = (binding.parameters.n(), usize::from(binding.parameters.k()));
    if rows.len() != usize::from(n) {
        return Err(ReadError::Mismatch { rows: rows.len(), n });
    }
    if binding.coverage.is_some() {
        return Err(ReadError::Uncovered);
    }
    let (truths, liars) = sift(parts.iter().map(|said| {
        let row = rows.get(said.slot.index()).ok_or(PeerFault { slot: said.slot })?;
        said.verify(binding, row)?;
        Ok((said.slot, &said.part))
    }));
    if truths.len() < k {
        return Err(ReadError::Missing { missing: k - truths.len(), liars });
    }
    let points: Vec<_> = truths.into_iter().collect();
    let coefficients = locate::through_all(&points, k).ok_or(ReadError::IllFormed)?;
    Ok((constant_term(coefficients), liars))
}

/// Recovers V from the whole shares of at least k distinct slots, each checked against its row.
///
/// The way to read after a renewal, whose rows cover pair symbols only. `rows` are the rows of all n
/// slots, checked against the root by the caller. Returns V and the slots whose holders lied.
pub fn read_shares(
    binding: &Binding<'_>,
    rows: &[RowHash],
    shares: &[Share],
) -> Result<(Secret, BTreeSet<Slot>), ReadError> {
    let (n, k) = (binding.parameters.n(), usize::from(binding.parameters.k()));
    if rows.len() != usize::from(n) {
        return Err(ReadError::Mismatch { rows: rows.len(), n });
    }
    let (truths, liars) = sift(shares.iter().map(|share| {
        let fault = PeerFault { slot: share.slot() };
        let row = rows.get(share.slot().index()).ok_or(fault)?;
        if share.matches(binding, row) { Ok((share.slot(), share)) } else { Err(fault) }
    }));
    if truths.len() < k {
        return Err(ReadError::Missing { missing: k - truths.len(), liars });
    }
    let part =
        |(slot, share): (Slot, &'_ Share)| (slot, share.read_part(binding.parameters).clone());
    let parts: Vec<(Slot, Symbol)> = truths.into_iter().map(part).collect();
    let points: Vec<_> = parts.iter().map(|(slot, part)| (*slot, part)).collect();
    let coefficients = locate::through_all(&points, k).ok_or(ReadError::IllFormed)?;
    Ok((constant_term(coefficients), liars))
}

/// Recovers V from m >= k unproven parts of distinct slots, of which up to floor((m - k) / 2) may
/// be wrong (Reed-Solomon decoding). Returns V and the slots whose parts are wrong.
///
/// With m = k nothing is checked; with m = k + 1 a wrong part is noticed, not found.
pub fn read_robust(
    parameters: KeyParameters,
    parts: &[(Slot, &Symbol)],
) -> Result<(Secret, BTreeSet<Slot>), RobustReadError> {
    let k = usize::from(parameters.k());
    let mut slots = BTreeSet::new();
    for &(slot, _) in parts {
        if !parameters.contains(slot) {
            return Err(RobustReadError::OutsideGroup(slot));
        }
        if !slots.insert(slot) {
            return Err(RobustReadError::Duplicate(slot));
        }
    }
    if parts.len() < k {
        return Err(RobustReadError::Missing { missing: k - parts.len() });
    }
    let (coefficients, wrong) = locate::decode(parts, k).ok_or(RobustReadError::Inconsistent)?;
    Ok((constant_term(coefficients), wrong))
}

fn constant_term(coefficients: Vec<Symbol>) -> Secret {
    Secret::new(coefficients.into_iter().next().unwrap_or_else(Symbol::zero))
}
