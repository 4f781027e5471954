//! Validators whose machines lose power; `cargo xtask crash` runs many more.

use kakera_net::store::simulated::Fault;
use kakera_net::validator::crash_model::{self, Plan};

const PLAN: Plan = Plan { first_seed: 1, cuts: 60, ignored_site: None };

#[test]
fn nothing_is_contradicted_or_lost_whenever_the_power_goes() {
    let figures = crash_model::run(&PLAN);
    assert_eq!(figures.violation, None);
    assert!(figures.cuts >= PLAN.cuts && figures.kills > 0);
    assert!(figures.acknowledged > 50, "{}", figures.acknowledged);
    assert!(figures.blocks > 50, "{}", figures.blocks);
    assert!(Fault::ALL.iter().any(|fault| figures.faults.count(*fault) > 0));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let plan = Plan { cuts: 10, ..PLAN };
    let (first, second) = (crash_model::run(&plan), crash_model::run(&plan));
    let figures = |run: &crash_model::Figures| (run.said, run.blocks, run.acknowledged, run.kills);
    assert_eq!(figures(&first), figures(&second));
}

#[test]
fn a_voting_log_that_is_not_synced_is_noticed() {
    let sites = crash_model::run(&Plan { cuts: 10, ..PLAN }).sync_sites;
    // The one that is called most: an append's.
    let (site, _) = sites.into_iter().max_by_key(|(_, count)| *count).unwrap();
    let figures = crash_model::run(&Plan { cuts: 500, ignored_site: Some(site), ..PLAN });
    let violation = figures.violation.unwrap();
    println!("{site}: {violation}");
}
