//! The last round: every receiver commits to its new shares, and the commitments are compared.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::dealing::DealerFault;
use super::messages::Leaves;
use super::terms::Terms;
use crate::keyshare::commitment::{Digest, RowHash, RowTree, UNCOVERED, pair_leaf};
use crate::keyshare::coverage::Coverage;
use crate::keyshare::share::Share;
use crate::names::Slot;

/// What a receiver did wrong.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ReceiverFault {
    /// Its check value is off the polynomial of all others.
    #[error("posted a wrong check value")]
    CheckValue,
    /// It vouched for other symbols than so many others did, more than can be corrupt.
    #[error("contradicts {0} others about their pair symbols")]
    Leaves(usize),
}

/// A batch renewed, as one receiver sees it. All but the shares is the same for all.
///
/// The old shares are to be erased when the ledger has the new roots, and not before.
#[derive(Debug)]
pub struct Renewed {
    /// This slot's new shares, one an object.
    pub shares: Vec<Share>,
    /// The new rows of every object, in slot order.
    pub rows: Vec<Vec<RowHash>>,
    /// What these rows cover.
    pub coverage: Coverage,
    /// The dealers whose sharings were not used, and why.
    pub dealers_excluded: BTreeMap<Slot, DealerFault>,
    /// Receivers that lied; the sharings are right all the same.
    pub receivers_faulty: BTreeMap<Slot, ReceiverFault>,
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

    /// Ends the renewal.
    pub fn close(mut self) -> Renewed {
        let coverage = self.coverage();
        for &slot in coverage.vouched() {
            let disputes = coverage.disputed().iter();
            let disputes = disputes.filter(|&&(low, high)| low == slot || high == slot).count();
            if disputes > self.terms.receiver_faults_max() {
                self.receivers_faulty.insert(slot, ReceiverFault::Leaves(disputes));
            }
        }
        let rows = (0..self.terms.objects()).map(|object| self.rows(&coverage, object)).collect();
        let Self { shares, dealers_excluded, receivers_faulty, .. } = self;
        Renewed { shares, rows, coverage, dealers_excluded, receivers_faulty }
    }

    fn coverage(&self) -> Coverage {
        let vouched: BTreeSet<Slot> = self.leaves.keys().copied().collect();
        let agree = |low, high| {
            (0..self.terms.objects())
                .all(|object| self.leaf(object, low, high) == self.leaf(object, high, low))
        };
        let both = |(low, high): &(Slot, Slot)| vouched.contains(low) && vouched.contains(high);
        let pairs = self.terms.pairs().filter(both);
        let disputed = pairs.filter(|&(low, high)| !agree(low, high)).collect();
        Coverage::new(vouched, disputed)
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
