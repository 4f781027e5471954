//! Dealing fresh sharings, and standing up for them.

use std::collections::{BTreeMap, BTreeSet};

use rand_core::CryptoRng;
use thiserror::Error;

use super::dealing::pair_digest;
use super::messages::{Answer, Complaint, DealerPost, DealtRows};
use super::terms::{Purpose, Terms};
use crate::keyshare::message::Message;
use crate::keyshare::share::Share;
use crate::keyshare::symbol::Symbol;
use crate::names::Slot;

/// One dealer of a renewal. Holds rows of all receivers until it is dropped; drop it when the
/// answers are in.
#[derive(Debug)]
pub struct Dealer {
    slot: Slot,
    faults_max: usize,
    post: DealerPost,
    rows: BTreeMap<Slot, DealtRows>,
    complainers: BTreeSet<Slot>,
}

/// The caller's mistake: what is to be dealt does not fit the terms.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DealerError {
    /// Not a dealer of these terms.
    #[error("slot {0} is no dealer here")]
    NotDealer(Slot),
    /// A refresh where shares are to be dealt, or the other way round.
    #[error("these terms are for the other kind of renewal")]
    Purpose,
    /// Not one share an object, all of the dealer's slot.
    #[error("the shares are not those of this slot, one an object")]
    Shares,
}

impl Dealer {
    /// Deals sharings of zero for a refresh.
    pub fn of_zero(
        terms: &Terms,
        slot: Slot,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, DealerError> {
        if terms.purpose() != Purpose::Refresh {
            return Err(DealerError::Purpose);
        }
        Self::new(terms, slot, std::iter::repeat_with(Symbol::zero).take(terms.objects()), rng)
    }

    /// Deals the read parts of `shares`, the dealer's own of the old sharing, for a re-sharing.
    pub fn of_parts(
        terms: &Terms,
        shares: &[Share],
        rng: &mut impl CryptoRng,
    ) -> Result<Self, DealerError> {
        let Purpose::Reshare(from) = terms.purpose() else { return Err(DealerError::Purpose) };
        let Some(slot) = shares.first().map(Share::slot) else { return Err(DealerError::Shares) };
        let columns = usize::from(from.d());
        let fits = |share: &Share| share.slot() == slot && share.columns().len() == columns;
        if shares.len() != terms.objects() || !shares.iter().all(fits) {
            return Err(DealerError::Shares);
        }
        Self::new(terms, slot, shares.iter().map(|share| share.read_part(from).clone()), rng)
    }

    fn new(
        terms: &Terms,
        slot: Slot,
        shared: impl Iterator<Item = Symbol>,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, DealerError> {
        if !terms.dealers().contains(&slot) {
            return Err(DealerError::NotDealer(slot));
        }
        // The mask of the check is a sharing of zero whatever is shared.
        let messages = shared
            .chain([Symbol::zero()])
            .map(|shared| Message::random(terms.parameters(), &shared, rng))
            .collect();
        Ok(Self::deal(terms, slot, messages))
    }

    /// Deals these messages, one an object and the mask.
    pub(super) fn deal(terms: &Terms, slot: Slot, messages: Vec<Message>) -> Self {
        let rows_for = |&receiver: &Slot| {
            let shares = messages.iter().map(|message| message.share(receiver)).collect();
            (receiver, DealtRows { shares })
        };
        let rows: BTreeMap<Slot, DealtRows> = terms.receivers().iter().map(rows_for).collect();
        let context = terms.context();
        let digest = |(low, high)| pair_digest(&context, slot, &rows[&low].shares, low, high);
        Self {
            slot,
            faults_max: terms.receiver_faults_max(),
            post: DealerPost { pairs: terms.pairs().map(digest).collect() },
            rows,
            complainers: BTreeSet::new(),
        }
    }

    /// The dealer's slot.
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// What to post for all to see.
    pub fn post(&self) -> &DealerPost {
        &self.post
    }

    /// What to send to each receiver, itself among them if it is one.
    pub fn rows(&self) -> impl Iterator<Item = (Slot, &DealtRows)> {
        self.rows.iter().map(|(&slot, rows)| (slot, rows))
    }

    /// Takes what a receiver posted in the round of complaints.
    pub fn handle_complaint(&mut self, from: Slot, complaint: &Complaint) {
        if complaint.against.contains(&self.slot) && self.rows.contains_key(&from) {
            self.complainers.insert(from);
        }
    }

    /// What to post against the complaints. Nothing if more complain than can be corrupt: an honest
    /// dealer gives up then rather than show rows of honest slots.
    pub fn answer(&self) -> Answer {
        if self.complainers.len() > self.faults_max {
            return Answer::default();
        }
        let rows = |slot: &Slot| (*slot, self.rows[slot].clone());
        Answer { rows: self.complainers.iter().map(rows).collect() }
    }
}
