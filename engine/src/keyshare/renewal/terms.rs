//! Who renews what, and how many may lie.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::hash::hash;
use crate::keyshare::parameters::{Binding, KeyParameters};
use crate::names::{Epoch, Slot};

/// The most objects of one batch: rows for one receiver stay below 2.2 MB for d up to 64.
pub const OBJECTS_MAX: usize = 1024;

/// What all participants of one renewal agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    purpose: Purpose,
    parameters: KeyParameters,
    epoch: Epoch,
    dealers: BTreeSet<Slot>,
    receivers: BTreeSet<Slot>,
    salts: Vec<[u8; 32]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Sharings of zero, to be added to the old shares.
    Refresh,
    /// Sharings of the read parts of a sharing of these parameters.
    Reshare(KeyParameters),
}

/// No renewal can be on such terms.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TermsError {
    /// A slot that its group does not have.
    #[error("slot {0} is not in its group")]
    OutsideGroup(Slot),
    /// Too few receivers for the new rows to determine a share: d + 1 are needed.
    #[error("{live} live receivers; {needed} are needed")]
    TooFewReceivers {
        /// Receivers given.
        live: usize,
        /// Receivers needed.
        needed: usize,
    },
    /// Too few dealers: k of the old group are needed.
    #[error("{live} live dealers; {needed} are needed")]
    TooFewDealers {
        /// Dealers given.
        live: usize,
        /// Dealers needed.
        needed: usize,
    },
    /// No object, or more than [`OBJECTS_MAX`].
    #[error("{0} objects; a batch has 1 to {OBJECTS_MAX}")]
    Objects(usize),
}

impl Terms {
    /// A refresh to `epoch` by the live slots of a group, for the objects with these salts.
    ///
    /// The first k + t live slots deal: at most t of them are faulty, so k are accepted, of which one
    /// is honest as long as fewer than k are corrupt.
    pub fn refresh(
        parameters: KeyParameters,
        epoch: Epoch,
        live: BTreeSet<Slot>,
        salts: Vec<[u8; 32]>,
    ) -> Result<Self, TermsError> {
        let mut terms = Self {
            purpose: Purpose::Refresh,
            parameters,
            epoch,
            dealers: BTreeSet::new(),
            receivers: live,
            salts,
        };
        terms.check_receivers()?;
        let dealers = usize::from(parameters.k()) + terms.receiver_faults_max();
        terms.dealers = terms.receivers.iter().copied().take(dealers).collect();
        Ok(terms)
    }

    /// A re-sharing from the slots `dealers` of a group `from` to the slots `receivers` of a group
    /// `to`, whose first epoch is `epoch`, later than any of the old group.
    pub fn reshare(
        (from, dealers): (KeyParameters, BTreeSet<Slot>),
        (to, receivers): (KeyParameters, BTreeSet<Slot>),
        epoch: Epoch,
        salts: Vec<[u8; 32]>,
    ) -> Result<Self, TermsError> {
        let purpose = Purpose::Reshare(from);
        let terms = Self { purpose, parameters: to, epoch, dealers, receivers, salts };
        terms.check_receivers()?;
        if let Some(&slot) = terms.dealers.iter().find(|&&slot| !from.contains(slot)) {
            return Err(TermsError::OutsideGroup(slot));
        }
        let (live, needed) = (terms.dealers.len(), usize::from(from.k()));
        if live < needed { Err(TermsError::TooFewDealers { live, needed }) } else { Ok(terms) }
    }

    fn check_receivers(&self) -> Result<(), TermsError> {
        if !(1..=OBJECTS_MAX).contains(&self.salts.len()) {
            return Err(TermsError::Objects(self.salts.len()));
        }
        if let Some(&slot) = self.receivers.iter().find(|&&slot| !self.parameters.contains(slot)) {
            return Err(TermsError::OutsideGroup(slot));
        }
        let (live, needed) = (self.receivers.len(), usize::from(self.parameters.d()) + 1);
        if live < needed { Err(TermsError::TooFewReceivers { live, needed }) } else { Ok(()) }
    }

    /// t: how many receivers may be faulty, floor((live - d) / 2) and at most k - 1.
    ///
    /// The honest values of a check lie on a polynomial of degree below d before it is known to be
    /// of degree below k; d of them must be among those that a decoder sees unchanged (spec §9.4).
    pub fn receiver_faults_max(&self) -> usize {
        let above = self.receivers.len() - usize::from(self.parameters.d());
        (above / 2).min(usize::from(self.parameters.k()) - 1)
    }

    /// The parameters of the sharings that come.
    pub fn parameters(&self) -> KeyParameters {
        self.parameters
    }

    /// Who deals.
    pub fn dealers(&self) -> &BTreeSet<Slot> {
        &self.dealers
    }

    /// Who receives.
    pub fn receivers(&self) -> &BTreeSet<Slot> {
        &self.receivers
    }

    /// Objects of the batch.
    pub fn objects(&self) -> usize {
        self.salts.len()
    }

    pub(super) fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Sharings that each dealer deals: one an object, then the mask of the check.
    pub(super) fn instances(&self) -> usize {
        self.objects() + 1
    }

    /// What the commitments of one object's new sharing bind.
    pub fn binding(&self, object: usize) -> Binding<'_> {
        Binding {
            parameters: self.parameters,
            salt: &self.salts[object],
            epoch: self.epoch,
            coverage: None,
        }
    }

    /// Names these terms in every hash of the renewal.
    pub(super) fn context(&self) -> [u8; 32] {
        let points = |slots: &BTreeSet<Slot>| slots.iter().map(|s| s.point()).collect::<Vec<u8>>();
        let from = match self.purpose {
            Purpose::Refresh => Vec::new(),
            Purpose::Reshare(from) => from.to_bytes().to_vec(),
        };
        let (dealers, receivers) = (points(&self.dealers), points(&self.receivers));
        let (epoch, parameters) = (self.epoch.0.to_be_bytes(), self.parameters.to_bytes());
        let mut parts: Vec<&[u8]> = vec![&from, &parameters, &epoch, &dealers, &receivers];
        parts.extend(self.salts.iter().map(<[u8; 32]>::as_slice));
        hash("ks/renewal", &parts)
    }

    /// The pairs of receivers, in the order in which posts list them.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (Slot, Slot)> {
        let receivers = &self.receivers;
        receivers.iter().flat_map(move |&low| {
            receivers.iter().filter(move |&&high| high > low).map(move |&high| (low, high))
        })
    }
}
