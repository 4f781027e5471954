//! The last round: every receiver commits to its new shares, and the commitments are compared.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::dealing::DealerFault;
use super::messages::Leaves;
use super::terms::Terms;
use crate::keyshare::commitment::{Digest, RowHash, RowTree, UNCOVERED, pair_leaf};
use crate::keyshare::coverage::Coverage;
use crate::keyshare::parameters::Binding;
use crate::keyshare::share::Share;
use crate::names::Slot;

/// What a receiver did wrong.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ReceiverFault {
    /// Its check value is off the polynomial of all others.
    #[error("posted a wrong check value")]
    CheckValue,
    /// It vouched for other symbols of an object than so many others did, more than can be corrupt. Either
    /// it lies, or the writer had dealt it a share that fits no other.
    #[error("contradicts {0} others about their pair symbols, unless a writer dealt it such")]
    Leaves(usize),
}

/// What a dispute about one object leaves uncovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disputes {
    /// The pair of slots in all objects of the batch: before version 10 of the rules.
    OfBatch,
    /// The pair of slots in that object. An object that cannot be covered is left out.
    OfObject,
}

/// A batch renewed, as one receiver sees it. All but the shares is the same for all.
///
/// The old shares are to be erased when the ledger has the new roots, and not before.
#[derive(Debug)]
pub struct Renewed {
    /// What there is of every object. None of one that is left out: more slots contradict the others
    /// than can be corrupt, so its writer had dealt shares that do not fit together, and its old shares
    /// stay what they are.
    pub objects: Vec<Option<RenewedObject>>,
    /// How many of those that took part could lie without harm: as many as may be corrupt, less those
    /// that vouched for nothing.
    pub liars_borne: usize,
    /// The dealers whose sharings were not used, and why.
    pub dealers_excluded: BTreeMap<Slot, DealerFault>,
    /// Receivers that contradict the others; the sharings are right all the same.
    pub receivers_faulty: BTreeMap<Slot, ReceiverFault>,
}

/// One object of a batch renewed.
#[derive(Debug)]
pub struct RenewedObject {
    /// This slot's new share.
    pub share: Share,
    /// The new rows, in slot order.
    pub rows: Vec<RowHash>,
    /// What these rows cover.
    pub coverage: Coverage,
}

/// Leaves come in, this slot's own among them.
#[derive(Debug)]
pub struct VouchRound {
    terms: Terms,
    shares: Vec<Share>,
    dealers_excluded: BTreeMap<Slot, DealerFault>,
    receivers_faulty: BTreeMap<Slot, ReceiverFault>,
    leaves: BTreeMap<Slot, Leaves>,
}

impl VouchRound {
    pub(super) fn new(
        terms: Terms,
        slot: Slot,
        shares: Vec<Share>,
        dealers_excluded: BTreeMap<Slot, DealerFault>,
        receivers_faulty: BTreeMap<Slot, ReceiverFault>,
    ) -> (Leaves, Self) {
        let mut leaves = Vec::with_capacity(shares.len() * terms.receivers().len());
        for (object, share) in shares.iter().enumerate() {
            let binding = terms.binding(object);
            let others = terms.receivers().iter().filter(|&&other| other != slot);
            leaves.extend(
                others.map(|&other| pair_leaf(&binding, slot, other, &share.pair_symbol(other))),
            );
        }
        let leaves = Leaves { leaves };
        let posted = BTreeMap::new();
        (leaves, Self { terms, shares, dealers_excluded, receivers_faulty, leaves: posted })
    }

    /// Takes a receiver's post; the first counts.
    pub fn handle_leaves(&mut self, from: Slot, leaves: Leaves) {
        let receivers = self.terms.receivers();
        let expected = self.terms.objects() * (receivers.len() - 1);
        if leaves.leaves.len() == expected && receivers.contains(&from) {
            self.leaves.entry(from).or_insert(leaves);
        }
    }

    /// Ends the renewal. Takes time in proportion to the objects and to the pairs of slots.
    pub fn close(mut self, disputes: Disputes) -> Renewed {
        let mut coverages: Vec<Coverage> =
            (0..self.terms.objects()).map(|object| self.coverage(object)).collect();
        if disputes == Disputes::OfBatch {
            let all = coverages.iter().flat_map(|coverage| coverage.disputed()).copied().collect();
            let vouched = self.leaves.keys().copied().collect();
            coverages = vec![Coverage::new(vouched, all); coverages.len()];
        }
        for coverage in &coverages {
            self.name_faulty(coverage);
        }
        let shares = std::mem::take(&mut self.shares);
        let renewed = |((object, share), coverage): ((usize, Share), Coverage)| {
            let left_out = disputes == Disputes::OfObject && !self.is_borne(object, &coverage);
            let rows = || self.rows(&coverage, object);
            (!left_out).then(rows).map(|rows| RenewedObject { share, rows, coverage })
        };
        let objects = shares.into_iter().enumerate().zip(coverages).map(renewed).collect();
        let absent = self.terms.receivers().len() - self.leaves.len();
        let liars_borne = self.terms.receiver_faults_max().saturating_sub(absent);
        let Self { dealers_excluded, receivers_faulty, .. } = self;
        Renewed { objects, liars_borne, dealers_excluded, receivers_faulty }
    }

    fn coverage(&self, object: usize) -> Coverage {
        let vouched: BTreeSet<Slot> = self.leaves.keys().copied().collect();
        let both = |(low, high): &(Slot, Slot)| vouched.contains(low) && vouched.contains(high);
        let differ = |&(low, high): &(Slot, Slot)| {
            self.leaf(object, low, high) != self.leaf(object, high, low)
        };
        let disputed = self.terms.pairs().filter(both).filter(differ).collect();
        Coverage::new(vouched, disputed)
    }

    fn name_faulty(&mut self, coverage: &Coverage) {
        let mut disputes: BTreeMap<Slot, usize> = BTreeMap::new();
        for &(low, high) in coverage.disputed() {
            *disputes.entry(low).or_default() += 1;
            *disputes.entry(high).or_default() += 1;
        }
        disputes.retain(|_, disputes| *disputes > self.terms.receiver_faults_max());
        for (slot, disputes) in disputes {
            let fault = ReceiverFault::Leaves(disputes);
            self.receivers_faulty.entry(slot).or_insert(fault);
        }
    }

    /// Whether no more slots are left uncommitted than can be corrupt. Of an object that was dealt right
    /// those are the corrupt ones only, since all the others agree (keyshare.md §9.5).
    fn is_borne(&self, object: usize, coverage: &Coverage) -> bool {
        let binding = Binding { coverage: Some(coverage), ..self.terms.binding(object) };
        let uncommitted = coverage.vouched().iter().filter(|slot| !binding.commits_to(**slot));
        uncommitted.count() <= self.terms.receiver_faults_max()
    }

    /// What `slot` posted for its pair with `other`, both receivers that vouched.
    fn leaf(&self, object: usize, slot: Slot, other: Slot) -> Digest {
        let receivers = self.terms.receivers();
        let others = receivers.iter().filter(|&&receiver| receiver != slot);
        let place = others.take_while(|&&receiver| receiver < other).count();
        self.leaves[&slot].leaves[object * (receivers.len() - 1) + place]
    }

    fn rows(&self, coverage: &Coverage, object: usize) -> Vec<RowHash> {
        let slots = self.terms.parameters().slots();
        let row = |slot: Slot| {
            let others = slots.clone().filter(|&other| other != slot);
            let leaf = |other| match coverage.covers(slot, other) {
                true => self.leaf(object, slot, other),
                false => UNCOVERED,
            };
            // The read part, which nobody else could vouch for, is the last.
            RowTree::new(others.map(leaf).chain([UNCOVERED]).collect()).row()
        };
        slots.clone().map(row).collect()
    }
}
