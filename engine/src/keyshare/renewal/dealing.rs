//! The first three rounds: rows come, who got none complains, dealers answer.
//!
//! A dealer's post fixes every pair symbol before anyone checks. Two honest receivers whose rows both
//! match it agree on their symbol without exchanging it; d of them determine one symmetric
//! polynomial, on which the rows of all honest receivers lie (Ben-Or, Goldwasser, Wigderson 1988).

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::check::CheckRound;
use super::messages::{Answer, CheckValues, Complaint, DealerPost, DealtRows};
use super::terms::Terms;
use crate::hash::hash;
use crate::keyshare::commitment::Digest;
use crate::keyshare::share::Share;
use crate::names::Slot;

/// Why a dealer's sharings are not used. Everything is decided from posts, which are the evidence.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DealerFault {
    /// It posted nothing, or something of the wrong size.
    #[error("posted no digests")]
    Silent,
    /// More complained than can be corrupt.
    #[error("{0} receivers complained")]
    Complaints(usize),
    /// It did not answer a complaint with the row that its post commits to.
    #[error("did not refute the complaint of slot {0}")]
    Unrefuted(Slot),
    /// What it dealt is not what these terms ask for: not zero, not its read part, or of too high
    /// a degree.
    #[error("dealt a wrong sharing")]
    WrongSharing,
}

/// What the rounds of one receiver share.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) terms: Terms,
    pub(super) slot: Slot,
    context: Digest,
    posts: BTreeMap<Slot, DealerPost>,
    pub(super) rows: BTreeMap<Slot, DealtRows>,
    pub(super) excluded: BTreeMap<Slot, DealerFault>,
}

impl Received {
    /// The dealers not excluded.
    pub(super) fn accepted(&self) -> Vec<Slot> {
        let dealers = self.terms.dealers().iter().copied();
        dealers.filter(|dealer| !self.excluded.contains_key(dealer)).collect()
    }

    /// Whether `rows` are the rows of `receiver` that the dealer's post commits to.
    fn are_committed(&self, dealer: Slot, receiver: Slot, rows: &DealtRows) -> bool {
        let columns = usize::from(self.terms.parameters().d());
        let fits = |share: &Share| share.slot() == receiver && share.columns().len() == columns;
        let Some(post) = self.posts.get(&dealer) else { return false };
        rows.shares.len() == self.terms.instances()
            && rows.shares.iter().all(fits)
            && self.terms.pairs().zip(&post.pairs).all(|((low, high), committed)| {
                let other = if low == receiver { high } else { low };
                (low != receiver && high != receiver)
                    || pair_digest(&self.context, dealer, &rows.shares, receiver, other)
                        == *committed
            })
    }
}

/// Rows and posts come in.
#[derive(Debug)]
pub struct DealingRound(Received);

impl DealingRound {
    /// A receiver's first round. `None` if `slot` is no receiver of these terms.
    pub fn new(terms: Terms, slot: Slot) -> Option<Self> {
        terms.receivers().contains(&slot).then(|| {
            let context = terms.context();
            let (posts, rows, excluded) = Default::default();
            Self(Received { terms, slot, context, posts, rows, excluded })
        })
    }

    /// Takes a dealer's post; the first counts.
    pub fn handle_post(&mut self, dealer: Slot, post: DealerPost) {
        let fits = post.pairs.len() == self.0.terms.pairs().count();
        if fits && self.0.terms.dealers().contains(&dealer) {
            self.0.posts.entry(dealer).or_insert(post);
        }
    }

    /// Takes the rows that a dealer sent to this slot; the first count.
    pub fn handle_rows(&mut self, dealer: Slot, rows: DealtRows) {
        self.0.rows.entry(dealer).or_insert(rows);
    }

    /// Ends the round: what this slot posts, and the next round.
    pub fn close(mut self) -> (Complaint, ComplaintRound) {
        let received = &mut self.0;
        let rows = std::mem::take(&mut received.rows);
        let committed = |(dealer, rows): &(Slot, DealtRows)| {
            received.are_committed(*dealer, received.slot, rows)
        };
        let rows: BTreeMap<Slot, DealtRows> = rows.into_iter().filter(committed).collect();
        received.rows = rows;
        let silent = received.terms.dealers().iter().filter(|d| !received.posts.contains_key(d));
        received.excluded = silent.map(|&dealer| (dealer, DealerFault::Silent)).collect();
        let accepted = received.accepted().into_iter();
        let against = accepted.filter(|dealer| !received.rows.contains_key(dealer)).collect();
        (Complaint { against }, ComplaintRound { received: self.0, complaints: BTreeMap::new() })
    }
}

/// Complaints come in, this slot's own among them.
#[derive(Debug)]
pub struct ComplaintRound {
    received: Received,
    complaints: BTreeMap<Slot, Complaint>,
}

impl ComplaintRound {
    /// Takes a receiver's post; the first counts.
    pub fn handle_complaint(&mut self, from: Slot, complaint: Complaint) {
        if self.received.terms.receivers().contains(&from) {
            self.complaints.entry(from).or_insert(complaint);
        }
    }

    /// Ends the round.
    pub fn close(mut self) -> AnswerRound {
        let mut unanswered: BTreeMap<Slot, BTreeSet<Slot>> = BTreeMap::new();
        for dealer in self.received.accepted() {
            let complained =
                self.complaints.iter().filter(|(_, complaint)| complaint.against.contains(&dealer));
            let complainers: BTreeSet<Slot> = complained.map(|(&from, _)| from).collect();
            if complainers.len() > self.received.terms.receiver_faults_max() {
                let fault = DealerFault::Complaints(complainers.len());
                self.received.excluded.insert(dealer, fault);
            } else if !complainers.is_empty() {
                unanswered.insert(dealer, complainers);
            }
        }
        AnswerRound { received: self.received, unanswered }
    }
}

/// Answers come in.
#[derive(Debug)]
pub struct AnswerRound {
    received: Received,
    unanswered: BTreeMap<Slot, BTreeSet<Slot>>,
}

impl AnswerRound {
    /// Takes a dealer's post; the first counts.
    pub fn handle_answer(&mut self, dealer: Slot, mut answer: Answer) {
        let Some(complainers) = self.unanswered.remove(&dealer) else { return };
        let received = &mut self.received;
        for slot in complainers {
            let rows = answer.rows.remove(&slot);
            match rows.filter(|rows| received.are_committed(dealer, slot, rows)) {
                Some(rows) if slot == received.slot => drop(received.rows.insert(dealer, rows)),
                Some(_) => {}
                None => drop(received.excluded.insert(dealer, DealerFault::Unrefuted(slot))),
            }
        }
    }

    /// Ends the round with 32 bytes that nobody could foresee when the dealers posted: what this
    /// slot posts, and the next round.
    pub fn close(mut self, beacon: &[u8; 32]) -> (CheckValues, CheckRound) {
        for (dealer, complainers) in self.unanswered {
            let fault = complainers.first().map(|&slot| DealerFault::Unrefuted(slot));
            self.received.excluded.extend(fault.map(|fault| (dealer, fault)));
        }
        CheckRound::new(self.received, beacon)
    }
}

/// `H("ks/dealt"; context, dealer low high, u_0, .., u_mask)` over all sharings of the batch.
pub(super) fn pair_digest(
    context: &Digest,
    dealer: Slot,
    shares: &[Share],
    slot: Slot,
    other: Slot,
) -> Digest {
    let place = [dealer.point(), slot.min(other).point(), slot.max(other).point()];
    let symbols: Vec<_> = shares.iter().map(|share| share.pair_symbol(other)).collect();
    let mut parts: Vec<&[u8]> = vec![context, &place];
    parts.extend(symbols.iter().map(|symbol| symbol.expose().as_slice()));
    hash("ks/dealt", &parts)
}
