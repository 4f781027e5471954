//! Whole renewals in memory, with participants that lie.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, BTreeSet};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;
use crate::keyshare::message::Message;
use crate::keyshare::symbol::Symbol;
use crate::keyshare::{
    Binding, Coverage, KeyParameters, ReadError, RobustReadError, RobustRepairError, RowHash,
    Secret, Share, deal, read, read_robust, read_shares, repair, repair_robust, root,
};
use crate::names::{Epoch, Slot};

const SALTS: [[u8; 32]; 2] = [[1; 32], [2; 32]];
const BEACON: [u8; 32] = [0xbe; 32];

type Shares = BTreeMap<Slot, Vec<Share>>;
type Outcomes = BTreeMap<Slot, Result<Renewed, RenewalError>>;

fn slot(point: u8) -> Slot {
    Slot::new(point).unwrap()
}

fn slots(points: impl IntoIterator<Item = u8>) -> BTreeSet<Slot> {
    points.into_iter().map(slot).collect()
}

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// Two objects dealt to a group, before their first renewal.
struct Group {
    parameters: KeyParameters,
    secrets: Vec<Secret>,
    shares: Shares,
}

impl Group {
    fn new((n, k, d): (u8, u8, u8)) -> Self {
        let parameters = KeyParameters::new(n, k, d).unwrap();
        let mut group = Self { parameters, secrets: Vec::new(), shares: Shares::new() };
        for (object, salt) in SALTS.iter().enumerate() {
            let binding = Binding { parameters, salt, epoch: Epoch(0), coverage: None };
            let secret = Secret::random(&mut rng(object as u64));
            for share in deal(&binding, &secret, &mut rng(99 + object as u64)).shares {
                group.shares.entry(share.slot()).or_default().push(share);
            }
            group.secrets.push(secret);
        }
        group
    }

    fn refresh_terms(&self, live: impl IntoIterator<Item = u8>) -> Terms {
        Terms::refresh(self.parameters, Epoch(1), slots(live), SALTS.to_vec()).unwrap()
    }

    /// What the epoch's shares and commitments must be good for, whoever lied.
    fn assert_renewed(&self, terms: &Terms, outcomes: &Outcomes, honest: &BTreeSet<Slot>) {
        let renewed = |slot: &Slot| outcomes[slot].as_ref().unwrap();
        let first = renewed(honest.first().unwrap());
        for outcome in honest.iter().map(renewed) {
            assert_eq!(commitments(outcome), commitments(first));
            assert_eq!(outcome.dealers_excluded, first.dealers_excluded);
            assert_eq!(outcome.receivers_faulty, first.receivers_faulty);
        }
        let d = usize::from(terms.parameters().d());
        for (object, secret) in self.secrets.iter().enumerate() {
            let RenewedObject { rows, coverage, .. } = of(first, object);
            let binding = Binding { coverage: Some(coverage), ..terms.binding(object) };
            let shares: Vec<Share> =
                honest.iter().map(|slot| of(renewed(slot), object).share.clone()).collect();
            let (found, liars) = read_shares(&binding, rows, &shares).unwrap();
            assert_eq!(found.expose(), secret.expose());
            assert!(liars.is_empty());
            let lost = &shares[0];
            let prove = |share: &Share| share.prove_symbol(&binding, lost.slot());
            let symbols: Vec<_> = shares[1..].iter().filter_map(prove).collect();
            if symbols.len() >= d {
                let (share, _) = repair(&binding, lost.slot(), rows, &symbols).unwrap();
                assert_eq!(share, *lost);
            }
        }
    }
}

/// What there is of an object that is not left out.
fn of(renewed: &Renewed, object: usize) -> &RenewedObject {
    renewed.objects[object].as_ref().unwrap()
}

/// All that is the same for every receiver.
fn commitments(renewed: &Renewed) -> Vec<Option<(&[RowHash], &Coverage)>> {
    let objects = renewed.objects.iter().map(Option::as_ref);
    objects.map(|object| object.map(|of| (&of.rows[..], &of.coverage))).collect()
}

/// Participants that follow the protocol, but where a test makes them lie.
trait Conduct {
    fn disputes(&self) -> Disputes {
        Disputes::OfObject
    }
    fn dealer(&mut self, terms: &Terms, slot: Slot, honest: Dealer) -> Option<Dealer> {
        let _ = (terms, slot);
        Some(honest)
    }
    fn rows(&mut self, dealer: Slot, to: Slot, rows: DealtRows) -> Option<DealtRows> {
        let _ = (dealer, to);
        Some(rows)
    }
    fn complaint(&mut self, from: Slot, complaint: Complaint) -> Complaint {
        let _ = from;
        complaint
    }
    fn answer(&mut self, dealer: Slot, answer: Answer) -> Option<Answer> {
        let _ = dealer;
        Some(answer)
    }
    fn values(&mut self, from: Slot, values: CheckValues) -> Option<CheckValues> {
        let _ = from;
        Some(values)
    }
    fn leaves(&mut self, from: Slot, leaves: Leaves) -> Option<Leaves> {
        let _ = from;
        Some(leaves)
    }
}

struct Honest;

impl Conduct for Honest {}

fn dealers(terms: &Terms, old: &Shares, conduct: &mut impl Conduct) -> Vec<Dealer> {
    let deal = |&slot: &Slot| {
        let mut rng = rng(1000 + u64::from(slot.point()));
        let dealer = match Dealer::of_zero(terms, slot, &mut rng) {
            Err(DealerError::Purpose) => Dealer::of_parts(terms, &old[&slot], &mut rng),
            dealt => dealt,
        };
        conduct.dealer(terms, slot, dealer.unwrap())
    };
    terms.dealers().iter().filter_map(deal).collect()
}

/// Runs all rounds. `old` are the shares of the old group.
fn renew(terms: &Terms, old: &Shares, conduct: &mut impl Conduct) -> Outcomes {
    let mut dealers = dealers(terms, old, conduct);
    let mut rounds: BTreeMap<Slot, DealingRound> = BTreeMap::new();
    for &slot in terms.receivers() {
        rounds.insert(slot, DealingRound::new(terms.clone(), slot).unwrap());
    }
    for dealer in &dealers {
        for (&to, round) in &mut rounds {
            round.handle_post(dealer.slot(), dealer.post().clone());
            let rows = dealer.rows().find(|(slot, _)| *slot == to).unwrap().1.clone();
            if let Some(rows) = conduct.rows(dealer.slot(), to, rows) {
                round.handle_rows(dealer.slot(), rows);
            }
        }
    }
    let (complaints, mut rounds): (Vec<_>, BTreeMap<_, _>) = rounds
        .into_iter()
        .map(|(slot, round)| {
            let (complaint, round) = round.close();
            ((slot, conduct.complaint(slot, complaint)), (slot, round))
        })
        .unzip();
    for (from, complaint) in complaints {
        dealers.iter_mut().for_each(|dealer| dealer.handle_complaint(from, &complaint));
        rounds.values_mut().for_each(|round| round.handle_complaint(from, complaint.clone()));
    }
    let mut rounds: BTreeMap<_, _> =
        rounds.into_iter().map(|(slot, round)| (slot, round.close())).collect();
    for dealer in &dealers {
        if let Some(answer) = conduct.answer(dealer.slot(), dealer.answer()) {
            rounds
                .values_mut()
                .for_each(|round| round.handle_answer(dealer.slot(), answer.clone()));
        }
    }
    let (values, mut rounds): (Vec<_>, BTreeMap<_, _>) = rounds
        .into_iter()
        .map(|(slot, round)| {
            let (values, round) = round.close(&BEACON);
            ((slot, conduct.values(slot, values)), (slot, round))
        })
        .unzip();
    for (from, values) in values.into_iter().filter_map(|(slot, said)| Some((slot, said?))) {
        rounds.values_mut().for_each(|round| round.handle_values(from, values.clone()));
    }
    vouch(terms, old, rounds, conduct)
}

fn vouch(
    terms: &Terms,
    old: &Shares,
    rounds: BTreeMap<Slot, CheckRound>,
    conduct: &mut impl Conduct,
) -> Outcomes {
    let (mut outcomes, mut vouching, mut posts) = (Outcomes::new(), BTreeMap::new(), Vec::new());
    for (slot, round) in rounds {
        let own: &[Share] = match terms.purpose() {
            terms::Purpose::Refresh => &old[&slot],
            terms::Purpose::Reshare(_) => &[],
        };
        match round.close(own) {
            Ok((leaves, round)) => {
                posts.extend(conduct.leaves(slot, leaves).map(|leaves| (slot, leaves)));
                vouching.insert(slot, round);
            }
            Err(error) => drop(outcomes.insert(slot, Err(error))),
        }
    }
    for (from, leaves) in posts {
        vouching.values_mut().for_each(|round| round.handle_leaves(from, leaves.clone()));
    }
    outcomes.extend(
        vouching.into_iter().map(|(slot, round)| (slot, Ok(round.close(conduct.disputes())))),
    );
    outcomes
}

#[test]
fn a_refresh_keeps_the_secret_and_changes_every_share() {
    for parameters in [(3, 2, 2), (4, 2, 3), (5, 3, 4), (6, 3, 3), (10, 5, 6), (20, 10, 11)] {
        let group = Group::new(parameters);
        let terms = group.refresh_terms(1..=parameters.0);
        let outcomes = renew(&terms, &group.shares, &mut Honest);
        group.assert_renewed(&terms, &outcomes, terms.receivers());
        for (slot, outcome) in outcomes {
            let renewed = outcome.unwrap();
            assert!(renewed.dealers_excluded.is_empty() && renewed.receivers_faulty.is_empty());
            for (object, old) in group.shares[&slot].iter().enumerate() {
                let new = &of(&renewed, object).share;
                assert!(new.columns().iter().zip(old.columns()).all(|(new, old)| new != old));
            }
        }
    }
}

#[test]
fn shares_of_two_epochs_do_not_recombine() {
    for parameters in [(5, 3, 4), (6, 3, 3), (10, 5, 6)] {
        let group = Group::new(parameters);
        let (k, terms) = (usize::from(parameters.1), group.refresh_terms(1..=parameters.0));
        let outcomes = renew(&terms, &group.shares, &mut Honest);
        let first = outcomes[&slot(1)].as_ref().unwrap();
        let RenewedObject { rows, coverage, .. } = of(first, 0);
        let binding = Binding { coverage: Some(coverage), ..terms.binding(0) };
        for old in 1..k {
            let share = |(index, (slot, outcome)): (usize, (&Slot, &Result<Renewed, _>))| {
                let new = &of(outcome.as_ref().unwrap(), 0).share;
                if index < old { group.shares[slot][0].clone() } else { new.clone() }
            };
            let mixed: Vec<Share> = outcomes.iter().enumerate().map(share).collect();
            let parts: Vec<_> = mixed
                .iter()
                .map(|share| (share.slot(), share.read_part(group.parameters)))
                .collect();
            let (found, _) = read_robust(group.parameters, &parts[..k]).unwrap();
            assert_ne!(found.expose(), group.secrets[0].expose());
            let all = read_robust(group.parameters, &parts);
            let nothing_or_the_new_ones = match all {
                Err(error) => error == RobustReadError::Inconsistent,
                Ok((_, wrong)) => wrong.len() == old,
            };
            assert!(nothing_or_the_new_ones);
            // Against the new rows the old shares are named.
            let (_, liars) = read_shares(&binding, rows, &mixed)
                .or_else(|error| match error {
                    ReadError::Missing { liars, .. } => Ok((Secret::random(&mut rng(0)), liars)),
                    other => Err(other),
                })
                .unwrap();
            assert_eq!(liars.len(), old);
        }
    }
}

#[test]
fn a_hundred_refreshes_leave_the_secret_unchanged() {
    for parameters in [(4, 2, 3), (4, 2, 2)] {
        let group = Group::new(parameters);
        let mut shares = group.shares.clone();
        for epoch in 1..=100 {
            let live = Slot::all(parameters.0).collect();
            let terms =
                Terms::refresh(group.parameters, Epoch(epoch), live, SALTS.to_vec()).unwrap();
            let outcomes = renew(&terms, &shares, &mut Honest);
            if epoch % 20 == 0 {
                group.assert_renewed(&terms, &outcomes, terms.receivers());
            }
            let new = |renewed: Renewed| {
                renewed.objects.into_iter().map(|object| object.unwrap().share).collect()
            };
            shares = outcomes.into_iter().map(|(s, outcome)| (s, new(outcome.unwrap()))).collect();
        }
    }
}

/// A dealer of sharings of zero, the second of which is spoilt.
fn spoilt(terms: &Terms, slot: Slot, spoil: fn(&mut Vec<Vec<Symbol>>)) -> Dealer {
    let mut rng = rng(5);
    let message = |instance| {
        let mut message = Message::random(terms.parameters(), &Symbol::zero(), &mut rng);
        if instance == 1 {
            spoil(message.columns_mut());
        }
        message
    };
    Dealer::deal(terms, slot, (0..terms.instances()).map(message).collect())
}

/// Dealer 1 deals something else than sharings of zero.
struct WrongSharing(fn(&mut Vec<Vec<Symbol>>));

impl Conduct for WrongSharing {
    fn dealer(&mut self, terms: &Terms, slot: Slot, honest: Dealer) -> Option<Dealer> {
        Some(if slot.point() == 1 { spoilt(terms, slot, self.0) } else { honest })
    }
}

fn one() -> Symbol {
    Symbol::from([1; 32])
}

#[test]
fn a_wrong_sharing_is_excluded() {
    let secret_above: fn(&mut Vec<Vec<Symbol>>) = |columns| {
        columns[5][0].add_scaled(1, &one());
        columns[0][5].add_scaled(1, &one());
    };
    let degree: fn(&mut Vec<Vec<Symbol>>) = |columns| columns[5].push(one());
    let secret_below: fn(&mut Vec<Vec<Symbol>>) = |columns| columns[0][0].add_scaled(1, &one());
    for (parameters, spoil) in
        [((10, 5, 6), secret_above), ((10, 5, 6), degree), ((9, 5, 5), secret_below)]
    {
        let group = Group::new(parameters);
        let terms = group.refresh_terms(1..=parameters.0);
        let outcomes = renew(&terms, &group.shares, &mut WrongSharing(spoil));
        group.assert_renewed(&terms, &outcomes, terms.receivers());
        let excluded = &outcomes[&slot(2)].as_ref().unwrap().dealers_excluded;
        assert_eq!(*excluded, BTreeMap::from([(slot(1), DealerFault::WrongSharing)]));
    }
}

#[test]
fn a_message_that_is_not_symmetric_matches_no_post() {
    let group = Group::new((10, 5, 6));
    let terms = group.refresh_terms(1..=10);
    let asymmetric: fn(&mut Vec<Vec<Symbol>>) = |columns| columns[5][0].add_scaled(1, &one());
    let outcomes = renew(&terms, &group.shares, &mut WrongSharing(asymmetric));
    group.assert_renewed(&terms, &outcomes, terms.receivers());
    // Every pair is right for one of its two; only the lowest slot agrees with all that is posted.
    let excluded = &outcomes[&slot(2)].as_ref().unwrap().dealers_excluded;
    assert_eq!(*excluded, BTreeMap::from([(slot(1), DealerFault::Complaints(9))]));
}

/// Dealer 1 sends wrong rows to some, and answers their complaints or not.
struct WrongRows {
    to: BTreeSet<Slot>,
    answers: bool,
}

impl Conduct for WrongRows {
    fn rows(&mut self, dealer: Slot, to: Slot, mut rows: DealtRows) -> Option<DealtRows> {
        if dealer == slot(1) && self.to.contains(&to) {
            rows.shares.swap(0, 1);
        }
        Some(rows)
    }

    fn answer(&mut self, dealer: Slot, answer: Answer) -> Option<Answer> {
        (dealer != slot(1) || self.answers).then_some(answer)
    }
}

#[test]
fn rows_that_do_not_match_the_post_are_complained_about() {
    let group = Group::new((10, 5, 6));
    let terms = group.refresh_terms(1..=10);
    assert_eq!(terms.receiver_faults_max(), 2);
    let excluded = |to: &[u8], answers| {
        let mut conduct = WrongRows { to: slots(to.iter().copied()), answers };
        let outcomes = renew(&terms, &group.shares, &mut conduct);
        group.assert_renewed(&terms, &outcomes, terms.receivers());
        outcomes[&slot(2)].as_ref().unwrap().dealers_excluded.clone()
    };
    assert_eq!(excluded(&[4, 5], true), BTreeMap::new());
    assert_eq!(
        excluded(&[4, 5], false),
        BTreeMap::from([(slot(1), DealerFault::Unrefuted(slot(4)))])
    );
    assert_eq!(excluded(&[4, 5, 6], true), BTreeMap::from([(slot(1), DealerFault::Complaints(3))]));
}

/// Slots 9 and 10 lie in everything that a receiver says.
struct LyingReceivers;

impl LyingReceivers {
    fn lies(from: Slot) -> bool {
        from.point() >= 9
    }
}

impl Conduct for LyingReceivers {
    fn complaint(&mut self, from: Slot, complaint: Complaint) -> Complaint {
        if Self::lies(from) { Complaint { against: slots(1..=7) } } else { complaint }
    }

    fn values(&mut self, from: Slot, mut values: CheckValues) -> Option<CheckValues> {
        if Self::lies(from) {
            values.values.iter_mut().for_each(|value| value[3] ^= from.point());
        }
        Some(values)
    }

    fn leaves(&mut self, from: Slot, mut leaves: Leaves) -> Option<Leaves> {
        if Self::lies(from) {
            leaves.leaves.iter_mut().for_each(|leaf| leaf[0] ^= 1);
        }
        Some(leaves)
    }
}

#[test]
fn lying_receivers_are_named_and_change_nothing() {
    let group = Group::new((10, 5, 6));
    let terms = group.refresh_terms(1..=10);
    let outcomes = renew(&terms, &group.shares, &mut LyingReceivers);
    group.assert_renewed(&terms, &outcomes, &slots(1..=8));
    let renewed = outcomes[&slot(1)].as_ref().unwrap();
    assert!(renewed.dealers_excluded.is_empty());
    let faults = &renewed.receivers_faulty;
    assert_eq!(faults.keys().copied().collect::<BTreeSet<_>>(), slots([9, 10]));
    let coverage = &of(renewed, 0).coverage;
    assert!((1..=8).all(|low| (9..=10).all(|high| !coverage.covers(slot(low), slot(high)))));
}

/// Honest participants under the rules of the time.
struct Under(Disputes);

impl Conduct for Under {
    fn disputes(&self) -> Disputes {
        self.0
    }
}

/// A writer deals some slots shares of the first object that fit no other.
fn misdealt(parameters: (u8, u8, u8), misfits: &[u8]) -> (Group, Terms) {
    let mut group = Group::new(parameters);
    for misfit in misfits {
        let others = &Group::new(parameters).shares[&slot(*misfit)];
        let (other, share) =
            (others[1].clone(), &mut group.shares.get_mut(&slot(*misfit)).unwrap()[0]);
        assert_ne!(*share, other);
        *share = other;
    }
    let terms = group.refresh_terms(1..=parameters.0);
    (group, terms)
}

#[test]
fn a_share_that_fits_no_other_costs_its_own_object_only() {
    for (parameters, misfits) in [((10, 5, 6), &[4][..]), ((10, 5, 6), &[2, 9]), ((6, 3, 4), &[1])]
    {
        let (group, terms) = misdealt(parameters, misfits);
        let outcomes = renew(&terms, &group.shares, &mut Honest);
        let fitting: BTreeSet<Slot> =
            terms.receivers().difference(&slots(misfits.iter().copied())).copied().collect();
        group.assert_renewed(&terms, &outcomes, &fitting);
        let renewed = outcomes[&slot(3)].as_ref().unwrap();
        assert!(of(renewed, 1).coverage.disputed().is_empty());
        for &misfit in misfits {
            // Whoever takes the slot over gets the share that fits.
            let symbol =
                |s: &Slot| of(outcomes[s].as_ref().unwrap(), 0).share.pair_symbol(slot(misfit));
            let symbols: Vec<(Slot, Symbol)> = fitting.iter().map(|s| (*s, symbol(s))).collect();
            let symbols: Vec<(Slot, &Symbol)> =
                symbols.iter().map(|(s, told)| (*s, told)).collect();
            let (share, wrong) = repair_robust(group.parameters, slot(misfit), &symbols).unwrap();
            assert!(wrong.is_empty());
            assert_ne!(share, of(outcomes[&slot(misfit)].as_ref().unwrap(), 0).share);
        }
    }
}

#[test]
fn an_object_with_more_misfits_than_can_be_corrupt_keeps_its_shares() {
    for (parameters, misfits, borne) in
        [((10, 5, 6), &[1, 5, 9][..], 2), ((6, 3, 4), &[2, 3], 1), ((5, 3, 4), &[2], 0)]
    {
        let (group, terms) = misdealt(parameters, misfits);
        for outcome in renew(&terms, &group.shares, &mut Honest).into_values() {
            let renewed = outcome.unwrap();
            assert!(renewed.objects[0].is_none() && renewed.liars_borne == borne);
            assert!(of(&renewed, 1).coverage.disputed().is_empty());
        }
        // Before version 10 of the rules nobody's share of any object could be checked then.
        let outcomes = renew(&terms, &group.shares, &mut Under(Disputes::OfBatch));
        let renewed = outcomes[&slot(1)].as_ref().unwrap();
        for object in 0..SALTS.len() {
            let coverage = Some(&of(renewed, object).coverage);
            let binding = Binding { coverage, ..terms.binding(object) };
            assert!(!misfits.iter().any(|misfit| binding.commits_to(slot(*misfit))));
        }
    }
}

#[test]
fn false_complaints_against_an_honest_dealer_show_nothing_new() {
    let group = Group::new((10, 5, 6));
    let terms = group.refresh_terms(1..=10);
    let mut dealer = Dealer::of_zero(&terms, slot(1), &mut rng(1)).unwrap();
    let complaint = Complaint { against: slots([1]) };
    dealer.handle_complaint(slot(9), &complaint);
    dealer.handle_complaint(slot(9), &complaint);
    dealer.handle_complaint(slot(10), &complaint);
    assert_eq!(dealer.answer().rows.into_keys().collect::<BTreeSet<_>>(), slots([9, 10]));
    dealer.handle_complaint(slot(2), &complaint);
    assert_eq!(dealer.answer(), Answer::default());
}

/// Some deal nothing, some say nothing, and slots 2 and 5 were away for the whole refresh.
struct Silent(BTreeSet<Slot>);

impl Conduct for Silent {
    fn dealer(&mut self, _: &Terms, slot: Slot, honest: Dealer) -> Option<Dealer> {
        (!self.0.contains(&slot)).then_some(honest)
    }

    fn values(&mut self, from: Slot, values: CheckValues) -> Option<CheckValues> {
        (!self.0.contains(&from)).then_some(values)
    }

    fn leaves(&mut self, from: Slot, leaves: Leaves) -> Option<Leaves> {
        (!self.0.contains(&from)).then_some(leaves)
    }
}

#[test]
fn the_absent_do_not_stop_a_refresh_and_come_back_by_repair() {
    let group = Group::new((12, 5, 6));
    let live = [1, 3, 4, 6, 7, 8, 9, 10, 11, 12];
    let terms = group.refresh_terms(live);
    let outcomes = renew(&terms, &group.shares, &mut Silent(slots([1])));
    let vouched = slots(live[1..].iter().copied());
    group.assert_renewed(&terms, &outcomes, &vouched);
    let renewed = outcomes[&slot(3)].as_ref().unwrap();
    assert_eq!(renewed.dealers_excluded, BTreeMap::from([(slot(1), DealerFault::Silent)]));
    let RenewedObject { rows, coverage, .. } = of(renewed, 0);
    assert_eq!(*coverage.vouched(), vouched);
    // Slot 5 asks all for its symbols; one of them lies.
    let mut symbols: Vec<(Slot, Symbol)> = vouched
        .iter()
        .map(|s| (*s, of(outcomes[s].as_ref().unwrap(), 0).share.pair_symbol(slot(5))))
        .collect();
    symbols[4].1.add_scaled(1, &Symbol::from([9; 32]));
    let points: Vec<_> = symbols.iter().map(|(slot, symbol)| (*slot, symbol)).collect();
    let (share, liars) = repair_robust(group.parameters, slot(5), &points).unwrap();
    assert_eq!(liars, BTreeSet::from([symbols[4].0]));
    assert_eq!(share.pair_symbol(slot(3)), of(renewed, 0).share.pair_symbol(slot(5)));
    let binding = Binding { coverage: Some(coverage), ..terms.binding(0) };
    assert!(!share.matches(&binding, &rows[4]), "no row covers it");
    assert!(share.prove_symbol(&binding, slot(3)).is_none());
}

#[test]
fn a_robust_repair_refuses_strangers_duplicates_and_too_few() {
    let group = Group::new((6, 3, 4));
    let symbols: Vec<(Slot, Symbol)> = (1..=5)
        .map(|helper| (slot(helper), group.shares[&slot(helper)][0].pair_symbol(slot(6))))
        .collect();
    let points: Vec<_> = symbols.iter().map(|(slot, symbol)| (*slot, symbol)).collect();
    let attempt = |failed, points: &[(Slot, &Symbol)]| {
        repair_robust(group.parameters, slot(failed), points).unwrap_err()
    };
    assert_eq!(attempt(7, &points), RobustRepairError::OutsideGroup(slot(7)));
    assert_eq!(attempt(1, &points), RobustRepairError::OutsideGroup(slot(1)));
    assert_eq!(attempt(6, &points[..3]), RobustRepairError::Missing { missing: 1 });
    let twice = [&points[..4], &points[..1]].concat();
    assert_eq!(attempt(6, &twice), RobustRepairError::Duplicate(slot(1)));
    let wrong = Symbol::zero();
    let mut one_wrong = points.clone();
    one_wrong[2].1 = &wrong;
    assert_eq!(attempt(6, &one_wrong), RobustRepairError::Inconsistent);
}

#[test]
fn with_too_many_faults_nothing_is_renewed() {
    let group = Group::new((10, 5, 6));
    let terms = group.refresh_terms(1..=10);
    let silent = slots(1..=3);
    for (_, outcome) in renew(&terms, &group.shares, &mut Silent(silent)) {
        assert!(matches!(
            outcome.unwrap_err(),
            RenewalError::TooFewDealers { accepted: 0, needed: 5, .. }
        ));
    }
}

fn reshare_terms(from: &Group, dealers: impl IntoIterator<Item = u8>, to: (u8, u8, u8)) -> Terms {
    let to = (KeyParameters::new(to.0, to.1, to.2).unwrap(), Slot::all(to.0).collect());
    let from = (from.parameters, slots(dealers));
    Terms::reshare(from, to, Epoch(1), SALTS.to_vec()).unwrap()
}

#[test]
fn resharing_moves_the_secret_to_any_other_group() {
    for (from, to) in [
        ((10, 5, 6), (14, 8, 9)),
        ((20, 8, 9), (10, 5, 6)),
        ((5, 3, 4), (5, 3, 3)),
        ((5, 3, 3), (5, 3, 4)),
        ((4, 2, 2), (9, 6, 6)),
    ] {
        let group = Group::new(from);
        let dealers = (1..=from.0).rev().take(usize::from(from.1) + 2);
        let terms = reshare_terms(&group, dealers, to);
        let outcomes = renew(&terms, &group.shares, &mut Honest);
        group.assert_renewed(&terms, &outcomes, terms.receivers());
        let renewed = outcomes[&slot(1)].as_ref().unwrap();
        assert!(renewed.dealers_excluded.is_empty() && renewed.receivers_faulty.is_empty());
    }
}

/// Old slot 4 deals sharings of zero, spoilt, instead of its read parts.
struct WrongPart(fn(&mut Vec<Vec<Symbol>>));

impl Conduct for WrongPart {
    fn dealer(&mut self, terms: &Terms, slot: Slot, honest: Dealer) -> Option<Dealer> {
        Some(if slot.point() == 4 { spoilt(terms, slot, self.0) } else { honest })
    }
}

#[test]
fn an_old_slot_that_deals_a_wrong_part_is_named() {
    let group = Group::new((10, 5, 6));
    for spoil in
        [(|_| ()) as fn(&mut Vec<Vec<Symbol>>), |columns| columns[8].push(Symbol::from([1; 32]))]
    {
        let terms = reshare_terms(&group, 2..=8, (14, 8, 9));
        let outcomes = renew(&terms, &group.shares, &mut WrongPart(spoil));
        group.assert_renewed(&terms, &outcomes, terms.receivers());
        let renewed = outcomes[&slot(1)].as_ref().unwrap();
        let excluded = &renewed.dealers_excluded;
        assert_eq!(*excluded, BTreeMap::from([(slot(4), DealerFault::WrongSharing)]));
    }
    // One dealer above k notices, but cannot tell who.
    let terms = reshare_terms(&group, 2..=7, (14, 8, 9));
    for (_, outcome) in renew(&terms, &group.shares, &mut WrongPart(|_| ())) {
        assert_eq!(outcome.unwrap_err(), RenewalError::Inconsistent);
    }
}

#[test]
fn lying_new_slots_change_nothing() {
    let group = Group::new((6, 3, 4));
    let terms = reshare_terms(&group, 1..=6, (10, 5, 6));
    let outcomes = renew(&terms, &group.shares, &mut LyingReceivers);
    group.assert_renewed(&terms, &outcomes, &slots(1..=8));
    let renewed = outcomes[&slot(1)].as_ref().unwrap();
    assert!(renewed.dealers_excluded.is_empty());
    assert_eq!(renewed.receivers_faulty.keys().copied().collect::<BTreeSet<_>>(), slots([9, 10]));
}

#[test]
fn terms_that_cannot_be_are_refused() {
    let parameters = KeyParameters::new(10, 5, 6).unwrap();
    let refresh = |live: BTreeSet<Slot>, salts| {
        Terms::refresh(parameters, Epoch(1), live, salts).unwrap_err()
    };
    let salts = SALTS.to_vec();
    assert_eq!(
        refresh(slots(1..=6), salts.clone()),
        TermsError::TooFewReceivers { live: 6, needed: 7 }
    );
    assert_eq!(refresh(slots(4..=11), salts.clone()), TermsError::OutsideGroup(slot(11)));
    assert_eq!(refresh(slots(1..=10), Vec::new()), TermsError::Objects(0));
    assert_eq!(refresh(slots(1..=10), vec![[0; 32]; 1025]), TermsError::Objects(1025));
    let reshare = |dealers| {
        let receivers = (parameters, slots(1..=10));
        Terms::reshare((parameters, dealers), receivers, Epoch(1), SALTS.to_vec()).unwrap_err()
    };
    assert_eq!(reshare(slots(1..=4)), TermsError::TooFewDealers { live: 4, needed: 5 });
    assert_eq!(reshare(slots(7..=12)), TermsError::OutsideGroup(slot(11)));
    let terms = Terms::refresh(parameters, Epoch(1), slots(1..=10), salts).unwrap();
    // k + t deal
    assert_eq!(*terms.dealers(), slots(1..=7));
    assert_eq!(
        Dealer::of_zero(&terms, slot(8), &mut rng(0)).unwrap_err(),
        DealerError::NotDealer(slot(8))
    );
    assert_eq!(Dealer::of_parts(&terms, &[], &mut rng(0)).unwrap_err(), DealerError::Purpose);
    assert!(DealingRound::new(terms, slot(11)).is_none());
}

#[test]
fn after_a_refresh_only_whole_shares_are_proofs() {
    let group = Group::new((5, 3, 4));
    let terms = group.refresh_terms(1..=5);
    let outcomes = renew(&terms, &group.shares, &mut Honest);
    let RenewedObject { rows, coverage, .. } = of(outcomes[&slot(1)].as_ref().unwrap(), 0);
    let binding = Binding { coverage: Some(coverage), ..terms.binding(0) };
    assert_eq!(read(&binding, rows, &[]).unwrap_err(), ReadError::Uncovered);
    let uncovered = Binding { coverage: None, ..binding };
    assert_ne!(root(&binding, rows), root(&uncovered, rows));
}
