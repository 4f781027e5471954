//! Designs that none beats.

use super::candidate::{Design, Outcome};

/// What a design may be the best at, and what of its outcome says so.
type Measure = (&'static str, fn(&Outcome) -> f64);

const NAMES: [Measure; 5] = [
    ("least storage", |outcome| outcome.storage_factor),
    ("least repair traffic", |outcome| outcome.repair_bytes),
    ("safest data", |outcome| outcome.loss_a_year),
    ("safest secret", |outcome| outcome.leak_a_year),
    ("most often there", |outcome| outcome.unavailability),
];

/// Differences below these do not count: a factor for probabilities, since nobody knows rates
/// better, and a share for costs.
const PROBABILITY_STEP: f64 = 10.0;
const COST_STEP: f64 = 1.05;
/// Probabilities below are all alike.
const PROBABILITY_MIN: f64 = 1e-15;

/// Whether one outcome is at least as good in everything and better in something.
pub(super) fn beats(one: &Outcome, other: &Outcome) -> bool {
    let (one, other) = (grades(one), grades(other));
    one != other && one.iter().zip(&other).all(|(one, other)| one <= other)
}

/// The designs that no other beats, one for each set of grades, with the least storage first; the
/// best in each respect have its name.
pub(super) fn set(mut designs: Vec<Design>) -> Vec<Design> {
    // Among equals the cheapest, then the safest, comes first and stays.
    designs.sort_by(|a, b| order(a).partial_cmp(&order(b)).unwrap_or(std::cmp::Ordering::Equal));
    let mut best: Vec<Design> = Vec::new();
    for design in designs {
        let grades_of = grades(&design.outcome);
        let known = |other: &Design| {
            grades(&other.outcome) == grades_of || beats(&other.outcome, &design.outcome)
        };
        if !best.iter().any(known) {
            best.retain(|other| !beats(&design.outcome, &other.outcome));
            best.push(design);
        }
    }
    for (name, of) in NAMES {
        let winner = best.iter_mut().min_by(|a, b| of(&a.outcome).total_cmp(&of(&b.outcome)));
        if let Some(winner) = winner {
            winner.names.push(name);
        }
    }
    best
}

fn order(design: &Design) -> [f64; 5] {
    let outcome = &design.outcome;
    [
        outcome.storage_factor,
        outcome.repair_bytes,
        outcome.leak_a_year,
        outcome.loss_a_year,
        outcome.unavailability,
    ]
}

/// Steps of every quantity; less is better.
fn grades(outcome: &Outcome) -> [i32; 5] {
    let probability = |p: f64| (p.max(PROBABILITY_MIN).ln() / PROBABILITY_STEP.ln()).floor() as i32;
    let cost = |cost: f64| (cost.max(1e-9).ln() / COST_STEP.ln()).round() as i32;
    [
        cost(outcome.storage_factor),
        cost(outcome.repair_bytes),
        probability(outcome.loss_a_year),
        probability(outcome.leak_a_year),
        probability(outcome.unavailability),
    ]
}
