//! How long the steps of a round may take.

use std::collections::BTreeMap;
use std::time::Duration;

use arc_malachitebft_core_types::{LinearTimeouts, Round, Timeout, TimeoutKind};

/// The patience of a validator. Safety does not depend on it: too little costs rounds, too much
/// costs time when a proposer is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// For the first round's proposal; each later round gets a quarter more.
    pub propose: Duration,
    /// For votes after more than two thirds voted, for different things; growing alike.
    pub vote: Duration,
    /// For the proposal of one that let its turn pass before and was not heard of since.
    pub suspected: Duration,
    /// Between repetitions of what others may have missed.
    pub repeat: Duration,
    /// The most that growing leads to.
    pub most: Duration,
}

impl Default for Pace {
    /// For hospitals some tens of milliseconds apart, with slow disks.
    fn default() -> Self {
        Self {
            propose: Duration::from_millis(1000),
            vote: Duration::from_millis(400),
            suspected: Duration::from_millis(150),
            repeat: Duration::from_millis(1000),
            most: Duration::from_secs(20),
        }
    }
}

impl Pace {
    /// How long to wait.
    pub(super) fn time_for(&self, timeout: Timeout, suspected: bool) -> Duration {
        let growing = LinearTimeouts {
            propose: if suspected { self.suspected } else { self.propose },
            propose_delta: self.propose / 4,
            prevote: self.vote,
            prevote_delta: self.vote / 4,
            precommit: self.vote,
            precommit_delta: self.vote / 4,
            rebroadcast: self.repeat,
            max_timeout: self.most,
        };
        growing.duration_for(timeout)
    }
}

/// The timeouts under way.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeMap<(Step, i64), (Duration, Timeout)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Propose,
    Prevote,
    Precommit,
    Rebroadcast,
    Finalize,
}

impl Timers {
    pub(super) fn schedule(&mut self, timeout: Timeout, at: Duration) {
        self.0.insert(name(timeout), (at, timeout));
    }

    pub(super) fn cancel(&mut self, timeout: Timeout) {
        self.0.remove(&name(timeout));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// When the first is due.
    pub(super) fn next(&self) -> Option<Duration> {
        self.0.values().map(|(at, _)| *at).min()
    }

    /// Takes out the first that is due.
    pub(super) fn pop_due(&mut self, now: Duration) -> Option<Timeout> {
        let (name, (at, timeout)) =
            self.0.iter().min_by_key(|(name, (at, _))| (*at, **name)).map(|(n, t)| (*n, *t))?;
        (at <= now).then(|| {
            self.0.remove(&name);
            timeout
        })
    }
}

fn name(Timeout { kind, round }: Timeout) -> (Step, i64) {
    let step = match kind {
        TimeoutKind::Propose => Step::Propose,
        TimeoutKind::Prevote => Step::Prevote,
        TimeoutKind::Precommit => Step::Precommit,
        TimeoutKind::Rebroadcast => Step::Rebroadcast,
        TimeoutKind::FinalizeHeight(_) => Step::Finalize,
    };
    (step, Round::as_i64(&round))
}
