//! What moves the answer most: every parameter halved and doubled, the others as they are.
//!
//! Under one seed all variations see the same uniform numbers (common random numbers), so that their
//! differences are seen with fewer runs than each of them.

use serde::Serialize;

use crate::fleet::{Fleet, Hostile, Repair, RepairTime, Session};
use crate::random::Law;
use crate::scenario::Scenario;

/// What a scenario answers, of one group within the horizon.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// That it is lost.
    pub loss: f64,
    /// That its secret leaks.
    pub leak: f64,
    /// Bytes that repairs move, a machine and year; `None` of exact answers.
    pub repair_bytes: Option<f64>,
    /// Whether a chain gave it.
    pub exact: bool,
}

/// The answers with one parameter changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Influence {
    /// Its name in the scenario.
    pub parameter: &'static str,
    /// With half of it.
    pub halved: Answer,
    /// With twice as much.
    pub doubled: Answer,
    /// By which power of the parameter the loss grows, between the two; `None` where there is none.
    pub loss_exponent: Option<f64>,
    /// The same for the leak.
    pub leak_exponent: Option<f64>,
}

/// Changes one parameter by a factor; false if the fleet has no such parameter.
type Change = fn(&mut Fleet, f64) -> bool;

const PARAMETERS: [(&str, Change); 11] = [
    ("network.lifetime", |fleet, factor| {
        let of_kinds = fleet.kinds.iter_mut().map(|kind| &mut kind.lives);
        let lives = std::iter::once(&mut fleet.lives).chain(of_kinds).flatten();
        lives.fold(false, |changed, law| {
            *law = law.scaled(factor);
            changed || *law != Law::Never
        })
    }),
    ("repair.detection", |fleet, factor| {
        let changed = fleet.detection != Law::Fixed(0.0);
        fleet.detection = fleet.detection.scaled(factor);
        fleet.patience = fleet.patience.map(|patience| (patience as f64 * factor) as u64);
        changed
    }),
    ("repair.time", |fleet, factor| match &mut fleet.repair {
        Repair::Each(RepairTime::Law(law))
        | Repair::OneByOne(RepairTime::Law(law))
        | Repair::Together { time: law, .. } => {
            let changed = *law != Law::Fixed(0.0);
            *law = law.scaled(factor);
            changed
        }
        _ => false,
    }),
    ("repair.rate", |fleet, factor| match &mut fleet.repair {
        Repair::Each(RepairTime::BytesPerSecond(rate))
        | Repair::OneByOne(RepairTime::BytesPerSecond(rate))
        | Repair::Each(RepairTime::Shared { rate, .. } | RepairTime::Helped { rate, .. })
        | Repair::OneByOne(RepairTime::Shared { rate, .. } | RepairTime::Helped { rate, .. }) => {
            *rate *= factor;
            true
        }
        _ => false,
    }),
    ("repair.uplink", |fleet, factor| match &mut fleet.repair {
        Repair::Each(RepairTime::Shared { uplink, .. })
        | Repair::OneByOne(RepairTime::Shared { uplink, .. }) => {
            *uplink *= factor;
            true
        }
        _ => false,
    }),
    ("repair.helper_uplink", |fleet, factor| match &mut fleet.repair {
        Repair::Each(RepairTime::Helped { uplink, .. })
        | Repair::OneByOne(RepairTime::Helped { uplink, .. }) => {
            *uplink *= factor;
            true
        }
        _ => false,
    }),
    ("corruption.share", |fleet, factor| {
        fleet.corruption.as_mut().map(|corruption| corruption.share_mean *= factor).is_some()
    }),
    ("pauses.session", |fleet, factor| {
        match fleet.absence.as_mut().map(|absence| &mut absence.session) {
            Some(Session::Law(law)) => {
                *law = law.scaled(factor);
                true
            }
            _ => false,
        }
    }),
    ("pauses.timeout", |fleet, factor| {
        let absence = fleet.absence.as_mut();
        absence.map(|absence| absence.timeout = (absence.timeout as f64 * factor) as u64).is_some()
    }),
    ("attacker.hostile", |fleet, factor| match fleet.attack.as_mut().map(|a| &mut a.hostile) {
        Some(Hostile::Each(share)) => {
            *share = (*share * factor).min(1.0);
            true
        }
        Some(Hostile::Exactly(count)) => {
            *count = ((f64::from(*count) * factor) as u32).min(fleet.nodes);
            true
        }
        None => false,
    }),
    ("attacker.refresh", |fleet, factor| {
        let epoch = fleet.attack.as_mut().and_then(|attack| attack.epoch.as_mut());
        epoch.map(|epoch| *epoch = ((*epoch as f64 * factor) as u64).max(1)).is_some()
    }),
];

/// How many parameters a scenario has that can be varied: twice as many runs are made, and one.
pub fn parameters(scenario: &Scenario) -> usize {
    PARAMETERS.iter().filter(|(_, change)| vary(scenario, *change, 2.0).is_some()).count()
}

/// The answer as it is, and every parameter's influence, what moves loss or leak most first.
pub fn sensitivity(scenario: &Scenario, mut done: impl FnMut()) -> (Answer, Vec<Influence>) {
    let base = answer(scenario);
    let mut influences = Vec::new();
    for (parameter, change) in PARAMETERS {
        let (Some(less), Some(more)) = (vary(scenario, change, 0.5), vary(scenario, change, 2.0))
        else {
            continue;
        };
        let (halved, doubled) = (answer(&less), answer(&more));
        let exponent =
            |low: f64, high: f64| (low > 0.0 && high > 0.0).then(|| (high / low).log2() / 2.0);
        influences.push(Influence {
            parameter,
            halved,
            doubled,
            loss_exponent: exponent(halved.loss, doubled.loss),
            leak_exponent: exponent(halved.leak, doubled.leak),
        });
        done();
    }
    let weight = |influence: &Influence| {
        let size = |exponent: Option<f64>| exponent.map_or(0.0, f64::abs);
        size(influence.loss_exponent).max(size(influence.leak_exponent))
    };
    influences.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
    (base, influences)
}

fn vary(scenario: &Scenario, change: Change, factor: f64) -> Option<Scenario> {
    let mut varied = scenario.clone();
    change(&mut varied.campaign.fleet, factor).then_some(varied)
}

/// Exactly if there is a chain, else by counting.
fn answer(scenario: &Scenario) -> Answer {
    if let Ok(exact) = scenario.exact() {
        let leak = exact.leak.map_or(0.0, |leak| leak.probability());
        return Answer { loss: exact.loss_probability, leak, repair_bytes: None, exact: true };
    }
    let summary = scenario.campaign.summary(&scenario.campaign.run(), scenario.confidence);
    Answer {
        loss: summary.loss_of_a_group.value,
        leak: summary.leak_of_a_group.value,
        repair_bytes: summary.repair_bytes_per_node_year.map(|bytes| bytes.value),
        exact: false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    const SCENARIO: &str = "\
[network]
nodes = 6
lifetime = { exponential = \"1000h\" }
[code]
data = \"rs(6,4,4)\"
key = { k = 3, d = 4 }
[repair]
time = { exponential = \"1h\" }
[attacker]
hostile = \"5%\"
refresh = \"30d\"
[run]
horizon = \"1y\"
replications = 200
";

    /// Three losses within an hour: twice failure, twice repair time; once a repair more of horizon.
    #[test]
    fn exponents_are_those_of_the_chain() {
        let scenario = Scenario::parse(SCENARIO).unwrap();
        let (base, influences) = sensitivity(&scenario, || ());
        assert!(base.exact && base.loss > 0.0 && base.leak > 0.0);
        assert_eq!(influences.len(), parameters(&scenario));
        let of = |name: &str| influences.iter().find(|one| one.parameter == name).unwrap();
        assert!((of("repair.time").loss_exponent.unwrap() - 2.0).abs() < 0.05);
        assert!((of("network.lifetime").loss_exponent.unwrap() + 3.0).abs() < 0.05);
        assert_eq!(of("attacker.hostile").loss_exponent, Some(0.0));
        assert!(of("attacker.hostile").leak_exponent.unwrap() > 2.0);
        assert!(of("attacker.refresh").leak_exponent.unwrap() > 0.1);
    }

    #[test]
    fn laws_with_memory_are_counted() {
        let text = SCENARIO.replacen("{ exponential = \"1h\" }", "{ fixed = \"30h\" }", 1);
        let (base, influences) = sensitivity(&Scenario::parse(&text).unwrap(), || ());
        assert!(!base.exact && base.repair_bytes.is_some());
        assert!(influences.iter().any(|one| one.parameter == "repair.time"));
    }
}
