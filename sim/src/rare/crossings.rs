//! The loss of a group whose machines die and are replaced independently of each other, under any law.
//!
//! Such a group is lost when for the first time as many shares are missing as it cannot do without: when
//! their number crosses a level from below. How many crossings are expected within the horizon is a
//! matter of one machine alone, however rare they are: whenever a machine dies, the others that are
//! missing follow a binomial law (Campbell's formula over the deaths). So
//!
//! P(loss) = E(crossings) × P(a crossing is the first of its run),
//!
//! where the first factor comes from tables ([`Renewal`]), and the second, which is rare for no
//! network, from runs that were drawn given that they cross: a machine that dies at a moment drawn
//! among all crossings, n - k others that are missing then, and the rest that are not. It is the
//! estimator of a union's probability of Karp and Luby ("Monte-Carlo algorithms for enumeration and
//! reliability problems", FOCS 1983, §3) over a continuum of events, as Adler, Blanchet and Liu use it
//! for high levels of random fields (Annals of Applied Probability 22 (2012), §3).

use serde::Serialize;
use thiserror::Error;

use super::renewal::Renewal;
use crate::estimate::Estimate;
use crate::exact::{Binomial, CountLaw};
use crate::fleet::{Fleet, Repair, RepairTime};
use crate::random::{Law, Purpose, Source, TabledLaw};
use crate::time::Nanoseconds;

/// Steps of the tables, at first and at most.
const STEPS: [usize; 2] = [1 << 10, 1 << 15];
/// The tables are fine enough when twice as many steps change the expected crossings by less.
const CHANGE_MAX: f64 = 1e-3;
/// Crossings that are drawn from the deaths of one run of a machine, in the mean: so few that two of one
/// run are seldom among them, and they are as good as independent.
const CROSSINGS_OF_A_RUN: f64 = 0.1;
/// Runs of single machines that a crossing may take in the mean.
const RUNS_MAX: f64 = 1e5;
/// The machines that die come from replications before this number, the others from those after it.
const OTHERS_BEGIN: u64 = 1 << 55;

/// The loss probability of a group by its crossings.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Crossings {
    /// Within the horizon.
    pub estimate: Estimate,
    /// Crossings expected within the horizon.
    pub expected: f64,
    /// By what share twice as fine tables changed that; the interval is wider by as much.
    pub change: f64,
    /// Crossings that were drawn.
    pub drawn: u64,
    /// Those of them that were the first of their run.
    pub first: u64,
}

/// Why there is no estimate.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum CrossingsError {
    /// The level is that of one group.
    #[error("crossings are those of one group, and there are {0}; try: groups = 1")]
    Groups(u32),
    /// Something befalls several machines, or depends on how many are missing.
    #[error(
        "crossings take machines of one kind that die and are repaired each by itself, by laws; \
         try: splitting"
    )]
    Dependent,
    /// Several may die at the same moment.
    #[error("crossings take lives of which no two end together; try: no fixed or observed ones")]
    Together,
    /// Steps that are fine enough are too many.
    #[error("the tables are too coarse, by {change}; try: splitting, or a shorter horizon")]
    Coarse {
        /// By what share the last doubling changed the expected crossings.
        change: f64,
    },
    /// The number is below all that a double holds, or nothing dies.
    #[error("no crossing is expected; try: a chain, kakera sim calc")]
    None,
    /// Too many runs of machines would be thrown away.
    #[error("a crossing takes {runs:e} runs of single machines; try: splitting")]
    Long {
        /// In the mean.
        runs: f64,
    },
}

/// Draws crossings of a group.
pub struct CrossingSampling<'a> {
    fleet: &'a Fleet,
    lives: Vec<TabledLaw>,
    repair: &'a Law,
    expected: f64,
    change: f64,
    /// Nanoseconds of a cell of `chances`.
    step: f64,
    /// With which probability a death at each multiple of the step is taken as a crossing.
    chances: Vec<f64>,
}

impl<'a> CrossingSampling<'a> {
    /// Prepares the tables, which takes some tens of milliseconds.
    pub fn new(fleet: &'a Fleet) -> Result<Self, CrossingsError> {
        let repair = independent_repair(fleet)?;
        let mut steps = STEPS[0];
        let mut before = Rate::new(fleet, &Renewal::new(fleet, repair, steps));
        loop {
            steps *= 2;
            let renewal = Renewal::new(fleet, repair, steps);
            let rate = Rate::new(fleet, &renewal);
            let change = (before.expected - rate.expected).abs() / rate.expected;
            if change <= CHANGE_MAX {
                return Self::of_rate(fleet, repair, &renewal, rate, change);
            }
            if steps >= STEPS[1] {
                let none = rate.expected == 0.0;
                return Err(if none {
                    CrossingsError::None
                } else {
                    CrossingsError::Coarse { change }
                });
            }
            before = rate;
        }
    }

    fn of_rate(
        fleet: &'a Fleet,
        repair: &'a Law,
        renewal: &Renewal,
        rate: Rate,
        change: f64,
    ) -> Result<Self, CrossingsError> {
        let greatest = rate.of_a_death.iter().copied().fold(0.0, f64::max);
        let of_a_run = rate.expected / f64::from(fleet.n) / greatest;
        let thinning = (CROSSINGS_OF_A_RUN / of_a_run).min(1.0);
        let runs = 1.0 / (of_a_run * thinning) + rate.runs_of_others(fleet, renewal);
        if runs > RUNS_MAX {
            return Err(CrossingsError::Long { runs });
        }
        let lives = fleet.lives.iter().map(TabledLaw::new).collect();
        let chances = rate.of_a_death.iter().map(|chance| chance / greatest * thinning).collect();
        let (expected, step) = (rate.expected, renewal.step);
        Ok(Self { fleet, lives, repair, expected, change, step, chances })
    }

    /// The probability that the group is lost within the horizon, from `drawn` >= 1 crossings.
    pub fn loss_probability(&self, seed: u64, drawn: u64, confidence: f64) -> Crossings {
        let pasts = (0..).flat_map(|number| self.crossings_of_run(&Source::new(seed, number)));
        let sources = (OTHERS_BEGIN..).map(|number| Source::new(seed, number));
        let crossings = pasts.zip(sources).take(drawn as usize);
        let first = crossings.filter(|(past, source)| self.is_first(past, source)).count() as u64;
        let share = Estimate::of_probability(first, drawn, confidence);
        let [low, high] = share.interval.map(|end| end * self.expected);
        let interval = [low * (1.0 - self.change), (high * (1.0 + self.change)).min(1.0)];
        let estimate = Estimate { value: share.value * self.expected, interval, confidence };
        let Self { expected, change, .. } = *self;
        Crossings { estimate, expected, change, drawn, first }
    }

    /// Deaths in a run of a machine that are taken as crossings, each with all that befell the machine
    /// until then.
    fn crossings_of_run(&self, source: &Source) -> Vec<Vec<Nanoseconds>> {
        let mut moments = Vec::new();
        self.run(source, 0, &mut 0, self.fleet.horizon, &mut moments);
        let is_taken = |place: &usize| {
            let uniform = source.draw(0, Purpose::Jump, *place as u32).uniform();
            uniform < self.chance(moments[*place])
        };
        let taken = (0..moments.len()).step_by(2).filter(is_taken);
        taken.map(|place| moments[..=place].to_vec()).collect()
    }

    /// With which probability a death at a moment is taken: between those at two multiples of the step.
    fn chance(&self, death: Nanoseconds) -> f64 {
        let place = death as f64 / self.step;
        let cell = (place as usize).min(self.chances.len() - 2);
        let [before, after] = [self.chances[cell], self.chances[cell + 1]];
        if before > 0.0 { before * (after / before).powf(place - cell as f64) } else { 0.0 }
    }

    /// Whether a crossing, given by the past of the machine whose death it is, is the first of its run:
    /// draws the past of the others, of which just so many are missing as the group can do without.
    fn is_first(&self, past: &[Nanoseconds], source: &Source) -> bool {
        let Some((&end, past)) = past.split_last() else { return false };
        let mut events = Vec::new();
        let mut moments = Vec::new();
        add_events(past, &mut events);
        let spare = u32::from(self.fleet.n - self.fleet.k);
        for machine in 1..u32::from(self.fleet.n) {
            let mut life = 0;
            loop {
                self.run(source, machine, &mut life, end, &mut moments);
                let is_missing = moments.len() % 2 == 1;
                if is_missing == (machine <= spare) {
                    break;
                }
            }
            add_events(&moments, &mut events);
        }
        events.sort_unstable();
        let mut missing = 0;
        events.iter().all(|&(_, is_death)| {
            missing = if is_death { missing + 1 } else { missing - 1 };
            missing <= spare
        })
    }

    /// Draws when the share of a machine goes, comes back, goes and so on before a moment, with lives from
    /// number `life` on.
    fn run(
        &self,
        source: &Source,
        machine: u32,
        life: &mut u32,
        end: Nanoseconds,
        moments: &mut Vec<Nanoseconds>,
    ) {
        moments.clear();
        let mut now: Nanoseconds = 0;
        loop {
            let number = *life;
            *life += 1;
            let sooner =
                |cause: usize, uniform, bound| self.lives[cause].span_within(uniform, bound);
            now += self.fleet.life(source, machine, number, end - now, sooner);
            if now >= end {
                return;
            }
            moments.push(now);
            let unseen = self.fleet.detection.draw(source, machine, Purpose::Detection, number);
            let repair = self.repair.draw(source, machine, Purpose::Repair, number);
            now = now.saturating_add(unseen).saturating_add(repair);
            if now >= end {
                return;
            }
            moments.push(now);
        }
    }
}

/// How often a death is a crossing.
struct Rate {
    /// Crossings within the horizon.
    expected: f64,
    /// The probability that a death is one, at each multiple of the step.
    of_a_death: Vec<f64>,
}

impl Rate {
    fn new(fleet: &Fleet, renewal: &Renewal) -> Self {
        let (others, spare) = (u64::from(fleet.n - 1), u64::from(fleet.n - fleet.k));
        let of_a_death: Vec<f64> =
            renewal.missing.iter().map(|&p| Binomial { n: others, p }.probability(spare)).collect();
        let deaths = renewal.deaths.iter().zip(&of_a_death);
        let of_a_machine: f64 = deaths.map(|(deaths, chance)| deaths * chance).sum();
        Self { expected: f64::from(fleet.n) * of_a_machine, of_a_death }
    }

    /// How many runs of the other machines a crossing takes in the mean, until so many are found as are
    /// missing and as are not.
    fn runs_of_others(&self, fleet: &Fleet, renewal: &Renewal) -> f64 {
        let (missing, there) = (f64::from(fleet.n - fleet.k), f64::from(fleet.k - 1));
        let deaths = renewal.deaths.iter().zip(&self.of_a_death);
        let runs = deaths.zip(&renewal.missing).map(|((deaths, chance), share)| {
            deaths * chance * (missing / share + there / (1.0 - share))
        });
        runs.sum::<f64>() * f64::from(fleet.n) / self.expected
    }
}

/// The law of repairs, of a fleet whose machines know nothing of each other.
fn independent_repair(fleet: &Fleet) -> Result<&Law, CrossingsError> {
    if fleet.groups != 1 {
        return Err(CrossingsError::Groups(fleet.groups));
    }
    let alone = fleet.kinds.is_empty()
        && !fleet.pauses()
        && fleet.outages.is_none()
        && fleet.mass_loss.is_none()
        && fleet.corruption.is_none()
        && fleet.quorum_losses.is_none()
        && fleet.patience.is_none()
        && !fleet.attack.is_some_and(|attack| attack.withholds);
    let Repair::Each(RepairTime::Law(repair)) = &fleet.repair else {
        return Err(CrossingsError::Dependent);
    };
    if !alone {
        return Err(CrossingsError::Dependent);
    }
    if fleet.lives.iter().any(|law| matches!(law, Law::Fixed(_) | Law::Empirical(_))) {
        return Err(CrossingsError::Together);
    }
    Ok(repair)
}

/// Moments at which a share goes and comes back, in turn; a return comes before a death at the same time.
fn add_events(moments: &[Nanoseconds], events: &mut Vec<(Nanoseconds, bool)>) {
    events.extend(moments.iter().enumerate().map(|(place, &time)| (time, place % 2 == 0)));
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
pub(super) mod tests {
    use super::*;
    use crate::campaign::Campaign;
    use crate::exact::{Redundancy, RepairRates};
    use crate::rare::split_loss_probability;
    use crate::time::HOUR;

    const HOURS: f64 = HOUR as f64;

    fn exponential(hours: f64) -> Law {
        Law::Exponential { mean: hours * HOURS }
    }

    /// One group for 100 h.
    pub(in crate::rare) fn one_group(n: u8, k: u8, life: Law, repair: Law) -> Fleet {
        let repair = Repair::Each(RepairTime::Law(repair));
        Fleet::of_one_group(n, k, life, repair, 100 * HOUR)
    }

    fn crossings(fleet: &Fleet, drawn: u64) -> Crossings {
        CrossingSampling::new(fleet).unwrap().loss_probability(1, drawn, 0.999)
    }

    #[test]
    fn agrees_with_the_chain_over_many_decades() {
        let mut range: (f64, f64) = (1.0, 0.0);
        for (n, k, life, repair) in [
            (3, 3, 100.0, 10.0),
            (4, 3, 100.0, 10.0),
            (10, 5, 100.0, 8.0),
            (22, 6, 100.0, 8.0),
            (40, 20, 1000.0, 50.0),
            (8, 2, 1000.0, 2.0),
        ] {
            let crossings =
                crossings(&one_group(n, k, exponential(life), exponential(repair)), 4000);
            let rates = RepairRates::Each { rate: repair.recip(), detection_rate: f64::INFINITY };
            let group =
                Redundancy { n: n.into(), k: k.into(), failure_rate: life.recip(), repair: rates };
            let exact = group.loss_probability(100.0);
            assert!(crossings.estimate.holds(exact), "{exact:e} is not in {crossings:?}");
            assert!(crossings.estimate.relative_half_width() < 0.1, "{crossings:?}");
            range = (range.0.min(exact), range.1.max(exact));
        }
        assert!(range.1 / range.0 > 1e15, "{range:?}");
    }

    /// Laws with memory, against counting where losses are seen and splitting where they are not.
    #[test]
    fn agrees_with_its_neighbours_under_laws_with_memory() {
        let restore = Law::Weibull { shape: 2.0, scale: 8.0 * HOURS, location: 2.0 * HOURS };
        let life = Law::Weibull { shape: 0.7, scale: 150.0 * HOURS, location: 0.0 };
        for (n, k, replications) in [(6, 4, 20_000), (10, 5, 0)] {
            let fleet = Fleet {
                detection: Law::LogNormal { median: HOURS, sigma: 1.0 },
                ..one_group(n, k, life.clone(), restore.clone())
            };
            let crossings = crossings(&fleet, 4000);
            let neighbour = if replications > 0 {
                let campaign = Campaign { fleet, protocol: None, seed: 2, replications };
                campaign.summary(&campaign.run(), 0.999).loss_of_any
            } else {
                split_loss_probability(&fleet, 1, 100, 0.999).unwrap().estimate
            };
            assert!(neighbour.relative_half_width() < 0.4, "{neighbour:?}");
            assert!(
                neighbour.interval[0] < crossings.estimate.interval[1]
                    && crossings.estimate.interval[0] < neighbour.interval[1],
                "{neighbour:?} {crossings:?}"
            );
        }
    }

    #[test]
    fn says_when_it_cannot() {
        let fleet = one_group(6, 3, exponential(100.0), exponential(10.0));
        let reason = |fleet: &Fleet| CrossingSampling::new(fleet).err().unwrap();
        assert_eq!(reason(&Fleet { groups: 2, ..fleet.clone() }), CrossingsError::Groups(2));
        let repair = Repair::OneByOne(RepairTime::Law(exponential(10.0)));
        assert_eq!(reason(&Fleet { repair, ..fleet.clone() }), CrossingsError::Dependent);
        assert_eq!(
            reason(&Fleet { patience: Some(HOUR), ..fleet.clone() }),
            CrossingsError::Dependent
        );
        let lives = vec![Law::Fixed(50.0 * HOURS)];
        assert_eq!(reason(&Fleet { lives, ..fleet.clone() }), CrossingsError::Together);
        assert_eq!(
            reason(&Fleet { lives: vec![Law::Never], ..fleet.clone() }),
            CrossingsError::None
        );
        let horizon = 1_000_000 * HOUR;
        assert!(matches!(reason(&Fleet { horizon, ..fleet }), CrossingsError::Coarse { .. }));
        let fleet = one_group(3, 1, exponential(1000.0), exponential(0.01));
        assert!(matches!(reason(&fleet), CrossingsError::Long { .. }));
    }
}
