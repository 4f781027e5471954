//! One refresh of a small group, and what else slots say to each other about their key shares.

use std::sync::LazyLock;

use kakera_engine::keyshare::renewal::{
    CheckRound, CheckValues, Complaint, Dealer, DealingRound, Disputes, Leaves, Terms,
};
use kakera_engine::keyshare::{Binding, Coverage, KeyParameters, Secret, Share, deal};
use kakera_engine::names::{Epoch, Slot};
use kakera_engine::wire::canonical;

use super::rng;

const SALT: [u8; 32] = [3; 32];
const NONCE: [u8; 32] = [4; 32];

struct Sample {
    shares: Vec<Share>,
    terms: Terms,
    dealers: Vec<Dealer>,
    complaint: Complaint,
    values: CheckValues,
    leaves: Leaves,
    coverage: Coverage,
}

static SAMPLE: LazyLock<Sample> = LazyLock::new(|| match sample() {
    Some(sample) => sample,
    None => unreachable!("an honest refresh of a whole group succeeds"),
});

fn sample() -> Option<Sample> {
    let parameters = KeyParameters::new(5, 3, 4).ok()?;
    let binding = Binding { parameters, salt: &SALT, epoch: Epoch(0), coverage: None };
    let shares = deal(&binding, &Secret::random(&mut rng()), &mut rng()).shares;
    let live = parameters.slots().collect();
    let terms = Terms::refresh(parameters, Epoch(1), live, vec![SALT]).ok()?;
    let deal = |&slot: &Slot| Dealer::of_zero(&terms, slot, &mut rng()).ok();
    let mut dealers: Vec<Dealer> = terms.dealers().iter().filter_map(deal).collect();
    let mut dealing = DealingRound::new(terms.clone(), shares[0].slot())?;
    for dealer in &dealers {
        dealing.handle_post(dealer.slot(), dealer.post().clone());
        let (_, rows) = dealer.rows().next()?;
        dealing.handle_rows(dealer.slot(), rows.clone());
    }
    let (_, complaining) = dealing.close();
    let complaint = Complaint { against: terms.dealers().clone() };
    let (values, checking) = complaining.close().close(&NONCE);
    let checking: CheckRound = with_all_values(&terms, checking, &dealers);
    let (leaves, mut vouching) = checking.close(&shares[..1]).ok()?;
    vouching.handle_leaves(shares[0].slot(), leaves.clone());
    let renewed = vouching.close(Disputes::OfBatch);
    let coverage = renewed.objects.into_iter().flatten().next()?.coverage;
    dealers.iter_mut().for_each(|dealer| dealer.handle_complaint(shares[0].slot(), &complaint));
    Some(Sample { shares, terms, dealers, complaint, values, leaves, coverage })
}

/// The check values of all receivers, who all follow the protocol.
fn with_all_values(terms: &Terms, mut checking: CheckRound, dealers: &[Dealer]) -> CheckRound {
    for &receiver in terms.receivers() {
        let Some(mut dealing) = DealingRound::new(terms.clone(), receiver) else { continue };
        for dealer in dealers {
            dealing.handle_post(dealer.slot(), dealer.post().clone());
            let rows = dealer.rows().find(|(slot, _)| *slot == receiver);
            rows.into_iter().for_each(|(_, rows)| dealing.handle_rows(dealer.slot(), rows.clone()));
        }
        checking.handle_values(receiver, dealing.close().1.close().close(&NONCE).0);
    }
    checking
}

pub(crate) fn terms() -> &'static Terms {
    &SAMPLE.terms
}

pub(crate) fn binding() -> Binding<'static> {
    Binding { epoch: Epoch(0), ..SAMPLE.terms.binding(0) }
}

pub(crate) fn share() -> &'static Share {
    &SAMPLE.shares[0]
}

pub(crate) fn dealer_posts() -> Vec<Vec<u8>> {
    SAMPLE.dealers.iter().map(|dealer| canonical::encode(dealer.post())).collect()
}

pub(crate) fn dealt_rows() -> Vec<Vec<u8>> {
    SAMPLE.dealers[0].rows().map(|(_, rows)| canonical::encode(rows)).collect()
}

pub(crate) fn complaints() -> Vec<Vec<u8>> {
    vec![canonical::encode(&SAMPLE.complaint), canonical::encode(&Complaint::default())]
}

pub(crate) fn answers() -> Vec<Vec<u8>> {
    SAMPLE.dealers.iter().map(|dealer| canonical::encode(&dealer.answer())).collect()
}

pub(crate) fn check_values() -> Vec<Vec<u8>> {
    vec![canonical::encode(&SAMPLE.values)]
}

pub(crate) fn leaves() -> Vec<Vec<u8>> {
    vec![canonical::encode(&SAMPLE.leaves)]
}

pub(crate) fn coverages() -> Vec<Vec<u8>> {
    // slots 1 to 3 vouched, 1 and 3 disagree
    vec![canonical::encode(&SAMPLE.coverage), vec![0x82, 0x83, 1, 2, 3, 0x81, 0x82, 1, 3]]
}

pub(crate) fn degraded_helps() -> Vec<Vec<u8>> {
    let helpers = Slot::all(3).collect();
    let lost = SAMPLE.shares[4].slot();
    let help = |share: &Share| share.help_degraded(&binding(), lost, &helpers).ok();
    SAMPLE.shares.iter().filter_map(help).map(|help| canonical::encode(&help)).collect()
}

pub(crate) fn audit_answers() -> Vec<Vec<u8>> {
    let answer = |share: &Share| share.answer_audit(&binding(), self::share().slot(), &NONCE);
    SAMPLE.shares.iter().filter_map(answer).map(|answer| canonical::encode(&answer)).collect()
}
