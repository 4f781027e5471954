//! Measuring in turns, so that a busy moment of the machine hits all sides alike.
//!
//! The clock is the processor time of this thread: every side works on one thread, and what other
//! processes take from it in between is nobody's work.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::contest::{Contest, Side};

/// How long a contest is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Turns of each side.
    pub rounds: usize,
    /// The least duration of a turn.
    pub turn: Duration,
}

/// Ours against one peer.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Who the peer is.
    pub peer: &'static str,
    /// Gigabytes per second or microseconds; the median of the turns.
    pub ours: f64,
    /// The same of the peer.
    pub theirs: f64,
    /// How many times faster ours is: the median over the rounds of the ratio inside a round.
    pub times_better: f64,
    /// How many times faster it should be.
    pub goal: Option<f64>,
    /// The figure of the contest's limit, if it has one.
    pub limit: Option<f64>,
}

/// Runs all sides in turns and compares ours with each peer.
///
/// The first side of a round changes from round to round, and a turn begins with a run that is not
/// counted, so that no side profits from or pays for what the previous one left in the caches.
pub fn measure(contest: &mut Contest, effort: Effort) -> Vec<Outcome> {
    let Contest { ours, peers, .. } = contest;
    let goals: Vec<Option<f64>> = peers.iter().map(|peer| peer.goal).collect();
    let limit = peers.iter().position(|peer| peer.is_limit);
    let mut sides: Vec<&mut Side> = vec![ours];
    sides.extend(peers.iter_mut().map(|peer| &mut peer.side));
    let runs: Vec<u32> = sides.iter_mut().map(|side| runs_of_a_turn(side, effort.turn)).collect();
    let mut nanoseconds = vec![Vec::with_capacity(effort.rounds); sides.len()];
    for round in 0..effort.rounds {
        for turn in 0..sides.len() {
            let place = (round + turn) % sides.len();
            nanoseconds[place].push(turn_of(sides[place], runs[place]));
        }
    }
    let cost = |place: usize, nanoseconds: f64| match sides[place].bytes {
        Some(bytes) => nanoseconds / bytes as f64,
        None => nanoseconds,
    };
    let figure = |place: usize| {
        let cost = cost(place, median(nanoseconds[place].clone()));
        if sides[place].bytes.is_some() { 1.0 / cost } else { cost / 1000.0 }
    };
    let limit = limit.map(|index| figure(index + 1));
    let outcome = |(index, goal): (usize, Option<f64>)| {
        let place = index + 1;
        let ratios = nanoseconds[place].iter().zip(&nanoseconds[0]);
        let ratios = ratios.map(|(&theirs, &ours)| cost(place, theirs) / cost(0, ours)).collect();
        Outcome {
            peer: sides[place].name,
            ours: figure(0),
            theirs: figure(place),
            times_better: median(ratios),
            goal,
            limit,
        }
    };
    goals.into_iter().enumerate().map(outcome).collect()
}

/// How often a side runs in a turn of at least this length.
fn runs_of_a_turn(side: &mut Side, least: Duration) -> u32 {
    let mut runs = 1;
    while f64::from(runs) * turn_of(side, runs) < least.as_nanos() as f64 {
        runs *= 2;
    }
    runs
}

/// Nanoseconds of one run.
fn turn_of(side: &mut Side, runs: u32) -> f64 {
    side.run();
    let start = thread_nanoseconds();
    for _ in 0..runs {
        side.run();
    }
    (thread_nanoseconds() - start) / f64::from(runs)
}

fn thread_nanoseconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
