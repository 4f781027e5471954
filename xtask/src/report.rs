//! Figures with their goals, as a table and as JSON.

use std::fmt;

use serde_json::{Map, Value, json};

/// What a command measured, in the order of measuring.
#[derive(Debug)]
pub(crate) struct Report {
    command: &'static str,
    peer: Option<&'static str>,
    figures: Vec<Figure>,
}

/// A figure; its name ends with its unit.
#[derive(Debug)]
pub(crate) struct Figure {
    name: String,
    value: f64,
    /// The same for the other system in the same run.
    peer: Option<f64>,
    more_is_better: bool,
    paired_ratio: Option<f64>,
    goal: Option<Goal>,
    /// A rate that was measured beside it and cannot be exceeded by much.
    limit: Option<f64>,
}

/// What a figure should be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// Not more.
    AtMost(f64),
    /// Not less.
    AtLeast(f64),
    /// So many times better than the peer.
    TimesBetter(f64),
}

/// Whether a figure is as it should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// It is.
    Met,
    /// It is not, or it cannot be computed.
    Missed,
    /// The goal is at this limit or more than it allows, and the figure is at the limit.
    ///
    /// The peer's speed may be such a share of the limit that so many times its speed lies beyond it.
    /// No code reaches that goal, so missing it says nothing about ours; being slower than the limit
    /// allows does, and is [`Missed`](Self::Missed).
    AboveTheLimit(f64),
}

/// The share of a limit from which on a figure, or what a goal asks for, counts as being at it: limits
/// are measured, too.
const AT_THE_LIMIT: f64 = 0.95;

impl Report {
    /// An empty report.
    pub(crate) fn new(command: &'static str) -> Self {
        Self { command, peer: None, figures: Vec::new() }
    }

    /// An empty report beside another system.
    pub(crate) fn beside(command: &'static str, peer: &'static str) -> Self {
        Self { peer: Some(peer), ..Self::new(command) }
    }

    /// Adds a figure.
    pub(crate) fn add(&mut self, name: impl Into<String>, value: f64) -> &mut Figure {
        let figure = Figure {
            name: name.into(),
            value,
            peer: None,
            more_is_better: false,
            paired_ratio: None,
            goal: None,
            limit: None,
        };
        self.figures.push_mut(figure)
    }

    /// Adds a number of things.
    pub(crate) fn count(&mut self, name: impl Into<String>, count: usize) -> &mut Figure {
        self.add(name, count as f64)
    }

    /// The names of the figures that miss their goals.
    pub(crate) fn goals_missed(&self) -> Vec<&str> {
        let missed = |figure: &&Figure| figure.verdict() == Some(Verdict::Missed);
        self.figures.iter().filter(missed).map(|figure| figure.name.as_str()).collect()
    }

    /// One JSON object: the figures by name, the peer's under its own name, ratios that were
    /// measured in pairs under `times_better`, and the limits that goals lie beyond under
    /// `above_the_limit`.
    pub(crate) fn to_json(&self) -> Value {
        let figures = self.figures.iter().map(|figure| (figure.name.clone(), json!(figure.value)));
        let mut object = Map::from_iter(figures);
        object.insert("command".into(), json!(self.command));
        object.insert("goals_missed".into(), json!(self.goals_missed()));
        if let Some(peer) = self.peer {
            object.insert(peer.into(), Value::Object(self.by_name(|figure| figure.peer)));
        }
        let above = |figure: &Figure| match figure.verdict() {
            Some(Verdict::AboveTheLimit(limit)) => Some(limit),
            _ => None,
        };
        for (key, part) in [
            ("times_better", self.by_name(|figure| figure.paired_ratio)),
            ("above_the_limit", self.by_name(above)),
        ] {
            if !part.is_empty() {
                object.insert(key.into(), Value::Object(part));
            }
        }
        Value::Object(object)
    }

    /// Something of every figure that has it.
    fn by_name(&self, part: impl Fn(&Figure) -> Option<f64>) -> Map<String, Value> {
        let part = |figure: &Figure| Some((figure.name.clone(), json!(part(figure)?)));
        self.figures.iter().filter_map(part).collect()
    }
}

impl Figure {
    /// Sets what the figure should be.
    pub(crate) fn goal(&mut self, goal: Goal) -> &mut Self {
        self.goal = Some(goal);
        self
    }

    /// Sets the other system's figure.
    pub(crate) fn peer(&mut self, value: f64) -> &mut Self {
        self.peer = Some(value);
        self
    }

    /// Says that a rate was measured, not a cost.
    pub(crate) fn more_is_better(&mut self) -> &mut Self {
        self.more_is_better = true;
        self
    }

    /// Sets how many times better it was, if that was measured in pairs and is not simply the
    /// quotient of the two figures.
    pub(crate) fn paired_ratio(&mut self, times_better: f64) -> &mut Self {
        self.paired_ratio = Some(times_better);
        self
    }

    /// Sets the limit of a rate, measured beside it in the same unit.
    pub(crate) fn limit(&mut self, value: f64) -> &mut Self {
        self.limit = Some(value);
        self
    }

    /// How many times better than the peer.
    fn times_better(&self) -> Option<f64> {
        if self.paired_ratio.is_some() {
            return self.paired_ratio;
        }
        let times_less = self.peer? / self.value;
        Some(if self.more_is_better { times_less.recip() } else { times_less })
    }

    /// `None` without a goal.
    fn verdict(&self) -> Option<Verdict> {
        let is_met = match self.goal? {
            Goal::AtMost(most) => self.value <= most,
            Goal::AtLeast(least) => self.value >= least,
            Goal::TimesBetter(times) => self.times_better().is_some_and(|ratio| ratio >= times),
        };
        Some(match self.limit {
            _ if is_met => Verdict::Met,
            Some(limit) if self.is_at_limit_below_goal(limit) => Verdict::AboveTheLimit(limit),
            _ => Verdict::Missed,
        })
    }

    fn is_at_limit_below_goal(&self, limit: f64) -> bool {
        let (Some(Goal::TimesBetter(times)), Some(peer)) = (self.goal, self.peer) else {
            return false;
        };
        let is_at_limit = |value: f64| value >= AT_THE_LIMIT * limit;
        self.more_is_better && is_at_limit(times * peer) && is_at_limit(self.value)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows =
            vec![["".into(), self.command.into(), String::new(), String::new(), String::new()]];
        if let Some(peer) = self.peer {
            rows[0][2] = peer.into();
            rows[0][3] = "times better".into();
        }
        rows.extend(self.figures.iter().map(|figure| {
            let optional = |value: Option<f64>| value.map(rounded).unwrap_or_default();
            let goal = figure.goal.map(|goal| goal.to_string()).unwrap_or_default();
            let verdict = figure.verdict().map(|verdict| format!("  {verdict}"));
            [
                figure.name.clone(),
                rounded(figure.value),
                optional(figure.peer),
                optional(figure.times_better()),
                goal + &verdict.unwrap_or_default(),
            ]
        }));
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
        let widths: [usize; 5] = std::array::from_fn(|column| width(column).unwrap_or(0));
        for [name, value, peer, ratio, goal] in &rows {
            let line = format!(
                "{name:0$}  {value:>1$}  {peer:>2$}  {ratio:>3$}  {goal}",
                widths[0], widths[1], widths[2], widths[3]
            );
            writeln!(formatter, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => write!(formatter, "≤ {}", rounded(*limit)),
            Self::AtLeast(limit) => write!(formatter, "≥ {}", rounded(*limit)),
            Self::TimesBetter(times) => write!(formatter, "≥ {} × better", rounded(*times)),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Met => formatter.write_str("ok"),
            Self::Missed => formatter.write_str("MISSED"),
            Self::AboveTheLimit(limit) => {
                write!(formatter, "above the limit of {}", rounded(*limit))
            }
        }
    }
}

/// Three or more significant digits.
fn rounded(value: f64) -> String {
    let decimals = match value.abs() {
        _ if value.fract() == 0.0 => 0,
        magnitude if magnitude >= 100.0 => 0,
        magnitude if magnitude >= 10.0 => 1,
        magnitude if magnitude >= 1.0 => 2,
        magnitude if magnitude >= 0.1 => 3,
        _ => 5,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_and_json_agree_on_what_is_missed() {
        let mut report = Report::beside("example", "tahoe");
        report.add("put_ms", 12.5).peer(72.0).goal(Goal::AtMost(10.0));
        report.add("put_cpu_seconds", 0.004).peer(0.12).goal(Goal::TimesBetter(25.0));
        report.add("mb_per_second", 50.0).peer(20.0).more_is_better().goal(Goal::TimesBetter(2.0));
        assert_eq!(report.goals_missed(), ["put_ms"]);
        let json = report.to_json();
        assert_eq!(json["put_ms"], 12.5);
        assert_eq!(
            json["tahoe"],
            json!({ "put_ms": 72.0, "put_cpu_seconds": 0.12, "mb_per_second": 20.0 })
        );
        let table = report.to_string();
        assert!(
            table.contains("put_ms              12.5     72          5.76  ≤ 10  MISSED"),
            "{table}"
        );
        assert!(table.contains("≥ 25 × better  ok"), "{table}");
        assert_eq!(table.lines().count(), 4);
    }

    #[test]
    fn a_ratio_measured_in_pairs_counts() {
        let mut report = Report::beside("example", "peer");
        let figure = report.add("gb_per_second", 10.0).peer(10.0).more_is_better();
        figure.paired_ratio(2.5).goal(Goal::TimesBetter(2.0));
        assert!(report.goals_missed().is_empty());
        assert_eq!(report.to_json()["times_better"], json!({ "gb_per_second": 2.5 }));
    }

    #[test]
    fn a_goal_above_the_limit_is_missed_only_below_the_limit() {
        let verdict = |ours: f64, peer: f64, limit: Option<f64>| {
            let mut report = Report::beside("example", "peer");
            let figure = report.add("gb_per_second", ours).peer(peer).more_is_better();
            figure.goal(Goal::TimesBetter(4.0)).limit = limit;
            figure.verdict()
        };
        // Four times 19 is more than 72.8.
        assert_eq!(verdict(70.0, 19.0, Some(72.8)), Some(Verdict::AboveTheLimit(72.8)));
        assert_eq!(verdict(0.8 * 72.8, 19.0, Some(72.8)), Some(Verdict::Missed));
        assert_eq!(verdict(77.0, 19.0, Some(72.8)), Some(Verdict::Met));
        assert_eq!(verdict(70.0, 19.0, None), Some(Verdict::Missed));
        // Four times 18 is as good as that.
        assert_eq!(verdict(70.0, 18.0, Some(72.8)), Some(Verdict::AboveTheLimit(72.8)));
        // Four times 17 is not.
        assert_eq!(verdict(67.0, 17.0, Some(72.8)), Some(Verdict::Missed));
        assert_eq!(verdict(72.5, 18.0, Some(72.8)), Some(Verdict::Met));
        assert_eq!(verdict(f64::NAN, 19.0, Some(72.8)), Some(Verdict::Missed));
    }

    #[test]
    fn a_goal_above_the_limit_has_its_own_word() {
        let mut report = Report::beside("example", "peer");
        let figure = report.add("gb_per_second", 70.0).peer(19.0).more_is_better();
        figure.goal(Goal::TimesBetter(4.0)).limit(72.8);
        assert!(report.goals_missed().is_empty());
        assert_eq!(report.to_json()["above_the_limit"], json!({ "gb_per_second": 72.8 }));
        assert!(report.to_string().contains("≥ 4 × better  above the limit of 72.8"), "{report}");
    }

    #[test]
    fn what_cannot_be_computed_is_missed() {
        let mut report = Report::new("example");
        report.add("no_peer", 1.0).goal(Goal::TimesBetter(2.0));
        report.add("not_a_number", f64::NAN).goal(Goal::AtMost(2.0));
        assert_eq!(report.goals_missed().len(), 2);
    }
}
