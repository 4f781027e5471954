//! Key shares dealt anew by their holders, with crashes, sleep, loss and a cheating dealer.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::virtual_network::{GROUP, Lie, Misfit, VirtualNetwork, Written, code, slot};
use kakera_engine::code::{CodeKind, CodeParameters};
use kakera_engine::keyshare::{self, KeyParameters, Share};
use kakera_engine::ledger::Group;
use kakera_engine::names::{Epoch, ObjectId};
use kakera_engine::object::Descriptor;
use kakera_engine::peer::GetError;
use kakera_engine::peer::refresh::LeadError;

const PATIENCE: Duration = Duration::from_secs(3600);

fn codes() -> (CodeParameters, KeyParameters) {
    (code(CodeKind::Mbr, 10, 5, 7), KeyParameters::new(10, 5, 6).unwrap())
}

fn network(seed: u64) -> VirtualNetwork {
    println!("seed {seed}");
    let mut network = VirtualNetwork::new(seed, codes());
    network.upgrade();
    network
}

fn group(network: &VirtualNetwork) -> Group {
    network.view.state.group(GROUP).unwrap().clone()
}

fn shares(network: &mut VirtualNetwork, object: ObjectId) -> BTreeMap<u8, Share> {
    let share = |point| {
        let part = network.part_of(point, object);
        (point, network.at(point).disk.parts[&part].share.clone())
    };
    (1..=10).map(share).collect()
}

/// What the read parts of these shares give, as an adversary who has them would try.
fn secret_of(written: &Written, shares: &[&Share]) -> Option<[u8; 32]> {
    let descriptor = &written.sealed.descriptor;
    let binding = descriptor.binding();
    let parts: Vec<_> = shares.iter().map(|share| share.prove_part(&binding)).collect();
    let parts: Vec<_> = parts.iter().map(|part| (part.slot(), part.part())).collect();
    let read = keyshare::read_robust(descriptor.key, &parts).ok();
    read.map(|(secret, _)| *secret.expose())
}

fn assert_readable(network: &mut VirtualNetwork, written: &Written) {
    let (outcome, faults) = network.get(written, None);
    let gathered = outcome.unwrap();
    assert_eq!((gathered.coded == written.coded, faults.len()), (true, 0));
    assert_eq!(*gathered.secret.expose(), written.secret);
}

#[test]
fn old_and_new_shares_do_not_add_up() {
    let mut network = network(1);
    let objects: Vec<Written> = (0..4).map(|_| network.stored(20_000)).collect();
    let old: Vec<_> = objects.iter().map(|o| shares(&mut network, o.sealed.object_id)).collect();

    assert_eq!(network.refresh(PATIENCE), [Ok(4)]);

    assert_eq!(group(&network).epoch, Epoch(1));
    for point in 1..=10 {
        // The old shares are in memory until the holder hears that they were replaced.
        assert!(network.remembers_refresh(point, 1));
        network.show_state(point);
        assert!(!network.remembers_refresh(point, 1));
    }
    for (written, old) in objects.iter().zip(&old) {
        let new = shares(&mut network, written.sealed.object_id);
        assert!(new.iter().all(|(point, share)| *share != old[point]));
        let of_new: Vec<&Share> = new.values().take(5).collect();
        assert_eq!(secret_of(written, &of_new), Some(written.secret));
        for from_old in 1..5 {
            let mixed: Vec<&Share> = old
                .values()
                .take(from_old)
                .chain(new.values().skip(from_old).take(5 - from_old))
                .collect();
            assert_ne!(secret_of(written, &mixed), Some(written.secret));
        }
        assert_readable(&mut network, written);
    }
    // Nothing is due before the epoch is over.
    assert!(network.refresh(Duration::from_secs(600)).is_empty());
    let again = network.refresh(PATIENCE);
    assert_eq!((again.as_slice(), group(&network).epoch), ([Ok(4)].as_slice(), Epoch(2)));
    objects.iter().for_each(|written| assert_readable(&mut network, written));
}

#[test]
fn an_attempt_that_a_crash_ends_changes_nothing_and_another_follows() {
    for seed in 10..16 {
        let mut network = network(seed);
        network.plan.loss_percent = 5;
        let written = network.stored(5000);
        let before = shares(&mut network, written.sealed.object_id);
        let lead = network.first_lead(1);
        let victim = lead % 10 + 1;
        // Somewhere within the rounds of the first attempt.
        network.at(victim).crashes_at = Some(network.now + Duration::from_millis(100 * (seed - 9)));
        let outcomes = network.refresh(Duration::from_secs(100));
        let absent = |outcome: &Result<u32, LeadError>| matches!(outcome, Err(LeadError::Absent { slot, .. }) if slot.point() == victim);
        assert!(outcomes.first().is_some_and(absent), "{outcomes:?}");
        assert!(network.fired("crash") > 0);
        assert_eq!(shares(&mut network, written.sealed.object_id), before);
        assert_readable_without_lies(&mut network, &written);

        network.at(victim).crashes_at = None;
        assert_eq!(network.refresh(PATIENCE).last(), Some(&Ok(1)));
        assert_readable_without_lies(&mut network, &written);
        assert!(network.fired("loss") > 0);
    }
}

fn assert_readable_without_lies(network: &mut VirtualNetwork, written: &Written) {
    // Under loss a reader may have to ask again.
    let secret = (0..20).find_map(|_| network.get(written, None).0.ok());
    assert_eq!(*secret.unwrap().secret.expose(), written.secret);
}

#[test]
fn a_holder_that_sleeps_after_its_word_has_its_new_shares_when_it_wakes() {
    let mut network = network(20);
    let written = network.stored(5000);
    let sleeper = network.first_lead(1) % 10 + 1;
    // It hears of no block: its disk decides nothing.
    network.at(sleeper).asleep = true;
    assert_eq!(network.refresh(PATIENCE), [Ok(1)]);
    let undecided = network.at(sleeper).disk.undecided.len();
    assert_eq!(undecided, 0, "what was kept is looked at when a block comes");
    let object = written.sealed.object_id;
    let descriptor = Descriptor::decode(&written.sealed.descriptor.encode()).unwrap();
    let part = network.part_of(sleeper, object);
    assert!(network.at(sleeper).disk.parts[&part].renewed.is_none());

    // Meanwhile a reader meets two epochs and uses shares of one.
    let others: Vec<u8> = (1..=10).filter(|point| *point != sleeper).take(5).collect();
    network.down(others.iter().copied().take(4));
    let (outcome, faults) = network.get(&written, None);
    assert_eq!(*outcome.unwrap().secret.expose(), written.secret);
    assert!(faults.is_empty());
    network.down(others[4..].iter().copied());
    let (outcome, faults) = network.get(&written, None);
    let outcome = outcome.map(|_| ());
    let between = matches!(outcome, Err(GetError::StaleEpochs));
    assert!(between && faults.is_empty(), "four of the new epoch, one of the old: {outcome:?}");

    network.at(sleeper).asleep = false;
    network.settle();
    let kept = network.at(sleeper).disk.parts[&part].clone();
    assert_eq!(kept.renewed.as_ref().unwrap().epoch, Epoch(1));
    let (binding, rows) = descriptor.commitments(kept.renewed.as_ref());
    assert!(kept.share.matches(&binding, &rows[slot(sleeper).index()]));
    assert_eq!(*network.get(&written, None).0.unwrap().secret.expose(), written.secret);
}

#[test]
fn a_cheating_dealer_is_left_out_and_named() {
    let mut network = network(30);
    let written = network.stored(5000);
    // Seven of ten deal: the first ones.
    let cheat = if network.first_lead(1) == 2 { 3 } else { 2 };
    network.at(cheat).lie = Some(Lie::Rows);
    assert_eq!(network.refresh(PATIENCE), [Ok(1)]);
    assert!(network.fired("lie") > 0);
    for point in (1..=10).filter(|point| *point != cheat) {
        let named = network.excluded_dealers(point, 1);
        assert_eq!(named, [cheat], "as slot {point} sees it");
    }
    network.at(cheat).lie = None;
    assert_readable(&mut network, &written);
}

#[test]
fn a_newcomer_rebuilds_the_refreshed_share() {
    for lie in [None, Some(Lie::KeySymbol)] {
        let mut network = network(40);
        let written = network.stored(30_000);
        assert_eq!(network.refresh(PATIENCE), [Ok(1)]);
        let object = written.sealed.object_id;
        let lost = shares(&mut network, object)[&4].clone();
        network.reassign(4);
        network.at(7).lie = lie;
        let repaired = network.repair(4);
        assert!(repaired.whole, "{:?}", repaired.progress);
        assert_eq!(shares(&mut network, object)[&4], lost);
        assert_eq!(repaired.parts[0].renewed.as_ref().unwrap().epoch, Epoch(1));
        let named: Vec<u8> = crate::virtual_network::liars(&repaired.faults).into_iter().collect();
        assert_eq!(named, lie.map_or(vec![], |_| vec![7]));
        network.at(7).lie = None;
        network.down([1, 2, 3, 5, 6]);
        assert_readable_without_lies(&mut network, &written);
    }
}

#[test]
fn one_seed_one_trace() {
    let run = || {
        let mut network = network(50);
        network.plan.loss_percent = 10;
        network.stored_at_most(3000);
        let outcomes = network.refresh(PATIENCE);
        (outcomes, network.event_hash())
    };
    assert_eq!(run(), run());
}

/// Two of ten are away for all of it: after a round of turns the others go on, and the two rebuild
/// their shares alone when they are back, though one of the others lies.
#[test]
fn a_refresh_goes_on_without_the_absent_who_rebuild_their_shares() {
    let mut network = network(60);
    let objects: Vec<Written> = (0..3).map(|_| network.stored(20_000)).collect();
    let old: Vec<_> = objects.iter().map(|o| shares(&mut network, o.sealed.object_id)).collect();
    network.down([4, 9]);
    let outcomes = network.refresh(2 * PATIENCE);
    let (last, vain) = outcomes.split_last().unwrap();
    assert_eq!(last, &Ok(3));
    assert!(!vain.is_empty() && vain.iter().all(|outcome| matches!(outcome, Err(LeadError::Absent { slot, .. }) if [4, 9].contains(&slot.point()))), "{vain:?}");
    let filling = |network: &VirtualNetwork| -> Vec<u8> {
        let seats = (1..).zip(group(network).holders);
        seats.filter(|(_, holder)| holder.is_filling()).map(|(point, _)| point).collect()
    };
    assert_eq!((group(&network).epoch, filling(&network)), (Epoch(1), vec![4, 9]));
    objects.iter().for_each(|written| assert_readable(&mut network, written));

    network.up([4, 9]);
    for (written, old) in objects.iter().zip(&old) {
        let now = shares(&mut network, written.sealed.object_id);
        assert!((1..=10).all(|point| (now[&point] == old[&point]) == [4, 9].contains(&point)));
        let stale: Vec<&Share> = [4, 9, 1, 2, 3].iter().map(|point| &now[point]).collect();
        assert_ne!(secret_of(written, &stale), Some(written.secret));
    }
    network.at(6).lie = Some(Lie::KeySymbol);
    for point in [4, 9] {
        let repaired = network.repair(point);
        assert!(repaired.whole, "{:?}", repaired.progress);
        assert_eq!((repaired.shares_renewed, repaired.parts.len()), (3, 0));
        assert_eq!((repaired.progress.symbol_bytes, repaired.evidence.len()), (0, 0));
        assert!(crate::virtual_network::liars(&repaired.faults).into_iter().eq([6]));
        network.tell_filled(point);
    }
    network.at(6).lie = None;
    for (written, old) in objects.iter().zip(&old) {
        let now = shares(&mut network, written.sealed.object_id);
        assert!(now.iter().all(|(point, share)| *share != old[point]));
        let of_new: Vec<&Share> = [4, 9, 1, 2, 3].iter().map(|point| &now[point]).collect();
        assert_eq!(secret_of(written, &of_new), Some(written.secret));
        assert_readable(&mut network, written);
    }

    // With the next refresh everybody can check them again.
    assert_eq!(network.refresh(2 * PATIENCE).last(), Some(&Ok(3)));
    for written in &objects {
        let descriptor = Descriptor::decode(&written.sealed.descriptor.encode()).unwrap();
        let part = network.part_of(4, written.sealed.object_id);
        let kept = network.at(4).disk.parts[&part].clone();
        let (binding, rows) = descriptor.commitments(kept.renewed.as_ref());
        assert!(kept.share.matches(&binding, &rows[slot(4).index()]));
    }
    network.down([1, 2, 3, 5, 6]);
    objects.iter().for_each(|written| assert_readable_without_lies(&mut network, written));
}

#[test]
fn a_newcomer_rebuilds_what_an_absent_holder_never_had() {
    let mut network = network(70);
    let written = network.stored(30_000);
    network.down([4]);
    assert_eq!(network.refresh(2 * PATIENCE).last(), Some(&Ok(1)));
    network.reassign(4);
    let repaired = network.repair(4);
    assert!(repaired.whole && repaired.faults.is_empty(), "{:?}", repaired.progress);
    assert!(repaired.parts[0].fragment == written.sealed.fragments[3]);
    // Only as many sent symbols of the fragment as it takes.
    assert_eq!(repaired.progress.symbol_bytes, repaired.progress.symbol_bytes_theory);
    let shares = shares(&mut network, written.sealed.object_id);
    let with_new: Vec<&Share> = [4, 7, 8, 9, 10].iter().map(|point| &shares[point]).collect();
    assert_eq!(secret_of(&written, &with_new), Some(written.secret));
    network.down([1, 2, 3, 5]);
    assert_readable(&mut network, &written);
}

#[test]
fn more_than_a_refresh_bears_may_not_be_absent() {
    let mut network = network(80);
    let written = network.stored(5000);
    network.down([4, 8, 9]);
    let outcomes = network.refresh(2 * PATIENCE);
    assert!(outcomes.len() > 10 && outcomes.iter().all(Result::is_err), "{outcomes:?}");
    assert_eq!(group(&network).epoch, Epoch(0));
    assert_readable(&mut network, &written);
}

/// A writer gave slot 4 a share of one object that fits no other's: the rest of the batch is refreshed
/// as ever, and whoever takes the slot over gets a share that fits.
#[test]
fn a_share_that_fits_no_other_is_made_good_when_its_slot_is_rebuilt() {
    let mut network = network(70);
    let ill_formed = network.stored_ill_formed(5000, Misfit::Share, 4);
    let written = network.stored(5000);
    assert_eq!(network.refresh(PATIENCE), [Ok(2)]);
    let epoch_of = |network: &mut VirtualNetwork, point, written: &Written| {
        let part = network.part_of(point, written.sealed.object_id);
        network.at(point).disk.parts[&part].renewed.as_ref().map(|rows| rows.epoch)
    };
    for point in 1..=10 {
        network.show_state(point);
        assert_eq!(epoch_of(&mut network, point, &ill_formed), Some(Epoch(1)));
    }
    assert_readable(&mut network, &written);

    network.at(4).disk.parts.clear();
    let repaired = network.compare(4, None);
    assert!(repaired.whole && repaired.faults.is_empty(), "{:?}", repaired.progress);
    assert_eq!(repaired.progress.objects_held, 2);
    let all: Vec<Share> = shares(&mut network, ill_formed.sealed.object_id).into_values().collect();
    assert_eq!(secret_of(&ill_formed, &all.iter().collect::<Vec<_>>()), Some(ill_formed.secret));
    // From the next refresh on it is committed to like any other.
    assert_eq!(network.refresh(PATIENCE), [Ok(2)]);
    (1..=10).for_each(|point| network.show_state(point));
    assert_readable(&mut network, &ill_formed);
}

/// Where no holder may lie, nobody can tell whether one does: the object keeps its shares.
#[test]
fn an_object_that_cannot_be_covered_keeps_its_shares_and_the_others_are_refreshed() {
    let codes = (code(CodeKind::Mbr, 5, 3, 4), KeyParameters::new(5, 3, 4).unwrap());
    let mut network = VirtualNetwork::new(71, codes);
    network.upgrade();
    let ill_formed = network.stored_ill_formed(5000, Misfit::Share, 4);
    let written = network.stored(5000);
    for epoch in 1..=2 {
        assert_eq!(network.refresh(PATIENCE), [Ok(2)]);
        for point in 1..=5 {
            network.show_state(point);
            let renewed = |network: &mut VirtualNetwork, written: &Written| {
                let part = network.part_of(point, written.sealed.object_id);
                network.at(point).disk.parts[&part].renewed.as_ref().map(|rows| rows.epoch)
            };
            assert_eq!(renewed(&mut network, &ill_formed), None);
            assert_eq!(renewed(&mut network, &written), Some(Epoch(epoch)));
        }
        assert_readable(&mut network, &written);
    }
    // The slot becomes whole without the object, which is tried once in an epoch.
    network.at(4).disk.parts.clear();
    let repaired = network.compare(4, None);
    assert!(repaired.whole && repaired.faults.is_empty(), "{:?}", repaired.progress);
    assert_eq!((repaired.progress.objects_held, repaired.progress.objects_failed), (1, 1));
    let again = network.compare(4, Some(2));
    assert!(again.whole && again.progress.objects_failed == 0, "{:?}", again.progress);
    assert_eq!((again.asked, again.progress.symbol_bytes), (vec![2], 0));
    assert_eq!(network.refresh(PATIENCE), [Ok(1)]);
    let tried = network.compare(4, Some(2));
    assert_eq!(tried.progress.objects_failed, 1);
}
