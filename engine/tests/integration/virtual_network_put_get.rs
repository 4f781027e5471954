//! Puts and gets on the virtual network, with everything that can go wrong.

use std::time::Duration;

use crate::virtual_network::{CLIENT_QUOTA, Lie, VirtualNetwork, Written, all_codes, code, liars};
use kakera_engine::code::CodeKind;
use kakera_engine::keyshare::KeyParameters;
use kakera_engine::peer::{FaultKind, GetError};
use kakera_engine::policy::durability::{put_quorum, read_threshold};
use kakera_engine::wire::GroupRange;

fn small(seed: u64) -> VirtualNetwork {
    let key = KeyParameters::new(10, 5, 6).unwrap();
    VirtualNetwork::new(seed, (code(CodeKind::Mbr, 10, 5, 7), key))
}

fn assert_read(network: &mut VirtualNetwork, written: &Written) {
    let (outcome, _) = network.get(written, None);
    let gathered = outcome.unwrap();
    assert_eq!(gathered.secret.expose(), &written.secret);
    assert!(gathered.coded == written.coded);
    assert_eq!(gathered.descriptor, written.sealed.descriptor);
}

#[test]
fn what_is_put_is_got_with_every_code() {
    for (seed, codes) in all_codes().into_iter().enumerate() {
        let mut network = VirtualNetwork::new(seed as u64, codes);
        for len in [0, 5000, 300_000] {
            let written = network.stored(len);
            assert_read(&mut network, &written);
        }
    }
}

#[test]
fn a_put_needs_its_quorum_and_no_more() {
    for (seed, codes) in all_codes().into_iter().enumerate() {
        let (n, quorum) = (codes.0.n, put_quorum(&codes.0, &codes.1) as u8);
        let mut network = VirtualNetwork::new(seed as u64, codes);
        network.down(quorum + 1..=n);
        let written = network.write(2000);
        let report = network.put(&written).0.unwrap();
        assert_eq!((report.stored, report.quorum), (usize::from(quorum), usize::from(quorum)));
        assert_eq!(network.fired("down") > 0, quorum < n);
        assert_read(&mut network, &written);

        network.down([quorum]);
        let written = network.write(2000);
        let error = network.put(&written).0.unwrap_err();
        assert!(network.fired("down") > 0);
        assert_eq!(error.report.stored, usize::from(quorum) - 1);
        assert_eq!(error.failures.len(), usize::from(n - quorum + 1));
        assert!(!error.full);
    }
}

#[test]
fn a_full_disk_and_a_forged_receipt_are_told_apart() {
    let mut network = small(3);
    network.at(1).disk.full = true;
    network.at(2).lie = Some(Lie::Receipt);
    let written = network.write(100);
    let (outcome, faults) = network.put(&written);
    assert_eq!(outcome.unwrap().stored, 8);
    assert_eq!(network.at(1).disk.refused, 1, "a full disk is not asked again");
    assert_eq!((liars(&faults), faults[0].kind), ([2].into(), FaultKind::Receipt));

    for point in 1..=10 {
        network.at(point).disk.full = true;
    }
    let written = network.write(100);
    let error = network.put(&written).0.unwrap_err();
    assert_eq!(error.report.stored, 0);
    assert_eq!(network.at(3).disk.refused, 1);
}

#[test]
fn losses_are_retried() {
    let mut network = small(4);
    network.plan.loss_percent = 20;
    for _ in 0..5 {
        let written = network.write(1000);
        network.put(&written).0.unwrap();
        assert_read(&mut network, &written);
    }
    assert!(network.fired("loss") > 5);
}

#[test]
fn a_get_needs_its_threshold_and_no_more() {
    for (seed, codes) in all_codes().into_iter().enumerate() {
        for len in [100, 400_000] {
            let (n, threshold) = (codes.0.n, read_threshold(&codes.0, &codes.1) as u8);
            let mut network = VirtualNetwork::new(seed as u64, codes);
            let written = network.stored(len);
            network.down(1..=n - threshold);
            assert_read(&mut network, &written);
            assert!(network.fired("down") > 0);

            network.down([n]);
            let Err(GetError::BelowThreshold { reached, needed, reasons, wrong }) =
                network.get(&written, None).0
            else {
                panic!("read below the threshold");
            };
            let threshold = usize::from(threshold);
            assert_eq!((reached, needed, wrong), (threshold - 1, threshold, false));
            assert_eq!(reasons.len(), usize::from(n) - threshold + 1);
        }
    }
}

#[test]
fn a_range_is_the_same_bytes_as_in_the_whole() {
    for (seed, codes) in all_codes().into_iter().enumerate() {
        let mut network = VirtualNetwork::new(seed as u64, codes);
        let written = network.stored(600_000);
        let layout = codes.0.build().unwrap().layout(written.coded.len() as u64);
        let count = layout.group_count();
        assert!(count > 2);
        for (first, groups) in [(0, 1), (1, 2), (count - 1, 1), (0, count), (count - 1, 9)] {
            let range = GroupRange { first, count: groups };
            let gathered = network.get(&written, Some(range)).0.unwrap();
            let start = layout.message_range(first).start as usize;
            let end = (first + groups).min(count) - 1;
            let end = layout.message_range(end).end as usize;
            assert!(gathered.coded == written.coded[start..end.min(written.coded.len())]);
        }
    }
}

#[test]
fn every_lie_is_worked_around_and_named() {
    let mut network = small(7);
    // so long that no more than needed are asked at first
    let other = network.stored(300_000).sealed.object_id;
    let written = network.stored(300_000);
    let range = GroupRange { first: 1, count: 1 };
    for (lie, groups, kind) in [
        (Lie::Descriptor, None, FaultKind::Descriptor),
        (Lie::NoDescriptor, None, FaultKind::Descriptor),
        (Lie::KeyPart, None, FaultKind::KeyPart),
        (Lie::Path, None, FaultKind::KeyPart),
        (Lie::Fragment, None, FaultKind::Fragment),
        (Lie::Fragment, Some(range), FaultKind::Fragment),
        (Lie::Length, None, FaultKind::Fragment),
        (Lie::Length, Some(range), FaultKind::Fragment),
        (Lie::Hashes, Some(range), FaultKind::Fragment),
        (Lie::OtherObject(other), None, FaultKind::Descriptor),
        (Lie::Unfitting, None, FaultKind::Unfitting),
    ] {
        let told = network.fired("lie");
        // the greatest number of liars that leaves enough others
        for point in 1..=5 {
            network.at(point).lie = Some(lie);
        }
        let (outcome, faults) = network.get(&written, groups);
        let gathered = outcome.unwrap();
        assert_eq!(gathered.secret.expose(), &written.secret, "{lie:?}");
        if groups.is_none() {
            assert!(gathered.coded == written.coded, "{lie:?}");
        }
        assert!(faults.iter().all(|fault| fault.kind == kind), "{lie:?}: {faults:?}");
        assert_eq!(liars(&faults), (1..=5).collect(), "{lie:?}");
        assert!(network.fired("lie") >= told + 5, "{lie:?}");

        // one more, and the failure says that enough answered but wrongly
        network.at(6).lie = Some(lie);
        let error = network.get(&written, groups).0.err().unwrap();
        assert!(
            matches!(error, GetError::BelowThreshold { reached: 4, needed: 5, wrong: true, .. }),
            "{lie:?}: {error}"
        );
        network.at(6).lie = None;
    }
}

#[test]
fn slow_holders_are_hedged() {
    let mut network = small(8);
    let written = network.stored(1_000_000);
    network.at(1).slowness = Duration::from_secs(8);
    network.at(2).slowness = Duration::from_secs(60);
    let before = network.now;
    assert_read(&mut network, &written);
    assert!(network.fired("slow") > 0 && network.fired("late") > 0);
    assert!(network.now - before < Duration::from_secs(3), "{:?}", network.now - before);
}

#[test]
fn a_crash_in_the_middle_is_survived() {
    let mut network = small(9);
    let written = network.stored(1_000_000);
    for point in 1..=5 {
        network.at(point).crashes_at = Some(network.now + Duration::from_millis(1));
    }
    assert_read(&mut network, &written);
    assert!(network.fired("crash") > 0);
}

#[test]
fn a_damaged_fragment_is_set_aside_and_the_reader_goes_on() {
    let mut network = small(10);
    let written = network.stored(10_000);
    let part = network.part(1, written.sealed.object_id);
    network.at(1).disk.rot(&part);
    let (outcome, faults) = network.get(&written, None);
    assert!(outcome.unwrap().coded == written.coded);
    assert_eq!((liars(&faults), faults[0].kind), ([1].into(), FaultKind::Fragment));
    assert_eq!(network.at(1).disk.set_aside, [part]);

    // and repair brings it back, bit for bit
    let repaired = network.repair(1);
    assert_eq!(repaired.progress.objects_failed, 0);
    assert!(network.at(1).disk.parts[&part].fragment == written.sealed.fragments[0]);
}

#[test]
fn a_submitter_stores_no_more_than_its_quota() {
    let mut network = small(11);
    let mut stored = 0;
    let error = loop {
        let written = network.write(4_000_000);
        match network.put(&written).0 {
            Ok(_) => stored += written.sealed.fragments[0].len() as u64,
            Err(error) => break error,
        }
    };
    assert!(stored > 0 && stored <= CLIENT_QUOTA);
    assert!(error.full && error.report.stored == 0, "{error}");
    assert!(error.to_string().contains("the submitter's quota"), "{error}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    let run = |seed| {
        let mut network = small(seed);
        network.plan.loss_percent = 10;
        let written = network.write(100_000);
        drop(network.put(&written));
        drop(network.get(&written, None));
        drop(network.repair(3));
        assert!(network.fired("loss") > 0);
        network.event_hash()
    };
    assert_eq!(run(11), run(11));
    assert_ne!(run(11), run(12));
}
