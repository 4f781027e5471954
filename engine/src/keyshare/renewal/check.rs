//! The fourth round: masked random combinations show whether what was dealt is what was asked for.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::dealing::{DealerFault, Received};
use super::messages::{CHECKS, CheckValues, Leaves};
use super::terms::{Purpose, Terms};
use super::vouching::{ReceiverFault, VouchRound};
use crate::gf;
use crate::hash::kdf;
use crate::keyshare::locate::{self, explain_syndromes, syndromes};
use crate::keyshare::parameters::{KeyParameters, SECRET_LEN};
use crate::keyshare::share::Share;
use crate::keyshare::symbol::Symbol;
use crate::names::Slot;

/// Why nothing was renewed. The old shares are as good as before.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RenewalError {
    /// The caller's mistake: not this slot's old shares, one an object; none for a re-sharing.
    #[error("the old shares do not fit the terms")]
    Shares,
    /// Fewer than k dealers dealt right: more are faulty than the terms admit.
    #[error("{accepted} dealers dealt right; {needed} are needed ({} are out)", excluded.len())]
    TooFewDealers {
        /// Dealers accepted.
        accepted: usize,
        /// Dealers needed.
        needed: usize,
        /// The others, and why.
        excluded: BTreeMap<Slot, DealerFault>,
    },
    /// More than t receivers posted wrong check values or none.
    #[error("too many check values are wrong to tell which")]
    Undecodable,
    /// The read parts of the old group contradict each other in too many places to tell which.
    #[error("too many dealers dealt wrong read parts to tell which")]
    Inconsistent,
}

/// Check values come in, this slot's own among them.
#[derive(Debug)]
pub struct CheckRound {
    received: Received,
    values: BTreeMap<Slot, CheckValues>,
}

impl CheckRound {
    pub(super) fn new(received: Received, beacon: &[u8; 32]) -> (CheckValues, Self) {
        let terms = &received.terms;
        let gamma = Gamma::new(beacon, &terms.context(), terms.objects(), CHECKS);
        let combined: Vec<(Slot, Symbol)> = received
            .accepted()
            .into_iter()
            .map(|dealer| {
                let rows = &received.rows[&dealer].shares;
                (dealer, gamma.combine(terms.parameters(), rows))
            })
            .collect();
        let words = match terms.purpose() {
            Purpose::Refresh => combined.into_iter().map(|(_, value)| value).collect(),
            Purpose::Reshare(from) => {
                let points: Vec<_> = combined.iter().map(|(slot, value)| (*slot, value)).collect();
                syndromes(&points, points.len().saturating_sub(usize::from(from.k())))
            }
        };
        let value = |word: &Symbol| std::array::from_fn(|check| word.expose()[check]);
        let posted = CheckValues { values: words.iter().map(value).collect() };
        (posted, Self { received, values: BTreeMap::new() })
    }

    /// Takes a receiver's post; the first counts.
    pub fn handle_values(&mut self, from: Slot, values: CheckValues) {
        let dealers = self.received.accepted().len();
        let words = match self.received.terms.purpose() {
            Purpose::Refresh => dealers,
            Purpose::Reshare(from) => dealers.saturating_sub(usize::from(from.k())),
        };
        if values.values.len() == words && self.received.terms.receivers().contains(&from) {
            self.values.entry(from).or_insert(values);
        }
    }

    /// Ends the round: decides who dealt right and computes the new shares of this slot.
    ///
    /// `old` are its old shares in a refresh, one an object, and empty in a re-sharing. Gives what
    /// this slot posts, and the last round.
    pub fn close(mut self, old: &[Share]) -> Result<(Leaves, VouchRound), RenewalError> {
        let wrong = match self.received.terms.purpose() {
            Purpose::Refresh => self.exclude_by_zero_check(),
            Purpose::Reshare(from) => self.exclude_by_parity(from)?,
        };
        let fault = |slot| (slot, ReceiverFault::CheckValue);
        let faults: BTreeMap<Slot, ReceiverFault> = wrong.into_iter().map(fault).collect();
        let shares = self.new_shares(old)?;
        let Received { terms, slot, excluded, .. } = self.received;
        Ok(VouchRound::new(terms, slot, shares, excluded, faults))
    }

    /// One word of all receivers that posted.
    fn word(&self, index: usize) -> Vec<(Slot, Symbol)> {
        let word = |(&slot, posted): (&Slot, &CheckValues)| {
            let mut lanes = [0; SECRET_LEN];
            lanes[..CHECKS].copy_from_slice(&posted.values[index]);
            (slot, Symbol::from(lanes))
        };
        self.values.iter().map(word).collect()
    }

    /// Excludes the dealers whose combination is not of zero; returns the receivers that lied.
    fn exclude_by_zero_check(&mut self) -> BTreeSet<Slot> {
        let mut liars = BTreeSet::new();
        for (index, dealer) in self.received.accepted().into_iter().enumerate() {
            match zero_check(&self.received.terms, self.word(index)) {
                Some(wrong) => liars.extend(wrong),
                None => {
                    let fault = DealerFault::WrongSharing;
                    self.received.excluded.insert(dealer, fault);
                }
            }
        }
        liars
    }

    /// Excludes the dealers whose errors the parity checks show; returns the receivers that lied.
    ///
    /// A parity check is a sharing too, of a syndrome of the dealers' errors. Its coefficient at V's
    /// place tells of wrong read parts, the one at M_kk, if there is one, of too high a degree.
    fn exclude_by_parity(&mut self, from: KeyParameters) -> Result<BTreeSet<Slot>, RenewalError> {
        let (dealers, to) = (self.received.accepted(), self.received.terms.parameters());
        let redundancy = dealers.len().saturating_sub(usize::from(from.k()));
        let mut liars = BTreeSet::new();
        let mut sequences = [Vec::new(), Vec::new()];
        for index in 0..redundancy {
            let (coefficients, wrong) = decode_word(&self.received.terms, self.word(index))
                .ok_or(RenewalError::Undecodable)?;
            liars.extend(wrong);
            for (sequence, place) in sequences.iter_mut().zip([0, usize::from(to.k())]) {
                sequence.extend(coefficients.get(place).cloned());
            }
        }
        for sequence in sequences.iter().filter(|sequence| !sequence.is_empty()) {
            let wrong = explain_syndromes(&dealers, sequence).ok_or(RenewalError::Inconsistent)?;
            let fault = |dealer| (dealer, DealerFault::WrongSharing);
            self.received.excluded.extend(wrong.into_iter().map(fault));
        }
        Ok(liars)
    }

    fn new_shares(&self, old: &[Share]) -> Result<Vec<Share>, RenewalError> {
        let Received { terms, slot, rows, .. } = &self.received;
        let mut accepted = self.received.accepted();
        let k = match terms.purpose() {
            Purpose::Refresh => terms.parameters().k(),
            Purpose::Reshare(from) => from.k(),
        };
        let needed = usize::from(k);
        if accepted.len() < needed {
            let excluded = self.received.excluded.clone();
            return Err(RenewalError::TooFewDealers { accepted: accepted.len(), needed, excluded });
        }
        let columns = usize::from(terms.parameters().d());
        let (mut sums, weights): (Vec<Vec<Symbol>>, Vec<u8>) = match terms.purpose() {
            Purpose::Refresh => {
                let fits =
                    |share: &Share| share.slot() == *slot && share.columns().len() == columns;
                if old.len() != terms.objects() || !old.iter().all(fits) {
                    return Err(RenewalError::Shares);
                }
                (
                    old.iter().map(|share| share.columns().to_vec()).collect(),
                    vec![1; accepted.len()],
                )
            }
            Purpose::Reshare(_) => {
                if !old.is_empty() {
                    return Err(RenewalError::Shares);
                }
                accepted.truncate(needed);
                let points: Vec<u8> = accepted.iter().map(|dealer| dealer.point()).collect();
                let zero = || vec![Symbol::zero(); columns];
                let sums = std::iter::repeat_with(zero).take(terms.objects()).collect();
                (sums, gf::lagrange(&points, 0))
            }
        };
        for (dealer, weight) in accepted.iter().zip(weights) {
            for (sum, dealt) in sums.iter_mut().zip(&rows[dealer].shares) {
                for (sum, column) in sum.iter_mut().zip(dealt.columns()) {
                    sum.add_scaled(weight, column);
                }
            }
        }
        Ok(sums.into_iter().map(|columns| Share::new(*slot, columns)).collect())
    }
}

/// The public random coefficients of the combinations, fixed after the dealings were.
pub(super) struct Gamma {
    /// For every check, one coefficient for every byte of every object.
    coefficients: Vec<u8>,
    objects: usize,
}

impl Gamma {
    /// `KDF(beacon, "ks/gamma"; context)`, 32 bytes an object and check.
    pub(super) fn new(
        beacon: &[u8; 32],
        context: &[u8; 32],
        objects: usize,
        checks: usize,
    ) -> Self {
        let mut coefficients = vec![0; checks * objects * SECRET_LEN];
        kdf(beacon, "ks/gamma", &[context], &mut coefficients);
        Self { coefficients, objects }
    }

    /// Of one dealer's rows: lane m is the mask's lane m plus the m-th combination of all bytes of
    /// all read parts.
    pub(super) fn combine(&self, parameters: KeyParameters, rows: &[Share]) -> Symbol {
        let (objects, mask) = rows.split_at(self.objects);
        let mut lanes = [0; SECRET_LEN];
        let checks = self.coefficients.chunks_exact(self.objects * SECRET_LEN);
        for (lane, coefficients) in lanes.iter_mut().zip(checks) {
            let products = objects
                .iter()
                .zip(coefficients.as_chunks().0)
                .map(|(share, gamma)| share.read_part(parameters).dot(gamma));
            *lane = products.fold(0, |sum, product| sum ^ product);
        }
        let mut combined = Symbol::from(lanes);
        mask.iter().for_each(|mask| combined.add_scaled(1, mask.read_part(parameters)));
        combined
    }
}

/// Whether the values lie on a polynomial of degree below k that is 0 at 0, but for at most t that
/// are wrong or missing; if so, the slots of the wrong ones.
pub(super) fn zero_check(terms: &Terms, mut values: Vec<(Slot, Symbol)>) -> Option<BTreeSet<Slot>> {
    for (slot, value) in &mut values {
        value.scale(gf::inv(slot.point()));
    }
    // Divided by x, they lie on one of degree below k - 1.
    decode(terms, &values, usize::from(terms.parameters().k()) - 1).map(|(_, wrong)| wrong)
}

/// The polynomial of degree below d through the values but for at most t that are wrong or missing.
fn decode_word(
    terms: &Terms,
    values: Vec<(Slot, Symbol)>,
) -> Option<(Vec<Symbol>, BTreeSet<Slot>)> {
    decode(terms, &values, usize::from(terms.parameters().d()))
}

fn decode(
    terms: &Terms,
    values: &[(Slot, Symbol)],
    dimension: usize,
) -> Option<(Vec<Symbol>, BTreeSet<Slot>)> {
    let missing = terms.receivers().len() - values.len();
    let points: Vec<_> = values.iter().map(|(slot, value)| (*slot, value)).collect();
    locate::decode(&points, dimension)
        .filter(|(_, wrong)| wrong.len() + missing <= terms.receiver_faults_max())
}
