//! Power cuts and kills at every step of the store, and the proof that no sync is superfluous.

use kakera_net::store::crash_model::{Plan, Subject, remove_each_sync, run};
use kakera_net::store::simulated::Fault;

/// The sync whose absence shows least, that of a new log's name, was missed within 2500 cuts from
/// each of eight first seeds; every other one within 250.
const CUTS: u64 = 5000;

#[test]
fn every_promise_outlives_power_cuts() {
    for subject in Subject::ALL {
        let figures = run(&Plan { subject, first_seed: 1, cuts: CUTS, ignored_site: None });
        println!("{subject:?}: {figures:#?}");
        assert_eq!(figures.violation, None);
        assert!(figures.cuts >= CUTS && figures.kills >= CUTS / 10);
        for fault in Fault::ALL {
            // The log removes nothing.
            let expected = u64::from((subject, fault) != (Subject::Log, Fault::RemovalLost));
            assert!(figures.faults.count(fault) >= expected, "{subject:?}: {fault:?} never fired");
        }
    }
}

#[test]
fn without_any_one_sync_a_promise_is_broken() {
    let mutations = remove_each_sync(1, CUTS);
    for mutation in &mutations {
        println!("{mutation:?}");
        assert!(mutation.syncs_ignored > 0, "{}: never ignored", mutation.site);
        assert!(mutation.violation.is_some(), "{}: no one missed it", mutation.site);
    }
    assert!(mutations.len() >= 15, "{} sites", mutations.len());
}
