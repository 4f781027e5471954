//! Published numbers, computed again.
//!
//! Each [`Row`] is one source with its parameters; each [`Check`] one of its numbers beside ours.
//! The pages in `papers/` say what each source claims, and where our reading of it begins.

mod chains;
mod closed_forms;
mod figures;
mod rare;
mod simulated;
mod tables;

use serde::Serialize;

use crate::estimate::Estimate;
use crate::figure::Chart;

/// A source, or an effect that one states.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// As in the table of `papers/`.
    pub id: &'static str,
    /// The folder below `papers/`.
    pub folder: &'static str,
    /// Who published it, and where.
    pub source: &'static str,
    checks: &'static [fn(&mut Vec<Check>, Effort)],
}

/// How long to simulate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// As long as the tolerances ask for.
    Full,
    /// A small part of that, with wider intervals: whether everything still runs.
    Short,
}

/// A published number and ours.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// What is compared, with its parameters and unit.
    pub what: String,
    /// How ours came about.
    pub method: Method,
    /// As printed in the source.
    pub published: f64,
    /// Ours.
    pub reproduced: f64,
    /// Where the true value of ours lies, if it is an estimate, with 99 % confidence.
    pub interval: Option<[f64; 2]>,
    /// How near ours must come.
    pub tolerance: Tolerance,
    /// Whether it does.
    pub passed: bool,
}

/// How a number came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// A formula.
    ClosedForm,
    /// A Markov chain, solved.
    Chain,
    /// Runs of a fleet.
    Simulation,
    /// Weighted cycles of a chain.
    ImportanceSampling,
}

/// How near is near enough.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tolerance {
    /// At most this far.
    Absolute(f64),
    /// At most this share of the published number away.
    Relative(f64),
    /// Equal in every digit that was printed: the unit of the last one.
    Printed(f64),
    /// The interval comes as near as `margin` to the published number, and is as narrow as
    /// `half_width_max`, a share of the estimate.
    Interval {
        /// The uncertainty of the published number.
        margin: f64,
        /// The widest interval that says something.
        half_width_max: f64,
    },
}

impl Row {
    /// Computes every number of the row again.
    pub fn checks(&self, effort: Effort) -> Vec<Check> {
        let mut checks = Vec::new();
        self.checks.iter().for_each(|add| add(&mut checks, effort));
        checks
    }

    /// The chart of the row's page.
    pub fn figure(&self) -> Chart {
        figures::of_row(self)
    }
}

/// All rows, in the order of the table.
pub fn rows() -> &'static [Row] {
    &tables::ROWS
}

impl Check {
    fn exact(
        method: Method,
        what: impl Into<String>,
        published: f64,
        reproduced: f64,
        tolerance: Tolerance,
    ) -> Self {
        let passed = tolerance.holds(published, reproduced, None);
        Self { what: what.into(), method, published, reproduced, interval: None, tolerance, passed }
    }

    fn estimated(
        method: Method,
        what: impl Into<String>,
        published: f64,
        estimate: Estimate,
        tolerance: Tolerance,
    ) -> Self {
        let passed = tolerance.holds(published, estimate.value, Some(estimate));
        Self {
            what: what.into(),
            method,
            published,
            reproduced: estimate.value,
            interval: Some(estimate.interval),
            tolerance,
            passed,
        }
    }
}

impl Tolerance {
    fn holds(self, published: f64, reproduced: f64, estimate: Option<Estimate>) -> bool {
        // Half a unit of a decimal place is no double: a little more is allowed.
        let bound = match self {
            Self::Absolute(distance) => distance,
            Self::Relative(share) => share * published.abs(),
            Self::Printed(unit) => 0.5 * unit * (1.0 + 1e-9),
            Self::Interval { margin, half_width_max } => {
                return estimate.is_some_and(|estimate| {
                    estimate.interval[0] <= published + margin
                        && estimate.interval[1] >= published - margin
                        && estimate.relative_half_width() <= half_width_max
                });
            }
        };
        (reproduced - published).abs() <= bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_reproduced() {
        for row in rows() {
            let checks = row.checks(Effort::Short);
            assert!(!checks.is_empty(), "{}", row.id);
            for check in checks {
                assert!(check.passed, "{}: {check:?}", row.id);
            }
        }
    }

    #[test]
    fn rows_have_distinct_names() {
        for (index, row) in rows().iter().enumerate() {
            assert!(rows()[..index].iter().all(|other| other.id != row.id), "{}", row.id);
            assert!(rows()[..index].iter().all(|other| other.folder != row.folder));
        }
    }

    #[test]
    fn tolerances_end_where_they_say() {
        assert!(Tolerance::Printed(0.01).holds(1.45, 1.4549, None));
        assert!(Tolerance::Printed(0.01).holds(1.45, 1.445, None));
        assert!(!Tolerance::Printed(0.01).holds(1.45, 1.4551, None));
        assert!(Tolerance::Relative(0.01).holds(-100.0, -99.1, None));
        assert!(!Tolerance::Absolute(1.0).holds(5.0, f64::NAN, None));
    }
}
